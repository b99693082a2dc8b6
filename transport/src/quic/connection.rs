//! One QUIC connection: opening lanes, judging those that the peer opens, and saying why it ended.
//!
//! A lane opens with two bytes, lane and version; the accepting transport answers with one. The answer comes from a task of the
//! connection, so a peer that dawdles over one opening delays no other, and no role check depends on its user.

use super::door::Seat;
use super::lane::{Receiver, Sender};
use super::wire::{self, Answer, LANE_VERSION};
use crate::certificate::Standing;
use crate::error::{LaneRefusal, Refusal, Side, TransportError};
use crate::lane::Lane;
use crate::members::{KeySha256, Members};
use crate::peer::{PeerId, PeerRole};
use crate::seam::{BoxFuture, Connection, LaneReceiver, LaneSender};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use quinn::{ConnectionError, RecvStream, SendStream};
use rustls_pki_types::UnixTime;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

/// What decides about lanes on one connection.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) here: PeerRole,
    pub(super) peer: PeerId,
    pub(super) standing: Standing,
    /// The key that the peer proved to hold, and those on record.
    pub(super) key: KeySha256,
    pub(super) members: Arc<Members>,
    pub(super) lane_timeout: Duration,
    pub(super) lanes_max: usize,
}

/// Lives as long as the connection or one of its lanes is held; then closes it.
pub(super) struct Shared {
    quinn: quinn::Connection,
    address: String,
    closed_here: OnceLock<String>,
    /// Lanes that this side may still open.
    slots: Arc<Semaphore>,
    /// The place that it takes at this end, where this end accepted it.
    _seat: Option<Seat>,
}

/// The right to have one lane open.
pub(super) type Slot = Arc<OwnedSemaphorePermit>;

/// A lane that the peer opened, accepted or refused by the transport.
type Taken = Result<(Lane, SendStream, RecvStream), LaneRefusal>;

pub(super) struct QuicConnection {
    shared: Arc<Shared>,
    policy: Policy,
    taken: Mutex<mpsc::Receiver<Taken>>,
}

impl Shared {
    pub(super) fn error(&self, error: &ConnectionError) -> TransportError {
        wire::connection_error(error, &self.address, self.closed_here.get().map(String::as_str))
    }

    fn close(&self, reason: &str) {
        let _ = self.closed_here.set(reason.to_owned());
        self.quinn.close(wire::CLOSE_BY_USER, wire::cut(reason));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close("no longer held");
    }
}

impl QuicConnection {
    pub(super) fn new(quinn: quinn::Connection, address: String, policy: Policy, seat: Option<Seat>) -> Self {
        let (sender, receiver) = mpsc::channel(policy.lanes_max.max(1));
        tokio::spawn(take_lanes(quinn.clone(), policy.clone(), sender));
        let slots = Arc::new(Semaphore::new(policy.lanes_max));
        let shared = Arc::new(Shared { quinn, address, closed_here: OnceLock::new(), slots, _seat: seat });
        Self { shared, policy, taken: Mutex::new(receiver) }
    }

    /// The halves of a lane. Its slot, where this side opened it, is free again once both are dropped.
    fn halves(
        &self,
        lane: Lane,
        streams: (SendStream, RecvStream),
        slot: Option<Slot>,
    ) -> (LaneSender, LaneReceiver) {
        let (send, receive) = streams;
        // It fails only on a stream that has ended, and then it does not matter.
        let _ = send.set_priority(wire::priority(lane));
        let sender = Sender::new(lane, send, Arc::clone(&self.shared), slot.clone());
        let receiver = Receiver::new(lane, receive, Arc::clone(&self.shared), slot);
        (LaneSender::new(lane, sender), LaneReceiver::new(lane, receiver))
    }

    /// Opens a stream with this greeting and returns it with the answer.
    pub(super) async fn greet(
        &self,
        lane: Lane,
        greeting: [u8; 2],
    ) -> Result<(u8, SendStream, RecvStream), TransportError> {
        let (mut send, mut receive) =
            self.shared.quinn.open_bi().await.map_err(|error| self.shared.error(&error))?;
        let mut answer = [0];
        let answered = match send.write_all(&greeting).await {
            Ok(()) => receive.read_exact(&mut answer).await.is_ok(),
            Err(_) => false,
        };
        match (answered, self.shared.quinn.close_reason()) {
            (true, _) => {
                let [answer] = answer;
                Ok((answer, send, receive))
            }
            (false, Some(error)) => Err(self.shared.error(&error)),
            (false, None) => {
                let reason = "the peer takes no lanes any more".to_owned();
                Err(TransportError::LaneBroken { lane, reason })
            }
        }
    }
}

#[cfg(test)]
impl QuicConnection {
    pub(super) fn quinn(&self) -> &quinn::Connection {
        &self.shared.quinn
    }
}

impl Connection for QuicConnection {
    fn peer(&self) -> &PeerId {
        &self.policy.peer
    }

