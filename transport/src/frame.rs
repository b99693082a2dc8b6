//! Frames on a byte stream: a length of four bytes, little endian, then that many bytes.
//!
//! Plain functions over bytes, without I/O, so that any stream transport and the fuzzer use the same decoder. It must never
//! set memory aside on a peer's word: the buffer grows with bytes received, not with the length announced.

use crate::lane::FRAME_BYTES_MAX;
use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the length prefix.
pub const PREFIX_BYTES: usize = 4;

/// Memory set aside on an announced length alone, in bytes; beyond it the buffer grows with what arrives.
const FIRST_RESERVE_BYTES: usize = 16 << 10;

/// A length above the limit was announced. The stream is useless from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {bytes} bytes was announced, more than the {FRAME_BYTES_MAX} allowed")]
pub struct FrameTooLarge {
    /// The length announced.
    pub bytes: u32,
}

/// The length prefix of a frame; `None` if it is above [`FRAME_BYTES_MAX`].
#[must_use]
pub fn prefix(frame: &[u8]) -> Option<[u8; PREFIX_BYTES]> {
    if frame.len() > FRAME_BYTES_MAX {
        return None;
    }
    u32::try_from(frame.len()).ok().map(u32::to_le_bytes)
}

/// Incremental decoder. Feed it each piece of the stream until the piece is used up.
///
/// It holds at most the frame in progress, copied together, so that a frame handed out pins no larger buffer and a stream of one-byte
/// pieces costs no more than any other.
#[derive(Debug, Default)]
pub struct Decoder {
    prefix: [u8; PREFIX_BYTES],
    prefix_filled: usize,
    body: BytesMut,
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes from the front of `piece` what the current frame needs; the frame once it is whole. `None` means that the piece is used up.
    ///
    /// # Errors
    /// [`FrameTooLarge`] as soon as the length is known; the same again on every further call.
    pub fn decode(&mut self, piece: &mut Bytes) -> Result<Option<Bytes>, FrameTooLarge> {
        while self.prefix_filled < PREFIX_BYTES {
            if piece.is_empty() {
                return Ok(None);
            }
            if let Some(byte) = self.prefix.get_mut(self.prefix_filled) {
                *byte = piece.get_u8();
            }
            self.prefix_filled += 1;
        }
        let announced = u32::from_le_bytes(self.prefix);
        let length = announced as usize;
        if length > FRAME_BYTES_MAX {
            return Err(FrameTooLarge { bytes: announced });
        }
        if self.body.capacity() == 0 {
            self.body.reserve(length.min(FIRST_RESERVE_BYTES));
        }
        let part = piece.split_to(piece.len().min(length - self.body.len()));
        self.body.extend_from_slice(&part);
        if self.body.len() < length {
            return Ok(None);
        }
        self.prefix_filled = 0;
        Ok(Some(std::mem::take(&mut self.body).freeze()))
    }

    /// Whether the stream could end here: no part of a frame is held.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        self.prefix_filled == 0
    }
}

/// All frames of `stream` and what remained, for tests and fuzzing: the stream is cut into pieces of the given sizes first.
///
/// # Errors
/// [`FrameTooLarge`] where the stream announces such a frame.
pub fn decode_in_pieces(stream: &[u8], piece_bytes: usize) -> Result<(Vec<Bytes>, bool), FrameTooLarge> {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for piece in stream.chunks(piece_bytes.max(1)) {
        let mut piece = Bytes::copy_from_slice(piece);
        while let Some(frame) = decoder.decode(&mut piece)? {
            frames.push(frame);
        }
    }
    Ok((frames, decoder.is_at_boundary()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut stream = Vec::new();
        for frame in frames {
            stream.extend_from_slice(&prefix(frame).expect("test frames are small"));
            stream.extend_from_slice(frame);
        }
        stream
    }

    #[test]
    fn golden_bytes_of_two_frames() {
        assert_eq!(encoded(&[b"hello".to_vec(), vec![]]), b"\x05\0\0\0hello\0\0\0\0");
    }

    #[test]
    fn the_largest_frame_passes_and_one_byte_more_does_not() {
        let largest = vec![7; FRAME_BYTES_MAX];
        let (frames, at_boundary) =
            decode_in_pieces(&encoded(std::slice::from_ref(&largest)), 1400).expect("within the limit");
        assert_eq!(frames, [Bytes::from(largest)]);
        assert!(at_boundary);
        assert_eq!(prefix(&vec![0; FRAME_BYTES_MAX + 1]), None);
        let announced = FRAME_BYTES_MAX as u32 + 1;
        assert_eq!(
            decode_in_pieces(&announced.to_le_bytes(), 1),
            Err(FrameTooLarge { bytes: announced }),
            "refused before any byte of it arrives"
        );
    }

    #[test]
    fn a_refused_stream_stays_refused() {
        let mut decoder = Decoder::new();
        assert!(decoder.decode(&mut Bytes::from_static(&[0xff; 4])).is_err());
        assert!(decoder.decode(&mut Bytes::from_static(&[0; 64])).is_err());
    }

    proptest! {
        #[test]
        fn frames_come_back_whole_however_the_stream_is_cut(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12),
            piece_bytes in 1_usize..64,
            cut in any::<prop::sample::Index>(),
        ) {
            let stream = encoded(&frames);
            let (decoded, at_boundary) = decode_in_pieces(&stream, piece_bytes).expect("small frames");
            prop_assert!(at_boundary);
            prop_assert_eq!(&decoded, &frames);

            let cut = cut.index(stream.len() + 1);
            let (head, _) = decode_in_pieces(&stream[..cut], piece_bytes).expect("small frames");
            prop_assert_eq!(&head[..], &decoded[..head.len()], "a truncated stream gives a prefix of the frames");
        }
    }
}
