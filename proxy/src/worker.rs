//! The state of one core: everything a request touches that is not shared with other cores. It is reached by `Rc` and
//! never leaves its thread; what all workers share stands in [`WorkerShared`].

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// What all workers of a process share. The live table's cell and the request path's process-wide parts join here.
#[derive(Debug, Default)]
pub struct WorkerShared {}

/// Counts of one worker: written by it alone, read by it alone (a scrape asks the worker).
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted or taken over.
    pub connections: Cell<u64>,
    /// Requests handed to the request path.
    pub requests: Cell<u64>,
    /// Requests the guard refused by itself.
    pub refused: Cell<u64>,
    /// Requests that ended in a panic, caught at the request's edge.
    pub panics: Cell<u64>,
}

impl Counters {
    /// Adds one, wrapping after 2^64.
    pub fn add(counter: &Cell<u64>) {
        counter.set(counter.get().wrapping_add(1));
    }
}

/// One core's state. Not `Send`. The request path adds its own state as one field (pools, access log), the table side
/// its pin on the live table as another.
pub struct Worker {
    /// 0-based number of this worker.
    pub index: usize,
    /// What all workers share.
    pub shared: Arc<WorkerShared>,
    /// Counts.
    pub counters: Counters,
}

impl Worker {
    /// The state of worker `index`, for its own thread.
    pub fn new(index: usize, shared: Arc<WorkerShared>) -> Rc<Self> {
        Rc::new(Self { index, shared, counters: Counters::default() })
    }
}
