//! What a connection asks of the rest of the proxy: the one seam between carrying messages and answering them.
//! The worker is its only implementation in the proxy; tests of connections bring their own answers.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use super::ConnectionFacts;
use super::client_body::ClientBody;
use super::stream::ClientIo;
use crate::forwarded::Present;
use crate::tls::{Choice, Hello};
use crate::worker::Counters;

/// A tunnel ready to run with the client's side of it. Resolves when both sides are closed; may be dropped at any time.
pub type TunnelRun = Box<dyn FnOnce(ClientIo) -> Pin<Box<dyn Future<Output = ()>>>>;

/// Answers requests. One value per worker.
pub trait Application: 'static {
    /// What answers are made of.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static;

    /// Answers one request, which has the fields that are `present`. A panic in it ends this request alone: everything is done by the future.
    fn answer(
        self: &Rc<Self>,
        connection: &Rc<ConnectionFacts>,
        present: Present,
        request: Request<ClientBody>,
    ) -> impl Future<Output = Response<Self::Body>>;

    /// Takes the tunnel out of a 101. Without one the 101 is not sent.
    fn take_tunnel(body: &mut Self::Body) -> Option<TunnelRun>;

    /// The answer in place of one that cannot be given: 500 and the connection's own 431.
    fn failed(status: http::StatusCode) -> Response<Self::Body>;

    /// How to answer a TLS client on an entry point, now. `None`: not at all.
    fn tls(&self, entry_point: &str, hello: &Hello) -> Option<Choice>;

    /// Runs beside the connections for the worker's whole life, to follow the live table.
    fn follow(self: Rc<Self>) -> impl Future<Output = ()>;

    /// The worker drains: what is kept for requests to come is let go. Requests under way go on.
    fn drain(&self) {}

    /// This worker's counts.
    fn counters(&self) -> &Counters;
}
