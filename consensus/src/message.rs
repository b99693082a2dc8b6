//! What members say to each other. The wire form is the driver's; here only meaning.

use crate::durable::SnapshotMeta;
use crate::entries::Entries;
use crate::types::{ClusterId, Incarnation, Index, RecoveryEpoch, Round, Term, Ticket};

/// A message with the facts that are checked before anything else of it is read.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Message<P> {
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender's recovery epoch.
    pub recovery_epoch: RecoveryEpoch,
    /// The sender's life.
    pub incarnation: Incarnation,
    /// The sender's current term, also in pre-votes (which ask about the term after it).
    pub term: Term,
    /// What it says.
    pub body: Body<P>,
}

/// What a message says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Body<P> {
    /// "Would you vote for me in the next term?" Changes nothing durable (dissertation §9.6).
    PreVote {
        /// Last entry of the asker's log.
        last_index: Index,
        /// Its term.
        last_term: Term,
    },
    /// Answer to a pre-vote of the same term.
    PreVoteReply {
        /// Whether a vote would be granted.
        granted: bool,
    },
    /// Answer to a pre-vote of the same term whose log is behind, from one that knows of no leader either: what goes on
    /// where that log ends (I6). So a log is brought on by a voter when no leader can be elected to do it (B23).
    Missing {
        /// The asker's last entry.
        prev_index: Index,
        /// Its term.
        prev_term: Term,
        /// What follows it in the sender's log, or the beginning of that.
        entries: Entries<P>,
    },
    /// "Vote for me in this term" (paper §5.2). Sent only once the candidate's own vote is durable.
    Vote {
        /// Last entry of the candidate's log.
        last_index: Index,
        /// Its term.
        last_term: Term,
    },
    /// Answer to a vote request. A grant exists only once it is durable.
    VoteReply {
        /// Whether the sender's one vote of this term is the receiver's.
        granted: bool,
    },
    /// Entries, or none: the heartbeat is the same message (paper §5.3).
    Append {
        /// The entry before the first of `entries`.
        prev_index: Index,
        /// Its term.
        prev_term: Term,
        /// What follows it in the leader's log.
        entries: Entries<P>,
        /// The leader's commit index.
        commit: Index,
        /// The leader's newest read round.
        round: Round,
    },
    /// Answer to an append.
    AppendReply {
        /// Whether the logs meet.
        outcome: AppendOutcome,
        /// The newest round that the sender has seen from this leader in this term.
        round: Round,
    },
    /// Offer of a snapshot to one who needs entries that the leader no longer has. Its bytes travel beside.
    Snapshot {
        /// Which one.
        meta: Box<SnapshotMeta>,
        /// The leader's newest read round.
        round: Round,
    },
    /// Answer to an offer that did not (yet) lead to an installed snapshot; success is an accepted append reply.
    SnapshotReply {
        /// Which offer.
        index: Index,
        /// How it stands.
        outcome: SnapshotOutcome,
        /// As in an append reply.
        round: Round,
    },
    /// "Campaign now": from a leader that hands over (dissertation §3.10).
    TimeoutNow,
    /// A follower's question on behalf of its reads (dissertation §6.4).
    Read {
        /// Which.
        ticket: Ticket,
    },
    /// Answer to it: everything committed when the question came is at or before `index`; `None` if it cannot be told.
    ReadReply {
        /// To which.
        ticket: Ticket,
        /// Up to where the asker must have applied.
        index: Option<Index>,
    },
}

/// How an append went.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AppendOutcome {
    /// The sender's *durable* log equals the leader's up to here. Cumulative over the term.
    Accepted {
        /// Last equal and durable entry.
        matched: Index,
    },
    /// The sender has no entry equal to the one before the offered ones.
    Rejected {
        /// The `prev_index` that did not fit, to tell stale rejections from fresh ones.
        prev_index: Index,
        /// The sender's last entry at or before it whose term is not above `prev_term`.
        hint_index: Index,
        /// Its term.
        hint_term: Term,
    },
}

/// How a snapshot offer stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SnapshotOutcome {
    /// The bytes are on their way.
    Receiving,
    /// They did not arrive whole, or could not be stored.
    Failed,
}
