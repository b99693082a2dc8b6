//! A change whose outcome is unknown: it is said to be so, and asked for again under its name it takes effect once.

use std::path::Path;
use std::process::Command;

use crate::driver::{Running, ravelin, text};
use crate::nodes::{free_addresses, operate, start, three_founders, until};

fn mark(folder: &Path, file: &str, prefix: &str) {
    let site = format!("http:\n  middlewares:\n    mark:\n      stripPrefix: {{prefixes: [{prefix}]}}\n");
    std::fs::write(folder.join(file), site).expect("a file");
}

fn signal(process: &Running, signal: &str) {
    let sent = Command::new("kill").args([signal, &process.pid().to_string()]).status().expect("kill(1)");
    assert!(sent.success());
}

/// Asks for a change while the node that decides about changes takes the request and says nothing more; gives what was said. The time
/// is short, as another node decides soon: on a slow machine it may be too short to ask at all, or not short enough.
fn in_doubt(folder: &Path, running: &[Running]) -> String {
    for number in 0..20 {
        let is_controller = |line: &&str| line.contains("controller (epoch");
        let status = until(folder, &["status"], |said| said.lines().any(|line| is_controller(&line)));
        let line = status.lines().find(is_controller).expect("one is the controller");
        let controller =
            (1..=3).find(|node| line.starts_with(&format!("controller-{node} "))).expect("one of three");
        let other = (1..=3).find(|node| *node != controller).expect("three nodes").to_string();
        mark(folder, "first.yaml", &format!("/first{number}"));
        signal(&running[controller - 1], "-STOP");
        let words = ["apply", "first.yaml", "--node", &other, "--timeout", "1"];
        let output = ravelin(folder, &[&words[..], &["--identity", "identities/operator.toml"]].concat());
        signal(&running[controller - 1], "-CONT");
        let said = text(&output);
        match output.status.code() {
            Some(3) => return said,
            Some(0) => {}
            _ => assert!(said.contains("nothing was asked for"), "neither done nor failed: {said}"),
        }
    }
    panic!("this machine never lets a request come as far as another node within a second");
}

#[test]
fn a_change_whose_outcome_is_unknown_is_asked_for_again_by_its_name_and_takes_effect_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let nodes = three_founders(&free_addresses(3));
    let made = ravelin(folder, &["init", "--out", "identities", "--nodes", &nodes]);
    assert!(made.status.success(), "{}", text(&made));
    let running: Vec<Running> = (1..=3).map(|node| start(folder, "controller", node)).collect();
    mark(folder, "before.yaml", "/before");
    until(folder, &["apply", "before.yaml"], |said| said.contains("1 put"));

    let said = in_doubt(folder, &running);
    assert!(said.contains("the outcome is unknown") && !said.contains("could not be asked"), "{said}");
    let name =
        said.split_once("--request ").expect("its name").1.split(':').next().expect("a word").to_owned();

    let again = ["apply", "first.yaml", "--request", &name];
    let first = until(folder, &again, |said| said.contains("1 put"));
    let (done, second) = operate(folder, &again);
    assert!(done && second == first, "the same answer: {first} {second}");
    // What came after it stays, however often it is asked for again.
    mark(folder, "later.yaml", "/later");
    let (done, later) = operate(folder, &["apply", "later.yaml"]);
    assert!(done && later != first, "{later}");
    let (done, third) = operate(folder, &again);
    assert!(done && third == first, "{third}");
    let (_, found) = operate(folder, &["get", "http/middlewares/mark"]);
    assert!(found.contains("/later") && !found.contains("/first"), "{found}");
    let (done, said) = operate(folder, &["apply", "later.yaml", "--request", &name]);
    assert!(!done && said.contains("is the name of another request"), "{said}");
}
