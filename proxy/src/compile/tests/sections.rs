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
