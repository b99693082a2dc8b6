//! The idle connections of one worker: last in, first out, by server. It opens connections when asked and none is idle, drops
//! those that closed or lay too long, and knows nothing of requests.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Instant;

use hyper::client::conn::http2;

use super::Upstream;
use super::connect::{Connected, connect};
use super::departures::Departures;
use super::http1::{Client, Room};
use super::lease::{Lease, SharedClient};
use super::return_rule::Reason;
use crate::body::RequestBody;
use crate::error::RequestError;

/// One multiplexed connection, shared by the requests of this worker.
pub(crate) struct Http2Connection {
    pub(crate) sender: http2::SendRequest<RequestBody>,
    /// Requests under way.
    pub(crate) streams: Cell<usize>,
    allowed: Rc<Cell<usize>>,
    idle_since: Cell<Instant>,
}

impl Http2Connection {
    /// Room for one more request: four fifths of what the server allows, so that none waits inside hyper.
    fn has_room(&self) -> bool {
        !self.sender.is_closed() && self.streams.get() < (self.allowed.get() / 5 * 4).max(1)
    }
}

struct Idle {
    client: SharedClient,
    since: Instant,
}

#[derive(Default)]
struct PerServer {
    upstream: Weak<Upstream>,
    idle: Vec<Idle>,
    http2: Vec<Rc<Http2Connection>>,
}

#[derive(Default)]
struct Pools {
    servers: RefCell<HashMap<u64, PerServer, foldhash::fast::RandomState>>,
    room: Rc<Room>,
    departures: Rc<Departures>,
    draining: Cell<bool>,
    workers: usize,
    /// Leases that are held or on their way.
    leased: Cell<usize>,
    leased_max: usize,
    opened: Cell<u64>,
    reused: Cell<u64>,
    closed: Cell<u64>,
}

/// What a worker's pools did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Connections opened.
    pub opened: u64,
    /// Requests that were answered on a connection that stood already.
    pub reused: u64,
    /// Connections the return rule refused after an answer.
    pub closed: u64,
    /// HTTP/1 connections lying idle now.
    pub idle: usize,
}

/// Counts a connection that is being opened among the leases.
struct Opening<'p>(&'p UpstreamPools);

