//! The way to one other control node: dials it, keeps dialling, carries Raft frames and calls.
//! It must not keep frames for a node that cannot be reached: the core repeats what matters.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ravelin_consensus::NodeId;
use ravelin_transport::backoff::{Backoff, BackoffOptions};
use ravelin_transport::{Connection, Lane, RefusalKind, Target, Transport, TransportError};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Message;
use crate::node::event::{CallId, Event};

/// Raft frames that wait for one peer; a slow one loses further frames.
const RAFT_FRAMES_MAX: usize = 256;
/// Calls that wait for one peer.
const CALLS_MAX: usize = 256;
/// When to dial again: a peer that is back is found within a second, and one that takes connections only to drop them is
/// not dialled in a tight loop.
const DIALLING: BackoffOptions = BackoffOptions {
    first: Duration::from_millis(50),
    max: Duration::from_secs(1),
    stable_after: Duration::from_secs(5),
};
/// How often losses towards a peer are reported at most.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// A question for the peer, in parts.
#[derive(Debug)]
pub(super) struct CallOut {
    pub(super) call: CallId,
    pub(super) frames: Vec<Bytes>,
}

/// The node's end of the way to a peer.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    raft: mpsc::Sender<Bytes>,
    calls: mpsc::Sender<CallOut>,
    connection: watch::Receiver<Option<Handle>>,
}

/// A connection that can be compared and printed.
#[derive(Clone)]
struct Handle(Arc<dyn Connection>);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Peer {
    /// Starts the way to a peer.
    pub(super) fn start(
        node: NodeId,
        target: Target,
        transport: Arc<dyn Transport>,
        inbox: mpsc::Sender<Message>,
        stop: CancellationToken,
        greeting: Option<Bytes>,
    ) -> Self {
        let (raft, raft_frames) = mpsc::channel(RAFT_FRAMES_MAX);
        let (calls, calls_out) = mpsc::channel(CALLS_MAX);
        let (connected, connection) = watch::channel(None);
        let way = Way {
            node,
            target,
            transport,
            inbox,
            raft: raft_frames,
            calls: calls_out,
            connected,
            reported: None,
            greeting,
        };
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = way.run() => {}
            }
        });
        Self { raft, calls, connection }
    }

    /// Sends a Raft frame, or loses it.
    pub(super) fn send(&self, frame: Bytes) {
        drop(self.raft.try_send(frame));
    }

    /// Asks a question; gives it back if there is no room.
    pub(super) fn call(&self, call: CallOut) -> Result<(), CallId> {
        self.calls.try_send(call).map_err(|error| error.into_inner().call)
    }

    /// The connection, if there is one at the moment.
    pub(super) fn connection(&self) -> Option<Arc<dyn Connection>> {
        self.connection.borrow().as_ref().map(|handle| Arc::clone(&handle.0))
    }
}

struct Way {
    node: NodeId,
    target: Target,
    transport: Arc<dyn Transport>,
    inbox: mpsc::Sender<Message>,
    raft: mpsc::Receiver<Bytes>,
    calls: mpsc::Receiver<CallOut>,
    connected: watch::Sender<Option<Handle>>,
    reported: Option<tokio::time::Instant>,
    /// The first frame on lane Raft.
    greeting: Option<Bytes>,
}

impl Way {
    async fn run(mut self) {
        let start = tokio::time::Instant::now();
        let mut backoff = Backoff::new(DIALLING, rand::random());
        // One line for each change of how things stand, not one for each try.
        let mut told: Option<String> = None;
        loop {
            match self.dial().await {
                Ok(connection) => {
                    backoff.connected(start.elapsed());
                    told = None;
                    tracing::info!(node = %self.node, address = self.target.address, "connected to controller");
                    self.connected.send_replace(Some(Handle(Arc::clone(&connection))));
                    self.carry(&connection).await;
                    self.connected.send_replace(None);
                    connection.close("the way to this node is dialled anew");
                    tracing::info!(node = %self.node, "lost the connection to controller");
                }
                Err(reason) if told.as_ref() == Some(&reason) => {
                    tracing::debug!(node = %self.node, reason, "controller still cannot be reached");
                }
                Err(reason) => {
                    tracing::warn!(node = %self.node, reason, "controller cannot be reached; it is tried again and again");
                    told = Some(reason);
                }
            }
            self.lost().await;
            self.wait(backoff.failed(start.elapsed())).await;
        }
    }

    async fn dial(&mut self) -> Result<Arc<dyn Connection>, String> {
        let dial = self.transport.connect(&self.target);
        tokio::pin!(dial);
        loop {
            tokio::select! {
                connection = &mut dial => match connection {
                    Ok(connection) => return Ok(connection),
                    Err(error) => {
                        if let TransportError::RefusedByPeer { kind: RefusalKind::Removed, .. } = error {
                            let event = Event::RefusedAsRemoved { by: self.node };
                            drop(self.inbox.send(Message::Event(event)).await);
                        }
                        return Err(error.to_string());
                    }
                },
                // What waits while nobody answers is old by the time somebody does.
                Some(_) = self.raft.recv() => {}
                Some(call) = self.calls.recv() => fail(&self.inbox, call.call, false).await,
            }
        }
    }

