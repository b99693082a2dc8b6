//! Everything that can happen to a core.

use crate::configuration::Change;
use crate::durable::SnapshotMeta;
use crate::message::Message;
use crate::types::{Index, Life, NodeId, ProposalId, ReadId, Token};

/// The timers that a core asks for. One of each at most; setting one again replaces it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// Silence of the leader, or of the voters.
    Election,
    /// A leader's sign of life.
    Heartbeat,
    /// A leader's look at who still answers.
    CheckQuorum,
    /// The end of an attempt to hand leadership over.
    Transfer,
    /// A follower's question to its leader, to be repeated.
    Read,
    /// A new leader's wait for the leases of older ones.
    Lease,
}

/// One event. Any input is legal at any time; what does not fit is ignored.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Input<P> {
    /// Once, after restore and before anything else: timers begin; a lone voter campaigns at once.
    Start {
        /// This run, unlike every earlier one of this node: what an earlier one has asked is not answered to this one.
        life: Life,
    },
    /// A message; `from` is the authenticated sender.
    Message {
        /// Who sent it, as the transport has proved.
        from: NodeId,
        /// What it said.
        message: Message<P>,
    },
    /// A timer ran out.
    Timer(Timer),
    /// A command for the log. Answered by exactly one `Accepted` or `Rejected`.
    Propose {
        /// The caller's name for it.
        id: ProposalId,
        /// The command.
        payload: P,
    },
    /// Other members. Answered by exactly one `Accepted` or `Rejected`; in effect as soon as it is accepted, and done
    /// when the configuration that names only the new voters is applied.
    Change {
        /// The caller's name for it.
        id: ProposalId,
        /// What is to be different: all of it or nothing.
        changes: Vec<Change>,
    },
    /// Hand leadership to this voter. Answered by the loss of it, or by exactly one `TransferFailed`.
    Transfer(NodeId),
    /// A linearizable read, of a leader or of a follower that knows one. Answered by exactly one `ReadReady` or
    /// `ReadFailed`.
    Read(ReadId),
    /// The batch of this token and every earlier one is durable. Late and repeated ones are harmless.
    Persisted(Token),
    /// A write or sync failed: what is on disk is unknown, so this core stops (never retried).
    PersistFailed,
    /// The state machine holds everything up to here.
    Applied(Index),
    /// A snapshot of our own state machine is durable: the log up to it may go.
    SnapshotTaken(Box<SnapshotMeta>),
    /// The bytes that [`Effect::InstallSnapshot`](crate::Effect::InstallSnapshot) asked for are whole and durable.
    SnapshotInstalled(Box<SnapshotMeta>),
    /// They are not, and will not be: the leader is told.
    SnapshotFailed(Box<SnapshotMeta>),
    /// Sending to this peer failed, or a snapshot could not be sent to it.
    Unreachable(NodeId),
}
