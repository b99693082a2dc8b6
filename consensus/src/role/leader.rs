//! Leading: taking proposals, feeding peers, committing, confirming reads, and knowing when to stop (paper §5.3, §5.4;
//! dissertation §6.2, §6.4, §10.2.1).

use crate::core::{Core, envelope};
use crate::effect::{Effect, Effects, RejectReason};
use crate::entry::{Entry, EntryKind};
use crate::input::Timer;
use crate::log::Log;
use crate::message::{AppendOutcome, Body, SnapshotOutcome};
use crate::params::Params;
use crate::progress::{Mode, Progress};
use crate::quorum;
use crate::read::Asker;
use crate::role::{Leader, Role};
use crate::types::{Index, NodeId, Payload, ProposalId, Round, Term, Time};

impl<P: Payload> Core<P> {
    /// Begins its term with an empty entry: only with an entry of its own term can a leader commit (§5.4.2, I7).
    pub(crate) fn become_leader(&mut self, now: Time, out: &mut Effects<P>) {
        let last = self.log.last_index();
        let members = self.log.configuration().members();
        let progress = members.filter(|node| *node != self.params.id).map(|node| (node, Progress::new(last)));
        let progress = progress.collect();
        let lease = self.first_lease(now, out);
        self.log.append(Entry { term: self.hard_state.term, kind: EntryKind::Empty });
        let uncommitted_bytes = self.log.bytes_after(self.commit);
        self.role = Role::Leader(Leader { progress, uncommitted_bytes, lease, ..Leader::default() });
        out.push(Effect::CancelTimer(Timer::Election));
        self.set_heartbeat_timer(out);
        self.set_check_quorum_timer(out);
    }

    fn set_heartbeat_timer(&self, out: &mut Effects<P>) {
        let interval = self.params.heartbeat_interval;
        out.push(Effect::SetTimer { timer: Timer::Heartbeat, min: interval, max: interval });
    }

    fn set_check_quorum_timer(&self, out: &mut Effects<P>) {
        if self.params.check_quorum {
            let interval = self.params.check_quorum_interval;
            out.push(Effect::SetTimer { timer: Timer::CheckQuorum, min: interval, max: interval });
        }
    }

    /// Appends a command to the log, or says at once that it never will be there (I41).
    pub(crate) fn propose(&mut self, id: ProposalId, payload: P, out: &mut Effects<P>) {
        let term = self.hard_state.term;
        let entry = Entry { term, kind: EntryKind::Command(payload) };
        let size = entry.size_bytes();
        if let Err(reason) = self.admit_bytes(size) {
            return out.push(Effect::Rejected { id, leader: self.leader(), reason });
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.uncommitted_bytes = leader.uncommitted_bytes.saturating_add(size);
        }
        let index = self.log.append(entry);
        out.push(Effect::Accepted { id, index, term });
    }

    /// Whether a leader may append an entry of this size now (I39).
    pub(crate) fn admit_bytes(&self, size: u64) -> Result<(), RejectReason> {
        let full = self.log.bytes().saturating_add(size) > self.params.log_bytes_max;
        let uncommitted = self.uncommitted_bytes().saturating_add(size);
        match &self.role {
            _ if size > self.params.entry_bytes_max => Err(RejectReason::TooLarge),
            Role::Leader(leader) if leader.transfer.is_some() => Err(RejectReason::Transferring),
            Role::Leader(_) if full => Err(RejectReason::LogFull),
            Role::Leader(_) if uncommitted > self.params.uncommitted_bytes_max => Err(RejectReason::Busy),
            Role::Leader(_) => Ok(()),
            _ => Err(RejectReason::NotLeader),
        }
    }

    /// A sign of life to every peer (§5.2), and another try wherever something may have been lost (I40).
    pub(crate) fn heartbeat(&mut self, out: &mut Effects<P>) {
        if !matches!(self.role, Role::Leader(_)) {
            return;
        }
        self.set_heartbeat_timer(out);
        let Some((mut desk, leader)) = self.desk() else { return };
        if let Some(transfer) = &mut leader.transfer {
            transfer.told = false;
        }
        for (node, progress) in &mut leader.progress {
            if let Mode::Probe { sent } = &mut progress.mode {
                *sent = None;
            }
            if !desk.feed(*node, progress, out) {
                desk.remind(*node, progress, out);
            }
        }
    }

