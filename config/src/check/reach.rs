//! The verdict on an object with everything it refers to.
//!
//! Faults are told in Traefik's words where it has them, from the leaf where they lie: a router hears why its
//! middleware's middleware cannot be used.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::own::{self, Own, Reference, Role, qualified};
use super::{Checker, EntryPoints, Node, provider_of};
use crate::key::Key;
use crate::object::Kind;

/// Deepest chain of references. Objects of a sane configuration refer four deep.
const DEPTH_MAX: usize = 64;

/// The transport that is always there.
const DEFAULT_TRANSPORT: &str = "default@internal";
/// Most middlewares in front of one router or service once chains are unfolded; what compiles them refuses more.
const CHAIN_LENGTH_MAX: usize = 256;

/// What is wrong with an object and with what it needs.
#[derive(Default)]
pub(super) struct Reach {
    pub(super) errors: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Reach {
    pub(super) fn of(checker: &Checker, key: &Key, node: &Node, entry_points: &EntryPoints) -> Self {
        let mut walk = Walk {
            checker,
            provider: provider_of(key),
            seen: BTreeSet::new(),
            stack: vec![key.clone()],
            recursive: false,
            reach: Self::default(),
        };
        match node.wanted().kind {
            Kind::HttpRouter => walk.router(&node.own, entry_points),
            Kind::EntryPoint => walk.entry_point(&node.own),
            _ => {
                walk.reach.errors.extend(node.own.seldom.errors.iter().cloned());
                walk.references(&node.own);
                walk.chain_length(&node.own.references);
            }
        }
        let mut reach = walk.reach;
        reach.warnings.extend(node.own.seldom.warnings.iter().cloned());
        reach
    }
}

struct Walk<'a> {
    checker: &'a Checker,
    /// The provider of the object that is judged: it qualifies the bare names of entry points.
    provider: &'a str,
    seen: BTreeSet<Key>,
    stack: Vec<Key>,
    recursive: bool,
    reach: Reach,
}

