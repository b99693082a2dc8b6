//! Checks of the compiler: places, errors in their place, models of entry points, and change against the whole.

use proptest::prelude::*;
use ravelin_config::rule::{NoHeaders, RequestFacts};
use ravelin_config::static_config::{Api, Ping, StaticConfig, internal_objects};
use ravelin_config::{Object, State as Verdict, Status, canonical};
use serde_json::{Value, json};

use super::*;
use crate::table::{Outcome, Route};

mod cross;
mod newer;
mod sections;

fn object(key: &Key, value: &Value) -> Object {
    let bytes = canonical::value_to_bytes(value).expect("test values are shallow");
    Object::new(key.kind().expect("a known prefix"), 1, bytes)
}

pub(crate) fn encode(record: &Record) -> Arc<[u8]> {
    Arc::from(&*codec::encode(object::RECORD_VERSION, &record.to_wire()).expect("a small record"))
}

pub(crate) fn put(map: &mut ConfigMap, key: &str, value: &Value) {
    let key = Key::new(key).expect("a short key");
    let record = Record { object: object(&key, value), status: Status::enabled(), last_good: None };
    map.put(key, encode(&record));
}

pub(crate) fn put_disabled(map: &mut ConfigMap, key: &str, value: &Value, last_good: Option<&Value>) {
    let key = Key::new(key).expect("a short key");
    let last_good = last_good.map(|value| object(&key, value));
    let status = Status { state: Verdict::Disabled, errors: vec!["judged bad".to_owned()] };
    let record = Record { object: object(&key, value), status, last_good };
    map.put(key, encode(&record));
}

pub(crate) fn server(url: &str) -> Value {
    json!({"loadBalancer": {"servers": [{"url": url}]}})
}

/// What the control plane makes out of the static sections, as records of the same generation.
pub(crate) fn put_internal(map: &mut ConfigMap, config: &StaticConfig) {
    for (key, object) in internal_objects(config, None).objects {
        let record = Record { object: Object::clone(&object), status: Status::enabled(), last_good: None };
        map.put(key, encode(&record));
    }
}

/// Two entry points and one service.
pub(crate) fn base() -> ConfigMap {
    let mut map = ConfigMap::new();
    put(&mut map, "static/entryPoints/web", &json!({"address": ":80"}));
    put(&mut map, "static/entryPoints/websecure", &json!({"address": ":443"}));
    put(&mut map, "http/services/s@file", &server("http://127.0.0.1:1"));
    map
}

pub(crate) fn generation(map: &ConfigMap) -> GenerationId {
    GenerationId { cluster: [0; 16], recovery_epoch: 0, revision: 1, digest: map.digest() }
}

/// One process for all tests: generating its certificate takes longer than a test.
pub(crate) fn compiler() -> Compiler {
    static PROCESS: std::sync::LazyLock<Arc<Process>> =
        std::sync::LazyLock::new(|| Arc::new(Process::new(1).expect("a certificate can be generated")));
    Compiler::new(Arc::clone(&PROCESS))
}

pub(crate) fn compile(map: &ConfigMap) -> Arc<Table> {
    compiler().apply(generation(map), map).expect("nothing to refuse")
}

fn route<'t>(
    table: &'t Table,
    entry_point: &str,
    tls: bool,
    host: &str,
    path: &str,
) -> Option<&'t Arc<Route>> {
    let facts = RequestFacts { host, path, method: "GET", query: "", client_ip: None, headers: &NoHeaders };
    table.entry_point(entry_point)?.route(tls, &facts)
}

/// Name of the route and what it does, as one text.
fn outcome(table: &Table, entry_point: &str, tls: bool, host: &str, path: &str) -> String {
    let facts = RequestFacts { host, path, method: "GET", query: "", client_ip: None, headers: &NoHeaders };
    let mut route = route(table, entry_point, tls, host, path);
    let mut text = String::new();
    loop {
        let Some(found) = route else { return text + "404" };
        match &found.outcome {
            Outcome::Serve { middlewares, service } => {
                let service = format!("{:?} {:?}", service.middlewares, service.kind);
                return format!("{text}{} {middlewares:?} {service}", found.name());
            }
            Outcome::Branch { middlewares, children } => {
                text.push_str(&format!("{} {middlewares:?} ", found.name()));
                route = children.find(&facts);
            }
            Outcome::Error { reason } => return format!("{text}{} error: {reason}", found.name()),
        }
    }
}

