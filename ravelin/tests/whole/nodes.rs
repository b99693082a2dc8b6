//! Nodes of a cluster whose identities lie in `identities/` of a folder, and the operator's questions to them. It must not know what
//! any test asks for.

use std::net::UdpSocket;
use std::path::Path;
use std::time::Instant;

use crate::driver::{Running, TIME_MAX, ravelin, text};

const OPERATOR: [&str; 2] = ["--identity", "identities/operator.toml"];

/// Addresses that were free a moment ago, no two the same.
pub(crate) fn free_addresses(count: usize) -> Vec<String> {
    let sockets: Vec<UdpSocket> =
        (0..count).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a free port")).collect();
    sockets.iter().map(|socket| socket.local_addr().expect("bound").to_string()).collect()
}

/// What `init` is told of three founders at the first of these addresses.
pub(crate) fn three_founders(addresses: &[String]) -> String {
    let named = (1..=3).map(|node| format!("controller-{node}={}", addresses[node - 1]));
    named.collect::<Vec<_>>().join(",")
}

/// Starts a node with its own data directory.
pub(crate) fn start(folder: &Path, role: &str, node: u64) -> Running {
    let name = format!("{role}-{node}");
    let (identity, data) = (format!("identities/{name}.toml"), format!("data/{name}"));
    Running::start(folder, &name, &[role, "--identity", &identity, "--data", &data])
}

/// Runs a command under the operator's identity; whether it succeeded, and what it printed.
pub(crate) fn operate(folder: &Path, words: &[&str]) -> (bool, String) {
    let output = ravelin(folder, &[words, &OPERATOR].concat());
    (output.status.success(), text(&output))
}

/// Repeats an operator's command until the answer is as wanted.
pub(crate) fn until(folder: &Path, words: &[&str], holds: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    loop {
        let (_, said) = operate(folder, words);
        if holds(&said) {
            return said;
        }
        assert!(begun.elapsed() < TIME_MAX, "ravelin {}:\n{said}", words.join(" "));
    }
}
