//! TLS towards servers: roots, client certificates, versions, cipher suites. It verifies by default; only
//! `insecureSkipVerify` turns that off.

use std::sync::{Arc, OnceLock};

use ravelin_config::dynamic::{ServersTransport, TransportCertificate};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::TransportError;
use super::identity::{OfUri, OwnCertificates};
use crate::spiffe::{Source, client_config};

/// The configuration that offers HTTP/2 (unless off) and HTTP/1.1, and the one for HTTP/1.1 only.
pub(super) fn client_configs(
    config: &ServersTransport,
    workload: Option<&Arc<Source>>,
) -> Result<(Arc<ClientConfig>, Arc<ClientConfig>), TransportError> {
    let mut client = match (&config.spiffe, workload) {
        (None, _) => of_options(config)?,
        (Some(_), _) if config.has_own_tls() => return Err(TransportError::BesideTls),
        // Never the usual TLS in its place, which would take others for the servers.
        (Some(_), None) => return Err(TransportError::NoWorkload),
        (Some(spiffe), Some(workload)) => client_config(spiffe, workload)?,
    };
    // Without HTTP/2 nothing is offered, as Go's client does: HTTP/1.1 needs no ALPN.
    let http1 = Arc::new(client.clone());
    if !config.disable_http2 {
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    Ok((Arc::new(client), http1))
}

/// TLS by the options of the transport alone.
fn of_options(config: &ServersTransport) -> Result<ClientConfig, TransportError> {
    let provider = Arc::new(provider(&config.cipher_suites)?);
    let versions = versions(config)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| TransportError::Tls(error.to_string()))?;
    let tls_error = |error: &dyn std::error::Error| TransportError::Tls(error.to_string());
    let builder = if !config.peer_cert_uri.is_empty() {
        let roots = Arc::new(roots(&config.root_cas)?);
        let verifier = OfUri::new(&config.peer_cert_uri, roots, &provider, !config.insecure_skip_verify)
            .map_err(|error| tls_error(&error))?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    } else if config.insecure_skip_verify {
        let verifier = Unverified(provider.signature_verification_algorithms);
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    } else {
        builder.with_root_certificates(roots(&config.root_cas)?)
    };
    Ok(if config.certificates.is_empty() {
        builder.with_no_client_auth()
    } else {
        let keys = config.certificates.iter().map(|pair| own_key(pair, &provider));
        let own = OwnCertificates::new(keys.collect::<Result<_, _>>()?);
        builder.with_client_cert_resolver(Arc::new(own))
    })
}

/// A certificate chain of ours with its key.
fn own_key(pair: &TransportCertificate, provider: &CryptoProvider) -> Result<CertifiedKey, TransportError> {
    let chain = certificates(&read_pem("certFile", &pair.cert_file)?, "certFile")?;
    let key = PrivateKeyDer::from_pem_slice(&read_pem("keyFile", &pair.key_file)?)
        .map_err(|error| TransportError::Pem { what: "keyFile", cause: error.to_string() })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| TransportError::Tls(error.to_string()))
}

#[cfg(test)]
pub(super) fn without_roots() -> (Arc<ClientConfig>, Arc<ClientConfig>) {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the default versions are supported")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let config = Arc::new(config);
    (Arc::clone(&config), config)
}

/// A value is either PEM itself or the name of a file that holds it, as in Traefik.
fn read_pem(what: &'static str, value: &str) -> Result<Vec<u8>, TransportError> {
    if value.trim_start().starts_with("-----BEGIN") {
        return Ok(value.as_bytes().to_vec());
    }
    std::fs::read(value).map_err(|error| TransportError::Pem { what, cause: format!("{value}: {error}") })
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| TransportError::Pem { what, cause: error.to_string() })?;
    if chain.is_empty() {
        return Err(TransportError::Pem { what, cause: "no certificate in it".to_owned() });
    }
    Ok(chain)
}

fn roots(configured: &[String]) -> Result<RootCertStore, TransportError> {
    if configured.is_empty() {
        return Ok(system_roots().clone());
    }
    let mut store = RootCertStore::empty();
    for value in configured {
        for certificate in certificates(&read_pem("rootCAs", value)?, "rootCAs")? {
            store
                .add(certificate)
                .map_err(|error| TransportError::Pem { what: "rootCAs", cause: error.to_string() })?;
        }
    }
    Ok(store)
}

/// The system's roots, read once: `SSL_CERT_FILE`, else where the distributions keep them. None found means that no server
/// certificate is trusted, which fails closed.
fn system_roots() -> &'static RootCertStore {
    const PLACES: [&str; 4] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut store = RootCertStore::empty();
        let own = std::env::var("SSL_CERT_FILE").ok();
        let pem = own.iter().map(String::as_str).chain(PLACES).find_map(|place| std::fs::read(place).ok());
        if let Some(pem) = pem {
            store.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        }
        store
    })
}

