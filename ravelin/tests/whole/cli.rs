//! The command line: help, versions, refusals, `validate`.

use crate::driver::{Running, free_address, ravelin, text};
use crate::nodes::operate;

#[test]
fn help_and_version_answer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let help = ravelin(folder.path(), &["--help"]);
    assert!(help.status.success());
    for command in ["standalone", "demo", "init", "controller", "proxy", "validate", "apply", "get", "status"]
    {
        assert!(text(&help).contains(command), "{command} is missing in\n{}", text(&help));
    }
    assert!(text(&ravelin(folder.path(), &["standalone", "--help"])).contains("--workers=N"));
    assert!(text(&ravelin(folder.path(), &["--version"])).starts_with("ravelin "));
    assert!(text(&ravelin(folder.path(), &["version"])).contains("Version:"));
}

/// More commands than one operator may have connections: a node that believed in those of commands that have ended would refuse the
/// later ones until it found out.
#[test]
fn a_command_that_has_ended_takes_no_place_at_the_node_that_it_asked() {
    const COMMANDS: usize = 40;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let nodes = format!("controller-1={}", free_address());
    let made = ravelin(folder, &["init", "--out", "identities", "--nodes", &nodes]);
    assert!(made.status.success(), "{}", text(&made));
    let words = ["controller", "--identity", "identities/controller-1.toml", "--data", "data"];
    let mut controller =
        Running::start(folder, "controller", &[&words[..], &["--log-level", "debug"]].concat());
    for _ in 0..COMMANDS {
        let (done, said) = operate(folder, &["status"]);
        assert!(done, "{said}");
    }
    let operators = |printed: &str, what: &str| {
        printed.lines().filter(|line| line.contains(what) && line.contains("peer=operator")).count()
    };
    let log = controller.log();
    controller.until("it knows that all have ended", || {
        let printed = std::fs::read_to_string(&log).expect("its log");
        let gone = operators(&printed, "peer disconnected");
        gone >= COMMANDS && gone == operators(&printed, "peer connected")
    });
    let printed = controller.printed();
    assert!(!printed.contains("too many connections"), "{printed}");
    assert!(!printed.contains("nothing was heard for too long"), "{printed}");
}

#[test]
fn init_never_overwrites() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let words = ["init", "--out", "identities", "--nodes", "controller-1=127.0.0.1:7400,proxy-1"];
    let first = ravelin(folder.path(), &words);
    assert!(first.status.success(), "{}", text(&first));
    let before = std::fs::read(folder.path().join("identities/controller-1.toml")).expect("an identity");
    let again = ravelin(folder.path(), &words);
    assert!(!again.status.success());
    assert!(text(&again).contains("exist"), "{}", text(&again));
    assert_eq!(
        std::fs::read(folder.path().join("identities/controller-1.toml")).expect("an identity"),
        before
    );
}

#[test]
fn an_identity_of_another_role_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    ravelin(folder.path(), &["init", "--out", "i", "--nodes", "controller-1=127.0.0.1:7400,proxy-1"]);
    let output = ravelin(folder.path(), &["controller", "--identity", "i/proxy-1.toml", "--data", "d"]);
    assert!(!output.status.success());
    assert!(text(&output).contains("not for a controller"), "{}", text(&output));
    assert!(!folder.path().join("d").exists());
}

#[test]
fn a_directory_that_cannot_be_used_costs_the_identity_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let nodes = format!("controller-1={}", free_address());
    ravelin(folder.path(), &["init", "--out", "i", "--nodes", &nodes]);
    std::fs::write(folder.path().join("file"), "").expect("a file");
    let words = |data| ["controller", "--identity", "i/controller-1.toml", "--data", data];
    let output = ravelin(folder.path(), &words("file"));
    assert!(!output.status.success());
    assert!(text(&output).contains("file cannot be used as the data directory"), "{}", text(&output));
    let mut node = Running::start(folder.path(), "node", &words("data"));
    let version = folder.path().join("data/VERSION");
    node.until("the data directory is taken", || version.exists());
    assert!(folder.path().join("i/controller-1.toml.started").exists());
}

#[test]
fn what_is_not_an_operators_identity_or_not_a_file_is_told_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    ravelin(folder.path(), &["init", "--out", "i", "--nodes", "controller-1=127.0.0.1:7400,proxy-1"]);
    let output = ravelin(folder.path(), &["status", "--identity", "i/proxy-1.toml"]);
    assert!(text(&output).contains("for a proxy, not for an operator"), "{}", text(&output));
    let output = ravelin(folder.path(), &["demo", "--config", "missing.yaml"]);
    assert!(text(&output).contains("missing.yaml could not be read"), "{}", text(&output));
    let output = ravelin(folder.path(), &["demo", "--rate", "0"]);
    assert!(text(&output).contains("0 is not in 1.."), "{}", text(&output));
}

#[test]
fn an_operator_learns_that_nobody_answers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let address = free_address();
    let nodes = format!("controller-1={address}");
    ravelin(folder.path(), &["init", "--out", "i", "--nodes", &nodes]);
    let output = ravelin(folder.path(), &["status", "--identity", "i/operator.toml", "--timeout", "1"]);
    assert!(!output.status.success());
    assert!(text(&output).contains("ravelin:"), "{}", text(&output));
}

#[test]
fn validate_tells_the_place_and_what_works() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = "http:\n  routers:\n    a:\n      rule: Host(`a.test`)\n      service: s\n  services:\n    s:\n      loadBalancer:\n        servers: [{url: http://127.0.0.1:1}]\n";
    std::fs::write(folder.path().join("good.yaml"), good).expect("a file");
    std::fs::write(
        folder.path().join("bad.yaml"),
        good.replace("rule: Host(`a.test`)", "rule: Host(`a.test`"),
    )
    .expect("a file");
    let output = ravelin(folder.path(), &["validate", "good.yaml"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("http.routers.*.rule"), "{}", text(&output));
    let output = ravelin(folder.path(), &["validate", "bad.yaml"]);
    assert!(!output.status.success());
    assert!(text(&output).contains("bad.yaml:4:"), "{}", text(&output));
    let later = format!("{good}  middlewares:\n    m:\n      plugin:\n        p: {{}}\n");
    std::fs::write(folder.path().join("later.yaml"), later).expect("a file");
    let output = ravelin(folder.path(), &["validate", "later.yaml"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let output = ravelin(folder.path(), &["validate", "missing.yaml"]);
    assert!(text(&output).contains("missing.yaml could not be read"), "{}", text(&output));
}
