//! Where a request goes once its router is known: servers behind one name, other services by weight, or the process itself.
//! It chooses; it connects to nothing. Compiled off the workers, shared by all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ravelin_config::dynamic::{
    HttpService, LoadBalancer as LoadBalancerConfig, Sticky, Strategy, WeightedService,
};
use ravelin_config::secret::shown_address;

use crate::metrics::{Metrics, Subject};
use crate::middleware::{CompileError, Middleware, PolicyStates, Template, qualify};
use crate::upstream::{ServerUrl, Transport, UpstreamRegistry};

mod choice;
mod failover;
mod health;
mod least_time;
mod mirroring;
mod rendezvous;
mod schedule;
mod server;
mod sticky;
mod turns;
mod two_choices;

use choice::Chooser;
pub(crate) use choice::Foretold;
pub use choice::{Asker, Choice};
pub(crate) use failover::Errors;
pub use failover::{Failover, Turn};
pub use health::Checks;
use health::{Check, Probe, Running};
#[cfg(test)]
pub(crate) use mirroring::Copies;
pub use mirroring::Mirroring;
pub(crate) use mirroring::{Mirrors, UnderWay};
pub use schedule::{SCHEDULE_SLOTS_MAX, schedule};
pub(crate) use server::InFlight;
use server::Passive;
pub use server::{Server, ServerStates};
#[cfg(test)]
pub(crate) use sticky::value_of as sticky_value;

/// Deepest nesting of services. The control plane refuses more; a table's end goes down as deep.
pub const DEPTH_MAX: usize = 64;

/// A service, with the middlewares that stand in front of it.
#[derive(Debug)]
pub struct Service {
    /// Qualified name.
    pub name: Arc<str>,
    /// Run after those of the router (and of a parent service).
    pub middlewares: Box<[Middleware]>,
    /// What it is.
    pub kind: ServiceKind,
    /// How deep others are nested in it.
    depth: usize,
}

/// What a service is.
#[derive(Debug)]
pub enum ServiceKind {
    /// Servers behind one name.
    LoadBalancer(LoadBalancer),
    /// Other services by weight, or by client.
    Weighted(Weighted),
    /// One service, and another one where it fails.
    Failover(Failover),
    /// One service, others get copies of its requests.
    Mirroring(Mirroring),
    /// The process itself.
    Internal(InternalService),
}

/// What the process answers by itself: services of the provider `internal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InternalService {
    /// `api@internal`.
    Api,
    /// `ping@internal`.
    Ping,
    /// `prometheus@internal`
    Prometheus,
    /// `rest@internal`
    Rest,
    /// `dashboard@internal`
    Dashboard,
    /// `noop@internal`: 418, behind routers whose middleware always answers.
    Noop,
}

impl InternalService {
    /// By qualified name; `None` for what does not exist or does not work yet.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "api@internal" => Some(Self::Api),
            "ping@internal" => Some(Self::Ping),
            "prometheus@internal" => Some(Self::Prometheus),
            "rest@internal" => Some(Self::Rest),
            "dashboard@internal" => Some(Self::Dashboard),
            "noop@internal" => Some(Self::Noop),
            _ => None,
        }
    }

    /// The qualified name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api@internal",
            Self::Ping => "ping@internal",
            Self::Prometheus => "prometheus@internal",
            Self::Rest => "rest@internal",
            Self::Dashboard => "dashboard@internal",
            Self::Noop => "noop@internal",
        }
    }
}

/// Servers behind one name.
#[derive(Debug)]
pub struct LoadBalancer {
    servers: Box<[Server]>,
    chooser: Chooser,
    passive: Option<Passive>,
    /// There are checks of some kind.
    checked: bool,
    /// Active checks, if there are any.
    running: Option<Running>,
    /// Where requests to it are counted, if they are.
    pub(crate) meter: Option<Arc<Subject>>,
    /// Send the client's Host (else the server's own).
    pub pass_host_header: bool,
}

