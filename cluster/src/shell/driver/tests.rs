//! The order in which the node hears of things.

use std::sync::Arc;

use ravelin_config::SealingKeys;
use ravelin_consensus::{
    Body, ClusterId, Entries, Incarnation, Index, Message as RaftMessage, NodeId, RecoveryEpoch, RoleName,
    Round, Term,
};

use super::*;
use crate::node::NodeOptions;
use crate::node::boot::{Booted, Member, boot};
use crate::node::wire::{self, Frame};
use crate::storage::{MemoryDisk, WalLimits};
use ravelin_transport::memory::MemoryHub;
use ravelin_transport::{PeerRole, Transport};
use tokio_util::sync::CancellationToken;

const CLUSTER: [u8; 16] = [7; 16];

/// The first of three nodes, as a driver whose work goes nowhere.
pub(in crate::shell) fn driver()
-> (Driver, mpsc::Sender<Message>, threads::Receiver<LogWork>, threads::Receiver<Job>) {
    let voters = vec![(1, 1), (2, 1), (3, 1)];
    let member = Member { cluster: CLUSTER, recovery_epoch: 0, node: 1, incarnation: 1, voters };
    let sealing = SealingKeys::new(member.cluster, &[[7; 32]]).expect("one key");
    let options = NodeOptions::new(member.params(), sealing);
    let limits = WalLimits { segment_bytes: 256 << 10 };
    let booted = boot(Arc::new(MemoryDisk::new()), limits, &member, options, 1);
    let Booted { node, snapshots, .. } = booted.expect("the disk is empty");
    let (outbox, inbox) = mpsc::channel(16);
    let (visitors, crowd) = mpsc::channel(2 * CROWD_AT_ONCE_MAX);
    let (log, log_work) = threads::sync_channel(16);
    let (checks, jobs) = threads::sync_channel(16);
    let (_, reloads) = watch::channel(0);
    let driver = Driver {
        node,
        clock: Clock::new(),
        inbox,
        crowd,
        outbox: outbox.clone(),
        peers: Peers::new(nowhere(), outbox.clone(), CancellationToken::new(), None),
        links: BTreeMap::new(),
        tickets: BTreeMap::new(),
        ticket: 0,
        log,
        checks,
        snapshots,
        providers: Providers::new(outbox, reloads, watch::channel(None).1),
        generation: watch::channel(None).0,
        shared: None,
        wake: None,
    };
    (driver, visitors, log_work, jobs)
}

/// A transport on which nobody else is.
fn nowhere() -> Arc<dyn Transport> {
    let endpoint =
        MemoryHub::new().endpoint("alone", ravelin_transport::ClusterId(CLUSTER), PeerRole::Controller, 1);
    Arc::new(endpoint.expect("the hub is empty"))
}

fn sign_of_life(from: u64) -> Event {
    let body = Body::Append {
        prev_index: Index::ZERO,
        prev_term: Term(0),
        entries: Entries::default(),
        commit: Index::ZERO,
        round: Round(0),
    };
    let message = RaftMessage {
        cluster: ClusterId(CLUSTER),
        recovery_epoch: RecoveryEpoch(0),
        incarnation: Incarnation(1),
        term: Term(1),
        body,
    };
    let frame = wire::encode(&Frame::Message(message)).expect("small");
    Event::RaftFrame { from: NodeId(from), frame }
}

fn asks_for_votes(action: &Action) -> bool {
    let Action::SendRaft { frame, .. } = action else { return false };
    matches!(wire::decode(frame), Ok(Frame::Message(RaftMessage { body: Body::PreVote { .. }, .. })))
}

#[tokio::test(start_paused = true)]
async fn what_arrived_during_a_stall_is_heard_before_silence_is_judged() {
    for leader_spoke in [false, true] {
        let (mut driver, _visitors, _log_work, _jobs) = driver();
        let mut actions = Actions::new();
        driver.step(Event::Start, &mut actions);
        assert_eq!(driver.carry_out(&mut actions), None);
        tokio::time::advance(Duration::from_secs(30)).await;
        if leader_spoke {
            assert!(driver.outbox.try_send(Message::Event(sign_of_life(2))).is_ok(), "there is room");
        }
        assert!(driver.gather(&mut actions).await.is_continue());
        assert_eq!(driver.wake, None, "the deadline was told as well");
        let campaigns = actions.drain().filter(asks_for_votes).count() > 0;
        assert_eq!(campaigns, !leader_spoke);
        assert_eq!(driver.node.core().role() == RoleName::Follower, leader_spoke);
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_at_the_links_keeps_no_raft_frame_waiting() {
    let (mut driver, visitors, _log_work, _jobs) = driver();
    let mut actions = Actions::new();
    for link in 0..2 * CROWD_AT_ONCE_MAX as u64 {
        assert!(visitors.try_send(Message::Event(Event::LinkSent(LinkId(link)))).is_ok(), "there is room");
    }
    assert!(driver.outbox.try_send(Message::Event(sign_of_life(2))).is_ok(), "there is room");
    assert!(driver.gather(&mut actions).await.is_continue());
    assert_eq!(driver.node.core().leader(), Some(NodeId(2)), "heard first");
    assert_eq!(driver.crowd.len(), CROWD_AT_ONCE_MAX, "a bounded part of the crowd was let in meanwhile");
    assert!(driver.gather(&mut actions).await.is_continue());
    assert_eq!(driver.crowd.len(), 0, "and it is never forgotten");
}
