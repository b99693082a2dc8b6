//! The few numbers that cross the wire beside frames, and what quinn's errors mean in this crate's words.

use crate::error::{LaneRefusal, REASON_MAX, Refusal, RefusalKind, Side, TransportError, cleaned};
use crate::lane::Lane;
use crate::peer::PeerRole;
use quinn::{ConnectionError, VarInt};

/// Version of the lane protocol, sent when a lane is opened.
pub(super) const LANE_VERSION: u8 = 1;

/// Close code: closed by whoever used the connection, or because nobody held it any more.
pub(super) const CLOSE_BY_USER: VarInt = VarInt::from_u32(0);
/// Close code: the transport shuts down.
pub(super) const CLOSE_SHUTDOWN: VarInt = VarInt::from_u32(1);
/// Close codes from here on: the peer is refused, by kind.
const CLOSE_REFUSED: u32 = 0x10;

/// Stream code: the half was dropped.
pub(super) const STREAM_DROPPED: VarInt = VarInt::from_u32(0);
/// Stream code: a frame above the limit was announced.
pub(super) const STREAM_FRAME_TOO_LARGE: VarInt = VarInt::from_u32(1);
/// Stream code: the sender gave up within a frame.
pub(super) const STREAM_TORN: VarInt = VarInt::from_u32(2);
/// Stream code: nobody takes lanes at that end any more.
pub(super) const STREAM_NOT_TAKEN: VarInt = VarInt::from_u32(3);

/// Kinds of refusal in the order of their codes; never reordered.
const REFUSALS: [RefusalKind; 12] = [
    RefusalKind::WrongCluster,
    RefusalKind::WrongRole,
    RefusalKind::NoLanes,
    RefusalKind::WrongNode,
    RefusalKind::Expired,
    RefusalKind::NotYetValid,
    RefusalKind::Certificate,
    RefusalKind::Version,
    RefusalKind::WrongKey,
    RefusalKind::Crowded,
    RefusalKind::Removed,
    RefusalKind::NotAMember,
];

pub(super) fn close_code(kind: RefusalKind) -> VarInt {
    let position = REFUSALS.iter().position(|other| *other == kind).unwrap_or_default();
    VarInt::from_u32(CLOSE_REFUSED + position as u32)
}

fn refusal_of(code: VarInt) -> Option<RefusalKind> {
    let position = code.into_inner().checked_sub(u64::from(CLOSE_REFUSED))?;
    REFUSALS.get(usize::try_from(position).ok()?).copied()
}

/// A reason as it is sent: cut, whatever characters it ends in.
pub(super) fn cut(reason: &str) -> &[u8] {
    reason.as_bytes().get(..REASON_MAX).unwrap_or(reason.as_bytes())
}

/// The answer to a lane's opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    Unknown,
    Version,
    Forbidden,
    Expired,
}

impl Answer {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::Unknown => 1,
            Self::Version => 2,
            Self::Forbidden => 3,
            Self::Expired => 4,
        }
    }

    /// What the opening side makes of the answer.
    pub(super) fn read(code: u8, lane: Lane, here: PeerRole, peer: PeerRole) -> Result<(), TransportError> {
        let refusal = match code {
            0 => return Ok(()),
            1 => LaneRefusal::Unknown { code: lane.code() },
            2 => LaneRefusal::Version { lane, version: LANE_VERSION },
            3 => LaneRefusal::Forbidden { lane, opener: here, acceptor: peer },
            4 => LaneRefusal::Expired { lane },
            _ => return Err(TransportError::LaneBroken { lane, reason: format!("unknown answer {code}") }),
        };
        Err(TransportError::LaneRefused { by: Side::Peer, refusal })
    }

    /// The answer that tells of a refusal.
    pub(super) const fn to_refusal(refusal: LaneRefusal) -> Self {
        match refusal {
            LaneRefusal::Unknown { .. } => Self::Unknown,
            LaneRefusal::Version { .. } => Self::Version,
            LaneRefusal::Forbidden { .. } => Self::Forbidden,
            LaneRefusal::Expired { .. } => Self::Expired,
        }
    }
}

/// What ended a connection. `closed_here` is the reason that this side gave, if it did.
pub(super) fn connection_error(
    error: &ConnectionError,
    address: &str,
    closed_here: Option<&str>,
) -> TransportError {
    let lost = |reason: &str| TransportError::Lost { reason: reason.to_owned() };
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let reason = cleaned(&close.reason, REASON_MAX);
            match refusal_of(close.error_code) {
                Some(kind) => TransportError::RefusedByPeer { address: address.to_owned(), kind, reason },
                None => TransportError::Closed { by: Side::Peer, reason },
            }
        }
        ConnectionError::LocallyClosed => TransportError::Closed {
            by: Side::Here,
            reason: closed_here.unwrap_or("the transport was shut down").to_owned(),
        },
        ConnectionError::TimedOut => lost("nothing was heard for too long"),
        ConnectionError::Reset => lost("the peer does not know this connection; it has probably restarted"),
        ConnectionError::CidsExhausted => lost("this side has no connection ids left"),
        ConnectionError::VersionMismatch => TransportError::Refused {
            address: address.to_owned(),
            refusal: Refusal::Version { reason: "no common version of QUIC".to_owned() },
        },
        ConnectionError::ConnectionClosed(close) => {
            peer_closed(u64::from(close.error_code), &close.reason, address)
        }
        ConnectionError::TransportError(error) => here_failed(u64::from(error.code), &error.reason, address),
    }
}

