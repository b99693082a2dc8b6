//! One server of a load balancer, and what the process knows of it by itself: who it is does not change while it serves, how it is
//! doing does. That belongs to service and server, is shared by all workers without a lock, and outlives a table as long as the next
//! one has the same server in the same service.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use ravelin_config::dynamic::PassiveHealthCheck;

use super::least_time::Times;
use crate::upstream::{InUse, Upstream};

/// One server of a load balancer.
#[derive(Debug)]
pub struct Server {
    /// Its URL as configured, for logs: without user and password.
    pub url: Arc<str>,
    /// Who it is to the pools.
    pub upstream: Arc<Upstream>,
    /// In front of every path: the URL's path where `preservePath` is set. Without a trailing slash; empty means nothing.
    pub base_path: Box<str>,
    pub(super) state: Arc<ServerState>,
    pub(super) _in_use: Arc<InUse>,
}

impl Server {
    /// Whether it may be chosen.
    pub fn is_up(&self) -> bool {
        self.state.is_up()
    }
}

/// How a server of a service is doing.
#[derive(Debug)]
pub(crate) struct ServerState {
    /// What its last check said. Up before the first.
    up: AtomicBool,
    /// Until when it is left alone after failures, in microseconds of [`now_micros`]; 0: it is not.
    rests_until: AtomicU64,
    /// Whether there is anything in `failures`.
    failing: AtomicBool,
    /// When its latest answers were failures; touched only where there are any.
    failures: Mutex<VecDeque<Instant>>,
    in_flight: AtomicU64,
    pub(super) times: Times,
}

/// When failures of requests keep a server from getting more.
#[derive(Debug)]
pub(super) struct Passive {
    /// In which failures count, and for how long the server is left alone.
    pub(super) window: Duration,
    /// So many within the window are too many.
    pub(super) failures_max: usize,
    /// There are active checks too: the next good one brings the server back.
    pub(super) checked: bool,
}

/// Failures that are remembered of a server.
const FAILURES_MAX: usize = 10_000;

impl Passive {
    /// From its configuration. As in Traefik fewer than one failure are one.
    pub(super) fn compile(config: &PassiveHealthCheck, checked: bool) -> Self {
        let failures_max = usize::try_from(config.max_failed_attempts).unwrap_or(0).clamp(1, FAILURES_MAX);
        let window = config.failure_window.positive().unwrap_or_default();
        Self { window, failures_max, checked }
    }
}

/// Microseconds since somebody first asked, and never 0.
fn now_micros(now: Instant) -> u64 {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let passed = now.saturating_duration_since(*BEGUN).as_micros();
    u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1)
}

impl Default for ServerState {
    fn default() -> Self {
        Self {
            up: AtomicBool::new(true),
            rests_until: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            failures: Mutex::default(),
            in_flight: AtomicU64::new(0),
            times: Times::default(),
        }
    }
}

impl ServerState {
    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
            && match self.rests_until.load(Ordering::Relaxed) {
                0 => true,
                until => now_micros(Instant::now()) >= until,
            }
    }

    /// A request was answered well: failures before it do not count any more.
    pub(super) fn passed(&self) {
        if self.failing.load(Ordering::Relaxed) {
            self.failures.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.failing.store(false, Ordering::Relaxed);
        }
    }

    /// A request failed at `now`. Returns whether that was one too many.
    pub(super) fn failed(&self, passive: &Passive, now: Instant) -> bool {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|at| now.saturating_duration_since(*at) < passive.window);
        failures.push_back(now);
        if failures.len() > FAILURES_MAX {
            failures.pop_front();
        }
        self.failing.store(true, Ordering::Relaxed);
        if failures.len() < passive.failures_max {
            return false;
        }
        if passive.checked {
            self.up.store(false, Ordering::Relaxed);
        } else {
            let until = now.checked_add(passive.window).map_or(u64::MAX, now_micros);
            self.rests_until.store(until, Ordering::Relaxed);
        }
        true
    }

    /// Says what a check found; returns whether that is something new.
    pub(super) fn set_up(&self, up: bool) -> bool {
        self.up.swap(up, Ordering::Relaxed) != up
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request until what is returned is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }
}