/// Other services by weight, or by client.
#[derive(Debug)]
pub struct Weighted {
    services: Box<[Arc<Service>]>,
    chooser: Chooser,
    /// Those that are down are left out.
    checked: bool,
}

impl LoadBalancer {
    /// The server for this request; `None` if there is none that may be used.
    pub fn choose(&self, asker: &Asker<'_>) -> Option<Choice<'_, Server>> {
        self.chooser.server(asker, &self.servers)
    }

    /// The server that this request would go to, as far as that can be told.
    pub(crate) fn foretell(&self, asker: &Asker<'_>) -> Foretold {
        self.chooser.foretell(asker, &self.servers, Server::is_up)
    }

    /// The servers that may be used.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Says what became of a request to one of its servers: whether the server failed it.
    pub(crate) fn note(&self, server: &Server, failed: bool) {
        let Some(passive) = &self.passive else { return };
        if !failed {
            server.state.passed();
        } else if server.state.failed(passive, Instant::now()) {
            tracing::warn!(server = %server.url, "too many failures: the server is left alone for a while");
        }
    }

    fn is_up(&self) -> bool {
        !self.checked || self.servers.iter().any(Server::is_up)
    }

    /// An answer of one of its servers began after this long.
    pub(crate) fn answered(&self, server: &Server, waited: Duration) {
        server.state.times.note(waited);
    }

    /// Counts a request to one of its servers, where its strategy asks for that.
    pub(crate) fn enter(&self, server: &Server) -> Option<InFlight> {
        self.chooser.counts().then(|| server.state.enter())
    }

    /// Whether its strategy wants to know how soon answers began.
    pub(crate) fn measures(&self) -> bool {
        self.chooser.measures()
    }
}

impl Weighted {
    /// The service for this request; `None` if there is none that may be used.
    pub fn choose(&self, asker: &Asker<'_>) -> Option<Choice<'_, Arc<Service>>> {
        self.chooser.one(asker, &self.services, |service| !self.checked || service.is_up())
    }

    /// The service that this request would go to, as far as that can be told.
    pub(crate) fn foretell(&self, asker: &Asker<'_>) -> Foretold {
        self.chooser.foretell(asker, &self.services, |service| !self.checked || service.is_up())
    }

    /// All of them that have a weight.
    pub(crate) fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    fn is_up(&self) -> bool {
        !self.checked || self.services.iter().any(|service| service.is_up())
    }
}

/// What a service is compiled from besides its own object. Every function takes a qualified name.
pub struct Resolver<'a> {
    /// The process's servers.
    pub upstreams: &'a UpstreamRegistry,
    /// The process's policy state.
    pub states: &'a PolicyStates,
    /// How the process's servers are doing.
    pub servers: &'a ServerStates,
    /// The process's health checks.
    pub checks: &'a Checks,
    /// What requests are counted by, if they are.
    pub metrics: Option<&'a Metrics>,
    /// Servers transports; `default@internal` must be among them.
    pub transport: &'a dyn Fn(&str) -> Option<Arc<Transport>>,
    /// Services compiled before.
    pub service: &'a dyn Fn(&str) -> Option<Arc<Service>>,
    /// Middlewares compiled before.
    pub middleware: &'a dyn Fn(&str) -> Option<Arc<Template>>,
}

/// The transport of a load balancer that names none.
pub const DEFAULT_TRANSPORT: &str = "default@internal";

impl Service {
    /// Whether it can serve, as far as health checks tell: without any it is taken to.
    pub fn is_up(&self) -> bool {
        match &self.kind {
            ServiceKind::LoadBalancer(balancer) => balancer.is_up(),
            ServiceKind::Weighted(weighted) => weighted.is_up(),
            ServiceKind::Failover(failover) => failover.is_up(),
            ServiceKind::Mirroring(mirroring) => mirroring.is_up(),
            ServiceKind::Internal(_) => true,
        }
    }

