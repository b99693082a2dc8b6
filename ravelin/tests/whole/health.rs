//! What a proxy says of itself at `--health-address`: alive from the first moment to the last, ready while requests should be sent to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::driver::{Running, TIME_MAX, free_address, get, ravelin, send, text};
use crate::nodes::{apply, free_addresses, start};

/// Status and text of a path there; nothing if nobody answers.
fn said(health: SocketAddr, path: &str) -> Option<(u16, String)> {
    get(health, "any", path).map(|answer| (answer.status, answer.body.trim().to_owned()))
}

fn says(health: SocketAddr, path: &str, status: u16, words: &str) -> bool {
    said(health, path) == Some((status, words.to_owned()))
}

#[test]
fn a_proxy_is_alive_from_the_first_to_the_last_and_ready_while_it_serves() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let addresses = free_addresses(1);
    let nodes = format!("controller-1={},proxy-1", addresses[0]);
    let made = ravelin(folder, &["init", "--out", "identities", "--nodes", &nodes]);
    assert!(made.status.success(), "{}", text(&made));
    let (health, web) = (free_address(), free_address());
    let words = ["proxy", "--identity", "identities/proxy-1.toml", "--data", "data/proxy-1"];
    let own = ["--health-address", &health.to_string()];
    let mut proxy = Running::start(folder, "proxy-1", &[&words[..], &own[..]].concat());
    proxy.until("it is alive without anything to serve", || says(health, "/live", 200, "alive"));
    assert!(
        says(health, "/ready", 503, "not ready: no generation is served yet"),
        "{:?}",
        said(health, "/ready")
    );
    assert!(says(health, "/", 404, "there are /live and /ready"));
    let posted = send(health, b"POST /ready HTTP/1.1\r\nHost: any\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(posted.map(|answer| answer.status), Some(405));

    // Somebody else's address is said at once, by its name.
    let other = ["--data", "data/other", "--health-address", &health.to_string()];
    let refused =
        ravelin(folder, &[&["proxy", "--identity", "identities/proxy-1.toml"][..], &other[..]].concat());
    assert!(!refused.status.success() && text(&refused).contains("--health-address"), "{}", text(&refused));

    let _controller = start(folder, "controller", 1);
    let backend = TcpListener::bind("127.0.0.1:0").expect("a free port");
    apply(folder, web, backend.local_addr().expect("its address"), "held");
    proxy.until("it is ready once it serves", || says(health, "/ready", 200, "ready"));

    // A request that is under way while the process is told to end.
    let mut client = TcpStream::connect(web).expect("it serves");
    client.write_all(b"GET /held HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").expect("it reads");
    let (mut upstream, _) = backend.accept().expect("the request comes through");
    proxy.signal("TERM");
    proxy.until("it is no longer ready", || {
        says(health, "/ready", 503, "not ready: connections are being drained")
    });
    assert!(says(health, "/live", 200, "alive"));
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").expect("it reads");
    client.set_read_timeout(Some(TIME_MAX)).expect("a connected socket");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"), "{answer}");
    assert!(proxy.wait(), "{}", proxy.printed());
    assert_eq!(said(health, "/live"), None);
}
