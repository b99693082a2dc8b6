//! Three nodes of openraft in one process, doing what `driver` does in memory: its log is a queue, its network a call of
//! the other node, applying is counting, and the log is compacted now and then.

use std::collections::{BTreeMap, VecDeque};
use std::io::Cursor;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::storage::{LogFlushed, RaftLogStorage, RaftStateMachine};
use openraft::{
    Config, Entry, EntryPayload, LogId, LogState, OptionalSend, Raft, RaftLogId, RaftLogReader, RaftNetwork,
    RaftNetworkFactory, RaftSnapshotBuilder, Snapshot, SnapshotMeta, SnapshotPolicy, StorageError,
    StoredMembership, Vote,
};

use crate::clients::Commits;
use crate::{COMPACT_ENTRIES, NODES};

openraft::declare_raft_types!(
    /// A command is its bytes, and the answer says nothing.
    pub(crate) Types:
        D = Bytes,
        R = (),
        NodeId = u64,
        Node = (),
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

/// How long the first election may take.
const START_MAX: Duration = Duration::from_secs(5);

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The leader of three nodes that run.
#[derive(Clone)]
pub(crate) struct Cluster {
    leader: Raft<Types>,
}

impl Commits for Cluster {
    async fn commit(&self, command: Bytes) -> anyhow::Result<()> {
        self.leader.client_write(command).await?;
        Ok(())
    }
}

impl Cluster {
    /// Three nodes, of which the first leads.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let config = Config {
            election_timeout_min: 500,
            election_timeout_max: 1000,
            heartbeat_interval: 100,
            max_payload_entries: 1024,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(COMPACT_ENTRIES),
            max_in_snapshot_log_to_keep: 2 * COMPACT_ENTRIES,
            ..Config::default()
        };
        let config = Arc::new(config.validate()?);
        let nodes = Nodes::default();
        for id in 1..=NODES {
            let raft =
                Raft::new(id, Arc::clone(&config), nodes.clone(), Log::default(), Machine::default()).await?;
            locked(&nodes.0).insert(id, raft);
        }
        let leader = locked(&nodes.0).get(&1).context("three nodes")?.clone();
        leader.initialize((1..=NODES).map(|id| (id, ())).collect::<BTreeMap<_, _>>()).await?;
        leader.wait(Some(START_MAX)).current_leader(1, "the first node leads").await?;
        Ok(Self { leader })
    }
}

/// Every node by its number.
#[derive(Clone, Default)]
pub(crate) struct Nodes(Arc<Mutex<BTreeMap<u64, Raft<Types>>>>);

/// The way to one node.
pub(crate) struct Way {
    target: u64,
    nodes: Nodes,
    raft: Option<Raft<Types>>,
}

impl RaftNetworkFactory<Types> for Nodes {
    type Network = Way;

    async fn new_client(&mut self, target: u64, _: &()) -> Way {
        Way { target, nodes: self.clone(), raft: None }
    }
}

impl Way {
    /// The node, which is there by the time anybody speaks to it.
    fn raft<E: std::error::Error>(&mut self) -> Result<&Raft<Types>, RPCError<u64, (), E>> {
        if self.raft.is_none() {
            self.raft = locked(&self.nodes.0).get(&self.target).cloned();
        }
        let missing = || openraft::error::Unreachable::new(&std::io::Error::other("not started"));
        self.raft.as_ref().ok_or_else(|| RPCError::Unreachable(missing()))
    }
}

impl RaftNetwork<Types> for Way {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, (), RaftError<u64>>> {
        let target = self.target;
        let answer = self.raft()?.append_entries(request).await;
        answer.map_err(|error| RemoteError::new(target, error).into())
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RPCError<u64, (), RaftError<u64, InstallSnapshotError>>> {
        let target = self.target;
        let answer = self.raft()?.install_snapshot(request).await;
        answer.map_err(|error| RemoteError::new(target, error).into())
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, (), RaftError<u64>>> {
        let target = self.target;
        let answer = self.raft()?.vote(request).await;
        answer.map_err(|error| RemoteError::new(target, error).into())
    }
}

/// The log of one node, in memory.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    vote: Option<Vote<u64>>,
    purged: Option<LogId<u64>>,
    /// Index of the first entry held.
    first: u64,
    held: VecDeque<Entry<Types>>,
}

impl Entries {
    fn place(&self, index: u64) -> usize {
        usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.held.len())
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + std::fmt::Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry<Types>>, StorageError<u64>> {
        let entries = locked(&self.0);
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let (start, end) = (entries.place(start), entries.place(end));
        Ok(entries.held.range(start..end.max(start)).cloned().collect())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError<u64>> {
        let entries = locked(&self.0);
        let last = entries.held.back().map(|entry| *entry.get_log_id());
        Ok(LogState { last_purged_log_id: entries.purged, last_log_id: last.or(entries.purged) })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), StorageError<u64>> {
        locked(&self.0).vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, StorageError<u64>> {
        Ok(locked(&self.0).vote)
    }

    async fn append<I>(&mut self, new: I, flushed: LogFlushed<Types>) -> Result<(), StorageError<u64>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        locked(&self.0).held.extend(new);
        flushed.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId<u64>) -> Result<(), StorageError<u64>> {
        let mut entries = locked(&self.0);
        let place = entries.place(from.index);
        entries.held.truncate(place);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId<u64>) -> Result<(), StorageError<u64>> {
        let mut entries = locked(&self.0);
        let place = entries.place(upto.index + 1);
        entries.held.drain(..place);
        (entries.first, entries.purged) = (upto.index + 1, Some(upto));
        Ok(())
    }
}

/// What is applied: how far, and who the members are.
#[derive(Clone, Default)]
pub(crate) struct Machine {
    applied: Option<LogId<u64>>,
    members: StoredMembership<u64, ()>,
}

impl Machine {
    fn snapshot(&self) -> Snapshot<Types> {
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.members.clone(),
            snapshot_id: self.applied.map(|at| at.index).unwrap_or_default().to_string(),
        };
        Snapshot { meta, snapshot: Box::new(Cursor::new(Vec::new())) }
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError<u64>> {
        Ok(self.snapshot())
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Machine;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<u64>>, StoredMembership<u64, ()>), StorageError<u64>> {
        Ok((self.applied, self.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError<u64>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        for entry in entries {
            self.applied = Some(entry.log_id);
            if let EntryPayload::Membership(members) = entry.payload {
                self.members = StoredMembership::new(Some(entry.log_id), members);
            }
            answers.push(());
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError<u64>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, ()>,
        _: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<u64>> {
        (self.applied, self.members) = (meta.last_log_id, meta.last_membership.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError<u64>> {
        Ok(self.applied.is_some().then(|| self.snapshot()))
    }
}
