//! Elections: when to campaign, who gets our vote, and when a campaign is won (paper §5.2, §5.4.1; dissertation §9.6).

use crate::core::Core;
use crate::effect::{Effect, Effects};
use crate::entries::Entries;
use crate::input::Timer;
use crate::message::Body;
use crate::quorum;
use crate::role::{Ballot, Follower, Role};
use crate::types::{Index, Life, NodeId, Payload, Term, Ticket, Time};

impl<P: Payload> Core<P> {
    /// Timers begin. A lone voter needs nobody's silence and nobody's vote but its own.
    pub(crate) fn start(&mut self, life: Life, out: &mut Effects<P>) {
        self.ticket = self.ticket.max(Ticket { life, number: 0 });
        if !matches!(self.role, Role::Follower(_)) {
            return;
        }
        self.set_election_timer(out);
        if self.may_campaign() && quorum::reached(self.log.configuration(), |node| node == self.params.id) {
            self.campaign(out);
        }
    }

    pub(crate) fn may_campaign(&self) -> bool {
        self.may_vote_for_itself() && self.hard_state.term < Term::MAX
    }

    /// Silence for a whole election timeout (§5.2; I24).
    pub(crate) fn election_timeout(&mut self, out: &mut Effects<P>) {
        if matches!(self.role, Role::Leader(_)) {
            return;
        }
        self.set_election_timer(out);
        if !self.may_campaign() {
            // Its vote may be needed by those who know of a configuration that names it (§4.2.3).
            self.abandon_reads(None, out);
            if let Role::Follower(follower) = &mut self.role {
                follower.leader = None;
            }
            return;
        }
        if self.params.pre_vote { self.ask_around(out) } else { self.campaign(out) }
    }

    /// §9.6: a candidate that was not elected asks again in its term, so that a node that cannot win never raises
    /// the term of those that can hear it (L3).
    fn ask_around(&mut self, out: &mut Effects<P>) {
        let body = Body::PreVote { last_index: self.log.last_index(), last_term: self.log.last_term() };
        self.abandon_reads(None, out);
        self.role = Role::PreCandidate(Ballot { granted: [self.params.id].into(), told: false });
        self.ask_voters(&body, out);
        self.campaign_if_welcome(out);
    }

    fn ask_voters(&self, body: &Body<P>, out: &mut Effects<P>) {
        let configuration = self.log.configuration();
        for node in configuration.members().filter(|node| *node != self.params.id) {
            if [&configuration.voters, &configuration.outgoing].iter().any(|part| part.contains_key(&node)) {
                self.send(node, body.clone(), out);
            }
        }
    }

    /// I22: answers without changing anything here. Whoever has a leader refuses; whoever has none, and a log that goes
    /// on where the asker's ends, sends what is missing: a quorum may hear the asker alone (B23, "constrained").
    pub(crate) fn on_pre_vote(&mut self, from: NodeId, last: (Index, Term), out: &mut Effects<P>) {
        let (prev_index, prev_term) = last;
        if self.leader().is_some() {
            return;
        }
        if self.log.is_not_behind(prev_index, prev_term) {
            self.send(from, Body::PreVoteReply { granted: true }, out);
        } else if self.log.term_at(prev_index) == Some(prev_term) {
            let (count, bytes) = (self.params.append_entries_max, self.params.append_bytes_max);
            let wanted = (prev_index.next(), self.log.last_index());
            let (entries, _) = self.log.bounded(wanted, count, bytes);
            self.send(from, Body::Missing { prev_index, prev_term, entries }, out);
        }
    }

    /// Takes what goes on exactly where our log ends, and asks again. It makes our log a beginning of another's (I6) and
    /// is neither acknowledged nor committed by it; as nothing is cut off, whatever we promised of our log still holds
    /// (I15, I16), and who votes for us compares what we then have (§5.4.1, I21).
    pub(crate) fn on_missing(&mut self, prev: (Index, Term), entries: Entries<P>, out: &mut Effects<P>) {
        let last = self.log.last_index();
        let goes_on = (last, self.log.last_term()) == prev;
        if !goes_on || !matches!(self.role, Role::PreCandidate(_)) {
            return;
        }
        for entry in entries {
            if !self.log.has_room(&entry, self.params.log_bytes_max) {
                break;
            }
            self.log.append(entry);
        }
        if self.log.last_index() > last {
            self.ask_around(out);
        }
    }