/// A request to a server, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<ServerState>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How every server of the process is doing, by service and URL. Used by the compiler only; bounded by the servers of the live tables,
/// as entries that nothing uses are dropped on growth.
#[derive(Debug, Default)]
pub struct ServerStates {
    known: Mutex<HashMap<(String, String), Weak<ServerState>>>,
}

impl ServerStates {
    /// The state of the server of this URL in the service of this qualified name.
    pub(super) fn state(&self, service: &str, url: &str) -> Arc<ServerState> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (service.to_owned(), url.to_owned());
        if let Some(state) = known.get(&key).and_then(Weak::upgrade) {
            return state;
        }
        if known.len() == known.capacity() {
            known.retain(|_, state| state.strong_count() > 0);
        }
        let state = Arc::new(ServerState::default());
        known.insert(key, Arc::downgrade(&state));
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_stays_keeps_its_state_and_another_service_has_its_own() {
        let states = ServerStates::default();
        let first = states.state("s@file", "http://a");
        assert!(first.is_up() && first.set_up(false) && !first.set_up(false));
        assert!(!states.state("s@file", "http://a").is_up(), "the next table finds it down");
        assert!(states.state("t@file", "http://a").is_up());
        drop(first);
        assert!(states.state("s@file", "http://a").is_up(), "forgotten once no table has it");
    }

    #[test]
    fn entries_that_nothing_uses_do_not_pile_up() {
        let states = ServerStates::default();
        for number in 0..10_000 {
            drop(states.state("s@file", &format!("http://h{number}")));
        }
        assert!(states.known.lock().expect("no panic").len() < 100);
    }

    #[test]
    fn failures_in_a_row_within_the_window_let_a_server_rest() {
        let passive = |checked| Passive { window: Duration::from_secs(60), failures_max: 3, checked };
        let (state, begun) = (ServerState::default(), Instant::now());
        let second = |number| begun + Duration::from_secs(number);
        assert!(!state.failed(&passive(false), second(0)) && !state.failed(&passive(false), second(1)));
        state.passed();
        assert!(!state.failed(&passive(false), second(2)) && !state.failed(&passive(false), second(3)));
        assert!(state.is_up(), "a good answer forgives what was before it");
        assert!(!state.failed(&passive(false), second(62)), "two are older than the window");
        assert!(!state.failed(&passive(false), second(63)) && state.failed(&passive(false), second(64)));
        assert!(!state.is_up());
        let state = ServerState::default();
        assert!((0..3).filter(|number| state.failed(&passive(true), second(*number))).eq([2]));
        assert!(!state.is_up() && state.set_up(true) && state.is_up(), "a check that is well ends it");
        let short = Passive { window: Duration::from_nanos(1), failures_max: 1, checked: false };
        let state = ServerState::default();
        assert!(state.failed(&short, begun) && state.is_up(), "its rest is over");
    }

    #[test]
    fn fewer_than_one_failure_are_one() {
        for (given, counts) in [(-1, 1), (0, 1), (3, 3), (i64::MAX, FAILURES_MAX)] {
            let config = PassiveHealthCheck { max_failed_attempts: given, ..PassiveHealthCheck::default() };
            assert_eq!(Passive::compile(&config, false).failures_max, counts);
        }
    }

    #[test]
    fn requests_are_counted_while_they_last() {
        let state = Arc::new(ServerState::default());
        let (one, two) = (state.enter(), state.enter());
        assert_eq!(state.in_flight(), 2);
        drop(one);
        assert_eq!(state.in_flight(), 1);
        drop(two);
        assert_eq!(state.in_flight(), 0);
    }
}
