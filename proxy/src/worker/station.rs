//! One worker's thread: its runtime, its connections, the sockets it accepts on. It follows the plan that all workers share
//! and decides nothing of it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::accept::{Place, accept};
use super::load::Loads;
use super::shed::Shedding;
use super::{Counters, Plan};
use crate::connection::{
    Accepted, Application, Control, Registry, Scope, Settings, Stage, panic_text, serve,
};
use crate::drain::{CLOSING_TIME_MAX, accepts};
use crate::listener::{Open, OpenEntryPoints, Sockets};

/// A connection on its way to another worker, before a byte of it is read.
#[derive(Debug)]
pub(super) struct Handed {
    socket: std::net::TcpStream,
    arrival: Arrival,
}

/// What is known of a connection when it is accepted.
#[derive(Debug)]
struct Arrival {
    peer: SocketAddr,
    entry_point: Arc<str>,
    settings: Arc<Settings>,
    accepted_at: Instant,
}

/// What ties a worker to the others.
pub(super) struct Ties {
    pub(super) index: usize,
    pub(super) plan: watch::Receiver<Plan>,
    pub(super) handed: mpsc::Receiver<Handed>,
    pub(super) others: Arc<[mpsc::Sender<Handed>]>,
    pub(super) loads: Arc<Loads>,
    pub(super) connections_max: usize,
}

/// A worker's own state.
struct Station<A> {
    index: usize,
    application: Rc<A>,
    registry: Rc<Registry>,
    loads: Arc<Loads>,
    others: Arc<[mpsc::Sender<Handed>]>,
    connections_max: usize,
    stage: Cell<Stage>,
    /// The entry points of the plan as last followed.
    open: RefCell<Arc<OpenEntryPoints>>,
    next_id: Cell<u64>,
    shedding: Shedding,
    /// When the log was last told that connections are refused.
    shed_told: Cell<Option<Instant>>,
}

/// Least time between two lines about refused connections.
const SHED_TOLD_INTERVAL: Duration = Duration::from_secs(10);

/// An entry point this worker accepts on.
struct Accepting {
    sockets: Arc<Sockets>,
    settings: Rc<RefCell<Arc<Settings>>>,
    stop: CancellationToken,
}

/// Why a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The plan closed it.
    AsTold,
    /// What follows the live table has ended before: its requests would get an old one for ever.
    Alone,
}

/// Runs a worker until the plan closes it.
pub(super) async fn run<A: Application>(application: Rc<A>, ties: Ties) -> Ended {
    let Ties { index, mut plan, mut handed, others, loads, connections_max } = ties;
    let station = Rc::new(Station {
        index,
        application: Rc::clone(&application),
        registry: Rc::new(Registry::default()),
        loads,
        others,
        connections_max,
        stage: Cell::new(Stage::Open),
        open: RefCell::default(),
        next_id: Cell::new(0),
        shedding: Shedding::default(),
        shed_told: Cell::new(None),
    });
    let mut following = tokio::task::spawn_local(application.follow());
    tokio::task::spawn_local({
        let station = Rc::clone(&station);
        async move {
            while let Some(Handed { socket, arrival }) = handed.recv().await {
                station.take_over(socket, arrival);
            }
        }
    });
    let mut accepting = BTreeMap::new();
    loop {
        let now = plan.borrow_and_update().clone();
        station.follow(&now, &mut accepting);
        if now.stage == Stage::Closing {
            break;
        }
        tokio::select! {
            changed = plan.changed() => match changed {
                Ok(()) => {}
                // Whoever made the plan is gone: nobody will drain us.
                Err(_) => break,
            },
            _ = &mut following => return Ended::Alone,
        }
    }
    station.registry.advance(None, Stage::Closing);
    let closed = async {
        while station.registry.count() > 0 {
            station.loads.emptied().await;
        }
    };
    // What has not closed by then is dropped with the runtime.
    let _ = tokio::time::timeout(CLOSING_TIME_MAX, closed).await;
    Ended::AsTold
}

impl<A: Application> Station<A> {
    /// Opens, closes and changes what this worker accepts on.
    fn follow(self: &Rc<Self>, plan: &Plan, accepting: &mut BTreeMap<Arc<str>, Accepting>) {
        if plan.stage > self.stage.get() {
            self.stage.set(plan.stage);
            self.registry.advance(None, plan.stage);
            self.application.drain();
        }
        self.open.replace(Arc::clone(&plan.open));
        let wanted = |name: &Arc<str>, held: &Accepting| {
            accepts(plan.stage)
                && plan.open.get(name).is_some_and(|open| Arc::ptr_eq(&open.sockets, &held.sockets))
        };
        let gone: Vec<Arc<str>> = accepting
            .iter()
            .filter(|(name, held)| !wanted(name, held))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in gone {
            if let Some(held) = accepting.remove(&name) {
                held.stop.cancel();
            }
            if !plan.open.contains_key(&name) {
                // Its connections end with their next answer; an entry point that only moved keeps them.
                self.registry.advance(Some(&name), Stage::Draining);
            }
        }
        if !accepts(plan.stage) {
            return;
        }
        for (name, open) in plan.open.iter() {
            match accepting.get(name) {
                Some(held) => drop(held.settings.replace(Arc::clone(&open.settings))),
                None => {
                    if let Some(started) = self.listen(name, open) {
                        accepting.insert(Arc::clone(name), started);
                    }
                }
            }
        }
    }

