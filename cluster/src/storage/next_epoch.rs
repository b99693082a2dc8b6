//! Fenced recovery on disk: a survivor's directory passes from one recovery epoch to the next, in one step.
//!
//! The new log is made beside the old one, whole and durable: the same entries, and one more that names the survivor as the
//! only voter of the new epoch. The header names the epoch, and with it the log that counts: replacing it is the step. Until
//! then the old log stands as it was, and a recovery that was cut short can be run again.
//!
//! It must not choose who survives or ask anybody, and it never changes or removes what the old epoch holds.

use std::sync::Arc;

use ravelin_consensus::{
    Batch, Durable, Entry, HardState, Incarnation, Index, NodeId, RecoveryEpoch, SnapshotMeta, Term, Token,
};

use super::disk::Disk;
use super::recovery::read_log;
use super::wire::Base;
use super::{
    CommandBytes, DataDirectory, DirectoryError, DiskError, Owner, Recovered, SnapshotError, SnapshotStore,
    Wal, WalError, WalLimits,
};

/// Bytes of entries in one record of the new log; a single larger entry has one of its own.
const BATCH_BYTES_MAX: u64 = 1 << 20;

/// Why a directory did not pass to the next epoch. Its old log stands as it was.
#[derive(Debug, thiserror::Error)]
pub enum NextEpochError {
    /// It is not this owner's, or cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// No log was ever completed here.
    #[error("{path} holds no log: there is nothing that a cluster could be recovered from")]
    Empty {
        /// The directory.
        path: String,
    },
    /// The old log cannot be read, or the new one not be written.
    #[error("the write-ahead log cannot be used")]
    Wal(#[from] WalError),
    /// The snapshot that the log continues from cannot be read, or its copy not be written.
    #[error("the snapshot that the log continues from cannot be used")]
    Snapshot(#[from] SnapshotError),
    /// A file call failed.
    #[error("cannot use the data directory")]
    Disk(#[from] DiskError),
    /// The epochs or terms are used up, or the copy reads otherwise than it was written.
    #[error("the log of the next epoch cannot be made: {what}")]
    Unfit {
        /// Why.
        what: String,
    },
}

/// What a stopped node's directory holds. Nothing is changed, not even a torn tail.
///
/// # Errors
/// [`NextEpochError::Directory`] if it is not exactly `owner`'s, [`NextEpochError::Empty`], [`NextEpochError::Wal`].
pub fn survey(disk: &dyn Disk, owner: Owner) -> Result<Recovered, NextEpochError> {
    if !DataDirectory::has_log(disk, &owner)? {
        return Err(NextEpochError::Empty { path: disk.describe("") });
    }
    Ok(read_log(disk, &owner)?.recovered)
}

/// Lets the directory of a stopped node pass to the next epoch, with the node as its only voter; gives the new owner.
///
/// # Errors
/// [`NextEpochError`]; the old log stands then, unless only the very last call failed: that shows when it is read again.
pub fn pass(disk: Arc<dyn Disk>, owner: Owner, limits: WalLimits) -> Result<Owner, NextEpochError> {
    let recovered = survey(&*disk, owner)?;
    if owner.recovery_epoch >= u32::MAX / 2 || recovered.hard_state.term >= Term(Term::MAX.0 / 2) {
        return Err(NextEpochError::Unfit { what: "there are no further epochs or terms".to_owned() });
    }
    let directory = DataDirectory::open(disk, owner)?;
    let next = directory.next_epoch()?;
    let wanted = Durable {
        hard_state: recovered.hard_state,
        snapshot: recovered.snapshot,
        configuration: recovered.genesis,
        entries: recovered.entries,
    };
    let wanted = wanted.recovered(
        NodeId(owner.node),
        Incarnation(owner.incarnation),
        RecoveryEpoch(next.owner().recovery_epoch),
    );
    if let Some(meta) = &wanted.snapshot {
        copy_snapshot(&directory, &next, meta)?;
    }
    write_log(&next, limits, &wanted)?;
    let found = read_log(&**next.disk(), next.owner())?.recovered;
    if found.hard_state != wanted.hard_state || found.entries != wanted.entries {
        return Err(NextEpochError::Unfit { what: "it reads otherwise than it was written".to_owned() });
    }
    next.take_over()?;
    Ok(*next.owner())
}

/// Copies a snapshot, reading all of it: one that is damaged must show before the old log is given up.
fn copy_snapshot(
    from: &DataDirectory,
    to: &DataDirectory,
    meta: &SnapshotMeta,
) -> Result<(), NextEpochError> {
    let chunks = SnapshotStore::new(from.clone()).open(meta)?;
    let copies = SnapshotStore::new(to.clone());
    let copy = copies.write(meta.index, meta.term, meta.configuration.clone(), chunks)?;
    if copy == *meta {
        return Ok(());
    }
    Err(NextEpochError::Unfit { what: "the copy of the snapshot has another name".to_owned() })
}

fn write_log(
    directory: &DataDirectory,
    limits: WalLimits,
    wanted: &Durable<CommandBytes>,
) -> Result<(), WalError> {
    let base = Base {
        hard_state: wanted.hard_state,
        snapshot: wanted.snapshot.clone(),
        next: wanted.base().next(),
        genesis: wanted.configuration.clone(),
    };
    let (mut wal, _) = Wal::begin_from(directory.clone(), limits, &base)?;
    let mut first = base.next;
    let mut waiting: Vec<Entry<CommandBytes>> = Vec::new();
    let mut bytes = 0;
    for entry in &wanted.entries {
        if !waiting.is_empty() && bytes + entry.size_bytes() > BATCH_BYTES_MAX {
            first = append(&mut wal, first, wanted.hard_state, std::mem::take(&mut waiting))?;
            bytes = 0;
        }
        bytes += entry.size_bytes();
        waiting.push(entry.clone());
    }
    append(&mut wal, first, wanted.hard_state, waiting)?;
    wal.close()
}

/// Writes one batch; gives the index after it.
fn append(
    wal: &mut Wal,
    first: Index,
    hard_state: HardState,
    entries: Vec<Entry<CommandBytes>>,
) -> Result<Index, WalError> {
    let after = first.plus(entries.len());
    let batch = Batch { token: Token(1), hard_state, snapshot: None, first, entries: entries.into() };
    wal.append(&[batch])?;
    Ok(after)
}

#[cfg(test)]
mod tests;
