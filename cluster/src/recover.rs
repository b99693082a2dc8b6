//! Fenced recovery of a cluster that has lost its quorum for good: what a survivor's stopped directory holds, and its step
//! into the next recovery epoch as the only voter.
//!
//! It takes the directory for itself, so it never works on a running node. It must not decide that the others are lost, nor
//! which survivor goes on: a person does.

use std::path::Path;
use std::sync::Arc;

use ravelin_config::GenerationId;
use ravelin_consensus::{Configuration, Index};
use ravelin_transport::identity::Identity;

use crate::node::boot::Known;
use crate::storage::directory::VERSION_NAME;
use crate::storage::next_epoch::{self, NextEpochError};
use crate::storage::{
    DataDirectory, Disk, DiskError, Owner, RealDisk, RealDiskError, Recovered, SnapshotError, SnapshotStore,
    WalLimits,
};
use crate::store::{ApplyError, RestoreError, Store, StoreRestore};

/// A stopped node's data directory, held so that nobody starts the node meanwhile.
pub struct Survivor {
    disk: Arc<dyn Disk>,
    owner: Owner,
    passed: bool,
}

/// What a survivor holds, with all of its log taken for committed, as a recovery does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Index of its last entry.
    pub last_index: u64,
    /// Term of its last entry.
    pub last_term: u64,
    /// It knows that everything up to here was committed. Later entries may never have been acknowledged to anybody.
    pub known_index: u64,
    /// The members that its log ends with.
    pub members: Configuration,
    /// The configuration that proxies would get; none if there never was one.
    pub generation: Option<GenerationId>,
    /// The revision of the store.
    pub revision: u64,
}

/// Why a cluster cannot be recovered from a directory. Its log stands as it was.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The directory cannot be taken: the node runs, or there is none.
    #[error(transparent)]
    Disk(#[from] RealDiskError),
    /// There is no such directory.
    #[error("{path} is not the data directory of a controller: give the one that the node ran with")]
    NoDirectory {
        /// The path.
        path: String,
    },
    /// The log cannot pass to the next epoch.
    #[error(transparent)]
    NextEpoch(#[from] NextEpochError),
    /// The snapshot cannot be read.
    #[error("the snapshot that the log continues from cannot be used")]
    Snapshot(#[from] SnapshotError),
    /// The snapshot holds no state.
    #[error("the snapshot that the log continues from does not hold a state")]
    Store(#[from] RestoreError),
    /// An entry cannot be applied.
    #[error(
        "the log holds what this version of Ravelin cannot apply: use the version that the node ran with, or a newer one"
    )]
    Apply(#[from] ApplyError),
    /// A file call failed.
    #[error("cannot use the data directory")]
    Call(#[from] DiskError),
}

impl From<crate::storage::DirectoryError> for RecoverError {
    fn from(error: crate::storage::DirectoryError) -> Self {
        Self::NextEpoch(error.into())
    }
}

impl Survivor {
    /// Takes the data directory of a stopped node.
    ///
    /// # Errors
    /// [`RecoverError`] if the node runs, or the directory is not the one that belongs to the identity.
    pub fn open(data: &Path, identity: &Identity) -> Result<Self, RecoverError> {
        if !data.join(VERSION_NAME).is_file() {
            return Err(RecoverError::NoDirectory { path: data.display().to_string() });
        }
        let owner = Owner {
            cluster: identity.cluster().0,
            recovery_epoch: identity.recovery_epoch(),
            node: identity.node(),
            incarnation: identity.incarnation(),
        };
        Self::of(Arc::new(RealDisk::open(data)?), owner)
    }

    /// As [`Self::open`], on any disk.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of(disk: Arc<dyn Disk>, owner: Owner) -> Result<Self, RecoverError> {
        let next = Owner { recovery_epoch: owner.recovery_epoch.saturating_add(1), ..owner };
        // A recovery may have been cut short between the directory's step and the identity's.
        let passed = DataDirectory::owner_of(&*disk)? == next;
        next_epoch::survey(&*disk, if passed { next } else { owner })?;
        Ok(Self { disk, owner, passed })
    }

    /// Whether the directory has taken its step already, and only the identity file has not: a recovery was cut short.
    pub fn has_passed(&self) -> bool {
        self.passed
    }

    /// The epoch that a recovery begins.
    pub fn next_epoch(&self) -> u32 {
        self.owner.recovery_epoch.saturating_add(1)
    }

    /// What the directory holds.
    ///
    /// # Errors
    /// [`RecoverError`]: it cannot be read, or not with this version.
    pub fn survey(&self) -> Result<Survey, RecoverError> {
        let recovery_epoch = self.owner.recovery_epoch + u32::from(self.passed);
        let owner = Owner { recovery_epoch, ..self.owner };
        let recovered = next_epoch::survey(&*self.disk, owner)?;
        let mut state = Store::new(owner.cluster);
        if let Some(meta) = &recovered.snapshot {
            let directory = DataDirectory::open(Arc::clone(&self.disk), owner)?;
            let mut restore = StoreRestore::new();
            for chunk in SnapshotStore::new(directory).open(meta)? {
                restore.push(&chunk?)?;
            }
            state = restore.finish()?;
        }
        let base = recovered.snapshot.as_ref().map_or(Index::ZERO, |meta| meta.index);
        let mut index = base;
        for entry in &recovered.entries {
            index = index.next();
            state.apply(index, entry)?;
        }
        let generation = state.generation();
        Ok(Survey {
            last_index: state.applied_index().0,
            last_term: state.applied_term().0,
            known_index: known_index(&*self.disk, &recovered, base).0,
            members: members(&recovered),
            generation: (generation.revision > 0).then_some(generation),
            revision: state.revision(),
        })
    }

    /// Lets the directory take its step, with this node as the only voter; gives the new epoch, which the identity has to name
    /// from now on. Does nothing to a directory that took it already.
    ///
    /// # Errors
    /// [`RecoverError`]; the directory is of the old epoch then, whole, and this can be tried again.
    pub fn recover(&self, limits: WalLimits) -> Result<u32, RecoverError> {
        if !self.passed {
            next_epoch::pass(Arc::clone(&self.disk), self.owner, limits)?;
        }
        Ok(self.next_epoch())
    }
}

impl std::fmt::Debug for Survivor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Survivor({:?})", self.owner)
    }
}

/// How far the log is known to be committed.
fn known_index(disk: &dyn Disk, recovered: &Recovered, base: Index) -> Index {
    let Some(known) = Known::read(disk) else { return base };
    let place = known.index.checked_sub(base.0).and_then(|after| after.checked_sub(1));
    let entry = place.and_then(|place| recovered.entries.get(usize::try_from(place).ok()?));
    if entry.is_some_and(|entry| entry.term.0 == known.term) { Index(known.index) } else { base }
}

fn members(recovered: &Recovered) -> Configuration {
    let in_log = recovered.entries.iter().rev().find_map(|entry| entry.members());
    let in_snapshot = recovered.snapshot.as_ref().map(|meta| &meta.configuration);
    in_log.or(in_snapshot).unwrap_or(&recovered.genesis).clone()
}

#[cfg(test)]
mod tests;
