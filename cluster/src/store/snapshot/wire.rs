//! Wire forms of a store's snapshot, versioned: the items that its chunks hold.
//! It must not decide anything.

use std::sync::Arc;

use bincode::{Decode, Encode};
use bytes::Bytes;
use ravelin_config::SecretId;
use ravelin_consensus::{Index, Session, SessionId};

use crate::store::Reply;
use crate::store::command::{Author, ChangeId};
use crate::store::staged::{Attempt, AttemptKey};
use crate::store::wire::{AuthorV2, LimitsV2};

/// One item; a chunk is a list of them.
#[derive(Debug, Encode, Decode)]
pub(super) enum ItemV2 {
    Header(HeaderV2),
    Config(ConfigV2),
    Plain(ValueV2),
    History(HistoryV2),
    Staged(StagedV2),
    Recent(RecentV2),
    Session(SessionV2),
}

/// What holds for the whole, and how much of each there is.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct HeaderV2 {
    pub(super) cluster: [u8; 16],
    pub(super) recovery_epoch: u32,
    pub(super) feature_level: u16,
    pub(super) applied_index: u64,
    pub(super) applied_term: u64,
    pub(super) revision: u64,
    pub(super) config_revision: u64,
    pub(super) config_digest: [u8; 32],
    pub(super) stale_refused: u64,
    pub(super) limits: LimitsV2,
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
    pub(super) sessions: u64,
}

/// A live configuration object, and the secrets that it refers to.
#[derive(Debug, Encode, Decode)]
pub(super) struct ConfigV2 {
    pub(super) value: ValueV2,
    pub(super) secrets: Arc<[SecretId]>,
}

/// A live key. The key of a configuration object is without the prefix.
#[derive(Debug, Encode, Decode)]
pub(super) struct ValueV2 {
    pub(super) key: String,
    pub(super) bytes: Arc<[u8]>,
    pub(super) created: u64,
    pub(super) modified: u64,
}

/// One key at one revision; the keys of one revision follow each other.
#[derive(Debug, Encode, Decode)]
pub(super) struct HistoryV2 {
    pub(super) revision: u64,
    pub(super) generation: Option<[u8; 32]>,
    pub(super) key: String,
    pub(super) existed: bool,
    pub(super) value: Option<Arc<[u8]>>,
}

/// One part of an incomplete change.
#[derive(Debug, Encode, Decode)]
pub(super) struct StagedV2 {
    id: [u8; 16],
    digest: [u8; 32],
    author: AuthorV2,
    at_unix_ms: u64,
    base: Option<u64>,
    of: u32,
    begun: u64,
    part: u32,
    bytes: Arc<[u8]>,
}

/// A change that took effect, with what it was answered with.
#[derive(Debug, Encode, Decode)]
pub(super) struct RecentV2 {
    pub(super) index: u64,
    pub(super) id: [u8; 16],
    pub(super) revision: u64,
    /// Epoch, revision and digest.
    pub(super) generation: (u32, u64, [u8; 32]),
    pub(super) put: u64,
    pub(super) deleted: u64,
}

/// An open session with the replies that its client may still ask for, in order.
#[derive(Debug, Encode, Decode)]
pub(super) struct SessionV2 {
    id: u64,
    used: u64,
    first: u64,
    replies: Vec<ReplyV2>,
}

#[derive(Debug, Encode, Decode)]
struct ReplyV2 {
    sequence: u64,
    revision: u64,
    refused: Option<u16>,
}

impl SessionV2 {
    pub(super) fn new(id: SessionId, session: &Session<Reply>) -> Self {
        let reply = |(sequence, Reply { revision, refused }): (&u64, &Reply)| ReplyV2 {
            sequence: *sequence,
            revision: *revision,
            refused: *refused,
        };
        let (used, first) = (session.used.0, session.first);
        Self { id: id.0.0, used, first, replies: session.replies.iter().map(reply).collect() }
    }

    pub(super) fn into_session(self) -> (SessionId, Session<Reply>) {
        let reply = |ReplyV2 { sequence, revision, refused }| (sequence, Reply { revision, refused });
        let replies = self.replies.into_iter().map(reply).collect();
        (SessionId(Index(self.id)), Session { used: Index(self.used), first: self.first, replies })
    }
}

impl ItemV2 {
    /// Sections come in this order.
    pub(super) fn section(&self) -> u8 {
        match self {
            Self::Header(_) => 0,
            Self::Config(_) => 1,
            Self::Plain(_) => 2,
            Self::History(_) => 3,
            Self::Staged(_) => 4,
            Self::Recent(_) => 5,
            Self::Session(_) => 6,
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
            Self::Recent(_) => 128,
            Self::Session(session) => 64 + 32 * session.replies.len(),
        }
    }
}

impl ValueV2 {
    fn size(&self) -> usize {
        64 + self.key.len() + self.bytes.len()
    }
}

impl StagedV2 {
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

#[cfg(test)]
mod tests {
    use bincode::error::{AllowedEnumVariants, DecodeError};
    use ravelin_transport::codec::{self, CodecError};

    use super::*;
    use crate::store::snapshot::SNAPSHOT_VERSION;

    /// A new variant of a versioned enum needs a new version byte: a reader of the old one takes it for damage.
    #[test]
    fn a_new_variant_needs_a_new_version() {
        let unknown = [&[SNAPSHOT_VERSION], u32::MAX.to_le_bytes().as_slice()].concat();
        let found = match codec::decode::<ItemV2>(SNAPSHOT_VERSION, &unknown).err() {
            Some(CodecError::Malformed(DecodeError::UnexpectedVariant {
                allowed: AllowedEnumVariants::Range { max, .. },
                ..
            })) => max + 1,
            other => panic!("an unknown variant is refused as such: {other:?}"),
        };
        assert_eq!((SNAPSHOT_VERSION, found), (2, 7), "raise the version with the variants");
    }
}
