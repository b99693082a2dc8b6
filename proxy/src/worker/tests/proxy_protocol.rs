//! PROXY headers over real sockets: in pieces, before every protocol, too long, half, and from nobody who is trusted.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ravelin_config::static_config::ProxyProtocol;

use super::rig::{Rig, get};
use crate::connection::Settings;
use crate::preface::HTTP2_PREFACE;
use crate::proxy_protocol::{ProxyProtocolPolicy, Version, header};

/// Settings that believe the PROXY headers of these peers.
pub(super) fn believing(trusted: &str) -> Settings {
    let option = ProxyProtocol { insecure: false, trusted_ips: vec![trusted.to_owned()] };
    Settings { proxy_protocol: Some(ProxyProtocolPolicy::compile(&option)), ..Settings::default() }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address with its port")
}

pub(super) fn of_a_client(version: Version) -> Vec<u8> {
    header(version, address("192.0.2.7:1111"), address("192.0.2.1:443"))
}

#[test]
fn a_header_in_single_bytes_names_the_client_of_every_request() {
    let rig = Rig::with(1, believing("127.0.0.1"));
    for version in [Version::One, Version::Two] {
        let mut client = rig.connect();
        for byte in of_a_client(version) {
            client.socket.write_all(&[byte]).expect("the proxy reads");
        }
        for _ in 0..2 {
            client.send(&get("/ends"));
            client.until("192.0.2.7 and 127.0.0.1");
        }
    }
}

#[test]
fn a_header_stands_before_http2_too() {
    let rig = Rig::with(1, believing("127.0.0.1"));
    let mut client = rig.connect();
    client.send(&[of_a_client(Version::Two).as_slice(), HTTP2_PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat());
    // An acknowledgement of the settings: only an HTTP/2 connection gives it.
    client.until("\0\0\0\x04\x01\0\0\0\0");
}

#[test]
fn a_trusted_peer_without_a_header_speaks_for_itself() {
    let rig = Rig::with(1, believing("127.0.0.1"));
    for beginning in [get("/ends"), [b"\r\n".as_slice(), &get("/ends")].concat()] {
        let mut client = rig.connect();
        client.send(&beginning);
        client.until("127.0.0.1 and 127.0.0.1");
    }
}

#[test]
fn what_is_malformed_or_too_long_is_closed_at_once_and_without_a_word() {
    let rig = Rig::with(1, believing("127.0.0.1"));
    let mut too_long = of_a_client(Version::Two);
    too_long[14] = 0xff;
    let mut other_version = of_a_client(Version::Two);
    other_version[12] = 0x31;
    for header in [b"PROXY TCP4 nonsense\r\n".to_vec(), too_long, other_version] {
        assert_eq!(rig.exchange(&[header.as_slice(), &get("/a")].concat()), "");
    }
    assert!(rig.record.lines().is_empty(), "nothing of it was served");
}

#[test]
fn half_a_header_then_silence_is_closed() {
    let short = Duration::from_millis(80);
    let mut settings = believing("127.0.0.1");
    settings.timeouts.handshake = short;
    let rig = Rig::with(1, settings);
    for beginning in
        [&b"PROXY TCP4 192.0.2.7"[..], b"\r\n\r\n\0\r\nQUIT\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c1234"]
    {
        let start = Instant::now();
        assert_eq!(rig.exchange(beginning), "", "{beginning:?}");
        assert!(start.elapsed() >= short, "not before its time");
    }
}

#[test]
fn nobody_else_is_listened_to() {
    for settings in [Settings::default(), believing("192.0.2.9")] {
        let rig = Rig::with(1, settings);
        for version in [Version::One, Version::Two] {
            let answer = rig.exchange(&[of_a_client(version).as_slice(), &get("/a")].concat());
            assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer:?}");
        }
        assert!(rig.record.lines().is_empty());
    }
}
