//! What a log means: the fold of its records, in order, into the state that a core restarts from.
//! It must not know of files, offsets or checksums; the naive model of the tests is the core's own `Durable`.

use std::collections::VecDeque;

use ravelin_consensus::{Batch, Configuration, Entry, HardState, Index, SnapshotMeta};

use super::CommandBytes;
use super::wire::Base;

/// Hard state, snapshot, and the entries held, while records are being read or written.
#[derive(Debug)]
pub(crate) struct LogState {
    hard_state: HardState,
    snapshot: Option<SnapshotMeta>,
    /// Index of the first entry held; entries between the snapshot and it lie in segments not read.
    start: Index,
    entries: VecDeque<Entry<CommandBytes>>,
    genesis: Configuration,
}

/// What was durable when the log was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Of the newest batch.
    pub hard_state: HardState,
    /// The members before the first entry, as they were when the log began: they never change.
    pub genesis: Configuration,
    /// The snapshot that the log continues from.
    pub snapshot: Option<SnapshotMeta>,
    /// The entries after it, or from index 1 if there is none, without a gap.
    pub entries: Vec<Entry<CommandBytes>>,
    /// Bytes at the end of the log that were cut off: a write that a crash interrupted. Never anything acknowledged.
    pub torn_bytes: u64,
}

impl Recovered {
    /// Index after the last entry.
    pub fn next_index(&self) -> Index {
        let base = self.snapshot.as_ref().map_or(Index::ZERO, |meta| meta.index);
        base.next().plus(self.entries.len())
    }
}

impl LogState {
    pub(crate) fn begin(base: Base) -> Self {
        Self {
            hard_state: base.hard_state,
            snapshot: base.snapshot,
            start: base.next,
            entries: VecDeque::new(),
            genesis: base.genesis,
        }
    }

    /// The base that a segment beginning here has to record.
    pub(crate) fn base(&self) -> Base {
        Base {
            hard_state: self.hard_state,
            snapshot: self.snapshot.clone(),
            next: self.next(),
            genesis: self.genesis.clone(),
        }
    }

    pub(crate) fn next(&self) -> Index {
        self.start.plus(self.entries.len())
    }

    fn snapshot_index(&self) -> Index {
        self.snapshot.as_ref().map_or(Index::ZERO, |meta| meta.index)
    }

    /// Takes one batch; `Err` says what does not fit, and the state is then useless.
    pub(crate) fn batch(&mut self, batch: Batch<CommandBytes>) -> Result<(), String> {
        let next = batch.snapshot.as_ref().map_or_else(|| self.next(), |meta| meta.index.next());
        check_place(&batch, next)?;
        self.hard_state = batch.hard_state;
        if let Some(meta) = batch.snapshot {
            self.start = meta.index.next();
            self.snapshot = Some(*meta);
            self.entries.clear();
        }
        let kept = batch.first.0.saturating_sub(self.start.0);
        self.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        if self.entries.is_empty() {
            self.start = batch.first;
        }
        self.entries.extend(batch.entries);
        self.trim();
        Ok(())
    }

    /// Takes note of a durable snapshot of our own.
    pub(crate) fn compacted(&mut self, meta: SnapshotMeta) {
        if meta.index >= self.snapshot_index() {
            self.snapshot = Some(meta);
            self.trim();
        }
    }

    /// Drops what the snapshot covers.
    fn trim(&mut self) {
        let base = self.snapshot_index();
        let covered = base.next().0.saturating_sub(self.start.0);
        let covered = usize::try_from(covered).unwrap_or(usize::MAX).min(self.entries.len());
        self.entries.drain(..covered);
        self.start = self.start.plus(covered);
        if self.entries.is_empty() {
            self.start = self.start.max(base.next());
        }
    }

    /// The whole, if it is one; `Err` says which entries are missing.
    pub(crate) fn finish(self, torn_bytes: u64) -> Result<Recovered, String> {
        let wanted = self.snapshot_index().next();
        if self.start != wanted {
            return Err(format!("entries {wanted} to {} are missing", self.start.previous()));
        }
        Ok(Recovered {
            hard_state: self.hard_state,
            genesis: self.genesis,
            snapshot: self.snapshot,
            entries: self.entries.into(),
            torn_bytes,
        })
    }
}

/// Whether a batch connects to a log whose next index is `next`.
pub(crate) fn check_place(batch: &Batch<CommandBytes>, next: Index) -> Result<(), String> {
    if batch.first == Index::ZERO || batch.first > next {
        return Err(format!("a batch begins at entry {}, but the log continues at {next}", batch.first));
    }
    if batch.first.plus(batch.entries.len()) > Index::MAX {
        return Err(format!("a batch of {} entries at {} is out of range", batch.entries.len(), batch.first));
    }
    Ok(())
}
