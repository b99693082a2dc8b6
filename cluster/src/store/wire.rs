//! Wire forms of commands, versioned: what lies in an entry of the log.
//! It must not decide anything; the transport's codec is the only encoder beneath it.

use std::sync::Arc;

use bincode::{Decode, Encode};
use bytes::Bytes;
use ravelin_config::SecretId;
use ravelin_consensus::{Index, NodeId, SessionId};
use ravelin_transport::codec;

use super::command::{Author, Change, ChangeId, Command, CommandError, Event, Put, SessionTag, Stage};
use super::event::{Kind, Recorded};
use super::key::StoreKey;
use super::limits::Limits;

/// Version of every form in this file.
pub(super) const COMMAND_VERSION: u8 = 2;

/// What an entry holds.
#[derive(Debug, Encode, Decode)]
struct EnvelopeV2 {
    session: Option<SessionTagV2>,
    command: CommandV2,
}

#[derive(Debug, Encode, Decode)]
struct SessionTagV2 {
    session: u64,
    sequence: u64,
    acknowledged: u64,
}

#[derive(Debug, Encode, Decode)]
enum CommandV2 {
    AppointController {
        node: u64,
        epoch: u64,
        at_unix_ms: u64,
    },
    Change {
        id: [u8; 16],
        author: AuthorV2,
        at_unix_ms: u64,
        base: Option<u64>,
        puts: Vec<PutV2>,
        deletes: Vec<String>,
    },
    Stage(StageV2),
    DropStaged {
        id: [u8; 16],
    },
    Event(EventV2),
    SetLimits {
        author: AuthorV2,
        at_unix_ms: u64,
        limits: LimitsV2,
    },
    RaiseFeatureLevel {
        author: AuthorV2,
        at_unix_ms: u64,
        level: u16,
    },
    OpenSession {
        author: AuthorV2,
        at_unix_ms: u64,
    },
    CloseSession {
        session: u64,
    },
}

#[derive(Debug, Encode, Decode)]
pub(super) enum AuthorV2 {
    Controller { node: u64, epoch: u64 },
    Operator { name: String },
}

#[derive(Debug, Encode, Decode)]
pub(super) struct StageV2 {
    id: [u8; 16],
    author: AuthorV2,
    at_unix_ms: u64,
    base: Option<u64>,
    digest: [u8; 32],
    part: u32,
    of: u32,
    bytes: Arc<[u8]>,
}

#[derive(Debug, Encode, Decode)]
struct EventV2 {
    at_unix_ms: u64,
    node: u64,
    name: String,
    text: String,
}

/// An event as the store keeps it: without words of this version's own.
#[derive(Debug, Encode, Decode)]
struct RecordedV2 {
    at_unix_ms: u64,
    node: u64,
    kind: KindV2,
}

#[derive(Debug, Encode, Decode)]
enum KindV2 {
    Reported { name: String, text: String },
    ControllerAppointed { epoch: u64 },
    StaleWriteRefused { change: [u8; 16], epoch: u64, current: Option<(u64, u64)> },
}

/// A new value, and the names of the secrets that it refers to.
#[derive(Debug, Encode, Decode)]
struct PutV2 {
    key: String,
    value: Arc<[u8]>,
    secrets: Arc<[SecretId]>,
}

/// Bounds, in a command and in a snapshot.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct LimitsV2 {
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
    sessions_max: u64,
    session_replies_max: u64,
}

/// Puts and deletes of one part.
#[derive(Debug, Encode, Decode)]
struct PartV2 {
    puts: Vec<PutV2>,
    deletes: Vec<String>,
}

#[derive(Debug, Encode, Decode)]
struct ControllerV2 {
    node: u64,
    epoch: u64,
}

pub(super) fn encode(session: Option<SessionTag>, command: &Command) -> Result<Bytes, CommandError> {
    let session = session.map(|SessionTag { session, sequence, acknowledged }| SessionTagV2 {
        session: session.0.0,
        sequence,
        acknowledged,
    });
    let wire = EnvelopeV2 { session, command: command.into() };
    Ok(codec::encode(COMMAND_VERSION, &wire)?)
}

pub(super) fn decode(bytes: &[u8]) -> Result<(Option<SessionTag>, Command), CommandError> {
    let EnvelopeV2 { session, command } = codec::decode(COMMAND_VERSION, bytes)?;
    let session = session.map(|SessionTagV2 { session, sequence, acknowledged }| SessionTag {
        session: SessionId(Index(session)),
        sequence,
        acknowledged,
    });
    Ok((session, command_from_wire(command)?))
}

