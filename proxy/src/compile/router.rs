//! Routers: where each one stands on which entry points or below which parents, and what it does there.
//! A router in error keeps its place wherever its rule can be read, so that no other router serves its requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ravelin_config::dynamic::{HttpRouter, RouterTls};
use ravelin_config::map::filling;
use ravelin_config::parallel::{self, BATCH, SHARE_MIN};
use ravelin_config::rule::{self, CompiledRule, PRIORITY_MAX, RouteKeys, RuleError, Syntax};
use ravelin_config::{Key, Kind, Record};
use serde_json::Value;

use ravelin_config::check::INTERNAL;

use super::Run;
use super::entry_points::{Site, has_model};
use super::known::newer;
use crate::metrics::Subject;
use crate::middleware::{Middleware, qualify};
use crate::table::tls_hosts::DEFAULT_OPTIONS;
use crate::table::{Outcome, Rank, Route};

/// Where a router was put, so that it can be taken away again.
#[derive(Clone)]
pub(super) struct Placement {
    place: Place,
    keys: Arc<RouteKeys>,
    route: Arc<Route>,
}

#[derive(Clone)]
enum Place {
    /// Among the routes of an entry point, with its TLS options where it has TLS.
    EntryPoint { name: Arc<str>, tls: Option<Arc<str>> },
    /// Among the children of a router.
    Parent(Arc<str>),
}

/// What a router does with a request, or why it cannot.
type Served = Result<Outcome, Arc<str>>;

/// What is seen of a router's requests.
struct Seen {
    access_log: bool,
    metrics: bool,
    meter: Option<Arc<Subject>>,
}

/// A rule ready to be placed.
struct Ready {
    rule: Arc<CompiledRule>,
    keys: Arc<RouteKeys>,
}

/// A router as its record says it.
struct Reading {
    router: HttpRouter,
    /// Why it cannot do what it is wanted to.
    reason: Option<Arc<str>>,
    /// Its rule, or why that has no place.
    ready: Result<Ready, String>,
}

