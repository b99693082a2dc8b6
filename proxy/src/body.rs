//! The two body types of the request path. A body only moves bytes and tells its exchange when it ended; it decides nothing
//! about status, retry or pooling.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::connection::{ClientBody, ClientBodyError};
use crate::exchange::Exchange;
use crate::forward::tunnel::Tunnel;
use crate::forwarded;
use crate::spool::{Reader, Spooled};
use crate::upstream::lease::Lease;
use base64::{Decoder, translate};

mod base64;
mod discarded;

/// Why a body broke off. Whoever polls it cuts the connection: a broken body never looks complete.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client's body could not be read to its end.
    #[error("the client's body broke off")]
    Client(#[source] ClientBodyError),
    /// The upstream's body could not be read to its end.
    #[error("the upstream's body broke off")]
    Upstream(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The upstream's answer ended first: nobody takes the rest of the client's body.
    #[error("the upstream has answered and takes no more")]
    Unwanted,
    /// It holds more than it may.
    #[error("the client's body is too large")]
    TooLong,
    /// It is not the text that its head says it is.
    #[error("the client's body is no base64")]
    NotBase64,
    /// What was kept of a body could not be read again.
    #[error("a kept body cannot be read")]
    Kept(#[source] std::io::Error),
}

/// How far a request body has come; shared by the body (inside hyper's client) and the exchange that judges pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing was taken from the client's body yet, so that it could be sent again.
    Untouched,
    /// Some bytes were taken.
    Started,
    /// The end was handed to hyper.
    Complete,
    /// The client's side failed.
    Failed,
    /// It held more than it may.
    TooLong,
}

/// What is sent to an upstream as the request body.
#[derive(Debug)]
pub struct RequestBody {
    content: Content,
    progress: Option<Rc<Tracker>>,
}

#[derive(Debug)]
enum Content {
    None,
    Client(ClientBody),
    /// What was read of a body already, and what comes after it.
    Begun(Box<(Reader, Self)>),
    /// It was read to its end and kept.
    Kept(Box<Reader>),
    /// It may hold so many bytes more.
    Limited(Box<(Self, u64)>),
    /// What it says, where it is a text; its length is not told.
    Translated(Box<(Self, Option<Decoder>)>),
}

/// The shared view on one request body.
#[derive(Debug)]
pub struct Tracker {
    state: Cell<Progress>,
    bytes: Cell<u64>,
    unwanted: Cell<bool>,
    /// The client was asked for more and has not given it yet.
    asked: Cell<bool>,
    sender: RefCell<Option<Waker>>,
}

impl Tracker {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            state: Cell::new(Progress::Untouched),
            bytes: Cell::new(0),
            unwanted: Cell::new(false),
            asked: Cell::new(false),
            sender: RefCell::new(None),
        })
    }

    /// The answer has ended: what is left of the body goes nowhere any more.
    pub(crate) fn stop(&self) {
        self.unwanted.set(true);
        if let Some(waker) = self.sender.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Who sends the body, to be told of [`Tracker::stop`].
    fn waits(&self, waker: &Waker) {
        let mut sender = self.sender.borrow_mut();
        if !sender.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *sender = Some(waker.clone());
        }
    }

    /// How far the body has come.
    pub fn progress(&self) -> Progress {
        self.state.get()
    }

    /// There may be more of the body, and it is not the client who is waited for.
    pub(crate) fn is_at_hand(&self) -> bool {
        !self.asked.get() && matches!(self.state.get(), Progress::Untouched | Progress::Started)
    }

    /// Bytes of content taken from the client so far (without framing).
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }
}

impl RequestBody {
    /// A request without a body. Allocates nothing.
    pub fn empty() -> Self {
        Self { content: Content::None, progress: None }
    }

    /// A body that is kept, from its beginning.
    pub(crate) fn kept(spooled: &Rc<Spooled>) -> Self {
        if spooled.is_empty() {
            return Self::empty();
        }
        let content = Content::Kept(Box::new(Reader::new(spooled)));
        Self { content, progress: Some(Tracker::new()) }
    }

    /// Content that is whole in memory.
    pub(crate) fn full(content: Bytes) -> Self {
        Self::kept(&Spooled::of(content))
    }

