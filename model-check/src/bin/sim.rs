//! Runs seeds of the whole-cluster simulation: `sim --seeds N [--from SEED]`. The last line holds the figures; a failing
//! seed prints its trail and the one command that replays it. With one seed it prints that run's own counts.

use std::process::ExitCode;
use std::time::Instant;

use ravelin_model_check::sim::{self, Report};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let at = words.iter().position(|word| word == name);
        at.and_then(|at| words.get(at + 1)).and_then(|word| word.parse().ok()).unwrap_or(default)
    };
    let (from, seeds) = (number("--from", 0), number("--seeds", 100));
    match campaign(from, seeds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            println!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all seeds on two threads, each result counted in the order of the seeds.
fn campaign(from: u64, seeds: u64) -> Result<(), String> {
    let begun = Instant::now();
    let halves: Vec<_> = (0..2)
        .map(|half| {
            std::thread::spawn(move || {
                (from + half..from + seeds).step_by(2).map(|seed| (seed, sim::run(seed))).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut results = Vec::new();
    for half in halves {
        results.extend(half.join().map_err(|_| "a run panicked; see above for the seed".to_owned())?);
    }
    results.sort_by_key(|(seed, _)| *seed);
    let mut total = Report::default();
    let mut failures = Vec::new();
    for (_, result) in results {
        match result {
            Ok(report) => total.add(&report),
            Err(failure) => failures.push(failure),
        }
    }
    if let Some(first) = failures.first() {
        let also: Vec<String> =
            failures.iter().map(|failure| format!("{}: {}", failure.seed, failure.what)).collect();
        return Err(format!("{}\n{first}\n{} of {seeds} seeds failed", also.join("\n"), failures.len()));
    }
    let unreached = total.unreached();
    if seeds >= 50 && !unreached.is_empty() {
        return Err(format!("no seed reached: {}", unreached.join(", ")));
    }
    println!("seeds {from}..{} in {:.1} s: {total}", from + seeds, begun.elapsed().as_secs_f64());
    Ok(())
}
