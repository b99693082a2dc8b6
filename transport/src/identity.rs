//! The identity of one node: who it is, its certificate and private key, its cluster's authority, who founded the cluster, and
//! where the controllers were when it was made.
//!
//! Nothing here may guess or generate what it was not asked for: identities are born in [`init()`] and otherwise only read.
//! Private keys must not leave this module except into the TLS stack, and never into a log or an error.

mod add;
mod authority;
mod file;
mod init;

pub use add::{NewNode, add, save as save_added};
pub use authority::Authority;
pub use init::{ClusterPlan, NewCluster, init};

use crate::certificate;
use crate::peer::{ClusterId, PeerId, PeerRole};
use aws_lc_rs::hkdf;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Where a control node was, and its key, when the identity was made: how a node finds the cluster. What the cluster's log says of
/// its members wins over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// Its number among the controllers.
    pub node: u64,
    /// `host:port` at which it is dialled.
    pub address: String,
    /// SHA-256 of its public key (the DER of the SubjectPublicKeyInfo). Authenticates it to other controllers when dates do not.
    pub public_key_sha256: [u8; 32],
}

/// A voter at the birth of the cluster. The first record of every founder's log says the same, and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Founder {
    /// Its number among the controllers.
    pub node: u64,
    /// Which life of its data directory.
    pub incarnation: u64,
}

/// One node's identity, checked: the certificate names this peer and belongs to the key.
#[derive(Clone)]
pub struct Identity {
    peer: PeerId,
    recovery_epoch: u32,
    incarnation: u64,
    certificate_pem: String,
    private_key_pem: String,
    authority_pem: String,
    certificate: CertificateDer<'static>,
    founders: Vec<Founder>,
    controllers: Vec<Controller>,
    sealing_keys: Vec<SealingKey>,
}

/// A key that the cluster's secrets are sealed with. Only controllers hold it; `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
struct SealingKey([u8; 32]);

/// Most sealing keys in one identity: one seals, the others open what was sealed before it.
const SEALING_KEYS_MAX: usize = 8;

/// Why an identity was not made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The plan for a new cluster makes no sense.
    #[error("cannot plan the cluster: {reason}")]
    Plan {
        /// What is wrong and what would do.
        reason: String,
    },
    /// The file is not there.
    #[error("{}: no such file; `ravelin init` makes identity files", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is there already. Identities are never overwritten.
    #[error("{}: already exists and is not overwritten; move it away first, or choose another directory", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others could read the private key.
    #[error("{}: may be read or changed by others (mode {mode:04o}); run: chmod 600 {}", .path.display(), .path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file could not be read.
    #[error("{}: cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The file could not be written.
    #[error("{}: cannot be written", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The file is of a form that was given up before the first release.
    #[error("{}: format {found} is no longer read (this version reads {known}); make identities anew with `ravelin init`", .path.display())]
    OlderFormat {
        /// The file.
        path: PathBuf,
        /// What the file says.
        found: u32,
        /// What this version reads.
        known: u32,
    },
    /// The file is of a later Ravelin.
    #[error("{}: format {found} is newer than the {known} this version reads; use a newer ravelin", .path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// What the file says.
        found: u32,
        /// What this version reads.
        known: u32,
    },
    /// The file is not an identity, or its parts do not belong together.
    #[error("{}: {reason}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line where it is known.
        reason: String,
    },
    /// A certificate or key could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
}

/// The parts of an [`Identity`] before they were checked against one another.
struct Parts {
    peer: PeerId,
    recovery_epoch: u32,
    incarnation: u64,
    certificate_pem: String,
    private_key_pem: String,
    authority_pem: String,
    founders: Vec<Founder>,
    controllers: Vec<Controller>,
    sealing_keys: Vec<SealingKey>,
}

impl Identity {
    /// Checks that the parts belong together. Dates are not looked at: an expired identity is still this node's.
    fn checked(parts: Parts) -> Result<Self, String> {
        let certificate = CertificateDer::from_pem_slice(parts.certificate_pem.as_bytes())
            .map_err(|error| format!("certificate: {error}"))?;
        let named = certificate::peer_named(&certificate).map_err(|error| format!("certificate: {error}"))?;
        if named != parts.peer {
            return Err(format!(
                "the certificate is for {}, the file says {}",
                named.uri(),
                parts.peer.uri()
            ));
        }
        let key = rcgen::KeyPair::from_pem(&parts.private_key_pem)
            .map_err(|_| "private_key: not a PKCS #8 key in PEM")?;
        let public_key = rcgen::PublicKeyData::subject_public_key_info(&key);
        if certificate::public_key(&certificate).map_err(|error| format!("certificate: {error}"))?
            != public_key
        {
            return Err("private_key does not belong to certificate".to_owned());
        }
        let identity = Self {
            peer: parts.peer,
            recovery_epoch: parts.recovery_epoch,
            incarnation: parts.incarnation,
            certificate_pem: parts.certificate_pem,
            private_key_pem: parts.private_key_pem,
            authority_pem: parts.authority_pem,
            certificate,
            founders: parts.founders,
            controllers: parts.controllers,
            sealing_keys: parts.sealing_keys,
        };
        certificate::Trust::of(&identity).map_err(|error| format!("authority: {error}"))?;
        check_controllers(&identity.controllers)?;
        identity.check_founders()?;
        match (identity.role(), identity.sealing_keys.len()) {
            (PeerRole::Controller, 0) => {
                Err("sealing_keys: none; a controller needs one, `ravelin init` draws it".to_owned())
            }
            (PeerRole::Controller, 1..=SEALING_KEYS_MAX) | (_, 0) => Ok(identity),
            (PeerRole::Controller, _) => Err(format!("sealing_keys: more than {SEALING_KEYS_MAX}")),
            (role, _) => Err(format!("sealing_keys: a {role} must not hold any; remove them from the file")),
        }
    }