    fn listen(self: &Rc<Self>, name: &Arc<str>, open: &Open) -> Option<Accepting> {
        let listener = open.sockets.listeners.get(self.index)?;
        let listener = match listener.try_clone().and_then(TcpListener::from_std) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(entry_point = %name, worker = self.index, %error, "cannot accept");
                return None;
            }
        };
        let stop = CancellationToken::new();
        let settings = Rc::new(RefCell::new(Arc::clone(&open.settings)));
        let place = Placing {
            station: Rc::clone(self),
            entry_point: Arc::clone(name),
            settings: Rc::clone(&settings),
        };
        tokio::task::spawn_local(accept(listener, place, stop.clone()));
        Some(Accepting { sockets: Arc::clone(&open.sockets), settings, stop })
    }

    /// Serves a connection that another worker accepted.
    fn take_over(self: &Rc<Self>, socket: std::net::TcpStream, arrival: Arrival) {
        match TcpStream::from_std(socket) {
            Ok(socket) => self.start(socket, arrival),
            Err(error) => {
                tracing::warn!(peer = %arrival.peer, %error, "a connection was lost on its way to a worker")
            }
        }
    }

    /// Serves a connection on this worker.
    fn start(self: &Rc<Self>, socket: TcpStream, arrival: Arrival) {
        let Arrival { peer, entry_point, settings, accepted_at } = arrival;
        let counters = self.application.counters();
        // A client that is gone already has no address to speak of; its first read will tell.
        let Ok(local) = socket.local_addr() else { return };
        let (peer, local) = (canonical(peer), canonical(local));
        Counters::add(&counters.connections);
        let id = (u64::try_from(self.index).unwrap_or_default() << 48) | self.next_id.get();
        self.next_id.set(self.next_id.get() + 1);
        let control = Control::new();
        control.advance(self.stage.get());
        // It may have waited in the queue of an entry point that is gone by now.
        if !self.open.borrow().contains_key(&entry_point) {
            control.advance(Stage::Draining);
        }
        let place = self.registry.enter(Arc::clone(&entry_point), Rc::clone(&control));
        let load = self.loads.enter(self.index, Arc::clone(&entry_point));
        let scope = Scope { application: Rc::clone(&self.application), settings, control };
        let accepted = Accepted { id, socket, peer, local, entry_point, accepted_at };
        let application = Rc::clone(&self.application);
        tokio::task::spawn_local(async move {
            if let Err(panic) = AssertUnwindSafe(serve(accepted, scope)).catch_unwind().await {
                Counters::add(&application.counters().panics);
                tracing::error!(connection = id, %peer, panic = panic_text(&*panic), "a connection panicked");
            }
            drop((place, load));
        });
    }
}

/// The address as the rest of the proxy knows it: a socket of both families gives an IPv4 client as `::ffff:192.0.2.1`,
/// which no trusted network of IPv4 holds and no log or forwarding field should show.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Places what one entry point's socket accepts.
struct Placing<A> {
    station: Rc<Station<A>>,
    entry_point: Arc<str>,
    settings: Rc<RefCell<Arc<Settings>>>,
}

impl<A: Application> Place for Placing<A> {
    fn place(&self, socket: TcpStream, peer: SocketAddr) {
        let station = &self.station;
        let arrival = Arrival {
            peer,
            entry_point: Arc::clone(&self.entry_point),
            settings: Arc::clone(&self.settings.borrow()),
            accepted_at: Instant::now(),
        };
        let Some(other) = station.loads.lighter(station.index).and_then(|other| station.others.get(other))
        else {
            return station.start(socket, arrival);
        };
        let Ok(socket) = socket.into_std() else { return };
        match other.try_send(Handed { socket, arrival }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back)) => {
                station.take_over(back.socket, back.arrival);
            }
        }
    }

    fn has_room(&self) -> bool {
        let Station { loads, index, connections_max, .. } = &*self.station;
        // Whoever has less has room.
        loads.of(*index) < *connections_max || loads.lighter(*index).is_some()
    }

    fn may_shed(&self) -> bool {
        self.station.shedding.has_room()
    }

    fn shed(&self, socket: TcpStream) {
        let station = &self.station;
        Counters::add(&station.application.counters().shed);
        let now = Instant::now();
        let told = station.shed_told.get();
        if told.is_none_or(|told| now.saturating_duration_since(told) > SHED_TOLD_INTERVAL) {
            station.shed_told.set(Some(now));
            tracing::warn!(
                worker = station.index,
                connections = station.connections_max,
                "as many connections as are allowed: further ones are answered 503"
            );
        }
        station.shedding.refuse(socket);
    }
}
