//! What a worker that serves all the connections it may says to one more: that it is overloaded, at once and in the client's own protocol,
//! so that whoever balances in front of it, or asks again, need not wait to find out. It serves nothing and looks at no request.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Refusals at once; who comes beyond waits in the kernel's queue.
pub(super) const AT_ONCE_MAX: usize = 64;
/// How long a refused client has to say the first word, and then to close: an answer that is cut off by a reset may never be read.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of a refused client that are read after the first ones.
const READ_BYTES_MAX: usize = 64 * 1024;

const HTTP1: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 20\r\n\
    Retry-After: 1\r\nConnection: close\r\n\r\nService Unavailable\n";
/// Empty SETTINGS; then GOAWAY: no stream was taken (so that each may be tried elsewhere), ENHANCE_YOUR_CALM (RFC 9113, 7).
const HTTP2: &[u8] = &[
    0, 0, 0, 4, 0, 0, 0, 0, 0, // SETTINGS
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11, // GOAWAY
];
/// A fatal alert, internal_error (RFC 8446, 6.2): before a handshake it goes in the clear.
const TLS: &[u8] = &[21, 3, 3, 0, 2, 2, 80];

/// Counts the refusals under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Shedding(Rc<Cell<usize>>);

impl Shedding {
    /// Whether one more may be refused now.
    pub(super) fn has_room(&self) -> bool {
        self.0.get() < AT_ONCE_MAX
    }

    /// Refuses a connection, beside everything else.
    pub(super) fn refuse(&self, socket: TcpStream) {
        let place = Place::take(self);
        tokio::task::spawn_local(async move {
            let _place = place;
            // Whatever the client does, it has been told or it is gone.
            drop(tokio::time::timeout(TIME_MAX, tell(socket)).await);
        });
    }
}

struct Place(Shedding);

impl Place {
    fn take(shedding: &Shedding) -> Self {
        shedding.0.set(shedding.0.get() + 1);
        Self(shedding.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let count = &self.0.0;
        count.set(count.get().saturating_sub(1));
    }
}

/// The answer for who begins so.
fn answer(first: &[u8]) -> &'static [u8] {
    match first {
        [22, ..] => TLS,
        [b'P', b'R', b'I', ..] => HTTP2,
        _ => HTTP1,
    }
}

async fn tell(mut socket: TcpStream) -> io::Result<()> {
    let mut bytes = [0; 1024];
    let length = socket.read(&mut bytes).await?;
    let first = bytes.get(..length).unwrap_or_default();
    if first.is_empty() {
        return Ok(());
    }
    socket.write_all(answer(first)).await?;
    socket.shutdown().await?;
    let mut read = 0;
    while read < READ_BYTES_MAX {
        match socket.read(&mut bytes).await? {
            0 => break,
            length => read += length,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_told_in_their_own_protocol() {
        assert!(answer(b"GET / HTTP/1.1\r\n").starts_with(b"HTTP/1.1 503 "));
        assert!(answer(b"PROXY TCP4 ").starts_with(b"HTTP/1.1 503 "));
        assert_eq!(answer(&[22, 3, 1]), TLS);
        assert_eq!(answer(crate::preface::HTTP2_PREFACE), HTTP2);
        let (head, body) = std::str::from_utf8(HTTP1).expect("text").split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        // A frame's length, and what follows its head of nine bytes.
        assert_eq!(HTTP2.len(), 9 + 9 + 8);
    }
}
