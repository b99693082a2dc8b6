//! Listeners that come and go, connections that are spread, an orderly end.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::rig::{Client, Rig, block_on, connect, get, web};
use crate::connection::Settings;

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings);
    settings
}

/// Waits until nobody listens there any more.
fn until_refused(address: SocketAddr) {
    let start = Instant::now();
    let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    while !TcpStream::connect(address).as_ref().is_err_and(refused) {
        assert!(start.elapsed() < Duration::from_secs(20), "still accepting");
        // Each try takes a port of this machine for a minute.
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn an_entry_point_moves_without_losing_its_connections() {
    let mut rig = Rig::new();
    let mut kept = rig.connect();
    kept.get("/a");
    let old = rig.address;
    let status = rig.workers.listen(web("127.0.0.2:0", Settings::default()));
    let new = *status["web"].as_ref().expect("a free port");
    assert_ne!(old, new);
    kept.get("/b");
    connect(new).get("/c");
    kept.get("/d");
    until_refused(old);
}

#[test]
fn a_client_of_ipv4_is_known_by_its_ipv4_address_where_the_socket_takes_both_families() {
    let mut rig = Rig::new();
    let status = rig.workers.listen(web(":0", Settings::default()));
    let port = status["web"].as_ref().expect("a free port").port();
    let mut client = connect(SocketAddr::from(([127, 0, 0, 1], port)));
    client.send(&get("/ends"));
    client.until("127.0.0.1 and 127.0.0.1");
}

#[test]
fn a_removed_entry_point_ends_its_connections_with_their_next_answer() {
    let mut rig = Rig::new();
    let mut client = rig.connect();
    client.get("/a");
    assert!(rig.workers.listen(BTreeMap::new()).is_empty());
    let start = Instant::now();
    // The plan reaches the worker in its own time; from then on the answer says close.
    loop {
        client.send(&get("/b"));
        if client.until("path /b").contains("connection: close") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "never said close");
    }
    assert_eq!(client.rest(), "");
}

#[test]
fn changed_settings_hold_for_new_connections_on_the_same_socket() {
    let mut rig = Rig::new();
    let mut before = rig.connect();
    before.get("/a");
    let address = rig.address.to_string();
    // Port 0 stays port 0: the socket is known by what was asked for.
    rig.workers.listen(web("127.0.0.1:0", settings(|settings| settings.keep_alive_requests_max = Some(1))));
    let start = Instant::now();
    while !{
        let mut client = connect(address.parse().expect("an address"));
        client.send(&get("/b"));
        client.until("path /b").contains("connection: close")
    } {
        assert!(start.elapsed() < Duration::from_secs(20), "the new settings never held");
    }
    assert!(!before.get("/c").contains("connection: close"));
}

#[test]
fn a_connection_ends_after_its_requests_or_its_time() {
    let rig = Rig::with(1, settings(|settings| settings.keep_alive_requests_max = Some(2)));
    let mut client = rig.connect();
    assert!(!client.get("/a").contains("connection: close"));
    assert!(client.get("/b").contains("connection: close"));
    assert_eq!(client.rest(), "");
    let rig = Rig::with(1, settings(|settings| settings.keep_alive_time_max = Some(Duration::from_nanos(1))));
    assert!(rig.connect().get("/a").contains("connection: close"));
}

#[test]
fn draining_ends_each_connection_after_its_answer() {
    let mut rig = Rig::with(
        2,
        settings(|settings| {
            settings.drain_grace = Duration::from_secs(20);
            settings.timeouts.idle_in_drain = Duration::from_millis(50);
        }),
    );
    let (mut idle, mut used, mut slow) = (rig.connect(), rig.connect(), rig.connect());
    idle.get("/a");
    used.get("/b");
    slow.send(&get("/wait"));
    rig.record.until("the slow request runs", |record| record.waiting.load(Ordering::SeqCst) == 1);
    let address = rig.address;
    let record = std::sync::Arc::clone(&rig.record);
    let draining = std::thread::spawn(move || block_on(async { rig.workers.drain().await }));
    until_refused(address);
    assert_eq!(idle.rest(), "", "idle in drain, so closed");
    record.open.notify_waiters();
    let answer = slow.rest();
    assert!(answer.contains("connection: close") && answer.ends_with("waited"), "{answer:?}");
    drop(used);
    assert_eq!(draining.join().expect("no panic"), 0, "nothing had to be cut");
}

#[test]
fn connections_are_accepted_for_the_grace_time_once_the_end_was_told() {
    let grace = Duration::from_millis(300);
    let mut rig = Rig::with(1, settings(|settings| settings.accept_grace = grace));
    let address = rig.address;
    let start = Instant::now();
    let draining = std::thread::spawn(move || block_on(async { rig.workers.drain().await }));
    until_refused(address);
    assert!(start.elapsed() >= grace, "refused before the time was over");
    assert_eq!(draining.join().expect("no panic"), 0, "nothing had to be cut");
}

#[test]
fn silent_connections_do_not_hold_up_the_end() {
    let mut rig = Rig::with(
        1,
        settings(|settings| {
            settings.drain_grace = Duration::from_secs(20);
            settings.timeouts.idle_in_drain = Duration::from_millis(50);
            settings.timeouts.handshake = Duration::from_secs(60);
        }),
    );
    let mut silent = rig.connect();
    rig.record.until("it is accepted", |_| rig.workers.connections() == 1);
    assert_eq!(block_on(async { rig.workers.drain().await }), 0);
    assert_eq!(silent.rest(), "");
}

#[test]
fn what_does_not_end_in_time_is_cut_and_counted() {
    let mut rig = Rig::with(1, settings(|settings| settings.drain_grace = Duration::from_millis(50)));
    let mut stuck = rig.connect();
    stuck.send(&get("/wait"));
    rig.record.until("it runs", |record| record.waiting.load(Ordering::SeqCst) == 1);
    assert_eq!(block_on(async { rig.workers.drain().await }), 1);
    assert!(rig.workers.listen(web("127.0.0.1:0", Settings::default())).is_empty(), "opens nothing any more");
    assert_eq!(stuck.rest(), "");
    assert_eq!(rig.record.abandoned.load(Ordering::SeqCst), 1);
}

#[test]
fn a_connection_that_waited_while_its_entry_point_went_is_served_and_told_to_close() {
    let mut rig = Rig::new();
    let mut blocking = rig.connect();
    blocking.send(&get("/block"));
    rig.record.until("the worker stands still", |record| record.waiting.load(Ordering::SeqCst) == 1);
    // Nobody has accepted it when its entry point goes.
    let mut waiting = rig.connect();
    waiting.send(&get("/a"));
    rig.workers.listen(BTreeMap::new());
    rig.record.unblocked.store(true, Ordering::SeqCst);
    let answer = waiting.rest();
    assert!(answer.contains("connection: close") && answer.ends_with("path /a"), "{answer:?}");
    assert!(blocking.rest().ends_with("path /block"));
}

#[test]
fn a_worker_that_cannot_begin_is_an_error_of_the_start() {
    use crate::worker::{WorkerOptions, Workers};

    let record = std::sync::Arc::new(super::application::Record::default());
    let start = move |index| {
        assert_ne!(index, 1, "as the test wants it");
        super::application::TestApplication::new(index, std::sync::Arc::clone(&record))
    };
    let started = Workers::start(WorkerOptions { workers: 3, connections_max: 10 }, start);
    let error = started.expect_err("one of three has failed");
    assert_eq!(error.to_string(), "a worker ended before it began");
}

#[test]
fn a_worker_that_follows_no_change_any_more_is_told() {
    let rig = Rig::with(2, Settings::default());
    assert!(!rig.workers.failures().any());
    rig.record.unfollow.notify_one();
    let what = block_on(rig.workers.failures().first());
    assert!(what.ends_with("follows no change any more"), "{what}");
}

/// Connects and is answered, one client after the other: each worker's load is known when the next one comes. Gives the clients with
/// their workers.
fn one_by_one(rig: &Rig, count: usize) -> Vec<(Client, usize)> {
    let connect = |_| {
        let mut client = rig.connect();
        client.get("/a");
        let by_worker = rig.record.by_worker.lock().expect("no panic");
        (client, *by_worker.last().expect("it was asked"))
    };
    (0..count).map(connect).collect()
}

#[test]
fn connections_are_spread_over_the_workers() {
    let rig = Rig::with(2, Settings::default());
    let mut clients = one_by_one(&rig, 200);
    let first = clients.iter().filter(|(_, worker)| *worker == 0).count();
    // No worker keeps what it accepts once another has less than 0.8 of its load, wherever the kernel puts connections.
    assert!((88..=112).contains(&first), "{first} of 200 on the first worker");
    clients.retain(|(_, worker)| *worker == 1);
    rig.record.until("the first worker's clients are gone", |_| rig.workers.loads().of(0) == 0);
    let later = one_by_one(&rig, 60);
    assert!(later.iter().all(|(_, worker)| *worker == 0), "an idle worker takes what others accept");
}

#[test]
fn a_full_worker_tells_further_clients_so_at_once_in_their_own_protocol_until_there_is_room() {
    use std::io::{Read, Write};

    use crate::worker::{WorkerOptions, Workers};

    let record = std::sync::Arc::new(super::application::Record::default());
    let given = std::sync::Arc::clone(&record);
    let start = move |index| super::application::TestApplication::new(index, std::sync::Arc::clone(&given));
    let options = WorkerOptions { workers: 1, connections_max: 2 };
    let mut workers = Workers::start(options, start).expect("threads can be had");
    let address =
        *workers.listen(web("127.0.0.1:0", Settings::default()))["web"].as_ref().expect("a free port");
    let (mut first, mut second) = (connect(address), connect(address));
    first.get("/a");
    second.get("/b");
    let told = |begin: &[u8]| {
        let mut socket = TcpStream::connect(address).expect("it is accepted");
        socket.write_all(begin).expect("it takes the first word");
        let mut told = Vec::new();
        socket.read_to_end(&mut told).expect("an answer and its end");
        told
    };
    let plain = String::from_utf8(told(&get("/c"))).expect("text");
    assert!(plain.starts_with("HTTP/1.1 503 ") && plain.contains("\r\nRetry-After: 1\r\n"), "{plain}");
    assert!(plain.ends_with("\r\n\r\nService Unavailable\n"), "{plain}");
    assert_eq!(told(&[22, 3, 1, 0, 1, 1]), [21, 3, 3, 0, 2, 2, 80], "an alert of TLS");
    let frames = told(crate::preface::HTTP2_PREFACE);
    assert_eq!((frames[3], frames[12], frames.last()), (4, 7, Some(&11)), "SETTINGS, then GOAWAY");
    // Nobody is served beyond the bound, and those that are notice nothing.
    first.get("/d");
    assert_eq!(record.lines(), ["GET /a", "GET /b", "GET /d"]);
    drop(first);
    record.until("there is room", |_| workers.connections() < 2);
    connect(address).get("/e");
}

/// Set in the child process of the test below: a limit of descriptors holds for a whole process.
const CHILD: &str = "RAVELIN_TEST_DESCRIPTORS";

#[test]
fn accepting_goes_on_once_descriptors_are_free_again() {
    use std::process::Command;

    if std::env::var_os(CHILD).is_some() {
        return run_out_of_descriptors();
    }
    let name = "worker::tests::lifecycle::accepting_goes_on_once_descriptors_are_free_again";
    let this = std::env::current_exe().expect("a test runs from a file");
    let child = Command::new(this).args(["--exact", name, "--nocapture"]).env(CHILD, "1").output();
    let child = child.expect("a process can be started");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
}

fn run_out_of_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use socket2::{Domain, Socket, Type};

    let rig = Rig::new();
    let mut served = rig.connect();
    served.get("/a");
    let sockets: Vec<_> =
        (0..3).map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket")).collect();
    let limit = Rlimit { current: Some(256), maximum: getrlimit(Resource::Nofile).maximum };
    setrlimit(Resource::Nofile, limit).expect("a limit may be lowered");
    let taken: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    let mut waiting: Vec<_> = sockets
        .into_iter()
        .map(|socket| {
            socket.connect(&rig.address.into()).expect("the kernel takes it into the queue");
            Client::over(socket.into())
        })
        .collect();
    waiting.iter_mut().for_each(|client| client.send(&get("/b")));
    served.get("/still-served");
    assert_eq!(rig.record.lines(), ["GET /a", "GET /still-served"], "the limit binds");
    drop(taken);
    waiting.iter_mut().for_each(|client| drop(client.until("path /b")));
}
