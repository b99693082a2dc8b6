//! Routes and entry points as a request meets them.
//! It must not decide what a router means: the compiler has.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use ravelin_config::rule::{self, CompiledRule, RequestFacts};
use ravelin_config::{ConfigMap, GenerationId, Key, static_config};

use super::index::{Rank, Ranked, RouteIndex};
use super::sections::Sections;
use super::tls_hosts::TlsHosts;
use crate::limits::EntryPointPolicy;
use crate::metrics::{Metrics, Subject};
use crate::middleware::Middleware;
use crate::service::Service;
use crate::tls::{Demands, TlsTable};

/// One compiled generation. A request sees exactly one.
#[derive(Clone, Default)]
pub struct Table {
    /// What it was compiled from; `None` before the first generation.
    pub generation: Option<GenerationId>,
    /// Which of the compiler's tables it is: no other one of the process has its number. 0 before the first.
    pub number: u64,
    /// The generation itself, for the API.
    pub config: ConfigMap,
    /// The static sections in force.
    pub sections: Arc<Sections>,
    /// What requests are counted by, if they are.
    pub metrics: Option<Arc<Metrics>>,
    /// Certificates and options, compiled; `None` only before the first generation.
    pub tls: Option<Arc<TlsTable>>,
    /// Entry points by name.
    pub entry_points: BTreeMap<Arc<str>, Arc<EntryPointTable>>,
    /// Services by qualified name, compiled, or why one is not.
    pub services: OrdMap<Arc<str>, Result<Arc<Service>, Arc<str>>>,
    /// What is wrong with which object: judged bad by the control plane, or not usable here; for log and API.
    pub problems: OrdMap<Key, Arc<str>>,
}

/// One entry point and its routes.
#[derive(Clone)]
pub struct EntryPointTable {
    /// Its name.
    pub name: Arc<str>,
    /// Its configuration; shared between generations while unchanged, so that pointers tell of a change.
    pub config: Arc<static_config::EntryPoint>,
    /// What holds before a route is known.
    pub policy: Arc<EntryPointPolicy>,
    /// Where its requests are counted, if they are.
    pub meter: Option<Arc<Subject>>,
    /// Routes for requests that came without TLS.
    pub plain: RouteIndex<Route>,
    /// Routes for requests that came over TLS.
    pub tls: RouteIndex<Route>,
    /// Which TLS options each host of a router has.
    pub tls_hosts: TlsHosts,
}

/// One router on one entry point.
pub struct Route {
    /// Where it stands among the others; holds its qualified name.
    pub rank: Rank,
    /// The compiled rule.
    pub rule: Arc<CompiledRule>,
    /// What happens to a request that it gets.
    pub outcome: Outcome,
    /// Whether its requests are logged.
    pub access_log: bool,
    /// Whether its requests are counted, for whomever.
    pub metrics: bool,
    /// Where its requests are counted for itself, if they are.
    pub meter: Option<Arc<Subject>>,
    /// The qualified name of the TLS options that its router asks for, where they are not the default ones.
    pub tls_options: Option<Arc<str>>,
}

/// What happens to a request.
pub enum Outcome {
    /// It passes the middlewares in order and goes to the service.
    Serve {
        /// In order: the entry point's, the router's, with chains laid out flat.
        middlewares: Box<[Middleware]>,
        /// Where it goes.
        service: Arc<Service>,
    },
    /// It passes the middlewares in order, and then another router is found for what they made of it.
    Branch {
        /// As of [`Outcome::Serve`].
        middlewares: Box<[Middleware]>,
        /// The routers that name this one as their parent.
        children: Box<RouteIndex<Route>>,
    },
    /// The router is in error and has no last good value: 503 in its own place, so that no other router gets the request.
    Error {
        /// Why, as logged and shown by the API.
        reason: Arc<str>,
    },
}

impl Route {
    /// The router's qualified name.
    pub fn name(&self) -> &Arc<str> {
        &self.rank.name
    }
}

impl Ranked for Route {
    fn rank(&self) -> &Rank {
        &self.rank
    }

    fn rule(&self) -> &CompiledRule {
        &self.rule
    }
}

impl EntryPointTable {
    /// The route of a request, if any; the path in `facts` is the normalised one. A router with TLS sees only requests over
    /// TLS, one without only the others.
    pub fn route(&self, over_tls: bool, facts: &RequestFacts<'_>) -> Option<&Arc<Route>> {
        let path = rule::routing_path(facts.path);
        let facts = RequestFacts { path: &path, ..*facts };
        if over_tls { self.tls.find(&facts) } else { self.plain.find(&facts) }
    }

    /// The qualified name of the TLS options for a host: those of the routers that name it, or `default`.
    ///
    /// For a connection the host is that of SNI. A request whose host has other options than its connection is misdirected.
    pub fn tls_options(&self, host: &str) -> &str {
        self.tls_hosts.options(host)
    }
}

impl Table {
    /// The table of a process that has no generation yet: no entry points, nothing served.
    pub fn empty() -> Self {
        Self::default()
    }

    /// What the TLS options of a host ask of a connection now. `None`: more than any has.
    pub fn demands(&self, entry_point: &EntryPointTable, host: &str) -> Option<Demands> {
        self.tls.as_deref()?.demands(entry_point.tls_options(host))
    }

    /// Whether a router asks clients for certificates by other TLS options than those that the connection was made with, as
    /// hosts on which routers disagree, or that a rule does not name, have the default ones. Options that are not known ask for more
    /// than anybody can give.
    pub fn asks_more(&self, route: &Route, made_with: Demands) -> bool {
        let Some(wanted) = route.tls_options.as_deref() else { return false };
        let Some(tls) = self.tls.as_deref() else { return true };
        tls.verifies_clients(wanted) && tls.demands(wanted) != Some(made_with)
    }

    /// The entry point of this name.
    pub fn entry_point(&self, name: &str) -> Option<&Arc<EntryPointTable>> {
        self.entry_points.get(name)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("rank", &self.rank).finish_non_exhaustive()
    }
}

impl fmt::Debug for EntryPointTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryPointTable").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("generation", &self.generation).finish_non_exhaustive()
    }
}
