//! Carries out the core's effects: writes in order, frames, apply, snapshots; settles the node after each event.
//! It must not decide what is committed or who leads: the core does.

use ravelin_consensus::{
    Durable, Effect, HaltReason, Index, Input, Message, NodeId, RejectReason, RoleName, SnapshotMeta, Term,
    Time,
};

use super::boot::Known;
use super::event::{Action, Actions, Event};
use super::timers::{Due, after, between};
use super::{KNOWN_INTERVAL, Node, Proposer, SNAPSHOT_RETRY, fed_generation, with_ground};
use crate::api::State;
use crate::reconcile::Decision;
use crate::request::status::EventKind;
use crate::request::{Refusal as Refused, RefusalReason, RequestId, Response};
use crate::storage::CommandBytes;
use crate::store::{Applied, Author, Refusal, Store};

/// Most rounds in which one event may lead to further steps of the core. Each proposal takes one; a bound that is never met in practice keeps `handle` total.
const ROUNDS_MAX: usize = 64;

impl Node {
    /// Carries everything through that follows from an event, then names the next deadline.
    pub(super) fn settle(&mut self, now: Time, actions: &mut Actions) {
        for _ in 0..ROUNDS_MAX {
            self.carry_out(now, actions);
            if self.halted.is_some() {
                return;
            }
            self.act(now, actions);
            if self.effects.is_empty() {
                break;
            }
        }
        self.publish(now, actions);
        if let Some(at) = self.timers.announce() {
            actions.push(Action::WakeAt(at));
        }
    }

    fn carry_out(&mut self, now: Time, actions: &mut Actions) {
        while !self.effects.is_empty() {
            let mut effects = std::mem::take(&mut self.effects);
            for effect in effects.drain() {
                self.effect(now, effect, actions);
            }
        }
    }

    fn effect(&mut self, now: Time, effect: Effect<CommandBytes>, actions: &mut Actions) {
        match effect {
            Effect::Send { to, message } => self.send(to, message, actions),
            Effect::Persist(batch) => {
                if let Some(meta) = &batch.snapshot {
                    self.install(now, meta, actions);
                }
                actions.push(Action::Persist(batch));
            }
            Effect::Apply { first, entries } => self.hand_over(now, first, entries, actions),
            Effect::Accepted { id, .. } => match self.proposals.remove(&id) {
                Some(Proposer::Request(request)) => {
                    self.answer(now, request, Response::Proposed, actions);
                }
                Some(Proposer::Member(request)) => self.member_accepted(request),
                Some(Proposer::Roles) | None => {}
            },
            Effect::Rejected { id, leader, reason } => {
                let proposer = self.proposals.remove(&id);
                if let Some(Proposer::Member(_)) = proposer {
                    self.member_rejected();
                }
                if let Some(Proposer::Request(request) | Proposer::Member(request)) = proposer {
                    self.answer(now, request, rejection(leader, reason), actions);
                }
            }
            Effect::ReadReady { id, index } => {
                if let Some(request) = self.reads.remove(&id) {
                    self.api.set_state(request, State::Applying { index: index.0 });
                }
            }
            Effect::ReadFailed { id, .. } => {
                if let Some(request) = self.reads.remove(&id) {
                    self.api.wait_again(now, request);
                }
            }
            Effect::TransferFailed { to, .. } => self.hand_over_failed(now, to, actions),
            Effect::SetTimer { timer, min, max } => {
                let span = self.random.span(min, max);
                self.timers.set(Due::Core(timer), after(now, span));
            }
            Effect::CancelTimer(timer) => self.timers.cancel(Due::Core(timer)),
            Effect::TakeSnapshot => self.snapshot.wanted = Some(now),
            // The follower asks for the bytes itself, over lane Snapshot: the offer has told it what to ask for.
            Effect::SendSnapshot { .. } => {}
            Effect::InstallSnapshot { from, meta } => {
                self.snapshot.fetching = Some(SnapshotMeta::clone(&meta));
                actions.push(Action::FetchSnapshot { from, meta: *meta });
            }
            Effect::RoleChanged { role, term, leader } => self.role_changed(now, role, term, leader, actions),
            Effect::Halt(reason) => self.halt(now, halt_text(reason), actions),
        }
    }

    fn send(&mut self, to: NodeId, message: Message<CommandBytes>, actions: &mut Actions) {
        // What cannot be encoded is lost; the core's bounds keep messages within the codec's.
        if let Ok(frame) = self.appends.encode(message) {
            actions.push(Action::SendRaft { to, frame });
        }
    }

