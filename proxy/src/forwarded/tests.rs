//! Truth tables and properties of the header policy.

use proptest::prelude::*;
use ravelin_config::static_config::{ForwardedHeaders, Http};

use super::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a field value"));
    }
    headers
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    lines.sort();
    lines
}

fn policy(edit: impl FnOnce(&mut EntryPoint)) -> ForwardedPolicy {
    let mut entry_point = EntryPoint::default();
    edit(&mut entry_point);
    ForwardedPolicy::compile(&entry_point, true).expect("a good policy")
}

fn insecure() -> ForwardedPolicy {
    policy(|entry_point| entry_point.forwarded_headers.insecure = true)
}

/// What a server sees of these fields, plain HTTP unless `tls`.
fn seen(policy: &ForwardedPolicy, host: &str, tls: bool, fields: &[(&str, &str)]) -> HeaderMap {
    let peer_value = HeaderValue::from_static("127.0.0.1");
    let server = HeaderValue::from_static("edge-1");
    let origin = Origin { peer: PEER, peer_value: &peer_value, tls, server: &server };
    let host_value = HeaderValue::from_str(host).expect("a host value");
    let port = crate::host::canonical(host).expect("a host").port;
    policy.told(map(fields), &host_value, port, origin).expect("admitted")
}

fn ours(host: &str, port: &str) -> Vec<String> {
    vec![
        "x-forwarded-for: 127.0.0.1".to_owned(),
        format!("x-forwarded-host: {host}"),
        format!("x-forwarded-port: {port}"),
        "x-forwarded-proto: http".to_owned(),
        "x-forwarded-server: edge-1".to_owned(),
        "x-real-ip: 127.0.0.1".to_owned(),
    ]
}

#[test]
fn an_untrusted_client_says_nothing_about_itself() {
    let lies = [
        ("x-forwarded-for", "1.2.3.4"),
        ("X-Forwarded-Host", "evil.test"),
        ("X-Forwarded-Port", "99"),
        ("X-Forwarded-Proto", "gopher"),
        ("X-Forwarded-Server", "evil"),
        ("X-Forwarded-Prefix", "/p"),
        ("X-Forwarded-Tls-Client-Cert", "c"),
        ("X-Forwarded-Anything", "x"),
        ("X-Real-Ip", "6.6.6.6"),
        ("Forwarded", "for=1.2.3.4"),
        ("X-Original-Url", "/admin"),
        ("X-Rewrite-Url", "/admin"),
        ("Proxy", "http://evil.test/"),
        ("X_Forwarded_For", "1.2.3.4"),
        ("X_Real-Ip", "6.6.6.6"),
        ("X_Auth_User", "root"),
    ];
    assert_eq!(lines(&seen(&policy(|_| ()), "a.test:81", false, &lies)), ours("a.test:81", "81"));
    let keep = policy(|entry_point| {
        entry_point.http =
            Http { underscore_headers_strategy: Some(UnderscoreHeaders::Keep), ..Http::default() };
    });
    let mut want = ours("a.test", "80");
    want.push("x_auth_user: root".to_owned());
    want.sort();
    assert_eq!(lines(&seen(&keep, "a.test", false, &lies)), want, "keeping underscores keeps no alias");
}

#[test]
fn underscores_can_be_refused() {
    let reject = policy(|entry_point| {
        entry_point.http.underscore_headers_strategy = Some(UnderscoreHeaders::Reject);
    });
    let value = HeaderValue::from_static("127.0.0.1");
    let origin = Origin { peer: PEER, peer_value: &value, tls: false, server: &value };
    let admit = |mut headers: HeaderMap| {
        let present = Present::of_client(&headers);
        reject.admit(&mut headers, present, None, None, origin)
    };
    let refused = admit(map(&[("a_b", "1")]));
    assert!(matches!(refused, Err(RequestError::UnderscoreField)));
    assert!(admit(map(&[("a-b", "1")])).is_ok());
}

/// Fields, Host, TLS; then a field's name and what a server sees in it.
type Believed<'a> = (&'a [(&'a str, &'a str)], &'a str, bool, &'a str, &'a str);

