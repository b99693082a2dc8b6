//! One HTTP/1 connection: hyper behind the guard, one timer, and what happens at the end: a refusal, a tunnel, a close.
//! It never looks into requests beyond their version.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::answer::{Owner, Tracked, answer};
use super::application::{Application, TunnelRun};
use super::client_body::ClientBody;
use super::control::Stage;
use super::stream::{ClientStream, Rewound};
use super::timer::Timer;
use super::{ConnectionFacts, RawTarget, Scope};
use crate::forwarded::Present;
use crate::guard::{Exchanges, Expiry, Guarded, Refusal, Ripe};
use crate::worker::Counters;

/// hyper's buffer beyond the largest head: what one read of the guard may bring along.
pub(super) const BUFFER_SLACK_BYTES: usize = 128 * 1024;
/// How long a refusal, or a polite close, may take.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(1);
/// What a client may still send while we wait for it to read our last words.
const FAREWELL_BYTES_MAX: usize = 256 * 1024;

/// Why hyper stopped being polled.
enum Outcome {
    /// It is done: closed in order, or a 101 was written.
    Done,
    /// Reading or writing failed, or an answer broke off.
    Failed(hyper::Error),
    /// A refused message's time has come.
    Refused(Ripe),
    /// Nothing is under way, for a while already.
    Idle,
    /// The client takes too long.
    Expired(Expiry),
    /// The worker ends its connections.
    Ended,
}

/// Everything the requests of one connection share.
struct Shared<A: Application> {
    scope: Scope<A>,
    facts: Rc<ConnectionFacts>,
    exchanges: Rc<Exchanges>,
    tunnel: RefCell<Option<TunnelRun>>,
}

/// Serves a connection of which `first` was read already, to its end.
pub(super) async fn serve<A: Application>(
    io: ClientStream,
    first: BytesMut,
    scope: Scope<A>,
    facts: Rc<ConnectionFacts>,
) {
    let exchanges = Rc::new(Exchanges::new(Instant::now()));
    let limits = scope.settings.limits;
    let shared = Rc::new(Shared { scope, facts, exchanges, tunnel: RefCell::new(None) });
    let guarded = Guarded::new(io, first, limits, Rc::clone(&shared.exchanges), Rc::clone(&shared.facts));
    let service = service_fn({
        let shared = Rc::clone(&shared);
        move |request| call(Rc::clone(&shared), request)
    });
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(limits.head_bytes_max.saturating_add(BUFFER_SLACK_BYTES))
        .max_headers(limits.fields_max);
    let mut guarded = guarded;
    loop {
        let mut connection = builder.serve_connection(TokioIo::new(guarded), service.clone());
        let mut outcome = drive(&mut connection, &shared).await;
        if let Outcome::Failed(error) = outcome {
            // hyper has failed with the stream in its hands; the error has been dealt with where it arose.
            tracing::debug!(connection = shared.facts.id, %error, "the connection broke off");
            return;
        }
        let parts = connection.into_parts();
        guarded = parts.io.into_inner();
        if let Outcome::Idle = outcome {
            guarded.put_back(&parts.read_buf);
            drop(parts.read_buf);
            match park(&mut guarded, &shared).await {
                // hyper begins anew, as with a connection just accepted.
                None => continue,
                Some(ended) => outcome = ended,
            }
        }
        // Boxed, so that a connection does not carry the stages of its end through its life.
        return Box::pin(finish(outcome, guarded, &shared)).await;
    }
}

/// Waits without any buffer until the client says something (`None`) or its time is over.
async fn park<A: Application>(guarded: &mut Guarded<ClientStream>, shared: &Shared<A>) -> Option<Outcome> {
    Counters::add(&shared.scope.application.counters().parked);
    let sleep = pin!(tokio::time::sleep(Duration::ZERO));
    let mut timer = Timer::new(sleep);
    poll_fn(|cx| {
        match shared.scope.control.stage() {
            Stage::Open => {}
            Stage::Draining => shared.exchanges.drain(Instant::now()),
            Stage::Closing => return Poll::Ready(Some(Outcome::Ended)),
        }
        shared.scope.control.listen(cx.waker());
        match guarded.poll_wake(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(None),
            Poll::Ready(Err(error)) => {
                tracing::debug!(connection = shared.facts.id, %error, "the connection broke off");
                return Poll::Ready(Some(Outcome::Ended));
            }
            Poll::Pending => {}
        }
        let Some((at, expiry)) = shared.exchanges.deadline(&shared.scope.settings.timeouts) else {
            return Poll::Pending;
        };
        timer.poll(cx, at).map(|()| Some(Outcome::Expired(expiry)))
    })
    .await
}

