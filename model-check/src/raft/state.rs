//! One state of the model: nodes, messages in flight, what the run has shown, and what of its budgets is used.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ravelin_consensus::NodeId;
use ravelin_consensus::invariant::{History, Violation};

use crate::raft::member::Member;
use crate::raft::network::{Load, Packet};
use crate::raft::symmetry::{Renamings, fingerprint, slot};

/// How much of each budget is used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Used {
    pub(crate) proposals: u8,
    pub(crate) reads: u8,
    pub(crate) crashes: u8,
    pub(crate) snapshots: u8,
    pub(crate) unreachable: u8,
    pub(crate) changes: u8,
    pub(crate) transfers: u8,
    pub(crate) wipes: u8,
    pub(crate) passes: u8,
}

/// A state. Equal to another if some renaming of the nodes makes them the same.
#[derive(Clone)]
pub struct State {
    pub(crate) members: Vec<Arc<Member>>,
    pub(crate) network: Vec<Arc<Packet>>,
    pub(crate) history: Arc<History<Load>>,
    pub(crate) used: Used,
    pub(crate) violation: Option<Arc<Violation>>,
    print: u64,
}

impl State {
    pub(crate) fn new(
        members: Vec<Arc<Member>>,
        network: Vec<Arc<Packet>>,
        history: Arc<History<Load>>,
        used: Used,
        violation: Option<Arc<Violation>>,
        renamings: &Renamings,
    ) -> State {
        let mut state = State { members, network, history, used, violation, print: 0 };
        let broken = state.violation.as_ref().map(|it| it.id);
        let rest = fingerprint(&(state.history.committed(), used, broken));
        let rest_under = |at| {
            let moved = renamings.members_move && state.history.configuration().is_some();
            let name = |node| renamings.name(at, node);
            if moved { fingerprint(&(state.history.renamed(&name).committed(), used, broken)) } else { rest }
        };
        let prints = (0..renamings.len()).map(|at| state.print_under(at, rest_under(at), renamings));
        state.print = prints.min().unwrap_or_default();
        state
    }

    fn print_under(&self, at: usize, rest: u64, renamings: &Renamings) -> u64 {
        let mut members = [0u64; 8];
        for member in &self.members {
            members[slot(renamings.name(at, member.core.id()))] = member.hashes[at];
        }
        let mut packets = [0u64; 16];
        for (to, packet) in packets.iter_mut().zip(&self.network) {
            *to = packet.hashes[at];
        }
        let packets = &mut packets[..self.network.len()];
        packets.sort_unstable();
        let mut leaders = [0u64; 16];
        for (to, (term, node)) in leaders.iter_mut().zip(self.history.leaders()) {
            *to = term.0 << 8 | renamings.name(at, *node).0;
        }
        let leaders = &leaders[..self.history.leaders().len()];
        let mut reads = [0u64; 8];
        for (to, (id, node, index)) in reads.iter_mut().zip(self.history.reads()) {
            *to = id.0 << 32 | index.0 << 8 | renamings.name(at, *node).0;
        }
        let reads = &reads[..self.history.reads().len()];
        fingerprint(&(&members[..self.members.len()], packets, leaders, reads, rest))
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