fn web(table: &Table, host: &str) -> String {
    outcome(table, "web", false, host, "/")
}

#[test]
fn a_router_serves_on_its_entry_points_by_its_protocol() {
    let mut map = base();
    put(&mut map, "http/routers/r@file", &json!({"rule": "Host(`a.test`)", "service": "s"}));
    let secure = json!({"rule": "Host(`b.test`)", "service": "s@file", "entryPoints": ["websecure", "none"], "tls": {}});
    put(&mut map, "http/routers/t@file", &secure);
    let table = compile(&map);
    assert!(web(&table, "a.test").starts_with("r@file [] [] LoadBalancer"));
    assert!(outcome(&table, "websecure", false, "a.test", "/").starts_with("r@file"));
    assert_eq!(outcome(&table, "websecure", true, "a.test", "/"), "404");
    assert!(outcome(&table, "websecure", true, "b.test", "/").starts_with("t@file"));
    assert_eq!((web(&table, "b.test").as_str(), web(&table, "c.test").as_str()), ("404", "404"));
    assert!(table.problems.is_empty(), "{:?}", table.problems);
}

#[test]
fn a_router_in_error_answers_in_its_own_place_or_by_its_last_good_value() {
    let mut map = base();
    put(
        &mut map,
        "http/routers/all@file",
        &json!({"rule": "PathPrefix(`/`)", "service": "s", "priority": 1}),
    );
    let bad = json!({"rule": "Host(`a.test`)", "service": "s", "middlewares": ["auth"], "priority": "x"});
    put_disabled(&mut map, "http/routers/bad@file", &bad, None);
    let table = compile(&map);
    assert_eq!(web(&table, "a.test"), "bad@file error: judged bad");
    assert!(web(&table, "b.test").starts_with("all@file"));
    assert_eq!(table.problems.get("http/routers/bad@file").map(|text| &**text), Some("judged bad"));

    let good = json!({"rule": "Host(`a.test`) && Path(`/`)", "service": "s"});
    put_disabled(&mut map, "http/routers/bad@file", &bad, Some(&good));
    assert!(web(&compile(&map), "a.test").starts_with("bad@file []"));

    for (value, expected) in [
        (json!({"rule": "Host(`a.test`", "service": "s"}), "all@file"),
        (json!({"rule": "PathRegexp(`/`)", "priority": 99, "ruleSyntax": "v2", "service": "s"}), "all@file"),
        (json!({"rule": "Host(`a.test`)", "ruleSyntax": "v2", "service": "s"}), "bad@file error"),
        (
            json!({"rule": "Host(`a.test`)", "entryPoints": "web, x", "service": "s", "surplus": 1}),
            "bad@file error",
        ),
    ] {
        put_disabled(&mut map, "http/routers/bad@file", &value, None);
        let found = web(&compile(&map), "a.test");
        assert!(found.starts_with(expected), "{value}: {found}");
    }
}

#[test]
fn children_find_their_requests_below_their_parents_only() {
    let mut map = base();
    put(&mut map, "http/middlewares/m@file", &json!({"stripPrefix": {"prefixes": ["/x"]}}));
    put(&mut map, "http/routers/root@file", &json!({"rule": "Host(`a.test`)", "middlewares": ["m"]}));
    let child =
        |path: &str, parent: &str| json!({"rule": format!("PathPrefix(`{path}`)"), "parentRefs": [parent]});
    let with = |mut value: Value, member: &str, text: &str| {
        value[member] = json!(text);
        value
    };
    put(&mut map, "http/routers/mid@file", &child("/x", "root"));
    put(&mut map, "http/routers/leaf@file", &with(child("/x/y", "mid@file"), "service", "s"));
    let all = json!({"rule": "PathPrefix(`/`)", "service": "s", "priority": 1});
    put(&mut map, "http/routers/all@file", &all);
    let mut compiler = compiler();
    let mut apply = |map: &ConfigMap| compiler.apply(generation(map), map).expect("nothing to refuse");
    let web = |table: &Table, host: &str, path: &str| outcome(table, "web", false, host, path);
    let table = apply(&map);
    let found = web(&table, "a.test", "/x/y");
    assert!(
        found.starts_with("root@file [StripPrefix") && found.contains("] mid@file [] leaf@file [] [] Load")
    );
    assert!(web(&table, "a.test", "/x").ends_with("mid@file [] 404"), "a parent's request is nobody else's");
    assert!(web(&table, "b.test", "/x/y").starts_with("all@file"), "a child alone finds nothing");

    let bad = with(child("/x/y", "mid@file"), "service", "nowhere");
    put_disabled(&mut map, "http/routers/leaf@file", &bad, None);
    let table = apply(&map);
    assert!(web(&table, "a.test", "/x/y/z").ends_with("leaf@file error: judged bad"), "503 in its own place");
    put(&mut map, "http/routers/mid@file", &child("/x", "leaf@file"));
    put(&mut map, "http/routers/leaf@file", &child("/x/y", "mid@file"));
    assert_eq!(apply(&map).problems.len(), 2, "a circle of last good values ends");
    map.delete(&Key::new("http/routers/leaf@file").expect("a key"));
    put(&mut map, "http/routers/mid@file", &with(child("/", "root"), "service", "s"));
    let table = apply(&map);
    assert!(web(&table, "a.test", "/z").contains("mid@file [] [] Load") && table.problems.is_empty());
}

