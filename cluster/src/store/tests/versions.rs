//! Nodes of different versions over one log: what one cannot read or does not know must not make them differ.

use super::*;

/// What one version cannot read another may take: a refusal here would make the nodes differ for ever.
#[test]
fn what_cannot_be_read_is_never_refused_but_stops_the_node_with_nothing_changed() {
    let good = part(&[("config/a", "1")]);
    let mut newer = good.to_vec();
    newer[0] += 1;
    let mut cut = good.to_vec();
    cut.pop();
    let text = good.windows(6).position(|window| window == b"config").expect("the key");
    let mut no_key = good.to_vec();
    no_key[text..text + 8].copy_from_slice(b"No-Key/a");
    for bad in [newer, cut, no_key, b"never a part".to_vec(), Vec::new()].map(Bytes::from) {
        for (parts, last) in
            [(vec![bad.clone()], 0), (vec![bad.clone(), good.clone()], 1), (vec![good.clone(), bad], 1)]
        {
            let mut log = Log::new(Limits { staged_changes_max: 1, ..Limits::GENESIS });
            log.appoint(1);
            let first = if last == 0 { (3, vec![good.clone(), good.clone()]) } else { (2, parts.clone()) };
            log.apply(&Command::Stage(stage(first.0, operator(), 0, &first.1)));
            let chunks =
                |store: &Store| store.snapshot_chunks().collect::<Result<Vec<_>, _>>().expect("small");
            let before = chunks(&log.store);
            let completing = Command::Stage(stage(2, operator(), last, &parts)).encode().expect("small");
            let entry = Entry { term: Term(1), kind: EntryKind::Command(completing) };
            let error = log.store.apply(log.store.applied_index().next(), &entry).expect_err("unreadable");
            assert!(matches!(error, ApplyError::Unreadable { index: Index(3), .. }), "{error}");
            assert_eq!(chunks(&log.store), before, "nothing was changed");
        }
    }
}

#[test]
fn prefixes_of_a_later_version_are_taken_as_they_are() {
    let mut log = Log::new(Limits { key_bytes_max: 20, ..Limits::GENESIS });
    let later =
        [("acme/account", "1"), ("config/a", "1"), ("secrets/of-another-form", "1"), ("tokens/x", "1")];
    let over = refusal(log.configure(1, &later));
    assert_eq!(over, Refusal::OverQuota { quota: Quota::KeyBytes, needed: 23, max: 20 });
    log.store.limits = Limits::GENESIS;
    assert!(matches!(log.configure(2, &later), Applied::Changed { .. }));
    let names = |store: &Store| store.range("").map(|(key, _)| key.to_string()).collect::<Vec<_>>();
    let expected = ["config/a", "acme/account", "secrets/of-another-form", "tokens/x"];
    assert_eq!(names(&log.store), expected, "the configuration comes first");
    assert_eq!(names(&restore(&log.store).expect("whole")), expected);
    assert_eq!(log.store.config().secrets().len(), 0);
    log.store.limits = Limits { key_bytes_max: 20, ..Limits::GENESIS };
    let gone = log.apply(&Command::Change(change(3, operator(), &[], &["secrets/of-another-form"])));
    assert!(matches!(gone, Applied::Changed { .. }), "what is there can always be removed: {gone:?}");
}

fn set(limits: Limits) -> Command {
    Command::SetLimits { author: operator(), at_unix_ms: 5, limits }
}

fn raise(level: u16) -> Command {
    Command::RaiseFeatureLevel { author: operator(), at_unix_ms: 5, level }
}

#[test]
fn bounds_are_raised_from_a_feature_level_on_one_version_after_the_other_and_never_lowered() {
    let mut log = Log::new(Limits::GENESIS);
    let larger = Limits { version: 2, keys_max: 2_000_000, ..Limits::GENESIS };
    let too_early = Refusal::FeatureLevel { needed: 1, found: 0 };
    assert_eq!(log.store.check(&set(larger)), Err(too_early.clone()));
    assert_eq!(refusal(log.apply(&set(larger))), too_early);
    assert_eq!(log.apply(&raise(1)), Applied::FeatureLevelRaised { level: 1 });
    for version in [0, 1, 3, u32::MAX] {
        let other = refusal(log.apply(&set(Limits { version, ..larger })));
        assert_eq!(other, Refusal::LimitsNotNext { expected: 2, found: version });
    }
    for keys_max in [0, 999_999, 16_000_001, u64::MAX] {
        let out = refusal(log.apply(&set(Limits { keys_max, ..larger })));
        let (limit, min, max) = ("keys_max", 1_000_000, 16_000_000);
        assert_eq!(out, Refusal::LimitOutOfRange { limit, wanted: keys_max, min, max });
    }
    assert_eq!(*log.store.limits(), Limits::GENESIS);
    let revision = log.store.revision();
    assert_eq!(log.apply(&set(larger)), Applied::LimitsSet { version: 2 });
    let restored = restore(&log.store).expect("whole");
    for store in [&log.store, &restored] {
        assert_eq!((store.limits(), store.feature_level(), store.revision()), (&larger, 1, revision));
    }
    assert!(matches!(refusal(log.apply(&set(larger))), Refusal::LimitsNotNext { .. }), "once");
    let lower = refusal(log.apply(&set(Limits { version: 3, keys_max: 1_000_000, ..larger })));
    assert!(matches!(lower, Refusal::LimitOutOfRange { min: 2_000_000, .. }), "{lower}");
}

#[test]
fn a_former_controller_raises_nothing() {
    let mut log = Log::new(Limits::GENESIS);
    let former = log.appoint(1);
    log.appoint(2);
    let late = Command::RaiseFeatureLevel { author: former, at_unix_ms: 5, level: 1 };
    assert!(matches!(refusal(log.apply(&late)), Refusal::StaleEpoch { .. }));
    assert_eq!(log.store.feature_level(), 0);
}

#[test]
fn feature_levels_follow_each_other_and_an_unknown_one_stops_the_node() {
    let mut log = Log::new(Limits::GENESIS);
    for level in [0, 2, u16::MAX] {
        let other = refusal(log.apply(&raise(level)));
        assert_eq!(other, Refusal::LevelNotNext { expected: 1, found: level });
    }
    for level in 1..=FEATURE_LEVEL {
        assert_eq!(log.apply(&raise(level)), Applied::FeatureLevelRaised { level });
    }
    let (at, next) = (log.store.applied_index(), FEATURE_LEVEL + 1);
    let entry = Entry { term: Term(1), kind: EntryKind::Command(raise(next).encode().expect("small")) };
    let error = log.store.apply(at.next(), &entry).expect_err("newer nodes take it");
    assert!(matches!(error, ApplyError::FeatureLevel { level, .. } if level == next), "{error}");
    assert_eq!((log.store.feature_level(), log.store.applied_index()), (FEATURE_LEVEL, at));
    log.store.feature_level = next;
    let error = restore(&log.store).expect_err("a newer node's snapshot");
    assert!(matches!(error, RestoreError::FeatureLevel { found } if found == next), "{error}");
}
