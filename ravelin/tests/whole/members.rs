//! Control nodes that join, lead and go, as processes: what an operator types, and what the nodes say.

use std::path::Path;

use crate::driver::{Running, ravelin, text};
use crate::nodes::{free_addresses, operate, start, three_founders, until};

/// Runs a command that must succeed.
fn done(folder: &Path, words: &[&str]) -> String {
    let (succeeded, said) = operate(folder, words);
    assert!(succeeded, "ravelin {}:\n{said}", words.join(" "));
    said
}

/// Three founders, running, with something applied.
fn three(folder: &Path) -> (Vec<String>, Vec<Running>) {
    let addresses = free_addresses(6);
    let made = ravelin(folder, &["init", "--out", "identities", "--nodes", &three_founders(&addresses)]);
    assert!(made.status.success(), "{}", text(&made));
    let running = (1..=3).map(|node| start(folder, "controller", node)).collect();
    let site = "http:\n  middlewares:\n    mark:\n      stripPrefix: {prefixes: [/first]}\n";
    std::fs::write(folder.join("site.yaml"), site).expect("a file");
    until(folder, &["apply", "site.yaml"], |said| said.contains("1 put"));
    (addresses, running)
}

fn identity_for(folder: &Path, node: u64, address: &str) -> String {
    let new = format!("controller-{node}={address}");
    let made = ravelin(folder, &["init", "--out", "identities", "--add", &new]);
    assert!(made.status.success(), "{}", text(&made));
    format!("identities/controller-{node}.toml")
}

fn line(list: &str, node: u64) -> String {
    let name = format!("controller-{node}");
    let found = list.lines().find(|line| line.split_whitespace().next() == Some(&name));
    found.unwrap_or_default().to_owned()
}

#[test]
fn control_nodes_join_vote_lead_and_go_and_a_removed_one_is_told_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let (addresses, mut running) = three(folder);
    let identity = identity_for(folder, 4, &addresses[3]);
    let mut fourth = start(folder, "controller", 4);
    fourth.until("the members refuse whom they do not know", || {
        let log = std::fs::read_to_string(folder.join("controller-4.log")).unwrap_or_default();
        log.contains("is not a member of the cluster; `ravelin node add` makes it one")
    });
    let list = done(folder, &["node", "list"]);
    assert!(line(&list, 3).contains("voter") && !list.contains("controller-4"), "{list}");

    let list = done(folder, &["node", "add", &identity]);
    assert!(line(&list, 4).contains("spare"), "{list}");
    let (_, again) = operate(folder, &["node", "add", &identity]);
    assert!(line(&again, 4).contains("spare"), "repeating it changes nothing: {again}");
    let identity = identity_for(folder, 5, &addresses[4]);
    let _fifth = start(folder, "controller", 5);
    done(folder, &["node", "add", &identity]);
    let five = |list: &str| (1..=5).all(|node| line(list, node).contains("voter"));
    until(folder, &["node", "list"], five);

    let said = done(folder, &["leader", "transfer", "controller-4"]);
    assert!(said.contains("controller-4 leads"), "{said}");
    let (succeeded, said) = operate(folder, &["leader", "transfer", "9"]);
    assert!(!succeeded && said.contains("controller 9 is no voter"), "{said}");
    // A follower answers for itself, with all that was committed before.
    let said = done(folder, &["get", "--node", "5", "http/"]);
    assert!(said.contains("http/middlewares/mark@cluster") && !said.contains("may be old"), "{said}");

    let list = done(folder, &["node", "remove", "1"]);
    assert!(!list.contains("controller-1 "), "{list}");
    let first = running.remove(0);
    first.ended_because(&["this node was removed from the cluster"]);
    let list = until(folder, &["node", "list"], |list| line(list, 4).contains("leader"));
    let voters = list.lines().filter(|line| line.contains("voter")).count();
    assert_eq!(voters, 3, "an odd number: {list}");
    let again = start(folder, "controller", 1);
    again.ended_because(&["says so. Its data directory and identity file are of no use any more"]);
    let (succeeded, said) = operate(folder, &["node", "add", "identities/controller-1.toml"]);
    assert!(
        !succeeded && said.contains("controller 1 was removed, and this identity of it with it"),
        "{said}"
    );
    // The number can come back as another node, which may be started before the cluster is told of it.
    let new = format!("controller-1={}", addresses[5]);
    let from = ["--ca", "identities/cluster-ca.pem", "--like", "identities/operator.toml"];
    let made = ravelin(folder, &[["init", "--out", "again", "--add", &new].as_slice(), &from].concat());
    assert!(made.status.success(), "{}", text(&made));
    let words = ["controller", "--identity", "again/controller-1.toml", "--data", "data/again"];
    let mut again = Running::start(folder, "again", &words);
    let log = again.log();
    again.until("it is refused as one that nobody knows yet", || {
        std::fs::read_to_string(&log)
            .unwrap_or_default()
            .contains("controller 1 is not a member of the cluster")
    });
    done(folder, &["node", "add", "again/controller-1.toml"]);
    until(folder, &["node", "list"], |list| {
        !line(list, 1).is_empty() && !line(list, 1).contains("not caught up")
    });
    assert!(again.is_running(), "{}", again.printed());
}

#[test]
fn a_node_that_moved_tells_the_others_where_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let (addresses, mut running) = three(folder);
    until(folder, &["node", "list"], |list| (1..=3).all(|node| line(list, node).contains("127.")));
    drop(running.remove(2));
    let file = folder.join("identities/controller-3.toml");
    let text = std::fs::read_to_string(&file).expect("an identity").replace(&addresses[2], &addresses[4]);
    std::fs::write(&file, text).expect("a file of one's own");
    let _moved = start(folder, "controller", 3);
    let moved =
        |list: &str| line(list, 3).contains(&addresses[4]) && !line(list, 3).contains("not caught up");
    until(folder, &["node", "list"], moved);
    // The others' files say the old place; they find it where it is, and need it for a quorum.
    drop(running.remove(0));
    let site = "http:\n  middlewares:\n    second:\n      stripPrefix: {prefixes: [/second]}\n";
    std::fs::write(folder.join("site.yaml"), site).expect("a file");
    until(folder, &["apply", "site.yaml"], |said| said.contains("1 put"));
}

#[test]
fn a_removal_that_would_leave_one_voter_is_refused_until_it_is_forced_or_another_takes_the_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let (addresses, mut running) = three(folder);
    let (succeeded, said) = operate(folder, &["node", "remove", "3"]);
    assert!(
        !succeeded && said.contains("a single voter would be left") && said.contains("--force"),
        "{said}"
    );
    let (succeeded, said) = operate(folder, &["node", "remove", "7"]);
    assert!(!succeeded && said.contains("controller 7 is not a member"), "{said}");
    // One that has died is replaced: the new one takes its place in one step.
    drop(running.remove(2));
    let identity = identity_for(folder, 4, &addresses[3]);
    let _fourth = start(folder, "controller", 4);
    done(folder, &["node", "add", &identity]);
    let list = done(folder, &["node", "remove", "3", "--timeout", "30"]);
    assert!(line(&list, 4).contains("voter") && line(&list, 3).is_empty(), "{list}");
    let (succeeded, said) = operate(folder, &["node", "demote", "4"]);
    assert!(!succeeded && said.contains("a single voter would be left"), "{said}");
    let list = done(folder, &["node", "remove", "2", "--force", "--timeout", "30"]);
    let voters: Vec<&str> = list.lines().filter(|line| line.contains("voter")).collect();
    assert!(voters.len() == 1 && list.contains("spare"), "{list}");
}
