//! What a configuration of the model bounds, and the configurations that are checked.

use std::fmt;

use crate::raft::property::Mark;

/// How a node's writes reach its disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Disk {
    /// Within the step that asked for them.
    AtOnce,
    /// One by one, as actions of their own; a crash loses those that did not.
    Separate,
}

/// The bounds of one exhaustive search.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bounds {
    /// Name of the configuration.
    pub name: &'static str,
    /// Voters.
    pub nodes: u8,
    /// Highest term that a campaign may reach.
    pub terms: u64,
    /// Commands proposed in the whole run; each leader's own empty entry comes on top.
    pub proposals: u8,
    /// Reads asked in the whole run.
    pub reads: u8,
    /// Messages in flight at a time; when more are sent, every choice of which are lost is explored.
    pub inflight: usize,
    /// Whether a delivered message may stay in flight, to be delivered again.
    pub duplicate: bool,
    /// Crashes in the whole run, each followed by a restart from what the disk holds.
    pub crashes: u8,
    /// How writes become durable.
    pub disk: Disk,
    /// Snapshots taken in the whole run.
    pub snapshots: u8,
    /// Whether candidates ask around first.
    pub pre_vote: bool,
    /// Whether leaders check their quorum.
    pub check_quorum: bool,
    /// States, up to symmetry, that the search must find: exactly these.
    pub states: Option<usize>,
    /// Rare things that must have happened somewhere, else the bounds show nothing about them.
    pub witnesses: &'static [Mark],
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bounds { name, nodes, terms, inflight, .. } = self;
        write!(f, "{name} ({nodes} nodes, {terms} terms, {inflight} in flight")?;
        let counts = [
            (self.proposals, "proposals"),
            (self.reads, "reads"),
            (self.crashes, "crashes"),
            (self.snapshots, "snapshots"),
        ];
        for (count, of) in counts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {of}")?;
        }
        let switches = [
            (self.duplicate, "duplication"),
            (self.disk == Disk::Separate, "separate writes"),
            (self.pre_vote, "pre-vote"),
            (self.check_quorum, "check-quorum"),
        ];
        for (_, name) in switches.into_iter().filter(|(on, _)| *on) {
            write!(f, ", {name}")?;
        }
        f.write_str(")")
    }
}

const PLAIN: Bounds = Bounds {
    name: "",
    nodes: 3,
    terms: 3,
    proposals: 0,
    reads: 0,
    inflight: 1,
    duplicate: false,
    crashes: 0,
    disk: Disk::AtOnce,
    snapshots: 0,
    pre_vote: false,
    check_quorum: false,
    states: None,
    witnesses: &[],
};

/// Every configuration that is checked on each change.
pub const CONFIGURATIONS: &[Bounds] = &[
    Bounds {
        name: "elections",
        terms: 3,
        inflight: 2,
        witnesses: &[Mark::TwoLeaders, Mark::Deposed],
        ..PLAIN
    },
    Bounds { name: "replication", terms: 4, inflight: 1, witnesses: &[Mark::Figure8], ..PLAIN },
    Bounds {
        name: "crash",
        terms: 2,
        inflight: 1,
        crashes: 1,
        disk: Disk::Separate,
        witnesses: &[Mark::LostWrite],
        ..PLAIN
    },
];
