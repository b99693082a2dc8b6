//! One entry of the replicated log. Its index is its place, so it does not carry one.

use crate::configuration::Configuration;
use crate::types::{Payload, Term};

/// Bytes that an entry costs beside its payload, counted against every byte bound.
pub const ENTRY_OVERHEAD_BYTES: u64 = 32;
/// Bytes counted for each member of a configuration entry.
const MEMBER_BYTES: u64 = 24;

/// What an entry does.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum EntryKind<P> {
    /// The first entry of a new leader: with it, everything before is committed (dissertation §6.4).
    Empty,
    /// The members from here on. Effective when appended, not when committed.
    Configuration(Configuration),
    /// A command for the state machine.
    Command(P),
}

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Entry<P> {
    /// Term of the leader that created it.
    pub term: Term,
    /// What it does.
    pub kind: EntryKind<P>,
}

impl<P> Entry<P> {
    /// The members that it names, if it does.
    #[must_use]
    pub fn members(&self) -> Option<&Configuration> {
        match &self.kind {
            EntryKind::Configuration(configuration) => Some(configuration),
            EntryKind::Empty | EntryKind::Command(_) => None,
        }
    }
}

impl<P: Payload> Entry<P> {
    /// Bytes counted against bounds: payload plus a fixed overhead.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let content = match &self.kind {
            EntryKind::Empty => 0,
            EntryKind::Configuration(configuration) => {
                MEMBER_BYTES.saturating_mul(configuration.members().count() as u64)
            }
            EntryKind::Command(payload) => payload.size_bytes(),
        };
        ENTRY_OVERHEAD_BYTES.saturating_add(content)
    }
}
