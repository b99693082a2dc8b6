//! TLS certificates, stores and options.
//!
//! In a checked object every certificate and key stands as PEM: the provider has read the files.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::is_false;

/// A certificate chain and its key, which `Debug` never shows.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsCertificate {
    /// Certificate chain, leaf first, PEM.
    pub cert_file: String,
    /// Private key, PEM.
    pub key_file: String,
    /// Stores it belongs to; empty means `default`, the only one that is used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<String>,
}

impl fmt::Debug for TlsCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cert_file, key_file: _, stores } = self;
        f.debug_struct("TlsCertificate")
            .field("cert_file", &cert_file.len())
            .field("stores", stores)
            .finish_non_exhaustive()
    }
}

/// A certificate store; only the one named `default` is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsStore {
    /// Certificate for names that have none of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_certificate: Option<TlsCertificate>,
    /// Certificate to obtain from a resolver. Taken without effect until resolvers exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_generated_cert: Option<GeneratedCertificate>,
}

/// A certificate to obtain from a resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GeneratedCertificate {
    /// The resolver's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resolver: String,
    /// The names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<super::Domain>,
}

/// How TLS connections are negotiated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsOptions {
    /// `VersionTLS12`, `VersionTLS13`, …; empty means TLS 1.2.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub min_version: String,
    /// `VersionTLS12`, `VersionTLS13`, …; empty means the newest.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub max_version: String,
    /// TLS 1.2 cipher suites by Go's names; empty means the default ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
    /// Key exchange groups by Go's names; empty means the default ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub curve_preferences: Vec<String>,
    /// Client certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
    /// Refuse names without a certificate of their own.
    #[serde(skip_serializing_if = "is_false")]
    pub sni_strict: bool,
    /// Protocols offered in ALPN, in order.
    pub alpn_protocols: Vec<String>,
    /// Do not resume sessions.
    #[serde(skip_serializing_if = "is_false")]
    pub disable_session_tickets: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            min_version: String::new(),
            max_version: String::new(),
            cipher_suites: Vec::new(),
            curve_preferences: Vec::new(),
            client_auth: None,
            sni_strict: false,
            alpn_protocols: ["h2", "http/1.1", "acme-tls/1"].map(str::to_owned).to_vec(),
            disable_session_tickets: false,
        }
    }
}

/// Client certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientAuth {
    /// Trusted roots, PEM.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ca_files: Vec<String>,
    /// `NoClientCert`, `RequestClientCert`, `RequireAnyClientCert`, `VerifyClientCertIfGiven`, `RequireAndVerifyClientCert`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_auth_type: String,
}
