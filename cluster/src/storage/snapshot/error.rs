//! What can go wrong with a snapshot, said so that a person knows what to do.

use super::{CHUNK_BYTES_MAX, SNAPSHOT_BYTES_MAX, SnapshotName};
use crate::storage::disk::DiskError;
use crate::storage::wire::WireError;

/// Why a snapshot was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A file call failed.
    #[error("a snapshot's file call failed")]
    Disk(#[source] DiskError),
    /// The device is full.
    #[error("no space for the snapshot {path}. Nothing is lost; free space or enlarge the volume")]
    NoSpace {
        /// The file.
        path: String,
        /// The system's error.
        source: DiskError,
    },
    /// There is no such snapshot.
    #[error(
        "the snapshot {path} is missing, although the log continues from it. Put the file back, or replace this node by \
         a new one with an empty directory"
    )]
    Missing {
        /// The file.
        path: String,
    },
    /// Its bytes are not what was written.
    #[error(
        "the snapshot {path} is damaged at byte {offset}: {what}. Keep a copy of the data directory and check the device. \
         If the other controllers have a quorum, replace this node by a new one with an empty directory"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Where, in bytes from its start.
        offset: u64,
        /// What does not fit.
        what: String,
    },
    /// A newer Ravelin wrote it.
    #[error(
        "a newer version of Ravelin wrote the snapshot {path}: {what}. Start that version again, or a newer one. \
         Nothing was changed, and this is no damage: do not replace this node"
    )]
    Newer {
        /// The file.
        path: String,
        /// What this version does not know.
        what: String,
    },
    /// A received snapshot is not the announced one.
    #[error("a received snapshot does not have the content that was announced")]
    Mismatch {
        /// As announced.
        expected: SnapshotName,
        /// As received.
        found: SnapshotName,
    },
    /// One of the same index and term is being written.
    #[error("{path} is already being written")]
    Busy {
        /// The temporary file.
        path: String,
    },
    /// A chunk or the whole is out of bounds.
    #[error(
        "a chunk of {chunk_bytes} bytes, {bytes} in all: a chunk has between 1 and {CHUNK_BYTES_MAX} bytes, a snapshot at \
         most {SNAPSHOT_BYTES_MAX}"
    )]
    TooLarge {
        /// Of the chunk.
        chunk_bytes: usize,
        /// Of all chunks so far, with it.
        bytes: u64,
    },
    /// A chunk could not be made by the state machine.
    #[error("the state could not be put into a snapshot")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The meta cannot be put into its disk form.
    #[error("the snapshot's description has no disk form")]
    Encode(#[source] WireError),
}

impl From<DiskError> for SnapshotError {
    fn from(source: DiskError) -> Self {
        if source.is_no_space() {
            return Self::NoSpace { path: source.path.clone(), source };
        }
        Self::Disk(source)
    }
}
