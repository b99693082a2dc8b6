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
    /// Runs the deterministic simulation over a range of seeds.
    Sim {
        /// How many seeds.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Runs every fuzz target for a time; needs a nightly toolchain and a C++ compiler.
    Fuzz {
        /// Seconds for each target beyond its corpus.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
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
        Chore::Sim { seeds, from } => {
            let range = ["--seeds".to_owned(), seeds.to_string(), "--from".to_owned(), from.to_string()];
            process::cargo(&root, "run -q --profile quick -p ravelin-model-check --bin sim --", &range)
        }
        Chore::Fuzz { seconds, only } => fuzz::run(&root, seconds, only.as_deref()),
    }
}

/// The folder of the workspace: the parent of this crate's.
fn workspace_root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), std::path::Path::to_path_buf)
}