#[test]
fn what_a_router_needs_and_lacks_is_its_error() {
    let mut map = base();
    let router = |service: &str, middleware: &str| json!({"rule": "Host(`a.test`)", "service": service, "middlewares": [middleware]});
    put(&mut map, "http/middlewares/m@file", &json!({"stripPrefix": {"prefixes": ["/x"]}}));
    put(&mut map, "http/services/w@file", &json!({"weighted": {"services": [{"name": "v"}]}}));
    put(&mut map, "http/services/v@file", &json!({"weighted": {"services": [{"name": "w"}]}}));
    put(&mut map, "http/services/bad@file", &server("nonsense"));
    put(&mut map, "http/services/up@file", &json!({"weighted": {"services": [{"name": "bad"}]}}));
    for (service, middleware, expected) in [
        ("none", "m", "the service \"none@file\" does not exist"),
        ("s", "none", "middleware \"none@file\" does not exist"),
        ("w", "m", "contains itself"),
        ("up", "m", "the service bad@file is in error"),
    ] {
        put(&mut map, "http/routers/r@file", &router(service, middleware));
        let found = web(&compile(&map), "a.test");
        assert!(found.starts_with("r@file error") && found.contains(expected), "{found}");
    }
    put(&mut map, "http/routers/r@file", &router("s", "m"));
    assert!(web(&compile(&map), "a.test").contains("StripPrefix"));
}

#[test]
fn entry_points_give_middlewares_tls_and_names() {
    let mut map = base();
    put(&mut map, "http/middlewares/ep@file", &json!({"stripPrefix": {"prefixes": ["/ep"]}}));
    put(&mut map, "http/middlewares/own@file", &json!({"redirectScheme": {"scheme": "https"}}));
    let router = json!({"rule": "Host(`a.test`)", "service": "s", "middlewares": ["own"]});
    put(&mut map, "http/routers/r@file", &router);
    let config =
        json!({"address": ":443", "http": {"middlewares": ["ep"], "tls": {"options": "strict@file"}}});
    put(&mut map, "static/entryPoints/websecure", &config);
    let table = compile(&map);
    let secure = outcome(&table, "websecure", true, "a.test", "/");
    assert!(secure.starts_with("websecure-r@file [StripPrefix"), "{secure}");
    assert!(secure.find("StripPrefix") < secure.find("RedirectScheme"), "the entry point's come first");
    assert!(web(&table, "a.test").starts_with("r@file [RedirectScheme"));
    let entry_point = table.entry_point("websecure").expect("it is there");
    assert_eq!(
        (entry_point.tls_options("a.test"), entry_point.tls_options("b.test")),
        ("strict@file", "default")
    );

    put(&mut map, "static/entryPoints/web", &json!({"address": ":80", "asDefault": true}));
    let table = compile(&map);
    assert!(web(&table, "a.test").starts_with("r@file"));
    assert_eq!(outcome(&table, "websecure", true, "a.test", "/"), "404", "only the default ones");
}