#[test]
fn a_trusted_client_is_believed_and_followed() {
    let field = |fields: &[(&str, &str)], host: &str, tls: bool, name: &str| {
        let headers = seen(&insecure(), host, tls, fields);
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| value.to_str().expect("ASCII").to_owned()).collect();
        values.join(" | ")
    };
    let table: [Believed; 15] = [
        (&[("X-Forwarded-For", "1.2.3.4")], "a.test", false, "x-forwarded-for", "1.2.3.4, 127.0.0.1"),
        (
            &[("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "2.2.2.2")],
            "a.test",
            false,
            "x-forwarded-for",
            "1.1.1.1, 2.2.2.2, 127.0.0.1",
        ),
        (&[("X-Forwarded-For", "")], "a.test", false, "x-forwarded-for", ", 127.0.0.1"),
        (
            &[("X-Real-Ip", "6.6.6.6"), ("X-Real-Ip", "7.7.7.7")],
            "a.test",
            false,
            "x-real-ip",
            "6.6.6.6 | 7.7.7.7",
        ),
        (&[("X-Forwarded-Proto", "https")], "a.test", false, "x-forwarded-port", "443"),
        (&[("X-Forwarded-Proto", "wss")], "a.test", false, "x-forwarded-port", "443"),
        (&[("X-Forwarded-Proto", "HTTPS")], "a.test", false, "x-forwarded-port", "80"),
        (&[("X-Forwarded-Proto", "https")], "a.test:8080", false, "x-forwarded-port", "8080"),
        (&[("X-Forwarded-Port", "99")], "a.test:8080", false, "x-forwarded-port", "99"),
        (&[("X-Forwarded-Host", "other.test:77")], "a.test", false, "x-forwarded-host", "other.test:77"),
        (&[("X-Forwarded-Server", "x")], "a.test", false, "x-forwarded-server", "edge-1"),
        (&[("X-Forwarded-Prefix", "/p")], "a.test", false, "x-forwarded-prefix", "/p"),
        (&[("X-Forwarded-Proto", "http")], "a.test", true, "x-forwarded-port", "443"),
        (&[("X-Forwarded-Proto", "")], "a.test", true, "x-forwarded-proto", "https"),
        (&[("Connection", "Upgrade"), ("Upgrade", "WebSocket")], "a.test", true, "x-forwarded-proto", "wss"),
    ];
    for (fields, host, tls, name, want) in table {
        assert_eq!(field(fields, host, tls, name), want, "{fields:?} {host} {name}");
    }
}

#[test]
fn trust_follows_the_peer_address() {
    let some = policy(|entry_point| {
        entry_point.forwarded_headers = ForwardedHeaders {
            trusted_ips: vec!["127.0.0.9".into(), "10.0.0.0/8".into()],
            ..ForwardedHeaders::default()
        };
    });
    for (peer, trusted) in [("127.0.0.9", true), ("10.200.0.1", true), ("127.0.0.10", false), ("::1", false)]
    {
        assert_eq!(some.trusts(peer.parse().expect("an address")), trusted, "{peer}");
    }
    let mut bad = EntryPoint::default();
    bad.forwarded_headers.trusted_ips = vec!["10.0.0.0/99".into()];
    assert!(matches!(ForwardedPolicy::compile(&bad, true), Err(PolicyError::Network(_))));
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let headers = seen(
        &policy(|_| ()),
        "a.test",
        false,
        &[
            ("Connection", "keep-alive, X-Gone, Host, Authorization, X-Forwarded-For, X-Real-Ip"),
            ("X-Gone", "1"),
            ("Keep-Alive", "5"),
            ("Proxy-Authorization", "secret"),
            ("Proxy-Connection", "keep-alive"),
            ("Upgrade", "foo"),
            ("TE", "gzip, trailers"),
            ("Authorization", "Basic YTpi"),
            ("X-Kept", "2"),
        ],
    );
    let mut want = ours("a.test", "80");
    want.extend(["authorization: Basic YTpi", "te: trailers", "x-kept: 2"].map(str::to_owned));
    want.sort();
    assert_eq!(lines(&headers), want);
    assert!(!seen(&policy(|_| ()), "a.test", false, &[("TE", "gzip")]).contains_key(TE));
}

#[test]
fn an_upgrade_is_passed_on_only_if_connection_names_it() {
    let asked =
        seen(&policy(|_| ()), "a.test", false, &[("Connection", "keep-alive, upgrade"), ("Upgrade", "foo")]);
    assert_eq!(asked.get(CONNECTION).map(HeaderValue::as_bytes), Some(&b"Upgrade"[..]));
    assert_eq!(asked.get(UPGRADE).map(HeaderValue::as_bytes), Some(&b"foo"[..]));
    let not_asked = seen(&policy(|_| ()), "a.test", false, &[("Upgrade", "foo")]);
    assert!(!not_asked.contains_key(UPGRADE) && !not_asked.contains_key(CONNECTION));
}

#[test]
fn no_switch_in_http_1_0_and_none_to_h2c() {
    let left = |version, upgrade| {
        let mut headers = map(&[("connection", "Upgrade"), ("upgrade", upgrade), ("http2-settings", "AAM")]);
        forbid_switching(&mut headers, version);
        (headers.contains_key(UPGRADE), headers.contains_key("http2-settings"))
    };
    assert_eq!(left(Version::HTTP_11, "websocket"), (true, true));
    assert_eq!(left(Version::HTTP_10, "websocket"), (false, false));
    assert_eq!(left(Version::HTTP_11, "h2c"), (false, false));
    assert_eq!(left(Version::HTTP_11, "foo, H2C"), (false, false));
}

#[test]
fn names_of_the_entry_points_list_survive_until_the_request_is_sent() {
    let keep = policy(|entry_point| entry_point.forwarded_headers.connection = vec!["X-Keep".into()]);
    let value = HeaderValue::from_static("127.0.0.1");
    let origin = Origin { peer: PEER, peer_value: &value, tls: false, server: &value };
    let mut headers = map(&[("Connection", "x-keep, X-Drop"), ("X-Keep", "1"), ("X-Drop", "1")]);
    let present = Present::of_client(&headers);
    keep.admit(&mut headers, present, None, None, origin).expect("admitted");
    assert!(headers.contains_key("x-keep") && !headers.contains_key("x-drop"));
    let present = Present::of(&headers);
    keep.dispatch(&mut headers, present, origin, false);
    assert!(!headers.contains_key("x-keep"));
}

#[test]
fn the_client_is_not_appended_where_that_is_off() {
    let mut entry_point = EntryPoint::default();
    entry_point.forwarded_headers.not_append_x_forwarded_for = true;
    let off = ForwardedPolicy::compile(&entry_point, true).expect("good");
    assert!(!seen(&off, "a.test", false, &[]).contains_key(X_FORWARDED_FOR));
    let globally = ForwardedPolicy::compile(&EntryPoint::default(), false).expect("good");
    assert!(!seen(&globally, "a.test", false, &[]).contains_key(X_FORWARDED_FOR));
}

#[test]
fn trailers_bring_no_field_of_a_head() {
    let mut trailers = map(&[
        ("x-sum", "9"),
        ("content-length", "1"),
        ("host", "evil.test"),
        ("authorization", "Basic YTpi"),
        ("x-forwarded-for", "1.2.3.4"),
        ("forwarded", "for=1.2.3.4"),
        ("connection", "close"),
        ("x_auth_user", "root"),
    ]);
    admit_trailers(&mut trailers);
    assert_eq!(lines(&trailers), ["x-sum: 9"]);
    assert!(check_trailer(&map(&[("trailer", "X-Sum, Content-Length")])).is_err());
    assert!(check_trailer(&map(&[("trailer", "X-Sum")])).is_ok());
}

fn field() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![
        Just("connection".to_owned()),
        Just("x-forwarded-for".to_owned()),
        Just("x_forwarded_for".to_owned()),
        Just("X-Real-Ip".to_owned()),
        Just("x-real_ip".to_owned()),
        Just("forwarded".to_owned()),
        Just("upgrade".to_owned()),
        "[a-z_-]{1,12}",
    ];
    let value = prop_oneof![
        Just("x-forwarded-for, x-real-ip, x-forwarded-host, x-forwarded-proto".to_owned()),
        Just("close, Upgrade, te".to_owned()),
        Just("9.9.9.9".to_owned()),
        "[a-z0-9., -]{0,20}",
    ];
    (name, value)
}

proptest! {
    #[test]
    fn own_fields_survive_whatever_an_untrusted_client_sends(fields in proptest::collection::vec(field(), 0..12)) {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.trim())).collect();
        let headers = seen(&policy(|_| ()), "a.test", false, &fields);
        for (name, want) in [("x-forwarded-for", "127.0.0.1"), ("x-real-ip", "127.0.0.1"), ("x-forwarded-host", "a.test"), ("x-forwarded-server", "edge-1")] {
            let values: Vec<_> = headers.get_all(name).iter().collect();
            prop_assert_eq!(values.len(), 1, "{}", name);
            prop_assert_eq!(values[0].as_bytes(), want.as_bytes(), "{}", name);
        }
        for name in headers.keys() {
            prop_assert!(!name.as_str().contains('_'));
            prop_assert!(!matches!(name.as_str(), "forwarded" | "keep-alive" | "proxy" | "transfer-encoding"));
        }
    }
}
