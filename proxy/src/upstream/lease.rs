//! One connection in the hands of one request. It watches what the return rule asks about and gives the connection back, or
//! closes it, exactly once. It never decides by itself: `return_rule::verdict` does.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use futures_util::TryFutureExt;
use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use tokio::sync::oneshot;

use super::Upstream;
use super::connect::{SwitchSlot, Switched};
use super::io::Meter;
use super::pool::{Http2Connection, UpstreamPools};
use super::return_rule::{Observed, Verdict, verdict};
use crate::body::{Progress, RequestBody, Tracker};

/// An HTTP/1 connection that no request uses.
pub(crate) struct Http1Connection {
    pub(crate) sender: http1::SendRequest<RequestBody>,
    pub(crate) meter: Rc<Meter>,
    pub(crate) switch: SwitchSlot,
}

enum Held {
    Http1(Http1Connection),
    Http2(Rc<Http2Connection>),
    /// Given back, or on its way to being closed.
    Gone,
}

/// A connection held by one request. Boxed where it is made: it passes through many hands.
pub(crate) struct Lease {
    pools: UpstreamPools,
    upstream: Arc<Upstream>,
    held: Held,
    reused: bool,
    read_before: u64,
    body: Option<Rc<Tracker>>,
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

/// A request that got no answer.
pub(crate) struct SendFailure {
    pub(crate) error: hyper::Error,
    /// The request, if nothing of it was written.
    pub(crate) request: Option<http::Request<RequestBody>>,
}

impl Lease {
    pub(crate) fn http1(
        pools: UpstreamPools,
        upstream: Arc<Upstream>,
        connection: Http1Connection,
        reused: bool,
    ) -> Box<Self> {
        let read_before = connection.meter.read.get();
        Box::new(Self {
            pools,
            upstream,
            held: Held::Http1(connection),
            reused,
            read_before,
            body: None,
            seen: Observed::fresh(),
        })
    }

    pub(crate) fn http2(
        pools: UpstreamPools,
        upstream: Arc<Upstream>,
        connection: Rc<Http2Connection>,
        reused: bool,
    ) -> Box<Self> {
        connection.streams.set(connection.streams.get() + 1);
        let read_before = connection.meter.read.get();
        Box::new(Self {
            pools,
            upstream,
            held: Held::Http2(connection),
            reused,
            read_before,
            body: None,
            seen: Observed::fresh(),
        })
    }

    /// The connection carried a request before.
    pub(crate) fn reused(&self) -> bool {
        self.reused
    }

    /// Requests are multiplexed: the head must carry the absolute target.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.held, Held::Http2(_))
    }

    /// No byte of an answer came since the lease began. On HTTP/2, where other streams are read too, a request that failed before
    /// its answer's head is one.
    pub(crate) fn unanswered(&self) -> bool {
        match &self.held {
            Held::Http1(connection) => connection.meter.read.get() == self.read_before,
            Held::Http2(_) => true,
            Held::Gone => false,
        }
    }

    /// The meter of an HTTP/1 connection, for watching interim answers.
    pub(crate) fn http1_meter(&self) -> Option<&Rc<Meter>> {
        match &self.held {
            Held::Http1(connection) => Some(&connection.meter),
            Held::Http2(_) | Held::Gone => None,
        }
    }

    /// From here on the head that is sent is kept until an answer begins. HTTP/1 only.
    pub(crate) fn keep_head(&self) {
        if let Held::Http1(connection) = &self.held {
            connection.meter.sent.borrow_mut().begin();
        }
    }

    /// The fields of the head that [`Lease::keep_head`] kept, if all of it went out.
    pub(crate) fn kept_head(&self) -> Option<http::HeaderMap> {
        self.http1_meter()?.sent.borrow().fields()
    }

    /// Which progress decides whether the request went out completely.
    pub(crate) fn watch_body(&mut self, body: Option<Rc<Tracker>>) {
        self.body = body;
    }

    /// Asks for the socket after a 101. Call it before sending; HTTP/1 only.
    pub(crate) fn expect_switch(&mut self) -> Option<oneshot::Receiver<Switched>> {
        let Held::Http1(connection) = &self.held else { return None };
        let (sender, receiver) = oneshot::channel();
        *connection.switch.borrow_mut() = Some(sender);
        Some(receiver)
    }

    /// Takes the wish of [`Lease::expect_switch`] back: the answer is no 101.
    pub(crate) fn forget_switch(&mut self) {
        if let Held::Http1(connection) = &self.held {
            connection.switch.borrow_mut().take();
        }
    }

    /// Sends the request; the future waits for the answer's head and does not borrow the lease. Dropping it abandons the request;
    /// the connection is then closed with the lease (HTTP/1) or the stream reset (HTTP/2).
    pub(crate) fn send(
        &mut self,
        request: http::Request<RequestBody>,
    ) -> impl Future<Output = Result<http::Response<Incoming>, SendFailure>> + use<> {
        let sent = match &mut self.held {
            Held::Http1(connection) => Either::Left(connection.sender.try_send_request(request)),
            Held::Http2(connection) => Either::Right(connection.sender.clone().try_send_request(request)),
            Held::Gone => unreachable!("a lease is sent on before its answer ended"),
        };
        sent.map_err(|mut failure| SendFailure {
            request: failure.take_message(),
            error: failure.into_error(),
        })
    }

    /// The answer's body was read to its end at `now`: the connection goes back if the rule allows it.
    pub(crate) fn response_ended(&mut self, now: Instant) {
        self.seen.response_complete = true;
        self.seen.request_complete =
            self.body.as_ref().is_none_or(|body| body.progress() == Progress::Complete);
        if let Some(body) = self.body.as_ref().filter(|_| !self.seen.request_complete) {
            body.stop();
        }
        self.seen.draining = self.pools.is_draining();
        self.seen.server_gone = !self.upstream.is_in_use();
        match std::mem::replace(&mut self.held, Held::Gone) {
            Held::Http1(connection) => {
                self.seen.failed |= connection.sender.is_closed();
                match verdict(&self.seen) {
                    Verdict::Return => self.pools.put(&self.upstream, connection, now),
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
        if let Held::Http2(connection) = &self.held {
            connection.streams.set(connection.streams.get().saturating_sub(1));
        }
    }
}
