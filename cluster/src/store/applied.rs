//! What apply answers: every way in which an entry can take effect or be refused.
//! It must not hold behaviour.

use ravelin_config::GenerationId;
use ravelin_consensus::{Index, NodeId, SessionId};

use super::command::{Author, ChangeId, CommandError};
use super::limits::FEATURE_LEVEL;
use super::session::Reply;

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It was not for the store: a new leader's first entry, or the members.
    Nothing,
    /// A new controller epoch has begun. Whatever was staged is gone.
    Appointed {
        /// The controller.
        node: NodeId,
        /// Its epoch.
        epoch: u64,
    },
    /// A change took effect, whole.
    Changed {
        /// The change.
        id: ChangeId,
        /// The store's revision since.
        revision: u64,
        /// The generation since; the same as before if no configuration key was among the changed ones.
        generation: GenerationId,
    },
    /// A change was already what the store held.
    Unchanged {
        /// The change.
        id: ChangeId,
        /// The generation, as before.
        generation: GenerationId,
    },
    /// A change had taken effect before; it did not again.
    Duplicate {
        /// The change.
        id: ChangeId,
        /// The store's revision after it took effect.
        revision: u64,
    },
    /// A part was kept; the change is not complete.
    Staged {
        /// The change.
        id: ChangeId,
        /// The part.
        part: u32,
        /// How many are missing.
        missing: u32,
    },
    /// The parts of a change were forgotten.
    Dropped {
        /// The change.
        id: ChangeId,
        /// How many attempts at it there were.
        attempts: u32,
    },
    /// An event was recorded.
    Recorded {
        /// Its revision.
        revision: u64,
    },
    /// Other bounds are in force.
    LimitsSet {
        /// Their version.
        version: u32,
    },
    /// Another feature level is in force.
    FeatureLevelRaised {
        /// The level.
        level: u16,
    },
    /// A session was opened.
    SessionOpened {
        /// Its name.
        session: SessionId,
    },
    /// A session is over.
    SessionClosed {
        /// Its name.
        session: SessionId,
    },
    /// A command of a session was executed before; it was not again.
    Answered {
        /// The session.
        session: SessionId,
        /// The command's number in it.
        sequence: u64,
        /// What came of it then.
        reply: Reply,
    },
    /// Refused: no key was changed (but a stale write is recorded as an event).
    Refused {
        /// The change, if it was one.
        id: Option<ChangeId>,
        /// Why.
        refusal: Refusal,
    },
}

/// Why a command did not take effect. The same on every node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The author's controller epoch is over, or never was.
    #[error("{author} is not the controller: {}", current.map_or("there is none".to_owned(), |(node, epoch)| format!("that is node {node}, of epoch {epoch}")))]
    StaleEpoch {
        /// Who wrote.
        author: Author,
        /// The controller and its epoch.
        current: Option<(NodeId, u64)>,
    },
    /// An appointment for another epoch than the next.
    #[error("epoch {found} is not the next one, {expected}")]
    EpochNotNext {
        /// The epoch that would have been accepted.
        expected: u64,
        /// The epoch in the command.
        found: u64,
    },
    /// The configuration is not the one that the change builds on.
    #[error("the change builds on revision {expected} of the configuration, which is at {found}")]
    BaseChanged {
        /// The revision that the change names.
        expected: u64,
        /// The revision of the configuration.
        found: u64,
    },
    /// Only the store itself writes there.
    #[error("{key} is written by the store only")]
    Reserved {
        /// The key.
        key: String,
    },
    /// A key is named twice in one change.
    #[error("{key} is named twice in one change")]
    NamedTwice {
        /// The key.
        key: String,
    },
    /// Something other than a configuration object refers to secrets.
    #[error("{key} cannot refer to secrets: only objects of the configuration can")]
    References {
        /// The key.
        key: String,
    },
    /// A reference would lead nowhere.
    #[error("the change refers to the secret {secret}, which is not there and which it does not bring")]
    SecretMissing {
        /// The secret's name.
        secret: String,
    },
    /// A bound would be passed.
    #[error("{quota} would be {needed}, more than the {max} allowed: {}", quota.mend())]
    OverQuota {
        /// Which.
        quota: Quota,
        /// What the command would lead to.
        needed: u64,
        /// The bound.
        max: u64,
    },
    /// A command that a higher feature level brings.
    #[error("the cluster is at feature level {found}, and this needs level {needed}")]
    FeatureLevel {
        /// The level that brings it.
        needed: u16,
        /// The level in force.
        found: u16,
    },
    /// A feature level that does not follow the one in force.
    #[error("feature level {found} is not the next one, {expected}")]
    LevelNotNext {
        /// The level that would have been accepted.
        expected: u16,
        /// The level in the command.
        found: u16,
    },
    /// Bounds that do not follow those in force.
    #[error("version {found} of the bounds is not the next one, {expected}")]
    LimitsNotNext {
        /// The version that would have been accepted.
        expected: u32,
        /// The version in the command.
        found: u32,
    },
    /// A bound that may not be set so: lower than it is, or too high for any node.
    #[error("the bound {limit} cannot be set to {wanted}: it may be from {min} to {max}")]
    LimitOutOfRange {
        /// The bound's name.
        limit: &'static str,
        /// The value in the command.
        wanted: u64,
        /// The value in force.
        min: u64,
        /// The most that it may be.
        max: u64,
    },
    /// A command of a session that was never opened, or has ended: whether it took effect before is not known.
    #[error("session {} is over: whether the command took effect before is not known, and it did not now", session.0)]
    SessionOver {
        /// The session.
        session: SessionId,
    },
    /// A command whose reply its client has said to hold.
    #[error("the reply to command {sequence} of the session was acknowledged; nothing was done now")]
    SessionAcknowledged {
        /// Its number.
        sequence: u64,
    },
    /// More commands are under way than a session may have.
    #[error("the session has {max} commands under way; nothing was done, acknowledge replies first")]
    SessionFull {
        /// How many it may have.
        max: u64,
    },
    /// The parts do not belong together, or are no change.
    #[error("the parts of the change do not fit: {what}")]
    Parts {
        /// What does not fit.
        what: String,
    },
}

