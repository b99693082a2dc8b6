//! Commands: everything that changes the replicated store, and how they become entries of the log.
//!
//! A command carries all that apply needs: time, ids and randomness come from its proposer. A change too large for one
//! entry is split into parts under one digest. It must not look at the state: whether a command takes effect is
//! decided by apply alone.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ravelin_config::SecretId;
use ravelin_consensus::{NodeId, SessionId};
use ravelin_transport::FRAME_BYTES_MAX;
use ravelin_transport::codec::CodecError;
use sha2::{Digest as _, Sha256};

use super::key::StoreKey;
use super::limits::Limits;
use super::wire;
use crate::storage::CommandBytes;

/// The largest encoded command: with the envelope of a message it fits one frame.
pub const COMMAND_BYTES_MAX: usize = FRAME_BYTES_MAX - (64 << 10);

/// Changes above this are split, and parts are filled up to it; only a part with a single large value is larger.
const PART_BYTES_TARGET: usize = 480 << 10;

/// The largest content of a part that is proposed: the largest value with its key. What is taken, the bounds in the state say.
pub(super) const PART_BYTES_MAX: usize = 800 << 10;

/// Names a change for its whole life, chosen at random by whoever asked for it: it takes effect at most once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(pub [u8; 16]);

/// Who wants a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// The controller, in the epoch it was appointed for. Once another epoch has begun, its changes are refused.
    Controller {
        /// The node.
        node: NodeId,
        /// Its epoch.
        epoch: u64,
    },
    /// A person or a tool, by the name in its certificate.
    Operator {
        /// The name.
        name: String,
    },
}

/// A new value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The key.
    pub key: StoreKey,
    /// Its value.
    pub value: Arc<[u8]>,
    /// The secrets that the value refers to, which only a configuration object may: they live as long as it does. Said by
    /// the proposer, as the store reads no values.
    pub secrets: Arc<[SecretId]>,
}

impl Put {
    /// A value that refers to no secret.
    pub fn new(key: StoreKey, value: Arc<[u8]>) -> Self {
        Self { key, value, secrets: Arc::default() }
    }
}

/// A change of keys, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub id: ChangeId,
    /// Who wants it.
    pub author: Author,
    /// The proposer's wall clock, in milliseconds since 1970; only shown, never compared.
    pub at_unix_ms: u64,
    /// The revision of the generation it builds on; if the configuration is at another one, it is refused.
    pub base: Option<u64>,
    /// New values, each key at most once.
    pub puts: Vec<Put>,
    /// Keys to remove; one that is not there is no error.
    pub deletes: Vec<StoreKey>,
}

/// One part of a change that is too large for one entry. It takes effect, atomically, when all parts are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The change's name.
    pub id: ChangeId,
    /// Who wants it.
    pub author: Author,
    /// As in [`Change`].
    pub at_unix_ms: u64,
    /// As in [`Change`].
    pub base: Option<u64>,
    /// SHA-256 over the bytes of all parts: parts of different attempts are never mixed.
    pub digest: [u8; 32],
    /// Which part, from 0.
    pub part: u32,
    /// How many there are.
    pub of: u32,
    /// Its encoded puts and deletes.
    pub bytes: Bytes,
}

/// Something worth remembering in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The proposer's wall clock, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The node it is about, or that reported it.
    pub node: NodeId,
    /// What kind, as a short word: `controller-appointed`.
    pub name: String,
    /// In words.
    pub text: String,
}

