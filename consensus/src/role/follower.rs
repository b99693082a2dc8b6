//! Following a leader: its entries, its snapshots, and the acknowledgements that wait for our disk (paper §5.3, §7).

use crate::core::Core;
use crate::durable::SnapshotMeta;
use crate::effect::{Effect, Effects, HaltReason};
use crate::entries::Entries;
use crate::message::{AppendOutcome, Body, SnapshotOutcome};
use crate::role::{Follower, Role};
use crate::types::{Index, NodeId, Payload, Round, Term};

impl<P: Payload> Core<P> {
    /// Takes `from` as the leader of the current term. `false` if that cannot be: we lead, or follow another.
    pub(crate) fn follow(&mut self, from: NodeId, round: Round, out: &mut Effects<P>) -> bool {
        match &mut self.role {
            Role::Leader(_) => return false,
            Role::Follower(follower) if follower.leader.is_some_and(|leader| leader != from) => return false,
            Role::Follower(follower) => {
                follower.leader = Some(from);
                self.set_election_timer(out);
            }
            Role::PreCandidate(_) | Role::Candidate(_) => self.become_follower(Some(from), out),
        }
        if let Role::Follower(follower) = &mut self.role {
            follower.round = follower.round.max(round);
        }
        true
    }

    /// §5.3: takes the leader's entries if the logs meet just before them.
    pub(crate) fn on_append(
        &mut self,
        (prev_index, prev_term): (Index, Term),
        entries: Entries<P>,
        commit: Index,
        out: &mut Effects<P>,
    ) {
        // Before the base everything is committed, so it is equal to any later leader's log (§5.4.3).
        let meets = prev_index < self.log.base() || self.log.term_at(prev_index) == Some(prev_term);
        if !meets {
            if prev_index <= self.commit {
                return self.halt(HaltReason::CommittedConflict { index: prev_index }, out);
            }
            return self.reject_append(prev_index, prev_term, out);
        }
        let Role::Follower(follower) = &mut self.role else { return };
        let mut matched = prev_index;
        let (mut taken, mut bytes) = (0, 0u64);
        for entry in &entries {
            let index = matched.next();
            let held = self.log.term_at(index);
            if index > self.log.base() && held != Some(entry.term) {
                if held.is_some() && index <= self.commit {
                    // I12: what is committed is never cut off; two histories exist, so nothing here can be trusted.
                    return self.halt(HaltReason::CommittedConflict { index }, out);
                }
                // Only a conflict cuts (B7); without one this does nothing.
                self.log.truncate(index);
                follower.matched = follower.matched.min(matched);
                if !self.log.has_room(entry, self.params.log_bytes_max) {
                    break;
                }
                self.log.append(entry.clone());
                (taken, bytes) = (taken + 1, bytes.saturating_add(entry.size_bytes()));
            }
            matched = index;
        }
        if taken > 0 && taken == entries.len() {
            self.log.received(bytes, entries);
        }
        follower.matched = follower.matched.max(matched);
        follower.ack_owed = true;
        // I13 (B8): committed here is only what is known to equal this leader's log.
        self.commit = self.commit.max(commit.min(follower.matched));
    }

    /// §5.3: where the logs may meet at best, a whole run of terms at a time (B32).
    fn reject_append(&mut self, prev_index: Index, prev_term: Term, out: &mut Effects<P>) {
        let hint_index = self.log.meeting_point(prev_index, prev_term).unwrap_or(self.log.base());
        let hint_term = self.log.term_at(hint_index).unwrap_or_default();
        let outcome = AppendOutcome::Rejected { prev_index, hint_index, hint_term };
        if let Role::Follower(Follower { leader: Some(leader), round, .. }) = &self.role {
            self.send(*leader, Body::AppendReply { outcome, round: *round }, out);
        }
    }

    /// An offer of a snapshot (§7). What it covers is committed, so it may also just move our commit index.
    pub(crate) fn on_snapshot(&mut self, from: NodeId, meta: SnapshotMeta, out: &mut Effects<P>) {
        let held = self.log.term_at(meta.index);
        if meta.index <= self.commit && held.is_some_and(|term| term != meta.term) {
            return self.halt(HaltReason::CommittedConflict { index: meta.index }, out);
        }
        if meta.index <= self.commit || held == Some(meta.term) {
            return self.acknowledge_covered(meta.index);
        }
        let Role::Follower(follower) = &mut self.role else { return };
        let (index, round) = (meta.index, follower.round);
        if follower.installing.as_ref() != Some(&meta) {
            follower.installing = Some(meta.clone());
            out.push(Effect::InstallSnapshot { from, meta: Box::new(meta) });
        }
        self.send(from, Body::SnapshotReply { index, outcome: SnapshotOutcome::Receiving, round }, out);
    }

    /// Our log already holds what a snapshot covers: keep it and all that follows (I34).
    fn acknowledge_covered(&mut self, index: Index) {
        self.commit = self.commit.max(index);
        if let Role::Follower(follower) = &mut self.role {
            follower.matched = follower.matched.max(index);
            follower.ack_owed = true;
        }
    }

    /// The bytes are here: the log starts anew after them, unless it has caught up meanwhile (B17).
    pub(crate) fn snapshot_installed(&mut self, meta: &SnapshotMeta) {
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.installing.as_ref() != Some(meta) {
            return;
        }
        follower.installing = None;
        if meta.index > self.commit && self.log.term_at(meta.index) != Some(meta.term) {
            self.log.restart(meta.clone());
            follower.matched = meta.index;
            self.handed = meta.index;
            self.applied = meta.index;
            self.snapshot_asked = false;
        }
        self.acknowledge_covered(meta.index);
    }

    pub(crate) fn snapshot_failed(&mut self, meta: &SnapshotMeta, out: &mut Effects<P>) {
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.installing.as_ref() != Some(meta) {
            return;
        }
        follower.installing = None;
        let (leader, round) = (follower.leader, follower.round);
        if let Some(leader) = leader {
            let reply = Body::SnapshotReply { index: meta.index, outcome: SnapshotOutcome::Failed, round };
            self.send(leader, reply, out);
        }
    }

    /// Derives the replies that durability allows: the vote of this term, and how far our durable log equals the
    /// leader's (I4, I14). An acknowledgement that waits for the disk is sent piece by piece, whenever the disk moves.
    pub(crate) fn settle_follower(&mut self, disk_moved: bool, out: &mut Effects<P>) {
        let durable = self.persistence.hard_state();
        let durable_index = self.persistence.index();
        let Role::Follower(follower) = &mut self.role else { return };
        let vote = durable.vote.filter(|_| follower.vote_owed && durable == self.hard_state);
        follower.vote_owed &= vote.is_none();
        let whole = durable_index >= follower.matched;
        let ack = follower.ack_owed && durable.term == self.hard_state.term && (whole || disk_moved);
        follower.ack_owed &= !(ack && whole);
        let outcome = AppendOutcome::Accepted { matched: follower.matched.min(durable_index) };
        let (leader, round) = (follower.leader, follower.round);
        if let Some(candidate) = vote {
            self.send(candidate, Body::VoteReply { granted: true }, out);
        }
        if let Some(leader) = leader.filter(|_| ack) {
            self.send(leader, Body::AppendReply { outcome, round }, out);
        }
    }
}
