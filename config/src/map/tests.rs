//! Checks of the map: its digest depends on content alone, and diff and delta agree with the whole.

use proptest::prelude::*;

use super::*;
use crate::generation::GenerationId;

fn key(text: &str) -> Key {
    Key::new(text).expect("test keys are short and printable")
}

fn bytes(text: &str) -> Arc<[u8]> {
    Arc::from(text.as_bytes())
}

fn id(revision: u64, map: &ConfigMap) -> GenerationId {
    GenerationId { cluster: [7; 16], recovery_epoch: 0, revision, digest: map.digest() }
}

fn delta(old: &ConfigMap, new: &ConfigMap) -> Delta {
    let mut delta = Delta {
        base: id(1, old),
        target: id(2, new),
        puts: Vec::new(),
        deletes: Vec::new(),
        secrets: Vec::new(),
    };
    for (key, change) in new.diff(old) {
        match change {
            Change::Put(bytes) => delta.puts.push((key, bytes)),
            Change::Delete => delta.deletes.push(key),
        }
    }
    delta
}

fn contents() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("[a-d]{1,4}", "[xyz]{0,2}", 0..40)
}

fn map_of(contents: &BTreeMap<String, String>) -> ConfigMap {
    contents.iter().map(|(k, v)| (key(k), bytes(v))).collect()
}

#[test]
fn golden_digests() {
    let mut map = ConfigMap::new();
    assert_eq!(map.digest(), Digest([0; 32]));
    map.put(key("http/routers/web@file"), bytes("{}"));
    assert_eq!(
        map.digest().to_string(),
        Digest::of_parts([&[0u8][..], &Digest::of(b"http/routers/web@file").0, &Digest::of(b"{}").0])
            .to_string()
    );
}

#[test]
fn range_gives_the_keys_of_a_prefix_in_order() {
    let map: ConfigMap = ["http/routers/b@f", "http/routers/a@f", "http/services/a@f", "static/api"]
        .map(|k| (key(k), bytes("1")))
        .into_iter()
        .collect();
    let found: Vec<&str> = map.range("http/routers/").map(|(key, _)| key.as_str()).collect();
    assert_eq!(found, ["http/routers/a@f", "http/routers/b@f"]);
}

#[test]
fn a_delta_on_another_base_or_with_a_wrong_result_is_refused() {
    let old = map_of(&BTreeMap::from([("a".to_owned(), "1".to_owned())]));
    let new = map_of(&BTreeMap::from([("a".to_owned(), "2".to_owned())]));
    let mut change = delta(&old, &new);
    assert!(matches!(new.apply(&change), Err(DeltaError::WrongBase { .. })));
    change.puts.clear();
    assert!(matches!(old.apply(&change), Err(DeltaError::WrongDigest { .. })));
    assert_eq!(old.get("a"), Some(&bytes("1")));
}

proptest! {
    #[test]
    fn the_digest_follows_from_the_content_alone(
        contents in contents(),
        detours in prop::collection::vec(("[a-d]{1,4}", "[xyz]{0,2}"), 0..20),
        seed in any::<u64>(),
    ) {
        let whole = map_of(&contents);
        let mut stepwise = ConfigMap::new();
        for (k, v) in &detours {
            stepwise.put(key(k), bytes(v));
        }
        let mut order: Vec<_> = contents.iter().collect();
        order.sort_by_key(|(k, _)| Digest::of(format!("{seed}{k}").as_bytes()));
        for (k, v) in order {
            stepwise.put(key(k), bytes(v));
        }
        for (k, _) in detours.iter().filter(|(k, _)| !contents.contains_key(k)) {
            stepwise.delete(&key(k));
        }
        prop_assert_eq!(stepwise.digest(), whole.digest());
        prop_assert_eq!(stepwise.len(), contents.len());
    }

    #[test]
    fn different_contents_have_different_digests(a in contents(), b in contents()) {
        prop_assert_eq!(a == b, map_of(&a).digest() == map_of(&b).digest());
    }

    #[test]
    fn diff_and_delta_lead_from_the_old_map_to_the_new_one(a in contents(), b in contents()) {
        let (old, new) = (map_of(&a), map_of(&b));
        let diff = new.diff(&old);
        for key in a.keys().chain(b.keys()) {
            let expected = match (a.get(key), b.get(key)) {
                (was, Some(is)) if was != Some(is) => Some(Change::Put(bytes(is))),
                (Some(_), None) => Some(Change::Delete),
                _ => None,
            };
            prop_assert_eq!(diff.get(key.as_str()), expected.as_ref());
        }
        let result = old.apply(&delta(&old, &new)).expect("base and target are right");
        prop_assert_eq!(result.digest(), new.digest());
        prop_assert!(result.iter().eq(new.iter()));
    }
}
