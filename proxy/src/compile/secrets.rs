//! The secrets that a generation's objects refer to: all there and open, or the generation is not taken. It must not show a
//! value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use ravelin_config::{ConfigMap, Key, Record, SecretId};

use super::Refusal;

/// Which objects refer to which secrets; only those that refer to any. Clones are O(1).
#[derive(Clone, Default)]
pub(super) struct SecretUsers(OrdMap<Key, Arc<[SecretId]>>);

impl SecretUsers {
    /// The users as of a change: what became of each changed record.
    pub(super) fn with(&self, changed: &BTreeMap<Key, Option<Record>>) -> Self {
        let mut users = self.0.clone();
        for (key, record) in changed {
            let secrets: Arc<[SecretId]> = record.iter().flat_map(Record::secrets).collect();
            match secrets.is_empty() {
                true => drop(users.remove(key)),
                false => drop(users.insert(key.clone(), secrets)),
            }
        }
        Self(users)
    }

    /// Opens each secret that a changed record refers to, or that came, went or was sealed anew. Nothing is looked at where
    /// nothing of this changed.
    ///
    /// # Errors
    /// [`Refusal::Secret`] for the first that cannot be had.
    pub(super) fn check(
        &self,
        changed: &BTreeMap<Key, Option<Record>>,
        map: &ConfigMap,
        before: &ConfigMap,
    ) -> Result<(), Refusal> {
        let touched: BTreeSet<SecretId> =
            map.secrets().diff(before.secrets()).into_iter().map(|(id, _)| id).collect();
        let due = |key: &Key, id: &SecretId| changed.contains_key(key) || touched.contains(id);
        if touched.is_empty() && !changed.keys().any(|key| self.0.contains_key(key)) {
            return Ok(());
        }
        for (key, secrets) in &self.0 {
            for id in secrets.iter().filter(|id| due(key, id)) {
                map.secrets().open(id).map_err(|source| Refusal::Secret {
                    key: key.to_string(),
                    secret: id.short(),
                    source,
                })?;
            }
        }
        Ok(())
    }
}
