//! Checks of the receiver: parts against the whole, never backwards, bounded, and asking for the whole when in doubt.

use proptest::prelude::*;

use super::*;
use crate::digest::Digest;
use crate::secret::{SealingKeys, Secret};

fn key(text: &str) -> Key {
    Key::new(text).expect("test keys are short and printable")
}

fn map(entries: &[(&str, &str)]) -> ConfigMap {
    entries.iter().map(|(k, v)| (key(k), Arc::from(v.as_bytes()))).collect()
}

fn id(revision: u64, map: &ConfigMap) -> GenerationId {
    GenerationId { cluster: [7; 16], recovery_epoch: 0, revision, digest: map.digest() }
}

fn receiver(held: Option<(GenerationId, ConfigMap)>) -> Receiver {
    Receiver::new([7; 16], ReceiverLimits::default(), held)
}

fn delta(base: (GenerationId, &ConfigMap), target: (GenerationId, &ConfigMap)) -> Delta {
    let mut delta =
        Delta { base: base.0, target: target.0, puts: Vec::new(), deletes: Vec::new(), secrets: Vec::new() };
    for (key, change) in target.1.diff(base.1) {
        match change {
            Change::Put(bytes) => delta.puts.push((key, bytes)),
            Change::Delete => delta.deletes.push(key),
        }
    }
    delta.secrets = target.1.secrets().diff(base.1.secrets());
    delta
}

/// Keys of a view, told apart by a number.
fn view_key(number: u8) -> ViewKey {
    SealingKeys::new([7; 16], &[[number; 32]]).expect("one key").view_key("")
}

fn with_secrets(entries: &[(&str, &str)], secrets: &[(u8, &str)], key: &ViewKey) -> ConfigMap {
    let mut map = map(entries);
    map.change_secrets(secrets.iter().map(|(number, text)| {
        let id = SecretId([*number; 32]);
        (id, Some(key.seal(&id, &Secret::new((*text).to_owned()))))
    }));
    map
}

fn opened(map: &ConfigMap, number: u8) -> Option<String> {
    map.secrets().open(&SecretId([number; 32])).ok().map(|secret| secret.expose().to_owned())
}

fn feed(receiver: &mut Receiver, parts: Vec<Part>) -> Step {
    parts.into_iter().map(|part| receiver.handle(ToProxy::Part(part))).last().expect("a transfer has a part")
}

#[test]
fn an_older_generation_is_refused_and_the_same_one_is_harmless() {
    let (old, new) = (map(&[("a", "1")]), map(&[("a", "2")]));
    let mut receiver = receiver(Some((id(5, &new), new.clone())));
    let step = feed(&mut receiver, whole_to_parts(id(4, &old), &old, 1, 1000));
    assert_eq!(step, Step::GoesBackwards { offered: id(4, &old), held: id(5, &new) });
    assert_eq!(
        feed(&mut receiver, whole_to_parts(id(5, &new), &new, 2, 1000)),
        Step::Held { generation: id(5, &new) }
    );
    let step = receiver.handle(ToProxy::UpToDate { generation: id(4, &old), stale: false, leads: false });
    assert!(matches!(step, Step::GoesBackwards { .. }));
    assert_eq!(receiver.held(), Some(id(5, &new)));
}

#[test]
fn a_wrong_base_a_wrong_digest_and_a_missing_part_ask_for_the_whole() {
    let (old, new) = (map(&[("a", "1")]), map(&[("a", "2"), ("b", "3")]));
    let change = delta((id(1, &old), &old), (id(2, &new), &new));
    let mut empty = receiver(None);
    assert!(matches!(feed(&mut empty, change.to_parts(1, 1000)), Step::NeedWhole { .. }));

    let mut wrong = change.clone();
    wrong.target.digest = Digest::of(b"other");
    let mut held = receiver(Some((id(1, &old), old.clone())));
    assert!(matches!(feed(&mut held, wrong.to_parts(1, 1000)), Step::NeedWhole { .. }));

    let mut parts = change.to_parts(2, 0);
    assert!(parts.len() > 1, "a tiny limit gives a part per record");
    parts.remove(0);
    assert!(matches!(feed(&mut held, parts), Step::NeedWhole { .. }));
    assert_eq!(
        feed(&mut held, change.to_parts(3, 1000)),
        Step::Complete { generation: id(2, &new), map: new.clone() }
    );
    assert_eq!(held.held(), Some(id(1, &old)), "held changes only when adopted");
}

#[test]
fn a_foreign_cluster_and_a_transfer_over_the_limits_are_refused() {
    let new = map(&[("a", "2"), ("b", "3")]);
    let foreign = GenerationId { cluster: [8; 16], ..id(1, &new) };
    assert!(matches!(
        feed(&mut receiver(None), whole_to_parts(foreign, &new, 1, 1000)),
        Step::Refused { .. }
    ));
    for limits in [
        ReceiverLimits { entries_max: 1, ..ReceiverLimits::default() },
        ReceiverLimits { transfer_bytes_max: 2, ..ReceiverLimits::default() },
        ReceiverLimits { parts_max: 0, ..ReceiverLimits::default() },
    ] {
        let mut bounded = Receiver::new([7; 16], limits, None);
        let step = feed(&mut bounded, whole_to_parts(id(1, &new), &new, 1, 1000));
        assert!(matches!(step, Step::NeedWhole { .. }), "{limits:?}");
        assert!(bounded.transfer.is_none(), "nothing is kept");
    }
}

