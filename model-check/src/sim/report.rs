//! What a run did: the witness that it was worth something. Marks are rare branches that a campaign must reach; one that
//! no seed reaches means that something is not tested any more. It must not judge.

use std::collections::BTreeMap;
use std::fmt;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// Leaders seen.
    Leaders,
    /// Entries committed.
    Committed,
    /// Logs that were brought on by another voter while there was no leader.
    BroughtOn,
    /// Processes ended by power loss or a kill.
    Crashes,
    /// Of them, in the middle of a write of the log.
    TornLog,
    /// Of them, in the middle of writing a snapshot.
    TornSnapshot,
    /// Starts cut by another power loss.
    CutStarts,
    /// Times that all lost power at once.
    Outages,
    /// Nodes that stopped because a write failed.
    DiskHalts,
    /// Nodes that stopped or could not start because the disk was full.
    DiskFull,
    /// Processes paused.
    Pauses,
    /// Writes of a log made slow for a while.
    SlowDisks,
    /// Clocks that jumped ahead.
    Jumps,
    /// Clocks that ran too fast or too slow.
    Drifts,
    /// Partitions into two sets.
    Partitions,
    /// Links cut one way only.
    OneWay,
    /// Single links cut.
    Links,
    /// Frames that waited at a clogged link and arrived together.
    Unclogged,
    /// Disks on which a bit flipped.
    Rotten,
    /// Writes that went elsewhere.
    Misdirected,
    /// Nodes that rightly did not start on a damaged disk, and were replaced by hand.
    NeedsHand,
    /// Damaged disks on which a node started with all that it had.
    HarmlessDamage,
    /// Disks replaced by empty ones.
    Wiped,
    /// Lanes that fell silent long before they broke.
    SilentLanes,
    /// Frames lost, doubled or set on a detour.
    Mangled,
    /// Snapshots taken.
    Snapshots,
    /// Snapshots installed from another node.
    Installed,
    /// Epochs of the controller role beyond the first.
    Epochs,
    /// Late writes of an ended epoch that the log refused.
    RefusedByLog,
    /// Late writes of an ended epoch that the node refused before.
    RefusedEarly,
    /// Changes that clients were told are done.
    Done,
    /// Of them, larger than one entry of the log.
    DoneInParts,
    /// Of them, of keys that everybody writes.
    DoneShared,
    /// Times that leadership was handed over to whom an operator wanted.
    HandedOver,
    /// Times that it went to another, or stayed, and the operator was told so.
    NotHandedOver,
    /// Changes of members that operators were told are done.
    MembersChanged,
    /// Those that were refused.
    MembersRefused,
    /// Members that were removed, ended, and came back as new ones.
    Removed,
    /// Of them, those that only heard of it from another.
    ToldRemoved,
    /// Clusters recovered from one survivor.
    Recovered,
    /// Of them, only at the second try.
    RecoveredAgain,
    /// Notes of nodes that another one speaks under another recovery epoch, and is not heard.
    OtherEpochs,
    /// Members that were given up, and ended because they were told so.
    GivenUp,
    /// Linearizable reads answered.
    Reads,
    /// Of them, answered by a node that did not lead.
    FollowerReads,
    /// Of them, answered by a leader among several voters at once, asking nobody.
    LeaseReads,
    /// Answers that said that nothing was accepted.
    Unavailable,
    /// Answers that said that the outcome is unknown.
    Unknown,
    /// Generations that proxies adopted.
    Adopted,
    /// Of them, by delta.
    Deltas,
    /// Transfers in more than one part.
    PartedTransfers,
    /// Proxies that asked for the whole.
    NeedWhole,
    /// Proxies that found by digest that what they held was not what it was called.
    Repaired,
    /// Proxies that left a node which is behind.
    Left,
    /// Proxies restarted, with what they held or without.
    ProxyRestarts,
}

