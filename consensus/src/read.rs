//! Linearizable reads without a log entry (ReadIndex, dissertation §6.4).
//!
//! The leader numbers its rounds itself. A round is confirmed only by answers that name it or a later one, so neither
//! a repeated client id nor a late answer can confirm it (I32, B11). Reads that come while a round is open wait for
//! the next one: one round at a time, however many reads.

use crate::types::{Index, NodeId, ReadId, Round, Ticket};

/// Who waits for a round.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Asker {
    /// A caller of this leader.
    Here(ReadId),
    /// A member, on behalf of its callers.
    Member {
        /// Which.
        node: NodeId,
        /// By which question.
        ticket: Ticket,
    },
}

/// Reads whose round is under way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct OpenRound {
    pub(crate) index: Index,
    pub(crate) askers: Vec<Asker>,
}

/// The reads of one leader in one term.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Reads {
    /// The newest round begun.
    pub(crate) round: Round,
    /// It, while it is not confirmed.
    pub(crate) open: Option<OpenRound>,
    /// Reads for the next round.
    pub(crate) queued: Vec<Asker>,
}

impl Reads {
    /// How many reads wait.
    pub(crate) fn len(&self) -> usize {
        self.queued.len() + self.open.as_ref().map_or(0, |open| open.askers.len())
    }

    /// A round that nobody can have answered yet.
    pub(crate) fn next_round(&mut self) -> Round {
        self.round = Round(self.round.0.saturating_add(1));
        self.round
    }

    /// Opens for all that is queued, at the leader's commit index (I31), and unless a lease confirms it (`alone`) begins
    /// a round. Says whether one was begun.
    pub(crate) fn begin(&mut self, commit: Index, alone: bool) -> bool {
        if self.open.is_some() || self.queued.is_empty() {
            return false;
        }
        if !alone {
            self.next_round();
        }
        self.open = Some(OpenRound { index: commit, askers: std::mem::take(&mut self.queued) });
        !alone
    }

    fn askers(&self) -> impl Iterator<Item = &Asker> {
        self.open.iter().flat_map(|open| &open.askers).chain(&self.queued)
    }

    /// Whether this question waits already: it was sent twice.
    pub(crate) fn holds(&self, node: NodeId, ticket: Ticket) -> bool {
        self.askers().any(|asker| *asker == Asker::Member { node, ticket })
    }

    /// Every read of a caller here that was not confirmed.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = ReadId> + use<> {
        let here = |asker: &Asker| match asker {
            Asker::Here(id) => Some(*id),
            Asker::Member { .. } => None,
        };
        let ids: Vec<ReadId> = self.askers().filter_map(here).collect();
        (self.open, self.queued) = (None, Vec::new());
        ids.into_iter()
    }

    /// The same reads under other names for the nodes.
    pub(crate) fn renamed(mut self, name: &impl Fn(NodeId) -> NodeId) -> Reads {
        for asker in self.open.iter_mut().flat_map(|open| &mut open.askers).chain(&mut self.queued) {
            if let Asker::Member { node, .. } = asker {
                *node = name(*node);
            }
        }
        self
    }
}
