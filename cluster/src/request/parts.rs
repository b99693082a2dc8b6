//! Requests and answers as frames: one message is cut into parts that fit a frame and put together again, bounded.
//! It must not look into messages beyond encoding them.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use bytes::Bytes;
use ravelin_transport::codec::{self, CodecError};

use super::{Envelope, REQUEST_VERSION, Response};

/// Bytes of content in one part. The rest of a frame is room for the part's own fields.
pub const PART_BYTES_MAX: usize = 512 << 10;
/// Bytes of one whole message, put together: what one `apply` may carry.
pub const MESSAGE_BYTES_MAX: usize = codec::ENCODED_BYTES_MAX;
/// Messages that one lane may have unfinished at a time.
pub const UNFINISHED_MAX: usize = 4;

/// One frame of lane Forward.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Part {
    /// Pairs an answer with its question; chosen by the asking side, unique on the lane while unanswered.
    pub call: u64,
    /// The place of this part, from 0.
    pub part: u32,
    /// How many parts the message has.
    pub of: u32,
    /// This part of the encoded message.
    pub bytes: Vec<u8>,
}

/// Why a frame or message is not taken. The lane is of no further use after any of them.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// Not a part, or not the message that belongs here.
    #[error("not a message of lane forward")]
    Codec(#[from] CodecError),
    /// A part that does not follow the one before.
    #[error("part {part} of {of} of call {call} does not follow")]
    OutOfOrder {
        /// The call.
        call: u64,
        /// The part.
        part: u32,
        /// The announced number of parts.
        of: u32,
    },
    /// Larger than [`MESSAGE_BYTES_MAX`], or too many at once.
    #[error(
        "more than {MESSAGE_BYTES_MAX} bytes in a message, or more than {UNFINISHED_MAX} messages at once"
    )]
    TooLarge,
}

/// A question as frames.
///
/// # Errors
/// [`PartsError`] if it is larger than [`MESSAGE_BYTES_MAX`].
pub fn question(call: u64, envelope: &Envelope) -> Result<Vec<Bytes>, PartsError> {
    cut(call, codec::encode(REQUEST_VERSION, envelope)?)
}

/// An answer as frames. An answer too large to send becomes one that says so.
pub fn answer(call: u64, response: &Response) -> Vec<Bytes> {
    let encoded = codec::encode(REQUEST_VERSION, response).or_else(|error| {
        codec::encode(
            REQUEST_VERSION,
            &Response::Unavailable { reason: format!("the answer cannot be sent: {error}; ask for less") },
        )
    });
    encoded.map_err(PartsError::from).and_then(|bytes| cut(call, bytes)).unwrap_or_default()
}

/// The call that a frame belongs to, and whether it ends the message; `None` if it is no frame of this lane.
pub fn head(frame: &[u8]) -> Option<(u64, bool)> {
    let part: Part = codec::decode(REQUEST_VERSION, frame).ok()?;
    Some((part.call, part.part.saturating_add(1) >= part.of))
}

fn cut(call: u64, message: Bytes) -> Result<Vec<Bytes>, PartsError> {
    let chunks: Vec<&[u8]> = message.chunks(PART_BYTES_MAX).collect();
    let of = u32::try_from(chunks.len()).map_err(|_| PartsError::TooLarge)?;
    (0..of)
        .zip(chunks)
        .map(|(part, bytes)| {
            let part = Part { call, part, of, bytes: bytes.to_vec() };
            Ok(codec::encode(REQUEST_VERSION, &part)?)
        })
        .collect()
}

/// Puts the messages of one lane together. Memory is bounded by [`UNFINISHED_MAX`] × [`MESSAGE_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct Assembler {
    unfinished: BTreeMap<u64, Unfinished>,
}

#[derive(Debug)]
struct Unfinished {
    next: u32,
    of: u32,
    bytes: Vec<u8>,
}

impl Assembler {
    /// Takes one frame; gives call and encoded message once the message is whole.
    ///
    /// # Errors
    /// [`PartsError`]; the lane should then be closed.
    pub fn take(&mut self, frame: &[u8]) -> Result<Option<(u64, Vec<u8>)>, PartsError> {
        let Part { call, part, of, bytes } = codec::decode(REQUEST_VERSION, frame)?;
        if part == 0 {
            self.unfinished.remove(&call);
            if self.unfinished.len() >= UNFINISHED_MAX {
                return Err(PartsError::TooLarge);
            }
            self.unfinished.insert(call, Unfinished { next: 0, of, bytes: Vec::new() });
        }
        let out_of_order = PartsError::OutOfOrder { call, part, of };
        let Some(message) = self.unfinished.get_mut(&call) else { return Err(out_of_order) };
        if part != message.next || of != message.of || part >= of {
            return Err(out_of_order);
        }
        if message.bytes.len() + bytes.len() > MESSAGE_BYTES_MAX {
            return Err(PartsError::TooLarge);
        }
        message.bytes.extend_from_slice(&bytes);
        message.next += 1;
        if message.next < message.of {
            return Ok(None);
        }
        Ok(self.unfinished.remove(&call).map(|message| (call, message.bytes)))
    }

