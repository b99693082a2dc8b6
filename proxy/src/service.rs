//! Where a request goes once its router is known: servers behind one name, other services by weight, or the process itself.
//! It chooses; it connects to nothing. Compiled off the workers, shared by all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ravelin_config::dynamic::{
    HttpService, LoadBalancer as LoadBalancerConfig, Strategy, Weighted as WeightedConfig,
};
use ravelin_config::secret::shown_address;

use crate::middleware::{CompileError, Middleware, PolicyStates, Template, qualify};
use crate::upstream::{InUse, ServerUrl, Transport, Upstream, UpstreamRegistry};

mod schedule;

pub use schedule::{SCHEDULE_SLOTS_MAX, schedule};

/// A service, with the middlewares that stand in front of it.
#[derive(Debug)]
pub struct Service {
    /// Qualified name.
    pub name: Arc<str>,
    /// Run after those of the router (and of a parent service).
    pub middlewares: Box<[Middleware]>,
    /// What it is.
    pub kind: ServiceKind,
}

/// What a service is.
#[derive(Debug)]
pub enum ServiceKind {
    /// Servers behind one name.
    LoadBalancer(LoadBalancer),
    /// Other services by weight.
    Weighted(Weighted),
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
    /// `noop@internal`: 418, behind routers whose middleware always answers.
    Noop,
}

impl InternalService {
    /// By qualified name; `None` for what does not exist or does not work yet.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "api@internal" => Some(Self::Api),
            "ping@internal" => Some(Self::Ping),
            "noop@internal" => Some(Self::Noop),
            _ => None,
        }
    }

    /// The qualified name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api@internal",
            Self::Ping => "ping@internal",
            Self::Noop => "noop@internal",
        }
    }
}

/// Servers behind one name.
#[derive(Debug)]
pub struct LoadBalancer {
    servers: Box<[Server]>,
    turns: Turns,
    /// Send the client's Host (else the server's own).
    pub pass_host_header: bool,
}

/// One server of a load balancer.
#[derive(Debug)]
pub struct Server {
    /// Its URL as configured, for logs: without user and password.
    pub url: Arc<str>,
    /// Who it is to the pools.
    pub upstream: Arc<Upstream>,
    /// In front of every path: the URL's path where `preservePath` is set. Without a trailing slash; empty means nothing.
    pub base_path: Box<str>,
    _in_use: Arc<InUse>,
}

/// Other services by weight.
#[derive(Debug)]
pub struct Weighted {
    services: Box<[Arc<Service>]>,
    turns: Turns,
}

/// Whose turn it is: a fixed smooth round and one ticket counter for all workers, so that shares are exact whoever asks.
#[derive(Debug)]
struct Turns {
    round: Box<[u16]>,
    ticket: AtomicU64,
}

impl Turns {
    fn new(weights: &[u64]) -> Self {
        Self { round: schedule(weights), ticket: AtomicU64::new(0) }
    }

    fn next(&self) -> Option<usize> {
        match &*self.round {
            [] => None,
            [only] => Some(usize::from(*only)),
            round => {
                let ticket = self.ticket.fetch_add(1, Ordering::Relaxed);
                // The remainder of a division by the length is an index.
                let slot = usize::try_from(ticket % round.len() as u64).unwrap_or(0);
                round.get(slot).map(|&member| usize::from(member))
            }
        }
    }
}

impl LoadBalancer {
    /// The server whose turn it is; `None` if there is none that may be used.
    pub fn next(&self) -> Option<&Server> {
        self.servers.get(self.turns.next()?)
    }

    /// The servers that may be used.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }
}

impl Weighted {
    /// The service whose turn it is; `None` if there is none that may be used.
    pub fn next(&self) -> Option<&Arc<Service>> {
        self.services.get(self.turns.next()?)
    }
}

