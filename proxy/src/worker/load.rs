//! How much each worker has to do, seen by all of them: to hand a new connection to one that has less. One writer each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Below this many connections a worker keeps what it accepts: moving a socket is not free.
const KEPT_MIN: usize = 16;

/// On a cache line (and the one fetched with it) of its own, as its worker writes it for each connection.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Load {
    connections: AtomicUsize,
    /// The same by entry point. Nobody waits for it but a scrape.
    by_entry_point: Mutex<BTreeMap<Arc<str>, usize>>,
}

/// The loads of all workers.
#[derive(Debug)]
pub(crate) struct Loads {
    workers: Box<[Load]>,
    emptied: Notify,
}

impl Loads {
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self { workers: (0..workers).map(|_| Load::default()).collect(), emptied: Notify::new() })
    }

    /// Counts a connection of `worker` until the returned place is dropped.
    pub(crate) fn enter(self: &Arc<Self>, worker: usize, entry_point: Arc<str>) -> LoadPlace {
        if let Some(load) = self.workers.get(worker) {
            load.connections.fetch_add(1, Ordering::Relaxed);
            let mut counts = load.by_entry_point.lock().unwrap_or_else(PoisonError::into_inner);
            match counts.get_mut(&entry_point) {
                Some(count) => *count += 1,
                None => drop(counts.insert(Arc::clone(&entry_point), 1)),
            }
        }
        LoadPlace { loads: Arc::clone(self), worker, entry_point }
    }

    /// Open connections of all workers by entry point; those that never had one are left out.
    pub(crate) fn by_entry_point(&self) -> BTreeMap<Arc<str>, usize> {
        let mut sums = BTreeMap::new();
        for load in &self.workers {
            let counts = load.by_entry_point.lock().unwrap_or_else(PoisonError::into_inner);
            for (entry_point, count) in &*counts {
                *sums.entry(Arc::clone(entry_point)).or_default() += count;
            }
        }
        sums
    }

    pub(crate) fn of(&self, worker: usize) -> usize {
        self.workers.get(worker).map_or(0, |load| load.connections.load(Ordering::Relaxed))
    }

    /// Open connections of all workers.
    pub(crate) fn total(&self) -> usize {
        (0..self.workers.len()).map(|worker| self.of(worker)).sum()
    }

    /// A worker with less than 0.8 of this one's load, among two others.
    pub(crate) fn lighter(&self, worker: usize) -> Option<usize> {
        let own = self.of(worker);
        let count = self.workers.len();
        if own < KEPT_MIN || count < 2 {
            return None;
        }
        // Which two changes with the load, so that over time every worker is looked at.
        let others = [1 + own % (count - 1), 1 + (own / 2) % (count - 1)].map(|step| (worker + step) % count);
        let lightest = others.into_iter().min_by_key(|&other| self.of(other))?;
        (self.of(lightest) * 10 < own * 8).then_some(lightest)
    }

    /// Waits until some worker has lost its last connection. Cancel safe.
    pub(crate) async fn emptied(&self) {
        self.emptied.notified().await;
    }

    /// Waits until no connection is left. Cancel safe.
    pub(crate) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.total() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

/// One counted connection.
#[derive(Debug)]
pub(crate) struct LoadPlace {
    loads: Arc<Loads>,
    worker: usize,
    entry_point: Arc<str>,
}

impl LoadPlace {
    fn leave(&self) {
        let Some(load) = self.loads.workers.get(self.worker) else { return };
        let mut counts = load.by_entry_point.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.entry_point) {
            *count = count.saturating_sub(1);
        }
    }
}

impl Drop for LoadPlace {
    fn drop(&mut self) {
        self.leave();
        if let Some(load) = self.loads.workers.get(self.worker)
            && load.connections.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.loads.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_to_a_worker_that_has_clearly_less() {
        let loads = Loads::new(3);
        let own: Vec<_> = (0..KEPT_MIN).map(|_| loads.enter(0, "web".into())).collect();
        assert!(loads.lighter(0).is_some_and(|other| other != 0));
        let others: Vec<_> =
            (0..KEPT_MIN * 2).map(|index| loads.enter(1 + index % 2, "other".into())).collect();
        assert_eq!(loads.lighter(0), None);
        drop(own);
        assert_eq!(loads.lighter(0), None, "a lightly loaded worker keeps its own");
        assert_eq!(loads.total(), KEPT_MIN * 2);
        assert_eq!(loads.by_entry_point(), [("other".into(), KEPT_MIN * 2), ("web".into(), 0)].into());
        drop(others);
        assert_eq!(loads.total(), 0);
    }
}
