//! A driver of three of Ravelin's cores in one process: a task for each, channels for the network, and for the disk either
//! memory or the shipped write-ahead log on a thread of its own. It carries out every effect as a real driver has to.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc as threads;
use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use ravelin_cluster::storage::{CommandBytes, DataDirectory, Owner, RealDisk, Wal, WalLimits};
use ravelin_consensus::{
    AppendOutcome, Batch, Body, ClusterId, Configuration, Core, Durable, ENTRY_OVERHEAD_BYTES, Effect,
    Effects, Incarnation, Index, Input, Life, NodeId, Params, ProposalId, SnapshotMeta, Term, Time, Timer,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::clients::Commits;
use crate::legs::{Moment, Notes};
use crate::{COMMAND_BYTES, COMPACT_ENTRIES, NODES};

const CLUSTER: [u8; 16] = [7; 16];
/// Events that are taken from the queue at a time.
const EVENTS_MAX: usize = 256;
/// Pieces of work that wait for a log's thread, as in the shipped shell.
const LOG_WORK_MAX: usize = 16384;
/// A log with clients never has nothing to do for so long.
const IDLE_MAX: Duration = Duration::from_millis(50);
/// How long the first election may take.
const START_MAX: Duration = Duration::from_secs(5);

/// What a node is told. The queue holds at most one proposal of each client, and what the core's window lets its peers
/// have under way.
enum Event {
    Input(Input<CommandBytes>),
    Propose { command: CommandBytes, done: oneshot::Sender<bool> },
}

/// What the log's thread is told: at most one batch and one snapshot at a time.
enum LogWork {
    Persist(Batch<CommandBytes>),
    Compact(SnapshotMeta),
}

/// The leader of three nodes that run.
#[derive(Clone)]
pub(crate) struct Cluster {
    leader: mpsc::UnboundedSender<Event>,
    /// Groups of batches that the leader's disk has synced.
    pub(crate) leader_syncs: Arc<AtomicU64>,
    /// Nanoseconds for which the leader's disk had nothing to do.
    pub(crate) leader_idle: Arc<AtomicU64>,
}

impl Commits for Cluster {
    async fn commit(&self, command: Bytes) -> anyhow::Result<()> {
        let (done, answer) = oneshot::channel();
        let event = Event::Propose { command: CommandBytes(command), done };
        self.leader.send(event).ok().context("the leader has stopped")?;
        anyhow::ensure!(answer.await.context("the leader has stopped")?, "the proposal was not taken");
        Ok(())
    }
}

impl Cluster {
    /// Three nodes, of which the first leads: in memory, or with their logs under `folder`.
    /// With `notes` each node says when it has a command in hand, which only means something for one client.
    pub(crate) async fn start(folder: Option<&Path>, notes: Option<Arc<Notes>>) -> anyhow::Result<Self> {
        let members = (1..=NODES).map(|id| (NodeId(id), Incarnation(1)));
        let configuration = Configuration::of_voters(members);
        let (doors, inboxes): (Vec<_>, Vec<_>) = (0..NODES).map(|_| mpsc::unbounded_channel()).unzip();
        let leader = doors.first().context("three nodes")?.clone();
        let cluster = Self { leader, leader_syncs: Arc::default(), leader_idle: Arc::default() };
        for (id, inbox) in (1..=NODES).zip(inboxes) {
            let mut params = Params::new(ClusterId(CLUSTER), NodeId(id), Incarnation(1));
            let command_bytes = ENTRY_OVERHEAD_BYTES + COMMAND_BYTES as u64;
            // A peer that is slow for a moment is never so far behind that it needs a snapshot.
            params.log_bytes_max = 8 * COMPACT_ENTRIES * command_bytes;
            params.log_trailing_bytes_max = 2 * COMPACT_ENTRIES * command_bytes;
            let core = Core::restore(Arc::new(params), Durable::genesis(configuration.clone()))
                .map_err(|corrupt| anyhow::anyhow!("{corrupt}"))?;
            let log = match folder {
                Some(folder) => {
                    let own =
                        usize::try_from(id - 1).ok().and_then(|at| doors.get(at)).context("a node")?.clone();
                    let log = LogThread {
                        node: id,
                        inbox: own,
                        syncs: if id == 1 { Arc::clone(&cluster.leader_syncs) } else { Arc::default() },
                        idle: if id == 1 { Arc::clone(&cluster.leader_idle) } else { Arc::default() },
                        notes: notes.clone(),
                    };
                    Some(log.start(&folder.join(id.to_string()), &configuration)?)
                }
                None => None,
            };
            let node = Node {
                core,
                doors: doors.clone(),
                log,
                effects: Effects::new(),
                answers: VecDeque::new(),
                timers: [None; 6],
                proposals: 0,
                asked: None,
                waiting: VecDeque::new(),
                applied: (Index::ZERO, Term(0)),
                heard: [Index::ZERO; NODES as usize],
                notes: notes.clone(),
            };
            tokio::spawn(async move {
                if let Err(error) = node.run(inbox).await {
                    eprintln!("node {id} stops: {error:#}");
                }
            });
        }
        for (id, door) in (1..).zip(&doors) {
            door.send(Event::Input(Input::Start { life: Life(id) })).ok().context("a node has stopped")?;
        }
        cluster
            .leader
            .send(Event::Input(Input::Timer(Timer::Election)))
            .ok()
            .context("a node has stopped")?;
        let led = async {
            while cluster.commit(Bytes::from_static(&[7; COMMAND_BYTES])).await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await; // there is nothing that tells of it
            }
        };
        tokio::time::timeout(START_MAX, led).await.context("the first node does not lead")?;
        Ok(cluster)
    }
}

