//! Clients and servers that others wrote, with the real binary between them. They are no part of a fresh machine: `.ci/run` installs
//! them below `target/clients`, and the step `clients` of `cargo xtask verify` runs these tests where they are: the feature of that name
//! switches them on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::driver::{free_address, status, text};
use crate::standalone::Standalone;

fn installed(tool: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients").join(tool)
}

/// A process whose router `r` is there.
fn standalone(dynamic: &str) -> Standalone {
    let mut all = Standalone::start(dynamic);
    let api = all.api;
    all.process.until("the router is there", || status(api, "x", "/api/http/routers/r@file") == 200);
    all
}

/// Runs a script of `tests/whole/clients` between the proxy and a server that it starts at `{server}`; other addresses that it takes stand
/// in braces as well.
fn script(name: &str, dynamic: &str, others: &[&str]) {
    let places: Vec<String> = ["{server}"].iter().chain(others).map(ToString::to_string).collect();
    let addresses: Vec<String> = places.iter().map(|_| free_address().to_string()).collect();
    let whole = places
        .iter()
        .zip(&addresses)
        .fold(dynamic.to_owned(), |text, (place, address)| text.replace(place, address));
    let all = standalone(&whole);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/whole/clients");
    let output = Command::new(installed("python/bin/python"))
        .arg(folder.join(name))
        .arg(all.web.to_string())
        .args(addresses)
        .stdin(Stdio::null())
        .output()
        .expect("Python is installed below target/clients");
    assert!(output.status.success(), "{}", text(&output));
}

const PLAIN: &str = "http:\n  routers:\n    r: {rule: PathPrefix(`/`), service: s, entryPoints: [web]}\n  services:\n    s: {loadBalancer: {servers: [{url: 'http://{server}'}]}}\n";

#[test]
fn h2spec_finds_no_fault_over_tls() {
    let all = standalone(
        "http:\n  routers:\n    r: {rule: PathPrefix(`/`), service: s, entryPoints: [web], tls: {}}\n  services:\n    s: {loadBalancer: {servers: [{url: 'http://{backend}'}]}}\n",
    );
    let (host, port) = (all.web.ip().to_string(), all.web.port().to_string());
    let output = Command::new(installed("bin/h2spec"))
        .args(["-h", &host, "-p", &port, "-t", "-k", "-S", "-o", "20", "-P", "/x"])
        .stdin(Stdio::null())
        .output()
        .expect("h2spec is installed below target/clients");
    let printed = text(&output);
    let sum = printed.lines().rfind(|line| line.contains(" tests, ")).unwrap_or_default();
    assert!(sum.starts_with("146 tests, 146 passed, 0 skipped, 0 failed"), "{printed}");
}

#[test]
fn googles_grpc_client_and_server_do_not_notice_the_proxy_and_health_checks_notice_the_server() {
    script(
        "calls.py",
        "http:\n  routers:\n    r: {rule: PathPrefix(`/`), service: s, entryPoints: [web]}\n    page: {rule: Host(`page.test`), service: s, entryPoints: [web], middlewares: [web]}\n  middlewares:\n    web: {grpcWeb: {allowOrigins: ['http://page.test']}}\n  services:\n    s:\n      loadBalancer:\n        servers: [{url: 'h2c://{server}'}]\n        healthCheck: {mode: grpc, interval: 100ms, timeout: 60s}\n",
        &[],
    );
}

#[test]
fn a_websocket_client_and_server_do_not_notice_the_proxy() {
    script("websocket.py", PLAIN, &[]);
}

#[test]
fn events_reach_their_client_one_by_one_as_they_are_sent() {
    script("events.py", PLAIN, &[]);
}

#[test]
fn a_workload_api_of_others_tells_who_asks_and_who_is_asked() {
    script(
        "workload.py",
        "http:\n  routers:\n    r: {rule: Host(`web.test`), service: web, entryPoints: [web]}\n    other: {rule: Host(`other.test`), service: other, entryPoints: [web]}\n    usual: {rule: Host(`usual.test`), service: usual, entryPoints: [web]}\n  services:\n    web: {loadBalancer: {servers: [{url: 'https://{server}'}], serversTransport: web}}\n    other: {loadBalancer: {servers: [{url: 'https://{server}'}], serversTransport: other}}\n    usual: {loadBalancer: {servers: [{url: 'https://{server}'}]}}\n  serversTransports:\n    web: {spiffe: {ids: ['spiffe://a.test/web']}}\n    other: {spiffe: {ids: ['spiffe://a.test/else']}}\nspiffe: {workloadAPIAddr: 'tcp://{agent}'}\n",
        &["{agent}"],
    );
}
