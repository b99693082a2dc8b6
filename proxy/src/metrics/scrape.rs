//! A scrape: everything that is counted, summed over the workers and written down. It runs beside the workers' requests and changes
//! nothing.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderValue, Response, header};

use super::exposition::{Exposition, Type};
use super::series::{Labels, Total, Totals};
use super::{Metrics, Name, Settings, Subject, process};
use crate::request::Shared;
use crate::table::Table;

/// What a scrape is, as Traefik says it.
const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");

/// One kind of things that requests are counted for.
struct Family {
    requests: &'static str,
    tls: &'static str,
    duration: &'static str,
    received: &'static str,
    sent: &'static str,
    help: [&'static str; 5],
}

const ENTRY_POINT: Family = Family {
    requests: "traefik_entrypoint_requests_total",
    tls: "traefik_entrypoint_requests_tls_total",
    duration: "traefik_entrypoint_request_duration_seconds",
    received: "traefik_entrypoint_requests_bytes_total",
    sent: "traefik_entrypoint_responses_bytes_total",
    help: [
        "How many HTTP requests processed on an entrypoint, partitioned by status code, protocol, and method.",
        "How many HTTP requests with TLS processed on an entrypoint, partitioned by TLS version and cipher.",
        "How long it took to process the request on an entrypoint, partitioned by status code, protocol, and method.",
        "The total size of requests in bytes handled by an entrypoint, partitioned by status code, protocol, and method.",
        "The total size of responses in bytes handled by an entrypoint, partitioned by status code, protocol, and method.",
    ],
};

const ROUTER: Family = Family {
    requests: "traefik_router_requests_total",
    tls: "traefik_router_requests_tls_total",
    duration: "traefik_router_request_duration_seconds",
    received: "traefik_router_requests_bytes_total",
    sent: "traefik_router_responses_bytes_total",
    help: [
        "How many HTTP requests are processed on a router, partitioned by service, status code, protocol, and method.",
        "How many HTTP requests with TLS are processed on a router, partitioned by service, TLS version and cipher.",
        "How long it took to process the request on a router, partitioned by service, status code, protocol, and method.",
        "The total size of requests in bytes handled by a router, partitioned by service, status code, protocol, and method.",
        "The total size of responses in bytes handled by a router, partitioned by service, status code, protocol, and method.",
    ],
};

const SERVICE: Family = Family {
    requests: "traefik_service_requests_total",
    tls: "traefik_service_requests_tls_total",
    duration: "traefik_service_request_duration_seconds",
    received: "traefik_service_requests_bytes_total",
    sent: "traefik_service_responses_bytes_total",
    help: [
        "How many HTTP requests processed on a service, partitioned by status code, protocol, and method.",
        "How many HTTP requests with TLS processed on a service, partitioned by TLS version and cipher.",
        "How long it took to process the request on a service, partitioned by status code, protocol, and method.",
        "The total size of requests in bytes received by a service, partitioned by status code, protocol, and method.",
        "The total size of responses in bytes returned by a service, partitioned by status code, protocol, and method.",
    ],
};

/// The answer to a scrape.
pub(crate) fn scrape(table: &Table, shared: &Shared) -> Response<Bytes> {
    let mut out = Exposition::default();
    if let Some(metrics) = &table.metrics {
        for subject in metrics.subjects() {
            of_subject(&mut out, metrics, &subject);
        }
        let uncounted = metrics.budget.uncounted.load(std::sync::atomic::Ordering::Relaxed);
        let help = "Requests that were not counted, as there were too many series.";
        out.single("ravelin_metrics_uncounted_requests_total", Type::Counter, help, uncounted);
        let series = metrics.budget.series.load(std::sync::atomic::Ordering::Relaxed);
        out.single("ravelin_metrics_series", Type::Gauge, "Series of requests, over all workers.", series);
    }
    of_process(&mut out, shared);
    of_table(&mut out, table);
    process::add(&mut out);
    let mut response = Response::new(Bytes::from(out.text()));
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response
}

fn of_subject(out: &mut Exposition, metrics: &Metrics, subject: &Subject) {
    let mut totals = Totals::default();
    for shard in subject.used_shards() {
        shard.add_to(&mut totals);
    }
    let (family, own): (_, &[(&str, &str)]) = match &subject.name {
        Name::EntryPoint(name) => (&ENTRY_POINT, &[("entrypoint", name)]),
        Name::Router(name, service) => (&ROUTER, &[("router", name), ("service", service)]),
        Name::Service(name) => (&SERVICE, &[("service", name)]),
    };
    let [requests, tls, duration, received, sent] = family.help;
    for (labels, total) in &totals.series {
        let code = labels.code().to_string();
        let all = all_labels(own, *labels, &code);
        if metrics.settings.header_labels.is_empty() {
            let count: u64 = total.buckets.iter().sum();
            out.family(family.requests, Type::Counter, requests).line("", &all, count);
        }
        of_durations(out, (family.duration, duration), &all, total, &metrics.settings);
        out.family(family.received, Type::Counter, received).line("", &all, total.received_bytes);
        out.family(family.sent, Type::Counter, sent).line("", &all, total.sent_bytes);
    }
    for ((labels, values), count) in &totals.labelled {
        let code = labels.code().to_string();
        let mut all = all_labels(own, *labels, &code);
        let asked = metrics.settings.header_labels.iter().zip(values);
        all.extend(asked.map(|((label, _), value)| (&**label, &**value)));
        all.sort_unstable();
        out.family(family.requests, Type::Counter, requests).line("", &all, count);
    }
    for ((version, cipher), count) in &totals.tls {
        let mut all = own.to_vec();
        all.extend([("tls_cipher", *cipher), ("tls_version", *version)]);
        out.family(family.tls, Type::Counter, tls).line("", &all, count);
    }
}

/// In order of name.
fn all_labels<'l>(own: &[(&'l str, &'l str)], labels: Labels, code: &'l str) -> Vec<(&'l str, &'l str)> {
    let mut all = own.to_vec();
    all.extend([("code", code), ("method", labels.method()), ("protocol", labels.protocol())]);
    all.sort_unstable();
    all
}