impl<'p> Opening<'p> {
    fn of(pools: &'p UpstreamPools) -> Self {
        pools.enter();
        Self(pools)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// The pools of one worker. Cheap to clone; never leaves its thread.
#[derive(Clone)]
pub struct UpstreamPools(Rc<Pools>);

impl UpstreamPools {
    /// Empty pools of one of `workers` workers, which share the limit of idle connections evenly.
    pub fn new(workers: usize) -> Self {
        Self::bounded(workers, usize::MAX)
    }

    /// As [`Self::new`], full once `leased_max` requests wait for servers.
    pub(crate) fn bounded(workers: usize, leased_max: usize) -> Self {
        Self(Rc::new(Pools { workers: workers.max(1), leased_max, ..Pools::default() }))
    }

    /// Whether as many requests wait for servers as may.
    pub(crate) fn is_full(&self) -> bool {
        self.0.leased.get() >= self.0.leased_max
    }

    /// A lease begins.
    pub(super) fn enter(&self) {
        self.0.leased.set(self.0.leased.get() + 1);
    }

    /// A lease ends.
    pub(super) fn leave(&self) {
        self.0.leased.set(self.0.leased.get().saturating_sub(1));
    }

    /// A connection to the server: an idle one, the latest used first, unless `fresh`, else a new one.
    pub(crate) async fn lease(
        &self,
        upstream: &Arc<Upstream>,
        http1_only: bool,
        fresh: bool,
    ) -> Result<Lease, RequestError> {
        if !fresh && let Some(lease) = self.checkout(upstream, http1_only) {
            return Ok(lease);
        }
        self.0.opened.set(self.0.opened.get() + 1);
        let _opening = Opening::of(self);
        // Boxed: it is large and rare, while every request in flight carries this future.
        Ok(match Box::pin(connect(upstream, http1_only)).await? {
            Connected::Http1(io) => {
                let client = Client::new(io, Rc::clone(&self.0.room));
                Lease::http1(self.clone(), Arc::clone(upstream), Rc::new(RefCell::new(client)), false)
            }
            Connected::Http2 { sender, allowed } => {
                let connection = Http2Connection {
                    sender,
                    streams: Cell::new(0),
                    allowed,
                    idle_since: Cell::new(Instant::now()),
                };
                let connection = Rc::new(connection);
                let other = self.keep_http2(upstream, &connection, fresh);
                Lease::http2(self.clone(), Arc::clone(upstream), other.unwrap_or(connection), false)
            }
        })
    }

    /// Keeps a new connection over HTTP/2, unless another has room by now: requests that come at once each open one, and one
    /// carries them all. Returns the one to be used in its place; none for a request that needs a `fresh` one.
    fn keep_http2(
        &self,
        upstream: &Arc<Upstream>,
        connection: &Rc<Http2Connection>,
        fresh: bool,
    ) -> Option<Rc<Http2Connection>> {
        let mut other = None;
        self.with_server(upstream, |server| {
            other = server.http2.iter().find(|other| !fresh && other.has_room()).cloned();
            if other.is_none() {
                server.http2.push(Rc::clone(connection));
            }
        });
        other
    }

    fn checkout(&self, upstream: &Arc<Upstream>, http1_only: bool) -> Option<Lease> {
        let mut servers = self.0.servers.borrow_mut();
        let server = servers.get_mut(&upstream.id)?;
        if !http1_only && let Some(connection) = server.http2.iter().find(|connection| connection.has_room())
        {
            connection.idle_since.set(Instant::now());
            return Some(Lease::http2(self.clone(), Arc::clone(upstream), Rc::clone(connection), true));
        }
        // Whether it still stands shows before anything is written to it: the request then takes the next one.
        let idle = server.idle.pop()?;
        Some(Lease::http1(self.clone(), Arc::clone(upstream), idle.client, true))
    }

    /// Keeps a connection that the return rule let pass, idle since `now`. Beyond the limit the oldest goes.
    pub(crate) fn put(&self, upstream: &Arc<Upstream>, client: SharedClient, now: Instant) {
        let limit = upstream.transport.idle_connections_max.div_ceil(self.0.workers);
        self.with_server(upstream, |server| {
            server.idle.push(Idle { client, since: now });
            if server.idle.len() > limit {
                server.idle.remove(0);
            }
        });
    }

    fn with_server(&self, upstream: &Arc<Upstream>, act: impl FnOnce(&mut PerServer)) {
        let mut servers = self.0.servers.borrow_mut();
        let server = servers
            .entry(upstream.id)
            .or_insert_with(|| PerServer { upstream: Arc::downgrade(upstream), ..PerServer::default() });
        act(server);
    }

    /// Drops connections that closed, that lay longer than their transport allows, or whose server no service names. Call it
    /// about once a second.
    pub fn sweep(&self, now: Instant) {
        self.0.servers.borrow_mut().retain(|_, server| {
            let Some(upstream) = server.upstream.upgrade().filter(|upstream| upstream.is_in_use()) else {
                return false;
            };
            let limit = upstream.transport.idle_timeout;
            let stale =
                |since: Instant| limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit);
            server.idle.retain(|idle| !stale(idle.since) && idle.client.borrow_mut().is_quiet());
            server.http2.retain(|connection| {
                if connection.streams.get() > 0 {
                    connection.idle_since.set(now);
                }
                !connection.sender.is_closed() && !stale(connection.idle_since.get())
            });
            !server.idle.is_empty() || !server.http2.is_empty()
        });
    }

    /// From now on nothing is kept: the worker drains.
    pub fn drain(&self) {
        self.0.draining.set(true);
        self.0.servers.borrow_mut().clear();
    }

    /// The requests that are ready to be written.
    pub(crate) fn departures(&self) -> &Rc<Departures> {
        &self.0.departures
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.get()
    }

    pub(crate) fn count_reused(&self) {
        self.0.reused.set(self.0.reused.get() + 1);
    }

    pub(crate) fn count_closed(&self, _reason: Reason) {
        self.0.closed.set(self.0.closed.get() + 1);
    }

    /// Connections over HTTP/2 that are kept for a server.
    #[cfg(test)]
    pub(crate) fn http2_connections(&self, upstream: &Upstream) -> usize {
        self.0.servers.borrow().get(&upstream.id).map_or(0, |server| server.http2.len())
    }

    /// What was done so far.
    pub fn counts(&self) -> PoolCounts {
        let idle = self.0.servers.borrow().values().map(|server| server.idle.len()).sum();
        PoolCounts {
            opened: self.0.opened.get(),
            reused: self.0.reused.get(),
            closed: self.0.closed.get(),
            idle,
        }
    }
}

impl std::fmt::Debug for UpstreamPools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("UpstreamPools").field(&self.counts()).finish()
    }
}
