//! Bounds of the request path that no script shows.

use super::*;

/// The size of the future that a function would return, without calling it.
fn future_bytes<'a, F: Future>(
    _: impl Fn(&'a State, &'a Table, &'a Rc<ConnectionFacts>, Request<ClientBody>) -> F,
) -> usize {
    size_of::<F>()
}

#[test]
fn a_request_in_flight_is_small() {
    #[expect(clippy::redundant_closure, reason = "the function itself has a lifetime for each argument")]
    let bytes = future_bytes(|state, table, connection, request| answer(state, table, connection, request));
    assert!(bytes <= 3072, "{bytes} bytes per request in flight");
    assert!(size_of::<ResponseBody>() <= 512, "{} bytes per response body", size_of::<ResponseBody>());
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
