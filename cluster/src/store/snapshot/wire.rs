//! Wire forms of a store's snapshot, versioned: the items that its chunks hold.
//! It must not decide anything.

use std::sync::Arc;

use bincode::{Decode, Encode};
use bytes::Bytes;
use ravelin_config::SecretId;

use crate::store::command::{Author, ChangeId};
use crate::store::staged::{Attempt, AttemptKey};
use crate::store::wire::{AuthorV1, LimitsV1};

/// One item; a chunk is a list of them.
#[derive(Debug, Encode, Decode)]
pub(super) enum ItemV1 {
    Header(HeaderV1),
    Config(ConfigV1),
    Plain(ValueV1),
    History(HistoryV1),
    Staged(StagedV1),
    Recent(RecentV1),
}

/// What holds for the whole, and how much of each there is.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct HeaderV1 {
    pub(super) cluster: [u8; 16],
    pub(super) recovery_epoch: u32,
    pub(super) feature_level: u16,
    pub(super) applied_index: u64,
    pub(super) applied_term: u64,
    pub(super) revision: u64,
    pub(super) config_revision: u64,
    pub(super) config_digest: [u8; 32],
    pub(super) stale_refused: u64,
    pub(super) limits: LimitsV1,
    pub(super) floor: u64,
    pub(super) floor_generation: (u64, [u8; 32]),
    pub(super) config_keys: u64,
    pub(super) secret_references: u64,
    pub(super) plain_keys: u64,
    pub(super) history_revisions: u64,
    pub(super) history_bytes: u64,
    pub(super) staged_attempts: u64,
    pub(super) staged_bytes: u64,
    pub(super) recent: u64,
}

/// A live configuration object, and the secrets that it refers to.
#[derive(Debug, Encode, Decode)]
pub(super) struct ConfigV1 {
    pub(super) value: ValueV1,
    pub(super) secrets: Arc<[SecretId]>,
}

/// A live key. The key of a configuration object is without the prefix.
#[derive(Debug, Encode, Decode)]
pub(super) struct ValueV1 {
    pub(super) key: String,
    pub(super) bytes: Arc<[u8]>,
    pub(super) created: u64,
    pub(super) modified: u64,
}

/// One key at one revision; the keys of one revision follow each other.
#[derive(Debug, Encode, Decode)]
pub(super) struct HistoryV1 {
    pub(super) revision: u64,
    pub(super) generation: Option<[u8; 32]>,
    pub(super) key: String,
    pub(super) existed: bool,
    pub(super) value: Option<Arc<[u8]>>,
}

/// One part of an incomplete change.
#[derive(Debug, Encode, Decode)]
pub(super) struct StagedV1 {
    id: [u8; 16],
    digest: [u8; 32],
    author: AuthorV1,
    at_unix_ms: u64,
    base: Option<u64>,
    of: u32,
    begun: u64,
    part: u32,
    bytes: Arc<[u8]>,
}

/// A change that took effect.
#[derive(Debug, Encode, Decode)]
pub(super) struct RecentV1 {
    pub(super) index: u64,
    pub(super) id: [u8; 16],
    pub(super) revision: u64,
}

impl ItemV1 {
    /// Sections come in this order.
    pub(super) fn section(&self) -> u8 {
        match self {
            Self::Header(_) => 0,
            Self::Config(_) => 1,
            Self::Plain(_) => 2,
            Self::History(_) => 3,
            Self::Staged(_) => 4,
            Self::Recent(_) => 5,
        }
    }

    /// About how much it takes when encoded.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Header(_) => 512,
            Self::Config(config) => config.value.size() + size_of_val(&*config.secrets),
            Self::Plain(value) => value.size(),
            Self::History(change) => {
                96 + change.key.len() + change.value.as_ref().map_or(0, |value| value.len())
            }
            Self::Staged(staged) => 192 + staged.bytes.len(),
            Self::Recent(_) => 64,
        }
    }
}

impl ValueV1 {
    fn size(&self) -> usize {
        64 + self.key.len() + self.bytes.len()
    }
}

impl StagedV1 {
    pub(super) fn new((id, digest): AttemptKey, attempt: Attempt, part: u32, bytes: &Bytes) -> Self {
        Self {
            id: id.0,
            digest,
            author: (&attempt.author).into(),
            at_unix_ms: attempt.at_unix_ms,
            base: attempt.base,
            of: attempt.of,
            begun: attempt.begun,
            part,
            bytes: Arc::from(&bytes[..]),
        }
    }

    pub(super) fn into_part(self) -> (AttemptKey, Attempt, u32, Bytes) {
        let attempt =
            Attempt::new(Author::from(self.author), self.at_unix_ms, self.base, self.of, self.begun);
        ((ChangeId(self.id), self.digest), attempt, self.part, Bytes::from_owner(self.bytes))
    }
}