impl Walk<'_> {
    fn router(&mut self, own: &Own, entry_points: &EntryPoints) {
        if own.references.is_empty() {
            // Bytes that could not be read at all: nothing more can be said.
            return self.reach.errors.extend(own.seldom.errors.iter().cloned());
        }
        let (points, missing) = self.entry_points(own, &entry_points.default);
        if entry_points.any && points.is_empty() && own.parents().next().is_none() {
            self.reach.errors.extend(missing);
            self.reach.errors.push("no valid entryPoint for this router".to_owned());
            return;
        }
        if entry_points.any {
            self.reach.warnings.extend(missing);
        }
        self.family(own);
        self.reach.errors.extend(own.seldom.errors.iter().cloned());
        self.references(own);
        for point in points {
            if let Some(node) = self.checker.nodes.get(&point) {
                let label = label(Role::EntryPoint, &point);
                self.reach
                    .errors
                    .extend(node.own.seldom.errors.iter().map(|error| format!("{label}: {error}")));
                self.references(&node.own);
                self.chain_length(node.own.references.iter().chain(&own.references));
            }
        }
        self.chain_length(&own.references);
        self.tls_conflict(own, &entry_points.default);
    }

    /// What is wrong between a router and its parents and children.
    fn family(&mut self, own: &Own) {
        let Some(key) = self.stack.first().cloned() else { return };
        match (own.names_service, self.checker.dependants(&key).next()) {
            (Some(false), None) => self.reach.errors.push("the service is missing on the router".to_owned()),
            (Some(true), Some(child)) => {
                let text =
                    format!("service: the router has a child, {}, so it cannot have a service", child.name());
                self.reach.errors.push(text);
            }
            _ => {}
        }
        for parent in own.parents().filter(|parent| !self.checker.nodes.contains_key(*parent)) {
            self.reach.errors.push(absent(Role::Parent, parent));
        }
        let mut above: Vec<&Key> = own.parents().collect();
        let mut seen = BTreeSet::new();
        while let Some(parent) = above.pop() {
            if *parent == key {
                let text = format!("parentRefs: {} is an ancestor of itself", key.name());
                return self.reach.errors.push(text);
            }
            if seen.insert(parent)
                && let Some(node) = self.checker.nodes.get(parent)
            {
                above.extend(node.own.parents());
            }
        }
    }

    /// The entry points that exist of those a router uses, and a text for each that does not.
    fn entry_points(&self, own: &Own, default_entry_points: &[Key]) -> (Vec<Key>, Vec<String>) {
        let (mut points, mut missing) = (Vec::new(), Vec::new());
        for reference in &own.references {
            match reference.role {
                Role::DefaultEntryPoints => points.extend(default_entry_points.iter().cloned()),
                Role::EntryPoint if self.checker.nodes.contains_key(&reference.key) => {
                    points.push(reference.key.clone());
                }
                Role::EntryPoint => {
                    missing.push(format!("entryPoint \"{}\" doesn't exist", reference.key.name()));
                }
                _ => {}
            }
        }
        (points, missing)
    }

    /// An entry point is used even where what it names is missing: that is told to the routers on it.
    fn entry_point(&mut self, own: &Own) {
        self.references(own);
        let needed = std::mem::take(&mut self.reach.errors);
        // A bare name means the provider of each router, which is not known here.
        self.reach.warnings.extend(needed.into_iter().filter(|text| !text.contains("@internal\"")));
        self.reach.errors.extend(own.seldom.errors.iter().cloned());
    }

    fn references(&mut self, own: &Own) {
        for reference in &own.references {
            self.reference(reference);
        }
        for key in &own.seldom.needs_checked {
            if self.checker.nodes.get(key).is_some_and(|node| !node.own.checked) {
                let label = label(Role::Service, key);
                self.reach.errors.push(format!(
                    "{label}: it has no healthCheck, which the service that refers to it by health needs"
                ));
            }
        }
    }

    fn reference(&mut self, reference: &Reference) {
        if matches!(reference.role, Role::EntryPoint | Role::DefaultEntryPoints | Role::Parent) {
            return;
        }
        let key = self.resolved(reference);
        if self.stack.contains(&key) {
            return self.recursion(reference.role, &key);
        }
        if !self.seen.insert(key.clone()) {
            return;
        }
        if self.stack.len() > DEPTH_MAX {
            let text = format!("{}: referred to more than {DEPTH_MAX} deep", label(reference.role, &key));
            return self.reach.errors.push(text);
        }
        let Some(node) = self.checker.nodes.get(&key) else {
            if key.name() != DEFAULT_TRANSPORT {
                self.reach.errors.push(absent(reference.role, &key));
            }
            return;
        };
        for error in &node.own.seldom.errors {
            let label = label(reference.role, &key);
            let named =
                error.contains(&format!("\"{}\"", key.name())) || key.provider() == Some(super::INTERNAL);
            self.reach.errors.push(if named { error.clone() } else { format!("{label}: {error}") });
        }
        self.stack.push(key);
        self.references(&node.own);
        self.stack.pop();
    }

    /// Chains may fan out without a cycle; the proxy unfolds no more than this.
    fn chain_length<'r>(&mut self, references: impl IntoIterator<Item = &'r Reference>) {
        if self.recursive {
            return;
        }
        let middleware = |reference: &&Reference| reference.role == Role::Middleware;
        let mut waiting: Vec<Key> =
            references.into_iter().filter(middleware).map(|reference| self.resolved(reference)).collect();
        let mut visited = 0;
        while let Some(key) = waiting.pop() {
            visited += 1;
            if visited > CHAIN_LENGTH_MAX {
                let text =
                    format!("the chain of middlewares never ends, or is longer than {CHAIN_LENGTH_MAX}");
                return self.reach.errors.push(text);
            }
            let inner =
                self.checker.nodes.get(&key).map(|node| node.own.references.iter()).into_iter().flatten();
            waiting.extend(inner.filter(middleware).map(|reference| self.resolved(reference)));
        }
    }

    /// The key that a reference means; an entry point's bare name belongs to the provider of the router.
    fn resolved(&self, reference: &Reference) -> Key {
        match reference.role {
            Role::Middleware | Role::TlsOptions if reference.key.provider().is_none() => {
                let kind =
                    if reference.role == Role::Middleware { Kind::HttpMiddleware } else { Kind::TlsOptions };
                let name = qualified(reference.key.name(), self.provider);
                Key::of(kind, &name).unwrap_or_else(|_| reference.key.clone())
            }
            _ => reference.key.clone(),
        }
    }

    fn recursion(&mut self, role: Role, key: &Key) {
        self.recursive = true;
        let what = if role == Role::Service { "service" } else { "middleware" };
        let from = self.stack.iter().position(|on| on == key).unwrap_or(0);
        let names = self.stack.iter().skip(from).chain([key]).map(Key::name);
        let way = names.collect::<Vec<_>>().join("->");
        let text = format!("could not instantiate {what} {}: recursion detected in {way}", key.name());
        self.reach.errors.push(text);
    }

    /// Routers on one host and entry point with different TLS options all get the default ones: said to each.
    fn tls_conflict(&mut self, own: &Own, default_entry_points: &[Key]) {
        let Some(options) = &own.seldom.tls_options else { return };
        let mut told = BTreeSet::new();
        for ((point, host), _) in own.tls_places() {
            let at_odds = places_beside(&point, &host, default_entry_points).iter().any(|place| {
                let given = self.checker.tls_hosts.get(place);
                given.is_some_and(|given| given.keys().any(|other| other != options))
            });
            if at_odds && told.insert(Arc::clone(&host)) {
                self.reach.warnings.push(format!(
                    "found different TLS options for routers on the same host {host}, so using the default TLS \
                     options instead"
                ));
            }
        }
    }
}

