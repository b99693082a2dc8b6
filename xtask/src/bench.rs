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
    /// What three middlewares, metrics and the access log cost a request, each left out in turn.
    Features {
        /// Alternated rounds; the median and the spread are printed.
        #[arg(long, default_value_t = 7)]
        rounds: u32,
    },
    /// CPU, bytes and time until served for one route changed among 1k, 10k and 100k.
    Change,
    /// 10,000 and 100,000 hosts in one file: served, changed, changed under load, memory; changed by `apply`.
    Scale,
    /// The consensus core: what a commit costs beside raft-rs, what clients see beside openraft, what a disk leaves of it.
    Consensus,
    /// Start to first routed request, and a changed file until it is served, beside their limits.
    Start {
        /// Rounds of the lone process; the median and the spread are printed.
        #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
}

/// Runs one benchmark, output shown.
pub(crate) fn run(root: &Path, subject: &Subject) -> anyhow::Result<()> {
    let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let arguments = match subject {
        // Peers of the core are no part of the project: a workspace of their own, with its own lock file.
        Subject::Consensus => {
            return process::cargo(&root.join("bench/consensus"), "run --quiet --locked --release", &[]);
        }
        Subject::Proxy { rounds } => text(&["proxy", "--rounds", &rounds.to_string()]),
        Subject::Features { rounds } => text(&["features", "--rounds", &rounds.to_string()]),
        Subject::Change => text(&["change"]),
        Subject::Scale => text(&["scale"]),
        Subject::Start { rounds } => text(&["start", "--rounds", &rounds.to_string()]),
    };
    process::cargo(root, "build --release --bin ravelin", &[])?;
    process::cargo(root, "run --quiet --release -p ravelin-bench --", &arguments)
}
