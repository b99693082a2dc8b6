//! Records of a trace as versioned forms, and their conversions. The wire form is not the in-memory form; it must not decide
//! anything about what it carries.

use std::time::Duration;

use ravelin_consensus::{
    Batch, Change, ClusterId, Configuration, HardState, Incarnation, Index, Input, Life, NodeId, Params,
    ProposalId, ReadId, RecoveryEpoch, SnapshotMeta, Time, Timer, Token,
};
use ravelin_transport::codec::{self, CodecError};

use crate::node::wire::{self, Frame};
use crate::storage::CommandBytes;
use crate::storage::wire::{
    Base, WireError, decode_base, decode_batch, decode_snapshot_meta, encode_base, encode_batch,
    encode_snapshot_meta,
};

/// The version byte of the forms in this file.
const TRACE_VERSION: u8 = 1;

const HEAD: u8 = 1;
const ENTRIES: u8 = 2;
const STEP: u8 = 3;

/// One record.
#[derive(Debug)]
pub(super) enum Record {
    /// What the core started from, but for the entries. First, and once.
    Head { params: Params, hard_state: HardState, snapshot: Option<SnapshotMeta>, members: Configuration },
    /// Entries that were durable then, in order.
    Entries(Batch<CommandBytes>),
    /// A step and what came of it.
    Step { now: Time, input: InputForm, digest: u64, shown: String },
}

/// Why a record means nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("it is of no known kind")]
    Kind,
    #[error("a form cannot be read")]
    Codec(#[from] CodecError),
    #[error("what was durable cannot be read")]
    Storage(#[from] WireError),
    #[error("it holds a frame that is no message")]
    NoMessage,
}

#[derive(bincode::Encode, bincode::Decode)]
struct HeadV1 {
    id: u64,
    incarnation: u64,
    cluster: [u8; 16],
    recovery_epoch: u32,
    pre_vote: bool,
    check_quorum: bool,
    /// Election timeout from and to, heartbeat and quorum check, in microseconds.
    spans_micros: [u64; 4],
    /// The bounds, in the order of the core's parameters.
    bounds: [u64; 9],
    /// The span of a lease, if there are any.
    lease_micros: Option<u64>,
    /// What was durable, in the form that begins a segment.
    base: Vec<u8>,
}

#[derive(bincode::Encode, bincode::Decode)]
struct StepV1 {
    now_micros: u64,
    input: InputForm,
    digest: u64,
    shown: String,
}

/// An input of the core.
#[derive(Debug, bincode::Encode, bincode::Decode)]
pub(crate) enum InputForm {
    Start(u64),
    Message { from: u64, frame: Vec<u8> },
    Timer(TimerV1),
    Propose { id: u64, payload: Vec<u8> },
    Change { id: u64, changes: Vec<ChangeV1> },
    Transfer(u64),
    Read(u64),
    Persisted(u64),
    PersistFailed,
    Applied(u64),
    SnapshotTaken(Vec<u8>),
    SnapshotInstalled(Vec<u8>),
    SnapshotFailed(Vec<u8>),
    Unreachable(u64),
}

#[derive(Debug, Clone, Copy, bincode::Encode, bincode::Decode)]
pub(crate) enum TimerV1 {
    Election,
    Heartbeat,
    CheckQuorum,
    Transfer,
    Read,
    Lease,
}

#[derive(Debug, bincode::Encode, bincode::Decode)]
pub(crate) enum ChangeV1 {
    AddVoter(u64, u64),
    AddLearner(u64, u64),
    Demote(u64),
    Remove(u64),
}

impl Record {
    pub(super) fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let mut bytes = Vec::new();
        match self {
            Self::Head { params, hard_state, snapshot, members } => {
                bytes.push(HEAD);
                let base = Base {
                    hard_state: *hard_state,
                    snapshot: snapshot.clone(),
                    next: Index(snapshot.as_ref().map_or(0, |meta| meta.index.0)).next(),
                    genesis: members.clone(),
                };
                let head = head_form(params, encode_base(&base)?.to_vec());
                bytes.extend_from_slice(&codec::encode(TRACE_VERSION, &head)?);
            }
            Self::Entries(batch) => {
                bytes.push(ENTRIES);
                encode_batch(batch, &mut bytes)?;
            }
            Self::Step { now, input, digest, shown } => {
                bytes.push(STEP);
                let (now_micros, digest) = (now.micros, *digest);
                let step = StepRefV1 { now_micros, input, digest, shown };
                bytes.extend_from_slice(&codec::encode_as::<StepV1, _>(TRACE_VERSION, &step)?);
            }
        }
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (kind, rest) = bytes.split_first().ok_or(RecordError::Kind)?;
        match *kind {
            HEAD => {
                let head: HeadV1 = codec::decode(TRACE_VERSION, rest)?;
                let Base { hard_state, snapshot, genesis, .. } = decode_base(&head.base)?;
                let members = snapshot.as_ref().map_or(genesis, |meta| meta.configuration.clone());
                Ok(Self::Head { params: params_of(&head), hard_state, snapshot, members })
            }
            ENTRIES => Ok(Self::Entries(decode_batch(rest)?)),
            STEP => {
                let StepV1 { now_micros, input, digest, shown } = codec::decode(TRACE_VERSION, rest)?;
                Ok(Self::Step { now: Time { micros: now_micros }, input, digest, shown })
            }
            _ => Err(RecordError::Kind),
        }
    }
}

