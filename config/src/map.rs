//! The configuration as a persistent map from key to encoded record, with its digest kept by a Merkle trie.
//! It must not read records: two maps are equal exactly when keys and bytes are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;

use crate::delta::{Delta, DeltaError};
use crate::digest::Digest;
use crate::key::Key;
use crate::parallel::{self, SHARE_MIN};
use crate::secret::{SecretId, SecretMap, ViewKey};

mod filling;
mod shared;
mod trie;

pub use filling::filling;
pub use shared::SharedRecords;
use trie::{LeafChange, Trie};

/// A complete configuration: key → encoded record, immutable values, cheap clones.
///
/// Clone and `digest` are O(1); put, delete and a batch cost O(log n) per changed key; `diff` skips equal parts.
#[derive(Clone, Default)]
pub struct ConfigMap {
    entries: OrdMap<Key, Arc<[u8]>>,
    trie: Trie,
    /// What its records refer to; no part of the digest.
    secrets: SecretMap,
}

/// How one key differs between an older map and a newer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// New, or with other bytes than before.
    Put(Arc<[u8]>),
    /// No longer there.
    Delete,
}

impl ConfigMap {
    /// The empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The encoded record of a key.
    pub fn get(&self, key: &str) -> Option<&Arc<[u8]>> {
        self.entries.get(key)
    }

    /// All keys and records, by key in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<[u8]>)> {
        self.entries.iter()
    }

    /// The keys that begin with `prefix` and their records, by key in order.
    pub fn range<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a Key, &'a Arc<[u8]>)> {
        self.entries
            .range::<_, str>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(move |(key, _)| key.as_str().starts_with(prefix))
    }

    /// As [`Self::range`], from the first key after `after`: how the next page begins.
    pub fn range_after<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<[u8]>)> {
        use std::ops::Bound;
        let first = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.entries
            .range::<_, str>((first, Bound::Unbounded))
            .take_while(move |(key, _)| key.as_str().starts_with(prefix))
    }

    /// The root digest over every key and the digest of its record; equal maps, and only those, share it.
    pub fn digest(&self) -> Digest {
        self.trie.digest()
    }

    /// Sets one record.
    pub fn put(&mut self, key: Key, bytes: Arc<[u8]>) {
        self.change(BTreeMap::from([(key, Change::Put(bytes))]));
    }

    /// Removes one key; nothing happens if it is not there.
    pub fn delete(&mut self, key: &Key) {
        self.change(BTreeMap::from([(key.clone(), Change::Delete)]));
    }

    /// Makes many changes at once: each inner digest on their paths is computed once.
    pub fn change(&mut self, changes: BTreeMap<Key, Change>) {
        let mut leaves = Vec::with_capacity(changes.len());
        let changes: Vec<(Key, Change)> = filling(changes).collect();
        let digests = parallel::map(&changes, SHARE_MIN, |(_, change)| match change {
            Change::Put(bytes) => Some(Digest::of(bytes)),
            Change::Delete => None,
        });
        for ((key, change), digest) in changes.into_iter().zip(digests) {
            match change {
                Change::Put(bytes) => {
                    leaves.push(LeafChange::new(key.clone(), digest));
                    self.entries.insert(key, bytes);
                }
                Change::Delete => {
                    if self.entries.remove(&key).is_some() {
                        leaves.push(LeafChange::new(key, None));
                    }
                }
            }
        }
        self.trie.change(leaves);
    }

    /// The secrets beside the records.
    pub fn secrets(&self) -> &SecretMap {
        &self.secrets
    }

    /// Takes all records of another map in place of its own; its secrets stay. O(1).
    pub(crate) fn take_records(&mut self, other: &Self) {
        self.entries = other.entries.clone();
        self.trie = other.trie.clone();
    }

    /// Sets envelopes, and drops those given as `None`.
    pub fn change_secrets(&mut self, changes: impl IntoIterator<Item = (SecretId, Option<Arc<[u8]>>)>) {
        for (id, envelope) in changes {
            self.secrets.set(id, envelope);
        }
    }

    /// Takes a key that opens envelopes from now on.
    pub fn add_view_key(&mut self, key: ViewKey) {
        self.secrets.add_key(key);
    }

    /// What leads from `old` to this map, by key in order. Costs follow the difference, not the size.
    pub fn diff(&self, old: &Self) -> BTreeMap<Key, Change> {
        if old.is_empty() {
            return self.iter().map(|(key, bytes)| (key.clone(), Change::Put(Arc::clone(bytes)))).collect();
        }
        let mut keys = Vec::new();
        self.trie.differing_keys(&old.trie, &mut keys);
        keys.into_iter()
            .map(|key| {
                let change = match self.entries.get(&key) {
                    Some(bytes) => Change::Put(Arc::clone(bytes)),
                    None => Change::Delete,
                };
                (key, change)
            })
            .collect()
    }

    /// Applies a delta to a copy.
    ///
    /// # Errors
    /// [`DeltaError`] if this map is not the delta's base, or the result not its target; this map stays as it is.
    pub fn apply(&self, delta: &Delta) -> Result<Self, DeltaError> {
        if self.digest() != delta.base.digest {
            return Err(DeltaError::WrongBase { base: delta.base, held: self.digest().short() });
        }
        let mut changes: BTreeMap<Key, Change> =
            delta.deletes.iter().map(|key| (key.clone(), Change::Delete)).collect();
        changes.extend(delta.puts.iter().map(|(key, bytes)| (key.clone(), Change::Put(Arc::clone(bytes)))));
        let mut result = self.clone();
        result.change(changes);
        result.change_secrets(delta.secrets.iter().cloned());
        if result.digest() != delta.target.digest {
            return Err(DeltaError::WrongDigest { target: delta.target, found: result.digest().short() });
        }
        Ok(result)
    }
}

impl PartialEq for ConfigMap {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for ConfigMap {}

impl fmt::Debug for ConfigMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets = self.secrets.len();
        write!(f, "ConfigMap({} keys, {secrets} secrets, {})", self.len(), self.digest().short())
    }
}

impl FromIterator<(Key, Arc<[u8]>)> for ConfigMap {
    fn from_iter<I: IntoIterator<Item = (Key, Arc<[u8]>)>>(iter: I) -> Self {
        let mut map = Self::new();
        map.change(iter.into_iter().map(|(key, bytes)| (key, Change::Put(bytes))).collect());
        map
    }
}

#[cfg(test)]
mod tests;
