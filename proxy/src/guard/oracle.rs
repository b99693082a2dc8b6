//! The guard's language must be a subset of hyper's, with the same message boundaries. This module holds both against
//! each other on one input; tests and the fuzz target call it. Nothing on the request path does.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Event, Framing, Head, Limits, Scanner};

/// One message as either side saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The method.
    pub method: String,
    /// The target without a fragment.
    pub target: String,
    /// The decoded body; `None` where it is incomplete.
    pub body: Option<Vec<u8>>,
}

/// Scans `input` and hands what was accepted to hyper's server, which must see the same messages.
///
/// # Errors
/// Both views, where they differ.
pub fn compare(input: &[u8]) -> Result<usize, String> {
    let (messages, accepted) = scanned(input);
    let seen = served(input.get(..accepted).unwrap_or(input));
    if messages == seen {
        return Ok(messages.len());
    }
    Err(format!("input {:?}\nguard {messages:?}\nhyper {seen:?}", String::from_utf8_lossy(input)))
}

/// The messages the scanner accepts, and how many bytes of `input` hyper may see.
pub fn scanned(input: &[u8]) -> (Vec<Message>, usize) {
    let mut scanner = Scanner::new(Limits::default());
    let mut messages = Vec::new();
    let mut at = 0;
    let mut accepted = 0;
    let mut start = 0;
    loop {
        let rest = input.get(at..).unwrap_or_default();
        let step = scanner.feed(rest);
        at += step.taken;
        if scanner.is_in_body() {
            accepted = at;
        }
        match step.event {
            Some(Event::Head(head)) => {
                accepted = at;
                let body = match head.framing {
                    Framing::Empty => Some(Vec::new()),
                    Framing::Length(_) | Framing::Chunked => None,
                };
                messages.push(message(input.get(start..at).unwrap_or_default(), &head, body));
                start = at;
            }
            Some(Event::End(_)) => {
                accepted = at;
                if let Some(last) = messages.last_mut() {
                    last.1.body = Some(decode(input.get(start..at).unwrap_or_default(), last.0));
                }
                start = at;
            }
            Some(Event::Refused(_)) => break,
            None if scanner.is_held() => scanner.release(),
            None => break,
        }
    }
    (messages.into_iter().map(|(_, message)| message).collect(), accepted)
}

fn message(head_bytes: &[u8], head: &Head, body: Option<Vec<u8>>) -> (Framing, Message) {
    let text = String::from_utf8_lossy(head_bytes);
    let mut words = text.trim_start().split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let target = target.split('#').next().unwrap_or_default();
    (head.framing, Message { method, target: canonical(target), body })
}

/// As `http::Uri` prints it: the scheme in lower case, a missing path as `/`.
fn canonical(target: &str) -> String {
    target.parse::<http::Uri>().map(|uri| uri.to_string()).unwrap_or_else(|_| target.to_owned())
}

/// Content of an accepted body: its grammar is known to hold, so that this stays simple enough to trust.
fn decode(body: &[u8], framing: Framing) -> Vec<u8> {
    if framing != Framing::Chunked {
        return body.to_vec();
    }
    let mut content = Vec::new();
    let mut rest = body;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let line = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        content.extend_from_slice(rest.get(end + 2..end + 2 + size).unwrap_or_default());
        rest = rest.get(end + 4 + size..).unwrap_or_default();
    }
    content
}

/// The messages hyper's server takes from `input`.
pub fn served(input: &[u8]) -> Vec<Message> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let recorded = Rc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = Rc::clone(&recorded);
        async move {
            let message = Message {
                method: request.method().to_string(),
                target: request.uri().to_string(),
                body: None,
            };
            seen.borrow_mut().push(message);
            let index = seen.borrow().len() - 1;
            let body = request.into_body().collect().await.ok().map(|body| body.to_bytes().to_vec());
            if let Some(message) = seen.borrow_mut().get_mut(index) {
                message.body = body;
            }
            // No answer that could open a tunnel: the scanner goes on after a held message too.
            let mut answer = Response::new(Empty::<Bytes>::new());
            *answer.status_mut() = StatusCode::NOT_FOUND;
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = http1::Builder::new();
    builder.max_buf_size(4 << 20);
    let wire = Wire { input: input.to_vec(), at: 0 };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(wire), service));
    let mut context = Context::from_waker(Waker::noop());
    // All input is at hand and every write succeeds: four polls without a new message or a finished body are the end.
    let (mut before, mut idle) = (0, 0);
    while idle < 4 && connection.as_mut().poll(&mut context).is_pending() {
        let now = seen.borrow().iter().map(|message: &Message| 1 + usize::from(message.body.is_some())).sum();
        idle = if now == before { idle + 1 } else { 0 };
        before = now;
    }
    seen.take()
}

/// All of the input, then silence (an end would abort the request that runs); swallows what is written.
struct Wire {
    input: Vec<u8>,
    at: usize,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Poll::Pending;
        }
        let part = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(part);
        let taken = part.len();
        self.at += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
