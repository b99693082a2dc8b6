//! The log in memory: entries after a base, their terms as runs, and the configurations among them.
//!
//! It knows nothing of roles, commitment or disks; it only notes from where it changed since it was last asked.

use std::collections::VecDeque;

use crate::configuration::Configuration;
use crate::core::Aside;
use crate::durable::SnapshotMeta;
use crate::entries::{Entries, Views};
use crate::entry::{Entry, EntryKind};
use crate::types::{Index, Payload, Term};

/// Successive entries of one term.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Run {
    first: Index,
    term: Term,
}

/// What changed since the last [`Log::take_change`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Change {
    /// Entries from here on are new, or gone.
    pub(crate) first: Index,
    /// The log was replaced by a snapshot.
    pub(crate) restarted: bool,
}

/// Entries after `base`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Log<P> {
    base: Index,
    base_term: Term,
    base_configuration: Configuration,
    entries: VecDeque<Entry<P>>,
    runs: VecDeque<Run>,
    configurations: VecDeque<Index>,
    bytes: u64,
    snapshot: Option<SnapshotMeta>,
    change: Option<Change>,
    views: Aside<Views<P>>,
}

impl<P: Payload> Log<P> {
    /// The empty log after `snapshot`, or after nothing.
    pub(crate) fn new(snapshot: Option<SnapshotMeta>, genesis: Configuration) -> Log<P> {
        let mut log = Log {
            base: Index::ZERO,
            base_term: Term(0),
            base_configuration: genesis,
            entries: VecDeque::new(),
            runs: VecDeque::new(),
            configurations: VecDeque::new(),
            bytes: 0,
            snapshot: None,
            change: None,
            views: Aside::default(),
        };
        if let Some(meta) = snapshot {
            log.restart(meta);
        }
        log.change = None;
        log
    }

    /// The entry before the first one held.
    pub(crate) fn base(&self) -> Index {
        self.base
    }

    pub(crate) fn last_index(&self) -> Index {
        self.base.plus(self.entries.len())
    }

    pub(crate) fn last_term(&self) -> Term {
        self.entries.back().map_or(self.base_term, |entry| entry.term)
    }

    /// Bytes of the entries held.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The newest snapshot: everything up to it can be had without the log.
    pub(crate) fn snapshot(&self) -> Option<&SnapshotMeta> {
        self.snapshot.as_ref()
    }

    pub(crate) fn snapshot_index(&self) -> Index {
        self.snapshot.as_ref().map_or(Index::ZERO, |meta| meta.index)
    }

    fn offset(&self, index: Index) -> Option<usize> {
        usize::try_from(index.0.checked_sub(self.base.0)?.checked_sub(1)?).ok()
    }

    pub(crate) fn entry(&self, index: Index) -> Option<&Entry<P>> {
        self.entries.get(self.offset(index)?)
    }

