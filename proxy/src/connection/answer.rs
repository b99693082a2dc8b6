//! The edge of the request path: a panic behind it becomes this request's failure, and the end of each answer is told to
//! its connection. It changes no answer otherwise.

use std::any::Any;
use std::cell::Cell;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::ConnectionFacts;
use super::application::Application;
use super::client_body::ClientBody;
use super::streams::{Stream, Streams};
use crate::forwarded::Present;
use crate::guard::Exchanges;
use crate::worker::Counters;

/// Answers one request; a panic is counted, logged and answered 500.
pub(super) async fn answer<A: Application>(
    application: &Rc<A>,
    facts: &Rc<ConnectionFacts>,
    present: Present,
    request: Request<ClientBody>,
) -> Response<A::Body> {
    let counters = application.counters();
    Counters::add(&counters.requests);
    // Nothing of it runs before it is polled.
    match AssertUnwindSafe(application.answer(facts, present, request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            Counters::add(&counters.panics);
            log_panic(facts, &*panic);
            A::failed(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// What a panic says.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a value that is no text")
}

fn log_panic(facts: &ConnectionFacts, panic: &(dyn Any + Send)) {
    let text = panic_text(panic);
    tracing::error!(connection = facts.id, entry_point = %facts.entry_point, panic = text, "a request panicked");
}

/// Who is told of an answer's progress.
pub(super) enum Owner {
    Http1(Rc<Exchanges>),
    /// The stream too, so that it is known how long it waits.
    Http2(Rc<Streams>, Option<Rc<Stream>>),
}

/// What asking a body for its next frame gives.
type Polled<E> = Poll<Option<Result<Frame<Bytes>, E>>>;

/// An answer's body on its way out.
pub(super) struct Tracked<A: Application> {
    /// `None` only while it is dropped.
    body: Option<A::Body>,
    owner: Owner,
    facts: Rc<ConnectionFacts>,
    application: Rc<A>,
    /// The last frame was taken and no further one asked for: it waits for the client.
    waiting: Cell<bool>,
    /// Bytes handed on, until the end was.
    handed: u64,
}

impl<A: Application> Tracked<A> {
    pub(super) fn new(body: A::Body, owner: Owner, facts: Rc<ConnectionFacts>, application: Rc<A>) -> Self {
        let ends = body.is_end_stream();
        let body = Some(body);
        let tracked = Self { body, owner, facts, application, waiting: Cell::new(false), handed: 0 };
        tracked.waits(!ends);
        tracked
    }

    fn note(&mut self, polled: &Polled<<A::Body as Body>::Error>) {
        self.waits(matches!(polled, Poll::Ready(Some(Ok(_)))));
        if let Owner::Http2(streams, stream) = &self.owner {
            let data = match polled {
                Poll::Ready(Some(Ok(frame))) => frame.data_ref(),
                _ => None,
            };
            let bytes = data.map(|data| u64::try_from(data.len()).unwrap_or(u64::MAX));
            if let Some(bytes) = bytes {
                streams.handed(bytes);
                self.handed = self.handed.saturating_add(bytes);
            }
            if let Some(stream) = stream {
                stream.hands(bytes);
            }
        }
        // From here on hyper sends what it has by itself, and nothing of it is thrown away.
        if matches!(polled, Poll::Ready(None)) || self.is_end_stream() {
            self.handed = 0;
        }
    }

    fn waits(&self, waiting: bool) {
        if let Owner::Http2(streams, _) = &self.owner
            && self.waiting.replace(waiting) != waiting
        {
            streams.waits(waiting);
        }
    }
}

/// A panic while a body was made.
#[derive(Debug, thiserror::Error)]
#[error("the answer's body panicked")]
struct BodyPanicked;

impl<A: Application> Body for Tracked<A> {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if let Owner::Http1(exchanges) = &this.owner {
            ready!(exchanges.poll_room(cx));
        }
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx))) {
            Ok(polled) => {
                this.note(&polled);
                polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            Err(panic) => {
                Counters::add(&this.application.counters().panics);
                log_panic(&this.facts, &*panic);
                // What was sent stays sent: the client must see that it is incomplete.
                Poll::Ready(Some(Err(Box::new(BodyPanicked))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<A: Application> Drop for Tracked<A> {
    fn drop(&mut self) {
        self.waits(false);
        let body = self.body.take();
        // Whoever waits for a request's end (the log, a policy that holds a place) acts here.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(body))) {
            Counters::add(&self.application.counters().panics);
            log_panic(&self.facts, &*panic);
        }
        match &self.owner {
            Owner::Http1(exchanges) => exchanges.ended(Instant::now()),
            Owner::Http2(streams, _) => streams.ended(self.handed),
        }
    }
}
