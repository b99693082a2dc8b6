//! Active health checks: asks each server of a service again and again how it is, and writes the answer into its state. One thread of
//! the process does it, beside the workers, with connections of its own. It chooses nothing and never sees a request.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use ravelin_config::GoDuration;
use ravelin_config::dynamic::HealthCheck;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::server::ServerState;
use crate::connection::panic_text;
use crate::failure::{Failures, Part};
use crate::upstream::UpstreamPools;

mod probe;

pub(super) use probe::Probe;

/// Checks under way at once, each with a connection.
const CHECKS_AT_ONCE_MAX: usize = 512;
/// How often connections that lie idle between checks are looked over.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The health checks of a process. The thread begins with the first check and ends with the last.
#[derive(Debug, Default)]
pub struct Checks {
    inbox: Mutex<Weak<Inbox>>,
    /// None is ever made: for tables that serve nobody.
    none: bool,
    /// Where panics are counted.
    failures: OnceLock<Failures>,
}

/// What has still to be begun; bounded by the servers of the tables in the making.
#[derive(Debug)]
struct Inbox {
    waiting: Mutex<Vec<Task>>,
    poke: Arc<Notify>,
}

#[derive(Debug)]
struct Task {
    check: Check,
    ended: CancellationToken,
}

/// One server to be checked.
#[derive(Debug)]
pub(super) struct Check {
    service: Arc<str>,
    server: Arc<str>,
    probe: Probe,
    state: Arc<ServerState>,
    /// Between checks of a server that is up.
    interval: Duration,
    /// Between checks of one that is down.
    unhealthy_interval: Duration,
    /// For one check, redirections included.
    timeout: Duration,
}

/// Checks that go on until this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    ended: CancellationToken,
    _inbox: Arc<Inbox>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.poke.notify_one();
    }
}

impl Checks {
    /// For tables that serve nobody: no server is asked.
    pub(crate) fn none() -> Self {
        Self { none: true, ..Self::default() }
    }

    /// Where checks that panic are counted; the first one told before any check begins counts.
    pub(crate) fn watch_failures(&self, failures: Failures) {
        drop(self.failures.set(failures));
    }

    /// Begins these checks; the first of each is made at once.
    ///
    /// # Errors
    /// The thread or its runtime cannot be had.
    pub(super) fn begin(&self, checks: Vec<Check>) -> std::io::Result<Running> {
        if self.none {
            let inbox = Inbox { waiting: Mutex::default(), poke: Arc::default() };
            return Ok(Running { ended: CancellationToken::new(), _inbox: Arc::new(inbox) });
        }
        let mut known = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let inbox = match known.upgrade() {
            Some(inbox) => inbox,
            None => start(self.failures.get().cloned().unwrap_or_default())?,
        };
        *known = Arc::downgrade(&inbox);
        let ended = CancellationToken::new();
        let tasks = checks.into_iter().map(|check| Task { check, ended: ended.clone() });
        inbox.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(tasks);
        inbox.poke.notify_one();
        Ok(Running { ended, _inbox: inbox })
    }
}

/// Starts the thread; it lives as long as the inbox.
fn start(failures: Failures) -> std::io::Result<Arc<Inbox>> {
    let poke = Arc::new(Notify::new());
    let inbox = Arc::new(Inbox { waiting: Mutex::default(), poke: Arc::clone(&poke) });
    let follow = Arc::downgrade(&inbox);
    let (began, begun) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new().name("health-checks".to_owned()).spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(began.send(Err(error))),
        };
        drop(began.send(Ok(())));
        runtime.block_on(work(follow, poke, failures));
    })?;
    begun.recv().map_err(std::io::Error::other)??;
    Ok(inbox)
}

/// What the checks of the process share.
struct Bench {
    pools: UpstreamPools,
    room: Semaphore,
    failures: Failures,
}

async fn work(inbox: Weak<Inbox>, poke: Arc<Notify>, failures: Failures) {
    let room = Semaphore::new(CHECKS_AT_ONCE_MAX);
    let bench = Rc::new(Bench { pools: UpstreamPools::new(1), room, failures });
    tokio::task::spawn_local({
        let bench = Rc::clone(&bench);
        async move {
            loop {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                bench.pools.sweep(Instant::now());
            }
        }
    });
    loop {
        let Some(waiting) = inbox
            .upgrade()
            .map(|inbox| std::mem::take(&mut *inbox.waiting.lock().unwrap_or_else(PoisonError::into_inner)))
        else {
            return;
        };
        for Task { check, ended } in waiting {
            let bench = Rc::clone(&bench);
            tokio::task::spawn_local(async move {
                tokio::select! {
                    () = ended.cancelled() => {}
                    () = check.run(&bench) => {}
                }
            });
        }
        poke.notified().await;
    }
}

