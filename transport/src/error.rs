//! Everything that can go wrong between two peers, as one closed enum with texts fit for a person.
//!
//! Errors are `Clone`, because one lost connection is reported to every lane that it carried.

use crate::lane::Lane;
use crate::peer::{ClusterId, PeerRole};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Which end of a connection did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This process.
    Here,
    /// The other end.
    Peer,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Here => "this side",
            Self::Peer => "the peer",
        })
    }
}

/// Why this side does not talk to a peer at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The certificate is not signed by this cluster's authority, or is of another trust domain.
    #[error("the peer is not of cluster {expected} (its certificate says {})", .claimed.map_or_else(|| "nothing readable".to_owned(), |c| format!("cluster {c}")))]
    WrongCluster {
        /// This side's cluster.
        expected: ClusterId,
        /// What the unverified certificate claims.
        claimed: Option<ClusterId>,
    },
    /// The peer is of the cluster but has another role than the one wanted here.
    #[error("wrong role: expected a {expected}, found a {found}")]
    WrongRole {
        /// The role wanted.
        expected: PeerRole,
        /// The role in the certificate.
        found: PeerRole,
    },
    /// Between these two roles no lane exists.
    #[error("a {found} has no business with a {here}")]
    NoLanes {
        /// This side's role.
        here: PeerRole,
        /// The peer's role.
        found: PeerRole,
    },
    /// The peer has the right role but is another node.
    #[error("wrong node: expected {role} {expected}, found {role} {found}")]
    WrongNode {
        /// The role of both.
        role: PeerRole,
        /// The node wanted.
        expected: u64,
        /// The node in the certificate.
        found: u64,
    },
    /// The certificate is good, but the cluster has another public key on record for this control node: an impostor, or a node
    /// whose new key was not recorded yet.
    #[error(
        "controller {node} is recorded with another public key; its certificate alone proves nothing here"
    )]
    WrongKey {
        /// The control node that the certificate names.
        node: u64,
    },
    /// This control node was a member of the cluster and is not any more.
    #[error("controller {node} was removed from the cluster")]
    Removed {
        /// The control node.
        node: u64,
    },
    /// The authority has signed for this control node, but the cluster was not told of it.
    #[error("controller {node} is not a member of the cluster; `ravelin node add` makes it one")]
    NotAMember {
        /// The control node.
        node: u64,
    },
    /// The peer, or all peers together, have as many connections here as they may.
    #[error(
        "too many connections: {connections} {}", if *.of_this_peer { "of this peer stand already; is its identity used twice?" } else { "stand already" }
    )]
    Crowded {
        /// How many.
        connections: usize,
        /// Of this peer; else of all.
        of_this_peer: bool,
    },
    /// The certificate's last day has passed, and no pinned key speaks for the peer.
    #[error(
        "the peer's certificate has expired; give the node a new identity file, or set its clock and this one's right"
    )]
    Expired,
    /// The certificate's first day has not come, and no pinned key speaks for the peer.
    #[error("the peer's certificate is not valid yet; set the clocks of both nodes right")]
    NotYetValid,
    /// The certificate is missing, malformed, made for another purpose, or names more or fewer than one peer.
    #[error("the peer's certificate is not acceptable: {reason}")]
    Certificate {
        /// What is wrong with it.
        reason: String,
    },
    /// The peer speaks another version of the transport.
    #[error("the peer speaks another version of the transport: {reason}")]
    Version {
        /// What it offered.
        reason: String,
    },
}

/// [`Refusal`] without its details: what crosses the wire to the refused side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// See [`Refusal::WrongCluster`].
    WrongCluster,
    /// See [`Refusal::WrongRole`].
    WrongRole,
    /// See [`Refusal::NoLanes`].
    NoLanes,
    /// See [`Refusal::WrongNode`].
    WrongNode,
    /// See [`Refusal::Expired`].
    Expired,
    /// See [`Refusal::NotYetValid`].
    NotYetValid,
    /// See [`Refusal::Certificate`].
    Certificate,
    /// See [`Refusal::Version`].
    Version,
    /// See [`Refusal::WrongKey`].
    WrongKey,
    /// See [`Refusal::Crowded`].
    Crowded,
    /// See [`Refusal::Removed`].
    Removed,
    /// See [`Refusal::NotAMember`].
    NotAMember,
}