impl Refusal {
    /// The number under which a session's reply records this kind of refusal. Numbers are never used anew.
    pub fn code(&self) -> u16 {
        match self {
            Self::StaleEpoch { .. } => 1,
            Self::EpochNotNext { .. } => 2,
            Self::BaseChanged { .. } => 3,
            Self::Reserved { .. } => 4,
            Self::NamedTwice { .. } => 5,
            Self::References { .. } => 6,
            Self::SecretMissing { .. } => 7,
            Self::OverQuota { .. } => 8,
            Self::FeatureLevel { .. } => 9,
            Self::LevelNotNext { .. } => 10,
            Self::LimitsNotNext { .. } => 11,
            Self::LimitOutOfRange { .. } => 12,
            Self::Parts { .. } => 13,
            Self::SessionOver { .. } => 14,
            Self::SessionAcknowledged { .. } => 15,
            Self::SessionFull { .. } => 16,
        }
    }
}

/// A bound of the store, as in [`Limits`](super::Limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// Bytes of live keys and values.
    LiveBytes,
    /// Live keys.
    Keys,
    /// Bytes of one key.
    KeyBytes,
    /// Bytes of one value.
    ValueBytes,
    /// Bytes of parts.
    StagedBytes,
    /// Parts of one change.
    Parts,
    /// Bytes of one part.
    PartBytes,
}

impl Quota {
    /// What a person can do about it.
    pub fn mend(self) -> &'static str {
        match self {
            Self::LiveBytes | Self::Keys => "delete what is no longer needed first",
            Self::KeyBytes => "give it a shorter name",
            Self::ValueBytes => "split the object into several smaller ones",
            Self::StagedBytes | Self::Parts | Self::PartBytes => {
                "make the change in several smaller ones (a directory of files, or several `apply`)"
            }
        }
    }
}

impl std::fmt::Display for Quota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::LiveBytes => "the store's size in bytes",
            Self::Keys => "the number of keys",
            Self::KeyBytes => "the length of one key in bytes",
            Self::ValueBytes => "the size of one value in bytes",
            Self::StagedBytes => "the size of incomplete changes in bytes",
            Self::Parts => "the number of parts of one change",
            Self::PartBytes => "the size of one part in bytes",
        })
    }
}

/// Why an entry could not be applied at all. The node must stop: going on would make it differ from the others.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Not the entry after the last one.
    #[error("entry {found} is not the one after {applied}")]
    OutOfOrder {
        /// The last entry applied.
        applied: Index,
        /// The entry given.
        found: Index,
    },
    /// Its command, or a part of the change that it completes, cannot be read: damage, or a newer version of Ravelin
    /// wrote it. Never a refusal: a version that can read it would make something of it.
    #[error(
        "entry {index} cannot be read. If newer controllers are in the cluster, start their version here too"
    )]
    Unreadable {
        /// The entry.
        index: Index,
        /// The reason.
        source: CommandError,
    },
    /// It raises the feature level beyond what this version knows.
    #[error(
        "entry {index} raises the feature level to {level}, and this version knows only {FEATURE_LEVEL}: start the \
         version of the newer controllers here too"
    )]
    FeatureLevel {
        /// The entry.
        index: Index,
        /// The level.
        level: u16,
    },
    /// What comes of it has no encoded form, which bounded texts and numbers always have.
    #[error("what comes of entry {index} cannot be encoded")]
    Unwritable {
        /// The entry.
        index: Index,
        /// The reason.
        source: CommandError,
    },
}
