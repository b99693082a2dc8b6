//! One request to one server and its answer back: the head as the server gets it, sending with at most one safe repeat, the
//! answer's head as the client gets it. It chooses no server, and what goes back to the pool is the return rule's decision.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
    WWW_AUTHENTICATE,
};
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;

use crate::body::{Progress, RequestBody, ResponseBody, Tracker};
use crate::connection::ConnectionFacts;
use crate::error::{RequestError, UpstreamFailure};
use crate::forwarded::{self, Present};
use crate::upstream::interim::InterimWatch;
use crate::upstream::lease::{Lease, SendFailure};
use crate::upstream::return_rule::Observed;
use crate::upstream::{Scheme, Upstream, UpstreamPools};

pub mod tunnel;

/// A request ready to be sent to any server.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) target: PathAndQuery,
    /// All of the header policy is done, except Host, which may be there as the client sent it.
    pub(crate) headers: HeaderMap,
    /// Which of them may be there.
    pub(crate) present: Present,
    /// What the server gets as Host.
    pub(crate) host: HeaderValue,
    /// The protocol that the client asks to switch to.
    pub(crate) upgrade: Option<HeaderValue>,
    pub(crate) body: RequestBody,
    pub(crate) tracker: Option<Rc<Tracker>>,
}

/// Sends a request to a server and brings its answer.
///
/// # Errors
/// What failed and whether sending the same request again is safe. Dropping the future abandons the request: its connection is
/// closed, never pooled.
pub(crate) async fn forward(
    pools: &UpstreamPools,
    connection: &Rc<ConnectionFacts>,
    upstream: &Arc<Upstream>,
    outgoing: &mut Outgoing,
) -> Result<Response<ResponseBody>, RequestError> {
    if upstream.scheme == Scheme::H2c && outgoing.upgrade.take().is_some() {
        outgoing.headers.remove(CONNECTION);
        outgoing.headers.remove(UPGRADE);
    }
    let asked = Asked::of(outgoing, connection);
    let (response, lease, switching) = send(pools, connection, upstream, outgoing, &asked).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Boxed: it is rare, while every request in flight carries this future.
        return Box::pin(switch(response, lease, switching, &asked)).await;
    }
    let present = Present::of(response.headers());
    if present.any(Present::TRANSFER_ENCODING) && !is_framing_known(&response) {
        // Dropping the lease closes the connection: where this answer ends cannot be known.
        return Err(RequestError::upstream(UpstreamFailure::Malformed, None, false));
    }
    Ok(answer(response, present, lease, &asked))
}

/// What has to be remembered of a request to judge its answer.
struct Asked {
    upgrade: Option<HeaderValue>,
    head: bool,
    bound_authentication: bool,
    /// May be sent again although it may have been carried out: it has no body, and carrying it out twice is harmless.
    repeatable: bool,
    relay_continue: bool,
    relay_interim: bool,
}

impl Asked {
    fn of(outgoing: &Outgoing, connection: &ConnectionFacts) -> Self {
        let idempotent = matches!(
            outgoing.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
        );
        Self {
            upgrade: outgoing.upgrade.clone(),
            head: outgoing.method == Method::HEAD,
            bound_authentication: outgoing.present.any(Present::AUTHORIZATION)
                && binds_connection(outgoing.headers.get(http::header::AUTHORIZATION)),
            repeatable: idempotent && outgoing.tracker.is_none() && outgoing.upgrade.is_none(),
            relay_continue: !outgoing.present.any(Present::EXPECT)
                || !outgoing.headers.contains_key(http::header::EXPECT),
            relay_interim: connection.interim_allowed.get(),
        }
    }
}

/// NTLM and Negotiate authenticate a connection, not a request.
fn binds_connection(credentials: Option<&HeaderValue>) -> bool {
    let scheme = credentials.and_then(|value| value.as_bytes().split(|&byte| byte == b' ').next());
    scheme.is_some_and(|scheme| {
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    })
}

type Switching = tokio::sync::oneshot::Receiver<crate::upstream::connect::Switched>;