/// What a service is compiled from besides its own object. Every function takes a qualified name.
pub struct Resolver<'a> {
    /// The process's servers.
    pub upstreams: &'a UpstreamRegistry,
    /// The process's policy state.
    pub states: &'a PolicyStates,
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
    /// One of the process's own services.
    pub fn internal(service: InternalService) -> Self {
        Self {
            name: service.name().into(),
            middlewares: Box::default(),
            kind: ServiceKind::Internal(service),
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
        let middlewares = Middleware::compile(&middlewares, resolver.middleware, name, resolver.states)?;
        let kind = match config {
            HttpService { highest_random_weight: Some(_), .. } => {
                return Err(unsupported("highestRandomWeight"));
            }
            HttpService { mirroring: Some(_), .. } => return Err(unsupported("mirroring")),
            HttpService { failover: Some(_), .. } => return Err(unsupported("failover")),
            HttpService { load_balancer: Some(_), weighted: Some(_), .. } => {
                return Err(CompileError::SeveralKinds);
            }
            HttpService { load_balancer: Some(config), .. } => {
                ServiceKind::LoadBalancer(load_balancer(name, config, resolver)?)
            }
            HttpService { weighted: Some(config), .. } => {
                ServiceKind::Weighted(weighted(name, config, resolver)?)
            }
            _ => return Err(CompileError::NoKind),
        };
        Ok(Self { name: name.into(), middlewares, kind })
    }
}

fn unsupported(what: &'static str) -> CompileError {
    CompileError::Unsupported(what.to_owned())
}

fn load_balancer(
    name: &str,
    config: &LoadBalancerConfig,
    resolver: &Resolver<'_>,
) -> Result<LoadBalancer, CompileError> {
    if config.strategy != Strategy::Wrr {
        return Err(unsupported("strategy"));
    }
    if config.sticky.is_some() {
        return Err(unsupported("sticky"));
    }
    if config.health_check.is_some() || config.passive_health_check.is_some() {
        return Err(unsupported("healthCheck"));
    }
    let transport_name = match config.servers_transport.as_deref() {
        None | Some("") => DEFAULT_TRANSPORT.into(),
        Some(reference) => qualify(reference, name),
    };
    let transport = (resolver.transport)(&transport_name).ok_or(CompileError::Missing(transport_name))?;
    let mut servers = Vec::with_capacity(config.servers.len());
    let mut weights = Vec::with_capacity(config.servers.len());
    for server in &config.servers {
        let Some(weight) = usable_weight(server.weight) else { continue };
        let url: ServerUrl = server.url.parse()?;
        let (upstream, in_use) = resolver.upstreams.upstream(&url, &transport)?;
        let base_path = if server.preserve_path { url.path.trim_end_matches('/') } else { "" };
        servers.push(Server {
            url: shown_address(&server.url).into(),
            upstream,
            base_path: base_path.into(),
            _in_use: in_use,
        });
        weights.push(weight);
    }
    Ok(LoadBalancer {
        servers: servers.into(),
        turns: Turns::new(&weights),
        pass_host_header: config.pass_host_header,
    })
}

fn weighted(name: &str, config: &WeightedConfig, resolver: &Resolver<'_>) -> Result<Weighted, CompileError> {
    if config.sticky.is_some() {
        return Err(unsupported("sticky"));
    }
    if config.health_check.is_some() {
        return Err(unsupported("healthCheck"));
    }
    let mut services = Vec::with_capacity(config.services.len());
    let mut weights = Vec::with_capacity(config.services.len());
    for child in &config.services {
        let child_name = qualify(&child.name, name);
        let service = match InternalService::by_name(&child_name) {
            Some(internal) => Arc::new(Service::internal(internal)),
            None => (resolver.service)(&child_name).ok_or(CompileError::Missing(child_name))?,
        };
        if let Some(weight) = usable_weight(child.weight) {
            services.push(service);
            weights.push(weight);
        }
    }
    Ok(Weighted { services: services.into(), turns: Turns::new(&weights) })
}

/// Unset is 1; 0 and less leave the member out.
fn usable_weight(weight: Option<i64>) -> Option<u64> {
    u64::try_from(weight.unwrap_or(1)).ok().filter(|&weight| weight > 0)
}

#[cfg(test)]
mod tests;