impl From<&Command> for CommandV2 {
    fn from(command: &Command) -> Self {
        match command {
            Command::AppointController { node, epoch, at_unix_ms } => {
                CommandV2::AppointController { node: node.0, epoch: *epoch, at_unix_ms: *at_unix_ms }
            }
            Command::Change(change) => CommandV2::Change {
                id: change.id.0,
                author: (&change.author).into(),
                at_unix_ms: change.at_unix_ms,
                base: change.base,
                puts: change.puts.iter().map(put_to_wire).collect(),
                deletes: change.deletes.iter().map(ToString::to_string).collect(),
            },
            Command::Stage(stage) => CommandV2::Stage(stage.into()),
            Command::DropStaged { id } => CommandV2::DropStaged { id: id.0 },
            Command::Event(event) => CommandV2::Event(event.into()),
            Command::SetLimits { author, at_unix_ms, limits } => {
                CommandV2::SetLimits { author: author.into(), at_unix_ms: *at_unix_ms, limits: limits.into() }
            }
            Command::RaiseFeatureLevel { author, at_unix_ms, level } => {
                CommandV2::RaiseFeatureLevel { author: author.into(), at_unix_ms: *at_unix_ms, level: *level }
            }
            Command::OpenSession { author, at_unix_ms } => {
                CommandV2::OpenSession { author: author.into(), at_unix_ms: *at_unix_ms }
            }
            Command::CloseSession { session } => CommandV2::CloseSession { session: session.0.0 },
        }
    }
}

