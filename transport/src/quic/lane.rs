//! The two halves of a lane on a QUIC stream: frames with a length prefix, never torn by a dropped future.

use super::connection::{Shared, Slot};
use super::wire::{STREAM_DROPPED, STREAM_FRAME_TOO_LARGE, STREAM_TORN};
use crate::error::TransportError;
use crate::frame::{self, Decoder};
use crate::lane::{FRAME_BYTES_MAX, Lane};
use crate::seam::{BoxFuture, ReceiveFrames, SendFrames};
use bytes::Bytes;
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use std::sync::Arc;

/// Most bytes taken from the stream at once.
const PIECE_BYTES_MAX: usize = 64 << 10;

pub(super) struct Sender {
    lane: Lane,
    stream: SendStream,
    /// Length and body of a frame that is not yet wholly with the stream; both empty between frames.
    rest: [Bytes; 2],
    connection: Arc<Shared>,
    _slot: Option<Slot>,
}

pub(super) struct Receiver {
    lane: Lane,
    stream: RecvStream,
    decoder: Decoder,
    piece: Bytes,
    failed: Option<TransportError>,
    connection: Arc<Shared>,
    _slot: Option<Slot>,
}

impl Sender {
    pub(super) fn new(lane: Lane, stream: SendStream, connection: Arc<Shared>, slot: Option<Slot>) -> Self {
        Self { lane, stream, rest: [Bytes::new(), Bytes::new()], connection, _slot: slot }
    }

    fn is_at_boundary(&self) -> bool {
        self.rest.iter().all(Bytes::is_empty)
    }

    /// Hands over what is left of the current frame. What the stream took is gone from `rest`, so this may be dropped at any time.
    async fn flush(&mut self) -> Result<(), TransportError> {
        while let Some(from) = self.rest.iter().position(|part| !part.is_empty()) {
            let Some(parts) = self.rest.get_mut(from..) else { break };
            if let Err(error) = self.stream.write_chunks(parts).await {
                return Err(self.write_error(&error));
            }
        }
        Ok(())
    }

    fn write_error(&self, error: &WriteError) -> TransportError {
        match error {
            WriteError::Stopped(_) => TransportError::ReceiverDropped { lane: self.lane },
            WriteError::ConnectionLost(error) => self.connection.error(error),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => {
                TransportError::LaneBroken { lane: self.lane, reason: "it has ended already".to_owned() }
            }
        }
    }
}

impl SendFrames for Sender {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            self.flush().await?;
            let prefix = frame::prefix(&frame)
                .ok_or(TransportError::FrameTooLarge { bytes: frame.len() as u64, max: FRAME_BYTES_MAX })?;
            self.rest = [Bytes::copy_from_slice(&prefix), frame];
            self.flush().await
        })
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            self.flush().await?;
            self.stream.finish().map_err(|_| self.write_error(&WriteError::ClosedStream))
        })
    }
}

/// quinn ends a dropped stream in order; within a frame that would be a lie.
impl Drop for Sender {
    fn drop(&mut self) {
        if !self.is_at_boundary() {
            let _ = self.stream.reset(STREAM_TORN);
        }
    }
}

impl Receiver {
    pub(super) fn new(lane: Lane, stream: RecvStream, connection: Arc<Shared>, slot: Option<Slot>) -> Self {
        Self {
            lane,
            stream,
            decoder: Decoder::new(),
            piece: Bytes::new(),
            failed: None,
            connection,
            _slot: slot,
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, TransportError> {
        loop {
            match self.decoder.decode(&mut self.piece) {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(error) => {
                    let _ = self.stream.stop(STREAM_FRAME_TOO_LARGE);
                    let bytes = u64::from(error.bytes);
                    return Err(TransportError::FrameTooLarge { bytes, max: FRAME_BYTES_MAX });
                }
            }
            match self.stream.read_chunk(PIECE_BYTES_MAX, true).await {
                Ok(Some(chunk)) => self.piece = chunk.bytes,
                Ok(None) if self.decoder.is_at_boundary() => return Ok(None),
                Ok(None) => return Err(self.broken("it ended within a frame")),
                Err(ReadError::ConnectionLost(error)) => return Err(self.connection.error(&error)),
                Err(ReadError::Reset(code)) if code == STREAM_TORN => {
                    return Err(self.broken("the sender gave up within a frame"));
                }
                Err(error) => return Err(self.broken(&error.to_string())),
            }
        }
    }

    fn broken(&self, reason: &str) -> TransportError {
        TransportError::LaneBroken { lane: self.lane, reason: reason.to_owned() }
    }
}

impl ReceiveFrames for Receiver {
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, TransportError>> {
        Box::pin(async move {
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            let received = self.next().await;
            if let Err(error) = &received {
                self.failed = Some(error.clone());
            }
            received
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.stream.stop(STREAM_DROPPED);
    }
}