/// A thread that writes: everything that came while the last sync ran goes with the next, as in the shipped shell.
struct LogThread {
    node: u64,
    inbox: mpsc::UnboundedSender<Event>,
    syncs: Arc<AtomicU64>,
    idle: Arc<AtomicU64>,
    notes: Option<Arc<Notes>>,
}

impl LogThread {
    fn start(self, folder: &Path, members: &Configuration) -> anyhow::Result<threads::SyncSender<LogWork>> {
        let owner = Owner { cluster: CLUSTER, recovery_epoch: 0, node: self.node, incarnation: 1 };
        let directory = DataDirectory::open(Arc::new(RealDisk::open(folder)?), owner)?;
        let (wal, _) = Wal::open(directory, WalLimits::default(), members)?;
        let (door, work) = threads::sync_channel(LOG_WORK_MAX);
        std::thread::spawn(move || self.run(wal, work));
        Ok(door)
    }

    fn run(self, mut wal: Wal, work: threads::Receiver<LogWork>) -> anyhow::Result<()> {
        let mut batches = Vec::new();
        let mut rests = std::time::Instant::now();
        while let Ok(first) = work.recv() {
            // What is longer lies between two rounds.
            if let Some(idle) = Some(rests.elapsed()).filter(|idle| *idle < IDLE_MAX) {
                self.idle.fetch_add(idle.subsec_nanos().into(), Ordering::Relaxed);
            }
            let mut compacted = None;
            for item in std::iter::once(first).chain(work.try_iter()) {
                match item {
                    LogWork::Persist(batch) => batches.push(batch),
                    LogWork::Compact(meta) => compacted = Some(meta),
                }
            }
            // What holds no entries is no command's.
            let notes = self.notes.as_ref().filter(|_| batches.iter().any(|batch| !batch.entries.is_empty()));
            notes.inspect(|notes| notes.note(self.node, Moment::Writes));
            if let Some(token) = wal.append(&batches)? {
                notes.inspect(|notes| notes.note(self.node, Moment::Synced));
                self.syncs.fetch_add(1, Ordering::Relaxed);
                if self.inbox.send(Event::Input(Input::Persisted(token))).is_err() {
                    break;
                }
            }
            batches.clear();
            if let Some(meta) = compacted {
                wal.compact(&meta)?;
            }
            rests = std::time::Instant::now();
        }
        Ok(())
    }
}

struct Node {
    core: Core<CommandBytes>,
    /// Of every node, in order of id.
    doors: Vec<mpsc::UnboundedSender<Event>>,
    log: Option<threads::SyncSender<LogWork>>,
    effects: Effects<CommandBytes>,
    /// What the core is to be told at once in return.
    answers: VecDeque<Input<CommandBytes>>,
    timers: [Option<(Timer, Instant)>; 6],
    proposals: u64,
    /// Who made the proposal of this step.
    asked: Option<oneshot::Sender<bool>>,
    /// Whose proposals are in the log, in its order.
    waiting: VecDeque<(Index, oneshot::Sender<bool>)>,
    applied: (Index, Term),
    /// How far each node was heard to be durable.
    heard: [Index; NODES as usize],
    notes: Option<Arc<Notes>>,
}

