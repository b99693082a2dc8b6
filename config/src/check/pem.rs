//! Certificates and keys as PEM text: read, and checked to belong together.

use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::draft::is_path;

/// The certificates of a text, at least one.
///
/// # Errors
/// One line that says what is wrong with the option named.
pub(super) fn certificates(option: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    if !text.contains("-----BEGIN ") {
        return Err(format!("{option}: neither a file that can be read nor PEM: {}", shown(text)));
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(format!("{option}: no certificate in the PEM text")),
        Ok(chain) => {
            for certificate in &chain {
                webpki::EndEntityCert::try_from(certificate)
                    .map_err(|error| format!("{option}: not a certificate that can be read: {error}"))?;
            }
            Ok(chain)
        }
        Err(error) => Err(format!("{option}: PEM that cannot be read: {}", reason(&error))),
    }
}

/// Certificates that may be trusted as roots.
///
/// # Errors
/// As [`certificates`]; a certificate that cannot be a root.
pub(super) fn roots(option: &str, text: &str) -> Result<(), String> {
    let mut store = rustls::RootCertStore::empty();
    for certificate in certificates(option, text)? {
        store
            .add(certificate)
            .map_err(|error| format!("{option}: a certificate that cannot be a root: {error}"))?;
    }
    Ok(())
}

/// A chain and its key, which belong together.
///
/// # Errors
/// As [`certificates`]; a key that cannot be read, or is that of another certificate.
pub(super) fn pair(
    (chain_option, chain): (&str, &str),
    (key_option, key): (&str, &str),
) -> Result<(), Vec<String>> {
    let chain = certificates(chain_option, chain);
    let key = private_key(key_option, key);
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err([chain.err(), key.err()].into_iter().flatten().collect()),
    };
    match CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(vec![format!("{key_option}: not the key of the certificate in {chain_option}")])
        }
        Err(error) => Err(vec![format!("{key_option}: a key that cannot be used: {error}")]),
    }
}

fn private_key(option: &str, text: &str) -> Result<PrivateKeyDer<'static>, String> {
    if !text.contains("-----BEGIN ") {
        return Err(format!("{option}: neither a file that can be read nor PEM: {}", shown(text)));
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|error| format!("{option}: no key in the PEM text: {}", reason(&error)))
}

/// Without the bytes: they may be those of a key.
fn reason(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "a section's first line is malformed",
        pem::Error::Base64Decode(_) => "a section's content is malformed",
        pem::Error::NoItemsFound => "nothing of the kind in it",
        _ => "it is malformed",
    }
}

/// What was written, if it is surely no key without its frame.
fn shown(text: &str) -> String {
    if is_path(text) { format!("{text:?}") } else { format!("a text of {} bytes", text.len()) }
}
