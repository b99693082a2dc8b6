//! Routers: where each one stands on which entry points, and what it does there.
//! A router in error keeps its place wherever its rule can be read, so that no other router serves its requests.

use std::sync::Arc;

use ravelin_config::dynamic::{HttpRouter, RouterTls};
use ravelin_config::rule::{self, CompiledRule, Matcher, PRIORITY_MAX, RouteKeys, Rule};
use ravelin_config::{Key, Record};
use serde_json::Value;

use ravelin_config::check::INTERNAL;

use super::Run;
use super::entry_points::has_model;
use crate::middleware::{Middleware, qualify};
use crate::service::Service;
use crate::table::tls_hosts::DEFAULT_OPTIONS;
use crate::table::{EntryPointTable, Outcome, Rank, Route};

/// Where a router was put, so that it can be taken away again.
#[derive(Clone)]
pub(super) struct Placement {
    entry_point: Arc<str>,
    over_tls: bool,
    keys: Arc<RouteKeys>,
    rank: Rank,
    options: Arc<str>,
}

/// Middlewares in order and the service behind them, or why a router cannot serve.
type Served = Result<(Box<[Middleware]>, Arc<Service>), Arc<str>>;

/// A rule ready to be placed.
struct Ready {
    rule: Arc<CompiledRule>,
    keys: Arc<RouteKeys>,
}