#[test]
fn a_new_first_part_ends_the_transfer_before_it() {
    let new = map(&[("a", "2"), ("b", "3")]);
    let mut receiver = receiver(None);
    let mut begun = whole_to_parts(id(1, &new), &new, 1, 0);
    begun.truncate(1);
    assert_eq!(feed(&mut receiver, begun), Step::Nothing);
    let step = feed(&mut receiver, whole_to_parts(id(1, &new), &new, 2, 0));
    assert_eq!(step, Step::Complete { generation: id(1, &new), map: new });
}

#[test]
fn secrets_travel_beside_the_records_whole_and_as_a_delta() {
    let key = view_key(1);
    let old = with_secrets(&[("a", "1")], &[(1, "one"), (2, "two")], &key);
    let new = with_secrets(&[("a", "2")], &[(2, "two"), (3, "three")], &key);
    let mut receiver = receiver(None);
    assert_eq!(receiver.handle(ToProxy::ViewKey(key.clone())), Step::Nothing);
    let parts = whole_to_parts(id(1, &old), &old, 1, 1);
    assert!(parts.len() > 2, "secrets are cut into parts as records are");
    let Step::Complete { generation, map } = feed(&mut receiver, parts) else { panic!("not complete") };
    assert_eq!((opened(&map, 1).as_deref(), opened(&map, 2).as_deref()), (Some("one"), Some("two")));
    receiver.adopt(generation, map);
    let change = delta((id(1, &old), &old), (id(2, &new), &new));
    assert_eq!(change.secrets.len(), 2, "only what differs");
    let Step::Complete { map, .. } = feed(&mut receiver, change.to_parts(2, 1000)) else {
        panic!("no delta")
    };
    assert_eq!((opened(&map, 1), opened(&map, 3).as_deref()), (None, Some("three")));
    assert_eq!(opened(&map, 2).as_deref(), Some("two"), "what stays needs not be sent again");
}

#[test]
fn after_a_change_of_keys_both_open_what_they_sealed() {
    let (first, second) = (view_key(1), view_key(2));
    let old = with_secrets(&[("a", "1")], &[(1, "one")], &first);
    let mut receiver = receiver(None);
    receiver.handle(ToProxy::ViewKey(first));
    let whole = whole_to_parts(id(1, &old), &old, 1, 1000);
    let Step::Complete { generation, map } = feed(&mut receiver, whole) else { panic!("not complete") };
    receiver.adopt(generation, map);
    let mut new = with_secrets(&[("a", "2")], &[(2, "two")], &second);
    new.change_secrets(old.secrets().iter().map(|(id, envelope)| (*id, Some(Arc::clone(envelope)))));
    receiver.handle(ToProxy::ViewKey(second));
    let change = delta((id(1, &old), &old), (id(2, &new), &new)).to_parts(2, 1000);
    let Step::Complete { map, .. } = feed(&mut receiver, change) else { panic!("no delta") };
    assert_eq!((opened(&map, 1).as_deref(), opened(&map, 2).as_deref()), (Some("one"), Some("two")));
    for number in 3..20 {
        receiver.handle(ToProxy::ViewKey(view_key(number)));
    }
    assert_eq!(receiver.keys.len(), VIEW_KEYS_MAX, "keys are bounded");
}

#[test]
fn a_forgotten_generation_is_taken_again_and_nothing_older() {
    let (old, new) = (map(&[("a", "1")]), map(&[("a", "2")]));
    let mut receiver = receiver(Some((id(5, &new), new.clone())));
    receiver.forget(id(4, &old));
    assert_eq!(receiver.held(), Some(id(5, &new)), "another one is no reason");
    receiver.forget(id(5, &new));
    assert_eq!(receiver.held(), None);
    let older = feed(&mut receiver, whole_to_parts(id(4, &old), &old, 1, 1000));
    assert_eq!(older, Step::GoesBackwards { offered: id(4, &old), held: id(5, &new) });
    let again = feed(&mut receiver, whole_to_parts(id(5, &new), &new, 2, 1000));
    assert!(matches!(again, Step::Complete { .. }), "{again:?}");
}

