//! Records that the parts of one process hold once: whoever receives a configuration that another part of the process holds
//! already takes that one. It must not bring anything to anyone: only what was received is looked for, by its digest.

use std::sync::{Arc, Mutex, PoisonError};

use super::ConfigMap;
use crate::digest::Digest;

/// The newest configuration that one part of a process holds, for the others; clones share it.
///
/// Memory: one configuration, which its holder has anyway.
#[derive(Clone, Debug, Default)]
pub struct SharedRecords(Arc<Mutex<ConfigMap>>);

impl SharedRecords {
    /// Makes these records the ones that are shared; secrets are not among them.
    pub fn offer(&self, map: &ConfigMap) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *held != *map {
            held.take_records(map);
        }
    }

    /// The records of this digest, if they are shared; without secrets.
    pub(crate) fn of_digest(&self, digest: &Digest) -> Option<ConfigMap> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (held.digest() == *digest).then(|| held.clone())
    }
}
