//! The replicated store: what the log's entries add up to on every control node.
//!
//! An ordered map of keys to values with revisions on persistent structures: a clone is O(1), so that a snapshot is
//! written from a clone while apply goes on. Configuration lives in a [`ConfigMap`], whose digest names generations.
//! Apply is synchronous, total and deterministic; the state and the applied index change together. The store must not
//! read a clock, draw randomness, do I/O, or depend on anything but the entries applied.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use ravelin_config::{ConfigMap, Delta, GenerationId, Key};
use ravelin_consensus::{Index, NodeId, Sessions, Term};

pub mod applied;
pub mod command;
pub mod history;
pub mod key;
pub mod limits;
pub mod snapshot;

mod apply;
mod event;
mod secrets;
mod session;
mod staged;
#[cfg(test)]
mod tests;
mod wire;

pub use applied::{Applied, ApplyError, Quota, Refusal};
pub use command::{
    Author, COMMAND_BYTES_MAX, Change, ChangeId, Command, CommandError, Envelope, Event, Put, SessionTag,
    Stage,
};
pub use history::{KeyChange, Revision};
pub use key::{PlainKey, StoreKey, StoreKeyError};
pub use limits::{FEATURE_LEVEL, Limits};
pub use session::Reply;
pub use snapshot::{RestoreError, SnapshotChunks, StoreRestore};

use history::History;
use key::{CONFIG_PREFIX, EVENTS_PREFIX};
use secrets::References;
use staged::Staged;

/// A value with the revisions that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The bytes, shared.
    pub bytes: Arc<[u8]>,
    /// The revision at which the key came to be.
    pub created: u64,
    /// The revision that last changed it.
    pub modified: u64,
}

/// The revisions of a configuration key, whose bytes lie in the [`ConfigMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    created: u64,
    modified: u64,
}

/// What became of a change that took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The entry that completed it.
    pub index: Index,
    /// The store's revision after it.
    pub revision: u64,
    /// The generation since it.
    pub generation: GenerationId,
    /// Objects of the configuration that it put.
    pub put: u64,
    /// Objects of the configuration that it removed.
    pub deleted: u64,
}

/// The replicated state of one cluster. Clones are O(1) and independent.
#[derive(Debug, Clone)]
pub struct Store {
    cluster: [u8; 16],
    recovery_epoch: u32,
    feature_level: u16,
    limits: Limits,
    applied: (Index, Term),
    revision: u64,
    config: ConfigMap,
    /// The revision of the last change to the configuration; 0 if there was none.
    config_revision: u64,
    stamps: OrdMap<Key, Stamp>,
    references: References,
    values: OrdMap<PlainKey, Value>,
    /// Live keys and values, in bytes.
    live_bytes: u64,
    history: History,
    staged: Staged,
    recent: OrdMap<ChangeId, Outcome>,
    recent_order: OrdMap<Index, ChangeId>,
    sessions: session::Table,
    stale_refused: u64,
    /// How many events are kept.
    events: u64,
}

impl Store {
    /// The empty store of a new cluster.
    pub fn new(cluster: [u8; 16]) -> Self {
        Self::with_limits(cluster, Limits::GENESIS)
    }

    fn with_limits(cluster: [u8; 16], limits: Limits) -> Self {
        let config = ConfigMap::new();
        Self {
            cluster,
            recovery_epoch: 0,
            feature_level: limits::GENESIS_LEVEL,
            limits,
            applied: (Index::ZERO, Term(0)),
            revision: 0,
            history: History::new(0, (0, config.digest())),
            config,
            config_revision: 0,
            stamps: OrdMap::new(),
            references: References::default(),
            values: OrdMap::new(),
            live_bytes: 0,
            staged: Staged::default(),
            recent: OrdMap::new(),
            recent_order: OrdMap::new(),
            sessions: Arc::new(Sessions::new(session::bounds(&limits))),
            stale_refused: 0,
            events: 0,
        }
    }

    /// The cluster it belongs to.
    pub fn cluster(&self) -> [u8; 16] {
        self.cluster
    }

