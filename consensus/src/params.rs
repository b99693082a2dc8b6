//! What an operator may choose about one node. Constant for the life of a core, and outside its hashed state.

use std::fmt;
use std::time::Duration;

use crate::types::{ClusterId, Incarnation, NodeId, RecoveryEpoch};

/// Constants of one core. Two cores that differ only here are equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Params {
    /// This node.
    pub id: NodeId,
    /// This life of this node's data directory.
    pub incarnation: Incarnation,
    /// The cluster that this node belongs to; messages of another are dropped.
    pub cluster: ClusterId,
    /// Messages of another recovery epoch are dropped.
    pub recovery_epoch: RecoveryEpoch,
    /// Ask whether an election could be won before raising the term (dissertation §9.6).
    pub pre_vote: bool,
    /// A leader that has not heard from a quorum for `check_quorum_interval` steps down (dissertation §6.2).
    pub check_quorum: bool,
    /// Least silence after which a follower campaigns.
    pub election_timeout_min: Duration,
    /// Greatest silence after which a follower campaigns; the driver draws between the two.
    pub election_timeout_max: Duration,
    /// A leader speaks to each peer at least this often.
    pub heartbeat_interval: Duration,
    /// How often a leader counts who answered, and whether its own disk moves.
    pub check_quorum_interval: Duration,
    /// Largest single entry, in [`Entry::size_bytes`](crate::Entry::size_bytes); a larger proposal is rejected.
    pub entry_bytes_max: u64,
    /// Entries of one `Append` stop before this many bytes, but there is always at least one.
    pub append_bytes_max: u64,
    /// Most entries of one `Append`.
    pub append_entries_max: usize,
    /// Most unanswered `Append`s with entries to one peer.
    pub inflight_messages_max: usize,
    /// Most unanswered bytes to one peer (one message may exceed it alone).
    pub inflight_bytes_max: u64,
    /// A leader rejects proposals while more than this is not yet committed.
    pub uncommitted_bytes_max: u64,
    /// Bytes of entries that the log holds in memory. Half of it asks for a snapshot; at the whole, proposals are
    /// rejected and a follower takes no more entries until a snapshot has let it compact.
    pub log_bytes_max: u64,
    /// Entries before our own snapshot that stay in memory, so that a slightly slow follower needs no snapshot.
    pub log_trailing_bytes_max: u64,
    /// Most reads that wait for a round; further ones fail at once.
    pub reads_pending_max: usize,
    /// A leader answers reads alone for this long after it sent what a quorum has answered; a new leader commits
    /// nothing for an eighth more than this after its election. `None`: every read waits for a round. The same for all
    /// members, whose clocks must count the time that a machine sleeps and, while the fastest counts nine
    /// microseconds, must all count eight: where that may not hold, answers may be stale.
    pub lease: Option<Duration>,
}

impl Params {
    /// The values used unless an operator says otherwise, for `id` in `cluster`.
    #[must_use]
    pub fn new(cluster: ClusterId, id: NodeId, incarnation: Incarnation) -> Params {
        Params {
            id,
            incarnation,
            cluster,
            recovery_epoch: RecoveryEpoch(0),
            pre_vote: true,
            check_quorum: true,
            election_timeout_min: Duration::from_millis(500),
            election_timeout_max: Duration::from_millis(1000),
            heartbeat_interval: Duration::from_millis(100),
            check_quorum_interval: Duration::from_millis(1000),
            entry_bytes_max: 960 << 10,
            append_bytes_max: 512 << 10,
            append_entries_max: 1024,
            inflight_messages_max: 64,
            inflight_bytes_max: 8 << 20,
            uncommitted_bytes_max: 16 << 20,
            log_bytes_max: 64 << 20,
            log_trailing_bytes_max: 8 << 20,
            reads_pending_max: 4096,
            lease: None,
        }
    }

