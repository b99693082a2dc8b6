//! Objects of a newer control plane: kinds that this build does not know, and newer schemas of those that it does.

use ravelin_config::object::ObjectV1;
use ravelin_config::options::SCHEMA_VERSION;
use ravelin_config::understands::MUST_BE_KNOWN;

use super::*;

/// An object with this schema, as a newer control plane would write it.
fn put_newer(map: &mut ConfigMap, key: &str, value: &Value) {
    let key = Key::new(key).expect("a short key");
    let object = Object { schema: SCHEMA_VERSION + 1, ..object(&key, value) };
    map.put(key, encode(&Record { object, status: Status::enabled(), last_good: None }));
}

/// An object of a kind that this build does not know.
fn put_unknown(map: &mut ConfigMap, key: &str, code: u16) {
    let known = Object::new(Kind::HttpService, 1, Arc::from(b"{}".as_slice()));
    let RecordWire::V1(mut wire) =
        Record { object: known, status: Status::enabled(), last_good: None }.to_wire();
    wire.object = ObjectV1 { kind: code, ..wire.object };
    let bytes = codec::encode(object::RECORD_VERSION, &RecordWire::V1(wire)).expect("small");
    map.put(Key::new(key).expect("a short key"), Arc::from(&*bytes));
}

fn with_router() -> ConfigMap {
    let mut map = base();
    put(&mut map, "http/routers/r@file", &json!({"rule": "Host(`a.test`)", "service": "s"}));
    map
}

fn outcome(table: &Table) -> &Outcome {
    &route(table, "web", false, "a.test", "/").expect("it has a place").outcome
}

fn reason(table: &Table) -> &str {
    match outcome(table) {
        Outcome::Error { reason } => reason,
        _ => panic!("it is served"),
    }
}

#[test]
fn an_object_of_an_unknown_kind_is_set_aside_and_the_rest_is_served_on() {
    let mut map = with_router();
    put_unknown(&mut map, "quic/routers/x@file", 999);
    let mut compiler = compiler();
    let table = compiler.apply(generation(&map), &map).expect("an old proxy goes on");
    assert!(matches!(outcome(&table), Outcome::Serve { .. }));
    let key = Key::new("quic/routers/x@file").expect("a key");
    let told = table.problems.get(&key).expect("it is told");
    assert!(told.contains("no objects of kind 999"), "{told}");
    // A certificate is renewed meanwhile, and the object stays where it is.
    put(&mut map, "http/services/s@file", &server("http://127.0.0.1:2"));
    let table = compiler.apply(generation(&map), &map).expect("an old proxy goes on");
    assert!(table.problems.contains_key(&key));
    map.delete(&key);
    let table = compiler.apply(generation(&map), &map).expect("an old proxy goes on");
    assert!(!table.problems.contains_key(&key), "it is gone");
}

#[test]
fn what_must_be_known_and_is_not_refuses_the_generation_and_changes_nothing() {
    let mut compiler = compiler();
    let before = with_router();
    compiler.apply(generation(&before), &before).expect("nothing to refuse");
    let refused = |compiler: &mut Compiler, change: &dyn Fn(&mut ConfigMap)| {
        let mut map = with_router();
        change(&mut map);
        let Err(Refusal::Record { key, reason }) = compiler.apply(generation(&map), &map) else {
            panic!("it was taken")
        };
        format!("{key}: {reason}")
    };
    let unknown = |key: &'static str, code| move |map: &mut ConfigMap| put_unknown(map, key, code);
    let said = refused(&mut compiler, &unknown("policies/p", MUST_BE_KNOWN | 3));
    assert!(said.starts_with("policies/p: ") && said.contains("which this build does not know"), "{said}");
    let said = refused(&mut compiler, &unknown("http/middlewares/m@file", 999));
    assert!(said.contains("kind 999"), "a prefix that is known holds what is known: {said}");
    for key in ["static/entryPoints/web", "static/accessLog"] {
        let said = refused(&mut compiler, &|map| put_newer(map, key, &json!({"address": ":80"})));
        assert!(said.contains("written with schema 2"), "{said}");
    }
    let said = refused(&mut compiler, &|map| {
        put_newer(map, "http/routers/n@file", &json!({"rule": "NewMatcher(`x`)", "service": "s"}));
    });
    assert!(said.contains("its place is not known"), "{said}");
    let table = compiler.apply(generation(&before), &before).expect("what was served can be served on");
    assert!(matches!(outcome(&table), Outcome::Serve { .. }));
}

#[test]
fn a_newer_schema_is_an_error_of_the_routers_that_need_it_in_their_places() {
    let mut map = with_router();
    put_newer(
        &mut map,
        "http/routers/r@file",
        &json!({"rule": "Host(`a.test`)", "service": "s", "shield": 1}),
    );
    assert!(reason(&compile(&map)).contains("written with schema 2"));
    let mut map = with_router();
    put_newer(&mut map, "http/services/s@file", &server("http://127.0.0.1:1"));
    assert!(reason(&compile(&map)).contains("written with schema 2"));
    let mut map = with_router();
    let guarded = json!({"rule": "Host(`a.test`)", "service": "s", "middlewares": ["m"]});
    put(&mut map, "http/routers/r@file", &guarded);
    put_newer(&mut map, "http/middlewares/m@file", &json!({"stripPrefix": {"prefixes": ["/x"]}}));
    assert!(reason(&compile(&map)).contains("m@file"), "never served without it");
}