impl Refusal {
    /// The kind alone.
    #[must_use]
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::WrongCluster { .. } => RefusalKind::WrongCluster,
            Self::WrongRole { .. } => RefusalKind::WrongRole,
            Self::NoLanes { .. } => RefusalKind::NoLanes,
            Self::WrongNode { .. } => RefusalKind::WrongNode,
            Self::Expired => RefusalKind::Expired,
            Self::NotYetValid => RefusalKind::NotYetValid,
            Self::Certificate { .. } => RefusalKind::Certificate,
            Self::Version { .. } => RefusalKind::Version,
            Self::WrongKey { .. } => RefusalKind::WrongKey,
            Self::Crowded { .. } => RefusalKind::Crowded,
            Self::Removed { .. } => RefusalKind::Removed,
            Self::NotAMember { .. } => RefusalKind::NotAMember,
        }
    }
}

/// Why a lane was not opened. The connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LaneRefusal {
    /// A lane number that the accepting side does not know.
    #[error("unknown lane {code}")]
    Unknown {
        /// The number from the wire.
        code: u8,
    },
    /// A lane version that the accepting side does not speak.
    #[error("unknown version {version} of lane {lane}")]
    Version {
        /// The lane.
        lane: Lane,
        /// The version from the wire.
        version: u8,
    },
    /// The role table forbids it.
    #[error("a {opener} may not open lane {lane} to a {acceptor}")]
    Forbidden {
        /// The lane.
        lane: Lane,
        /// The role of the opening side.
        opener: PeerRole,
        /// The role of the accepting side.
        acceptor: PeerRole,
    },
    /// The certificate of one of the two has run out, and this lane needs valid dates.
    #[error(
        "lane {lane} is closed to an expired certificate; only raft, snapshot and forward stay open, between controllers"
    )]
    Expired {
        /// The lane.
        lane: Lane,
    },
}

/// Errors of transports, connections and lanes.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// Another process holds the port.
    #[error(
        "cannot listen on {address}: the address is already in use; stop the other process or choose another port"
    )]
    AddressInUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Another endpoint of the process has the name.
    #[error("an endpoint named {name} exists already")]
    NameInUse {
        /// The name asked for.
        name: String,
    },
    /// The socket could not be opened for another reason.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The operating system's reason.
        #[source]
        source: Arc<io::Error>,
    },
    /// This node's own certificate or key cannot be used.
    #[error("this node's identity cannot be used: {reason}")]
    Credentials {
        /// What is wrong with it.
        reason: String,
    },
    /// Limits or times that make no sense together.
    #[error("the transport's options make no sense: {reason}")]
    Options {
        /// Which, and what would do.
        reason: String,
    },
    /// The host name has no address.
    #[error("cannot resolve {address}")]
    Resolve {
        /// `host:port` as given.
        address: String,
        /// The resolver's reason.
        #[source]
        source: Arc<io::Error>,
    },
    /// No connection came about: nobody there, packets lost, or nobody answered in time.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// `host:port` or memory name as given.
        address: String,
        /// What was seen.
        reason: String,
    },
    /// This side refused the peer.
    #[error("refused {address}: {refusal}")]
    Refused {
        /// Where the peer was.
        address: String,
        /// Why.
        #[source]
        refusal: Refusal,
    },
    /// The peer refused this side.
    #[error("{address} refused this node: {reason}")]
    RefusedByPeer {
        /// Where the peer is.
        address: String,
        /// What kind of refusal it was.
        kind: RefusalKind,
        /// The peer's words, cut and cleaned.
        reason: String,
    },
    /// A lane was not opened; the connection goes on.
    #[error("{by} refused to open a lane: {refusal}")]
    LaneRefused {
        /// Who refused.
        by: Side,
        /// Why.
        #[source]
        refusal: LaneRefusal,
    },
    /// The peer did not answer the opening of a lane in time, or has as many open as it allows.
    #[error("lane {lane} was not accepted within {within:?}")]
    LaneTimeout {
        /// The lane.
        lane: Lane,
        /// How long this side waited.
        within: Duration,
    },
    /// A frame above [`crate::FRAME_BYTES_MAX`]. On the sending side nothing was sent and the lane goes on; on the receiving side
    /// the lane is over.
    #[error("a frame of {bytes} bytes is larger than the {max} allowed")]
    FrameTooLarge {
        /// The frame's length.
        bytes: u64,
        /// The limit.
        max: usize,
    },
    /// The receiving half at the other end is gone: frames sent from now on are for nobody.
    #[error("the receiver of lane {lane} is gone")]
    ReceiverDropped {
        /// The lane.
        lane: Lane,
    },
    /// The lane ended within a frame, or its sender gave it up.
    #[error("lane {lane} broke: {reason}")]
    LaneBroken {
        /// The lane.
        lane: Lane,
        /// What was seen.
        reason: String,
    },
    /// One end closed the connection on purpose.
    #[error("closed by {by}: {reason}")]
    Closed {
        /// Who closed it.
        by: Side,
        /// The reason given, cut and cleaned.
        reason: String,
    },
    /// The connection ended without a word.
    #[error("connection lost: {reason}")]
    Lost {
        /// What was seen.
        reason: String,
    },
    /// The peer broke the rules of the transport.
    #[error("the peer broke the protocol: {reason}")]
    Protocol {
        /// Which rule.
        reason: String,
    },
    /// This transport was shut down.
    #[error("the transport is shut down")]
    Shutdown,
}

