//! Clusters of the shipped core with nothing around them: disks that hold exactly what was written, messages in flight, and
//! the invariant catalogue after every step. Two things drive it: a [seed](timed), in virtual time, and [any bytes](moves).
//!
//! Nothing of the protocol is implemented here, and the harness decides nothing: its drivers do.

pub mod moves;
pub mod timed;

use std::collections::VecDeque;
use std::sync::Arc;

use ravelin_consensus::invariant::{History, View, check_cluster, check_step};
use ravelin_consensus::{
    Batch, ClusterId, Configuration, Core, Durable, Effect, Effects, Incarnation, Input, Message, NodeId,
    Params, Payload, ReadId, SnapshotMeta, Time, Timer,
};

/// A command that is told from every other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Item(pub u32);

impl Payload for Item {
    fn size_bytes(&self) -> u64 {
        16
    }
}

/// One member: its core and what a driver holds for it.
#[derive(Debug)]
struct Member {
    core: Core<Item>,
    disk: Durable<Item>,
    /// Written, but not durable yet.
    queue: VecDeque<Batch<Item>>,
    /// The snapshot whose bytes it waits for.
    awaited: Option<SnapshotMeta>,
    params: Arc<Params>,
}

/// What a step has asked for that its driver must carry out.
#[derive(Debug)]
enum Wanted {
    Deliver { to: usize, from: NodeId, message: Message<Item> },
    Timer { timer: Timer, min_micros: u64, max_micros: u64 },
    NoTimer(Timer),
}

/// A cluster.
#[derive(Debug)]
struct Cores {
    members: Vec<Member>,
    history: History<Item>,
    effects: Effects<Item>,
    wanted: Vec<Wanted>,
    /// Whether every step is judged by the catalogue.
    judged: bool,
    /// Steps so far.
    steps: u64,
    names: u64,
}

impl Cores {
    /// So many voters that have not started yet. `adjust` may change the constants of each.
    fn new(voters: u64, judged: bool, adjust: impl Fn(&mut Params)) -> Self {
        let ids = (1..=voters).map(|id| (NodeId(id), Incarnation(id * 10)));
        let disk = Durable::genesis(Configuration::of_voters(ids.clone()));
        let member = |(id, incarnation)| {
            let mut params = Params::new(ClusterId([7; 16]), id, incarnation);
            adjust(&mut params);
            let params = Arc::new(params);
            let core = Core::restore(Arc::clone(&params), disk.clone()).expect("nothing contradicts itself");
            Member { core, disk: disk.clone(), queue: VecDeque::new(), awaited: None, params }
        };
        Self {
            members: ids.map(member).collect(),
            history: History::default(),
            effects: Effects::new(),
            wanted: Vec::new(),
            judged,
            steps: 0,
            names: 0,
        }
    }

    /// One step, judged; what is left to the driver is in `wanted` then.
    fn step(&mut self, at: usize, now: Time, input: Input<Item>) -> Result<(), String> {
        let Some(member) = self.members.get_mut(at) else { return Ok(()) };
        self.steps += 1;
        if let Input::Read(read) = &input {
            self.history.read_began(*read, member.core.id());
        }
        let before = self.judged.then(|| member.core.clone());
        member.core.step(now, input, &mut self.effects);
        if let Some(before) = before {
            let effects = &self.effects;
            check_step(&before, &member.core, effects, Some(&member.disk))
                .and_then(|()| member.core.check())
                .and_then(|()| self.history.record(&member.core, effects))
                .map_err(|violation| violation.to_string())?;
        }
        self.carry_out(at, now)?;
        if self.judged { self.judge() } else { Ok(()) }
    }

