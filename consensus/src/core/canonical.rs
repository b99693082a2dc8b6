//! Two views under which a core behaves the same: tokens counted from the last completed one, and other names for the
//! nodes. Both exist so that cores with equal futures are equal values.
//!
//! Read rounds need no such view: they begin at 0 in each term and only reads raise them. They live in messages and in
//! followers too, so no core could renumber them alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::configuration::Configuration;
use crate::core::{Aside, Core};
use crate::durable::{Batch, Durable, HardState, SnapshotMeta};
use crate::entry::{Entry, EntryKind};
use crate::message::{Body, Message};
use crate::params::Params;
use crate::progress::{Mode, Progress};
use crate::role::{Ballot, Follower, Leader, Role, Transfer};
use crate::types::{Incarnation, NodeId, Payload, Token};

/// By how much [`Core::canonical`] lowered the numbers of a core.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Renumbering {
    /// Lowers every token that this core has issued and that is not completed; completed ones become 0.
    pub tokens: Token,
}

impl Renumbering {
    /// The new number of a token.
    #[must_use]
    pub fn token(&self, token: Token) -> Token {
        Token(token.0.saturating_sub(self.tokens.0))
    }
}

impl<P: Payload> Core<P> {
    /// The representative of all cores that behave like this one: tokens counted from the last completed one. What
    /// the driver holds must be renumbered alike.
    #[must_use]
    pub fn canonical(mut self) -> (Core<P>, Renumbering) {
        let renumbering = Renumbering { tokens: self.persistence.renumber() };
        if let Role::Leader(leader) = &mut self.role {
            leader.stalled = leader.stalled.map(|token| renumbering.token(token));
        }
        (self, renumbering)
    }

    /// The same core under other names for the nodes; `name` must be one-to-one. Ids carry no meaning, so a renamed
    /// core does the renamed things.
    #[must_use]
    pub fn renamed(&self, params: Arc<Params>, name: &impl Fn(NodeId) -> NodeId) -> Core<P> {
        let mut core = self.clone();
        core.params = Aside(params);
        core.hard_state = core.hard_state.renamed(name);
        core.persistence.map_hard_states(|hard_state| hard_state.renamed(name));
        core.log.map_configurations(|configuration| configuration.renamed(name));
        core.role = match core.role {
            Role::Follower(follower) => Role::Follower(Follower {
                leader: follower.leader.map(name),
                installing: follower.installing.map(|meta| meta.renamed(name)),
                ..follower
            }),
            Role::PreCandidate(ballot) => Role::PreCandidate(rename_ballot(ballot, name)),
            Role::Candidate(ballot) => Role::Candidate(rename_ballot(ballot, name)),
            Role::Leader(leader) => Role::Leader(rename_leader(leader, name)),
        };
        core
    }
}

fn rename_ballot(ballot: Ballot, name: &impl Fn(NodeId) -> NodeId) -> Ballot {
    Ballot { granted: ballot.granted.into_iter().map(name).collect::<BTreeSet<_>>(), ..ballot }
}

fn rename_leader(leader: Leader, name: &impl Fn(NodeId) -> NodeId) -> Leader {
    let rename = |(node, progress): (NodeId, Progress)| {
        let mode = match progress.mode {
            Mode::Snapshot { meta } => Mode::Snapshot { meta: meta.renamed(name) },
            mode => mode,
        };
        (name(node), Progress { mode, ..progress })
    };
    let transfer = leader.transfer.map(|transfer| Transfer { to: name(transfer.to), ..transfer });
    let reads = leader.reads.renamed(name);
    Leader { progress: leader.progress.into_iter().map(rename).collect(), transfer, reads, ..leader }
}

impl HardState {
    fn renamed(self, name: &impl Fn(NodeId) -> NodeId) -> HardState {
        HardState { vote: self.vote.map(name), ..self }
    }
}

impl Configuration {
    pub(crate) fn renamed(self, name: &impl Fn(NodeId) -> NodeId) -> Configuration {
        let part = |part: BTreeMap<NodeId, Incarnation>| {
            part.into_iter().map(|(node, incarnation)| (name(node), incarnation)).collect()
        };
        let Configuration { voters, outgoing, learners, recovery_epoch } = self;
        Configuration {
            voters: part(voters),
            outgoing: part(outgoing),
            learners: part(learners),
            recovery_epoch,
        }
    }
}

impl SnapshotMeta {
    /// The same snapshot under other names for the nodes.
    #[must_use]
    pub fn renamed(self, name: &impl Fn(NodeId) -> NodeId) -> SnapshotMeta {
        SnapshotMeta { configuration: self.configuration.renamed(name), ..self }
    }
}

impl<P: Payload> Durable<P> {
    /// The same disk under other names for the nodes.
    #[must_use]
    pub fn renamed(self, name: &impl Fn(NodeId) -> NodeId) -> Durable<P> {
        Durable {
            hard_state: self.hard_state.renamed(name),
            snapshot: self.snapshot.map(|meta| meta.renamed(name)),
            configuration: self.configuration.renamed(name),
            entries: self.entries.into_iter().map(|entry| entry.renamed(name)).collect(),
        }
    }
}

impl<P: Payload> Batch<P> {
    /// The same batch under other names for the nodes.
    #[must_use]
    pub fn renamed(self, name: &impl Fn(NodeId) -> NodeId) -> Batch<P> {
        Batch {
            hard_state: self.hard_state.renamed(name),
            snapshot: self.snapshot.map(|meta| Box::new(meta.renamed(name))),
            entries: self.entries.into_iter().map(|entry| entry.renamed(name)).collect(),
            ..self
        }
    }
}

impl<P: Payload> Message<P> {
    /// The same message under other names for the nodes.
    #[must_use]
    pub fn renamed(mut self, name: &impl Fn(NodeId) -> NodeId) -> Message<P> {
        match &mut self.body {
            Body::Append { entries, .. } | Body::Missing { entries, .. } => {
                *entries = std::mem::take(entries).into_iter().map(|entry| entry.renamed(name)).collect();
            }
            Body::Snapshot { meta, .. } => **meta = SnapshotMeta::clone(meta).renamed(name),
            _ => {}
        }
        self
    }
}

impl<P: Payload> Entry<P> {
    /// The same entry under other names for the nodes.
    #[must_use]
    pub fn renamed(self, name: &impl Fn(NodeId) -> NodeId) -> Entry<P> {
        let kind = match self.kind {
            EntryKind::Configuration(members) => EntryKind::Configuration(members.renamed(name)),
            kind => kind,
        };
        Entry { term: self.term, kind }
    }
}