/// The places on which a host's routers meet those of one place: itself, and where it or they are default entry points.
pub(super) fn places_beside(
    point: &Key,
    host: &Arc<str>,
    default_entry_points: &[Key],
) -> Vec<(Key, Arc<str>)> {
    let unnamed = own::entry_point_key("");
    let mut points = vec![point.clone()];
    if *point == unnamed {
        points.extend(default_entry_points.iter().cloned());
    } else if default_entry_points.contains(point) {
        points.push(unnamed);
    }
    points.into_iter().map(|point| (point, Arc::clone(host))).collect()
}

fn label(role: Role, key: &Key) -> String {
    let what = match role {
        Role::Service => "service",
        Role::Middleware => "middleware",
        Role::TlsOptions => "TLS options",
        Role::Transport => "servers transport",
        Role::EntryPoint | Role::DefaultEntryPoints => "entryPoint",
        Role::Workload => "static section",
        Role::Parent => "parent router",
    };
    format!("{what} \"{}\"", key.name())
}

fn absent(role: Role, key: &Key) -> String {
    let name = key.name();
    match role {
        Role::Service => match name.strip_suffix("@internal") {
            Some(service @ ("api" | "dashboard" | "ping" | "prometheus" | "rest")) => {
                format!("{service} is not enabled")
            }
            _ => format!("the service \"{name}\" does not exist"),
        },
        Role::Middleware => format!("middleware \"{name}\" does not exist"),
        Role::TlsOptions => format!("unknown TLS options: {name}"),
        Role::Transport => format!("servers transport not found {name}"),
        Role::EntryPoint | Role::DefaultEntryPoints => format!("entryPoint \"{name}\" doesn't exist"),
        Role::Workload => {
            "SPIFFE is enabled for this transport, but not configured: set `spiffe.workloadAPIAddr` in the \
                           static configuration"
                .to_owned()
        }
        Role::Parent => format!("parent router \"{name}\" does not exist"),
    }
}
