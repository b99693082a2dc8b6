//! Frames of lane Raft that this version cannot read.

use bytes::Bytes;
use ravelin_consensus::NodeId;

use super::harness::Cluster;
use crate::node::event::Event;
use crate::node::wire::RAFT_VERSION;
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
