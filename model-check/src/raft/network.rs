//! Messages in flight: a set without order. Loss is a message that is never delivered, or that had to make room.

use std::sync::Arc;

use ravelin_consensus::{Message, NodeId};
use smallvec::SmallVec;

use crate::raft::symmetry::{Renamings, fingerprint};

/// What commands carry in the model: nothing but 0, as no rule of the protocol reads it, unless a state machine does.
pub(crate) type Load = u8;

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message<Load>,
    /// Its hash under each renaming. Messages name no node except in configurations.
    pub(crate) hashes: Vec<u64>,
}

impl Packet {
    pub(crate) fn new(from: NodeId, to: NodeId, message: Message<Load>, renamings: &Renamings) -> Packet {
        let content = fingerprint(&message);
        let content_under = |at| {
            let name = |node| renamings.name(at, node);
            if renamings.members_move { fingerprint(&message.clone().renamed(&name)) } else { content }
        };
        let hashes = (0..renamings.len())
            .map(|at| fingerprint(&(renamings.name(at, from), renamings.name(at, to), content_under(at))))
            .collect();
        Packet { from, to, message, hashes }
    }

    /// The hash under the identity.
    pub(crate) fn hash(&self) -> u64 {
        self.hashes.first().copied().unwrap_or_default()
    }
}

/// Every choice of `room` of `count` messages, as bits; all of them if they fit. Smaller choices are covered, because
/// a message may always stay undelivered or make room later.
pub(crate) fn choices(count: usize, room: usize) -> impl Iterator<Item = u64> {
    let chosen = count.min(room);
    let first = if chosen == count { (1 << count) - 1 } else { 0 };
    (first..1u64 << count).filter(move |bits| bits.count_ones() as usize == chosen)
}

/// All messages in flight.
pub(crate) type Packets = SmallVec<[Arc<Packet>; 2]>;

/// The chosen messages, in the order of their hashes, each once.
pub(crate) fn keep<'a>(messages: impl Iterator<Item = &'a Arc<Packet>>, kept: u64) -> Packets {
    let mut chosen: Packets = messages
        .enumerate()
        .filter(|(at, _)| kept >> at & 1 == 1)
        .map(|(_, packet)| Arc::clone(packet))
        .collect();
    chosen.sort_by_key(|packet| packet.hash());
    chosen.dedup_by(|one, other| one.hash() == other.hash());
    chosen
}
