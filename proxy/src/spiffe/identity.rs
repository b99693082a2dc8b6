//! What a Workload API gives, ready for TLS: our certificate with its key, and the authorities of each trust domain. It takes a message
//! whole or refuses it whole, and shows no key.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ravelin_config::spiffe::{NameError, SpiffeId, TrustDomain};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::message::{self, MessageError};

/// Who we are and whom we trust.
pub(super) struct Identity {
    pub(super) id: SpiffeId,
    pub(super) key: Arc<CertifiedKey>,
    /// When the certificate ends, in words.
    pub(super) ends: String,
    authorities: BTreeMap<TrustDomain, Arc<RootCertStore>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// Why a message gives no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum IdentityError {
    /// Bytes that are no such message.
    #[error("its message cannot be read: {0}")]
    Message(#[from] MessageError),
    /// A message without any.
    #[error("its message holds no identity")]
    None,
    /// A certificate, key or name that cannot be used.
    #[error("{what} cannot be used: {reason}")]
    Part {
        /// Which part of the message.
        what: String,
        /// Why not.
        reason: String,
    },
}

/// Why a certificate names no workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WhoError {
    /// Bytes that are no certificate.
    #[error("it is no certificate")]
    Form,
    /// None, or more than one.
    #[error("it has {0} URIs in place of the one that is its SPIFFE ID")]
    Count(usize),
    /// A URI that is no ID.
    #[error("its URI is no SPIFFE ID: {0}")]
    Name(#[from] NameError),
    /// It may sign others.
    #[error("it is that of an authority, not of a workload")]
    Authority,
}

/// Whom a certificate names, if it is one of a workload as the standard wants it.
pub(super) fn who(certificate: &CertificateDer<'_>) -> Result<SpiffeId, WhoError> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| WhoError::Form)?;
    let signs = certificate
        .key_usage()
        .map_err(|_| WhoError::Form)?
        .is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign());
    if certificate.is_ca() || signs {
        return Err(WhoError::Authority);
    }
    let names = certificate.subject_alternative_name().map_err(|_| WhoError::Form)?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let uris: Vec<&str> = names
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    match uris.as_slice() {
        [uri] => Ok(uri.parse()?),
        uris => Err(WhoError::Count(uris.len())),
    }
}

impl Identity {
    /// The identity that a message gives first, and everything it says of authorities.
    pub(super) fn read(bytes: &[u8], provider: &CryptoProvider) -> Result<Self, IdentityError> {
        let response = message::read(bytes)?;
        let svid = response.svids.first().ok_or(IdentityError::None)?;
        let part = |what: &str| {
            let what = what.to_owned();
            move |reason: &dyn fmt::Display| IdentityError::Part { what, reason: reason.to_string() }
        };
        let chain = certificates(svid.chain).map_err(|error| part("the chain of certificates")(&error))?;
        let own = chain.first().ok_or_else(|| part("the chain of certificates")(&"it is empty"))?;
        let id = who(own).map_err(|error| part("the certificate")(&error))?;
        if id.to_string() != svid.id {
            return Err(part("the certificate")(&format_args!("it is that of {id}, not of {:?}", svid.id)));
        }
        let ends = X509Certificate::from_der(own)
            .map_or_else(|_| String::new(), |(_, own)| own.validity().not_after.to_string());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(svid.key)).clone_key();
        let key =
            CertifiedKey::from_der(chain, key, provider).map_err(|error| part("the private key")(&error))?;
        let mut authorities = BTreeMap::new();
        let own = response.svids.iter().map(|svid| (svid.id, svid.bundle));
        for (name, bundle) in response.federated.iter().copied().chain(own) {
            let told = part(&format!("the bundle of {name:?}"));
            let domain: TrustDomain = match name.parse() {
                Ok(domain) => domain,
                Err(error) => return Err(told(&error)),
            };
            match roots(bundle) {
                Ok(roots) => drop(authorities.insert(domain, Arc::new(roots))),
                Err(error) => return Err(told(&error)),
            }
        }
        Ok(Self { id, key: Arc::new(key), ends, authorities })
    }

    /// Who speaks for the workloads of a trust domain.
    pub(super) fn authorities(&self, domain: &TrustDomain) -> Option<&Arc<RootCertStore>> {
        self.authorities.get(domain)
    }
}

fn roots(bundle: &[u8]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(bundle)? {
        store.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(store)
}

/// Certificates in DER that stand one behind the other.
fn certificates(mut bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (rest, _) = X509Certificate::from_der(bytes)
            .map_err(|_| format!("what stands behind {} certificates is none", found.len()))?;
        let (own, rest) = bytes.split_at(bytes.len() - rest.len());
        found.push(CertificateDer::from(own.to_vec()));
        bytes = rest;
    }
    Ok(found)
}
