//! The TLS of both ends, and the verifier that asks [`Trust`] and remembers its verdict for the one connection that it serves.
//!
//! It must stay without choice: TLS 1.3, mutual, one provider named explicitly, nothing remembered between connections.

use crate::certificate::{Trust, Usage, Verified};
use crate::error::{Refusal, TransportError};
use crate::identity::Identity;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::{Arc, OnceLock};

/// QUIC asks for a server name; it is neither sent nor looked at. Peers are named by the URI in their certificates.
pub(super) const SERVER_NAME: &str = "peer.ravelin.invalid";

/// The protocol's name and version in the handshake: another version is refused before anything else is said.
const ALPN: &[u8] = b"ravelin/1";

/// What the verifier of one handshake decided; empty until a certificate was presented.
pub(super) type Verdict = Arc<OnceLock<Result<Verified, Refusal>>>;

/// Certificates and trust of this node, ready for handshakes.
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    credentials: Arc<SingleCertAndKey>,
    trust: Arc<Trust>,
    server_template: Arc<QuicServerConfig>,
}

impl Tls {
    pub(super) fn new(identity: &Identity, trust: Trust) -> Result<Self, TransportError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = vec![identity.certificate().clone()];
        let certified =
            CertifiedKey::from_der(chain, identity.private_key().into(), &provider).map_err(unusable)?;
        let credentials = Arc::new(SingleCertAndKey::from(certified));
        let trust = Arc::new(trust);
        let server_template = server(&provider, &credentials, &trust, &Verdict::default())?;
        Ok(Self { provider, credentials, trust, server_template })
    }

    /// For the endpoint as a whole, whose handshakes are all run with [`Tls::server`] instead.
    pub(super) fn server_template(&self) -> Arc<QuicServerConfig> {
        Arc::clone(&self.server_template)
    }

    /// For one accepted connection.
    pub(super) fn server(&self, verdict: &Verdict) -> Result<Arc<QuicServerConfig>, TransportError> {
        server(&self.provider, &self.credentials, &self.trust, verdict)
    }

    /// What is believed here.
    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// For one dialled connection.
    pub(super) fn client(&self, verdict: &Verdict) -> Result<Arc<QuicClientConfig>, TransportError> {
        Ok(Arc::new(self.client_config(verdict)?.try_into().map_err(unusable)?))
    }

    pub(super) fn client_config(&self, verdict: &Verdict) -> Result<ClientConfig, TransportError> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(verifier(&self.provider, &self.trust, verdict))
            .with_client_cert_resolver(Arc::clone(&self.credentials) as _);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        Ok(config)
    }
}

fn server(
    provider: &Arc<CryptoProvider>,
    credentials: &Arc<SingleCertAndKey>,
    trust: &Arc<Trust>,
    verdict: &Verdict,
) -> Result<Arc<QuicServerConfig>, TransportError> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(verifier(provider, trust, verdict))
        .with_cert_resolver(Arc::clone(credentials) as _);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config.try_into().map_err(unusable)?))
}

fn verifier(provider: &Arc<CryptoProvider>, trust: &Arc<Trust>, verdict: &Verdict) -> Arc<Verifier> {
    Arc::new(Verifier {
        provider: Arc::clone(provider),
        trust: Arc::clone(trust),
        verdict: Arc::clone(verdict),
    })
}

fn unusable(error: impl std::fmt::Display) -> TransportError {
    TransportError::Credentials { reason: error.to_string() }
}

#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    trust: Arc<Trust>,
    verdict: Verdict,
}

impl Verifier {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: Usage,
    ) -> Result<(), rustls::Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let judged = self.trust.verify(leaf, intermediates, now, usage, algorithms);
        match self.verdict.get_or_init(|| judged) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(alert(refusal)),
        }
    }
}

/// The error whose TLS alert the peer's [`super::wire`] understands as this refusal.
fn alert(refusal: &Refusal) -> rustls::Error {
    rustls::Error::InvalidCertificate(match refusal {
        Refusal::WrongCluster { .. } => CertificateError::UnknownIssuer,
        Refusal::Expired => CertificateError::Expired,
        Refusal::NotYetValid => CertificateError::NotValidYet,
        Refusal::WrongKey { .. } => CertificateError::ApplicationVerificationFailure,
        Refusal::WrongRole { .. }
        | Refusal::NoLanes { .. }
        | Refusal::WrongNode { .. }
        | Refusal::Certificate { .. }
        | Refusal::Crowded { .. }
        | Refusal::Removed { .. }
        | Refusal::NotAMember { .. }
        | Refusal::Version { .. } => CertificateError::BadEncoding,
    })
}

/// What both of rustls's traits ask in the same words, so that the two ends cannot differ.
macro_rules! tls13_only {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("only TLS 1.3 is spoken here".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(end_entity, intermediates, now, Usage::Server).map(|()| ServerCertVerified::assertion())
    }

    tls13_only!();
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(end_entity, intermediates, now, Usage::Client).map(|()| ClientCertVerified::assertion())
    }

    tls13_only!();
}
