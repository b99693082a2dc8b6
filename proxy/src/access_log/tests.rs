//! Lines as Traefik writes them, filters, flushing, rotation, and what a full or broken writer costs.

use std::time::{Instant, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use ravelin_config::GoDuration;
use ravelin_config::static_config::{AccessLogFields, AccessLogFilters, AccessLogHeaders, DefaultMode};

use super::*;
use crate::connection::{ConnectionFacts, Protocol, TlsFacts};
use crate::exchange::{Exchange, Origin};
use crate::tls::{self, Hello, TlsTable};

fn config(edit: impl FnOnce(&mut static_config::AccessLog)) -> static_config::AccessLog {
    let mut config = static_config::AccessLog::default();
    edit(&mut config);
    config
}

/// A log in a folder of its own, and what was written once it is dropped.
struct Rig {
    folder: tempfile::TempDir,
    log: Arc<AccessLog>,
    worker: WorkerLog,
}

impl Rig {
    fn new(edit: impl FnOnce(&mut static_config::AccessLog)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(edit);
        config.file_path = folder.path().join("deep/access.log").display().to_string();
        let log = AccessLog::open(&config, 1).expect("opened");
        let worker = WorkerLog::new(Arc::clone(&log));
        Self { folder, log, worker }
    }

    /// One answered request; `edit` changes what is known of it.
    fn request(&self, edit: impl FnOnce(&mut Entry)) {
        let mut entry = entry(&self.worker);
        edit(&mut entry);
        drop(Exchange::watched(Some(entry), None));
    }

    fn written(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join("deep").join(name)).expect("the log is there")
    }

    /// Everything written, as when a worker drains.
    fn end(self) -> String {
        self.worker.flush();
        self.log.flush();
        self.written("access.log")
    }
}

fn entry(log: &WorkerLog) -> Entry {
    let peer = "127.0.0.1:5000".parse().expect("an address");
    let connection = ConnectionFacts::new(1, peer, peer, "x".into(), Protocol::Http1);
    let server = ("http://127.0.0.1:9".into(), HeaderValue::from_static("127.0.0.1:9"));
    Entry {
        number: log.log().next_number(),
        log: log.clone(),
        connection: Rc::new(connection),
        started_at: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        started: Instant::now(),
        method: Method::GET,
        target: "/x?y=1&z=%20".parse().expect("a target"),
        version: Version::HTTP_11,
        host: HeaderValue::from_static("a.test:81"),
        forwarded_for: None,
        user: None,
        router: Some("r@file".into()),
        service: Some("s@file".into()),
        server: Some(server),
        request_headers: None,
        request_body: None,
        origin: Some(Origin { status: StatusCode::OK, waited: Duration::from_micros(5) }),
        response_headers: None,
        status: Some(StatusCode::OK),
        sent_bytes: 2,
        ended: None,
    }
}

fn fields(list: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
    }
    headers
}

/// Runs where a worker runs: on a local set.
fn on_worker(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test());
}

/// Milliseconds differ from run to run.
fn without_millis(line: &str) -> String {
    let (before, millis) = line.rsplit_once(' ').expect("a line has words");
    assert!(millis.strip_suffix("ms").is_some_and(|number| number.parse::<u64>().is_ok()), "{line}");
    before.to_owned()
}

