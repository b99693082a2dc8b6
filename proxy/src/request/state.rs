//! What the request path keeps per process (`Shared`) and per worker (`State`). It holds no request.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;

use crate::access_log::{AccessLog, WorkerLog};
use crate::metrics::Vitals;
use crate::rest::Sink;
use crate::upstream::UpstreamPools;

/// How often idle upstream connections are looked over.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How often dates follow the clock of dates; in between they go on by the steady one.
const DATE_INTERVAL: Duration = Duration::from_secs(1);

/// What the request paths of all workers share.
#[derive(Debug)]
pub struct Shared {
    /// This host's name, for `X-Forwarded-Server`.
    pub(super) server: HeaderValue,
    log: Mutex<Option<Arc<AccessLog>>>,
    /// Logs that were replaced: ending one waits for its disk, which no worker may.
    retired: Mutex<Vec<Arc<AccessLog>>>,
    /// Counts changes of `log`, so that workers see one without the lock.
    log_version: AtomicU64,
    terminating: AtomicBool,
    /// Panics by the kind of middleware: as many entries as there are kinds.
    panics: Mutex<BTreeMap<&'static str, u64>>,
    /// Where configurations go that clients put; none in a cluster.
    rest: Option<Arc<Sink>>,
    /// What the process counts by itself.
    pub vitals: Vitals,
    /// Requests that may wait for servers at once, of all workers together.
    pub(crate) requests_max: usize,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            server: host_name(),
            log: Mutex::new(None),
            retired: Mutex::new(Vec::new()),
            log_version: AtomicU64::new(0),
            terminating: AtomicBool::new(false),
            panics: Mutex::default(),
            rest: None,
            vitals: Vitals::default(),
            requests_max: usize::MAX,
        }
    }
}

impl Shared {
    /// As by default, with somebody who takes the configurations that clients put, and so many requests that may wait for servers
    /// at once.
    pub fn bounded(rest: Option<Arc<Sink>>, requests_max: usize) -> Self {
        Self { rest, requests_max, ..Self::default() }
    }

    pub(super) fn rest_sink(&self) -> Option<&Arc<Sink>> {
        self.rest.as_ref()
    }

    /// Replaces the access log; every worker's next request uses it. The old one is written out and closed by
    /// [`Shared::free_retired`] once the last worker and the last request let go of it.
    pub fn set_access_log(&self, log: Option<Arc<AccessLog>>) {
        let old = {
            let mut current = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, log)
        };
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).extend(old);
        self.log_version.fetch_add(1, Ordering::Release);
    }

    /// Ends the replaced access logs that nobody else holds; to be called off the workers, as it waits for their disks. Returns
    /// how many are still held.
    pub fn free_retired(&self) -> usize {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let all = std::mem::take(&mut *retired);
        let (free, held): (Vec<_>, Vec<_>) = all.into_iter().partition(|log| Arc::strong_count(log) == 1);
        *retired = held;
        let count = retired.len();
        drop(retired);
        drop(free);
        count
    }

    /// The process ends: from now on ping says so.
    pub fn set_terminating(&self) {
        self.terminating.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_terminating(&self) -> bool {
        self.terminating.load(Ordering::Relaxed)
    }

    pub(super) fn note_panic(&self, kind: &'static str) {
        *self.panics.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    /// Requests that a panic in a middleware ended, by its kind.
    pub fn middleware_panics(&self) -> BTreeMap<&'static str, u64> {
        self.panics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The access log, for signals and status.
    pub fn access_log(&self) -> Option<Arc<AccessLog>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn host_name() -> HeaderValue {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    HeaderValue::from_str(name.trim())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or(HeaderValue::from_static("localhost"))
}

/// What the request path of one worker keeps. Never leaves its thread.
#[derive(Debug)]
pub struct State {
    /// Connections to servers.
    pub pools: UpstreamPools,
    /// The 0-based number of its worker: whose numbers it counts in.
    pub(super) worker: usize,
    pub(super) shared: Arc<Shared>,
    log: RefCell<Option<WorkerLog>>,
    log_version: Cell<u64>,
    /// The last client's address as a field value: a connection's requests come in rows.
    last_peer: RefCell<Option<(IpAddr, HeaderValue)>>,
    /// One instant on both clocks.
    dated: Cell<(Instant, SystemTime)>,
}

impl State {
    /// The state of worker `worker`, of `workers`.
    pub fn new(shared: Arc<Shared>, worker: usize, workers: usize) -> Self {
        Self {
            pools: UpstreamPools::bounded(workers, shared.requests_max.div_ceil(workers.max(1))),
            worker,
            shared,
            log: RefCell::new(None),
            log_version: Cell::new(0),
            last_peer: RefCell::new(None),
            dated: Cell::new((Instant::now(), SystemTime::now())),
        }
    }

    /// For a request of the proxy's own on the same worker: the same connections, and no log.
    pub(super) fn beside(&self) -> Self {
        Self {
            pools: self.pools.clone(),
            worker: self.worker,
            shared: Arc::clone(&self.shared),
            log: RefCell::new(None),
            log_version: Cell::new(self.shared.log_version.load(Ordering::Acquire)),
            last_peer: RefCell::new(None),
            dated: Cell::new(self.dated.get()),
        }
    }

    /// Looks over the idle connections for the worker's whole life. Runs beside its connections; dropping it stops it.
    pub async fn maintain(&self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.pools.sweep(Instant::now());
            // A worker without requests holds no log that was replaced.
            drop(self.log());
        }
    }

    /// Keeps no upstream connection any more, and hands over what the log holds. Requests under way go on.
    pub fn drain(&self) {
        self.pools.drain();
        if let Some(log) = &*self.log.borrow() {
            log.flush();
        }
    }

    pub(super) fn log(&self) -> Option<WorkerLog> {
        let version = self.shared.log_version.load(Ordering::Acquire);
        if version != self.log_version.get() {
            self.log_version.set(version);
            self.log.replace(self.shared.access_log().map(WorkerLog::new));
        }
        self.log.borrow().clone()
    }

    /// The date of an instant. The clock of dates is asked once a second, so that a request asks one clock only.
    pub(super) fn date(&self, now: Instant) -> SystemTime {
        let (at, date) = self.dated.get();
        let passed = now.saturating_duration_since(at);
        if passed < DATE_INTERVAL {
            return date.checked_add(passed).unwrap_or(date);
        }
        let date = SystemTime::now();
        self.dated.set((now, date));
        date
    }

    pub(super) fn peer_value(&self, peer: IpAddr) -> HeaderValue {
        let mut last = self.last_peer.borrow_mut();
        if let Some((address, value)) = &*last
            && *address == peer
        {
            return value.clone();
        }
        // The text of an address is always a field value.
        let value = HeaderValue::from_str(&peer.to_string()).unwrap_or(HeaderValue::from_static("unknown"));
        *last = Some((peer, value.clone()));
        value
    }
}
