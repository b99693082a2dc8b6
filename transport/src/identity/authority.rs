//! The cluster's certificate authority: the one key that can make a peer. It is needed to make and renew certificates,
//! never to run a node, and so must never be part of an identity file.

use super::file::write_secret;
use super::{Identity, IdentityError, Parts, SealingKey};
use crate::peer::{ClusterId, PeerId, hex_bytes};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Certificates begin this long before they are made, so that a peer whose clock is behind accepts them.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// How long the authority itself is valid: ten years.
const AUTHORITY_VALIDITY: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The certificate and private key of a cluster's authority, and the keys that a further controller must be given.
pub struct Authority {
    certificate_pem: String,
    key: KeyPair,
    sealing_keys: Vec<SealingKey>,
}

/// The label of a sealing key's section in the authority's file; its content is 64 hexadecimal digits.
const SEALING_KEY_LABEL: &str = "RAVELIN SEALING KEY";

impl Authority {
    pub(super) fn create(
        cluster: ClusterId,
        issued_at: SystemTime,
        sealing_keys: Vec<SealingKey>,
    ) -> Result<Self, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(&format!("Ravelin cluster {cluster}"), issued_at, AUTHORITY_VALIDITY)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { certificate_pem, key, sealing_keys })
    }

    /// The authority's certificate in PEM, as it stands in every identity file.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Reads the file that [`Authority::save`] wrote; the same rules hold as for identity files.
    ///
    /// # Errors
    /// [`IdentityError`] naming the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let text = super::file::read_secret(path)?;
        let malformed =
            |reason: &str| IdentityError::Malformed { path: path.to_owned(), reason: reason.to_owned() };
        let key = KeyPair::from_pem(
            &pem_section(&text, "PRIVATE KEY").ok_or_else(|| malformed("no private key in PEM"))?,
        )
        .map_err(|_| malformed("the private key is not PKCS #8"))?;
        let certificate_pem =
            pem_section(&text, "CERTIFICATE").ok_or_else(|| malformed("no certificate in PEM"))?;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| malformed("the certificate is not PEM"))?;
        let public_key =
            crate::certificate::public_key(&certificate).map_err(|reason| malformed(&reason.to_string()))?;
        if public_key != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(malformed("the private key does not belong to the certificate"));
        }
        let begin = format!("-----BEGIN {SEALING_KEY_LABEL}-----\n");
        let sealing_keys = text.split(&begin).skip(1).map(|rest| {
            let digits = rest.lines().next().unwrap_or_default();
            hex_bytes(digits)
                .map(SealingKey)
                .ok_or_else(|| malformed("a sealing key is not 64 hexadecimal digits"))
        });
        let sealing_keys = sealing_keys.collect::<Result<_, _>>()?;
        Ok(Self { certificate_pem, key, sealing_keys })
    }

    /// The cluster's sealing keys, the one in use first, for a controller that joins.
    pub(super) fn sealing_keys(&self) -> &[SealingKey] {
        &self.sealing_keys
    }

    /// Writes certificate, private key and sealing keys to a new file of mode 0600. Keep it offline: whoever has it can be any node.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] or [`IdentityError::Write`].
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        let mut text = format!(
            "The certificate authority of a Ravelin cluster, with its private key and the key that its secrets are sealed with.\n\
             Whoever has this file can be any node of the cluster. No node needs it to run: keep it offline.\n\
             {}{}",
            self.certificate_pem,
            self.key.serialize_pem()
        );
        for SealingKey(key) in &self.sealing_keys {
            let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            text.push_str(&format!(
                "-----BEGIN {SEALING_KEY_LABEL}-----\n{digits}\n-----END {SEALING_KEY_LABEL}-----\n"
            ));
        }
        write_secret(path, &text)
    }

    /// A new certificate for the same peer and the same key, valid from `issued_at` on.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`]; [`IdentityError::Plan`] where the identity is of another authority.
    pub fn renew(
        &self,
        identity: &Identity,
        issued_at: SystemTime,
        validity: Duration,
    ) -> Result<Identity, IdentityError> {
        if identity.authority_pem != self.certificate_pem {
            let reason = "the identity was made by another authority".to_owned();
            return Err(IdentityError::Plan { reason });
        }
        let key = KeyPair::from_pem(&identity.private_key_pem)?;
        let mut renewed = identity.clone();
        renewed.certificate_pem = self.sign(&identity.peer, &key, issued_at, validity)?;
        renewed.certificate = CertificateDer::from_pem_slice(renewed.certificate_pem.as_bytes())
            .map_err(|error| IdentityError::Plan { reason: error.to_string() })?;
        Ok(renewed)
    }

    /// Another key for the same peer, signed all the same: what whoever holds the authority can do.
    #[cfg(test)]
    pub(crate) fn rekeyed(&self, identity: &Identity) -> Result<Identity, IdentityError> {
        let mut other = identity.clone();
        other.private_key_pem = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem();
        let day = Duration::from_secs(86_400);
        self.renew(&other, SystemTime::now(), day)
    }

    pub(super) fn sign(
        &self,
        peer: &PeerId,
        key: &KeyPair,
        issued_at: SystemTime,
        validity: Duration,
    ) -> Result<String, IdentityError> {
        self.sign_params(leaf_params(peer, issued_at, validity)?, key)
    }

    pub(super) fn sign_params(
        &self,
        params: CertificateParams,
        key: &KeyPair,
    ) -> Result<String, IdentityError> {
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, &self.key)?;
        Ok(params.signed_by(key, &issuer)?.pem())
    }

    pub(super) fn identity(&self, mut parts: Parts) -> Result<Identity, IdentityError> {
        parts.authority_pem.clone_from(&self.certificate_pem);
        Identity::checked(parts).map_err(|reason| IdentityError::Plan { reason })
    }
}

pub(super) fn leaf_params(
    peer: &PeerId,
    issued_at: SystemTime,
    validity: Duration,
) -> Result<CertificateParams, IdentityError> {
    let mut params = params(&peer.to_string(), issued_at, validity)?;
    params.subject_alt_names = vec![SanType::URI(peer.uri().try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn params(
    common_name: &str,
    issued_at: SystemTime,
    validity: Duration,
) -> Result<CertificateParams, IdentityError> {
    let out_of_range =
        || IdentityError::Plan { reason: "the dates of a certificate are out of range".to_owned() };
    let mut params = CertificateParams::default();
    params.not_before = issued_at.checked_sub(CLOCK_SKEW).ok_or_else(out_of_range)?.into();
    params.not_after = issued_at.checked_add(validity).ok_or_else(out_of_range)?.into();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

/// The first PEM section of this label, with its markers.
fn pem_section(text: &str, label: &str) -> Option<String> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let from = text.find(&begin)?;
    let length = text.get(from..)?.find(&end)? + end.len();
    Some(format!("{}\n", text.get(from..from + length)?))
}

/// Never shows the private key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("certificate", &self.certificate_pem).finish_non_exhaustive()
    }
}
