//! What a check asks, and what it takes for well.

use proptest::prelude::*;

use super::*;

#[test]
fn a_path_is_joined_to_the_servers_own() {
    let at = |base: &str, reference: &str| joined(base, reference).map(|target| target.to_string());
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(at("/base/", "/health?deep=1&x=a%20b"), some("/health?deep=1&x=a%20b"));
    assert_eq!(at("/base/path", "relative"), some("/base/relative"));
    assert_eq!(at("", "relative"), some("/relative"));
    assert_eq!(at("", ""), some("/"));
    assert_eq!(at("/base/path", ""), some("/base/path"));
    assert_eq!(at("/base/path", "?x=1#y"), some("/base/path?x=1"));
    assert_eq!(at("/a/b/c", "../../../d/./e/.."), some("/d/"));
    for elsewhere in ["http://a.test/x", "//a.test/x", "x:y"] {
        assert_eq!(at("/", elsewhere), None, "{elsewhere}");
    }
    assert_eq!(at("/", "a/b:c"), some("/a/b:c"));
}

fn config(set: impl FnOnce(&mut HealthCheck)) -> HealthCheck {
    let mut config = HealthCheck::default();
    set(&mut config);
    config
}

fn probe(url: &str, config: &HealthCheck) -> Probe {
    let url: ServerUrl = url.parse().expect("a URL");
    let transport = Arc::new(Transport::plain());
    Probe::compile(config, &url, &transport, &UpstreamRegistry::default()).expect("good")
}

#[test]
fn scheme_port_and_host_may_be_others() {
    let asked = |url: &str, config: HealthCheck| {
        let probe = probe(url, &config);
        let authority = text(&probe.upstream.authority).to_owned();
        (probe.upstream.scheme, authority, text(&probe.host).to_owned())
    };
    let plain = |authority: &str, host: &str| (Scheme::Http, authority.to_owned(), host.to_owned());
    assert_eq!(asked("http://a.test/x", HealthCheck::default()), plain("a.test", "a.test"));
    let port = config(|check| check.port = 81);
    assert_eq!(asked("http://[::1]:80", port), plain("[::1]:81", "[::1]:81"));
    let host = config(|check| check.hostname = "h.test".to_owned());
    assert_eq!(asked("http://a.test", host), plain("a.test", "h.test"));
    let scheme = config(|check| check.scheme = "https".to_owned());
    assert_eq!(asked("h2c://a.test:1", scheme).0, Scheme::Https);
    let grpc = |scheme: &str| {
        let scheme = scheme.to_owned();
        config(move |check| (check.mode, check.scheme) = ("grpc".to_owned(), scheme))
    };
    assert_eq!(asked("https://a.test", grpc("")).0, Scheme::H2c);
    assert_eq!(asked("https://a.test", grpc("")).1, "a.test:443");
    assert_eq!(asked("http://a.test", grpc("https")).0, Scheme::Https);
}

#[test]
fn a_check_asks_for_gzip_unless_it_says_otherwise() {
    let asked = |method: &str, fields: &[(&str, &str)]| {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let config = config(|check| (check.method, check.headers) = (method.to_owned(), fields));
        let How::Http(http) = probe("http://a", &config).how else { panic!("HTTP") };
        let encodings = http.headers.get_all(ACCEPT_ENCODING).iter().map(|value| text(value).to_owned());
        encodings.collect::<Vec<_>>()
    };
    assert_eq!(asked("", &[("X-Check", "1")]), ["gzip"]);
    assert_eq!(asked("POST", &[]), ["gzip"]);
    assert_eq!(asked("HEAD", &[]), [""; 0]);
    assert_eq!(asked("", &[("accept-encoding", "br")]), ["br"]);
    assert_eq!(asked("", &[("Range", "bytes=0-1")]), [""; 0]);
}

#[test]
fn statuses_that_are_well() {
    let judge = |wanted: i64, status: u16| {
        let How::Http(http) = probe("http://a", &config(|check| check.status = wanted)).how else {
            panic!("HTTP")
        };
        http.judge(StatusCode::from_u16(status).expect("a status")).is_ok()
    };
    let well: Vec<u16> = (100..600).filter(|status| judge(0, *status)).collect();
    assert_eq!((well.first(), well.last(), well.len()), (Some(&200), Some(&399), 200));
    assert!(judge(418, 418) && !judge(200, 204));
}

#[test]
fn one_whole_message_counts_and_nothing_else() {
    let framed = |bytes: &'static [u8]| framed(Bytes::from_static(bytes));
    assert_eq!(framed(&[0, 0, 0, 0, 2, 8, 1]).as_deref(), Some(GRPC_SERVING));
    assert_eq!(framed(GRPC_EMPTY).as_deref(), Some(&[][..]));
    for bad in [&[][..], &[0, 0, 0, 0, 2, 8], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 1, 8, 1]] {
        assert_eq!(framed(bad), None, "{bad:?}");
    }
}

#[test]
fn a_redirection_is_followed_at_the_same_address_only() {
    let probe = probe("http://a.test:81/x", &HealthCheck::default());
    let led = |status: u16, location: &'static str| {
        let mut response = Response::new(ResponseBody::empty());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        response.headers_mut().insert(LOCATION, HeaderValue::from_static(location));
        probe.redirected(&response, &PathAndQuery::from_static("/x/y")).map(|target| target.to_string())
    };
    assert_eq!(led(302, "/z").as_deref(), Some("/z"));
    assert_eq!(led(308, "http://a.test:81/w?q").as_deref(), Some("/w?q"));
    assert_eq!(led(301, "v").as_deref(), Some("/x/v"));
    for elsewhere in [
        "http://a.test:811/x",
        "http://b.test/x",
        "https://a.test:81/x",
        "//b.test",
        "http://169.254.169.254/",
    ] {
        assert_eq!(led(302, elsewhere), None, "{elsewhere}");
    }
    assert_eq!(led(304, "/z"), None);
}

proptest! {
    /// No path, base or reference makes a target that is not one, or leaves the address.
    #[test]
    fn joining_gives_a_path_or_nothing(base in "(/[a-z./%]{0,10}){0,3}", reference in "[ -~]{0,20}") {
        if let Some(target) = joined(&base, &reference) {
            prop_assert!(target.path().starts_with('/'), "{}", target);
            prop_assert!(!target.path().split('/').any(|segment| segment == "." || segment == ".."));
        }
    }
}
