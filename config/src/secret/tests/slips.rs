//! Slips: a secret under a misspelled option, where a group is due, in a header or in a URL is sealed, and no text of the check
//! shows it. What cannot be sealed is refused.

use super::*;
use crate::check::Checker;
use crate::document::Node;
use crate::key::Key;

const MARK: &str = "Marked0Secret";

/// Every text that the check makes of an object.
fn texts(kind: Kind, json: &Json) -> String {
    let read = options::read(options::of_object(kind, ""), &Node::from_json(json), "", false);
    let object = options::object(kind, &read.json).expect("shallow");
    let key = Key::of(kind, "x@file").expect("a key");
    let mut checker = Checker::default();
    let change = checker.upsert([(key, object)], []);
    let checked = change.puts.values().flat_map(|record| record.status.errors.clone());
    read.findings.iter().map(|finding| finding.status_text()).chain(checked).collect::<Vec<_>>().join("\n")
}

/// What goes into the log of an object with these options, and how many secrets it gave.
fn logged(kind: Kind, json: &Json) -> (String, usize) {
    let read = options::read(options::of_object(kind, ""), &Node::from_json(json), "", false);
    let object = options::object(kind, &read.json).expect("shallow");
    let (sealed, found) = sealed(&object);
    let all = |id: &SecretId| Ok(found.iter().find(|(found, _)| found == id).expect("named").1.clone());
    assert_eq!(fill(&sealed, all), Ok(object), "it comes back");
    (String::from_utf8(sealed.bytes.to_vec()).expect("JSON is text"), found.len())
}

/// Marked values at every option of a table, and beside them under a name that it does not know; those that must show nowhere.
fn misplaced(fields: &[Field], wrap: &dyn Fn(Json) -> Json, above: (bool, bool), out: &mut Vec<Json>) {
    out.push(wrap(json!({"unknwon": MARK})));
    out.push(wrap(json!({"unknwon": [{"x": MARK}]})));
    for field in fields {
        let is_secret = above.0 || names::is_secret(field.name);
        let is_sensitive = above.1 || may_hold_secrets(field.name);
        for value in [json!(MARK), json!([MARK]), json!({"x": MARK}), json!([{"x": MARK}])] {
            let fits = match field.ty {
                Type::Free => true,
                Type::Text | Type::Content => value.is_string(),
                Type::Texts | Type::Contents => value.is_string() || value == json!([MARK]),
                Type::TextMap => value == json!({"x": MARK}),
                Type::Flag | Type::Integer | Type::Number | Type::Duration => {
                    !is_sensitive && (value.is_string() || value == json!([MARK]))
                }
                Type::Choice(_) | Type::AnyCase(_) => !is_sensitive && value.is_string(),
                Type::Group(_) | Type::Switch(_) | Type::Groups(_) | Type::Named(_) => false,
            };
            if is_secret || !fits {
                out.push(wrap(json!({field.name: value})));
            }
        }
        let name = field.name;
        let below = |inner: Json| {
            let value = match field.ty {
                Type::Groups(_) => json!([inner]),
                Type::Named(_) => json!({"n": inner}),
                _ => inner,
            };
            wrap(json!({name: value}))
        };
        if !field.ty.fields().is_empty() {
            misplaced(field.ty.fields(), &below, (is_secret, is_sensitive), out);
        }
    }
}

#[test]
fn a_misplaced_value_is_sealed_and_no_text_shows_it() {
    let kinds = Kind::ALL.into_iter().filter(|kind| !matches!(kind, Kind::EntryPoint | Kind::StaticSection));
    for kind in kinds {
        let mut all = Vec::new();
        misplaced(options::of_object(kind, ""), &|json| json, (false, false), &mut all);
        assert!(all.len() > 5 || kind == Kind::UdpRouter && all.len() > 2, "{kind:?}: {}", all.len());
        for json in all {
            let told = texts(kind, &json);
            assert!(!told.contains(MARK), "{json}: {told}");
            assert!(!logged(kind, &json).0.contains(MARK), "{json}");
        }
    }
}

#[test]
fn slips_that_people_make() {
    let hash = "admin:$apr1$Marked0Secret";
    for json in [
        json!({"basicAuth": {"usres": [hash]}}),
        json!({"basicAuth": {"passwd": 1234}}),
        json!({"basicAuth": hash}),
        json!({"basicAuht": hash}),
        json!({"basicAuth": {"removeHeader": hash}}),
        json!({"headers": {"customRequestHeaders": format!("Authorization: Bearer {MARK}")}}),
        json!({"plugin": {"x": {"ApiSecretValue": MARK, "headers": {"X-Auth-Token": MARK}}}}),
        json!({"forwardAuth": {"address": format!("http://joe:{MARK}@auth/")}}),
        json!({"rateLimit": {"redis": {"endpoints": [format!("joe:{MARK}@redis:6379")]}}}),
    ] {
        let (log, found) = logged(Kind::HttpMiddleware, &json);
        assert!(found > 0 && !log.contains(MARK) && !log.contains("1234"), "{json}: {log}");
        let told = texts(Kind::HttpMiddleware, &json);
        assert!(!told.contains(MARK), "{json}: {told}");
    }
    assert!(texts(Kind::HttpRouter, &json!({"priority": "high"})).contains("\"high\""), "this helps");
}

