//! HTTP services and the transports to their servers.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{is_false, yes};
use crate::duration::GoDuration;

/// An HTTP service: exactly one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpService {
    /// Servers behind one name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancer>,
    /// Other services, by weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weighted: Option<Weighted>,
    /// Not working yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highest_random_weight: Option<Value>,
    /// Not working yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirroring: Option<Value>,
    /// Not working yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover: Option<Value>,
    /// Middlewares in front of this service, by reference, after those of the router.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub middlewares: Vec<String>,
}

/// Servers behind one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer {
    /// The servers; none means every request is answered 503.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Server>,
    /// How a server is chosen.
    #[serde(default)]
    pub strategy: Strategy,
    /// Sticky sessions. Not working yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Active health check. Not working yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Passive health check. Not working yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive_health_check: Option<PassiveHealthCheck>,
    /// Send the client's Host (default) or the server's own.
    #[serde(default = "yes")]
    pub pass_host_header: bool,
    /// How an answer is passed on.
    #[serde(default)]
    pub response_forwarding: ResponseForwarding,
    /// Transport to the servers, by reference; unset means `default@internal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers_transport: Option<String>,
}

impl Default for LoadBalancer {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            strategy: Strategy::default(),
            sticky: None,
            health_check: None,
            passive_health_check: None,
            pass_host_header: true,
            response_forwarding: ResponseForwarding::default(),
            servers_transport: None,
        }
    }
}

/// How a server is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Weighted round robin.
    #[default]
    Wrr,
    /// Power of two choices. Not working yet.
    P2c,
    /// Highest random weight by client address. Not working yet.
    Hrw,
    /// Least time. Not working yet.
    LeastTime,
}

/// One server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Server {
    /// `http://host:port`, `https://…` or `h2c://…`, with an optional path.
    pub url: String,
    /// Share of requests; unset means 1, 0 and less leave the server out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
    /// Append the request's path to the URL's own.
    #[serde(skip_serializing_if = "is_false")]
    pub preserve_path: bool,
}

/// How an answer is passed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResponseForwarding {
    /// Longest time a byte may wait in our buffers; negative means none, 0 means until the buffer is full.
    pub flush_interval: GoDuration,
}

impl Default for ResponseForwarding {
    fn default() -> Self {
        Self { flush_interval: GoDuration::from_millis(100) }
    }
}

/// Sticky sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sticky {
    /// The cookie that names the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<Cookie>,
}

/// The cookie of sticky sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cookie {
    /// Name; unset means one made from the service's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Secure` attribute.
    #[serde(skip_serializing_if = "is_false")]
    pub secure: bool,
    /// `HttpOnly` attribute.
    #[serde(skip_serializing_if = "is_false")]
    pub http_only: bool,
    /// `none`, `lax` or `strict`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_site: Option<String>,
    /// `Max-Age` in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<i64>,
    /// `Path`; unset means `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `Domain` attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// Active health check of servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthCheck {
    /// Scheme in place of the server's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scheme: String,
    /// `http` or `grpc`.
    pub mode: String,
    /// Path of the request.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Method of the request.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Expected status; 0 means 200 to 399.
    pub status: i64,
    /// Port in place of the server's; 0 means the server's.
    pub port: i64,
    /// Time between checks of a healthy server.
    pub interval: GoDuration,
    /// Time between checks of an unhealthy server; unset means as `interval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy_interval: Option<GoDuration>,
    /// Longest wait for an answer.
    pub timeout: GoDuration,
    /// Host of the request.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Follow redirects.
    pub follow_redirects: bool,
    /// Headers of the request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            scheme: String::new(),
            mode: "http".to_owned(),
            path: String::new(),
            method: String::new(),
            status: 0,
            port: 0,
            interval: GoDuration::from_secs(30),
            unhealthy_interval: None,
            timeout: GoDuration::from_secs(5),
            hostname: String::new(),
            follow_redirects: true,
            headers: BTreeMap::new(),
        }
    }
}

/// Passive health check of servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PassiveHealthCheck {
    /// Window in which failures count, and for which a server is left out.
    pub failure_window: GoDuration,
    /// Failures within the window that make a server unhealthy.
    pub max_failed_attempts: i64,
}

impl Default for PassiveHealthCheck {
    fn default() -> Self {
        Self { failure_window: GoDuration::from_secs(10), max_failed_attempts: 1 }
    }
}

/// Other services, by weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Weighted {
    /// The services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<WeightedService>,
    /// Sticky sessions. Not working yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Takes part in health checks of its children. Not working yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<Value>,
}

/// One of several services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WeightedService {
    /// The service, by reference.
    pub name: String,
    /// Share of requests; unset means 1, 0 and less leave the service out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
}

/// How servers are reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServersTransport {
    /// Name in SNI and in certificate checks; empty means the server's host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_name: String,
    /// Take any server certificate.
    #[serde(skip_serializing_if = "is_false")]
    pub insecure_skip_verify: bool,
    /// Trusted roots, PEM; empty means the system's.
    #[serde(rename = "rootCAs", skip_serializing_if = "Vec::is_empty")]
    pub root_cas: Vec<String>,
    /// Client certificates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<TransportCertificate>,
    /// TLS 1.2 cipher suites by Go's names; empty means the default ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
    /// `VersionTLS12`, `VersionTLS13`, …; empty means the default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub min_version: String,
    /// `VersionTLS12`, `VersionTLS13`, …; empty means the default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub max_version: String,
    /// Idle connections kept per server and worker pool; unset means 200, 0 means Go's own default of 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_idle_conns_per_host: Option<i64>,
    /// Deadlines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarding_timeouts: Option<ForwardingTimeouts>,
    /// Do not speak HTTP/2 to servers.
    #[serde(rename = "disableHTTP2", skip_serializing_if = "is_false")]
    pub disable_http2: bool,
    /// URI that the server's certificate must carry.
    #[serde(rename = "peerCertURI", skip_serializing_if = "String::is_empty")]
    pub peer_cert_uri: String,
    /// SPIFFE. Not working yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spiffe: Option<Value>,
}

/// A client certificate towards servers, whose key `Debug` never shows.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TransportCertificate {
    /// Certificate chain, PEM.
    pub cert_file: String,
    /// Private key, PEM.
    pub key_file: String,
}

impl fmt::Debug for TransportCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cert_file, key_file: _ } = self;
        f.debug_struct("TransportCertificate").field("cert_file", &cert_file.len()).finish_non_exhaustive()
    }
}

/// Deadlines towards servers; zero means none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ForwardingTimeouts {
    /// Until a connection stands.
    pub dial_timeout: GoDuration,
    /// From the request sent until the answer's head is read.
    pub response_header_timeout: GoDuration,
    /// How long an idle connection is kept.
    pub idle_conn_timeout: GoDuration,
    /// HTTP/2: silence after which a ping is sent.
    pub read_idle_timeout: GoDuration,
    /// HTTP/2: wait for the ping's answer.
    pub ping_timeout: GoDuration,
}

impl Default for ForwardingTimeouts {
    fn default() -> Self {
        Self {
            dial_timeout: GoDuration::from_secs(30),
            response_header_timeout: GoDuration::from_secs(0),
            idle_conn_timeout: GoDuration::from_secs(90),
            read_idle_timeout: GoDuration::from_secs(0),
            ping_timeout: GoDuration::from_secs(15),
        }
    }
}
