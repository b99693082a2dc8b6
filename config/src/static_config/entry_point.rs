//! Entry points: where connections are accepted and what holds for all of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::duration::GoDuration;
use crate::dynamic::Domain;

/// One entry point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EntryPoint {
    /// `[host]:port[/tcp|/udp]`; see [`Address`].
    pub address: String,
    /// Let user routers see ACME HTTP challenges. Without effect until resolvers exist.
    #[serde(rename = "allowACMEByPass")]
    pub allow_acme_by_pass: bool,
    /// Set SO_REUSEPORT towards other processes.
    pub reuse_port: bool,
    /// Among those that routers without `entryPoints` use. If none says so, all are, except UDP ones and `traefik`.
    pub as_default: bool,
    /// Deadlines and draining.
    pub transport: Transport,
    /// Whose PROXY headers are read; absent: nobody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Whose forwarded headers are believed.
    pub forwarded_headers: ForwardedHeaders,
    /// What holds for every HTTP request.
    pub http: Http,
    /// HTTP/2.
    pub http2: Http2,
    /// HTTP/3. Not working yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http3: Option<Value>,
    /// UDP. Not working yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<Value>,
    /// What is logged and measured here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability: Option<Observability>,
}

/// Deadlines and draining of an entry point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Transport {
    /// What happens when the process ends.
    pub life_cycle: LifeCycle,
    /// Deadlines of a connection.
    pub responding_timeouts: RespondingTimeouts,
    /// Longest life of a kept-alive connection; 0 means no limit.
    pub keep_alive_max_time: GoDuration,
    /// Most requests on a connection; 0 means no limit.
    pub keep_alive_max_requests: i64,
}

/// What happens when the process ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LifeCycle {
    /// Accept further connections for this long after the signal.
    pub request_accept_grace_timeout: GoDuration,
    /// Then let requests in flight end for this long.
    pub grace_time_out: GoDuration,
}

impl Default for LifeCycle {
    fn default() -> Self {
        Self {
            request_accept_grace_timeout: GoDuration::from_secs(0),
            grace_time_out: GoDuration::from_secs(10),
        }
    }
}

/// Deadlines of a connection; 0 means none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RespondingTimeouts {
    /// For a whole request, body included.
    pub read_timeout: GoDuration,
    /// From the end of the request's head to the end of the answer.
    pub write_timeout: GoDuration,
    /// Between two requests.
    pub idle_timeout: GoDuration,
}

impl Default for RespondingTimeouts {
    fn default() -> Self {
        Self {
            read_timeout: GoDuration::from_secs(60),
            write_timeout: GoDuration::from_secs(0),
            idle_timeout: GoDuration::from_secs(180),
        }
    }
}

/// Whose PROXY headers (versions 1 and 2) are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyProtocol {
    /// Everyone's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// Those of these addresses and networks.
    #[serde(rename = "trustedIPs", skip_serializing_if = "Vec::is_empty")]
    pub trusted_ips: Vec<String>,
}

/// Whose forwarded headers are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ForwardedHeaders {
    /// Everyone's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// Those of these addresses and networks.
    #[serde(rename = "trustedIPs", skip_serializing_if = "Vec::is_empty")]
    pub trusted_ips: Vec<String>,
    /// Names that `Connection` may list without being removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connection: Vec<String>,
    /// Do not add the client's address to X-Forwarded-For.
    #[serde(rename = "notAppendXForwardedFor", skip_serializing_if = "std::ops::Not::not")]
    pub not_append_x_forwarded_for: bool,
}

/// What holds for every HTTP request of an entry point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Http {
    /// Redirects of everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirections: Option<Redirections>,
    /// In front of the middlewares of every router here, by qualified reference.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub middlewares: Vec<String>,
    /// TLS for every router here that says nothing of TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<HttpTls>,
    /// Encode `;` in queries instead of reading it as `&`.
    pub encode_query_semicolons: bool,
    /// Resolve `..`, `.` and `//` in paths before routing.
    pub sanitize_path: bool,
    /// Longest request head in bytes.
    pub max_header_bytes: i64,
    /// Which encoded characters a path may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoded_characters: Option<EncodedCharacters>,
    /// What becomes of header names with an underscore; unset means Ravelin's own rule, which drops them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub underscore_headers_strategy: Option<UnderscoreHeaders>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            redirections: None,
            middlewares: Vec::new(),
            tls: None,
            encode_query_semicolons: false,
            sanitize_path: true,
            max_header_bytes: 1_048_576,
            encoded_characters: None,
            underscore_headers_strategy: None,
        }
    }
}

/// What becomes of header names with an underscore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnderscoreHeaders {
    /// Pass them on.
    Keep,
    /// Remove them.
    Delete,
    /// Refuse the request.
    Reject,
}

/// Redirects of everything on an entry point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Redirections {
    /// To another entry point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_point: Option<Redirection>,
}

