//! Metrics as a Prometheus server fetches them: a real process is driven, and what it shows is read by a strict reader of the format
//! that knows nothing of the writer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::driver::{get, send, status};
use crate::standalone::{HELLO, Standalone};

/// Samples by name and labels, as written.
type Samples = BTreeMap<String, f64>;

/// Reads a scrape as the description of the format says, and refuses what it does not allow: a sample without its family's type,
/// families in pieces, names and labels of other letters, labels twice, unknown escapes, samples twice, histograms whose buckets
/// shrink or lack the last one.
fn strictly_read(text: &str) -> Result<Samples, String> {
    let (mut samples, mut families) = (Samples::new(), BTreeSet::new());
    let mut family: Option<(String, String)> = None;
    let mut helped = None;
    if !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, _) = rest.split_once(' ').ok_or_else(|| format!("no help: {line}"))?;
            helped = Some(name.to_owned());
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, ty) = rest.split_once(' ').ok_or_else(|| format!("no type: {line}"))?;
            if !matches!(ty, "counter" | "gauge" | "histogram") || helped.as_deref() != Some(name) {
                return Err(format!("no help before, or an unknown type: {line}"));
            }
            if !families.insert(name.to_owned()) {
                return Err(format!("a family in pieces: {line}"));
            }
            family = Some((name.to_owned(), ty.to_owned()));
            continue;
        }
        let (name, labels, value) = sample(line)?;
        let Some((of, ty)) = &family else { return Err(format!("no family: {line}")) };
        let parts: &[&str] = if ty == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        if !parts.iter().any(|part| name == format!("{of}{part}")) {
            return Err(format!("not of its family {of}: {line}"));
        }
        if ty == "counter" && !(value >= 0.0 && name.ends_with("_total")) {
            return Err(format!("no counter: {line}"));
        }
        let key = line.rsplit_once(' ').map_or("", |(key, _)| key).to_owned();
        if labels.iter().any(|(label, _)| label == "le") != name.ends_with("_bucket") {
            return Err(format!("`le` in the wrong place: {line}"));
        }
        if samples.insert(key, value).is_some() {
            return Err(format!("twice: {line}"));
        }
    }
    check_histograms(text)?;
    Ok(samples)
}

type Sample = (String, Vec<(String, String)>, f64);

fn sample(line: &str) -> Result<Sample, String> {
    let wrong = |what: &str| format!("{what}: {line}");
    let end = line.find(['{', ' ']).ok_or_else(|| wrong("no value"))?;
    let (name, mut rest) = line.split_at(end);
    let is_name = |name: &str, more: &str| {
        !name.is_empty()
            && !name.starts_with(|letter: char| letter.is_ascii_digit())
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || more.contains(letter))
    };
    if !is_name(name, "_:") {
        return Err(wrong("no name"));
    }
    let mut labels = Vec::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            let (label, after) = inner.split_once("=\"").ok_or_else(|| wrong("no label"))?;
            if !is_name(label, "_") || labels.iter().any(|(known, _)| known == label) {
                return Err(wrong("no label, or twice"));
            }
            let mut value = String::new();
            let mut letters = after.char_indices();
            let closed = loop {
                match letters.next().ok_or_else(|| wrong("no end of a value"))? {
                    (at, '"') => break at,
                    (_, '\\') => match letters.next() {
                        Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                        Some((_, 'n')) => value.push('\n'),
                        _ => return Err(wrong("an unknown escape")),
                    },
                    (_, letter) => value.push(letter),
                }
            };
            labels.push((label.to_owned(), value));
            let after = &after[closed + 1..];
            match (after.strip_prefix(','), after.strip_prefix('}')) {
                (Some(more), _) => inner = more,
                (None, Some(end)) => {
                    rest = end;
                    break;
                }
                (None, None) => return Err(wrong("no end of labels")),
            }
        }
    }
    let value = rest.strip_prefix(' ').ok_or_else(|| wrong("no value"))?;
    let value = value.parse().map_err(|_| wrong("no number"))?;
    Ok((name.to_owned(), labels, value))
}

