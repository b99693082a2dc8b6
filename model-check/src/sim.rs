//! Whole-cluster simulation of the shipped [`ravelin_cluster::node::Node`]: three control nodes with their write-ahead
//! logs on simulated disks, a lossy network in virtual time, proxies that follow the feed, clients that ask for changes.
//! One seed decides everything: the same seed gives the same run, bit for bit, in any process.
//!
//! A run has two phases. First faults drawn for this seed: loss, duplication, reordering, partitions, crashes with lost
//! and torn writes, pauses. After each event the invariant catalogue is checked. Then faults stop, and everything must
//! come together: one leader, equal states, every proxy on the newest generation, every promise to a client kept.
//!
//! Nothing that is checked is implemented here.

mod client;
mod fault;
mod link;
mod oracle;
mod plan;
mod proxy;
mod station;
mod world;

use std::fmt;

pub use plan::Plan;
use world::World;

/// What a run did: the witness that it was worth something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Events handed to nodes.
    pub events: u64,
    /// Leaders seen.
    pub leaders: u64,
    /// Entries committed.
    pub committed: u64,
    /// Processes crashed with power loss, some in the middle of a write.
    pub crashes: u64,
    /// Writes cut by a crash.
    pub torn: u64,
    /// Processes paused.
    pub pauses: u64,
    /// Partitions made.
    pub partitions: u64,
    /// Frames lost, doubled or set on a detour.
    pub mangled: u64,
    /// Snapshots taken or installed.
    pub snapshots: u64,
    /// Epochs of the controller role.
    pub epochs: u64,
    /// Late writes of an ended epoch that were refused.
    pub stale_refused: u64,
    /// Changes that clients were told are done.
    pub done: u64,
    /// Answers that said that nothing was accepted.
    pub unavailable: u64,
    /// Answers that said that the outcome is unknown.
    pub unknown: u64,
    /// Generations that proxies adopted.
    pub adopted: u64,
    /// Of them, by delta.
    pub deltas: u64,
    /// Digest of the whole run: equal for equal seeds.
    pub digest: u64,
}

impl Report {
    /// Adds another run's counts.
    pub fn add(&mut self, other: &Report) {
        self.events += other.events;
        self.leaders += other.leaders;
        self.committed += other.committed;
        self.crashes += other.crashes;
        self.torn += other.torn;
        self.pauses += other.pauses;
        self.partitions += other.partitions;
        self.mangled += other.mangled;
        self.snapshots += other.snapshots;
        self.epochs += other.epochs;
        self.stale_refused += other.stale_refused;
        self.done += other.done;
        self.unavailable += other.unavailable;
        self.unknown += other.unknown;
        self.adopted += other.adopted;
        self.deltas += other.deltas;
        self.digest = self.digest.rotate_left(7) ^ other.digest;
    }

    /// Rare branches that no seed of a campaign reached, by name.
    pub fn unreached(&self) -> Vec<&'static str> {
        let marks = [
            ("a leader elected", self.leaders),
            ("a crash", self.crashes),
            ("a write cut by a crash", self.torn),
            ("a pause", self.pauses),
            ("a partition", self.partitions),
            ("a mangled frame", self.mangled),
            ("a snapshot", self.snapshots),
            ("a second epoch", self.epochs.saturating_sub(1)),
            ("a late write refused", self.stale_refused),
            ("a change done", self.done),
            ("an answer that nothing was accepted", self.unavailable),
            ("an unknown outcome", self.unknown),
            ("a generation adopted", self.adopted),
            ("a delta adopted", self.deltas),
        ];
        marks.into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events, {} leaders, {} committed, {} crashes ({} mid-write), {} pauses, {} partitions, {} frames \
             mangled, {} snapshots, {} epochs, {} late writes refused, {} done, {} unavailable, {} unknown, {} adopted \
             ({} by delta), digest {:016x}",
            self.events,
            self.leaders,
            self.committed,
            self.crashes,
            self.torn,
            self.pauses,
            self.partitions,
            self.mangled,
            self.snapshots,
            self.epochs,
            self.stale_refused,
            self.done,
            self.unavailable,
            self.unknown,
            self.adopted,
            self.deltas,
            self.digest
        )
    }
}

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