fn command_from_wire(command: CommandV2) -> Result<Command, CommandError> {
    Ok(match command {
        CommandV2::AppointController { node, epoch, at_unix_ms } => {
            Command::AppointController { node: NodeId(node), epoch, at_unix_ms }
        }
        CommandV2::Change { id, author, at_unix_ms, base, puts, deletes } => {
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
        CommandV2::Stage(stage) => Command::Stage(stage.into()),
        CommandV2::DropStaged { id } => Command::DropStaged { id: ChangeId(id) },
        CommandV2::Event(event) => Command::Event(event.into()),
        CommandV2::SetLimits { author, at_unix_ms, limits } => {
            Command::SetLimits { author: author.into(), at_unix_ms, limits: (&limits).into() }
        }
        CommandV2::RaiseFeatureLevel { author, at_unix_ms, level } => {
            Command::RaiseFeatureLevel { author: author.into(), at_unix_ms, level }
        }
        CommandV2::OpenSession { author, at_unix_ms } => {
            Command::OpenSession { author: author.into(), at_unix_ms }
        }
        CommandV2::CloseSession { session } => Command::CloseSession { session: SessionId(Index(session)) },
    })
}

pub(super) fn encode_part(puts: &[&Put], deletes: &[&StoreKey]) -> Result<Bytes, CommandError> {
    let wire = PartV2 {
        puts: puts.iter().map(|put| put_to_wire(put)).collect(),
        deletes: deletes.iter().map(ToString::to_string).collect(),
    };
    Ok(codec::encode(COMMAND_VERSION, &wire)?)
}

/// Keys to set and keys to remove.
pub(super) type Keys = (Vec<Put>, Vec<StoreKey>);

pub(super) fn decode_part(bytes: &[u8]) -> Result<Keys, CommandError> {
    let wire: PartV2 = codec::decode(COMMAND_VERSION, bytes)?;
    keys_from_wire(wire.puts, wire.deletes)
}

pub(super) fn encode_event(event: &Recorded) -> Result<Bytes, CommandError> {
    let kind = match event.kind.clone() {
        Kind::Reported { name, text } => KindV2::Reported { name, text },
        Kind::ControllerAppointed { epoch } => KindV2::ControllerAppointed { epoch },
        Kind::StaleWriteRefused { change, epoch, current } => {
            let current = current.map(|(node, epoch)| (node.0, epoch));
            KindV2::StaleWriteRefused { change: change.0, epoch, current }
        }
    };
    let wire = RecordedV2 { at_unix_ms: event.at_unix_ms, node: event.node.0, kind };
    Ok(codec::encode(COMMAND_VERSION, &wire)?)
}

pub(super) fn decode_event(bytes: &[u8]) -> Result<Recorded, CommandError> {
    let RecordedV2 { at_unix_ms, node, kind } = codec::decode(COMMAND_VERSION, bytes)?;
    let kind = match kind {
        KindV2::Reported { name, text } => Kind::Reported { name, text },
        KindV2::ControllerAppointed { epoch } => Kind::ControllerAppointed { epoch },
        KindV2::StaleWriteRefused { change, epoch, current } => {
            let current = current.map(|(node, epoch)| (NodeId(node), epoch));
            Kind::StaleWriteRefused { change: ChangeId(change), epoch, current }
        }
    };
    Ok(Recorded { at_unix_ms, node: NodeId(node), kind })
}

pub(super) fn encode_controller(node: NodeId, epoch: u64) -> Result<Bytes, CommandError> {
    Ok(codec::encode(COMMAND_VERSION, &ControllerV2 { node: node.0, epoch })?)
}

pub(super) fn decode_controller(bytes: &[u8]) -> Result<(NodeId, u64), CommandError> {
    let wire: ControllerV2 = codec::decode(COMMAND_VERSION, bytes)?;
    Ok((NodeId(wire.node), wire.epoch))
}

fn put_to_wire(Put { key, value, secrets }: &Put) -> PutV2 {
    PutV2 { key: key.to_string(), value: Arc::clone(value), secrets: Arc::clone(secrets) }
}

fn keys_from_wire(puts: Vec<PutV2>, deletes: Vec<String>) -> Result<Keys, CommandError> {
    let puts = puts.into_iter().map(|PutV2 { key, value, secrets }| {
        let key = StoreKey::new(&key)?;
        Ok(Put { key, value, secrets })
    });
    let puts = puts.collect::<Result<_, CommandError>>()?;
    let deletes = deletes.iter().map(|key| Ok(StoreKey::new(key)?)).collect::<Result<_, CommandError>>()?;
    Ok((puts, deletes))
}

impl From<&Author> for AuthorV2 {
    fn from(author: &Author) -> Self {
        match author {
            Author::Controller { node, epoch } => Self::Controller { node: node.0, epoch: *epoch },
            Author::Operator { name } => Self::Operator { name: name.clone() },
        }
    }
}

impl From<AuthorV2> for Author {
    fn from(author: AuthorV2) -> Self {
        match author {
            AuthorV2::Controller { node, epoch } => Self::Controller { node: NodeId(node), epoch },
            AuthorV2::Operator { name } => Self::Operator { name },
        }
    }
}

impl From<&Stage> for StageV2 {
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

impl From<StageV2> for Stage {
    fn from(stage: StageV2) -> Self {
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

impl From<&Event> for EventV2 {
    fn from(event: &Event) -> Self {
        let Event { at_unix_ms, node, name, text } = event;
        Self { at_unix_ms: *at_unix_ms, node: node.0, name: name.clone(), text: text.clone() }
    }
}

impl From<EventV2> for Event {
    fn from(event: EventV2) -> Self {
        let EventV2 { at_unix_ms, node, name, text } = event;
        Self { at_unix_ms, node: NodeId(node), name, text }
    }
}

macro_rules! limits {
    ($($field:ident),*) => {
        impl From<&Limits> for LimitsV2 {
            fn from(limits: &Limits) -> Self {
                Self { $($field: limits.$field),* }
            }
        }

        impl From<&LimitsV2> for Limits {
            fn from(limits: &LimitsV2) -> Self {
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
    recent_max,
    sessions_max,
    session_replies_max
);

#[cfg(test)]
mod tests {
    use bincode::error::{AllowedEnumVariants, DecodeError};
    use ravelin_transport::codec::CodecError;

    use super::*;

    /// A new variant of a versioned enum needs a new version byte: a reader of the old one takes it for damage.
    #[test]
    fn a_new_variant_needs_a_new_version() {
        fn variants<T: Decode<()>>() -> u32 {
            let unknown = [&[COMMAND_VERSION], u32::MAX.to_le_bytes().as_slice()].concat();
            match codec::decode::<T>(COMMAND_VERSION, &unknown).err() {
                Some(CodecError::Malformed(DecodeError::UnexpectedVariant {
                    allowed: AllowedEnumVariants::Range { max, .. },
                    ..
                })) => max + 1,
                other => panic!("an unknown variant is refused as such: {other:?}"),
            }
        }
        let found = (variants::<CommandV2>(), variants::<AuthorV2>(), variants::<KindV2>());
        assert_eq!((COMMAND_VERSION, found), (2, (9, 2, 3)), "raise the version with the variants");
    }
}
