//! The smaller bounded searches of the Raft model, each complete and of exactly the size that it is known to have, and what is told
//! of all of them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use ravelin_model_check::mutant::MUTANTS;
use ravelin_model_check::raft::{self, Bounds, Order, Watch, deep, step};

fn complete(name: &str) {
    let bounds = Bounds::named(name).expect("the test names a configuration");
    let report = raft::check(bounds, Order::DepthFirst, Watch::Everything, 1);
    println!("{report}");
    assert!(bounds.states.is_some(), "{name} must state how many states it has");
    assert!(report.holds(), "{report}");
}

macro_rules! complete {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            complete($name);
        })*

        const TESTED: &[&str] = &[$($name),*];
    };
}

complete! {
    unreachable: "unreachable",
    duplication: "duplication",
    pre_vote: "pre-vote",
    check_quorum: "check-quorum",
    joint: "joint",
    lost_disk: "lost-disk",
    transfer: "transfer",
    follower_read: "follower-read",
    lease: "lease",
    gather: "gather",
    pair: "pair",
    sessions: "sessions",
    recovery_epoch: "recovery-epoch",
    linearizability: "linearizability",
    linearizability_pair: "linearizability-pair",
}

/// States up to which a configuration is searched here; `cargo xtask model` searches all.
const STATES_MAX: usize = 450_000;

#[test]
fn every_configuration_is_searched_here_or_larger_than_a_test_should_be() {
    let known = raft::CONFIGURATIONS.iter();
    let small = known.filter(|bounds| bounds.states.is_some_and(|states| states <= STATES_MAX));
    let small: Vec<&str> = small.map(|bounds| bounds.name).collect();
    assert_eq!(TESTED, small.as_slice());
}

/// `RAVELIN_REWRITE=1` takes over the configurations; what the deeper searches found comes from `cargo xtask model --hours N`.
#[test]
fn the_page_says_what_is_searched() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let path = deep::path(root);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let (found, machine) = deep::found(&text);
    let shown = step::shown(&text);
    let page = deep::page(&found, &machine, &shown);
    if std::env::var_os("RAVELIN_REWRITE").is_some() {
        return std::fs::write(&path, page).expect("the page can be written");
    }
    assert_eq!(text, page, "docs/reference/model.md; RAVELIN_REWRITE=1 writes it anew");
    assert!(!found.is_empty(), "no deeper search is known: cargo xtask model --hours N");
    for step in step::STEPS {
        let [dies, survives] = shown.get(&step.title()).expect("cargo xtask mutants --steps");
        assert!(dies.starts_with("dies") && survives.starts_with("survives"), "{step:?}: {dies}, {survives}");
    }
}

#[test]
fn no_bound_can_be_lowered_without_losing_a_mutant_but_for_one_step_beyond() {
    for bounds in raft::CONFIGURATIONS {
        let of_this = |name: &str| name == bounds.name;
        let needed = step::STEPS.iter().filter(|step| of_this(step.configuration)).map(|step| step.lower);
        let beyond = step::BEYOND.iter().filter(|(name, _)| of_this(name)).map(|(_, lower)| *lower);
        assert!(beyond.clone().count() <= 1 && needed.clone().count() >= 1, "{bounds}");
        let mut told: Vec<String> = needed.chain(beyond).map(str::to_owned).collect();
        let mut lowered = bounds.lowered();
        told.sort();
        lowered.sort();
        assert_eq!(told, lowered, "{bounds}");
    }
    for step in step::STEPS {
        let mutant = MUTANTS.iter().find(|mutant| mutant.id == step.mutant).expect("a mutant of the table");
        assert!(mutant.file.starts_with("consensus/"), "{step:?}");
        let bounds = Bounds::named(step.configuration).expect("a configuration");
        let mut lower = bounds;
        lower.set(step.lower).expect("a bound");
        assert_ne!(lower, bounds, "{step:?} changes nothing");
    }
}

#[test]
fn the_explorer_shows_the_first_state_of_a_configuration() {
    let mut explorer = Command::new(env!("CARGO_BIN_EXE_model"))
        .args(["explore", "pair", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program was built");
    let lines = BufReader::new(explorer.stdout.take().expect("it was asked for")).lines();
    let url = lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("http://")?.to_owned()));
    let address = url.expect("it says where").split('/').next().expect("an address").to_owned();
    // It says so just before it listens.
    let mut stream = loop {
        match TcpStream::connect(&address) {
            Ok(stream) => break stream,
            Err(_) => std::thread::yield_now(),
        }
    };
    stream.write_all(b"GET /.states/ HTTP/1.0\r\n\r\n").expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    explorer.kill().expect("it still runs");
    explorer.wait().expect("it was killed");
    assert!(answer.contains("Follower") && answer.contains("fingerprint"), "{answer}");
}
