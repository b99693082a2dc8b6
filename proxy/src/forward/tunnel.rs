//! A connection that changed its protocol after a matching 101: bytes both ways until both sides are done or nothing moves for
//! the idle time. It interprets nothing and is never pooled.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use crate::exchange::Exchange;
use crate::upstream::io::UpstreamIo;

/// A tunnel in which nothing moves for this long is closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// The upstream's half of a tunnel.
#[derive(Debug)]
pub struct Tunnel {
    upstream: UpstreamIo,
    read_ahead: Bytes,
    pub(crate) exchange: Option<Exchange>,
}

/// What a tunnel carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunnelEnd {
    /// Bytes from the client to the upstream.
    pub to_upstream: u64,
    /// Bytes from the upstream to the client.
    pub to_client: u64,
    /// It was closed because nothing moved.
    pub idle: bool,
}

impl Tunnel {
    pub(crate) fn new(upstream: UpstreamIo, read_ahead: Bytes) -> Self {
        Self { upstream, read_ahead, exchange: None }
    }

    /// Carries bytes both ways until both sides have ended, one broke, or nothing moved for `idle_timeout`. `client` yields what
    /// was read behind the request first. Cancel safe: dropping the future closes both sides.
    pub async fn run<C>(self: Box<Self>, client: C, idle_timeout: Duration) -> TunnelEnd
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { upstream, read_ahead, mut exchange } = *self;
        let (from_upstream, from_client) = (Cell::new(0), Cell::new(0));
        let mut upstream = Counted { io: upstream, ahead: read_ahead, read: &from_upstream };
        let mut client = Counted { io: client, ahead: Bytes::new(), read: &from_client };
        let copying = copy_bidirectional(&mut client, &mut upstream);
        let moved = || (from_upstream.get(), from_client.get());
        let idle = tokio::select! {
            // How a tunnel ends is the peers' business: an abrupt end is no error of ours.
            _ = copying => false,
            () = silence(moved, idle_timeout) => true,
        };
        let (to_client, to_upstream) = moved();
        if let Some(exchange) = &mut exchange {
            exchange.sent(to_client);
        }
        TunnelEnd { to_upstream, to_client, idle }
    }
}

/// Resolves when nothing moved for at least `limit`, and at most half as long again.
async fn silence<S: PartialEq>(state: impl Fn() -> S, limit: Duration) {
    let mut seen = state();
    let mut unchanged = 0;
    loop {
        tokio::time::sleep(limit / 2).await;
        let now = state();
        unchanged = if now == seen { unchanged + 1 } else { 0 };
        if unchanged >= 2 {
            return;
        }
        seen = now;
    }
}

struct Counted<'c, S> {
    io: S,
    /// Bytes read before the tunnel began.
    ahead: Bytes,
    read: &'c Cell<u64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<'_, S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = if this.ahead.is_empty() {
            Pin::new(&mut this.io).poll_read(cx, buf)
        } else {
            let taken = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..taken]);
            this.ahead.advance(taken);
            Poll::Ready(Ok(()))
        };
        let bytes = buf.filled().len() - before;
        this.read.set(this.read.get() + bytes as u64);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<'_, S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
