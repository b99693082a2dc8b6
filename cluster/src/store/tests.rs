//! The store by example: fencing, parts, quotas, deltas, events, and its wire and snapshot forms.

use std::sync::Arc;

use bytes::Bytes;
use ravelin_config::{Digest, GenerationId, Key, SecretId};
use ravelin_consensus::{Configuration, Entry, EntryKind, Index, NodeId, Term};

use super::*;
use crate::storage::CommandBytes;
use crate::storage::testing::assert_golden;

mod model;
mod sessions;
mod versions;

const CLUSTER: [u8; 16] = *b"ravelin-cluster!";

/// A store and the index of its log.
struct Log {
    store: Store,
}

impl Log {
    fn new(limits: Limits) -> Self {
        Self { store: Store::with_limits(CLUSTER, limits) }
    }

    fn apply(&mut self, command: &Command) -> Applied {
        self.apply_bytes(command.encode().expect("small"))
    }

    fn apply_bytes(&mut self, bytes: CommandBytes) -> Applied {
        let entry = Entry { term: Term(1), kind: EntryKind::Command(bytes) };
        self.store.apply(self.store.applied_index().next(), &entry).expect("the next entry")
    }

    fn appoint(&mut self, node: u64) -> Author {
        let (node, epoch) = (NodeId(node), self.store.controller().map_or(0, |(_, epoch)| epoch) + 1);
        let applied = self.apply(&Command::AppointController { node, epoch, at_unix_ms: 5 });
        assert_eq!(applied, Applied::Appointed { node, epoch });
        Author::Controller { node, epoch }
    }

    /// Puts configuration keys, in the name of an operator.
    fn configure(&mut self, id: u8, keys: &[(&str, &str)]) -> Applied {
        self.apply(&Command::Change(change(id, operator(), keys, &[])))
    }
}

fn operator() -> Author {
    Author::Operator { name: "operator-1".to_owned() }
}

fn key(text: &str) -> StoreKey {
    StoreKey::new(text).expect("a key")
}

fn change(id: u8, author: Author, puts: &[(&str, &str)], deletes: &[&str]) -> Change {
    Change {
        id: ChangeId([id; 16]),
        author,
        at_unix_ms: 1_700_000_000_000,
        base: None,
        puts: puts.iter().map(|(name, value)| Put::new(key(name), Arc::from(value.as_bytes()))).collect(),
        deletes: deletes.iter().map(|name| key(name)).collect(),
    }
}

/// A change of one object that refers to a secret, and brings its envelope or not.
fn with_secret(id: u8, object: &str, secret: u8, envelope: Option<&str>) -> Change {
    let secret = SecretId([secret; 32]);
    let mut change = change(id, operator(), &[(object, "{}")], &[]);
    change.puts[0].secrets = Arc::from([secret]);
    let bring = |text: &str| Put::new(StoreKey::Plain(PlainKey::secret(&secret)), Arc::from(text.as_bytes()));
    change.puts.extend(envelope.map(bring));
    change
}

fn stage(id: u8, author: Author, part: u32, parts: &[Bytes]) -> Stage {
    let digest = Digest::of_parts(parts.iter().map(|part| &part[..])).0;
    let (of, bytes) = (parts.len() as u32, parts[part as usize].clone());
    Stage { id: ChangeId([id; 16]), author, at_unix_ms: 7, base: None, digest, part, of, bytes }
}

fn part(puts: &[(&str, &str)]) -> Bytes {
    let puts: Vec<Put> =
        puts.iter().map(|(name, value)| Put::new(key(name), Arc::from(value.as_bytes()))).collect();
    wire::encode_part(&puts.iter().collect::<Vec<_>>(), &[]).expect("small")
}