    fn role_changed(
        &mut self,
        now: Time,
        role: RoleName,
        term: Term,
        leader: Option<NodeId>,
        actions: &mut Actions,
    ) {
        let me = self.me();
        let (old_role, old_term, old_leader) = self.standing;
        self.standing = (role, term, leader);
        self.roles.changed(now, me, term, leader);
        self.members_led_anew(now);
        if role == RoleName::Leader && (old_role, old_term) != (role, term) {
            self.note(now, EventKind::LeaderElected { term: term.0 }, actions);
        }
        match leader {
            Some(leader) if leader != me && (Some(leader), old_term) != (old_leader, term) => {
                self.note(now, EventKind::LeaderFollowed { leader: leader.0, term: term.0 }, actions);
            }
            None if old_leader.is_some() => {
                self.note(now, EventKind::LeaderLost { term: term.0 }, actions);
            }
            _ => {}
        }
    }

    /// What the log decided, told to the reconciler where it was about a change, and noted where worth it.
    pub(super) fn applied(&mut self, now: Time, applied: Applied, actions: &mut Actions) {
        self.member_decided(&applied);
        let generation = self.store.generation();
        let (id, decision) = match applied {
            Applied::Nothing
            | Applied::Dropped { .. }
            | Applied::Recorded { .. }
            | Applied::LimitsSet { .. }
            | Applied::FeatureLevelRaised { .. }
            | Applied::SessionOpened { .. }
            | Applied::SessionClosed { .. }
            | Applied::Answered { .. } => return,
            Applied::Appointed { node, epoch } => {
                return self.note(now, EventKind::ControllerAppointed { node: node.0, epoch }, actions);
            }
            Applied::Staged { id, part, .. } => (id, Decision::Staged { part }),
            Applied::Unchanged { id, generation } => (id, Decision::Committed { generation }),
            Applied::Duplicate { id, .. } => {
                // It is told as it was then.
                let generation = self.store.outcome(&id).map_or(generation, |outcome| outcome.generation);
                (id, Decision::Committed { generation })
            }
            Applied::Changed { id, revision, generation } => {
                if revision == generation.revision {
                    let name = generation.to_string();
                    let kind = EventKind::GenerationCommitted { revision, generation: name };
                    self.note(now, kind, actions);
                }
                (id, Decision::Committed { generation })
            }
            Applied::Refused { id, refusal } => {
                let decision = self.refused(now, refusal, actions);
                let Some(id) = id else { return };
                (id, decision)
            }
        };
        let reconcile = &mut self.reconcile;
        with_ground(&self.store, |ground| reconcile.decided(now, RequestId(id.0), &decision, ground));
    }

    fn refused(&mut self, now: Time, refusal: Refusal, actions: &mut Actions) -> Decision {
        match refusal {
            Refusal::StaleEpoch { author, current } => {
                let epoch = match author {
                    Author::Controller { epoch, .. } => epoch,
                    Author::Operator { .. } => 0,
                };
                let current = current.map_or(0, |(_, epoch)| epoch);
                self.note(
                    now,
                    EventKind::StaleWriteRefused { epoch, current, decided_by_log: true },
                    actions,
                );
                Decision::StaleEpoch
            }
            Refusal::BaseChanged { expected, .. } => Decision::Conflict { base: expected },
            other => Decision::Impossible { reason: other.to_string() },
        }
    }

    /// What is applied is fed, and read by whom it was promised. After a recovery nothing is before the entry that begins the
    /// epoch is applied: what the survivor holds before it may have been decided otherwise, under the same revision.
    fn publish(&mut self, now: Time, actions: &mut Actions) {
        let of_this_epoch = self.store.recovery_epoch() == self.core.params().recovery_epoch.0;
        if let Some(generation) = fed_generation(&self.store).filter(|_| of_this_epoch)
            && self.announced != Some(generation)
        {
            self.announced = Some(generation);
            let noted = self.with_feed(|feed, source| feed.publish(now, generation, source, actions));
            for kind in noted {
                self.note(now, kind, actions);
            }
            actions.push(Action::Generation(generation));
        }
    }

    pub(super) fn snapshot_event(&mut self, now: Time, event: Event, actions: &mut Actions) {
        match event {
            Event::SnapshotWritten(meta) => {
                self.snapshot.writing = false;
                self.note(now, EventKind::SnapshotTaken { index: meta.index.0, installed: false }, actions);
                self.step(now, Input::SnapshotTaken(Box::new(meta.clone())));
                // The log lets go only of what the core has let go of: a snapshot that does not say what the log says must never
                // stand in its place.
                match self.core.snapshot() {
                    Some(held) if *held == meta => actions.push(Action::CompactLog(meta)),
                    Some(held) if held.index >= meta.index => {}
                    _ => {
                        let reason =
                            format!("the snapshot of entry {} does not say what the log says", meta.index);
                        self.halt(now, reason, actions);
                    }
                }
            }
            Event::SnapshotNotWritten { .. } => {
                self.snapshot.writing = false;
                self.snapshot.wanted = Some(after(now, SNAPSHOT_RETRY));
            }
            Event::SnapshotFetched { meta, store } if self.snapshot.fetching.as_ref() == Some(&meta) => {
                self.snapshot.fetching = None;
                self.snapshot.fetched = Some((meta.clone(), store));
                self.step(now, Input::SnapshotInstalled(Box::new(meta)));
            }
            Event::SnapshotNotFetched { meta, .. } if self.snapshot.fetching.as_ref() == Some(&meta) => {
                self.snapshot.fetching = None;
                self.step(now, Input::SnapshotFailed(Box::new(meta)));
            }
            _ => {}
        }
    }

