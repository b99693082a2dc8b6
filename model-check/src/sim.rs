//! Whole-cluster simulation of the shipped [`ravelin_cluster::node::Node`]: control nodes with their write-ahead logs on
//! simulated disks, a lossy network in virtual time, proxies that follow the feed, clients that ask for changes. One seed
//! decides everything: the same seed gives the same run, bit for bit, in any process.
//!
//! A seed draws a [`Script`]: the numbers of the run and a list of faults, each with its time. A run has two phases. First
//! these faults: loss, duplication, reordering, cuts of every shape, clogs, silent lanes, power loss of one and of all
//! with lost and torn writes, kills, failing syncs and writes, full and slow disks, flipped bits, misdirected writes,
//! wiped disks, pauses, clocks that jump and drift; meanwhile operators hand leadership over and change the members. After
//! each event the invariant catalogue is checked. Then faults stop, or all nodes but one are lost and that one is recovered,
//! and everything must come together within a stated time: one leader, equal states, every proxy on the newest
//! generation, every promise to a client kept.
//!
//! A script that fails [shrinks](shrink::shrink) to the smallest one that fails the same way. Nothing that is checked is
//! implemented here.

mod client;
mod clock;
mod draw;
mod fault;
mod link;
mod oracle;
mod plan;
mod proxy;
mod register;
mod report;
mod script;
pub mod shrink;
mod station;
mod world;

use std::fmt;

pub use report::{Mark, Report};
pub use script::{Script, ScriptError};
use world::World;

/// Takes a line for each event of a run.
pub type Trace = Box<dyn FnMut(&str)>;

/// A run that broke a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed that shows it.
    pub seed: u64,
    /// Virtual microseconds since the start.
    pub at_micros: u64,
    /// What was broken.
    pub what: String,
    /// Digest of everything that happened up to there.
    pub digest: u64,
    /// The last things that happened, oldest first.
    pub trail: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trail {
            writeln!(f, "  {line}")?;
        }
        let Self { seed, at_micros, what, digest, .. } = self;
        writeln!(f, "seed {seed} at {at_micros} µs: {what}, digest {digest:016x}")?;
        write!(f, "replay: cargo xtask sim --seed {seed} --trace")
    }
}

impl std::error::Error for Failure {}

/// Runs one seed to its end.
///
/// # Errors
/// An invariant, a promise to a client or the coming together at the end did not hold.
pub fn run(seed: u64) -> Result<Report, Box<Failure>> {
    Script::of_seed(seed).run(None)
}

impl Script {
    /// Runs it to its end; `trace` gets a line for each event that a node takes.
    ///
    /// # Errors
    /// An invariant, a promise to a client or the coming together at the end did not hold.
    pub fn run(&self, trace: Option<Trace>) -> Result<Report, Box<Failure>> {
        World::new(self, trace).run()
    }
}
