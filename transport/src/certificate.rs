//! Who a certificate names, and whether to believe it: the one function that every handshake of every transport asks.
//!
//! It must not know of connections: certificate, time and trust in, verdict out.

use crate::error::Refusal;
use crate::identity::Identity;
use crate::members::{KeySha256, Members};
use crate::peer::{ClusterId, PeerId, PeerRole};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage};

/// Later than any date that a certificate can hold: 31 December 9999.
const END_OF_DATES: Duration = Duration::from_secs(253_402_300_799);

/// What a certificate is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Signed by the cluster and within its dates, until this time.
    Full {
        /// Its last second; `None` if it never ends.
        until: Option<UnixTime>,
    },
    /// Outside its dates, but the key is the one recorded for this controller.
    Pinned,
}

impl Standing {
    /// Whether dates close all lanes but those that survive expiry.
    pub(crate) fn is_expired(self, now: UnixTime) -> bool {
        match self {
            Self::Full { until } => until.is_some_and(|until| now.as_secs() > until.as_secs()),
            Self::Pinned => true,
        }
    }
}

/// A peer that proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) peer: PeerId,
    pub(crate) standing: Standing,
    /// Of the key that the certificate is for.
    pub(crate) key: KeySha256,
}

/// Which way a certificate is used in a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    /// The peer accepted the connection.
    Server,
    /// The peer dialled.
    Client,
}

/// What a node believes: its cluster's authority, and the recorded keys of its controllers.
#[derive(Debug)]
pub(crate) struct Trust {
    cluster: ClusterId,
    role: PeerRole,
    anchors: Vec<TrustAnchor<'static>>,
    members: Arc<Members>,
}

impl Trust {
    pub(crate) fn of(identity: &Identity) -> Result<Self, String> {
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(identity.authority_pem().as_bytes()) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            let anchor = webpki::anchor_from_trusted_cert(&certificate).map_err(|error| error.to_string())?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() {
            return Err("no certificate in PEM".to_owned());
        }
        let keys = identity.controllers().iter().map(|c| (c.node, c.public_key_sha256)).collect();
        let members = Arc::new(Members::new(keys));
        Ok(Self { cluster: identity.cluster(), role: identity.role(), anchors, members })
    }

    /// The recorded keys, to be kept up to date.
    pub(crate) const fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// Judges the certificate that a peer presented. The handshake itself proves that the peer holds its key.
    ///
    /// # Errors
    /// The [`Refusal`] to tell both sides.
    pub(crate) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: Usage,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<Verified, Refusal> {
        let certificate = EndEntityCert::try_from(leaf).map_err(|error| unacceptable(&error))?;
        let named = peer_named(leaf);
        let usage = match usage {
            Usage::Server => KeyUsage::server_auth(),
            Usage::Client => KeyUsage::client_auth(),
        };
        let chain = certificate
            .verify_for_usage(algorithms, &self.anchors, intermediates, now, usage, None, None)
            .map(|_| ());
        let wrong_cluster = || Refusal::WrongCluster {
            expected: self.cluster,
            claimed: named.as_ref().ok().map(PeerId::cluster),
        };
        let out_of_dates = match chain {
            Ok(()) => None,
            Err(webpki::Error::CertExpired { .. }) => Some(Refusal::Expired),
            Err(webpki::Error::CertNotValidYet { .. }) => Some(Refusal::NotYetValid),
            Err(webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey) => {
                return Err(wrong_cluster());
            }
            Err(error) => return Err(unacceptable(&error)),
        };
        let peer = named.clone().map_err(|reason| Refusal::Certificate { reason })?;
        if peer.cluster() != self.cluster {
            return Err(wrong_cluster());
        }
        let key = sha256(&certificate.subject_public_key_info());
        let standing = match (self.recorded_key(&peer), out_of_dates) {
            (Some(recorded), _) if recorded != key => return Err(Refusal::WrongKey { node: peer.node() }),
            (_, None) => Standing::Full { until: last_second(leaf) },
            (Some(_), Some(_)) => Standing::Pinned,
            (None, Some(refusal)) => return Err(refusal),
        };
        Ok(Verified { peer, standing, key })
    }

    /// The key by which a control node knows another one. It decides, whatever the authority has signed: with it dates do not
    /// matter, and without it a good certificate does not help. Everybody else goes by certificates: the list that a proxy or
    /// operator was given may be years old.
    fn recorded_key(&self, peer: &PeerId) -> Option<KeySha256> {
        let both_controllers = self.role == PeerRole::Controller && peer.role() == PeerRole::Controller;
        both_controllers.then(|| self.members.key_of(peer.node())).flatten()
    }
}

fn unacceptable(error: &webpki::Error) -> Refusal {
    Refusal::Certificate { reason: error.to_string() }
}

/// The one peer that a certificate names. It is a claim until [`Trust::verify`] has believed it.
pub(crate) fn peer_named(certificate: &CertificateDer<'_>) -> Result<PeerId, String> {
    let certificate = EndEntityCert::try_from(certificate).map_err(|error| error.to_string())?;
    let mut names = certificate.valid_uri_names();
    match (names.next(), names.next()) {
        (Some(name), None) => PeerId::from_uri(name).map_err(|error| error.to_string()),
        (None, _) => Err("it names no peer".to_owned()),
        (Some(_), Some(_)) => Err("it names more than one peer".to_owned()),
    }
}

/// The DER of a certificate's SubjectPublicKeyInfo.
pub(crate) fn public_key(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, String> {
    let certificate = EndEntityCert::try_from(certificate).map_err(|error| error.to_string())?;
    Ok(certificate.subject_public_key_info().to_vec())
}

/// The last second of a certificate's dates. webpki tells it only in the error for a later time, given before any signature is looked at.
pub(crate) fn last_second(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let end = UnixTime::since_unix_epoch(END_OF_DATES);
    match certificate.verify_for_usage(&[], &[], &[], end, KeyUsage::server_auth(), None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(not_after),
        _ => None,
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests;
