//! Disk forms of what the log and snapshots record, versioned, and their conversion to and from the core's types.
//! It must not frame, checksum or order anything; the transport's codec is the only encoder beneath it.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use bytes::Bytes;
use ravelin_consensus::{
    Batch, Configuration, Entry, EntryKind, HardState, Incarnation, Index, NodeId, RecoveryEpoch,
    SnapshotMeta, Term, Token,
};
use ravelin_transport::codec::{self, CodecError};

use super::CommandBytes;

/// Version of every form in this file; the codec puts it before each value. Any change of a form, a new variant of an enum
/// too, needs a higher one: what is whole but cannot be decoded under its own version is damage, and says so.
pub(crate) const WIRE_VERSION: u8 = 2;

/// Why the payload of a record or snapshot is not one, although its checksum holds.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The codec refused it.
    #[error("its content cannot be decoded")]
    Codec(#[from] CodecError),
    /// Lengths inside do not add up.
    #[error("lengths inside it do not add up")]
    Length,
}

impl WireError {
    /// Whether a later version of Ravelin wrote it: no damage then.
    pub(crate) fn is_newer(&self) -> bool {
        matches!(self, Self::Codec(CodecError::Version { expected, found }) if found > expected)
    }
}

/// Members by id with their incarnations, and the recovery that they are of.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct ConfigurationV2 {
    voters: Vec<(u64, u64)>,
    outgoing: Vec<(u64, u64)>,
    learners: Vec<(u64, u64)>,
    recovery_epoch: u32,
}

/// The name of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SnapshotMetaV2 {
    index: u64,
    term: u64,
    digest: [u8; 32],
    configuration: ConfigurationV2,
}

