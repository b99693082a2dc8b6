//! A request's way through the middlewares of its routers and services to a server, and its answer's way back. What stands between may
//! answer itself, have the request sent once more from where it stands, or let another service answer. It must not know what a
//! middleware is for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use futures_util::FutureExt;
use http::header::SET_COOKIE;
use http::{HeaderValue, Method, Response};
use ravelin_config::rule::{self, RequestFacts};
use smallvec::SmallVec;

use super::log::{log_user, note_origin, note_route};
use super::services::{Chosen, Destination};
use super::{Fields, State, refuse, router_in_error};
use crate::body::{BodyError, RequestBody, ResponseBody};
use crate::connection::ConnectionFacts;
use crate::error::RequestError;
use crate::exchange::Exchange;
use crate::forward;
use crate::forwarded::Origin;
use crate::limits::EntryPointPolicy;
use crate::middleware::{
    Again, Attempt, Back, Fetch, Fetched, Flow, Head, Kept, Later, Middleware, Outcome, Saved, errors::Page,
};
use crate::service::Service;
use crate::spool::{SpoolError, spool};
use crate::table::{self, Route, RouteIndex, Table};
use crate::upstream::UpstreamPools;

/// What a request carries with it through middlewares, service and server.
pub(super) struct Journey<'r> {
    pub(super) state: &'r State,
    pub(super) table: &'r Table,
    pub(super) connection: &'r Rc<ConnectionFacts>,
    pub(super) policy: &'r EntryPointPolicy,
    pub(super) origin: Origin<'r>,
    /// The canonical host, by which child routers are found too.
    pub(super) host: &'r str,
    /// The query as it is forwarded.
    pub(super) uri_query: Option<&'r str>,
    pub(super) exchange: &'r mut Exchange,
    /// What became of the latest attempt.
    pub(super) attempt: Attempt,
    /// How the client comes back to what was chosen for it.
    pub(super) cookies: Vec<HeaderValue>,
}

/// A place on the way in: what comes next are these middlewares, from this one on.
#[derive(Clone, Copy)]
struct Place<'r> {
    of: Stage<'r>,
    next: usize,
}

/// Where a request may begin, and whose middlewares it passes.
#[derive(Clone, Copy)]
pub(super) enum Stage<'r> {
    Router(&'r Route),
    Service(&'r Service),
}

/// A middleware that was passed.
struct Step<'r> {
    middleware: &'r Middleware,
    kept: Kept,
    around: Option<Box<Around<'r>>>,
}

/// What it takes to begin again behind a middleware.
struct Around<'r> {
    place: Place<'r>,
    head: Saved,
    /// How much the exchange held by then.
    held: usize,
}

type Passed<'r> = SmallVec<[Step<'r>; 4]>;

/// Why a request goes no further inward.
pub(super) enum Stop {
    Answer(Box<Response<ResponseBody>>),
    Refuse(RequestError),
}

/// How far the request halves led before somebody has to wait.
enum Inward<'r> {
    There(Destination<'r>),
    Waits(&'r Middleware, Waiting),
}

/// What a request half waits for.
enum Waiting {
    Later(Later),
    Fetch(Box<Fetch>),
}

/// A response half that asks for what takes time, or for another answer.
struct Asks<'r> {
    middleware: &'r Middleware,
    around: Option<Box<Around<'r>>>,
    back: Back,
}

impl<'r> Journey<'r> {
    /// At its beginning. `asked` is the canonical host, and the query as it is forwarded.
    pub(super) fn new(
        state: &'r State,
        table: &'r Table,
        connection: &'r Rc<ConnectionFacts>,
        policy: &'r EntryPointPolicy,
        origin: Origin<'r>,
        asked: (&'r str, Option<&'r str>),
        exchange: &'r mut Exchange,
    ) -> Self {
        let ((host, uri_query), cookies) = (asked, Vec::new());
        let attempt = Attempt::default();
        Self { state, table, connection, policy, origin, host, uri_query, exchange, attempt, cookies }
    }

