//! Frames of lane Raft: consensus messages and a node's sign of life, as versioned wire structs and their conversions.
//! The wire form is not the in-memory form; it must not decide anything about a message.

use std::collections::BTreeMap;

use bincode::de::{BorrowDecode, BorrowDecoder, Decode, Decoder};
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError, EncodeError};
use bytes::Bytes;
use ravelin_config::understands::{Understands, UnderstandsError, UnderstandsV1, Versions};
use ravelin_consensus::{
    AppendOutcome, Body, ClusterId, Configuration, Entry, EntryKind, Incarnation, Index, Life, Message,
    NodeId, RecoveryEpoch, Round, SnapshotMeta, SnapshotOutcome, Term, Ticket,
};
use ravelin_transport::codec::{self, CodecError};

use crate::storage::CommandBytes;

/// The version byte of every frame on lane Raft. Any change of a form in this file, a new variant of an enum too, needs a
/// higher one: a reader of this one drops what it cannot read.
pub const RAFT_VERSION: u8 = 2;

/// The versions of frames on lane Raft that this build reads and writes.
pub const RAFT_VERSIONS: Versions = Versions { oldest: RAFT_VERSION, newest: RAFT_VERSION };

/// A frame of lane Raft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A message of the consensus core.
    Message(Message<CommandBytes>),
    /// Soft state that a node tells the leader and the controller.
    Presence(Sender, Presence),
    /// Where the sender is dialled, `host:port`: whoever the log names nowhere yet can be answered.
    Greeting(Sender, String),
}

/// Who speaks in a frame, beside what the connection proves: every frame says it, and it is looked at before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The cluster.
    pub cluster: ClusterId,
    /// How often the cluster was recovered, as far as the sender's data directory knows.
    pub recovery_epoch: RecoveryEpoch,
    /// The life of that directory.
    pub incarnation: Incarnation,
}

impl Frame {
    /// Who speaks.
    pub fn sender(&self) -> Sender {
        match self {
            Self::Message(Message { cluster, recovery_epoch, incarnation, .. }) => {
                Sender { cluster: *cluster, recovery_epoch: *recovery_epoch, incarnation: *incarnation }
            }
            Self::Presence(sender, _) | Self::Greeting(sender, _) => *sender,
        }
    }
}

/// What a node tells the leader and the controller about itself, a few times a second. Nothing durable follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The sender's term: a presence meant for a leader of another term is dropped.
    pub term: u64,
    /// The last entry it has applied.
    pub applied: u64,
    /// Whether it has caught up since it (re)connected.
    pub healthy: bool,
    /// The epoch under which it runs the providers; 0 if it does not.
    pub providers_epoch: u64,
    /// The oldest revision of configuration that a proxy attached to it serves; 0 if one serves nothing yet, none if no
    /// proxy is attached.
    pub served: Option<u64>,
    /// What it can read.
    pub understands: Understands,
    /// The highest feature level of the replicated state that it knows.
    pub feature_level: u16,
}

#[derive(bincode::Encode, bincode::Decode)]
struct FrameV2 {
    cluster: [u8; 16],
    recovery_epoch: u32,
    incarnation: u64,
    content: ContentV2,
}

#[derive(bincode::Encode, bincode::Decode)]
enum ContentV2 {
    Message { term: u64, body: BodyV2 },
    Presence(PresenceV2),
    Greeting { address: String },
}

#[derive(bincode::Encode, bincode::Decode)]
struct PresenceV2 {
    term: u64,
    applied: u64,
    healthy: bool,
    providers_epoch: u64,
    served: Option<u64>,
    understands: UnderstandsV1,
    feature_level: u16,
}

#[derive(bincode::Encode, bincode::Decode)]
enum BodyV2 {
    PreVote { last_index: u64, last_term: u64 },
    PreVoteReply { granted: bool },
    Vote { last_index: u64, last_term: u64 },
    VoteReply { granted: bool },
    Append { prev_index: u64, prev_term: u64, entries: Vec<EntryV2>, commit: u64, round: u64 },
    AppendAccepted { matched: u64, round: u64 },
    AppendRejected { prev_index: u64, hint_index: u64, hint_term: u64, round: u64 },
    Snapshot { meta: SnapshotMetaV2, round: u64 },
    SnapshotReply { index: u64, receiving: bool, round: u64 },
    TimeoutNow,
    Read { ticket: TicketV2 },
    ReadReply { ticket: TicketV2, index: Option<u64> },
    Missing { prev_index: u64, prev_term: u64, entries: Vec<EntryV2> },
}

