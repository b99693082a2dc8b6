//! A set of TLS options as the library understands it: versions, suites, groups, client certificates, ALPN, tickets.
//! Names are Go's, as Traefik's configuration uses them.

use std::sync::Arc;

use ravelin_config::Digest;
use ravelin_config::dynamic::TlsOptions;
use rustls::crypto::aws_lc_rs::{self, Ticketer, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::{
    CipherSuite, ProtocolVersion, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version,
};

use super::certificates::TlsError;
use super::verifier;

/// The protocol of a certificate authority's challenge.
const ACME_TLS: &[u8] = b"acme-tls/1";

/// Bytes of a TLS record at most, its head included (RFC 8446 §5.1 allows twice as much). A record is written to a buffer of
/// its own, and what is as large as a page begins where a page does: to such places AMD's Zen 3 and 4 copy several times
/// more slowly by the instruction that C libraries before glibc 2.40 take from 8 or 16 KiB on.
const RECORD_BYTES_MAX: usize = 8_160;

/// What a set of options asks of a connection, in a few bytes: equal for options that ask for the same, whatever their names, so
/// that every request can be held against what its router asks for now. Tickets are left out: they ask for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demands(u128);

impl Demands {
    fn new(
        options: &TlsOptions,
        provider: &CryptoProvider,
        versions: &[&SupportedProtocolVersion],
        alpn: &[Vec<u8>],
    ) -> Result<Self, TlsError> {
        let numbers = |numbers: &mut dyn Iterator<Item = u16>| {
            numbers.map(|number| number.to_be_bytes().to_vec()).collect::<Vec<_>>()
        };
        let lists = [
            numbers(&mut versions.iter().map(|version| version.version.into())),
            numbers(&mut provider.cipher_suites.iter().map(|suite| suite.suite().into())),
            numbers(&mut provider.kx_groups.iter().map(|group| group.name().into())),
            verifier::demands(options.client_auth.as_ref())?,
            alpn.to_vec(),
            vec![vec![u8::from(options.sni_strict)]],
        ];
        // Every list and every item says how long it is, so that no two sets of options give the same bytes.
        let mut bytes = Vec::new();
        for list in &lists {
            bytes.extend_from_slice(&list.len().to_be_bytes());
            for item in list {
                bytes.extend_from_slice(&item.len().to_be_bytes());
                bytes.extend_from_slice(item);
            }
        }
        let Digest(digest) = Digest::of(&bytes);
        Ok(Self(digest.iter().take(16).fold(0, |number, &byte| number << 8 | u128::from(byte))))
    }
}

/// One set of options without its certificates. Cloning keeps the keys of session tickets.
#[derive(Clone, Debug)]
pub(super) struct Negotiation {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    client: Option<Arc<dyn ClientCertVerifier>>,
    alpn: Vec<Vec<u8>>,
    ticketer: Option<Arc<dyn ProducesTickets>>,
    demands: Demands,
}

impl Negotiation {
    pub(super) fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        let mut provider = aws_lc_rs::default_provider();
        let versions = versions(options);
        provider.cipher_suites = suites(options)?;
        if !options.curve_preferences.is_empty() {
            provider.kx_groups = groups(&options.curve_preferences)?;
        }
        if versions.is_empty() || provider.cipher_suites.is_empty() || provider.kx_groups.is_empty() {
            return Err(TlsError::Nothing);
        }
        let provider = Arc::new(provider);
        let client = verifier::client_verifier(options.client_auth.as_ref(), &provider)?;
        let ticketer = if options.disable_session_tickets {
            None
        } else {
            Some(Ticketer::new().map_err(TlsError::Library)?)
        };
        // `acme-tls/1` is answered by a resolver's challenge alone, and there is none. Names that nobody speaks stay: a client
        // that shares none of the list is refused.
        let answered = |name: &&String| name.as_bytes() != ACME_TLS;
        let alpn: Vec<Vec<u8>> =
            options.alpn_protocols.iter().filter(answered).map(|name| name.as_bytes().to_vec()).collect();
        let demands = Demands::new(options, &provider, &versions, &alpn)?;
        Ok(Self { provider, versions, client, alpn, ticketer, demands })
    }

    pub(super) fn demands(&self) -> Demands {
        self.demands
    }

    /// Whether a client is asked for a certificate.
    pub(super) fn asks_clients(&self) -> bool {
        self.client.is_some()
    }

    pub(super) fn server_config(
        &self,
        resolver: Arc<dyn ResolvesServerCert>,
    ) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)
            .map_err(|_| TlsError::Nothing)?;
        let mut config = match &self.client {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        }
        .with_cert_resolver(resolver);
        config.alpn_protocols.clone_from(&self.alpn);
        config.max_fragment_size = Some(RECORD_BYTES_MAX);
        // Tickets carry the session; a table of sessions would be shared by all workers behind one lock.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match &self.ticketer {
            Some(ticketer) => {
                config.ticketer = Arc::clone(ticketer);
                config.send_tls13_tickets = 1;
            }
            None => config.send_tls13_tickets = 0,
        }
        Ok(config)
    }
}

