//! One connection in the hands of one request. It watches what the return rule asks about and gives the connection back, or
//! closes it, exactly once. It never decides by itself: `return_rule::verdict` does.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use futures_util::TryFutureExt;
use http::{HeaderMap, HeaderName};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::AbortHandle;

use super::Upstream;
use super::http1::{AnswerHead, Client, Fault, RequestHead};
use super::interim::Relay;
use super::io::UpstreamIo;
use super::pool::{Http2Connection, UpstreamPools};
use super::return_rule::{Observed, Verdict, verdict};
use super::stall::Stall;
use crate::body::{Progress, RequestBody, Tracker};

/// An HTTP/1 connection: of one request, and of the task that sends the rest of its body while the answer is read.
pub(crate) type SharedClient = Rc<RefCell<Client>>;

enum Held {
    Http1(SharedClient),
    Http2(Rc<Http2Connection>),
    /// Given back, or on its way to being closed.
    Gone,
}

/// A connection held by one request.
pub(crate) struct Lease {
    pools: UpstreamPools,
    upstream: Arc<Upstream>,
    held: Held,
    reused: bool,
    body: Option<Rc<Tracker>>,
    sender: Option<AbortHandle>,
    /// What the return rule will be asked with; the forwarder adds what it learns from the heads.
    pub(crate) seen: Observed,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("upstream", &self.upstream.id)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

/// A request over HTTP/2 that got no answer.
pub(crate) struct SendFailure {
    pub(crate) error: hyper::Error,
    /// The request, if nothing of it was written.
    pub(crate) request: Option<http::Request<RequestBody>>,
}

impl Lease {
    pub(crate) fn http1(
        pools: UpstreamPools,
        upstream: Arc<Upstream>,
        client: SharedClient,
        reused: bool,
    ) -> Self {
        Self::new(pools, upstream, Held::Http1(client), reused)
    }

    pub(crate) fn http2(
        pools: UpstreamPools,
        upstream: Arc<Upstream>,
        connection: Rc<Http2Connection>,
        reused: bool,
    ) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self::new(pools, upstream, Held::Http2(connection), reused)
    }

    fn new(pools: UpstreamPools, upstream: Arc<Upstream>, held: Held, reused: bool) -> Self {
        pools.enter();
        Self { pools, upstream, held, reused, body: None, sender: None, seen: Observed::fresh() }
    }

    /// The connection carried a request before.
    pub(crate) fn reused(&self) -> bool {
        self.reused
    }

