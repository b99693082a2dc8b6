//! Compiles generations into tables: what changed is parsed, and what refers to it is built again; the rest is shared.
//! It must not touch workers or sockets. It refuses only what no proxy of this build could take: records that must be known and
//! are not, and too many routes; a bad object costs its own routers (503 in their place), never the generation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use ravelin_config::map::filling;
use ravelin_config::parallel::{self, BATCH, SHARE_MIN};
use ravelin_config::secret::{OpenError, fill_record};
use ravelin_config::{Change, ConfigMap, GenerationId, Key, Kind, Record, RecordWire, object};
use ravelin_transport::codec;

use crate::metrics::Metrics;
use crate::middleware::{PolicyStates, Template};
use crate::service::{Checks, DEFAULT_TRANSPORT, ServerStates, Service};
use crate::spiffe::{Source, Sources};
use crate::table::sections::{Sections, TlsSettings};
use crate::table::{EntryPointTable, Route, RouteIndex, Table};
use crate::tls::{Loaded, TlsError, TlsTable, generated_default};
use crate::upstream::{Transport, UpstreamRegistry};

mod entry_points;
mod known;
mod objects;
mod references;
mod router;
mod secrets;

pub(crate) use entry_points::{entry_points_of, has_model, udp_entry_points};
use known::Read;
use references::References;
use router::Placement;
pub(crate) use router::salvaged;
use secrets::SecretUsers;

/// Most placements of routers on entry points in one table.
pub const ROUTES_MAX: usize = 2_000_000;

/// Why a generation was refused; the table in force is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A record that this build cannot read.
    #[error("the record of {key} cannot be read by this build: {reason}")]
    Record {
        /// Whose.
        key: String,
        /// Why.
        reason: String,
    },
    /// A secret that an object refers to is missing or cannot be opened: the generation came without all that it needs.
    #[error("{key} refers to the secret {secret}, which cannot be had: {source}")]
    Secret {
        /// The object.
        key: String,
        /// The first digits of the secret's name.
        secret: String,
        /// Why not.
        source: OpenError,
    },
    /// More routes than [`ROUTES_MAX`].
    #[error("{found} routes are more than the {allowed} allowed")]
    Routes {
        /// How many.
        found: usize,
        /// How many there may be.
        allowed: usize,
    },
}

/// What became of each changed record; none of one that is gone or set aside.
type Changed = BTreeMap<Key, Option<Record>>;

/// Records that are set aside, with why.
type Aside = Vec<(Key, Arc<str>)>;

/// Compiled, or why not.
type Compiled<T> = Result<Arc<T>, Arc<str>>;

/// What all tables of a process share, whatever their generation.
pub struct Process {
    /// Servers and their pools' identities.
    pub upstreams: UpstreamRegistry,
    /// Counts and places of policies.
    pub states: PolicyStates,
    /// How each server of a service is doing.
    pub servers: ServerStates,
    /// Who asks servers how they are.
    pub checks: Checks,
    /// Who gives identities for servers.
    pub workloads: Sources,
    /// The certificate for names that have none.
    pub generated: Arc<Loaded>,
    /// How many workers count requests, each by itself.
    pub workers: usize,
}

impl Process {
    /// With a freshly generated default certificate, for so many workers.
    ///
    /// # Errors
    /// [`TlsError`] if none can be generated.
    pub fn new(workers: usize) -> Result<Self, TlsError> {
        Ok(Self {
            upstreams: UpstreamRegistry::default(),
            states: PolicyStates::default(),
            servers: ServerStates::default(),
            checks: Checks::default(),
            workloads: Sources::default(),
            generated: generated_default()?,
            workers,
        })
    }
}

/// Turns each newer configuration into a table, at the cost of the change.
pub struct Compiler {
    process: Arc<Process>,
    routes_max: usize,
    map: ConfigMap,
    state: State,
    /// How many tables there were.
    tables: u64,
}

/// Everything derived from a configuration. Its maps are persistent, so that a copy to work on costs nothing.
#[derive(Clone, Default)]
struct State {
    secret_users: SecretUsers,
    sections: Arc<Sections>,
    metrics: Option<Arc<Metrics>>,
    tls_settings: Arc<TlsSettings>,
    tls: Option<Arc<TlsTable>>,
    references: References,
    workload: Option<Arc<Source>>,
    transports: OrdMap<Arc<str>, Compiled<Transport>>,
    templates: OrdMap<Arc<str>, Compiled<Template>>,
    services: OrdMap<Arc<str>, Compiled<Service>>,
    routers: OrdMap<Arc<str>, Arc<[Placement]>>,
    /// By the name of their parent, whether it exists or not.
    children: OrdMap<Arc<str>, RouteIndex<Route>>,
    entry_points: BTreeMap<Arc<str>, Arc<EntryPointTable>>,
    routes: usize,
    problems: OrdMap<Key, Arc<str>>,
}

/// One run of the compiler: the new state in the making.
struct Run<'a> {
    process: &'a Process,
    map: &'a ConfigMap,
    changed: &'a Changed,
    state: State,
}

/// Reads one record of a configuration, as it travels: with references in place of secrets.
///
/// # Errors
/// [`Refusal::Record`] if this build does not know its form.
pub fn record(key: &Key, bytes: &[u8]) -> Result<Record, Refusal> {
    Record::from_wire(wire(key, bytes)?).map_err(|error| unreadable(key, &error))
}

fn wire(key: &Key, bytes: &[u8]) -> Result<RecordWire, Refusal> {
    codec::decode(object::RECORD_VERSION, bytes).map_err(|error| unreadable(key, &error))
}

fn unreadable(key: &Key, reason: &dyn std::fmt::Display) -> Refusal {
    Refusal::Record { key: key.to_string(), reason: reason.to_string() }
}

