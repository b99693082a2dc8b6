//! What must hold of one core after every step.

use crate::core::Core;
use crate::durable::HardState;
use crate::invariant::{Violation, holds, must};
use crate::progress::Mode;
use crate::role::{Leader, Role};
use crate::types::{Index, Payload};

impl<P: Payload> Core<P> {
    /// The local invariants. Costs a walk over the log.
    ///
    /// # Errors
    /// The first one that is broken.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_indices()?;
        if self.halted.is_some() {
            // It stopped in the middle of a step, and nothing comes from it any more.
            return Ok(());
        }
        self.check_terms()?;
        match &self.role {
            Role::Follower(follower) => holds(follower.matched <= self.log.last_index(), "I13", || {
                format!("matched {} beyond the log's end {}", follower.matched, self.log.last_index())
            }),
            Role::PreCandidate(_) => Ok(()),
            Role::Candidate(ballot) => {
                let own = HardState { term: self.hard_state.term, vote: Some(self.params.id) };
                must(self.hard_state == own, "I19", "a candidate that has not voted for itself")?;
                let waited = ballot.granted.is_empty() || self.persistence.hard_state() == own;
                must(waited, "I19", "votes counted before our own was durable")?;
                let (id, life) = (self.params.id, self.params.incarnation);
                let later = (self.commit.0..=self.log.last_index().0).map(Index);
                let mut known = later.map(|index| self.log.configuration_at(index));
                must(known.any(|members| members.is_voter(id, life)), "I24", "a candidate that is no voter")
            }
            Role::Leader(leader) => self.check_leader(leader),
        }
    }

    fn check_terms(&self) -> Result<(), Violation> {
        let durable = self.persistence.hard_state();
        holds(durable.term <= self.hard_state.term, "I3", || {
            format!("durable term {} above {}", durable.term, self.hard_state.term)
        })?;
        let written = self.persistence.written() == self.hard_state;
        must(written, "I4", "term or vote changed without being written")?;
        let durable_end = self.log.term_at(self.persistence.index()).unwrap_or_default();
        holds(durable_end <= durable.term, "I5", || {
            format!("durable entry of term {durable_end}, durable term {}", durable.term)
        })?;
        holds(self.log.last_term() <= self.hard_state.term, "I5", || {
            format!("entry of term {} in term {}", self.log.last_term(), self.hard_state.term)
        })?;
        must(self.log.is_coherent(), "I28", "derived parts of the log differ from its entries")?;
        let gathered = self.log.unwritten().map_or(self.log.last_index(), Index::previous);
        let may_wait = self.log.unwritten().is_none() || self.gathers();
        must(may_wait, "I36", "entries wait to be written, and nothing is gathered for the next batch")?;
        let leads_there = self.persistence.is_coherent(gathered);
        must(leads_there, "I36", "pending writes do not lead to the log in memory")
    }

    fn check_indices(&self) -> Result<(), Violation> {
        let snapshot = self.log.snapshot_index();
        let ladder =
            [self.log.base(), snapshot, self.applied, self.handed, self.commit, self.log.last_index()];
        holds(ladder.is_sorted(), "I17", || {
            format!("base, snapshot, applied, handed, commit, last: {ladder:?}")
        })?;
        holds(self.handed <= self.persistence.index().max(snapshot), "I18", || {
            format!("applied to {} while durable to {}", self.handed, self.persistence.index())
        })
    }

    fn check_leader(&self, leader: &Leader) -> Result<(), Violation> {
        must(self.log.last_term() == self.hard_state.term, "I8", "a leader without an entry of its term")?;
        holds(leader.uncommitted_bytes == self.log.bytes_after(self.commit), "I39", || {
            format!("{} uncommitted bytes counted", leader.uncommitted_bytes)
        })?;
        let members = self.log.configuration();
        let settled = !members.is_joint() && self.log.newest_configuration() <= self.commit;
        let votes = members.is_voter(self.params.id, self.params.incarnation);
        must(!settled || votes, "I24", "leads although it is no voter any more")?;
        let serves = self.log.term_at(self.commit) == Some(self.hard_state.term);
        must(serves || leader.reads.open.is_none(), "I32", "a read round before a commit of this term")?;
        for (node, progress) in &leader.progress {
            let next = progress.next;
            holds(progress.matched < next && next <= self.persistence.last().next(), "I40", || {
                format!("{node}: matched {}, next {next}", progress.matched)
            })?;
            let reachable = self.log.term_at(next.previous()).is_some() || self.log.snapshot().is_some();
            holds(reachable, "I35", || format!("{node} needs entry {next}, which is gone"))?;
            if let Mode::Replicate { inflight } = &progress.mode {
                let within = inflight.len() <= self.params.inflight_messages_max;
                let sorted = inflight.iter().map(|(last, _)| *last).is_sorted();
                let last = inflight.back().map_or(Index::ZERO, |(last, _)| *last);
                holds(within && sorted && last < next, "I39", || {
                    format!("{node}: {} in flight", inflight.len())
                })?;
            }
        }
        Ok(())
    }
}
