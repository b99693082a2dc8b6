//! Frames on a byte stream: however the stream is cut, the same frames come out, and they are what went in.

use bytes::Bytes;
use ravelin_transport::frame::{PREFIX_BYTES, decode_in_pieces, prefix};

/// The first byte is the size of the pieces that the stream is cut into; the rest is the stream.
pub fn run(input: &[u8]) {
    let Some((&piece_bytes, stream)) = input.split_first() else { return };
    let pieces = decode_in_pieces(stream, usize::from(piece_bytes));
    let whole = decode_in_pieces(stream, stream.len());
    assert_eq!(pieces, whole, "the cut changed what was decoded");
    let Ok((frames, at_boundary)) = whole else { return };
    let encoded = encoded(&frames);
    assert!(stream.starts_with(&encoded), "the frames are not what the stream held");
    assert_eq!(at_boundary, encoded.len() == stream.len(), "wrong about the stream's end");
}

fn encoded(frames: &[Bytes]) -> Vec<u8> {
    let mut stream = Vec::with_capacity(frames.iter().map(|frame| PREFIX_BYTES + frame.len()).sum());
    for frame in frames {
        stream.extend_from_slice(&prefix(frame).expect("the decoder gives no frame above the limit"));
        stream.extend_from_slice(frame);
    }
    stream
}