impl Run<'_> {
    /// A router's value in force, or as much of the wanted one as can be read and why it is not in force.
    pub(super) fn router(&self, key: &Key) -> Option<(HttpRouter, Option<Arc<str>>)> {
        let record = self.record(key)?;
        Some(match record.effective().map(|object| serde_json::from_slice(&object.bytes)) {
            Some(Ok(router)) => (router, None),
            Some(Err(error)) => (salvaged(&record), Some(Arc::from(error.to_string()))),
            None => (salvaged(&record), Some(Arc::from(record.status.errors.join("; ")))),
        })
    }

    /// Takes away the old places of these routers, then gives them their new ones.
    pub(super) fn routers(&mut self, keys: &[&Key]) {
        for key in keys {
            let Some(placements) = self.state.routers.remove(key.name()) else { continue };
            self.state.routes -= placements.len();
            for placement in placements.iter() {
                let Some(table) = self.state.entry_points.get_mut(&placement.entry_point) else { continue };
                let table = Arc::make_mut(table);
                let index = if placement.over_tls { &mut table.tls } else { &mut table.plain };
                index.remove(&placement.keys, &placement.rank);
                if placement.over_tls {
                    table.tls_hosts.change(&placement.keys, &placement.options, false);
                }
            }
        }
        for key in keys {
            self.place(key);
        }
    }

    fn place(&mut self, key: &Key) {
        let Some((router, reason)) = self.router(key) else { return self.state.note(key, None) };
        // The place of a child is within its parent's, where the parent already answers for it.
        if !router.parent_refs.is_empty() && reason.is_some() {
            return self.state.note(key, reason.as_deref());
        }
        // What a rule of the old language means is known only where both languages agree.
        let is_old = reason.is_some() && router.rule_syntax == "v2";
        let ready = match ready(&router.rule, is_old) {
            Ok(ready) => ready,
            Err(error) => {
                let text = reason.map_or(error, |reason| reason.to_string());
                return self.state.note(key, Some(&text));
            }
        };
        let entry_points = self.entry_points_of(&router.entry_points);
        let several = entry_points.len() > 1;
        let mut problem = reason.clone();
        let mut placements = Vec::with_capacity(entry_points.len());
        for table in entry_points {
            let name: Arc<str> = match several && has_model(&table.config) {
                true => Arc::from(format!("{}-{}", table.name, key.name())),
                false => Arc::from(key.name()),
            };
            let served = match &reason {
                Some(reason) => Err(Arc::clone(reason)),
                None => self.serve(key, &router, &table, &name),
            };
            problem = problem.or_else(|| served.as_ref().err().cloned());
            let rank = self.rank(key, &router, name);
            placements.push(self.put(&table, &router, &ready, rank, served));
        }
        self.state.note(key, problem.as_deref());
        self.state.routes += placements.len();
        self.state.routers.insert(Arc::from(key.name()), Arc::from(placements));
    }

    /// Middlewares and service of a router on one entry point, or why it cannot serve there.
    fn serve(&self, key: &Key, router: &HttpRouter, table: &EntryPointTable, name: &str) -> Served {
        let service = self.good_service(&qualify(&router.service, key.name()))?;
        let references = table.config.http.middlewares.iter().chain(&router.middlewares);
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
        let middlewares = Middleware::compile(&names, &templates, name, &self.process.states)
            .map_err(|error| Arc::from(error.to_string()))?;
        Ok((middlewares, service))
    }

    fn rank(&self, key: &Key, router: &HttpRouter, name: Arc<str>) -> Rank {
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
        Rank { priority, precedence, name, router: Arc::from(key.name()) }
    }

    fn put(
        &mut self,
        table: &EntryPointTable,
        router: &HttpRouter,
        ready: &Ready,
        rank: Rank,
        served: Served,
    ) -> Placement {
        let entry_tls = table.config.http.tls.as_ref();
        let over_tls = router.tls.is_some() || entry_tls.is_some();
        let options = match (&router.tls, entry_tls) {
            (Some(tls), _) => tls.options.as_deref(),
            (None, tls) => tls.and_then(|tls| tls.options.as_deref()),
        };
        let options = match options {
            None | Some("" | DEFAULT_OPTIONS) => Arc::from(DEFAULT_OPTIONS),
            Some(reference) => qualify(reference, &rank.router),
        };
        let of_router = router.observability.as_ref().and_then(|observability| observability.access_logs);
        let of_entry_point =
            table.config.observability.as_ref().map(|observability| observability.access_logs);
        let outcome = match served {
            Ok((middlewares, service)) => Outcome::Serve { middlewares, service },
            Err(reason) => Outcome::Error { reason },
        };
        let route = Arc::new(Route {
            rank: rank.clone(),
            rule: Arc::clone(&ready.rule),
            outcome,
            access_log: of_router.or(of_entry_point).unwrap_or(true),
        });
        if let Some(table) = self.state.entry_points.get_mut(&table.name) {
            let table = Arc::make_mut(table);
            let index = if over_tls { &mut table.tls } else { &mut table.plain };
            index.insert(&ready.keys, &route);
            if over_tls {
                table.tls_hosts.change(&ready.keys, &options, true);
            }
        }
        let keys = Arc::clone(&ready.keys);
        Placement { entry_point: Arc::clone(&table.name), over_tls, keys, rank, options }
    }
}

fn ready(text: &str, is_old: bool) -> Result<Ready, String> {
    let rule = rule::parse(text).map_err(|error| format!("invalid rule {text:?}: {error}"))?;
    if is_old && !agrees_with_old(&rule) {
        return Err(format!("the place of the rule {text:?} of the old language is not known"));
    }
    let compiled = rule.compile().map_err(|error| format!("invalid rule {text:?}: {error}"))?;
    Ok(Ready { rule: Arc::new(compiled), keys: Arc::new(rule.necessary_keys()) })
}

/// Whether the rule means the same in Traefik's second language, which had templates in braces.
fn agrees_with_old(rule: &Rule) -> bool {
    match rule {
        Rule::And(rules) | Rule::Or(rules) => rules.iter().all(agrees_with_old),
        Rule::Not(rule) => agrees_with_old(rule),
        Rule::Matcher(Matcher::Host(text) | Matcher::Path(text) | Matcher::PathPrefix(text)) => {
            !text.contains('{')
        }
        Rule::Matcher(Matcher::Method(_) | Matcher::ClientIp(_)) => true,
        Rule::Matcher(_) => false,
    }
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
