//! The IO wrapper below hyper's HTTP/2: shows what passes to the walk over frame heads, and ends a connection that is over
//! its budget. It edits nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::GOAWAY_CALM;
use super::stream::{ClientStream, Rewound};
use super::streams::Streams;

/// A client's stream under watch.
pub(super) struct Watched {
    io: Rewound<ClientStream>,
    streams: Rc<Streams>,
    /// The last write took only a part: a frame of ours would land inside another.
    partly: bool,
}

impl Watched {
    pub(super) fn new(io: Rewound<ClientStream>, streams: Rc<Streams>) -> Self {
        Self { io, streams, partly: false }
    }

    fn note_write<'b>(&mut self, polled: &Poll<io::Result<usize>>, slices: impl Iterator<Item = &'b [u8]>) {
        match polled {
            Poll::Ready(Ok(bytes)) => {
                let mut left = *bytes;
                let mut wanted = 0;
                for slice in slices {
                    wanted += slice.len();
                    let sent = slice.get(..left.min(slice.len())).unwrap_or_default();
                    left -= sent.len();
                    self.streams.wrote(sent);
                }
                self.partly = *bytes < wanted;
                self.streams.blocked.set(self.partly);
            }
            Poll::Pending => {
                self.partly = true;
                self.streams.blocked.set(true);
            }
            Poll::Ready(Err(_)) => {}
        }
    }

    fn give_up(&mut self, cx: &mut Context<'_>) -> io::Error {
        if !self.partly {
            // One attempt: a client that floods us and reads nothing is not waited for.
            let said = Pin::new(&mut self.io).poll_write(cx, &GOAWAY_CALM);
            if matches!(said, Poll::Ready(Ok(_))) {
                let _ = Pin::new(&mut self.io).poll_flush(cx);
            }
        }
        io::Error::new(io::ErrorKind::ConnectionAborted, "too many control frames")
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let start = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let fresh = buf.filled().get(start..).unwrap_or_default();
        let within = fresh.is_empty() || this.streams.came(fresh, Instant::now());
        if within {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(this.give_up(cx)))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.note_write(&polled, [bytes].into_iter());
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.note_write(&polled, slices.iter().map(|slice| &**slice));
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_flush(cx);
        this.streams.blocked.set(polled.is_pending());
        if polled.is_ready() {
            this.partly = false;
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.streams.abrupt.get() {
            self.io.get_ref().reset_on_close();
        }
    }
}