    /// The same body, which fails with the first byte above the bound.
    pub(crate) fn limited(self, bytes_max: Option<u64>) -> Self {
        let Some(bytes_max) = bytes_max else { return self };
        Self { content: Content::Limited(Box::new((self.content, bytes_max))), progress: self.progress }
    }

    /// What the body says, if it is base64 (`text`), else the same. Its length is not told beforehand.
    pub(crate) fn translated(self, text: bool) -> Self {
        if matches!(self.content, Content::None) {
            return self;
        }
        let decoder = text.then(Decoder::default);
        Self { content: Content::Translated(Box::new((self.content, decoder))), progress: self.progress }
    }

    /// What was read of a body, and then the rest of it.
    pub(crate) fn begun(read: &Rc<Spooled>, rest: Self) -> Self {
        if read.is_empty() {
            return rest;
        }
        let content = Content::Begun(Box::new((Reader::new(read), rest.content)));
        Self { content, progress: Some(Tracker::new()) }
    }

    /// Wraps the client's body. A body that is known to be empty needs no tracker and allocates nothing.
    pub fn new(incoming: ClientBody) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        Self { content: Content::Client(incoming), progress: Some(Tracker::new()) }
    }

    /// The shared view on this body; `None` if it is known to be empty.
    pub fn tracker(&self) -> Option<Rc<Tracker>> {
        self.progress.clone()
    }

    fn note(&self, state: Progress) {
        if let Some(tracker) = &self.progress {
            tracker.state.set(state);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.progress.as_ref().is_some_and(|tracker| tracker.unwanted.get()) {
            // An error, not an end: a body that is cut short must not look whole. The client's connection is let go.
            self.content = Content::None;
            return Poll::Ready(Some(Err(BodyError::Unwanted)));
        }
        match self.content.poll_frame(cx) {
            Poll::Pending => {
                if let Some(tracker) = &self.progress {
                    tracker.asked.set(true);
                    tracker.waits(cx.waker());
                }
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.note(Progress::Complete);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                let ended = self.content.is_ended();
                if let (Some(tracker), Some(data)) = (&self.progress, frame.data_ref()) {
                    tracker.asked.set(false);
                    tracker.bytes.set(tracker.bytes.get() + data.len() as u64);
                }
                self.note(if ended { Progress::Complete } else { Progress::Started });
                Poll::Ready(Some(Ok(admitted(frame))))
            }
            Poll::Ready(Some(Err(error))) => {
                self.note(if matches!(error, BodyError::TooLong) {
                    Progress::TooLong
                } else {
                    Progress::Failed
                });
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_ended()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

impl Content {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::None => Poll::Ready(None),
            Self::Client(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(BodyError::Client)))
            }
            Self::Begun(begun) if !begun.0.is_ended() => {
                begun.0.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(BodyError::Kept)))
            }
            Self::Begun(begun) => {
                *self = std::mem::replace(&mut begun.1, Self::None);
                self.poll_frame(cx)
            }
            Self::Kept(reader) => {
                reader.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(BodyError::Kept)))
            }
            Self::Limited(limited) => {
                let polled = limited.0.poll_frame(cx);
                let Poll::Ready(Some(Ok(frame))) = &polled else { return polled };
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                match limited.1.checked_sub(bytes) {
                    Some(left) => limited.1 = left,
                    None => {
                        *self = Self::None;
                        return Poll::Ready(Some(Err(BodyError::TooLong)));
                    }
                }
                polled
            }
            Self::Translated(translated) => {
                let polled = translate(&mut translated.0, translated.1.as_mut(), cx);
                if let Poll::Ready(Some(Err(_))) = &polled {
                    *self = Self::None;
                }
                polled
            }
        }
    }

    fn is_ended(&self) -> bool {
        match self {
            Self::None => true,
            Self::Client(body) => body.is_end_stream(),
            Self::Begun(begun) => begun.0.is_ended() && begun.1.is_ended(),
            Self::Kept(reader) => reader.is_ended(),
            Self::Limited(limited) => limited.0.is_ended(),
            Self::Translated(translated) => {
                translated.0.is_ended() && translated.1.as_ref().is_none_or(Decoder::is_whole)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Client(body) => body.size_hint(),
            Self::Limited(limited) => limited.0.size_hint(),
            Self::Begun(begun) => {
                let read = begun.0.left();
                let rest = begun.1.size_hint();
                let mut whole = SizeHint::new();
                whole.set_lower(read.saturating_add(rest.lower()));
                if let Some(rest) = rest.upper() {
                    whole.set_upper(read.saturating_add(rest));
                }
                whole
            }
            Self::Kept(reader) => left_of(reader),
            Self::Translated(_) => SizeHint::default(),
        }
    }
}

