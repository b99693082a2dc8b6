//! Wire forms of commands, versioned: what lies in an entry of the log.
//! It must not decide anything; the transport's codec is the only encoder beneath it.

use std::sync::Arc;

use bincode::{Decode, Encode};
use bytes::Bytes;
use ravelin_config::SecretId;
use ravelin_consensus::NodeId;
use ravelin_transport::codec;

use super::command::{Author, Change, ChangeId, Command, CommandError, Event, Put, Stage};
use super::event::{Kind, Recorded};
use super::key::StoreKey;
use super::limits::Limits;

/// Version of every form in this file.
pub(super) const COMMAND_VERSION: u8 = 1;

#[derive(Debug, Encode, Decode)]
enum CommandV1 {
    AppointController {
        node: u64,
        epoch: u64,
        at_unix_ms: u64,
    },
    Change {
        id: [u8; 16],
        author: AuthorV1,
        at_unix_ms: u64,
        base: Option<u64>,
        puts: Vec<PutV1>,
        deletes: Vec<String>,
    },
    Stage(StageV1),
    DropStaged {
        id: [u8; 16],
    },
    Event(EventV1),
    SetLimits {
        author: AuthorV1,
        at_unix_ms: u64,
        limits: LimitsV1,
    },
    RaiseFeatureLevel {
        author: AuthorV1,
        at_unix_ms: u64,
        level: u16,
    },
}

#[derive(Debug, Encode, Decode)]
pub(super) enum AuthorV1 {
    Controller { node: u64, epoch: u64 },
    Operator { name: String },
}

#[derive(Debug, Encode, Decode)]
pub(super) struct StageV1 {
    id: [u8; 16],
    author: AuthorV1,
    at_unix_ms: u64,
    base: Option<u64>,
    digest: [u8; 32],
    part: u32,
    of: u32,
    bytes: Arc<[u8]>,
}

#[derive(Debug, Encode, Decode)]
struct EventV1 {
    at_unix_ms: u64,
    node: u64,
    name: String,
    text: String,
}

/// An event as the store keeps it: without words of this version's own.
#[derive(Debug, Encode, Decode)]
struct RecordedV1 {
    at_unix_ms: u64,
    node: u64,
    kind: KindV1,
}

#[derive(Debug, Encode, Decode)]
enum KindV1 {
    Reported { name: String, text: String },
    ControllerAppointed { epoch: u64 },
    StaleWriteRefused { change: [u8; 16], epoch: u64, current: Option<(u64, u64)> },
}

/// A new value, and the names of the secrets that it refers to.
#[derive(Debug, Encode, Decode)]
struct PutV1 {
    key: String,
    value: Arc<[u8]>,
    secrets: Arc<[SecretId]>,
}

/// Bounds, in a command and in a snapshot.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct LimitsV1 {
    version: u32,
    live_bytes_max: u64,
    keys_max: u64,
    key_bytes_max: u64,
    value_bytes_max: u64,
    history_bytes_max: u64,
    history_revisions_max: u64,
    staged_bytes_max: u64,
    staged_changes_max: u64,
    parts_max: u32,
    part_bytes_max: u64,
    event_name_bytes_max: u64,
    event_text_bytes_max: u64,
    events_max: u64,
    recent_max: u64,
}

/// Puts and deletes of one part.
#[derive(Debug, Encode, Decode)]
struct PartV1 {
    puts: Vec<PutV1>,
    deletes: Vec<String>,
}

#[derive(Debug, Encode, Decode)]
struct ControllerV1 {
    node: u64,
    epoch: u64,
}

