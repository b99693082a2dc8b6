//! Frames that this version cannot read, or that come from another recovery epoch, and who must say who it is.

use bytes::Bytes;
use ravelin_consensus::{Body, ClusterId, Incarnation, Index, Message, NodeId, RecoveryEpoch, Term};

use super::harness::{CLUSTER, Cluster, apply, site, speaker};
use crate::node::event::{CallId, Event, LinkId};
use crate::node::wire::{self, Frame, RAFT_VERSION, Sender};
use crate::request::status::EventKind;
use crate::request::{Envelope, RequestId, Response, parts};

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

#[test]
fn what_a_control_node_asks_and_answers_says_its_epoch_and_life() {
    let mut cluster = Cluster::ready(3);
    let (hears, _) = cluster.controller().expect("it is ready");
    let from = (1..=3).find(|node| *node != hears).expect("two others");
    let envelope = Envelope {
        id: RequestId([7; 16]),
        hops: 1,
        deadline_millis: 1000,
        author: "operator-1".to_owned(),
        request: apply(&site("late")),
        since: None,
    };
    let says = |cluster: &mut Cluster, call: u64, said: Option<Sender>| {
        for frame in parts::question(call, said, &envelope).expect("small") {
            cluster.step(hears, Event::LinkFrame { link: LinkId(100 * from + hears), frame });
        }
        cluster.run(std::time::Duration::from_secs(2));
    };
    let other_life = Sender { incarnation: Incarnation(9), ..speaker(0) };
    let other_cluster = Sender { cluster: ClusterId([9; 16]), ..speaker(0) };
    for (call, said) in (1_000..).zip([None, Some(speaker(1)), Some(other_life), Some(other_cluster)]) {
        says(&mut cluster, call, said);
        assert_eq!(cluster.machine(hears).node().feeds(), None, "nothing of it reached the log: {said:?}");
    }
    assert_eq!(cluster.saw(|kind| matches!(kind, EventKind::OtherEpoch { epoch: 1, own: 0, .. })), 1);
    says(&mut cluster, 2_000, Some(speaker(0)));
    assert!(cluster.machine(hears).node().feeds().is_some(), "from a member it is done");

    // An answer of another epoch says nothing: the change may have been let go towards the log.
    let (controller, _) = cluster.controller().expect("it is ready");
    let asked = (1..=3).find(|node| *node != controller).expect("three nodes");
    cluster.freeze(controller);
    let calls = cluster.calls as u64;
    let ticket = cluster.ask(asked, apply(&site("a")), std::time::Duration::from_secs(5));
    assert_eq!(cluster.calls as u64, calls + 1);
    let response = Response::Unavailable { reason: "nothing was done".to_owned() };
    for frame in parts::answer(1, Some(speaker(1)), &response) {
        cluster.step(asked, Event::CallFrame { call: CallId(1), frame });
    }
    let answer = cluster.answer(ticket);
    assert!(matches!(answer, Response::Unknown { .. }), "{answer:?}");
}
