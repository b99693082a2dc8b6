//! HTTP routers.

use serde::{Deserialize, Serialize};

use super::is_zero;
use crate::rule::Syntax;

/// An HTTP router: which requests, through which middlewares, to which service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouter {
    /// Entry points by name; empty means the default ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entry_points: Vec<String>,
    /// Middlewares in order, by reference (`name` or `name@provider`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub middlewares: Vec<String>,
    /// The service, by reference. Empty only where the router has children.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// The rule's text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// Parents, by reference: the router sees what their middlewares let through, and has neither entry points nor TLS.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<String>,
    /// `v3`, `default` or `v2`. Deprecated in Traefik.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule_syntax: String,
    /// Higher first; 0 means the rule's length in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i64,
    /// Present: the router sees only requests that came over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<RouterTls>,
    /// What is logged and measured of this router's requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability: Option<RouterObservability>,
}

impl HttpRouter {
    /// The language of its rule; `default` is that of routers that name none.
    pub fn syntax(&self, default: Syntax) -> Syntax {
        if self.rule_syntax.is_empty() { default } else { Syntax::named(&self.rule_syntax) }
    }
}

/// A router's TLS part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouterTls {
    /// TLS options, by reference; unset means `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
    /// Certificate resolver. Taken without effect until resolvers exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_resolver: Option<String>,
    /// Names to obtain a certificate for. Taken without effect until resolvers exist.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Domain>,
}

/// A certificate's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Domain {
    /// Main name.
    pub main: String,
    /// Further names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sans: Vec<String>,
}

/// What is logged and measured of a router's requests; unset means as the entry point says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouterObservability {
    /// Access log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_logs: Option<bool>,
    /// Metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<bool>,
    /// Tracing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<bool>,
    /// `minimal` or `detailed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_verbosity: Option<String>,
}
