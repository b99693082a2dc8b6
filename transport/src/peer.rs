//! Who a peer is: cluster, role and node, as written in the one URI name of its certificate.
//!
//! A [`PeerId`] must come from nowhere but a verified certificate or the memory transport: nothing here lets other
//! crates build one from parts.

use std::fmt;
use std::str::FromStr;

/// Identity of one cluster, fixed at `init`. Printed as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

/// What a peer is in its cluster. The role decides which lanes it may open, see [`crate::Lane`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerRole {
    /// A node of the control plane.
    Controller,
    /// A node of the data plane.
    Proxy,
    /// A person or tool that uses the API through the command line.
    Operator,
}

/// An authenticated peer. Node numbers are unique within a role, not across roles.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    cluster: ClusterId,
    role: PeerRole,
    node: u64,
}

/// Text that does not name a cluster, role or peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct NameError {
    /// The text as it was given, cut to 128 characters.
    pub text: String,
    /// What it should have been.
    pub wanted: &'static str,
}

impl NameError {
    fn new(text: &str, wanted: &'static str) -> Self {
        Self { text: text.chars().take(128).collect(), wanted }
    }
}

impl PeerId {
    pub(crate) const fn new(cluster: ClusterId, role: PeerRole, node: u64) -> Self {
        Self { cluster, role, node }
    }

    /// The cluster that signed for the peer.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// What the peer is in the cluster.
    #[must_use]
    pub const fn role(&self) -> PeerRole {
        self.role
    }

    /// The number of the node within its role.
    #[must_use]
    pub const fn node(&self) -> u64 {
        self.node
    }

    /// The name in the certificate: `spiffe://<cluster>/<role>/<node>`.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("spiffe://{}/{}/{}", self.cluster, self.role, self.node)
    }

    /// Reads such a name. Only the canonical spelling is accepted, so that one peer has one name.
    ///
    /// # Errors
    /// [`NameError`] for anything that [`PeerId::uri`] would not have written.
    pub(crate) fn from_uri(uri: &str) -> Result<Self, NameError> {
        let wanted = "a name of the form spiffe://<cluster>/<role>/<node>";
        let refuse = || NameError::new(uri, wanted);
        let rest = uri.strip_prefix("spiffe://").ok_or_else(refuse)?;
        let mut parts = rest.split('/');
        let (Some(cluster), Some(role), Some(node), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refuse());
        };
        let peer = Self {
            cluster: cluster.parse().map_err(|_| refuse())?,
            role: role.parse().map_err(|_| refuse())?,
            node: node.parse().map_err(|_| refuse())?,
        };
        if peer.uri() == uri { Ok(peer) } else { Err(refuse()) }
    }
}

/// `controller 3`: short enough for logs; the cluster is the same for all peers that got so far.
impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.node)
    }
}

impl PeerRole {
    /// Every role, in order.
    pub const ALL: [Self; 3] = [Self::Controller, Self::Proxy, Self::Operator];

    /// The role's name in certificates, identity files and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Proxy => "proxy",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for PeerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PeerRole {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| NameError::new(text, "a role (controller, proxy or operator)"))
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

impl FromStr for ClusterId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        hex_bytes(text)
            .map(Self)
            .ok_or_else(|| NameError::new(text, "a cluster id of 32 lower-case hexadecimal digits"))
    }
}

/// Exactly `2 N` lower-case hexadecimal digits as bytes; nothing else is accepted, so that equal values have equal text.
pub(crate) fn hex_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([0xab; 16]);

    #[test]
    fn a_peer_reads_back_from_its_name() {
        for role in PeerRole::ALL {
            for node in [0, 1, 42, u64::MAX] {
                let peer = PeerId::new(CLUSTER, role, node);
                assert_eq!(PeerId::from_uri(&peer.uri()), Ok(peer));
            }
        }
        assert_eq!(
            PeerId::new(CLUSTER, PeerRole::Proxy, 7).uri(),
            "spiffe://abababababababababababababababab/proxy/7"
        );
    }

    #[test]
    fn only_the_canonical_spelling_is_a_name() {
        let hex = CLUSTER.to_string();
        for uri in [
            String::new(),
            format!("spiffe://{hex}/proxy"),
            format!("spiffe://{hex}/proxy/7/"),
            format!("spiffe://{hex}/proxy/07"),
            format!("spiffe://{hex}/proxy/+7"),
            format!("spiffe://{hex}/proxy/-1"),
            format!("spiffe://{hex}/Proxy/7"),
            format!("spiffe://{}/proxy/7", hex.to_uppercase()),
            format!("spiffe://{hex}00/proxy/7"),
            format!("https://{hex}/proxy/7"),
            format!("spiffe://{hex}/proxy/18446744073709551616"),
            format!("spiffe://{hex}/proxy/7?x"),
            format!("spiffe://{hex}//7"),
        ] {
            assert!(PeerId::from_uri(&uri).is_err(), "{uri} was accepted");
        }
    }

    #[test]
    fn a_cluster_id_reads_back_from_its_text() {
        assert_eq!(CLUSTER.to_string().parse(), Ok(CLUSTER));
        let error = "AB".parse::<ClusterId>().expect_err("too short and upper case");
        assert_eq!(error.to_string(), "\"AB\" is not a cluster id of 32 lower-case hexadecimal digits");
    }
}
