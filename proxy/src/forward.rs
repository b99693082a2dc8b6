//! One request to one server and its answer back: the head as the server gets it, sending with at most one safe repeat, the
//! answer's head as the client gets it. It chooses no server, and what goes back to the pool is the return rule's decision.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT, WWW_AUTHENTICATE,
};
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};

use crate::body::{Progress, RequestBody, ResponseBody, Tracker, UpstreamContent};
use crate::connection::ConnectionFacts;
use crate::error::{RequestError, UpstreamFailure};
use crate::forwarded::{self, Present};
use crate::upstream::http1::{AnswerHead, Fault, RequestHead};
use crate::upstream::interim::Relay;
use crate::upstream::lease::Lease;
use crate::upstream::return_rule::Observed;
use crate::upstream::stall::Stall;
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
    let (response, lease) = send(pools, connection, upstream, outgoing, &asked).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switch(response, lease, &asked);
    }
    let present = Present::of(response.headers());
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

/// An answer's head, and where its content comes from.
type Answered = (Response<UpstreamContent>, Lease);

async fn send(
    pools: &UpstreamPools,
    connection: &Rc<ConnectionFacts>,
    upstream: &Arc<Upstream>,
    outgoing: &mut Outgoing,
    asked: &Asked,
) -> Result<Answered, RequestError> {
    outgoing.drop_framing();
    let mut fresh = false;
    loop {
        let mut lease = pools.lease(upstream, asked.upgrade.is_some(), fresh).await?;
        lease.watch_body(outgoing.tracker.clone());
        if lease.is_http2() {
            // Boxed, so that requests to servers of HTTP/1 do not carry it.
            match Box::pin(send_http2(lease, upstream, outgoing, asked)).await? {
                Sent::Answered(answered) => return Ok(answered),
                Sent::Again { elsewhere } => {
                    fresh |= elsewhere;
                    continue;
                }
            }
        }
        let fault = match send_http1(&mut lease, connection, upstream, outgoing, asked).await? {
            Ok(head) => return Ok((response_of(head), lease)),
            Err(fault) => fault,
        };
        if lease.reused() {
            if let Some(body) = lease.unwritten() {
                // Another connection, any method. Idle ones run out, so that this ends.
                outgoing.body = body;
                continue;
            }
            if asked.repeatable && lease.unanswered() {
                fresh = true;
                continue;
            }
        }
        let unwritten = lease.unwritten();
        let failure = failed(fault, unwritten.is_some(), outgoing.tracker.as_deref());
        // Whoever sends it once more sends the same body.
        outgoing.body = unwritten.unwrap_or_else(RequestBody::empty);
        return Err(failure);
    }
}

/// Sends over HTTP/1, and waits for the head of the final answer, at most as long as the transport allows. The fields of the
/// request stay where they are until an answer begins.
async fn send_http1(
    lease: &mut Lease,
    connection: &Rc<ConnectionFacts>,
    upstream: &Upstream,
    outgoing: &mut Outgoing,
    asked: &Asked,
) -> Result<Result<AnswerHead, Fault>, RequestError> {
    let body = std::mem::replace(&mut outgoing.body, RequestBody::empty());
    let head = RequestHead {
        method: &outgoing.method,
        target: outgoing.target.as_str(),
        host: outgoing.host_for(upstream),
        fields: &outgoing.headers,
    };
    lease.begin(&head, body, outgoing.announced());
    let relay = asked.relay_interim.then_some(Relay { connection, relay_continue: asked.relay_continue });
    let tracker = outgoing.tracker.as_deref();
    // Boxed, as it is rare: every request in flight would carry it.
    let limit = upstream.transport.response_header_timeout;
    let mut overdue = limit.map(|limit| Box::pin(overdue(limit, tracker)));
    let mut stall = tracker.map(|_| Stall::new(upstream.transport.upload_stall));
    let fields = &mut outgoing.headers;
    let mut departs = true;
    let sent = std::future::poll_fn(|cx| {
        if std::mem::take(&mut departs) {
            lease.depart(cx.waker());
        }
        if let Poll::Ready(sent) = lease.poll_answer(cx, fields, relay) {
            return Poll::Ready(Ok(sent));
        }
        if let Some(stall) = &mut stall
            && stall.poll(cx, lease.waits_for_server()).is_ready()
        {
            return Poll::Ready(Err(UpstreamFailure::Stalled));
        }
        match &mut overdue {
            Some(overdue) => overdue.as_mut().poll(cx).map(|()| Err(UpstreamFailure::HeaderTimeout)),
            None => Poll::Pending,
        }
    });
    let sent = sent.await.map_err(|what| RequestError::upstream(what, None, false))?;
    if sent.is_ok() {
        lease.answered();
    }
    Ok(sent)
}

