//! The static sections of a generation as the proxy reads them, and the TLS objects: parsed once, shared while unchanged.
//! It must not act on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ravelin_config::dynamic::{TlsCertificate, TlsOptions, TlsStore};
use ravelin_config::rule::Syntax;
use ravelin_config::static_config::{AccessLog, Api, Core, Global, Log, Metrics, Ping, Providers, Workload};

/// The static sections in force; one that is absent or in error is `None` or Traefik's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sections {
    /// `static/api`.
    pub api: Option<Api>,
    /// `static/ping`.
    pub ping: Option<Ping>,
    /// `static/accessLog`.
    pub access_log: Option<AccessLog>,
    /// `static/metrics`.
    pub metrics: Option<Metrics>,
    /// `static/log`.
    pub log: Log,
    /// `static/global`.
    pub global: Global,
    /// `static/providers`.
    pub providers: Providers,
    /// `static/core`.
    pub core: Option<Core>,
    /// `static/spiffe`.
    pub spiffe: Option<Workload>,
}

impl Sections {
    /// The language of rules of routers that name none.
    pub fn language(&self) -> Syntax {
        Core::syntax(self.core.as_ref())
    }
}

/// TLS objects in force, by qualified name (certificates by the name in their key).
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// Certificates.
    pub certificates: BTreeMap<Arc<str>, Arc<TlsCertificate>>,
    /// Stores; only `default` is used.
    pub stores: BTreeMap<Arc<str>, Arc<TlsStore>>,
    /// Options.
    pub options: BTreeMap<Arc<str>, Arc<TlsOptions>>,
}
