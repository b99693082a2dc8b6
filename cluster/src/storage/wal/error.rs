//! What can go wrong with the write-ahead log, said so that a person knows what to do.

use crate::storage::directory::DirectoryError;
use crate::storage::disk::{Disk, DiskError};
use crate::storage::wire::WireError;

/// Why the log was not opened, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// A file call failed.
    #[error("the write-ahead log stops: a file call failed. Check the device, then start the node again")]
    Disk(#[source] DiskError),
    /// The device is full.
    #[error(
        "the write-ahead log stops: no space for {path}. Nothing acknowledged is lost. Free space or enlarge the volume, \
         then start the node again"
    )]
    NoSpace {
        /// What there was no room for.
        path: String,
        /// The system's error.
        source: DiskError,
    },
    /// The device did not confirm a write. Never retried: the second answer would be worthless.
    #[error(
        "the write-ahead log stops: the device did not confirm what was written to {path}. Asking again could give a \
         false answer. Check the device (its kernel messages), then start the node again: it will read what is there"
    )]
    SyncFailed {
        /// The file.
        path: String,
        /// The system's error.
        source: DiskError,
    },
    /// Bytes that had been durable are unreadable.
    #[error(
        "{path} is damaged at byte {offset}: {what}. The node does not start, because a log cut short there could forget \
         votes and committed entries. Keep a copy of the data directory and check the device. If the other controllers \
         have a quorum the cluster goes on without this node: replace it by a new one with an empty directory. Do not \
         edit or shorten the file, and do not restore an older copy"
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
        "a newer version of Ravelin wrote {path}: at byte {offset} {what}. Start that version again, or a newer one. \
         Nothing was changed, and this is no damage: do not replace this node"
    )]
    Newer {
        /// The file.
        path: String,
        /// Where, in bytes from its start.
        offset: u64,
        /// What this version does not know.
        what: String,
    },
    /// A segment of another log lies in this directory.
    #[error(
        "{path} belongs to another cluster, recovery epoch, node or incarnation than its directory. Put back the file \
         that belongs there; nothing was changed"
    )]
    Foreign {
        /// The file.
        path: String,
    },
    /// The directory had a log, and has none.
    #[error(
        "{path} holds no log, although this data directory had one. Put the files back, or replace this node by a new one \
         with an empty directory: starting without its log it could vote twice"
    )]
    Missing {
        /// The directory of the log.
        path: String,
    },
    /// The log began with other members than the identity names.
    #[error(
        "{path} began with the controllers {found}, but this node's identity names {expected}. Who votes must never change \
         by editing a file: put back the identity file that the cluster was set up with. Nothing was changed"
    )]
    OtherMembers {
        /// The directory of the log.
        path: String,
        /// The members that the log records, with their incarnations.
        found: String,
        /// The members that the identity names.
        expected: String,
    },
    /// The data directory itself was refused.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A record, or what is to be written with one sync, would be larger than the format allows.
    #[error("a record or group of {bytes} bytes is more than the {bytes_max} allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A batch does not connect to the log.
    #[error("not written: {what}")]
    OutOfPlace {
        /// What does not fit.
        what: String,
    },
    /// A batch cannot be put into its disk form.
    #[error("not written: the batch has no disk form")]
    Encode(#[source] WireError),
    /// An earlier call failed; see [`WalError`] there.
    #[error("the write-ahead log has stopped: {cause}")]
    Stopped {
        /// The first error, with its reasons.
        cause: String,
    },
}

impl From<DiskError> for WalError {
    fn from(source: DiskError) -> Self {
        let path = source.path.clone();
        match source.operation {
            _ if source.is_no_space() => Self::NoSpace { path, source },
            "sync" => Self::SyncFailed { path, source },
            _ => Self::Disk(source),
        }
    }
}

pub(crate) fn damaged(disk: &dyn Disk, path: &str, offset: u64, what: String) -> WalError {
    WalError::Damaged { path: disk.describe(path), offset, what }
}

pub(crate) fn newer(disk: &dyn Disk, path: &str, offset: u64, what: String) -> WalError {
    WalError::Newer { path: disk.describe(path), offset, what }
}