impl Run<'_> {
    /// A router's value in force, or as much of the wanted one as can be read and why it is not in force.
    pub(super) fn router(&self, key: &Key) -> Option<(HttpRouter, Option<Arc<str>>)> {
        let record = self.record(key)?;
        let effective = record.effective();
        if let Some(reason) = effective.and_then(newer) {
            return Some((salvaged(&record), Some(Arc::from(reason))));
        }
        Some(match effective.map(|object| serde_json::from_slice(&object.bytes)) {
            Some(Ok(router)) => (router, None),
            Some(Err(error)) => (salvaged(&record), Some(Arc::from(error.to_string()))),
            None => (salvaged(&record), Some(Arc::from(record.status.errors.join("; ")))),
        })
    }

    /// Takes away the old places of these routers, then gives them their new ones. A parent's route holds its children, so
    /// that those above a router are placed again after it.
    pub(super) fn routers(&mut self, keys: &[&Key]) {
        let keys = self.with_ancestors(keys);
        for key in &keys {
            let Some(placements) = self.state.routers.remove(key.name()) else { continue };
            self.state.routes -= placements.len();
            for placement in placements.iter() {
                self.take_away(placement);
            }
        }
        let mut placed = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH) {
            let read = parallel::map(keys, SHARE_MIN, |key| self.read(key));
            placed.extend(keys.iter().zip(read).filter_map(|(key, read)| self.place(key, read)));
        }
        placed.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.state.routers.extend(filling(placed));
    }

    fn take_away(&mut self, Placement { place, keys, route }: &Placement) {
        let rank = &route.rank;
        match place {
            Place::EntryPoint { name, tls } => {
                let Some(table) = self.state.entry_points.get_mut(name) else { return };
                let table = Arc::make_mut(table);
                let index = if tls.is_some() { &mut table.tls } else { &mut table.plain };
                index.remove(keys, rank);
                if let Some(options) = tls {
                    table.tls_hosts.change(keys, options, false);
                }
            }
            Place::Parent(parent) => {
                let Some(children) = self.state.children.get_mut(parent) else { return };
                children.remove(keys, rank);
                if children.is_empty() {
                    self.state.children.remove(parent);
                }
            }
        }
    }

    /// These routers and all above them, each before its parents.
    fn with_ancestors(&self, keys: &[&Key]) -> Vec<Key> {
        if keys.iter().all(|key| self.parents(key).next().is_none()) {
            return keys.iter().copied().cloned().collect();
        }
        let mut all: BTreeSet<Key> = BTreeSet::new();
        let mut waiting: Vec<Key> = keys.iter().copied().cloned().collect();
        while let Some(key) = waiting.pop() {
            if all.contains(&key) {
                continue;
            }
            waiting.extend(self.parents(&key).cloned());
            all.insert(key);
        }
        // Those of a circle are in error, so that their order among each other does not matter.
        let circle: BTreeSet<&Key> = all.iter().filter(|key| self.is_own_ancestor(key)).collect();
        let before = |key: &Key| {
            let among = circle.contains(key);
            self.parents(key).filter(|parent| !(among && circle.contains(parent))).collect::<Vec<_>>()
        };
        let mut unplaced: BTreeMap<&Key, usize> = BTreeMap::new();
        for parent in all.iter().flat_map(before) {
            *unplaced.entry(parent).or_default() += 1;
        }
        let mut ready: Vec<&Key> = all.iter().filter(|key| !unplaced.contains_key(key)).collect();
        let mut ordered = Vec::with_capacity(all.len());
        while let Some(key) = ready.pop() {
            ordered.push(key.clone());
            for parent in before(key) {
                let Some(count) = unplaced.get_mut(parent) else { continue };
                *count -= 1;
                if *count == 0 {
                    ready.push(parent);
                }
            }
        }
        ordered
    }

    /// The parents that a router names, as last noted.
    pub(super) fn parents(&self, key: &Key) -> impl Iterator<Item = &Key> {
        self.state.references.of(key).iter().filter(|to| to.kind() == Some(Kind::HttpRouter))
    }

    /// Whether a router stands above itself: the control plane lets no such thing pass, but last good values of several
    /// routers may fall together so.
    fn is_own_ancestor(&self, key: &Key) -> bool {
        let mut above: Vec<&Key> = self.parents(key).collect();
        let mut seen = BTreeSet::new();
        while let Some(parent) = above.pop() {
            if parent == key {
                return true;
            }
            if seen.insert(parent) {
                above.extend(self.parents(parent));
            }
        }
        false
    }

    /// All of a router that does not depend on where other routers stand: the dear part of placing one.
    fn read(&self, key: &Key) -> Option<Reading> {
        let (router, reason) = self.router(key)?;
        let circle =
            || self.is_own_ancestor(key).then(|| "parentRefs: the router is an ancestor of itself".into());
        let reason = reason.or_else(circle);
        let ready = ready(&router, self.state.sections.language());
        Some(Reading { router, reason, ready })
    }

    /// Puts a router in its places, which are given back with its name.
    fn place(&mut self, key: &Key, read: Option<Reading>) -> Option<(Arc<str>, Arc<[Placement]>)> {
        let Some(Reading { router, reason, ready }) = read else {
            self.state.note(key, None);
            return None;
        };
        let ready = match ready {
            Ok(ready) => ready,
            Err(error) => {
                let text = reason.map_or(error, |reason| reason.to_string());
                tracing::warn!(
                    router = key.name(),
                    "no place of its own, others may get its requests: {text}"
                );
                self.state.note(key, Some(&text));
                return None;
            }
        };
        let name: Arc<str> = Arc::from(key.name());
        let placed = match router.parent_refs.is_empty() {
            true => self.on_entry_points((key, &name), &router, reason.as_ref(), &ready),
            false => self.below_parents((key, &name), &router, reason.as_ref(), &ready),
        };
        let problem = reason.or(placed.1);
        self.state.note(key, problem.as_deref());
        self.state.routes += placed.0.len();
        Some((name, Arc::from(placed.0)))
    }

    fn on_entry_points(
        &mut self,
        (key, own_name): (&Key, &Arc<str>),
        router: &HttpRouter,
        reason: Option<&Arc<str>>,
        ready: &Ready,
    ) -> (Vec<Placement>, Option<Arc<str>>) {
        let entry_points = self.entry_points_of(&router.entry_points);
        let several = entry_points.len() > 1;
        let (mut placements, mut problem) = (Vec::with_capacity(entry_points.len()), None);
        for site in entry_points {
            let name: Arc<str> = match several && has_model(&site.config, &self.state.sections) {
                true => Arc::from(format!("{}-{}", site.name, key.name())),
                false => Arc::clone(own_name),
            };
            let served = match reason {
                Some(reason) => Err(Arc::clone(reason)),
                None => self.serve(key, router, &site.config.http.middlewares, &name),
            };
            problem = problem.or_else(|| served.as_ref().err().cloned());
            let rank = self.rank((key, own_name), router, name);
            placements.push(self.put(&site, router, ready, rank, served));
        }
        (placements, problem)
    }

    fn below_parents(
        &mut self,
        (key, own_name): (&Key, &Arc<str>),
        router: &HttpRouter,
        reason: Option<&Arc<str>>,
        ready: &Ready,
    ) -> (Vec<Placement>, Option<Arc<str>>) {
        let served = match reason {
            Some(reason) => Err(Arc::clone(reason)),
            None => self.serve(key, router, &[], key.name()),
        };
        let problem = served.as_ref().err().cloned();
        let rank = self.rank((key, own_name), router, Arc::clone(own_name));
        // Whether its requests are logged is the root router's to say.
        let service = qualify(&router.service, key.name());
        let seen = Seen { access_log: true, ..self.seen(&rank.name, &service, true) };
        let route = Arc::new(route(rank, ready, served, seen, None));
        let parents: BTreeSet<Arc<str>> =
            router.parent_refs.iter().map(|parent| qualify(parent, key.name())).collect();
        let mut placements = Vec::with_capacity(parents.len());
        for parent in parents {
            self.state.children.entry(Arc::clone(&parent)).or_default().insert(&ready.keys, &route);
            let keys = Arc::clone(&ready.keys);
            placements.push(Placement { place: Place::Parent(parent), keys, route: Arc::clone(&route) });
        }
        (placements, problem)
    }

    /// What a router does under this name behind these middlewares of its entry point, or why it cannot.
    fn serve(&self, key: &Key, router: &HttpRouter, first: &[String], name: &str) -> Served {
        let references = first.iter().chain(&router.middlewares);
        let names: Vec<Arc<str>> = references.map(|reference| qualify(reference, key.name())).collect();
        for name in &names {
            match self.state.templates.get(name) {
                Some(Ok(_)) => {}
                Some(Err(reason)) => {
                    return Err(Arc::from(format!("the middleware {name:?} is in error: {reason}")));
                }
                None => return Err(Arc::from(format!("middleware {name:?} does not exist"))),
            }
        }
        let templates = |name: &str| self.good_template(name);
        let services = |name: &str| self.good_service(&Arc::from(name)).ok();
        let middlewares = Middleware::compile(&names, &templates, &services, name, &self.process.states)
            .map_err(|error| Arc::from(error.to_string()))?;
        if router.service.is_empty() {
            let children = self.state.children.get(key.name()).cloned().unwrap_or_default();
            return Ok(Outcome::Branch { middlewares, children: Box::new(children) });
        }
        let service = self.good_service(&qualify(&router.service, key.name()))?;
        Ok(Outcome::Serve { middlewares, service })
    }

    /// How requests of a router of this name, which leads to this service, are counted; `counted` is what the configuration says.
    fn seen(&self, name: &Arc<str>, service: &Arc<str>, counted: bool) -> Seen {
        let metrics = self.state.metrics.as_ref().filter(|metrics| counted && metrics.counts(service));
        let meter = metrics.and_then(|metrics| metrics.router(name, service));
        Seen { access_log: true, metrics: metrics.is_some(), meter }
    }

    fn rank(&self, (key, own_name): (&Key, &Arc<str>), router: &HttpRouter, name: Arc<str>) -> Rank {
        let internal = key.provider() == Some(INTERNAL);
        let priority = match router.priority {
            0 => rule::default_priority(&router.rule),
            // A user's router can never come before the process's own.
            wanted if !internal => wanted.min(PRIORITY_MAX),
            wanted => wanted,
        };
        let order = &self.state.sections.providers.precedence;
        let precedence = match key.provider() {
            _ if internal => u32::MAX,
            provider => {
                let place = order.iter().position(|name| Some(name.as_str()) == provider);
                u32::try_from(place.unwrap_or(order.len())).unwrap_or(u32::MAX - 1)
            }
        };
        Rank { priority, precedence, name, router: Arc::clone(own_name) }
    }

    fn put(
        &mut self,
        site: &Site,
        router: &HttpRouter,
        ready: &Ready,
        rank: Rank,
        served: Served,
    ) -> Placement {
        let entry_tls = site.config.http.tls.as_ref();
        let over_tls = router.tls.is_some() || entry_tls.is_some();
        let options = match (&router.tls, entry_tls) {
            (Some(tls), _) => tls.options.as_deref(),
            (None, tls) => tls.and_then(|tls| tls.options.as_deref()),
        };
        let options = match options {
            None | Some("" | DEFAULT_OPTIONS) => Arc::from(DEFAULT_OPTIONS),
            Some(reference) => qualify(reference, &rank.router),
        };
        let of_router = router.observability.as_ref();
        let of_entry_point = site.config.observability.as_ref();
        let access_log = of_router.and_then(|router| router.access_logs);
        let access_log = access_log.or(of_entry_point.map(|point| point.access_logs)).unwrap_or(true);
        let counted = of_router.and_then(|router| router.metrics);
        let counted = counted.or(of_entry_point.map(|point| point.metrics)).unwrap_or(true);
        let service = qualify(&router.service, &rank.router);
        let seen = Seen { access_log, ..self.seen(&rank.name, &service, counted) };
        let own_options = (over_tls && *options != *DEFAULT_OPTIONS).then(|| Arc::clone(&options));
        let route = Arc::new(route(rank, ready, served, seen, own_options));
        if let Some(table) = self.state.entry_points.get_mut(&site.name) {
            let table = Arc::make_mut(table);
            let index = if over_tls { &mut table.tls } else { &mut table.plain };
            index.insert(&ready.keys, &route);
            if over_tls {
                table.tls_hosts.change(&ready.keys, &options, true);
            }
        }
        let place = Place::EntryPoint { name: Arc::clone(&site.name), tls: over_tls.then_some(options) };
        Placement { place, keys: Arc::clone(&ready.keys), route }
    }
}

