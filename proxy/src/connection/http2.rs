//! One HTTP/2 connection: hyper above a walk over frame heads, one timer, and two-step GOAWAY when it is to end.
//! It never looks into requests beyond their number of fields.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::answer::{Owner, Tracked, answer};
use super::application::Application;
use super::client_body::ClientBody;
use super::control::Stage;
use super::stream::{ClientStream, Rewound};
use super::streams::{Due, OnThisThread, Streams};
use super::timer::Timer;
use super::watched::Watched;
use super::{ConnectionFacts, Scope};
use crate::forwarded::Present;
use crate::worker::Counters;

const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
pub(super) const SEND_BUFFER_BYTES: usize = 64 * 1024;
pub(super) const FRAME_BYTES_MAX: u32 = 16 * 1024;
const LOCAL_RESETS_MAX: usize = 100;
const PENDING_ACCEPT_RESETS_MAX: usize = 20;

/// Serves a connection to its end.
pub(super) async fn serve<A: Application>(
    io: Rewound<ClientStream>,
    scope: Scope<A>,
    facts: Rc<ConnectionFacts>,
) {
    let streams = Rc::new(Streams::new(Instant::now()));
    let watched = Watched::new(io, Rc::clone(&streams));
    let settings = std::sync::Arc::clone(&scope.settings);
    let service = service_fn({
        let (scope, facts, streams) = (scope.clone(), Rc::clone(&facts), Rc::clone(&streams));
        move |request| call(scope.clone(), Rc::clone(&facts), Rc::clone(&streams), request)
    });
    let mut builder = http2::Builder::new(OnThisThread(Rc::clone(&streams)));
    builder
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(settings.http2.streams_max)
        .max_header_list_size(settings.http2.header_list_bytes_max)
        .header_table_size(settings.http2.header_table_bytes)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .max_pending_accept_reset_streams(PENDING_ACCEPT_RESETS_MAX);
    let connection = pin!(builder.serve_connection(TokioIo::new(watched), service));
    drive(connection, &scope, &facts, &streams).await;
}

