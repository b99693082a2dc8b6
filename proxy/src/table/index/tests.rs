//! Checks of the index against a scan of all routes by rank, through inserts and removals, with mixes of NOT and OR.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ravelin_config::rule::{self, NoHeaders};

use super::*;

struct Entry {
    rank: Rank,
    rule: CompiledRule,
}

impl Ranked for Entry {
    fn rank(&self) -> &Rank {
        &self.rank
    }

    fn rule(&self) -> &CompiledRule {
        &self.rule
    }
}

fn entry(name: &str, priority: i64, precedence: u32, text: &str) -> (RouteKeys, Arc<Entry>) {
    let parsed = rule::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let rank = Rank { priority, precedence, name: Arc::from(name), router: Arc::from(name) };
    let entry = Entry { rank, rule: parsed.compile().expect("simple arguments only") };
    (parsed.necessary_keys(), Arc::new(entry))
}

fn facts<'a>(host: &'a str, path: &'a str, method: &'a str) -> RequestFacts<'a> {
    RequestFacts { host, path, method, query: "", client_ip: None, headers: &NoHeaders }
}

fn found(index: &RouteIndex<Entry>, host: &str, path: &str) -> Option<String> {
    index.find(&facts(host, path, "GET")).map(|entry| entry.rank.name.to_string())
}

#[test]
fn priority_then_precedence_then_name_decides() {
    let mut index = RouteIndex::default();
    for (name, priority, precedence, rule) in [
        ("low@file", 1, 0, "Host(`a.test`) && Path(`/x`)"),
        ("b@file", 5, 1, "PathPrefix(`/`)"),
        ("a@file", 5, 1, "HostRegexp(`a`)"),
        ("z@first", 5, 0, "Host(`a.test`) && Method(`PUT`)"),
    ] {
        let (keys, entry) = entry(name, priority, precedence, rule);
        index.insert(&keys, &entry);
    }
    assert_eq!(found(&index, "a.test", "/x").as_deref(), Some("a@file"));
    assert_eq!(found(&index, "b.test", "/x").as_deref(), Some("b@file"));
    let put = index.find(&facts("a.test", "/x", "PUT")).map(|entry| entry.rank.name.to_string());
    assert_eq!(put.as_deref(), Some("z@first"));
    assert_eq!(index.len(), 4);
}

#[test]
fn a_clone_keeps_what_it_had_and_an_emptied_index_keeps_nothing() {
    let mut index = RouteIndex::default();
    let (keys, entry) =
        entry("r@file", 1, 0, "(Host(`a.test`) || Host(`*.b.test`)) && (Path(`/x`) || PathPrefix(`/y`))");
    index.insert(&keys, &entry);
    let before = index.clone();
    index.remove(&keys, &entry.rank);
    assert_eq!(found(&before, "k.b.test", "/yes").as_deref(), Some("r@file"));
    assert_eq!(found(&index, "k.b.test", "/yes"), None);
    assert!(index.is_empty() && index.hosts.is_empty() && index.parents.is_empty());
    assert!(index.any_host.is_empty());
}

fn matcher() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec!["a.test", "B.test.", "x.a.test", "*.a.test", "*.test", "*"])
            .prop_map(|host| format!("Host(`{host}`)")),
        prop::sample::select(vec!["/", "/a", "/a/b", "/ab", "/b"]).prop_map(|path| format!("Path(`{path}`)")),
        prop::sample::select(vec!["/", "/a", "/a/b", "/ab", "/b"])
            .prop_map(|path| format!("PathPrefix(`{path}`)")),
        Just("Method(`PUT`)".to_owned()),
        Just("HostRegexp(`^x`)".to_owned()),
        Just("PathRegexp(`b$`)".to_owned()),
    ]
}

fn rule_text() -> impl Strategy<Value = String> {
    matcher().prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" && "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" || "))),
            inner.prop_map(|part| format!("!{part}")),
        ]
    })
}

fn request() -> impl Strategy<Value = (&'static str, &'static str, &'static str)> {
    (
        prop::sample::select(vec!["a.test", "a.test.", "b.test", "x.a.test", "y.x.a.test", "test", ""]),
        prop::sample::select(vec!["/", "/a", "/a/b", "/ab", "/abc", "/b", "/b/", "/c"]),
        prop::sample::select(vec!["GET", "PUT"]),
    )
}

proptest! {
    #[test]
    fn the_index_finds_what_a_scan_finds(
        steps in prop::collection::vec((0u8..8, any::<bool>(), 0i64..3, 0u32..2, rule_text()), 1..30),
        requests in prop::collection::vec(request(), 1..12),
    ) {
        let mut index = RouteIndex::default();
        let mut all: BTreeMap<String, (RouteKeys, Arc<Entry>)> = BTreeMap::new();
        for (name, keep, priority, precedence, text) in steps {
            let name = format!("r{name}@file");
            if let Some((keys, old)) = all.remove(&name) {
                index.remove(&keys, &old.rank);
            }
            if keep {
                let (keys, new) = entry(&name, priority, precedence, &text);
                index.insert(&keys, &new);
                all.insert(name, (keys, new));
            }
            prop_assert_eq!(index.len(), all.len());
            let mut scan: Vec<_> = all.values().map(|(_, entry)| entry).collect();
            scan.sort_by(|a, b| a.rank.cmp(&b.rank));
            for (host, path, method) in &requests {
                let facts = facts(host, path, method);
                let expected = scan.iter().find(|entry| entry.rule.matches(&facts)).map(|entry| &entry.rank);
                prop_assert_eq!(index.find(&facts).map(|entry| &entry.rank), expected);
            }
        }
    }
}
