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

/// A kind of change of members. Each is asked for in every way that there is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Wanted {
    /// A spare node becomes a voter.
    Add,
    /// A voter goes.
    Remove,
    /// A spare node becomes a voter in place of the leader.
    ReplaceLeader,
}

/// Which invariants a search asks about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Watch {
    /// Those of one core and one step too: a slip is caught where it happens.
    Everything,
    /// Only those that compare nodes, disks and the history of the run: a slip is caught when it does harm.
    Harm,
}

/// The bounds of one exhaustive search.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bounds {
    /// Name of the configuration.
    pub name: &'static str,
    /// Nodes.
    pub nodes: u8,
    /// How many of them are voters from the beginning; the others are spare.
    pub voters: u8,
    /// Changes of members asked for in the whole run.
    pub changes: u8,
    /// Which changes.
    pub wanted: &'static [Wanted],
    /// Highest term that a campaign may reach.
    pub terms: u64,
    /// Commands proposed in the whole run; each leader's own empty entry comes on top.
    pub proposals: u8,
    /// Reads asked in the whole run.
    pub reads: u8,
    /// Whether followers are asked for reads as well. Each asks its leader once: repetition would count rounds without
    /// end.
    pub follower_reads: bool,
    /// Whether leaders hold leases, and how often in the whole run so much time passes that these are over.
    pub lease: Option<u8>,
    /// Whether the commands are those of a client's session, each proposed again at will: the shipped table must let each
    /// take effect once.
    pub sessions: bool,
    /// If not 0, so many clients write and read one register, each call of theirs after the other; what they hear must be
    /// linearizable.
    pub clients: u8,
    /// Survivors that go on alone in a new recovery epoch, in the whole run: 1 at most.
    pub recoveries: u8,
    /// Attempts to hand leadership over, in the whole run.
    pub transfers: u8,
    /// Messages in flight at a time; when more are sent, every choice of which are lost is explored.
    pub inflight: usize,
    /// Entries of one message.
    pub entries: usize,
    /// Deliveries in the whole run after which the message stays in flight, to be delivered again.
    pub duplicates: u8,
    /// Crashes in the whole run, each followed by a restart from what the disk holds.
    pub crashes: u8,
    /// Disks lost in the whole run; each node comes back as another incarnation.
    pub wipes: u8,
    /// How writes become durable.
    pub disk: Disk,
    /// Snapshots taken in the whole run.
    pub snapshots: u8,
    /// Reports to a leader that a peer cannot be reached, in the whole run.
    pub unreachable: u8,
    /// Whether candidates ask around first.
    pub pre_vote: bool,
    /// Whether leaders check their quorum.
    pub check_quorum: bool,
    /// States, up to symmetry, that the search must find: exactly these.
    pub states: Option<usize>,
    /// Rare things that must have happened somewhere, else the bounds show nothing about them.
    pub witnesses: &'static [Mark],
}

impl Bounds {
    /// Sets one bound by name, for searches by hand: `terms=4`, `crashes=1`, `separate=true`.
    ///
    /// # Errors
    /// What is wrong with the setting.
    pub fn set(&mut self, setting: &str) -> Result<(), String> {
        let (key, value) =
            setting.split_once('=').ok_or_else(|| format!("{setting} is not of the form key=value"))?;
        let number = || value.parse::<u8>().map_err(|_| format!("{key} must be a number below 256"));
        let switch = || value.parse::<bool>().map_err(|_| format!("{key} must be true or false"));
        match key {
            "nodes" => {
                self.nodes = number()?.clamp(1, 5);
                self.voters = self.nodes;
            }
            "voters" => self.voters = number()?.clamp(1, self.nodes),
            "changes" => self.changes = number()?,
            "wanted" => {
                self.wanted = match value {
                    "add" => &[Wanted::Add],
                    "add-remove" => &[Wanted::Add, Wanted::Remove],
                    "replace" => &[Wanted::ReplaceLeader],
                    _ => return Err("wanted is add, add-remove or replace".to_owned()),
                }
            }
            "terms" => self.terms = u64::from(number()?.min(12)),
            "proposals" => self.proposals = number()?.min(6),
            "reads" => self.reads = number()?.min(6),
            "follower_reads" => self.follower_reads = switch()?,
            "lease" => self.lease = Some(number()?),
            "transfers" => self.transfers = number()?,
            "sessions" => self.sessions = switch()?,
            "clients" => self.clients = number()?,
            "recoveries" => self.recoveries = number()?.min(1),
            "inflight" => self.inflight = usize::from(number()?.clamp(1, 12)),
            "entries" => self.entries = usize::from(number()?.max(1)),
            "wipes" => self.wipes = number()?,
            "crashes" => self.crashes = number()?,
            "snapshots" => self.snapshots = number()?,
            "unreachable" => self.unreachable = number()?,
            "duplicates" => self.duplicates = number()?,
            "separate" => self.disk = if switch()? { Disk::Separate } else { Disk::AtOnce },
            "pre_vote" => self.pre_vote = switch()?,
            "check_quorum" => self.check_quorum = switch()?,
            _ => return Err(format!("there is no bound {key}")),
        }
        Ok(())
    }

