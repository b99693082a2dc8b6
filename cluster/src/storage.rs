//! Everything that a control node keeps on disk: data directory, write-ahead log, snapshots, and the seam beneath them.
//!
//! The same code runs on a real disk, in memory and on a simulated device. It must not interpret commands, hold the
//! state machine, or know of time, tasks or the network; every call is synchronous and may block.
//!
//! ```text
//! <data>/VERSION                              whose directory, which format            directory.rs
//! <data>/LOCK                                 advisory lock of the running process     real_disk.rs
//! <data>/wal/<number>.wal                     one record per batch of the core         wal.rs, segment.rs, record.rs
//! <data>/snapshots/<index>-<term>-<digest>.snap  immutable                              snapshot.rs
//! <data>/wal-<epoch>, <data>/snapshots-<epoch>   the same after a recovery              next_epoch.rs
//! ```

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use ravelin_consensus::{
    Batch, Configuration, Entry, EntryKind, HardState, Incarnation, Index, NodeId, Payload, Term, Token,
};

pub mod directory;
pub mod disk;
pub mod log_state;
pub mod memory_disk;
pub mod next_epoch;
pub mod real_disk;
pub mod sim_disk;
pub mod snapshot;
pub mod wal;
pub mod wire;

mod record;
mod recovery;
mod segment;

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod testing;

pub use directory::{DataDirectory, DirectoryError, FORMAT_VERSION, Owner};
pub use disk::{Disk, DiskError, DiskFile};
pub use log_state::Recovered;
pub use memory_disk::MemoryDisk;
pub use real_disk::{RealDisk, RealDiskError, Release};
pub use sim_disk::{Kept, SimDisk, SimFaults};
pub use snapshot::{SnapshotError, SnapshotName, SnapshotReader, SnapshotStore, SnapshotWriter};
pub use wal::{Wal, WalError, WalLimits};

const WAL_DIRECTORY: &str = "wal";
const SNAPSHOT_DIRECTORY: &str = "snapshots";

/// The directory of this kind in a recovery epoch: each epoch has its own, so that a log never holds segments of two.
fn of_epoch(directory: &str, epoch: u32) -> String {
    if epoch == 0 { directory.to_owned() } else { format!("{directory}-{epoch}") }
}

fn wal_directory(owner: &Owner) -> String {
    of_epoch(WAL_DIRECTORY, owner.recovery_epoch)
}

fn snapshot_directory(owner: &Owner) -> String {
    of_epoch(SNAPSHOT_DIRECTORY, owner.recovery_epoch)
}

/// An encoded command as it lies in the log: shared, immutable, opaque to log and core.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandBytes(pub Bytes);

impl Payload for CommandBytes {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

impl Hash for CommandBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl std::fmt::Debug for CommandBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CommandBytes({} bytes, {:08x})", self.0.len(), crc32c::crc32c(&self.0))
    }
}

/// An error with all its reasons in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut reason = error.source();
    while let Some(next) = reason {
        text.push_str(": ");
        text.push_str(&next.to_string());
        reason = next.source();
    }
    text
}

const FUZZ_OWNER: Owner = Owner { cluster: [0x11; 16], recovery_epoch: 0, node: 1, incarnation: 1 };
const FUZZ_LIMITS: WalLimits = WalLimits { segment_bytes: 2048 };

fn fuzz_directory(disk: &MemoryDisk) -> DataDirectory {
    DataDirectory::open(Arc::new(disk.clone()), FUZZ_OWNER).expect("the header was written by this code")
}

/// The members at the birth of the cluster whose logs [`fuzz_recover`] opens.
pub fn fuzz_members() -> Configuration {
    Configuration::of_voters([1, 2, 3].map(|node| (NodeId(node), Incarnation(1))))
}

/// A whole segment that [`fuzz_recover`] opens, with six batches of one command each: the corpus begins with it, as no
/// fuzzer finds a checksum by chance.
///
/// # Panics
/// Never: memory does not fail.
pub fn fuzz_seed() -> Vec<u8> {
    let disk = MemoryDisk::new();
    let (mut wal, _) =
        Wal::open(fuzz_directory(&disk), FUZZ_LIMITS, &fuzz_members()).expect("an empty directory opens");
    for index in 1..=6_u64 {
        let command = CommandBytes(Bytes::from(format!("command {index}")));
        let entries = vec![Entry { term: Term(1), kind: EntryKind::Command(command) }].into();
        let hard_state = HardState { term: Term(1), vote: None };
        let batch = Batch { token: Token(index), hard_state, snapshot: None, first: Index(index), entries };
        wal.append(&[batch]).expect("memory does not fail");
    }
    disk::read_all(&disk, &segment::segment_path(&FUZZ_OWNER, 1), 1 << 20)
        .expect("the first segment was just written")
}

/// Opens a log whose only segment has these bytes, twice: entry point for fuzzing.
///
/// Returns what was recovered, or `None` where the log refused to open. Whatever the bytes are, nothing panics, and a
/// log that opened once opens again with the same content and takes further batches.
///
/// # Panics
/// If the second opening disagrees with the first: that is the property under test.
pub fn fuzz_recover(bytes: &[u8]) -> Option<Recovered> {
    let disk = MemoryDisk::new();
    let (fresh, _) =
        Wal::open(fuzz_directory(&disk), FUZZ_LIMITS, &fuzz_members()).expect("an empty directory opens");
    drop(fresh);
    let path = segment::segment_path(&FUZZ_OWNER, 1);
    disk.remove(&path).expect("the first segment was just made");
    let file = disk.create(&path).expect("its name is free");
    file.write_at(0, bytes).expect("memory takes any bytes");
    let (wal, recovered) = Wal::open(fuzz_directory(&disk), FUZZ_LIMITS, &fuzz_members()).ok()?;
    drop(wal);
    let (_, again) = Wal::open(fuzz_directory(&disk), FUZZ_LIMITS, &fuzz_members())
        .expect("a log that opened once opens again");
    assert_eq!((&again.hard_state, &again.entries), (&recovered.hard_state, &recovered.entries));
    assert_eq!(again.torn_bytes, 0, "the torn tail was cleaned");
    Some(recovered)
}
