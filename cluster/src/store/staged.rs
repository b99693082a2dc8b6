//! Parts of changes that are not complete yet.
//! It must not judge a change; it only keeps parts together, within bounds, until all are there.

use bytes::Bytes;
use imbl::OrdMap;
use sha2::{Digest as _, Sha256};

use super::command::{Author, ChangeId, Stage};
use super::limits::Limits;

/// One attempt at one change: another attempt has another digest.
pub(super) type AttemptKey = (ChangeId, [u8; 32]);

/// The parts of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) author: Author,
    pub(super) at_unix_ms: u64,
    pub(super) base: Option<u64>,
    pub(super) of: u32,
    /// Index of the entry that brought its first part: the oldest attempt goes first.
    pub(super) begun: u64,
    parts: OrdMap<u32, Bytes>,
    /// Of all parts together.
    bytes: u64,
}

impl Attempt {
    pub(super) fn new(author: Author, at_unix_ms: u64, base: Option<u64>, of: u32, begun: u64) -> Self {
        Self { author, at_unix_ms, base, of, begun, parts: OrdMap::new(), bytes: 0 }
    }

    /// Takes a part; one that is there already stays as it is.
    fn insert(&mut self, part: u32, bytes: Bytes) {
        if !self.parts.contains_key(&part) {
            self.bytes += bytes.len() as u64;
            self.parts.insert(part, bytes);
        }
    }

    /// All parts in order, if together they are what their digest says.
    pub(super) fn verified(&self, digest: &[u8; 32]) -> Option<impl Iterator<Item = &Bytes>> {
        let mut hasher = Sha256::new();
        self.parts.values().for_each(|part| hasher.update(part));
        (<[u8; 32]>::from(hasher.finalize()) == *digest).then(|| self.parts.values())
    }
}

/// All attempts. Clones are O(1).
#[derive(Debug, Clone, Default)]
pub(super) struct Staged {
    attempts: OrdMap<AttemptKey, Attempt>,
    bytes: u64,
}

/// What became of a part.
#[derive(Debug)]
pub(super) enum Placed {
    /// Others are missing: how many.
    Waiting(u32),
    /// It was the last one. Nothing is changed yet: the attempt is staged without it until its parts were read.
    Complete(Attempt),
}

impl Staged {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> u64 {
        self.attempts.len() as u64
    }

    /// Every part that is there, by attempt and number in order.
    pub(super) fn into_parts(self) -> impl Iterator<Item = (AttemptKey, Attempt, u32, Bytes)> {
        self.attempts.into_iter().flat_map(|(key, attempt)| {
            let header = Attempt { parts: OrdMap::new(), bytes: 0, ..attempt.clone() };
            attempt.parts.into_iter().map(move |(part, bytes)| (key, header.clone(), part, bytes))
        })
    }

    /// Puts a part back that a snapshot brings.
    pub(super) fn restore(&mut self, key: AttemptKey, header: Attempt, part: u32, bytes: Bytes) {
        let mut attempt = self.remove(&key).unwrap_or(header);
        attempt.insert(part, bytes);
        self.insert(key, attempt);
    }

    /// Whether there is room for the part without dropping anything but older attempts.
    pub(super) fn has_room(&self, stage: &Stage, limits: &Limits) -> bool {
        self.bytes + stage.bytes.len() as u64 <= limits.staged_bytes_max
    }

    /// Whether the part contradicts those that are there under the same digest.
    pub(super) fn contradicts(&self, stage: &Stage) -> bool {
        self.attempts
            .get(&(stage.id, stage.digest))
            .is_some_and(|held| (held.of, held.base, &held.author) != (stage.of, stage.base, &stage.author))
    }

    /// The bytes of the attempt that this part would complete; none if others would still be missing.
    pub(super) fn completes(&self, stage: &Stage) -> Option<u64> {
        let attempt = self.attempts.get(&(stage.id, stage.digest))?;
        let missing = attempt.of.saturating_sub(u32::try_from(attempt.parts.len()).unwrap_or(u32::MAX));
        let is_new = !attempt.parts.contains_key(&stage.part);
        (is_new && missing == 1).then(|| attempt.bytes + stage.bytes.len() as u64)
    }

    /// Takes a part that has room and does not contradict.
    pub(super) fn place(&mut self, stage: &Stage, index: u64, limits: &Limits) -> Placed {
        let key = (stage.id, stage.digest);
        let mut attempt = self.attempts.get(&key).cloned().unwrap_or_else(|| {
            Attempt::new(stage.author.clone(), stage.at_unix_ms, stage.base, stage.of, index)
        });
        attempt.insert(stage.part, stage.bytes.clone());
        let missing = attempt.of.saturating_sub(u32::try_from(attempt.parts.len()).unwrap_or(u32::MAX));
        if missing == 0 {
            return Placed::Complete(attempt);
        }
        if !self.attempts.contains_key(&key) {
            while self.len() >= limits.staged_changes_max.max(1) {
                let oldest = self.attempts.iter().min_by_key(|(_, attempt)| attempt.begun);
                let Some(oldest) = oldest.map(|(key, _)| *key) else { break };
                self.remove(&oldest);
            }
        }
        self.insert(key, attempt);
        Placed::Waiting(missing)
    }

    fn insert(&mut self, key: AttemptKey, attempt: Attempt) {
        self.bytes += attempt.bytes;
        if let Some(replaced) = self.attempts.insert(key, attempt) {
            self.bytes -= replaced.bytes;
        }
    }

    fn remove(&mut self, key: &AttemptKey) -> Option<Attempt> {
        let attempt = self.attempts.remove(key)?;
        self.bytes -= attempt.bytes;
        Some(attempt)
    }

    /// Forgets every attempt at a change; how many there were.
    pub(super) fn drop_change(&mut self, id: ChangeId) -> u32 {
        let keys: Vec<AttemptKey> =
            self.attempts.range((id, [0; 32])..=(id, [0xff; 32])).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| self.remove(key)).count().try_into().unwrap_or(u32::MAX)
    }

    /// Forgets one attempt.
    pub(super) fn drop_attempt(&mut self, key: &AttemptKey) {
        self.remove(key);
    }

    /// Forgets the attempts that build on another revision of the configuration: they could never take effect.
    pub(super) fn drop_other_bases(&mut self, config_revision: u64) {
        let other = |attempt: &Attempt| attempt.base.is_some_and(|base| base != config_revision);
        let keys: Vec<AttemptKey> =
            self.attempts.iter().filter(|(_, attempt)| other(attempt)).map(|(key, _)| *key).collect();
        keys.iter().for_each(|key| self.drop_attempt(key));
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
