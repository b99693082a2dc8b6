//! One state of the model: nodes, messages in flight, what the run has shown, and what of its budgets is used.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ravelin_consensus::NodeId;
use ravelin_consensus::invariant::Violation;
use smallvec::SmallVec;

use crate::raft::member::Member;
use crate::raft::network::Packets;
use crate::raft::past::Past;
use crate::raft::symmetry::{Renamings, fingerprint};

/// How much of each budget is used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Used {
    pub(crate) proposals: u8,
    pub(crate) reads: u8,
    pub(crate) crashes: u8,
    pub(crate) recoveries: u8,
    pub(crate) snapshots: u8,
    pub(crate) unreachable: u8,
    pub(crate) changes: u8,
    pub(crate) transfers: u8,
    pub(crate) wipes: u8,
    pub(crate) passes: u8,
    pub(crate) duplicates: u8,
}

/// The nodes of a state, by their places.
pub(crate) type Members = SmallVec<[Arc<Member>; 3]>;

/// A state. Equal to another if some renaming of the nodes makes them the same.
#[derive(Clone)]
pub struct State {
    pub(crate) members: Members,
    pub(crate) network: Packets,
    pub(crate) past: Arc<Past>,
    pub(crate) used: Used,
    pub(crate) violation: Option<Arc<Violation>>,
    print: u64,
}

impl State {
    pub(crate) fn new(
        members: Members,
        network: Packets,
        past: Arc<Past>,
        used: Used,
        violation: Option<Arc<Violation>>,
        renamings: &Renamings,
    ) -> State {
        // Nodes and messages are sets without order, so their hashes are summed: each names its nodes itself.
        let print_under = |at: usize| {
            let of = |hashes: &[u64]| hashes.get(at).copied().unwrap_or_default();
            let members = members.iter().fold(0u64, |sum, member| sum.wrapping_add(of(&member.hashes)));
            let packets = network.iter().fold(members, |sum, packet| sum.wrapping_add(of(&packet.hashes)));
            packets.wrapping_add(of(&past.hashes))
        };
        let print = (0..renamings.len()).map(print_under).min().unwrap_or_default();
        let broken = violation.as_ref().map(|it| it.id);
        let print = fingerprint(&(print, used, broken));
        State { members, network, past, used, violation, print }
    }

    /// What was broken on the way here, if anything.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_deref()
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.print);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        self.print == other.print
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for member in &self.members {
            let core = &member.core;
            let terms =
                |last: u64, term: &dyn Fn(u64) -> String| (1..=last).map(term).collect::<Vec<_>>().join(" ");
            let term_at = |index| {
                core.term_at(ravelin_consensus::Index(index)).map_or("-".to_owned(), |term| term.to_string())
            };
            let disk_at = |index| {
                member
                    .disk
                    .term_at(ravelin_consensus::Index(index))
                    .map_or("-".to_owned(), |term| term.to_string())
            };
            writeln!(
                f,
                "  {} {:?} term {} vote {:?} log [{}] commit {} | disk term {} vote {:?} log [{}] unfinished {}",
                core.id(),
                core.role(),
                core.term(),
                core.hard_state().vote.map(|node: NodeId| node.0),
                terms(core.last_index().0, &term_at),
                core.commit_index(),
                member.disk.hard_state.term,
                member.disk.hard_state.vote.map(|node| node.0),
                terms(member.disk.last_index().0, &disk_at),
                member.queue.len(),
            )?;
        }
        for packet in &self.network {
            writeln!(
                f,
                "  in flight {} -> {}: {:?} in term {}",
                packet.from, packet.to, packet.message.body, packet.message.term
            )?;
        }
        if let Some(violation) = &self.violation {
            writeln!(f, "  BROKEN {violation}")?;
        }
        Ok(())
    }
}
