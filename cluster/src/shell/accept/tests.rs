//! Peers that misbehave: floods, frames too large, lanes that they may not open; and that the others do not notice.

use ravelin_transport::memory::{MemoryHub, MemoryTransport};
use ravelin_transport::{BoxFuture, ClusterId, Expected, LaneRefusal, PeerId, Side, Target};
use tokio::sync::Notify;

use super::*;
const CLUSTER: [u8; 16] = [7; 16];
/// Far above what any step takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node's accepting side with nobody behind it: what peers say waits where the test sees it.
struct House {
    hub: MemoryHub,
    door: Door,
    inbox: mpsc::Receiver<Message>,
    crowd: mpsc::Receiver<Message>,
}

impl House {
    fn new() -> Self {
        // Its snapshots are all that is needed of a node.
        let (driver, ..) = super::super::driver::tests::driver();
        let (inbox_sender, inbox) = mpsc::channel(64);
        let (crowd_sender, crowd) = mpsc::channel(super::super::CROWD_MAX);
        let door = Door {
            inbox: inbox_sender,
            crowd: crowd_sender,
            snapshots: driver.snapshots,
            links: Arc::new(AtomicU64::new(0)),
            budget: Budget::new(),
            raft_lanes: RaftLanes::default(),
            stop: CancellationToken::new(),
        };
        let hub = MemoryHub::new();
        let house = hub.endpoint("house", ClusterId(CLUSTER), PeerRole::Controller, 1);
        tokio::spawn(accept(Arc::new(house.expect("a free name")), door.clone()));
        Self { hub, door, inbox, crowd }
    }

    async fn visitor(&self, role: PeerRole, node: u64) -> (MemoryTransport, Arc<dyn Connection>) {
        let name = format!("{role}-{node}");
        let endpoint = self.hub.endpoint(&name, ClusterId(CLUSTER), role, node).expect("a free name");
        let expect = Expected { role: PeerRole::Controller, node: Some(1) };
        let target = Target { address: "house".to_owned(), expect };
        let connection = endpoint.connect(&target).await.expect("it accepts");
        (endpoint, connection)
    }

    async fn next(&mut self) -> Message {
        timeout(PATIENCE, self.crowd.recv()).await.expect("in time").expect("the door is open")
    }

    async fn link(&mut self) -> (LinkId, LinkOut) {
        match self.next().await {
            Message::Link { link, out, .. } => (link, out),
            _ => panic!("not a new link"),
        }
    }
}

async fn reason_of_end(connection: &Arc<dyn Connection>) -> String {
    timeout(PATIENCE, connection.closed()).await.expect("it is closed").to_string()
}

