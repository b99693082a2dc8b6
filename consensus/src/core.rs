//! The core: one member's Raft state, and its one step.
//!
//! This file says in which order a step settles; what each role does is in `role`. It performs nothing: it reads no
//! clock, draws no random number and never waits.

mod admission;
mod canonical;
mod status;

use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

pub use canonical::Renumbering;
pub use status::{Peer, PeerMode};

use crate::durable::{Batch, Corrupt, Durable, HardState, SnapshotMeta};
use crate::effect::{Effect, Effects, HaltReason, RejectReason, RoleName};
use crate::input::{Input, Timer};
use crate::log::Log;
use crate::message::{Body, Message};
use crate::params::Params;
use crate::persistence::Persistence;
use crate::progress::Mode;
use crate::role::{Follower, Role};
use crate::types::{Index, NodeId, Payload, Term, Ticket, Time};

/// One member's Raft state. Equality and hash cover everything that can change; the constants are outside.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Core<P> {
    pub(crate) params: Aside<Arc<Params>>,
    /// Term and vote in memory; at the end of a step they are on their way to the disk.
    pub(crate) hard_state: HardState,
    pub(crate) log: Log<P>,
    pub(crate) persistence: Persistence,
    pub(crate) commit: Index,
    /// Given to the state machine.
    pub(crate) handed: Index,
    /// Reported by it.
    pub(crate) applied: Index,
    pub(crate) snapshot_asked: bool,
    pub(crate) halted: Option<HaltReason>,
    /// The last question that was asked on behalf of reads here.
    pub(crate) ticket: Ticket,
    pub(crate) role: Role,
}

/// What stands in a core and takes no part in its equality and hash.
#[derive(Clone, Default, Debug)]
pub(crate) struct Aside<T>(pub(crate) T);

impl<T> Deref for Aside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> PartialEq for Aside<T> {
    fn eq(&self, _: &Aside<T>) -> bool {
        true
    }
}

impl<T> Eq for Aside<T> {}

impl<T> Hash for Aside<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// What is announced when it changes.
type Standing = (RoleName, Term, Option<NodeId>);

impl<P: Payload> Core<P> {
    /// A core that continues from what is durable, as a follower that knows of no leader.
    ///
    /// # Errors
    /// The durable state contradicts itself; it is never repaired by guessing (I37).
    pub fn restore(params: Arc<Params>, durable: Durable<P>) -> Result<Self, Corrupt> {
        admission::check_durable(&durable, params.recovery_epoch)?;
        let base = durable.base();
        let hard_state = durable.hard_state;
        let mut log = Log::new(durable.snapshot, durable.configuration);
        for entry in durable.entries {
            log.append(entry);
        }
        // A node that joins later knows of no members at all until its leader tells it: then it decides nothing.
        let knows_none = log.configuration().members().next().is_none();
        if !knows_none && !log.configuration().is_usable() {
            return Err(Corrupt::Members);
        }
        log.take_change();
        let last = log.last_index();
        let persistence = Persistence::new(hard_state, last);
        Ok(Core {
            params: Aside(params),
            hard_state,
            log,
            persistence,
            // What was committed is learnt again from the next leader; a snapshot holds committed entries only.
            commit: base,
            handed: base,
            applied: base,
            snapshot_asked: false,
            halted: None,
            ticket: Ticket::default(),
            role: Role::Follower(Follower::default()),
        })
    }

    /// Takes one event and says what is to be done. Total and deterministic: no input panics, and the same state and
    /// input give the same effects (I43). `now` is read by leases only.
    pub fn step(&mut self, now: Time, input: Input<P>, out: &mut Effects<P>) {
        if self.halted.is_some() {
            return self.refuse(input, out);
        }
        let before = self.standing();
        let mut disk_moved = false;
        match input {
            Input::Start { life } => self.start(life, out),
            Input::Message { from, message } => self.receive(from, message, out),
            Input::Timer(Timer::Election) => self.election_timeout(out),
            Input::Timer(Timer::Heartbeat) => self.heartbeat(out),
            Input::Timer(Timer::CheckQuorum) => self.check_quorum(out),
            Input::Timer(Timer::Transfer) => self.transfer_timeout(out),
            Input::Timer(Timer::Read) => self.ask_leader(out),
            // What it has waited for is looked at below.
            Input::Timer(Timer::Lease) => {}
            Input::Propose { id, payload } => self.propose(id, payload, out),
            Input::Change { id, changes } => self.change(id, &changes, out),
            Input::Transfer(to) => self.hand_over(to, out),
            Input::Read(id) => self.read(id, out),
            Input::Persisted(token) => disk_moved = self.persistence.complete(token),
            Input::PersistFailed => self.halt(HaltReason::PersistFailed, out),
            Input::Applied(index) => self.applied = self.applied.max(index.min(self.handed)),
            Input::SnapshotTaken(meta) => self.snapshot_taken(*meta),
            Input::SnapshotInstalled(meta) => self.snapshot_installed(&meta),
            Input::SnapshotFailed(meta) => self.snapshot_failed(&meta, out),
            Input::Unreachable(node) => self.unreachable(node),
        }
        self.settle(now, disk_moved, out);
        self.announce(before, out);
    }

