//! Which entry points are wanted and which are open. A socket stays open for as long as its entry point is wanted at its
//! address, whatever else changes; one that cannot be opened is reported and costs the others nothing.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use ravelin_config::static_config::{Address, AddressError, Protocol};

use crate::connection::Settings;
use crate::table::Table;

mod socket;

/// An entry point as configured.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where to listen.
    pub address: Result<Address, AddressError>,
    /// What its connections may do.
    pub settings: Arc<Settings>,
    /// Other processes may listen there too, on purpose.
    pub reuse_port: bool,
}

/// Why an entry point is not open.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is none.
    #[error("entry point {entry_point:?}: {source}")]
    Address {
        /// Its name.
        entry_point: Arc<str>,
        /// What is wrong.
        source: AddressError,
    },
    /// Taken by another process, not ours, not permitted.
    #[error("entry point {entry_point:?}: cannot listen on {address}: {source}")]
    Bind {
        /// Its name.
        entry_point: Arc<str>,
        /// As configured.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// UDP entry points do not exist yet.
    #[error("entry point {entry_point:?}: UDP does not work yet")]
    Udp {
        /// Its name.
        entry_point: Arc<str>,
    },
}

/// The listening sockets of one entry point, one for each worker. They close when the last holder lets go.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) listeners: Box<[TcpListener]>,
    address: Address,
    local: SocketAddr,
}

/// An open entry point, as workers see it.
#[derive(Clone, Debug)]
pub struct Open {
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) settings: Arc<Settings>,
}

/// Open entry points by name.
pub type OpenEntryPoints = BTreeMap<Arc<str>, Open>;

/// How an entry point stands: where it listens, or why not.
pub type Status = Result<SocketAddr, Arc<ListenError>>;

/// The reconciler. Owned by one thread that may block: names are looked up and sockets opened here.
#[derive(Debug)]
pub struct Listeners {
    workers: usize,
    wanted: BTreeMap<Arc<str>, Wanted>,
    open: OpenEntryPoints,
    failed: BTreeMap<Arc<str>, Arc<ListenError>>,
}

impl Wanted {
    /// The entry points a table asks for.
    pub fn of(table: &Table) -> BTreeMap<Arc<str>, Self> {
        let wanted = table.entry_points.iter().map(|(name, entry_point)| {
            let config = &entry_point.config;
            let wanted = Self {
                address: config.address.parse(),
                settings: Arc::new(Settings::compile(config)),
                reuse_port: config.reuse_port,
            };
            (Arc::clone(name), wanted)
        });
        wanted.collect()
    }
}

impl Listeners {
    /// Nothing is open.
    pub fn new(workers: usize) -> Self {
        Self { workers, wanted: BTreeMap::new(), open: OpenEntryPoints::new(), failed: BTreeMap::new() }
    }

    /// Opens what is wanted and not open, forgets what is open and not wanted, and tries again what failed before.
    pub fn reconcile(&mut self, wanted: BTreeMap<Arc<str>, Wanted>) -> &OpenEntryPoints {
        self.wanted = wanted;
        self.retry()
    }

    /// Tries again what failed before.
    pub fn retry(&mut self) -> &OpenEntryPoints {
        // Who stays comes first: a newcomer must not settle beside it.
        let mut open: OpenEntryPoints = self
            .wanted
            .iter()
            .filter_map(|(name, wanted)| Some((Arc::clone(name), self.stays(name, wanted)?)))
            .collect();
        let mut failed = BTreeMap::new();
        for (name, wanted) in &self.wanted {
            if open.contains_key(name) {
                continue;
            }
            match self.open_one(name, wanted, &open) {
                Ok(entry_point) => drop(open.insert(Arc::clone(name), entry_point)),
                Err(error) => {
                    // An entry point that cannot move stays where it is: its traffic goes on.
                    if let Some(held) = self.open.get(name)
                        && !is_taken(&open, held.sockets.local)
                    {
                        let settings = Arc::clone(&wanted.settings);
                        open.insert(Arc::clone(name), Open { sockets: Arc::clone(&held.sockets), settings });
                    }
                    let known = self.failed.get(name).filter(|known| known.to_string() == error.to_string());
                    failed.insert(Arc::clone(name), known.cloned().unwrap_or_else(|| Arc::new(error)));
                }
            }
        }
        self.open = open;
        self.failed = failed;
        &self.open
    }

    /// What is open.
    pub fn open(&self) -> &OpenEntryPoints {
        &self.open
    }

    /// How each wanted entry point stands.
    pub fn status(&self) -> BTreeMap<Arc<str>, Status> {
        let open = self.open.iter().map(|(name, open)| (Arc::clone(name), Ok(open.sockets.local)));
        let failed = self.failed.iter().map(|(name, error)| (Arc::clone(name), Err(Arc::clone(error))));
        open.chain(failed).collect()
    }

    /// Whether something wanted is not open, so that it is worth trying again.
    pub fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// An entry point that is open where it is wanted.
    fn stays(&self, name: &Arc<str>, wanted: &Wanted) -> Option<Open> {
        let address = wanted.address.as_ref().ok()?;
        let held = self.open.get(name).filter(|held| held.sockets.address == *address)?;
        // The same settings keep their place, so that a worker sees no change.
        let same = *held.settings == *wanted.settings;
        let settings = Arc::clone(if same { &held.settings } else { &wanted.settings });
        Some(Open { sockets: Arc::clone(&held.sockets), settings })
    }

    fn open_one(
        &self,
        name: &Arc<str>,
        wanted: &Wanted,
        open: &OpenEntryPoints,
    ) -> Result<Open, ListenError> {
        let entry_point = || Arc::clone(name);
        let address = match &wanted.address {
            Ok(address) => address,
            Err(error) => {
                return Err(ListenError::Address { entry_point: entry_point(), source: error.clone() });
            }
        };
        if address.protocol == Protocol::Udp {
            return Err(ListenError::Udp { entry_point: entry_point() });
        }
        // A port that one of ours is about to leave is no sign of a second process.
        let ours = self.open.values().any(|held| held.sockets.local.port() == address.port);
        let probe = !wanted.reuse_port && !ours;
        let taken = |candidate| is_taken(open, candidate);
        let (listeners, local) = socket::open(address, self.workers, probe, taken).map_err(|source| {
            ListenError::Bind { entry_point: entry_point(), address: address.to_string(), source }
        })?;
        let settings = Arc::clone(&wanted.settings);
        Ok(Open { sockets: Arc::new(Sockets { listeners, address: address.clone(), local }), settings })
    }
}

/// Whether another entry point has this address: sockets that share one would be given each other's connections.
fn is_taken(open: &OpenEntryPoints, address: SocketAddr) -> bool {
    open.values().map(|open| open.sockets.local).any(|held| {
        let meets = held.ip() == address.ip() || held.ip().is_unspecified() || address.ip().is_unspecified();
        held.port() == address.port() && meets
    })
}

#[cfg(test)]
mod tests;
