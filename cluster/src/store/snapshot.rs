//! The whole store as a sequence of bounded chunks, and back.
//!
//! The same state always gives the same chunks, on every node. It must not do I/O, and a restored store is handed out
//! only if everything adds up: counts, order, and the digest of the configuration.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

use bytes::Bytes;
use ravelin_config::{Change as ConfigChange, Digest, GenerationId};
use ravelin_consensus::{Index, Session, SessionId, Sessions, Term};
use ravelin_transport::codec::{self, CodecError};

use super::command::ChangeId;
use super::history::{History, KeyChange, Revision};
use super::key::{EVENTS_PREFIX, StoreKey, StoreKeyError};
use super::limits::FEATURE_LEVEL;
use super::secrets::REFERENCE_BYTES;
use super::session::Reply;
use super::staged::Staged;
use super::{Outcome, Stamp, Store, Value, session};
use wire::{ConfigV2, HeaderV2, HistoryV2, ItemV2, RecentV2, SessionV2, StagedV2, ValueV2};

mod wire;

/// Version of every chunk.
pub const SNAPSHOT_VERSION: u8 = 2;

/// Chunks are filled up to this; only one with a single large item is larger, up to the largest value or part.
const CHUNK_BYTES_TARGET: usize = 256 << 10;

/// Numbers beyond this are refused, so that counting on from them never overflows.
const NUMBER_MAX: u64 = u64::MAX >> 2;

/// Why chunks are no snapshot of a store.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A chunk cannot be decoded.
    #[error("a chunk of the snapshot cannot be decoded")]
    Codec(#[from] CodecError),
    /// It holds a text that is no key.
    #[error("the snapshot holds a text that is no key")]
    Key(#[from] StoreKeyError),
    /// It is of a feature level that this version does not know.
    #[error("the snapshot is of feature level {found}, and this version knows only {FEATURE_LEVEL}")]
    FeatureLevel {
        /// The level found.
        found: u16,
    },
    /// It does not add up.
    #[error("the snapshot does not add up: {0}")]
    Inconsistent(&'static str),
}

/// The chunks of one store, in order. Holds an O(1) clone of it.
pub struct SnapshotChunks {
    items: Peekable<Box<dyn Iterator<Item = ItemV2> + Send>>,
}

impl SnapshotChunks {
    pub(super) fn new(store: Store) -> Self {
        let header = ItemV2::Header(header_of(&store));
        let sessions: Vec<ItemV2> = store
            .sessions
            .parts()
            .map(|(id, session)| ItemV2::Session(SessionV2::new(id, session)))
            .collect();
        let Store { config, stamps, references, values, history, staged, recent, recent_order, .. } = store;
        let config = stamps.into_iter().filter_map(move |(key, stamp)| {
            let bytes = Arc::clone(config.get(key.as_str())?);
            let Stamp { created, modified } = stamp;
            let secrets = references.shared(&key);
            let value = ValueV2 { key: key.as_str().to_owned(), bytes, created, modified };
            Some(ItemV2::Config(ConfigV2 { value, secrets }))
        });
        let values = values.into_iter().map(|(key, value)| {
            let Value { bytes, created, modified } = value;
            ItemV2::Plain(ValueV2 { key: key.as_str().to_owned(), bytes, created, modified })
        });
        let history = history.into_revisions().flat_map(|revision| {
            let (number, generation) = (revision.revision, revision.generation.map(|digest| digest.0));
            let changes = revision.changes.clone();
            changes.into_iter().map(move |change| {
                let KeyChange { key, value, existed } = change;
                ItemV2::History(HistoryV2 {
                    revision: number,
                    generation,
                    key: key.to_string(),
                    existed,
                    value,
                })
            })
        });
        let staged = staged
            .into_parts()
            .map(|(key, attempt, part, bytes)| ItemV2::Staged(StagedV2::new(key, attempt, part, &bytes)));
        let recent = recent_order.into_iter().filter_map(move |(index, id)| {
            let Outcome { revision, generation, put, deleted, .. } = *recent.get(&id)?;
            let generation = (generation.recovery_epoch, generation.revision, generation.digest.0);
            Some(ItemV2::Recent(RecentV2 { index: index.0, id: id.0, revision, generation, put, deleted }))
        });
        let items = std::iter::once(header)
            .chain(config)
            .chain(values)
            .chain(history)
            .chain(staged)
            .chain(recent)
            .chain(sessions);
        let items: Box<dyn Iterator<Item = ItemV2> + Send> = Box::new(items);
        Self { items: items.peekable() }
    }
}

impl Iterator for SnapshotChunks {
    type Item = Result<Bytes, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut chunk = Vec::new();
        let mut bytes = 0;
        let fits = |bytes: usize, item: &ItemV2| bytes == 0 || bytes + item.bytes() <= CHUNK_BYTES_TARGET;
        while let Some(item) = self.items.next_if(|item| fits(bytes, item)) {
            bytes += item.bytes();
            chunk.push(item);
        }
        (!chunk.is_empty()).then(|| codec::encode(SNAPSHOT_VERSION, &chunk))
    }
}

impl std::fmt::Debug for SnapshotChunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SnapshotChunks")
    }
}

