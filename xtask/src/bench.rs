//! Starts the benchmarks of the `bench/` crate with the profile that ships. It must not judge their
//! figures: no performance figure gates CI.

use std::path::Path;

use super::process;

/// What to measure.
#[derive(clap::Subcommand)]
pub(crate) enum Subject {
    /// Ravelin, a bare hyper with the same pool (the floor) and nginx, doing the same work.
    Proxy {
        /// Alternated rounds; the median and the spread are printed.
        #[arg(long, default_value_t = 7)]
        rounds: u32,
    },
    /// CPU, bytes and time until served for one route changed among 1k, 10k and 100k.
    Change,
    /// Start to first routed request, and a changed file until it is served, beside their limits.
    Start {
        /// Rounds of the lone process; the median and the spread are printed.
        #[arg(long, default_value_t = 11)]
        rounds: u32,
    },
}

/// Runs one benchmark, output shown.
pub(crate) fn run(root: &Path, subject: &Subject) -> anyhow::Result<()> {
    process::cargo(root, "build --release --bin ravelin", &[])?;
    let line = "run --quiet --release -p ravelin-bench --";
    match subject {
        Subject::Proxy { rounds } => {
            let more = ["proxy".to_owned(), "--rounds".to_owned(), rounds.to_string()];
            process::cargo(root, line, &more)
        }
        Subject::Change => process::cargo(root, line, &["change".to_owned()]),
        Subject::Start { rounds } => {
            process::cargo(root, line, &["start".to_owned(), "--rounds".to_owned(), rounds.to_string()])
        }
    }
}
