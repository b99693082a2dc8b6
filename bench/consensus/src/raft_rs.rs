//! Three nodes of raft-rs in one thread, doing what `ours` does: messages handed on as they are, its own memory storage,
//! applying is counting, the log compacted now and then. Its settings are the ones it is fastest with here.

use anyhow::{Context, ensure};
use raft::prelude::*;
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};

use crate::COMMAND_BYTES;
use crate::rounds::Subject;

/// Rounds of `ready` on every node before standing still is taken for a fault.
const ROUNDS_MAX: usize = 1 << 16;

struct Node {
    raw: RawNode<MemStorage>,
    applied: u64,
    compacted: u64,
}

/// Three nodes, of which the first leads.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    inbox: Vec<Message>,
}

impl Cluster {
    /// A cluster whose first node leads.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let mut nodes = Vec::new();
        for id in 1..=3 {
            let config = Config {
                id,
                max_size_per_msg: 512 << 10,
                max_inflight_msgs: 256,
                pre_vote: true,
                check_quorum: true,
                batch_append: true,
                ..Config::default()
            };
            let storage = MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
            let raw = RawNode::new(&config, storage, &logger)?;
            nodes.push(Node { raw, applied: 0, compacted: 0 });
        }
        let mut cluster = Self { nodes, inbox: Vec::new() };
        cluster.leader()?.raw.campaign()?;
        cluster.work()?;
        ensure!(cluster.leader()?.raw.raft.state == StateRole::Leader, "the first node does not lead");
        Ok(cluster)
    }

    fn leader(&mut self) -> anyhow::Result<&mut Node> {
        self.nodes.first_mut().context("three nodes")
    }

    /// Hands on messages and handles what is ready until nothing is.
    fn work(&mut self) -> anyhow::Result<()> {
        for _ in 0..ROUNDS_MAX {
            for message in std::mem::take(&mut self.inbox) {
                let at = usize::try_from(message.to - 1)?;
                self.nodes.get_mut(at).context("a node of the cluster")?.raw.step(message)?;
            }
            let mut any = false;
            for node in &mut self.nodes {
                while node.raw.has_ready() {
                    any = true;
                    node.ready(&mut self.inbox)?;
                }
            }
            if !any && self.inbox.is_empty() {
                return Ok(());
            }
        }
        anyhow::bail!("the cluster does not come to rest")
    }
}

impl Node {
    /// One round of the library's contract: write, apply, send, advance.
    fn ready(&mut self, inbox: &mut Vec<Message>) -> anyhow::Result<()> {
        let mut ready = self.raw.ready();
        inbox.extend(ready.take_messages());
        self.apply(ready.take_committed_entries());
        if !ready.entries().is_empty() {
            self.raw.store().wl().append(ready.entries())?;
        }
        if let Some(hard_state) = ready.hs() {
            self.raw.store().wl().set_hardstate(hard_state.clone());
        }
        inbox.extend(ready.take_persisted_messages());
        let mut rest = self.raw.advance(ready);
        if let Some(commit) = rest.commit_index() {
            self.raw.store().wl().mut_hard_state().set_commit(commit);
        }
        inbox.extend(rest.take_messages());
        self.apply(rest.take_committed_entries());
        self.raw.advance_apply();
        if self.applied - self.compacted >= crate::COMPACT_ENTRIES {
            self.compacted = self.applied;
            self.raw.store().wl().compact(self.applied)?;
        }
        Ok(())
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        if let Some(last) = entries.last() {
            self.applied = last.index;
        }
    }
}

impl Subject for Cluster {
    fn commit(&mut self, batch: usize) -> anyhow::Result<()> {
        let leader = self.leader()?;
        for _ in 0..batch {
            leader.raw.propose(Vec::new(), vec![7; COMMAND_BYTES])?;
        }
        let target = leader.raw.raft.raft_log.last_index();
        self.work()?;
        ensure!(
            self.nodes.iter().all(|node| node.applied == target),
            "a node has not applied what was proposed"
        );
        Ok(())
    }
}
