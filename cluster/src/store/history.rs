//! What changed at each of the last revisions: the index that deltas and watches are taken from.
//! It must not hold current values, and forgets whole revisions only, oldest first.

use std::sync::Arc;

use imbl::OrdMap;
use ravelin_config::Digest;

use super::key::StoreKey;
use super::limits::Limits;

/// One key at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The key.
    pub key: StoreKey,
    /// Its new value; `None`: it was removed.
    pub value: Option<Arc<[u8]>>,
    /// Whether it had a value before.
    pub existed: bool,
}

/// What one revision changed. Events are not among it: they have their own place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its number.
    pub revision: u64,
    /// The digest of the configuration after it, if it changed the configuration.
    pub generation: Option<Digest>,
    /// By key in order, each key once.
    pub changes: Vec<KeyChange>,
}

impl Revision {
    fn bytes(&self) -> u64 {
        self.changes
            .iter()
            .map(|change| change.key.bytes() + change.value.as_ref().map_or(0, |value| value.len() as u64))
            .sum()
    }
}

/// The last revisions. Clones are O(1).
#[derive(Debug, Clone)]
pub(super) struct History {
    revisions: OrdMap<u64, Arc<Revision>>,
    bytes: u64,
    /// Everything after this revision is kept.
    floor: u64,
    /// Revision and digest of the newest configuration at or before `floor`.
    floor_generation: (u64, Digest),
}

impl History {
    /// Of a store whose configuration has so far been this.
    pub(super) fn new(floor: u64, floor_generation: (u64, Digest)) -> Self {
        Self { revisions: OrdMap::new(), bytes: 0, floor, floor_generation }
    }

    /// Of a snapshot: nothing is forgotten here.
    pub(super) fn restore(&mut self, revision: Revision) {
        self.bytes += revision.bytes();
        self.revisions.insert(revision.revision, Arc::new(revision));
    }

    pub(super) fn len(&self) -> u64 {
        self.revisions.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) fn floor_generation(&self) -> (u64, Digest) {
        self.floor_generation
    }

    /// All revisions kept, oldest first.
    pub(super) fn into_revisions(self) -> impl Iterator<Item = Arc<Revision>> {
        self.revisions.into_iter().map(|(_, revision)| revision)
    }

    pub(super) fn push(&mut self, revision: Revision, limits: &Limits) {
        self.bytes += revision.bytes();
        self.revisions.insert(revision.revision, Arc::new(revision));
        while self.bytes > limits.history_bytes_max
            || self.revisions.len() as u64 > limits.history_revisions_max
        {
            let Some((number, oldest)) = self.revisions.get_min().cloned() else { break };
            self.revisions.remove(&number);
            self.bytes -= oldest.bytes();
            self.floor = number;
            if let Some(digest) = oldest.generation {
                self.floor_generation = (number, digest);
            }
        }
    }

    /// The revisions after `revision`, oldest first; `None` if not all of them are kept.
    pub(super) fn since(&self, revision: u64) -> Option<impl Iterator<Item = &Arc<Revision>>> {
        (revision >= self.floor)
            .then(|| self.revisions.range(revision.saturating_add(1)..).map(|(_, kept)| kept))
    }

    /// Whether a configuration with this digest was committed at this revision and all changes since are kept.
    pub(super) fn knows_generation(&self, revision: u64, digest: &Digest) -> bool {
        if self.floor_generation == (revision, *digest) {
            return true;
        }
        self.revisions.get(&revision).and_then(|kept| kept.generation.as_ref()) == Some(digest)
    }
}
