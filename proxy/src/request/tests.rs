//! Bounds of the request path that no script shows.

use super::services::outgoing_target;
use super::*;
use crate::middleware::Kept;

/// The size of the future that a function would return, without calling it.
fn future_bytes<'a, F: Future>(
    _: impl Fn(&'a State, &'a Table, &'a Rc<ConnectionFacts>, Present, Request<ClientBody>) -> F,
) -> usize {
    size_of::<F>()
}

#[test]
fn a_request_in_flight_is_small() {
    let bytes = future_bytes(|state, table, connection, present, request| {
        answer(state, table, connection, present, request)
    });
    assert!(bytes <= 3072, "{bytes} bytes per request in flight");
}

/// What is handed from function to function is copied each time.
#[test]
fn what_is_moved_with_every_request_is_small() {
    let sizes = [
        ("answer's body", size_of::<ResponseBody>(), 128),
        ("answer", size_of::<Response<ResponseBody>>(), 256),
        ("answer or error", size_of::<Result<Response<ResponseBody>, RequestError>>(), 256),
        ("exchange", size_of::<Exchange>(), 32),
        ("kept by a middleware", size_of::<Kept>(), 32),
        ("request's body", size_of::<RequestBody>(), 96),
        ("error", size_of::<RequestError>(), 48),
    ];
    let large: Vec<_> = sizes.iter().filter(|(_, bytes, bytes_max)| bytes > bytes_max).collect();
    assert!(large.is_empty(), "larger than their bounds: {large:?}, of {sizes:?}");
}

/// It stays among the fields on its way to the server, but rules are not to see it there (nor are they in Traefik).
#[test]
fn the_host_is_no_field_for_rules() {
    let headers = HeaderMap::from_iter([
        (HOST, HeaderValue::from_static("a.test")),
        (COOKIE, HeaderValue::from_static("a.test")),
    ]);
    for (name, seen) in [("Host", false), ("host", false), ("Cookie", true)] {
        assert_eq!(Fields(&headers).any_value(name, &mut |value| value == b"a.test"), seen, "{name}");
    }
}

#[test]
fn the_host_stays_where_it_is_forwarded_unchanged() {
    let take = |version, target: &str, hosts: &[&'static str]| {
        let (mut parts, ()) = Request::new(()).into_parts();
        (parts.version, parts.uri) = (version, target.parse().expect("a URI"));
        parts.headers.extend(hosts.iter().map(|host| (HOST, HeaderValue::from_static(host))));
        let host = take_host(&mut parts).map(|host| host.to_str().expect("text").to_owned());
        (host, parts.headers.get_all(HOST).iter().count())
    };
    let host = |host: &str| Some(host.to_owned());
    assert_eq!(take(Version::HTTP_11, "/", &["a"]), (host("a"), 1));
    assert_eq!(take(Version::HTTP_10, "/", &[]), (None, 0));
    assert_eq!(take(Version::HTTP_11, "/", &["a", "b"]), (host("a"), 0), "never two");
    assert_eq!(take(Version::HTTP_11, "http://b/", &["a"]), (host("a"), 0), "the target's authority counts");
    assert_eq!(take(Version::HTTP_2, "/", &["a"]), (host("a"), 0));
}

#[test]
fn queries_go_on_byte_for_byte_but_for_semicolons() {
    let query = |text, encode| {
        let policy = EntryPointPolicy { encode_query_semicolons: encode, ..EntryPointPolicy::default() };
        routing_query(Some(text), &policy).map(Cow::into_owned)
    };
    assert_eq!(query("a=%zz&&b=[1]{2}", false).as_deref(), Some("a=%zz&&b=[1]{2}"));
    assert_eq!(query("a=1;b=2;", false).as_deref(), Some("a=1&b=2&"));
    assert_eq!(query("a=1;b=2;", true).as_deref(), Some("a=1%3Bb=2%3B"));
    assert_eq!(routing_query(None, &EntryPointPolicy::default()), None);
}

#[test]
fn the_clients_own_target_is_used_where_nothing_changed_it() {
    let uri: http::Uri = "/a/b?x=1".parse().expect("a URI");
    let target = |path: &PathText, base: &str, query: Option<&str>| {
        outgoing_target(path, base, Some("x=1"), query).expect("a target").to_string()
    };
    let original = PathText::Original(uri);
    assert_eq!(target(&original, "", Some("x=1")), "/a/b?x=1");
    assert_eq!(target(&original, "/base", Some("x=1")), "/base/a/b?x=1");
    assert_eq!(target(&original, "", Some("x&1")), "/a/b?x&1");
    assert_eq!(target(&PathText::Own("/c".into()), "", None), "/c");
    let bare: http::Uri = "http://b.test?q=1".parse().expect("a URI");
    assert_eq!(target(&PathText::Original(bare), "", Some("q=1")), "/?q=1");
}

#[test]
fn a_replaced_access_log_is_ended_by_its_publisher_and_never_by_a_worker() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file_path = folder.path().join("access.log").display().to_string();
    let config = ravelin_config::static_config::AccessLog { file_path, ..Default::default() };
    let log = crate::access_log::AccessLog::open(&config, 1).expect("it can be made");
    let weak = Arc::downgrade(&log);
    let shared = Arc::new(Shared::default());
    shared.set_access_log(Some(log));
    let state = State::new(Arc::clone(&shared), 0, 1);
    let held = state.log().expect("a log");
    shared.set_access_log(None);
    assert_eq!(shared.free_retired(), 1, "a request still holds it");
    assert!(state.log().is_none());
    drop(held);
    assert_eq!(weak.strong_count(), 1, "the worker's last hold ended nothing");
    assert_eq!((shared.free_retired(), weak.strong_count()), (0, 0));
}
