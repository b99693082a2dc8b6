//! The byte stream to a server, plain or TLS, with a meter of what passes. It holds nothing up and interprets nothing; interim
//! answers are noticed here because hyper's client swallows them, and heads because it does not give them back.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::interim::InterimWatch;
use super::sent::SentHead;

/// What a connection's driver and its user both see. One per connection.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Bytes read since the connection stood, after TLS.
    pub(crate) read: Cell<u64>,
    /// Set while a request waits for its answer and its client can take interim answers.
    pub(crate) interim: RefCell<Option<InterimWatch>>,
    /// The head under way, while it may have to be sent again: until the first byte of an answer.
    pub(crate) sent: RefCell<SentHead>,
}

impl Meter {
    fn note(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.read.set(self.read.get().wrapping_add(bytes.len() as u64));
        self.sent.borrow_mut().end();
        let mut interim = self.interim.borrow_mut();
        if let Some(watch) = interim.as_mut()
            && !watch.feed(bytes)
        {
            *interim = None;
        }
    }
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connected server.
#[derive(Debug)]
pub(crate) struct UpstreamIo {
    stream: Stream,
    meter: Rc<Meter>,
}

impl UpstreamIo {
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self { stream: Stream::Plain(stream), meter: Rc::default() }
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self { stream: Stream::Tls(Box::new(stream)), meter: Rc::default() }
    }

    pub(crate) fn meter(&self) -> &Rc<Meter> {
        &self.meter
    }

    /// Whether ALPN chose HTTP/2.
    pub(crate) fn chose_http2(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        };
        this.meter.note(buf.filled().get(before..).unwrap_or_default());
        polled
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut sent = this.meter.sent.borrow_mut();
        sent.offer([buf]);
        let polled = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        };
        if let Poll::Ready(Ok(bytes)) = polled {
            sent.took(bytes);
        }
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut sent = this.meter.sent.borrow_mut();
        sent.offer(bufs.iter().map(|slice| &**slice));
        let polled = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        };
        if let Poll::Ready(Ok(bytes)) = polled {
            sent.took(bytes);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