/// Every mark, as people read it.
const MARKS: &[(Mark, &str)] = &[
    (Mark::Leaders, "leaders"),
    (Mark::Committed, "committed"),
    (Mark::BroughtOn, "brought on without a leader"),
    (Mark::Crashes, "crashes"),
    (Mark::TornLog, "mid-write"),
    (Mark::TornSnapshot, "mid-snapshot"),
    (Mark::CutStarts, "cut starts"),
    (Mark::Outages, "outages of all"),
    (Mark::DiskHalts, "failed writes"),
    (Mark::DiskFull, "full disks"),
    (Mark::Pauses, "pauses"),
    (Mark::SlowDisks, "slow disks"),
    (Mark::Jumps, "clocks jumped"),
    (Mark::Drifts, "drifted"),
    (Mark::Partitions, "partitions"),
    (Mark::OneWay, "one-way cuts"),
    (Mark::Links, "links cut"),
    (Mark::Unclogged, "frames unclogged"),
    (Mark::Rotten, "bits flipped"),
    (Mark::Misdirected, "writes misdirected"),
    (Mark::NeedsHand, "damaged nodes replaced"),
    (Mark::HarmlessDamage, "harmless damages"),
    (Mark::Wiped, "disks wiped"),
    (Mark::SilentLanes, "silent lanes"),
    (Mark::Mangled, "frames mangled"),
    (Mark::Snapshots, "snapshots"),
    (Mark::Installed, "installed"),
    (Mark::Epochs, "further epochs"),
    (Mark::RefusedByLog, "late writes refused by the log"),
    (Mark::RefusedEarly, "refused early"),
    (Mark::Done, "changes done"),
    (Mark::DoneInParts, "in parts"),
    (Mark::DoneShared, "of shared keys"),
    (Mark::HandedOver, "handed over"),
    (Mark::NotHandedOver, "not handed over"),
    (Mark::MembersChanged, "members changed"),
    (Mark::MembersRefused, "such changes refused"),
    (Mark::Removed, "members removed"),
    (Mark::ToldRemoved, "told so by others"),
    (Mark::Recovered, "recovered"),
    (Mark::RecoveredAgain, "at the second try"),
    (Mark::OtherEpochs, "epochs not heard"),
    (Mark::GivenUp, "old members told to go"),
    (Mark::Reads, "reads"),
    (Mark::FollowerReads, "by followers"),
    (Mark::LeaseReads, "under a lease"),
    (Mark::Unavailable, "unavailable"),
    (Mark::Unknown, "unknown"),
    (Mark::Adopted, "adopted"),
    (Mark::Deltas, "by delta"),
    (Mark::PartedTransfers, "transfers in parts"),
    (Mark::NeedWhole, "wholes asked for"),
    (Mark::Repaired, "repaired"),
    (Mark::Left, "nodes left as behind"),
    (Mark::ProxyRestarts, "proxies restarted"),
];

/// The counts of one run, or of many together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Events handed to nodes.
    pub events: u64,
    /// Digest of everything that happened: equal for equal seeds.
    pub digest: u64,
    /// Longest virtual time from the last fault until everything had come together, in microseconds.
    pub settled_max_micros: u64,
    counts: BTreeMap<Mark, u64>,
}

impl Report {
    /// Counts something.
    pub(super) fn count(&mut self, mark: Mark, times: u64) {
        *self.counts.entry(mark).or_default() += times;
    }

    /// Everything has come together so long after the last fault.
    pub(super) fn settled(&mut self, micros: u64) {
        self.settled_max_micros = self.settled_max_micros.max(micros);
    }

    /// How often something happened.
    pub fn of(&self, mark: Mark) -> u64 {
        self.counts.get(&mark).copied().unwrap_or(0)
    }

    /// Takes a value into the digest.
    pub(super) fn fold(&mut self, value: u64) {
        self.digest = (self.digest ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Report) {
        self.events += other.events;
        self.fold(other.digest);
        self.settled(other.settled_max_micros);
        for (mark, times) in &other.counts {
            self.count(*mark, *times);
        }
    }

    /// What no run has reached, by name.
    pub fn unreached(&self) -> Vec<&'static str> {
        MARKS.iter().filter(|(mark, _)| self.of(*mark) == 0).map(|(_, name)| *name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events", self.events)?;
        for (mark, name) in MARKS {
            write!(f, ", {} {name}", self.of(*mark))?;
        }
        let settled = self.settled_max_micros as f64 / 1e6;
        write!(f, ", together after {settled:.2} s at most, digest {:016x}", self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_of_counts_and_the_digest_knows_the_order() {
        let mut one = Report::default();
        one.count(Mark::Reads, 2);
        one.fold(1);
        let mut other = Report { events: 5, ..Report::default() };
        other.fold(2);
        let (mut forth, mut back) = (Report::default(), Report::default());
        for (sum, order) in [(&mut forth, [&one, &other]), (&mut back, [&other, &one])] {
            order.iter().for_each(|report| sum.add(report));
        }
        assert_eq!((forth.events, forth.of(Mark::Reads)), (5, 2));
        assert_ne!(forth.digest, back.digest);
        assert!(forth.unreached().contains(&"leaders") && !forth.unreached().contains(&"reads"));
    }
}