    /// Through the request halves, to the service, and back through the response halves of what was passed; once more from where one
    /// of these says so. Each of them bounds how often it does.
    pub(super) async fn run(&mut self, head: &mut Head<'_>, of: Stage<'r>) -> Response<ResponseBody> {
        let mut passed = Passed::new();
        let mut place = Place { of, next: 0 };
        loop {
            let mut response = self.attempt(head, place, &mut passed).await;
            loop {
                let Some(asks) = self.back(head, &mut response, &mut passed) else { return response };
                // Boxed, as are all rare waits: every request in flight would carry them.
                if let Some(again) = Box::pin(self.grant(head, &mut response, asks, &mut passed)).await {
                    place = again;
                    break;
                }
            }
        }
    }

    async fn attempt(
        &mut self,
        head: &mut Head<'_>,
        mut place: Place<'r>,
        passed: &mut Passed<'r>,
    ) -> Response<ResponseBody> {
        self.attempt = Attempt::default();
        let inward = loop {
            match self.inward(head, &mut place, passed) {
                Ok(Inward::There(destination)) => break Ok(destination),
                Ok(Inward::Waits(middleware, waiting)) => {
                    let settled = Box::pin(self.settle(head, middleware, waiting, place, passed)).await;
                    if let Err(stop) = settled {
                        break Err(stop);
                    }
                }
                Err(stop) => break Err(stop),
            }
        };
        log_user(self.exchange, head.user.take());
        let mut response = match inward {
            Ok(destination) => {
                let asks_for_pages = passed.iter().any(|step| matches!(step.kept, Kept::Errors));
                let fields = asks_for_pages.then(|| Box::new(head.headers.clone()));
                let answered = self.reach(head, destination).await;
                if let Some(fields) = fields {
                    *head.headers = *fields;
                }
                let response = answered.unwrap_or_else(|error| refuse(self.connection, error));
                note_origin(self.exchange, &response);
                response
            }
            Err(Stop::Answer(response)) => *response,
            Err(Stop::Refuse(error)) => {
                let by_service = matches!(error, RequestError::NoServer);
                let response = refuse(self.connection, error);
                if by_service {
                    note_origin(self.exchange, &response);
                }
                response
            }
        };
        for cookie in self.cookies.drain(..) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }

    /// Through middlewares, routers and services, down to a server, as far as nobody has to wait. `place` follows.
    fn inward(
        &mut self,
        head: &mut Head<'_>,
        place: &mut Place<'r>,
        passed: &mut Passed<'r>,
    ) -> Result<Inward<'r>, Stop> {
        loop {
            let middlewares = place.of.middlewares()?;
            while let Some(middleware) = middlewares.get(place.next) {
                place.next += 1;
                let flow = self.guarded(middleware, || middleware.request(head)).unwrap_or_else(panicked);
                if let Some(waiting) = self.enter(head, middleware, flow, *place, passed)? {
                    return Ok(Inward::Waits(middleware, waiting));
                }
            }
            let of = match place.of {
                Stage::Router(route) => match &route.outcome {
                    table::Outcome::Serve { service, .. } => Stage::Service(service),
                    table::Outcome::Branch { children, .. } => {
                        let child = self.child(head, children).ok_or(Stop::Refuse(RequestError::NoRoute))?;
                        note_route(self.exchange, Some(child), self.policy);
                        Stage::Router(child)
                    }
                    table::Outcome::Error { reason } => {
                        return Err(Stop::Refuse(router_in_error(route, reason)));
                    }
                },
                Stage::Service(service) => match self.choose(head, service)? {
                    Chosen::Service(child) => Stage::Service(child),
                    Chosen::There(destination) => return Ok(Inward::There(destination)),
                },
            };
            *place = Place { of, next: 0 };
        }
    }

    /// What the request half of one middleware comes to. `place` is behind it.
    fn enter(
        &mut self,
        head: &mut Head<'_>,
        middleware: &'r Middleware,
        flow: Flow,
        place: Place<'r>,
        passed: &mut Passed<'r>,
    ) -> Result<Option<Waiting>, Stop> {
        let (kept, around) = match flow {
            Flow::Next(kept) => (kept, None),
            Flow::Around(kept) => {
                let around = Around { place, head: head.save(), held: self.exchange.held() };
                (kept, Some(Box::new(around)))
            }
            Flow::Answer(response) => return Err(Stop::Answer(response)),
            Flow::Refuse(error) => return Err(Stop::Refuse(error)),
            Flow::Later(later) => return Ok(Some(Waiting::Later(later))),
            Flow::Fetch(asked) => return Ok(Some(Waiting::Fetch(asked))),
        };
        passed.push(Step { middleware, kept, around });
        Ok(None)
    }

    /// Waits for what a request half waits for, until it has decided.
    async fn settle(
        &mut self,
        head: &mut Head<'_>,
        middleware: &'r Middleware,
        waiting: Waiting,
        place: Place<'r>,
        passed: &mut Passed<'r>,
    ) -> Result<(), Stop> {
        let mut next = Some(waiting);
        while let Some(waiting) = next {
            let outcome = match waiting {
                Waiting::Later(later) => AssertUnwindSafe(later).catch_unwind().await,
                Waiting::Fetch(_) if self.state.pools.is_full() => {
                    return Err(Stop::Refuse(self.overloaded()));
                }
                Waiting::Fetch(asked) => {
                    Ok(Outcome::Fetched(fetch(&self.state.pools, self.connection, *asked).await))
                }
            };
            let flow = self.resume(head, middleware, outcome);
            next = self.enter(head, middleware, flow, place, passed)?;
        }
        Ok(())
    }

    fn resume(
        &self,
        head: &mut Head<'_>,
        middleware: &Middleware,
        outcome: Result<Outcome, Box<dyn std::any::Any + Send>>,
    ) -> Flow {
        match outcome {
            Ok(outcome) => {
                self.guarded(middleware, || middleware.resume(head, outcome)).unwrap_or_else(panicked)
            }
            Err(panic) => {
                note_panic(self.state, self.connection, middleware, &*panic);
                panicked(())
            }
        }
    }

    /// The child router of a request as the middlewares before it left it.
    fn child(&self, head: &Head<'_>, children: &'r RouteIndex<Route>) -> Option<&'r Route> {
        let path = rule::routing_path(head.path.as_str());
        let facts = RequestFacts {
            host: self.host,
            path: &path,
            method: head.method.as_str(),
            query: self.uri_query.unwrap_or_default(),
            client_ip: Some(head.client),
            headers: &Fields(head.headers),
        };
        children.find(&facts).map(|route| &**route)
    }

    /// The response halves of what was passed, the last one first, as far as none asks for more. `None`: the answer is home.
    fn back(
        &mut self,
        head: &Head<'_>,
        response: &mut Response<ResponseBody>,
        passed: &mut Passed<'r>,
    ) -> Option<Asks<'r>> {
        while let Some(Step { middleware, kept, around }) = passed.pop() {
            let attempt = self.attempt;
            match self.guarded(middleware, || middleware.response(kept, response, attempt, head)) {
                Ok(Back::Pass) => {}
                Ok(Back::Hold(held)) => self.exchange.hold(held),
                Ok(back) => return Some(Asks { middleware, around, back }),
                Err(Panicked) => *response = refuse(self.connection, PANICKED),
            }
        }
        None
    }

    /// Does what a response half asks for. Returns from where the request is to be sent once more, if it is.
    async fn grant(
        &mut self,
        head: &mut Head<'_>,
        response: &mut Response<ResponseBody>,
        asks: Asks<'r>,
        passed: &mut Passed<'r>,
    ) -> Option<Place<'r>> {
        let Asks { middleware, around, mut back } = asks;
        if let Back::Later(later) = back {
            match AssertUnwindSafe(later).catch_unwind().await {
                Ok((answer, then)) => (*response, back) = (answer, then),
                Err(panic) => {
                    note_panic(self.state, self.connection, middleware, &*panic);
                    *response = refuse(self.connection, PANICKED);
                    return None;
                }
            }
        }
        match (back, around) {
            (Back::Pass, _) => {}
            (Back::Page(page), _) => {
                given_up(response).await;
                *response = self.page(head, *page).await;
            }
            (Back::Hold(held), _) => self.exchange.hold(held),
            (Back::Again(again), Some(around)) => {
                given_up(response).await;
                let Again { kept, body, after } = *again;
                if !after.is_zero() {
                    tokio::time::sleep(after).await;
                }
                self.exchange.release(around.held);
                head.restore(&around.head);
                if let Some(body) = body {
                    *head.body = body;
                }
                let place = around.place;
                passed.push(Step { middleware, kept, around: Some(around) });
                return Some(place);
            }
            (Back::Again(_) | Back::Later(_), _) => *response = refuse(self.connection, PANICKED),
        }
        None
    }

    /// Has another service answer in place of the one that did. The client gets the status that it would have got.
    async fn page(&mut self, head: &Head<'_>, page: Page) -> Response<ResponseBody> {
        let Page { service, path, query, mut headers, status } = page;
        let mut body = RequestBody::empty();
        let mut own = Head {
            method: &Method::GET,
            present: head.present,
            headers: &mut headers,
            path,
            query: query.as_deref(),
            host: head.host.clone(),
            tls: head.tls,
            client: head.client,
            path_options: head.path_options,
            // The page is the proxy's wish, not the client's.
            omit_forwarded_for: true,
            user: None,
            body: &mut body,
            target: head.target,
            certificates: head.certificates,
        };
        let asked = (self.host, query.as_deref());
        let (exchange, origin) = (&mut *self.exchange, self.origin);
        let mut journey =
            Journey::new(self.state, self.table, self.connection, self.policy, origin, asked, exchange);
        let mut response = journey.run(&mut own, Stage::Service(&service)).await;
        *response.status_mut() = status;
        // The log knows of one answer only, and that is this one.
        note_origin(self.exchange, &response);
        response
    }

    fn guarded<R>(&self, middleware: &Middleware, half: impl FnOnce() -> R) -> Result<R, Panicked> {
        guarded(self.state, self.connection, middleware, half)
    }
}