#[derive(bincode::Encode, bincode::Decode)]
struct TicketV2 {
    life: u64,
    number: u64,
}

#[derive(bincode::Encode, bincode::Decode)]
struct EntryV2 {
    term: u64,
    kind: EntryKindV2,
}

#[derive(bincode::Encode, bincode::Decode)]
enum EntryKindV2 {
    Empty,
    Configuration(ConfigurationV2),
    Command(Blob),
}

/// The wire form of a set of members.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct ConfigurationV2 {
    voters: Vec<(u64, u64)>,
    outgoing: Vec<(u64, u64)>,
    learners: Vec<(u64, u64)>,
    recovery_epoch: u32,
}

/// The wire form of a snapshot's name.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct SnapshotMetaV2 {
    index: u64,
    term: u64,
    digest: [u8; 32],
    configuration: ConfigurationV2,
}

/// Bytes with the encoding of `Vec<u8>`, shared instead of copied on the way out.
struct Blob(Bytes);

impl Encode for Blob {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.as_ref().encode(encoder)
    }
}

impl<C> Decode<C> for Blob {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Ok(Self(Vec::<u8>::decode(decoder)?.into()))
    }
}

impl<'de, C> BorrowDecode<'de, C> for Blob {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

/// Encodes a frame.
///
/// # Errors
/// [`CodecError`] for a message beyond the codec's limits; the core's own bounds keep it below them.
pub fn encode(frame: &Frame) -> Result<Bytes, CodecError> {
    let Sender { cluster, recovery_epoch, incarnation } = frame.sender();
    let content = match frame {
        Frame::Message(Message { term, body, .. }) => {
            ContentV2::Message { term: term.0, body: body_to_wire(body) }
        }
        Frame::Presence(_, presence) => ContentV2::Presence(presence.into()),
        Frame::Greeting(_, address) => ContentV2::Greeting { address: address.clone() },
    };
    let (cluster, recovery_epoch, incarnation) = (cluster.0, recovery_epoch.0, incarnation.0);
    codec::encode(RAFT_VERSION, &FrameV2 { cluster, recovery_epoch, incarnation, content })
}

/// Decodes a frame from any bytes.
///
/// # Errors
/// [`CodecError`] for anything that [`encode`] would not have made.
pub fn decode(bytes: &[u8]) -> Result<Frame, CodecError> {
    let FrameV2 { cluster, recovery_epoch, incarnation, content } = codec::decode(RAFT_VERSION, bytes)?;
    let (cluster, recovery_epoch) = (ClusterId(cluster), RecoveryEpoch(recovery_epoch));
    let incarnation = Incarnation(incarnation);
    Ok(match content {
        ContentV2::Message { term, body } => {
            let (term, body) = (Term(term), body_from_wire(body));
            Frame::Message(Message { cluster, recovery_epoch, incarnation, term, body })
        }
        ContentV2::Presence(presence) => {
            let presence =
                Presence::try_from(presence).map_err(|error| CodecError::Meaning(Box::new(error)))?;
            Frame::Presence(Sender { cluster, recovery_epoch, incarnation }, presence)
        }
        ContentV2::Greeting { address } => {
            Frame::Greeting(Sender { cluster, recovery_epoch, incarnation }, address)
        }
    })
}

fn body_to_wire(body: &Body<CommandBytes>) -> BodyV2 {
    match body {
        Body::PreVote { last_index, last_term } => {
            BodyV2::PreVote { last_index: last_index.0, last_term: last_term.0 }
        }
        Body::PreVoteReply { granted } => BodyV2::PreVoteReply { granted: *granted },
        Body::Missing { prev_index, prev_term, entries } => BodyV2::Missing {
            prev_index: prev_index.0,
            prev_term: prev_term.0,
            entries: entries.iter().map(entry_to_wire).collect(),
        },
        Body::Vote { last_index, last_term } => {
            BodyV2::Vote { last_index: last_index.0, last_term: last_term.0 }
        }
        Body::VoteReply { granted } => BodyV2::VoteReply { granted: *granted },
        Body::Append { prev_index, prev_term, entries, commit, round } => BodyV2::Append {
            prev_index: prev_index.0,
            prev_term: prev_term.0,
            entries: entries.iter().map(entry_to_wire).collect(),
            commit: commit.0,
            round: round.0,
        },
        Body::AppendReply { outcome, round } => match outcome {
            AppendOutcome::Accepted { matched } => {
                BodyV2::AppendAccepted { matched: matched.0, round: round.0 }
            }
            AppendOutcome::Rejected { prev_index, hint_index, hint_term } => BodyV2::AppendRejected {
                prev_index: prev_index.0,
                hint_index: hint_index.0,
                hint_term: hint_term.0,
                round: round.0,
            },
        },
        Body::Snapshot { meta, round } => {
            BodyV2::Snapshot { meta: SnapshotMetaV2::from(&**meta), round: round.0 }
        }
        Body::SnapshotReply { index, outcome, round } => BodyV2::SnapshotReply {
            index: index.0,
            receiving: *outcome == SnapshotOutcome::Receiving,
            round: round.0,
        },
        Body::TimeoutNow => BodyV2::TimeoutNow,
        Body::Read { ticket } => BodyV2::Read { ticket: TicketV2::from(*ticket) },
        Body::ReadReply { ticket, index } => {
            BodyV2::ReadReply { ticket: TicketV2::from(*ticket), index: index.map(|index| index.0) }
        }
    }
}

fn body_from_wire(wire: BodyV2) -> Body<CommandBytes> {
    match wire {
        BodyV2::PreVote { last_index, last_term } => {
            Body::PreVote { last_index: Index(last_index), last_term: Term(last_term) }
        }
        BodyV2::PreVoteReply { granted } => Body::PreVoteReply { granted },
        BodyV2::Missing { prev_index, prev_term, entries } => Body::Missing {
            prev_index: Index(prev_index),
            prev_term: Term(prev_term),
            entries: entries.into_iter().map(entry_from_wire).collect(),
        },
        BodyV2::Vote { last_index, last_term } => {
            Body::Vote { last_index: Index(last_index), last_term: Term(last_term) }
        }
        BodyV2::VoteReply { granted } => Body::VoteReply { granted },
        BodyV2::Append { prev_index, prev_term, entries, commit, round } => Body::Append {
            prev_index: Index(prev_index),
            prev_term: Term(prev_term),
            entries: entries.into_iter().map(entry_from_wire).collect(),
            commit: Index(commit),
            round: Round(round),
        },
        BodyV2::AppendAccepted { matched, round } => Body::AppendReply {
            outcome: AppendOutcome::Accepted { matched: Index(matched) },
            round: Round(round),
        },
        BodyV2::AppendRejected { prev_index, hint_index, hint_term, round } => Body::AppendReply {
            outcome: AppendOutcome::Rejected {
                prev_index: Index(prev_index),
                hint_index: Index(hint_index),
                hint_term: Term(hint_term),
            },
            round: Round(round),
        },
        BodyV2::Snapshot { meta, round } => {
            Body::Snapshot { meta: Box::new(SnapshotMeta::from(meta)), round: Round(round) }
        }
        BodyV2::SnapshotReply { index, receiving, round } => Body::SnapshotReply {
            index: Index(index),
            outcome: if receiving { SnapshotOutcome::Receiving } else { SnapshotOutcome::Failed },
            round: Round(round),
        },
        BodyV2::TimeoutNow => Body::TimeoutNow,
        BodyV2::Read { ticket } => Body::Read { ticket: Ticket::from(ticket) },
        BodyV2::ReadReply { ticket, index } => {
            Body::ReadReply { ticket: Ticket::from(ticket), index: index.map(Index) }
        }
    }
}

fn entry_to_wire(entry: &Entry<CommandBytes>) -> EntryV2 {
    let kind = match &entry.kind {
        EntryKind::Empty => EntryKindV2::Empty,
        EntryKind::Configuration(configuration) => EntryKindV2::Configuration(configuration.into()),
        EntryKind::Command(command) => EntryKindV2::Command(Blob(command.0.clone())),
    };
    EntryV2 { term: entry.term.0, kind }
}

fn entry_from_wire(wire: EntryV2) -> Entry<CommandBytes> {
    let kind = match wire.kind {
        EntryKindV2::Empty => EntryKind::Empty,
        EntryKindV2::Configuration(configuration) => EntryKind::Configuration(configuration.into()),
        EntryKindV2::Command(bytes) => EntryKind::Command(CommandBytes(bytes.0)),
    };
    Entry { term: Term(wire.term), kind }
}

impl From<&Presence> for PresenceV2 {
    fn from(presence: &Presence) -> Self {
        let Presence { term, applied, healthy, providers_epoch, served, understands, feature_level } =
            presence;
        Self {
            term: *term,
            applied: *applied,
            healthy: *healthy,
            providers_epoch: *providers_epoch,
            served: *served,
            understands: understands.into(),
            feature_level: *feature_level,
        }
    }
}

impl TryFrom<PresenceV2> for Presence {
    type Error = UnderstandsError;

