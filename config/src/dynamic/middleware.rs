//! HTTP middlewares: the kinds that work as types, the others by name only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{is_false, is_zero};

mod access;
mod breaker;
mod delivery;
mod pages;
mod path;

pub use access::{
    CertificateInfo, ClientTls, DistinguishedName, ForwardAuth, IpAllowList, PassTlsClientCert, RateLimit,
    Users, digest_user,
};
pub use breaker::{BREAKER_FIGURES, CircuitBreaker};
pub use delivery::{BUFFERING_FIGURES, Buffering, Retry};
pub use pages::{Compress, Encoding, Errors, media_type};
pub use path::{AddPrefix, PathCharacters, RedirectRegex, ReplacePath, ReplacePathRegex, StripPrefixRegex};

/// An HTTP middleware: exactly one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Middleware {
    /// Put a prefix before the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_prefix: Option<AddPrefix>,
    /// Serve clients that know a user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<Users>,
    /// Keep requests and answers whole before they go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffering: Option<Buffering>,
    /// Other middlewares in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<Chain>,
    /// Keep requests from a service that fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Make answers smaller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compress: Option<Compress>,
    /// Guess the `Content-Type` of answers that have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<ContentType>,
    /// Serve clients that show to know a user's password without sending it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest_auth: Option<Users>,
    /// Which encoded characters a path may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoded_characters: Option<PathCharacters>,
    /// Let another service answer where this one failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Errors>,
    /// Ask another server whether a client may pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_auth: Option<ForwardAuth>,
    /// Let clients of gRPC-Web call a service of gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_web: Option<GrpcWeb>,
    /// Request and response headers, CORS, security headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers>,
    /// Limit on requests in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight_req: Option<InFlightReq>,
    /// Serve clients of these addresses only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_allow_list: Option<IpAllowList>,
    /// The same by its old name. Deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_white_list: Option<IpAllowList>,
    /// Tell the service of the client's certificates.
    #[serde(rename = "passTLSClientCert", skip_serializing_if = "Option::is_none")]
    pub pass_tls_client_cert: Option<PassTlsClientCert>,
    /// Limit on requests in a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Redirect to what a regular expression makes of the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_regex: Option<RedirectRegex>,
    /// Redirect to another scheme or port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_scheme: Option<RedirectScheme>,
    /// Set the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_path: Option<ReplacePath>,
    /// Rewrite the path by a regular expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_path_regex: Option<ReplacePathRegex>,
    /// Send a request again that was not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Remove a prefix from the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<StripPrefix>,
    /// Remove a prefix that fits a regular expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_prefix_regex: Option<StripPrefixRegex>,
    /// Kinds that Traefik knows and that do not work yet, as written. A checked and enabled object has none.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Other middlewares in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Chain {
    /// By reference.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub middlewares: Vec<String>,
}

/// Guess the `Content-Type` of answers that have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContentType {
    /// `false` switches it off. Deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_detect: Option<bool>,
}

/// Let clients of gRPC-Web call a service of gRPC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcWeb {
    /// Origins whose pages may call, letter by letter; `*` means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_origins: Vec<String>,
}

/// Limit on requests in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InFlightReq {
    /// Most requests at once from one source; more are answered 429.
    pub amount: i64,
    /// What makes two requests come from one source; unset means the host (`requestHost`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_criterion: Option<SourceCriterion>,
}

/// What makes two requests come from one source: at most one field; none means the host (`requestHost`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceCriterion {
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_strategy: Option<IpStrategy>,
    /// A request header.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_header_name: String,
    /// The request's host.
    #[serde(skip_serializing_if = "is_false")]
    pub request_host: bool,
}

/// Which address is the client's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IpStrategy {
    /// Take the nth address of X-Forwarded-For from the right; 0 means off.
    #[serde(skip_serializing_if = "is_zero")]
    pub depth: i64,
    /// Take the last address of X-Forwarded-For that is in none of these ranges.
    #[serde(rename = "excludedIPs", skip_serializing_if = "Vec::is_empty")]
    pub excluded_ips: Vec<String>,
    /// Cut IPv6 addresses to this prefix, 0 to 128 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_subnet: Option<i64>,
}