    /// Carries every consequence of the event to its end. The order matters: what changed is issued to the disk
    /// before any reply is derived from what is durable.
    fn settle(&mut self, now: Time, disk_moved: bool, out: &mut Effects<P>) {
        if self.halted.is_some() {
            return;
        }
        self.settle_candidate(now, out);
        let mut committed = self.advance_commit(now);
        if self.leave_joint() {
            // Fewer have to agree from here on, so more may be agreed on.
            committed |= self.advance_commit(now);
        }
        self.persist(out);
        self.settle_follower(disk_moved, out);
        self.settle_reader(out);
        self.settle_leader(now, out);
        self.settle_transfer(out);
        if committed {
            self.finish_change(out);
            self.persist(out); // What a leader had gathered that has just removed itself.
        }
        self.apply(out);
        self.ask_for_snapshot(out);
    }

    /// One record for everything that changed in this step: term, vote, truncation and entries (B1, I5).
    fn persist(&mut self, out: &mut Effects<P>) {
        if self.gathers() {
            return;
        }
        let change = self.log.take_change();
        if change.is_none() && self.hard_state == self.persistence.written() {
            return;
        }
        let last = self.log.last_index();
        let restarted = change.is_some_and(|change| change.restarted);
        let first = match change {
            Some(change) if !restarted => change.first,
            Some(_) => self.log.base().next(),
            None => last.next(),
        };
        // After a restart from a snapshot nothing of the log in memory is on disk, not even its beginning.
        let replaced = if restarted { Index(1) } else { first };
        let token = self.persistence.issue(self.hard_state, replaced, last);
        out.push(Effect::Persist(Batch {
            token,
            hard_state: self.hard_state,
            snapshot: self.log.snapshot().filter(|_| restarted).cloned().map(Box::new),
            first,
            entries: self.log.range(first, last),
        }));
    }

    /// Batching without timers: while a leader's last batch is on its way to its own disk and to the others, what comes
    /// is gathered for the next one. Once the batch is durable here, or committed, the next is issued and sent.
    pub(crate) fn gathers(&self) -> bool {
        let under_way = self.persistence.oldest_pending().is_some() && self.commit < self.persistence.last();
        under_way && matches!(self.role, Role::Leader(_))
    }

    /// Hands on what is committed and durable here, in order and once (I18).
    fn apply(&mut self, out: &mut Effects<P>) {
        let last = self.commit.min(self.persistence.index());
        if last > self.handed {
            let first = self.handed.next();
            out.push(Effect::Apply { first, entries: self.log.range(first, last) });
            self.log.handed(last);
            self.handed = last;
        }
    }

    /// Once, when the log is half full (§7; I39).
    fn ask_for_snapshot(&mut self, out: &mut Effects<P>) {
        let half_full = self.log.bytes() >= self.params.log_bytes_max / 2;
        if half_full && !self.snapshot_asked && self.applied > self.log.snapshot_index() {
            self.snapshot_asked = true;
            out.push(Effect::TakeSnapshot);
        }
    }

    /// §7: what a snapshot of our own covers may go, except what is wanted soon (I17, I35).
    fn snapshot_taken(&mut self, meta: SnapshotMeta) {
        let ours = self.log.term_at(meta.index) == Some(meta.term)
            && *self.log.configuration_at(meta.index) == meta.configuration;
        if ours && meta.index > self.log.snapshot_index() && meta.index <= self.applied {
            // Who is installing an earlier snapshot shall not need this one as well when it has it (I35, B18).
            let wanted = (self.snapshot_under_way().unwrap_or(Index::MAX), self.params.log_bytes_max / 4);
            self.log.compact(meta, self.params.log_trailing_bytes_max, wanted);
            self.snapshot_asked = false;
        }
    }