/// Redirect of everything to another entry point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Redirection {
    /// An entry point's name, or `:port`.
    pub to: String,
    /// Scheme of the target.
    pub scheme: String,
    /// 301/308 in place of 302/307.
    pub permanent: bool,
    /// Priority of the router that does it.
    pub priority: i64,
}

impl Default for Redirection {
    fn default() -> Self {
        Self { to: String::new(), scheme: "https".to_owned(), permanent: true, priority: i64::MAX - 1 }
    }
}

/// TLS for every router of an entry point that says nothing of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpTls {
    /// TLS options, by qualified reference; unset means `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
    /// Certificate resolver. Taken without effect until resolvers exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_resolver: Option<String>,
    /// Names to obtain a certificate for. Taken without effect until resolvers exist.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Domain>,
}

/// Which encoded characters a path may hold; a false one makes the request 400.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EncodedCharacters {
    /// `%2F`.
    pub allow_encoded_slash: bool,
    /// `%5C`.
    pub allow_encoded_back_slash: bool,
    /// `%00`.
    pub allow_encoded_null_character: bool,
    /// `%3B`.
    pub allow_encoded_semicolon: bool,
    /// `%25`.
    pub allow_encoded_percent: bool,
    /// `%3F`.
    pub allow_encoded_question_mark: bool,
    /// `%23`.
    pub allow_encoded_hash: bool,
}

impl Default for EncodedCharacters {
    fn default() -> Self {
        Self {
            allow_encoded_slash: true,
            allow_encoded_back_slash: true,
            allow_encoded_null_character: true,
            allow_encoded_semicolon: true,
            allow_encoded_percent: true,
            allow_encoded_question_mark: true,
            allow_encoded_hash: true,
        }
    }
}

/// HTTP/2 on an entry point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Http2 {
    /// Most streams at once on a connection.
    pub max_concurrent_streams: i64,
    /// HPACK table for requests, in bytes.
    pub max_decoder_header_table_size: i64,
    /// HPACK table for answers, in bytes.
    pub max_encoder_header_table_size: i64,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 250,
            max_decoder_header_table_size: 4096,
            max_encoder_header_table_size: 4096,
        }
    }
}

/// What is logged and measured on an entry point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Observability {
    /// Access log.
    pub access_logs: bool,
    /// Metrics.
    pub metrics: bool,
    /// Tracing.
    pub tracing: bool,
    /// `minimal` or `detailed`.
    pub trace_verbosity: String,
}

impl Default for Observability {
    fn default() -> Self {
        Self { access_logs: true, metrics: true, tracing: true, trace_verbosity: "minimal".to_owned() }
    }
}

/// What an entry point speaks below HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Where an entry point listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host name or address, IPv6 without brackets; empty means every address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// Why a text is no address of an entry point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Something else than `/tcp` or `/udp` behind the port.
    #[error("invalid protocol: {0}")]
    Protocol(String),
    /// No port.
    #[error("missing port in address {0:?}")]
    PortMissing(String),
    /// A port that is no number up to 65535.
    #[error("{0:?} is no port")]
    Port(String),
    /// An IPv6 address without brackets.
    #[error("too many colons in address {0:?}")]
    Colons(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (place, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((place, name)) if name.eq_ignore_ascii_case("tcp") => (place, Protocol::Tcp),
            Some((place, name)) if name.eq_ignore_ascii_case("udp") => (place, Protocol::Udp),
            Some((_, name)) => return Err(AddressError::Protocol(name.to_owned())),
        };
        let (host, port) =
            place.rsplit_once(':').ok_or_else(|| AddressError::PortMissing(text.to_owned()))?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner,
            None if host.contains([':', '[', ']']) => return Err(AddressError::Colons(text.to_owned())),
            None => host,
        };
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits).ok_or_else(|| AddressError::Port(port.to_owned()))?;
        Ok(Self { host: host.to_owned(), port, protocol })
    }
}

impl fmt::Display for Address {
    /// `host:port`, IPv6 in brackets, without the protocol.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(out, "[{}]:{}", self.host, self.port),
            false => write!(out, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, host, port, protocol) in [
            (":80", "", 80, Protocol::Tcp),
            ("127.0.0.1:8080/tcp", "127.0.0.1", 8080, Protocol::Tcp),
            ("[::1]:53/udp", "::1", 53, Protocol::Udp),
            ("web.local:0/TCP", "web.local", 0, Protocol::Tcp),
        ] {
            assert_eq!(text.parse(), Ok(Address { host: host.to_owned(), port, protocol }), "{text}");
        }
        for text in
            ["", "80", ":", ":http", ":70000", "::1:80", ":80/sctp", ":+80", "[::1:80", "127.0.0.1:{{ env }}"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        let address: Address = "[::1]:53/udp".parse().expect("the form is right");
        assert_eq!(address.to_string(), "[::1]:53");
    }
}