fn left_of(reader: &Reader) -> SizeHint {
    if let Some(told) = reader.told() {
        return SizeHint::with_exact(told);
    }
    let mut hint = SizeHint::new();
    hint.set_lower(reader.left());
    hint
}

/// A frame of the client's body as it may go on: trailers without fields that belong in a head.
fn admitted(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            forwarded::admit_trailers(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

/// What is sent to the client. It owns the exchange: dropping it, at the end or early, ends the exchange (log line, counts,
/// in-flight places).
pub struct ResponseBody {
    source: Source,
    exchange: Option<Exchange>,
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (ended, size) = (self.is_end_stream(), self.size_hint());
        f.debug_struct("ResponseBody").field("ended", &ended).field("size", &size).finish_non_exhaustive()
    }
}

enum Source {
    Empty,
    /// A frame that was looked at already, and what comes after it.
    Ahead(Box<(Frame<Bytes>, Source)>),
    Full(Bytes),
    Http1(Lease),
    /// Boxed: it is the larger one, and every answer is moved.
    Http2(Box<(Incoming, Lease)>),
    Tunnel(Option<Box<Tunnel>>),
    /// It was read to its end and kept.
    Kept(Box<Reader>),
    /// Made of another body by a middleware.
    Made(Pin<Box<dyn Body<Data = Bytes, Error = BodyError>>>),
    /// It broke off before anybody read it.
    Broken(Option<Box<BodyError>>),
}

impl ResponseBody {
    /// No content.
    pub fn empty() -> Self {
        Self { source: Source::Empty, exchange: None }
    }

    /// Content that is already whole in memory.
    pub fn full(content: impl Into<Bytes>) -> Self {
        let content = content.into();
        let source = if content.is_empty() { Source::Empty } else { Source::Full(content) };
        Self { source, exchange: None }
    }

    /// Content that was kept.
    pub(crate) fn kept(spooled: &Rc<Spooled>) -> Self {
        let source =
            if spooled.is_empty() { Source::Empty } else { Source::Kept(Box::new(Reader::new(spooled))) };
        Self { source, exchange: None }
    }

    /// Content that a middleware makes of another body as it comes.
    pub(crate) fn made(body: impl Body<Data = Bytes, Error = BodyError> + 'static) -> Self {
        Self { source: Source::Made(Box::pin(body)), exchange: None }
    }

    /// Content streamed from an upstream; its lease goes back to the pool at the end if the return rule allows it.
    pub(crate) fn upstream(content: UpstreamContent, mut lease: Lease) -> Self {
        let source = match content {
            UpstreamContent::Http1 if lease.is_answer_ended() => {
                lease.response_ended(Instant::now());
                Source::Empty
            }
            UpstreamContent::Http1 => Source::Http1(lease),
            UpstreamContent::Http2(incoming) if incoming.is_end_stream() => {
                lease.response_ended(Instant::now());
                Source::Empty
            }
            UpstreamContent::Http2(incoming) => Source::Http2(Box::new((incoming, lease))),
        };
        Self { source, exchange: None }
    }

    /// The body of a 101: no content, and the upstream's half of the tunnel.
    pub(crate) fn tunnel(tunnel: Tunnel) -> Self {
        Self { source: Source::Tunnel(Some(Box::new(tunnel))), exchange: None }
    }

    /// Takes the tunnel out of a 101, before the response is handed to hyper. The connection then writes the 101, takes its
    /// socket back and awaits [`Tunnel::run`]. `None` for every other response, and the second time.
    pub fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        let Source::Tunnel(tunnel) = &mut self.source else { return None };
        let mut tunnel = tunnel.take()?;
        tunnel.exchange = self.exchange.take();
        Some(tunnel)
    }

    /// The first piece of content, which stays in the body; `None` where there is none. Cancel safe.
    pub(crate) async fn first(&mut self) -> Option<&[u8]> {
        if !matches!(self.source, Source::Ahead(_)) {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await?;
            let source = std::mem::replace(&mut self.source, Source::Empty);
            match frame {
                Ok(frame) => self.source = Source::Ahead(Box::new((frame, source))),
                Err(error) => self.source = Source::Broken(Some(Box::new(error))),
            }
        }
        match &self.source {
            Source::Ahead(ahead) => ahead.0.data_ref().map(|data| &data[..]),
            _ => None,
        }
    }

    /// Binds the exchange to this body, so that it ends with it.
    pub(crate) fn bind(&mut self, exchange: Exchange) {
        self.exchange = Some(exchange);
    }

    /// The upstream's answer was read to its end.
    fn upstream_ended(&mut self) {
        let lease = match &mut self.source {
            Source::Http1(lease) => Some(lease),
            Source::Http2(stream) => Some(&mut stream.1),
            _ => None,
        };
        if let Some(lease) = lease {
            let now = Instant::now();
            lease.response_ended(now);
            if let Some(exchange) = &mut self.exchange {
                exchange.ended(now);
            }
        }
        self.source = Source::Empty;
    }

    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (polled, ended) = match &mut self.source {
            Source::Http1(lease) => {
                let polled = lease.poll_frame(cx).map_err(|fault| BodyError::Upstream(fault.into()));
                (polled, lease.is_answer_ended())
            }
            Source::Http2(stream) => {
                let incoming = &mut stream.0;
                let polled = Pin::new(&mut *incoming).poll_frame(cx);
                let ended = matches!(polled, Poll::Ready(Some(Ok(_)))) && incoming.is_end_stream();
                (polled.map_err(|error| BodyError::Upstream(error.into())), ended)
            }
            _ => (Poll::Ready(None), false),
        };
        match &polled {
            Poll::Ready(Some(Err(_))) => self.source = Source::Empty,
            Poll::Ready(None) => self.upstream_ended(),
            Poll::Ready(Some(Ok(_))) if ended => self.upstream_ended(),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }
}

