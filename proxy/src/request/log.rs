//! What the access log is told of a request on its way. It decides nothing, and costs nothing where no line is written.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;

use super::State;
use crate::body::{ResponseBody, Tracker};
use crate::connection::ConnectionFacts;
use crate::exchange::{Entry, Exchange, Origin as OriginAnswer};
use crate::forwarded::{self, Present};
use crate::limits::EntryPointPolicy;
use crate::middleware::Head;
use crate::service::{Server, Service};
use crate::table::Route;

pub(super) fn begin(
    state: &State,
    connection: &Rc<ConnectionFacts>,
    parts: &Parts,
    host_field: Option<&HeaderValue>,
) -> Exchange {
    let Some(log) = state.log() else { return Exchange::default() };
    let host = match parts.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => host_field.cloned(),
    };
    let started = Instant::now();
    let entry = Entry {
        number: log.log().next_number(),
        log,
        connection: Rc::clone(connection),
        started_at: state.date(started),
        started,
        method: parts.method.clone(),
        target: parts.uri.clone(),
        version: parts.version,
        host: host.unwrap_or_else(|| HeaderValue::from_static("")),
        forwarded_for: None,
        user: None,
        router: None,
        service: None,
        server: None,
        request_headers: None,
        request_body: None,
        origin: None,
        response_headers: None,
        status: None,
        sent_bytes: 0,
        ended: None,
    };
    Exchange::logged(entry)
}

pub(super) fn log_route(exchange: &mut Exchange, route: Option<&Route>, policy: &EntryPointPolicy) {
    if !route.map_or(policy.access_logs, |route| route.access_log) {
        exchange.entry = None;
    }
    if let (Some(entry), Some(route)) = (&mut exchange.entry, route) {
        entry.router = Some(Arc::clone(route.name()));
    }
}

pub(super) fn log_service(exchange: &mut Exchange, service: &Service) {
    if let Some(entry) = &mut exchange.entry {
        entry.service = Some(Arc::clone(&service.name));
    }
}

pub(super) fn log_user(exchange: &mut Exchange, user: Option<Vec<u8>>) {
    if let Some(entry) = &mut exchange.entry {
        entry.user = user;
    }
}

pub(super) fn log_internal(exchange: &mut Exchange, service: &Service) {
    if exchange.entry.as_ref().is_some_and(|entry| !entry.log.log().logs_internals()) {
        exchange.entry = None;
    }
    log_service(exchange, service);
}

pub(super) fn log_server(
    exchange: &mut Exchange,
    server: &Server,
    head: &Head<'_>,
    present: Present,
    tracker: Option<&Rc<Tracker>>,
) {
    const X_FORWARDED_FOR: HeaderName = forwarded::X_FORWARDED_FOR;
    let Some(entry) = &mut exchange.entry else { return };
    entry.server = Some((Arc::clone(&server.url), server.upstream.authority.clone()));
    entry.request_body = tracker.map(Rc::clone);
    if present.any(Present::X_FORWARDED_FOR) {
        entry.forwarded_for = head.headers.get(X_FORWARDED_FOR).cloned();
    }
    if entry.log.log().keeps_headers() {
        let mut fields = head.headers.clone();
        fields.remove(HOST);
        entry.request_headers = Some(fields);
    }
}

pub(super) fn note_origin(exchange: &mut Exchange, response: &Response<ResponseBody>) {
    let Some(entry) = &mut exchange.entry else { return };
    let waited = if entry.log.log().keeps_waiting() { entry.started.elapsed() } else { Duration::ZERO };
    entry.origin = Some(OriginAnswer { status: response.status(), waited });
}

pub(super) fn finish(exchange: &mut Exchange, response: &mut Response<ResponseBody>) {
    let Some(entry) = &mut exchange.entry else { return };
    entry.status = Some(response.status());
    if entry.log.log().keeps_headers() {
        entry.response_headers = Some(response.headers().clone());
    }
}