/// A command, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Begins the next controller epoch. Refused unless `epoch` is exactly one more than the current.
    AppointController {
        /// The new controller.
        node: NodeId,
        /// Its epoch.
        epoch: u64,
        /// As in [`Change`].
        at_unix_ms: u64,
    },
    /// Changes keys.
    Change(Change),
    /// Brings one part of a larger change.
    Stage(Stage),
    /// Forgets the parts of a change that will not be completed.
    DropStaged {
        /// The change.
        id: ChangeId,
    },
    /// Records an event.
    Event(Event),
    /// Puts other bounds in force, from [`LIMITS_LEVEL`](super::limits::LIMITS_LEVEL) on. None may be lower than it is.
    SetLimits {
        /// Who wants it.
        author: Author,
        /// As in [`Change`].
        at_unix_ms: u64,
        /// All bounds; their version is one more than that of those in force.
        limits: Limits,
    },
    /// Raises the feature level by one. A node that does not know the level stops.
    RaiseFeatureLevel {
        /// Who wants it.
        author: Author,
        /// As in [`Change`].
        at_unix_ms: u64,
        /// One more than the level in force.
        level: u16,
    },
    /// Opens a session, named after the place of its entry.
    OpenSession {
        /// Who wants it.
        author: Author,
        /// As in [`Change`].
        at_unix_ms: u64,
    },
    /// Ends a session at its client's wish.
    CloseSession {
        /// The session.
        session: SessionId,
    },
}

/// Names one command of a session, so that it is executed once however often it stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTag {
    /// The session: [`Command::OpenSession`] opened it.
    pub session: SessionId,
    /// The client's number of the command in the session.
    pub sequence: u64,
    /// The client holds the replies to all numbers below this one.
    pub acknowledged: u64,
}

/// What an entry of the log holds: a command, perhaps as one of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Whose command it is, if it must be executed once only. Opening and closing sessions is never part of one.
    pub session: Option<SessionTag>,
    /// The command.
    pub command: Command,
}

impl Envelope {
    /// The session's name for it. Sessions are opened and closed as often as it is said: neither harms.
    pub(super) fn tag(&self) -> Option<SessionTag> {
        match self.command {
            Command::OpenSession { .. } | Command::CloseSession { .. } => None,
            _ => self.session,
        }
    }

    /// The entry's bytes.
    ///
    /// # Errors
    /// As [`Command::encode`].
    pub fn encode(&self) -> Result<CommandBytes, CommandError> {
        let bytes = wire::encode(self.session, &self.command)?;
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(CommandError::TooLarge { bytes: bytes.len() });
        }
        Ok(CommandBytes(bytes))
    }

    /// What an entry holds.
    ///
    /// # Errors
    /// As [`Command::decode`].
    pub fn decode(bytes: &CommandBytes) -> Result<Self, CommandError> {
        let (session, command) = wire::decode(&bytes.0)?;
        Ok(Self { session, command })
    }
}