    /// Counts fenced recoveries, as the members in the log say: 0 before the first, whatever the node's own epoch.
    pub fn recovery_epoch(&self) -> u32 {
        self.recovery_epoch
    }

    /// The feature level in force: what every member supports. What apply does may depend on it, never on the version.
    pub fn feature_level(&self) -> u16 {
        self.feature_level
    }

    /// The bounds in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Other bounds, for tests of what meets them.
    #[cfg(test)]
    pub(crate) fn limit_for_tests(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The last entry applied.
    pub fn applied_index(&self) -> Index {
        self.applied.0
    }

    /// Its term.
    pub fn applied_term(&self) -> Term {
        self.applied.1
    }

    /// The store's one number: grows by one with each entry that changes a key or records an event.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Live keys and values, in bytes.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Live keys.
    pub fn keys(&self) -> u64 {
        (self.config.len() + self.values.len()) as u64
    }

    /// Parts of incomplete changes, in bytes.
    pub fn staged_bytes(&self) -> u64 {
        self.staged.bytes()
    }

    /// How many writes were refused because their author's epoch was over.
    pub fn stale_writes_refused(&self) -> u64 {
        self.stale_refused
    }

    /// The configuration: key → encoded record, and beside it the secrets that it refers to.
    pub fn config(&self) -> &ConfigMap {
        &self.config
    }

    /// The committed generation. Revision 0 with the digest of the empty map: nothing was ever configured.
    pub fn generation(&self) -> GenerationId {
        GenerationId {
            cluster: self.cluster,
            recovery_epoch: self.recovery_epoch,
            revision: self.config_revision,
            digest: self.config.digest(),
        }
    }

    /// The appointed controller and its epoch.
    pub fn controller(&self) -> Option<(NodeId, u64)> {
        let value = self.values.get(&PlainKey::controller())?;
        // Only `appoint` writes this key, and restoring a snapshot checks it.
        wire::decode_controller(&value.bytes).ok()
    }

    /// The value of a key given as its full text.
    pub fn get(&self, key: &str) -> Option<Value> {
        match key.strip_prefix(CONFIG_PREFIX) {
            Some(key) => self.config_value(key),
            None => self.values.get(key).cloned(),
        }
    }

    fn config_value(&self, key: &str) -> Option<Value> {
        let (bytes, stamp) = (self.config.get(key)?, self.stamps.get(key)?);
        Some(Value { bytes: Arc::clone(bytes), created: stamp.created, modified: stamp.modified })
    }

    /// The keys whose full text begins with `prefix`, in order, with their values.
    pub fn range<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (StoreKey, Value)> + 'a {
        let in_config = match prefix.strip_prefix(CONFIG_PREFIX) {
            Some(rest) => Some(rest),
            None => CONFIG_PREFIX.starts_with(prefix).then_some(""),
        };
        let config = in_config
            .into_iter()
            .flat_map(|rest| self.config.range(rest))
            .filter_map(|(key, _)| Some((StoreKey::Config(key.clone()), self.config_value(key.as_str())?)));
        config
            .chain(self.plain_range(prefix).map(|(key, value)| (StoreKey::Plain(key.clone()), value.clone())))
    }

