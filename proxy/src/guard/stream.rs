//! The guard as an IO wrapper: what hyper reads has passed the scanner, and waits here until it has. It holds at most one
//! incomplete head, or what came after a message that may open a tunnel.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::exchanges::Exchanges;
use super::scanner::{Event, Limits, Scanner};
use crate::connection::ConnectionFacts;

/// Most bytes of one read: hyper's buffer grows with what a read fills, and it must not grow to the size of a large head.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Bytes asked for at a time while a head is incomplete.
const HEAD_READ_BYTES: usize = 4096;
/// Most bytes kept behind a message that may open a tunnel.
const HELD_BYTES_MAX: usize = 16 * 1024;
/// Most bytes read and thrown away behind the last message.
const DISCARDED_BYTES_MAX: usize = 256 * 1024;

/// A connection's bytes behind the guard.
pub struct Guarded<S> {
    io: S,
    scanner: Scanner,
    exchanges: Rc<Exchanges>,
    facts: Rc<ConnectionFacts>,
    /// Bytes read and not yet delivered: first `approved` ones for hyper, then an incomplete head up to `scanned`, then
    /// bytes that were not looked at.
    pending: BytesMut,
    approved: usize,
    scanned: usize,
    discarded: usize,
    ended: bool,
    /// Bytes of hyper's current buffer were written, but not all of them.
    mid_write: bool,
}

/// What a scan of some bytes found: how many hyper may read, and how many were looked at.
struct Scan {
    approved: usize,
    scanned: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guarded<S> {
    /// Guards `io`, of which `first` was read already.
    pub fn new(
        io: S,
        first: BytesMut,
        limits: Limits,
        exchanges: Rc<Exchanges>,
        facts: Rc<ConnectionFacts>,
    ) -> Self {
        if !first.is_empty() {
            exchanges.head_came(Instant::now());
        }
        Self {
            io,
            scanner: Scanner::new(limits),
            exchanges,
            facts,
            pending: first,
            approved: 0,
            scanned: 0,
            discarded: 0,
            ended: false,
            mid_write: false,
        }
    }

    /// Takes back what hyper has read and not used.
    pub fn put_back(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let behind = std::mem::replace(&mut self.pending, BytesMut::from(bytes));
        self.pending.extend_from_slice(&behind);
        self.approved += bytes.len();
        self.scanned += bytes.len();
    }

    /// Waits for the first byte of what comes next, or the end, without a buffer of its own.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.pending.is_empty() || self.ended {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = [0; HEAD_READ_BYTES];
        let mut buf = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
        if buf.filled().is_empty() {
            self.ended = true;
        } else {
            self.pending.extend_from_slice(buf.filled());
            self.exchanges.head_came(Instant::now());
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes were read that hyper did not take.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The connection itself, and the bytes that were read from it and belong to no message: those of a tunnel.
    pub fn into_parts(self) -> (S, Bytes) {
        (self.io, self.pending.freeze())
    }

    /// Looks at bytes just read, or at what a hold kept back.
    fn scan(scanner: &mut Scanner, exchanges: &Exchanges, bytes: &[u8]) -> Scan {
        let (mut approved, mut at) = (0, 0);
        let mut now = None;
        loop {
            let in_body = scanner.is_in_body();
            let step = scanner.feed(bytes.get(at..).unwrap_or_default());
            at += step.taken;
            if in_body {
                approved = at;
                exchanges.body_came(step.taken, *now.get_or_insert_with(Instant::now));
            }
            match step.event {
                Some(Event::Head(head)) => {
                    approved = at;
                    // Set already unless the head came with the bytes before it.
                    exchanges.head_came(*now.get_or_insert_with(Instant::now));
                    exchanges.accept(head, scanner.seen());
                }
                Some(Event::End(_)) => exchanges.end_body(),
                Some(Event::Refused(refusal)) => {
                    exchanges.refuse(refusal, in_body);
                    break;
                }
                None => {
                    // An empty line between messages is no head that must come to its end.
                    if scanner.is_at_start() {
                        approved = at;
                    }
                    break;
                }
            }
        }
        if at > approved {
            exchanges.head_came(*now.get_or_insert_with(Instant::now));
        } else {
            exchanges.head_gone();
        }
        Scan { approved, scanned: at }
    }

    fn scan_pending(&mut self) {
        let fresh = self.pending.get(self.scanned..).unwrap_or_default();
        if fresh.is_empty() || self.scanner.is_stopped() {
            return;
        }
        let scan = Self::scan(&mut self.scanner, &self.exchanges, fresh);
        if scan.approved > 0 {
            self.approved = self.scanned + scan.approved;
        }
        self.scanned += scan.scanned;
    }

    /// Hands approved bytes to hyper. `false`: there are none.
    fn deliver(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let bytes = self.approved.min(buf.remaining());
        if bytes == 0 {
            return false;
        }
        buf.put_slice(self.pending.get(..bytes).unwrap_or_default());
        self.pending.advance(bytes);
        self.approved -= bytes;
        self.scanned -= bytes;
        if self.pending.is_empty() {
            // Seldom needed again: heads that come in one piece never pass through here.
            self.pending = BytesMut::new();
        }
        true
    }

    /// Reads straight into hyper's buffer and keeps back what it may not see yet. Ready with 0: nothing for hyper yet,
    /// or the end (`ended`).
    fn poll_read_through(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let start = buf.filled().len();
        let polled = if buf.remaining() > READ_BYTES_MAX {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(READ_BYTES_MAX));
            let polled = Pin::new(&mut self.io).poll_read(cx, &mut part);
            let bytes = part.filled().len();
            buf.advance(bytes);
            polled
        } else {
            Pin::new(&mut self.io).poll_read(cx, buf)
        };
        ready!(polled)?;
        let fresh = buf.filled().get(start..).unwrap_or_default();
        if fresh.is_empty() {
            self.ended = true;
            return Poll::Ready(Ok(0));
        }
        let scan = Self::scan(&mut self.scanner, &self.exchanges, fresh);
        let kept = fresh.get(scan.approved..).unwrap_or_default();
        if !kept.is_empty() {
            self.pending.extend_from_slice(kept);
            self.scanned = scan.scanned - scan.approved;
        }
        buf.set_filled(start + scan.approved);
        Poll::Ready(Ok(scan.approved))
    }

    /// Reads behind what is kept back. Nothing of it may go to hyper before it is scanned.
    fn poll_read_behind(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pending.reserve(HEAD_READ_BYTES);
        if ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.pending))? == 0 {
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }

