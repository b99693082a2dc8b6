//! Which secrets the configuration refers to, and what a change makes of them: a secret lives as long as an object refers to
//! it, and goes with the change that drops the last reference. It must not read envelopes.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use ravelin_config::{Key, SecretId};

use super::Store;
use super::applied::Refusal;
use super::apply::{New, Wanted};
use super::key::{PlainKey, StoreKey};

/// What one reference costs of the quota, in bytes.
pub(super) const REFERENCE_BYTES: u64 = 32;

/// References from configuration keys to secrets. Clones are O(1).
#[derive(Debug, Clone, Default)]
pub(super) struct References {
    /// Only of keys that have any.
    of: OrdMap<Key, Arc<[SecretId]>>,
    counts: OrdMap<SecretId, u64>,
}

impl References {
    /// The secrets that a key refers to.
    pub(super) fn of(&self, key: &Key) -> &[SecretId] {
        self.of.get(key).map_or(&[], |secrets| secrets)
    }

    /// The same, shared.
    pub(super) fn shared(&self, key: &Key) -> Arc<[SecretId]> {
        self.of.get(key).cloned().unwrap_or_default()
    }

    fn count(&self, id: &SecretId) -> u64 {
        self.counts.get(id).copied().unwrap_or(0)
    }

    /// Sets what a key refers to.
    pub(super) fn set(&mut self, key: &Key, secrets: Arc<[SecretId]>) {
        for id in secrets.iter() {
            self.counts.insert(*id, self.count(id) + 1);
        }
        let before =
            if secrets.is_empty() { self.of.remove(key) } else { self.of.insert(key.clone(), secrets) };
        for id in before.iter().flat_map(|before| before.iter()) {
            match self.count(id) {
                0 | 1 => drop(self.counts.remove(id)),
                count => drop(self.counts.insert(*id, count - 1)),
            }
        }
    }

    /// The secrets that are referred to, each once.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &SecretId> {
        self.counts.keys()
    }

    /// How many references there are.
    pub(super) fn len(&self) -> u64 {
        self.counts.values().sum()
    }
}

impl Store {
    /// Adds to a change what becomes of the secrets that it touches: one that nothing refers to any more is removed, one
    /// that nothing refers to yet is not kept.
    pub(super) fn settle_secrets(&self, wanted: &mut Wanted) -> Result<(), Refusal> {
        for (id, (gained, lost)) in self.touched_secrets(wanted) {
            let key = StoreKey::Plain(PlainKey::secret(&id));
            let is_held = self.held(&key).is_some();
            if self.references.count(&id) + gained > lost {
                if !is_held && !wanted.contains_key(&key) {
                    return Err(Refusal::SecretMissing { secret: id.to_string() });
                }
            } else if is_held {
                wanted.insert(key, None);
            } else {
                wanted.remove(&key);
            }
        }
        Ok(())
    }

    /// The secrets that a change brings or whose references it changes, with how many it gains and loses.
    fn touched_secrets(&self, wanted: &Wanted) -> BTreeMap<SecretId, (u64, u64)> {
        let mut touched: BTreeMap<SecretId, (u64, u64)> = BTreeMap::new();
        for (key, new) in wanted {
            match key {
                StoreKey::Config(key) => {
                    for id in new.iter().flat_map(|New { secrets, .. }| secrets.iter()) {
                        touched.entry(*id).or_default().0 += 1;
                    }
                    for id in self.references.of(key) {
                        touched.entry(*id).or_default().1 += 1;
                    }
                }
                StoreKey::Plain(key) => {
                    if let Some(id) = key.secret_id() {
                        touched.entry(id).or_default();
                    }
                }
            }
        }
        touched
    }
}
