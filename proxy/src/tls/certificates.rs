//! Certificates with their keys, and which of them a client gets. A name has its own certificate, that of the wildcard
//! above it, or the default one.

use std::collections::BTreeMap;
use std::sync::Arc;

use ravelin_config::dynamic::TlsCertificate;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The name in the certificate made up for names without one, as users know it from Traefik.
const GENERATED_NAME: &str = "TRAEFIK DEFAULT CERT";

/// Why a TLS object cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate, or no key, in PEM.
    #[error("neither certificate nor key can be read from its text")]
    Pem,
    /// The key is not the certificate's, or of an unknown kind.
    #[error("certificate and key cannot be used")]
    Key(#[source] rustls::Error),
    /// The leaf is no X.509 certificate.
    #[error("the certificate cannot be read")]
    Certificate,
    /// No protocol version, suite or group is left.
    #[error("the options leave nothing to negotiate")]
    Nothing,
    /// A name that this build does not know.
    #[error("unknown {kind} {name:?}")]
    Unknown {
        /// Of what.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The authorities for client certificates are missing or unusable.
    #[error("client certificates cannot be verified with the given authorities")]
    Authorities,
    /// The library refused.
    #[error("the TLS library refused")]
    Library(#[source] rustls::Error),
}

/// A certificate ready to be served.
#[derive(Debug)]
pub struct Loaded {
    key: Arc<CertifiedKey>,
    /// The names it is for, lower case; `*.` stands for one label.
    names: Vec<Box<str>>,
}

impl Loaded {
    /// Reads chain and key from PEM text.
    ///
    /// # Errors
    /// Either cannot be read, or they do not belong together.
    pub fn load(source: &TlsCertificate) -> Result<Self, TlsError> {
        let chain: Result<Vec<CertificateDer<'static>>, _> =
            CertificateDer::pem_slice_iter(source.cert_file.as_bytes()).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(TlsError::Pem)?;
        let key = PrivateKeyDer::from_pem_slice(source.key_file.as_bytes()).map_err(|_| TlsError::Pem)?;
        Self::new(chain, key)
    }

    /// Whether this is its key.
    pub(super) fn is(&self, key: &Arc<CertifiedKey>) -> bool {
        Arc::ptr_eq(&self.key, key)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        let leaf = chain.first().ok_or(TlsError::Pem)?;
        let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|_| TlsError::Certificate)?;
        let mut names: Vec<Box<str>> =
            leaf.valid_dns_names().map(|name| name.to_ascii_lowercase().into()).collect();
        if let Some(common) = common_name(&chain).filter(|common| !names.contains(common)) {
            names.push(common);
        }
        let key =
            CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(TlsError::Key)?;
        Ok(Self { key: Arc::new(key), names })
    }
}

/// The name that old certificates bear in their subject alone: Traefik serves them for it.
fn common_name(chain: &[CertificateDer<'_>]) -> Option<Box<str>> {
    let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
    let common = leaf.subject().iter_common_name().last()?.as_str().ok()?;
    Some(common.to_ascii_lowercase().into())
}

/// Makes a certificate for names that have none: nobody can trust it, but a handshake can end.
///
/// # Errors
/// The random source fails.
pub fn generated_default() -> Result<Arc<Loaded>, TlsError> {
    let generate = || {
        let key = rcgen::KeyPair::generate()?;
        let [first, second] = rand::random::<[u128; 2]>();
        let own_name = format!("{first:032x}.{second:032x}.traefik.default");
        let mut parameters = rcgen::CertificateParams::new(vec![own_name])?;
        let mut name = rcgen::DistinguishedName::new();
        name.push(rcgen::DnType::CommonName, GENERATED_NAME);
        parameters.distinguished_name = name;
        let certificate = parameters.self_signed(&key)?;
        Ok::<_, rcgen::Error>((certificate.der().clone(), key.serialize_der()))
    };
    let (certificate, key) = generate().map_err(|_| TlsError::Certificate)?;
    Loaded::new(vec![certificate], PrivatePkcs8KeyDer::from(key).into()).map(Arc::new)
}

/// The certificates of a generation by name.
#[derive(Debug)]
pub(super) struct Certificates {
    by_name: BTreeMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    default: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    pub(super) fn new<'a>(
        loaded: impl Iterator<Item = &'a Arc<Loaded>>,
        default: Option<Arc<Loaded>>,
    ) -> Self {
        let mut by_name: BTreeMap<Box<str>, Vec<_>> = BTreeMap::new();
        for certificate in loaded {
            for name in &certificate.names {
                by_name.entry(name.clone()).or_default().push(Arc::clone(&certificate.key));
            }
        }
        Self { by_name, default: default.map(|default| Arc::clone(&default.key)) }
    }

    /// Each certificate once.
    pub(super) fn all(&self) -> Vec<&Arc<CertifiedKey>> {
        let mut all: Vec<&Arc<CertifiedKey>> = self.by_name.values().flatten().chain(&self.default).collect();
        all.sort_unstable_by_key(|key| Arc::as_ptr(key));
        all.dedup_by_key(|key| Arc::as_ptr(key));
        all
    }

    /// The certificates of a name (lower case), best first.
    pub(super) fn of(&self, name: &str) -> &[Arc<CertifiedKey>] {
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(format!("*.{parent}").as_str())
        };
        self.by_name.get(name).or_else(wildcard).map_or(&[], Vec::as_slice)
    }
}

/// Chooses a certificate for each handshake under one set of options.
#[derive(Debug)]
pub(super) struct Resolver {
    certificates: Arc<Certificates>,
    /// Only names with a certificate of their own are served.
    strict: bool,
}

impl Resolver {
    pub(super) fn new(certificates: Arc<Certificates>, strict: bool) -> Self {
        Self { certificates, strict }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let own = hello.server_name().map(canonical_name);
        let own = own.as_deref().map_or(&[][..], |name| self.certificates.of(name));
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        match own.iter().find(fits).or_else(|| own.first()) {
            Some(key) => Some(Arc::clone(key)),
            None if self.strict => None,
            None => self.certificates.default.clone(),
        }
    }
}

/// A server name as it is compared everywhere.
pub(crate) fn canonical_name(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn loaded(common: &str, names: &[&str]) -> Arc<Loaded> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common);
        let key = KeyPair::generate().expect("a key");
        let cert_file = params.self_signed(&key).expect("a certificate").pem();
        let source = TlsCertificate { cert_file, key_file: key.serialize_pem(), stores: Vec::new() };
        Arc::new(Loaded::load(&source).expect("chain and key"))
    }

    #[test]
    fn a_certificate_is_for_its_names_and_for_the_one_in_its_subject() {
        let old = loaded("Old.Test", &[]);
        let wild = loaded("*.Wild.test", &["One.test"]);
        let certificates = Certificates::new([&old, &wild].into_iter(), None);
        let count = |name: &str| certificates.of(name).len();
        assert_eq!((count("old.test"), count("one.test"), count("a.wild.test")), (1, 1, 1));
        assert_eq!((count("other.test"), count("a.b.wild.test"), count("wild.test")), (0, 0, 0));
        assert_eq!(loaded("one.test", &["one.test"]).names.len(), 1, "named once");
    }
}