fn header_of(store: &Store) -> HeaderV2 {
    let (floor_revision, floor_digest) = store.history.floor_generation();
    HeaderV2 {
        cluster: store.cluster,
        recovery_epoch: store.recovery_epoch,
        feature_level: store.feature_level,
        applied_index: store.applied.0.0,
        applied_term: store.applied.1.0,
        revision: store.revision,
        config_revision: store.config_revision,
        config_digest: store.config.digest().0,
        stale_refused: store.stale_refused,
        limits: (&store.limits).into(),
        floor: store.history.floor(),
        floor_generation: (floor_revision, floor_digest.0),
        config_keys: store.config.len() as u64,
        secret_references: store.references.len(),
        plain_keys: store.values.len() as u64,
        history_revisions: store.history.len(),
        history_bytes: store.history.bytes(),
        staged_attempts: store.staged.len(),
        staged_bytes: store.staged.bytes(),
        recent: store.recent.len() as u64,
        sessions: store.sessions.len() as u64,
    }
}

/// A store being put together from its chunks. Nothing of it can be used before [`StoreRestore::finish`].
#[derive(Debug, Default)]
pub struct StoreRestore {
    building: Option<(HeaderV2, Store)>,
    /// The section that the last item belonged to; sections come in a fixed order.
    section: u8,
    open_revision: Option<Revision>,
    sessions: Vec<(SessionId, Session<Reply>)>,
}