async fn call<A: Application>(
    shared: Rc<Shared<A>>,
    mut request: Request<Incoming>,
) -> Result<Response<Tracked<A>>, Infallible> {
    let exchanges = &shared.exchanges;
    let (index, raw_target, seen) = exchanges.called();
    if exchanges.is_refused(index) {
        // Its body was refused before it could begin; the connection answers.
        return pending().await;
    }
    if let Some(target) = raw_target {
        request.extensions_mut().insert(RawTarget(target));
    }
    shared.facts.interim_allowed.set(request.version() == Version::HTTP_11);
    let request = request.map(ClientBody::new);
    let present = seen.unwrap_or_else(|| Present::of_client(request.headers()));
    let mut response = answer(&shared.scope.application, &shared.facts, present, request).await;
    shared.facts.interim_allowed.set(false);
    let mut opens_tunnel = false;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        match A::take_tunnel(response.body_mut()) {
            Some(tunnel) => {
                *shared.tunnel.borrow_mut() = Some(tunnel);
                opens_tunnel = true;
            }
            None => response = A::failed(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
    if !opens_tunnel && is_last(&shared) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    exchanges.began(opens_tunnel);
    let owner = Owner::Http1(Rc::clone(exchanges));
    let (facts, application) = (Rc::clone(&shared.facts), Rc::clone(&shared.scope.application));
    Ok(response.map(|body| Tracked::new(body, owner, facts, application)))
}

/// Whether the answer at hand is to be the connection's last.
fn is_last<A: Application>(shared: &Shared<A>) -> bool {
    let settings = &shared.scope.settings;
    shared.scope.control.stage() > Stage::Open
        || shared.facts.outdated.get()
        || settings.keep_alive_requests_max.is_some_and(|max| shared.exchanges.requests() >= max)
        || settings.keep_alive_time_max.is_some_and(|max| shared.facts.accepted_at.elapsed() >= max)
}

async fn drive<A, C>(connection: &mut C, shared: &Shared<A>) -> Outcome
where
    A: Application,
    C: Future<Output = hyper::Result<()>> + Unpin,
{
    let sleep = pin!(tokio::time::sleep(Duration::ZERO));
    let mut timer = Timer::new(sleep);
    poll_fn(|cx| {
        match shared.scope.control.stage() {
            Stage::Open => {}
            Stage::Draining => shared.exchanges.drain(Instant::now()),
            Stage::Closing => return Poll::Ready(Outcome::Ended),
        }
        shared.scope.control.listen(cx.waker());
        shared.exchanges.before_poll();
        match Pin::new(&mut *connection).poll(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Outcome::Done),
            Poll::Ready(Err(error)) => return Poll::Ready(Outcome::Failed(error)),
            Poll::Pending => shared.exchanges.after_poll(),
        }
        poll_end(cx, &mut timer, shared)
    })
    .await
}

/// After hyper has done what it could: is there a refusal to answer, or has something run out?
fn poll_end<A: Application>(
    cx: &mut Context<'_>,
    timer: &mut Timer<'_>,
    shared: &Shared<A>,
) -> Poll<Outcome> {
    loop {
        if let Some(ripe) = shared.exchanges.ripe() {
            return Poll::Ready(Outcome::Refused(ripe));
        }
        let timeouts = &shared.scope.settings.timeouts;
        let deadline = shared.exchanges.deadline(timeouts);
        if let Some(at) = shared.exchanges.parking(timeouts)
            && deadline.is_none_or(|(deadline, _)| at < deadline)
        {
            return timer.poll(cx, at).map(|()| Outcome::Idle);
        }
        let Some((at, expiry)) = deadline else { return Poll::Pending };
        if timer.poll(cx, at).is_pending() {
            return Poll::Pending;
        }
        match expiry {
            Expiry::Head => shared.exchanges.refuse(Refusal::HeadTimeout, false),
            Expiry::Body => shared.exchanges.refuse(Refusal::BodyTimeout, true),
            Expiry::Write | Expiry::Idle => return Poll::Ready(Outcome::Expired(expiry)),
        }
    }
}

async fn finish<A: Application>(outcome: Outcome, guarded: Guarded<ClientStream>, shared: &Shared<A>) {
    let unread = guarded.has_pending() || !shared.exchanges.is_body_complete();
    let (mut io, rest) = guarded.into_parts();
    match outcome {
        Outcome::Done => {
            let tunnel = shared.tunnel.borrow_mut().take();
            if let Some(tunnel) = tunnel {
                run_tunnel(tunnel, io, rest, shared).await;
            } else if unread {
                farewell(&mut io, &[]).await;
            }
        }
        Outcome::Refused(Ripe::Answer(refusal)) => {
            Counters::add(&shared.scope.application.counters().refused);
            tracing::debug!(connection = shared.facts.id, peer = %shared.facts.peer, %refusal, "refused");
            farewell(&mut io, &refusal.answer()).await;
        }
        Outcome::Expired(Expiry::Idle) | Outcome::Ended => {
            // Whether the client hears of it does not matter: nothing is under way.
            let _ = tokio::time::timeout(FAREWELL_TIME_MAX, io.shutdown()).await;
        }
        Outcome::Refused(Ripe::Abort(refusal)) => {
            Counters::add(&shared.scope.application.counters().refused);
            tracing::debug!(connection = shared.facts.id, peer = %shared.facts.peer, %refusal, "cut off");
            io.reset_on_close();
        }
        Outcome::Expired(_) => io.reset_on_close(),
        Outcome::Failed(_) | Outcome::Idle => {}
    }
}

/// Runs a tunnel until both sides are closed or the worker ends its connections. Draining leaves it alone.
async fn run_tunnel<A: Application>(tunnel: TunnelRun, io: ClientStream, rest: Bytes, shared: &Shared<A>) {
    let mut running = tunnel(Rewound::new(rest, io));
    poll_fn(|cx| {
        if shared.scope.control.stage() == Stage::Closing {
            return Poll::Ready(());
        }
        shared.scope.control.listen(cx.waker());
        running.as_mut().poll(cx)
    })
    .await;
}

/// Says the last words and waits a little for the client to have read them: closing a socket with unread bytes resets it,
/// and a reset may overtake what was written.
async fn farewell(io: &mut ClientStream, words: &[u8]) {
    let parting = async {
        io.write_all(words).await?;
        io.shutdown().await?;
        // Not within the future: every connection would carry it for its whole life.
        let mut heard = vec![0_u8; 4096];
        let mut left = FAREWELL_BYTES_MAX;
        while left > 0 {
            match io.read(&mut heard).await? {
                0 => break,
                bytes => left = left.saturating_sub(bytes),
            }
        }
        std::io::Result::Ok(())
    };
    // A client that is gone, or goes on sending, has had its chance.
    let _ = tokio::time::timeout(FAREWELL_TIME_MAX, parting).await;
}
