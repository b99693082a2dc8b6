//! Runs seeds of the whole-cluster simulation: `sim --seeds N [--from SEED] [--probe]`. The last line holds the figures; a
//! failing seed prints its trail, the one command that replays it, and the smallest script that fails the same way.
//!
//! `sim --seed S [--trace]` runs one seed and prints its digest, with a line for each event; `sim --script FILE [--trace]`
//! runs a script; with `--step` each line of the trace waits for a line of input. `sim --core [--seeds N]` runs clusters of cores with nothing around them and measures how fast: on one
//! core, once as they are and once with the catalogue checked after each event. `--probe` ends with the first seed that fails and asks nothing of the others: for mutants.
//!
//! `sim storage-scripts`: the committed golden scripts of log and snapshots, on the simulated disk. `sim storage-script FILE
//! [--step]`: one, whatever it answers, with `--step` stanza by stanza, each at a line of input.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use ravelin_model_check::cores::timed;
use ravelin_model_check::golden::Language;
use ravelin_model_check::sim::{Report, Script, Trace, shrink};

/// From so many seeds on, a campaign must reach every mark.
const SEEDS_FOR_ALL_MARKS: u64 = 1_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(outcome) = storage(&words) {
        return match outcome {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(problem) => {
                eprintln!("{problem}");
                ExitCode::from(2)
            }
        };
    }
    let has = |name: &str| words.iter().any(|word| word == name);
    let text = |name: &str| {
        let at = words.iter().position(|word| word == name);
        at.and_then(|at| words.get(at + 1))
    };
    let trace = || {
        let step = has("--step");
        has("--trace").then(|| Box::new(move |line: &str| shown(line, step)) as Trace)
    };
    let number = |name: &str| text(name).and_then(|word| word.parse().ok());
    let outcome = match (number("--seed"), text("--script")) {
        _ if let Some(problem) = chooses_nothing(&words) => Err(problem),
        _ if has("--core") => cores_alone(number("--from").unwrap_or(0), number("--seeds").unwrap_or(20)),
        (Some(seed), _) => one(Script::of_seed(seed), trace(), !has("--probe")),
        (None, Some(path)) => read(path).and_then(|script| one(script, trace(), !has("--probe"))),
        (None, None) => {
            campaign(number("--from").unwrap_or(0), number("--seeds").unwrap_or(100), has("--probe"))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            println!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// Why these words would run nothing, or something else than they say: then nothing is run, as it would end as if all were well.
fn chooses_nothing(words: &[String]) -> Option<String> {
    for (place, name) in words.iter().enumerate() {
        let word = words.get(place + 1).map_or("", String::as_str);
        let number = word.parse::<u64>();
        let problem = match name.as_str() {
            "--seeds" if number == Ok(0) => "no seeds are none to run",
            "--seeds" | "--seed" | "--from" if number.is_err() => "a number is due",
            "--script" if word.is_empty() => "a file is due",
            _ => continue,
        };
        return Some(format!("{name} {word}: {problem}"));
    }
    None
}

/// The golden scripts of log and snapshots, if they are asked for.
fn storage(words: &[String]) -> Option<Result<bool, String>> {
    match words {
        [command] if command == "storage-scripts" => Some(Language::Storage.tell()),
        [command, file, rest @ ..] if command == "storage-script" => {
            Some(Language::Storage.show(Path::new(file), rest.iter().any(|word| word == "--step")))
        }
        _ => None,
    }
}

/// Inputs of each run of the core alone.
const CORE_EVENTS: u64 = 100_000;
/// How many of them a core of the machine must take in a second.
const CORE_EVENTS_PER_SECOND: f64 = 300_000.0;

/// Simulates the core alone, and measures how fast that goes.
fn cores_alone(from: u64, seeds: u64) -> Result<(), String> {
    let campaign = |judged| -> Result<(u64, f64), String> {
        let begun = Instant::now();
        let mut events = 0;
        for seed in from..from + seeds {
            let counts = timed::run(seed, CORE_EVENTS, judged);
            events +=
                counts.map_err(|broken| format!("BROKEN: seed {seed} of the core alone: {broken}"))?.events;
        }
        Ok((events, events as f64 / begun.elapsed().as_secs_f64()))
    };
    let (_, judged) = campaign(true)?;
    let (events, alone) = campaign(false)?;
    println!("{judged:.0} events per second on one core with the catalogue checked after each");
    let ratio = alone / CORE_EVENTS_PER_SECOND;
    println!("{alone:.0} without: {ratio:.1} times the {CORE_EVENTS_PER_SECOND:.0} that are asked for");
    println!("sim: {seeds} seeds, {events} events, 0 failures");
    if ratio < 1.0 { Err("slower than it must be".to_owned()) } else { Ok(()) }
}

fn read(path: &str) -> Result<Script, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    Script::parse(&text).map_err(|error| format!("{path}: {error}"))
}

/// A run that failed: in one line, when, and with its trail.
struct Failed {
    what: String,
    at_micros: u64,
    whole: String,
}

/// One run; a panic in the system under test is a failure like any other.
fn run(script: &Script, trace: Option<Trace>) -> Result<Report, Failed> {
    let seed = script.seed();
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| script.run(trace))) {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(failure)) => Err(Failed {
            what: failure.what.clone(),
            at_micros: failure.at_micros,
            whole: failure.to_string(),
        }),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let what = format!("a panic: {}", said.unwrap_or_default());
            let whole = format!("seed {seed}: {what}\nreplay: cargo xtask sim --seed {seed} --trace");
            Err(Failed { what, at_micros: u64::MAX, whole })
        }
    }
}