#[test]
fn the_api_and_ping_have_their_places_and_the_traefik_entry_point_is_no_default() {
    let mut map = base();
    put(&mut map, "static/entryPoints/traefik", &json!({"address": ":8080"}));
    let api = Api { insecure: true, dashboard: false, ..Api::default() };
    let config = StaticConfig { api: Some(api), ping: Some(Ping::default()), ..StaticConfig::default() };
    put_internal(&mut map, &config);
    put(&mut map, "http/routers/all@file", &json!({"rule": "PathPrefix(`/`)", "service": "s"}));
    let table = compile(&map);
    let at = |path: &str| outcome(&table, "traefik", false, "", path);
    assert!(at("/api/rawdata").starts_with("api@internal [] [] Internal(Api)"), "{}", at("/api"));
    assert!(at("/ping").starts_with("ping@internal"));
    assert_eq!(at("/"), "404");
    assert!(web(&table, "a.test").starts_with("all@file"));
    assert!(table.problems.is_empty(), "{:?}", table.problems);
    let mut compiler = compiler();
    compiler.apply(generation(&map), &map).expect("nothing to refuse");
    map.delete(&Key::new("http/routers/api@internal").expect("a key"));
    let table = compiler.apply(generation(&map), &map).expect("nothing to refuse");
    assert_eq!(outcome(&table, "traefik", false, "", "/api/rawdata"), "404", "gone with its router");
}

#[test]
fn an_unreadable_record_refuses_the_generation_and_changes_nothing() {
    let mut map = base();
    put(&mut map, "http/routers/r@file", &json!({"rule": "Host(`a.test`)", "service": "s"}));
    let mut compiler = compiler();
    compiler.apply(generation(&map), &map).expect("nothing to refuse");
    let mut next = map.clone();
    put(&mut next, "http/routers/q@file", &json!({"rule": "Host(`q.test`)", "service": "s"}));
    next.put(Key::new("http/routers/r@file").expect("a key"), Arc::from(b"\x09new".as_slice()));
    let refusal = compiler.apply(generation(&next), &next).expect_err("another version");
    assert!(refusal.to_string().contains("http/routers/r@file cannot be read"), "{refusal}");
    let table = compiler.apply(generation(&map), &map).expect("nothing to refuse");
    assert!(web(&table, "a.test").starts_with("r@file") && web(&table, "q.test") == "404");
}

#[test]
fn too_many_routes_refuse_the_generation_and_change_nothing() {
    let mut map = base();
    put(&mut map, "http/routers/r@file", &json!({"rule": "Host(`a.test`)", "service": "s"}));
    let mut compiler = Compiler { routes_max: 2, ..compiler() };
    compiler.apply(generation(&map), &map).expect("one router on two entry points");
    let mut next = map.clone();
    put(&mut next, "http/routers/q@file", &json!({"rule": "Host(`q.test`)", "service": "s"}));
    let refusal = compiler.apply(generation(&next), &next).expect_err("four places");
    assert_eq!(refusal, Refusal::Routes { found: 4, allowed: 2 });
    let table = compiler.apply(generation(&map), &map).expect("nothing to refuse");
    assert!(web(&table, "a.test").starts_with("r@file") && web(&table, "q.test") == "404");
}

#[test]
fn what_is_gone_is_no_problem_any_more() {
    let mut map = base();
    put(
        &mut map,
        "static/entryPoints/bad",
        &json!({"address": ":1", "forwardedHeaders": {"trustedIPs": ["x"]}}),
    );
    put_disabled(
        &mut map,
        "tls/stores/default@file",
        &json!({"defaultCertificate": {"certFile": "x"}}),
        None,
    );
    put_disabled(&mut map, "http/services/t@file", &json!({}), None);
    let mut compiler = compiler();
    let table = compiler.apply(generation(&map), &map).expect("nothing to refuse");
    assert_eq!(table.problems.len(), 3, "{:?}", table.problems);
    let hello = crate::tls::Hello::default();
    let tls = |table: &Table| table.tls.as_ref().and_then(|tls| tls.choose("default", &hello)).is_some();
    assert!(tls(&table), "options there are; the certificate is missing");
    for key in ["static/entryPoints/bad", "tls/stores/default@file", "http/services/t@file"] {
        map.delete(&Key::new(key).expect("a key"));
    }
    let table = compiler.apply(generation(&map), &map).expect("nothing to refuse");
    assert!(table.problems.is_empty(), "{:?}", table.problems);
}

