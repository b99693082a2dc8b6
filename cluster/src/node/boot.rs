//! From a data directory to a node, and the synchronous disk work that a node asks for. The shell calls this from its
//! threads, the simulator in virtual time: both run the same order of writes.
//!
//! It must not hold a thread, a clock or a queue.

use std::sync::Arc;

use ravelin_consensus::{
    Batch, ClusterId, Configuration, Corrupt, Durable, Incarnation, Index, NodeId, Params, ParamsError,
    RecoveryEpoch, SnapshotMeta, Term,
};

use ravelin_transport::codec::{self, CodecError};

use super::event::Event;
use super::{Node, NodeOptions};
use crate::storage::directory::KNOWN_NAME;
use crate::storage::disk::{read_all, replace_file};
use crate::storage::{
    CommandBytes, DataDirectory, DirectoryError, Disk, DiskError, Owner, SnapshotError, SnapshotStore, Wal,
    WalError, WalLimits, chain,
};
use crate::store::{FEATURE_LEVEL, RestoreError, Store, StoreRestore};

/// Who a node is, and who founded the cluster if it did, from its identity file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The cluster.
    pub cluster: [u8; 16],
    /// Counts fenced recoveries.
    pub recovery_epoch: u32,
    /// This node's number.
    pub node: u64,
    /// The life of its data directory that the cluster was told of.
    pub incarnation: u64,
    /// The voters at the birth of the cluster, with their incarnations; this node among them. None in a node that joined later:
    /// it knows of no members, so it decides nothing and never campaigns, until the cluster's log or snapshot tells it.
    pub voters: Vec<(u64, u64)>,
}

impl From<RestoreError> for BootError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Codec(CodecError::Version { expected, found }) if found > expected => {
                Self::NewerState { found, supported: expected }
            }
            RestoreError::FeatureLevel { found } => Self::NewerLevel { found, supported: FEATURE_LEVEL },
            error => Self::Store(error),
        }
    }
}

impl Member {
    /// A lone voter: standalone.
    pub fn alone(cluster: [u8; 16]) -> Self {
        Self { cluster, recovery_epoch: 0, node: 1, incarnation: 1, voters: vec![(1, 1)] }
    }

    /// The core's constants for this member, with the usual timings.
    pub fn params(&self) -> Params {
        let mut params =
            Params::new(ClusterId(self.cluster), NodeId(self.node), Incarnation(self.incarnation));
        params.recovery_epoch = RecoveryEpoch(self.recovery_epoch);
        params
    }

    fn configuration(&self) -> Configuration {
        Configuration::of_voters(
            self.voters.iter().map(|(node, incarnation)| (NodeId(*node), Incarnation(*incarnation))),
        )
    }
}

