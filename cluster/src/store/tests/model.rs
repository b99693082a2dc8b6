//! The store against a naive model on plain maps, under random commands, with snapshots taken and restored on the way.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ravelin_config::{ConfigMap, SecretId};

use super::*;
use crate::store::key::SECRETS_PREFIX;

const LIMITS: Limits = Limits {
    live_bytes_max: 1500,
    keys_max: 16,
    value_bytes_max: 120,
    history_revisions_max: 6,
    staged_changes_max: 2,
    staged_bytes_max: 600,
    parts_max: 4,
    events_max: 3,
    recent_max: 4,
    sessions_max: 3,
    session_replies_max: 2,
    ..Limits::GENESIS
};

#[derive(Debug, Clone, Copy)]
enum Writer {
    Operator,
    Controller,
    Former,
}

#[derive(Debug, Clone, Copy)]
enum BaseKind {
    None,
    Current,
    Older,
    Newer,
}

#[derive(Debug, Clone)]
struct Draft {
    writer: Writer,
    base: BaseKind,
    /// Number of the key, length of the value, and the secrets that it refers to.
    puts: Vec<(u8, u8, Vec<u8>)>,
    /// Number of the secret and length of its envelope.
    secrets: BTreeMap<u8, u8>,
    deletes: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Step {
    Change(Draft),
    /// The last change once more, under the same id.
    Again,
    /// In parts of one put each, applied in the order given by the seed; the last may never come.
    InParts {
        draft: Draft,
        order: u8,
        all: bool,
    },
    Appoint {
        wrong: bool,
    },
    Event,
    Nothing,
    /// Everything goes on with a store restored from a snapshot of this one.
    Restore,
}

fn draft() -> impl Strategy<Value = Draft> {
    let writer =
        prop_oneof![3 => Just(Writer::Operator), 2 => Just(Writer::Controller), 1 => Just(Writer::Former)];
    let base = prop_oneof![5 => Just(BaseKind::None), 3 => Just(BaseKind::Current), 1 => Just(BaseKind::Older), 1 => Just(BaseKind::Newer)];
    let references = prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(0..5_u8, 1..3)];
    let puts = prop::collection::vec((0..20_u8, 0..130_u8, references), 0..5);
    let secrets = prop::collection::btree_map(0..5_u8, 0..20_u8, 0..3);
    let deletes = prop::collection::vec(0..20_u8, 0..3);
    (writer, base, puts, secrets, deletes).prop_map(|(writer, base, mut puts, secrets, deletes)| {
        // Mostly what may be taken: only objects refer to secrets, but now and then something else does too.
        for (number, length, references) in &mut puts {
            if *number % 3 == 0 && *length % 8 != 0 {
                references.clear();
            }
        }
        Draft { writer, base, puts, secrets, deletes }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => draft().prop_map(Step::Change),
        1 => Just(Step::Again),
        3 => (draft(), any::<u8>(), prop::bool::weighted(0.7))
            .prop_map(|(draft, order, all)| Step::InParts { draft, order, all }),
        1 => any::<bool>().prop_map(|wrong| Step::Appoint { wrong }),
        1 => Just(Step::Event),
        1 => Just(Step::Nothing),
        1 => Just(Step::Restore),
    ]
}

/// A key by number: two of three are configuration.
fn name(number: u8) -> String {
    match number % 3 {
        0 => format!("user/{number}"),
        _ => format!("config/http/routers/{number}@file"),
    }
}

fn secret(number: u8) -> SecretId {
    SecretId([number; 32])
}

/// What a key holds: value, created, modified, the secrets that it refers to.
type Entry = (Vec<u8>, u64, u64, Vec<SecretId>);
type Map = BTreeMap<String, Entry>;

#[derive(Debug, Default)]
struct Model {
    map: Map,
    revision: u64,
    config_revision: u64,
    controller: Option<(u64, u64)>,
    events: Vec<u64>,
    stale: u64,
}

impl Model {
    fn sizes(map: &Map) -> (u64, u64) {
        let size = |(key, entry): (&String, &Entry)| key.len() + entry.0.len() + 32 * entry.3.len();
        (map.len() as u64, map.iter().map(|entry| size(entry) as u64).sum())
    }

    /// The same size in keys and bytes as the store's events and role take.
    fn fits(&self, next: &Map, others: (u64, u64)) -> bool {
        let (keys, bytes) = Self::sizes(next);
        let (old_keys, old_bytes) = Self::sizes(&self.map);
        let within = |next: u64, old: u64, max: u64, others: u64| next + others <= max.max(old + others);
        within(keys, old_keys, LIMITS.keys_max, others.0)
            && within(bytes, old_bytes, LIMITS.live_bytes_max, others.1)
    }