    /// The term at `index`, also at the base. `None` before the base and after the end.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base { Some(self.base_term) } else { self.entry(index).map(|entry| entry.term) }
    }

    /// The entries `first..=last`, as far as they are held.
    pub(crate) fn range(&mut self, first: Index, last: Index) -> Entries<P> {
        self.bounded((first, last), usize::MAX, u64::MAX).0
    }

    /// Of the entries `first..=last` the first ones, at most `entries_max` and `bytes_max`, but one at least if there
    /// is one; with their bytes.
    pub(crate) fn bounded(
        &mut self,
        (first, last): (Index, Index),
        entries_max: usize,
        bytes_max: u64,
    ) -> (Entries<P>, u64) {
        let Some(start) = self.offset(first) else { return (Entries::default(), 0) };
        let fits = |(entries, bytes): &(Entries<P>, u64)| {
            entries.len() <= entries_max && (*bytes <= bytes_max || entries.len() == 1)
        };
        if let Some(lent) = self.views.0.find(first, last).filter(fits) {
            return lent;
        }
        let count = usize::try_from(last.next().0.saturating_sub(first.0)).unwrap_or(usize::MAX);
        let (mut end, mut bytes) = (start, 0u64);
        for entry in self.entries.iter().skip(start).take(count.min(entries_max)) {
            let size = entry.size_bytes();
            if end > start && bytes.saturating_add(size) > bytes_max {
                break;
            }
            bytes = bytes.saturating_add(size);
            end += 1;
        }
        if end == start {
            return (Entries::default(), 0);
        }
        let last = first.plus(end - start).previous();
        let lent = self.views.0.find(first, last).map(|(entries, _)| entries);
        let entries = self.entries.range(start..end).cloned();
        (lent.unwrap_or_else(|| self.views.0.fill(first, bytes, entries)), bytes)
    }

    /// `entries`, of so many bytes, were received and stand at the end of the log: who needs the same shares them.
    pub(crate) fn received(&mut self, bytes: u64, entries: Entries<P>) {
        let first = Index(self.last_index().next().0.saturating_sub(entries.len() as u64));
        self.views.0.note(first, bytes, entries);
    }

    /// The state machine was given everything up to `index`.
    pub(crate) fn handed(&mut self, index: Index) {
        self.views.0.settle(index);
    }

    /// Bytes of the entries after `index`.
    pub(crate) fn bytes_after(&self, index: Index) -> u64 {
        self.sum(index.next(), self.last_index())
    }

    /// Bytes of the entries `first..=last` that are held.
    pub(crate) fn sum(&self, first: Index, last: Index) -> u64 {
        let first = first.max(self.base.next());
        let Some(start) = self.offset(first) else { return 0 };
        let count = usize::try_from(last.next().0.saturating_sub(first.0)).unwrap_or(usize::MAX);
        self.entries.iter().skip(start).take(count).map(Entry::size_bytes).fold(0, u64::saturating_add)
    }

    /// §5.4.1 (I21): whether a log that ends in (`last_index`, `last_term`) is at least as up to date as this one.
    pub(crate) fn is_not_behind(&self, last_index: Index, last_term: Term) -> bool {
        (last_term, last_index) >= (self.last_term(), self.last_index())
    }

    /// The last index at or before `index` whose term is not above `term`: where two logs may meet at best (the
    /// back-off by conflict term, paper §5.3). O(runs). `None` if that lies before the base.
    pub(crate) fn meeting_point(&self, index: Index, term: Term) -> Option<Index> {
        let index = index.min(self.last_index());
        let mut end = index;
        for run in self.runs.iter().rev() {
            if run.first > index {
                continue;
            }
            if run.term <= term {
                return Some(end);
            }
            end = run.first.previous();
        }
        (index >= self.base && self.base_term <= term).then_some(self.base)
    }

    /// Whether one who follows takes an entry. What a leader appends by itself is always taken: without it a full log that
    /// a restart has made uncommitted again could never be committed, applied and let go.
    pub(crate) fn has_room(&self, entry: &Entry<P>, bytes_max: u64) -> bool {
        let fits = self.bytes.saturating_add(entry.size_bytes()) <= bytes_max;
        fits || !matches!(entry.kind, EntryKind::Command(_))
    }

    /// Adds an entry at the end.
    pub(crate) fn append(&mut self, entry: Entry<P>) -> Index {
        let index = self.last_index().next();
        if self.runs.back().is_none_or(|run| run.term != entry.term) {
            self.runs.push_back(Run { first: index, term: entry.term });
        }
        if matches!(entry.kind, EntryKind::Configuration(_)) {
            self.configurations.push_back(index);
        }
        self.bytes = self.bytes.saturating_add(entry.size_bytes());
        self.entries.push_back(entry);
        self.changed(index, false);
        index
    }

    /// Drops the entries from `first` on.
    pub(crate) fn truncate(&mut self, first: Index) {
        let Some(kept) = self.offset(first) else { return };
        if kept >= self.entries.len() {
            return;
        }
        let dropped = self.entries.drain(kept..).map(|entry| entry.size_bytes()).fold(0, u64::saturating_add);
        self.bytes = self.bytes.saturating_sub(dropped);
        while self.runs.back().is_some_and(|run| run.first >= first) {
            self.runs.pop_back();
        }
        while self.configurations.back().is_some_and(|at| *at >= first) {
            self.configurations.pop_back();
        }
        self.views.0.cut(first);
        self.changed(first, false);
    }

    fn changed(&mut self, first: Index, restarted: bool) {
        let before = self.change;
        self.change = Some(Change {
            first: before.map_or(first, |change| change.first.min(first)),
            restarted: restarted || before.is_some_and(|change| change.restarted),
        });
    }

    /// Where the part begins that [`Log::take_change`] was not asked about, if there is one.
    pub(crate) fn unwritten(&self) -> Option<Index> {
        self.change.map(|change| change.first)
    }

    /// What changed since the last call.
    pub(crate) fn take_change(&mut self) -> Option<Change> {
        self.change.take()
    }

    /// The effective configuration: the newest in the log, committed or not (paper §6; I28).
    pub(crate) fn configuration(&self) -> &Configuration {
        self.configuration_at(self.last_index())
    }

    /// The configuration that was effective when `index` was the last entry.
    pub(crate) fn configuration_at(&self, index: Index) -> &Configuration {
        let newest = self.configurations.iter().rev().find(|at| **at <= index);
        match newest.and_then(|at| self.entry(*at)).map(|entry| &entry.kind) {
            Some(EntryKind::Configuration(configuration)) => configuration,
            _ => &self.base_configuration,
        }
    }

    /// Where the effective configuration stands; at the base at the latest, if it is older than the log.
    pub(crate) fn newest_configuration(&self) -> Index {
        self.configurations.back().copied().unwrap_or(self.base)
    }

    /// The configuration as of `index`, and every later one.
    pub(crate) fn configurations_since(&self, index: Index) -> impl Iterator<Item = &Configuration> {
        let later = self.configurations.iter().filter(move |at| **at > index);
        std::iter::once(self.configuration_at(index)).chain(later.map(|at| self.configuration_at(*at)))
    }

    /// Takes note of a snapshot of our own, and drops what lies before it except the last `trailing_bytes_max`; of the
    /// entries after `wanted` it keeps `wanted_bytes_max`.
    pub(crate) fn compact(
        &mut self,
        meta: SnapshotMeta,
        trailing_bytes_max: u64,
        (wanted, wanted_bytes_max): (Index, u64),
    ) {
        let covered_last = meta.index;
        let mut covered = self.sum(self.base.next(), covered_last);
        let kept = trailing_bytes_max.max(wanted_bytes_max);
        while self.base < covered_last && covered > if self.base < wanted { trailing_bytes_max } else { kept }
        {
            let Some(entry) = self.entries.pop_front() else { break };
            let size = entry.size_bytes();
            covered = covered.saturating_sub(size);
            self.bytes = self.bytes.saturating_sub(size);
            self.base = self.base.next();
            self.base_term = entry.term;
            if let EntryKind::Configuration(configuration) = entry.kind {
                self.base_configuration = configuration;
                self.configurations.pop_front();
            }
        }
        let first = self.base.next();
        while self.runs.get(1).is_some_and(|run| run.first <= first) {
            self.runs.pop_front();
        }
        match self.runs.front_mut() {
            Some(_) if self.entries.is_empty() => self.runs.clear(),
            Some(run) => run.first = run.first.max(first),
            None => {}
        }
        self.snapshot = Some(meta);
    }

    /// Replaces everything by a snapshot.
    pub(crate) fn restart(&mut self, meta: SnapshotMeta) {
        self.base = meta.index;
        self.base_term = meta.term;
        self.base_configuration = meta.configuration.clone();
        self.entries.clear();
        self.runs.clear();
        self.configurations.clear();
        self.bytes = 0;
        self.views = Aside::default();
        self.changed(meta.index.next(), true);
        self.snapshot = Some(meta);
    }

    /// Replaces every configuration, for a core under other names.
    pub(crate) fn map_configurations(&mut self, map: impl Fn(Configuration) -> Configuration) {
        self.views = Aside::default();
        self.base_configuration = map(std::mem::take(&mut self.base_configuration));
        for entry in &mut self.entries {
            if let EntryKind::Configuration(configuration) = &mut entry.kind {
                *configuration = map(std::mem::take(configuration));
            }
        }
        if let Some(meta) = &mut self.snapshot {
            meta.configuration = map(std::mem::take(&mut meta.configuration));
        }
    }

    /// Whether the derived parts agree with the entries.
    pub(crate) fn is_coherent(&self) -> bool {
        let mut runs: VecDeque<Run> = VecDeque::new();
        let mut configurations = VecDeque::new();
        let mut index = self.base;
        let mut before = self.base_term;
        let mut rising = true;
        for entry in &self.entries {
            index = index.next();
            rising &= entry.term >= before;
            before = entry.term;
            if runs.back().is_none_or(|run| run.term != entry.term) {
                runs.push_back(Run { first: index, term: entry.term });
            }
            if matches!(entry.kind, EntryKind::Configuration(_)) {
                configurations.push_back(index);
            }
        }
        rising
            && runs == self.runs
            && configurations == self.configurations
            && self.bytes == self.sum(self.base.next(), index)
            && self.snapshot_index() >= self.base
            && self.snapshot.as_ref().is_none_or(|meta| self.term_at(meta.index) == Some(meta.term))
    }
}

#[cfg(test)]
mod tests;
