//! Traefik v3.7's dynamic model as Rust types: what the bytes of a checked object mean.
//!
//! The types are read from canonical JSON (`object::Object::bytes`), where names, scalars and durations already have
//! their one form; `options` brings a user's text into it and judges it. A type here therefore accepts unknown fields
//! and must never be used to decide whether a configuration is right. Absent options have Traefik's default.

mod middleware;
mod router;
mod service;
mod statuses;
mod tls;

pub use middleware::{
    AddPrefix, BREAKER_FIGURES, BUFFERING_FIGURES, Buffering, CertificateInfo, Chain, CircuitBreaker,
    ClientTls, Compress, ContentType, DistinguishedName, Encoding, Errors, ForwardAuth, GrpcWeb, Headers,
    InFlightReq, IpAllowList, IpStrategy, Middleware, PassTlsClientCert, PathCharacters, RateLimit,
    RedirectRegex, RedirectScheme, ReplacePath, ReplacePathRegex, Retry, SourceCriterion, StripPrefix,
    StripPrefixRegex, Users, digest_user, media_type,
};
pub use router::{Domain, HttpRouter, RouterObservability, RouterTls};
pub use service::{
    Cookie, Failover, FailoverErrors, ForwardingTimeouts, HealthCheck, HighestRandomWeight, HttpService,
    LoadBalancer, Mirror, Mirroring, PassiveHealthCheck, ResponseForwarding, Server, ServersTransport,
    Spiffe, Sticky, Strategy, TransportCertificate, Weighted, WeightedService,
};
pub use statuses::{NoStatus, StatusRanges};
pub use tls::{ClientAuth, GeneratedCertificate, TlsCertificate, TlsOptions, TlsStore};

fn is_false(value: &bool) -> bool {
    !*value
}

pub(crate) fn is_zero(value: &i64) -> bool {
    *value == 0
}

fn yes() -> bool {
    true
}