    /// Bytes of messages that are not whole yet.
    pub fn bytes(&self) -> usize {
        self.unfinished.values().map(|message| message.bytes.len()).sum()
    }

    /// As [`Assembler::take`], for questions.
    ///
    /// # Errors
    /// As [`Assembler::take`].
    pub fn take_question(&mut self, frame: &[u8]) -> Result<Option<(u64, Envelope)>, PartsError> {
        let Some((call, message)) = self.take(frame)? else { return Ok(None) };
        Ok(Some((call, codec::decode(REQUEST_VERSION, &message)?)))
    }

    /// As [`Assembler::take`], for answers.
    ///
    /// # Errors
    /// As [`Assembler::take`].
    pub fn take_answer(&mut self, frame: &[u8]) -> Result<Option<(u64, Response)>, PartsError> {
        let Some((call, message)) = self.take(frame)? else { return Ok(None) };
        Ok(Some((call, codec::decode(REQUEST_VERSION, &message)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ApplyMode, Request, RequestId, SourceDocument, SourceFormat};
    use super::*;

    fn envelope(text: String) -> Envelope {
        let document = SourceDocument { name: "a.yml".to_owned(), format: SourceFormat::Yaml, text };
        Envelope {
            id: RequestId([7; 16]),
            hops: 0,
            deadline_millis: 5000,
            author: "operator-1".to_owned(),
            request: Request::Apply { documents: vec![document], mode: ApplyMode::Merge },
        }
    }

    #[test]
    fn a_message_larger_than_a_frame_comes_back_whole_between_others() {
        let (large, small) = (envelope("x".repeat(PART_BYTES_MAX * 2)), envelope("y".to_owned()));
        let large_frames = question(1, &large).expect("below the bound");
        let small_frames = question(2, &small).expect("below the bound");
        assert_eq!((large_frames.len(), small_frames.len()), (3, 1));
        let mut lane = Assembler::default();
        let mut got = Vec::new();
        for frame in [&large_frames[0], &small_frames[0], &large_frames[1], &large_frames[2]] {
            assert!(frame.len() <= ravelin_transport::FRAME_BYTES_MAX);
            got.extend(lane.take_question(frame).expect("in order"));
        }
        assert_eq!(got, [(2, small), (1, large)]);
        assert!(lane.unfinished.is_empty());
    }

    #[test]
    fn what_is_out_of_order_or_beyond_the_bounds_is_refused() {
        let frames = question(1, &envelope("x".repeat(PART_BYTES_MAX))).expect("below the bound");
        let mut lane = Assembler::default();
        assert!(matches!(lane.take(&frames[1]), Err(PartsError::OutOfOrder { part: 1, .. })));
        for call in 0..UNFINISHED_MAX as u64 {
            let frames = question(call, &envelope("x".repeat(PART_BYTES_MAX))).expect("below the bound");
            assert!(lane.take(&frames[0]).expect("in order").is_none());
        }
        let frames = question(99, &envelope("x".repeat(PART_BYTES_MAX))).expect("below the bound");
        assert!(matches!(lane.take(&frames[0]), Err(PartsError::TooLarge)));
        assert!(matches!(lane.take(b"\x01nonsense"), Err(PartsError::Codec(_))));
        assert!(question(1, &envelope("x".repeat(MESSAGE_BYTES_MAX))).is_err());
    }

    #[test]
    fn the_wire_form_of_a_question_is_fixed() {
        let mut envelope = envelope("ab".to_owned());
        envelope.author = "o".to_owned();
        let frames = question(3, &envelope).expect("below the bound");
        let hex: String = frames[0].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("golden.txt").trim_end());
    }

    #[test]
    fn the_wire_form_of_a_redirect_is_fixed() {
        let frames = answer(3, &Response::Redirect { node: Some(2), may_take_effect: true });
        let hex: String = frames[0].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "01030000000000000000000000010000000f00000000000000010400000001020000000000000001");
    }
}