    /// Whether the values fit together.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), ParamsError> {
        let heartbeats_fit = self.heartbeat_interval.saturating_mul(2) <= self.election_timeout_min;
        let counts = [self.append_entries_max, self.inflight_messages_max, self.reads_pending_max];
        let parts = [self.entry_bytes_max, self.uncommitted_bytes_max, self.log_trailing_bytes_max];
        let rules = [
            (self.election_timeout_min < self.election_timeout_max, ParamsError::ElectionRangeEmpty),
            (!self.heartbeat_interval.is_zero() && heartbeats_fit, ParamsError::HeartbeatTooRare),
            (self.check_quorum_interval >= self.election_timeout_min, ParamsError::CheckQuorumTooOften),
            (counts.iter().all(|count| *count > 0), ParamsError::ZeroBound),
            (self.entry_bytes_max <= self.uncommitted_bytes_max, ParamsError::UncommittedTooSmall),
            (parts.iter().all(|part| part.saturating_mul(4) <= self.log_bytes_max), ParamsError::LogTooSmall),
        ];
        rules.into_iter().find(|(kept, _)| !kept).map_or(Ok(()), |(_, broken)| Err(broken))
    }
}

/// Why [`Params::check`] refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParamsError {
    /// `election_timeout_min` must be below `election_timeout_max`.
    ElectionRangeEmpty,
    /// Two heartbeats must fit into `election_timeout_min`, and the interval must not be zero.
    HeartbeatTooRare,
    /// `check_quorum_interval` must not be below `election_timeout_min`.
    CheckQuorumTooOften,
    /// A count that must be at least one is zero.
    ZeroBound,
    /// An entry of `entry_bytes_max` must fit into `uncommitted_bytes_max`, or it would be refused for ever.
    UncommittedTooSmall,
    /// `log_bytes_max` must be four times `entry_bytes_max`, `uncommitted_bytes_max` and `log_trailing_bytes_max`.
    LogTooSmall,
}

impl fmt::Display for ParamsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParamsError::ElectionRangeEmpty => "election_timeout_min must be below election_timeout_max",
            ParamsError::HeartbeatTooRare => {
                "heartbeat_interval must be above zero and at most half of election_timeout_min"
            }
            ParamsError::CheckQuorumTooOften => "check_quorum_interval must be at least election_timeout_min",
            ParamsError::ZeroBound => {
                "append_entries_max, inflight_messages_max and reads_pending_max must be at least one"
            }
            ParamsError::UncommittedTooSmall => "uncommitted_bytes_max must be at least entry_bytes_max",
            ParamsError::LogTooSmall => {
                "log_bytes_max must be at least four times entry_bytes_max, uncommitted_bytes_max and log_trailing_bytes_max"
            }
        })
    }
}

impl std::error::Error for ParamsError {}

#[cfg(test)]
mod tests {
    use super::{Params, ParamsError};
    use crate::types::{ClusterId, Incarnation, NodeId};

    fn broken(change: impl Fn(&mut Params)) -> Result<(), ParamsError> {
        let mut params = Params::new(ClusterId::default(), NodeId(1), Incarnation(1));
        change(&mut params);
        params.check()
    }

    #[test]
    fn values_that_do_not_fit_together_are_named() {
        assert_eq!(broken(|_| ()), Ok(()));
        assert_eq!(
            broken(|params| params.election_timeout_min = params.election_timeout_max),
            Err(ParamsError::ElectionRangeEmpty)
        );
        assert_eq!(
            broken(|params| params.heartbeat_interval = params.election_timeout_min),
            Err(ParamsError::HeartbeatTooRare)
        );
        assert_eq!(
            broken(|params| params.check_quorum_interval = params.heartbeat_interval),
            Err(ParamsError::CheckQuorumTooOften)
        );
        assert_eq!(broken(|params| params.append_entries_max = 0), Err(ParamsError::ZeroBound));
        assert_eq!(
            broken(|params| params.entry_bytes_max = params.uncommitted_bytes_max + 1),
            Err(ParamsError::UncommittedTooSmall)
        );
        assert_eq!(
            broken(|params| params.log_bytes_max = params.uncommitted_bytes_max),
            Err(ParamsError::LogTooSmall)
        );
    }
}