/// Why a command has no encoded form.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The codec refused it.
    #[error("the command cannot be encoded or decoded")]
    Codec(#[from] CodecError),
    /// It does not fit one entry.
    #[error("a command of {bytes} bytes is more than the {COMMAND_BYTES_MAX} allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// One value with its key does not fit one part.
    #[error("the value of {key} has {bytes} bytes, too many for one entry")]
    ValueTooLarge {
        /// The key.
        key: String,
        /// Key and value.
        bytes: usize,
    },
    /// A key that could not have been encoded.
    #[error("the command holds a text that is no key")]
    Key(#[from] super::key::StoreKeyError),
}

impl Command {
    /// The entry's bytes.
    ///
    /// # Errors
    /// [`CommandError`]; use [`Change::encode`] for changes of any size.
    pub fn encode(&self) -> Result<CommandBytes, CommandError> {
        Envelope { session: None, command: self.clone() }.encode()
    }

    /// The command in an entry, whether or not it is one of a session.
    ///
    /// # Errors
    /// [`CommandError`]; [`CodecError::Version`] inside it if a newer version wrote it.
    pub fn decode(bytes: &CommandBytes) -> Result<Self, CommandError> {
        Ok(Envelope::decode(bytes)?.command)
    }

    /// The first key in an operator's change that this version knows nothing of: refused before it is proposed, never in
    /// apply. The controller's own keys are the business of its version.
    ///
    /// # Errors
    /// [`CommandError`] if it is a part that cannot be read, whoever its author.
    pub fn unknown_key(&self) -> Result<Option<StoreKey>, CommandError> {
        let first = |author: &Author, puts: &[Put], deletes: &[StoreKey]| {
            let mut keys = puts.iter().map(|put| &put.key).chain(deletes);
            let is_operator = matches!(author, Author::Operator { .. });
            keys.find(|key| is_operator && !key.is_known()).cloned()
        };
        Ok(match self {
            Self::Change(change) => first(&change.author, &change.puts, &change.deletes),
            Self::Stage(stage) => {
                let (puts, deletes) = wire::decode_part(&stage.bytes)?;
                first(&stage.author, &puts, &deletes)
            }
            Self::AppointController { .. }
            | Self::DropStaged { .. }
            | Self::Event(_)
            | Self::SetLimits { .. }
            | Self::RaiseFeatureLevel { .. }
            | Self::OpenSession { .. }
            | Self::CloseSession { .. } => None,
        })
    }

    /// The change it belongs to, if any.
    pub fn change_id(&self) -> Option<ChangeId> {
        match self {
            Self::Change(change) => Some(change.id),
            Self::Stage(stage) => Some(stage.id),
            Self::DropStaged { id } => Some(*id),
            Self::AppointController { .. }
            | Self::Event(_)
            | Self::SetLimits { .. }
            | Self::RaiseFeatureLevel { .. }
            | Self::OpenSession { .. }
            | Self::CloseSession { .. } => None,
        }
    }
}

impl Change {
    /// The entries that bring this change into the log, in order: one, or as many parts as its size needs.
    ///
    /// # Errors
    /// [`CommandError::ValueTooLarge`], [`CommandError::Codec`].
    pub fn encode(&self) -> Result<Vec<CommandBytes>, CommandError> {
        let parts = self.split()?;
        if parts.len() <= 1 {
            return Ok(vec![Command::Change(self.clone()).encode()?]);
        }
        let mut hasher = Sha256::new();
        parts.iter().for_each(|part| hasher.update(part));
        let digest: [u8; 32] = hasher.finalize().into();
        let of = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let stages = parts.into_iter().zip(0_u32..).map(|(bytes, part)| {
            let (id, author, at_unix_ms, base) = (self.id, self.author.clone(), self.at_unix_ms, self.base);
            Command::Stage(Stage { id, author, at_unix_ms, base, digest, part, of, bytes }).encode()
        });
        stages.collect()
    }

    fn split(&self) -> Result<Vec<Bytes>, CommandError> {
        let mut parts = Vec::new();
        let mut puts: Vec<&Put> = Vec::new();
        let (mut deletes, mut filled) = (Vec::new(), 0);
        let items = self.puts.iter().map(Ok).chain(self.deletes.iter().map(Err));
        for item in items {
            let bytes = match item {
                Ok(Put { key, value, secrets }) => {
                    key.text_bytes() + value.len() + size_of_val(&**secrets) + ITEM_OVERHEAD_BYTES
                }
                Err(key) => key.text_bytes() + ITEM_OVERHEAD_BYTES,
            };
            if bytes > PART_BYTES_MAX - ITEM_OVERHEAD_BYTES {
                let key = item.map_or_else(ToString::to_string, |put| put.key.to_string());
                return Err(CommandError::ValueTooLarge { key, bytes });
            }
            if filled > 0 && filled + bytes > PART_BYTES_TARGET {
                parts.push(wire::encode_part(&puts, &deletes)?);
                (puts, deletes, filled) = (Vec::new(), Vec::new(), 0);
            }
            filled += bytes;
            match item {
                Ok(put) => puts.push(put),
                Err(key) => deletes.push(key),
            }
        }
        parts.push(wire::encode_part(&puts, &deletes)?);
        Ok(parts)
    }
}

/// Three lengths of eight bytes, and the list's own.
const ITEM_OVERHEAD_BYTES: usize = 32;

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChangeId({self})")
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller { node, epoch } => write!(f, "controller {node} of epoch {epoch}"),
            Self::Operator { name } => write!(f, "operator {name}"),
        }
    }
}
