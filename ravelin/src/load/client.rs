//! A client of one address with kept connections, which tells "nothing came" from "broken off". It
//! must never retry by itself: that is the caller's rule.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Idle connections kept; more are closed.
const IDLE_MAX: usize = 64;

/// An answer that came whole.
pub(crate) struct Answer {
    /// Its status code.
    pub(crate) status: u16,
    /// Its header fields.
    pub(crate) headers: http::HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
}

/// How one attempt ended.
pub(crate) enum Attempt {
    /// With a whole answer.
    Answered(Answer),
    /// Refused, or closed before the first byte of an answer: safe to try elsewhere.
    NothingCame(String),
    /// After the first byte of an answer.
    Broken(String),
}

struct Kept {
    sender: SendRequest<Empty<Bytes>>,
    bytes_read: Arc<AtomicU64>,
}

/// Connections to one address.
pub(crate) struct Client {
    address: String,
    idle: Mutex<Vec<Kept>>,
}

impl Client {
    /// A client of `address`, host:port; connects when asked.
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), idle: Mutex::default() }
    }

    /// One GET and its whole answer.
    pub(crate) async fn request(&self, host: &str, path: &str) -> Attempt {
        let mut kept = match self.checkout().await {
            Ok(kept) => kept,
            Err(why) => return Attempt::NothingCame(why),
        };
        let before = kept.bytes_read.load(Ordering::Acquire);
        let request = hyper::Request::get(path).header("host", host).body(Empty::new());
        let request = match request {
            Ok(request) => request,
            Err(error) => return Attempt::Broken(format!("the request cannot be built: {error}")),
        };
        let response = match kept.sender.send_request(request).await {
            Ok(response) => response,
            Err(error) if kept.bytes_read.load(Ordering::Acquire) == before => {
                return Attempt::NothingCame(format!("closed before an answer: {error}"));
            }
            Err(error) => return Attempt::Broken(format!("broken off in the head: {error}")),
        };
        let (head, body) = response.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Attempt::Broken(format!("broken off in the body: {error}")),
        };
        self.put_back(kept);
        Attempt::Answered(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    async fn checkout(&self) -> Result<Kept, String> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
            let Some(mut kept) = idle else { break };
            if kept.sender.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        let stream = TcpStream::connect(&self.address).await.map_err(|error| format!("connect: {error}"))?;
        let _ = stream.set_nodelay(true);
        let bytes_read = Arc::new(AtomicU64::new(0));
        let counting = TokioIo::new(Counting { inner: stream, bytes_read: bytes_read.clone() });
        let (sender, connection) =
            http1::handshake(counting).await.map_err(|error| format!("connect: {error}"))?;
        tokio::spawn(connection);
        Ok(Kept { sender, bytes_read })
    }

    fn put_back(&self, kept: Kept) {
        let mut idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if idle.len() < IDLE_MAX && !kept.sender.is_closed() {
            idle.push(kept);
        }
    }
}

/// A stream that counts what was read from it.
struct Counting {
    inner: TcpStream,
    bytes_read: Arc<AtomicU64>,
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.bytes_read.fetch_add((buffer.filled().len() - filled) as u64, Ordering::AcqRel);
        polled
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