    /// The servers that are down, by the URLs that logs show.
    pub fn servers_down(&self) -> impl Iterator<Item = &str> {
        let servers = match &self.kind {
            ServiceKind::LoadBalancer(balancer) => balancer.servers(),
            _ => &[],
        };
        servers.iter().filter(|server| !server.is_up()).map(|server| &*server.url)
    }

    /// The servers that are asked how they are, by the URLs that logs show, and whether each is up.
    pub fn checked_servers(&self) -> impl Iterator<Item = (&str, bool)> {
        let servers = match &self.kind {
            ServiceKind::LoadBalancer(balancer) if balancer.running.is_some() => balancer.servers(),
            _ => &[],
        };
        servers.iter().map(|server| (&*server.url, server.is_up()))
    }

    /// One of the process's own services.
    pub fn internal(service: InternalService) -> Self {
        Self {
            name: service.name().into(),
            middlewares: Box::default(),
            kind: ServiceKind::Internal(service),
            depth: 0,
        }
    }

    /// Compiles the service of this qualified name. Children of a weighted service must have been compiled before.
    ///
    /// # Errors
    /// References that lead nowhere, URLs that are none, kinds and options that do not work yet. The control plane has judged
    /// all of it before; an error here refuses the generation.
    pub fn compile(name: &str, config: &HttpService, resolver: &Resolver<'_>) -> Result<Self, CompileError> {
        let middlewares =
            config.middlewares.iter().map(|reference| qualify(reference, name)).collect::<Vec<_>>();
        let middlewares =
            Middleware::compile(&middlewares, resolver.middleware, resolver.service, name, resolver.states)?;
        let kind = match config {
            _ if kinds(config) > 1 => return Err(CompileError::SeveralKinds),
            HttpService { load_balancer: Some(config), .. } => {
                ServiceKind::LoadBalancer(load_balancer(name, config, resolver)?)
            }
            HttpService { weighted: Some(config), .. } => {
                let (sticky, checked) = (config.sticky.as_ref(), config.health_check.is_some());
                let members = Members { strategy: Strategy::Wrr, sticky, checked };
                ServiceKind::Weighted(weighted(name, &config.services, members, resolver)?)
            }
            HttpService { highest_random_weight: Some(config), .. } => {
                let checked = config.health_check.is_some();
                let members = Members { strategy: Strategy::Hrw, sticky: None, checked };
                ServiceKind::Weighted(weighted(name, &config.services, members, resolver)?)
            }
            HttpService { failover: Some(config), .. } => {
                let service = child_service(&config.service, name, resolver)?;
                let fallback = child_service(&config.fallback, name, resolver)?;
                ServiceKind::Failover(Failover::compile(config, service, fallback)?)
            }
            HttpService { mirroring: Some(config), .. } => {
                let service = child_service(&config.service, name, resolver)?;
                let mirrors = config.mirrors.iter().map(|mirror| child_service(&mirror.name, name, resolver));
                let mirrors = mirrors.collect::<Result<_, _>>()?;
                ServiceKind::Mirroring(Mirroring::compile(config, service, mirrors))
            }
            _ => return Err(CompileError::NoKind),
        };
        let depth = kind.depth();
        if depth > DEPTH_MAX {
            return Err(CompileError::Depth(name.into()));
        }
        Ok(Self { name: name.into(), middlewares, kind, depth })
    }
}

impl ServiceKind {
    /// How deep services are nested in it.
    fn depth(&self) -> usize {
        let depth_of = |child: &Arc<Service>| child.depth + 1;
        let depth = match self {
            Self::Weighted(weighted) => weighted.services.iter().map(depth_of).max(),
            Self::Failover(failover) => failover.children().into_iter().map(depth_of).max(),
            Self::Mirroring(mirroring) => mirroring.children().map(depth_of).max(),
            Self::LoadBalancer(_) | Self::Internal(_) => None,
        };
        depth.unwrap_or(0)
    }
}

/// How many kinds a service is said to be of.
fn kinds(config: &HttpService) -> usize {
    let HttpService { load_balancer, weighted, highest_random_weight, mirroring, failover, middlewares: _ } =
        config;
    let given = [
        load_balancer.is_some(),
        weighted.is_some(),
        highest_random_weight.is_some(),
        mirroring.is_some(),
        failover.is_some(),
    ];
    given.into_iter().filter(|given| *given).count()
}

fn load_balancer(
    name: &str,
    config: &LoadBalancerConfig,
    resolver: &Resolver<'_>,
) -> Result<LoadBalancer, CompileError> {
    let transport_name = match config.servers_transport.as_deref() {
        None | Some("") => DEFAULT_TRANSPORT.into(),
        Some(reference) => qualify(reference, name),
    };
    let transport = (resolver.transport)(&transport_name).ok_or(CompileError::Missing(transport_name))?;
    let mut servers = Vec::with_capacity(config.servers.len());
    let mut members = Vec::with_capacity(config.servers.len());
    let mut checks = Vec::new();
    for server in &config.servers {
        let Some(weight) = usable_weight(server.weight) else { continue };
        let url: ServerUrl = server.url.parse()?;
        let (upstream, in_use) = resolver.upstreams.upstream(&url, &transport)?;
        let base_path = if server.preserve_path { url.path.trim_end_matches('/') } else { "" };
        let shown: Arc<str> = shown_address(&server.url).into();
        let state = resolver.servers.state(name, &server.url);
        if let Some(config) = &config.health_check {
            let probe = Probe::compile(config, &url, &transport, resolver.upstreams)?;
            checks.push(Check::new(config, name, Arc::clone(&shown), probe, Arc::clone(&state)));
        }
        let base_path = base_path.into();
        servers.push(Server { url: shown, upstream, base_path, state, _in_use: in_use });
        members.push((server.url.as_str(), weight));
    }
    let checked = config.health_check.is_some();
    let begun = (!checks.is_empty()).then(|| resolver.checks.begin(checks)).transpose();
    let passive = config.passive_health_check.as_ref().map(|config| Passive::compile(config, checked));
    Ok(LoadBalancer {
        servers: servers.into(),
        chooser: Chooser::compile(config.strategy, config.sticky.as_ref(), name, &members)?,
        checked: checked || passive.is_some(),
        passive,
        running: begun
            .map_err(|error| CompileError::Value { option: "healthCheck", reason: error.to_string() })?,
        pass_host_header: config.pass_host_header,
        meter: resolver.metrics.and_then(|metrics| metrics.service(name)),
    })
}

/// How one of several services is chosen.
struct Members<'c> {
    strategy: Strategy,
    sticky: Option<&'c Sticky>,
    checked: bool,
}