    /// What the change leads to; `None` if it has to be refused.
    fn judge(&self, change: &Change, others: (u64, u64)) -> Option<Map> {
        let fenced = match &change.author {
            Author::Controller { node, epoch } => self.controller != Some((node.0, *epoch)),
            Author::Operator { .. } => false,
        };
        if fenced || change.base.is_some_and(|base| base != self.config_revision) {
            return None;
        }
        let mut next = self.map.clone();
        let mut named = Vec::new();
        for Put { key, value, secrets } in &change.puts {
            let key = key.to_string();
            let created = next.get(&key).map_or(self.revision + 1, |held| held.1);
            if !key.starts_with("config/") && !secrets.is_empty() {
                return None;
            }
            if next.get(&key).is_none_or(|held| held.0 != **value || held.3 != **secrets) {
                if value.len() as u64 > LIMITS.value_bytes_max {
                    return None;
                }
                let entry = (value.to_vec(), created, self.revision + 1, secrets.to_vec());
                next.insert(key.clone(), entry);
            }
            named.push(key);
        }
        for key in &change.deletes {
            next.remove(&key.to_string());
            named.push(key.to_string());
        }
        named.sort();
        let referred: Vec<String> =
            next.values().flat_map(|entry| &entry.3).map(|id| format!("secrets/{id}")).collect();
        if referred.iter().any(|key| !next.contains_key(key)) {
            return None;
        }
        next.retain(|key, _| !key.starts_with("secrets/") || referred.contains(key));
        let repeated = named.windows(2).any(|pair| pair[0] == pair[1]);
        (!repeated && self.fits(&next, others)).then_some(next)
    }

    fn take(&mut self, next: Map) -> bool {
        let changed = next != self.map;
        if changed {
            self.revision += 1;
            let config = |map: &Map| -> Vec<_> {
                map.iter()
                    .filter(|(key, _)| key.starts_with("config/"))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect()
            };
            if config(&next) != config(&self.map) {
                self.config_revision = self.revision;
            }
            self.map = next;
        }
        changed
    }

    fn event(&mut self) {
        self.revision += 1;
        self.events.push(self.revision);
        let excess = self.events.len().saturating_sub(LIMITS.events_max as usize);
        self.events.drain(..excess);
    }

    fn refuse(&mut self, refusal: &Refusal) {
        if matches!(refusal, Refusal::StaleEpoch { .. }) {
            self.stale += 1;
            self.event();
        }
    }
}

struct Run {
    log: Log,
    model: Model,
    next_id: u8,
    last: Option<Change>,
    past: Vec<(GenerationId, ConfigMap)>,
}

impl Run {
    fn new() -> Self {
        let log = Log::new(LIMITS);
        let past = vec![(log.store.generation(), log.store.config().clone())];
        Self { log, model: Model::default(), next_id: 0, last: None, past }
    }

    /// Keys and bytes that only the store itself writes.
    fn others(&self) -> (u64, u64) {
        let reserved = self.log.store.range("").filter(|(key, _)| key.is_reserved());
        reserved.fold((0, 0), |sum, (key, value)| (sum.0 + 1, sum.1 + key.bytes() + value.bytes.len() as u64))
    }

