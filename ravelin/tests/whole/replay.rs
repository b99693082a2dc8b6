//! A run of a real controller, done again from its trace.

use std::path::Path;

use crate::driver::{Running, free_address, ravelin, text};

#[test]
fn a_controllers_run_is_replayed_from_its_trace() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let here = folder.path();
    let nodes = format!("controller-1={}", free_address());
    let made = ravelin(here, &["init", "--out", "i", "--nodes", &nodes]);
    assert!(made.status.success(), "{}", text(&made));
    for _ in 0..2 {
        run(here);
        let output = ravelin(here, &["replay", "trace"]);
        assert!(output.status.success() && text(&output).contains("all the same"), "{}", text(&output));
    }
    let output = ravelin(here, &["replay", "trace.1"]);
    assert!(output.status.success(), "the trace of the run before is kept: {}", text(&output));
    let mut bytes = std::fs::read(here.join("trace")).expect("it was written");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(here.join("trace"), bytes).expect("the folder is ours");
    let output = ravelin(here, &["replay", "trace"]);
    assert!(!output.status.success() && text(&output).contains("is damaged"), "{}", text(&output));
}

/// The controller leads, answers and ends.
fn run(here: &Path) {
    let words = ["controller", "--identity", "i/controller-1.toml", "--data", "d", "--trace-file", "trace"];
    let mut controller = Running::start(here, "controller", &words);
    controller.until("the controller answers", || {
        let output = ravelin(here, &["status", "--identity", "i/operator.toml"]);
        output.status.success() && text(&output).contains("leader")
    });
    assert!(controller.terminate(), "it ends when asked to");
}
