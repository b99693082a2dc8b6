//! The transport seam over queues: endpoints with names, in one process.
//!
//! There is no certificate here: a hub is as trustworthy as the process it lives in, and says itself who its endpoints are. The role
//! table holds as everywhere.

use super::lane;
use crate::error::{LaneRefusal, REASON_MAX, Refusal, Side, TransportError, cleaned};
use crate::lane::Lane;
use crate::members::Members;
use crate::peer::{ClusterId, PeerId, PeerRole};
use crate::seam::{BoxFuture, Connection, LaneReceiver, LaneSender, Target, Transport};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex as StdMutex, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::time::timeout;

/// Lanes that each side of a connection may have open at once.
const LANES_MAX: usize = 16;

/// Connections that an endpoint has been offered and has not yet taken. Beyond it dialling waits.
const ACCEPTED_MAX: usize = 64;

/// Longest wait for an endpoint to take a connection, and for a lane to be accepted.
const WAIT_MAX: Duration = Duration::from_secs(5);

type Offered = Result<Arc<dyn Connection>, TransportError>;

struct Endpoint {
    me: PeerId,
    offers: mpsc::Sender<Offered>,
    /// This endpoint's side of every connection that still lives.
    connections: StdMutex<Vec<Weak<Held>>>,
}

/// The endpoints of one process by name.
#[derive(Clone, Default)]
pub struct MemoryHub {
    endpoints: Arc<StdMutex<BTreeMap<String, Arc<Endpoint>>>>,
}

/// One endpoint of a [`MemoryHub`].
pub struct MemoryTransport {
    hub: MemoryHub,
    name: String,
    endpoint: Arc<Endpoint>,
    offers: Mutex<mpsc::Receiver<Offered>>,
    stopped: watch::Sender<bool>,
}

/// Why a connection ended: which of the two sides ended it (0 dialled), as what, in which words.
#[derive(Debug, Clone)]
struct End {
    side: usize,
    refusal: Option<Refusal>,
    reason: String,
}

/// What the two sides of a connection share. Everything in pairs is indexed by side.
struct Link {
    ended: watch::Sender<Option<End>>,
    /// Lanes offered to each side.
    offers: [mpsc::Sender<(Lane, LaneSender, LaneReceiver)>; 2],
    /// Lanes that each side may still open.
    slots: [Arc<Semaphore>; 2],
    /// The holds of the two sides, for the lanes handed to them.
    held: OnceLock<[Weak<Held>; 2]>,
}

/// One side's hold on a connection, kept by the connection and its lanes. Once either side lets go, the connection ends.
pub(super) struct Held {
    link: Arc<Link>,
    side: usize,
    address: String,
}

struct MemoryConnection {
    held: Arc<Held>,
    here: PeerRole,
    peer: PeerId,
    offers: Mutex<mpsc::Receiver<(Lane, LaneSender, LaneReceiver)>>,
}

impl MemoryHub {
    /// A hub without endpoints.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an endpoint that peers dial by name, and that is this peer to them.
    ///
    /// # Errors
    /// [`TransportError::NameInUse`].
    pub fn endpoint(
        &self,
        name: &str,
        cluster: ClusterId,
        role: PeerRole,
        node: u64,
    ) -> Result<MemoryTransport, TransportError> {
        let (sender, receiver) = mpsc::channel(ACCEPTED_MAX);
        let endpoint = Arc::new(Endpoint {
            me: PeerId::new(cluster, role, node),
            offers: sender,
            connections: StdMutex::default(),
        });
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if endpoints.contains_key(name) {
            return Err(TransportError::NameInUse { name: name.to_owned() });
        }
        endpoints.insert(name.to_owned(), Arc::clone(&endpoint));
        drop(endpoints);
        let (stopped, _) = watch::channel(false);
        Ok(MemoryTransport {
            hub: self.clone(),
            name: name.to_owned(),
            endpoint,
            offers: Mutex::new(receiver),
            stopped,
        })
    }
}