/// TLS alerts travel as error codes from here on, RFC 9001 section 4.8.
const ALERT_BASE: u64 = 0x100;
const CONNECTION_REFUSED: u64 = 0x2;

/// The peer's QUIC or TLS ended it.
fn peer_closed(code: u64, reason: &[u8], address: &str) -> TransportError {
    let refused = |kind, reason: &str| TransportError::RefusedByPeer {
        address: address.to_owned(),
        kind,
        reason: reason.to_owned(),
    };
    match code.checked_sub(ALERT_BASE) {
        Some(48) => refused(RefusalKind::WrongCluster, "this node's certificate is not of its cluster"),
        Some(45) => refused(
            RefusalKind::Expired,
            "this node's certificate has expired or is not valid yet, by its clock",
        ),
        Some(70 | 120) => refused(RefusalKind::Version, "it speaks another version of the transport"),
        Some(49) => refused(RefusalKind::WrongKey, "it has another public key on record for this node"),
        Some(42 | 43 | 44 | 46 | 50 | 51 | 116) => {
            refused(RefusalKind::Certificate, "it does not accept this node's certificate")
        }
        _ if code == CONNECTION_REFUSED => {
            TransportError::Lost { reason: "it takes no more connections now".to_owned() }
        }
        _ => TransportError::Lost {
            reason: format!("the peer ended it with QUIC error {code:#x} {}", cleaned(reason, REASON_MAX)),
        },
    }
}

/// This side's QUIC or TLS ended it.
fn here_failed(code: u64, reason: &str, address: &str) -> TransportError {
    let refused = |refusal| TransportError::Refused { address: address.to_owned(), refusal };
    match code.checked_sub(ALERT_BASE) {
        Some(70 | 120) => refused(Refusal::Version { reason: cleaned(reason.as_bytes(), REASON_MAX) }),
        Some(116) => refused(Refusal::Certificate { reason: "none was presented".to_owned() }),
        Some(_) => refused(Refusal::Certificate { reason: cleaned(reason.as_bytes(), REASON_MAX) }),
        None => TransportError::Protocol {
            reason: format!("QUIC error {code:#x} {}", cleaned(reason.as_bytes(), REASON_MAX)),
        },
    }
}

/// Before a connection exists, losing it means that the peer was not reached.
pub(super) fn unreachable_if_lost(error: TransportError, address: &str) -> TransportError {
    match error {
        TransportError::Lost { reason } => {
            TransportError::Unreachable { address: address.to_owned(), reason }
        }
        error => error,
    }
}

/// Heartbeats must not wait behind bulk: the order in which lanes of one connection get the wire.
pub(super) const fn priority(lane: Lane) -> i32 {
    match lane {
        Lane::Raft => 2,
        Lane::Forward | Lane::Join => 1,
        Lane::Feed => 0,
        Lane::Snapshot | Lane::Peer => -1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_of_refusals_are_fixed_and_read_back() {
        let codes: Vec<u64> = REFUSALS.iter().map(|kind| close_code(*kind).into_inner()).collect();
        assert_eq!(codes, [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b]);
        for kind in REFUSALS {
            assert_eq!(refusal_of(close_code(kind)), Some(kind));
        }
        assert_eq!(refusal_of(CLOSE_BY_USER), None);
        assert_eq!(refusal_of(VarInt::from_u32(0x1c)), None);
        assert_eq!(refusal_of(VarInt::MAX), None);
    }

    #[test]
    fn answers_are_fixed_and_every_other_code_is_refused() {
        let read = |code| Answer::read(code, Lane::Raft, PeerRole::Proxy, PeerRole::Controller);
        assert!(read(Answer::Accepted.code()).is_ok());
        let codes = [Answer::Accepted, Answer::Unknown, Answer::Version, Answer::Forbidden, Answer::Expired];
        assert_eq!(codes.map(Answer::code), [0, 1, 2, 3, 4]);
        for code in 1..=4 {
            assert!(matches!(read(code), Err(TransportError::LaneRefused { by: Side::Peer, .. })), "{code}");
        }
        for code in 5..=u8::MAX {
            assert!(matches!(read(code), Err(TransportError::LaneBroken { .. })), "{code}");
        }
    }

    #[test]
    fn reasons_are_cut_on_their_way() {
        assert_eq!(cut("short"), b"short");
        assert_eq!(cut(&"é".repeat(500)).len(), 256);
    }
}