    fn change_of(&mut self, draft: &Draft) -> Change {
        self.next_id = self.next_id.wrapping_add(1);
        let epoch = self.model.controller.map_or(0, |(_, epoch)| epoch);
        let node = NodeId(self.model.controller.map_or(1, |(node, _)| node));
        let author = match draft.writer {
            Writer::Operator => operator(),
            Writer::Controller => Author::Controller { node, epoch },
            Writer::Former => Author::Controller { node, epoch: epoch.saturating_sub(1) },
        };
        let base = match draft.base {
            BaseKind::None => None,
            BaseKind::Current => Some(self.model.config_revision),
            BaseKind::Older => Some(self.model.config_revision.saturating_sub(1)),
            BaseKind::Newer => Some(self.model.config_revision + 1),
        };
        let value = |length: u8| Arc::from(vec![length; usize::from(length)]);
        let puts = draft.puts.iter().map(|(number, length, references)| Put {
            secrets: references.iter().map(|number| secret(*number)).collect(),
            ..Put::new(key(&name(*number)), value(*length))
        });
        let secrets = draft.secrets.iter().map(|(number, length)| {
            Put::new(StoreKey::Plain(PlainKey::secret(&secret(*number))), value(*length))
        });
        Change {
            id: ChangeId([self.next_id; 16]),
            author,
            at_unix_ms: 1,
            base,
            puts: puts.chain(secrets).collect(),
            deletes: draft.deletes.iter().map(|number| key(&name(*number))).collect(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Change(draft) => {
                let change = self.change_of(draft);
                self.change(change);
            }
            Step::Again => {
                let remembered = |change: &Change| self.log.store.outcome(&change.id).is_some();
                if let Some(change) = self.last.clone().filter(remembered) {
                    let before = self.log.store.revision();
                    let applied = self.log.apply(&Command::Change(change));
                    assert!(matches!(applied, Applied::Duplicate { .. }), "{applied:?}");
                    assert_eq!(self.log.store.revision(), before);
                }
            }
            Step::InParts { draft, order, all } => self.in_parts(draft, *order, *all),
            Step::Appoint { wrong } => self.appoint(*wrong),
            Step::Event => {
                let event =
                    Event { at_unix_ms: 2, node: NodeId(1), name: "n".to_owned(), text: "t".to_owned() };
                self.log.apply(&Command::Event(event));
                self.model.event();
            }
            Step::Nothing => {
                let index = self.log.store.applied_index().next();
                self.log.store.apply_command(index, Term(1), None).expect("nothing to read");
            }
            Step::Restore => self.restore(),
        }
    }

    fn change(&mut self, change: Change) {
        let expected = self.model.judge(&change, self.others());
        let command = Command::Change(change.clone());
        assert_eq!(self.log.store.check(&command).is_ok(), expected.is_some());
        let applied = self.log.apply(&command);
        self.took(&applied, expected);
        if !matches!(applied, Applied::Refused { .. }) {
            self.last = Some(change);
        }
    }

    fn took(&mut self, applied: &Applied, expected: Option<Map>) {
        match (expected, applied) {
            (Some(next), Applied::Changed { revision, generation, .. }) => {
                assert!(self.model.take(next), "nothing differed");
                assert_eq!((*revision, *generation), (self.model.revision, self.log.store.generation()));
            }
            (Some(next), Applied::Unchanged { .. }) => assert!(!self.model.take(next), "something differed"),
            (None, Applied::Refused { refusal, .. }) => self.model.refuse(refusal),
            (expected, applied) => panic!("expected {expected:?}, applied {applied:?}"),
        }
    }

    fn in_parts(&mut self, draft: &Draft, order: u8, all: bool) {
        let change = self.change_of(draft);
        let mut parts: Vec<Bytes> =
            change.puts.iter().map(|put| wire::encode_part(&[put], &[]).expect("small")).collect();
        parts.push(wire::encode_part(&[], &change.deletes.iter().collect::<Vec<_>>()).expect("small"));
        let mut numbers: Vec<u32> = (0..parts.len() as u32).collect();
        numbers.rotate_left(usize::from(order) % parts.len());
        if !all {
            numbers.pop();
        }
        for (place, number) in numbers.iter().enumerate() {
            let digest = Digest::of_parts(parts.iter().map(|part| &part[..])).0;
            let stage = Stage {
                id: change.id,
                author: change.author.clone(),
                at_unix_ms: 1,
                base: change.base,
                digest,
                part: *number,
                of: parts.len() as u32,
                bytes: parts[*number as usize].clone(),
            };
            let expected = self.model.judge(&change, self.others());
            match self.log.apply(&Command::Stage(stage)) {
                Applied::Staged { missing, .. } => {
                    assert_eq!(missing as usize, parts.len() - place - 1);
                    assert!(missing > 0, "the last part decides");
                }
                Applied::Refused { refusal, .. } if missing_room_or_count(&refusal) => return,
                Applied::Refused { refusal, .. } if place + 1 < parts.len() => {
                    assert_eq!(expected, None, "{refusal}");
                    self.model.refuse(&refusal);
                    // A late part of a refused attempt would only be staged again.
                    return;
                }
                applied => self.took(&applied, expected),
            }
        }
    }

    fn appoint(&mut self, wrong: bool) {
        let (node, epoch) = self.model.controller.map_or((1, 0), |(node, epoch)| (node + 1, epoch));
        let epoch = if wrong { epoch } else { epoch + 1 };
        let applied =
            self.log.apply(&Command::AppointController { node: NodeId(node), epoch, at_unix_ms: 3 });
        if wrong {
            assert!(matches!(applied, Applied::Refused { .. }));
            return;
        }
        assert_eq!(applied, Applied::Appointed { node: NodeId(node), epoch });
        self.model.controller = Some((node, epoch));
        self.model.revision += 1;
        self.model.event();
        assert_eq!(self.log.store.staged_bytes(), 0);
    }

    fn restore(&mut self) {
        let chunks = |store: &Store| store.snapshot_chunks().collect::<Result<Vec<_>, _>>().expect("small");
        let restored = restore(&self.log.store).expect("whole");
        assert_eq!(chunks(&restored), chunks(&self.log.store), "the same state gives the same bytes");
        self.log.store = restored;
    }

    fn check(&mut self) {
        let store = &self.log.store;
        assert_eq!(
            (store.revision(), store.generation().revision),
            (self.model.revision, self.model.config_revision)
        );
        assert_eq!(store.controller().map(|(node, epoch)| (node.0, epoch)), self.model.controller);
        assert_eq!(store.stale_writes_refused(), self.model.stale);
        assert_eq!(
            store.events_since(0).map(|(revision, _)| revision).collect::<Vec<_>>(),
            self.model.events
        );
        let found: Map = store
            .range("")
            .filter(|(key, _)| !key.is_reserved())
            .map(|(key, value)| {
                let secrets = match &key {
                    StoreKey::Config(key) => store.references.of(key).to_vec(),
                    StoreKey::Plain(_) => Vec::new(),
                };
                (key.to_string(), (value.bytes.to_vec(), value.created, value.modified, secrets))
            })
            .collect();
        assert_eq!(found, self.model.map);
        for (key, (bytes, ..)) in &self.model.map {
            assert_eq!(store.get(key).map(|value| value.bytes.to_vec()).as_ref(), Some(bytes));
        }
        let beside: Vec<_> =
            store.config().secrets().iter().map(|(id, bytes)| (*id, bytes.to_vec())).collect();
        let in_store: Vec<_> = store
            .range(SECRETS_PREFIX)
            .map(|(key, value)| {
                (SecretId::parse(&key.to_string()[8..]).expect("a name"), value.bytes.to_vec())
            })
            .collect();
        assert_eq!(beside, in_store, "what is fed beside the configuration is what the store holds");
        let whole: ConfigMap =
            store.config().iter().map(|(key, bytes)| (key.clone(), Arc::clone(bytes))).collect();
        assert_eq!(whole.digest(), store.generation().digest, "the digest is that of the content");
        let (keys, bytes) = Model::sizes(&self.model.map);
        let others = self.others();
        assert_eq!((store.keys(), store.live_bytes()), (keys + others.0, bytes + others.1));
        assert!(store.staged_bytes() <= LIMITS.staged_bytes_max);
        self.check_deltas();
        let generation = self.log.store.generation();
        if self.past.last().is_none_or(|(last, _)| *last != generation) {
            self.past.push((generation, self.log.store.config().clone()));
        }
    }

    /// Every past generation either leads to the present one by a delta, or is older than what is kept.
    fn check_deltas(&self) {
        let store = &self.log.store;
        for (base, map) in &self.past {
            match store.delta(base) {
                Some(delta) => {
                    let result = map.apply(&delta).expect("the digest fits");
                    assert_eq!(result.digest(), store.config().digest());
                    let leftover = store.config().secrets().diff(result.secrets());
                    assert!(leftover.is_empty(), "the delta brings the secrets too: {leftover:?}");
                    assert!(
                        delta.deletes.iter().all(|key| map.get(key.as_str()).is_some()),
                        "only what was there"
                    );
                }
                None => {
                    let since = self.model.revision - base.revision;
                    assert!(since > LIMITS.history_revisions_max, "only {since} revisions ago");
                }
            }
        }
    }
}

fn missing_room_or_count(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::OverQuota { quota: Quota::StagedBytes | Quota::Parts, .. })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_store_agrees_with_a_naive_model(steps in prop::collection::vec(step(), 1..50)) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
            run.check();
        }
        run.restore();
        run.check();
    }

    /// Any bytes in place of a chunk: no panic, and what is taken is whole.
    #[test]
    fn any_chunk_is_taken_without_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut log = Log::new(LIMITS);
        log.appoint(1);
        log.configure(1, &[("config/a", "1"), ("user/x", "1")]);
        log.apply(&Command::Stage(stage(2, operator(), 0, &[part(&[]), part(&[])])));
        let mut chunk = log.store.snapshot_chunks().next().expect("one").expect("small").to_vec();
        let untouched = flips.is_empty();
        for (place, value) in flips {
            let place = place.index(chunk.len());
            chunk[place] = value;
        }
        let restored = fuzz_restore(&chunk);
        prop_assert!(restored.is_some() || !untouched);
    }
}
