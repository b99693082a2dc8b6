//! A node together with its disk and its worker, without threads: what a simulator (and the node's own tests) drives.
//!
//! Every action that needs a disk or the worker waits in a queue until the caller runs it, so that a crash can come
//! between any two. It must not hold rules of its own: it carries the node's actions out in the shell's order.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use ravelin_config::{ConfigMap, GenerationId};
use ravelin_consensus::{Batch, Configuration, Entry, Index, SnapshotMeta, Term, Time};

use crate::feed::transfer::{ViewSealing, encode_whole};
use crate::node::applying::apply_beside;
use crate::node::boot::{BootError, Booted, Known, Log, Member, Snapshots, boot};
use crate::node::event::{Action, Actions, Event};
use crate::node::{Node, NodeOptions};
use crate::reconcile::Job;
use crate::reconcile::worker::Worker;
use crate::storage::{CommandBytes, Disk, WalLimits, chain};
use crate::store::Store;

/// Work that takes time on a real machine. Each kind is done in order; kinds do not wait for each other.
#[derive(Debug)]
pub enum Work {
    /// Write one batch and sync.
    Persist(Batch<CommandBytes>),
    /// Drop what a snapshot covers.
    Compact(SnapshotMeta),
    /// Note how far the log is known to be committed.
    NoteKnown(Known),
    /// Write a snapshot.
    Snapshot {
        /// The last entry in it.
        index: Index,
        /// Its term.
        term: Term,
        /// The members.
        configuration: Configuration,
        /// The state.
        store: Box<Store>,
    },
    /// Apply an entry to a copy of the state.
    Apply {
        /// The job's number.
        job: u64,
        /// The entry's place.
        index: Index,
        /// The entry.
        entry: Entry<CommandBytes>,
        /// The state before it.
        store: Box<Store>,
    },
    /// Run a job of the reconciler's worker.
    Check(Job),
    /// Encode a whole generation.
    Encode {
        /// Which.
        generation: GenerationId,
        /// Its content.
        map: ConfigMap,
        /// The transfer's number.
        transfer: u64,
        /// Seals its secrets.
        sealing: ViewSealing,
    },
}

/// One process of the control plane, without threads.
#[derive(Debug)]
pub struct Machine {
    node: Node,
    log: Log,
    snapshots: Snapshots,
    worker: Worker,
    actions: Actions,
    disk_work: VecDeque<Work>,
    other_work: VecDeque<Work>,
}

impl Machine {
    /// Boots from a disk, as the shell does. `limits` are the sizes of the log's files.
    ///
    /// # Errors
    /// [`BootError`].
    pub fn boot(
        disk: Arc<dyn Disk>,
        limits: WalLimits,
        member: &Member,
        options: NodeOptions,
        seed: u64,
    ) -> Result<Self, BootError> {
        let worker = Worker::new(options.sealing.clone());
        let Booted { node, log, snapshots, .. } = boot(disk, limits, member, options, seed)?;
        Ok(Self {
            node,
            log,
            snapshots,
            worker,
            actions: Actions::new(),
            disk_work: VecDeque::new(),
            other_work: VecDeque::new(),
        })
    }

    /// The node: for invariants.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Gives the node an event. What needs a disk or the worker is queued; everything else comes back.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.node.handle(now, event, &mut self.actions);
        let mut outside = Vec::new();
        for action in self.actions.drain() {
            match action {
                Action::Persist(batch) => self.disk_work.push_back(Work::Persist(batch)),
                Action::CompactLog(meta) => self.disk_work.push_back(Work::Compact(meta)),
                Action::NoteKnown(known) => self.disk_work.push_back(Work::NoteKnown(known)),
                Action::WriteSnapshot { index, term, configuration, store } => {
                    self.other_work.push_back(Work::Snapshot { index, term, configuration, store });
                }
                Action::ApplyBeside { job, index, entry, store } => {
                    self.other_work.push_back(Work::Apply { job, index, entry, store });
                }
                Action::Discard(_) => {}
                Action::Check(job) => self.other_work.push_back(Work::Check(job)),
                Action::EncodeWhole { generation, map, transfer, sealing } => {
                    self.other_work.push_back(Work::Encode { generation, map, transfer, sealing });
                }
                other => outside.push(other),
            }
        }
        outside
    }

    /// Work of the log that waits.
    pub fn log_work(&self) -> usize {
        self.disk_work.len()
    }

    /// Other work that waits.
    pub fn other_work(&self) -> usize {
        self.other_work.len()
    }

    /// The log's next work: every batch in a row, which one sync makes durable, or something else by itself.
    pub fn next_log_work(&self) -> impl Iterator<Item = &Work> {
        let batches = self.disk_work.iter().take_while(|work| matches!(work, Work::Persist(_))).count();
        self.disk_work.iter().take(batches.max(1))
    }

    /// Does the log's next work, as group commit does. Gives what to tell the node.
    pub fn run_log(&mut self) -> Option<Event> {
        let mut batches = Vec::new();
        while let Some(Work::Persist(_)) = self.disk_work.front() {
            if let Some(Work::Persist(batch)) = self.disk_work.pop_front() {
                batches.push(batch);
            }
        }
        if !batches.is_empty() {
            return self.log.persist(&batches);
        }
        match self.disk_work.pop_front()? {
            Work::Compact(meta) => self.log.compact(&meta),
            Work::NoteKnown(known) => {
                self.log.note_known(known);
                None
            }
            _ => None,
        }
    }

    /// The next of the other work.
    pub fn next_other_work(&self) -> Option<&Work> {
        self.other_work.front()
    }

    /// Does the next of the other work. Gives what to tell the node.
    pub fn run_other(&mut self) -> Option<Event> {
        match self.other_work.pop_front()? {
            Work::Snapshot { index, term, configuration, store } => {
                Some(self.snapshots.write(index, term, configuration, &store))
            }
            Work::Apply { job, index, entry, store } => {
                let outcome = apply_beside(store, index, &entry);
                Some(Event::AppliedBeside { job, outcome })
            }
            Work::Check(job) => Some(Event::Checked(self.worker.run(job))),
            Work::Encode { generation, map, transfer, sealing } => {
                let frames = encode_whole(generation, &map, transfer, &sealing).ok();
                Some(Event::WholeEncoded { generation, frames })
            }
            Work::Persist(_) | Work::Compact(_) | Work::NoteKnown(_) => None,
        }
    }

    /// The chunks of a durable snapshot, for a machine that fetches it; none if it is not here whole.
    pub fn give_snapshot(&self, meta: &SnapshotMeta) -> Option<Vec<Bytes>> {
        self.snapshots.files().open(meta).ok()?.collect::<Result<_, _>>().ok()
    }

    /// Keeps a snapshot fetched from another machine. Gives what to tell the node.
    pub fn take_snapshot(&self, meta: &SnapshotMeta, chunks: &[Bytes]) -> Event {
        let files = self.snapshots.files();
        let kept = files.begin(meta.index, meta.term, meta.configuration.clone()).and_then(|mut writer| {
            chunks.iter().try_for_each(|chunk| writer.push(chunk))?;
            writer.finish(Some(meta))
        });
        let loaded = match kept {
            Ok(_) => self.snapshots.load(meta).map_err(|error| chain(&error)),
            Err(error) => Err(chain(&error)),
        };
        match loaded {
            Ok(store) => Event::SnapshotFetched { meta: meta.clone(), store },
            Err(reason) => Event::SnapshotNotFetched { meta: meta.clone(), reason },
        }
    }
}
