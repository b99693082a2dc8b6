//! A proxy and an operator whose identity files name only the founders, once none of them is left: they follow the cluster, the proxy
//! also over a restart.

use std::path::Path;
use std::time::Instant;

use crate::driver::{Running, TIME_MAX, free_address, ravelin, ravelin_in, text};
use crate::nodes::{apply, free_addresses, operate, serves, start, three_founders, until};

/// A control node that joins, and waits until it is a member.
fn join(folder: &Path, node: u64, address: &str) -> Running {
    let new = format!("controller-{node}={address}");
    let made = ravelin(folder, &["init", "--out", "identities", "--add", &new]);
    assert!(made.status.success(), "{}", text(&made));
    let running = start(folder, "controller", node);
    let identity = format!("identities/controller-{node}.toml");
    let name = format!("controller-{node} ");
    until(folder, &["node", "add", &identity], |said| said.contains(&name) && !said.contains("joining"));
    running
}

/// Lists the control nodes under an identity beside which nothing can be written, with a folder for state.
fn listed_from_elsewhere(folder: &Path) -> (bool, String) {
    let state = folder.join("state").display().to_string();
    let seconds = TIME_MAX.as_secs().to_string();
    let words = ["node", "list", "--identity", "fixed/operator.toml", "--timeout", &seconds];
    let output = ravelin_in(folder, &words, &[("XDG_STATE_HOME", &state)]);
    (output.status.success(), text(&output))
}

#[test]
fn a_proxy_and_an_operator_follow_control_nodes_that_their_files_do_not_name_also_over_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let (web, backend) = (free_address(), free_address());
    let _backend = Running::start(folder, "backend", &["whoami", "--listen", &backend.to_string()]);
    let addresses = free_addresses(6);
    let nodes = format!("{},proxy-1", three_founders(&addresses));
    let made = ravelin(folder, &["init", "--out", "identities", "--nodes", &nodes]);
    assert!(made.status.success(), "{}", text(&made));
    let mut founders: Vec<Running> = (1..=3).map(|node| start(folder, "controller", node)).collect();
    let mut proxy = start(folder, "proxy", 1);
    apply(folder, web, backend, "first");
    proxy.until("it serves what was applied", || serves(web, "first"));

    let _later: Vec<Running> =
        (4..=6).map(|node| join(folder, node, &addresses[node as usize - 1])).collect();
    let file = std::fs::read_to_string(folder.join("identities/proxy-1.toml")).expect("an identity");
    assert!(addresses[3..].iter().all(|address| !file.contains(address)), "it names the founders only");
    std::fs::create_dir_all(folder.join("fixed/operator.toml.controllers"))
        .expect("a folder in the place of the file");
    std::fs::copy(folder.join("identities/operator.toml"), folder.join("fixed/operator.toml"))
        .expect("a copy");
    // A command spends no more than a moment on remembering: on a busy machine the next one does.
    let begun = Instant::now();
    while std::fs::read_dir(folder.join("state/ravelin")).map_or(0, Iterator::count) == 0 {
        let (_, said) = listed_from_elsewhere(folder);
        assert!(begun.elapsed() < TIME_MAX && !said.contains("will not know"), "{said}");
    }
    // Nor does the operator's name any other; each command remembers where they are for the next.
    for node in ["1", "2", "3"] {
        let (done, said) = operate(folder, &["node", "remove", node, "--timeout", "30"]);
        assert!(done, "{said}");
        founders.remove(0).ended_because(&["this node was removed from the cluster"]);
    }
    apply(folder, web, backend, "second");
    proxy.until("later nodes feed it", || serves(web, "second"));

    // The next process knows them from the disk: nobody else is there to ask.
    assert!(proxy.terminate(), "{}", proxy.printed());
    let mut proxy = start(folder, "proxy", 1);
    proxy.until("it serves what it kept", || serves(web, "second"));
    apply(folder, web, backend, "third");
    proxy.until("later nodes feed it again", || serves(web, "third"));

    let (done, said) = listed_from_elsewhere(folder);
    assert!(done && said.contains("controller-6"), "an operator finds them by what lies elsewhere: {said}");
}