    fn carry_out(&mut self, at: usize, now: Time) -> Result<(), String> {
        let mut applied = None;
        let mut asked = false;
        for effect in self.effects.drain() {
            let Some(member) = self.members.get_mut(at) else { continue };
            match effect {
                Effect::Send { to, message } => {
                    let to = to.0 as usize - 1;
                    self.wanted.push(Wanted::Deliver { to, from: member.core.id(), message });
                }
                Effect::Persist(batch) => member.queue.push_back(batch),
                Effect::InstallSnapshot { meta, .. } => member.awaited = Some(*meta),
                Effect::Apply { first, entries } => applied = Some(first.plus(entries.len()).previous()),
                Effect::TakeSnapshot => asked = true,
                Effect::SetTimer { timer, min, max } => {
                    let [min_micros, max_micros] = [min, max].map(|span| span.as_micros() as u64);
                    self.wanted.push(Wanted::Timer { timer, min_micros, max_micros });
                }
                Effect::CancelTimer(timer) => self.wanted.push(Wanted::NoTimer(timer)),
                _ => {}
            }
        }
        if let Some(index) = applied {
            self.step(at, now, Input::Applied(index))?;
        }
        if asked {
            self.snapshot(at, now)?;
        }
        Ok(())
    }

    fn judge(&self) -> Result<(), String> {
        let views: Vec<View<'_, Item>> = self
            .members
            .iter()
            .map(|member| View { core: &member.core, durable: Some(&member.disk) })
            .collect();
        check_cluster(&views, &self.history).map_err(|violation| violation.to_string())
    }

    /// The first `count` unfinished writes become durable, and the core hears of the last.
    fn persist(&mut self, at: usize, now: Time, count: usize) -> Result<(), String> {
        let Some(member) = self.members.get_mut(at) else { return Ok(()) };
        let count = count.min(member.queue.len());
        let mut token = None;
        for batch in member.queue.drain(..count) {
            member.disk.write(&batch);
            token = Some(batch.token);
        }
        token.map_or(Ok(()), |token| self.step(at, now, Input::Persisted(token)))
    }

    /// Power loss: the first `kept` unfinished writes are on the disk, nobody has heard of it, and the node starts again.
    fn crash(&mut self, at: usize, now: Time, kept: usize) -> Result<(), String> {
        let Some(member) = self.members.get_mut(at) else { return Ok(()) };
        let kept = kept.min(member.queue.len());
        for batch in member.queue.drain(..kept) {
            member.disk.write(&batch);
        }
        member.queue.clear();
        member.awaited = None;
        member.core = Core::restore(Arc::clone(&member.params), member.disk.clone())
            .map_err(|corrupt| format!("a disk that the core itself wrote: {corrupt}"))?;
        self.history.restarted(member.core.id());
        self.step(at, now, Input::Start { life: ravelin_consensus::Life(self.steps) })
    }

    /// A snapshot of what is applied.
    fn snapshot(&mut self, at: usize, now: Time) -> Result<(), String> {
        let Some(member) = self.members.get_mut(at) else { return Ok(()) };
        let index = member.core.applied_index();
        let newer = member.core.snapshot().is_none_or(|held| held.index < index);
        let Some(term) = member.core.term_at(index).filter(|_| newer && index.0 > 0) else { return Ok(()) };
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&index.0.to_le_bytes());
        let configuration = member.core.configuration_at(index).clone();
        let meta = SnapshotMeta { index, term, digest, configuration };
        // Only what the log holds on disk can be covered there.
        if member.disk.last_index() < index {
            return Ok(());
        }
        member.disk.compact(&meta);
        self.step(at, now, Input::SnapshotTaken(Box::new(meta)))
    }

    /// The bytes of the snapshot that a node waits for have arrived, or never will.
    fn install(&mut self, at: usize, now: Time, arrived: bool) -> Result<(), String> {
        let awaited = self.members.get_mut(at).and_then(|member| member.awaited.take());
        let input = |meta| if arrived { Input::SnapshotInstalled(meta) } else { Input::SnapshotFailed(meta) };
        let awaited = awaited.map(Box::new);
        awaited.map_or(Ok(()), |meta| self.step(at, now, input(meta)))
    }

    fn propose(&mut self, at: usize, now: Time) -> Result<(), String> {
        self.names += 1;
        let payload = Item(self.names as u32);
        self.step(at, now, Input::Propose { id: ravelin_consensus::ProposalId(self.names), payload })
    }

    fn read(&mut self, at: usize, now: Time) -> Result<(), String> {
        self.names += 1;
        self.step(at, now, Input::Read(ReadId(self.names)))
    }
}
