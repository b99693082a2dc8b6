//! The one cell that holds the live table, and what each worker keeps of it.
//! It must not know what a table holds; nothing else in the proxy swaps pointers.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

mod cell;

use cell::{Cell, Versioned};

/// The live table of a process: published by one thread, taken by every worker, freed by none of them.
///
/// Memory: the current table, and each retired one that a request or an unpoked worker still holds.
pub struct Live<T> {
    cell: Cell<T>,
    seats: Box<[Notify]>,
    /// Told whenever a worker has taken a newer table.
    taken: Notify,
    retired: Mutex<Vec<Arc<Versioned<T>>>>,
}

impl<T> Live<T> {
    /// A cell that holds `first`, for a fixed number of workers. Sequence numbers begin with 1 for `first`.
    pub fn new(first: Arc<T>, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            cell: Cell::new(first, workers),
            seats: (0..workers).map(|_| Notify::new()).collect(),
            taken: Notify::new(),
            retired: Mutex::new(Vec::new()),
        })
    }

    /// Makes a table the live one and pokes every worker. Returns its sequence number. One publisher at a time.
    pub fn publish(&self, table: Arc<T>) -> u64 {
        let (sequence, old) = self.cell.publish(table);
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(old);
        for seat in &self.seats {
            seat.notify_one();
        }
        sequence
    }

    /// The live table, for threads that are not workers. Costs a shared counter: never per request.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.cell.current().table)
    }

    /// The sequence number of the live table.
    pub fn sequence(&self) -> u64 {
        self.cell.current().sequence
    }

    /// The newest sequence number that every worker has taken: each worker's next request gets it or a newer one.
    pub fn taken_by_all(&self) -> u64 {
        self.cell.taken_by_all()
    }

    /// Waits until every worker has taken this table or a newer one. Cancel safe.
    pub async fn served(&self, sequence: u64) {
        loop {
            let taken = self.taken.notified();
            if self.taken_by_all() >= sequence {
                return;
            }
            taken.await;
        }
    }

    /// Frees the retired tables that nobody else holds; to be called off the workers. Returns how many are still held.
    pub fn free_retired(&self) -> usize {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let all = std::mem::take(&mut *retired);
        let (free, held): (Vec<_>, Vec<_>) = all.into_iter().partition(|table| Arc::strong_count(table) == 1);
        *retired = held;
        let count = retired.len();
        // Freed outside the lock: a large table takes tens of milliseconds.
        drop(retired);
        drop(free);
        count
    }
}

/// What one worker keeps of the live table. It stays on its worker's thread.
pub struct Pin<T> {
    live: Arc<Live<T>>,
    worker: usize,
    held: RefCell<Handle<T>>,
}

/// One table, held by one request for its life. Cloning costs no shared counter.
pub struct Handle<T>(Rc<Held<T>>);

/// The worker's one share in a table: requests count themselves at the worker, never at the table.
struct Held<T>(Arc<Versioned<T>>);

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Deref for Handle<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.0.table
    }
}

impl<T> Handle<T> {
    /// The sequence number of the table.
    pub fn sequence(&self) -> u64 {
        self.0.0.sequence
    }
}

impl<T> Pin<T> {
    /// The pin of worker `worker`, made on its own thread. A number beyond the seats is never poked nor waited for.
    pub fn new(live: Arc<Live<T>>, worker: usize) -> Self {
        let held = live.cell.current();
        live.cell.took(worker, held.sequence);
        live.taken.notify_waiters();
        Self { live, worker, held: RefCell::new(Handle(Rc::new(Held(held)))) }
    }

    /// The live table. Never one older than an earlier call gave.
    pub fn current(&self) -> Handle<T> {
        self.refresh();
        self.held.borrow().clone()
    }

    /// Takes the live table if it is newer than the one held. The old one is only let go, never freed here.
    pub fn refresh(&self) {
        let held = self.held.borrow().sequence();
        let Some(newer) = self.live.cell.newer(held) else { return };
        let sequence = newer.sequence;
        drop(self.held.replace(Handle(Rc::new(Held(newer)))));
        self.live.cell.took(self.worker, sequence);
        self.live.taken.notify_waiters();
    }

    /// Runs for as long as the worker does: takes each new table when poked, so that an idle worker holds no old one.
    pub async fn follow(&self) {
        let Some(seat) = self.live.seats.get(self.worker) else { return };
        loop {
            seat.notified().await;
            self.refresh();
        }
    }
}

#[cfg(all(test, not(ravelin_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_worker_takes_what_is_published_and_a_request_keeps_its_table() {
        let live = Live::new(Arc::new(1), 1);
        let pin = Pin::new(Arc::clone(&live), 0);
        let request = pin.current();
        assert_eq!((*request, live.taken_by_all()), (1, 1));
        assert_eq!(live.publish(Arc::new(2)), 2);
        assert_eq!(live.taken_by_all(), 1, "not serving before the worker took it");
        assert_eq!(*pin.current(), 2);
        assert_eq!(live.taken_by_all(), 2);
        assert_eq!(*request, 1, "a request sees exactly one table");
    }

    #[test]
    fn retired_tables_are_freed_by_the_publisher_once_let_go() {
        let first = Arc::new(1);
        let live = Live::new(Arc::clone(&first), 1);
        let pin = Pin::new(Arc::clone(&live), 0);
        let request = pin.current();
        live.publish(Arc::new(2));
        pin.refresh();
        assert_eq!(live.free_retired(), 1, "the request still holds it");
        drop(request);
        assert_eq!(Arc::strong_count(&first), 2, "letting go frees nothing on the worker");
        assert_eq!(live.free_retired(), 0);
        assert_eq!(Arc::strong_count(&first), 1);
    }

    #[tokio::test]
    async fn an_idle_worker_is_poked_and_the_waiter_told() {
        let live = Live::new(Arc::new(1), 1);
        let pin = Pin::new(Arc::clone(&live), 0);
        let sequence = live.publish(Arc::new(2));
        tokio::select! {
            () = live.served(sequence) => {}
            () = pin.follow() => unreachable!("a worker follows for ever"),
        }
        assert_eq!(live.taken_by_all(), 2);
    }

    #[test]
    fn many_workers_never_go_back_and_all_end_at_the_last() {
        let live = Live::new(Arc::new(1u64), 3);
        std::thread::scope(|scope| {
            for worker in 0..3 {
                let live = Arc::clone(&live);
                scope.spawn(move || {
                    let pin = Pin::new(live, worker);
                    let mut last = 0;
                    while last < 200 {
                        let now = *pin.current();
                        assert!(now >= last, "worker {worker} went back from {last} to {now}");
                        last = now;
                    }
                });
            }
            for value in 2..=200 {
                live.publish(Arc::new(value));
                live.free_retired();
            }
        });
        assert_eq!((live.taken_by_all(), live.free_retired()), (200, 0));
    }
}
