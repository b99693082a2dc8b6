//! One request under way, as metrics see it: whom it will be counted for, and with which labels. It acts once, at the request's end,
//! on its worker's own numbers.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use smallvec::SmallVec;

use super::series::{Labels, MethodLabel, Sample, Spoken};
use super::{Metrics, Shard, Subject};
use crate::body::Tracker;
use crate::connection::ConnectionFacts;
use crate::error::client_closed_request;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// gRPC's own status for an answer that names none.
const GRPC_UNKNOWN: u16 = 2;
/// Longest value of a field that becomes a label's.
const VALUE_BYTES_MAX: usize = 128;

/// One request under way.
pub(crate) struct Measured {
    worker: usize,
    connection: Rc<ConnectionFacts>,
    started: Instant,
    method: MethodLabel,
    spoken: Spoken,
    /// Whether its entry point, or by now its router, has it counted.
    counted: bool,
    entry_point: Option<Arc<Shard>>,
    /// A router and those below it.
    routers: SmallVec<[Arc<Shard>; 1]>,
    attempt: Option<Attempt>,
    status: Option<StatusCode>,
    grpc_status: Option<u16>,
    pub(crate) request_body: Option<Rc<Tracker>>,
    pub(crate) sent_bytes: u64,
    pub(crate) ended: Option<Instant>,
    values: Option<Box<[Box<str>]>>,
}

/// A request to a service: there may be several of one request, one after another.
struct Attempt {
    service: Arc<Shard>,
    begun: Instant,
    status: Option<StatusCode>,
}

impl Measured {
    /// A request that began at `started`, counted for nobody yet.
    pub(crate) fn new(
        metrics: &Metrics,
        worker: usize,
        connection: &Rc<ConnectionFacts>,
        method: &Method,
        headers: &HeaderMap,
        started: Instant,
    ) -> Self {
        let labels = &metrics.settings.header_labels;
        let values = || labels.iter().map(|(_, header)| value_of(headers.get(header))).collect();
        let values = (!labels.is_empty()).then(values);
        Self::begun(worker, connection, started, (MethodLabel::of(method), spoken(headers), values))
    }

    /// Counted for nobody yet. `request` is what its labels say of it.
    #[inline]
    fn begun(
        worker: usize,
        connection: &Rc<ConnectionFacts>,
        started: Instant,
        (method, spoken, values): (MethodLabel, Spoken, Option<Box<[Box<str>]>>),
    ) -> Self {
        Self {
            worker,
            connection: Rc::clone(connection),
            started,
            method,
            spoken,
            counted: true,
            entry_point: None,
            routers: SmallVec::new(),
            attempt: None,
            status: None,
            grpc_status: None,
            request_body: None,
            sent_bytes: 0,
            ended: None,
            values,
        }
    }

    /// For a copy of a request: what becomes of it is counted for its service only.
    pub(crate) fn of_copy(&self) -> Self {
        let request = (self.method, self.spoken, self.values.clone());
        let copy = Self::begun(self.worker, &self.connection, Instant::now(), request);
        Self { counted: self.counted, ..copy }
    }

    /// It came in at this entry point, which has requests without a router counted or not.
    pub(crate) fn enter(&mut self, entry_point: Option<&Arc<Subject>>, counted: bool) {
        self.entry_point = self.shard(entry_point);
        self.counted = counted;
    }

    /// It was given to this router, which has it counted.
    pub(crate) fn route(&mut self, router: Option<&Arc<Subject>>) {
        self.counted = true;
        self.routers.extend(self.shard(router));
    }

    /// It goes to a service. One that it went to before has had its answer.
    pub(crate) fn begin_attempt(&mut self, service: Option<&Arc<Subject>>) {
        let service = self.shard(service);
        if service.is_none() && self.attempt.is_none() {
            return;
        }
        let begun = Instant::now();
        // What came of an answer that another one replaces was not sent to anybody.
        self.end_attempt(begun, 0);
        self.attempt = service.map(|service| Attempt { service, begun, status: None });
    }

