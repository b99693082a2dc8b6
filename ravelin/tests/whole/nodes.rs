//! Nodes of a cluster whose identities lie in `identities/` of a folder, and the operator's questions to them. It must not know what
//! any test asks for.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use crate::driver::{Running, TIME_MAX, free_address, get, ravelin, text};

const OPERATOR: [&str; 2] = ["--identity", "identities/operator.toml"];

/// Addresses that nobody else takes, no two the same.
pub(crate) fn free_addresses(count: usize) -> Vec<String> {
    (0..count).map(|_| free_address().to_string()).collect()
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

/// Runs a command under the operator's identity; whether it succeeded, and what it printed. It has as much time as anything here,
/// unless it says otherwise.
pub(crate) fn operate(folder: &Path, words: &[&str]) -> (bool, String) {
    let seconds = TIME_MAX.as_secs().to_string();
    let patience = ["--timeout", &seconds];
    let patience = if words.contains(&"--timeout") { &[][..] } else { &patience[..] };
    let output = ravelin(folder, &[words, &OPERATOR, patience].concat());
    (output.status.success(), text(&output))
}

/// Repeats an operator's command until the answer is as wanted.
pub(crate) fn until(folder: &Path, words: &[&str], holds: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    loop {
        let said = text(&ravelin(folder, &[words, &OPERATOR].concat()));
        if holds(&said) {
            return said;
        }
        assert!(begun.elapsed() < TIME_MAX, "ravelin {}:\n{said}", words.join(" "));
    }
}

/// Applies a configuration under which one prefix alone is served.
pub(crate) fn apply(folder: &Path, web: SocketAddr, backend: SocketAddr, prefix: &str) {
    let file = format!(
        "entryPoints:\n  web:\n    address: {web}\nhttp:\n  routers:\n    hello:\n      rule: PathPrefix(`/{prefix}`)\n      \
         service: hello\n  services:\n    hello:\n      loadBalancer:\n        servers:\n          - url: http://{backend}\n"
    );
    std::fs::write(folder.join("site.yaml"), file).expect("a file");
    until(folder, &["apply", "site.yaml"], |said| said.contains(" put"));
}

/// Whether a prefix is served.
pub(crate) fn serves(web: SocketAddr, prefix: &str) -> bool {
    get(web, "hello.localhost", &format!("/{prefix}")).is_some_and(|answer| answer.status == 200)
}
