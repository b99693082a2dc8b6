//! What may be read of a core from outside: for the driver, for status pages and for the invariant catalogue.

use crate::configuration::Configuration;
use crate::core::Core;
use crate::durable::{HardState, SnapshotMeta};
use crate::effect::{HaltReason, RoleName};
use crate::entry::Entry;
use crate::params::Params;
use crate::progress::Mode;
use crate::role::{Leader, Role};
use crate::types::{Index, NodeId, Payload, Term};

/// How a leader feeds a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PeerMode {
    /// Looks for the place where the logs meet.
    Probe,
    /// Streams entries.
    Replicate,
    /// Waits for a snapshot to be installed.
    Snapshot,
}

/// What a leader knows of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Peer {
    /// Who.
    pub id: NodeId,
    /// Its durable log equals the leader's up to here.
    pub matched: Index,
    /// The next entry to send to it.
    pub next: Index,
    /// How it is fed.
    pub mode: PeerMode,
    /// Whether it has answered since the last check of the quorum; always false while `check_quorum` is off.
    pub active: bool,
    /// Unanswered appends with entries.
    pub inflight_messages: usize,
    /// Their bytes.
    pub inflight_bytes: u64,
}

impl<P: Payload> Core<P> {
    /// This node.
    pub fn id(&self) -> NodeId {
        self.params.id
    }

    /// The role.
    pub fn role(&self) -> RoleName {
        self.role.name()
    }

    /// The leader of the current term, as far as known; oneself if leading.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower(follower) => follower.leader,
            Role::PreCandidate(_) | Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.params.id),
        }
    }

    /// The current term.
    pub fn term(&self) -> Term {
        self.hard_state.term
    }

    /// Term and vote in memory, perhaps not yet durable.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Term and vote as last reported durable.
    pub fn durable_hard_state(&self) -> HardState {
        self.persistence.hard_state()
    }

    /// The log in memory is reported durable up to here.
    pub fn durable_index(&self) -> Index {
        self.persistence.index()
    }

    /// Everything up to here is committed.
    pub fn commit_index(&self) -> Index {
        self.commit
    }

    /// Everything up to here was given to the state machine by `Apply` effects, or by a snapshot.
    pub fn handed_index(&self) -> Index {
        self.handed
    }

    /// Everything up to here is in the state machine, as far as reported.
    pub fn applied_index(&self) -> Index {
        self.applied
    }

    /// The first entry held in memory.
    pub fn first_index(&self) -> Index {
        self.log.base().next()
    }

    /// The last entry of the log in memory.
    pub fn last_index(&self) -> Index {
        self.log.last_index()
    }

    /// Term of the last entry.
    pub fn last_term(&self) -> Term {
        self.log.last_term()
    }

    /// The entry at `index`, if it is held in memory.
    pub fn entry(&self, index: Index) -> Option<&Entry<P>> {
        self.log.entry(index)
    }

    /// The term of the entry at `index`, if it is held in memory or is the one just before.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// The newest snapshot known to the log.
    pub fn snapshot(&self) -> Option<&SnapshotMeta> {
        self.log.snapshot()
    }

    /// The members that are effective now.
    pub fn configuration(&self) -> &Configuration {
        self.log.configuration()
    }

    /// The members as of `index`: what a snapshot taken there must name.
    pub fn configuration_at(&self, index: Index) -> &Configuration {
        self.log.configuration_at(index)
    }

    /// The constants.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Why this core has stopped, if it has.
    pub fn halted(&self) -> Option<HaltReason> {
        self.halted
    }

    /// Whether a read here waits for the leader's answer.
    pub fn asks_leader(&self) -> bool {
        matches!(&self.role, Role::Follower(follower) if follower.questions.open.is_some())
    }

    /// Reads that wait here: of callers, and at a leader of members too.
    pub fn reads_waiting(&self) -> usize {
        match &self.role {
            Role::Leader(leader) => leader.reads.len(),
            Role::Follower(follower) => follower.questions.len(),
            Role::PreCandidate(_) | Role::Candidate(_) => 0,
        }
    }

    pub(crate) fn leading(&self) -> Option<&Leader> {
        if let Role::Leader(leader) = &self.role { Some(leader) } else { None }
    }

    /// To whom this leader is handing over, if to anybody.
    pub fn transfer(&self) -> Option<NodeId> {
        self.leading()?.transfer.map(|transfer| transfer.to)
    }

    /// Bytes of entries that this leader has not committed; 0 in any other role.
    pub fn uncommitted_bytes(&self) -> u64 {
        self.leading().map_or(0, |leader| leader.uncommitted_bytes)
    }

    /// What this leader knows of its peers, in order of id; empty in any other role.
    pub fn peers(&self) -> impl Iterator<Item = Peer> + '_ {
        self.leading().into_iter().flat_map(|leader| &leader.progress).map(|(id, progress)| {
            let (mode, messages, bytes) = match &progress.mode {
                Mode::Probe { .. } => (PeerMode::Probe, 0, 0),
                Mode::Replicate { inflight } => {
                    (PeerMode::Replicate, inflight.len(), inflight.iter().map(|(_, bytes)| *bytes).sum())
                }
                Mode::Snapshot { .. } => (PeerMode::Snapshot, 0, 0),
            };
            Peer {
                id: *id,
                matched: progress.matched,
                next: progress.next,
                mode,
                active: progress.active,
                inflight_messages: messages,
                inflight_bytes: bytes,
            }
        })
    }
}
