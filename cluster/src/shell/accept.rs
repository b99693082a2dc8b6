//! Peers that dial this node: takes their connections and lanes, and turns frames into events. Each peer has its share of
//! what waits for the node, and Raft never waits behind the others. It must not interpret frames; which role may open which
//! lane is the transport's table.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use ravelin_consensus::NodeId;
use ravelin_transport::{Connection, Lane, LaneReceiver, LaneSender, PeerRole, Transport, TransportError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::muffler::Muffler;
use super::raft_lanes::RaftLanes;
use super::{Message, snapshot};
use crate::node::boot::Snapshots;
use crate::node::event::{Event, LinkId};

/// Frames that wait for one link's transport. The node sends at most a few ahead of `LinkSent`.
const LINK_FRAMES_MAX: usize = 16;
/// What a frame counts at least against the bytes that may wait: so that many small ones are bounded too.
const FRAME_SHARE_MIN: usize = 4 << 10;
/// Bytes of Raft frames that wait for the node, all peers together; whoever sends more waits.
const RAFT_BYTES_MAX: usize = 64 << 20;
/// Bytes of other frames that wait for the node, for all peers of a role.
const ROLE_BYTES_MAX: usize = 32 << 20;
/// Bytes of other frames that wait for the node, for one connection.
const CONNECTION_BYTES_MAX: usize = 4 << 20;
/// Largest frame of a proxy: it only greets and acknowledges.
const PROXY_FRAME_BYTES_MAX: usize = 256 << 10;
/// Lanes that a peer may try to open and may not, until its connection is closed.
const REFUSED_LANES_MAX: u32 = 8;
/// Lanes that a proxy's connection may open, one after the other; further ones come no faster than one in [`LANE_INTERVAL`].
const LANES_AT_ONCE: u32 = 16;
/// How long the next lane of a proxy has to wait that has used up what it may open at once. It needs one for its life.
const LANE_INTERVAL: Duration = Duration::from_millis(50);
/// How long a peer has to read why its link ends before its connection does.
const FAREWELL_WAIT: Duration = Duration::from_secs(1);

/// The node's end of a link. Dropping it ends the link once the frames are sent.
#[derive(Debug)]
pub(super) struct LinkOut {
    frames: mpsc::Sender<Bytes>,
    farewell: Arc<OnceLock<String>>,
}

impl LinkOut {
    /// Sends a frame; false if there is no room or nobody there.
    pub(super) fn send(&self, frame: Bytes) -> bool {
        self.frames.try_send(frame).is_ok()
    }

    /// Says why the link ends. A proxy's connection ends with it.
    pub(super) fn say_farewell(self, reason: String) {
        drop(self.farewell.set(reason));
    }
}

/// Bytes that may wait for the node: one allowance for Raft, one for each role.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    raft: Arc<Semaphore>,
    controllers: Arc<Semaphore>,
    proxies: Arc<Semaphore>,
    operators: Arc<Semaphore>,
}

impl Budget {
    pub(super) fn new() -> Self {
        let role = || Arc::new(Semaphore::new(ROLE_BYTES_MAX));
        Self {
            raft: Arc::new(Semaphore::new(RAFT_BYTES_MAX)),
            controllers: role(),
            proxies: role(),
            operators: role(),
        }
    }

    fn of(&self, role: PeerRole) -> &Arc<Semaphore> {
        match role {
            PeerRole::Controller => &self.controllers,
            PeerRole::Proxy => &self.proxies,
            PeerRole::Operator => &self.operators,
        }
    }
}

/// A frame's share of the bytes that may wait, given back once the node has taken it.
#[derive(Debug)]
pub(super) struct Share {
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

/// What every accepting task needs.
#[derive(Clone)]
pub(super) struct Door {
    /// For Raft frames.
    pub(super) inbox: mpsc::Sender<Message>,
    /// For everything that comes over links.
    pub(super) crowd: mpsc::Sender<Message>,
    pub(super) snapshots: Snapshots,
    pub(super) links: Arc<AtomicU64>,
    pub(super) budget: Budget,
    pub(super) raft_lanes: RaftLanes,
    pub(super) stop: CancellationToken,
}

/// Takes connections until told to stop.
pub(super) async fn accept(transport: Arc<dyn Transport>, door: Door) {
    let mut muffler = Muffler::default();
    loop {
        let accepted = tokio::select! {
            // Told first, as the transport ends then too and that is no fault.
            biased;
            () = door.stop.cancelled() => return,
            accepted = transport.accept() => accepted,
        };
        match accepted {
            Ok(connection) => {
                tokio::spawn(lanes(connection, door.clone()));
            }
            Err(error) if error.ends_transport() => {
                tracing::error!(%error, "no further connections can be taken");
                return;
            }
            // Anybody can knock: the log must not be theirs to fill.
            Err(error) => match muffler.hear(kind_of(&error), Instant::now()) {
                Some(unsaid) => tracing::warn!(%error, unsaid, "a peer was refused"),
                None => tracing::debug!(%error, "a peer was refused"),
            },
        }
    }
}

/// Errors of the same kind are told together.
fn kind_of(error: &TransportError) -> String {
    match error {
        TransportError::Refused { refusal, .. } => format!("{:?}", refusal.kind()),
        TransportError::RefusedByPeer { kind, .. } => format!("by peer {kind:?}"),
        TransportError::Unreachable { .. } => "unreachable".to_owned(),
        _ => "other".to_owned(),
    }
}

async fn lanes(connection: Arc<dyn Connection>, door: Door) {
    tracing::debug!(peer = %connection.peer(), "peer connected");
    let share = Arc::new(Semaphore::new(CONNECTION_BYTES_MAX));
    let is_proxy = connection.peer().role() == PeerRole::Proxy;
    let (mut opened, mut refused) = (0_u32, 0_u32);
    loop {
        let accepted = tokio::select! {
            () = door.stop.cancelled() => {
                connection.close("this node shuts down");
                return;
            }
            accepted = connection.accept() => accepted,
        };
        match accepted {
            Ok((lane, sender, receiver)) => {
                let (connection, share) = (Arc::clone(&connection), Arc::clone(&share));
                let conversation = Conversation { connection, lane, share, door: door.clone() };
                tokio::spawn(conversation.carry(sender, receiver));
                opened = opened.saturating_add(1);
                if opened > LANES_AT_ONCE && is_proxy {
                    tokio::time::sleep(LANE_INTERVAL).await;
                }
            }
            Err(error) if error.ends_connection() => {
                tracing::debug!(peer = %connection.peer(), %error, "peer disconnected");
                return;
            }
            Err(error) => {
                refused += 1;
                if refused == 1 {
                    tracing::warn!(peer = %connection.peer(), %error, "a lane was refused");
                }
                if refused >= REFUSED_LANES_MAX {
                    tracing::warn!(peer = %connection.peer(), refused, "disconnected: it asks for lanes that it may not open");
                    connection.close("too many lanes were asked for that may not be opened");
                    return;
                }
            }
        }
    }
}

/// One lane that a peer opened.
struct Conversation {
    connection: Arc<dyn Connection>,
    lane: Lane,
    /// Bytes of this connection's frames that may wait for the node.
    share: Arc<Semaphore>,
    door: Door,
}

impl Conversation {
    async fn carry(self, sender: LaneSender, receiver: LaneReceiver) {
        match self.lane {
            Lane::Raft => self.raft(receiver).await,
            Lane::Snapshot => snapshot::serve(self.door.snapshots, sender, receiver).await,
            Lane::Feed | Lane::Forward => self.link(sender, receiver).await,
            // Enrolment and hand-over between proxies are not served; dropping the lane says so.
            Lane::Join | Lane::Peer => {}
        }
    }