    /// Every setting that lowers one bound by one step, in the form of [`Bounds::set`]. Nodes, voters, clients and the entries of
    /// a message are not among them: they say what is looked at, and fewer entries make more messages.
    #[must_use]
    pub fn lowered(&self) -> Vec<String> {
        let least_one = [("terms", self.terms), ("inflight", self.inflight as u64)];
        let least_none = [
            ("proposals", self.proposals),
            ("reads", self.reads),
            ("changes", self.changes),
            ("transfers", self.transfers),
            ("lease", self.lease.unwrap_or(0)),
            ("recoveries", self.recoveries),
            ("duplicates", self.duplicates),
            ("crashes", self.crashes),
            ("wipes", self.wipes),
            ("snapshots", self.snapshots),
            ("unreachable", self.unreachable),
        ];
        let switches = [
            ("separate", self.disk == Disk::Separate),
            ("pre_vote", self.pre_vote),
            ("check_quorum", self.check_quorum),
        ];
        let one_less = |(key, count): (&str, u64)| format!("{key}={}", count - 1);
        let least_one = least_one.into_iter().filter(|(_, count)| *count > 1).map(one_less);
        let least_none = least_none.into_iter().map(|(key, count)| (key, u64::from(count)));
        let least_none = least_none.filter(|(_, count)| *count > 0).map(one_less);
        let switches = switches.into_iter().filter(|(_, on)| *on).map(|(key, _)| format!("{key}=false"));
        least_one.chain(least_none).chain(switches).collect()
    }

    /// The configuration of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Bounds> {
        CONFIGURATIONS.iter().find(|bounds| bounds.name == name).copied()
    }
}

impl Default for Bounds {
    fn default() -> Self {
        PLAIN
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bounds { name, nodes, voters, terms, inflight, entries, .. } = self;
        let voting = if voters < nodes { format!(", {voters} of them voters") } else { String::new() };
        write!(f, "{name} ({nodes} nodes{voting}, {terms} terms, {inflight} in flight of {entries} entries")?;
        let counts = [
            (self.proposals, "proposals"),
            (self.changes, "changes of members"),
            (self.reads, "reads"),
            (self.transfers, "transfers"),
            (self.clients, "clients of a register"),
            (self.recoveries, "recoveries"),
            (self.lease.unwrap_or(0), "ends of leases"),
            (self.duplicates, "messages delivered twice"),
            (self.crashes, "crashes"),
            (self.wipes, "lost disks"),
            (self.snapshots, "snapshots"),
            (self.unreachable, "reports of unreachable peers"),
        ];
        for (count, of) in counts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {of}")?;
        }
        let switches = [
            (self.disk == Disk::Separate, "separate writes"),
            (self.follower_reads, "reads at followers"),
            (self.sessions, "sessions"),
            (self.pre_vote, "pre-vote"),
            (self.check_quorum, "check-quorum"),
            (self.lease.is_some(), "leases"),
        ];
        for (_, name) in switches.into_iter().filter(|(on, _)| *on) {
            write!(f, ", {name}")?;
        }
        f.write_str(")")
    }
}

