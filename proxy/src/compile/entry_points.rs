//! The static part of a generation: sections and entry points.
//! It must not place routers; it says which ones have to be placed again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ravelin_config::spiffe::WorkloadAddress;
use ravelin_config::static_config::{self, Address, EntryPoint, Protocol};
use ravelin_config::{Key, Kind};
use serde::de::DeserializeOwned;

use super::Run;
use crate::limits::EntryPointPolicy;
use crate::metrics::Metrics;
use crate::service::DEFAULT_TRANSPORT;
use crate::table::sections::Sections;
use crate::table::{EntryPointTable, RouteIndex};

/// The entry point that routers without entry points never use.
const INTERNAL_ENTRY_POINT: &str = "traefik";

impl Run<'_> {
    /// The value in force of a static object; a text that does not read is noted and counts as absent.
    fn static_value<T: DeserializeOwned>(&mut self, key: &Key) -> Option<T> {
        let record = self.record(key);
        let value = record.as_ref().and_then(|record| record.effective());
        let parsed = value.map(|object| serde_json::from_slice(&object.bytes));
        let problem = match &parsed {
            Some(Err(error)) => Some(error.to_string()),
            _ => None,
        };
        self.state.note(key, problem.as_deref());
        parsed.and_then(Result::ok)
    }

    fn section<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let key = Key::of(Kind::StaticSection, name).ok()?;
        self.static_value(&key)
    }

    /// Reads all static objects. Returns the keys whose meaning changed with them.
    pub(super) fn static_sections(&mut self) -> BTreeSet<Key> {
        let mut changed = BTreeSet::new();
        let sections = Sections {
            api: self.section("api"),
            ping: self.section("ping"),
            access_log: self.section("accessLog"),
            metrics: self.section("metrics"),
            log: self.section("log").unwrap_or_default(),
            global: self.section("global").unwrap_or_default(),
            providers: self.section("providers").unwrap_or_default(),
            core: self.section("core"),
            spiffe: self.section("spiffe"),
        };
        if !self.state.transports.contains_key(DEFAULT_TRANSPORT) {
            changed.extend(Key::of(Kind::HttpServersTransport, DEFAULT_TRANSPORT));
        }
        let precedence_changed = sections.providers.precedence != self.state.sections.providers.precedence;
        if sections.metrics != self.state.sections.metrics {
            self.metrics(sections.metrics.as_ref());
            changed.extend(self.every(Kind::HttpService));
            changed.extend(self.every(Kind::HttpRouter));
        }
        if sections.spiffe != self.state.sections.spiffe {
            self.workload(sections.spiffe.as_ref());
            changed.extend(self.every(Kind::HttpServersTransport));
            changed.extend(Key::of(Kind::HttpServersTransport, DEFAULT_TRANSPORT));
        }
        let language_changed = sections.core != self.state.sections.core;
        let append_client = !sections.global.not_append_x_forwarded_for;
        if *self.state.sections != sections {
            self.state.sections = Arc::new(sections);
        }
        let routing_changed = self.entry_points(append_client);
        if precedence_changed || language_changed || routing_changed {
            changed.extend(self.every(Kind::HttpRouter));
        }
        changed
    }

    /// Sets the entry points. True if routers have to be placed again.
    fn entry_points(&mut self, append_client: bool) -> bool {
        let map = self.map;
        let keys: Vec<Key> = map.range(Kind::EntryPoint.prefix()).map(|(key, _)| key.clone()).collect();
        let mut found = BTreeMap::new();
        for key in &keys {
            let Some(config) = self.static_value::<EntryPoint>(key) else { continue };
            let name: Arc<str> = Arc::from(key.name());
            match EntryPointPolicy::compile(&config, append_client) {
                Ok(policy) => drop(found.insert(name, (config, policy))),
                Err(error) => self.state.note(key, Some(&error.to_string())),
            }
        }
        let before = std::mem::take(&mut self.state.entry_points);
        let same = before.len() == found.len()
            && found.iter().all(|(name, (config, _))| {
                before.get(name).is_some_and(|old| routes_alike(&old.config, config))
            });
        for (name, (config, policy)) in found {
            let old = before.get(&name);
            let config = match old {
                Some(old) if *old.config == config => Arc::clone(&old.config),
                _ => Arc::new(config),
            };
            let kept = old.filter(|_| same);
            let table = EntryPointTable {
                name: Arc::clone(&name),
                config,
                policy: Arc::new(policy),
                meter: self.state.metrics.as_ref().and_then(|metrics| metrics.entry_point(&name)),
                plain: kept.map_or_else(RouteIndex::default, |old| old.plain.clone()),
                tls: kept.map_or_else(RouteIndex::default, |old| old.tls.clone()),
                tls_hosts: kept.map(|old| old.tls_hosts.clone()).unwrap_or_default(),
            };
            self.state.entry_points.insert(name, Arc::new(table));
        }
        if !same {
            self.state.routers.clear();
            self.state.children.clear();
            self.state.routes = 0;
        }
        !same
    }

    fn every(&self, kind: Kind) -> BTreeSet<Key> {
        self.map.range(kind.prefix()).map(|(key, _)| key.clone()).collect()
    }

    /// Follows the Workload API that is configured now. Transports hold the one they were compiled with.
    fn workload(&mut self, config: Option<&static_config::Workload>) {
        let Ok(key) = Key::of(Kind::StaticSection, "spiffe") else { return };
        let address = config.map(|config| config.workload_api_addr.as_str()).filter(|text| !text.is_empty());
        let source = address.map(|text| {
            let address =
                text.parse::<WorkloadAddress>().map_err(|error| format!("workloadAPIAddr: {error}"))?;
            self.process.workloads.at(&address).map_err(|error| format!("it cannot be followed: {error}"))
        });
        let source = source.transpose();
        if let Err(reason) = &source {
            self.state.note(&key, Some(reason));
        }
        self.state.workload = source.ok().flatten();
    }

    /// Counts anew by this configuration.
    fn metrics(&mut self, config: Option<&static_config::Metrics>) {
        let Ok(key) = Key::of(Kind::StaticSection, "metrics") else { return };
        let compiled = config.map(|config| Metrics::compile(config, self.process.workers)).transpose();
        // What the section's text lacks was noted when it was read.
        if let Err(reason) = &compiled {
            self.state.note(&key, Some(reason));
        }
        self.state.metrics = compiled.ok().flatten().flatten().map(Arc::new);
    }

    /// The entry points of a router that names `wanted`, or none.
    pub(super) fn entry_points_of(&self, wanted: &[String]) -> Vec<Site> {
        let tables = entry_points_of(&self.state.entry_points, wanted);
        let site = |table: Arc<EntryPointTable>| Site {
            name: Arc::clone(&table.name),
            config: Arc::clone(&table.config),
        };
        tables.into_iter().map(site).collect()
    }
}