fn weighted(
    name: &str,
    children: &[WeightedService],
    how: Members<'_>,
    resolver: &Resolver<'_>,
) -> Result<Weighted, CompileError> {
    let mut services = Vec::with_capacity(children.len());
    let mut members = Vec::with_capacity(children.len());
    for child in children {
        let service = child_service(&child.name, name, resolver)?;
        if let Some(weight) = usable_weight(child.weight) {
            services.push(service);
            members.push((child.name.as_str(), weight));
        }
    }
    Ok(Weighted {
        services: services.into(),
        chooser: Chooser::compile(how.strategy, how.sticky, name, &members)?,
        checked: how.checked,
    })
}

/// The service that `parent` refers to.
fn child_service(
    reference: &str,
    parent: &str,
    resolver: &Resolver<'_>,
) -> Result<Arc<Service>, CompileError> {
    let name = qualify(reference, parent);
    match InternalService::by_name(&name) {
        Some(internal) => Ok(Arc::new(Service::internal(internal))),
        None => (resolver.service)(&name).ok_or(CompileError::Missing(name)),
    }
}

/// Unset is 1; 0 and less leave the member out.
fn usable_weight(weight: Option<i64>) -> Option<u64> {
    u64::try_from(weight.unwrap_or(1)).ok().filter(|&weight| weight > 0)
}

#[cfg(test)]
mod tests;
