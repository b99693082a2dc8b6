//! Linearizable reads without a log entry (ReadIndex, dissertation §6.4).
//!
//! The leader numbers its rounds itself. A round is confirmed only by answers that name it or a later one, so neither
//! a repeated client id nor a late answer can confirm it (I32, B11). Reads that come while a round is open wait for
//! the next one: one round at a time, however many reads.

use crate::types::{Index, ReadId, Round};

/// Reads whose round is under way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct OpenRound {
    pub(crate) index: Index,
    pub(crate) ids: Vec<ReadId>,
}

/// The reads of one leader in one term.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Reads {
    /// The newest round begun.
    pub(crate) round: Round,
    /// It, while it is not confirmed.
    pub(crate) open: Option<OpenRound>,
    /// Reads for the next round.
    pub(crate) queued: Vec<ReadId>,
}

impl Reads {
    /// How many reads wait.
    pub(crate) fn len(&self) -> usize {
        self.queued.len() + self.open.as_ref().map_or(0, |open| open.ids.len())
    }

    /// Begins a round for all that is queued, at the leader's commit index (I31). Says whether one was begun.
    pub(crate) fn begin(&mut self, commit: Index) -> bool {
        if self.open.is_some() || self.queued.is_empty() {
            return false;
        }
        self.round = Round(self.round.0.saturating_add(1));
        self.open = Some(OpenRound { index: commit, ids: std::mem::take(&mut self.queued) });
        true
    }

    /// Every read that was not confirmed.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = ReadId> + use<> {
        let open = self.open.take().map(|open| open.ids).unwrap_or_default();
        open.into_iter().chain(std::mem::take(&mut self.queued))
    }
}
