//! Benchmarks against a peer or a limit, measured in one run: `proxy` (Ravelin, a bare hyper as the
//! floor, nginx), `change` (cost of one changed route among many) and `start` (what a person waits for). They
//! print figures and ratios and judge nothing; no figure gates CI.

mod backend;
mod change;
mod counts;
mod floor;
mod load;
mod peer;
mod proxy;
mod same_work;
mod scale;
mod start;
mod stats;

use std::net::SocketAddr;

use clap::{Parser, Subcommand};

/// The floor is to differ from Ravelin in its own work alone.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Ravelin's benchmarks.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Requests through one worker: CPU, instructions, system calls, allocations, latency, memory, ratios.
    Proxy {
        /// Alternated rounds; 0: only the counts per request.
        #[arg(long, default_value_t = 7)]
        rounds: u32,
        /// Requests in a round.
        #[arg(long, default_value_t = 60_000)]
        requests: u64,
    },
    /// What three middlewares, metrics and the access log cost a request: as `proxy`, with each left out.
    Features {
        /// Alternated rounds; 0: only the counts per request.
        #[arg(long, default_value_t = 7)]
        rounds: u32,
        /// Requests in a round.
        #[arg(long, default_value_t = 60_000)]
        requests: u64,
    },
    /// One route changed by `apply` among 1k, 10k and 100k.
    Change {
        /// Already in a network namespace of its own.
        #[arg(long, hide = true)]
        alone: bool,
    },
    /// A lone process and the demo from their start to the first routed request; a changed file until it is served.
    Start {
        /// Rounds of the lone process.
        #[arg(long, default_value_t = 11)]
        rounds: usize,
    },
    /// 10,000 and 100,000 hosts in one file: served, changed, changed under load, memory; changed by `apply`.
    Scale,
    /// The backend of `proxy` (a process of its own).
    #[command(hide = true)]
    Backend { listen: SocketAddr },
    /// The floor of `proxy` (a process of its own): bare hyper, own pool, a host map, the same fields, a log.
    #[command(hide = true)]
    Floor { listen: SocketAddr, upstream: SocketAddr, log: std::path::PathBuf },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Proxy { rounds, requests } => proxy::run(rounds, requests),
        What::Features { rounds, requests } => proxy::features(rounds, requests),
        What::Change { alone } => change::run(alone),
        What::Start { rounds } => start::run(rounds),
        What::Scale => scale::run(),
        What::Backend { listen } => backend::run(listen),
        What::Floor { listen, upstream, log } => floor::run(listen, upstream, &log),
    }
}
