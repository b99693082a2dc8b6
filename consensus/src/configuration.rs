//! Who the members are, and how one set of them may follow another. How many of them decide is
//! [`quorum`](crate::quorum)'s to say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::types::{Incarnation, NodeId, RecoveryEpoch};

/// Members of one kind, each with the incarnation that was admitted.
type Part = BTreeMap<NodeId, Incarnation>;

/// A set of members, each with the incarnation that was admitted. Effective as soon as it is in the log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Configuration {
    /// Members whose votes and durable logs count.
    pub voters: BTreeMap<NodeId, Incarnation>,
    /// The voters that are on their way out: while not empty, a majority of these must agree as well (joint
    /// consensus, paper §6).
    pub outgoing: BTreeMap<NodeId, Incarnation>,
    /// Members that receive the log and decide nothing. One that is among the outgoing still decides until they are
    /// left.
    pub learners: BTreeMap<NodeId, Incarnation>,
    /// How often the cluster was recovered by force. It rises with the members of the survivor, in one entry, and is
    /// inherited by every later change: who decides, and in which epoch, is one value of the log and of snapshots.
    pub recovery_epoch: RecoveryEpoch,
}

/// One part of a change of members. All parts of a change take effect together, and none names a node twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Change {
    /// A new member, or a learner that is to decide from now on.
    AddVoter(NodeId, Incarnation),
    /// A new member that only receives the log.
    AddLearner(NodeId, Incarnation),
    /// A voter goes on as a learner.
    Demote(NodeId),
    /// A member is one no longer.
    Remove(NodeId),
}

/// Why a change of members is refused, whoever asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChangeError {
    /// The members are as wanted already.
    NothingChanges,
    /// Nobody would be left to decide.
    NoVoters,
    /// This node is not a member of the kind that the change is about.
    NotAMember(NodeId),
    /// This node is such a member already, or one under another incarnation, which must be removed first.
    AlreadyAMember(NodeId),
    /// This node is named twice.
    NamedTwice(NodeId),
    /// The voters of an earlier change are still on their way out.
    Joint,
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
        self.parts().into_iter().find_map(|part| part.get(&node)).copied()
    }

    /// Whether this very incarnation of `node` may campaign and be counted.
    #[must_use]
    pub fn is_voter(&self, node: NodeId, incarnation: Incarnation) -> bool {
        [&self.voters, &self.outgoing].into_iter().any(|part| part.get(&node) == Some(&incarnation))
    }

    /// Every member once, in order of id.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        let mut all: Vec<NodeId> = self.parts().into_iter().flat_map(|part| part.keys().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter()
    }

    /// Whether this configuration could ever decide anything, and says one thing of each member: one incarnation, and
    /// not voter and learner at once.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let one_incarnation =
            |part: &Part| part.iter().all(|(id, life)| self.incarnation(*id) == Some(*life));
        !self.voters.is_empty()
            && self.parts().into_iter().all(one_incarnation)
            && self.learners.keys().all(|node| !self.voters.contains_key(node))
    }

    /// Whether two majorities must agree.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// What follows this configuration when `changes` are asked for. Where the voters change it is a joint one (paper
    /// §6, dissertation §4.3): a majority of the old ones and a majority of the new ones must agree until the old
    /// ones are [left](Configuration::left).
    ///
    /// # Errors
    /// The first part that does not fit.
    pub fn changed(&self, changes: &[Change]) -> Result<Configuration, ChangeError> {
        if self.is_joint() {
            return Err(ChangeError::Joint);
        }
        let mut next = self.clone();
        let mut named = BTreeSet::new();
        for change in changes {
            if !named.insert(change.node()) {
                return Err(ChangeError::NamedTwice(change.node()));
            }
            next.make(*change)?;
        }
        if next == *self {
            return Err(ChangeError::NothingChanges);
        }
        if next.voters.is_empty() {
            return Err(ChangeError::NoVoters);
        }
        if next.voters != self.voters {
            next.outgoing.clone_from(&self.voters);
        }
        Ok(next)
    }

    fn make(&mut self, change: Change) -> Result<(), ChangeError> {
        let node = change.node();
        let voter = self.voters.get(&node).copied();
        let learner = self.learners.get(&node).copied();
        match (change, voter, learner) {
            (Change::AddVoter(_, life), None, None) => {
                self.voters.insert(node, life);
            }
            (Change::AddVoter(_, life), None, Some(admitted)) if life == admitted => {
                self.learners.remove(&node);
                self.voters.insert(node, life);
            }
            (Change::AddLearner(_, life), None, None) => {
                self.learners.insert(node, life);
            }
            (Change::AddVoter(..) | Change::AddLearner(..), ..) => {
                return Err(ChangeError::AlreadyAMember(node));
            }
            (Change::Demote(_), Some(life), _) => {
                self.voters.remove(&node);
                self.learners.insert(node, life);
            }
            (Change::Remove(_), Some(_), _) | (Change::Remove(_), _, Some(_)) => {
                self.voters.remove(&node);
                self.learners.remove(&node);
            }
            (Change::Demote(_) | Change::Remove(_), ..) => return Err(ChangeError::NotAMember(node)),
        }
        Ok(())
    }

    /// What follows a joint configuration: the new voters alone.
    #[must_use]
    pub fn left(&self) -> Configuration {
        Configuration { outgoing: BTreeMap::new(), ..self.clone() }
    }

    /// I25: whether `next` may come right after this configuration in a log, so that any majority that decides under
    /// the one shares a member with any that decides under the other. A recovery gives just that up, so it may not.
    #[must_use]
    pub fn may_precede(&self, next: &Configuration) -> bool {
        if self.is_joint() {
            *next == self.left()
        } else if next.is_joint() {
            next.outgoing == self.voters && next.recovery_epoch == self.recovery_epoch
        } else {
            next.voters == self.voters && next.recovery_epoch == self.recovery_epoch
        }
    }

    fn parts(&self) -> [&Part; 3] {
        [&self.voters, &self.outgoing, &self.learners]
    }
}

impl Change {
    /// The node that it is about.
    #[must_use]
    pub fn node(&self) -> NodeId {
        match self {
            Change::AddVoter(node, _) | Change::AddLearner(node, _) => *node,
            Change::Demote(node) | Change::Remove(node) => *node,
        }
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeError::NothingChanges => f.write_str("the members are as wanted already"),
            ChangeError::NoVoters => f.write_str("no voter would be left"),
            ChangeError::NotAMember(node) => write!(f, "node {node} is not a member of that kind"),
            ChangeError::AlreadyAMember(node) => write!(f, "node {node} is a member already"),
            ChangeError::NamedTwice(node) => write!(f, "node {node} is named twice"),
            ChangeError::Joint => f.write_str("an earlier change is not finished"),
        }
    }
}

impl std::error::Error for ChangeError {}

#[cfg(test)]
mod tests;