/// Buckets grow with their bounds, the last is that of everything and as large as the count.
fn check_histograms(text: &str) -> Result<(), String> {
    let mut last: Option<(String, f64, f64)> = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels, value) = sample(line)?;
        let bound = labels.iter().find(|(label, _)| label == "le").map(|(_, bound)| bound.clone());
        let others = labels.iter().filter(|(label, _)| label != "le");
        let key = format!("{name}{:?}", others.collect::<Vec<_>>());
        match (bound, &last) {
            (Some(bound), before) => {
                let bound = bound.replace("+Inf", "inf").parse().map_err(|_| format!("no bound: {line}"))?;
                if let Some((same, lower, count)) = before
                    && *same == key
                    && (*lower >= bound || *count > value)
                {
                    return Err(format!("it shrinks: {line}"));
                }
                last = Some((key, bound, value));
            }
            (None, Some((_, bound, count))) if name.ends_with("_count") => {
                if *bound != f64::INFINITY || *count != value {
                    return Err(format!("the last bucket is not the whole: {line}"));
                }
            }
            (None, _) => {}
        }
    }
    Ok(())
}

fn scrape(api: SocketAddr) -> Samples {
    let answer = get(api, "x", "/metrics").expect("an answer");
    strictly_read(&answer.body).unwrap_or_else(|error| panic!("{error}\n{}", answer.body))
}

/// A certificate for two names, as the configuration names it.
fn certificate(folder: &std::path::Path) -> String {
    let mut parameters =
        rcgen::CertificateParams::new(["own.test", "also.test"].map(str::to_owned)).expect("good names");
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "own.test");
    parameters.serial_number = Some(7_u64.into());
    parameters.not_after = rcgen::date_time_ymd(2100, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let (certificate_file, key_file) = (folder.join("own.crt"), folder.join("own.key"));
    std::fs::write(&certificate_file, certificate.pem()).expect("written");
    std::fs::write(&key_file, key.serialize_pem()).expect("written");
    let (certificate_file, key_file) = (certificate_file.display(), key_file.display());
    format!("tls:\n  certificates:\n    - certFile: {certificate_file}\n      keyFile: {key_file}\n")
}

const METRICS: &str = "metrics:\n  prometheus:\n    addRoutersLabels: true\n    buckets: [0.25, 2]\n    headerLabels:\n      tenant: X-Tenant\n";

