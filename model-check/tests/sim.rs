//! The whole-cluster simulation over a few seeds and the committed scripts, that a seed decides everything in any process,
//! and that what fails shrinks to what matters.

use std::path::Path;
use std::process::Command;

use ravelin_model_check::sim::{self, Mark, Report, Script, shrink};

/// Enough for most marks and few enough for every `cargo test`; a campaign runs thousands.
const SEEDS: u64 = 80;

fn run(seed: u64) -> Report {
    sim::run(seed).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn a_few_seeds_keep_every_promise_and_reach_what_matters() {
    let mut total = Report::default();
    (0..SEEDS).for_each(|seed| total.add(&run(seed)));
    println!("{total}");
    for mark in [
        Mark::TornLog,
        Mark::Outages,
        Mark::DiskHalts,
        Mark::Snapshots,
        Mark::Epochs,
        Mark::RefusedEarly,
        Mark::Unknown,
        Mark::Reads,
        Mark::HandedOver,
        Mark::FollowerReads,
        Mark::LeaseReads,
        Mark::Recovered,
        Mark::DoneShared,
        Mark::Deltas,
        Mark::OneWay,
        Mark::Unclogged,
        Mark::Drifts,
        Mark::NeedsHand,
    ] {
        assert!(total.of(mark) > 0, "no seed reached {mark:?}");
    }
}

/// Each file says in its first lines what it shows. It either found a fault once or leads to a rare branch.
#[test]
fn every_committed_script_keeps_every_promise() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim_scripts");
    let mut scripts = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder is committed") {
        let path = entry.expect("a readable folder").path();
        let text = std::fs::read_to_string(&path).expect("a readable script");
        let script = Script::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!script.title.is_empty(), "{} does not say what it shows", path.display());
        if let Err(failure) = script.run(None) {
            panic!("{}: {failure}", path.display());
        }
        scripts += 1;
    }
    assert!(scripts >= 3, "{scripts} scripts");
}

/// What a process prints, lines without their times of day.
fn printed(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sim")).args(words).output().expect("the program was built");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_seed_gives_the_same_run_in_another_process_and_another_seed_does_not() {
    let here = run(5);
    let text = printed(&["--seed", "5", "--trace"]);
    assert!(text.trim_end().ends_with(&format!("sim: seed 5, digest {:016x}", here.digest)), "{text}");
    assert!(text.lines().count() as u64 > here.events, "a line for each event: {}", here.events);
    assert_eq!(text, printed(&["--seed", "5", "--trace"]));
    assert_ne!(here.digest, run(6).digest);
}

#[test]
fn a_script_that_was_printed_gives_the_same_run() {
    for seed in 0..10 {
        let script = Script::of_seed(seed);
        let read = Script::parse(&script.to_string()).expect("what a script prints");
        assert_eq!(read.run(None).map(|report| report.digest), script.run(None).map(|report| report.digest));
    }
}

#[test]
fn the_last_line_of_a_campaign_counts_seeds_events_and_failures() {
    let text = printed(&["--seeds", "3", "--from", "40"]);
    let events: u64 = (40..43).map(|seed| run(seed).events).sum();
    assert_eq!(
        text.lines().last(),
        Some(format!("sim: 3 seeds, {events} events, 0 failures").as_str()),
        "{text}"
    );
}

/// Leases, everybody at the same few keys, and each node cut off alone once while its clock is slow and the others are fast.
fn leader_cut_off(seed: u64, slow: u64, fast: u64) -> Script {
    let mut text = format!(
        "seed {seed}\nlease_micros 1200000\nread_percent 60\nshared_percent 100\nask_micros 8000\nfaults_micros 12000000\n"
    );
    for alone in 1..=3 {
        let at = alone * 3_000_000;
        for node in 1..=3 {
            let speed = if node == alone { slow } else { fast };
            text += &format!("at {at} drift node {node} per_million {speed} for_micros 2500000\n");
        }
        text += &format!("at {at} split set {} for_micros 2500000\n", 1 << (alone - 1));
    }
    Script::parse(&text).expect("numbers and faults of a script")
}

/// The negative control of reads under a lease: within the stated bound of clocks they are never stale, and beyond it the
/// judge sees that they are.
#[test]
fn reads_under_a_lease_are_linearizable_within_the_bound_of_clocks_and_not_beyond() {
    let mut stale = 0;
    for seed in 0..4 {
        let report = leader_cut_off(seed, 942_000, 1_059_000).run(None).unwrap_or_else(|it| panic!("{it}"));
        assert!(report.of(Mark::LeaseReads) > 0, "seed {seed} has read under a lease");
        if let Err(failure) = leader_cut_off(seed, 300_000, 3_000_000).run(None) {
            let what = &failure.what;
            assert!(what.contains("known before") || what.contains("value "), "{what}");
            stale += 1;
        }
    }
    assert!(stale > 0, "no stale read was seen although clocks ran ten times apart");
}

/// The partial partition "constrained": without what the others send to the node in the middle, nobody could be elected and
/// nothing applied until another link is back.
#[test]
fn a_node_that_alone_hears_a_majority_leads_though_it_was_behind() {
    let text = include_str!("sim_scripts/constrained.txt");
    let (told, lines) = std::sync::mpsc::channel();
    let trace = Box::new(move |line: &str| told.send(line.to_owned()).expect("the lines are read below"));
    let report = Script::parse(text).expect("a script").run(Some(trace)).unwrap_or_else(|it| panic!("{it}"));
    assert!(report.of(Mark::BroughtOn) > 0, "{report}");
    // Of node 2: when, and what it had applied.
    let applied: Vec<(u64, u64)> = lines
        .iter()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let after = |name| words.iter().skip_while(|word| **word != name).nth(1)?.parse::<u64>().ok();
            (after("node")? == 2).then_some((words.first()?.parse().ok()?, after("applied")?))
        })
        .collect();
    let until = |micros| applied.iter().take_while(|(at, _)| *at < micros).map(|(_, applied)| *applied).max();
    let (cut, healed) = (until(4_000_000).expect("it has run"), until(11_900_000).expect("it has run"));
    assert!(healed > cut + 50, "node 2 had applied {cut} at the cut and {healed} at its end");
}

/// A judge that is wrong on purpose: it takes every node that its disk stopped for a failure.
fn wrong_judge(script: &Script) -> Option<(String, u64)> {
    let report = script.run(None).ok()?;
    (report.of(Mark::DiskHalts) > 0)
        .then(|| (format!("{} disks failed", report.of(Mark::DiskHalts)), u64::MAX))
}

#[test]
fn what_fails_shrinks_to_the_one_fault_that_matters_and_still_fails_from_its_text() {
    let failing =
        |seed: &u64| Script::of_seed(*seed).faults() > 10 && wrong_judge(&Script::of_seed(*seed)).is_some();
    let seed = (0..200).find(failing).expect("some seed has a disk that fails among much else");
    let script = Script::of_seed(seed);
    let (what, _) = wrong_judge(&script).expect("just found");
    let shrunk = shrink::shrink(script, what, wrong_judge);
    let text = shrunk.script.to_string();
    assert_eq!(shrunk.script.faults(), 1, "{text}");
    assert!(text.contains(" sync-error ") || text.contains(" write-error "), "{text}");
    assert!(text.lines().count() <= 6, "only what matters is left:\n{text}");
    let read = Script::parse(&text).expect("what a script prints");
    assert!(wrong_judge(&read).is_some_and(|(what, _)| what == shrunk.what));
}
