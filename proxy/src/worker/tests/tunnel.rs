//! Upgrades: nothing is tunnelled before a 101, and everything after it is.

use std::net::Shutdown;

use super::rig::{Rig, get};

const ASKING: &str = "Connection: Upgrade\r\nUpgrade: echo";

fn asking(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{ASKING}\r\n\r\n").into_bytes()
}

#[test]
fn after_a_101_bytes_pass_both_ways_those_sent_early_included() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.get("/before");
    client.send(&[asking("/upgrade"), b"early \r\n\r\n bytes".to_vec()].concat());
    let head = client.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head:?}");
    client.until("early \r\n\r\n bytes");
    client.send(b"GET / HTTP/9.9 not looked at\0");
    client.until("not looked at\0");
    client.socket.shutdown(Shutdown::Write).expect("a socket");
    assert_eq!(client.rest(), "");
}

#[test]
fn the_answer_before_an_upgrades_own_lets_nothing_behind_it_be_read_as_a_request() {
    let rig = Rig::new();
    let mut client = rig.connect();
    let early = b"GET /early HTTP/1.1\r\nHost: a.test\r\n\r\n";
    client.send(&[get("/first"), asking("/upgrade"), early.to_vec()].concat());
    client.until("path /first");
    let head = client.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head:?}");
    client.until("GET /early HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(rig.record.lines(), ["GET /first", "GET /upgrade"]);
}

#[test]
fn without_a_101_what_follows_is_an_ordinary_request() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.send(&[asking("/plain"), get("/next")].concat());
    client.until("path /plain");
    client.until("path /next");
    client.send(&[asking("/plain2"), b"GET /bad\r\n".to_vec()].concat());
    client.until("path /plain2");
    assert!(client.rest().starts_with("HTTP/1.1 400"));
    assert_eq!(rig.record.lines(), ["GET /plain", "GET /next", "GET /plain2"]);
}

#[test]
fn a_101_without_a_tunnel_is_not_sent() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.send(&asking("/no-tunnel"));
    assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 500"));
    client.get("/after");
}

#[test]
fn connect_is_held_like_an_upgrade() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.send(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n\x16\x03\x01");
    // The application answered 200 where the real one says 501; either way its bytes are no request and no tunnel.
    let answer = client.rest();
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer:?}");
    assert_eq!(rig.record.lines(), ["CONNECT a.test:443"]);
}