#[tokio::test]
async fn a_flood_of_one_peer_waits_at_its_own_door_and_raft_passes_it_by() {
    let mut house = House::new();
    let (_noisy_end, noisy) = house.visitor(PeerRole::Proxy, 1).await;
    let (mut sender, _receiver) = noisy.open(Lane::Feed).await.expect("a proxy may");
    let (noisy_link, _out) = house.link().await;
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let flood = tokio::spawn(async move {
        while sender.send(Bytes::from_static(b"x")).await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    let share_frames = CONNECTION_BYTES_MAX / FRAME_SHARE_MIN;
    while house.crowd.len() < share_frames {
        tokio::task::yield_now().await;
    }
    let (_raft_end, raft) = house.visitor(PeerRole::Controller, 2).await;
    let (mut raft_sender, _raft_receiver) = raft.open(Lane::Raft).await.expect("a controller may");
    raft_sender.send(Bytes::from_static(b"heartbeat")).await.expect("it is open");
    let heard = timeout(PATIENCE, house.inbox.recv()).await.expect("in time");
    assert!(matches!(heard, Some(Message::Frame { event: Event::RaftFrame { .. }, .. })));
    let (_operator_end, operator) = house.visitor(PeerRole::Operator, 1).await;
    let (mut asking, _answers) = operator.open(Lane::Forward).await.expect("an operator may");
    asking.send(Bytes::from_static(b"question")).await.expect("it is open");
    // All that the noisy one could bring in lies before it, and no more than its share at any time.
    let mut of_the_noisy = 0;
    loop {
        assert!(house.crowd.len() <= share_frames + 2, "{} wait", house.crowd.len());
        match house.next().await {
            Message::Frame { event: Event::LinkFrame { link, .. }, .. } if link == noisy_link => {
                of_the_noisy += 1;
            }
            Message::Frame { event: Event::LinkFrame { .. }, .. } => break,
            _ => {}
        }
    }
    assert!(of_the_noisy >= share_frames, "{of_the_noisy} of {}", sent.load(Ordering::Relaxed));
    assert!(of_the_noisy <= 2 * share_frames + 2, "{of_the_noisy} before an operator's question");
    flood.abort();
}

#[tokio::test]
async fn a_proxy_that_says_too_much_at_once_is_disconnected_and_told_why() {
    let mut house = House::new();
    let (_end, proxy) = house.visitor(PeerRole::Proxy, 1).await;
    let (mut sender, _receiver) = proxy.open(Lane::Feed).await.expect("a proxy may");
    let (link, _out) = house.link().await;
    sender.send(Bytes::from(vec![0; PROXY_FRAME_BYTES_MAX + 1])).await.expect("a frame may be larger");
    assert!(matches!(house.next().await, Message::LinkOver(over) if over == link), "the node never sees it");
    drop(sender);
    let reason = reason_of_end(&proxy).await;
    assert!(reason.contains("more than a proxy has to say"), "{reason}");
}

#[tokio::test]
async fn a_proxy_that_the_node_lets_go_reads_its_last_word_and_is_disconnected() {
    let mut house = House::new();
    let (_end, proxy) = house.visitor(PeerRole::Proxy, 1).await;
    let (_sender, mut receiver) = proxy.open(Lane::Feed).await.expect("a proxy may");
    let (_, out) = house.link().await;
    assert!(out.send(Bytes::from_static(b"last word")));
    out.say_farewell("not a feed message".to_owned());
    let heard = timeout(PATIENCE, receiver.receive()).await.expect("in time").expect("in order");
    assert_eq!(heard.as_deref(), Some(b"last word".as_slice()));
    drop(receiver);
    let reason = reason_of_end(&proxy).await;
    assert!(reason.contains("not a feed message"), "{reason}");
}

#[tokio::test]
async fn an_operators_connection_outlives_one_of_its_lanes() {
    let mut house = House::new();
    let (_end, operator) = house.visitor(PeerRole::Operator, 1).await;
    let (_sender, mut receiver) = operator.open(Lane::Forward).await.expect("an operator may");
    let (_, out) = house.link().await;
    out.say_farewell("too many lanes".to_owned());
    let heard = timeout(PATIENCE, receiver.receive()).await.expect("in time").expect("in order");
    assert_eq!(heard, None);
    operator.open(Lane::Forward).await.expect("the connection stands");
}

/// A peer that asks for lanes that it may not open, again and again.
struct Asking {
    peer: PeerId,
    asked: AtomicU64,
    closed: Notify,
}

impl Connection for Asking {
    fn peer(&self) -> &PeerId {
        &self.peer
    }

    fn open(&self, _: Lane) -> BoxFuture<'_, Result<(LaneSender, LaneReceiver), TransportError>> {
        Box::pin(std::future::pending())
    }

    fn accept(&self) -> BoxFuture<'_, Result<(Lane, LaneSender, LaneReceiver), TransportError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let refusal = LaneRefusal::Forbidden {
            lane: Lane::Raft,
            opener: PeerRole::Proxy,
            acceptor: PeerRole::Controller,
        };
        Box::pin(std::future::ready(Err(TransportError::LaneRefused { by: Side::Here, refusal })))
    }

    fn close(&self, _: &str) {
        self.closed.notify_one();
    }

    fn closed(&self) -> BoxFuture<'_, TransportError> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn who_asks_again_and_again_for_lanes_that_it_may_not_open_is_disconnected() {
    let house = House::new();
    let (_end, proxy) = house.visitor(PeerRole::Proxy, 1).await;
    // Who this is matters not; only the transport can name peers.
    let peer = proxy.peer().clone();
    let asking = Arc::new(Asking { peer, asked: AtomicU64::new(0), closed: Notify::new() });
    let connection: Arc<dyn Connection> = Arc::clone(&asking) as Arc<dyn Connection>;
    timeout(PATIENCE, lanes(connection, house.door.clone())).await.expect("it ends");
    timeout(PATIENCE, asking.closed.notified()).await.expect("closed, not only dropped");
    assert_eq!(asking.asked.load(Ordering::SeqCst), u64::from(REFUSED_LANES_MAX));
}

#[tokio::test(start_paused = true)]
async fn a_proxy_opens_lanes_in_a_row_only_so_fast_and_an_operator_one_for_each_question() {
    let house = House::new();
    for (role, lane, lanes) in
        [(PeerRole::Operator, Lane::Forward, 200), (PeerRole::Proxy, Lane::Feed, LANES_AT_ONCE + 40)]
    {
        let (_end, connection) = house.visitor(role, 1).await;
        let begun = Instant::now();
        for _ in 0..lanes {
            drop(connection.open(lane).await.expect("permitted"));
        }
        // Some of them wait in the transport, taken or not.
        let least = if role == PeerRole::Proxy { LANE_INTERVAL * 20 } else { Duration::ZERO };
        let took = begun.elapsed();
        assert!(took >= least && took <= least + LANE_INTERVAL * 40, "{role}: {took:?}");
    }
}

#[tokio::test]
async fn a_second_process_under_a_control_nodes_identity_takes_its_place_and_both_are_never_heard() {
    let mut house = House::new();
    let (_first_end, first) = house.visitor(PeerRole::Controller, 2).await;
    let (mut before, _) = first.open(Lane::Raft).await.expect("a controller may");
    before.send(Bytes::from_static(b"one")).await.expect("it is open");
    let heard = timeout(PATIENCE, house.inbox.recv()).await.expect("in time");
    assert!(matches!(heard, Some(Message::Frame { .. })));
    let second = house.hub.endpoint("twin", ClusterId(CLUSTER), PeerRole::Controller, 2).expect("free");
    let expect = Expected { role: PeerRole::Controller, node: Some(1) };
    let target = Target { address: "house".to_owned(), expect };
    let connection = second.connect(&target).await.expect("it accepts");
    let (mut after, _) = connection.open(Lane::Raft).await.expect("a controller may");
    after.send(Bytes::from_static(b"two")).await.expect("it is open");
    let heard = timeout(PATIENCE, house.inbox.recv()).await.expect("in time");
    assert!(
        matches!(heard, Some(Message::Frame { event: Event::RaftFrame { frame, .. }, .. }) if frame == "two")
    );
    let ended = async { while before.send(Bytes::from_static(b"late")).await.is_ok() {} };
    timeout(PATIENCE, ended).await.expect("the lane of the first has ended");
    assert!(house.inbox.try_recv().is_err(), "what it said late was not heard");
}