    /// The core continues from a fetched snapshot: so does the state, before anything later is applied.
    fn install(&mut self, now: Time, meta: &SnapshotMeta, actions: &mut Actions) {
        match self.snapshot.fetched.take() {
            Some((fetched, _)) if fetched == *meta && self.store.applied_index() >= meta.index => {
                // The state here goes further, from a time when more was known: it never goes back.
            }
            Some((fetched, store)) if fetched == *meta => {
                self.replace_store(store, actions);
                self.applying.replaced();
                self.apply_members(now, meta.configuration.clone(), actions);
                self.note(now, EventKind::SnapshotTaken { index: meta.index.0, installed: true }, actions);
            }
            _ => {
                let reason =
                    format!("the snapshot of entry {} is to be installed, but is not here", meta.index);
                self.halt(now, reason, actions);
            }
        }
    }

    /// Notes now and then how far the log is known to be committed.
    pub(super) fn note_known(&mut self, now: Time, actions: &mut Actions) {
        let known = Known { index: self.store.applied_index().0, term: self.store.applied_term().0 };
        let due = match self.noted {
            None => known.index > 0,
            Some((noted, at)) => noted != known && between(at, now) >= KNOWN_INTERVAL,
        };
        if due {
            self.noted = Some((known, now));
            actions.push(Action::NoteKnown(known));
        }
    }

    /// Begins a snapshot that is wanted, unless one is being written.
    pub(super) fn take_snapshot(&mut self, now: Time, actions: &mut Actions) {
        if self.snapshot.writing || self.snapshot.wanted.is_none_or(|at| at > now) {
            return;
        }
        let index = self.store.applied_index();
        // A node that has not been told who the members are has nothing to say of them in a snapshot.
        let knows_none = self.applied_members.members().next().is_none();
        if index == Index::ZERO || index != self.core.applied_index() || knows_none {
            return;
        }
        self.snapshot.wanted = None;
        self.snapshot.writing = true;
        actions.push(Action::WriteSnapshot {
            index,
            term: self.store.applied_term(),
            configuration: self.applied_members.clone(),
            store: Box::new(self.store.clone()),
        });
    }
}

/// Applies what is known to be committed, where the log holds the very entry that the note names.
pub(super) fn apply_known(store: &mut Store, durable: &Durable<CommandBytes>, known: Known) {
    let base = durable.base();
    let Some(count) = known.index.checked_sub(base.0).and_then(|count| usize::try_from(count).ok()) else {
        return;
    };
    let Some(entries) = durable.entries.get(..count) else { return };
    if entries.last().is_none_or(|last| last.term.0 != known.term) {
        return;
    }
    let mut index = base.next();
    for entry in entries {
        // An entry that this version cannot read stops the node once it is committed again, with its reason.
        if store.apply(index, entry).is_err() {
            return;
        }
        index = index.next();
    }
}

fn rejection(leader: Option<NodeId>, reason: RejectReason) -> Response {
    match reason {
        RejectReason::NotLeader => {
            Response::Redirect { node: leader.map(|leader| leader.0), may_take_effect: false }
        }
        RejectReason::Busy
        | RejectReason::LogFull
        | RejectReason::ChangePending
        | RejectReason::Transferring => {
            Response::Unavailable { reason: "the log cannot take more at the moment".to_owned() }
        }
        RejectReason::TooLarge => {
            let problem = "larger than a log entry may be: make the change in several smaller ones";
            Response::Refused(Refused::new(RefusalReason::TooLarge, problem))
        }
        RejectReason::Impossible(error) => Response::Unavailable { reason: error.to_string() },
        RejectReason::Halted => Response::Unavailable { reason: "this node has stopped".to_owned() },
    }
}

fn halt_text(reason: HaltReason) -> String {
    match reason {
        HaltReason::PersistFailed => "a write to the log failed".to_owned(),
        HaltReason::CommittedConflict { index } => {
            format!("the leader's entry {index} differs from the committed one here: two histories exist")
        }
    }
}