impl Check {
    /// Of this server, named as logs show it, in the service of this qualified name.
    pub(super) fn new(
        config: &HealthCheck,
        service: &str,
        server: Arc<str>,
        probe: Probe,
        state: Arc<ServerState>,
    ) -> Self {
        let defaults = HealthCheck::default();
        let or = |duration: GoDuration, default: GoDuration| duration.positive().or(default.positive());
        let interval = or(config.interval, defaults.interval).unwrap_or(SWEEP_INTERVAL);
        let unhealthy_interval = match config.unhealthy_interval {
            None => interval,
            Some(unhealthy) => or(unhealthy, defaults.interval).unwrap_or(interval),
        };
        let timeout = or(config.timeout, defaults.timeout).unwrap_or(interval);
        Self { service: service.into(), server, probe, state, interval, unhealthy_interval, timeout }
    }

    async fn run(&self, bench: &Bench) {
        loop {
            let found = {
                // Never closed: an error would be a place too many.
                let _room = bench.room.acquire().await;
                self.once(bench).await
            };
            let up = found.is_ok();
            if self.state.set_up(up) {
                self.tell(found.err().as_deref());
            }
            tokio::time::sleep(if up { self.interval } else { self.unhealthy_interval }).await;
        }
    }

    /// One check; a panic in it is a failure like any other.
    async fn once(&self, bench: &Bench) -> Result<(), String> {
        let asking = async {
            #[cfg(test)]
            tests::strike(&self.service);
            self.probe.ask(&bench.pools).await
        };
        let asking = AssertUnwindSafe(asking).catch_unwind();
        match tokio::time::timeout(self.timeout, asking).await {
            Ok(Ok(found)) => found,
            Ok(Err(panic)) => {
                // Said where it changes the server's state; a check comes again and again.
                bench.failures.count(Part::HealthCheck);
                Err(format!("the check panicked: {}", panic_text(&*panic)))
            }
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }

    fn tell(&self, reason: Option<&str>) {
        match reason {
            None => tracing::info!(service = %self.service, server = %self.server, "the server is up again"),
            Some(reason) => {
                tracing::warn!(service = %self.service, server = %self.server, reason, "the server is down");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::*;
    use crate::upstream::{Transport, UpstreamRegistry};

    const PATIENCE: Duration = Duration::from_secs(20);
    /// A service whose checks panic.
    const PANICS: &str = "panics@file";

    pub(super) fn strike(service: &str) {
        assert!(service != PANICS, "struck");
    }

    /// A server that answers every connection's one request with a status that can be changed, and tells the request's head.
    struct Checked {
        address: SocketAddr,
        status: Arc<AtomicU16>,
        heads: std::sync::mpsc::Receiver<String>,
    }

    impl Checked {
        fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
            let address = listener.local_addr().expect("a bound socket has an address");
            let status = Arc::new(AtomicU16::new(200));
            let (tell, heads) = std::sync::mpsc::channel();
            let answered = Arc::clone(&status);
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let (mut head, mut byte) = (Vec::new(), [0]);
                    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
                        head.extend_from_slice(&byte);
                    }
                    let status = answered.load(Ordering::Relaxed);
                    let answer =
                        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                    drop(stream.write_all(answer.as_bytes()));
                    if tell.send(String::from_utf8_lossy(&head).into_owned()).is_err() {
                        return;
                    }
                }
            });
            Self { address, status, heads }
        }

        fn check(&self, state: &Arc<ServerState>) -> Check {
            let config = HealthCheck {
                path: "/health".to_owned(),
                interval: GoDuration::from_millis(10),
                ..HealthCheck::default()
            };
            let url = format!("http://{}", self.address).parse().expect("a URL");
            let transport = Arc::new(Transport::plain());
            let probe =
                Probe::compile(&config, &url, &transport, &UpstreamRegistry::default()).expect("good");
            Check::new(&config, "s@file", "http://shown".into(), probe, Arc::clone(state))
        }

