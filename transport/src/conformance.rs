//! What [`crate::seam`] promises, checked on every transport by the same functions.
//!
//! Tests wait for events, bounded by [`within`]; none sleeps for a result.

mod lanes;
mod peers;

use crate::error::TransportError;
use crate::identity::{ClusterPlan, Identity, NewCluster, init};
use crate::lane::Lane;
use crate::memory::MemoryHub;
use crate::peer::{ClusterId, PeerRole};
use crate::quic::{QuicOptions, QuicTransport};
use crate::seam::{Connection, Expected, LaneReceiver, LaneSender, Target, Transport};
use bytes::Bytes;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// An endpoint and how others dial it.
struct End {
    transport: Arc<dyn Transport>,
    address: String,
}

impl End {
    fn target(&self, role: PeerRole, node: impl Into<Option<u64>>) -> Target {
        Target { address: self.address.clone(), expect: Expected { role, node: node.into() } }
    }
}

/// A cluster whose nodes speak over the transport under test. `foreign` ones are of another cluster.
trait World {
    fn end(&self, role: PeerRole, node: u64) -> End;
    fn foreign(&self, role: PeerRole, node: u64) -> End;
}

struct Quic {
    ours: NewCluster,
    theirs: NewCluster,
}

struct Memory {
    hub: MemoryHub,
}

pub(crate) fn small_cluster() -> NewCluster {
    let addresses = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"];
    init(&ClusterPlan::new(addresses.map(str::to_owned).to_vec(), 2)).expect("a plan that makes sense")
}

pub(crate) fn identity_of(cluster: &NewCluster, role: PeerRole, node: u64) -> &Identity {
    let wanted = |identity: &&Identity| identity.role() == role && identity.node() == node;
    cluster.identities.iter().find(wanted).expect("the plan has it")
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

impl Quic {
    fn new() -> Self {
        Self { ours: small_cluster(), theirs: small_cluster() }
    }
}

impl World for Quic {
    fn end(&self, role: PeerRole, node: u64) -> End {
        let identity = identity_of(&self.ours, role, node);
        let transport =
            QuicTransport::bind(identity, loopback(), QuicOptions::default()).expect("a free port");
        let address = transport.local_address().expect("QUIC has addresses").to_string();
        End { transport: Arc::new(transport), address }
    }

    fn foreign(&self, role: PeerRole, node: u64) -> End {
        let identity = identity_of(&self.theirs, role, node);
        let transport =
            QuicTransport::bind(identity, loopback(), QuicOptions::default()).expect("a free port");
        let address = transport.local_address().expect("QUIC has addresses").to_string();
        End { transport: Arc::new(transport), address }
    }
}

impl Memory {
    fn new() -> Self {
        Self { hub: MemoryHub::new() }
    }

    fn named(&self, cluster: u8, role: PeerRole, node: u64) -> End {
        let address = format!("{cluster}-{role}-{node}");
        let transport =
            self.hub.endpoint(&address, ClusterId([cluster; 16]), role, node).expect("the name is free");
        End { transport: Arc::new(transport), address }
    }
}

impl World for Memory {
    fn end(&self, role: PeerRole, node: u64) -> End {
        self.named(1, role, node)
    }

    fn foreign(&self, role: PeerRole, node: u64) -> End {
        self.named(2, role, node)
    }
}

/// Fails the test rather than hanging it.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen"),
    }
}

/// Whether the future is still waiting after a time in which it would have finished many times over.
async fn stays_pending(future: impl Future) -> bool {
    tokio::time::timeout(Duration::from_millis(150), future).await.is_err()
}

type Pair = (Arc<dyn Connection>, Arc<dyn Connection>);

/// Two connected ends: the dialling side's connection first.
async fn connected(dialler: &End, acceptor: &End, target: &Target) -> Pair {
    let both = async { tokio::join!(dialler.transport.connect(target), acceptor.transport.accept()) };
    let (dialled, accepted) = within("connecting", both).await;
    (dialled.expect("the peer is there"), accepted.expect("the peer dials"))
}

/// Two controllers and the connection between them.
async fn controllers(world: &dyn World) -> (End, End, Pair) {
    let one = world.end(PeerRole::Controller, 1);
    let two = world.end(PeerRole::Controller, 2);
    let pair = connected(&one, &two, &two.target(PeerRole::Controller, 2)).await;
    (one, two, pair)
}

type Halves = (LaneSender, LaneReceiver);

/// A lane and its halves at both ends: the opening side's first.
async fn lane(
    opener: &Arc<dyn Connection>,
    acceptor: &Arc<dyn Connection>,
    wanted: Lane,
) -> (Halves, Halves) {
    let both = async { tokio::join!(opener.open(wanted), acceptor.accept()) };
    let (opened, accepted) = within("opening a lane", both).await;
    let (lane, sender, receiver) = accepted.expect("the peer opens a lane");
    assert_eq!(lane, wanted);
    (opened.expect("the lane is permitted"), (sender, receiver))
}

async fn send(sender: &mut LaneSender, frame: impl Into<Bytes>) {
    within("sending", sender.send(frame.into())).await.expect("the lane is open");
}

async fn receive(receiver: &mut LaneReceiver) -> Result<Option<Bytes>, TransportError> {
    within("receiving", receiver.receive()).await
}

async fn receive_frame(receiver: &mut LaneReceiver) -> Bytes {
    receive(receiver).await.expect("the lane is open").expect("a frame was sent")
}

/// A frame whose bytes tell its number, so that no two of the same length are equal.
fn numbered(number: u32, bytes: usize) -> Bytes {
    let mut frame: Vec<u8> = number.to_le_bytes().iter().copied().cycle().take(bytes).collect();
    frame.resize(bytes, 0);
    frame.into()
}

macro_rules! conform {
    ($($module:ident :: $check:ident),* $(,)?) => {
        mod quic {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$module::$check(&super::Quic::new()).await;
            })*
        }
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$module::$check(&super::Memory::new()).await;
            })*
        }
    };
}

conform!(
    lanes::frames_arrive_whole_and_in_order,
    lanes::frames_go_both_ways_on_one_lane,
    lanes::the_largest_frame_passes_and_a_larger_one_is_refused,
    lanes::a_full_lane_holds_its_sender_and_no_other_lane,
    lanes::a_finished_lane_ends_after_its_last_frame,
    lanes::a_dropped_sender_ends_the_lane_in_order,
    lanes::a_dropped_receiver_is_seen_by_the_sender,
    lanes::a_dropped_receiver_wakes_a_waiting_sender,
    lanes::a_dropped_receive_loses_nothing,
    lanes::a_dropped_send_tears_nothing,
    lanes::both_sides_open_lanes_and_several_of_one_kind,
    lanes::lanes_are_bounded_and_free_again_once_dropped,
    peers::each_side_knows_the_other,
    peers::the_role_table_holds,
    peers::a_foreign_cluster_is_refused_on_both_sides,
    peers::a_wrong_role_is_refused_on_both_sides,
    peers::a_wrong_node_is_refused_on_both_sides,
    peers::roles_without_common_lanes_are_refused_on_both_sides,
    peers::any_node_of_the_role_will_do_where_none_is_named,
    peers::a_refused_peer_does_not_stop_the_next,
    peers::the_reason_of_a_close_is_seen_everywhere,
    peers::a_connection_ends_when_nobody_holds_it,
    peers::a_lane_alone_keeps_the_connection,
    peers::a_peer_comes_back_after_a_loss,
    peers::a_shutdown_tells_the_peers_and_ends_accepting,
    peers::nobody_there_is_an_error,
    peers::a_dropped_accept_loses_no_connection,
);
