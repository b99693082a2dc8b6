//! The publish/observe protocol of the live table, small enough that loom tries every order of its steps.
//! It stands on its own (std, arc-swap, loom): a check includes this file without the rest of the proxy.
//!
//! Of the slot it assumes only: a store is a release and a load an acquire on one location; one reader never goes back;
//! a loaded value stays alive. loom checks the protocol given that, not arc-swap itself.

use std::sync::Arc;

#[cfg(ravelin_loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(ravelin_loom))]
use std::sync::atomic::{AtomicU64, Ordering};

/// A table with its place in the order of publishing.
pub(super) struct Versioned<T> {
    pub(super) sequence: u64,
    pub(super) table: Arc<T>,
}

/// The slot with the live table, the announcement that lets workers look at one number only, and what each has taken.
pub(super) struct Cell<T> {
    slot: slot::Slot<Versioned<T>>,
    /// A promise: the slot holds at least this sequence.
    announced: AtomicU64,
    /// Per worker, a claim: its next request gets at least this sequence.
    taken: Box<[AtomicU64]>,
}

impl<T> Cell<T> {
    pub(super) fn new(first: Arc<T>, workers: usize) -> Self {
        Self {
            slot: slot::Slot::new(Arc::new(Versioned { sequence: 1, table: first })),
            announced: AtomicU64::new(1),
            taken: (0..workers).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Stores the next table and announces it, in this order. One publisher at a time.
    pub(super) fn publish(&self, table: Arc<T>) -> (u64, Arc<Versioned<T>>) {
        let sequence = self.slot.load().sequence + 1;
        let old = self.slot.swap(Arc::new(Versioned { sequence, table }));
        self.announced.store(sequence, Ordering::Release);
        (sequence, old)
    }

    pub(super) fn current(&self) -> Arc<Versioned<T>> {
        self.slot.load()
    }

    /// What a worker has to take in place of the sequence it holds; it looks at one number only while there is nothing.
    pub(super) fn newer(&self, held: u64) -> Option<Arc<Versioned<T>>> {
        if self.announced() == held {
            return None;
        }
        // The slot may be ahead of the announcement, and so may be what is held.
        Some(self.current()).filter(|newer| newer.sequence > held)
    }

    /// A lower bound of what [`Cell::current`] gives from now on.
    fn announced(&self) -> u64 {
        self.announced.load(Ordering::Acquire)
    }

    /// A worker says that it holds this sequence. To be called after it does, never before.
    pub(super) fn took(&self, worker: usize, sequence: u64) {
        if let Some(taken) = self.taken.get(worker) {
            taken.store(sequence, Ordering::Release);
        }
    }

    pub(super) fn taken_by_all(&self) -> u64 {
        self.taken.iter().map(|taken| taken.load(Ordering::Acquire)).min().unwrap_or(u64::MAX)
    }
}

#[cfg(not(ravelin_loom))]
mod slot {
    use std::sync::Arc;

    use arc_swap::ArcSwap;

    pub(super) struct Slot<T>(ArcSwap<T>);

    impl<T> Slot<T> {
        pub(super) fn new(first: Arc<T>) -> Self {
            Self(ArcSwap::new(first))
        }

        pub(super) fn load(&self) -> Arc<T> {
            self.0.load_full()
        }

        pub(super) fn swap(&self, next: Arc<T>) -> Arc<T> {
            self.0.swap(next)
        }
    }
}

/// A stand-in with exactly the assumed contract: one atomic index with release and acquire, values kept until the end.
/// A mutex around the value would be stronger than what is assumed, and hide mistakes.
#[cfg(ravelin_loom)]
mod slot {
    use std::sync::{Arc, Mutex, PoisonError};

    use loom::sync::atomic::{AtomicUsize, Ordering};

    pub(super) struct Slot<T> {
        place: AtomicUsize,
        // std's mutex on purpose: it orders nothing that loom sees.
        kept: Mutex<Vec<Arc<T>>>,
    }

    impl<T> Slot<T> {
        pub(super) fn new(first: Arc<T>) -> Self {
            Self { place: AtomicUsize::new(0), kept: Mutex::new(vec![first]) }
        }

        fn at(&self, place: usize) -> Arc<T> {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(kept.get(place).expect("every stored place has its value"))
        }

        pub(super) fn load(&self) -> Arc<T> {
            self.at(self.place.load(Ordering::Acquire))
        }

        pub(super) fn swap(&self, next: Arc<T>) -> Arc<T> {
            let place = {
                let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push(next);
                kept.len() - 1
            };
            let old = self.at(place - 1);
            self.place.store(place, Ordering::Release);
            old
        }
    }
}

#[cfg(all(test, ravelin_loom))]
mod loom_checks {
    use loom::thread;

    use super::*;

    /// A worker as `Pin` is one: looks at the announcement, takes the slot, then claims.
    struct Worker {
        cell: Arc<Cell<u64>>,
        number: usize,
        held: Arc<Versioned<u64>>,
    }

    impl Worker {
        fn new(cell: &Arc<Cell<u64>>, number: usize) -> Self {
            let held = cell.current();
            cell.took(number, held.sequence);
            Self { cell: Arc::clone(cell), number, held }
        }

        /// A request, and that it gets at least what was announced before it.
        fn request(&mut self) -> u64 {
            let announced = self.cell.announced();
            let got = self.take();
            assert!(got >= announced, "announced {announced}, the slot gave {got}");
            got
        }

        fn take(&mut self) -> u64 {
            if let Some(newer) = self.cell.newer(self.held.sequence) {
                self.held = newer;
                self.cell.took(self.number, self.held.sequence);
            }
            assert_eq!(self.held.sequence, *self.held.table, "a table stands at its own place");
            self.held.sequence
        }
    }

    fn cell(workers: usize) -> Arc<Cell<u64>> {
        Arc::new(Cell::new(Arc::new(1), workers))
    }

    #[test]
    fn loom_a_request_gets_what_was_announced_and_never_an_older_table() {
        loom::model(|| {
            let cell = cell(1);
            let mut worker = Worker::new(&cell, 0);
            let reader = thread::spawn(move || {
                let mut last = 0;
                for _ in 0..3 {
                    let got = worker.request();
                    assert!(got >= last, "went back from {last} to {got}");
                    last = got;
                }
            });
            cell.publish(Arc::new(2));
            cell.publish(Arc::new(3));
            reader.join().expect("the worker's assertions hold");
        });
    }

    #[test]
    fn loom_serving_means_that_every_workers_next_request_gets_it() {
        loom::model(|| {
            let cell = cell(2);
            // How far the publisher saw the claim come; what follows it must keep to it.
            let claimed = Arc::new(AtomicU64::new(0));
            let workers: Vec<_> = (0..2)
                .map(|number| {
                    let mut worker = Worker::new(&cell, number);
                    let claimed = Arc::clone(&claimed);
                    thread::spawn(move || {
                        worker.take();
                        let claimed = claimed.load(Ordering::Acquire);
                        let got = worker.take();
                        assert!(got >= claimed, "serving {claimed} was claimed, but a request got {got}");
                    })
                })
                .collect();
            cell.publish(Arc::new(2));
            claimed.store(cell.taken_by_all(), Ordering::Release);
            for worker in workers {
                worker.join().expect("the worker's assertions hold");
            }
        });
    }

    /// What loom found wrong with a protocol that is wrong on purpose.
    fn caught(model: impl Fn() + Sync + Send + 'static) -> String {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| loom::model(model)));
        let panic = outcome.expect_err("a wrong protocol has to fail, else the right one shows nothing");
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    }

    /// The negative control: with announcement and store swapped, the first property fails.
    #[test]
    fn loom_announcing_before_storing_is_caught() {
        let found = caught(|| {
            let cell = cell(1);
            let mut worker = Worker::new(&cell, 0);
            let reader = thread::spawn(move || worker.request());
            cell.announced.store(2, Ordering::Release);
            drop(cell.slot.swap(Arc::new(Versioned { sequence: 2, table: Arc::new(2) })));
            reader.join().expect("the worker's assertions hold");
        });
        assert_eq!(found, "announced 2, the slot gave 1");
    }

    /// The negative control of the claim: a worker that claims before it holds the table has to be caught.
    #[test]
    fn loom_claiming_before_taking_is_caught() {
        let found = caught(|| {
            let cell = cell(1);
            let claimed = Arc::new(AtomicU64::new(0));
            let mut held = Worker::new(&cell, 0).held;
            let reader = {
                let (cell, claimed) = (Arc::clone(&cell), Arc::clone(&claimed));
                thread::spawn(move || {
                    let announced = cell.announced();
                    cell.took(0, announced);
                    let claimed = claimed.load(Ordering::Acquire);
                    let got = held.sequence;
                    assert!(got >= claimed, "serving {claimed} was claimed, but a request got {got}");
                    held = cell.current();
                    held.sequence
                })
            };
            cell.publish(Arc::new(2));
            claimed.store(cell.taken_by_all(), Ordering::Release);
            reader.join().expect("the worker's assertions hold");
        });
        assert_eq!(found, "serving 2 was claimed, but a request got 1");
    }
}