        /// Awaits checks until one after which the state is this.
        fn until(&self, state: &ServerState, up: bool) {
            let begun = Instant::now();
            while state.is_up() != up {
                assert!(begun.elapsed() < PATIENCE, "still not {up}");
                self.heads.recv_timeout(PATIENCE).expect("checks go on");
            }
        }
    }

    #[test]
    fn a_server_goes_down_and_comes_back_with_its_answers() {
        let (server, state) = (Checked::start(), Arc::new(ServerState::default()));
        let checks = Checks::default();
        let running = checks.begin(vec![server.check(&state)]).expect("a thread");
        let head = server.heads.recv_timeout(PATIENCE).expect("the first check is made at once");
        assert!(head.starts_with("GET /health HTTP/1.1\r\nhost: "), "{head}");
        assert!(state.is_up());
        server.status.store(503, Ordering::Relaxed);
        server.until(&state, false);
        server.status.store(204, Ordering::Relaxed);
        server.until(&state, true);
        drop(running);
        let begun = Instant::now();
        while Arc::strong_count(&state) > 1 {
            assert!(begun.elapsed() < PATIENCE, "a check ends with its holder");
            std::thread::yield_now();
        }
        server.status.store(503, Ordering::Relaxed);
        let again = checks.begin(vec![server.check(&state)]).expect("another thread");
        server.until(&state, false);
        drop(again);
    }

    #[test]
    fn a_check_that_is_not_answered_in_time_is_a_failure() {
        // It accepts by its queue, and never says anything.
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
        let url = format!("http://{}", listener.local_addr().expect("bound")).parse().expect("a URL");
        let config = HealthCheck { timeout: GoDuration::from_millis(20), ..HealthCheck::default() };
        let transport = Arc::new(Transport::plain());
        let probe = Probe::compile(&config, &url, &transport, &UpstreamRegistry::default()).expect("good");
        let state = Arc::new(ServerState::default());
        let check = Check::new(&config, "s@file", "http://shown".into(), probe, Arc::clone(&state));
        let _running = Checks::default().begin(vec![check]).expect("a thread");
        let begun = Instant::now();
        while state.is_up() {
            assert!(begun.elapsed() < PATIENCE, "a silent server is down");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_check_that_panics_is_a_failure_of_its_server_and_counted() {
        let (server, state) = (Checked::start(), Arc::new(ServerState::default()));
        let (checks, failures) = (Checks::default(), Failures::default());
        checks.watch_failures(failures.clone());
        let check = Check { service: PANICS.into(), ..server.check(&state) };
        let _running = checks.begin(vec![check]).expect("a thread");
        let counted = || {
            let mut counts = failures.survived_by_part();
            counts.find_map(|(part, count)| (part == Part::HealthCheck).then_some(count))
        };
        let begun = Instant::now();
        // The second one shows that they go on.
        while state.is_up() || counted().is_none_or(|count| count < 2) {
            assert!(begun.elapsed() < PATIENCE, "{counted:?}", counted = counted());
            std::thread::yield_now();
        }
        assert!(server.heads.try_recv().is_err(), "it was never asked");
    }

    #[test]
    fn an_interval_of_nothing_is_the_usual_one() {
        let state = Arc::new(ServerState::default());
        let of = |interval: &str, unhealthy: Option<&str>| {
            let read = |text: &str| text.parse().expect("a duration");
            let config = HealthCheck {
                interval: read(interval),
                unhealthy_interval: unhealthy.map(read),
                timeout: read("-1s"),
                ..HealthCheck::default()
            };
            let url = "http://127.0.0.1:1".parse().expect("a URL");
            let transport = Arc::new(Transport::plain());
            let probe =
                Probe::compile(&config, &url, &transport, &UpstreamRegistry::default()).expect("good");
            let check = Check::new(&config, "s@file", "".into(), probe, Arc::clone(&state));
            (check.interval.as_secs(), check.unhealthy_interval.as_secs(), check.timeout.as_secs())
        };
        assert_eq!(of("0", None), (30, 30, 5));
        assert_eq!(of("7s", Some("2s")), (7, 2, 5));
        assert_eq!(of("7s", Some("-2s")), (7, 30, 5));
    }
}