#[test]
fn nothing_older_than_the_floor_is_taken_whatever_is_held() {
    let maps = [1, 2, 3, 4].map(|revision: u64| (id(revision, &map(&[("a", "1")])), map(&[("a", "1")])));
    let [(one, kept), (two, _), (three, _), (four, newest)] = maps;
    let mut receiver = receiver(Some((one, kept.clone())));
    receiver.raise_floor(three);
    receiver.raise_floor(two);
    assert_eq!((receiver.held(), receiver.floor()), (Some(one), Some(three)));
    for offered in [one, two] {
        let behind = Step::GoesBackwards { offered, held: three };
        assert_eq!(
            receiver.handle(ToProxy::UpToDate { generation: offered, stale: true, leads: false }),
            behind
        );
        assert_eq!(feed(&mut receiver, whole_to_parts(offered, &kept, 1, 1000)), behind);
    }
    let again = feed(&mut receiver, whole_to_parts(three, &kept, 2, 1000));
    assert_eq!(
        again,
        Step::Complete { generation: three, map: kept.clone() },
        "what was served may come again"
    );
    let change = delta((one, &kept), (four, &newest));
    assert_eq!(
        feed(&mut receiver, change.to_parts(3, 1000)),
        Step::Complete { generation: four, map: newest.clone() }
    );
    receiver.adopt(four, newest);
    assert_eq!(receiver.floor(), None, "what is held is newer");
}

proptest! {
    #[test]
    fn parts_of_any_size_bring_the_target(
        a in prop::collection::btree_map("[a-d]{1,3}", "[xyz]{0,9}", 0..30),
        b in prop::collection::btree_map("[a-d]{1,3}", "[xyz]{0,9}", 0..30),
        part_bytes_max in 500usize..700,
    ) {
        let of = |m: &BTreeMap<String, String>| -> ConfigMap {
            m.iter().map(|(k, v)| (key(k), Arc::from(v.as_bytes()))).collect()
        };
        let (old, new) = (of(&a), of(&b));
        let expected = Step::Complete { generation: id(2, &new), map: new.clone() };
        let mut held = receiver(Some((id(1, &old), old.clone())));
        let change = delta((id(1, &old), &old), (id(2, &new), &new));
        prop_assert_eq!(feed(&mut held, change.to_parts(1, part_bytes_max)), expected.clone());
        let whole = whole_to_parts(id(2, &new), &new, 2, part_bytes_max);
        prop_assert_eq!(feed(&mut receiver(None), whole), expected);
    }

    #[test]
    fn no_sequence_of_parts_panics_or_brings_a_wrong_digest(
        parts in prop::collection::vec((0u64..2, 0u32..3, 0u32..3, any::<bool>(), "[ab]"), 0..12),
    ) {
        let target = map(&[("a", "1"), ("b", "1")]);
        let mut receiver = receiver(None);
        for (transfer, part, of, deletes, text) in parts {
            let step = receiver.handle(ToProxy::Part(Part {
                transfer,
                content: Content::Whole { target: id(3, &target) },
                part,
                of,
                puts: if deletes { vec![] } else { vec![(key(&text), Arc::from(b"1".as_slice()))] },
                deletes: if deletes { vec![key(&text)] } else { vec![] },
                secret_puts: Vec::new(),
                secret_deletes: Vec::new(),
            }));
            if let Step::Complete { map, .. } = step {
                prop_assert_eq!(map.digest(), target.digest());
            }
        }
    }
}

#[test]
fn what_another_part_of_the_process_holds_is_held_once_with_own_secrets_and_only_by_its_digest() {
    let (ours, theirs) = (view_key(1), view_key(2));
    let first = with_secrets(&[("a", "1"), ("b", "1")], &[(9, "hidden")], &ours);
    let shared = SharedRecords::default();
    shared.offer(&with_secrets(&[("a", "1"), ("b", "1")], &[(9, "other")], &theirs));
    let held_beside = shared.of_digest(&first.digest()).expect("it was offered");
    let mut receiver = receiver(None);
    receiver.share(shared.clone());
    receiver.handle(ToProxy::ViewKey(ours));
    let same = |map: &ConfigMap, other: &ConfigMap, key: &str| match (map.get(key), other.get(key)) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => panic!("{key} is in both"),
    };
    let step = feed(&mut receiver, whole_to_parts(id(1, &first), &first, 1, 1000));
    let Step::Complete { generation, map: whole } = step else { panic!("not taken: {step:?}") };
    assert!(same(&whole, &held_beside, "a") && same(&whole, &held_beside, "b"));
    assert_eq!(opened(&whole, 9).as_deref(), Some("hidden"), "secrets are those that were sent");
    receiver.adopt(generation, whole);
    // The other part is ahead, or behind: then the records are those that were sent.
    let second = with_secrets(&[("a", "2"), ("b", "1")], &[], &view_key(1));
    let change = delta((id(1, &first), &first), (id(2, &second), &second));
    let step = feed(&mut receiver, change.to_parts(2, 1000));
    let Step::Complete { map, .. } = step else { panic!("not taken: {step:?}") };
    assert_eq!((map.get("a").map(|bytes| &**bytes), map.digest()), (Some(&b"2"[..]), second.digest()));
    shared.offer(&second);
    let step = feed(&mut receiver, change.to_parts(3, 1000));
    let Step::Complete { map, .. } = step else { panic!("not taken: {step:?}") };
    assert!(same(&map, &shared.of_digest(&second.digest()).expect("offered"), "a"));
}