/// A step as it is written, without a copy of its input.
#[derive(bincode::Encode)]
struct StepRefV1<'a> {
    now_micros: u64,
    input: &'a InputForm,
    digest: u64,
    shown: &'a str,
}

fn head_form(params: &Params, base: Vec<u8>) -> HeadV1 {
    // Every field by name: a new one must find its place here.
    let Params {
        id,
        incarnation,
        cluster,
        recovery_epoch,
        pre_vote,
        check_quorum,
        election_timeout_min,
        election_timeout_max,
        heartbeat_interval,
        check_quorum_interval,
        entry_bytes_max,
        append_bytes_max,
        append_entries_max,
        inflight_messages_max,
        inflight_bytes_max,
        uncommitted_bytes_max,
        log_bytes_max,
        log_trailing_bytes_max,
        reads_pending_max,
        lease,
    } = params;
    let micros = |span: &Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    HeadV1 {
        id: id.0,
        incarnation: incarnation.0,
        cluster: cluster.0,
        recovery_epoch: recovery_epoch.0,
        pre_vote: *pre_vote,
        check_quorum: *check_quorum,
        spans_micros: [election_timeout_min, election_timeout_max, heartbeat_interval, check_quorum_interval]
            .map(micros),
        bounds: [
            *entry_bytes_max,
            *append_bytes_max,
            *append_entries_max as u64,
            *inflight_messages_max as u64,
            *inflight_bytes_max,
            *uncommitted_bytes_max,
            *log_bytes_max,
            *log_trailing_bytes_max,
            *reads_pending_max as u64,
        ],
        lease_micros: lease.as_ref().map(micros),
        base,
    }
}

fn params_of(head: &HeadV1) -> Params {
    let [election_timeout_min, election_timeout_max, heartbeat_interval, check_quorum_interval] =
        head.spans_micros.map(Duration::from_micros);
    let [entry, append, entries, messages, inflight, uncommitted, log, trailing, reads] = head.bounds;
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Params {
        id: NodeId(head.id),
        incarnation: Incarnation(head.incarnation),
        cluster: ClusterId(head.cluster),
        recovery_epoch: RecoveryEpoch(head.recovery_epoch),
        pre_vote: head.pre_vote,
        check_quorum: head.check_quorum,
        election_timeout_min,
        election_timeout_max,
        heartbeat_interval,
        check_quorum_interval,
        entry_bytes_max: entry,
        append_bytes_max: append,
        append_entries_max: count(entries),
        inflight_messages_max: count(messages),
        inflight_bytes_max: inflight,
        uncommitted_bytes_max: uncommitted,
        log_bytes_max: log,
        log_trailing_bytes_max: trailing,
        reads_pending_max: count(reads),
        lease: head.lease_micros.map(Duration::from_micros),
    }
}