/// Lets go of an answer, before anybody waits for what takes its place.
async fn given_up(response: &mut Response<ResponseBody>) {
    std::mem::replace(response, Response::new(ResponseBody::empty())).into_body().discard().await;
}

/// Asks another server on a middleware's behalf, and reads its whole answer. Nothing of it reaches the client by itself.
async fn fetch(pools: &UpstreamPools, connection: &Rc<ConnectionFacts>, mut asked: Fetch) -> Fetched {
    let interim = connection.interim_allowed.replace(false);
    let fetching = async {
        let sent = forward::forward(pools, connection, &asked.upstream, &mut asked.outgoing);
        let broken = |error: RequestError| SpoolError::Broken(BodyError::Upstream(error.into()));
        let (head, body) = sent.await.map_err(broken)?.into_parts();
        Ok(Response::from_parts(head, spool(body, asked.answer).await?))
    };
    let fetched = tokio::time::timeout(asked.time_max, fetching).await;
    connection.interim_allowed.set(interim);
    fetched.unwrap_or_else(|late| Err(SpoolError::Broken(BodyError::Upstream(late.into()))))
}

/// Runs a half of a middleware; a panic in it ends this request alone, and is told with the middleware's kind.
fn guarded<R>(
    state: &State,
    connection: &ConnectionFacts,
    middleware: &Middleware,
    half: impl FnOnce() -> R,
) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(half)).map_err(|panic| {
        note_panic(state, connection, middleware, &*panic);
        Panicked
    })
}