impl Compiler {
    /// A compiler that starts from nothing.
    pub fn new(process: Arc<Process>) -> Self {
        Self { process, routes_max: ROUTES_MAX, map: ConfigMap::new(), state: State::default(), tables: 0 }
    }

    /// Compiles the next generation. Equal configurations give tables of equal meaning, whatever came before.
    ///
    /// # Errors
    /// [`Refusal`]; the compiler stands as before.
    pub fn apply(&mut self, generation: GenerationId, map: &ConfigMap) -> Result<Arc<Table>, Refusal> {
        let (changed, aside) = read(map, map.diff(&self.map))?;
        let secret_users = self.state.secret_users.with(&changed);
        secret_users.check(&changed, map, &self.map)?;
        let state = State { secret_users, ..self.state.clone() };
        let mut run = Run { process: &self.process, map, changed: &changed, state };
        run.build();
        for (key, reason) in aside {
            run.state.note(&key, Some(&reason));
        }
        if run.state.routes > self.routes_max {
            return Err(Refusal::Routes { found: run.state.routes, allowed: self.routes_max });
        }
        self.state = run.state;
        self.map = map.clone();
        self.tables += 1;
        Ok(Arc::new(self.state.table(generation, map, self.tables)))
    }
}

/// What became of each changed record, and what is set aside and why. All is read before anything is built, so that a refusal
/// costs nothing.
fn read(map: &ConfigMap, changes: BTreeMap<Key, Change>) -> Result<(Changed, Aside), Refusal> {
    let language = known::language(map);
    let changes: Vec<(Key, Change)> = changes.into_iter().collect();
    let read = parallel::map(&changes, SHARE_MIN, |(key, change)| match change {
        Change::Put(bytes) => known::read(key, bytes, language).map(Some),
        Change::Delete => Ok(None),
    });
    let (mut changed, mut aside) = (Vec::with_capacity(changes.len()), Vec::new());
    for ((key, _), read) in changes.into_iter().zip(read) {
        let record = match read? {
            Some(Read::Known(record)) => Some(record),
            Some(Read::Aside(reason)) => {
                aside.push((key.clone(), reason));
                None
            }
            None => None,
        };
        changed.push((key, record));
    }
    Ok((changed.into_iter().collect(), aside))
}

impl State {
    fn table(&self, generation: GenerationId, map: &ConfigMap, number: u64) -> Table {
        Table {
            generation: Some(generation),
            number,
            config: map.clone(),
            sections: Arc::clone(&self.sections),
            metrics: self.metrics.clone(),
            tls: self.tls.clone(),
            entry_points: self.entry_points.clone(),
            services: self.services.clone(),
            problems: self.problems.clone(),
        }
    }

    /// Notes, or with `None` forgets, what is wrong with an object.
    fn note(&mut self, key: &Key, problem: Option<&str>) {
        match problem {
            Some(text) => drop(self.problems.insert(key.clone(), Arc::from(text))),
            None => drop(self.problems.remove(key)),
        }
    }
}

impl Run<'_> {
    /// The record of a key, if the configuration holds one, with its secrets in their places.
    fn record(&self, key: &Key) -> Option<Record> {
        let record = match self.changed.get(key) {
            Some(changed) => changed.clone()?,
            None => record(key, self.map.get(key.as_str())?).ok()?,
        };
        // All of them were opened before anything was built.
        Some(fill_record(&record, |id| self.map.secrets().open(id)).0)
    }

    fn build(&mut self) {
        for (gone, _) in self.changed.iter().filter(|(_, record)| record.is_none()) {
            self.state.note(gone, None);
        }
        let mut changed: BTreeSet<Key> = self.changed.keys().cloned().collect();
        let is_static = |key: &Key| matches!(key.kind(), Some(Kind::EntryPoint | Kind::StaticSection));
        let is_tls =
            |key: &Key| matches!(key.kind(), Some(Kind::TlsCertificate | Kind::TlsStore | Kind::TlsOptions));
        if self.state.tls.is_none() || changed.iter().any(is_tls) {
            self.tls(changed.iter().filter(|key| is_tls(key)));
        }
        // The default transport exists even in a configuration without any static object.
        let first = !self.state.transports.contains_key(DEFAULT_TRANSPORT);
        if first || changed.iter().any(is_static) {
            changed.extend(self.static_sections());
        }
        let affected = self.affected(changed);
        for key in affected.iter().filter(|key| key.kind() == Some(Kind::HttpServersTransport)) {
            self.transport(key);
        }
        for key in affected.iter().filter(|key| key.kind() == Some(Kind::HttpMiddleware)) {
            self.template(key);
        }
        let services: BTreeSet<&Key> =
            affected.iter().filter(|key| key.kind() == Some(Kind::HttpService)).collect();
        self.services(&services);
        let routers: Vec<&Key> = affected.iter().filter(|key| key.kind() == Some(Kind::HttpRouter)).collect();
        self.routers(&routers);
    }

    /// The changed keys and all that refer to them, directly or not, and the parents that changed routers had. What changed
    /// objects refer to is noted first.
    fn affected(&mut self, changed: BTreeSet<Key>) -> BTreeSet<Key> {
        let mut parents = Vec::new();
        let keys: Vec<&Key> = filling(&changed).collect();
        for keys in keys.chunks(BATCH) {
            let refers_to = parallel::map(keys, SHARE_MIN, |key| self.refers_to(key));
            for (key, refers_to) in keys.iter().zip(refers_to) {
                parents.extend(self.parents(key).cloned());
                self.state.references.set(key, refers_to);
            }
        }
        let mut affected = self.state.references.closure(changed);
        affected.extend(parents);
        affected
    }
}

#[cfg(test)]
pub(crate) mod tests;