/// An entry point without its routes: who held those while they change would make each change copy their index.
pub(super) struct Site {
    pub(super) name: Arc<str>,
    pub(super) config: Arc<EntryPoint>,
}

/// The entry points of a router that names `wanted`, or none: then the default ones.
pub(crate) fn entry_points_of(
    all: &BTreeMap<Arc<str>, Arc<EntryPointTable>>,
    wanted: &[String],
) -> Vec<Arc<EntryPointTable>> {
    if !wanted.is_empty() {
        let names: BTreeSet<&String> = wanted.iter().collect();
        return names.into_iter().filter_map(|name| all.get(name.as_str())).cloned().collect();
    }
    let some_are_default = all.values().any(|table| table.config.as_default);
    let is_default = |table: &&Arc<EntryPointTable>| match some_are_default {
        true => table.config.as_default,
        false => &*table.name != INTERNAL_ENTRY_POINT && !is_udp(&table.config),
    };
    all.values().filter(is_default).cloned().collect()
}

/// The entry points of a UDP router that names none.
pub(crate) fn udp_entry_points(all: &BTreeMap<Arc<str>, Arc<EntryPointTable>>) -> Vec<Arc<EntryPointTable>> {
    all.values().filter(|table| is_udp(&table.config)).cloned().collect()
}

fn is_udp(config: &EntryPoint) -> bool {
    config.address.parse::<Address>().is_ok_and(|address| address.protocol == Protocol::Udp)
}

/// Whether routers need no new places: all that they take from an entry point is equal.
fn routes_alike(a: &EntryPoint, b: &EntryPoint) -> bool {
    a.as_default == b.as_default
        && a.http.middlewares == b.http.middlewares
        && a.http.tls == b.http.tls
        && a.observability == b.observability
        && is_udp(a) == is_udp(b)
}

/// Whether an entry point gives its routers something of its own, a language of rules too: a router on several is then named
/// for each.
pub(crate) fn has_model(config: &EntryPoint, sections: &Sections) -> bool {
    sections.core.is_some()
        || !config.http.middlewares.is_empty()
        || config.http.tls.is_some()
        || config.observability.is_some()
}