    /// The scanner takes nothing for now, or nothing ever again.
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.scanner.is_closed() {
            let bytes = self.pending.len();
            self.discarded += bytes;
            self.pending.clear();
            self.scanned = 0;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.discarded < DISCARDED_BYTES_MAX {
                return self.poll_read_behind(cx);
            }
        } else if self.scanner.is_held() {
            if self.exchanges.is_released() {
                self.scanner.release();
                return Poll::Ready(Ok(()));
            }
            self.exchanges.reader_waits(cx.waker());
            // A client that leaves while it waits for its upgrade ends the request, unless it has sent more: then the end
            // belongs behind those bytes.
            if !self.ended && self.pending.len() < HELD_BYTES_MAX {
                return self.poll_read_behind(cx);
            }
        }
        Poll::Pending
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut interim = self.facts.interim.borrow_mut();
        while !interim.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, &interim) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => {
                    self.exchanges.wrote(bytes);
                    let sent = bytes.min(interim.len());
                    interim.drain(..sent);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.exchanges.write_blocked(Instant::now);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// An interim answer goes before its final one, and never into the middle of another.
    fn poll_before_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.facts.interim.borrow().is_empty() {
            return Poll::Ready(Ok(()));
        }
        if !self.mid_write {
            return self.poll_interim(cx);
        }
        if self.exchanges.has_begun_all() {
            self.facts.interim.borrow_mut().clear();
        }
        Poll::Ready(Ok(()))
    }

    fn note_write(&mut self, polled: &Poll<io::Result<usize>>) {
        match polled {
            Poll::Ready(Ok(bytes)) => {
                self.mid_write = true;
                self.exchanges.wrote(*bytes);
            }
            Poll::Pending => self.exchanges.write_blocked(Instant::now),
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.exchanges.read_wanted();
        loop {
            this.scan_pending();
            if this.deliver(buf) {
                return Poll::Ready(Ok(()));
            }
            if this.exchanges.is_any_refused() {
                // Never the end: hyper would abort what it is still answering.
                this.exchanges.reader_waits(cx.waker());
                return Poll::Pending;
            }
            let polled = if this.scanner.is_stopped() {
                let polled = this.poll_stopped(cx);
                if polled.is_ready() && this.ended && this.pending.is_empty() {
                    return polled;
                }
                polled
            } else if this.ended {
                // An incomplete head is no message: what came before it is answered, then the end is the end.
                return Poll::Ready(Ok(()));
            } else if this.pending.is_empty() {
                match ready!(this.poll_noted(cx, buf))? {
                    0 => Poll::Ready(Ok(())),
                    _ => return Poll::Ready(Ok(())),
                }
            } else {
                this.poll_read_behind(cx)
            };
            ready!(polled)?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guarded<S> {
    fn poll_noted(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let polled = self.poll_read_through(cx, buf);
        if polled.is_pending() {
            self.exchanges.read_waits(Instant::now);
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_before_write(cx))?;
        let polled = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.note_write(&polled);
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_before_write(cx))?;
        let polled = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.note_write(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.mid_write = false;
        ready!(this.poll_interim(cx))?;
        let polled = Pin::new(&mut this.io).poll_flush(cx);
        match polled {
            Poll::Ready(Ok(())) => this.exchanges.flushed(Instant::now),
            Poll::Pending => this.exchanges.write_blocked(Instant::now),
            Poll::Ready(Err(_)) => {}
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