    /// The service's answer, or what stands for it.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        if let Some(attempt) = &mut self.attempt {
            attempt.status.get_or_insert(status);
        }
    }

    /// The answer that the client gets.
    pub(crate) fn finish(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.status = Some(status);
        self.note_grpc_status(headers);
    }

    /// gRPC tells its status in a field, mostly behind the answer.
    pub(crate) fn note_grpc_status(&mut self, fields: &HeaderMap) {
        if matches!(self.spoken, Spoken::Grpc | Spoken::GrpcWeb)
            && let Some(value) = fields.get(GRPC_STATUS)
        {
            let known =
                value.to_str().ok().and_then(|text| text.trim().parse().ok()).filter(|code| *code <= 16);
            self.grpc_status = Some(known.unwrap_or(GRPC_UNKNOWN));
        }
    }

    /// Counts it, at its end.
    pub(crate) fn record(&mut self) {
        if !self.counted {
            return;
        }
        let ended = self.ended.unwrap_or_else(Instant::now);
        let sent_bytes = self.sent_bytes;
        self.end_attempt(ended, sent_bytes);
        let sample = self.sample(self.status, self.started, ended, sent_bytes);
        for shard in self.entry_point.iter().chain(&self.routers) {
            shard.record(&sample);
        }
    }

    fn end_attempt(&mut self, now: Instant, sent_bytes: u64) {
        let Some(attempt) = self.attempt.take() else { return };
        let status = attempt.status.or(self.status);
        attempt.service.record(&self.sample(status, attempt.begun, now, sent_bytes));
    }

    fn sample(
        &self,
        status: Option<StatusCode>,
        begun: Instant,
        now: Instant,
        sent_bytes: u64,
    ) -> Sample<'_> {
        Sample {
            labels: Labels::new(self.code(status), self.method, self.spoken),
            took: now.saturating_duration_since(begun),
            received_bytes: self.request_body.as_ref().map_or(0, |body| body.bytes()),
            sent_bytes,
            tls: self.connection.tls.as_ref().map(|tls| (tls.version, tls.cipher)),
            values: self.values.as_deref(),
        }
    }

    /// The number that stands for what became of it, as Traefik has it: gRPC's own status, and 0 for a change of protocol.
    fn code(&self, status: Option<StatusCode>) -> u16 {
        // Without an answer the client left, unless this is the way out of a panic, which is answered elsewhere.
        let status = status.unwrap_or_else(|| match std::thread::panicking() {
            true => StatusCode::INTERNAL_SERVER_ERROR,
            false => client_closed_request(),
        });
        match self.spoken {
            Spoken::Grpc | Spoken::GrpcWeb => self.grpc_status.unwrap_or(GRPC_UNKNOWN),
            _ if status == StatusCode::SWITCHING_PROTOCOLS => 0,
            _ => status.as_u16(),
        }
    }

    fn shard(&self, subject: Option<&Arc<Subject>>) -> Option<Arc<Shard>> {
        subject?.shard(self.worker).cloned()
    }
}

/// What a request speaks, by its fields.
fn spoken(headers: &HeaderMap) -> Spoken {
    if has_word(headers, &UPGRADE, "websocket") && has_word(headers, &CONNECTION, "upgrade") {
        return Spoken::Websocket;
    }
    if has_word(headers, &ACCEPT, "text/event-stream") {
        return Spoken::Sse;
    }
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if content_type.starts_with(b"application/grpc-web") {
        Spoken::GrpcWeb
    } else if content_type.starts_with(b"application/grpc") {
        Spoken::Grpc
    } else {
        Spoken::Http
    }
}

/// Whether a field's list has this word; only its first line counts, as in Traefik.
fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let Some(value) = headers.get(name) else { return false };
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

fn value_of(value: Option<&HeaderValue>) -> Box<str> {
    let bytes = value.map_or(&b""[..], HeaderValue::as_bytes);
    String::from_utf8_lossy(bytes.get(..VALUE_BYTES_MAX).unwrap_or(bytes)).into()
}
