//! Runs the configurations of the Raft model and prints what each found.
//!
//! `model check [NAME…]`: the configurations that every change must pass. `model probe NAME…`: the same breadth-first,
//! until something breaks; `model harm NAME…`: the same, watching only what nodes have done to each other. `model reach NAME…`: whether all rare
//! things were seen. `model explore key=value…`: bounds by hand, `threads=N` among them.

use std::process::ExitCode;

use ravelin_model_check::raft::{self, Bounds, Order, Report, Watch};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) =
        arguments.split_first().map_or(("check", &[][..]), |(first, rest)| (first.as_str(), rest));
    let outcome = match command {
        "check" => named(rest, Order::DepthFirst, Watch::Everything),
        "probe" => named(rest, Order::BreadthFirst, Watch::Everything),
        "reach" => reach(rest),
        "harm" => named(rest, Order::BreadthFirst, Watch::Harm),
        "explore" => explore(rest),
        other => Err(format!("unknown command {other}: check, probe, harm, reach or explore")),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn print(report: &Report) -> bool {
    println!("{report}");
    report.holds()
}

fn named(names: &[String], order: Order, watch: Watch) -> Result<bool, String> {
    let find = |name: &String| Bounds::named(name).ok_or_else(|| format!("there is no configuration {name}"));
    let chosen = match names {
        [] => raft::CONFIGURATIONS.to_vec(),
        names => names.iter().map(find).collect::<Result<_, _>>()?,
    };
    let mut holds = true;
    let (count, mut states, mut exhaustive) = (chosen.len(), 0, true);
    for bounds in chosen {
        let report = raft::check(bounds, order, watch, 2);
        let complete = print(&report);
        states += report.states;
        exhaustive &= report.exhaustive;
        // A probe asks only whether something breaks: a slip may well change the size of the search.
        holds &= if order == Order::DepthFirst { complete } else { report.is_unbroken() };
    }
    let how = match (holds, exhaustive) {
        (false, _) => "broken",
        (true, true) => "exhaustive",
        (true, false) => "not exhaustive",
    };
    println!("model: {count} configurations, {states} unique states, {how}");
    Ok(holds)
}

/// Complete searches that ask only whether everything that should be possible was seen.
fn reach(names: &[String]) -> Result<bool, String> {
    let mut whole = true;
    for name in names {
        let bounds = Bounds::named(name).ok_or_else(|| format!("there is no configuration {name}"))?;
        let report = raft::check(bounds, Order::DepthFirst, Watch::Harm, 2);
        println!("{report}");
        for unseen in &report.unseen {
            println!("BROKEN: never seen: {unseen}");
        }
        whole &= report.is_unbroken() && report.unseen.is_empty();
    }
    Ok(whole)
}

fn explore(settings: &[String]) -> Result<bool, String> {
    let mut bounds = Bounds::default();
    let mut threads = 1;
    for setting in settings {
        match setting.strip_prefix("threads=") {
            Some(count) => threads = count.parse().map_err(|_| "threads must be a number".to_owned())?,
            None => bounds.set(setting)?,
        }
    }
    Ok(print(&raft::check(bounds, Order::DepthFirst, Watch::Everything, threads)))
}