fn refusal(applied: Applied) -> Refusal {
    match applied {
        Applied::Refused { refusal, .. } => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn restore(store: &Store) -> Result<Store, RestoreError> {
    let mut restore = StoreRestore::new();
    for chunk in store.snapshot_chunks() {
        restore.push(&chunk?)?;
    }
    restore.finish()
}

#[test]
fn a_change_is_read_back_with_its_revisions() {
    let mut log = Log::new(Limits::GENESIS);
    let before = log.store.generation();
    assert_eq!(before.revision, 0);
    let applied = log.configure(1, &[("config/http/routers/a@x", "A"), ("nodes/3", "up")]);
    let generation = log.store.generation();
    assert_eq!(applied, Applied::Changed { id: ChangeId([1; 16]), revision: 1, generation });
    assert!(generation.is_newer_than(&before));
    log.configure(2, &[("nodes/3", "down")]);
    assert_eq!(log.store.generation(), generation, "the configuration did not change");
    let value = log.store.get("nodes/3").expect("put");
    assert_eq!((&*value.bytes, value.created, value.modified), (b"down".as_slice(), 1, 2));
    assert_eq!(log.store.get("config/http/routers/a@x").expect("put").modified, 1);
    let names = |prefix| log.store.range(prefix).map(|(key, _)| key.to_string()).collect::<Vec<_>>();
    assert_eq!(names(""), ["config/http/routers/a@x", "nodes/3"]);
    assert_eq!(names("config/http/s"), [""; 0]);
    assert_eq!(names("nodes/"), ["nodes/3"]);
}

#[test]
fn the_same_again_changes_nothing_and_the_same_id_takes_effect_once() {
    let mut log = Log::new(Limits::GENESIS);
    log.configure(1, &[("config/a", "1")]);
    let (revision, generation) = (log.store.revision(), log.store.generation());
    assert_eq!(
        log.configure(2, &[("config/a", "1")]),
        Applied::Unchanged { id: ChangeId([2; 16]), generation }
    );
    assert_eq!(
        log.configure(1, &[("config/a", "other")]),
        Applied::Duplicate { id: ChangeId([1; 16]), revision }
    );
    assert_eq!((log.store.revision(), log.store.generation()), (revision, generation));
    assert_eq!(
        log.store.outcome(&ChangeId([1; 16])),
        Some(Outcome { index: Index(1), revision, generation, put: 1, deleted: 0 })
    );
}

#[test]
fn a_controller_of_an_ended_epoch_is_refused_and_it_is_recorded() {
    let mut log = Log::new(Limits::GENESIS);
    let first = log.appoint(1);
    log.apply(&Command::Change(change(1, first.clone(), &[("config/a", "1")], &[])));
    let second = log.appoint(2);
    let late = Command::Change(change(2, first.clone(), &[("config/a", "late")], &[]));
    let current = Some((NodeId(2), 2));
    assert_eq!(log.store.check(&late), Err(Refusal::StaleEpoch { author: first.clone(), current }));
    let revision = log.store.revision();
    assert_eq!(refusal(log.apply(&late)), Refusal::StaleEpoch { author: first, current });
    assert_eq!(&*log.store.get("config/a").expect("put").bytes, b"1");
    assert_eq!(log.store.stale_writes_refused(), 1);
    let (_, event) = log.store.events_since(revision).next().expect("recorded");
    assert_eq!(
        (event.name.as_str(), event.node, event.at_unix_ms),
        ("stale-write-refused", NodeId(1), 1_700_000_000_000)
    );
    assert!(
        event.text.contains("controller 1 of epoch 1 is not the controller: that is node 2, of epoch 2"),
        "{}",
        event.text
    );
    assert!(matches!(
        log.apply(&Command::Change(change(3, second, &[("config/a", "2")], &[]))),
        Applied::Changed { .. }
    ));
}

#[test]
fn an_epoch_begins_only_after_the_one_before() {
    let mut log = Log::new(Limits::GENESIS);
    log.appoint(1);
    for epoch in [0, 1, 3, u64::MAX] {
        let again = Command::AppointController { node: NodeId(2), epoch, at_unix_ms: 5 };
        assert_eq!(refusal(log.apply(&again)), Refusal::EpochNotNext { expected: 2, found: epoch });
    }
    assert_eq!(log.store.controller(), Some((NodeId(1), 1)));
    assert_eq!(log.store.events_since(0).count(), 1, "only the appointment");
}

#[test]
fn a_change_on_another_base_is_refused() {
    let mut log = Log::new(Limits::GENESIS);
    log.configure(1, &[("config/a", "1")]);
    log.configure(2, &[("user/x", "1")]);
    let mut next = change(3, operator(), &[("config/a", "2")], &[]);
    next.base = Some(2);
    assert_eq!(
        refusal(log.apply(&Command::Change(next.clone()))),
        Refusal::BaseChanged { expected: 2, found: 1 }
    );
    next.base = Some(1);
    assert!(
        matches!(log.apply(&Command::Change(next)), Applied::Changed { .. }),
        "a refused id may come again"
    );
}

#[test]
fn parts_take_effect_together_with_the_last_whatever_their_order() {
    let mut log = Log::new(Limits::GENESIS);
    let author = log.appoint(1);
    let parts: Vec<Bytes> = (0..3).map(|n| part(&[(&format!("config/{n}"), "value")])).collect();
    let stages: Vec<_> = (0..3).map(|n| Command::Stage(stage(9, author.clone(), n, &parts))).collect();
    let before = log.store.generation();
    let id = ChangeId([9; 16]);
    for (n, missing) in [(2, 2), (0, 1), (2, 1)] {
        assert_eq!(log.apply(&stages[n]), Applied::Staged { id, part: n as u32, missing });
        assert_eq!(log.store.generation(), before);
    }
    assert!(matches!(log.apply(&stages[1]), Applied::Changed { .. }));
    assert_eq!((log.store.config().len(), log.store.staged_bytes()), (3, 0));
    assert!(
        matches!(log.apply(&stages[0]), Applied::Duplicate { .. }),
        "a late part does not begin it again"
    );
    assert_eq!(log.store.staged_bytes(), 0);
}

#[test]
fn parts_go_when_their_epoch_ends_when_the_base_moves_and_when_told() {
    let mut log = Log::new(Limits::GENESIS);
    let author = log.appoint(1);
    let parts = [part(&[("config/a", "1")]), part(&[("config/b", "1")])];
    let first = Command::Stage(stage(1, author.clone(), 0, &parts));
    log.apply(&first);
    assert!(log.store.staged_bytes() > 0);
    log.appoint(2);
    assert_eq!(log.store.staged_bytes(), 0);
    assert!(matches!(refusal(log.apply(&first)), Refusal::StaleEpoch { .. }));

    let based = Stage { base: Some(0), ..stage(2, operator(), 0, &parts) };
    log.apply(&Command::Stage(based));
    log.configure(3, &[("config/c", "1")]);
    assert_eq!(log.store.staged_bytes(), 0, "it could never take effect any more");

    log.apply(&Command::Stage(stage(4, operator(), 0, &parts)));
    let id = ChangeId([4; 16]);
    assert_eq!(log.apply(&Command::DropStaged { id }), Applied::Dropped { id, attempts: 1 });
    assert_eq!(log.store.staged_bytes(), 0);
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let mut log = Log::new(Limits { parts_max: 4, staged_bytes_max: 400, ..Limits::GENESIS });
    let parts = [part(&[("config/a", "1")]), part(&[("config/b", "1")])];
    let good = stage(1, operator(), 0, &parts);
    let parts_text = |applied| matches!(refusal(applied), Refusal::Parts { .. });
    assert!(parts_text(log.apply(&Command::Stage(Stage { part: 2, ..good.clone() }))));
    let over = refusal(log.apply(&Command::Stage(Stage { of: 5, ..good.clone() })));
    assert_eq!(over, Refusal::OverQuota { quota: Quota::Parts, needed: 5, max: 4 });
    log.apply(&Command::Stage(good.clone()));
    assert!(parts_text(log.apply(&Command::Stage(Stage { part: 1, of: 3, ..good.clone() }))), "contradicts");
    let wrong = Stage { part: 1, bytes: part(&[("config/b", "2")]), ..good.clone() };
    assert!(parts_text(log.apply(&Command::Stage(wrong))), "another digest");
    assert_eq!(log.store.staged_bytes(), 0);
    let large = [part(&[("config/a", &"x".repeat(500))]), part(&[])];
    let over = refusal(log.apply(&Command::Stage(stage(3, operator(), 0, &large))));
    assert!(matches!(over, Refusal::OverQuota { quota: Quota::StagedBytes, .. }), "{over}");
    assert_eq!(log.store.config().len(), 0);
}

#[test]
fn the_oldest_of_too_many_incomplete_changes_goes() {
    let mut log = Log::new(Limits { staged_changes_max: 2, ..Limits::GENESIS });
    let parts = [part(&[("config/a", "1")]), part(&[("config/b", "1")])];
    for id in [1, 2, 3] {
        log.apply(&Command::Stage(stage(id, operator(), 0, &parts)));
    }
    assert!(matches!(log.apply(&Command::Stage(stage(2, operator(), 1, &parts))), Applied::Changed { .. }));
    let applied = log.apply(&Command::Stage(stage(1, operator(), 1, &parts)));
    assert!(matches!(applied, Applied::Staged { missing: 1, .. }), "its first part is gone: {applied:?}");
}

#[test]
fn quotas_are_enforced_and_a_smaller_store_is_always_welcome() {
    let limits = Limits { live_bytes_max: 100, keys_max: 3, value_bytes_max: 50, ..Limits::GENESIS };
    let mut log = Log::new(limits);
    let over = |applied| match refusal(applied) {
        Refusal::OverQuota { quota, .. } => quota,
        other => panic!("{other}"),
    };
    assert_eq!(over(log.configure(1, &[("config/a", &"x".repeat(51))])), Quota::ValueBytes);
    let three = [("config/a", "1"), ("config/b", "1"), ("config/c", "1")];
    log.configure(2, &three);
    assert_eq!(over(log.configure(3, &[("config/d", "1")])), Quota::Keys);
    assert_eq!(
        over(log.configure(4, &[("config/a", &"x".repeat(50)), ("config/b", &"x".repeat(50))])),
        Quota::LiveBytes
    );
    assert_eq!(log.store.live_bytes(), 27);
    log.store.limits = Limits { live_bytes_max: 10, keys_max: 1, ..limits };
    let applied = log.apply(&Command::Change(change(5, operator(), &[], &["config/a"])));
    assert!(matches!(applied, Applied::Changed { .. }), "{applied:?}");
    assert_eq!(over(log.configure(6, &[("config/b", "longer")])), Quota::LiveBytes);
}

#[test]
fn reserved_and_repeated_keys_are_refused_whole() {
    let mut log = Log::new(Limits::GENESIS);
    for reserved in ["roles/controller", "events/00000000000000000001"] {
        let refused = refusal(log.configure(1, &[("config/a", "1"), (reserved, "x")]));
        assert_eq!(refused, Refusal::Reserved { key: reserved.to_owned() });
    }
    let twice = change(2, operator(), &[("config/a", "1")], &["config/a"]);
    assert_eq!(
        refusal(log.apply(&Command::Change(twice))),
        Refusal::NamedTwice { key: "config/a".to_owned() }
    );
    assert_eq!((log.store.keys(), log.store.revision()), (0, 0));
}

#[test]
fn deltas_come_from_the_index_of_changes_and_end_where_it_ends() {
    let mut log = Log::new(Limits { history_revisions_max: 3, ..Limits::GENESIS });
    let empty = log.store.generation();
    log.configure(1, &[("config/a", "1"), ("config/b", "1")]);
    let first = log.store.generation();
    log.apply(&Command::Change(change(2, operator(), &[("config/c", "1")], &["config/a"])));
    log.apply(&Command::Change(change(3, operator(), &[("config/b", "2")], &["config/c"])));
    let delta = log.store.delta(&first).expect("kept");
    let names: Vec<_> = delta.puts.iter().map(|(key, _)| key.as_str()).collect();
    let deletes: Vec<_> = delta.deletes.iter().map(Key::as_str).collect();
    assert_eq!((names, deletes), (vec!["b"], vec!["a"]), "c came and went");
    assert_eq!((delta.base, delta.target), (first, log.store.generation()));
    assert!(log.store.delta(&empty).is_some(), "three revisions are kept");
    assert!(log.store.delta_within(&first, 4).is_some(), "two changes and two again");
    assert!(log.store.delta_within(&first, 3).is_none(), "more than is made at once");
    let same = log.store.delta(&log.store.generation()).expect("the committed one");
    assert!(same.puts.is_empty() && same.deletes.is_empty());

    log.configure(4, &[("user/x", "1")]);
    log.configure(5, &[("user/x", "2")]);
    assert_eq!(log.store.delta(&first), None, "too old");
    assert_eq!(log.store.changes_since(first.revision).map(Iterator::count), None);
    assert!(log.store.delta(&GenerationId { revision: 2, ..first }).is_none(), "no such generation");
    let foreign = GenerationId { cluster: [0; 16], ..log.store.generation() };
    assert!(log.store.delta(&foreign).is_none());
    assert!(log.store.delta(&GenerationId { recovery_epoch: 1, ..log.store.generation() }).is_none());
}

#[test]
fn changes_are_watched_from_a_revision() {
    let mut log = Log::new(Limits::GENESIS);
    log.configure(1, &[("config/a", "1")]);
    log.appoint(1);
    log.apply(&Command::Change(change(2, operator(), &[("user/x", "1")], &["config/a"])));
    let since = |revision| {
        let revisions = log.store.changes_since(revision).expect("kept");
        revisions
            .flat_map(|kept| kept.changes.iter().map(|change| change.key.to_string()))
            .collect::<Vec<_>>()
    };
    assert_eq!(since(0), ["config/a", "roles/controller", "config/a", "user/x"]);
    assert_eq!(since(2), ["config/a", "user/x"]);
    assert_eq!(since(log.store.revision()), [""; 0]);
    assert!(log.store.changes_since(log.store.revision() + 1).is_none(), "not yet");
}

#[test]
fn events_are_bounded_in_number_and_length() {
    let mut log = Log::new(Limits { events_max: 3, ..Limits::GENESIS });
    for number in 0..5 {
        let text = "ü".repeat(5000);
        let name = format!("event-{number}");
        log.apply(&Command::Event(Event { at_unix_ms: number, node: NodeId(1), name, text }));
    }
    let events: Vec<_> = log.store.events_since(0).collect();
    assert_eq!(events.iter().map(|(revision, _)| *revision).collect::<Vec<_>>(), [3, 4, 5]);
    assert!(events.iter().all(|(_, event)| event.text.len() == 4096));
    assert_eq!(log.store.events_since(4).count(), 1);
    let bytes: u64 = log.store.range("").map(|(key, value)| key.bytes() + value.bytes.len() as u64).sum();
    assert_eq!(log.store.live_bytes(), bytes);
}

#[test]
fn entries_must_come_in_order_and_be_readable() {
    let mut store = Store::new(CLUSTER);
    let entry = |kind| Entry { term: Term(2), kind };
    assert_eq!(store.apply(Index(1), &entry(EntryKind::Empty)).expect("first"), Applied::Nothing);
    let members = EntryKind::Configuration(Configuration::default());
    assert_eq!(store.apply(Index(2), &entry(members)).expect("second"), Applied::Nothing);
    assert_eq!((store.applied_index(), store.applied_term(), store.revision()), (Index(2), Term(2), 0));
    for index in [0, 1, 2, 4] {
        let error = store.apply(Index(index), &entry(EntryKind::Empty)).expect_err("not the next");
        assert!(matches!(error, ApplyError::OutOfOrder { .. }), "{error}");
    }
    let mut newer = Command::DropStaged { id: ChangeId([0; 16]) }.encode().expect("small").0.to_vec();
    newer[0] = wire::COMMAND_VERSION + 1;
    let error =
        store.apply(Index(3), &entry(EntryKind::Command(CommandBytes(newer.into())))).expect_err("newer");
    assert!(error.to_string().contains("entry 3 cannot be read. If newer controllers"), "{error}");
    assert_eq!(store.applied_index(), Index(2), "nothing was changed");
}

#[test]
fn large_changes_are_split_into_entries_that_fit_and_small_ones_are_not() {
    let mut log = Log::new(Limits::GENESIS);
    let value = "v".repeat(700 << 10);
    let names: Vec<String> = (0..4).map(|n| format!("config/large{n}")).collect();
    let mut puts: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
    let small: Vec<String> = (0..20_000).map(|n| format!("config/http/routers/small{n}@file")).collect();
    puts.extend(small.iter().map(|name| (name.as_str(), "some value of about fifty bytes, as routes have")));
    let large = change(1, operator(), &puts, &["config/not-there"]);
    let entries = large.encode().expect("each value fits");
    assert!((6..=12).contains(&entries.len()), "{} entries", entries.len());
    assert!(entries.iter().all(|entry| entry.0.len() <= COMMAND_BYTES_MAX));
    let last = entries.into_iter().map(|entry| log.apply_bytes(entry)).last().expect("some");
    assert!(matches!(last, Applied::Changed { .. }), "{last:?}");
    assert_eq!(log.store.config().len(), 20_004);

    assert_eq!(change(2, operator(), &[("config/a", "1")], &[]).encode().expect("small").len(), 1);
    let huge = "v".repeat(801 << 10);
    let error = change(3, operator(), &[("config/a", &huge)], &[]).encode().expect_err("fits no entry");
    assert!(matches!(error, CommandError::ValueTooLarge { .. }), "{error}");
    for chunk in log.store.snapshot_chunks() {
        assert!(chunk.expect("every value has a form").len() <= crate::storage::snapshot::CHUNK_BYTES_MAX);
    }
    assert_eq!(restore(&log.store).expect("whole").generation(), log.store.generation());
}

#[test]
fn a_clone_stays_as_it_is_while_apply_goes_on() {
    let mut log = Log::new(Limits::GENESIS);
    log.configure(1, &[("config/a", "1")]);
    let (clone, chunks) = (log.store.clone(), log.store.snapshot_chunks());
    log.configure(2, &[("config/a", "2"), ("config/b", "1")]);
    assert_eq!((clone.config().len(), clone.revision()), (1, 1));
    let mut restore = StoreRestore::new();
    chunks.for_each(|chunk| restore.push(&chunk.expect("small")).expect("just made"));
    assert_eq!(restore.finish().expect("whole").generation(), clone.generation());
}

#[test]
fn a_snapshot_that_does_not_add_up_is_refused() {
    let mut log = Log::new(Limits::GENESIS);
    log.appoint(1);
    let value = "v".repeat(100 << 10);
    let names: Vec<String> = (0..12).map(|n| format!("config/{n}")).collect();
    let puts: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
    for entry in change(1, operator(), &puts, &[]).encode().expect("each value fits") {
        log.apply_bytes(entry);
    }
    let chunks: Vec<Vec<u8>> =
        log.store.snapshot_chunks().map(|chunk| chunk.expect("small").to_vec()).collect();
    assert!(chunks.len() > 5);
    let take = |chunks: &[Vec<u8>]| {
        let mut restore = StoreRestore::new();
        chunks.iter().try_for_each(|chunk| restore.push(chunk))?;
        restore.finish()
    };
    take(&chunks).expect("whole");
    assert!(matches!(take(&[]), Err(RestoreError::Inconsistent("it is empty"))));
    for place in 0..chunks.len() {
        let mut without = chunks.clone();
        without.remove(place);
        assert!(take(&without).is_err(), "without chunk {place}");
        let mut twice = chunks.clone();
        twice.insert(place, chunks[place].clone());
        assert!(take(&twice).is_err(), "chunk {place} twice");
    }
    let digest = log.store.generation().digest.0;
    let at = chunks[0].windows(32).position(|window| window == digest).expect("the header holds it");
    for (chunk, place) in [(0, at), (0, at + 31), (1, 200_000)] {
        let mut wrong = chunks.clone();
        wrong[chunk][place] ^= 1;
        assert!(take(&wrong).is_err(), "digest and content of the configuration must agree");
    }
}

#[test]
fn commands_have_their_golden_bytes() {
    let author = Author::Controller { node: NodeId(2), epoch: 3 };
    let mut golden = change(0xaa, author.clone(), &[("config/http/routers/web@file", "{}")], &["nodes/4"]);
    golden.base = Some(41);
    let id = SecretId([0x5e; 32]);
    golden.puts[0].secrets = Arc::from([id]);
    golden.puts.push(Put::new(StoreKey::Plain(PlainKey::secret(&id)), Arc::from(b"envelope".as_slice())));
    let part = Bytes::from_static(b"part");
    let staged = stage(0xbb, operator(), 1, &[Bytes::from_static(b"first"), part]);
    let event = Event { at_unix_ms: 9, node: NodeId(4), name: "name".to_owned(), text: "text".to_owned() };
    for (name, command) in [
        (
            "command-appoint-controller",
            Command::AppointController { node: NodeId(2), epoch: 3, at_unix_ms: 8 },
        ),
        ("command-change", Command::Change(golden)),
        ("command-stage", Command::Stage(staged)),
        ("command-drop-staged", Command::DropStaged { id: ChangeId([0xcc; 16]) }),
        ("command-event", Command::Event(event)),
        (
            "command-set-limits",
            Command::SetLimits { author: operator(), at_unix_ms: 9, limits: Limits::GENESIS },
        ),
        (
            "command-raise-feature-level",
            Command::RaiseFeatureLevel { author: operator(), at_unix_ms: 9, level: 1 },
        ),
    ] {
        let bytes = command.encode().expect("small");
        assert_golden(name, &bytes.0);
        assert_eq!(Command::decode(&bytes).expect("just encoded"), command);
    }
    assert_golden("command-stage-part", &self::part(&[("config/a", "1"), ("user/x", "22")]));
}

#[test]
fn a_secret_lives_as_long_as_an_object_refers_to_it() {
    let mut log = Log::new(Limits::GENESIS);
    let secret = format!("secrets/{}", "11".repeat(32));
    let (one, two) = ("config/tls/certificates/1@file", "config/tls/certificates/2@file");
    let missing = refusal(log.apply(&Command::Change(with_secret(1, one, 0x11, None))));
    assert_eq!(missing, Refusal::SecretMissing { secret: "11".repeat(32) });
    let before = log.store.live_bytes();
    assert!(matches!(
        log.apply(&Command::Change(with_secret(2, one, 0x11, Some("sealed")))),
        Applied::Changed { .. }
    ));
    let held = (one.len() + 2 + 32 + secret.len() + 6) as u64;
    assert_eq!(log.store.live_bytes() - before, held, "key, value, reference and secret count");
    let base = log.store.generation();
    log.apply(&Command::Change(with_secret(3, two, 0x11, None)));
    log.apply(&Command::Change(change(4, operator(), &[], &[one])));
    assert_eq!(log.store.get(&secret).map(|value| value.bytes.to_vec()), Some(b"sealed".to_vec()));
    let refused = refusal(log.apply(&Command::Change(change(5, operator(), &[], &[&secret]))));
    assert_eq!(refused, Refusal::Reserved { key: secret.clone() });
    // Another secret in its place: the first goes, the second comes, in one revision and one delta.
    log.apply(&Command::Change(with_secret(6, two, 0x22, Some("other"))));
    assert!(log.store.get(&secret).is_none());
    let delta = log.store.delta(&base).expect("a moment ago");
    let expected = vec![(SecretId([0x11; 32]), None), (SecretId([0x22; 32]), Some(Arc::from(&b"other"[..])))];
    assert_eq!(delta.secrets, expected);
    log.apply(&Command::Change(change(7, operator(), &[], &[two])));
    assert_eq!((log.store.live_bytes(), log.store.config().secrets().len()), (before, 0));
}

#[test]
fn nobody_keeps_a_secret_that_nothing_refers_to_and_only_objects_refer() {
    let mut log = Log::new(Limits::GENESIS);
    let lone = format!("secrets/{}", "33".repeat(32));
    assert!(matches!(log.configure(1, &[(&lone, "sealed")]), Applied::Unchanged { .. }));
    assert!(log.store.get(&lone).is_none());
    let user = refusal(log.apply(&Command::Change(with_secret(2, "user/x", 0x33, Some("sealed")))));
    assert_eq!(user, Refusal::References { key: "user/x".to_owned() });
}

#[test]
fn events_of_the_store_itself_hold_no_words() {
    let mut log = Log::new(Limits::GENESIS);
    log.appoint(2);
    let stale = Author::Controller { node: NodeId(9), epoch: 7 };
    log.apply(&Command::Change(change(1, stale, &[("user/x", "1")], &[])));
    let held: Vec<_> = log.store.range("events/").map(|(_, value)| value.bytes).collect();
    assert_eq!((held.len(), log.store.events_since(0).count()), (2, 2));
    for bytes in held {
        let letters = bytes.split(|byte| !byte.is_ascii_alphabetic()).map(<[u8]>::len).max();
        assert!(letters < Some(3), "{:?}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn a_store_snapshot_has_its_golden_bytes() {
    let mut log = Log::new(Limits::GENESIS);
    log.appoint(2);
    log.configure(1, &[("config/http/routers/web@file", "{}"), ("nodes/4", "up")]);
    log.apply(&Command::Change(with_secret(2, "config/tls/certificates/c@file", 0x5e, Some("envelope"))));
    log.apply(&Command::Stage(stage(
        0xbb,
        operator(),
        0,
        &[Bytes::from_static(b"first"), Bytes::from_static(b"part")],
    )));
    let chunks: Vec<Bytes> = log.store.snapshot_chunks().collect::<Result<_, _>>().expect("small");
    assert_eq!(chunks.len(), 1);
    assert_golden("store-snapshot-chunk", &chunks[0]);
}
