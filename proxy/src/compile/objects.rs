//! Services, middlewares, transports and TLS objects: what they refer to, and how each is compiled.
//! It must not refuse a generation: what cannot be compiled is kept as a reason, which its routers answer with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ravelin_config::dynamic::{
    HttpService, Middleware, ServersTransport, TlsCertificate, TlsOptions, TlsStore,
};
use ravelin_config::{Key, Kind};
use serde::de::DeserializeOwned;

use super::known::newer;
use super::{Compiled, Run};
use crate::middleware::{Template, qualify};
use crate::service::{DEFAULT_TRANSPORT, InternalService, Resolver, Service};
use crate::table::sections::TlsSettings;
use crate::tls::TlsTable;
use crate::upstream::Transport;

impl Run<'_> {
    /// The value in force of an object: absent, or parsed, or the reason why there is none.
    pub(super) fn value<T: DeserializeOwned>(&self, key: &Key) -> Option<Result<T, String>> {
        let record = self.record(key)?;
        Some(match record.effective() {
            Some(object) => match newer(object) {
                Some(reason) => Err(reason),
                None => serde_json::from_slice(&object.bytes).map_err(|error| error.to_string()),
            },
            None => Err(record.status.errors.join("; ")),
        })
    }

    /// The transport without a name exists in every configuration.
    fn servers_transport(&self, key: &Key) -> Option<Result<ServersTransport, String>> {
        let value = self.value(key);
        if value.is_none() && key.name() == DEFAULT_TRANSPORT {
            return Some(Ok(ServersTransport::default()));
        }
        value
    }

    /// All that an object refers to, whether it exists or not.
    pub(super) fn refers_to(&self, key: &Key) -> BTreeSet<Key> {
        let owner = key.name();
        let mut found = BTreeSet::new();
        let mut add = |kind: Kind, references: &[String]| {
            found.extend(references.iter().filter_map(|name| Key::of(kind, &qualify(name, owner)).ok()));
        };
        match key.kind() {
            Some(Kind::HttpMiddleware) => {
                let Some(Ok(middleware)) = self.value::<Middleware>(key) else { return found };
                if let Some(chain) = &middleware.chain {
                    add(Kind::HttpMiddleware, &chain.middlewares);
                }
                if let Some(errors) = &middleware.errors {
                    add(Kind::HttpService, std::slice::from_ref(&errors.service));
                }
            }
            Some(Kind::HttpService) => {
                let Some(Ok(service)) = self.value::<HttpService>(key) else { return found };
                add(Kind::HttpMiddleware, &service.middlewares);
                let children: Vec<String> = service.children().map(str::to_owned).collect();
                add(Kind::HttpService, &children);
                if let Some(balancer) = &service.load_balancer {
                    let transport = balancer.servers_transport.clone().filter(|name| !name.is_empty());
                    add(
                        Kind::HttpServersTransport,
                        &[transport.unwrap_or_else(|| DEFAULT_TRANSPORT.to_owned())],
                    );
                }
            }
            Some(Kind::HttpRouter) => {
                let Some((router, _)) = self.router(key) else { return found };
                if !router.parent_refs.is_empty() {
                    add(Kind::HttpRouter, &router.parent_refs);
                }
                add(Kind::HttpService, std::slice::from_ref(&router.service));
                add(Kind::HttpMiddleware, &router.middlewares);
                for entry_point in self.entry_points_of(&router.entry_points) {
                    add(Kind::HttpMiddleware, &entry_point.config.http.middlewares);
                }
            }
            _ => {}
        }
        found
    }

    pub(super) fn transport(&mut self, key: &Key) {
        let workload = self.state.workload.as_ref();
        let compiled = self.servers_transport(key).map(|config| {
            config.and_then(|config| Transport::compile(&config, workload).map_err(|error| error.to_string()))
        });
        let compiled = compiled.map(share);
        self.state.note(key, problem(&compiled));
        set(&mut self.state.transports, key.name(), compiled);
    }

    pub(super) fn template(&mut self, key: &Key) {
        let compiled = self.value::<Middleware>(key).map(|config| {
            config.and_then(|config| {
                Template::compile(key.name(), &config, &self.process.upstreams)
                    .map_err(|error| error.to_string())
            })
        });
        let compiled = compiled.map(share);
        self.state.note(key, problem(&compiled));
        set(&mut self.state.templates, key.name(), compiled);
    }

    /// Compiles services, children before parents.
    pub(super) fn services(&mut self, keys: &BTreeSet<&Key>) {
        let mut done = BTreeSet::new();
        for key in keys {
            self.service(key, keys, &mut done);
        }
    }

    /// Walks down without recursion: a service whose children are not done waits until they are.
    fn service<'k>(&mut self, key: &'k Key, keys: &BTreeSet<&'k Key>, done: &mut BTreeSet<&'k Key>) {
        let mut path = vec![key];
        while let Some(&key) = path.last() {
            if done.contains(key) {
                path.pop();
                continue;
            }
            let children: Vec<&Key> = self
                .services_below(key)
                .iter()
                .filter_map(|child| keys.get(child).copied())
                .filter(|child| !done.contains(*child))
                .collect();
            let looped = children.iter().find(|child| path.contains(child));
            let compiled = match (looped, children.first()) {
                (Some(child), _) => {
                    Some(Err(Arc::from(format!("the service {} contains itself", child.name()))))
                }
                (None, Some(child)) => {
                    path.push(child);
                    continue;
                }
                (None, None) => self.compile_service(key),
            };
            self.state.note(key, problem(&compiled));
            set(&mut self.state.services, key.name(), compiled);
            done.insert(key);
            path.pop();
        }
    }

    /// The services that a service needs: its children, and those that its middlewares ask for pages.
    fn services_below(&self, key: &Key) -> BTreeSet<Key> {
        let (mut found, mut seen, mut waiting) = (BTreeSet::new(), BTreeSet::new(), vec![key.clone()]);
        while let Some(next) = waiting.pop() {
            for to in self.refers_to(&next) {
                match to.kind() {
                    Some(Kind::HttpService) => drop(found.insert(to)),
                    Some(Kind::HttpMiddleware) if seen.insert(to.clone()) => waiting.push(to),
                    _ => {}
                }
            }
        }
        found
    }

    fn compile_service(&self, key: &Key) -> Option<Compiled<Service>> {
        let config = match self.value::<HttpService>(key)? {
            Ok(config) => config,
            Err(reason) => return Some(Err(Arc::from(reason))),
        };
        if let Some(internal) = InternalService::by_name(key.name()) {
            return Some(Ok(Arc::new(Service::internal(internal))));
        }
        let broken = config.children().find_map(|child| {
            let name = qualify(child, key.name());
            match self.state.services.get(&name) {
                Some(Err(reason)) => Some(Arc::from(format!("the service {name} is in error: {reason}"))),
                _ => None,
            }
        });
        if let Some(reason) = broken {
            return Some(Err(reason));
        }
        let resolver = Resolver {
            upstreams: &self.process.upstreams,
            states: &self.process.states,
            servers: &self.process.servers,
            checks: &self.process.checks,
            metrics: self.state.metrics.as_deref(),
            transport: &|name| self.state.transports.get(name).and_then(|found| found.as_ref().ok()).cloned(),
            service: &|name| self.state.services.get(name).and_then(|found| found.as_ref().ok()).cloned(),
            middleware: &|name| self.good_template(name),
        };
        Some(share(Service::compile(key.name(), &config, &resolver).map_err(|error| error.to_string())))
    }

    pub(super) fn good_template(&self, name: &str) -> Option<Arc<Template>> {
        self.state.templates.get(name).and_then(|found| found.as_ref().ok()).cloned()
    }

    /// The service of a router, or why it has none.
    pub(super) fn good_service(&self, name: &Arc<str>) -> Compiled<Service> {
        match self.state.services.get(name) {
            Some(Ok(service)) => Ok(Arc::clone(service)),
            Some(Err(reason)) => Err(Arc::from(format!("the service {name:?} is in error: {reason}"))),
            None => Err(Arc::from(format!("the service {name:?} does not exist"))),
        }
    }

    /// Reads the changed TLS objects; the others keep their place in memory.
    pub(super) fn tls<'k>(&mut self, changed: impl Iterator<Item = &'k Key>) {
        let mut tls = TlsSettings::clone(&self.state.tls_settings);
        for key in changed {
            let problem = match key.kind() {
                Some(Kind::TlsCertificate) => self.read_into(key, &mut tls.certificates),
                Some(Kind::TlsStore) => {
                    let problem = self.read_into(key, &mut tls.stores);
                    if problem.is_some() {
                        tls.stores.insert(Arc::from(key.name()), Arc::new(unusable_store()));
                    }
                    problem
                }
                _ => {
                    let problem = self.read_into(key, &mut tls.options);
                    if problem.is_some() {
                        tls.options.insert(Arc::from(key.name()), Arc::new(unusable_options()));
                    }
                    problem
                }
            };
            self.state.note(key, problem.as_deref());
        }
        let compiled = TlsTable::compile(&tls, &self.process.generated, self.state.tls.as_deref());
        for (name, error) in compiled.problems() {
            let kind = if tls.options.contains_key(name) { Kind::TlsOptions } else { Kind::TlsCertificate };
            // What the object itself lacks says more than what became of it.
            if let Ok(key) = Key::of(kind, name)
                && !self.state.problems.contains_key(&key)
            {
                self.state.note(&key, Some(&error.to_string()));
            }
        }
        self.state.tls_settings = Arc::new(tls);
        self.state.tls = Some(Arc::new(compiled));
    }

    fn read_into<T: DeserializeOwned>(
        &self,
        key: &Key,
        into: &mut BTreeMap<Arc<str>, Arc<T>>,
    ) -> Option<String> {
        match self.value::<T>(key) {
            Some(Ok(value)) => {
                into.insert(Arc::from(key.name()), Arc::new(value));
                None
            }
            absent => {
                into.remove(key.name());
                absent.and_then(Result::err)
            }
        }
    }
}

/// A store in error: names without a certificate of their own are not served, rather than with a generated one.
fn unusable_store() -> TlsStore {
    TlsStore { default_certificate: Some(TlsCertificate::default()), ..TlsStore::default() }
}

/// Options in error: nobody is served by them, rather than by others that may ask less of a client. An upper bound below every
/// version there is leaves nothing to negotiate.
fn unusable_options() -> TlsOptions {
    TlsOptions { max_version: "VersionTLS10".to_owned(), ..TlsOptions::default() }
}

fn share<T>(result: Result<T, String>) -> Compiled<T> {
    result.map(Arc::new).map_err(Arc::from)
}

fn problem<T>(compiled: &Option<Compiled<T>>) -> Option<&str> {
    match compiled {
        Some(Err(reason)) => Some(reason),
        _ => None,
    }
}

fn set<T>(map: &mut imbl::OrdMap<Arc<str>, Compiled<T>>, name: &str, compiled: Option<Compiled<T>>) {
    match compiled {
        Some(compiled) => drop(map.insert(Arc::from(name), compiled)),
        None => drop(map.remove(name)),
    }
}
