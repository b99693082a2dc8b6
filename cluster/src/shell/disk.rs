//! The threads that block: one for the log, with group commit, and one for the reconciler's worker.
//! They must not decide anything; each turns work into events.

use std::sync::mpsc as threads;

use ravelin_config::SealingKeys;
use ravelin_consensus::{Batch, SnapshotMeta};
use tokio::sync::mpsc;

use super::Message;
use super::group::{self, GroupLog, Queue, Work};
use crate::node::boot::{Known, Log};
use crate::node::event::Event;
use crate::reconcile::Job;
use crate::reconcile::worker::Worker;
use crate::storage::CommandBytes;

/// Pieces of work that wait for the log's thread; far more than requests may be in hand.
pub(super) const LOG_WORK_MAX: usize = 16384;
/// Jobs that wait for the reconciler's worker; each run of a controller has two at a time.
pub(super) const CHECKS_MAX: usize = 256;

/// Tells the node when a thread ends, also by a panic.
pub(super) struct Farewell {
    pub(super) what: &'static str,
    pub(super) outbox: mpsc::Sender<Message>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        // A node that ends lets go of its inbox before its threads.
        drop(self.outbox.blocking_send(Message::WorkLost(self.what)));
    }
}

/// Work for the log's thread.
pub(super) type LogWork = Work<Batch<CommandBytes>, SnapshotMeta, Known>;

impl GroupLog<Batch<CommandBytes>, SnapshotMeta, Known> for Log {
    type Told = Event;

    fn persist(&mut self, batches: &[Batch<CommandBytes>]) -> Option<Event> {
        Log::persist(self, batches)
    }

    fn compact(&mut self, meta: &SnapshotMeta) -> Option<Event> {
        Log::compact(self, meta)
    }

    fn note(&mut self, known: Known) {
        self.note_known(known);
    }
}

impl<T> Queue<T> for threads::Receiver<T> {
    fn wait(&mut self) -> Option<T> {
        self.recv().ok()
    }

    fn ready(&mut self) -> Option<T> {
        self.try_recv().ok()
    }
}

/// Runs the log until its work ends.
pub(super) fn run_log(mut log: Log, mut work: threads::Receiver<LogWork>, outbox: mpsc::Sender<Message>) {
    group::run(&mut log, &mut work, |event| tell(&outbox, event));
    if let Err(error) = log.close() {
        tracing::warn!(%error, "the log was not closed in order");
    }
}

/// Runs the reconciler's worker until its jobs end.
pub(super) fn run_checks(sealing: SealingKeys, jobs: threads::Receiver<Job>, outbox: mpsc::Sender<Message>) {
    let mut worker = Worker::new(sealing);
    while let Ok(job) = jobs.recv() {
        tell(&outbox, Event::Checked(worker.run(job)));
    }
}

fn tell(outbox: &mpsc::Sender<Message>, event: Event) {
    // Nobody listens any more once the node has stopped.
    drop(outbox.blocking_send(Message::Event(event)));
}
