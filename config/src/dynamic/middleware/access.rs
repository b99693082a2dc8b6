//! Middlewares that let some clients through and answer the others.

use serde::{Deserialize, Serialize};

use super::super::{ServersTransport, TransportCertificate, is_false, is_zero};
use super::{IpStrategy, SourceCriterion};
use crate::duration::GoDuration;

/// Serve clients of these addresses only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IpAllowList {
    /// Addresses and networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_range: Vec<String>,
    /// Which address is the client's; unset means that of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_strategy: Option<IpStrategy>,
    /// The status of all others; 0 means 403.
    #[serde(skip_serializing_if = "is_zero")]
    pub reject_status_code: i64,
}

/// Users with their passwords' hashes.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Users {
    /// Users with their hashes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// The same, one a line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub users_file: String,
    /// The realm of the challenge; empty means `traefik`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub realm: String,
    /// Keep `Authorization` from the service.
    #[serde(skip_serializing_if = "is_false")]
    pub remove_header: bool,
    /// The field that tells the service the user's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub header_field: String,
}

/// Shows no user and no hash.
impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("realm", &self.realm).finish_non_exhaustive()
    }
}

/// Limit on requests in a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimit {
    /// Requests from one source in a period; 0 or less means no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub average: i64,
    /// The period; unset or 0 means a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<GoDuration>,
    /// Most requests at once from one source; unset or less means 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<i64>,
    /// What makes two requests come from one source; unset means the client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_criterion: Option<SourceCriterion>,
    /// Where the counts are kept, if not in the process. Does not work yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<serde_json::Value>,
}

impl Users {
    /// All users in the order that counts: those listed, then those of the file, without comments and empty lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        let file = self.users_file.lines().map(str::trim);
        let file = file.filter(|line| !line.is_empty() && !line.starts_with('#'));
        self.users.iter().map(|user| user.trim()).chain(file)
    }
}

/// A user of `digestAuth` taken apart: name, realm, hash. `None`: it is not `name:realm:hash`.
pub fn digest_user(line: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = line.split_once(':')?;
    let (realm, hash) = rest.split_once(':')?;
    (!name.is_empty() && !hash.contains(':')).then_some((name, realm, hash))
}

/// Ask another server whether a client may pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ForwardAuth {
    /// The server's URL.
    pub address: String,
    /// How its certificate is checked, and with which one it is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
    /// `false`: forwarding fields are written anew, whoever sent them. Deprecated; unset means true, which trusts whom the entry
    /// point trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_forward_header: Option<bool>,
    /// Fields of its answer that the request gets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub auth_response_headers: Vec<String>,
    /// The same by an expression over their names.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub auth_response_headers_regex: String,
    /// The only fields of the request that it gets; none means all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub auth_request_headers: Vec<String>,
    /// Cookies of its answer that the client gets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_auth_cookies_to_response: Vec<String>,
    /// The field of its answer that names the user, for the log.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub header_field: String,
    /// It gets the request's body too.
    #[serde(skip_serializing_if = "is_false")]
    pub forward_body: bool,
    /// The largest body that it gets; larger ones are answered 401. Unset or negative means any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_size: Option<i64>,
    /// The largest body of its answer; larger ones are a 401. Unset or negative means any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_response_body_size: Option<i64>,
    /// A relative `Location` stays relative.
    #[serde(skip_serializing_if = "is_false")]
    pub preserve_location_header: bool,
    /// It is asked by the request's method, not by GET.
    #[serde(skip_serializing_if = "is_false")]
    pub preserve_request_method: bool,
    /// Where clients go that it answers 401.
    #[serde(rename = "authSigninURL", skip_serializing_if = "String::is_empty")]
    pub auth_signin_url: String,
}

/// TLS towards a server, whose key `Debug` never shows.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientTls {
    /// Trusted roots, PEM; empty means the system's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca: String,
    /// Client certificate, PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert: String,
    /// Its private key, PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Take any server certificate.
    #[serde(skip_serializing_if = "is_false")]
    pub insecure_skip_verify: bool,
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ca, cert, key: _, insecure_skip_verify } = self;
        let mut out = f.debug_struct("ClientTls");
        out.field("ca", &ca.len())
            .field("cert", &cert.len())
            .field("insecure_skip_verify", insecure_skip_verify);
        out.finish_non_exhaustive()
    }
}

impl ClientTls {
    /// As a servers transport says the same.
    pub fn transport(&self) -> ServersTransport {
        let certificate = TransportCertificate { cert_file: self.cert.clone(), key_file: self.key.clone() };
        let has_own = !self.cert.is_empty() || !self.key.is_empty();
        ServersTransport {
            insecure_skip_verify: self.insecure_skip_verify,
            root_cas: if self.ca.is_empty() { Vec::new() } else { vec![self.ca.clone()] },
            certificates: if has_own { vec![certificate] } else { Vec::new() },
            ..ServersTransport::default()
        }
    }
}

/// Tell the service of the client's certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PassTlsClientCert {
    /// The certificates themselves.
    #[serde(skip_serializing_if = "is_false")]
    pub pem: bool,
    /// Parts of them in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<CertificateInfo>,
}

/// What is told of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateInfo {
    /// Until when it is good, in seconds since 1970.
    #[serde(skip_serializing_if = "is_false")]
    pub not_after: bool,
    /// Since when.
    #[serde(skip_serializing_if = "is_false")]
    pub not_before: bool,
    /// The names for which it stands.
    #[serde(skip_serializing_if = "is_false")]
    pub sans: bool,
    /// Its number, in decimal digits.
    #[serde(skip_serializing_if = "is_false")]
    pub serial_number: bool,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<DistinguishedName>,
    /// Who signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<DistinguishedName>,
}

/// Which attributes of a name are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DistinguishedName {
    /// `C`.
    #[serde(skip_serializing_if = "is_false")]
    pub country: bool,
    /// `ST`.
    #[serde(skip_serializing_if = "is_false")]
    pub province: bool,
    /// `L`.
    #[serde(skip_serializing_if = "is_false")]
    pub locality: bool,
    /// `O`.
    #[serde(skip_serializing_if = "is_false")]
    pub organization: bool,
    /// `OU`. Of a subject only.
    #[serde(skip_serializing_if = "is_false")]
    pub organizational_unit: bool,
    /// `CN`.
    #[serde(skip_serializing_if = "is_false")]
    pub common_name: bool,
    /// `SN`.
    #[serde(skip_serializing_if = "is_false")]
    pub serial_number: bool,
    /// `DC`.
    #[serde(skip_serializing_if = "is_false")]
    pub domain_component: bool,
}