fn note_panic(
    state: &State,
    connection: &ConnectionFacts,
    middleware: &Middleware,
    panic: &(dyn std::any::Any + Send),
) {
    let kind = middleware.kind();
    state.shared.note_panic(kind);
    let text = crate::connection::panic_text(panic);
    tracing::error!(connection = connection.id, middleware = kind, panic = text, "a middleware panicked");
}

/// A half of a middleware panicked.
struct Panicked;

const PANICKED: RequestError = RequestError::Internal("a middleware panicked");

fn panicked<T>(_: T) -> Flow {
    Flow::Refuse(PANICKED)
}

impl<'r> Stage<'r> {
    fn middlewares(self) -> Result<&'r [Middleware], Stop> {
        match self {
            Self::Service(service) => Ok(&service.middlewares),
            Self::Router(route) => match &route.outcome {
                table::Outcome::Serve { middlewares, .. } | table::Outcome::Branch { middlewares, .. } => {
                    Ok(middlewares)
                }
                table::Outcome::Error { reason } => Err(Stop::Refuse(router_in_error(route, reason))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    use std::time::Duration;

    use http::HeaderMap;

    use super::*;
    use crate::connection::Protocol;
    use crate::forward::Outgoing;
    use crate::forwarded::Present;
    use crate::request::Shared;
    use crate::spool::Bounds;
    use crate::upstream::{Transport, UpstreamRegistry};

    #[test]
    fn a_server_that_a_middleware_asks_has_its_time_and_tells_the_client_nothing() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
        let url = format!("http://{}", server.local_addr().expect("a bound socket has an address"));
        let transport = Arc::new(Transport::plain());
        let registry = UpstreamRegistry::default();
        let (upstream, _in_use) =
            registry.upstream(&url.parse().expect("a URL"), &transport).expect("a server");
        let outgoing = Outgoing {
            method: Method::GET,
            target: "/".parse().expect("a target"),
            headers: HeaderMap::new(),
            present: Present::default(),
            host: upstream.authority.clone(),
            upgrade: None,
            body: RequestBody::empty(),
            tracker: None,
        };
        let answer = Bounds { memory: 10, most: None, tells_length: true };
        let asked = Fetch { upstream, outgoing, answer, time_max: Duration::from_millis(50) };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let connection = ConnectionFacts::new(1, address, address, "web".into(), Protocol::Http1);
        connection.interim_allowed.set(true);
        let (connection, state) = (Rc::new(connection), State::new(Arc::default(), 0, 1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let fetched = tokio::task::LocalSet::new()
            .block_on(&runtime, async { fetch(&state.pools, &connection, asked).await.map(drop) });
        assert!(matches!(fetched, Err(SpoolError::Broken(_))));
        assert!(connection.interim_allowed.get(), "the client's own answer may have interim ones again");
    }

    #[test]
    fn a_panic_ends_one_request_with_500_and_is_counted_by_kind() {
        let shared = Arc::new(Shared::default());
        let state = State::new(Arc::clone(&shared), 0, 1);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let connection = ConnectionFacts::new(1, address, address, "web".into(), Protocol::Http1);
        let run = |half: fn() -> u8| guarded(&state, &connection, &Middleware::ContentType, half);
        assert!(matches!(run(|| 7), Ok(7)));
        assert!(shared.middleware_panics().is_empty());
        for count in 1..=2 {
            let Err(Panicked) = run(|| panic!("a bug")) else { panic!("it panicked") };
            assert_eq!(shared.middleware_panics(), [("contentType", count)].into());
        }
        let Flow::Refuse(error) = panicked(Panicked) else { panic!("the request is refused") };
        assert_eq!(error.into_response().status(), 500);
    }
}
