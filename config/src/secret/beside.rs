//! The secrets that a configuration carries beside its records: envelopes by name, and on a proxy the keys that open them.
//! They are no part of the configuration's digest: the records that refer to them are.

use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::seal::{OpenError, ViewKey};
use super::{Secret, SecretId};

/// Keys of a view that are kept: the newest opens what is sealed now, the others what was sealed before a change of keys.
pub const VIEW_KEYS_MAX: usize = 4;

/// Envelopes by name. Clones are O(1).
#[derive(Clone, Default)]
pub struct SecretMap {
    envelopes: OrdMap<SecretId, Arc<[u8]>>,
    /// Newest first; none where the holder opens envelopes with the cluster's own keys.
    keys: Arc<[ViewKey]>,
}

impl SecretMap {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.envelopes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.envelopes.is_empty()
    }

    /// The envelope of a secret.
    pub fn get(&self, id: &SecretId) -> Option<&Arc<[u8]>> {
        self.envelopes.get(id)
    }

    /// All names and envelopes, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&SecretId, &Arc<[u8]>)> {
        self.envelopes.iter()
    }

    /// Sets an envelope, or with `None` drops it.
    pub fn set(&mut self, id: SecretId, envelope: Option<Arc<[u8]>>) {
        match envelope {
            Some(envelope) => drop(self.envelopes.insert(id, envelope)),
            None => drop(self.envelopes.remove(&id)),
        }
    }

    /// What leads from `old` to this: envelopes that are new or differ, and with `None` names that are gone. Costs follow the
    /// difference.
    pub fn diff(&self, old: &Self) -> Vec<(SecretId, Option<Arc<[u8]>>)> {
        old.envelopes
            .diff(&self.envelopes)
            .map(|item| match item {
                DiffItem::Add(id, envelope) => (*id, Some(Arc::clone(envelope))),
                DiffItem::Update { new: (id, envelope), .. } => (*id, Some(Arc::clone(envelope))),
                DiffItem::Remove(id, _) => (*id, None),
            })
            .collect()
    }

    /// Whether both hold the same envelopes, as far as that can be told at once: a `false` may be wrong.
    pub fn is_same(&self, other: &Self) -> bool {
        self.envelopes.ptr_eq(&other.envelopes)
    }

    /// The keys that open the envelopes, newest first.
    pub fn keys(&self) -> &[ViewKey] {
        &self.keys
    }

    /// Takes a key for what comes from now on. The oldest goes where there are more than [`VIEW_KEYS_MAX`].
    pub fn add_key(&mut self, key: ViewKey) {
        if self.keys.first() == Some(&key) {
            return;
        }
        let others = self.keys.iter().filter(|held| held.id() != key.id()).cloned();
        self.keys = std::iter::once(key.clone()).chain(others).take(VIEW_KEYS_MAX).collect();
    }

    /// Opens an envelope with the keys held here.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, id: &SecretId) -> Result<Secret, OpenError> {
        let envelope = self.get(id).ok_or(OpenError::Absent)?;
        let key_id = super::seal::key_of(envelope)?;
        let key = self.keys.iter().find(|key| key.id() == key_id).ok_or(OpenError::UnknownKey(key_id))?;
        key.open(id, envelope)
    }
}

impl fmt::Debug for SecretMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretMap({} secrets, {} keys)", self.len(), self.keys.len())
    }
}
