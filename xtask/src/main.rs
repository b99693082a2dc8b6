//! Chores of the project, in Rust so that they run the same everywhere: `cargo xtask verify` (never
//! writes, what CI calls), `cargo xtask fix` (writes) and the long runs with a budget. It must hold no
//! logic that ships.

mod architecture;
mod bench;
mod dependency;
mod fuzz;
mod process;
mod tidy;
mod verify;

use std::path::PathBuf;

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
        /// Only the configurations whose name contains this text.
        #[arg(long)]
        only: Option<String>,
    },
    /// Builds the mutated copy of the sources and shows that every mutant is caught.
    Mutants {
        /// Only the mutant with this id.
        #[arg(long)]
        only: Option<String>,
    },
    /// Runs the deterministic simulation: a range of seeds, one seed, one script, or the core alone.
    Sim {
        /// How many seeds.
        #[arg(long)]
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
    let root = workspace_root();
    match Arguments::parse().chore {
        Chore::Verify { only } => verify::verify(&root, only.as_deref()),
        Chore::Fix => verify::fix(&root),
        Chore::Tidy => verify::tidy(&root),
        Chore::Bench { subject } => bench::run(&root, &subject),
        Chore::Model { only } => {
            let filter: Vec<String> = only.into_iter().collect();
            process::cargo(
                &root,
                "run -q --profile quick -p ravelin-model-check --bin model -- check",
                &filter,
            )
        }
        Chore::Mutants { only } => {
            let filter: Vec<String> = only.into_iter().collect();
            process::cargo(&root, "run -q --profile quick -p ravelin-model-check --bin mutants --", &filter)
        }
        Chore::Sim { seeds, from, seed, script, trace, core } => {
            let mut words = Vec::new();
            for (name, number) in [("--seeds", seeds), ("--from", from), ("--seed", seed)] {
                words.extend(number.iter().flat_map(|number| [name.to_owned(), number.to_string()]));
            }
            words.extend(script.iter().flat_map(|path| ["--script".to_owned(), path.display().to_string()]));
            words.extend(trace.then(|| "--trace".to_owned()));
            words.extend(core.then(|| "--core".to_owned()));
            process::cargo(&root, "run -q --profile quick -p ravelin-model-check --bin sim --", &words)
        }
        Chore::Fuzz { hours, jobs, only } => {
            let seconds = (hours.clamp(0.0, 100_000.0) * 3600.0) as u64;
            std::process::exit(fuzz::run(&root, &fuzz::Options { seconds, jobs, only }))
        }
    }
}

/// The folder of the workspace: the parent of this crate's.
fn workspace_root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), std::path::Path::to_path_buf)
}