#[test]
fn headers_are_sealed_by_name_and_by_value() {
    let headers = json!({
        "Authorization": MARK, "cookie": MARK, "X-Api-Key": MARK, "X-Vault-Token": MARK, "My-Secret": MARK,
        "Proxy-Authorization": MARK, "X-Any": format!("Bearer {MARK}"), "X-Frame": "deny", "X-From": "a b",
    });
    for option in ["customRequestHeaders", "customResponseHeaders"] {
        let (log, found) = logged(Kind::HttpMiddleware, &json!({"headers": {option: headers}}));
        assert!(!log.contains(MARK) && log.contains("deny") && log.contains("a b"), "{log}");
        assert_eq!(found, 7, "{log}");
    }
    let check = json!({"loadBalancer": {"healthCheck": {"headers": headers}}});
    assert_eq!(logged(Kind::HttpService, &check).1, 7);
}

#[test]
fn a_url_shows_neither_user_nor_password() {
    let service = |url: &str| json!({"loadBalancer": {"servers": [{"url": url}]}});
    for url in ["http://joe:Marked0Secret@a", "joe:Marked0Secret@a", "ftp://joe:Marked0/Secret@a:b"] {
        let (log, found) = logged(Kind::HttpService, &service(url));
        assert!(found == 1 && !log.contains("Marked0") && !log.contains("joe"), "{log}");
        let told = texts(Kind::HttpService, &service(url));
        assert!(!told.contains("Marked0") && !told.contains("joe"), "{told}");
    }
    let (log, found) = logged(Kind::HttpService, &service("http://a:80/b"));
    assert!(found == 0 && log.contains("http://a:80/b"), "{log}");
    assert!(texts(Kind::HttpService, &service("ftp://a:80")).contains("ftp://a:80"));
}

#[test]
fn what_cannot_be_sealed_is_refused() {
    let broken = Object { bytes: Arc::from(&b"{\"keyFile\":\"Marked0Secret\""[..]), ..object(&json!({})) };
    let error = seal_object(&broken, &keys()).expect_err("its secrets cannot be found");
    assert!(error == SealError::Json && !error.to_string().contains(MARK));
    let mut deep = json!(MARK);
    for _ in 0..CANONICAL_DEPTH_MAX - 1 {
        deep = json!([deep]);
    }
    let deep = object(&json!({"unknwon": deep}));
    assert_eq!(seal_object(&deep, &keys()), Err(SealError::TooDeep));
    let record =
        Record { object: object(&json!({})), status: Status::enabled(), last_good: Some(deep.clone()) };
    assert_eq!(seal_record(&record, &keys()), Err(SealError::TooDeep));
    // A text never gets that far.
    assert!(options::object(Kind::TlsCertificate, &json_of(&deep)).is_err());
}

#[test]
fn a_name_that_may_be_a_secret_is_sealed_like_a_value() {
    let hash = "admin:$apr1$Marked0Secret";
    for json in [
        json!({"basicAuth": {"users": {hash: ""}}}),
        json!({"basicAuth": {"users": {hash: null, "b:Marked0Secret": null}}}),
        json!({"basicAuth": {"users": [{hash: 1}]}}),
        json!({"basicAuth": {hash: true}}),
        json!({"Bearer Marked0Secret": {}}),
        json!({"headers": {"customRequestHeaders": {format!("Authorization: Bearer {MARK}"): ""}}}),
        json!({"headers": {"frameDeny": {hash: 1}}}),
        json!({"headers": {"hostsProxyHeaders": [format!("Authorization: Bearer {MARK}")]}}),
    ] {
        let told = texts(Kind::HttpMiddleware, &json);
        assert!(!told.is_empty() && !told.contains(MARK), "{json}: {told}");
        let (log, _) = logged(Kind::HttpMiddleware, &json);
        assert!(!log.contains(MARK), "{json}: {log}");
        let fields = options::of_object(Kind::HttpMiddleware, "");
        let read = |json: &Json| options::read(fields, &Node::from_json(json), "", false).json;
        assert_eq!(read(&json), read(&read(&json)), "reading it again finds the same");
    }
    let slip = texts(Kind::HttpMiddleware, &json!({"headers": {"frameDenny": true}}));
    assert!(slip.contains("frameDenny"), "{slip}: this helps");
}
