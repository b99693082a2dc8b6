//! What can be wrong in static sections beyond the options' types.

use serde_json::Value as Json;

use super::middlewares::{check_name, check_network};
use super::tls;
use crate::duration::GoDuration;
use crate::dynamic::ServersTransport;
use crate::spiffe::WorkloadAddress;
use crate::static_config::{Address, EntryPoint, Metrics, Workload};

/// Most labels that are taken from requests' fields: each multiplies what is counted.
const HEADER_LABELS_MAX: usize = 8;
/// The labels that counts of requests have by themselves.
const OWN_LABELS: [&str; 6] = ["code", "entrypoint", "method", "protocol", "router", "service"];

pub(super) fn entry_point(entry_point: &EntryPoint, errors: &mut Vec<String>) {
    if let Err(error) = entry_point.address.parse::<Address>() {
        errors.push(format!("address: {error}"));
    }
    for range in &entry_point.forwarded_headers.trusted_ips {
        check_network("forwardedHeaders.trustedIPs", range, errors);
    }
    if let Some(option) = &entry_point.proxy_protocol {
        for range in &option.trusted_ips {
            check_network("proxyProtocol.trustedIPs", range, errors);
        }
        if !option.insecure && option.trusted_ips.is_empty() {
            errors.push("proxyProtocol: no trusted IPs provided".to_owned());
        }
    }
    for name in &entry_point.forwarded_headers.connection {
        check_name("forwardedHeaders.connection", name, errors);
    }
    let timeouts = &entry_point.transport.responding_timeouts;
    let durations = [
        (
            "transport.lifeCycle.requestAcceptGraceTimeout",
            entry_point.transport.life_cycle.request_accept_grace_timeout,
        ),
        ("transport.lifeCycle.graceTimeOut", entry_point.transport.life_cycle.grace_time_out),
        ("transport.respondingTimeouts.readTimeout", timeouts.read_timeout),
        ("transport.respondingTimeouts.writeTimeout", timeouts.write_timeout),
        ("transport.respondingTimeouts.idleTimeout", timeouts.idle_timeout),
    ];
    for (option, duration) in durations {
        if duration < GoDuration::default() {
            errors.push(format!("{option}: {duration} is negative"));
        }
    }
    let limits = [
        ("http.maxHeaderBytes", entry_point.http.max_header_bytes),
        ("http2.maxConcurrentStreams", entry_point.http2.max_concurrent_streams),
        ("transport.keepAliveMaxRequests", entry_point.transport.keep_alive_max_requests),
    ];
    for (option, value) in limits {
        if !(0..=i64::from(u32::MAX)).contains(&value) {
            errors.push(format!("{option}: {value} is not between 0 and {}", u32::MAX));
        }
    }
}

/// Judges another section by its name.
pub(super) fn judge(name: &str, json: &Json, errors: &mut Vec<String>) {
    match name {
        "serversTransport" => {
            let transport: ServersTransport = serde_json::from_value(json.clone()).unwrap_or_default();
            tls::servers_transport(&transport, errors);
        }
        "spiffe" => {
            let workload: Workload = serde_json::from_value(json.clone()).unwrap_or_default();
            let address = &workload.workload_api_addr;
            if let Err(error) = address.parse::<WorkloadAddress>() {
                errors.push(format!("workloadAPIAddr: {error}, found {address:?}"));
            }
        }
        "accessLog" => access_log(json, errors),
        "metrics" => prometheus(json, errors),
        "ping" => {
            let status = json.get("terminatingStatusCode").and_then(Json::as_i64).unwrap_or(503);
            if !(100..=599).contains(&status) {
                errors.push(format!("terminatingStatusCode: {status} is no HTTP status"));
            }
        }
        _ => {}
    }
}

fn prometheus(json: &Json, errors: &mut Vec<String>) {
    let config: Metrics = serde_json::from_value(json.clone()).unwrap_or_default();
    let Some(prometheus) = config.prometheus else { return };
    if let Err(reason) = prometheus.bounds() {
        errors.push(format!("prometheus.buckets: {reason}"));
    }
    if prometheus.header_labels.len() > HEADER_LABELS_MAX {
        errors.push(format!("prometheus.headerLabels: more than {HEADER_LABELS_MAX}"));
    }
    for (label, header) in &prometheus.header_labels {
        let mut letters = label.chars();
        let begins = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
        if !begins || !letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            errors.push(format!("prometheus.headerLabels: {label:?} is no name of a label"));
        } else if OWN_LABELS.contains(&label.as_str()) {
            errors.push(format!("prometheus.headerLabels: {label:?} is a label already"));
        }
        check_name("prometheus.headerLabels", header, errors);
    }
}

fn access_log(json: &Json, errors: &mut Vec<String>) {
    let codes = json.pointer("/filters/statusCodes").and_then(Json::as_array);
    for code in codes.into_iter().flatten().filter_map(Json::as_str).flat_map(|text| text.split(',')) {
        let good = |text: &str| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        let (from, to) = code.trim().split_once('-').unwrap_or((code.trim(), code.trim()));
        if !good(from) || !good(to) || from > to {
            errors.push(format!("filters.statusCodes: {code:?} is neither a status nor a range of them"));
        }
    }
    for (option, pointer) in
        [("fields.names", "/fields/names"), ("fields.headers.names", "/fields/headers/names")]
    {
        for (name, mode) in json.pointer(pointer).and_then(Json::as_object).into_iter().flatten() {
            if !matches!(mode.as_str(), Some("keep" | "drop" | "redact")) {
                errors.push(format!("{option}.{name}: expected one of keep, drop, redact, found {mode}"));
            }
        }
    }
}
