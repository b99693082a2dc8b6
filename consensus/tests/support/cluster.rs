//! A cluster in one thread: cores, disks, unfinished writes and messages in flight, judged by the invariant catalogue
//! after every step. It decides nothing: scripts and random walks do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::sync::Arc;

use ravelin_consensus::invariant::{History, View, check_cluster, check_step};
use ravelin_consensus::{
    AppendOutcome, Batch, Body, ClusterId, Configuration, Core, Durable, Effect, Effects, Entry, EntryKind,
    Incarnation, Index, Input, Life, Message, NodeId, Params, Payload, RejectReason, RoleName, SnapshotMeta,
    Time,
};

#[path = "oracle.rs"]
mod oracle;

use oracle::Oracle;

/// A command of the tests.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Text(pub(crate) Arc<str>);

impl Payload for Text {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

/// One node: the core and what a driver holds for it.
pub(crate) struct Node {
    pub(crate) core: Core<Text>,
    pub(crate) disk: Durable<Text>,
    pub(crate) queue: VecDeque<Batch<Text>>,
    pub(crate) awaited: Option<SnapshotMeta>,
    /// Every entry given to the state machine in this life, by index.
    pub(crate) applied: BTreeMap<Index, Option<Text>>,
}

/// A message in flight.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message<Text>,
}

/// All of it.
pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) network: Vec<Packet>,
    pub(crate) history: History<Text>,
    pub(crate) oracle: Oracle<Text>,
    /// Whether a foreign message was injected, after which only totality and the local invariants are asked.
    pub(crate) honest: bool,
    /// Whether a broken invariant is noted in `broken`, and the run goes on; else it panics.
    pub(crate) lenient: bool,
    /// What was broken since this was last taken.
    pub(crate) broken: Vec<String>,
    /// Rare things, and how often they happened.
    pub(crate) seen: BTreeMap<&'static str, u64>,
    told: BTreeSet<String>,
    genesis: Configuration,
    /// After which the oracle, who knows of one incarnation each, is not asked any more.
    wiped: bool,
    /// The clock of all nodes.
    pub(crate) now: Time,
    params: BTreeMap<NodeId, Arc<Params>>,
    lives: u64,
}

/// The incarnation of a node that was never replaced.
pub(crate) fn incarnation(node: NodeId) -> Incarnation {
    Incarnation(node.0 * 10)
}

fn is_change(entry: &Entry<Text>) -> bool {
    matches!(entry.kind, EntryKind::Configuration(_))
}

impl Cluster {
    /// Nodes that have not started yet, the members and `spare` ones. `adjust` may change the constants of each.
    pub(crate) fn new(
        configuration: &Configuration,
        spare: &[NodeId],
        adjust: impl Fn(&mut Params),
    ) -> Cluster {
        let disk = Durable::genesis(configuration.clone());
        let mut cluster = Cluster {
            nodes: BTreeMap::new(),
            network: Vec::new(),
            history: History::default(),
            oracle: Oracle::new(configuration.clone()),
            honest: true,
            lenient: false,
            broken: Vec::new(),
            seen: BTreeMap::new(),
            told: BTreeSet::new(),
            genesis: configuration.clone(),
            wiped: false,
            now: Time::default(),
            params: BTreeMap::new(),
            lives: 0,
        };
        for id in configuration.members().chain(spare.iter().copied()) {
            let mut params = Params::new(ClusterId([7; 16]), id, incarnation(id));
            adjust(&mut params);
            cluster.params.insert(id, Arc::new(params));
            cluster.restart(id, disk.clone());
        }
        cluster
    }

    fn restart(&mut self, id: NodeId, disk: Durable<Text>) {
        let params = Arc::clone(&self.params[&id]);
        let core = Core::restore(params, disk.clone()).expect("a disk written by the core itself");
        let node = Node { core, disk, queue: VecDeque::new(), awaited: None, applied: BTreeMap::new() };
        self.nodes.insert(id, node);
    }

    /// A node begins to run.
    pub(crate) fn start(&mut self, id: NodeId) -> Vec<Effect<Text>> {
        self.lives += 1;
        self.step(id, Input::Start { life: Life(self.lives) })
    }

    /// One step and what a driver does at once. Returns the effects in order, those of the apply reports included.
    pub(crate) fn step(&mut self, id: NodeId, input: Input<Text>) -> Vec<Effect<Text>> {
        if let Input::Read(read) = &input {
            self.history.read_began(*read, id);
        }
        let Some(node) = self.nodes.get_mut(&id) else { return Vec::new() };
        let mut effects = Effects::new();
        let before = node.core.clone();
        node.core.step(self.now, input.clone(), &mut effects);
        let watched = self.honest && !self.wiped;
        let told = watched.then(|| self.oracle.saw(id, &input, &effects));
        let disk = Some(&node.disk).filter(|_| self.honest);
        let stepped = check_step(&before, &node.core, &effects, disk).and_then(|()| node.core.check());
        let mut shown = Vec::new();
        let mut applied = None;
        for effect in effects.drain() {
            shown.push(effect.clone());
            match effect {
                Effect::Send { to, message } => self.network.push(Packet { from: id, to, message }),
                Effect::Persist(batch) => node.queue.push_back(batch),
                Effect::InstallSnapshot { meta, .. } => node.awaited = Some(*meta),
                Effect::Apply { first, entries } => {
                    let mut index = first;
                    for entry in &entries {
                        let content = match &entry.kind {
                            EntryKind::Command(text) => Some(text.clone()),
                            _ => None,
                        };
                        let again = node.applied.insert(index, content).is_some();
                        assert!(!again || self.lenient, "applied once");
                        index = index.next();
                    }
                    applied = Some(index.previous());
                }
                _ => {}
            }
        }
        self.keep("the oracle", told.unwrap_or(Ok(())));
        self.keep("a step", stepped);
        self.notice(&before, &shown);
        self.judge(id, &shown);
        if let Some(index) = applied {
            shown.extend(self.step(id, Input::Applied(index)));
        }
        shown
    }

