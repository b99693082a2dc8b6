//! One node of the model: the shipped core, what its disk holds, and its unfinished writes.

use std::collections::VecDeque;
use std::sync::Arc;

use ravelin_consensus::invariant::{Violation, check_step};
use ravelin_consensus::{
    Batch, Configuration, Core, Corrupt, Durable, Effect, Effects, Entry, EntryKind, Index, Input, Life,
    NodeId, Params, SnapshotMeta, Time,
};

use crate::raft::bounds::{Disk, Watch};
use crate::raft::machine::Machine;
use crate::raft::network::{Load, Packet};
use crate::raft::symmetry::{Renamings, fingerprint};

/// A node and its hash under each renaming.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) core: Core<Load>,
    pub(crate) disk: Durable<Load>,
    pub(crate) queue: VecDeque<Batch<Load>>,
    /// The snapshot whose bytes are on their way here.
    pub(crate) awaited: Option<SnapshotMeta>,
    /// Which run of the process; all are the same where nothing depends on it.
    pub(crate) life: Life,
    /// Where clients have sessions, what was applied.
    pub(crate) machine: Option<Machine>,
    /// The clock of all, at the last event here; what matters of it is in the state.
    pub(crate) now: Time,
    pub(crate) hashes: Vec<u64>,
}

/// What one event made of a node.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) member: Arc<Member>,
    pub(crate) sent: Vec<Arc<Packet>>,
    /// What the history of the run must know of: applied entries and answered reads.
    pub(crate) told: Vec<Effect<Load>>,
    pub(crate) violation: Option<Violation>,
}

/// What all nodes of a model share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) params: Vec<Arc<Params>>,
    pub(crate) configuration: Configuration,
    pub(crate) renamings: Renamings,
    pub(crate) disk: Disk,
    pub(crate) sessions: bool,
    pub(crate) watch: Watch,
}

impl Shared {
    /// A node that starts from what a disk holds.
    pub(crate) fn start(
        &self,
        params: Arc<Params>,
        disk: Durable<Load>,
        life: Life,
        now: Time,
    ) -> Result<Outcome, Corrupt> {
        let core = Core::restore(params, disk.clone())?;
        let (queue, hashes) = (VecDeque::new(), Vec::new());
        let machine = self.sessions.then(Machine::default);
        let member = Member { core, disk, queue, awaited: None, life, machine, now, hashes };
        Ok(self.perform(&member, Input::Start { life }))
    }

    /// Carries out one input and all that a driver does at once: the state machine applies, and with
    /// [`Disk::AtOnce`] writes are finished.
    pub(crate) fn perform(&self, before: &Member, input: Input<Load>) -> Outcome {
        let mut work = Work {
            shared: self,
            member: before.clone(),
            sent: Vec::new(),
            told: Vec::new(),
            violation: None,
        };
        work.step(input);
        if self.disk == Disk::AtOnce {
            while work.violation.is_none() && work.persist_oldest() {}
        }
        work.finish()
    }

    /// The oldest unfinished write reaches the disk and is reported.
    pub(crate) fn persist(&self, before: &Member) -> Outcome {
        let mut work = Work {
            shared: self,
            member: before.clone(),
            sent: Vec::new(),
            told: Vec::new(),
            violation: None,
        };
        work.persist_oldest();
        work.finish()
    }
}

struct Work<'a> {
    shared: &'a Shared,
    member: Member,
    sent: Vec<Arc<Packet>>,
    told: Vec<Effect<Load>>,
    violation: Option<Violation>,
}

impl Work<'_> {
    fn persist_oldest(&mut self) -> bool {
        let Some(batch) = self.member.queue.pop_front() else { return false };
        self.member.disk.write(&batch);
        self.step(Input::Persisted(batch.token));
        true
    }

    fn step(&mut self, input: Input<Load>) {
        let mut effects = Effects::new();
        let before = self.member.core.clone();
        // With leases time goes on, and what waits for it moves with whatever comes.
        let stale = matches!(&input, Input::Message { message, .. } if message.term < before.term())
            && before.params().lease.is_none();
        self.member.core.step(self.member.now, input, &mut effects);
        let core = &self.member.core;
        if stale && *core != before && self.shared.watch == Watch::Everything && self.violation.is_none() {
            let detail = format!("{} takes something from an earlier term than {}", core.id(), before.term());
            self.violation = Some(Violation { id: "I23", detail });
        }
        if self.shared.watch == Watch::Everything && self.violation.is_none() {
            let judged = check_step(&before, core, &effects, Some(&self.member.disk));
            self.violation = judged.and_then(|()| core.check()).err();
        }
        let id = core.id();
        for effect in effects.drain() {
            match effect {
                Effect::Send { to, message } => {
                    self.sent.push(Arc::new(Packet::new(id, to, message, &self.shared.renamings)));
                }
                Effect::Persist(batch) => self.member.queue.push_back(batch),
                Effect::Apply { first, entries } => {
                    let last = first.plus(entries.len()).previous();
                    self.apply(first, &entries);
                    self.told.push(Effect::Apply { first, entries });
                    self.step(Input::Applied(last));
                }
                Effect::InstallSnapshot { meta, .. } => self.member.awaited = Some(*meta),
                Effect::Halt(reason) => {
                    let detail = format!("{id} halted: {reason:?}");
                    self.violation.get_or_insert(Violation { id: "I11", detail });
                }
                effect @ (Effect::Accepted { .. }
                | Effect::ReadReady { .. }
                | Effect::ReadFailed { .. }
                | Effect::TransferFailed { .. }) => self.told.push(effect),
                _ => {}
            }
        }
    }

    fn apply(&mut self, first: Index, entries: &[Entry<Load>]) {
        let Some(machine) = &mut self.member.machine else { return };
        for (place, entry) in entries.iter().enumerate() {
            if let EntryKind::Command(command) = entry.kind
                && let Err(violation) = machine.apply(first.plus(place), command)
            {
                self.violation.get_or_insert(violation);
            }
        }
    }

    fn finish(self) -> Outcome {
        let Work { shared, mut member, sent, told, violation } = self;
        let (core, renumbering) = member.core.canonical();
        for batch in &mut member.queue {
            batch.token = renumbering.token(batch.token);
        }
        member.core = core;
        member.hashes = (0..shared.renamings.len()).map(|at| hash_renamed(&member, shared, at)).collect();
        Outcome { member: Arc::new(member), sent, told, violation }
    }
}

/// The hash of a node under a renaming. While the members never change they are the same set under any, so only votes
/// are renamed outside the core.
fn hash_renamed(member: &Member, shared: &Shared, at: usize) -> u64 {
    let name = |node: NodeId| shared.renamings.name(at, node);
    let core = member.core.renamed(Arc::clone(&shared.params[0]), &name);
    let params = member.core.params();
    let run = (member.life, params.incarnation, params.recovery_epoch, &member.machine);
    if shared.renamings.members_move {
        let queue: Vec<_> = member.queue.iter().map(|batch| batch.clone().renamed(&name)).collect();
        let disk = member.disk.clone().renamed(&name);
        let awaited = member.awaited.clone().map(|meta| meta.renamed(&name));
        return fingerprint(&(name(member.core.id()), core, disk, queue, awaited, run));
    }
    let mut disk = member.disk.clone();
    disk.hard_state.vote = disk.hard_state.vote.map(name);
    let mut queue = member.queue.clone();
    for batch in &mut queue {
        batch.hard_state.vote = batch.hard_state.vote.map(name);
    }
    fingerprint(&(name(member.core.id()), core, disk, queue, &member.awaited, run))
}