async fn send(
    pools: &UpstreamPools,
    connection: &Rc<ConnectionFacts>,
    upstream: &Arc<Upstream>,
    outgoing: &mut Outgoing,
    asked: &Asked,
) -> Result<(Response<Incoming>, Box<Lease>, Option<Switching>), RequestError> {
    let mut fresh = false;
    loop {
        let mut lease = pools.lease(upstream, asked.upgrade.is_some(), fresh).await?;
        lease.watch_body(outgoing.tracker.clone());
        let switching = asked.upgrade.as_ref().and_then(|_| lease.expect_switch());
        // The head is kept only where it may be needed: on a connection that may have died unseen while it lay idle.
        let repeatable = lease.reused() && asked.repeatable;
        let copy = (repeatable && lease.is_http2()).then(|| outgoing.headers.clone());
        if repeatable {
            lease.keep_head();
        }
        let request = outgoing.take_request(upstream, lease.is_http2())?;
        let sending = std::pin::pin!(lease.send(request));
        let head = await_head(&lease, sending, connection, upstream, asked, outgoing.tracker.as_deref());
        let failure = match head.await? {
            Ok(response) => return Ok((response, lease, switching)),
            Err(failure) => failure,
        };
        lease.seen.failed = true;
        let kept = if repeatable && lease.unanswered() { copy.or_else(|| lease.kept_head()) } else { None };
        match (failure.request, kept) {
            // Nothing was written: another connection, any method. Idle ones run out, so that this ends.
            (Some(request), _) if lease.reused() => outgoing.put_back(request),
            (None, Some(headers)) => {
                outgoing.headers = headers;
                fresh = true;
            }
            (request, _) => {
                return Err(failed(failure.error, request.is_some(), outgoing.tracker.as_deref()));
            }
        }
    }
}

/// Sends, and waits for the head of the final answer, at most as long as the transport allows.
async fn await_head(
    lease: &Lease,
    mut sending: Pin<&mut impl Future<Output = Result<Response<Incoming>, SendFailure>>>,
    connection: &Rc<ConnectionFacts>,
    upstream: &Upstream,
    asked: &Asked,
    tracker: Option<&Tracker>,
) -> Result<Result<Response<Incoming>, SendFailure>, RequestError> {
    let meter = lease.http1_meter().filter(|_| asked.relay_interim);
    if let Some(meter) = meter {
        *meter.interim.borrow_mut() = Some(InterimWatch::new(Rc::clone(connection), asked.relay_continue));
    }
    let watched = std::future::poll_fn(|cx| {
        if let Some(meter) = meter
            && let Some(watch) = meter.interim.borrow_mut().as_mut()
        {
            watch.wakes(cx.waker());
        }
        sending.as_mut().poll(cx)
    });
    let sent = match upstream.transport.response_header_timeout {
        None => watched.await,
        Some(limit) => tokio::select! {
            sent = watched => sent,
            () = overdue(limit, tracker) => {
                return Err(RequestError::upstream(UpstreamFailure::HeaderTimeout, None, false));
            }
        },
    };
    if let Some(meter) = meter {
        meter.interim.borrow_mut().take();
    }
    Ok(sent)
}

/// Resolves when the answer's head is overdue: `limit` after the request went out completely, measured in steps of `limit`.
async fn overdue(limit: Duration, tracker: Option<&Tracker>) {
    loop {
        tokio::time::sleep(limit).await;
        if tracker.is_none_or(|tracker| tracker.progress() == Progress::Complete) {
            return;
        }
    }
}

fn failed(error: hyper::Error, unwritten: bool, tracker: Option<&Tracker>) -> RequestError {
    if tracker.is_some_and(|tracker| tracker.progress() == Progress::Failed) {
        return RequestError::ClientBody;
    }
    let what = if error.is_parse() { UpstreamFailure::Malformed } else { UpstreamFailure::Closed };
    RequestError::upstream(what, Some(error.into()), unwritten)
}

impl Outgoing {
    /// The request as hyper writes it; fields and body are taken out. Framing fields are hyper's to write: what came is never
    /// passed on.
    fn take_request(
        &mut self,
        upstream: &Upstream,
        http2: bool,
    ) -> Result<Request<RequestBody>, RequestError> {
        let host = if self.host.is_empty() { &upstream.authority } else { &self.host };
        let body = std::mem::replace(&mut self.body, RequestBody::empty());
        let mut headers = std::mem::take(&mut self.headers);
        if self.present.any(Present::TRANSFER_ENCODING) {
            headers.remove(TRANSFER_ENCODING);
        }
        if self.present.any(Present::USER_AGENT) && headers.get(USER_AGENT).is_some_and(HeaderValue::is_empty)
        {
            headers.remove(USER_AGENT);
        }
        // A method that usually carries content says so when it carries none; every other length is hyper's to write.
        let usually_full = matches!(self.method, Method::POST | Method::PUT | Method::PATCH);
        if usually_full && http_body::Body::is_end_stream(&body) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        } else if self.present.any(Present::CONTENT_LENGTH) {
            headers.remove(CONTENT_LENGTH);
        }
        let uri = if http2 {
            headers.remove(HOST);
            absolute(upstream.scheme, host, &self.target)?
        } else {
            if headers.get(HOST) != Some(host) {
                headers.insert(HOST, host.clone());
            }
            Uri::from(self.target.clone())
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        *request.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        Ok(request)
    }