impl TransportError {
    /// Whether the connection it came from is over. `false` from [`crate::Connection::accept`] means: one lane was refused, go on.
    #[must_use]
    pub const fn ends_connection(&self) -> bool {
        match self {
            Self::LaneRefused { .. }
            | Self::LaneTimeout { .. }
            | Self::FrameTooLarge { .. }
            | Self::ReceiverDropped { .. }
            | Self::LaneBroken { .. } => false,
            Self::AddressInUse { .. }
            | Self::NameInUse { .. }
            | Self::Bind { .. }
            | Self::Credentials { .. }
            | Self::Options { .. }
            | Self::Resolve { .. }
            | Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::RefusedByPeer { .. }
            | Self::Closed { .. }
            | Self::Lost { .. }
            | Self::Protocol { .. }
            | Self::Shutdown => true,
        }
    }

    /// Whether the transport it came from is over. `false` from [`crate::Transport::accept`] means: one peer was refused, go on.
    #[must_use]
    pub const fn ends_transport(&self) -> bool {
        matches!(self, Self::Shutdown)
    }
}

/// Longest reason that is sent to or shown from a peer, in bytes and characters.
pub(crate) const REASON_MAX: usize = 256;

/// Text from a peer for logs and errors: at most `max` characters, control characters made visible.
pub(crate) fn cleaned(text: &[u8], max: usize) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .take(max)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn a_peers_words_cannot_forge_log_lines() {
        assert_eq!(cleaned(b"bye\nERROR \x1b[31mall is lost", 14), "bye\u{fffd}ERROR \u{fffd}[31");
        assert_eq!(cleaned(&[0xff, b'a'], 9), "\u{fffd}a");
    }

    #[test]
    fn errors_name_the_place_and_keep_their_cause() {
        let address = SocketAddr::from(([127, 0, 0, 1], 4433));
        let error = TransportError::Bind { address, source: Arc::new(io::Error::other("no such device")) };
        assert_eq!(error.to_string(), "cannot listen on 127.0.0.1:4433");
        assert_eq!(error.source().map(ToString::to_string), Some("no such device".to_owned()));
        let taken = TransportError::AddressInUse { address };
        assert!(taken.to_string().contains("127.0.0.1:4433: the address is already in use"));
    }
}
