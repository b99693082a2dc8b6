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
