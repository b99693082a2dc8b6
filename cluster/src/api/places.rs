//! Where requests in hand are, by what the node looks for: an event costs the requests that it concerns, not all of them.
//! It must not hold requests themselves.

use std::collections::BTreeSet;

use ravelin_consensus::Time;

use super::{PendingId, ReplyTo, State};
use crate::node::event::LinkId;

/// Indexes over all requests in hand; bounded as they are.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// To be looked at, by when.
    waiting: BTreeSet<(u64, PendingId)>,
    /// Reads, by what must be applied first.
    applying: BTreeSet<(u64, PendingId)>,
    passed: BTreeSet<PendingId>,
    gathering: BTreeSet<PendingId>,
    deadlines: BTreeSet<(u64, PendingId)>,
    links: BTreeSet<(LinkId, PendingId)>,
}

impl Places {
    pub(super) fn enter(&mut self, id: PendingId, deadline: Time, reply: ReplyTo, state: &State) {
        self.deadlines.insert((deadline.micros, id));
        if let ReplyTo::Link { link, .. } = reply {
            self.links.insert((link, id));
        }
        self.arrive(id, state);
    }

    pub(super) fn leave(&mut self, id: PendingId, deadline: Time, reply: ReplyTo, state: &State) {
        self.deadlines.remove(&(deadline.micros, id));
        if let ReplyTo::Link { link, .. } = reply {
            self.links.remove(&(link, id));
        }
        self.depart(id, state);
    }

    /// The request is in this state from now on.
    pub(super) fn arrive(&mut self, id: PendingId, state: &State) {
        match state {
            State::Waiting { not_before } => drop(self.waiting.insert((not_before.micros, id))),
            State::Applying { index } => drop(self.applying.insert((*index, id))),
            State::Passed { .. } => drop(self.passed.insert(id)),
            State::Gathering(_) => drop(self.gathering.insert(id)),
            State::Reconciling | State::InCore => {}
        }
    }

    /// The request is no longer in this state.
    pub(super) fn depart(&mut self, id: PendingId, state: &State) {
        match state {
            State::Waiting { not_before } => drop(self.waiting.remove(&(not_before.micros, id))),
            State::Applying { index } => drop(self.applying.remove(&(*index, id))),
            State::Passed { .. } => drop(self.passed.remove(&id)),
            State::Gathering(_) => drop(self.gathering.remove(&id)),
            State::Reconciling | State::InCore => {}
        }
    }

    /// The oldest first.
    pub(super) fn waiting(&self, now: Time) -> impl Iterator<Item = PendingId> {
        up_to(&self.waiting, now.micros)
    }

    pub(super) fn readable(&self, applied: u64) -> impl Iterator<Item = PendingId> {
        up_to(&self.applying, applied)
    }

    pub(super) fn overdue(&self, now: Time) -> impl Iterator<Item = PendingId> {
        up_to(&self.deadlines, now.micros)
    }

    pub(super) fn passed(&self) -> impl Iterator<Item = PendingId> {
        self.passed.iter().copied()
    }

    pub(super) fn gathering(&self) -> impl Iterator<Item = PendingId> {
        self.gathering.iter().copied()
    }

    pub(super) fn of_link(&self, link: LinkId) -> impl Iterator<Item = PendingId> {
        self.links.range((link, PendingId(0))..=(link, PendingId(u64::MAX))).map(|(_, id)| *id)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let pairs = [&self.waiting, &self.applying, &self.deadlines];
        pairs.iter().all(|set| set.is_empty())
            && self.passed.is_empty()
            && self.gathering.is_empty()
            && self.links.is_empty()
    }
}

fn up_to(set: &BTreeSet<(u64, PendingId)>, last: u64) -> impl Iterator<Item = PendingId> {
    set.range(..=(last, PendingId(u64::MAX))).map(|(_, id)| *id)
}