impl MemoryTransport {
    async fn dial(&self, target: &Target) -> Result<Arc<dyn Connection>, TransportError> {
        if *self.stopped.borrow() {
            return Err(TransportError::Shutdown);
        }
        let address = &target.address;
        let unreachable = |reason: &str| TransportError::Unreachable {
            address: address.clone(),
            reason: reason.to_owned(),
        };
        let there = {
            let endpoints = self.hub.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
            endpoints.get(address).cloned().ok_or_else(|| unreachable("no endpoint has this name"))?
        };
        let [ours, theirs] = link([(&self.name, &self.endpoint), (address, &there)]);
        let refused = judge(&self.endpoint.me, &there.me, target).err();
        if let Some(refusal) = refused.clone() {
            ours.held.end(refusal.to_string(), Some(refusal));
        }
        let offered = timeout(WAIT_MAX, there.offers.send(Ok(Arc::new(theirs)))).await;
        match (refused, offered) {
            (Some(refusal), _) => Err(TransportError::Refused { address: address.clone(), refusal }),
            (None, Ok(Ok(()))) => Ok(Arc::new(ours)),
            (None, Ok(Err(_))) => Err(unreachable("the endpoint is gone")),
            (None, Err(_)) => Err(unreachable("the endpoint takes no connections")),
        }
    }

    fn stop(&self) {
        let mut endpoints = self.hub.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if endpoints.get(&self.name).is_some_and(|endpoint| Arc::ptr_eq(endpoint, &self.endpoint)) {
            endpoints.remove(&self.name);
        }
        drop(endpoints);
        self.stopped.send_replace(true);
        let connections = {
            let mut held = self.endpoint.connections.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *held)
        };
        for held in connections.iter().filter_map(Weak::upgrade) {
            held.end("shutting down".to_owned(), None);
        }
    }
}

/// What a dialling side checks of the peer that it found.
fn judge(me: &PeerId, peer: &PeerId, target: &Target) -> Result<(), Refusal> {
    if peer.cluster() != me.cluster() {
        return Err(Refusal::WrongCluster { expected: me.cluster(), claimed: Some(peer.cluster()) });
    }
    if !Lane::any_between(me.role(), peer.role()) {
        return Err(Refusal::NoLanes { here: me.role(), found: peer.role() });
    }
    target.expect.check(peer)
}

/// Both sides of a new connection: the dialling one first.
fn link(ends: [(&str, &Arc<Endpoint>); 2]) -> [MemoryConnection; 2] {
    let [(dialler_name, dialler), (acceptor_name, acceptor)] = ends;
    let (to_dialler, dialler_offers) = mpsc::channel(LANES_MAX);
    let (to_acceptor, acceptor_offers) = mpsc::channel(LANES_MAX);
    let (ended, _) = watch::channel(None);
    let link = Arc::new(Link {
        ended,
        offers: [to_dialler, to_acceptor],
        slots: [(); 2].map(|()| Arc::new(Semaphore::new(LANES_MAX))),
        held: OnceLock::new(),
    });
    let hold = |side, address: &str, endpoint: &Arc<Endpoint>| {
        let held = Arc::new(Held { link: Arc::clone(&link), side, address: address.to_owned() });
        let mut connections = endpoint.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| connection.strong_count() > 0);
        connections.push(Arc::downgrade(&held));
        held
    };
    let dialling = hold(0, acceptor_name, dialler);
    let accepting = hold(1, dialler_name, acceptor);
    let _ = link.held.set([Arc::downgrade(&dialling), Arc::downgrade(&accepting)]);
    let side = |held, me: &PeerId, peer: &PeerId, offers| MemoryConnection {
        held,
        here: me.role(),
        peer: peer.clone(),
        offers: Mutex::new(offers),
    };
    [
        side(dialling, &dialler.me, &acceptor.me, dialler_offers),
        side(accepting, &acceptor.me, &dialler.me, acceptor_offers),
    ]
}

