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
    /// Other services, each client always its own one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highest_random_weight: Option<HighestRandomWeight>,
    /// A service, others of which get copies of its requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirroring: Option<Mirroring>,
    /// A service, and another one where it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover: Option<Failover>,
    /// Middlewares in front of this service, by reference, after those of the router.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub middlewares: Vec<String>,
}

impl HttpService {
    /// Whether it knows if it can serve: it has a health check of its own, or asks its children.
    pub fn is_checked(&self) -> bool {
        let Self { load_balancer, weighted, highest_random_weight, mirroring, failover, middlewares: _ } =
            self;
        load_balancer.as_ref().is_some_and(|balancer| {
            balancer.health_check.is_some() || balancer.passive_health_check.is_some()
        }) || weighted.as_ref().is_some_and(|weighted| weighted.health_check.is_some())
            || highest_random_weight.as_ref().is_some_and(|highest| highest.health_check.is_some())
            || mirroring.as_ref().is_some_and(|mirroring| mirroring.health_check.is_some())
            || failover.as_ref().is_some_and(|failover| failover.health_check.is_some())
    }

    /// The services of [`HttpService::children`] that must be checked.
    pub fn checked_children(&self) -> impl Iterator<Item = &str> {
        let asks = self.load_balancer.is_none() && self.is_checked();
        // Mirrors get copies whether they are up or not: of these kinds only the first child, the service that answers, is asked.
        let asked = match (asks, self.mirroring.is_some()) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => usize::MAX,
        };
        // A failover that goes by health asks its first service in any case.
        let by_health = self.failover.as_ref().filter(|failover| !asks && failover.errors.is_none());
        self.children().take(asked).chain(by_health.map(|failover| failover.service.as_str()))
    }

    /// The services that it refers to, as it names them.
    pub fn children(&self) -> impl Iterator<Item = &str> {
        let weighted = self.weighted.iter().flat_map(|weighted| &weighted.services);
        let by_client = self.highest_random_weight.iter().flat_map(|highest| &highest.services);
        let named = weighted.chain(by_client).map(|child| child.name.as_str());
        let mirrors = self.mirroring.iter().flat_map(|mirroring| {
            std::iter::once(&mirroring.service).chain(mirroring.mirrors.iter().map(|mirror| &mirror.name))
        });
        let failover = self.failover.iter().flat_map(|failover| [&failover.service, &failover.fallback]);
        named.chain(mirrors.chain(failover).map(String::as_str))
    }
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
    /// Sticky sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Active health check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Passive health check.
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
    /// Power of two choices: the less busy one of two drawn by chance.
    P2c,
    /// Highest random weight by client address.
    Hrw,
    /// The one whose answers begin soonest, times the requests that it has to answer.
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
    /// Sticky sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Leaves out children that are down, and is down itself when all are. They must know whether they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<Value>,
}

/// Other services, of which each client always gets the same one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HighestRandomWeight {
    /// The services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<WeightedService>,
    /// Leaves out children that are down, and is down itself when all are. They must know whether they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<Value>,
}

/// A service that answers, and others that get copies of a share of its requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mirroring {
    /// The service that answers, by reference.
    pub service: String,
    /// Copies have the request's body.
    pub mirror_body: bool,
    /// Most bytes of a body that is copied; negative means as many as come.
    pub max_body_size: i64,
    /// Who gets copies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// Is down when its service is, which must know whether it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<Value>,
}

impl Default for Mirroring {
    fn default() -> Self {
        Self {
            service: String::new(),
            mirror_body: true,
            max_body_size: -1,
            mirrors: Vec::new(),
            health_check: None,
        }
    }
}

/// One who gets copies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mirror {
    /// The service, by reference.
    pub name: String,
    /// Of how many requests of a hundred.
    pub percent: i64,
}

/// A service, and another one where it fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Failover {
    /// The service, by reference.
    pub service: String,
    /// The other one, by reference.
    pub fallback: String,
    /// Is down when both are, which must know whether they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<Value>,
    /// Answers that the other one replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<FailoverErrors>,
}

/// Answers of a service that another one replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailoverErrors {
    /// Their statuses: codes and ranges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<String>,
    /// Most bytes of a request's body, which is kept for the other service; negative means as many as come.
    pub max_request_body_bytes: i64,
}

impl Default for FailoverErrors {
    fn default() -> Self {
        Self { status: Vec::new(), max_request_body_bytes: -1 }
    }
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
    /// Who servers are and who we are by SPIFFE, in place of all other options of TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spiffe: Option<Spiffe>,
}

impl ServersTransport {
    /// Whether it has options of TLS that SPIFFE takes the place of.
    pub fn has_own_tls(&self) -> bool {
        self.insecure_skip_verify
            || [&self.server_name, &self.peer_cert_uri, &self.min_version, &self.max_version]
                .iter()
                .any(|text| !text.is_empty())
            || !(self.root_cas.is_empty() && self.certificates.is_empty() && self.cipher_suites.is_empty())
    }
}

/// Which servers are taken by SPIFFE: those named, else those of a trust domain, else all that a known authority speaks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spiffe {
    /// SPIFFE IDs, of which a server must have one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// The trust domain that a server must be of, where there are no IDs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trust_domain: String,
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
