//! A cluster that has lost its quorum for good goes on from one survivor: what the operator is told, and that neither the old
//! members nor their directories are ever heard again.

use std::net::SocketAddr;
use std::path::Path;

use crate::driver::{Running, free_address, ravelin, text};
use crate::nodes::{apply, free_addresses, operate, serves, start, three_founders, until};

const SURVIVOR: [&str; 4] = ["--identity", "identities/controller-3.toml", "--data", "data/controller-3"];

/// Runs a command; whether it succeeded, and what it printed.
fn run(folder: &Path, words: &[&str]) -> (bool, String) {
    let output = ravelin(folder, words);
    (output.status.success(), text(&output))
}

/// Three founders and a proxy that serves what was applied; then controllers 1 and 2 are lost.
fn lost(folder: &Path, web: SocketAddr, backend: SocketAddr) -> (Vec<String>, Running, Running) {
    let addresses = free_addresses(5);
    let nodes = format!("{},proxy-1", three_founders(&addresses));
    let (made, said) = run(folder, &["init", "--out", "identities", "--nodes", &nodes]);
    assert!(made, "{said}");
    let mut controllers: Vec<Running> = (1..=3).map(|node| start(folder, "controller", node)).collect();
    let mut proxy = start(folder, "proxy", 1);
    apply(folder, web, backend, "first");
    proxy.until("it serves what was applied", || serves(web, "first"));
    // Every member has said in the log who it is.
    until(folder, &["node", "list"], |said| {
        (1..=3)
            .all(|node| said.contains(&format!("controller-{node} ")) && said.contains(&addresses[node - 1]))
    });
    let survivor = controllers.remove(2);
    (addresses, survivor, proxy)
}

/// The operator's file does not know of the recovery, and an identity made like it counts for nothing.
fn an_identity_of_before_is_refused(folder: &Path, address: &str) {
    let new = format!("controller-4={address}");
    let from = ["--ca", "identities/cluster-ca.pem", "--like", "identities/operator.toml"];
    let (made, said) = run(folder, &[["init", "--out", "stale", "--add", &new].as_slice(), &from].concat());
    assert!(made, "{said}");
    let (added, said) = operate(folder, &["node", "add", "stale/controller-4.toml"]);
    assert!(!added && said.contains("the cluster is in epoch 1") && said.contains("--epoch 1"), "{said}");
    let (_, said) = operate(folder, &["node", "list"]);
    assert!(said.contains("recovery epoch 1"), "{said}");
}

#[test]
fn two_of_three_are_lost_and_the_third_goes_on_as_a_new_epoch_that_hears_no_old_member() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let (web, backend) = (free_address(), free_address());
    let listen = backend.to_string();
    let _backend = Running::start(folder, "backend", &["whoami", "--listen", &listen]);
    let (addresses, mut survivor, mut proxy) = lost(folder, web, backend);

    let (done, said) = run(folder, &[&["recover", "--yes"], &SURVIVOR[..]].concat());
    assert!(!done && said.contains("in use by another process"), "a running node: {said}");
    survivor.kill();
    let (done, said) = run(folder, &[&["recover"], &SURVIVOR[..]].concat());
    assert!(!done && said.contains("nothing was changed; to go on, say which cluster it is"), "{said}");
    for part in [
        "last entry",
        "known to be committed",
        "other voters           controller-1, controller-2",
        "Given up for good",
    ] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    let cluster = said.split_once("--cluster ").expect("its id").1.trim().to_owned();
    let wrong = [&["recover", "--cluster", "00"], &SURVIVOR[..]].concat();
    let (done, said) = run(folder, &wrong);
    assert!(!done && said.contains("is not the cluster of this node"), "{said}");
    assert!(!folder.join("data/controller-3/wal-1").exists(), "nothing was changed");
    let (done, said) = run(folder, &[&["recover", "--cluster", &cluster], &SURVIVOR[..]].concat());
    assert!(done && said.contains("controller-3 is the only voter of recovery epoch 1"), "{said}");
    assert!(folder.join("identities/controller-3.toml.epoch-0").exists(), "the old identity is kept");

    // The proxy served on all the while; now it is fed again, by the survivor.
    assert!(serves(web, "first"));
    let _third = start(folder, "controller", 3);
    apply(folder, web, backend, "second");
    proxy.until("it is fed in the new epoch", || serves(web, "second"));

    // An old member that comes back is refused, stops, and says what to do.
    let first = start(folder, "controller", 1);
    first.ended_because(&["controller 3", "ravelin init --add", "empty directory"]);
    let other = ["recover", "--identity", "identities/controller-3.toml", "--data", "data/controller-1"];
    let (done, said) = run(folder, &other);
    assert!(!done && said.contains("belongs to node 1"), "{said}");

    an_identity_of_before_is_refused(folder, &addresses[3]);

    // Two new ones make it three again; they learn of the recovery from the log.
    let mut joined = Vec::new();
    for (node, address, like) in
        [(4, &addresses[3], ["--like", "identities/controller-3.toml"]), (5, &addresses[4], ["--epoch", "1"])]
    {
        let new = format!("controller-{node}={address}");
        let words = ["init", "--out", "identities", "--add", &new];
        let (made, said) = run(folder, &[words.as_slice(), &like].concat());
        assert!(made, "{said}");
        let identity = format!("identities/controller-{node}.toml");
        joined.push(start(folder, "controller", node));
        until(folder, &["node", "add", &identity], |said| said.contains(&format!("controller-{node}")));
    }
    until(folder, &["node", "list"], |list| {
        [3, 4, 5].iter().all(|node| {
            let name = format!("controller-{node} ");
            list.lines().any(|line| line.contains(&name) && line.contains("voter"))
        })
    });
    until(folder, &["leader", "transfer", "controller-4"], |said| said.contains("controller-4 leads"));
    apply(folder, web, backend, "third");
    proxy.until("it is fed what a new one leads", || serves(web, "third"));
}
