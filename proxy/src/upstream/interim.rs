//! Interim (1xx) answers of HTTP/1 servers, seen on their way through: each complete head is relayed to the client's connection.
//! It never edits or holds back bytes: hyper reads the same ones, validates them and drops them.

use std::rc::Rc;
use std::task::Waker;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::connection::ConnectionFacts;
use crate::forwarded;

/// Most bytes of interim heads that are looked at for one request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const START: &[u8] = b"HTTP/1.1 1";
const END: &[u8] = b"\r\n\r\n";

/// Watches the beginning of one answer.
pub(crate) struct InterimWatch {
    connection: Rc<ConnectionFacts>,
    /// The client's own `100-continue` is answered on its side already.
    relay_continue: bool,
    waker: Option<Waker>,
    pending: Vec<u8>,
}

impl std::fmt::Debug for InterimWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InterimWatch").field("pending_bytes", &self.pending.len()).finish_non_exhaustive()
    }
}

impl InterimWatch {
    pub(crate) fn new(connection: Rc<ConnectionFacts>, relay_continue: bool) -> Self {
        Self { connection, relay_continue, waker: None, pending: Vec::new() }
    }

    /// Who must run for a relayed head to be written: the client's connection.
    pub(crate) fn wakes(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }

    /// Takes the next bytes of the answer; `false` once it is clear that no (further) interim answer comes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> bool {
        if self.pending.is_empty() && !may_be_interim(bytes) {
            return false;
        }
        if self.pending.len() + bytes.len() > HEAD_BYTES_MAX {
            return false;
        }
        self.pending.extend_from_slice(bytes);
        while let Some(end) = self.pending.windows(END.len()).position(|window| window == END) {
            let head: Vec<u8> = self.pending.drain(..end + END.len()).collect();
            if !self.relay(head.get(..end).unwrap_or_default()) || !may_be_interim(&self.pending) {
                return false;
            }
        }
        may_be_interim(&self.pending)
    }

    /// Relays one head; `false` if it is none that more could follow.
    fn relay(&mut self, head: &[u8]) -> bool {
        let mut lines =
            head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let Some(status) =
            lines.next().and_then(|line| line.get(9..12)).and_then(|code| StatusCode::from_bytes(code).ok())
        else {
            return false;
        };
        if status == StatusCode::SWITCHING_PROTOCOLS || !status.is_informational() {
            return false;
        }
        if status == StatusCode::CONTINUE && !self.relay_continue {
            return true;
        }
        let mut fields = HeaderMap::new();
        for line in lines {
            let Some((name, value)) = field(line) else { return false };
            fields.append(name, value);
        }
        let present = forwarded::Present::of(&fields);
        forwarded::strip_answer(&mut fields, present, false);
        fields.remove(http::header::CONTENT_LENGTH);
        if self.connection.send_interim(status, &fields)
            && let Some(waker) = &self.waker
        {
            waker.wake_by_ref();
        }
        true
    }
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = HeaderName::from_bytes(line.get(..colon)?).ok()?;
    let value = HeaderValue::from_bytes(line.get(colon + 1..)?.trim_ascii()).ok()?;
    Some((name, value))
}

fn may_be_interim(bytes: &[u8]) -> bool {
    let known = bytes.len().min(START.len());
    bytes.get(..known) == START.get(..known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Protocol;

    fn relayed(pieces: &[&[u8]], relay_continue: bool) -> (String, Vec<bool>) {
        let address = "127.0.0.1:1".parse().expect("an address");
        let facts = Rc::new(ConnectionFacts::new(1, address, address, "web".into(), Protocol::Http1));
        facts.interim_allowed.set(true);
        let mut watch = InterimWatch::new(Rc::clone(&facts), relay_continue);
        let more = pieces.iter().map(|piece| watch.feed(piece)).collect();
        let sent = String::from_utf8(facts.interim.borrow().clone()).expect("ASCII");
        (sent, more)
    }

    const HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: X\r\nX: 1\r\n\r\n";
    const FINAL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    #[test]
    fn heads_are_relayed_whatever_the_split() {
        let whole: Vec<u8> = [b"HTTP/1.1 102 Processing\r\n\r\n", HINTS, FINAL].concat();
        let (want, more) = relayed(&[&whole], true);
        assert_eq!(want, "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
        assert_eq!(more, [false]);
        for at in 1..whole.len() {
            let (first, second) = whole.split_at(at);
            let address = "127.0.0.1:1".parse().expect("an address");
            let facts = Rc::new(ConnectionFacts::new(1, address, address, "web".into(), Protocol::Http1));
            facts.interim_allowed.set(true);
            let mut watch = InterimWatch::new(Rc::clone(&facts), true);
            if watch.feed(first) {
                watch.feed(second);
            }
            assert_eq!(facts.interim.borrow().as_slice(), want.as_bytes(), "split at {at}");
        }
    }

    #[test]
    fn a_usual_answer_ends_the_watch_at_its_first_bytes() {
        assert_eq!(relayed(&[FINAL], true), (String::new(), vec![false]));
    }

    #[test]
    fn continue_is_relayed_only_unasked_and_101_never() {
        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(relayed(&[CONTINUE], true).0, "HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(relayed(&[CONTINUE], false).0, "");
        let (sent, more) = relayed(&[b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nabc"], true);
        assert_eq!((sent.as_str(), more), ("", vec![false]));
    }

    #[test]
    fn what_is_watched_is_bounded() {
        let long = [b"HTTP/1.1 103 x\r\nA: ".to_vec(), vec![b'a'; HEAD_BYTES_MAX]].concat();
        assert_eq!(relayed(&[&long], true), (String::new(), vec![false]));
    }
}
