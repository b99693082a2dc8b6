//! Peers that dial this node: takes their connections and lanes, and turns frames into events.
//! It must not interpret frames; which role may open which lane is the transport's table.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ravelin_consensus::NodeId;
use ravelin_transport::{Connection, Lane, LaneReceiver, LaneSender, Transport};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Message, snapshot};
use crate::node::boot::Snapshots;
use crate::node::event::{Event, LinkId};

/// Frames that wait for one link's transport. The node sends at most a few ahead of `LinkSent`.
const LINK_FRAMES_MAX: usize = 16;
/// What a frame counts at least against the inbox's bytes.
const FRAME_SHARE_MIN: usize = 256;

/// Where a link's frames go. Dropping it ends the link once they are sent.
pub(super) type LinkOut = mpsc::Sender<Bytes>;

/// What every accepting task needs.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) inbox: mpsc::Sender<Message>,
    pub(super) snapshots: Snapshots,
    pub(super) links: Arc<AtomicU64>,
    /// Bytes of frames that may wait for the node.
    pub(super) budget: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
}

/// Takes connections until told to stop.
pub(super) async fn accept(transport: Arc<dyn Transport>, door: Door) {
    loop {
        let accepted = tokio::select! {
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
            Err(error) => tracing::warn!(%error, "a peer was refused"),
        }
    }
}

async fn lanes(connection: Arc<dyn Connection>, door: Door) {
    tracing::debug!(peer = %connection.peer(), "peer connected");
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
                tokio::spawn(carry(Arc::clone(&connection), lane, sender, receiver, door.clone()));
            }
            Err(error) if error.ends_connection() => {
                tracing::debug!(peer = %connection.peer(), %error, "peer disconnected");
                return;
            }
            Err(error) => tracing::warn!(peer = %connection.peer(), %error, "a lane was refused"),
        }
    }
}

async fn carry(
    connection: Arc<dyn Connection>,
    lane: Lane,
    sender: LaneSender,
    receiver: LaneReceiver,
    door: Door,
) {
    match lane {
        Lane::Raft => raft(NodeId(connection.peer().node()), receiver, door).await,
        Lane::Snapshot => snapshot::serve(door.snapshots, sender, receiver).await,
        Lane::Feed | Lane::Forward => link(connection, lane, sender, receiver, door).await,
        // Enrolment and hand-over between proxies are not served; dropping the lane says so.
        Lane::Join | Lane::Peer => {}
    }
}

impl Door {
    /// Hands over a frame once there is room for its bytes; false once the node has ended.
    async fn hand_over(&self, bytes: usize, event: Event) -> bool {
        let share = u32::try_from(bytes.max(FRAME_SHARE_MIN)).unwrap_or(u32::MAX);
        let Ok(share) = Arc::clone(&self.budget).acquire_many_owned(share).await else { return false };
        self.inbox.send(Message::Frame { event, _share: share }).await.is_ok()
    }
}

async fn raft(from: NodeId, mut receiver: LaneReceiver, door: Door) {
    while let Ok(Some(frame)) = receiver.receive().await {
        if !door.hand_over(frame.len(), Event::RaftFrame { from, frame }).await {
            return;
        }
    }
}

async fn link(
    connection: Arc<dyn Connection>,
    lane: Lane,
    mut sender: LaneSender,
    mut receiver: LaneReceiver,
    door: Door,
) {
    let link = LinkId(door.links.fetch_add(1, Ordering::Relaxed) + 1);
    let (out, mut frames) = mpsc::channel::<Bytes>(LINK_FRAMES_MAX);
    let peer = connection.peer();
    let opened = Event::LinkOpened { link, lane, role: peer.role(), node: peer.node() };
    if door.inbox.send(Message::Link { link, out, opened }).await.is_err() {
        return;
    }
    let inbox = door.inbox.clone();
    let writing = async {
        while let Some(frame) = frames.recv().await {
            if sender.send(frame).await.is_err() {
                return;
            }
            if inbox.send(Message::Event(Event::LinkSent(link))).await.is_err() {
                return;
            }
        }
        // The node let go of the link: let the peer read what was sent.
        drop(sender.finish().await);
    };
    let reading = async {
        while let Ok(Some(frame)) = receiver.receive().await {
            if !door.hand_over(frame.len(), Event::LinkFrame { link, frame }).await {
                return;
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
        _ = connection.closed() => {}
        () = door.stop.cancelled() => {}
    }
    drop(door.inbox.send(Message::LinkOver(link)).await);
}
