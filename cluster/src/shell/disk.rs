//! The threads that block: one for the log, with group commit, and one for the reconciler's worker.
//! They must not decide anything; each turns work into events.

use std::sync::mpsc as threads;

use ravelin_config::SealingKeys;
use ravelin_consensus::{Batch, SnapshotMeta};
use tokio::sync::mpsc;

use super::Message;
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

/// Work for the log's thread, carried out in order.
#[derive(Debug)]
pub(super) enum LogWork {
    /// Write this batch.
    Persist(Batch<CommandBytes>),
    /// Drop what this snapshot covers.
    Compact(SnapshotMeta),
    /// Note how far the log is known to be committed.
    NoteKnown(Known),
}

/// Runs the log until its work ends: everything that was queued while the last sync ran is written with the next one.
pub(super) fn run_log(mut log: Log, work: threads::Receiver<LogWork>, outbox: mpsc::Sender<Message>) {
    let mut batches = Vec::new();
    let mut known = None;
    while let Ok(first) = work.recv() {
        let mut next = Some(first);
        while let Some(item) = next.take() {
            match item {
                LogWork::Persist(batch) => batches.push(batch),
                LogWork::Compact(meta) => {
                    tell(&outbox, write(&mut log, &mut batches));
                    tell(&outbox, log.compact(&meta));
                }
                LogWork::NoteKnown(note) => known = Some(note),
            }
            next = work.try_recv().ok();
        }
        tell(&outbox, write(&mut log, &mut batches));
        // Nobody waits for a note: it is written once the writes that somebody waits for are done.
        if let Some(note) = known.take() {
            log.note_known(note);
        }
    }
    if let Err(error) = log.close() {
        tracing::warn!(%error, "the log was not closed in order");
    }
}

fn write(log: &mut Log, batches: &mut Vec<Batch<CommandBytes>>) -> Option<Event> {
    let event = if batches.is_empty() { None } else { log.persist(batches) };
    batches.clear();
    event
}

/// Runs the reconciler's worker until its jobs end.
pub(super) fn run_checks(sealing: SealingKeys, jobs: threads::Receiver<Job>, outbox: mpsc::Sender<Message>) {
    let mut worker = Worker::new(sealing);
    while let Ok(job) = jobs.recv() {
        tell(&outbox, Some(Event::Checked(worker.run(job))));
    }
}

fn tell(outbox: &mpsc::Sender<Message>, event: Option<Event>) {
    if let Some(event) = event {
        // Nobody listens any more once the node has stopped.
        drop(outbox.blocking_send(Message::Event(event)));
    }
}