/// Redirect to another scheme or port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RedirectScheme {
    /// The scheme to go to.
    pub scheme: String,
    /// The port to go to; empty means the scheme's own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub port: String,
    /// 301/308 in place of 302/307.
    #[serde(skip_serializing_if = "is_false")]
    pub permanent: bool,
}

/// Remove a prefix from the path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StripPrefix {
    /// Prefixes; the first that fits is removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// Keep a leading slash. Deprecated; unset means true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_slash: Option<bool>,
}

/// Request and response headers, CORS, security headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Headers {
    /// Set on the request; an empty value removes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_request_headers: BTreeMap<String, String>,
    /// Set on the response; an empty value removes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_response_headers: BTreeMap<String, String>,
    /// CORS: `Access-Control-Allow-Credentials: true`.
    #[serde(skip_serializing_if = "is_false")]
    pub access_control_allow_credentials: bool,
    /// CORS: headers of a preflight answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_control_allow_headers: Vec<String>,
    /// CORS: methods of a preflight answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_control_allow_methods: Vec<String>,
    /// CORS: allowed origins, exact, or `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_control_allow_origin_list: Vec<String>,
    /// CORS: allowed origins, regular expressions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_control_allow_origin_list_regex: Vec<String>,
    /// CORS: headers that scripts may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_control_expose_headers: Vec<String>,
    /// CORS: seconds that a preflight answer is good for.
    #[serde(skip_serializing_if = "is_zero")]
    pub access_control_max_age: i64,
    /// CORS: add `Vary: Origin`.
    #[serde(skip_serializing_if = "is_false")]
    pub add_vary_header: bool,
    /// Hosts that are served; others are answered 500 with `Bad Host`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_hosts: Vec<String>,
    /// Headers that may hold the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts_proxy_headers: Vec<String>,
    /// Headers that say that the client spoke TLS.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ssl_proxy_headers: BTreeMap<String, String>,
    /// `Strict-Transport-Security`: seconds; 0 means no header.
    #[serde(skip_serializing_if = "is_zero")]
    pub sts_seconds: i64,
    /// `Strict-Transport-Security`: `includeSubDomains`.
    #[serde(skip_serializing_if = "is_false")]
    pub sts_include_subdomains: bool,
    /// `Strict-Transport-Security`: `preload`.
    #[serde(skip_serializing_if = "is_false")]
    pub sts_preload: bool,
    /// `Strict-Transport-Security` on plain connections too.
    #[serde(rename = "forceSTSHeader", skip_serializing_if = "is_false")]
    pub force_sts_header: bool,
    /// `X-Frame-Options: DENY`.
    #[serde(skip_serializing_if = "is_false")]
    pub frame_deny: bool,
    /// `X-Frame-Options` with this value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub custom_frame_options_value: String,
    /// `X-Content-Type-Options: nosniff`.
    #[serde(skip_serializing_if = "is_false")]
    pub content_type_nosniff: bool,
    /// `X-XSS-Protection: 1; mode=block`.
    #[serde(skip_serializing_if = "is_false")]
    pub browser_xss_filter: bool,
    /// `X-XSS-Protection` with this value.
    #[serde(rename = "customBrowserXSSValue", skip_serializing_if = "String::is_empty")]
    pub custom_browser_xss_value: String,
    /// `Content-Security-Policy`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content_security_policy: String,
    /// `Content-Security-Policy-Report-Only`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content_security_policy_report_only: String,
    /// `Public-Key-Pins`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub public_key: String,
    /// `Referrer-Policy`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub referrer_policy: String,
    /// `Permissions-Policy`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub permissions_policy: String,
    /// Switch host checks, TLS redirects and STS off.
    #[serde(skip_serializing_if = "is_false")]
    pub is_development: bool,
    /// `Feature-Policy`. Deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_policy: Option<String>,
    /// Redirect to TLS. Deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssl_redirect: Option<bool>,
    /// With `sslRedirect`: 302 in place of 301. Deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssl_temporary_redirect: Option<bool>,
    /// With `sslRedirect`: the host to go to. Deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssl_host: Option<String>,
    /// With `sslRedirect`: go to `sslHost` even over TLS. Deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssl_force_host: Option<bool>,
}