/// Why a node does not start. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The data directory is not this node's, or cannot be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The log cannot be read.
    #[error("the write-ahead log cannot be used")]
    Wal(#[from] WalError),
    /// The snapshot that the log continues from cannot be read.
    #[error("the snapshot that the log continues from cannot be used")]
    Snapshot(#[from] SnapshotError),
    /// The snapshot's content is not a state of the store.
    #[error("the snapshot that the log continues from does not hold a state")]
    Store(#[source] RestoreError),
    /// The snapshot's content is whole, but of a later form.
    #[error(
        "a newer version of Ravelin wrote the snapshot that the log continues from: its content is of version {found}, and \
         this one knows only {supported}. Start that version again, or a newer one. This is no damage: do not replace this \
         node"
    )]
    NewerState {
        /// The version byte of a chunk.
        found: u8,
        /// The newest that can be read.
        supported: u8,
    },
    /// The snapshot's content is whole, but of a feature level that this version does not know.
    #[error(
        "the cluster was at feature level {found} when the snapshot that the log continues from was taken, and this version \
         of Ravelin knows only {supported}. Start a newer version. This is no damage: do not replace this node"
    )]
    NewerLevel {
        /// The level of the state.
        found: u16,
        /// The highest that is known.
        supported: u16,
    },
    /// The snapshot's content is a state, but not the one that its name says.
    #[error("the snapshot that the log continues from holds the state of another cluster, epoch or entry")]
    OtherState,
    /// Log and snapshot contradict each other.
    #[error("the log contradicts itself; keep a copy of the directory, then replace this node by a new one")]
    Corrupt(#[source] Corrupt),
    /// The timings do not fit together.
    #[error("the timings do not fit together")]
    Params(#[source] ParamsError),
}

/// A node ready for its first event, and the storage that its actions go to.
#[derive(Debug)]
pub struct Booted {
    /// The node.
    pub node: Node,
    /// Its log.
    pub log: Log,
    /// Its snapshots.
    pub snapshots: Snapshots,
    /// Bytes cut off the end of the log: a write that a crash interrupted.
    pub torn_bytes: u64,
}

/// Opens the data directory and restores the node from it. `limits` are the sizes of the log's files.
///
/// # Errors
/// [`BootError`].
pub fn boot(
    disk: Arc<dyn Disk>,
    limits: WalLimits,
    member: &Member,
    options: NodeOptions,
    seed: u64,
) -> Result<Booted, BootError> {
    options.params.check().map_err(BootError::Params)?;
    let owner = Owner {
        cluster: member.cluster,
        recovery_epoch: member.recovery_epoch,
        node: member.node,
        incarnation: member.incarnation,
    };
    let directory = DataDirectory::open(disk, owner)?;
    let known = Known::read(&**directory.disk());
    let (store, beside) = (SnapshotStore::new(directory.clone()), directory.clone());
    let (wal, recovered) = Wal::open(directory, limits, &member.configuration())?;
    let snapshots = Snapshots { store, member: member.clone() };
    let state = match &recovered.snapshot {
        Some(meta) => snapshots.load(meta)?,
        None => Store::new(member.cluster),
    };
    // Snapshots that the log does not name were being written or fetched when the process ended. They go only now: a node
    // that is refused because of the one that counts keeps everything.
    snapshots.store.retain_only(recovered.snapshot.as_ref())?;
    let durable = Durable {
        hard_state: recovered.hard_state,
        snapshot: recovered.snapshot,
        configuration: recovered.genesis,
        entries: recovered.entries,
    };
    let node = Node::restore(options, durable, state, known, seed).map_err(BootError::Corrupt)?;
    let log = Log { wal, snapshots: snapshots.clone(), directory: beside };
    Ok(Booted { node, log, snapshots, torn_bytes: recovered.torn_bytes })
}

/// The log, as a node uses it.
#[derive(Debug)]
pub struct Log {
    wal: Wal,
    snapshots: Snapshots,
    directory: DataDirectory,
}

impl Log {
    /// Writes batches with one sync and says what to tell the node. Blocks.
    pub fn persist(&mut self, batches: &[Batch<CommandBytes>]) -> Option<Event> {
        match self.wal.append(batches) {
            Ok(token) => token.map(Event::Persisted),
            Err(error) => Some(Event::PersistFailed { reason: chain(&error) }),
        }
    }

    /// Notes a durable snapshot in the log, then drops what it covers: log first, files after. Blocks.
    pub fn compact(&mut self, meta: &SnapshotMeta) -> Option<Event> {
        let compacted = self.wal.compact(meta).map_err(|error| chain(&error));
        match compacted {
            // Older snapshot files that stay cost space, no more.
            Ok(()) => {
                let _: Result<(), SnapshotError> = self.snapshots.store.remove_older(meta);
                None
            }
            Err(reason) => Some(Event::PersistFailed { reason }),
        }
    }

    /// Notes beside the log how far it is known to be committed. Blocks. A note that cannot be written costs nothing but
    /// its use after a restart.
    pub fn note_known(&self, known: Known) {
        if let Ok(bytes) = known.encode() {
            let _: Result<(), DiskError> = replace_file(&**self.directory.disk(), KNOWN_NAME, &bytes);
        }
    }

    /// Ends the log in order. Blocks.
    ///
    /// # Errors
    /// As [`Wal::close`].
    pub fn close(self) -> Result<(), WalError> {
        self.wal.close()
    }
}

/// The version byte of that file.
const KNOWN_VERSION: u8 = 1;
/// Longest such file that is read.
const KNOWN_BYTES_MAX: u64 = 4096;

/// How far a node knew its log to be committed when it last noted it. Only a hint, and safe as one: if the log holds an
/// entry of this term at this index, then it is the committed one, and so is everything before it (Log Matching).
///
/// With it a node that restarts without a quorum still feeds the newest generation that it knows to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Known {
    /// Index of the entry.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

impl Known {
    fn encode(self) -> Result<Vec<u8>, CodecError> {
        let mut bytes = codec::encode(KNOWN_VERSION, &self)?.to_vec();
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        Ok(bytes)
    }

    /// The note on a disk; none if it is not there or not whole.
    pub(crate) fn read(disk: &dyn Disk) -> Option<Self> {
        let bytes = read_all(disk, KNOWN_NAME, KNOWN_BYTES_MAX).ok()?;
        let (content, checksum) = bytes.split_last_chunk::<4>()?;
        (crc32c::crc32c(content).to_le_bytes() == *checksum)
            .then(|| codec::decode(KNOWN_VERSION, content).ok())?
    }
}

/// The snapshots, as a node uses them. Clones share them.
#[derive(Debug, Clone)]
pub struct Snapshots {
    store: SnapshotStore,
    member: Member,
}

impl Snapshots {
    /// Writes a snapshot and says what to tell the node. Blocks.
    pub fn write(&self, index: Index, term: Term, configuration: Configuration, state: &Store) -> Event {
        match self.store.write(index, term, configuration, state.snapshot_chunks()) {
            Ok(meta) => Event::SnapshotWritten(meta),
            Err(error) => Event::SnapshotNotWritten { reason: chain(&error) },
        }
    }

    /// Reads a durable snapshot's state. Blocks.
    ///
    /// # Errors
    /// It is missing, damaged, or holds no state.
    pub fn load(&self, meta: &SnapshotMeta) -> Result<Store, BootError> {
        let mut restore = StoreRestore::new();
        for chunk in self.store.open(meta)? {
            restore.push(&chunk?)?;
        }
        let state = restore.finish()?;
        let found = (state.cluster(), state.recovery_epoch(), state.applied_index());
        if found != (self.member.cluster, meta.configuration.recovery_epoch.0, meta.index) {
            return Err(BootError::OtherState);
        }
        Ok(state)
    }

    /// The files themselves.
    pub fn files(&self) -> &SnapshotStore {
        &self.store
    }
}
