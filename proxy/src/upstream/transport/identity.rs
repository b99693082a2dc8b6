//! Who a server is and who we say to be: the URI that a server's certificate must carry, and which of our certificates is shown to a
//! server that asks for one. It opens no connection.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Our certificates, of which a server gets the first that it can take.
#[derive(Debug)]
pub(super) struct OwnCertificates(Vec<Own>);

#[derive(Debug)]
struct Own {
    key: Arc<CertifiedKey>,
    /// Who has signed the certificates of the chain, as names in DER.
    issuers: Vec<Vec<u8>>,
}

impl OwnCertificates {
    pub(super) fn new(keys: Vec<CertifiedKey>) -> Self {
        let issuer = |der: &CertificateDer<'_>| {
            X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate.issuer().as_raw().to_vec())
        };
        let own = |key: CertifiedKey| Own {
            issuers: key.cert.iter().filter_map(issuer).collect(),
            key: Arc::new(key),
        };
        Self(keys.into_iter().map(own).collect())
    }
}

impl ResolvesClientCert for OwnCertificates {
    fn resolve(&self, authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let suits = |own: &&Own| {
            let known = authorities.is_empty()
                || own.issuers.iter().any(|issuer| authorities.contains(&issuer.as_slice()));
            known && own.key.key.choose_scheme(schemes).is_some()
        };
        self.0.iter().find(suits).map(|own| Arc::clone(&own.key))
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Takes a server only if its certificate is signed by a known authority and carries a URI; its host's name too, unless that is off.
#[derive(Debug)]
pub(super) struct OfUri {
    uri: Box<str>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    /// `None`: the name does not count.
    by_name: Option<Arc<WebPkiServerVerifier>>,
}

impl OfUri {
    /// Where there are no roots at all, nobody is taken.
    ///
    /// # Errors
    /// Roots that cannot be used.
    pub(super) fn new(
        uri: &str,
        roots: Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
        checks_name: bool,
    ) -> Result<Self, rustls::client::VerifierBuilderError> {
        let build =
            || WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider)).build();
        let by_name = (checks_name && !roots.is_empty()).then(build).transpose()?;
        Ok(Self { uri: uri.into(), roots, provider: Arc::clone(provider), by_name })
    }
}

/// Whether a certificate carries the URI among its names, letter by letter.
fn carries(certificate: &CertificateDer<'_>, uri: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|name| matches!(name, GeneralName::URI(known) if *known == uri))
}

impl ServerCertVerifier for OfUri {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.by_name {
            Some(verifier) => {
                verifier.verify_server_cert(own, intermediates, name, ocsp, now)?;
            }
            None => verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(own)?,
                &self.roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?,
        }
        if carries(own, &self.uri) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
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

#[cfg(test)]
mod tests {
    use ravelin_config::dynamic::{ServersTransport, TransportCertificate};
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
    use rustls::crypto::aws_lc_rs;
    use rustls::server::WebPkiClientVerifier;
    use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
    use rustls_pki_types::PrivatePkcs8KeyDer;

    use super::super::tls::client_configs;
    use super::*;

    struct Authority {
        pem: String,
        der: CertificateDer<'static>,
        issuer: Issuer<'static, KeyPair>,
    }

    fn authority(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("random bytes");
        let certificate = params.self_signed(&key).expect("an authority");
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Authority { pem, der, issuer: Issuer::new(params, key) }
    }

    impl Authority {
        fn sign(&self, host: &str, uri: Option<&str>) -> (rcgen::Certificate, KeyPair) {
            let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
            let uri = uri.map(|uri| SanType::URI(uri.try_into().expect("ASCII")));
            params.subject_alt_names.extend(uri);
            let key = KeyPair::generate().expect("random bytes");
            (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
        }

        fn own(&self, host: &str) -> (TransportCertificate, CertificateDer<'static>) {
            let (certificate, key) = self.sign(host, None);
            let pair = TransportCertificate { cert_file: certificate.pem(), key_file: key.serialize_pem() };
            (pair, certificate.der().clone())
        }

        /// A server with a certificate of this authority, which takes clients of those others.
        fn server(&self, uri: Option<&str>, clients: &[&Self]) -> ServerConfig {
            let (certificate, key) = self.sign("server.test", uri);
            let provider = Arc::new(aws_lc_rs::default_provider());
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .expect("versions");
            let mut roots = RootCertStore::empty();
            for client in clients {
                roots.add(client.der.clone()).expect("an authority");
            }
            let builder = if clients.is_empty() {
                builder.with_no_client_auth()
            } else {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .allow_unauthenticated();
                builder.with_client_cert_verifier(verifier.build().expect("authorities"))
            };
            let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
            builder.with_single_cert(vec![certificate.der().clone()], key).expect("a pair")
        }
    }

    /// A whole handshake without a socket: the certificate that the client has shown.
    fn handshake(
        client: &Arc<ClientConfig>,
        server: ServerConfig,
        name: &'static str,
    ) -> Result<Option<CertificateDer<'static>>, Error> {
        let name = ServerName::try_from(name).expect("a name");
        let mut client = ClientConnection::new(Arc::clone(client), name).expect("a configuration");
        let mut server = ServerConnection::new(Arc::new(server)).expect("a configuration");
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).expect("memory");
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).expect("memory");
                server.process_new_packets()?;
            }
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).expect("memory");
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("memory");
                client.process_new_packets()?;
            }
        }
        Ok(server.peer_certificates().and_then(|chain| chain.first()).cloned())
    }

    fn client(change: impl FnOnce(&mut ServersTransport)) -> Arc<ClientConfig> {
        let mut config = ServersTransport::default();
        change(&mut config);
        client_configs(&config, None).expect("a good transport").1
    }

    #[test]
    fn a_server_is_taken_by_the_uri_in_its_certificate() {
        let (known, foreign) = (authority("known"), authority("foreign"));
        let uri = "spiffe://a.test/web";
        for (skips, server, name, taken) in [
            (false, known.server(Some(uri), &[]), "server.test", true),
            (false, known.server(Some("spiffe://a.test/other"), &[]), "server.test", false),
            (false, known.server(None, &[]), "server.test", false),
            (false, known.server(Some(uri), &[]), "other.test", false),
            (false, foreign.server(Some(uri), &[]), "server.test", false),
            // As in Traefik the name is all that is not verified then.
            (true, known.server(Some(uri), &[]), "other.test", true),
            (true, known.server(None, &[]), "other.test", false),
            (true, foreign.server(Some(uri), &[]), "server.test", false),
        ] {
            let client = client(|config| {
                config.root_cas = vec![known.pem.clone()];
                config.peer_cert_uri = uri.to_owned();
                config.insecure_skip_verify = skips;
            });
            assert_eq!(handshake(&client, server, name).is_ok(), taken, "{name}, skips: {skips}");
        }
    }

    #[test]
    fn a_server_gets_the_first_certificate_that_it_can_take() {
        let (servers, one, two, three) =
            (authority("servers"), authority("one"), authority("two"), authority("three"));
        let ((first, first_der), (second, second_der)) = (one.own("client"), two.own("client"));
        let client = client(|config| {
            config.root_cas = vec![servers.pem.clone()];
            config.certificates = vec![first, second];
        });
        for (takes, shown) in [
            (vec![&one, &two], Some(&first_der)),
            (vec![&two], Some(&second_der)),
            (vec![&three], None),
            (vec![], None),
        ] {
            let got = handshake(&client, servers.server(None, &takes), "server.test").expect("a handshake");
            assert_eq!(got.as_ref(), shown, "of {} authorities", takes.len());
        }
    }
}
