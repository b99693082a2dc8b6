//! Runs seeds of the whole-cluster simulation: `sim --seeds N [--from SEED] [--probe]`. The last line holds the figures; a
//! failing seed prints its trail and the one command that replays it. With one seed it prints that run's own counts.
//! `--probe` ends with the first seed that fails and asks nothing of the others: for mutants.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ravelin_model_check::sim::{self, Report};

/// From so many seeds on, a campaign must reach every mark.
const SEEDS_FOR_ALL_MARKS: u64 = 300;
/// Runs at a time.
const THREADS: u64 = 2;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let at = words.iter().position(|word| word == name);
        at.and_then(|at| words.get(at + 1)).and_then(|word| word.parse().ok()).unwrap_or(default)
    };
    let (from, seeds) = (number("--from", 0), number("--seeds", 100));
    let probe = words.iter().any(|word| word == "--probe");
    match campaign(from, seeds, probe) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            println!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// A run that failed: in one line, and with its trail.
struct Failed {
    seed: u64,
    what: String,
    whole: String,
}

/// One run; a panic in the system under test is a failure like any other.
fn run(seed: u64) -> Result<Report, Failed> {
    match std::panic::catch_unwind(|| sim::run(seed)) {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(failure)) => Err(Failed { seed, what: failure.what.clone(), whole: failure.to_string() }),
        Err(_) => Err(Failed {
            seed,
            what: "a panic".to_owned(),
            whole: format!("seed {seed}: a panic\nreplay: cargo xtask sim --from {seed} --seeds 1"),
        }),
    }
}

/// Runs all seeds on two threads, each result counted in the order of the seeds.
fn campaign(from: u64, seeds: u64, probe: bool) -> Result<(), String> {
    let begun = Instant::now();
    let broken = AtomicBool::new(false);
    let some = |thread: u64| {
        let mine = (from + thread..from + seeds).step_by(THREADS as usize);
        let mut results = Vec::new();
        for seed in mine.take_while(|_| !(probe && broken.load(Ordering::Relaxed))) {
            let result = run(seed);
            broken.fetch_or(result.is_err(), Ordering::Relaxed);
            results.push((seed, result));
        }
        results
    };
    let mut results: Vec<_> = std::thread::scope(|scope| {
        let some = &some;
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || some(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    results.sort_by_key(|(seed, _)| *seed);
    let runs = results.len();
    let mut total = Report::default();
    let mut failures = Vec::new();
    for (_, result) in results {
        match result {
            Ok(report) => total.add(&report),
            Err(failure) => failures.push(failure),
        }
    }
    if let Some(first) = failures.first() {
        let also: Vec<String> = failures
            .iter()
            .map(|failure| format!("BROKEN: seed {}: {}", failure.seed, failure.what))
            .collect();
        let (failed, whole) = (failures.len(), &first.whole);
        let sum = format!("sim: {runs} seeds, {} events, {failed} failures", total.events);
        return Err(format!("{}\n{whole}\n{sum}", also.join("\n")));
    }
    let unreached = total.unreached();
    if seeds >= SEEDS_FOR_ALL_MARKS && !unreached.is_empty() {
        return Err(format!("{total}\nno seed reached: {}", unreached.join(", ")));
    }
    println!("seeds {from}..{} in {:.1} s: {total}", from + seeds, begun.elapsed().as_secs_f64());
    println!("sim: {runs} seeds, {} events, 0 failures", total.events);
    Ok(())
}
