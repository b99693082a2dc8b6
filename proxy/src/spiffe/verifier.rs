//! TLS towards servers by SPIFFE: our identity is what the Workload API gave last, and a server is judged by the authorities of its own
//! trust domain and by its ID. The name of its host does not count. It keeps no session: each handshake asks anew.

use std::sync::Arc;

use ravelin_config::dynamic::Spiffe;
use ravelin_config::spiffe::{NameError, SpiffeId, TrustDomain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::Source;
use super::identity::{WhoError, who};

/// Options that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// An ID that is none.
    #[error("spiffe.ids: {id:?}: {error}")]
    Id {
        /// As it is written.
        id: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// A trust domain that is none.
    #[error("spiffe.trustDomain: {domain:?}: {error}")]
    Domain {
        /// As it is written.
        domain: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// TLS cannot be had.
    #[error("{0}")]
    Tls(String),
}

/// Why a server is not taken.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// Nothing was given by the Workload API yet.
    #[error("no identity came yet from the Workload API")]
    NoIdentity,
    /// A certificate that names no workload.
    #[error("the server's certificate is none of a workload: {0}")]
    Who(WhoError),
    /// Nobody known speaks for its trust domain.
    #[error(
        "the server is {0}, and the Workload API gives no authority of its trust domain: federate with it there"
    )]
    Stranger(SpiffeId),
    /// A known trust domain's name, but not signed by it.
    #[error("the server says to be {id}, which no authority of its trust domain confirms: {error}")]
    Unsigned {
        /// Who it says to be.
        id: SpiffeId,
        /// What is wrong with its certificate.
        error: Error,
    },
    /// Somebody else.
    #[error("the server is {0}, which is none of those that `spiffe` allows")]
    Other(SpiffeId),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Other(OtherError(Arc::new(refused)))
    }
}

/// Which servers are taken.
#[derive(Debug)]
enum Allowed {
    OneOf(Vec<SpiffeId>),
    MemberOf(TrustDomain),
    Any,
}

impl Allowed {
    fn read(option: &Spiffe) -> Result<Self, SpiffeError> {
        if !option.ids.is_empty() {
            let id = |id: &String| id.parse().map_err(|error| SpiffeError::Id { id: id.clone(), error });
            return Ok(Self::OneOf(option.ids.iter().map(id).collect::<Result<_, _>>()?));
        }
        if option.trust_domain.is_empty() {
            return Ok(Self::Any);
        }
        let domain = option.trust_domain.parse();
        let wrong = |error| SpiffeError::Domain { domain: option.trust_domain.clone(), error };
        domain.map(Self::MemberOf).map_err(wrong)
    }

    fn allow(&self, id: &SpiffeId) -> bool {
        match self {
            Self::OneOf(ids) => ids.contains(id),
            Self::MemberOf(domain) => id.domain() == domain,
            Self::Any => true,
        }
    }
}

/// TLS that offers no protocol yet. What the source gives later counts from the next handshake on.
///
/// # Errors
/// [`SpiffeError`].
pub(crate) fn client_config(option: &Spiffe, source: &Arc<Source>) -> Result<ClientConfig, SpiffeError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let servers = Servers {
        source: Arc::clone(source),
        allowed: Allowed::read(option)?,
        provider: Arc::clone(&provider),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SpiffeError::Tls(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(servers))
        .with_client_cert_resolver(Arc::new(Own(Arc::clone(source))));
    // A resumed session would go by what was known when it began.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// What is shown to servers, whichever authorities they name: there is only one.
#[derive(Debug)]
struct Own(Arc<Source>);

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let key = Arc::clone(&self.0.current()?.key);
        key.key.choose_scheme(schemes).is_some().then_some(key)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Who is taken for a server.
#[derive(Debug)]
struct Servers {
    source: Arc<Source>,
    allowed: Allowed,
    provider: Arc<CryptoProvider>,
}

impl Servers {
    fn judge(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refused> {
        let identity = self.source.current().ok_or(Refused::NoIdentity)?;
        let id = who(own).map_err(Refused::Who)?;
        let Some(roots) = identity.authorities(id.domain()) else { return Err(Refused::Stranger(id)) };
        let algorithms = self.provider.signature_verification_algorithms.all;
        let signed = ParsedCertificate::try_from(own).and_then(|own| {
            verify_server_cert_signed_by_trust_anchor(&own, roots, intermediates, now, algorithms)
        });
        match signed {
            Err(error) => Err(Refused::Unsigned { id, error }),
            Ok(()) if self.allowed.allow(&id) => Ok(()),
            Ok(()) => Err(Refused::Other(id)),
        }
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(own, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