    /// Requests are multiplexed: the head must carry the absolute target.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.held, Held::Http2(_))
    }

    fn client(&self) -> Option<&SharedClient> {
        match &self.held {
            Held::Http1(client) => Some(client),
            Held::Http2(_) | Held::Gone => None,
        }
    }

    /// Which progress decides whether a request over HTTP/2 went out completely, and who is told that its body is not wanted any
    /// more.
    pub(crate) fn watch_body(&mut self, body: Option<Rc<Tracker>>) {
        self.body = body;
    }

    /// Begins a request. HTTP/1 only.
    pub(crate) fn begin(&self, head: &RequestHead<'_>, body: RequestBody, announced: Vec<HeaderName>) {
        if let Some(client) = self.client() {
            client.borrow_mut().begin(head, body, announced);
        }
    }

    /// Has what was begun written, together with the requests of others that are ready. HTTP/1 only.
    pub(crate) fn depart(&self, owner: &Waker) {
        if let Some(client) = self.client() {
            self.pools.departures().add(client, owner.clone());
        }
    }

    /// Sends what was begun, unless that is to be written soon, and waits for the head of the final answer. Dropping the lease abandons the request: the connection
    /// is closed with it. HTTP/1 only.
    pub(crate) fn poll_answer(
        &self,
        cx: &mut Context<'_>,
        fields: &mut HeaderMap,
        relay: Option<Relay<'_>>,
    ) -> Poll<Result<AnswerHead, Fault>> {
        match self.client() {
            Some(client) => client.borrow_mut().poll_answer(cx, fields, relay),
            None => Poll::Ready(Err(Fault::Closed(None))),
        }
    }

    /// As of [`Client::waits_for_server`](super::http1::Client::waits_for_server).
    pub(crate) fn waits_for_server(&self) -> Option<u64> {
        self.client()?.borrow().waits_for_server()
    }

    /// The body of a request of which nothing was written. `None`: something was. HTTP/1 only.
    pub(crate) fn unwritten(&self) -> Option<RequestBody> {
        let mut client = self.client()?.borrow_mut();
        client.is_unwritten().then(|| client.take_body())
    }

    /// No byte of an answer came since the lease began. On HTTP/2, where other streams are read too, a request that failed before
    /// its answer's head is one.
    pub(crate) fn unanswered(&self) -> bool {
        self.client().is_none_or(|client| client.borrow().is_unanswered())
    }

    /// The answer's head is there. What is left of the request is sent beside the answer, whether that is being read or not.
    pub(crate) fn answered(&mut self) {
        if self.reused {
            self.pools.count_reused();
        }
        let Some(client) = self.client().filter(|client| !client.borrow().is_sent()) else { return };
        let client = Rc::downgrade(client);
        let mut stall = Stall::new(self.upstream.transport.upload_stall);
        let sending = poll_fn(move |cx| {
            let Some(client) = client.upgrade() else { return Poll::Ready(()) };
            // A body that breaks off leaves the request incomplete: the return rule closes its connection.
            if client.borrow_mut().poll_send(cx).is_ready() {
                return Poll::Ready(());
            }
            let waits = client.borrow().waits_for_server();
            // The answer breaks off with it, as nobody else would ever see that this client has left.
            stall.poll(cx, waits).map(|()| client.borrow().cut())
        });
        self.sender = Some(tokio::task::spawn_local(sending).abort_handle());
    }

    /// After a 101 over HTTP/1: the stream, and what was read behind the head.
    pub(crate) fn switched(mut self) -> Option<(UpstreamIo, Bytes)> {
        match std::mem::replace(&mut self.held, Held::Gone) {
            Held::Http1(client) => Rc::try_unwrap(client).ok().map(|client| client.into_inner().into_parts()),
            Held::Http2(connection) => {
                self.held = Held::Http2(connection);
                None
            }
            Held::Gone => None,
        }
    }

    /// Sends a request; the future waits for the answer's head and does not borrow the lease. Dropping it resets the stream.
    /// `None`: the connection speaks HTTP/1.
    pub(crate) fn send_http2(
        &self,
        request: http::Request<RequestBody>,
    ) -> Option<impl Future<Output = Result<http::Response<Incoming>, SendFailure>> + use<>> {
        let Held::Http2(connection) = &self.held else { return None };
        let sent = connection.sender.clone().try_send_request(request);
        Some(sent.map_err(|mut failure| SendFailure {
            request: failure.take_message(),
            error: failure.into_error(),
        }))
    }

    /// The next piece of an answer's content over HTTP/1.
    pub(crate) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self.client() {
            Some(client) => client.borrow_mut().poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    /// The answer's content over HTTP/1 has come to its end, or the lease is over.
    pub(crate) fn is_answer_ended(&self) -> bool {
        self.client().is_none_or(|client| client.borrow().is_answer_ended())
    }

    /// How much of the answer's content over HTTP/1 is still to come.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.client().map_or_else(|| SizeHint::with_exact(0), |client| client.borrow().size_hint())
    }

    /// The answer's body was read to its end at `now`: the connection goes back if the rule allows it.
    pub(crate) fn response_ended(&mut self, now: Instant) {
        self.seen.response_complete = true;
        self.seen.request_complete = match &self.held {
            Held::Http1(client) => client.borrow().is_sent(),
            _ => self.body.as_ref().is_none_or(|body| body.progress() == Progress::Complete),
        };
        if let Some(body) = self.body.as_ref().filter(|_| !self.seen.request_complete) {
            body.stop();
        }
        self.seen.draining = self.pools.is_draining();
        self.seen.server_gone = !self.upstream.is_in_use();
        match std::mem::replace(&mut self.held, Held::Gone) {
            Held::Http1(client) => {
                self.seen.failed |= client.borrow().is_ended();
                self.seen.surplus |= client.borrow().has_surplus();
                self.seen.expired |= client.borrow().is_worn(self.upstream.transport.wear, now);
                match verdict(&self.seen) {
                    Verdict::Return => self.pools.put(&self.upstream, client, now),
                    Verdict::Close(reason) => {
                        tracing::debug!(
                            upstream = self.upstream.id,
                            ?reason,
                            "closing an upstream connection"
                        );
                        self.pools.count_closed(reason);
                    }
                }
            }
            Held::Http2(connection) => connection.streams.set(connection.streams.get().saturating_sub(1)),
            Held::Gone => {}
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pools.leave();
        if let Some(sender) = &self.sender {
            sender.abort();
        }
        if let Held::Http2(connection) = &self.held {
            connection.streams.set(connection.streams.get().saturating_sub(1));
        }
    }
}
