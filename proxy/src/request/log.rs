//! What the access log and metrics are told of a request on its way. It decides nothing, and costs nothing where no line is written
//! and nothing counted.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;

use super::State;
use crate::access_log::WorkerLog;
use crate::body::{ResponseBody, Tracker};
use crate::connection::ConnectionFacts;
use crate::exchange::{Entry, Exchange, Origin as OriginAnswer};
use crate::forwarded::{self, Present};
use crate::limits::EntryPointPolicy;
use crate::metrics::Measured;
use crate::middleware::Head;
use crate::service::{LoadBalancer, Server, Service};
use crate::table::{EntryPointTable, Route, Table};

pub(super) fn begin(
    state: &State,
    table: &Table,
    connection: &Rc<ConnectionFacts>,
    parts: &Parts,
    host_field: Option<&HeaderValue>,
) -> Exchange {
    let log = state.log();
    if log.is_none() && table.metrics.is_none() {
        return Exchange::default();
    }
    let started = Instant::now();
    let entry = log.map(|log| entry(state, log, connection, parts, host_field, started));
    let measured = table.metrics.as_ref().map(|metrics| {
        Measured::new(metrics, state.worker, connection, &parts.method, &parts.headers, started)
    });
    Exchange::watched(entry, measured)
}

fn entry(
    state: &State,
    log: WorkerLog,
    connection: &Rc<ConnectionFacts>,
    parts: &Parts,
    host_field: Option<&HeaderValue>,
    started: Instant,
) -> Entry {
    let host = match parts.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => host_field.cloned(),
    };
    Entry {
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
    }
}

/// It came in at this entry point.
pub(super) fn note_entry_point(exchange: &mut Exchange, entry_point: &EntryPointTable) {
    if let Some(measured) = exchange.measured() {
        measured.enter(entry_point.meter.as_ref(), entry_point.policy.metrics);
    }
}

pub(super) fn note_route(exchange: &mut Exchange, route: Option<&Route>, policy: &EntryPointPolicy) {
    if let (Some(measured), Some(route)) = (exchange.measured(), route) {
        match route.metrics {
            true => measured.route(route.meter.as_ref()),
            false => exchange.forget_measured(),
        }
    }
    if !route.map_or(policy.access_logs, |route| route.access_log) {
        exchange.forget_entry();
    }
    if let (Some(entry), Some(route)) = (exchange.entry(), route) {
        entry.router = Some(Arc::clone(route.name()));
    }
}

/// A service is to choose one of its servers.
pub(super) fn note_service(exchange: &mut Exchange, service: &Service, balancer: &LoadBalancer) {
    if let Some(measured) = exchange.measured() {
        measured.begin_attempt(balancer.meter.as_ref());
    }
    log_service(exchange, service);
}

fn log_service(exchange: &mut Exchange, service: &Service) {
    if let Some(entry) = exchange.entry() {
        entry.service = Some(Arc::clone(&service.name));
    }
}

pub(super) fn log_user(exchange: &mut Exchange, user: Option<Vec<u8>>) {
    if let Some(entry) = exchange.entry() {
        entry.user = user;
    }
}

pub(super) fn log_internal(exchange: &mut Exchange, service: &Service) {
    if exchange.entry().is_some_and(|entry| !entry.log.log().logs_internals()) {
        exchange.forget_entry();
    }
    log_service(exchange, service);
}

pub(super) fn note_server(
    exchange: &mut Exchange,
    server: &Server,
    head: &Head<'_>,
    present: Present,
    tracker: Option<&Rc<Tracker>>,
) {
    const X_FORWARDED_FOR: HeaderName = forwarded::X_FORWARDED_FOR;
    if let Some(measured) = exchange.measured() {
        measured.request_body = tracker.map(Rc::clone);
    }
    let Some(entry) = exchange.entry() else { return };
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
    if let Some(measured) = exchange.measured() {
        measured.answered(response.status());
    }
    let Some(entry) = exchange.entry() else { return };
    let waited = if entry.log.log().keeps_waiting() { entry.started.elapsed() } else { Duration::ZERO };
    entry.origin = Some(OriginAnswer { status: response.status(), waited });
}

pub(super) fn finish(exchange: &mut Exchange, response: &mut Response<ResponseBody>) {
    if let Some(measured) = exchange.measured() {
        measured.finish(response.status(), response.headers());
    }
    let Some(entry) = exchange.entry() else { return };
    entry.status = Some(response.status());
    if entry.log.log().keeps_headers() {
        entry.response_headers = Some(response.headers().clone());
    }
}
