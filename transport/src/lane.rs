//! The few lanes of a connection and the one table that says which role may open which lane to whom.
//!
//! Nothing else may decide about roles: every transport asks this table when a lane is opened, on both sides.

use crate::peer::PeerRole;
use std::fmt;

/// The largest frame that any transport carries, in bytes, without its length prefix.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// A long-lived, ordered channel of whole frames within a connection. Lanes do not wait for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Consensus messages between control nodes.
    Raft,
    /// Snapshot bytes between control nodes.
    Snapshot,
    /// Configuration from a control node to a proxy, and the proxy's acknowledgements.
    Feed,
    /// Requests that a control node or operator sends to a control node.
    Forward,
    /// Enrolment and renewal of certificates.
    Join,
    /// Last good generations from proxy to proxy.
    Peer,
}

/// Kept for a lane of its own on which a node whose certificate has run out proves its key and enrols anew: dates must close
/// [`Lane::Join`] and never that one. No other lane gets this number; a version that does not know it refuses the lane and goes on.
pub const RE_ENROL_CODE: u8 = 7;

impl Lane {
    /// Every lane, in order of its code.
    pub const ALL: [Self; 6] =
        [Self::Raft, Self::Snapshot, Self::Feed, Self::Forward, Self::Join, Self::Peer];

    /// The lane's number on the wire; never reused for another meaning.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Raft => 1,
            Self::Snapshot => 2,
            Self::Feed => 3,
            Self::Forward => 4,
            Self::Join => 5,
            Self::Peer => 6,
        }
    }

    /// The lane of a number from the wire; `None` if this version knows no such lane.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.code() == code)
    }

    /// Whether a peer of this role may open the lane at all.
    #[must_use]
    pub const fn may_open(self, role: PeerRole) -> bool {
        match self {
            Self::Raft | Self::Snapshot => matches!(role, PeerRole::Controller),
            Self::Feed | Self::Peer => matches!(role, PeerRole::Proxy),
            Self::Forward => matches!(role, PeerRole::Controller | PeerRole::Operator),
            Self::Join => matches!(role, PeerRole::Controller | PeerRole::Proxy),
        }
    }

    /// Whether a peer of this role may be on the accepting end of the lane.
    #[must_use]
    pub const fn may_accept(self, role: PeerRole) -> bool {
        match self {
            Self::Raft | Self::Snapshot | Self::Feed | Self::Forward | Self::Join => {
                matches!(role, PeerRole::Controller)
            }
            Self::Peer => matches!(role, PeerRole::Proxy),
        }
    }

    /// The role table: may `opener` open this lane to `acceptor`?
    #[must_use]
    pub const fn permits(self, opener: PeerRole, acceptor: PeerRole) -> bool {
        self.may_open(opener) && self.may_accept(acceptor)
    }

    /// Lanes that certificate dates never close, between controllers that know each other's public key: without them a
    /// cluster whose certificates ran out could not elect a leader, and so not renew them either.
    #[must_use]
    pub const fn survives_expiry(self) -> bool {
        matches!(self, Self::Raft | Self::Snapshot | Self::Forward)
    }

    /// Whether the two roles have any lane in common. Where they have none, a connection is refused as a whole.
    #[must_use]
    pub fn any_between(one: PeerRole, other: PeerRole) -> bool {
        Self::ALL.into_iter().any(|lane| lane.permits(one, other) || lane.permits(other, one))
    }

    /// The lane's name in logs and errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Snapshot => "snapshot",
            Self::Feed => "feed",
            Self::Forward => "forward",
            Self::Join => "join",
            Self::Peer => "peer",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PeerRole::{Controller, Operator, Proxy};

    #[test]
    fn the_role_table_is_exactly_this() {
        let mut permitted = Vec::new();
        for lane in Lane::ALL {
            for opener in PeerRole::ALL {
                for acceptor in PeerRole::ALL {
                    if lane.permits(opener, acceptor) {
                        permitted.push((lane, opener, acceptor));
                    }
                }
            }
        }
        assert_eq!(
            permitted,
            [
                (Lane::Raft, Controller, Controller),
                (Lane::Snapshot, Controller, Controller),
                (Lane::Feed, Proxy, Controller),
                (Lane::Forward, Controller, Controller),
                (Lane::Forward, Operator, Controller),
                (Lane::Join, Controller, Controller),
                (Lane::Join, Proxy, Controller),
                (Lane::Peer, Proxy, Proxy),
            ]
        );
    }

    #[test]
    fn roles_without_a_common_lane_have_no_business_with_each_other() {
        assert!(!Lane::any_between(Operator, Proxy));
        assert!(!Lane::any_between(Operator, Operator));
        assert!(Lane::any_between(Controller, Proxy));
        assert!(Lane::any_between(Proxy, Proxy));
    }

    #[test]
    fn codes_are_fixed_and_read_back() {
        let codes: Vec<u8> = Lane::ALL.iter().map(|lane| lane.code()).collect();
        assert_eq!(codes, [1, 2, 3, 4, 5, 6]);
        for code in 0..=u8::MAX {
            assert_eq!(Lane::from_code(code).map(Lane::code), (1..=6).contains(&code).then_some(code));
        }
        assert!(!codes.contains(&RE_ENROL_CODE), "kept for re-enrolment: the next lane after it is 8");
    }
}