/// Unknown and unsupported bounds do not bind, as in Traefik; older versions than TLS 1.2 do not exist here.
fn versions(options: &TlsOptions) -> Vec<&'static SupportedProtocolVersion> {
    let max = match options.max_version.as_str() {
        "VersionTLS10" | "VersionTLS11" => return Vec::new(),
        "VersionTLS12" => ProtocolVersion::TLSv1_2,
        _ => ProtocolVersion::TLSv1_3,
    };
    let min = match options.min_version.as_str() {
        "VersionTLS13" => ProtocolVersion::TLSv1_3,
        _ => ProtocolVersion::TLSv1_2,
    };
    let rank = |version: ProtocolVersion| u16::from(version);
    [&version::TLS13, &version::TLS12]
        .into_iter()
        .filter(|version| (rank(min)..=rank(max)).contains(&rank(version.version)))
        .collect()
}

/// As in Go, a list of suites rules TLS 1.2 only. Names that Go knows and the library lacks are left out.
fn suites(options: &TlsOptions) -> Result<Vec<SupportedCipherSuite>, TlsError> {
    if options.cipher_suites.is_empty() {
        return Ok(aws_lc_rs::DEFAULT_CIPHER_SUITES.to_vec());
    }
    if let Some(unknown) = options.cipher_suites.iter().find(|name| !name.starts_with("TLS_")) {
        return Err(TlsError::Unknown { kind: "cipher suite", name: unknown.clone() });
    }
    let named = |suite: &&SupportedCipherSuite| {
        let known = suite_name(suite.suite());
        suite.tls13().is_some()
            || options
                .cipher_suites
                .iter()
                .any(|name| known == name || known.strip_suffix("_SHA256") == Some(name))
    };
    Ok(aws_lc_rs::ALL_CIPHER_SUITES.iter().filter(named).copied().collect())
}

fn groups(names: &[String]) -> Result<Vec<&'static dyn SupportedKxGroup>, TlsError> {
    let mut groups: Vec<&'static dyn SupportedKxGroup> = Vec::new();
    for name in names {
        match name.as_str() {
            "CurveP256" | "secp256r1" => groups.push(kx_group::SECP256R1),
            "CurveP384" | "secp384r1" => groups.push(kx_group::SECP384R1),
            "X25519" => groups.push(kx_group::X25519),
            "X25519MLKEM768" => groups.push(kx_group::X25519MLKEM768),
            "CurveP521" | "secp521r1" => {}
            _ => return Err(TlsError::Unknown { kind: "curve", name: name.clone() }),
        }
    }
    Ok(groups)
}

/// A suite as IANA, and Go's log lines, spell it.
pub(crate) fn suite_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}