    /// Waits, and loses what comes meanwhile.
    async fn wait(&mut self, pause: Duration) {
        let over = tokio::time::sleep(pause);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                Some(_) = self.raft.recv() => {}
                Some(call) = self.calls.recv() => fail(&self.inbox, call.call, false).await,
            }
        }
    }

    async fn lost(&mut self) {
        let now = tokio::time::Instant::now();
        if self.reported.is_none_or(|at| now.duration_since(at) >= REPORT_INTERVAL) {
            self.reported = Some(now);
            drop(self.inbox.send(Message::Event(Event::Unreachable(self.node))).await);
        }
    }

    /// Carries frames and calls until the connection ends.
    async fn carry(&mut self, connection: &Arc<dyn Connection>) {
        let Self { raft, calls, inbox, greeting, .. } = self;
        let (call_sender, call_receiver) = mpsc::channel(CALLS_MAX);
        let mut forwarding = tokio::spawn(forward(Arc::clone(connection), call_receiver, inbox.clone()));
        let frames = async {
            let Ok((mut lane, _answers)) = connection.open(Lane::Raft).await else { return };
            if let Some(greeting) = greeting
                && lane.send(greeting.clone()).await.is_err()
            {
                return;
            }
            while let Some(frame) = raft.recv().await {
                if lane.send(frame).await.is_err() {
                    return;
                }
            }
        };
        tokio::pin!(frames);
        loop {
            tokio::select! {
                () = &mut frames => break,
                _ = &mut forwarding => return,
                _ = connection.closed() => break,
                Some(call) = calls.recv() => {
                    if let Err(error) = call_sender.try_send(call) {
                        fail(inbox, error.into_inner().call, false).await;
                    }
                }
            }
        }
        connection.close("a lane of this connection has ended");
        drop(call_sender);
        // Calls that are under way get their one answer: that there is none.
        drop(forwarding.await);
    }
}

/// Carries calls over one lane Forward, opened with the first. Ends with the lane or the connection, or when no more calls come.
async fn forward(
    connection: Arc<dyn Connection>,
    mut calls: mpsc::Receiver<CallOut>,
    inbox: mpsc::Sender<Message>,
) {
    let Some(first) = calls.recv().await else { return };
    let mut open: BTreeSet<CallId> = BTreeSet::new();
    let lane = tokio::select! {
        lane = connection.open(Lane::Forward) => lane.ok(),
        _ = connection.closed() => None,
    };
    let Some((mut sender, mut receiver)) = lane else {
        fail(&inbox, first.call, false).await;
        fail_waiting(&inbox, calls).await;
        return;
    };
    let mut next = Some(first);
    loop {
        if let Some(CallOut { call, frames }) = next.take() {
            open.insert(call);
            let mut sent = Ok(());
            for frame in frames {
                sent = sender.send(frame).await;
                if sent.is_err() {
                    break;
                }
            }
            if sent.is_err() {
                break;
            }
        }
        tokio::select! {
            call = calls.recv() => match call {
                Some(call) => next = Some(call),
                None => break,
            },
            frame = receiver.receive() => {
                let Ok(Some(frame)) = frame else { break };
                let Some((call, last)) = crate::request::parts::head(&frame) else { break };
                let call = CallId(call);
                if last {
                    open.remove(&call);
                }
                drop(inbox.send(Message::Event(Event::CallFrame { call, frame })).await);
            }
            _ = connection.closed() => break,
        }
    }
    for call in open {
        fail(&inbox, call, true).await;
    }
    fail_waiting(&inbox, calls).await;
}

/// Fails the calls that were never sent; no further ones are taken.
async fn fail_waiting(inbox: &mpsc::Sender<Message>, mut calls: mpsc::Receiver<CallOut>) {
    calls.close();
    while let Some(call) = calls.recv().await {
        fail(inbox, call.call, false).await;
    }
}

async fn fail(inbox: &mpsc::Sender<Message>, call: CallId, may_have_arrived: bool) {
    let reason = "the connection to the other node is not there".to_owned();
    drop(inbox.send(Message::Event(Event::CallFailed { call, may_have_arrived, reason })).await);
}

#[cfg(test)]
mod tests {
    use ravelin_transport::memory::MemoryHub;
    use ravelin_transport::{ClusterId, Expected, PeerRole};

    use super::*;

    #[tokio::test]
    async fn calls_that_wait_when_the_lane_ends_fail_as_never_sent() {
        let hub = MemoryHub::new();
        let endpoint =
            |node: u64| hub.endpoint(&format!("c{node}"), ClusterId([1; 16]), PeerRole::Controller, node);
        let (one, two) = (endpoint(1).expect("a free name"), endpoint(2).expect("a free name"));
        let expect = Expected { role: PeerRole::Controller, node: Some(2) };
        let target = Target { address: "c2".to_owned(), expect };
        let (connection, accepted) = tokio::join!(one.connect(&target), two.accept());
        let (connection, _accepted) = (connection.expect("it listens"), accepted.expect("it was dialled"));
        let (calls, received) = mpsc::channel(CALLS_MAX);
        for call in 1..=3 {
            calls.try_send(CallOut { call: CallId(call), frames: Vec::new() }).expect("there is room");
        }
        connection.close("the other node is gone");
        let (inbox, mut told) = mpsc::channel(8);
        forward(connection, received, inbox).await;
        let mut failed = Vec::new();
        while let Some(message) = told.recv().await {
            let Message::Event(Event::CallFailed { call, may_have_arrived, .. }) = message else {
                panic!("something else was told");
            };
            failed.push((call.0, may_have_arrived));
        }
        assert_eq!(failed, [(1, false), (2, false), (3, false)]);
        assert!(calls.is_closed(), "further ones are refused");
    }
}
