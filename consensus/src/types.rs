//! The numbers of the protocol, each a type of its own so that a term is never compared with an index.
//!
//! Nothing here knows of messages, logs or roles.

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

macro_rules! numbers {
    ($($(#[$meta:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

numbers! {
    /// Name of a member of the cluster. Carries no order that the protocol may use: every rule treats all ids alike.
    NodeId(u64);
    /// Raft term (§5.1 of the paper). 0 is the term before any election.
    Term(u64);
    /// Place of an entry in the log, counted from 1. 0 means "before the log".
    Index(u64);
    /// Name of one [`Batch`](crate::Batch). Grows by one with each batch of one life of a core.
    Token(u64);
    /// The caller's name for a proposal; the core only hands it back.
    ProposalId(u64);
    /// The caller's name for a linearizable read; the core only hands it back.
    ReadId(u64);
    /// A leader's count of its read rounds within its term (ReadIndex, dissertation §6.4). Never taken from a client.
    Round(u64);
    /// Raised by hand when a cluster is recovered after loss of its quorum; messages of another epoch are foreign.
    RecoveryEpoch(u32);
    /// One life of one data directory. A node that lost its disk comes back with another one, and is no member.
    Incarnation(u64);
    /// One run of a node's process. The driver draws it so that no two runs of a node share one.
    Life(u64);
}

impl Term {
    /// Terms above this are refused as malformed, so that `term + 1` never overflows.
    pub const MAX: Term = Term(u64::MAX >> 2);

    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Term {
        Term(self.0.saturating_add(1))
    }
}

impl Index {
    /// The place before the first entry.
    pub const ZERO: Index = Index(0);
    /// Indices above this are refused as malformed, so that sums of an index and a length never overflow.
    pub const MAX: Index = Index(u64::MAX >> 2);

    /// The next place.
    #[must_use]
    pub fn next(self) -> Index {
        Index(self.0.saturating_add(1))
    }

    /// The place before; 0 stays 0.
    #[must_use]
    pub fn previous(self) -> Index {
        Index(self.0.saturating_sub(1))
    }

    /// `count` places further.
    #[must_use]
    pub fn plus(self, count: usize) -> Index {
        Index(self.0.saturating_add(count as u64))
    }
}

/// A follower's name for one question to its leader. Never used twice, also not by a later life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ticket {
    /// Which run of the process asks.
    pub life: Life,
    /// Counts the questions of that run.
    pub number: u64,
}

impl Ticket {
    /// The ticket after this one.
    #[must_use]
    pub fn next(self) -> Ticket {
        Ticket { number: self.number.saturating_add(1), ..self }
    }
}

/// Identity of a cluster, drawn once at `init`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ClusterId(pub [u8; 16]);

/// A reading of the caller's monotonic clock. The core compares them, and stores some only while leases are on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time {
    /// Microseconds since an origin of the caller's choice.
    pub micros: u64,
}

impl Time {
    /// The time when `span` has passed.
    #[must_use]
    pub fn after(self, span: Duration) -> Time {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Time { micros: self.micros.saturating_add(micros) }
    }
}

/// What a command entry carries. Cloning must be cheap (shared bytes): the log, each message and the state machine
/// hold the same payload.
pub trait Payload: Clone + Eq + Hash + fmt::Debug {
    /// Bytes counted against the core's bounds. Must be the same on every node and cost O(1).
    fn size_bytes(&self) -> u64;
}

impl Payload for u8 {
    fn size_bytes(&self) -> u64 {
        1
    }
}
