//! What sections of the static configuration mean for routers.

use super::*;

#[test]
fn the_order_of_providers_decides_a_tie_and_a_change_of_it_holds_at_once() {
    let mut map = base();
    for router in ["http/routers/r@file", "http/routers/r@cluster"] {
        put(&mut map, router, &json!({"rule": "Host(`a.test`)", "service": "s@file"}));
    }
    let mut compiler = compiler();
    for order in [["file", "cluster"], ["cluster", "file"], ["file", "cluster"]] {
        put(&mut map, "static/providers", &json!({"precedence": order}));
        let table = compiler.apply(generation(&map), &map).expect("nothing to refuse");
        let winner = web(&table, "a.test");
        assert!(winner.starts_with(&format!("r@{} ", order[0])), "{order:?}: {winner}");
    }
}

#[test]
fn the_language_of_rules_is_that_of_routers_that_name_none_and_a_change_of_it_holds_at_once() {
    let mut map = base();
    put(&mut map, "http/routers/old@file", &json!({"rule": "Host(`a.test`, `b.test`)", "service": "s"}));
    let own = json!({"rule": "Host(`c.test`) && PathRegexp(`^/`)", "ruleSyntax": "v3", "service": "s"});
    put(&mut map, "http/routers/own@file", &own);
    let mut compiler = compiler();
    for (word, found) in [("v3", "404"), ("v2", "web-old@file"), ("v3", "404"), ("v2", "web-old@file")] {
        put(&mut map, "static/core", &json!({"defaultRuleSyntax": word}));
        let table = compiler.apply(generation(&map), &map).expect("nothing to refuse");
        let old = web(&table, "b.test");
        assert!(old.starts_with(found), "{word}: {old}");
        assert!(
            web(&table, "c.test").starts_with("web-own@file"),
            "{word}: as under a model of each entry point"
        );
    }
    map.delete(&Key::new("static/core").expect("a key"));
    let table = compiler.apply(generation(&map), &map).expect("nothing to refuse");
    assert_eq!(web(&table, "b.test"), "404");
}

#[test]
fn transports_with_spiffe_are_built_anew_as_the_workload_api_comes_and_goes() {
    let mut map = base();
    put(&mut map, "http/routers/r@file", &json!({"rule": "Host(`a.test`)", "service": "spiffe"}));
    let balancer = json!({"servers": [{"url": "https://127.0.0.1:1"}], "serversTransport": "t"});
    put(&mut map, "http/services/spiffe@file", &json!({"loadBalancer": balancer}));
    put(&mut map, "http/serversTransports/t@file", &json!({"spiffe": {"ids": ["spiffe://a.test/web"]}}));
    let process = Process { workloads: Sources::none(), ..Process::new(1).expect("a certificate") };
    let mut compiler = Compiler::new(Arc::new(process));
    let key = Key::new("static/spiffe").expect("a key");
    let mut web_with = |address: Option<&str>| {
        match address {
            Some(address) => put(&mut map, key.as_str(), &json!({"workloadAPIAddr": address})),
            None => {
                map.delete(&key);
            }
        }
        let table = compiler.apply(generation(&map), &map).expect("nothing to refuse");
        (web(&table, "a.test"), table.problems.get(&key).map(ToString::to_string))
    };
    for (address, problem) in [
        (None, None),
        (Some("unix:///run/one.sock"), None),
        (Some("tcp://127.0.0.1:1"), None),
        (Some(""), None),
        (Some("unix:///run/one.sock"), None),
        (Some("agent"), Some("workloadAPIAddr: expected unix:///path")),
    ] {
        let (served, told) = web_with(address);
        let works = address.is_some_and(|address| address.contains("://"));
        assert_eq!(served.contains("LoadBalancer"), works, "{address:?}: {served}");
        assert_eq!(served.contains("error: "), !works, "{address:?}: {served}");
        match problem {
            Some(problem) => assert!(told.is_some_and(|told| told.starts_with(problem)), "{address:?}"),
            None => assert_eq!(told, None, "{address:?}"),
        }
    }
}
