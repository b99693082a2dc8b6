//! What can be done to a run, as a closed list of things with numbers only: each can be drawn, written into a script, and
//! taken away. It must not carry anything out; the world does.

use std::collections::BTreeMap;
use std::fmt;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident $name:literal { $($field:ident),* })*) => {
        /// A fault, with everything that decides what it does. Nodes and proxies are counted from 1.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Kind {
            $($(#[doc = $doc])* $kind { $($field: u64),* },)*
        }

        impl Kind {
            /// Its name, and its numbers under theirs.
            pub(super) fn words(&self) -> (&'static str, Vec<(&'static str, u64)>) {
                match *self {
                    $(Self::$kind { $($field),* } => ($name, vec![$((stringify!($field), $field)),*]),)*
                }
            }

            /// The fault of this name with these numbers, and no others.
            pub(super) fn of(name: &str, numbers: &BTreeMap<&str, u64>) -> Option<Self> {
                let found = match name {
                    $($name => Self::$kind { $($field: *numbers.get(stringify!($field))?),* },)*
                    _ => return None,
                };
                (found.words().1.len() == numbers.len()).then_some(found)
            }
        }
    };
}

kinds! {
    /// A machine loses power: at once, or (`calls` > 0) within the next write of its log, before that changing call.
    PowerLoss "power-loss" { node, down_micros, calls }
    /// A process is killed; the machine lives on.
    Kill "kill" { node, down_micros, calls }
    /// The next start loses power after so many changing calls.
    CutStart "cut-start" { node, calls }
    /// The next snapshot is cut by a power loss after so many changing calls.
    CutSnapshot "cut-snapshot" { node, calls, down_micros }
    /// The next sync fails.
    SyncError "sync-error" { node, down_micros }
    /// The next write fails.
    WriteError "write-error" { node, down_micros }
    /// The disk takes only so many bytes more.
    Full "full" { node, room_bytes, for_micros }
    /// Each write of the log takes so much longer.
    SlowDisk "slow-disk" { node, extra_micros, for_micros }
    /// The process does not run.
    Pause "pause" { node, for_micros }
    /// The clock jumps ahead.
    Jump "jump" { node, by_micros }
    /// The clock runs at so many millionths of the true speed.
    Drift "drift" { node, per_million, for_micros }
    /// Nodes of the set (bit 0 is node 1) and the others do not hear each other, nor proxies a lone one.
    Split "split" { set, for_micros }
    /// Nobody hears this node, which hears all.
    Mute "mute" { node, for_micros }
    /// This node hears nobody, and all hear it.
    Deaf "deaf" { node, for_micros }
    /// One link is cut, both ways.
    CutLink "cut-link" { node, other, for_micros }
    /// One link is cut, one way.
    CutWay "cut-way" { node, other, for_micros }
    /// What one sends to the other waits, and then arrives all at once.
    Clog "clog" { node, other, for_micros }
    /// Another process of a proxy, on what it held (0), on nothing (1) or on what was tampered with (2).
    ProxyRestart "proxy-restart" { proxy, disk }
    /// A proxy that does not trust what it holds.
    ProxyDoubt "proxy-doubt" { proxy }
    /// The process is killed, and of what lies on its disk a bit flips: place and bit modulo what there is.
    Rot "rot" { node, place, bit, down_micros }
    /// The next write of the log goes elsewhere, and the process is killed after it.
    Misdirect "misdirect" { node, place, down_micros }
    /// The disk is replaced by an empty one; the node comes back under a new identity.
    Wipe "wipe" { node, down_micros }
    /// No fault at all: an operator asks this node that the other one lead.
    HandOver "hand-over" { node, other }
    /// No fault at all: an operator asks this node that the other one be a member with a vote (0) or without (1), none any
    /// more (2), vote (3) or stand back (4).
    Members "members" { node, other, wish }
}

/// A fault at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// In virtual microseconds.
    pub(super) at_micros: u64,
    /// What.
    pub(super) kind: Kind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, numbers) = self.kind.words();
        write!(f, "at {} {name}", self.at_micros)?;
        numbers.iter().try_for_each(|(name, number)| write!(f, " {name} {number}"))
    }
}

impl Fault {
    /// The fault that such a line states.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [at, time, name, rest @ ..] = words.as_slice() else { return None };
        let mut numbers = BTreeMap::new();
        let mut pairs = rest.chunks_exact(2);
        for pair in &mut pairs {
            let [name, number] = pair else { return None };
            numbers.insert(*name, number.parse().ok()?);
        }
        let whole = *at == "at" && pairs.remainder().is_empty();
        let kind = Kind::of(name, &numbers).filter(|_| whole)?;
        Some(Self { at_micros: time.parse().ok()?, kind })
    }

    /// The same with each span halved, if it has one of some length.
    pub(super) fn shorter(&self) -> Option<Self> {
        let (name, numbers) = self.kind.words();
        let halved = numbers.iter().map(|(name, number)| {
            let is_span = name.ends_with("_micros") && *number >= 2_000;
            (*name, if is_span { number / 2 } else { *number })
        });
        let kind = Kind::of(name, &halved.collect())?;
        (kind != self.kind).then_some(Self { at_micros: self.at_micros, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_back_what_it_prints() {
        for line in [
            "at 12 power-loss node 1 down_micros 5 calls 0",
            "at 0 split set 5 for_micros 7",
            "at 3 proxy-doubt proxy 2",
        ] {
            let fault = Fault::parse(line).expect("a fault");
            assert_eq!(fault.to_string(), line);
        }
        for line in [
            "at 12 power-loss node 1",
            "at 3 proxy-doubt proxy 2 node 1",
            "at 3 fire",
            "at 3",
            "at 3 wipe node",
        ] {
            assert_eq!(Fault::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_shorter_fault_keeps_what_is_no_span() {
        let fault = Fault::parse("at 9 pause node 3 for_micros 5000").expect("a fault");
        let shorter = fault.shorter().expect("a span of some length");
        assert_eq!(shorter.to_string(), "at 9 pause node 3 for_micros 2500");
        assert_eq!(Fault::parse("at 9 jump node 3 by_micros 1000").expect("a fault").shorter(), None);
    }
}