    fn open(&self, lane: Lane) -> BoxFuture<'_, Result<(LaneSender, LaneReceiver), TransportError>> {
        Box::pin(async move {
            let (here, peer) = (self.policy.here, self.policy.peer.role());
            self.policy
                .judge(lane, here, peer, UnixTime::now())
                .map_err(|refusal| TransportError::LaneRefused { by: Side::Here, refusal })?;
            let within = self.policy.lane_timeout;
            let opening = async {
                let slots = Arc::clone(&self.shared.slots);
                let slot = tokio::select! {
                    biased;
                    error = self.closed() => return Err(error),
                    slot = slots.acquire_owned() => slot.ok().map(Arc::new),
                };
                let (answer, send, receive) = self.greet(lane, [lane.code(), LANE_VERSION]).await?;
                Answer::read(answer, lane, here, peer)?;
                Ok(self.halves(lane, (send, receive), slot))
            };
            timeout(within, opening).await.map_err(|_| TransportError::LaneTimeout { lane, within })?
        })
    }

    fn accept(&self) -> BoxFuture<'_, Result<(Lane, LaneSender, LaneReceiver), TransportError>> {
        Box::pin(async {
            match self.taken.lock().await.recv().await {
                Some(Ok((lane, send, receive))) => {
                    let (sender, receiver) = self.halves(lane, (send, receive), None);
                    Ok((lane, sender, receiver))
                }
                Some(Err(refusal)) => Err(TransportError::LaneRefused { by: Side::Here, refusal }),
                None => Err(self.shared.error(&self.shared.quinn.closed().await)),
            }
        })
    }

    fn close(&self, reason: &str) {
        self.shared.close(reason);
    }

    fn closed(&self) -> BoxFuture<'_, TransportError> {
        Box::pin(async { self.shared.error(&self.shared.quinn.closed().await) })
    }
}

impl Policy {
    /// The role table and the dates, for a lane from `opener` to `acceptor`.
    fn judge(
        &self,
        lane: Lane,
        opener: PeerRole,
        acceptor: PeerRole,
        now: UnixTime,
    ) -> Result<(), LaneRefusal> {
        if !lane.permits(opener, acceptor) {
            return Err(LaneRefusal::Forbidden { lane, opener, acceptor });
        }
        if self.standing.is_expired(now) && !self.survives_expiry(lane) {
            return Err(LaneRefusal::Expired { lane });
        }
        Ok(())
    }

    /// A certificate that runs out while the connection lives is treated as one that had run out before.
    fn survives_expiry(&self, lane: Lane) -> bool {
        lane.survives_expiry()
            && self.here == PeerRole::Controller
            && self.peer.role() == PeerRole::Controller
    }

    /// Waits until a control node at the other end is one that is no longer admitted.
    async fn revoked(&self) -> Refusal {
        if (self.here, self.peer.role()) != (PeerRole::Controller, PeerRole::Controller) {
            return std::future::pending().await;
        }
        self.members.contradict(self.peer.node(), self.key).await
    }

    fn judge_greeting(&self, [code, version]: [u8; 2]) -> Result<Lane, LaneRefusal> {
        let lane = Lane::from_code(code).ok_or(LaneRefusal::Unknown { code })?;
        if version != LANE_VERSION {
            return Err(LaneRefusal::Version { lane, version });
        }
        self.judge(lane, self.peer.role(), self.here, UnixTime::now())?;
        Ok(lane)
    }

    /// Reads the greeting of one stream and answers it; `None` if the peer gave it up.
    async fn take(&self, mut send: SendStream, mut receive: RecvStream) -> Option<Taken> {
        let mut greeting = [0; 2];
        timeout(self.lane_timeout, receive.read_exact(&mut greeting)).await.ok()?.ok()?;
        match self.judge_greeting(greeting) {
            Ok(lane) => {
                send.write_all(&[Answer::Accepted.code()]).await.ok()?;
                Some(Ok((lane, send, receive)))
            }
            Err(refusal) => {
                let _ = send.write_all(&[Answer::to_refusal(refusal).code()]).await;
                let _ = send.finish();
                Some(Err(refusal))
            }
        }
    }
}

/// Answers the lanes that the peer opens, until the connection ends. Once nobody takes them any more, each is given back at once.
async fn take_lanes(quinn: quinn::Connection, policy: Policy, taken: mpsc::Sender<Taken>) {
    let mut greetings = FuturesUnordered::new();
    let revoked = policy.revoked();
    tokio::pin!(revoked);
    loop {
        let answered = tokio::select! {
            refusal = &mut revoked => {
                quinn.close(wire::close_code(refusal.kind()), wire::cut(&refusal.to_string()));
                return;
            }
            stream = quinn.accept_bi() => match stream {
                Ok((mut send, mut receive)) if taken.is_closed() => {
                    let _ = send.reset(wire::STREAM_NOT_TAKEN);
                    let _ = receive.stop(wire::STREAM_NOT_TAKEN);
                    continue;
                }
                Ok((send, receive)) => {
                    greetings.push(policy.take(send, receive));
                    continue;
                }
                Err(_) => return,
            },
            Some(answered) = greetings.next() => answered,
        };
        if let Some(answered) = answered {
            // Whoever should take it may not, and a peer that was removed must go all the same.
            tokio::select! {
                refusal = &mut revoked => {
                    quinn.close(wire::close_code(refusal.kind()), wire::cut(&refusal.to_string()));
                    return;
                }
                _ = taken.send(answered) => {}
            }
        }
    }
}