impl Node {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Event>) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            let next = self.timers.iter().flatten().min_by_key(|(_, at)| *at).copied();
            let deadline = next.map_or_else(|| Instant::now() + START_MAX, |(_, at)| at);
            match tokio::time::timeout_at(deadline, inbox.recv_many(&mut events, EVENTS_MAX)).await {
                Ok(0) => return Ok(()),
                // As the shipped shell: what is there by now is taken along, and nobody is waited for. In memory, where no
                // sync lets others speak meanwhile, whoever is ready to does so first: else the runtime would let this
                // node run again after each single one.
                Ok(_) if self.log.is_none() => {
                    tokio::task::yield_now().await;
                    events.extend(std::iter::from_fn(|| inbox.try_recv().ok()).take(EVENTS_MAX));
                }
                Ok(_) => {}
                Err(_) => {
                    if let Some((timer, _)) = next {
                        self.set(timer, None);
                        self.step(Input::Timer(timer))?;
                    }
                }
            }
            for event in events.drain(..) {
                self.note(&event);
                match event {
                    Event::Input(input) => self.step(input)?,
                    Event::Propose { command, done } => {
                        self.proposals += 1;
                        self.asked = Some(done);
                        self.step(Input::Propose { id: ProposalId(self.proposals), payload: command })?;
                    }
                }
            }
        }
    }

    /// Notes how far the command under way has come, if that is asked for.
    fn note(&mut self, event: &Event) {
        let (Some(notes), id) = (&self.notes, self.core.id()) else { return };
        match event {
            Event::Propose { .. } => notes.note(id.0, Moment::Took),
            Event::Input(Input::Persisted(_)) => notes.note(id.0, Moment::Told),
            Event::Input(Input::Message { from, message }) => match &message.body {
                Body::Append { entries, .. } if !entries.is_empty() => notes.note(id.0, Moment::Took),
                Body::AppendReply { outcome: AppendOutcome::Accepted { matched }, .. } => {
                    let heard = usize::try_from(from.0 - 1).ok().and_then(|at| self.heard.get_mut(at));
                    // Commits are told and acknowledged too: only what is new counts.
                    if heard.is_some_and(|heard| std::mem::replace(heard, *matched) < *matched) {
                        notes.note(from.0, Moment::Heard);
                    }
                }
                _ => {}
            },
            Event::Input(_) => {}
        }
    }

    fn set(&mut self, timer: Timer, at: Option<Instant>) {
        let kept = self.timers.iter().position(|set| set.is_some_and(|(set, _)| set == timer));
        let place = kept.or_else(|| self.timers.iter().position(Option::is_none));
        if let Some(slot) = place.and_then(|at| self.timers.get_mut(at)) {
            *slot = at.map(|at| (timer, at));
        }
    }

    /// One input, and whatever follows from it at once.
    fn step(&mut self, input: Input<CommandBytes>) -> anyhow::Result<()> {
        self.answers.push_back(input);
        while let Some(input) = self.answers.pop_front() {
            self.core.step(Time::default(), input, &mut self.effects);
            let mut effects = std::mem::take(&mut self.effects);
            for effect in effects.drain() {
                self.carry_out(effect)?;
            }
            self.effects = effects;
        }
        Ok(())
    }

    fn tell(&self, node: NodeId, input: Input<CommandBytes>) -> anyhow::Result<()> {
        let door = usize::try_from(node.0 - 1).ok().and_then(|at| self.doors.get(at)).context("a node")?;
        door.send(Event::Input(input)).ok().context("a node has stopped")
    }

    fn carry_out(&mut self, effect: Effect<CommandBytes>) -> anyhow::Result<()> {
        match effect {
            Effect::Send { to, message } => {
                let from = self.core.id();
                self.tell(to, Input::Message { from, message })?;
            }
            Effect::Persist(batch) => match &self.log {
                Some(log) => log.send(LogWork::Persist(batch)).ok().context("the log has stopped")?,
                // Memory is written by the time that the node looks at its queue again.
                None => self.tell(self.core.id(), Input::Persisted(batch.token))?,
            },
            Effect::Apply { first, entries } => {
                let index = first.plus(entries.len()).previous();
                self.applied = (index, entries.last().map_or(self.applied.1, |entry| entry.term));
                self.notes.iter().for_each(|notes| notes.note_committed());
                while let Some((_, done)) = self.waiting.pop_front_if(|(at, _)| *at <= index) {
                    let _left = done.send(true); // a client that has left needs no answer
                }
                self.answers.push_back(Input::Applied(index));
            }
            Effect::Accepted { index, .. } => {
                self.waiting.extend(self.asked.take().map(|done| (index, done)))
            }
            Effect::Rejected { .. } => {
                let _left = self.asked.take().map(|done| done.send(false));
            }
            Effect::SetTimer { timer, min, max } => {
                // Nodes need not draw: only the first ever campaigns here.
                let span = if self.core.id() == NodeId(1) { min } else { max };
                self.set(timer, Some(Instant::now() + span));
            }
            Effect::CancelTimer(timer) => self.set(timer, None),
            Effect::TakeSnapshot => {
                let (index, term) = self.applied;
                let configuration = self.core.configuration().clone();
                let meta = SnapshotMeta { index, term, digest: [1; 32], configuration };
                if let Some(log) = &self.log {
                    log.send(LogWork::Compact(meta.clone())).ok().context("the log has stopped")?;
                }
                self.answers.push_back(Input::SnapshotTaken(Box::new(meta)));
            }
            Effect::Halt(reason) => anyhow::bail!("a core halted: {reason:?}"),
            Effect::SendSnapshot { .. } | Effect::InstallSnapshot { .. } => {
                anyhow::bail!("nobody falls behind here")
            }
            Effect::ReadReady { .. } | Effect::ReadFailed { .. } | Effect::TransferFailed { .. } => {}
            Effect::RoleChanged { .. } => {}
        }
        Ok(())
    }
}