    /// The oldest snapshot that a peer of this leader is installing.
    fn snapshot_under_way(&self) -> Option<Index> {
        let offered = self.leading()?.progress.values().filter_map(|progress| match &progress.mode {
            Mode::Snapshot { meta } => Some(meta.index),
            _ => None,
        });
        offered.min()
    }

    fn standing(&self) -> Standing {
        (self.role.name(), self.hard_state.term, self.leader())
    }

    fn announce(&mut self, before: Standing, out: &mut Effects<P>) {
        let now = self.standing();
        if now != before {
            let (role, term, leader) = now;
            out.push(Effect::RoleChanged { role, term, leader });
        }
    }

    /// Stops for good (B28): as a follower of nobody, who answers nothing.
    pub(crate) fn halt(&mut self, reason: HaltReason, out: &mut Effects<P>) {
        self.become_follower(None, out);
        out.push(Effect::CancelTimer(Timer::Election));
        self.halted = Some(reason);
        out.push(Effect::Halt(reason));
    }

    /// After the halt, proposals and reads still get their one answer (I41).
    fn refuse(&mut self, input: Input<P>, out: &mut Effects<P>) {
        match input {
            Input::Propose { id, .. } | Input::Change { id, .. } => {
                out.push(Effect::Rejected { id, leader: None, reason: RejectReason::Halted });
            }
            Input::Read(id) => out.push(Effect::ReadFailed { id, leader: None }),
            Input::Transfer(to) => out.push(Effect::TransferFailed { to, leader: None }),
            _ => {}
        }
    }

    /// A message checked against membership and terms; every kind takes this one way (B9).
    fn receive(&mut self, from: NodeId, message: Message<P>, out: &mut Effects<P>) {
        if !self.admits(from, &message) {
            return;
        }
        if message.term < self.hard_state.term {
            return self.answer_stale(from, &message.body, out);
        }
        if message.term > self.hard_state.term {
            // §5.1, I23: whoever hears of a higher term follows, whatever the message.
            self.hard_state = HardState { term: message.term, vote: None };
            self.become_follower(None, out);
        }
        match message.body {
            Body::PreVote { last_index, last_term } => self.on_pre_vote(from, (last_index, last_term), out),
            Body::PreVoteReply { granted } => self.on_pre_vote_reply(from, granted, out),
            Body::Missing { prev_index, prev_term, entries } => {
                self.on_missing((prev_index, prev_term), entries, out);
            }
            Body::Vote { last_index, last_term } => self.on_vote(from, last_index, last_term, out),
            Body::VoteReply { granted } => self.on_vote_reply(from, granted),
            Body::Append { prev_index, prev_term, entries, commit, round } => {
                if self.follow(from, round, out) {
                    self.on_append((prev_index, prev_term), entries, commit, out);
                }
            }
            Body::AppendReply { outcome, round } => self.on_append_reply(from, outcome, round),
            Body::Snapshot { meta, round } => {
                if self.follow(from, round, out) {
                    self.on_snapshot(from, *meta, out);
                }
            }
            Body::SnapshotReply { index, outcome, round } => {
                self.on_snapshot_reply(from, (index, outcome), round)
            }
            Body::TimeoutNow => self.on_timeout_now(from, out),
            Body::Read { ticket } => self.on_read(from, ticket, out),
            Body::ReadReply { ticket, index } => self.on_read_reply(from, ticket, index, out),
        }
    }

    pub(crate) fn send(&self, to: NodeId, body: Body<P>, out: &mut Effects<P>) {
        out.push(Effect::Send { to, message: envelope(&self.params, self.hard_state.term, body) });
    }

    pub(crate) fn set_election_timer(&self, out: &mut Effects<P>) {
        let (min, max) = (self.params.election_timeout_min, self.params.election_timeout_max);
        out.push(Effect::SetTimer { timer: Timer::Election, min, max });
    }
}

/// Wraps what is said in the facts that the receiver checks first (I29).
pub(crate) fn envelope<P>(params: &Params, term: Term, body: Body<P>) -> Message<P> {
    Message {
        cluster: params.cluster,
        recovery_epoch: params.recovery_epoch,
        incarnation: params.incarnation,
        term,
        body,
    }
}
