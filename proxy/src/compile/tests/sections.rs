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