    fn check_founders(&self) -> Result<(), String> {
        if self.founders.is_empty() {
            return Ok(());
        }
        if self.role() != PeerRole::Controller {
            return Err(format!("founders: a {} is none; remove them from the file", self.role()));
        }
        let ascending =
            self.founders.windows(2).all(|pair| matches!(pair, [one, next] if one.node < next.node));
        if !ascending {
            return Err("founders: must be listed by ascending node, each once".to_owned());
        }
        let own = Founder { node: self.node(), incarnation: self.incarnation };
        if !self.founders.contains(&own) {
            return Err(format!(
                "founders: this node ({}, incarnation {}) is not among them; the file of a node that joined later lists none",
                own.node, own.incarnation
            ));
        }
        Ok(())
    }

    /// Who this node is to its peers.
    #[must_use]
    pub const fn peer(&self) -> &PeerId {
        &self.peer
    }

    /// The cluster it belongs to.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.peer.cluster()
    }

    /// Its role.
    #[must_use]
    pub const fn role(&self) -> PeerRole {
        self.peer.role()
    }

    /// Its number within its role.
    #[must_use]
    pub const fn node(&self) -> u64 {
        self.peer.node()
    }

    /// How often the cluster was recovered by force before this identity was made.
    #[must_use]
    pub const fn recovery_epoch(&self) -> u32 {
        self.recovery_epoch
    }

    /// The same identity after the cluster was recovered by force: of this epoch from now on.
    #[must_use]
    pub fn in_recovery_epoch(&self, recovery_epoch: u32) -> Self {
        Self { recovery_epoch, ..self.clone() }
    }

    /// Which life of its data directory this identity stands for.
    #[must_use]
    pub const fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The voters at the birth of the cluster, by node, this one among them. Empty in every identity but a founder's: a control node
    /// that joins later knows of no members until the cluster tells it.
    #[must_use]
    pub fn founders(&self) -> &[Founder] {
        &self.founders
    }

    /// The controllers known when the identity was made, by node: where to look for the cluster.
    #[must_use]
    pub fn controllers(&self) -> &[Controller] {
        &self.controllers
    }

    /// When the certificate's last day ends; `None` if it never does. Peers then refuse all but the lanes that survive expiry.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        let until = certificate::last_second(&self.certificate)?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(until.as_secs()))
    }

    /// A key for one purpose, derived from the node's private key (HKDF-SHA-256): the same file gives the same key, another
    /// node, cluster or purpose gives another, and nobody without the file has it.
    #[must_use]
    pub fn derive_key(&self, purpose: &str) -> [u8; 32] {
        let key = self.private_key();
        let salt = [b"ravelin derived key 1".as_slice(), &self.cluster().0].concat();
        let mut derived = [0; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, &salt)
            .extract(key.secret_pkcs8_der())
            .expand(&[purpose.as_bytes()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut derived))
            .expect("one block of HKDF-SHA-256 is 32 bytes");
        derived
    }

    /// The keys that the cluster's secrets are sealed with, the one in use first: at least one in a controller, none in any
    /// other. The caller derives what it needs and keeps nothing else.
    pub fn sealing_keys(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.sealing_keys.iter().map(|key| &key.0)
    }

    pub(crate) const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(crate) fn private_key(&self) -> PrivatePkcs8KeyDer<'static> {
        PrivatePkcs8KeyDer::from_pem_slice(self.private_key_pem.as_bytes())
            .expect("an identity is made only from a private key that parses")
    }

    pub(crate) fn authority_pem(&self) -> &str {
        &self.authority_pem
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey")
    }
}

/// Never shows the private key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("peer", &self.peer.uri())
            .field("recovery_epoch", &self.recovery_epoch)
            .field("incarnation", &self.incarnation)
            .field("founders", &self.founders)
            .field("controllers", &self.controllers)
            .finish_non_exhaustive()
    }
}

fn check_controllers(controllers: &[Controller]) -> Result<(), String> {
    if controllers.is_empty() {
        return Err("controllers: none listed; at least one is needed".to_owned());
    }
    let ascending = controllers.windows(2).all(|pair| matches!(pair, [one, next] if one.node < next.node));
    if !ascending {
        return Err("controllers: must be listed by ascending node, each once".to_owned());
    }
    controllers.iter().try_for_each(|controller| check_address(&controller.address))
}

/// `host:port`, where host is a DNS name, an IPv4 address, or an IPv6 address in brackets.
fn check_address(address: &str) -> Result<(), String> {
    let refuse = || format!("{address:?} is not host:port (for IPv6: [address]:port)");
    let (host, port) = address.rsplit_once(':').ok_or_else(refuse)?;
    let host_is_fine = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&host.len())
                && host.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'))
        }
    };
    let port_is_fine =
        port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0);
    if host_is_fine && port_is_fine { Ok(()) } else { Err(refuse()) }
}

#[cfg(test)]
mod tests;
