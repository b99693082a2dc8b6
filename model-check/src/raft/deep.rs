//! Searches that are too long for every change: each configuration with one bound raised. A run has a budget and goes on where
//! the last one stopped; what was found last is in the page that it writes, and nowhere else.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::raft::bounds::{Bounds, CONFIGURATIONS, Watch};
use crate::raft::run::{Order, Report, check_until};
use crate::raft::step;

/// Configurations and the bounds that are raised in them.
pub const DEEPER: &[(&str, &str)] = &[
    ("pair", "terms=4"),
    ("joint", "terms=3"),
    ("unreachable", "unreachable=2"),
    ("transfer", "proposals=2"),
    ("check-quorum", "terms=3"),
    ("lost-disk", "terms=3"),
    ("duplication", "duplicates=2"),
    ("snapshot", "snapshots=2"),
    ("pre-vote", "terms=3"),
    ("replication", "proposals=1"),
    ("follower-read", "crashes=2"),
    ("replace-leader", "proposals=1"),
    ("snapshot-race", "snapshots=2"),
    ("elections", "inflight=3"),
    ("elections", "terms=4"),
    ("reorder", "proposals=2"),
    ("read", "reads=3"),
    ("crash", "proposals=1"),
    ("linearizability", "inflight=2"),
    ("crash", "crashes=2"),
    ("replication", "inflight=2"),
    ("crash", "inflight=2"),
];

/// What a search has found, as the page says it: states, transitions, depth, seconds, and how it ended.
type Found = [String; 5];

/// Where the page is, from the workspace's root.
#[must_use]
pub fn path(root: &Path) -> PathBuf {
    root.join("docs/reference/model.md")
}

/// The bounds of a deeper search.
///
/// # Errors
/// There is no such configuration or bound.
pub fn bounds(name: &str, raised: &str) -> Result<Bounds, String> {
    let mut bounds = Bounds::named(name).ok_or_else(|| format!("there is no configuration {name}"))?;
    bounds.set(raised)?;
    Ok(Bounds { states: None, witnesses: &[], ..bounds })
}

/// Searches one after the other until the budget is used, beginning after the one named `last`. `told` hears of each.
/// Says whether none broke, and the name of the last that was begun.
///
/// # Errors
/// The table names what does not exist.
pub fn run(
    last: &str,
    budget: Duration,
    threads: usize,
    mut told: impl FnMut(&str, &Report),
) -> Result<(bool, String), String> {
    let deadline = Instant::now() + budget;
    let after = DEEPER.iter().position(|(name, raised)| title(name, raised) == last);
    let first = after.map_or(0, |at| at + 1);
    let (mut holds, mut last) = (true, last.to_owned());
    for (name, raised) in (0..DEEPER.len()).filter_map(|at| DEEPER.get((first + at) % DEEPER.len())) {
        if Instant::now() >= deadline {
            break;
        }
        last = title(name, raised);
        let bounds = bounds(name, raised)?;
        let report = check_until(bounds, Order::DepthFirst, Watch::Everything, threads, Some(deadline));
        told(&last, &report);
        holds &= report.violations.is_empty();
    }
    Ok((holds, last))
}

fn title(name: &str, raised: &str) -> String {
    format!("{name} {raised}")
}

const INTRODUCTION: &str = "# The model

The shipped core under every order of messages, timers, disk writes, crashes and restarts that these bounds allow, each
search complete and of exactly this size, up to the names of nodes: `cargo xtask model`. CI does it on every change. This
is what \"model-checked\" means here: within these bounds, not beyond. Each configuration is there because mutants die in it
([mutants.md](mutants.md)); a search also fails if something rare that it must show was never seen.

| configuration | bounds | states | must have seen |
|---|---|---|---|
";

const DEEPER_INTRODUCTION: &str = "
## Deeper

`cargo xtask model --hours N` (or `--minutes N`) raises one bound at a time, for as long as that; the next run goes on with
the next search. What was found last:

| configuration | raised | states | transitions | depth | seconds | ended |
|---|---|---|---|---|---|---|
";