impl InputForm {
    /// Takes an input down. What cannot be encoded becomes bytes that no replay can read, which is said then.
    pub(super) fn of(input: &Input<CommandBytes>) -> Self {
        let meta = |meta: &SnapshotMeta| encode_snapshot_meta(meta).map(|it| it.to_vec()).unwrap_or_default();
        match input {
            Input::Start { life } => Self::Start(life.0),
            Input::Message { from, message } => {
                let frame = wire::encode(&Frame::Message(message.clone()));
                Self::Message { from: from.0, frame: frame.map(|it| it.to_vec()).unwrap_or_default() }
            }
            Input::Timer(timer) => Self::Timer(match timer {
                Timer::Election => TimerV1::Election,
                Timer::Heartbeat => TimerV1::Heartbeat,
                Timer::CheckQuorum => TimerV1::CheckQuorum,
                Timer::Transfer => TimerV1::Transfer,
                Timer::Read => TimerV1::Read,
                Timer::Lease => TimerV1::Lease,
            }),
            Input::Propose { id, payload } => Self::Propose { id: id.0, payload: payload.0.to_vec() },
            Input::Change { id, changes } => {
                let form = |change: &Change| match *change {
                    Change::AddVoter(node, life) => ChangeV1::AddVoter(node.0, life.0),
                    Change::AddLearner(node, life) => ChangeV1::AddLearner(node.0, life.0),
                    Change::Demote(node) => ChangeV1::Demote(node.0),
                    Change::Remove(node) => ChangeV1::Remove(node.0),
                };
                Self::Change { id: id.0, changes: changes.iter().map(form).collect() }
            }
            Input::Transfer(node) => Self::Transfer(node.0),
            Input::Read(id) => Self::Read(id.0),
            Input::Persisted(token) => Self::Persisted(token.0),
            Input::PersistFailed => Self::PersistFailed,
            Input::Applied(index) => Self::Applied(index.0),
            Input::SnapshotTaken(of) => Self::SnapshotTaken(meta(of)),
            Input::SnapshotInstalled(of) => Self::SnapshotInstalled(meta(of)),
            Input::SnapshotFailed(of) => Self::SnapshotFailed(meta(of)),
            Input::Unreachable(node) => Self::Unreachable(node.0),
        }
    }

    /// The input again.
    pub(super) fn input(self) -> Result<Input<CommandBytes>, RecordError> {
        let meta = |bytes: Vec<u8>| decode_snapshot_meta(&bytes).map(Box::new);
        Ok(match self {
            Self::Start(life) => Input::Start { life: Life(life) },
            Self::Message { from, frame } => match wire::decode(&frame)? {
                Frame::Message(message) => Input::Message { from: NodeId(from), message },
                _ => return Err(RecordError::NoMessage),
            },
            Self::Timer(timer) => Input::Timer(match timer {
                TimerV1::Election => Timer::Election,
                TimerV1::Heartbeat => Timer::Heartbeat,
                TimerV1::CheckQuorum => Timer::CheckQuorum,
                TimerV1::Transfer => Timer::Transfer,
                TimerV1::Read => Timer::Read,
                TimerV1::Lease => Timer::Lease,
            }),
            Self::Propose { id, payload } => {
                Input::Propose { id: ProposalId(id), payload: CommandBytes(payload.into()) }
            }
            Self::Change { id, changes } => {
                let change = |form| match form {
                    ChangeV1::AddVoter(node, life) => Change::AddVoter(NodeId(node), Incarnation(life)),
                    ChangeV1::AddLearner(node, life) => Change::AddLearner(NodeId(node), Incarnation(life)),
                    ChangeV1::Demote(node) => Change::Demote(NodeId(node)),
                    ChangeV1::Remove(node) => Change::Remove(NodeId(node)),
                };
                Input::Change { id: ProposalId(id), changes: changes.into_iter().map(change).collect() }
            }
            Self::Transfer(node) => Input::Transfer(NodeId(node)),
            Self::Read(id) => Input::Read(ReadId(id)),
            Self::Persisted(token) => Input::Persisted(Token(token)),
            Self::PersistFailed => Input::PersistFailed,
            Self::Applied(index) => Input::Applied(Index(index)),
            Self::SnapshotTaken(bytes) => Input::SnapshotTaken(meta(bytes)?),
            Self::SnapshotInstalled(bytes) => Input::SnapshotInstalled(meta(bytes)?),
            Self::SnapshotFailed(bytes) => Input::SnapshotFailed(meta(bytes)?),
            Self::Unreachable(node) => Input::Unreachable(NodeId(node)),
        })
    }
}
