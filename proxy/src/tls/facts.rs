//! What a certificate says of itself, for those who look at it from outside. It reads public parts only.

use std::net::IpAddr;

use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

/// What a certificate says of itself. Texts that it lacks are empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CertificateFacts {
    pub(crate) subject: NameFacts,
    pub(crate) issuer: NameFacts,
    /// Its DNS names in order.
    pub(crate) names: Vec<String>,
    /// Its addresses.
    pub(crate) addresses: Vec<String>,
    /// In decimal.
    pub(crate) serial: String,
    /// In seconds since 1970.
    pub(crate) not_before: i64,
    /// In seconds since 1970.
    pub(crate) not_after: i64,
    /// From 1 on.
    pub(crate) version: u32,
    /// `RSA`, `ECDSA` or `Unknown`, and how many bits the key has, 0 if that is not known.
    pub(crate) key: (&'static str, usize),
    /// As Go names it; `0` if it has no name for it.
    pub(crate) signature: &'static str,
    /// SHA-256 of the whole, in hexadecimal digits.
    pub(crate) fingerprint: String,
    /// SHA-256 of the public key with its kind, in hexadecimal digits.
    pub(crate) key_fingerprint: String,
}

/// What stands in a distinguished name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NameFacts {
    pub(crate) common_name: String,
    pub(crate) organization: String,
    pub(crate) country: String,
}

impl CertificateFacts {
    /// `None` if it cannot be read.
    pub(super) fn of(key: &CertifiedKey) -> Option<Self> {
        let der = key.cert.first()?;
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        for name in alternative.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                _ => {}
            }
        }
        names.sort_unstable();
        Some(Self {
            subject: name(certificate.subject()),
            issuer: name(certificate.issuer()),
            names,
            addresses,
            serial: certificate.tbs_certificate.serial.to_string(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            version: certificate.version().0.saturating_add(1),
            key: match certificate.public_key().parsed() {
                Ok(PublicKey::RSA(key)) => ("RSA", key.key_size()),
                // The largest curve has 521 bits, which its points round up.
                Ok(PublicKey::EC(point)) => {
                    ("ECDSA", if point.key_size() == 528 { 521 } else { point.key_size() })
                }
                _ => ("Unknown", 0),
            },
            signature: signature(&certificate.signature_algorithm.algorithm.to_id_string()),
            fingerprint: digest(der),
            key_fingerprint: digest(certificate.public_key().raw),
        })
    }
}

fn name(name: &X509Name<'_>) -> NameFacts {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    NameFacts {
        common_name: text(name.iter_common_name().next().and_then(|value| value.as_str().ok())),
        organization: text(name.iter_organization().next().and_then(|value| value.as_str().ok())),
        country: text(name.iter_country().next().and_then(|value| value.as_str().ok())),
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = || <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    let sixteen = || <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok();
    four().or_else(sixteen).map(|address| address.to_string())
}

fn signature(algorithm: &str) -> &'static str {
    match algorithm {
        "1.2.840.113549.1.1.5" => "SHA1-RSA",
        "1.2.840.113549.1.1.11" => "SHA256-RSA",
        "1.2.840.113549.1.1.12" => "SHA384-RSA",
        "1.2.840.113549.1.1.13" => "SHA512-RSA",
        "1.2.840.10045.4.1" => "ECDSA-SHA1",
        "1.2.840.10045.4.3.2" => "ECDSA-SHA256",
        "1.2.840.10045.4.3.3" => "ECDSA-SHA384",
        "1.2.840.10045.4.3.4" => "ECDSA-SHA512",
        "1.3.101.112" => "Ed25519",
        _ => "0",
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
