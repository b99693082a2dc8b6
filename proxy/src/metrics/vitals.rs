//! What a process counts whether anybody asks or not: tables taken, connections, what was refused. Each number has one writer at a
//! time; a scrape reads them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::failure::Failures;
use crate::worker::{Counters, Loads};

/// The numbers of a process.
#[derive(Debug, Default)]
pub struct Vitals {
    reloads: AtomicU64,
    /// In seconds since 1970.
    last_reload: AtomicU64,
    shed_requests: AtomicU64,
    loads: OnceLock<Arc<Loads>>,
    failures: OnceLock<Failures>,
    /// One for each worker.
    counters: Mutex<Vec<Arc<Counters>>>,
}

impl Vitals {
    /// A table was published.
    pub(crate) fn note_reload(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_reload.store(now.as_secs(), Ordering::Relaxed);
        self.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was told that too many wait for servers. Said in the log at each doubling.
    pub(crate) fn note_shed_request(&self) {
        let shed = self.shed_requests.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if shed.is_power_of_two() {
            tracing::warn!(
                shed,
                "overloaded: too many requests wait for servers, further ones are answered 503"
            );
        }
    }

    /// Requests that were told so.
    pub(crate) fn shed_requests(&self) -> u64 {
        self.shed_requests.load(Ordering::Relaxed)
    }

    /// How many tables were published, and when the last was, in seconds since 1970.
    pub(super) fn reloads(&self) -> (u64, u64) {
        (self.reloads.load(Ordering::Relaxed), self.last_reload.load(Ordering::Relaxed))
    }

    /// Where open connections are counted; the first one told counts.
    pub(crate) fn watch_loads(&self, loads: Arc<Loads>) {
        drop(self.loads.set(loads));
    }

    /// Where parts that panic and begin anew are counted; the first one told counts.
    pub(crate) fn watch_failures(&self, failures: Failures) {
        drop(self.failures.set(failures));
    }

    /// How often each part has panicked and begun anew, by its name.
    pub(super) fn survived_by_part(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.failures.get().into_iter().flat_map(Failures::survived_by_part);
        counts.map(|(part, count)| (part.name(), count))
    }

    /// Where one more worker counts.
    pub(crate) fn watch_worker(&self, counters: Arc<Counters>) {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).push(counters);
    }

    /// Open connections by entry point.
    pub(super) fn open_connections(&self) -> BTreeMap<Arc<str>, usize> {
        self.loads.get().map(|loads| loads.by_entry_point()).unwrap_or_default()
    }

    /// One number of all workers.
    pub(super) fn sum(&self, number: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.iter().map(|counters| number(counters).load(Ordering::Relaxed)).sum()
    }
}
