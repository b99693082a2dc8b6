//! Idle connections that let their buffers go: nothing of it shows but the memory.

use std::time::{Duration, Instant};

use super::rig::{Client, Rig, block_on, get, post};
use crate::connection::Settings;

fn rig(change: impl FnOnce(&mut Settings)) -> Rig {
    let mut settings = Settings::default();
    settings.timeouts.park = Duration::from_millis(20);
    change(&mut settings);
    Rig::with(1, settings)
}

/// Waits until this many connections were parked. Asks on connections of its own, which do not live to be parked.
fn parked(rig: &Rig, count: u64) {
    let start = Instant::now();
    loop {
        let mut asking = rig.connect();
        asking.send(&get("/parked"));
        let answer = asking.until("!");
        let told = answer.rsplit(' ').next().and_then(|word| word.trim_end_matches('!').parse().ok());
        if told.is_some_and(|told: u64| told >= count) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "never parked: {answer}");
    }
}

#[test]
fn a_parked_connection_goes_on_as_if_nothing_had_been() {
    let rig = rig(|_| {});
    let mut client = rig.connect();
    client.get("/a");
    parked(&rig, 1);
    client.get("/b");
    parked(&rig, 2);
    // A head in pieces, a body, two requests at once, an empty line before one.
    client.send(b"G");
    client.send(b"ET /c HTTP/1.1\r\nHost: a.test\r\n");
    client.send(b"\r\n");
    client.until("path /c");
    parked(&rig, 3);
    client.send(&post("/echo", "Content-Length: 5", "hello"));
    client.until("hello");
    parked(&rig, 4);
    client.send(&[get("/d"), get("/e")].concat());
    client.until("path /d");
    client.until("path /e");
    client.send(b"\r\n");
    parked(&rig, 5);
    client.get("/f");
    // What is refused is refused.
    parked(&rig, 6);
    client.send(b"nonsense\r\n\r\n");
    assert!(client.rest().starts_with("HTTP/1.1 400 "));
}

#[test]
fn requests_are_counted_over_parkings_and_an_upgrade_may_follow_one() {
    let rig = rig(|settings| settings.keep_alive_requests_max = Some(3));
    let mut client = rig.connect();
    for (path, times) in [("/a", 1), ("/b", 2)] {
        assert!(!client.get(path).contains("connection: close"));
        parked(&rig, times);
    }
    assert!(client.get("/c").contains("connection: close"));
    let mut client = rig.connect();
    client.get("/a");
    parked(&rig, 3);
    client.send(b"GET /upgrade HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nearly");
    client.until("early");
}

#[test]
fn a_parked_connection_has_the_same_deadlines() {
    let impatient = rig(|settings| settings.timeouts.idle = Some(Duration::from_millis(300)));
    let mut client = impatient.connect();
    client.get("/a");
    assert_eq!(client.rest(), "", "closed without a word");
    // One that may be idle for long, however slow this machine is.
    let rig = rig(|settings| settings.timeouts.head = Duration::from_millis(80));
    let mut client = rig.connect();
    client.get("/b");
    parked(&rig, 1);
    client.send(b"GET / HT");
    assert!(client.rest().starts_with("HTTP/1.1 408 "), "a head that does not come to its end");
}

#[test]
fn a_parked_client_that_leaves_or_a_drain_ends_the_connection() {
    let mut rig = rig(|settings| {
        settings.drain_grace = Duration::from_secs(20);
        settings.timeouts.idle_in_drain = Duration::from_millis(100);
    });
    let (mut stays, mut leaves) = (rig.connect(), rig.connect());
    stays.get("/a");
    leaves.get("/b");
    parked(&rig, 2);
    let before = rig.workers.connections();
    drop(leaves);
    rig.record.until("it has ended", |_| rig.workers.connections() < before);
    assert_eq!(block_on(async { rig.workers.drain().await }), 0);
    assert_eq!(stays.rest(), "");
}

/// Set in the child process of the test below: memory is that of a whole process.
const CHILD: &str = "RAVELIN_TEST_IDLE_MEMORY";

#[test]
fn a_parked_connection_takes_little_memory() {
    if std::env::var_os(CHILD).is_some() {
        return measure();
    }
    let name = "worker::tests::parking::a_parked_connection_takes_little_memory";
    let this = std::env::current_exe().expect("a test runs from a file");
    let child =
        std::process::Command::new(this).args(["--exact", name, "--nocapture"]).env(CHILD, "1").output();
    let child = child.expect("a process can be started");
    let (out, text) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{out}{text}");
    print!("{out}");
}

pub(super) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// Bytes per idle connection, opened and used a few at a time.
fn bytes_per_connection(rig: &Rig, parks: bool) -> u64 {
    const BATCHES: u64 = 8;
    const BATCH: u64 = 50;
    let mut idle: Vec<Client> = Vec::new();
    let mut open = |batch: u64| {
        for _ in 0..BATCH {
            let mut client = rig.connect();
            client.send(&get("/length"));
            client.until("\r\n\r\n0");
            client.forget_buffer();
            idle.push(client);
        }
        if parks {
            parked(rig, (batch + 1) * BATCH);
        }
    };
    // The first batches fill what is shared.
    (0..2).for_each(&mut open);
    let before = resident_bytes();
    (2..BATCHES).for_each(&mut open);
    resident_bytes().saturating_sub(before) / ((BATCHES - 2) * BATCH)
}

fn measure() {
    let without =
        bytes_per_connection(&rig(|settings| settings.timeouts.park = Duration::from_secs(3600)), false);
    let with = bytes_per_connection(&rig(|_| {}), true);
    println!("idle HTTP/1 connection: {with} bytes parked, {without} bytes not");
    assert!(with < 8 << 10, "{with} bytes");
    assert!(with + (8 << 10) < without, "{with} bytes parked, {without} not");
}