fn route(rank: Rank, ready: &Ready, served: Served, seen: Seen, tls_options: Option<Arc<str>>) -> Route {
    let outcome = served.unwrap_or_else(|reason| Outcome::Error { reason });
    let Seen { access_log, metrics, meter } = seen;
    Route { rank, rule: Arc::clone(&ready.rule), outcome, access_log, metrics, meter, tls_options }
}

fn ready(router: &HttpRouter, language: Syntax) -> Result<Ready, String> {
    let text = &router.rule;
    let invalid = |error: RuleError| format!("invalid rule {text:?}: {error}");
    let rule = rule::parse_as(text, router.syntax(language)).map_err(invalid)?;
    let compiled = rule.compile().map_err(invalid)?;
    Ok(Ready { rule: Arc::new(compiled), keys: Arc::new(rule.necessary_keys()) })
}

/// Whether the place of a router can be told by its rule, although the rest of it cannot be read. `language` is that of routers
/// that name none.
pub(super) fn has_place(record: &Record, language: Syntax) -> bool {
    ready(&salvaged(record), language).is_ok()
}

/// What a router in error says of its place, as far as it can be read: the rest of it may have any shape.
pub(crate) fn salvaged(record: &Record) -> HttpRouter {
    if let Ok(router) = serde_json::from_slice(&record.object.bytes) {
        return router;
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(&record.object.bytes) else {
        return HttpRouter::default();
    };
    let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |name: &str| match members.get(name) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(items)) => items.split(',').map(|item| item.trim().to_owned()).collect(),
        _ => Vec::new(),
    };
    let tls = members.get("tls").filter(|tls| !matches!(tls, Value::Null | Value::Bool(false)));
    HttpRouter {
        rule: text("rule"),
        rule_syntax: text("ruleSyntax"),
        priority: members.get("priority").and_then(Value::as_i64).unwrap_or(0),
        entry_points: list("entryPoints"),
        parent_refs: list("parentRefs"),
        tls: tls.map(|tls| serde_json::from_value(tls.clone()).unwrap_or_else(|_| RouterTls::default())),
        ..HttpRouter::default()
    }
}