    /// Takes back what was not written.
    fn put_back(&mut self, request: Request<RequestBody>) {
        let (parts, body) = request.into_parts();
        self.headers = parts.headers;
        self.body = body;
    }
}

fn absolute(scheme: Scheme, host: &HeaderValue, target: &PathAndQuery) -> Result<Uri, RequestError> {
    let authority = Authority::from_maybe_shared(Bytes::copy_from_slice(host.as_bytes()));
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if scheme == Scheme::Https { UriScheme::HTTPS } else { UriScheme::HTTP });
    parts.authority = Some(authority.map_err(|_| RequestError::BadHost)?);
    parts.path_and_query = Some(target.clone());
    Uri::from_parts(parts).map_err(|_| RequestError::BadRequest)
}

/// Whether an HTTP/1 answer's `Transfer-Encoding`, if it has one, is exactly `chunked`. Another coding would pass for content, and
/// its end for that of the connection.
fn is_framing_known(response: &Response<Incoming>) -> bool {
    let mut codings = response.headers().get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

/// The answer as the client gets it.
fn answer(
    response: Response<Incoming>,
    present: Present,
    mut lease: Box<Lease>,
    asked: &Asked,
) -> Response<ResponseBody> {
    let (mut parts, incoming) = response.into_parts();
    lease.forget_switch();
    observe(&mut lease.seen, &parts, present, asked);
    let keep_trailer = !present.any(Present::CONTENT_LENGTH);
    forwarded::strip_answer(&mut parts.headers, present, keep_trailer);
    if matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        parts.headers.remove(CONTENT_LENGTH);
    }
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Response::from_parts(parts, ResponseBody::upstream(incoming, lease))
}

/// What the head of an answer, of which `present` was just seen, says about its connection.
fn observe(seen: &mut Observed, parts: &http::response::Parts, present: Present, asked: &Asked) {
    let headers = &parts.headers;
    let bodiless = asked.head
        || parts.status.is_informational()
        || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let chunked = present.any(Present::TRANSFER_ENCODING);
    let http1 = parts.version < Version::HTTP_2;
    seen.close_delimited = http1 && !bodiless && !chunked && !present.any(Present::CONTENT_LENGTH);
    seen.close_asked = present.any(Present::CONNECTION)
        && headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case("close")));
    seen.persistent_version = parts.version >= Version::HTTP_11;
    seen.chunked_in_1_0 = parts.version == Version::HTTP_10 && chunked;
    seen.bound_authentication = asked.bound_authentication
        || (present.any(Present::WWW_AUTHENTICATE)
            && headers.get_all(WWW_AUTHENTICATE).iter().any(|challenge| binds_connection(Some(challenge))));
}

/// A tunnel, if the 101 is what was asked for; else the server's answer is no answer.
async fn switch(
    response: Response<Incoming>,
    lease: Box<Lease>,
    switching: Option<Switching>,
    asked: &Asked,
) -> Result<Response<ResponseBody>, RequestError> {
    let malformed = || RequestError::upstream(UpstreamFailure::Malformed, None, false);
    let (mut parts, _) = response.into_parts();
    let agreed = forwarded::requested_upgrade(&parts.headers);
    let matches = match (&asked.upgrade, &agreed) {
        (Some(asked), Some(agreed)) => same_protocol(asked, agreed),
        _ => false,
    };
    let (Some(switching), Some(agreed), true) = (switching, agreed, matches) else { return Err(malformed()) };
    let switched = switching.await.map_err(|_| malformed())?;
    drop(lease);
    let present = Present::of(&parts.headers);
    forwarded::strip_answer(&mut parts.headers, present, false);
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    parts.headers.insert(UPGRADE, agreed);
    parts.extensions.clear();
    let tunnel = tunnel::Tunnel::new(switched.io, switched.read_ahead);
    Ok(Response::from_parts(parts, ResponseBody::tunnel(tunnel)))
}

fn same_protocol(asked: &HeaderValue, agreed: &HeaderValue) -> bool {
    let agreed = agreed.as_bytes().trim_ascii();
    asked
        .as_bytes()
        .split(|&byte| byte == b',')
        .any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(agreed))
}

#[cfg(test)]
mod tests;
