//! What the halves of a middleware may ask of the request path: to go on, to answer, to wait, to send the request once more from where
//! they stand. It carries these out nowhere: the journey of a request does.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Response};

use super::{Head, buffering, circuit_breaker, compress, errors, grpc_web, in_flight_req, retry};
use crate::body::{RequestBody, ResponseBody};
use crate::error::RequestError;
use crate::forward::Outgoing;
use crate::service::InFlight;
use crate::spool::{Bounds, SpoolError, Spooled, spool};
use crate::upstream::Upstream;

/// What the request half of a middleware decides.
#[derive(Debug)]
pub(crate) enum Flow {
    /// On to the next; what its response half needs is kept.
    Next(Kept),
    /// The same, and the response half may send the request once more from here, as it is now.
    Around(Kept),
    /// This is the answer.
    Answer(Box<Response<ResponseBody>>),
    /// The request is refused with this error.
    Refuse(RequestError),
    /// The middleware's `Middleware::resume` decides by what this comes to.
    Later(Later),
    /// The same, by another server's answer to another request.
    Fetch(Box<Fetch>),
}

impl Flow {
    /// Has the client's body read to its end and kept; the request has none until the middleware gives it back.
    pub(crate) fn keep_body(head: &mut Head<'_>, bounds: Bounds) -> Self {
        let body = std::mem::replace(head.body, RequestBody::empty());
        Self::Later(Later::new(async move { Outcome::Body(spool(body, bounds).await) }))
    }
}

/// A request of the proxy's own to another server.
pub(crate) struct Fetch {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) outgoing: Outgoing,
    /// How much of the answer's body is read.
    pub(crate) answer: Bounds,
    /// For the whole answer.
    pub(crate) time_max: Duration,
}

/// The answer to a [`Fetch`], read to its end.
pub(crate) type Fetched = Result<Response<Rc<Spooled>>, SpoolError<ResponseBody>>;

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch").field("answer", &self.answer).finish_non_exhaustive()
    }
}

/// What a middleware waited for.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Yes or no.
    Verdict(bool),
    /// What another server answered.
    Fetched(Fetched),
    /// The client's body, read to its end.
    Body(Result<Rc<Spooled>, SpoolError<RequestBody>>),
}

/// Something that takes time before a middleware can decide. Dropping it gives it up.
pub(crate) struct Later(Pin<Box<dyn Future<Output = Outcome>>>);

impl Later {
    pub(crate) fn new(waited_for: impl Future<Output = Outcome> + 'static) -> Self {
        Self(Box::pin(waited_for))
    }
}

impl Future for Later {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.0.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Later")
    }
}

/// What a middleware keeps from the request for the answer.
#[derive(Debug, Default)]
pub(crate) enum Kept {
    /// Nothing.
    #[default]
    Nothing,
    /// `headers`: the Origin, and whether the request came over TLS.
    Headers {
        /// The value of Origin.
        origin: Option<Box<HeaderValue>>,
        /// The client's side is TLS.
        secure: bool,
    },
    /// `inFlightReq`: the place taken, given up when the exchange ends.
    Place(in_flight_req::Place),
    /// `retry`: what is left of it.
    Retry(Box<retry::Left>),
    /// `circuitBreaker`: what the request comes to.
    Observation(Box<circuit_breaker::Observation>),
    /// `compress`: what the client prefers.
    Compress(compress::Chosen),
    /// `forwardAuth`: cookies for the client.
    Cookies(Box<[HeaderValue]>),
    /// `grpcWeb`: how the client asked.
    GrpcWeb(Box<grpc_web::Asked>),
    /// `errors`: nothing, but the request as it went on from here is needed.
    Errors,
    /// `buffering`: the request as it was read.
    Buffering(Box<buffering::Whole>),
}

/// What the response half of a middleware decides.
#[derive(Debug)]
pub(crate) enum Back {
    /// On outwards with the answer, as it is now.
    Pass,
    /// The same; this must live until the exchange ends.
    Hold(Held),
    /// The answer is thrown away and the request sent once more.
    Again(Box<Again>),
    /// Another service's page takes the answer's place.
    Page(Box<errors::Page>),
    /// The answer was taken; what comes of it takes its place and decides.
    Later(BackLater),
}

impl Back {
    pub(crate) fn later(taken: impl Future<Output = (Response<ResponseBody>, Self)> + 'static) -> Self {
        Self::Later(BackLater(Box::pin(taken)))
    }
}

/// What takes time before an answer may go on. Dropping it drops the answer.
pub(crate) struct BackLater(Pin<Box<dyn Future<Output = (Response<ResponseBody>, Back)>>>);

impl Future for BackLater {
    type Output = (Response<ResponseBody>, Back);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for BackLater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BackLater")
    }
}

/// How a request is sent once more from where a middleware stands.
#[derive(Debug)]
pub(crate) struct Again {
    /// What the middleware keeps for the next answer.
    pub(crate) kept: Kept,
    /// The body that is sent; `None`: what is left of the client's, of which nothing was sent.
    pub(crate) body: Option<RequestBody>,
    /// How long to wait before.
    pub(crate) after: Duration,
}

/// What lives until the exchange ends, or its part of the exchange is thrown away.
#[derive(Debug)]
pub(crate) enum Held {
    /// What a circuit breaker is told at the end.
    Observation {
        /// Its end is all that matters.
        _observation: Box<circuit_breaker::Observation>,
    },
    /// A place among the requests in flight.
    Place {
        /// Its end is all that matters.
        _place: in_flight_req::Place,
    },
    /// A request to a server that is counted.
    Server {
        /// The same.
        _in_flight: InFlight,
    },
}

/// What became of the latest attempt to have the request served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// A server was chosen and its connection asked for: the answer is the server's, or tells that there is none.
    pub(crate) reached: bool,
    /// Nothing of the request was sent.
    pub(crate) unsent: bool,
}