    fn try_from(wire: PresenceV2) -> Result<Self, UnderstandsError> {
        let PresenceV2 { term, applied, healthy, providers_epoch, served, understands, feature_level } = wire;
        let understands = Understands::try_from(understands)?;
        Ok(Self { term, applied, healthy, providers_epoch, served, understands, feature_level })
    }
}

impl From<Ticket> for TicketV2 {
    fn from(ticket: Ticket) -> Self {
        Self { life: ticket.life.0, number: ticket.number }
    }
}

impl From<TicketV2> for Ticket {
    fn from(wire: TicketV2) -> Self {
        Self { life: Life(wire.life), number: wire.number }
    }
}

impl From<&Configuration> for ConfigurationV2 {
    fn from(configuration: &Configuration) -> Self {
        let part = |part: &BTreeMap<NodeId, Incarnation>| {
            part.iter().map(|(node, incarnation)| (node.0, incarnation.0)).collect()
        };
        Self {
            voters: part(&configuration.voters),
            outgoing: part(&configuration.outgoing),
            learners: part(&configuration.learners),
            recovery_epoch: configuration.recovery_epoch.0,
        }
    }
}

impl From<ConfigurationV2> for Configuration {
    fn from(wire: ConfigurationV2) -> Self {
        let part = |part: Vec<(u64, u64)>| {
            part.into_iter().map(|(node, incarnation)| (NodeId(node), Incarnation(incarnation))).collect()
        };
        Self {
            voters: part(wire.voters),
            outgoing: part(wire.outgoing),
            learners: part(wire.learners),
            recovery_epoch: RecoveryEpoch(wire.recovery_epoch),
        }
    }
}

impl From<&SnapshotMeta> for SnapshotMetaV2 {
    fn from(meta: &SnapshotMeta) -> Self {
        Self {
            index: meta.index.0,
            term: meta.term.0,
            digest: meta.digest,
            configuration: ConfigurationV2::from(&meta.configuration),
        }
    }
}

impl From<SnapshotMetaV2> for SnapshotMeta {
    fn from(wire: SnapshotMetaV2) -> Self {
        Self {
            index: Index(wire.index),
            term: Term(wire.term),
            digest: wire.digest,
            configuration: Configuration::from(wire.configuration),
        }
    }
}

/// Shares the encoding of an append among the peers that get the same one.
///
/// A leader's log of one term only grows, so term, place, length, commit and round name the bytes of an append exactly.
#[derive(Debug, Default)]
pub(crate) struct AppendCache {
    last: Option<(AppendName, Bytes)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AppendName {
    term: Term,
    prev_index: Index,
    entries: usize,
    commit: Index,
    round: Round,
}

impl AppendCache {
    /// As [`encode`], once for equal appends in a row.
    pub(crate) fn encode(&mut self, message: Message<CommandBytes>) -> Result<Bytes, CodecError> {
        let Body::Append { prev_index, ref entries, commit, round, .. } = message.body else {
            return encode(&Frame::Message(message));
        };
        let name = AppendName { term: message.term, prev_index, entries: entries.len(), commit, round };
        if let Some((last, bytes)) = &self.last
            && *last == name
        {
            return Ok(bytes.clone());
        }
        let bytes = encode(&Frame::Message(message))?;
        self.last = Some((name, bytes.clone()));
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