#[test]
fn the_common_and_the_generic_format() {
    on_worker(async || {
        let rig = Rig::new(|_| ());
        rig.request(|_| ());
        rig.request(|entry| (entry.router, entry.server, entry.status) = (None, None, None));
        let text = rig.end();
        let lines: Vec<_> = text.lines().map(without_millis).collect();
        let begin = r#"127.0.0.1 - - [14/Nov/2023:22:13:20 +0000] "GET /x?y=1&z=%20 HTTP/1.1""#;
        assert_eq!(lines[0], format!(r#"{begin} 200 2 "-" "-" 1 "r@file" "http://127.0.0.1:9""#));
        assert_eq!(lines[1], format!(r#"{begin} 499 2 "-" "-" 2 "-" "-""#), "the client left");
        let rig = Rig::new(|config| {
            config.format = "genericCLF".into();
            let headers = AccessLogHeaders { default_mode: "keep".into(), ..AccessLogHeaders::default() };
            config.fields = Some(AccessLogFields { headers: Some(headers), ..AccessLogFields::default() });
        });
        rig.request(|entry| {
            entry.request_headers =
                Some(fields(&[("user-agent", "me/1 \"q\""), ("referer", "http://r/\t\u{e9}")]));
        });
        assert_eq!(rig.end(), format!("{begin} 200 2 \"http://r/\\té\" \"me/1 \\\"q\\\"\"\n"));
    });
}

#[test]
fn json_has_traefiks_fields_in_order() {
    on_worker(async || {
        let rig = Rig::new(|config| config.format = "json".into());
        rig.request(|_| ());
        let text = rig.end();
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&text).expect("one object");
        let mut names: Vec<_> = text.split('"').filter(|part| object.contains_key(*part)).collect();
        names.dedup();
        assert!(names.is_sorted(), "{names:?}");
        let numbers = ["Duration", "OriginDuration", "Overhead"];
        assert!(numbers.iter().all(|name| object[*name].is_u64()));
        let value = |name: &str| object[name].clone();
        for (name, want) in [
            ("ClientAddr", "127.0.0.1:5000"),
            ("ClientHost", "127.0.0.1"),
            ("ClientPort", "5000"),
            ("RequestAddr", "a.test:81"),
            ("RequestHost", "a.test"),
            ("RequestPort", "81"),
            ("RequestPath", "/x?y=1&z=%20"),
            ("RequestScheme", "http"),
            ("RouterName", "r@file"),
            ("ServiceName", "s@file"),
            ("ServiceURL", "http://127.0.0.1:9"),
            ("ServiceAddr", "127.0.0.1:9"),
            ("StartUTC", "2023-11-14T22:13:20Z"),
            ("entryPointName", "x"),
            ("level", "info"),
            ("msg", ""),
        ] {
            assert_eq!(value(name), want, "{name}");
        }
        for (name, want) in [
            ("DownstreamStatus", 200),
            ("OriginStatus", 200),
            ("DownstreamContentSize", 2),
            ("RequestCount", 1),
            ("RetryAttempts", 0),
        ] {
            assert_eq!(value(name), want, "{name}");
        }
        assert!(!object.contains_key("GzipRatio") && !object.contains_key("TLSVersion"));
    });
}

#[test]
fn json_names_the_subject_of_a_clients_certificate_where_there_is_one() {
    let facts = |client_subject: Option<&str>| {
        let hello = Hello::default();
        let generated = tls::generated_default().expect("a certificate");
        let chosen = TlsTable::empty(&generated).choose("default", &hello).expect("default options");
        TlsFacts {
            sni: None,
            version: "1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            alpn: None,
            options: chosen.options,
            demands: chosen.demands,
            settled: Cell::new(0),
            client_certificates: [].into(),
            client_subject: client_subject.map(Into::into),
        }
    };
    on_worker(async || {
        for (subject, wanted) in [(Some(r#"CN=a \"b\",O=c"#), Some(r#"CN=a \"b\",O=c"#)), (None, None)] {
            let rig = Rig::new(|config| config.format = "json".into());
            rig.request(|entry| {
                let peer = entry.peer();
                let mut connection = ConnectionFacts::new(1, peer, peer, "x".into(), Protocol::Http1);
                connection.tls = Some(facts(subject));
                entry.connection = Rc::new(connection);
            });
            let text = rig.end();
            let object: serde_json::Value = serde_json::from_str(&text).expect("one object");
            assert_eq!(object.get("TLSClientSubject").and_then(serde_json::Value::as_str), wanted, "{text}");
            assert!(text.contains(r#""TLSCipher":"TLS_AES_128_GCM_SHA256","TLS"#), "in order: {text}");
        }
    });
}

#[test]
fn json_says_what_was_not_reached() {
    on_worker(async || {
        let rig = Rig::new(|config| config.format = "json".into());
        rig.request(|entry| {
            (entry.router, entry.service, entry.server, entry.origin) = (None, None, None, None);
            entry.host = HeaderValue::from_static("[::1]:80");
            entry.status = Some(StatusCode::NOT_FOUND);
        });
        let object: serde_json::Value = serde_json::from_str(&rig.end()).expect("one object");
        assert_eq!((&object["OriginStatus"], &object["GzipRatio"]), (&0.into(), &0.into()));
        assert_eq!(object["RequestHost"], "::1");
        assert!(object.get("RouterName").is_none() && object.get("ServiceURL").is_none());
    });
}

#[test]
fn fields_and_headers_are_kept_dropped_or_redacted() {
    on_worker(async || {
        let rig = Rig::new(|config| {
            config.format = "json".into();
            let names = [("cookie", "redact"), ("X-Gone", "drop")]
                .map(|(name, mode)| (name.to_owned(), mode.to_owned()));
            config.fields = Some(AccessLogFields {
                default_mode: "drop".into(),
                names: [("RequestPath".to_owned(), "keep".to_owned())].into(),
                headers: Some(AccessLogHeaders { default_mode: "keep".into(), names: names.into() }),
                query_parameters: Some(DefaultMode { default_mode: "drop".into() }),
            });
        });
        rig.request(|entry| {
            entry.request_headers =
                Some(fields(&[("x-two", "a"), ("x-two", "b"), ("x-gone", "1"), ("cookie", "a=1")]));
            entry.response_headers = Some(fields(&[("x-generation", "7")]));
        });
        let mut object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&rig.end()).expect("one object");
        object.remove("time");
        let want = serde_json::json!({
            "RequestPath": "/x", "level": "info", "msg": "",
            "downstream_X-Generation": "7", "origin_X-Generation": "7",
            "request_Cookie": "REDACTED", "request_X-Two": "a,b",
        });
        assert_eq!(serde_json::Value::Object(object), want);
    });
}

#[test]
fn any_filter_that_fits_keeps_a_line() {
    on_worker(async || {
        let rig = Rig::new(|config| {
            config.filters = Some(AccessLogFilters {
                status_codes: vec!["404".into(), "500-501".into()],
                retry_attempts: false,
                min_duration: GoDuration::from_millis(600),
            });
        });
        for status in [200, 404, 500, 501, 504] {
            rig.request(|entry| entry.status = StatusCode::from_u16(status).ok());
        }
        rig.request(|entry| {
            entry.started = Instant::now().checked_sub(Duration::from_secs(1)).expect("up for a second")
        });
        let text = rig.end();
        let statuses: Vec<_> = text.lines().filter_map(|line| line.split(' ').nth(8)).collect();
        assert_eq!(statuses, ["404", "500", "501", "200"]);
    });
}

#[test]
fn a_believed_forwarding_field_names_the_client() {
    on_worker(async || {
        let rig = Rig::new(|_| ());
        rig.request(|entry| entry.forwarded_for = Some(HeaderValue::from_static("1.2.3.4, 5.6.7.8")));
        assert!(rig.end().starts_with("1.2.3.4, 5.6.7.8 - - ["));
    });
}

#[test]
fn a_line_is_written_soon_and_rotation_loses_none() {
    on_worker(async || {
        let rig = Rig::new(|config| config.buffering_size = 50);
        rig.request(|_| ());
        assert_eq!(rig.worker.0.lines.get(), 1, "it waits");
        // The flush of a waiting line is a task of the worker: the line is there when it has run.
        while rig.worker.0.lines.get() > 0 {
            tokio::time::sleep(UNBUFFERED_INTERVAL).await;
        }
        rig.log.flush();
        assert_eq!(rig.written("access.log").lines().count(), 1);
        let deep = rig.folder.path().join("deep");
        std::fs::rename(deep.join("access.log"), deep.join("old.log")).expect("renamed");
        rig.request(|_| ());
        rig.log.reopen();
        rig.request(|_| ());
        rig.worker.flush();
        rig.log.flush();
        assert_eq!(rig.written("old.log").lines().count(), 2);
        assert_eq!(rig.written("access.log").lines().count(), 1);
        assert_eq!(rig.log.dropped_lines(), 0);
    });
}

#[test]
fn a_full_queue_costs_lines_that_are_counted() {
    on_worker(async || {
        // Opening a named pipe for reading and writing never waits, and nobody reads it: the writer blocks once it is full.
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .expect("a pipe");
        let mut keep_open = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).expect("opened");
        let log = AccessLog::open(&config(|config| config.file_path = pipe.display().to_string()), 1)
            .expect("opened");
        let worker = WorkerLog::new(Arc::clone(&log));
        let mut given = 0_u64;
        while log.dropped_lines() == 0 {
            given += 1;
            drop(Exchange::watched(Some(entry(&worker)), None));
            assert!(given < 100_000, "the queue is bounded");
        }
        assert!(log.dropped_lines() < given);
        // Read everything, so that the writer can end.
        let drain = std::thread::spawn(move || std::io::copy(&mut keep_open, &mut std::io::sink()));
        drop(worker);
        drop(log);
        drop(drain);
    });
}

#[test]
fn bad_settings_and_files_are_errors() {
    let open = |edit: fn(&mut static_config::AccessLog)| {
        AccessLog::open(&config(edit), 1).expect_err("refused").to_string()
    };
    assert_eq!(open(|config| config.format = "xml".into()), "unsupported access log format \"xml\"");
    let filters = |codes: &str| {
        Some(AccessLogFilters { status_codes: vec![codes.into()], ..AccessLogFilters::default() })
    };
    for bad in ["abc", "500-", ""] {
        let config =
            static_config::AccessLog { filters: filters(bad), ..static_config::AccessLog::default() };
        assert!(AccessLog::open(&config, 1).is_err(), "{bad}");
    }
    assert!(
        open(|config| config.file_path = "/proc/nowhere/access.log".into())
            .starts_with("cannot open the access log")
    );
    let fields = AccessLogFields { default_mode: "maybe".into(), ..AccessLogFields::default() };
    let config = static_config::AccessLog { fields: Some(fields), ..static_config::AccessLog::default() };
    assert!(AccessLog::open(&config, 1).is_err());
}