/// The state that a segment starts from.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct BaseV2 {
    term: u64,
    vote: Option<u64>,
    snapshot: Option<SnapshotMetaV2>,
    next: u64,
    genesis: ConfigurationV2,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct BatchV2 {
    term: u64,
    vote: Option<u64>,
    snapshot: Option<SnapshotMetaV2>,
    first: u64,
    entries: Vec<EntryV2>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct EntryV2 {
    term: u64,
    kind: EntryKindV2,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
enum EntryKindV2 {
    Empty,
    Configuration(ConfigurationV2),
    /// Its bytes follow the encoded batch, those of all commands laid end to end.
    Command {
        bytes: u32,
    },
}

/// What a segment starts from: everything that its batches build on, except entries that lie in earlier segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: Option<SnapshotMeta>,
    /// Index after the last entry so far.
    pub(crate) next: Index,
    /// The members before the first entry, as they were when the log began.
    pub(crate) genesis: Configuration,
}

impl Base {
    /// Of a log without any entry.
    pub(crate) fn of_members(genesis: Configuration) -> Self {
        Self { hard_state: HardState::default(), snapshot: None, next: Index(1), genesis }
    }
}

pub(crate) fn encode_base(base: &Base) -> Result<Bytes, WireError> {
    let wire = BaseV2 {
        term: base.hard_state.term.0,
        vote: base.hard_state.vote.map(|node| node.0),
        snapshot: base.snapshot.as_ref().map(SnapshotMetaV2::from),
        next: base.next.0,
        genesis: (&base.genesis).into(),
    };
    Ok(codec::encode(WIRE_VERSION, &wire)?)
}

pub(crate) fn decode_base(bytes: &[u8]) -> Result<Base, WireError> {
    let wire: BaseV2 = codec::decode(WIRE_VERSION, bytes)?;
    Ok(Base {
        hard_state: hard_state(wire.term, wire.vote),
        snapshot: wire.snapshot.map(SnapshotMeta::from),
        next: Index(wire.next),
        genesis: wire.genesis.into(),
    })
}

pub(crate) fn encode_snapshot_meta(meta: &SnapshotMeta) -> Result<Bytes, WireError> {
    Ok(codec::encode(WIRE_VERSION, &SnapshotMetaV2::from(meta))?)
}

pub(crate) fn decode_snapshot_meta(bytes: &[u8]) -> Result<SnapshotMeta, WireError> {
    Ok(codec::decode::<SnapshotMetaV2>(WIRE_VERSION, bytes)?.into())
}

/// Appends the form of `batch` to `target`: length of the encoded head, head, then the bytes of its commands. The
/// token is not kept: it names a write within one life of a core.
pub(crate) fn encode_batch(batch: &Batch<CommandBytes>, target: &mut Vec<u8>) -> Result<(), WireError> {
    let mut entries = Vec::with_capacity(batch.entries.len());
    for entry in &batch.entries {
        let kind = match &entry.kind {
            EntryKind::Empty => EntryKindV2::Empty,
            EntryKind::Configuration(members) => EntryKindV2::Configuration(members.into()),
            EntryKind::Command(command) => {
                EntryKindV2::Command { bytes: u32::try_from(command.0.len()).map_err(|_| WireError::Length)? }
            }
        };
        entries.push(EntryV2 { term: entry.term.0, kind });
    }
    let head = codec::encode(
        WIRE_VERSION,
        &BatchV2 {
            term: batch.hard_state.term.0,
            vote: batch.hard_state.vote.map(|node| node.0),
            snapshot: batch.snapshot.as_deref().map(SnapshotMetaV2::from),
            first: batch.first.0,
            entries,
        },
    )?;
    target.extend_from_slice(&u32::try_from(head.len()).map_err(|_| WireError::Length)?.to_le_bytes());
    target.extend_from_slice(&head);
    for entry in &batch.entries {
        if let EntryKind::Command(command) = &entry.kind {
            target.extend_from_slice(&command.0);
        }
    }
    Ok(())
}

/// The batch that [`encode_batch`] wrote, with token 0.
pub(crate) fn decode_batch(bytes: &[u8]) -> Result<Batch<CommandBytes>, WireError> {
    let (prefix, rest) = bytes.split_first_chunk::<4>().ok_or(WireError::Length)?;
    let head_bytes = u32::from_le_bytes(*prefix) as usize;
    let (head, mut commands) = rest.split_at_checked(head_bytes).ok_or(WireError::Length)?;
    let wire: BatchV2 = codec::decode(WIRE_VERSION, head)?;
    let mut entries = Vec::with_capacity(wire.entries.len());
    for entry in wire.entries {
        let kind = match entry.kind {
            EntryKindV2::Empty => EntryKind::Empty,
            EntryKindV2::Configuration(members) => EntryKind::Configuration(members.into()),
            EntryKindV2::Command { bytes } => {
                let (command, rest) = commands.split_at_checked(bytes as usize).ok_or(WireError::Length)?;
                commands = rest;
                // Copied, so that one entry kept in memory does not keep a whole segment there.
                EntryKind::Command(CommandBytes(Bytes::copy_from_slice(command)))
            }
        };
        entries.push(Entry { term: Term(entry.term), kind });
    }
    if !commands.is_empty() {
        return Err(WireError::Length);
    }
    Ok(Batch {
        token: Token(0),
        hard_state: hard_state(wire.term, wire.vote),
        snapshot: wire.snapshot.map(SnapshotMeta::from).map(Box::new),
        first: Index(wire.first),
        entries: entries.into(),
    })
}

fn hard_state(term: u64, vote: Option<u64>) -> HardState {
    HardState { term: Term(term), vote: vote.map(NodeId) }
}

impl From<&Configuration> for ConfigurationV2 {
    fn from(value: &Configuration) -> Self {
        let part = |members: &BTreeMap<NodeId, Incarnation>| {
            members.iter().map(|(id, life)| (id.0, life.0)).collect()
        };
        Self {
            voters: part(&value.voters),
            outgoing: part(&value.outgoing),
            learners: part(&value.learners),
            recovery_epoch: value.recovery_epoch.0,
        }
    }
}

impl From<ConfigurationV2> for Configuration {
    fn from(value: ConfigurationV2) -> Self {
        let part = |members: Vec<(u64, u64)>| {
            members.into_iter().map(|(id, life)| (NodeId(id), Incarnation(life))).collect()
        };
        Self {
            voters: part(value.voters),
            outgoing: part(value.outgoing),
            learners: part(value.learners),
            recovery_epoch: RecoveryEpoch(value.recovery_epoch),
        }
    }
}

impl From<&SnapshotMeta> for SnapshotMetaV2 {
    fn from(value: &SnapshotMeta) -> Self {
        Self {
            index: value.index.0,
            term: value.term.0,
            digest: value.digest,
            configuration: (&value.configuration).into(),
        }
    }
}

impl From<SnapshotMetaV2> for SnapshotMeta {
    fn from(value: SnapshotMetaV2) -> Self {
        Self {
            index: Index(value.index),
            term: Term(value.term),
            digest: value.digest,
            configuration: value.configuration.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bincode::error::{AllowedEnumVariants, DecodeError};

    use super::*;

    /// A new variant of a versioned enum needs a new version byte: a reader of the old one takes it for damage.
    #[test]
    fn a_new_variant_needs_a_new_version() {
        fn variants<T: Decode<()>>() -> u32 {
            let unknown = [&[WIRE_VERSION], u32::MAX.to_le_bytes().as_slice()].concat();
            match codec::decode::<T>(WIRE_VERSION, &unknown).err() {
                Some(CodecError::Malformed(DecodeError::UnexpectedVariant {
                    allowed: AllowedEnumVariants::Range { max, .. },
                    ..
                })) => max + 1,
                other => panic!("an unknown variant is refused as such: {other:?}"),
            }
        }
        let found = variants::<EntryKindV2>();
        assert_eq!((WIRE_VERSION, found), (2, 3), "raise the version with the variants");
    }
}