fn versions(config: &ServersTransport) -> Result<Vec<&'static SupportedProtocolVersion>, TransportError> {
    let number = |text: &str, unset: u8| match text {
        "" => Ok(unset),
        "VersionTLS10" => Ok(10),
        "VersionTLS11" => Ok(11),
        "VersionTLS12" => Ok(12),
        "VersionTLS13" => Ok(13),
        other => Err(TransportError::Tls(format!("unknown TLS version {other:?}"))),
    };
    let (min, max) = (number(&config.min_version, 12)?, number(&config.max_version, 13)?);
    let all = [(12, &rustls::version::TLS12), (13, &rustls::version::TLS13)];
    let versions: Vec<_> =
        all.iter().filter(|(n, _)| (min..=max).contains(n)).map(|(_, version)| *version).collect();
    if versions.is_empty() {
        return Err(TransportError::Tls(
            "minVersion and maxVersion leave neither TLS 1.2 nor TLS 1.3".to_owned(),
        ));
    }
    Ok(versions)
}

/// Restricts the TLS 1.2 suites to those named; those of TLS 1.3 cannot be chosen, as in Go.
fn provider(suites: &[String]) -> Result<CryptoProvider, TransportError> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if suites.is_empty() {
        return Ok(provider);
    }
    let known: Vec<String> = provider.cipher_suites.iter().map(|suite| iana_name(*suite)).collect();
    for name in suites {
        if !known.iter().any(|known| same_suite(known, name)) {
            return Err(TransportError::Tls(format!("unknown or unsupported cipher suite {name:?}")));
        }
    }
    provider.cipher_suites.retain(|suite| {
        suite.tls13().is_some() || suites.iter().any(|name| same_suite(&iana_name(*suite), name))
    });
    Ok(provider)
}

fn iana_name(suite: rustls::SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or_default().replace("TLS13_", "TLS_")
}

/// Go names the ChaCha20 suites with and without the hash.
fn same_suite(known: &str, name: &str) -> bool {
    known == name || (name.ends_with("CHACHA20_POLY1305") && known.strip_suffix("_SHA256") == Some(name))
}

/// Takes any certificate, but still checks that the server holds its key.
#[derive(Debug)]
struct Unverified(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_a_range_with_open_ends() {
        let count = |min: &str, max: &str| {
            let config = ServersTransport {
                min_version: min.into(),
                max_version: max.into(),
                ..ServersTransport::default()
            };
            versions(&config).map(|versions| versions.len())
        };
        assert_eq!(count("", "").ok(), Some(2));
        assert_eq!(count("VersionTLS13", "").ok(), Some(1), "an unset maximum is no limit");
        assert_eq!(count("", "VersionTLS12").ok(), Some(1));
        assert_eq!(count("VersionTLS10", "VersionTLS12").ok(), Some(1));
        assert!(count("VersionTLS13", "VersionTLS12").is_err());
        assert!(count("", "VersionTLS99").is_err());
    }

    #[test]
    fn cipher_suites_go_by_their_iana_names() {
        let named = |name: &str| provider(&[name.to_owned()]).map(|provider| provider.cipher_suites.len());
        assert_eq!(
            named("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384").ok(),
            Some(4),
            "one and the three of TLS 1.3"
        );
        assert!(named("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305").is_ok());
        assert!(matches!(named("TLS_NOT_A_CIPHER"), Err(TransportError::Tls(_))));
    }

    #[test]
    fn unreadable_pem_is_an_error_that_names_its_option() {
        let config =
            ServersTransport { root_cas: vec!["/nowhere/ca.pem".into()], ..ServersTransport::default() };
        let error = client_configs(&config, None).expect_err("no such file").to_string();
        assert!(error.starts_with("rootCAs cannot be read: /nowhere/ca.pem"), "{error}");
        let config = ServersTransport {
            root_cas: vec!["-----BEGIN NOTHING-----".into()],
            ..ServersTransport::default()
        };
        assert!(client_configs(&config, None).is_err());
    }

    #[test]
    fn http2_is_offered_unless_it_is_off() {
        let (both, one) = client_configs(&ServersTransport::default(), None).expect("defaults are good");
        assert_eq!(both.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert!(one.alpn_protocols.is_empty());
        let config = ServersTransport { disable_http2: true, ..ServersTransport::default() };
        assert!(client_configs(&config, None).expect("good").0.alpn_protocols.is_empty());
    }
}