/// Where the content of a server's answer comes from.
pub(crate) enum UpstreamContent {
    /// The connection that the lease holds.
    Http1,
    Http2(Incoming),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = match &mut this.source {
            Source::Empty | Source::Tunnel(_) => Poll::Ready(None),
            Source::Ahead(_) => match std::mem::replace(&mut this.source, Source::Empty) {
                Source::Ahead(ahead) => {
                    let (frame, source) = *ahead;
                    this.source = source;
                    Poll::Ready(Some(Ok(frame)))
                }
                _ => Poll::Ready(None),
            },
            Source::Broken(error) => Poll::Ready(error.take().map(|error| Err(*error))),
            Source::Full(content) => {
                let content = std::mem::take(content);
                this.source = Source::Empty;
                Poll::Ready(Some(Ok(Frame::data(content))))
            }
            Source::Kept(reader) => {
                reader.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(BodyError::Kept)))
            }
            Source::Made(body) => body.as_mut().poll_frame(cx),
            Source::Http1(_) | Source::Http2(_) => this.poll_upstream(cx),
        };
        if let (Some(exchange), Poll::Ready(Some(Ok(frame)))) = (this.exchange.as_mut(), &polled) {
            match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => exchange.sent(data.len() as u64),
                (None, Some(trailers)) => exchange.trailers(trailers),
                (None, None) => {}
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty | Source::Tunnel(_) => true,
            Source::Ahead(_) | Source::Broken(_) => false,
            Source::Full(content) => content.is_empty(),
            Source::Kept(reader) => reader.is_ended(),
            Source::Made(body) => body.is_end_stream(),
            Source::Http1(lease) => lease.is_answer_ended(),
            Source::Http2(stream) => stream.0.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        size_of(&self.source)
    }
}

fn size_of(source: &Source) -> SizeHint {
    match source {
        Source::Empty | Source::Tunnel(_) => SizeHint::with_exact(0),
        Source::Broken(_) => SizeHint::default(),
        Source::Ahead(ahead) => {
            let (frame, rest) = &**ahead;
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            match size_of(rest).exact() {
                Some(rest) => SizeHint::with_exact(bytes + rest),
                None => SizeHint::default(),
            }
        }
        Source::Full(content) => SizeHint::with_exact(content.len() as u64),
        Source::Kept(reader) => left_of(reader),
        Source::Made(body) => body.size_hint(),
        Source::Http1(lease) => lease.size_hint(),
        Source::Http2(stream) => stream.0.size_hint(),
    }
}
