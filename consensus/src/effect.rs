//! Everything that a core can ask for. All effects of one step may be carried out at once and in any order, except
//! that `Persist` and `Apply` effects keep their order among themselves: nothing here must wait for a write.

use std::ops::Deref;
use std::time::Duration;

use crate::configuration::ChangeError;
use crate::durable::{Batch, SnapshotMeta};
use crate::entries::Entries;
use crate::input::Timer;
use crate::message::Message;
use crate::types::{Index, NodeId, ProposalId, ReadId, Term};

/// The role of a core, without its data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RoleName {
    /// Listens to a leader, or waits for one.
    Follower,
    /// Asks whether an election could be won.
    PreCandidate,
    /// Stands for election in its term.
    Candidate,
    /// Won it.
    Leader,
}

/// Why a proposal was not taken. None of these can still commit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RejectReason {
    /// Not the leader; ask the one named, if any.
    NotLeader,
    /// Leadership is being handed over: try again.
    Transferring,
    /// Too much waits to be committed (`uncommitted_bytes_max`): try again.
    Busy,
    /// The log is full until a snapshot is taken (`log_bytes_max`): try again.
    LogFull,
    /// Larger than `entry_bytes_max`: never.
    TooLarge,
    /// An earlier change of members is not finished, or this leader has not committed anything yet: try again.
    ChangePending,
    /// The change of members makes no sense: never.
    Impossible(ChangeError),
    /// This core has halted.
    Halted,
}

/// Why a core stopped for good. Only a restart from what is durable can follow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HaltReason {
    /// A write or sync failed, so what is durable is unknown.
    PersistFailed,
    /// A leader sent an entry that differs from a committed one here: two histories exist.
    CommittedConflict {
        /// The entry.
        index: Index,
    },
}

/// One thing to do.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Effect<P> {
    /// Send, now; may be lost, doubled or reordered.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message<P>,
    },
    /// Write as one record, after every earlier batch; then hand back its token.
    Persist(Batch<P>),
    /// Committed and durable here: give to the state machine, in this order, each exactly once in this life.
    Apply {
        /// Index of the first of `entries`.
        first: Index,
        /// Without gap.
        entries: Entries<P>,
    },
    /// The proposal is in the leader's log here. It is committed if the entry applied at `index` has this term, and
    /// lost if another one is applied there.
    Accepted {
        /// Which proposal.
        id: ProposalId,
        /// Where.
        index: Index,
        /// In which term.
        term: Term,
    },
    /// The proposal was not taken and never will be.
    Rejected {
        /// Which proposal.
        id: ProposalId,
        /// Who leads, as far as known.
        leader: Option<NodeId>,
        /// Why.
        reason: RejectReason,
    },
    /// The read may be answered as soon as `index` is applied.
    ReadReady {
        /// Which read.
        id: ReadId,
        /// Everything committed when the read came is at or before this.
        index: Index,
    },
    /// The read could not be confirmed here; it changed nothing and may be asked again.
    ReadFailed {
        /// Which read.
        id: ReadId,
        /// Who leads, as far as known.
        leader: Option<NodeId>,
    },
    /// Leadership was not handed over: there was no such voter, no leadership, another attempt, or no time left.
    TransferFailed {
        /// To whom.
        to: NodeId,
        /// Who leads, as far as known.
        leader: Option<NodeId>,
    },
    /// Start a timer, replacing one of the same name; the driver draws the time between the two.
    SetTimer {
        /// Which.
        timer: Timer,
        /// Not before.
        min: Duration,
        /// Not after.
        max: Duration,
    },
    /// Stop a timer.
    CancelTimer(Timer),
    /// The log has reached half of its bound: take a snapshot of what is applied and report it by `SnapshotTaken`.
    /// Not repeated until one was taken.
    TakeSnapshot,
    /// `to` is offered this snapshot (the offer itself goes as a message): keep its bytes while they are wanted. A driver
    /// that pushes begins now; one whose receivers fetch has nothing more to do. Failure is reported by `Unreachable`.
    SendSnapshot {
        /// To whom.
        to: NodeId,
        /// Which.
        meta: Box<SnapshotMeta>,
    },
    /// Receive this snapshot's bytes, check and store them, then report `SnapshotInstalled` or `SnapshotFailed`.
    /// The state machine is not to be touched before a batch that carries the snapshot.
    InstallSnapshot {
        /// Who has it.
        from: NodeId,
        /// Which.
        meta: Box<SnapshotMeta>,
    },
    /// Role, term or known leader changed.
    RoleChanged {
        /// The role from now on.
        role: RoleName,
        /// The term from now on.
        term: Term,
        /// The leader of that term, as far as known.
        leader: Option<NodeId>,
    },
    /// This core has stopped; nothing further comes from it.
    Halt(HaltReason),
}

/// The caller's reusable buffer of effects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effects<P>(Vec<Effect<P>>);

impl<P> Effects<P> {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Effects<P> {
        Effects(Vec::new())
    }

    /// Adds an effect.
    pub fn push(&mut self, effect: Effect<P>) {
        self.0.push(effect);
    }

    /// Takes all effects, keeping the buffer's memory.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Effect<P>> {
        self.0.drain(..)
    }
}

impl<P> Default for Effects<P> {
    fn default() -> Self {
        Effects::new()
    }
}

impl<P> Deref for Effects<P> {
    type Target = [Effect<P>];

    fn deref(&self) -> &[Effect<P>] {
        &self.0
    }
}
