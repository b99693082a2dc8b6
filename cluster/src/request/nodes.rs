//! What is asked and answered about control nodes as members of the cluster: the list, who joins and goes, who leads.
//! It must not hold behaviour.

use serde::Serialize;

/// A change of what is wanted of one control node. Each says the wanted state: repeating it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeChange {
    /// It is to be a member.
    Add {
        /// Who, and where.
        contact: NodeContact,
        /// Whether it is to vote once it has caught up and makes a pair; otherwise it stays a spare.
        votes: bool,
    },
    /// A member says where it is dialled. Only control nodes say this, each of itself.
    Announce {
        /// Who, and where.
        contact: NodeContact,
    },
    /// It is not to be a member any more, for good: only another incarnation of the number can be added again.
    Remove {
        /// The node.
        node: u64,
        /// Even where a single voter is left then.
        force: bool,
    },
    /// It is to vote once it has caught up and makes a pair.
    Promote {
        /// The node.
        node: u64,
    },
    /// It is to follow without a vote.
    Demote {
        /// The node.
        node: u64,
    },
}

/// A control node as the others find and recognise it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeContact {
    /// Its number.
    pub node: u64,
    /// The recovery epoch that its identity file is of: none of another ever counts.
    pub recovery_epoch: u32,
    /// The life of its data directory.
    pub incarnation: u64,
    /// `host:port`.
    pub address: String,
    /// SHA-256 of its public key, 32 bytes.
    pub public_key_sha256: Vec<u8>,
}

impl NodeChange {
    /// The node that it is about.
    pub fn node(&self) -> u64 {
        match self {
            Self::Add { contact, .. } | Self::Announce { contact } => contact.node,
            Self::Remove { node, .. } | Self::Promote { node } | Self::Demote { node } => *node,
        }
    }
}

/// The control nodes as the leader knows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeList {
    /// The leader, which answered.
    pub leader: u64,
    /// Its term.
    pub term: u64,
    /// How often the cluster was recovered.
    pub recovery_epoch: u32,
    /// By number.
    pub nodes: Vec<NodeView>,
}

/// One control node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// Its number.
    pub node: u64,
    /// The life of its data directory.
    pub incarnation: u64,
    /// Where it is dialled; empty where the log does not say.
    pub address: String,
    /// What it is among the members.
    pub part: NodePart,
    /// Whether it is to vote.
    pub wants_vote: bool,
    /// Whether it answers the leader and has caught up.
    pub ready: bool,
    /// Entries of the leader's log that it does not hold yet; none where the leader does not feed it.
    pub behind: Option<u64>,
}

/// What a control node is among the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NodePart {
    /// Its vote counts.
    Voter,
    /// It follows without a vote.
    Spare,
    /// Recorded, and about to become a member.
    Joining,
    /// On its way out.
    Leaving,
}

/// Who leads after a transfer was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leadership {
    /// The leader.
    pub leader: u64,
    /// Its term.
    pub term: u64,
    /// Whom leadership was to go to: where it is another, the transfer did not come about in time.
    pub wanted: u64,
}