pub(super) fn encode(command: &Command) -> Result<Bytes, CommandError> {
    let wire = match command {
        Command::AppointController { node, epoch, at_unix_ms } => {
            CommandV1::AppointController { node: node.0, epoch: *epoch, at_unix_ms: *at_unix_ms }
        }
        Command::Change(change) => CommandV1::Change {
            id: change.id.0,
            author: (&change.author).into(),
            at_unix_ms: change.at_unix_ms,
            base: change.base,
            puts: change.puts.iter().map(put_to_wire).collect(),
            deletes: change.deletes.iter().map(ToString::to_string).collect(),
        },
        Command::Stage(stage) => CommandV1::Stage(stage.into()),
        Command::DropStaged { id } => CommandV1::DropStaged { id: id.0 },
        Command::Event(event) => CommandV1::Event(event.into()),
        Command::SetLimits { author, at_unix_ms, limits } => {
            CommandV1::SetLimits { author: author.into(), at_unix_ms: *at_unix_ms, limits: limits.into() }
        }
        Command::RaiseFeatureLevel { author, at_unix_ms, level } => {
            CommandV1::RaiseFeatureLevel { author: author.into(), at_unix_ms: *at_unix_ms, level: *level }
        }
    };
    Ok(codec::encode(COMMAND_VERSION, &wire)?)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Command, CommandError> {
    Ok(match codec::decode::<CommandV1>(COMMAND_VERSION, bytes)? {
        CommandV1::AppointController { node, epoch, at_unix_ms } => {
            Command::AppointController { node: NodeId(node), epoch, at_unix_ms }
        }
        CommandV1::Change { id, author, at_unix_ms, base, puts, deletes } => {
            let (puts, deletes) = keys_from_wire(puts, deletes)?;
            Command::Change(Change {
                id: ChangeId(id),
                author: author.into(),
                at_unix_ms,
                base,
                puts,
                deletes,
            })
        }
        CommandV1::Stage(stage) => Command::Stage(stage.into()),
        CommandV1::DropStaged { id } => Command::DropStaged { id: ChangeId(id) },
        CommandV1::Event(event) => Command::Event(event.into()),
        CommandV1::SetLimits { author, at_unix_ms, limits } => {
            Command::SetLimits { author: author.into(), at_unix_ms, limits: (&limits).into() }
        }
        CommandV1::RaiseFeatureLevel { author, at_unix_ms, level } => {
            Command::RaiseFeatureLevel { author: author.into(), at_unix_ms, level }
        }
    })
}

pub(super) fn encode_part(puts: &[&Put], deletes: &[&StoreKey]) -> Result<Bytes, CommandError> {
    let wire = PartV1 {
        puts: puts.iter().map(|put| put_to_wire(put)).collect(),
        deletes: deletes.iter().map(ToString::to_string).collect(),
    };
    Ok(codec::encode(COMMAND_VERSION, &wire)?)
}

/// Keys to set and keys to remove.
pub(super) type Keys = (Vec<Put>, Vec<StoreKey>);

pub(super) fn decode_part(bytes: &[u8]) -> Result<Keys, CommandError> {
    let wire: PartV1 = codec::decode(COMMAND_VERSION, bytes)?;
    keys_from_wire(wire.puts, wire.deletes)
}

pub(super) fn encode_event(event: &Recorded) -> Result<Bytes, CommandError> {
    let kind = match event.kind.clone() {
        Kind::Reported { name, text } => KindV1::Reported { name, text },
        Kind::ControllerAppointed { epoch } => KindV1::ControllerAppointed { epoch },
        Kind::StaleWriteRefused { change, epoch, current } => {
            let current = current.map(|(node, epoch)| (node.0, epoch));
            KindV1::StaleWriteRefused { change: change.0, epoch, current }
        }
    };
    let wire = RecordedV1 { at_unix_ms: event.at_unix_ms, node: event.node.0, kind };
    Ok(codec::encode(COMMAND_VERSION, &wire)?)
}

pub(super) fn decode_event(bytes: &[u8]) -> Result<Recorded, CommandError> {
    let RecordedV1 { at_unix_ms, node, kind } = codec::decode(COMMAND_VERSION, bytes)?;
    let kind = match kind {
        KindV1::Reported { name, text } => Kind::Reported { name, text },
        KindV1::ControllerAppointed { epoch } => Kind::ControllerAppointed { epoch },
        KindV1::StaleWriteRefused { change, epoch, current } => {
            let current = current.map(|(node, epoch)| (NodeId(node), epoch));
            Kind::StaleWriteRefused { change: ChangeId(change), epoch, current }
        }
    };
    Ok(Recorded { at_unix_ms, node: NodeId(node), kind })
}

pub(super) fn encode_controller(node: NodeId, epoch: u64) -> Result<Bytes, CommandError> {
    Ok(codec::encode(COMMAND_VERSION, &ControllerV1 { node: node.0, epoch })?)
}

pub(super) fn decode_controller(bytes: &[u8]) -> Result<(NodeId, u64), CommandError> {
    let wire: ControllerV1 = codec::decode(COMMAND_VERSION, bytes)?;
    Ok((NodeId(wire.node), wire.epoch))
}

fn put_to_wire(Put { key, value, secrets }: &Put) -> PutV1 {
    PutV1 { key: key.to_string(), value: Arc::clone(value), secrets: Arc::clone(secrets) }
}

fn keys_from_wire(puts: Vec<PutV1>, deletes: Vec<String>) -> Result<Keys, CommandError> {
    let puts = puts.into_iter().map(|PutV1 { key, value, secrets }| {
        let key = StoreKey::new(&key)?;
        Ok(Put { key, value, secrets })
    });
    let puts = puts.collect::<Result<_, CommandError>>()?;
    let deletes = deletes.iter().map(|key| Ok(StoreKey::new(key)?)).collect::<Result<_, CommandError>>()?;
    Ok((puts, deletes))
}

impl From<&Author> for AuthorV1 {
    fn from(author: &Author) -> Self {
        match author {
            Author::Controller { node, epoch } => Self::Controller { node: node.0, epoch: *epoch },
            Author::Operator { name } => Self::Operator { name: name.clone() },
        }
    }
}

impl From<AuthorV1> for Author {
    fn from(author: AuthorV1) -> Self {
        match author {
            AuthorV1::Controller { node, epoch } => Self::Controller { node: NodeId(node), epoch },
            AuthorV1::Operator { name } => Self::Operator { name },
        }
    }
}

impl From<&Stage> for StageV1 {
    fn from(stage: &Stage) -> Self {
        Self {
            id: stage.id.0,
            author: (&stage.author).into(),
            at_unix_ms: stage.at_unix_ms,
            base: stage.base,
            digest: stage.digest,
            part: stage.part,
            of: stage.of,
            bytes: Arc::from(&stage.bytes[..]),
        }
    }
}

impl From<StageV1> for Stage {
    fn from(stage: StageV1) -> Self {
        Self {
            id: ChangeId(stage.id),
            author: stage.author.into(),
            at_unix_ms: stage.at_unix_ms,
            base: stage.base,
            digest: stage.digest,
            part: stage.part,
            of: stage.of,
            bytes: Bytes::from_owner(stage.bytes),
        }
    }
}

impl From<&Event> for EventV1 {
    fn from(event: &Event) -> Self {
        let Event { at_unix_ms, node, name, text } = event;
        Self { at_unix_ms: *at_unix_ms, node: node.0, name: name.clone(), text: text.clone() }
    }
}

impl From<EventV1> for Event {
    fn from(event: EventV1) -> Self {
        let EventV1 { at_unix_ms, node, name, text } = event;
        Self { at_unix_ms, node: NodeId(node), name, text }
    }
}

macro_rules! limits {
    ($($field:ident),*) => {
        impl From<&Limits> for LimitsV1 {
            fn from(limits: &Limits) -> Self {
                Self { $($field: limits.$field),* }
            }
        }

        impl From<&LimitsV1> for Limits {
            fn from(limits: &LimitsV1) -> Self {
                Self { $($field: limits.$field),* }
            }
        }
    };
}

limits!(
    version,
    live_bytes_max,
    keys_max,
    key_bytes_max,
    value_bytes_max,
    history_bytes_max,
    history_revisions_max,
    staged_bytes_max,
    staged_changes_max,
    parts_max,
    part_bytes_max,
    event_name_bytes_max,
    event_text_bytes_max,
    events_max,
    recent_max
);
