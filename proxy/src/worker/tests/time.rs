//! Deadlines, with small values: each test waits for the close itself, never for a time.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::rig::{Rig, get, post};
use crate::connection::Settings;
use crate::guard::Timeouts;

fn rig(change: impl FnOnce(&mut Timeouts)) -> Rig {
    let mut settings = Settings::default();
    change(&mut settings.timeouts);
    Rig::with(1, settings)
}

const SHORT: Duration = Duration::from_millis(80);

#[test]
fn a_silent_client_is_closed_without_a_word() {
    let rig = rig(|timeouts| timeouts.handshake = SHORT);
    for beginning in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r", b"\x16", b"\x16\x03\x01\x00\x50\x01"] {
        let start = Instant::now();
        assert_eq!(rig.exchange(beginning), "", "{beginning:?}");
        assert!(start.elapsed() >= SHORT);
    }
}

#[test]
fn a_slow_head_is_answered_408() {
    let rig = rig(|timeouts| timeouts.head = SHORT);
    let mut client = rig.connect();
    client.get("/in-time");
    let mut dripping = client.socket.try_clone().expect("a socket");
    // Each byte comes in time; together they do not.
    let drip = std::thread::spawn(move || {
        for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain([b'a'; 1000].iter()) {
            if dripping.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
    });
    assert!(client.rest().starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    drip.join().expect("the client's thread ends");
}

#[test]
fn a_body_that_stops_is_answered_408_and_its_request_dropped() {
    let rig = rig(|timeouts| timeouts.body_idle = SHORT);
    let answer = rig.exchange(&post("/echo", "Content-Length: 10", "hello"));
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer:?}");
    rig.record.until("it was dropped", |record| record.abandoned.load(Ordering::SeqCst) == 1);
    let mut client = rig.connect();
    client.send(&post("/stream", "Content-Length: 10", "hello"));
    client.until("part");
    assert!(!client.rest().contains("408"), "its answer had begun");
}

#[test]
fn a_body_that_nobody_wants_is_not_late() {
    let rig = rig(|timeouts| {
        timeouts.body_idle = SHORT;
        timeouts.idle = Some(3 * SHORT);
    });
    let mut early = rig.connect();
    early.send(&post("/stream-early", "Content-Length: 10", "hello"));
    early.until("part");
    // Another connection lives and dies of idleness meanwhile, which takes longer than a body may.
    let mut other = rig.connect();
    other.get("/a");
    assert_eq!(other.rest(), "");
    rig.record.until("the other one is gone", |_| rig.workers.connections() < 2);
    assert_eq!(rig.workers.connections(), 1, "the answer goes on");
}

#[test]
fn a_body_below_the_rate_is_too_slow() {
    let rig = rig(|timeouts| {
        timeouts.body_rate_grace = SHORT;
        timeouts.body_rate_min = 1_000_000;
    });
    let answer = rig.exchange(&post("/echo", "Content-Length: 10", "hello"));
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
}

#[test]
fn a_request_has_its_whole_time() {
    let rig = rig(|timeouts| timeouts.read = Some(SHORT));
    let answer = rig.exchange(&post("/echo", "Content-Length: 10", "hello"));
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
}

#[test]
fn an_idle_connection_is_closed_quietly_and_a_busy_one_is_not() {
    let rig = rig(|timeouts| timeouts.idle = Some(SHORT));
    let mut client = rig.connect();
    client.get("/a");
    assert_eq!(client.rest(), "");
    let mut busy = rig.connect();
    busy.send(&get("/wait"));
    rig.record.until("it runs", |record| record.waiting.load(Ordering::SeqCst) == 1);
    // Another connection lives and dies of idleness meanwhile.
    let mut idle = rig.connect();
    idle.get("/b");
    assert_eq!(idle.rest(), "");
    rig.record.open.notify_waiters();
    busy.until("waited");
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let rig = rig(|timeouts| timeouts.write_stall = SHORT);
    let mut client = rig.connect();
    client.send(&get("/big"));
    client.until("\r\n\r\n");
    // The server closes although the client has said nothing: seen by its connections.
    let start = Instant::now();
    while rig.workers.connections() > 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "never cut off");
        std::thread::yield_now();
    }
    assert!(client.rest().len() < 64 << 20);
}

#[test]
fn an_answer_has_its_whole_time_if_the_option_is_set() {
    let rig = rig(|timeouts| timeouts.write = Some(SHORT));
    assert_eq!(rig.exchange(&get("/wait")), "");
    rig.record.until("it was dropped", |record| record.abandoned.load(Ordering::SeqCst) == 1);
}