    pub(crate) fn on_pre_vote_reply(&mut self, from: NodeId, granted: bool, out: &mut Effects<P>) {
        if granted && let Role::PreCandidate(ballot) = &mut self.role {
            ballot.granted.insert(from);
            self.campaign_if_welcome(out);
        }
    }

    fn campaign_if_welcome(&mut self, out: &mut Effects<P>) {
        if let Role::PreCandidate(ballot) = &self.role
            && quorum::reached(self.log.configuration(), |node| ballot.granted.contains(&node))
        {
            self.campaign(out);
        }
    }

    /// §5.2: raises the term and votes for itself. Nobody is asked before that vote is durable (I4): else a restart could
    /// win with answers to a log that it no longer has.
    pub(crate) fn campaign(&mut self, out: &mut Effects<P>) {
        self.abandon_reads(None, out);
        self.hard_state.term = self.hard_state.term.next();
        self.hard_state.vote = Some(self.params.id);
        self.role = Role::Candidate(Ballot::default());
        self.set_election_timer(out);
    }

    /// Once our own vote is durable it counts, and the others are asked; with a quorum, we lead (I1, I19).
    pub(crate) fn settle_candidate(&mut self, now: Time, out: &mut Effects<P>) {
        let Role::Candidate(ballot) = &mut self.role else { return };
        if self.persistence.hard_state() == self.hard_state && ballot.granted.insert(self.params.id) {
            let body = Body::Vote { last_index: self.log.last_index(), last_term: self.log.last_term() };
            self.ask_voters(&body, out);
        }
        if let Role::Candidate(ballot) = &self.role
            && quorum::reached(self.log.configuration(), |node| ballot.granted.contains(&node))
        {
            self.become_leader(now, out);
        }
    }

    /// §5.2 and §5.4.1 (I2, I21): at most one vote a term, and only for a log that is not behind ours. The answer
    /// leaves when the vote is durable.
    pub(crate) fn on_vote(&mut self, from: NodeId, last_index: Index, last_term: Term, out: &mut Effects<P>) {
        let open = match self.hard_state.vote {
            Some(vote) => vote == from,
            None => self.leader().is_none(),
        };
        if !open || !self.log.is_not_behind(last_index, last_term) {
            return;
        }
        self.hard_state.vote = Some(from);
        if !matches!(self.role, Role::Follower(_)) {
            self.role = Role::Follower(Follower::default());
        }
        if let Role::Follower(follower) = &mut self.role {
            follower.vote_owed = true;
        }
        self.set_election_timer(out);
    }

    /// Nobody can have granted what was not asked for: before our own vote is durable, no answer counts (§5.2; I19).
    pub(crate) fn on_vote_reply(&mut self, from: NodeId, granted: bool) {
        if let Role::Candidate(ballot) = &mut self.role
            && granted
            && ballot.granted.contains(&self.params.id)
        {
            ballot.granted.insert(from);
        }
    }

    /// Steps back to following `leader`, or nobody yet, in the current term (§5.1, §5.2).
    pub(crate) fn become_follower(&mut self, leader: Option<NodeId>, out: &mut Effects<P>) {
        self.abandon_reads(leader, out);
        if let Role::Leader(led) = &self.role {
            let transfer = led.transfer.map(|_| Timer::Transfer);
            let check_quorum = self.params.check_quorum.then_some(Timer::CheckQuorum);
            for timer in [transfer, Some(Timer::Heartbeat), check_quorum].into_iter().flatten() {
                out.push(Effect::CancelTimer(timer));
            }
        }
        self.role = Role::Follower(Follower { leader, ..Follower::default() });
        self.set_election_timer(out);
    }
}