    fn plain_range<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a PlainKey, &'a Value)> + 'a {
        self.values
            .range::<_, str>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.as_str().starts_with(prefix))
    }

    /// What changed after `revision`, oldest first; `None` if that is no longer known, or not yet.
    pub fn changes_since(&self, revision: u64) -> Option<impl Iterator<Item = &Revision>> {
        if revision > self.revision {
            return None;
        }
        Some(self.history.since(revision)?.map(|kept| &**kept))
    }

    /// What leads from a generation to the committed one, from the store's own index of changes: its cost follows the
    /// number of changes since. `None` if `base` is unknown here or too old; the whole is then the answer.
    pub fn delta(&self, base: &GenerationId) -> Option<Delta> {
        let target = self.generation();
        // A recovery changes no object: what its survivor knew before leads to what it knows now, and the digest shows it.
        let same_line = base.cluster == target.cluster && base.recovery_epoch <= target.recovery_epoch;
        if !same_line || !self.history.knows_generation(base.revision, &base.digest) {
            return None;
        }
        // Whether the key was there at the base shows in its first change since.
        let (mut touched, mut touched_secrets) = (BTreeMap::new(), BTreeMap::new());
        for revision in self.history.since(base.revision)? {
            for change in &revision.changes {
                match &change.key {
                    StoreKey::Config(key) => {
                        touched.entry(key).or_insert(change.existed);
                    }
                    StoreKey::Plain(key) => {
                        if let Some(id) = key.secret_id() {
                            touched_secrets.entry(id).or_insert(change.existed);
                        }
                    }
                }
            }
        }
        let secrets = touched_secrets.into_iter().filter_map(|(id, existed)| {
            let envelope = self.config.secrets().get(&id).cloned();
            (existed || envelope.is_some()).then_some((id, envelope))
        });
        let secrets = secrets.collect();
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        for (key, existed) in touched {
            match self.config.get(key.as_str()) {
                Some(bytes) => puts.push((key.clone(), Arc::clone(bytes))),
                None if existed => deletes.push(key.clone()),
                None => {}
            }
        }
        Some(Delta { base: *base, target, puts, deletes, secrets })
    }

    /// As [`Self::delta`], but none where it would hold more changes than this: making and encoding it would hold up
    /// whoever asks. Costs the number of revisions since.
    pub fn delta_within(&self, base: &GenerationId, changes_max: usize) -> Option<Delta> {
        let mut left = changes_max;
        for revision in self.history.since(base.revision)? {
            left = left.checked_sub(revision.changes.len())?;
        }
        self.delta(base)
    }

    /// Whether a change took effect already, as long as that is remembered.
    pub fn outcome(&self, id: &ChangeId) -> Option<Outcome> {
        self.recent.get(id).copied()
    }

    /// Whether what came of a change that was first asked for when this index was applied may be forgotten: where
    /// [`Self::outcome`] says nothing of it, nobody knows then whether it took effect.
    pub fn may_have_forgotten(&self, since: u64) -> bool {
        // The oldest goes only where there are more than this, and bounds are never lowered.
        let kept = self.limits.recent_max.min(Limits::GENESIS.recent_max);
        let first = self.recent_order.get_min().filter(|_| self.recent_order.len() as u64 >= kept);
        first.is_some_and(|(first, _)| since.saturating_add(1) < first.0)
    }

    /// The events recorded after `revision`, oldest first, each with its own.
    pub fn events_since(&self, revision: u64) -> impl Iterator<Item = (u64, Event)> + '_ {
        let from = PlainKey::event(revision.saturating_add(1));
        self.values
            .range((Bound::Included(from), Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(EVENTS_PREFIX))
            .filter_map(|(_, value)| Some((value.created, wire::decode_event(&value.bytes).ok()?.into())))
    }

    /// The whole state in chunks that [`StoreRestore`] takes back. Holds an O(1) clone: apply may go on meanwhile.
    pub fn snapshot_chunks(&self) -> SnapshotChunks {
        SnapshotChunks::new(self.clone())
    }
}

/// Takes any bytes as the only chunk of a snapshot: entry point for fuzzing.
///
/// Whatever the bytes are, nothing panics; what is taken gives chunks that are taken back, and goes on.
///
/// # Panics
/// If a restored store cannot be restored from its own chunks: that is the property under test.
pub fn fuzz_restore(bytes: &[u8]) -> Option<Store> {
    let mut restore = StoreRestore::new();
    restore.push(bytes).ok()?;
    let mut store = restore.finish().ok()?;
    let mut again = StoreRestore::new();
    for chunk in store.snapshot_chunks() {
        again
            .push(&chunk.expect("what was decoded can be encoded"))
            .expect("a chunk of a restored store is taken back");
    }
    let again = again.finish().expect("all chunks of a restored store add up");
    assert_eq!(again.generation(), store.generation());
    let event = Event { at_unix_ms: 0, node: NodeId(1), name: "fuzz".to_owned(), text: String::new() };
    let (index, term) = (store.applied_index().next(), store.applied_term());
    store.apply_command(index, term, Some(&Command::Event(event))).expect("an event is taken in any state");
    Some(store)
}
