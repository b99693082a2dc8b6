//! What can be wrong in certificates, stores, TLS options and transports beyond the options' types.

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs;

use super::pem;
use crate::dynamic::{ServersTransport, Spiffe, TlsCertificate, TlsOptions, TlsStore};
use crate::spiffe::{SpiffeId, TrustDomain};

/// Suites that Go knows and the TLS library does not have: left out, not an error.
const SUITES_LEFT_OUT: &[&str] = &[
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_FALLBACK_SCSV",
];

/// Go's names of key exchange groups.
const CURVES: &[&str] = &["CurveP256", "CurveP384", "CurveP521", "X25519", "X25519MLKEM768"];

pub(super) fn certificate(
    certificate: &TlsCertificate,
    errors: &mut Vec<String>,
    warnings: &mut Vec<String>,
) {
    let chain = ("certFile", certificate.cert_file.as_str());
    errors.extend(pem::pair(chain, ("keyFile", &certificate.key_file)).err().into_iter().flatten());
    if !certificate.stores.is_empty() && !certificate.stores.iter().any(|store| store == "default") {
        warnings.push("stores: only the store `default` is used, so this certificate is not".to_owned());
    }
}

pub(super) fn store(name: &str, store: &TlsStore, errors: &mut Vec<String>, warnings: &mut Vec<String>) {
    if name != "default" {
        warnings.push("only the store `default` is used".to_owned());
    }
    if let Some(certificate) = &store.default_certificate {
        let chain = ("defaultCertificate.certFile", certificate.cert_file.as_str());
        let key = ("defaultCertificate.keyFile", certificate.key_file.as_str());
        errors.extend(pem::pair(chain, key).err().into_iter().flatten());
    }
}

pub(super) fn options(options: &TlsOptions, errors: &mut Vec<String>) {
    versions(&options.min_version, &options.max_version, errors);
    let suites = known_suites();
    for name in &options.cipher_suites {
        if !suites.iter().any(|known| same_suite(known, name)) && !SUITES_LEFT_OUT.contains(&name.as_str()) {
            errors.push(format!("invalid CipherSuite: {name}"));
        }
    }
    let usable = |name: &String| suites.iter().any(|known| same_suite(known, name));
    if !options.cipher_suites.is_empty() && !options.cipher_suites.iter().any(usable) {
        errors.push("cipherSuites: the TLS library has none of those named".to_owned());
    }
    for name in &options.curve_preferences {
        let known = CURVES.contains(&name.as_str())
            || ["secp256r1", "secp384r1", "secp521r1"].contains(&name.as_str());
        if !known {
            errors.push(format!("invalid CurveID in curvePreferences: {name}"));
        }
    }
    let lacking = |name: &String| name == "CurveP521" || name == "secp521r1";
    if !options.curve_preferences.is_empty() && options.curve_preferences.iter().all(lacking) {
        errors.push("curvePreferences: the TLS library has none of those named".to_owned());
    }
    if options.alpn_protocols.iter().any(|protocol| protocol.is_empty() || protocol.len() > 255) {
        errors.push("alpnProtocols: a protocol's name has 1 to 255 bytes".to_owned());
    }
    let Some(client) = &options.client_auth else { return };
    for text in &client.ca_files {
        errors.extend(pem::roots("clientAuth.caFiles", text).err());
    }
    let kind = client.client_auth_type.as_str();
    if matches!(kind, "VerifyClientCertIfGiven" | "RequireAndVerifyClientCert") && client.ca_files.is_empty()
    {
        errors.push(format!("invalid clientAuthType: {kind}, CAFiles is required"));
    }
}

pub(super) fn servers_transport(transport: &ServersTransport, errors: &mut Vec<String>) {
    versions(&transport.min_version, &transport.max_version, errors);
    let suites = known_suites();
    for name in &transport.cipher_suites {
        if !suites.iter().any(|known| same_suite(known, name)) {
            errors.push(format!("cipherSuites: unknown or unsupported cipher suite {name:?}"));
        }
    }
    for text in &transport.root_cas {
        errors.extend(pem::roots("rootCAs", text).err());
    }
    for pair in &transport.certificates {
        let chain = ("certificates.certFile", pair.cert_file.as_str());
        let key = ("certificates.keyFile", pair.key_file.as_str());
        errors.extend(pem::pair(chain, key).err().into_iter().flatten());
    }
    let name = transport.server_name.as_str();
    if !name.is_empty() && rustls_pki_types::ServerName::try_from(name).is_err() {
        errors.push(format!("serverName: {name:?} is no name of a server"));
    }
    if let Some(option) = &transport.spiffe {
        spiffe(option, errors);
        if transport.has_own_tls() {
            // As Traefik says it, with what it means.
            errors.push(
                "spiffe: TLS and SPIFFE configuration cannot be defined at the same time: leave out either `spiffe` or \
                 the other options of TLS"
                    .to_owned(),
            );
        }
    }
}

fn spiffe(spiffe: &Spiffe, errors: &mut Vec<String>) {
    for id in &spiffe.ids {
        if let Err(error) = id.parse::<SpiffeId>() {
            errors.push(format!("spiffe.ids: {id:?}: {error}"));
        }
    }
    let domain = &spiffe.trust_domain;
    if let Err(error) = domain.parse::<TrustDomain>()
        && !domain.is_empty()
    {
        errors.push(format!("spiffe.trustDomain: {domain:?}: {error}"));
    }
}

fn versions(min: &str, max: &str, errors: &mut Vec<String>) {
    let number = |name: &str, unset: u8| match name {
        "VersionTLS10" => 10,
        "VersionTLS11" => 11,
        "VersionTLS12" => 12,
        "VersionTLS13" => 13,
        _ => unset,
    };
    if number(min, 12).max(12) > number(max, 13) {
        errors.push("minVersion and maxVersion leave neither TLS 1.2 nor TLS 1.3".to_owned());
    }
}

fn known_suites() -> Vec<String> {
    let name =
        |suite: &SupportedCipherSuite| suite.suite().as_str().unwrap_or_default().replace("TLS13_", "TLS_");
    aws_lc_rs::ALL_CIPHER_SUITES.iter().map(name).collect()
}

/// Go names the ChaCha20 suites with and without the hash.
fn same_suite(known: &str, name: &str) -> bool {
    known == name || (name.ends_with("CHACHA20_POLY1305") && known.strip_suffix("_SHA256") == Some(name))
}
