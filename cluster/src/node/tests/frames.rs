//! Frames of lane Raft that this version cannot read, or that come from another recovery epoch.

use bytes::Bytes;
use ravelin_consensus::{Body, ClusterId, Incarnation, Index, Message, NodeId, RecoveryEpoch, Term};

use super::harness::{CLUSTER, Cluster};
use crate::node::event::Event;
use crate::node::wire::{self, Frame, RAFT_VERSION};
use crate::request::status::EventKind;

#[test]
fn frames_of_another_version_are_noted_and_counted_for_each_sender() {
    let mut cluster = Cluster::ready(3);
    let hears = cluster.follower();
    let others: Vec<u64> = (1..=3).filter(|node| *node != hears).collect();
    let newer = Bytes::from(vec![RAFT_VERSION + 1, 0, 0, 0, 0]);
    for (from, times) in others.iter().zip([12, 1]) {
        for _ in 0..times {
            cluster.step(hears, Event::RaftFrame { from: NodeId(*from), frame: newer.clone() });
        }
    }
    let noted = |from: u64, wanted: u64| {
        cluster.saw(|kind| match kind {
            EventKind::FramesUnreadable { from: sender, reason, times } => {
                assert!(reason.contains("version 3, where version 2"), "{reason}");
                (*sender, *times) == (from, wanted)
            }
            _ => false,
        })
    };
    assert_eq!((noted(others[0], 1), noted(others[0], 10), noted(others[1], 1)), (1, 1, 1));
    assert_eq!(cluster.saw(|kind| matches!(kind, EventKind::FramesUnreadable { .. })), 3);
    assert_eq!(cluster.saw(|kind| matches!(kind, EventKind::Halted { .. })), 0);
}

/// A frame of a control node that has gone on in another recovery epoch.
pub(super) fn of_epoch(recovery_epoch: u32) -> Bytes {
    let (cluster, incarnation) = (ClusterId(CLUSTER), Incarnation(1));
    let body = Body::PreVote { last_index: Index(9), last_term: Term(9) };
    let recovery_epoch = RecoveryEpoch(recovery_epoch);
    let message = Message { cluster, recovery_epoch, incarnation, term: Term(9), body };
    wire::encode(&Frame::Message(message)).expect("small")
}

#[test]
fn a_member_of_another_epoch_is_noted_and_takes_no_quorum_down() {
    let mut cluster = Cluster::ready(3);
    let hears = cluster.follower();
    let from = (1..=3).find(|node| *node != hears).expect("two others");
    for _ in 0..12 {
        cluster.step(hears, Event::RaftFrame { from: NodeId(from), frame: of_epoch(1) });
    }
    let noted = |cluster: &Cluster, wanted: u64| {
        cluster.saw(|kind| *kind == EventKind::OtherEpoch { from, epoch: 1, own: 0, times: wanted })
    };
    assert_eq!((noted(&cluster, 1), noted(&cluster, 2), noted(&cluster, 10)), (1, 0, 1));
    let halted = |cluster: &Cluster| cluster.saw(|kind| matches!(kind, EventKind::Halted { .. }));
    assert_eq!(halted(&cluster), 0, "a quorum stands behind it: the recovery was the mistake");
}