/// Three voters, nothing but elections; the others are told by their differences.
pub(crate) const PLAIN: Bounds = Bounds {
    name: "explored",
    nodes: 3,
    voters: 3,
    changes: 0,
    wanted: &[],
    terms: 3,
    proposals: 0,
    reads: 0,
    follower_reads: false,
    lease: None,
    sessions: false,
    clients: 0,
    recoveries: 0,
    transfers: 0,
    inflight: 1,
    entries: 2,
    duplicates: 0,
    crashes: 0,
    wipes: 0,
    disk: Disk::AtOnce,
    snapshots: 0,
    unreachable: 0,
    pre_vote: false,
    check_quorum: false,
    states: None,
    witnesses: &[],
};

/// Every configuration that is checked on each change.
pub const CONFIGURATIONS: &[Bounds] = &[
    Bounds {
        name: "elections",
        states: Some(2_072_574),
        terms: 3,
        inflight: 2,
        witnesses: &[Mark::TwoLeaders, Mark::Deposed, Mark::VoteRefused, Mark::VoteTaken, Mark::Recampaign],
        ..PLAIN
    },
    Bounds {
        name: "replication",
        states: Some(775_757),
        terms: 4,
        entries: 1,
        witnesses: &[Mark::Figure8, Mark::IndirectCommit, Mark::Truncated, Mark::Rejected],
        ..PLAIN
    },
    Bounds {
        name: "unreachable",
        states: Some(448_368),
        terms: 3,
        entries: 1,
        unreachable: 1,
        witnesses: &[Mark::BehindCommit],
        ..PLAIN
    },
    Bounds {
        name: "crash",
        states: Some(5_437_115),
        terms: 3,
        crashes: 1,
        disk: Disk::Separate,
        witnesses: &[
            Mark::LostWrite,
            Mark::PartlyWritten,
            Mark::CommittedAhead,
            Mark::LeaderCrashed,
            Mark::StaleWrite,
        ],
        ..PLAIN
    },
    Bounds {
        name: "reorder",
        states: Some(1_473_023),
        terms: 2,
        proposals: 1,
        inflight: 2,
        witnesses: &[Mark::Rejected, Mark::Truncated],
        ..PLAIN
    },
    Bounds {
        name: "duplication",
        states: Some(64_274),
        nodes: 2,
        voters: 2,
        terms: 3,
        reads: 1,
        follower_reads: true,
        inflight: 2,
        duplicates: 1,
        witnesses: &[Mark::ReadAtFollower, Mark::VoteAgain],
        ..PLAIN
    },
    Bounds {
        name: "pre-vote",
        states: Some(301_446),
        terms: 2,
        inflight: 2,
        pre_vote: true,
        witnesses: &[Mark::PreVoteRefused, Mark::Deposed],
        ..PLAIN
    },
    Bounds {
        name: "missing",
        states: Some(4_951_143),
        terms: 2,
        proposals: 1,
        inflight: 2,
        pre_vote: true,
        witnesses: &[Mark::MissingTaken, Mark::Truncated],
        ..PLAIN
    },
    Bounds {
        name: "check-quorum",
        states: Some(224_941),
        terms: 2,
        check_quorum: true,
        disk: Disk::Separate,
        witnesses: &[Mark::QuorumLost, Mark::DiskStalled, Mark::TwoLeaders],
        ..PLAIN
    },
    Bounds {
        name: "snapshot",
        states: Some(578_902),
        terms: 2,
        crashes: 1,
        snapshots: 1,
        disk: Disk::Separate,
        witnesses: &[Mark::Installed, Mark::Covered],
        ..PLAIN
    },
    Bounds {
        name: "snapshot-race",
        states: Some(536_270),
        terms: 2,
        inflight: 2,
        snapshots: 1,
        witnesses: &[Mark::Installed, Mark::Covered, Mark::Overtaken],
        ..PLAIN
    },
    Bounds {
        name: "read",
        states: Some(2_193_776),
        terms: 2,
        inflight: 2,
        reads: 2,
        witnesses: &[Mark::ReadReady, Mark::ReadFailed, Mark::ReadBesideLater],
        ..PLAIN
    },
    Bounds {
        name: "joint",
        states: Some(174_045),
        voters: 2,
        changes: 2,
        wanted: &[Wanted::Add, Wanted::Remove],
        terms: 2,
        witnesses: &[Mark::Joined, Mark::Removed, Mark::ElectedJoint, Mark::ChangeCut],
        ..PLAIN
    },
    Bounds {
        name: "replace-leader",
        states: Some(812_923),
        voters: 2,
        changes: 1,
        wanted: &[Wanted::ReplaceLeader],
        terms: 3,
        inflight: 2,
        witnesses: &[Mark::Joined, Mark::RemovedLed, Mark::ElectedJoint, Mark::RemovedCampaigned],
        ..PLAIN
    },
    Bounds {
        name: "lost-disk",
        states: Some(14_300),
        wipes: 1,
        terms: 2,
        witnesses: &[Mark::Deposed, Mark::VoteOfAnother],
        ..PLAIN
    },
    Bounds {
        name: "transfer",
        states: Some(433_470),
        transfers: 1,
        proposals: 1,
        terms: 2,
        witnesses: &[Mark::HandedOver, Mark::NotHandedOver, Mark::TwoLeaders],
        ..PLAIN
    },
    Bounds {
        name: "follower-read",
        states: Some(75_126),
        nodes: 2,
        voters: 2,
        proposals: 1,
        reads: 2,
        follower_reads: true,
        terms: 2,
        crashes: 1,
        witnesses: &[Mark::ReadAtFollower, Mark::ReadFailed, Mark::StaleAnswer],
        ..PLAIN
    },
    Bounds {
        name: "lease",
        states: Some(261_620),
        reads: 1,
        // A first leader waits for leases that nobody holds; the next one for its.
        lease: Some(2),
        terms: 2,
        witnesses: &[Mark::ReadAlone, Mark::WaitedForLease, Mark::TwoLeaders],
        ..PLAIN
    },
    Bounds {
        name: "lease-transfer",
        states: Some(543_609),
        reads: 1,
        lease: Some(1),
        terms: 2,
        transfers: 1,
        witnesses: &[Mark::ReadAlone, Mark::HandedOver, Mark::ReadBesideLater],
        ..PLAIN
    },
    Bounds {
        name: "gather",
        states: Some(1_430),
        nodes: 2,
        voters: 2,
        proposals: 1,
        terms: 2,
        disk: Disk::Separate,
        witnesses: &[Mark::Gathered],
        ..PLAIN
    },
    Bounds {
        name: "pair",
        states: Some(95_803),
        nodes: 2,
        voters: 2,
        terms: 3,
        inflight: 2,
        crashes: 1,
        disk: Disk::Separate,
        witnesses: &[Mark::LostWrite, Mark::PartlyWritten, Mark::LeaderCrashed],
        ..PLAIN
    },
    Bounds {
        name: "sessions",
        states: Some(18_272),
        nodes: 2,
        voters: 2,
        sessions: true,
        proposals: 4,
        terms: 2,
        witnesses: &[Mark::Repeated, Mark::RepeatedLate, Mark::RepeatedElsewhere, Mark::SessionEnded],
        ..PLAIN
    },
    Bounds {
        name: "recovery-epoch",
        states: Some(148_164),
        recoveries: 1,
        terms: 3,
        witnesses: &[Mark::EpochRefused, Mark::EpochsLead, Mark::CommittedBeside],
        ..PLAIN
    },
    Bounds {
        name: "linearizability",
        states: Some(429_638),
        clients: 2,
        proposals: 1,
        reads: 1,
        terms: 2,
        witnesses: &[Mark::WriteSeen, Mark::CallAfterWrite, Mark::ReadFailed, Mark::TwoLeaders],
        ..PLAIN
    },
    Bounds {
        name: "linearizability-pair",
        states: Some(17_984),
        nodes: 2,
        voters: 2,
        clients: 2,
        proposals: 1,
        reads: 1,
        terms: 2,
        inflight: 2,
        witnesses: &[Mark::WriteSeen, Mark::CallAfterWrite, Mark::ReadFailed],
        ..PLAIN
    },
];
