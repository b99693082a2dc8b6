//! Changing the members by joint consensus, one change at a time (paper §6, dissertation §4.3; I24 to I27).
//!
//! A configuration is effective as soon as it is in the log. Here the rules that keep two majorities from deciding
//! apart: when a change may begin, when the old voters are left, and who has to go then.

use crate::configuration::{Change, Configuration};
use crate::core::Core;
use crate::effect::{Effect, Effects, RejectReason};
use crate::entry::{Entry, EntryKind};
use crate::progress::Progress;
use crate::role::Role;
use crate::types::{Index, Payload, ProposalId};

impl<P: Payload> Core<P> {
    /// Appends the configuration that `changes` lead to, or says at once that it never will be there (I41).
    pub(crate) fn change(&mut self, id: ProposalId, changes: &[Change], out: &mut Effects<P>) {
        match self.next_configuration(changes) {
            Ok(configuration) => {
                let index = self.append_configuration(configuration);
                out.push(Effect::Accepted { id, index, term: self.hard_state.term });
            }
            Err(reason) => out.push(Effect::Rejected { id, leader: self.leader(), reason }),
        }
    }

    fn next_configuration(&self, changes: &[Change]) -> Result<Configuration, RejectReason> {
        if !matches!(self.role, Role::Leader(_)) {
            return Err(RejectReason::NotLeader);
        }
        if !self.may_change_members() {
            return Err(RejectReason::ChangePending);
        }
        let next = self.log.configuration().changed(changes).map_err(RejectReason::Impossible)?;
        self.admit_bytes(self.configuration_entry(next.clone()).size_bytes())?;
        Ok(next)
    }

    /// I25, I26 (B13): nothing of an earlier change is open, and an entry of our own term is committed, so that no
    /// change of an earlier leader can still turn up.
    fn may_change_members(&self) -> bool {
        self.log.newest_configuration() <= self.commit
            && !self.log.configuration().is_joint()
            && self.log.term_at(self.commit) == Some(self.hard_state.term)
    }

    fn configuration_entry(&self, configuration: Configuration) -> Entry<P> {
        Entry { term: self.hard_state.term, kind: EntryKind::Configuration(configuration) }
    }

    /// Effective from here on: new members are fed at once, and those that left until the end of the change is
    /// committed, so that they hear of it (B15).
    fn append_configuration(&mut self, configuration: Configuration) -> Index {
        let given = self.persistence.last();
        let entry = self.configuration_entry(configuration);
        let own = self.params.id;
        if let Role::Leader(leader) = &mut self.role {
            leader.uncommitted_bytes = leader.uncommitted_bytes.saturating_add(entry.size_bytes());
        }
        let index = self.log.append(entry);
        if let Role::Leader(leader) = &mut self.role {
            for node in self.log.configuration().members().filter(|node| *node != own) {
                // Who is new could not answer yet: the next look at the quorum does not hold it against us.
                let new = || Progress { active: self.params.check_quorum, ..Progress::new(given) };
                leader.progress.entry(node).or_insert_with(new);
            }
        }
        index
    }

    /// I27 (B15): the old voters are left once the joint configuration is committed, by whoever leads then. Says
    /// whether they were left now.
    pub(crate) fn leave_joint(&mut self) -> bool {
        let joint = self.log.configuration();
        let leaves = matches!(self.role, Role::Leader(_))
            && joint.is_joint()
            && self.log.newest_configuration() <= self.commit
            && self.log.term_at(self.commit) == Some(self.hard_state.term);
        if leaves {
            self.append_configuration(joint.left());
        }
        leaves
    }

    /// The members are settled: who is none is no longer fed, and a leader that is no voter has done its last work
    /// (dissertation §4.2.2, I24).
    pub(crate) fn finish_change(&mut self, out: &mut Effects<P>) {
        let configuration = self.log.configuration();
        if configuration.is_joint() || self.log.newest_configuration() > self.commit {
            return;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        leader.progress.retain(|node, _| configuration.incarnation(*node).is_some());
        if !configuration.is_voter(self.params.id, self.params.incarnation) {
            self.become_follower(None, out);
        }
    }

    /// I24: a voter campaigns, and so does one whose removal is not known to be committed: without it the others
    /// might not be able to elect anybody (dissertation §4.2.2, figure 4.6).
    pub(crate) fn may_vote_for_itself(&self) -> bool {
        let mut known = self.log.configurations_since(self.commit);
        known.any(|configuration| configuration.is_voter(self.params.id, self.params.incarnation))
    }
}
