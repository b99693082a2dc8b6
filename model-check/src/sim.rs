//! Whole-cluster simulation of the shipped [`ravelin_cluster::node::Node`]: three control nodes with their write-ahead
//! logs on simulated disks, a lossy network in virtual time, proxies that follow the feed, clients that ask for changes.
//! One seed decides everything: the same seed gives the same run, bit for bit, in any process.
//!
//! A run has two phases. First faults drawn for this seed: loss, duplication, reordering, partitions, silent lanes, power
//! loss of one and of all with lost and torn writes, kills, failing syncs, full disks, pauses. After each event the invariant catalogue is checked. Then faults stop, and everything must
//! come together: one leader, equal states, every proxy on the newest generation, every promise to a client kept.
//!
//! Nothing that is checked is implemented here.

mod client;
mod fault;
mod link;
mod oracle;
mod plan;
mod proxy;
mod report;
mod station;
mod world;

use std::fmt;

pub use plan::Plan;
pub use report::{Mark, Report};
use world::World;

/// A run that broke a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed that shows it.
    pub seed: u64,
    /// Virtual microseconds since the start.
    pub at_micros: u64,
    /// What was broken.
    pub what: String,
    /// The last things that happened, oldest first.
    pub trail: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trail {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "seed {} at {} µs: {}", self.seed, self.at_micros, self.what)?;
        write!(f, "replay: cargo xtask sim --from {} --seeds 1", self.seed)
    }
}

impl std::error::Error for Failure {}

/// Runs one seed to its end.
///
/// # Errors
/// An invariant, a promise to a client or the coming together at the end did not hold.
pub fn run(seed: u64) -> Result<Report, Box<Failure>> {
    World::new(Plan::of(seed)).run()
}
