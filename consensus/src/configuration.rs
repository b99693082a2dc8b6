//! Who the members are. How many of them decide is [`quorum`](crate::quorum)'s to say.

use std::collections::BTreeMap;

use crate::types::{Incarnation, NodeId};

/// A set of members, each with the incarnation that was admitted. Effective as soon as it is in the log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Configuration {
    /// Members whose votes and durable logs count.
    pub voters: BTreeMap<NodeId, Incarnation>,
    /// The voters that are on their way out: while not empty, a majority of these must agree as well (joint
    /// consensus, paper §6).
    pub outgoing: BTreeMap<NodeId, Incarnation>,
    /// Members that receive the log and decide nothing.
    pub learners: BTreeMap<NodeId, Incarnation>,
}

impl Configuration {
    /// A configuration of voters only.
    #[must_use]
    pub fn of_voters(voters: impl IntoIterator<Item = (NodeId, Incarnation)>) -> Configuration {
        Configuration { voters: voters.into_iter().collect(), ..Configuration::default() }
    }

    /// The incarnation under which `node` is a member, in whatever part.
    #[must_use]
    pub fn incarnation(&self, node: NodeId) -> Option<Incarnation> {
        [&self.voters, &self.outgoing, &self.learners].into_iter().find_map(|part| part.get(&node)).copied()
    }

    /// Whether this very incarnation of `node` may campaign and be counted.
    #[must_use]
    pub fn is_voter(&self, node: NodeId, incarnation: Incarnation) -> bool {
        [&self.voters, &self.outgoing].into_iter().any(|part| part.get(&node) == Some(&incarnation))
    }

    /// Every member once, in order of id.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        let mut all: Vec<NodeId> = [&self.voters, &self.outgoing, &self.learners]
            .into_iter()
            .flat_map(|part| part.keys().copied())
            .collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter()
    }

    /// Whether this configuration could ever decide anything.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.voters.is_empty()
    }
}
