//! Starts the workers, tells them what is open and when to stop, and waits for them. Lives on the control side.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

use super::Plan;
use super::load::Loads;
use super::station::{self, Ended, Ties};
use crate::capacity;
use crate::connection::{Application, Bounds, Stage};
use crate::drain::{CLOSING_TIME_MAX, DrainTimes};
use crate::failure::Failures;
use crate::listener::{Listeners, Status, Wanted};

/// Connections on their way between two workers.
const HANDED_MAX: usize = 256;

/// The workers of a process. Dropping it closes all connections at once; [`Workers::drain`] first for an orderly end.
#[derive(Debug)]
pub struct Workers {
    plan: watch::Sender<Plan>,
    listeners: Listeners,
    loads: Arc<Loads>,
    failures: Failures,
    /// Yields `None` once every worker's thread has ended.
    running: mpsc::Receiver<()>,
    connections_max: usize,
    /// What was told of the memory of each entry point's connections.
    told: BTreeMap<Arc<str>, Bounds>,
}

/// How many workers, and how much they may take on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerOptions {
    /// Threads.
    pub workers: usize,
    /// Connections of all workers together.
    pub connections_max: usize,
}

impl WorkerOptions {
    /// A worker for each core, and as many connections as the descriptors of this process allow.
    pub fn for_this_machine() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { workers, connections_max: capacity::connections_max().max(workers) }
    }
}

impl Workers {
    /// Starts the threads, and waits until each of them works. `make` is called on each with its number.
    ///
    /// # Errors
    /// A thread or its runtime cannot be had, or `make` panics. Those that had begun end.
    pub fn start<A: Application>(
        options: WorkerOptions,
        make: impl Fn(usize) -> Rc<A> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let count = options.workers.max(1);
        let (plan, follow) = watch::channel(Plan::default());
        let (alive, running) = mpsc::channel(1);
        let loads = Loads::new(count);
        let (others, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(HANDED_MAX)).unzip();
        let others: Arc<[_]> = others.into();
        let make = Arc::new(make);
        let failures = Failures::default();
        let (began, begun) = std::sync::mpsc::channel();
        for (index, handed) in receivers.into_iter().enumerate() {
            let ties = Ties {
                index,
                plan: follow.clone(),
                handed,
                others: Arc::clone(&others),
                loads: Arc::clone(&loads),
                connections_max: options.connections_max.div_ceil(count),
            };
            let (make, alive, failures) = (Arc::clone(&make), alive.clone(), failures.clone());
            let began = began.clone();
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                let _alive = alive;
                // A worker is an `Rc` world of its own: nothing of it is seen again after a panic.
                let run = AssertUnwindSafe(|| run_thread(index, ties, &*make, began));
                match catch_unwind(run) {
                    Ok(Ended::AsTold) => {}
                    Ok(Ended::Alone) => {
                        failures.report(&format!("worker {index} follows no change any more"))
                    }
                    Err(panic) => failures.panicked(&format!("worker {index}"), &*panic),
                }
            })?;
        }
        drop(began);
        for _ in 0..count {
            begun.recv().map_err(|_| io::Error::other("a worker ended before it began"))??;
        }
        let (connections_max, told) = (options.connections_max, BTreeMap::new());
        Ok(Self { plan, listeners: Listeners::new(count), loads, failures, running, connections_max, told })
    }

    /// Where a worker's failure is told: the connections that the kernel gives to it would wait for ever.
    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Makes the open entry points those that are wanted. Blocks for name lookups; connections of entry points that stay are
    /// not touched.
    pub fn listen(&mut self, wanted: BTreeMap<Arc<str>, Wanted>) -> BTreeMap<Arc<str>, Status> {
        // Whoever ends opens nothing.
        if self.plan.borrow().stage == Stage::Open {
            self.tell_bounds(&wanted);
            self.listeners.reconcile(wanted);
            self.announce();
        }
        self.listeners.status()
    }

    /// Tells what connections may take, of entry points of which that was not told before.
    fn tell_bounds(&mut self, wanted: &BTreeMap<Arc<str>, Wanted>) {
        let bounds: BTreeMap<_, _> =
            wanted.iter().map(|(name, wanted)| (Arc::clone(name), Bounds::of(&wanted.settings))).collect();
        for (entry_point, bounds) in
            bounds.iter().filter(|(name, bounds)| self.told.get(*name) != Some(bounds))
        {
            let connections_max = self.connections_max;
            tracing::info!(%entry_point, connections_max, "memory: {bounds}");
        }
        self.told = bounds;
    }

    /// Tries again what could not be opened. To be called now and then while something has failed.
    pub fn retry(&mut self) -> BTreeMap<Arc<str>, Status> {
        if self.listeners.has_failed() && self.plan.borrow().stage == Stage::Open {
            self.listeners.retry();
            self.announce();
        }
        self.listeners.status()
    }

    /// How each wanted entry point stands.
    pub fn status(&self) -> BTreeMap<Arc<str>, Status> {
        self.listeners.status()
    }

    /// How many connections each worker has.
    pub(crate) fn loads(&self) -> &Arc<Loads> {
        &self.loads
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.loads.total()
    }

    /// Ends in order: accepts for the grace time, then lets what runs come to its end, then closes the rest. Returns how many
    /// connections had to be cut. Cancel safe; what was begun goes on at the next call.
    pub async fn drain(&mut self) -> usize {
        let times = DrainTimes::of(self.listeners.open());
        if self.plan.borrow().stage == Stage::Open {
            tokio::time::sleep(times.accept).await;
            // The sockets go too: a client that comes now must be refused and not wait in a queue that nobody empties.
            self.listeners.reconcile(BTreeMap::new());
            self.plan.send_modify(|plan| *plan = Plan { open: Arc::default(), stage: Stage::Draining });
        }
        let drained = tokio::time::timeout(times.drain, self.loads.empty()).await;
        let cut = if drained.is_ok() { 0 } else { self.loads.total() };
        self.close().await;
        cut
    }

    /// Ends at once.
    pub async fn close(&mut self) {
        self.plan.send_modify(|plan| plan.stage = Stage::Closing);
        let ended = async { while self.running.recv().await.is_some() {} };
        if tokio::time::timeout(CLOSING_TIME_MAX + Duration::from_secs(1), ended).await.is_err() {
            tracing::error!("a worker did not end in time");
        }
    }

    fn announce(&mut self) {
        let open = Arc::new(self.listeners.open().clone());
        self.plan.send_modify(|plan| plan.open = open);
    }
}

/// Runs a worker on this thread. Who starts it hears whether it could begin.
fn run_thread<A: Application>(
    index: usize,
    ties: Ties,
    make: &dyn Fn(usize) -> Rc<A>,
    began: std::sync::mpsc::Sender<io::Result<()>>,
) -> Ended {
    // Nobody listens once another worker could not begin; the plan then ends this one.
    let say = move |begun| drop(began.send(begun));
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            say(Err(error));
            return Ended::AsTold;
        }
    };
    runtime.block_on(async {
        let application = make(index);
        say(Ok(()));
        drop(say);
        station::run(application, ties).await
    })
}