fn of_durations(
    out: &mut Exposition,
    (name, help): (&str, &'static str),
    labels: &[(&str, &str)],
    total: &Total,
    settings: &Settings,
) {
    let mut lines = out.family(name, Type::Histogram, help);
    let mut bounds = settings.bounds.iter().map(|(seconds, _)| *seconds);
    let mut below = 0;
    for count in &total.buckets {
        below += count;
        let mut bound = String::new();
        // Writing to a String cannot fail.
        let _ = match bounds.next() {
            Some(seconds) => write!(bound, "{seconds}"),
            None => write!(bound, "+Inf"),
        };
        let mut all = labels.to_vec();
        all.push(("le", &bound));
        lines.line("_bucket", &all, below);
    }
    let seconds = total.nanos as f64 / 1e9;
    lines.line("_sum", labels, seconds);
    lines.line("_count", labels, below);
}

fn of_process(out: &mut Exposition, shared: &Shared) {
    let vitals = &shared.vitals;
    let (reloads, last) = vitals.reloads();
    out.single("traefik_config_reloads_total", Type::Counter, "Config reloads", reloads);
    out.single("traefik_config_last_reload_success", Type::Gauge, "Last config reload success", last);
    let open = "How many open connections exist, by entryPoint and protocol.";
    for (entry_point, count) in vitals.open_connections() {
        let labels = [("entrypoint", &*entry_point), ("protocol", "TCP")];
        out.family("traefik_open_connections", Type::Gauge, open).line("", &labels, count);
    }
    let help = "Connections accepted.";
    out.single("ravelin_connections_total", Type::Counter, help, vitals.sum(|worker| &worker.connections));
    let help = "Requests refused before they were routed, as they broke the protocol.";
    out.single("ravelin_requests_refused_total", Type::Counter, help, vitals.sum(|worker| &worker.refused));
    let help = "Connections that were told that there are too many.";
    out.single("ravelin_connections_shed_total", Type::Counter, help, vitals.sum(|worker| &worker.shed));
    let help = "Requests that were answered 503, as too many waited for servers.";
    out.single("ravelin_requests_shed_total", Type::Counter, help, vitals.shed_requests());
    let help = "Panics that were caught: each ended one request or one connection.";
    out.single("ravelin_panics_total", Type::Counter, help, vitals.sum(|worker| &worker.panics));
    let help = "Panics of parts beside the workers: each began anew, and what was served went on.";
    for (part, count) in vitals.survived_by_part() {
        out.family("ravelin_part_panics_total", Type::Counter, help).line("", &[("part", part)], count);
    }
    let help = "Requests that a panic in a middleware ended, by its kind.";
    for (kind, count) in shared.middleware_panics() {
        let labels = [("middleware", kind)];
        out.family("ravelin_middleware_panics_total", Type::Counter, help).line("", &labels, count);
    }
    if let Some(log) = shared.access_log() {
        let help = "Lines of the access log that were lost: the disk could not keep up, or refused them.";
        out.single("ravelin_access_log_dropped_lines_total", Type::Counter, help, log.dropped_lines());
    }
}

fn of_table(out: &mut Exposition, table: &Table) {
    if let Some(generation) = table.generation {
        let (revision, epoch) = (generation.revision, generation.recovery_epoch);
        out.single(
            "ravelin_generation_revision",
            Type::Gauge,
            "Revision of the generation served.",
            revision,
        );
        out.single(
            "ravelin_generation_epoch",
            Type::Gauge,
            "Recovery epoch of the generation served.",
            epoch,
        );
    }
    let help = "Objects of the generation served that are in error.";
    out.single("ravelin_objects_in_error", Type::Gauge, help, table.problems.len());
    let help = "service server is up, described by gauge value of 0 or 1.";
    for service in table.services.values().flatten() {
        for (url, is_up) in service.checked_servers() {
            let labels = [("service", &*service.name), ("url", url)];
            let mut lines = out.family("traefik_service_server_up", Type::Gauge, help);
            lines.line("", &labels, u8::from(is_up));
        }
    }
    let help = "Certificate expiration timestamp";
    for certificate in table.tls.iter().flat_map(|tls| tls.facts()) {
        let names = certificate.names.join(",");
        let labels = [
            ("cn", certificate.subject.common_name.as_str()),
            ("sans", names.as_str()),
            ("serial", certificate.serial.as_str()),
        ];
        let mut lines = out.family("traefik_tls_certs_not_after", Type::Gauge, help);
        lines.line("", &labels, certificate.not_after);
    }
}