impl Held {
    /// Ends the connection, unless it has ended already.
    fn end(&self, reason: String, refusal: Option<Refusal>) {
        let end = End { side: self.side, refusal, reason };
        self.link.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(end);
            first
        });
    }

    /// Waits for the end and says what it means to this side.
    pub(super) async fn closed(&self) -> TransportError {
        let mut ended = self.link.ended.subscribe();
        let end = ended.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        let Some(End { side, refusal, reason }) = end else {
            return TransportError::Lost { reason: "the connection is gone".to_owned() };
        };
        let address = self.address.clone();
        match (refusal, side == self.side) {
            (Some(refusal), true) => TransportError::Refused { address, refusal },
            (Some(refusal), false) => TransportError::RefusedByPeer { address, kind: refusal.kind(), reason },
            (None, true) => TransportError::Closed { by: Side::Here, reason },
            (None, false) => TransportError::Closed { by: Side::Peer, reason },
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.end("no longer held".to_owned(), None);
    }
}

impl MemoryConnection {
    async fn open_lane(&self, lane: Lane) -> Result<(LaneSender, LaneReceiver), TransportError> {
        let (opener, acceptor) = (self.here, self.peer.role());
        if !lane.permits(opener, acceptor) {
            let refusal = LaneRefusal::Forbidden { lane, opener, acceptor };
            return Err(TransportError::LaneRefused { by: Side::Here, refusal });
        }
        let link = &self.held.link;
        let (own, other) = if self.held.side == 0 { (0, 1) } else { (1, 0) };
        let not_taken =
            || TransportError::LaneBroken { lane, reason: "the peer takes no lanes any more".to_owned() };
        let slots = link.slots.get(own).ok_or_else(not_taken)?;
        let offers = link.offers.get(other).ok_or_else(not_taken)?;
        let slot = Arc::clone(slots).acquire_owned().await.map_err(|_| not_taken())?;
        let held = link.held.get().and_then(|held| held.get(other)).and_then(Weak::upgrade);
        let Some(there) = held else { return Err(self.held.closed().await) };
        let [ours, (sender, receiver)] = lane::new(lane, [&self.held, &there], slot);
        drop(there);
        offers.send((lane, sender, receiver)).await.map_err(|_| not_taken())?;
        Ok(ours)
    }
}

impl Connection for MemoryConnection {
    fn peer(&self) -> &PeerId {
        &self.peer
    }

    fn open(&self, lane: Lane) -> BoxFuture<'_, Result<(LaneSender, LaneReceiver), TransportError>> {
        Box::pin(async move {
            tokio::select! {
                biased;
                error = self.held.closed() => Err(error),
                opened = timeout(WAIT_MAX, self.open_lane(lane)) => {
                    opened.map_err(|_| TransportError::LaneTimeout { lane, within: WAIT_MAX })?
                }
            }
        })
    }

    fn accept(&self) -> BoxFuture<'_, Result<(Lane, LaneSender, LaneReceiver), TransportError>> {
        Box::pin(async {
            let mut offers = self.offers.lock().await;
            tokio::select! {
                biased;
                error = self.held.closed() => Err(error),
                Some(offered) = offers.recv() => Ok(offered),
            }
        })
    }

    fn close(&self, reason: &str) {
        self.held.end(cleaned(reason.as_bytes(), REASON_MAX), None);
    }

    fn closed(&self) -> BoxFuture<'_, TransportError> {
        Box::pin(self.held.closed())
    }
}

impl Transport for MemoryTransport {
    fn connect<'a>(
        &'a self,
        target: &'a Target,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, TransportError>> {
        Box::pin(self.dial(target))
    }

    fn accept(&self) -> BoxFuture<'_, Result<Arc<dyn Connection>, TransportError>> {
        Box::pin(async {
            let mut stopped = self.stopped.subscribe();
            let mut offers = self.offers.lock().await;
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => Err(TransportError::Shutdown),
                offered = offers.recv() => offered.unwrap_or(Err(TransportError::Shutdown)),
            }
        })
    }

    fn local_address(&self) -> Option<SocketAddr> {
        None
    }

    fn members(&self) -> Option<&Members> {
        None
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.stop();
        Box::pin(std::future::ready(()))
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        self.stop();
    }
}
