//! The seam between whoever speaks and whatever carries it: transport, connection, and the two halves of a lane.
//!
//! Implementations live in their own modules; nothing here may name one of them. What is promised here is what the
//! conformance suite checks on every transport.

use crate::error::{Refusal, TransportError};
use crate::lane::{FRAME_BYTES_MAX, Lane};
use crate::members::Members;
use crate::peer::{PeerId, PeerRole};
use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

/// A boxed future, so that transports can be chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whom to dial, and who must answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `host:port`, or the name of an endpoint in memory.
    pub address: String,
    /// Who must be there.
    pub expect: Expected,
}

/// The peer that a dialling side insists on. Its cluster is always the dialler's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The role that must be in the certificate.
    pub role: PeerRole,
    /// The node that must be in the certificate; `None` accepts any of the role.
    pub node: Option<u64>,
}

impl Expected {
    pub(crate) fn check(self, peer: &PeerId) -> Result<(), Refusal> {
        let Self { role, node } = self;
        if peer.role() != role {
            return Err(Refusal::WrongRole { expected: role, found: peer.role() });
        }
        match node {
            Some(expected) if expected != peer.node() => {
                Err(Refusal::WrongNode { role, expected, found: peer.node() })
            }
            _ => Ok(()),
        }
    }
}

/// Makes authenticated connections. Chosen at run time, shared behind an `Arc`.
pub trait Transport: Send + Sync + 'static {
    /// Dials. Ready only once both sides have accepted each other, so a refusal by the peer is an error here, not a
    /// surprise later. Bounded by the transport's handshake timeout. Cancel safe: a dropped future leaves no connection.
    fn connect<'a>(
        &'a self,
        target: &'a Target,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, TransportError>>;

    /// The next connection that a peer opened. An error for which [`TransportError::ends_transport`] is false tells of one peer that was
    /// refused: call again. Cancel safe: no connection is lost. Several callers may wait; each connection goes to one.
    fn accept(&self) -> BoxFuture<'_, Result<Arc<dyn Connection>, TransportError>>;

    /// The address that peers can dial, where the transport has one.
    fn local_address(&self) -> Option<SocketAddr>;

    /// The keys by which control nodes know each other, to be recorded anew when the cluster's log says more than the identity file did.
    /// `None` where peers are known without keys.
    fn members(&self) -> Option<&Members>;

    /// Closes every connection with a reason, stops accepting, and waits (bounded) until peers have been told and its address, where peers
    /// can dial it, is free again, which it is not while anybody still holds one of its connections. A process that ends without it
    /// may leave its peers to find that out by its silence, and takes its places there until then.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// One authenticated connection. It stays open while the connection or any of its lanes is held, unless either side closes it.
pub trait Connection: Send + Sync {
    /// Who is at the other end, from its verified certificate.
    fn peer(&self) -> &PeerId;

    /// Opens a lane. Checked against the role table here and by the peer, whose refusal is an error here. Ready once the peer's
    /// transport has accepted it. Cancel safe: a dropped future gives the lane up.
    fn open(&self, lane: Lane) -> BoxFuture<'_, Result<(LaneSender, LaneReceiver), TransportError>>;

    /// The next lane that the peer opened. An error for which [`TransportError::ends_connection`] is false tells of a lane that was
    /// refused: call again. Cancel safe: no lane is lost.
    fn accept(&self) -> BoxFuture<'_, Result<(Lane, LaneSender, LaneReceiver), TransportError>>;

    /// Closes at once: frames not yet delivered may be lost. The peer sees the reason (cut to 256 bytes). Repeating it is harmless.
    fn close(&self, reason: &str);

    /// Waits for the end and says why it came.
    fn closed(&self) -> BoxFuture<'_, TransportError>;
}

/// What a transport implements behind [`LaneSender`].
pub(crate) trait SendFrames: Send {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), TransportError>>;
    fn finish(&mut self) -> BoxFuture<'_, Result<(), TransportError>>;
}

/// What a transport implements behind [`LaneReceiver`].
pub(crate) trait ReceiveFrames: Send {
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, TransportError>>;
}

/// The sending half of a lane. Dropping it ends the lane in order, as [`LaneSender::finish`] does but without waiting.
pub struct LaneSender {
    lane: Lane,
    frames: Box<dyn SendFrames>,
}

/// The receiving half of a lane. Dropping it tells the sender, whose next sends fail.
pub struct LaneReceiver {
    lane: Lane,
    frames: Box<dyn ReceiveFrames>,
}

impl LaneSender {
    pub(crate) fn new(lane: Lane, frames: impl SendFrames + 'static) -> Self {
        Self { lane, frames: Box::new(frames) }
    }

    /// Which lane it is.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        self.lane
    }

    /// Hands over one whole frame, waiting while the lane is full (a bounded number of bytes in flight). Ready means accepted
    /// by this side's transport, not received: only an answer shows that.
    ///
    /// Cancel safe in this sense: a frame is never torn. If the future is dropped, the frame either was not taken at all or will still be
    /// sent whole, before any later one.
    ///
    /// # Errors
    /// [`TransportError::FrameTooLarge`] above [`FRAME_BYTES_MAX`] (the lane goes on); [`TransportError::ReceiverDropped`] or
    /// what ended the connection (the lane is over).
    pub async fn send(&mut self, frame: Bytes) -> Result<(), TransportError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(TransportError::FrameTooLarge { bytes: frame.len() as u64, max: FRAME_BYTES_MAX });
        }
        self.frames.send(frame).await
    }

    /// Ends the lane in order: the receiver gets every frame sent, then `None`. Ready once all frames are with the transport.
    ///
    /// # Errors
    /// As for [`LaneSender::send`].
    pub async fn finish(mut self) -> Result<(), TransportError> {
        self.frames.finish().await
    }
}

impl LaneReceiver {
    pub(crate) fn new(lane: Lane, frames: impl ReceiveFrames + 'static) -> Self {
        Self { lane, frames: Box::new(frames) }
    }

    /// Which lane it is.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        self.lane
    }

    /// The next whole frame; `None` once the sender has ended the lane in order. Cancel safe: no frame is lost or torn.
    ///
    /// # Errors
    /// [`TransportError::FrameTooLarge`] or [`TransportError::LaneBroken`] (the lane is over), or what ended the connection.
    pub async fn receive(&mut self) -> Result<Option<Bytes>, TransportError> {
        self.frames.receive().await
    }
}

impl fmt::Debug for LaneSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneSender").field("lane", &self.lane).finish_non_exhaustive()
    }
}

impl fmt::Debug for LaneReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneReceiver").field("lane", &self.lane).finish_non_exhaustive()
    }
}

impl fmt::Debug for dyn Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", self.peer()).finish_non_exhaustive()
    }
}
