//! Truth tables of `headers`, after what Traefik was seen to do.

use super::super::tests::Sample;
use super::*;

fn compile(edit: impl FnOnce(&mut dynamic::Headers)) -> Headers {
    let mut config = dynamic::Headers::default();
    edit(&mut config);
    Headers::compile(&config).expect("good")
}

fn list(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

fn pairs(values: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    values.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Runs both halves; the service answers 200 with these fields. `None`: the middleware answered.
fn through(
    middleware: &Headers,
    sample: &mut Sample,
    fields: &[(&str, &str)],
) -> Result<Vec<String>, (u16, Vec<String>)> {
    let flow = sample.run(|head| middleware.request(head));
    match flow {
        Flow::Next(Kept::Headers { origin, secure }) => {
            let mut response = bare(StatusCode::OK, "");
            for (name, value) in fields {
                let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
                response
                    .headers_mut()
                    .append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
            }
            middleware.response(origin.as_deref(), secure, &mut response);
            Ok(lines(response.headers()))
        }
        Flow::Answer(answer) => Err((answer.status().as_u16(), lines(answer.headers()))),
        other => panic!("{other:?}"),
    }
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII"))).collect();
    lines.sort();
    lines
}

#[test]
fn request_fields_are_set_removed_and_the_host_replaced() {
    let middleware = compile(|config| {
        config.custom_request_headers =
            pairs(&[("X-New", "1"), ("x-gone", ""), ("HOST", "b.test"), ("X-Forwarded-For", "1.2.3.4")]);
    });
    let mut sample = Sample::new("GET", "/").field("x-gone", "1").field("x-gone", "2");
    through(&middleware, &mut sample, &[]).expect("passed");
    assert_eq!(lines(&sample.headers), ["x-forwarded-for: 1.2.3.4", "x-new: 1"]);
    assert_eq!(sample.host, "b.test");
    let empty_host = compile(|config| config.custom_request_headers = pairs(&[("Host", "")]));
    let mut sample = Sample::new("GET", "/").host("a.test");
    through(&empty_host, &mut sample, &[]).expect("passed");
    assert_eq!(sample.host, "a.test", "the Host cannot be removed");
}

#[test]
fn only_the_exact_spelling_keeps_x_forwarded_for_away() {
    for (name, omitted) in [("X-Forwarded-For", true), ("x-forwarded-for", false)] {
        let middleware = compile(|config| config.custom_request_headers = pairs(&[(name, "")]));
        let mut sample = Sample::new("GET", "/");
        through(&middleware, &mut sample, &[]).expect("passed");
        assert_eq!(sample.omit_forwarded_for, omitted, "{name}");
    }
}

#[test]
fn response_fields_replace_every_value_or_go() {
    let middleware = compile(|config| {
        config.custom_response_headers =
            pairs(&[("Server", ""), ("Set-Cookie", "c=3"), ("X-New", "fixed"), ("x-multi", "single")]);
    });
    let service = [
        ("Server", "backend"),
        ("X-Multi", "one"),
        ("X-Multi", "two"),
        ("Set-Cookie", "a=1"),
        ("X-Keep", "kept"),
    ];
    let want = ["set-cookie: c=3", "x-keep: kept", "x-multi: single", "x-new: fixed"];
    assert_eq!(through(&middleware, &mut Sample::new("GET", "/"), &service).expect("passed"), want);
    let mut switched = bare(StatusCode::SWITCHING_PROTOCOLS, "");
    middleware.response(None, false, &mut switched);
    assert!(switched.headers().is_empty(), "101 is left alone");
}

fn cors() -> Headers {
    compile(|config| {
        config.access_control_allow_headers = list(&["X-One", "X-Two"]);
        config.access_control_allow_methods = list(&["GET", "PUT"]);
        config.access_control_allow_origin_list = list(&["http://one.test", "http://two.test"]);
        config.access_control_expose_headers = list(&["X-Out", "X-More"]);
        config.access_control_max_age = 100;
        config.add_vary_header = true;
        config.allowed_hosts = list(&["a.test"]);
        config.custom_response_headers = pairs(&[("X-Custom", "1")]);
        config.frame_deny = true;
    })
}

#[test]
fn a_preflight_is_answered_whatever_its_origin_and_host() {
    let preflight = |origin: &str| {
        Sample::new("OPTIONS", "/")
            .host("evil.test")
            .field("origin", origin)
            .field("access-control-request-method", "GET")
    };
    let leave = "access-control-allow-origin: http://one.test";
    let rest = [
        "access-control-allow-headers: X-One,X-Two",
        "access-control-allow-methods: GET,PUT",
        "access-control-expose-headers: X-Out,X-More",
        "access-control-max-age: 100",
    ];
    let (status, fields) = through(&cors(), &mut preflight("http://one.test"), &[]).expect_err("answered");
    assert_eq!(status, 200);
    assert!(
        fields.contains(&leave.to_owned()) && rest.iter().all(|line| fields.contains(&(*line).to_owned()))
    );
    for foreign in ["http://evil.test", "http://ONE.test"] {
        let (status, fields) = through(&cors(), &mut preflight(foreign), &[]).expect_err("answered");
        assert_eq!((status, fields), (200, rest.map(str::to_owned).to_vec()), "{foreign}");
    }
}

#[test]
fn what_is_no_preflight_goes_on_and_its_answer_is_marked() {
    let common = [
        "access-control-expose-headers: X-Out,X-More",
        "vary: Accept,Origin",
        "x-custom: 1",
        "x-frame-options: DENY",
    ];
    let with = |origin: &str| {
        let mut want: Vec<_> = common.map(str::to_owned).to_vec();
        want.push(format!("access-control-allow-origin: {origin}"));
        want.sort();
        want
    };
    let service = [("Access-Control-Allow-Origin", "http://service.test"), ("Vary", "Accept")];
    let sample = |method: &str| Sample::new(method, "/").host("a.test");
    let mut options = sample("OPTIONS").field("origin", "http://one.test");
    assert_eq!(through(&cors(), &mut options, &service).expect("passed"), with("http://one.test"));
    let mut foreign =
        sample("GET").field("origin", "http://evil.test").field("access-control-request-method", "GET");
    assert_eq!(through(&cors(), &mut foreign, &service).expect("passed"), with("http://service.test"));
}

#[test]
fn origins_are_allowed_by_star_list_and_pattern() {
    let answer = |edit: fn(&mut dynamic::Headers), origin: &str| {
        let mut sample = Sample::new("GET", "/").field("origin", origin);
        let lines = through(&compile(edit), &mut sample, &[]).expect("passed");
        lines
            .into_iter()
            .find_map(|line| line.strip_prefix("access-control-allow-origin: ").map(str::to_owned))
    };
    let star: fn(&mut dynamic::Headers) = |config| config.access_control_allow_origin_list = list(&["*"]);
    let star_with_credentials: fn(&mut dynamic::Headers) = |config| {
        config.access_control_allow_origin_list = list(&["*"]);
        config.access_control_allow_credentials = true;
    };
    let pattern: fn(&mut dynamic::Headers) =
        |config| config.access_control_allow_origin_list_regex = list(&[r"^https://[a-z]+\.test$"]);
    assert_eq!(answer(star, "http://x").as_deref(), Some("*"));
    assert_eq!(answer(star_with_credentials, "http://x").as_deref(), Some("http://x"));
    assert_eq!(answer(star_with_credentials, ""), None, "no origin, no leave");
    assert_eq!(answer(pattern, "https://a.test").as_deref(), Some("https://a.test"));
    assert_eq!(answer(pattern, "https://a.test.evil"), None);
}

#[test]
fn vary_names_origin_once_and_loses_nothing() {
    let vary = compile(|config| config.add_vary_header = true);
    let table: [(&[(&str, &str)], &str); 5] = [
        (&[], "vary: Origin"),
        (&[("Vary", "Accept")], "vary: Accept,Origin"),
        (&[("Vary", "origin")], "vary: origin"),
        (&[("Vary", "Accept, Origin")], "vary: Accept, Origin"),
        (&[("Vary", "Accept"), ("Vary", "Cookie")], "vary: Accept,Cookie,Origin"),
    ];
    for (service, want) in table {
        assert_eq!(
            through(&vary, &mut Sample::new("GET", "/"), service).expect("passed"),
            [want],
            "{service:?}"
        );
    }
}

#[test]
fn each_security_field_has_its_exact_value() {
    let all = compile(|config| {
        config.browser_xss_filter = true;
        config.content_security_policy = "default-src 'self'".into();
        config.content_security_policy_report_only = "img-src *".into();
        config.content_type_nosniff = true;
        config.frame_deny = true;
        config.permissions_policy = "camera=()".into();
        config.public_key = "pin-sha256=\"x\"; max-age=5".into();
        config.referrer_policy = "same-origin".into();
        config.sts_include_subdomains = true;
        config.sts_preload = true;
        config.sts_seconds = 31_536_000;
    });
    let plain = [
        "content-security-policy-report-only: img-src *",
        "content-security-policy: default-src 'self'",
        "permissions-policy: camera=()",
        "referrer-policy: same-origin",
        "strict-transport-security: max-age=1",
        "x-content-type-options: nosniff",
        "x-frame-options: DENY",
        "x-xss-protection: 1; mode=block",
    ];
    let service = [("Strict-Transport-Security", "max-age=1"), ("X-Frame-Options", "SAMEORIGIN")];
    assert_eq!(through(&all, &mut Sample::new("GET", "/"), &service).expect("passed"), plain);
    let over_tls = through(&all, &mut Sample::new("GET", "/").tls(), &service).expect("passed");
    assert!(
        over_tls
            .contains(&"strict-transport-security: max-age=31536000; includeSubDomains; preload".to_owned())
    );
    assert!(over_tls.contains(&"public-key-pins: pin-sha256=\"x\"; max-age=5".to_owned()));
}

#[test]
fn strict_transport_security_follows_its_options() {
    let value = |edit: fn(&mut dynamic::Headers), tls: bool| {
        let sample = Sample::new("GET", "/").field("x-tls", "yes");
        let mut sample = if tls { sample.tls() } else { sample };
        let lines = through(&compile(edit), &mut sample, &[]).expect("passed");
        lines.into_iter().find_map(|line| line.strip_prefix("strict-transport-security: ").map(str::to_owned))
    };
    assert_eq!(value(|config| config.sts_seconds = 5, true).as_deref(), Some("max-age=5"));
    assert_eq!(value(|config| config.sts_seconds = 5, false), None);
    assert_eq!(value(|config| config.sts_seconds = -1, true).as_deref(), Some("max-age=-1"));
    assert_eq!(value(|config| config.sts_include_subdomains = true, true), None, "0 seconds are no field");
    let forced: fn(&mut dynamic::Headers) = |config| {
        config.force_sts_header = true;
        config.sts_preload = true;
        config.sts_seconds = 10;
    };
    assert_eq!(value(forced, false).as_deref(), Some("max-age=10; preload"));
    let by_field: fn(&mut dynamic::Headers) = |config| {
        config.sts_seconds = 5;
        config.ssl_proxy_headers = pairs(&[("X-Tls", "yes")]);
    };
    assert_eq!(value(by_field, false).as_deref(), Some("max-age=5"));
    let development: fn(&mut dynamic::Headers) = |config| {
        config.sts_seconds = 5;
        config.is_development = true;
    };
    assert_eq!(value(development, true), None);
}

#[test]
fn own_values_stand_above_switches() {
    let own = compile(|config| {
        config.browser_xss_filter = true;
        config.custom_browser_xss_value = "0".into();
        config.custom_frame_options_value = "ALLOW-FROM http://x.test".into();
        config.frame_deny = true;
    });
    let want = ["x-frame-options: ALLOW-FROM http://x.test", "x-xss-protection: 0"];
    assert_eq!(through(&own, &mut Sample::new("GET", "/"), &[]).expect("passed"), want);
    let both = compile(|config| {
        config.custom_response_headers = pairs(&[("Referrer-Policy", ""), ("X-Frame-Options", "custom")]);
        config.frame_deny = true;
        config.referrer_policy = "no-referrer".into();
    });
    assert_eq!(
        through(&both, &mut Sample::new("GET", "/"), &[]).expect("passed"),
        ["x-frame-options: custom"]
    );
}

#[test]
fn allowed_hosts_compare_the_whole_host_without_case() {
    let plain = compile(|config| config.allowed_hosts = list(&["a.test", "b.test:8080", "*.c.test"]));
    let table = [
        ("a.test", true),
        ("A.TEST", true),
        ("a.test:80", false),
        ("b.test", false),
        ("b.test:8080", true),
        ("x.c.test", false),
        ("a.test.", false),
    ];
    for (host, good) in table {
        let outcome = through(&plain, &mut Sample::new("GET", "/").host(host), &[]);
        assert_eq!(outcome.is_ok(), good, "{host}");
        if let Err((status, fields)) = outcome {
            assert_eq!(status, 500);
            assert_eq!(
                fields,
                ["content-type: text/plain; charset=utf-8", "x-content-type-options: nosniff"]
            );
        }
    }
}

#[test]
fn fields_may_name_the_host_and_development_lifts_the_check() {
    let proxied = compile(|config| {
        config.allowed_hosts = list(&["a.test"]);
        config.hosts_proxy_headers = list(&["X-Host-One", "X-Host-Two"]);
    });
    let good = |sample: Sample| {
        let mut sample = sample;
        through(&proxied, &mut sample, &[]).is_ok()
    };
    let evil = || Sample::new("GET", "/").host("evil.test");
    assert!(!good(evil()));
    assert!(good(evil().field("x-host-one", "a.test")));
    assert!(good(evil().field("x-host-two", "a.test")));
    assert!(!good(evil().field("x-host-one", "b.test").field("x-host-two", "a.test")));
    assert!(!good(Sample::new("GET", "/").host("a.test").field("x-host-one", "evil.test")));
    let development = compile(|config| {
        config.allowed_hosts = list(&["a.test"]);
        config.is_development = true;
    });
    assert!(through(&development, &mut evil(), &[]).is_ok());
    let replaced = compile(|config| {
        config.allowed_hosts = list(&["a.test"]);
        config.custom_request_headers = pairs(&[("Host", "a.test")]);
    });
    assert!(through(&replaced, &mut evil(), &[]).is_ok(), "the replaced Host is the one compared");
}

#[test]
fn what_no_field_can_hold_is_an_error() {
    let bad = |edit: fn(&mut dynamic::Headers)| {
        let mut config = dynamic::Headers::default();
        edit(&mut config);
        Headers::compile(&config).is_err()
    };
    assert!(bad(|config| config.custom_request_headers = pairs(&[("a b", "1")])));
    assert!(bad(|config| config.custom_response_headers = pairs(&[("a", "1\n2")])));
    assert!(bad(|config| config.access_control_allow_origin_list_regex = list(&["("])));
    assert!(bad(|config| config.hosts_proxy_headers = list(&[""])));
}