/// A line of a trace, and with `step` a line of input before it goes on.
fn shown(line: &str, step: bool) {
    println!("{line}");
    if step {
        // At the end of the input it just goes on.
        let _ = std::io::stdin().read_line(&mut String::new());
    }
}

/// Runs one script, and shrinks it if it fails.
fn one(script: Script, trace: Option<Trace>, shrinks: bool) -> Result<(), String> {
    match run(&script, trace) {
        Ok(report) => {
            println!("{report}");
            println!("sim: seed {}, digest {:016x}", script.seed(), report.digest);
            Ok(())
        }
        Err(failed) if shrinks => Err(format!("{}\n{}", failed.whole, smallest(script, failed.what))),
        Err(failed) => Err(failed.whole),
    }
}

/// The smallest script that fails the same way, ready to be committed.
fn smallest(script: Script, what: String) -> String {
    let before = script.faults();
    // What panics here is being looked for; its words are kept in the failure.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let fails = |script: &Script| run(script, None).err().map(|failed| (failed.what, failed.at_micros));
    let mut shrunk = shrink::shrink(script, what, fails);
    std::panic::set_hook(hook);
    shrunk.script.title = vec![shrunk.what];
    let (runs, after) = (shrunk.runs, shrunk.script.faults());
    format!(
        "shrunk from {before} faults to {after} in {runs} runs; once it is mended, keep this as a file of \
         model-check/tests/sim_scripts:\n{}",
        shrunk.script
    )
}

/// Runs all seeds on every core, each result counted in the order of the seeds.
fn campaign(from: u64, seeds: u64, probe: bool) -> Result<(), String> {
    let begun = Instant::now();
    let (broken, next) = (AtomicBool::new(false), AtomicU64::new(from));
    let some = || {
        let mut results = Vec::new();
        while !(probe && broken.load(Ordering::Relaxed)) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + seeds {
                break;
            }
            let result = run(&Script::of_seed(seed), None);
            broken.fetch_or(result.is_err(), Ordering::Relaxed);
            results.push((seed, result));
        }
        results
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut results: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    results.sort_by_key(|(seed, _)| *seed);
    let runs = results.len();
    let mut total = Report::default();
    let mut failures = Vec::new();
    for (seed, result) in results {
        match result {
            Ok(report) => total.add(&report),
            Err(failure) => failures.push((seed, failure)),
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    if !failures.is_empty() {
        return Err(told(failures, runs, total.events, probe));
    }
    let unreached = total.unreached();
    if !probe && seeds >= SEEDS_FOR_ALL_MARKS && !unreached.is_empty() {
        return Err(format!("{total}\nno seed reached: {}", unreached.join(", ")));
    }
    let rate = total.events as f64 / seconds / threads as f64;
    println!("seeds {from}..{} in {seconds:.1} s: {total}", from + seeds);
    println!("{rate:.0} events per second and core, with the catalogue checked after each");
    println!("sim: {runs} seeds, {} events, 0 failures", total.events);
    Ok(())
}

/// What failed: each in a line, the first with its trail and shrunk.
fn told(failures: Vec<(u64, Failed)>, runs: usize, events: u64, probe: bool) -> String {
    let line = |(seed, failure): &(u64, Failed)| format!("BROKEN: seed {seed}: {}", failure.what);
    let mut text: Vec<String> = failures.iter().map(line).collect();
    let failed = failures.len();
    if let Some((seed, first)) = failures.into_iter().next() {
        text.push(first.whole);
        if !probe {
            text.push(smallest(Script::of_seed(seed), first.what));
        }
    }
    text.push(format!("sim: {runs} seeds, {events} events, {failed} failures"));
    text.join("\n")
}
