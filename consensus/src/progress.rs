//! What a leader knows of one peer: how far its log is known to match, what to send next, and how much is unanswered.

use std::collections::VecDeque;

use crate::durable::SnapshotMeta;
use crate::types::{Index, Round};

/// How a peer is being fed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Mode {
    /// Where the logs meet is not known: one append at a time (I40).
    Probe {
        /// Last index and bytes of the unanswered probe; the next one goes out at the heartbeat, or on a rejection.
        sent: Option<(Index, u64)>,
    },
    /// The logs meet: appends follow each other without waiting, within the window.
    Replicate {
        /// Last index and bytes of each unanswered append with entries.
        inflight: VecDeque<(Index, u64)>,
    },
    /// The peer needs entries that the log no longer has (I35).
    Snapshot {
        /// What it was offered.
        meta: SnapshotMeta,
    },
}

/// One peer, seen by a leader.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Progress {
    /// The peer's durable log equals ours up to here. Never falls within a term (B6).
    pub(crate) matched: Index,
    /// The next entry to send.
    pub(crate) next: Index,
    pub(crate) mode: Mode,
    /// The newest read round that the peer has answered.
    pub(crate) round: Round,
    /// The greatest commit index that the peer was told of and can have used.
    pub(crate) told_commit: Index,
    /// Whether it has answered since the last look (check-quorum).
    pub(crate) active: bool,
}

impl Progress {
    /// A peer of whom nothing is known, at the beginning of a term.
    pub(crate) fn new(last_index: Index) -> Progress {
        Progress {
            matched: Index::ZERO,
            next: last_index.next(),
            mode: Mode::Probe { sent: None },
            round: Round(0),
            told_commit: Index::ZERO,
            active: false,
        }
    }

    /// Whether an append with entries may be sent now (I39).
    pub(crate) fn may_send(&self, messages_max: usize, bytes_max: u64) -> bool {
        match &self.mode {
            Mode::Probe { sent } => sent.is_none(),
            Mode::Replicate { inflight } => {
                let bytes = inflight.iter().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
                inflight.len() < messages_max && (inflight.is_empty() || bytes < bytes_max)
            }
            Mode::Snapshot { .. } => false,
        }
    }

    /// Takes note of an append that was sent: `last` is its last entry, or the one before if it has none.
    pub(crate) fn sent(&mut self, last: Index, bytes: u64, with_entries: bool) {
        match &mut self.mode {
            // A reminder without entries does not take the place of the probe that it follows.
            Mode::Probe { sent } if with_entries || sent.is_none() => *sent = Some((last, bytes)),
            Mode::Replicate { inflight } if with_entries => {
                inflight.push_back((last, bytes));
                self.next = last.next();
            }
            Mode::Probe { .. } | Mode::Replicate { .. } | Mode::Snapshot { .. } => {}
        }
    }

    /// The peer's durable log is equal up to `matched`. `base` is the entry before the first that the leader holds.
    pub(crate) fn accepted(&mut self, matched: Index, base: Index) {
        self.matched = self.matched.max(matched);
        match &mut self.mode {
            // The logs meet before the probe's entries, and one of these was taken: the rest is on its way like any
            // others. A peer whose log is full takes none; it gets the next probe at the heartbeat.
            Mode::Probe { sent }
                if matched >= self.next
                    || matched == self.next.previous() && sent.is_none_or(|(last, _)| last <= matched) =>
            {
                let probe = sent.filter(|(last, _)| *last > matched);
                self.next = probe.map_or(self.next, |(last, _)| last.next());
                self.mode = Mode::Replicate { inflight: probe.into_iter().collect() };
            }
            Mode::Probe { .. } => {}
            Mode::Replicate { inflight } => {
                while inflight.front().is_some_and(|(last, _)| *last <= matched) {
                    inflight.pop_front();
                }
            }
            Mode::Snapshot { .. } if self.matched >= base => {
                self.mode = Mode::Replicate { inflight: VecDeque::new() };
            }
            Mode::Snapshot { meta } if self.matched >= meta.index => self.mode = Mode::Probe { sent: None },
            Mode::Snapshot { .. } => {}
        }
        self.next = self.next.max(self.matched.next());
    }

    /// The peer has no entry equal to ours at `prev_index`; the logs can meet at `meeting` at best. Stale and doubled
    /// rejections change nothing, and none ever lowers `matched` (B6).
    pub(crate) fn rejected(&mut self, prev_index: Index, meeting: Index) {
        let fresh = match &self.mode {
            Mode::Probe { .. } => prev_index == self.next.previous(),
            Mode::Replicate { .. } => prev_index > self.matched,
            Mode::Snapshot { .. } => false,
        };
        if fresh {
            self.next = meeting.min(prev_index.previous()).max(self.matched).next();
            self.mode = Mode::Probe { sent: None };
        }
    }

    /// Nothing gets through at the moment: the next try waits for the heartbeat.
    pub(crate) fn pause(&mut self) {
        self.next = self.matched.next();
        self.mode = Mode::Probe { sent: Some((self.matched, 0)) };
    }
}

#[cfg(test)]
mod tests;