#[test]
fn tls_options_in_error_serve_nobody_and_never_give_way_to_laxer_ones() {
    let mut map = base();
    let strict =
        json!({"clientAuth": {"caFiles": ["no PEM"], "clientAuthType": "RequireAndVerifyClientCert"}});
    put_disabled(&mut map, "tls/options/default@file", &strict, None);
    let hello = crate::tls::Hello::default();
    let served = |table: &Table| table.tls.as_ref().and_then(|tls| tls.choose("default", &hello)).is_some();
    let mut compiler = compiler();
    let table = compiler.apply(generation(&map), &map).expect("nothing to refuse");
    assert!(!served(&table), "a client would get in without the certificate that is asked for");
    assert_eq!(table.problems.get("tls/options/default@file").map(|text| &**text), Some("judged bad"));
    let good = json!({"minVersion": "VersionTLS13"});
    put_disabled(&mut map, "tls/options/default@file", &strict, Some(&good));
    assert!(
        served(&compiler.apply(generation(&map), &map).expect("nothing to refuse")),
        "its last good value"
    );
    put_disabled(&mut map, "tls/options/default@file", &strict, None);
    assert!(!served(&compiler.apply(generation(&map), &map).expect("nothing to refuse")));
    map.delete(&Key::new("tls/options/default@file").expect("a key"));
    assert!(
        served(&compiler.apply(generation(&map), &map).expect("nothing to refuse")),
        "nothing is asked for"
    );
}

#[test]
fn a_router_whose_tls_options_ask_for_a_certificate_is_reached_by_them_alone() {
    let mut map = base();
    put(
        &mut map,
        "tls/options/strict@file",
        &json!({"clientAuth": {"clientAuthType": "RequireAnyClientCert"}}),
    );
    put(&mut map, "tls/options/newest@file", &json!({"minVersion": "VersionTLS13"}));
    let tls = |options: &str| json!({"options": options});
    let lax = json!({"rule": "Host(`a.test`)", "service": "s", "tls": {}});
    put(&mut map, "http/routers/lax@file", &lax);
    let rules = [
        ("disputed", "Host(`a.test`) && Path(`/admin`)", "strict"),
        ("unnamed", "HostRegexp(`^b[.]test$`)", "strict"),
        ("own", "Host(`c.test`)", "strict"),
        ("newest", "HostRegexp(`^d[.]test$`)", "newest"),
        ("gone", "HostRegexp(`^e[.]test$`)", "nope"),
    ];
    for (name, rule, options) in rules {
        let router = json!({"rule": rule, "service": "s", "tls": tls(options)});
        put(&mut map, &format!("http/routers/{name}@file"), &router);
    }
    let table = compile(&map);
    let entry_point = table.entry_point("web").expect("there");
    let refused = |host: &str, path: &str| {
        let route = route(&table, "web", true, host, path).expect("a router");
        table.demands(entry_point, host).is_none_or(|made_with| table.asks_more(route, made_with))
    };
    assert!(
        refused("a.test", "/admin"),
        "routers disagree about the host, and the handshake asked for nothing"
    );
    assert!(refused("b.test", "/"), "no handshake could know");
    assert!(refused("e.test", "/"), "nobody knows what they ask");
    assert!(!refused("a.test", "/") && !refused("c.test", "/"));
    assert!(!refused("d.test", "/"), "what does not concern who the client is holds by name, as in Traefik");
}

#[test]
fn what_did_not_change_is_shared_and_keeps_its_state() {
    let mut map = base();
    put(&mut map, "http/services/t@file", &server("http://127.0.0.1:2"));
    for name in ["a", "b", "c"] {
        let service = if name == "c" { "t" } else { "s" };
        let router = json!({"rule": format!("Host(`{name}.test`)"), "service": service});
        put(&mut map, &format!("http/routers/{name}@file"), &router);
    }
    let mut compiler = compiler();
    let before = compiler.apply(generation(&map), &map).expect("nothing to refuse");
    put(&mut map, "http/routers/a@file", &json!({"rule": "Host(`a.test`) && Path(`/`)", "service": "s"}));
    put(&mut map, "http/services/t@file", &server("http://127.0.0.1:3"));
    let after = compiler.apply(generation(&map), &map).expect("nothing to refuse");
    let same = |host: &str| {
        let of = |table| Arc::clone(route(table, "web", false, host, "/").expect("it is there"));
        Arc::ptr_eq(&of(&before), &of(&after))
    };
    assert_eq!((same("a.test"), same("b.test"), same("c.test")), (false, true, false));
    let config = |table: &Table| Arc::clone(&table.entry_point("web").expect("it is there").config);
    assert!(Arc::ptr_eq(&config(&before), &config(&after)));
    assert!(web(&after, "c.test").contains("127.0.0.1:3"));
}