impl StoreRestore {
    /// Without any chunk so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// [`RestoreError`]; the whole is then to be dropped.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), RestoreError> {
        let items: Vec<ItemV2> = codec::decode(SNAPSHOT_VERSION, chunk)?;
        let mut config = BTreeMap::new();
        for item in items {
            if item.section() < self.section {
                return Err(RestoreError::Inconsistent("its sections are out of order"));
            }
            self.section = item.section();
            self.take(item, &mut config)?;
        }
        if let Some((_, store)) = self.building.as_mut().filter(|_| !config.is_empty()) {
            store.config.change(config);
        }
        Ok(())
    }

    fn take(
        &mut self,
        item: ItemV2,
        config: &mut BTreeMap<ravelin_config::Key, ConfigChange>,
    ) -> Result<(), RestoreError> {
        let (item, store) = match (item, &mut self.building) {
            (ItemV2::Header(header), building @ None) => {
                if header.feature_level > FEATURE_LEVEL {
                    return Err(RestoreError::FeatureLevel { found: header.feature_level });
                }
                let store = empty_store(&header);
                *building = Some((header, store));
                return Ok(());
            }
            (ItemV2::Header(_), Some(_)) => return Err(RestoreError::Inconsistent("it has two headers")),
            (_, None) => return Err(RestoreError::Inconsistent("it does not begin with its header")),
            (item, Some((_, store))) => (item, store),
        };
        match item {
            ItemV2::Header(_) => {}
            ItemV2::Config(ConfigV2 { value, secrets }) => {
                let key = ravelin_config::Key::new(&value.key).map_err(StoreKeyError::from)?;
                store.live_bytes += StoreKey::Config(key.clone()).bytes()
                    + value.bytes.len() as u64
                    + secrets.len() as u64 * REFERENCE_BYTES;
                store.references.set(&key, secrets);
                let stamp = Stamp { created: value.created, modified: value.modified };
                once(store.stamps.insert(key.clone(), stamp))?;
                config.insert(key, ConfigChange::Put(value.bytes));
            }
            ItemV2::Plain(value) => {
                let key = StoreKey::new(&value.key)?;
                store.live_bytes += key.bytes() + value.bytes.len() as u64;
                let StoreKey::Plain(key) = key else {
                    return Err(RestoreError::Inconsistent(
                        "a configuration key lies outside the configuration",
                    ));
                };
                let ValueV2 { bytes, created, modified, .. } = value;
                if let Some(id) = key.secret_id() {
                    store.config.change_secrets([(id, Some(Arc::clone(&bytes)))]);
                }
                once(store.values.insert(key, Value { bytes, created, modified }))?;
            }
            ItemV2::History(change) => take_history(store, &mut self.open_revision, change)?,
            ItemV2::Staged(staged) => {
                let (key, attempt, part, bytes) = staged.into_part();
                store.staged.restore(key, attempt, part, bytes);
            }
            ItemV2::Recent(recent) => {
                let (id, index) = (ChangeId(recent.id), Index(recent.index));
                let RecentV2 { revision, put, deleted, .. } = recent;
                let (recovery_epoch, at, digest) = recent.generation;
                let (cluster, digest) = (store.cluster, Digest(digest));
                let generation = GenerationId { cluster, recovery_epoch, revision: at, digest };
                once(store.recent.insert(id, Outcome { index, revision, generation, put, deleted }))?;
                once(store.recent_order.insert(index, id))?;
            }
            ItemV2::Session(session) => self.sessions.push(session.into_session()),
        }
        Ok(())
    }

    /// The store, if everything is there.
    ///
    /// # Errors
    /// [`RestoreError::Inconsistent`].
    pub fn finish(mut self) -> Result<Store, RestoreError> {
        let Some((header, mut store)) = self.building.take() else {
            return Err(RestoreError::Inconsistent("it is empty"));
        };
        let numbers = [header.revision, header.applied_index, header.applied_term, header.stale_refused];
        if numbers.iter().any(|number| *number > NUMBER_MAX) || header.config_revision > header.revision {
            return Err(RestoreError::Inconsistent("its numbers are out of range"));
        }
        if let Some(revision) = self.open_revision.take() {
            store.history.restore(revision);
        }
        store.events = store.plain_range(EVENTS_PREFIX).count() as u64;
        let sessions = std::mem::take(&mut self.sessions);
        if sessions.iter().any(|(_, session)| session.used > store.applied.0) {
            return Err(RestoreError::Inconsistent("a session was used by an entry that is not in it"));
        }
        store.sessions = Sessions::of_parts(session::bounds(&store.limits), sessions)
            .map(Arc::new)
            .ok_or(RestoreError::Inconsistent("its sessions are not those of a table"))?;
        if header_of(&store) != header || store.recent_order.len() != store.recent.len() {
            return Err(RestoreError::Inconsistent("its content is not what its header announces"));
        }
        if store.stamps.len() != store.config.len() {
            return Err(RestoreError::Inconsistent("a configuration key has no revision"));
        }
        let secrets = store.config.secrets().iter().map(|(id, _)| id);
        if !store.references.secrets().eq(secrets) {
            return Err(RestoreError::Inconsistent("its secrets are not those that its objects refer to"));
        }
        let controller_unreadable =
            store.values.contains_key(&super::PlainKey::controller()) && store.controller().is_none();
        if controller_unreadable {
            return Err(RestoreError::Inconsistent("the controller's record cannot be read"));
        }
        Ok(store)
    }
}

/// What the header alone says; the rest comes with the items.
fn empty_store(header: &HeaderV2) -> Store {
    let mut store = Store::with_limits(header.cluster, (&header.limits).into());
    store.recovery_epoch = header.recovery_epoch;
    store.feature_level = header.feature_level;
    store.applied = (Index(header.applied_index), Term(header.applied_term));
    store.revision = header.revision;
    store.config_revision = header.config_revision;
    store.stale_refused = header.stale_refused;
    store.staged = Staged::default();
    let (revision, digest) = header.floor_generation;
    store.history = History::new(header.floor, (revision, Digest(digest)));
    store
}

/// Refuses what replaces something: a snapshot holds everything once.
fn once<T>(replaced: Option<T>) -> Result<(), RestoreError> {
    replaced.map_or(Ok(()), |_| Err(RestoreError::Inconsistent("it holds something twice")))
}

fn take_history(
    store: &mut Store,
    open: &mut Option<Revision>,
    change: HistoryV2,
) -> Result<(), RestoreError> {
    let HistoryV2 { revision, generation, key, existed, value } = change;
    if let Some(done) = open.take_if(|open| open.revision != revision) {
        if done.revision > revision {
            return Err(RestoreError::Inconsistent("its history is out of order"));
        }
        store.history.restore(done);
    }
    let generation = generation.map(Digest);
    let open = open.get_or_insert_with(|| Revision { revision, generation, changes: Vec::new() });
    let key = StoreKey::new(&key)?;
    if open.changes.last().is_some_and(|last| last.key >= key) {
        return Err(RestoreError::Inconsistent("its history is out of order"));
    }
    open.changes.push(KeyChange { key, value, existed });
    Ok(())
}