    async fn raft(self, mut receiver: LaneReceiver) {
        let from = NodeId(self.connection.peer().node());
        let (place, twins) = self.door.raft_lanes.begin(from.0, Instant::now());
        if twins {
            tracing::error!(
                node = %from,
                "two processes run under the identity of this control node: stop one of them at once, for a copy of a \
                 data directory can vote twice"
            );
        }
        loop {
            let received = tokio::select! {
                biased;
                () = place.over.cancelled() => return,
                received = receiver.receive() => received,
            };
            let Ok(Some(frame)) = received else { return };
            let Some(permit) = share(&self.door.budget.raft, frame.len()).await else { return };
            let share = Share { _permits: [Some(permit), None] };
            let message = Message::Frame { event: Event::RaftFrame { from, frame }, _share: share };
            if self.door.inbox.send(message).await.is_err() {
                return;
            }
        }
    }

    /// Hands over a frame once there is room for its bytes; false once the node has ended.
    async fn hand_over(&self, link: LinkId, frame: Bytes) -> bool {
        let bytes = frame.len();
        let own = share(&self.share, bytes).await;
        let common = share(self.door.budget.of(self.connection.peer().role()), bytes).await;
        let share = Share { _permits: [own, common] };
        let message = Message::Frame { event: Event::LinkFrame { link, frame }, _share: share };
        self.door.crowd.send(message).await.is_ok()
    }

    async fn link(self, mut sender: LaneSender, mut receiver: LaneReceiver) {
        let link = LinkId(self.door.links.fetch_add(1, Ordering::Relaxed) + 1);
        let (frames_out, mut frames) = mpsc::channel::<Bytes>(LINK_FRAMES_MAX);
        let farewell = Arc::new(OnceLock::new());
        let out = LinkOut { frames: frames_out, farewell: Arc::clone(&farewell) };
        let peer = self.connection.peer();
        let opened = Event::LinkOpened { link, lane: self.lane, role: peer.role(), node: peer.node() };
        if self.door.crowd.send(Message::Link { link, out, opened }).await.is_err() {
            return;
        }
        let writing = async {
            while let Some(frame) = frames.recv().await {
                if sender.send(frame).await.is_err() {
                    return;
                }
                if self.door.crowd.send(Message::Event(Event::LinkSent(link))).await.is_err() {
                    return;
                }
            }
            // The node let go of the link: let the peer read what was sent.
            drop(sender.finish().await);
        };
        let reading = async {
            while let Ok(Some(frame)) = receiver.receive().await {
                if peer.role() == PeerRole::Proxy && frame.len() > PROXY_FRAME_BYTES_MAX {
                    let reason = format!("a frame of {} bytes is more than a proxy has to say", frame.len());
                    drop(farewell.set(reason));
                    return;
                }
                if !self.hand_over(link, frame).await {
                    return;
                }
            }
        };
        tokio::select! {
            () = writing => {}
            () = reading => {}
            _ = self.connection.closed() => {}
            () = self.door.stop.cancelled() => {}
        }
        drop(self.door.crowd.send(Message::LinkOver(link)).await);
        if let (Lane::Feed, Some(reason)) = (self.lane, farewell.get()) {
            let read = async { while let Ok(Some(_)) = receiver.receive().await {} };
            drop(timeout(FAREWELL_WAIT, read).await);
            tracing::debug!(peer = %self.connection.peer(), reason, "disconnected");
            self.connection.close(reason);
        }
    }
}

/// Waits for room for so many bytes; none once there will never be any.
async fn share(room: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let bytes = u32::try_from(bytes.max(FRAME_SHARE_MIN)).unwrap_or(u32::MAX);
    Arc::clone(room).acquire_many_owned(bytes).await.ok()
}

#[cfg(test)]
mod tests;