    /// Notes what is broken, once for each invariant, or panics.
    fn keep(&mut self, by: &str, judged: Result<(), impl Display>) {
        let Err(violation) = judged else { return };
        let text = violation.to_string();
        assert!(self.lenient, "broken, says {by}: {text}");
        let id = |text: &str| text.split([' ', ':']).next().unwrap_or_default().to_owned();
        if self.told.insert(id(&text)) {
            self.broken.push(text);
        }
    }

    fn notice(&mut self, before: &Core<Text>, effects: &[Effect<Text>]) {
        for effect in effects {
            let what = match effect {
                Effect::Persist(batch) if batch.snapshot.is_some() => "snapshot installed",
                Effect::Persist(batch) if batch.first <= before.last_index() => "entries cut off",
                Effect::ReadReady { .. } if before.role() == RoleName::Follower => "read ready at a follower",
                Effect::ReadReady { .. } => "read ready",
                Effect::TransferFailed { .. } => "not handed over",
                Effect::ReadFailed { .. } => "read failed",
                Effect::Rejected { reason: RejectReason::Busy, .. } => "busy",
                Effect::Rejected { reason: RejectReason::LogFull, .. } => "log full",
                Effect::Rejected { reason: RejectReason::ChangePending, .. } => "change pending",
                Effect::Persist(batch) if batch.entries.iter().any(is_change) => "members changed",
                Effect::RoleChanged { role: RoleName::Follower, leader: None, .. }
                    if before.role() == RoleName::Leader && !self.is_voter(before.id()) =>
                {
                    "removed leader stepped down"
                }
                Effect::TakeSnapshot => "snapshot asked for",
                Effect::Send { message, .. } => match &message.body {
                    Body::TimeoutNow => "handed over",
                    Body::Missing { .. } => "missing entries sent",
                    Body::AppendReply { outcome: AppendOutcome::Rejected { .. }, .. } => "append rejected",
                    _ => continue,
                },
                _ => continue,
            };
            *self.seen.entry(what).or_default() += 1;
        }
    }

    /// Whether a node's own log names it as a voter.
    pub(crate) fn is_voter(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.core.configuration().is_voter(id, incarnation(id)))
    }

    fn judge(&mut self, id: NodeId, effects: &[Effect<Text>]) {
        if !self.honest {
            return;
        }
        let recorded = self.history.record(&self.nodes[&id].core, effects);
        self.keep("the history of the run", recorded);
        let views: Vec<_> =
            self.nodes.values().map(|node| View { core: &node.core, durable: Some(&node.disk) }).collect();
        let agreed = check_cluster(&views, &self.history);
        self.keep("the cluster", agreed);
    }

    /// The oldest unfinished write of a node reaches its disk, and is reported.
    pub(crate) fn persist(&mut self, id: NodeId) -> Option<Vec<Effect<Text>>> {
        let node = self.nodes.get_mut(&id)?;
        let batch = node.queue.pop_front()?;
        node.disk.write(&batch);
        Some(self.step(id, Input::Persisted(batch.token)))
    }

    /// The process dies; `kept` of its unfinished writes had reached the disk. It restarts.
    pub(crate) fn crash(&mut self, id: NodeId, kept: usize) -> Vec<Effect<Text>> {
        let node = &self.nodes[&id];
        let mut disk = node.disk.clone();
        node.queue.iter().take(kept).for_each(|batch| disk.write(batch));
        if kept < node.queue.len() {
            *self.seen.entry("write lost").or_default() += 1;
        }
        self.history.restarted(id);
        self.oracle.started(id, kept);
        self.restart(id, disk);
        self.start(id)
    }

    /// The node loses its disk and comes back empty, as another incarnation.
    #[allow(dead_code)] // walks keep their disks
    pub(crate) fn wipe(&mut self, id: NodeId) -> Vec<Effect<Text>> {
        let mut params = Params::clone(&self.params[&id]);
        params.incarnation.0 += 1;
        self.params.insert(id, Arc::new(params));
        self.wiped = true;
        self.history.restarted(id);
        self.restart(id, Durable::genesis(self.genesis.clone()));
        self.start(id)
    }

    /// The state machine's snapshot of all that is applied is durable.
    pub(crate) fn take_snapshot(&mut self, id: NodeId) -> Vec<Effect<Text>> {
        let node = self.nodes.get_mut(&id).expect("the node exists");
        let index = node.core.applied_index();
        let Some(term) = node.core.term_at(index).filter(|_| index > Index::ZERO) else { return Vec::new() };
        let configuration = node.core.configuration_at(index).clone();
        let meta = SnapshotMeta { index, term, digest: [index.0 as u8; 32], configuration };
        if node.core.snapshot().is_some_and(|old| old.index >= index) {
            return Vec::new();
        }
        node.disk.compact(&meta);
        self.step(id, Input::SnapshotTaken(Box::new(meta)))
    }

    /// The bytes of the snapshot that a node waits for have arrived.
    pub(crate) fn install(&mut self, id: NodeId) -> Option<Vec<Effect<Text>>> {
        let meta = self.nodes.get_mut(&id)?.awaited.take()?;
        Some(self.step(id, Input::SnapshotInstalled(Box::new(meta))))
    }

    /// Delivers a message in flight.
    pub(crate) fn deliver(&mut self, at: usize) -> Vec<Effect<Text>> {
        let Packet { from, to, message } = self.network.remove(at);
        self.step(to, Input::Message { from, message })
    }
}