    /// Dissertation §6.2: a leader without a quorum, or whose own disk stands still, lets others try (B9, B23).
    pub(crate) fn check_quorum(&mut self, out: &mut Effects<P>) {
        let own = self.params.id;
        let oldest = self.persistence.oldest_pending();
        let Role::Leader(leader) = &mut self.role else { return };
        let heard = |node| {
            node == own || leader.progress.get(&node).is_some_and(|progress: &Progress| progress.active)
        };
        let stalled = oldest.is_some() && leader.stalled == oldest;
        if !self.params.check_quorum {
            return;
        }
        if stalled || !quorum::reached(self.log.configuration(), heard) {
            return self.become_follower(None, out);
        }
        leader.stalled = oldest;
        for progress in leader.progress.values_mut() {
            progress.active = false;
        }
        self.set_check_quorum_timer(out);
    }

    /// Nothing gets there: the next try waits for the heartbeat (I40).
    pub(crate) fn unreachable(&mut self, node: NodeId) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(progress) = leader.progress.get_mut(&node)
        {
            progress.pause();
        }
    }

    /// Takes note of an answer. Whatever it says, its sender was there, in our term, in that round (I32).
    fn answered(&mut self, from: NodeId, round: Round) -> Option<(&Log<P>, &mut Progress)> {
        let Role::Leader(leader) = &mut self.role else { return None };
        let newest = leader.reads.round;
        let progress = leader.progress.get_mut(&from)?;
        progress.active = self.params.check_quorum;
        progress.round = progress.round.max(round.min(newest));
        Some((&self.log, progress))
    }

    /// §5.3: how far the logs are known to be equal (I15), or where they may meet (B32).
    pub(crate) fn on_append_reply(&mut self, from: NodeId, outcome: AppendOutcome, round: Round) {
        let given = self.persistence.last();
        let Some((log, progress)) = self.answered(from, round) else { return };
        match outcome {
            // I15: nobody can match more than was given to anybody.
            AppendOutcome::Accepted { matched } if matched <= given => {
                progress.accepted(matched, log.base());
            }
            AppendOutcome::Accepted { .. } => {}
            AppendOutcome::Rejected { prev_index, hint_index, hint_term } => {
                // §5.3: skip a whole term of conflict at a time (B32). Before our base only a snapshot helps.
                let meeting = log.meeting_point(hint_index, hint_term);
                progress.rejected(prev_index, meeting.unwrap_or(log.base().previous()));
            }
        }
    }

    pub(crate) fn on_snapshot_reply(&mut self, from: NodeId, offer: (Index, SnapshotOutcome), round: Round) {
        let Some((_, progress)) = self.answered(from, round) else { return };
        if matches!(&progress.mode, Mode::Snapshot { meta } if offer == (meta.index, SnapshotOutcome::Failed))
        {
            progress.pause();
        }
    }

    /// Confirms reads and feeds every peer with what is new (§5.3; I32, I39).
    pub(crate) fn settle_leader(&mut self, now: Time, out: &mut Effects<P>) {
        let round_begun = self.settle_reads(now, out);
        let Some((mut desk, leader)) = self.desk() else { return };
        for (node, progress) in &mut leader.progress {
            if !desk.feed(*node, progress, out) && (round_begun || desk.has_commit_for(progress)) {
                desk.remind(*node, progress, out);
            }
        }
    }

    /// §5.3, §5.4.2 (I7, I16): the greatest index that a quorum holds durably, ourselves included only as far as our
    /// own disk; and only if it is of our own term, which then commits all before it.
    ///
    /// Says whether anything was committed.
    pub(crate) fn advance_commit(&mut self, now: Time) -> bool {
        let own = self.params.id;
        let own_durable = self.persistence.index();
        if self.commit == self.log.last_index() || !self.may_commit(now) {
            return false;
        }
        let Role::Leader(leader) = &mut self.role else { return false };
        let agreed = quorum::agreed(self.log.configuration(), |node| {
            if node == own {
                own_durable.0
            } else {
                leader.progress.get(&node).map_or(0, |progress| progress.matched.0)
            }
        });
        let agreed = Index(agreed);
        let advances = agreed > self.commit && self.log.term_at(agreed) == Some(self.hard_state.term);
        if advances {
            let committed_bytes = self.log.sum(self.commit.next(), agreed);
            leader.uncommitted_bytes = leader.uncommitted_bytes.saturating_sub(committed_bytes);
            self.commit = agreed;
        }
        advances
    }

    /// Dissertation §6.4: no read before an entry of our own term is committed (B10); a round is confirmed by a
    /// quorum that answered it or a later one. Says whether a round was begun, of which every peer must hear now.
    fn settle_reads(&mut self, now: Time, out: &mut Effects<P>) -> bool {
        let own = self.params.id;
        let serves = self.log.term_at(self.commit) == Some(self.hard_state.term);
        if !serves {
            return false;
        }
        let mut begun = self.extend_lease(now);
        let alone = self.holds_lease(now);
        let Role::Leader(Leader { progress, reads, .. }) = &mut self.role else { return begun };
        loop {
            begun |= reads.begin(self.commit, alone);
            if reads.open.is_none() {
                return begun;
            }
            let round = reads.round;
            let confirmed = alone
                || quorum::reached(self.log.configuration(), |node| {
                    node == own || progress.get(&node).is_some_and(|progress| progress.round >= round)
                });
            let Some(open) = reads.open.take_if(|_| confirmed) else { return begun };
            let index = open.index;
            for asker in open.askers {
                out.push(match asker {
                    Asker::Here(id) => Effect::ReadReady { id, index },
                    Asker::Member { node, ticket } => {
                        let body = Body::ReadReply { ticket, index: Some(index) };
                        Effect::Send { to: node, message: envelope(&self.params, self.hard_state.term, body) }
                    }
                });
            }
        }
    }

    /// What feeding a peer reads, and what it changes.
    fn desk(&mut self) -> Option<(Desk<'_, P>, &mut Leader)> {
        let Role::Leader(leader) = &mut self.role else { return None };
        let desk = Desk {
            params: &self.params,
            term: self.hard_state.term,
            log: &mut self.log,
            last: self.persistence.last(),
            commit: self.commit,
            round: leader.reads.round,
        };
        Some((desk, leader))
    }
}