fn response_of(head: AnswerHead) -> Response<UpstreamContent> {
    let mut response = Response::new(UpstreamContent::Http1);
    *response.status_mut() = head.status;
    *response.version_mut() = head.version;
    *response.headers_mut() = head.fields;
    response
}

/// What came of a request over HTTP/2.
enum Sent {
    Answered(Answered),
    /// It is to be sent once more; on a new connection if something of it was written.
    Again {
        elsewhere: bool,
    },
}

/// Sends over HTTP/2.
async fn send_http2(
    mut lease: Lease,
    upstream: &Upstream,
    outgoing: &mut Outgoing,
    asked: &Asked,
) -> Result<Sent, RequestError> {
    let repeatable = lease.reused() && asked.repeatable;
    let copy = repeatable.then(|| outgoing.headers.clone());
    let request = outgoing.take_request(upstream)?;
    let Some(sending) = lease.send_http2(request) else {
        return Err(RequestError::Internal("a connection of HTTP/2 speaks HTTP/1"));
    };
    let tracker = outgoing.tracker.as_deref();
    let transport = &upstream.transport;
    let limit = transport.response_header_timeout;
    let sent = tokio::select! {
        biased;
        sent = sending => sent,
        () = async { overdue(limit.unwrap_or_default(), tracker).await }, if limit.is_some() => {
            return Err(RequestError::upstream(UpstreamFailure::HeaderTimeout, None, false));
        }
        () = async { untaken(transport.upload_stall, tracker).await }, if tracker.is_some() => {
            return Err(RequestError::upstream(UpstreamFailure::Stalled, None, false));
        }
    };
    let failure = match sent {
        Ok(response) => {
            lease.answered();
            return Ok(Sent::Answered((response.map(UpstreamContent::Http2), lease)));
        }
        Err(failure) => failure,
    };
    match (failure.request, copy) {
        // Nothing was written: another connection, any method.
        (Some(request), _) if lease.reused() => {
            outgoing.put_back(request);
            Ok(Sent::Again { elsewhere: false })
        }
        (None, Some(headers)) => {
            outgoing.headers = headers;
            Ok(Sent::Again { elsewhere: true })
        }
        (request, _) => {
            let unwritten = request.is_some();
            let failed = failed_http2(failure.error, unwritten, tracker);
            if let Some(request) = request {
                outgoing.put_back(request);
            }
            Err(failed)
        }
    }
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

/// Resolves when a server of HTTP/2 has taken nothing of a body for at least `limit`, and at most half as long again, although
/// there was more.
async fn untaken(limit: Duration, tracker: Option<&Tracker>) {
    let mark = || tracker.filter(|tracker| tracker.is_at_hand()).map(Tracker::bytes);
    let (mut before, mut unchanged) = (mark(), 0);
    loop {
        tokio::time::sleep(limit / 2).await;
        let now = mark();
        unchanged = if now.is_some() && now == before { unchanged + 1 } else { 0 };
        if unchanged >= 2 {
            return;
        }
        before = now;
    }
}

fn failed(fault: Fault, unwritten: bool, tracker: Option<&Tracker>) -> RequestError {
    if tracker.is_some_and(|tracker| tracker.progress() == Progress::Failed) {
        return RequestError::ClientBody;
    }
    if tracker.is_some_and(|tracker| tracker.progress() == Progress::TooLong) {
        return RequestError::ContentTooLarge;
    }
    let what = match fault {
        Fault::Closed(_) => UpstreamFailure::Closed,
        Fault::Malformed(_) => UpstreamFailure::Malformed,
        Fault::Body(_) | Fault::Length => return RequestError::ClientBody,
    };
    RequestError::upstream(what, Some(fault.into()), unwritten)
}

fn failed_http2(error: hyper::Error, unwritten: bool, tracker: Option<&Tracker>) -> RequestError {
    if tracker.is_some_and(|tracker| tracker.progress() == Progress::Failed) {
        return RequestError::ClientBody;
    }
    if tracker.is_some_and(|tracker| tracker.progress() == Progress::TooLong) {
        return RequestError::ContentTooLarge;
    }
    let what = if error.is_parse() { UpstreamFailure::Malformed } else { UpstreamFailure::Closed };
    RequestError::upstream(what, Some(error.into()), unwritten)
}

impl Outgoing {
    /// What came of framing is never passed on: whoever writes the request frames it anew.
    fn drop_framing(&mut self) {
        if self.present.any(Present::TRANSFER_ENCODING) {
            self.headers.remove(TRANSFER_ENCODING);
        }
        if self.present.any(Present::CONTENT_LENGTH) {
            self.headers.remove(CONTENT_LENGTH);
        }
        if self.present.any(Present::USER_AGENT)
            && self.headers.get(USER_AGENT).is_some_and(HeaderValue::is_empty)
        {
            self.headers.remove(USER_AGENT);
        }
    }

    fn host_for<'h>(&'h self, upstream: &'h Upstream) -> &'h HeaderValue {
        if self.host.is_empty() { &upstream.authority } else { &self.host }
    }

    /// The trailer fields that the head announces.
    fn announced(&self) -> Vec<HeaderName> {
        if !self.present.any(Present::TRAILER) {
            return Vec::new();
        }
        let values = self.headers.get_all(TRAILER).iter().filter_map(|value| value.to_str().ok());
        let names = values.flat_map(|value| value.split(','));
        names.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok()).collect()
    }

    /// The request as hyper writes it over HTTP/2; fields and body are taken out.
    fn take_request(&mut self, upstream: &Upstream) -> Result<Request<RequestBody>, RequestError> {
        let uri = absolute(upstream.scheme, self.host_for(upstream), &self.target)?;
        let body = std::mem::replace(&mut self.body, RequestBody::empty());
        let mut headers = std::mem::take(&mut self.headers);
        headers.remove(HOST);
        // A method that usually carries content says so when it carries none; every other length is hyper's to write.
        let usually_full = matches!(self.method, Method::POST | Method::PUT | Method::PATCH);
        if usually_full && http_body::Body::is_end_stream(&body) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if self.present.any(Present::GRPC) {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        *request.version_mut() = Version::HTTP_2;
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

/// The answer as the client gets it.
fn answer(
    response: Response<UpstreamContent>,
    present: Present,
    mut lease: Lease,
    asked: &Asked,
) -> Response<ResponseBody> {
    let (mut parts, content) = response.into_parts();
    observe(&mut lease.seen, &parts, present, asked);
    let keep_trailer = !present.any(Present::CONTENT_LENGTH);
    forwarded::strip_answer(&mut parts.headers, present, keep_trailer);
    if matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        parts.headers.remove(CONTENT_LENGTH);
    }
    if parts.status == StatusCode::NOT_MODIFIED {
        // The client has the content that this would describe, and so Traefik leaves it out.
        parts.headers.remove(CONTENT_TYPE);
    }
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Response::from_parts(parts, ResponseBody::upstream(content, lease))
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
fn switch(
    response: Response<UpstreamContent>,
    lease: Lease,
    asked: &Asked,
) -> Result<Response<ResponseBody>, RequestError> {
    let malformed = || RequestError::upstream(UpstreamFailure::Malformed, None, false);
    let (mut parts, _) = response.into_parts();
    let agreed = forwarded::requested_upgrade(&parts.headers);
    let matches = match (&asked.upgrade, &agreed) {
        (Some(asked), Some(agreed)) => same_protocol(asked, agreed),
        _ => false,
    };
    let (Some(agreed), true) = (agreed, matches) else { return Err(malformed()) };
    let (io, read_ahead) = lease.switched().ok_or_else(malformed)?;
    let present = Present::of(&parts.headers);
    forwarded::strip_answer(&mut parts.headers, present, false);
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    parts.headers.insert(UPGRADE, agreed);
    parts.extensions.clear();
    Ok(Response::from_parts(parts, ResponseBody::tunnel(tunnel::Tunnel::new(io, read_ahead))))
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