fn change() -> impl Strategy<Value = (&'static str, Option<Value>, bool)> {
    let router = (
        prop::sample::select(vec!["Host(`a.test`)", "Host(`b.test`)", "PathPrefix(`/x`)", "!Host(`a.test`)", "Host("]),
        prop::sample::select(vec!["s", "t", "w", "none", "", ""]),
        prop::sample::subsequence(vec!["m", "n", "none"], 0..2),
        prop::sample::subsequence(vec!["web", "websecure", "nowhere"], 0..3),
        any::<bool>(),
        prop::option::weighted(0.4, prop::sample::subsequence(vec!["q", "r", "p"], 1..3)),
    )
        .prop_map(|(rule, service, middlewares, entry_points, tls, parents)| {
            let mut value = json!({"rule": rule, "service": service, "middlewares": middlewares, "entryPoints": entry_points});
            if let Some(parents) = parents {
                return json!({"rule": rule, "service": service, "middlewares": middlewares, "parentRefs": parents});
            }
            if tls && let Some(members) = value.as_object_mut() {
                members.insert("tls".to_owned(), json!({}));
            }
            value
        });
    let service = prop_oneof![
        (1u16..3).prop_map(|port| server(&format!("http://127.0.0.1:{port}"))),
        prop::sample::subsequence(vec!["s", "t", "w"], 1..3).prop_map(|names| {
            let children: Vec<Value> = names.into_iter().map(|name| json!({"name": name})).collect();
            json!({"weighted": {"services": children}})
        }),
        prop::sample::select(vec!["m", "n"]).prop_map(|name| {
            json!({"loadBalancer": {"servers": [{"url": "http://127.0.0.1:9"}]}, "middlewares": [name]})
        }),
    ];
    let middleware = prop_oneof![
        prop::sample::select(vec!["/a", "/b"])
            .prop_map(|prefix| json!({"stripPrefix": {"prefixes": [prefix]}})),
        prop::sample::select(vec!["m", "n"]).prop_map(|name| json!({"chain": {"middlewares": [name]}})),
    ];
    let entry_point = prop_oneof![
        Just(json!({"address": ":1"})),
        Just(json!({"address": ":1", "asDefault": true})),
        Just(json!({"address": ":2", "http": {"middlewares": ["m"]}})),
        Just(json!({"address": ":1", "http": {"tls": {}}})),
    ];
    let of = |keys: Vec<&'static str>, value: BoxedStrategy<Value>| {
        (prop::sample::select(keys), prop::option::weighted(0.8, value), prop::bool::weighted(0.8))
    };
    prop_oneof![
        6 => of(vec!["http/routers/p@file", "http/routers/q@file", "http/routers/r@file"], router.boxed()),
        3 => of(vec!["http/services/s@file", "http/services/t@file", "http/services/w@file"], service.boxed()),
        2 => of(vec!["http/middlewares/m@file", "http/middlewares/n@file"], middleware.boxed()),
        1 => of(vec!["static/entryPoints/web", "static/entryPoints/websecure"], entry_point.boxed()),
    ]
}

/// Numbers that only tell compiled objects apart, without meaning for a request.
fn without_identities(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" id: ") {
        out.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out + rest
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn a_change_gives_what_the_whole_gives(steps in prop::collection::vec(change(), 1..25)) {
        let mut map = base();
        let mut stepwise = compiler();
        for (key, value, good) in steps {
            match value {
                None => map.delete(&Key::new(key).expect("a key")),
                Some(value) if good => put(&mut map, key, &value),
                Some(value) => put_disabled(&mut map, key, &value, None),
            }
            let changed = stepwise.apply(generation(&map), &map).expect("nothing to refuse");
            let whole = compile(&map);
            prop_assert_eq!(&changed.problems, &whole.problems);
            for entry_point in ["web", "websecure"] {
                for (tls, host, path) in [
                    (false, "a.test", "/"), (false, "b.test", "/x"), (false, "c.test", "/x"),
                    (true, "a.test", "/"), (true, "b.test", "/x"), (true, "c.test", "/"),
                ] {
                    let [a, b] = [&changed, &whole].map(|table| {
                        without_identities(&outcome(table, entry_point, tls, host, path))
                    });
                    prop_assert_eq!(a, b, "{} {} {}{}", entry_point, tls, host, path);
                }
            }
        }
    }
}
