//! A lane between two tasks of one process: a queue bounded by bytes.

use super::transport::Held;
use crate::error::TransportError;
use crate::lane::{FRAME_BYTES_MAX, Lane};
use crate::seam::{BoxFuture, LaneReceiver, LaneSender, ReceiveFrames, SendFrames};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Bytes that one direction of a lane holds: the largest frame and as much again.
const LANE_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

/// What a frame costs beside its bytes, so that empty frames are bounded too.
const FRAME_COST_BYTES: usize = 64;

struct Sender {
    lane: Lane,
    budget: Arc<Semaphore>,
    frames: Option<mpsc::UnboundedSender<(Bytes, OwnedSemaphorePermit)>>,
    connection: Arc<Held>,
    _slot: Arc<OwnedSemaphorePermit>,
}

struct Receiver {
    budget: Arc<Semaphore>,
    frames: mpsc::UnboundedReceiver<(Bytes, OwnedSemaphorePermit)>,
    connection: Arc<Held>,
    _slot: Arc<OwnedSemaphorePermit>,
}

/// Both ends of a new lane: what the opening side gets, and what the accepting side gets. The slot is free again once all four
/// halves are gone.
pub(super) fn new(
    lane: Lane,
    [opener, acceptor]: [&Arc<Held>; 2],
    slot: OwnedSemaphorePermit,
) -> [(LaneSender, LaneReceiver); 2] {
    let slot = Arc::new(slot);
    let direction = |from: &Arc<Held>, to: &Arc<Held>| {
        let budget = Arc::new(Semaphore::new(LANE_BYTES_MAX));
        let (sender, receiver) = mpsc::unbounded_channel();
        let sender = Sender {
            lane,
            budget: Arc::clone(&budget),
            frames: Some(sender),
            connection: Arc::clone(from),
            _slot: Arc::clone(&slot),
        };
        let receiver =
            Receiver { budget, frames: receiver, connection: Arc::clone(to), _slot: Arc::clone(&slot) };
        (LaneSender::new(lane, sender), LaneReceiver::new(lane, receiver))
    };
    let (there_sender, there_receiver) = direction(opener, acceptor);
    let (back_sender, back_receiver) = direction(acceptor, opener);
    [(there_sender, back_receiver), (back_sender, there_receiver)]
}

impl SendFrames for Sender {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            let cost = u32::try_from(frame.len() + FRAME_COST_BYTES).unwrap_or(u32::MAX);
            let room = tokio::select! {
                biased;
                error = self.connection.closed() => return Err(error),
                room = Arc::clone(&self.budget).acquire_many_owned(cost) => room,
            };
            let gone = TransportError::ReceiverDropped { lane: self.lane };
            match (room, &self.frames) {
                (Ok(room), Some(frames)) => frames.send((frame, room)).map_err(|_| gone),
                _ => Err(gone),
            }
        })
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<(), TransportError>> {
        self.frames = None;
        Box::pin(std::future::ready(Ok(())))
    }
}

impl ReceiveFrames for Receiver {
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, TransportError>> {
        Box::pin(async {
            tokio::select! {
                biased;
                error = self.connection.closed() => Err(error),
                received = self.frames.recv() => Ok(received.map(|(frame, _room)| frame)),
            }
        })
    }
}

/// Wakes a sender that waits for room.
impl Drop for Receiver {
    fn drop(&mut self) {
        self.budget.close();
    }
}
