//! The four roles and the data that only makes sense in each. What they do is in the files below.

mod candidate;
mod follower;
mod leader;
mod lease;
mod membership;
mod reader;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};

use crate::durable::SnapshotMeta;
use crate::effect::RoleName;
use crate::progress::Progress;
use crate::read::Reads;
use crate::role::lease::Lease;
use crate::role::reader::Questions;
use crate::types::{Index, NodeId, Round, Token};

/// What a core is at the moment.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Role {
    Follower(Follower),
    PreCandidate(Ballot),
    Candidate(Ballot),
    Leader(Leader),
}

/// Listens to a leader, or waits for one. Everything here belongs to the current term.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Follower {
    pub(crate) leader: Option<NodeId>,
    /// Our log (durable or not) equals this leader's up to here.
    pub(crate) matched: Index,
    /// The newest read round heard of.
    pub(crate) round: Round,
    /// An acknowledgement waits for the disk, or for the end of this step.
    pub(crate) ack_owed: bool,
    /// A granted vote waits for the disk, or for the end of this step.
    pub(crate) vote_owed: bool,
    /// The snapshot whose bytes are on their way.
    pub(crate) installing: Option<SnapshotMeta>,
    pub(crate) questions: Questions,
}

/// Who said yes so far. A set: each voter counts once (I19).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Ballot {
    pub(crate) granted: BTreeSet<NodeId>,
    /// The leader of the term before has told us to take over, and given its lease up; false where there are none.
    pub(crate) told: bool,
}

/// Won the election of the current term.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Leader {
    /// Every other member.
    pub(crate) progress: BTreeMap<NodeId, Progress>,
    pub(crate) reads: Reads,
    /// Bytes of the entries after the commit index.
    pub(crate) uncommitted_bytes: u64,
    /// The batch that our own disk was busy with at the last look.
    pub(crate) stalled: Option<Token>,
    /// Whom leadership is being handed to.
    pub(crate) transfer: Option<Transfer>,
    pub(crate) lease: Lease,
}

/// A leadership transfer under way. Its deadline is a timer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Transfer {
    pub(crate) to: NodeId,
    /// Whether it was told since the last heartbeat.
    pub(crate) told: bool,
}

impl Role {
    pub(crate) fn name(&self) -> RoleName {
        match self {
            Role::Follower(_) => RoleName::Follower,
            Role::PreCandidate(_) => RoleName::PreCandidate,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
        }
    }
}
