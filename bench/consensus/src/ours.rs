//! Three of Ravelin's cores in one thread: messages are handed on as they are, writes are durable at once, applying is
//! counting. It must not do less than a driver has to: every effect is taken, snapshots are taken when asked for.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context, ensure};
use ravelin_consensus::{
    Body, ClusterId, Configuration, Core, Durable, ENTRY_OVERHEAD_BYTES, Effect, Effects, Incarnation, Index,
    Input, Life, Message, NodeId, Params, Payload, ProposalId, RoleName, SnapshotMeta, Term, Time, Timer,
};

use crate::COMMAND_BYTES;
use crate::rounds::Subject;

const NODES: u64 = 3;
/// Turns in which nothing but waiting inputs is handled, before it is taken for a fault.
const INPUTS_MAX: usize = 1 << 24;

/// A command: bytes that the log, the messages and the state machine share.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Command(Arc<[u8]>);

impl Payload for Command {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

struct Node {
    core: Core<Command>,
    applied: Index,
    applied_term: Term,
}

/// Three cores, of which the first leads.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    waiting: VecDeque<(usize, Input<Command>)>,
    effects: Effects<Command>,
    proposals: u64,
    /// Heap allocations within `step`, where they are counted.
    allocations: Option<u64>,
}

impl Cluster {
    /// A cluster whose first node leads and has committed its first entry.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let cluster = ClusterId([7; 16]);
        let members = (1..=NODES).map(|id| (NodeId(id), Incarnation(id)));
        let configuration = Configuration::of_voters(members);
        let mut nodes = Vec::new();
        for id in 1..=NODES {
            let mut params = Params::new(cluster, NodeId(id), Incarnation(id));
            let command_bytes = ENTRY_OVERHEAD_BYTES + COMMAND_BYTES as u64;
            params.log_bytes_max = 2 * crate::COMPACT_ENTRIES * command_bytes;
            params.log_trailing_bytes_max = 0;
            let core = Core::restore(Arc::new(params), Durable::genesis(configuration.clone()))
                .map_err(|corrupt| anyhow::anyhow!("{corrupt}"))?;
            nodes.push(Node { core, applied: Index::ZERO, applied_term: Term(0) });
        }
        let mut cluster = Self {
            nodes,
            waiting: VecDeque::new(),
            effects: Effects::new(),
            proposals: 0,
            allocations: None,
        };
        for node in 0..cluster.nodes.len() {
            cluster.waiting.push_back((node, Input::Start { life: Life(node as u64 + 1) }));
        }
        cluster.work()?;
        cluster.waiting.push_back((0, Input::Timer(Timer::Election)));
        cluster.work()?;
        let leader = cluster.nodes.first().context("three nodes")?;
        ensure!(leader.core.role() == RoleName::Leader, "the first node does not lead");
        Ok(cluster)
    }

    /// Handles inputs until none waits.
    fn work(&mut self) -> anyhow::Result<()> {
        for _ in 0..INPUTS_MAX {
            let Some((node, input)) = self.waiting.pop_front() else { return Ok(()) };
            self.step(node, input)?;
        }
        anyhow::bail!("the cluster does not come to rest")
    }

    fn step(&mut self, at: usize, input: Input<Command>) -> anyhow::Result<()> {
        let node = self.nodes.get_mut(at).context("a node of the cluster")?;
        let effects = &mut self.effects;
        match &mut self.allocations {
            None => node.core.step(Time::default(), input, effects),
            Some(count) => {
                let info = allocation_counter::measure(|| node.core.step(Time::default(), input, effects));
                *count += info.count_total;
            }
        }
        let from = node.core.id();
        for effect in self.effects.drain() {
            match effect {
                Effect::Send { to, message } => self.waiting.push_back(delivery(from, to, message)),
                Effect::Persist(batch) => self.waiting.push_back((at, Input::Persisted(batch.token))),
                Effect::Apply { first, entries } => {
                    node.applied = first.plus(entries.len()).previous();
                    node.applied_term = entries.last().map_or(node.applied_term, |entry| entry.term);
                    self.waiting.push_back((at, Input::Applied(node.applied)));
                }
                Effect::TakeSnapshot => {
                    let meta = SnapshotMeta {
                        index: node.applied,
                        term: node.applied_term,
                        digest: [1; 32],
                        configuration: node.core.configuration().clone(),
                    };
                    self.waiting.push_back((at, Input::SnapshotTaken(Box::new(meta))));
                }
                Effect::Rejected { reason, .. } => anyhow::bail!("a proposal was rejected: {reason:?}"),
                Effect::Halt(reason) => anyhow::bail!("a core halted: {reason:?}"),
                _ => {}
            }
        }
        Ok(())
    }
}

fn delivery(from: NodeId, to: NodeId, message: Message<Command>) -> (usize, Input<Command>) {
    debug_assert!(!matches!(message.body, Body::Snapshot { .. }), "nobody falls behind here");
    (usize::try_from(to.0 - 1).unwrap_or(usize::MAX), Input::Message { from, message })
}

impl Subject for Cluster {
    fn commit(&mut self, batch: usize) -> anyhow::Result<()> {
        let target = self.nodes.first().context("three nodes")?.core.last_index().plus(batch);
        for _ in 0..batch {
            self.proposals += 1;
            let payload = Command(Arc::from([7; COMMAND_BYTES]));
            self.step(0, Input::Propose { id: ProposalId(self.proposals), payload })?;
        }
        self.work()?;
        ensure!(
            self.nodes.iter().all(|node| node.applied == target),
            "a node has not applied what was proposed"
        );
        Ok(())
    }
}

/// Heap allocations within `step` for one commit on all three nodes together, once running.
pub(crate) fn allocations_per_commit(batch: usize) -> anyhow::Result<f64> {
    let turns = crate::COMPACT_ENTRIES as usize / batch;
    let mut cluster = Cluster::start()?;
    for _ in 0..3 * turns {
        cluster.commit(batch)?; // buffers reach their size, the log's too, which is let go of now and then
    }
    cluster.allocations = Some(0);
    for _ in 0..turns {
        cluster.commit(batch)?;
    }
    Ok(cluster.allocations.unwrap_or_default() as f64 / (turns * batch) as f64)
}