async fn call<A: Application>(
    scope: Scope<A>,
    facts: Rc<ConnectionFacts>,
    streams: Rc<Streams>,
    request: Request<Incoming>,
) -> Result<Response<Tracked<A>>, Infallible> {
    let stream = streams.began();
    let asks_content = request.method() != Method::HEAD;
    // Ends the stream's count on every way out, a reset by the client among them, until the body takes over.
    let ending = Ending(Some(Rc::clone(&streams)));
    let mut response = if request.headers().len() > scope.settings.limits.fields_max {
        Counters::add(&scope.application.counters().refused);
        A::failed(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    } else {
        let body = |incoming| match &stream {
            Some(stream) => ClientBody::of(stream, incoming),
            None => ClientBody::new(incoming),
        };
        let present = Present::of_client(request.headers());
        answer(&scope.application, &facts, present, request.map(body)).await
    };
    if stream.as_ref().is_some_and(|stream| stream.is_late()) {
        Counters::add(&scope.application.counters().refused);
        response = A::failed(StatusCode::REQUEST_TIMEOUT);
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // There is no 101 in HTTP/2: extended CONNECT is not offered, so nobody may have asked.
        response = A::failed(StatusCode::INTERNAL_SERVER_ERROR);
    }
    if asks_content {
        tell_length(&mut response);
    }
    let owner = Owner::Http2(ending.hand_over(streams), stream);
    let application = Rc::clone(&scope.application);
    Ok(response.map(|body| Tracked::new(body, owner, facts, application)))
}

/// An answer that is empty and need not be says so in its head, as over HTTP/1.
fn tell_length<B: Body>(response: &mut Response<B>) {
    let is_never_full = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let is_empty = response.body().is_end_stream();
    if is_empty && !is_never_full && !response.headers().contains_key(CONTENT_LENGTH) {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

struct Ending(Option<Rc<Streams>>);

impl Ending {
    fn hand_over(mut self, streams: Rc<Streams>) -> Rc<Streams> {
        self.0 = None;
        streams
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(streams) = &self.0 {
            streams.ended(0);
        }
    }
}

/// A connection that hyper can end in two steps.
trait Graceful: Future<Output = hyper::Result<()>> {
    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<I, S, E, B> Graceful for http2::Connection<I, S, E>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        http2::Connection::graceful_shutdown(self);
    }
}

async fn drive<A: Application>(
    mut connection: Pin<&mut impl Graceful>,
    scope: &Scope<A>,
    facts: &ConnectionFacts,
    streams: &Streams,
) {
    let sleep = pin!(tokio::time::sleep(Duration::ZERO));
    let mut timer = Timer::new(sleep);
    let mut parting = None;
    poll_fn(|cx| {
        if scope.control.stage() == Stage::Closing {
            return Poll::Ready(());
        }
        scope.control.listen(cx.waker());
        if parting.is_none() && is_old(scope, facts, streams) {
            parting = Some(Instant::now());
            connection.as_mut().graceful_shutdown();
        }
        match connection.as_mut().poll(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(()),
            Poll::Ready(Err(error)) => {
                tracing::debug!(connection = facts.id, %error, "the connection broke off");
                return Poll::Ready(());
            }
            Poll::Pending => {}
        }
        match poll_due(cx, &mut timer, scope, facts, streams, parting.is_some()) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Due::Idle) if parting.is_none() => {
                parting = Some(Instant::now());
                connection.as_mut().graceful_shutdown();
                streams.idle_since.set(Instant::now());
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(due) => {
                tracing::debug!(connection = facts.id, peer = %facts.peer, ?due, "closed: the client takes too long");
                streams.abrupt.set(true);
                Poll::Ready(())
            }
        }
    })
    .await;
}

/// Whether the connection is to take no further streams.
fn is_old<A: Application>(scope: &Scope<A>, facts: &ConnectionFacts, streams: &Streams) -> bool {
    let settings = &scope.settings;
    scope.control.stage() > Stage::Open
        || facts.outdated.get()
        || settings.keep_alive_requests_max.is_some_and(|max| streams.total() >= max)
        || settings.keep_alive_time_max.is_some_and(|max| facts.accepted_at.elapsed() >= max)
}

fn poll_due<A: Application>(
    cx: &mut Context<'_>,
    timer: &mut Timer<'_>,
    scope: &Scope<A>,
    facts: &ConnectionFacts,
    streams: &Streams,
    parting: bool,
) -> Poll<Due> {
    let timeouts = &scope.settings.timeouts;
    // A client that does not answer the farewell is not waited for as long as one that may still send requests.
    let idle = if parting { Some(timeouts.idle_in_drain) } else { timeouts.idle };
    loop {
        let Some((at, due)) = streams.deadline(timeouts, idle, facts.accepted_at, Instant::now) else {
            return Poll::Pending;
        };
        if timer.poll(cx, at).is_pending() {
            return Poll::Pending;
        }
        if due != Due::Look {
            return Poll::Ready(due);
        }
        streams.look_at_each(timeouts, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[test]
    fn an_empty_answer_tells_its_length_unless_it_can_hold_nothing() {
        let told = |status: StatusCode, text: &'static str| {
            let mut response = Response::new(Full::new(bytes::Bytes::from_static(text.as_bytes())));
            *response.status_mut() = status;
            tell_length(&mut response);
            response.headers().get(CONTENT_LENGTH).cloned()
        };
        assert_eq!(told(StatusCode::OK, ""), Some(HeaderValue::from_static("0")));
        assert_eq!(told(StatusCode::IM_A_TEAPOT, ""), Some(HeaderValue::from_static("0")));
        assert_eq!(told(StatusCode::OK, "full"), None, "hyper tells it");
        assert_eq!(told(StatusCode::NO_CONTENT, ""), None);
        assert_eq!(told(StatusCode::NOT_MODIFIED, ""), None);
    }
}