#[test]
fn the_reader_refuses_what_the_format_does_not_allow() {
    let good = "# HELP a_total x\n# TYPE a_total counter\na_total{b=\"c\\\\\\\"\\n\"} 1\n";
    let read = strictly_read(good).expect("good");
    assert_eq!(read.len(), 1);
    for bad in [
        "a_total 1\n",
        "# HELP a_total x\n# TYPE a_total counter\na_total 1",
        "# TYPE a_total counter\na_total 1\n",
        "# HELP a_total x\n# TYPE a_total counter\na_total 1\na_total 2\n",
        "# HELP a_total x\n# TYPE a_total counter\nb_total 1\n",
        "# HELP a_total x\n# TYPE a_total counter\na_total{b=\"\\t\"} 1\n",
        "# HELP a_total x\n# TYPE a_total counter\na_total{b=\"1\",b=\"2\"} 1\n",
        "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
        "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_sum 1\na_count 2\n",
    ] {
        assert!(strictly_read(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_scrape_shows_what_was_served_under_traefiks_names() {
    let files = tempfile::tempdir().expect("a temporary folder");
    let tls = certificate(files.path());
    let mut all = Standalone::start(&format!("{METRICS}{HELLO}{tls}"));
    all.serves("hello.test", "/", 200);
    let request = b"POST /x HTTP/1.1\r\nHost: hello.test\r\nX-Tenant: \"a\\b\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let answer = send(all.web, request).expect("an answer");
    assert_eq!(status(all.web, "other.test", "/"), 404);
    assert_eq!(status(all.api, "x", "/ping"), 200);
    let own = "code=\"200\",method=\"POST\",protocol=\"http\"";
    let wanted =
        format!("traefik_service_requests_total{{{own},service=\"hello@file\",tenant=\"\\\"a\\\\b\"}}");
    let mut samples = Samples::new();
    // A request is counted once its answer's last byte was handed on, which its client may see before.
    all.process.until("the request is counted", || {
        samples = scrape(all.api);
        samples.get(&wanted) == Some(&1.0)
            && samples.keys().any(|key| key.starts_with("traefik_entrypoint_requests_total{code=\"404\""))
    });
    let value = |key: &str| samples.get(key).copied().unwrap_or_else(|| panic!("{key} in {samples:#?}"));
    let router = format!("{own},router=\"hello@file\",service=\"hello@file\"");
    assert_eq!(value(&format!("traefik_router_requests_bytes_total{{{router}}}")), 5.0);
    assert_eq!(value(&format!("traefik_router_request_duration_seconds_count{{{router}}}")), 1.0);
    assert_eq!(
        value(&format!("traefik_router_request_duration_seconds_bucket{{{router},le=\"+Inf\"}}")),
        1.0
    );
    assert!(
        samples
            .contains_key(&format!("traefik_router_request_duration_seconds_bucket{{{router},le=\"0.25\"}}"))
    );
    let web = "code=\"200\",entrypoint=\"web\",method=\"POST\",protocol=\"http\"";
    let sent = value(&format!("traefik_entrypoint_responses_bytes_total{{{web}}}"));
    assert_eq!(sent, answer.body.len() as f64);
    assert!(
        value("traefik_config_reloads_total") >= 1.0 && value("traefik_config_last_reload_success") > 1.7e9
    );
    assert!(samples.contains_key("traefik_open_connections{entrypoint=\"web\",protocol=\"TCP\"}"));
    let certificate = "traefik_tls_certs_not_after{cn=\"own.test\",sans=\"also.test,own.test\",serial=\"7\"}";
    assert!(value(certificate) > 4e9, "it ends in 2100");
    let shown = &all.api("/api/certificates?search=also.test")[0];
    assert_eq!((&shown["commonName"], &shown["status"]), (&"own.test".into(), &"enabled".into()), "{shown}");
    assert!(value("process_resident_memory_bytes") > 1e6 && value("process_cpu_seconds_total") >= 0.0);
    assert!(value("ravelin_generation_revision") >= 1.0 && value("ravelin_metrics_series") >= 3.0);
    assert_eq!(value("ravelin_access_log_dropped_lines_total"), 0.0);
    let internal = |key: &&String| key.contains("entrypoint=\"traefik\"") && key.contains("code=\"200\"");
    assert_eq!(samples.keys().find(internal), None, "the process's own services are not counted");
    assert_eq!(all.api("/api/overview")["features"]["metrics"], "Prometheus");
}

#[test]
fn what_a_router_or_an_entry_point_takes_out_is_not_counted_and_what_is_gone_is_not_shown() {
    let off = HELLO
        .replace("      service: hello\n", "      service: hello\n      observability: {metrics: false}\n");
    let mut all = Standalone::start(&format!("{METRICS}{HELLO}"));
    all.serves("hello.test", "/", 200);
    let shown = |samples: &Samples, name: &str| samples.keys().any(|key| key.starts_with(name));
    all.process.until("it is counted", || shown(&scrape(all.api), "traefik_service_requests_total"));
    all.rewrite(
        &format!("{METRICS}{off}")
            .replace("hello.test", "off.test")
            .replace("hello:", "other:")
            .replace("service: hello", "service: other"),
    );
    all.serves("off.test", "/", 200);
    // The old service goes with the last table that had it.
    all.process.until("what is gone is not shown", || {
        let samples = scrape(all.api);
        !shown(&samples, "traefik_service_requests_total")
            && !shown(&samples, "traefik_router_requests_total")
    });
    let before = scrape(all.api);
    assert_eq!(status(all.web, "off.test", "/"), 200);
    assert_eq!(status(all.web, "nobody.test", "/"), 404);
    let key = "traefik_entrypoint_requests_total{code=\"404\",entrypoint=\"web\",method=\"GET\",protocol=\"http\",tenant=\"\"}";
    let count = |samples: &Samples| samples.get(key).copied().unwrap_or_default();
    all.process.until("the one without a router is counted", || count(&scrape(all.api)) > count(&before));
    let good = "traefik_entrypoint_requests_total{code=\"200\"";
    let sum = |samples: &Samples| {
        samples.iter().filter(|(key, _)| key.starts_with(good)).map(|(_, value)| value).sum::<f64>()
    };
    assert_eq!(sum(&scrape(all.api)), sum(&before), "the router has taken its requests out");
}
