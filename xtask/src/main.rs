//! Chores of the project, in Rust so that they run the same everywhere: `cargo xtask verify` (never
//! writes, what CI calls), `cargo xtask fix` (writes) and the long runs with a budget. It must hold no
//! logic that ships.

mod architecture;
mod bench;
mod choice;
mod clients;
mod dependency;
mod fuzz;
#[cfg(test)]
mod guides;
mod lines;
mod process;
mod tidy;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

/// Chores of the Ravelin workspace.
#[derive(Parser)]
#[command(name = "xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Runs every check and writes nothing; what CI calls.
    Verify {
        /// Runs only the steps whose name contains this text.
        #[arg(long)]
        only: Option<String>,
    },
    /// Formats the sources and rewrites generated files.
    Fix,
    /// Checks the rules of files, functions and comments, the dependency rule and the map of the code.
    Tidy,
    /// Measures; prints ratios against a peer measured in the same run.
    Bench {
        #[command(subcommand)]
        subject: bench::Subject,
    },
    /// Explores the models over the shipped consensus core within their bounds.
    Model {
        /// Only the configuration of this name.
        #[arg(long, conflicts_with_all = ["hours", "minutes"])]
        only: Option<String>,
        /// Searches with one bound raised for so many hours, going on where the last such run stopped; what was found is
        /// written into the page about the model.
        #[arg(long, conflicts_with = "minutes")]
        hours: Option<f64>,
        /// The same for so many minutes.
        #[arg(long)]
        minutes: Option<f64>,
    },
    /// Opens stateright's explorer on a configuration of the model: every state and what may happen next, in a browser.
    Explore {
        /// Its name.
        configuration: String,
        /// Where to serve it; port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:3000")]
        address: String,
    },
    /// Builds the mutated copy of the sources and shows that every mutant is caught.
    Mutants {
        /// Only the mutant with this id.
        #[arg(long)]
        only: Option<String>,
        /// Asks every layer which mutants it catches, and writes the page about it; with --only, one mutant and its probe.
        #[arg(long)]
        write: bool,
        /// Instead, changes line by line what cargo-mutants knows to change in quorum, log and configuration of the core,
        /// and fails if a change is noticed by no test and proved harmless nowhere. Needs cargo-mutants.
        #[arg(long, conflicts_with_all = ["only", "write"])]
        lines: bool,
        /// Instead, shows for each configuration of the model, or the one of --only, that a mutant survives with one of its
        /// bounds a step lower, and takes that into the page about the model.
        #[arg(long, conflicts_with_all = ["write", "lines"])]
        steps: bool,
    },
    /// Puts one mutant into a copy of the sources and shows it die, with a script that leads there.
    Mutant {
        /// Its id.
        id: String,
        /// Goes through the script step by step, the next one at each line of input.
        #[arg(long)]
        step: bool,
    },
    /// Runs the deterministic simulation: a range of seeds, one seed, one script, or the core alone.
    Sim {
        /// How many seeds.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        seeds: Option<u64>,
        /// The first seed.
        #[arg(long)]
        from: Option<u64>,
        /// Only this seed; if it fails it is shrunk to the smallest script that fails.
        #[arg(long, conflicts_with_all = ["seeds", "from"])]
        seed: Option<u64>,
        /// Only the run that this file states.
        #[arg(long, conflicts_with_all = ["seeds", "from", "seed"])]
        script: Option<PathBuf>,
        /// Prints a line for each event of a seed or script.
        #[arg(long)]
        trace: bool,
        /// Runs clusters of cores without anything around them, and measures how fast.
        #[arg(long, conflicts_with_all = ["seed", "script"])]
        core: bool,
    },
    /// Runs every fuzz target for a time; needs a nightly toolchain and a C++ compiler. Ends with 0 if nothing crashed,
    /// with 1 if something did, with 2 if it could not be run.
    Fuzz {
        /// Hours that the whole campaign takes.
        #[arg(long, default_value_t = 0.05)]
        hours: f64,
        /// Targets at a time; one for each core unless said otherwise.
        #[arg(long)]
        jobs: Option<usize>,
        /// Only the target with this name.
        #[arg(long)]
        only: Option<String>,
    },
}

fn main() -> anyhow::Result<()> {
    run(&workspace_root(), Arguments::parse().chore)
}

/// Runs a program of `model-check`, quickly; in a test as `cargo test` has built it.
fn model_check(root: &Path, program: &str, words: &[String]) -> anyhow::Result<()> {
    let profile = if cfg!(test) { "dev" } else { "quick" };
    process::cargo(
        root,
        &format!("run -q --profile {profile} -p ravelin-model-check --bin {program} --"),
        words,
    )
}

fn run(root: &Path, chore: Chore) -> anyhow::Result<()> {
    match chore {
        Chore::Verify { only } => verify::verify(root, only.as_deref()),
        Chore::Fix => verify::fix(root),
        Chore::Tidy => verify::tidy(root),
        Chore::Bench { subject } => bench::run(root, &subject),
        Chore::Model { only, hours, minutes } => {
            let seconds = hours.map(|hours| hours * 3600.0).or(minutes.map(|minutes| minutes * 60.0));
            let words = match seconds {
                Some(seconds) => vec!["deep".to_owned(), (seconds.clamp(1.0, 3.6e8) as u64).to_string()],
                None => ["check".to_owned()].into_iter().chain(only).collect(),
            };
            model_check(root, "model", &words)
        }
        Chore::Explore { configuration, address } => {
            model_check(root, "model", &["explore".to_owned(), configuration, address])
        }
        Chore::Mutants { lines: true, .. } => lines::run(root),
        Chore::Mutants { only, write, steps, lines: false } => {
            let mode = if steps { Some("--steps") } else { write.then_some("--write") };
            let words: Vec<String> = mode.map(str::to_owned).into_iter().chain(only).collect();
            model_check(root, "mutants", &words)
        }
        Chore::Mutant { id, step } => {
            let words = ["--show".to_owned(), id].into_iter().chain(step.then(|| "--step".to_owned()));
            model_check(root, "mutants", &words.collect::<Vec<_>>())
        }
        Chore::Sim { seeds, from, seed, script, trace, core } => {
            let mut words = Vec::new();
            for (name, number) in [("--seeds", seeds), ("--from", from), ("--seed", seed)] {
                words.extend(number.iter().flat_map(|number| [name.to_owned(), number.to_string()]));
            }
            words.extend(script.iter().flat_map(|path| ["--script".to_owned(), path.display().to_string()]));
            words.extend(trace.then(|| "--trace".to_owned()));
            words.extend(core.then(|| "--core".to_owned()));
            model_check(root, "sim", &words)
        }
        Chore::Fuzz { hours, jobs, only } => {
            let seconds = (hours.clamp(0.0, 100_000.0) * 3600.0) as u64;
            std::process::exit(fuzz::run(root, &fuzz::Options { seconds, jobs, only }))
        }
    }
}

/// The folder of the workspace: the parent of this crate's.
fn workspace_root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), Path::to_path_buf)
}