/// The page.
#[must_use]
pub fn page(found: &BTreeMap<String, Found>, machine: &str, steps: &step::Shown) -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut sum = 0;
    for bounds in CONFIGURATIONS {
        let (name, shown) = (bounds.name, bounds.to_string());
        let shown = shown.strip_prefix(name).unwrap_or_default().trim_matches([' ', '(', ')']);
        let states = bounds.states.unwrap_or_default();
        let seen: Vec<String> = bounds.witnesses.iter().map(|mark| mark.words().to_owned()).collect();
        sum += states;
        let _ = writeln!(text, "| {name} | {shown} | {states} | {} |", seen.join("; "));
    }
    let _ = writeln!(text, "\n{} configurations, {sum} states.", CONFIGURATIONS.len());
    text += &step::section(steps);
    text += DEEPER_INTRODUCTION;
    for (name, raised) in DEEPER {
        let nothing = Found::default();
        let cells = found.get(&title(name, raised)).unwrap_or(&nothing);
        let _ = writeln!(text, "| {name} | {raised} | {} |", cells.join(" | "));
    }
    let _ = writeln!(text, "\n{MACHINE}{machine}");
    text
}

const MACHINE: &str = "On: ";

/// What a page says was found, by configuration and raised bound, and on which machine.
#[must_use]
pub fn found(page: &str) -> (BTreeMap<String, Found>, String) {
    let (_, deeper) = page.split_once("## Deeper").unwrap_or_default();
    let rows = deeper.lines().filter_map(|line| line.strip_prefix("| ")).filter_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [name, raised, states, transitions, depth, seconds, ended, ..] = cells.as_slice() else {
            return None;
        };
        let found = [states, transitions, depth, seconds, ended].map(|cell| (*cell).to_owned());
        let known = DEEPER.contains(&(*name, *raised)) && !states.is_empty();
        known.then(|| (title(name, raised), found))
    });
    let machine = page.lines().find_map(|line| line.strip_prefix(MACHINE)).unwrap_or_default();
    (rows.collect(), machine.to_owned())
}

/// The cells of one report.
#[must_use]
pub fn cells(report: &Report) -> Found {
    let ended = match (report.violations.is_empty(), report.exhaustive) {
        (false, _) => "BROKEN",
        (true, true) => "complete",
        (true, false) => "out of time",
    };
    let seconds = format!("{:.0}", report.elapsed.as_secs_f64());
    let (states, transitions, depth) = (report.states, report.transitions, report.depth);
    [states.to_string(), transitions.to_string(), depth.to_string(), seconds, ended.to_owned()]
}

/// The last search of a page's machine line, and a new such line.
#[must_use]
pub fn resume(machine: &str) -> &str {
    machine.rsplit_once("last: ").map_or("", |(_, last)| last.trim_end_matches('.'))
}

/// This machine, and where a run has stopped.
#[must_use]
pub fn machine(threads: usize, last: &str) -> String {
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(std::env::consts::ARCH, |(_, name)| name).to_owned();
    format!("{threads} threads of {model}; last: {last}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_deeper_search_raises_a_bound_that_exists() {
        for (name, raised) in DEEPER {
            let deeper = bounds(name, raised).expect("a configuration and a bound");
            let plain = Bounds::named(name).expect("just found");
            assert_ne!(deeper, Bounds { states: None, witnesses: &[], ..plain }, "{name} {raised}");
        }
    }

    #[test]
    fn a_run_without_time_begins_with_the_next_and_says_that_it_was_not_complete() {
        let mut begun = Vec::new();
        let told = |name: &str, report: &Report| begun.push((name.to_owned(), report.exhaustive));
        let (holds, last) = run("joint terms=3", Duration::from_millis(40), 1, told).expect("they exist");
        assert!(holds);
        assert_eq!(begun.first(), Some(&("unreachable unreachable=2".to_owned(), false)));
        assert_eq!(last, begun.last().expect("one was begun").0);
        assert_eq!(resume(&machine(2, &last)), last);
    }

    #[test]
    fn a_page_keeps_what_was_shown_of_steps() {
        let shown: step::Shown =
            step::STEPS.iter().map(|step| (step.title(), ["dies", "survives"].map(str::to_owned))).collect();
        assert_eq!(step::shown(&page(&BTreeMap::new(), "", &shown)), shown);
    }

    #[test]
    fn a_page_keeps_what_was_found() {
        let cells = ["1", "2", "3", "4", "complete"].map(str::to_owned);
        let kept = BTreeMap::from([("pair terms=4".to_owned(), cells)]);
        let written = page(&kept, "two threads", &step::Shown::new());
        assert_eq!(found(&written), (kept, "two threads".to_owned()));
    }
}
