//! Who the control nodes are and what is wanted of them, as the replicated state records it, and what follows for the set of
//! members: who is admitted, promoted, stood back and removed, so that the number of voters stays odd.
//!
//! It must not change members or write records: the leader does what is decided here.

use std::collections::{BTreeMap, BTreeSet};

use ravelin_consensus::{Change, Configuration, Incarnation, NodeId};

mod record;

pub use record::{NodeRecord, Records, Wanted, former, record_key, records};

/// Most voters.
pub const VOTERS_MAX: usize = 7;
/// Where a control node is dialled, and its key, from an identity file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// `host:port`.
    pub address: String,
    /// SHA-256 of its public key; none on transports without keys.
    pub public_key_sha256: Option<[u8; 32]>,
}

/// What an identity file says of where control nodes are: used until the log says more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contacts {
    /// This node itself, which it tells the others; none keeps it to itself.
    pub own: Option<Contact>,
    /// The others.
    pub hints: BTreeMap<NodeId, Contact>,
}

/// Most control nodes, voters and others.
pub const NODES_MAX: usize = ravelin_config::feed::CONTROL_NODES_MAX;
/// Longest address, in bytes: a host name and a port.
pub const ADDRESS_BYTES_MAX: usize = ravelin_config::feed::ADDRESS_BYTES_MAX;

/// What the leader does next about the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Change them, all of it at once.
    Change(Vec<Change>),
    /// Hand leadership to this voter first: the leader itself is to go.
    HandOver(NodeId),
}

/// What is looked at to decide.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// What is wanted.
    pub records: &'a Records,
    /// The members that are effective.
    pub members: &'a Configuration,
    /// This node, which leads.
    pub me: NodeId,
    /// Members that answer and have caught up, this one included.
    pub ready: &'a BTreeSet<NodeId>,
    /// Whether a leader that goes may try to hand over first: it has not tried in vain.
    pub may_hand_over: bool,
}

impl Sight<'_> {
    /// Whether a member is to go: it was removed, or another life of it is wanted in its place.
    fn is_leaving(&self, node: NodeId, life: Incarnation) -> bool {
        self.records.get(&node).is_some_and(|record| !record.is_wanted() || record.life() != life)
    }

    fn is_spare(&self, node: NodeId) -> bool {
        self.records.get(&node).is_some_and(|record| record.wanted == Wanted::Spare)
    }

    /// Voters that stay.
    fn staying(&self) -> Vec<NodeId> {
        let all = self.members.voters.iter();
        let staying = all.filter(|(node, life)| !self.is_leaving(**node, **life) && !self.is_spare(**node));
        staying.map(|(node, _)| *node).collect()
    }

    /// Followers without a vote that are to get one, ready or not.
    fn waiting(&self) -> Vec<NodeId> {
        let all = self.members.learners.iter();
        let wanted =
            |node: &NodeId| self.records.get(node).is_none_or(|record| record.wanted == Wanted::Voter);
        all.filter(|(node, life)| !self.is_leaving(**node, **life) && wanted(node))
            .map(|(node, _)| *node)
            .collect()
    }

    /// What comes next, if anything: one step at a time, and none while an earlier one is under way.
    pub fn next(&self) -> Option<Step> {
        if self.members.is_joint() {
            return None;
        }
        let mut changes = self.admissions();
        if changes.is_empty() {
            changes = self.departures();
            changes.extend(self.votes()?);
        }
        if changes.is_empty() {
            return None;
        }
        let goes = |change: &Change| matches!(change, Change::Remove(node) | Change::Demote(node) if *node == self.me);
        if self.may_hand_over
            && changes.iter().any(goes)
            && let Some(heir) =
                self.staying().into_iter().find(|node| *node != self.me && self.ready.contains(node))
        {
            return Some(Step::HandOver(heir));
        }
        Some(Step::Change(changes))
    }

    /// Recorded and not yet a member: they begin without a vote.
    fn admissions(&self) -> Vec<Change> {
        let new = self
            .records
            .iter()
            .filter(|(node, record)| record.is_wanted() && self.members.incarnation(**node).is_none());
        new.map(|(node, record)| Change::AddLearner(*node, record.life())).collect()
    }

    /// Followers without a vote that are to go.
    fn departures(&self) -> Vec<Change> {
        let all = self.members.learners.iter().filter(|(node, life)| self.is_leaving(**node, **life));
        all.map(|(node, _)| Change::Remove(*node)).collect()
    }

    /// Who gets a vote and who loses it. None: nothing of it now, as who shall take a place has not caught up yet.
    fn votes(&self) -> Option<Vec<Change>> {
        let staying = self.staying();
        let waiting = self.waiting();
        let ready: Vec<NodeId> = waiting.iter().copied().filter(|node| self.ready.contains(node)).collect();
        let before = self.members.voters.len();
        let count = odd(staying.len() + ready.len()).min(VOTERS_MAX);
        let could = odd(staying.len() + waiting.len()).min(VOTERS_MAX);
        if count == 0 || (count < before && could > count && !self.is_forced()) {
            return Some(Vec::new());
        }
        let leaving = self.members.voters.iter().filter(|(node, _)| !staying.contains(node));
        let mut changes: Vec<Change> = leaving
            .map(|(node, life)| match self.is_leaving(*node, *life) {
                true => Change::Remove(*node),
                false => Change::Demote(*node),
            })
            .collect();
        let promoted = ready.iter().take(count.saturating_sub(staying.len()));
        changes.extend(
            promoted.filter_map(|node| Some(Change::AddVoter(*node, self.members.incarnation(*node)?))),
        );
        // Those that do not answer stand back first, then those of the highest number; the leader last.
        let mut surplus = staying.clone();
        surplus.sort_by_key(|node| (*node == self.me, self.ready.contains(node), std::cmp::Reverse(*node)));
        let too_many = staying.len().saturating_sub(count);
        changes.extend(surplus.into_iter().take(too_many).map(Change::Demote));
        Some(changes)
    }

    fn is_forced(&self) -> bool {
        let removed = self.members.voters.keys().filter_map(|node| self.records.get(node));
        removed.into_iter().any(|record| record.wanted == Wanted::Removed { force: true })
    }

    /// Whether a voter may be removed without the word that fewer may be left.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn check_removal(&self, node: NodeId, force: bool) -> Result<(), String> {
        if !self.members.voters.contains_key(&node) {
            return Ok(());
        }
        let staying = self.staying().into_iter().filter(|other| *other != node).count();
        let waiting = self.waiting().into_iter().filter(|other| *other != node).count();
        if staying + waiting == 0 {
            return Err(format!("controller {node} is the only voter: nobody would be left to decide"));
        }
        if !force && odd(staying + waiting) < 3 && self.members.voters.len() >= 3 {
            return Err(format!(
                "without controller {node} a single voter would be left, and nobody could take over from that one. Add \
                 another control node first, which takes its place; or repeat the command with --force"
            ));
        }
        Ok(())
    }
}

/// The greatest odd number that is not greater; 0 of 0.
const fn odd(count: usize) -> usize {
    if count % 2 == 1 || count == 0 { count } else { count - 1 }
}

#[cfg(test)]
mod tests;
