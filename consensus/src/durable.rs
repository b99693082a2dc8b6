//! What lies on disk and what is to be written there. The core performs none of it: the driver writes a [`Batch`] as
//! one atomic record and later hands back its token.

use std::fmt;

use crate::configuration::Configuration;
use crate::entries::Entries;
use crate::entry::{Entry, EntryKind};
use crate::types::{Incarnation, Index, NodeId, RecoveryEpoch, Term, Token};

/// Term and vote (paper, figure 2: persistent state). One value, so that no crash can separate them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct HardState {
    /// The greatest term seen.
    pub term: Term,
    /// Whom this node voted for in `term`.
    pub vote: Option<NodeId>,
}

/// The name of a snapshot: what it covers and the digest of its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SnapshotMeta {
    /// The last entry that it covers.
    pub index: Index,
    /// Term of that entry.
    pub term: Term,
    /// SHA-256 of the snapshot's bytes; the core compares it and never computes it.
    pub digest: [u8; 32],
    /// The members as of `index`.
    pub configuration: Configuration,
}

/// Everything that a core starts from: what was durable when its predecessor stopped.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Durable<P> {
    /// Of the newest batch on disk.
    pub hard_state: HardState,
    /// The newest snapshot that the log continues from.
    pub snapshot: Option<SnapshotMeta>,
    /// The members at genesis; used while there is no snapshot. None at all in a node that joins later.
    pub configuration: Configuration,
    /// The entries after the snapshot, or from index 1 if there is none.
    pub entries: Vec<Entry<P>>,
}

/// One atomic record: hard state, truncation and append together. Batches are written in the order of their tokens.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Batch<P> {
    /// To be handed back by [`Input::Persisted`](crate::Input::Persisted) once this batch *and every earlier one* is
    /// durable.
    pub token: Token,
    /// Replaces the durable one.
    pub hard_state: HardState,
    /// An installed snapshot: the durable log is replaced by the empty log after it, before `first` is looked at.
    /// The state machine must be replaced by this snapshot before any later [`Effect::Apply`](crate::Effect::Apply).
    pub snapshot: Option<Box<SnapshotMeta>>,
    /// The durable log is truncated so that its last entry is before this one, then `entries` are appended.
    pub first: Index,
    /// The entries from `first` on; empty if only the hard state changed.
    pub entries: Entries<P>,
}

impl<P: Clone> Durable<P> {
    /// What a new cluster's member starts from.
    #[must_use]
    pub fn genesis(configuration: Configuration) -> Durable<P> {
        Durable { hard_state: HardState::default(), snapshot: None, configuration, entries: Vec::new() }
    }

    /// Fenced recovery after the permanent loss of a quorum: what the survivor with the best log goes on from, as the
    /// only voter. All that it holds is taken for committed. `epoch` must be above that of its log, and become that of
    /// its `Params`, so that no former member is heard any more; entries that only these held are lost.
    #[must_use]
    pub fn recovered(mut self, survivor: NodeId, life: Incarnation, epoch: RecoveryEpoch) -> Durable<P> {
        let term = self.hard_state.term.next();
        self.hard_state = HardState { term, vote: None };
        let alone = Configuration { recovery_epoch: epoch, ..Configuration::of_voters([(survivor, life)]) };
        self.entries.push(Entry { term, kind: EntryKind::Configuration(alone) });
        self
    }

    /// Index of the snapshot, or 0.
    #[must_use]
    pub fn base(&self) -> Index {
        self.snapshot.as_ref().map_or(Index::ZERO, |meta| meta.index)
    }

    /// Index of the last durable entry.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.base().plus(self.entries.len())
    }

    /// Writes `batch` as the driver's log must: the reference that every storage is compared with.
    pub fn write(&mut self, batch: &Batch<P>) {
        self.hard_state = batch.hard_state;
        if let Some(meta) = &batch.snapshot {
            self.snapshot = Some(SnapshotMeta::clone(meta));
            self.entries.clear();
        }
        let kept = batch.first.0.saturating_sub(self.base().0).saturating_sub(1);
        self.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        self.entries.extend(batch.entries.iter().cloned());
    }

    /// Replaces the entries up to a snapshot of our own by it: the reference for a driver's compaction.
    pub fn compact(&mut self, meta: &SnapshotMeta) {
        let Some(covered) = meta.index.0.checked_sub(self.base().0) else { return };
        let covered = usize::try_from(covered).unwrap_or(usize::MAX);
        self.entries.drain(..covered.min(self.entries.len()));
        self.snapshot = Some(meta.clone());
    }
}

/// Why a durable state cannot be a member's: it was damaged, or belongs to something else. Never repaired by guessing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Corrupt {
    /// An entry's term is below that of the entry (or snapshot) before it.
    TermFalls {
        /// The entry.
        index: Index,
        /// Its term.
        term: Term,
        /// The term before.
        before: Term,
    },
    /// An entry or snapshot is newer than the hard state, although both are written in one record.
    TermAhead {
        /// The entry.
        index: Index,
        /// Its term.
        term: Term,
        /// The term of the hard state.
        hard_state: Term,
    },
    /// Entry or snapshot of term 0, or a snapshot of nothing.
    NotAnEntry {
        /// The entry.
        index: Index,
    },
    /// A configuration without voters, or one that contradicts itself.
    Members,
    /// An entry or snapshot of a later recovery epoch than the node's, or than what follows it.
    Epoch {
        /// The entry.
        index: Index,
    },
    /// A number beyond [`Term::MAX`] or [`Index::MAX`].
    OutOfRange,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Corrupt::TermFalls { index, term, before } => {
                write!(f, "entry {index} has term {term}, below term {before} of the entry before it")
            }
            Corrupt::TermAhead { index, term, hard_state } => {
                write!(f, "entry {index} has term {term}, above the durable term {hard_state}")
            }
            Corrupt::NotAnEntry { index } => write!(f, "entry {index} has no term"),
            Corrupt::Members => f.write_str("a configuration has no voters, or contradicts itself"),
            Corrupt::Epoch { index } => {
                write!(f, "entry {index} is of a later recovery epoch than it can be")
            }
            Corrupt::OutOfRange => f.write_str("a term or index is out of range"),
        }
    }
}

impl std::error::Error for Corrupt {}