/// Everything that feeding a peer may look at.
struct Desk<'a, P> {
    params: &'a Params,
    term: Term,
    log: &'a mut Log<P>,
    /// What is after this is gathered for the next batch.
    last: Index,
    commit: Index,
    round: Round,
}

impl<P: Payload> Desk<'_, P> {
    /// Sends all that the window allows (I39); entries leave while our own disk still writes them (dissertation
    /// §10.2.1). Says whether anything was sent.
    fn feed(&mut self, node: NodeId, progress: &mut Progress, out: &mut Effects<P>) -> bool {
        let mut sent = false;
        while progress.next <= self.last
            && progress.may_send(self.params.inflight_messages_max, self.params.inflight_bytes_max)
        {
            sent = true;
            if !self.append(node, progress, true, out) {
                self.begin_snapshot(node, progress, out);
            }
        }
        sent
    }

    /// Whether the peer has not heard of a commit that it can use.
    fn has_commit_for(&self, progress: &Progress) -> bool {
        let usable = self.commit.min(progress.next.previous());
        matches!(progress.mode, Mode::Replicate { .. }) && progress.told_commit < usable
    }

    /// Says again what the peer can be told without entries.
    fn remind(&mut self, node: NodeId, progress: &mut Progress, out: &mut Effects<P>) {
        if let Mode::Snapshot { meta } = &progress.mode {
            let body = Body::Snapshot { meta: Box::new(meta.clone()), round: self.round };
            out.push(Effect::Send { to: node, message: envelope(self.params, self.term, body) });
        } else if !self.append(node, progress, false, out) {
            self.begin_snapshot(node, progress, out);
        }
    }

    /// `false` if the entry before is no longer in the log.
    fn append(&mut self, node: NodeId, progress: &mut Progress, filled: bool, out: &mut Effects<P>) -> bool {
        let prev_index = progress.next.previous();
        let Some(prev_term) = self.log.term_at(prev_index) else { return false };
        let entries_max = if filled { self.params.append_entries_max } else { 0 };
        let wanted = (progress.next, self.last);
        let (entries, bytes) = self.log.bounded(wanted, entries_max, self.params.append_bytes_max);
        let last = prev_index.plus(entries.len());
        progress.sent(last, bytes, !entries.is_empty());
        progress.told_commit = progress.told_commit.max(self.commit.min(last));
        let (commit, round) = (self.commit, self.round);
        let body = Body::Append { prev_index, prev_term, entries, commit, round };
        out.push(Effect::Send { to: node, message: envelope(self.params, self.term, body) });
        true
    }

    /// I35: who needs an entry that we no longer have gets the newest snapshot.
    fn begin_snapshot(&mut self, node: NodeId, progress: &mut Progress, out: &mut Effects<P>) {
        let Some(meta) = self.log.snapshot().cloned() else { return progress.pause() };
        progress.mode = Mode::Snapshot { meta: meta.clone() };
        self.remind(node, progress, out);
        out.push(Effect::SendSnapshot { to: node, meta: Box::new(meta) });
    }
}
