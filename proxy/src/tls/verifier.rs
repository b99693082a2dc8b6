//! What is asked of a client's certificate, by Go's five words for it.

use std::sync::Arc;

use ravelin_config::dynamic::ClientAuth;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::certificates::TlsError;

/// Go's word for asking nothing.
const NONE: &str = "NoClientCert";

/// The verifier for these options. `None`: no client certificate is asked for.
///
/// # Errors
/// Authorities that cannot be read, or are missing where certificates are to be verified.
pub(super) fn client_verifier(
    options: Option<&ClientAuth>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let Some(options) = options else { return Ok(None) };
    let presented = |mandatory| {
        let verifier = Presented { provider: Arc::clone(provider), mandatory };
        Ok(Some(Arc::new(verifier) as Arc<dyn ClientCertVerifier>))
    };
    match kind(options) {
        NONE => Ok(None),
        "RequestClientCert" => presented(false),
        "RequireAnyClientCert" => presented(true),
        "VerifyClientCertIfGiven" => verified(options, provider, false).map(Some),
        "RequireAndVerifyClientCert" => verified(options, provider, true).map(Some),
        name => Err(TlsError::Unknown { kind: "client authentication type", name: name.to_owned() }),
    }
}

/// The word for what is asked; without one the authorities tell.
fn kind(options: &ClientAuth) -> &str {
    match options.client_auth_type.as_str() {
        "" if options.ca_files.is_empty() => NONE,
        "" => "RequireAndVerifyClientCert",
        kind => kind,
    }
}

/// What is asked of clients as bytes that are equal where it is: the word for it, and whom certificates are verified against.
///
/// # Errors
/// Authorities that cannot be read.
pub(super) fn demands(options: Option<&ClientAuth>) -> Result<Vec<Vec<u8>>, TlsError> {
    let kind = options.map_or(NONE, kind);
    let mut demands = vec![kind.as_bytes().to_vec()];
    if let Some(options) = options.filter(|_| kind.contains("Verify")) {
        let mut known: Vec<Vec<u8>> = authorities(options)?.iter().map(|der| der.to_vec()).collect();
        known.sort_unstable();
        known.dedup();
        demands.extend(known);
    }
    Ok(demands)
}

fn authorities(options: &ClientAuth) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let texts = options.ca_files.iter();
    let certificates = texts.flat_map(|text| CertificateDer::pem_slice_iter(text.as_bytes()));
    certificates.collect::<Result<_, _>>().map_err(|_| TlsError::Authorities)
}

fn verified(
    options: &ClientAuth,
    provider: &Arc<CryptoProvider>,
    mandatory: bool,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities(options)? {
        roots.add(certificate).map_err(|_| TlsError::Authorities)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if mandatory { builder } else { builder.allow_unauthenticated() };
    let verifier: Arc<dyn ClientCertVerifier> = builder.build().map_err(|_| TlsError::Authorities)?;
    Ok(verifier)
}

/// Takes any certificate whose key the client proves to hold: whom it names is for others to judge.
#[derive(Debug)]
struct Presented {
    provider: Arc<CryptoProvider>,
    mandatory: bool,
}

impl ClientCertVerifier for Presented {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
