//! Base64 text as it comes in pieces, cut anywhere: whole groups of four letters become bytes at once, the rest waits. Texts may follow
//! each other, each with its own padding. It keeps at most three letters.

use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body::Frame;

use super::{BodyError, Content};

/// Letters of a group.
const GROUP: usize = 4;

/// What is not the standard alphabet, or ends within a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotBase64;

/// The letters of a group that has not come whole yet.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    begun: Vec<u8>,
}

impl Decoder {
    /// The bytes of the groups that are whole with this piece. Ends of lines mean nothing.
    pub(crate) fn decode(&mut self, piece: &[u8]) -> Result<Bytes, NotBase64> {
        self.begun.extend(piece.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        let groups = self.begun.len() / GROUP * GROUP;
        let rest = self.begun.split_off(groups);
        let letters = std::mem::replace(&mut self.begun, rest);
        let mut out = Vec::with_capacity(groups / GROUP * 3);
        let mut left = letters.as_slice();
        while !left.is_empty() {
            // One text ends with the group that holds its padding.
            let end =
                left.iter().position(|&byte| byte == b'=').map_or(left.len(), |at| (at / GROUP + 1) * GROUP);
            let (text, further) = left.split_at_checked(end).ok_or(NotBase64)?;
            STANDARD.decode_vec(text, &mut out).map_err(|_| NotBase64)?;
            left = further;
        }
        Ok(out.into())
    }

    /// No group has begun.
    pub(crate) fn is_whole(&self) -> bool {
        self.begun.is_empty()
    }
}

/// The next frame of what a body says.
pub(super) fn translate(
    content: &mut Content,
    mut decoder: Option<&mut Decoder>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    loop {
        let polled = content.poll_frame(cx);
        let Some(decoder) = decoder.as_deref_mut() else { return polled };
        let decoded = match polled {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(text) => decoder.decode(&text),
                Err(_) if !decoder.is_whole() => Err(NotBase64),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            },
            Poll::Ready(None) if !decoder.is_whole() => Err(NotBase64),
            other => return other,
        };
        match decoded {
            // Nothing to say yet.
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Err(NotBase64) => return Poll::Ready(Some(Err(BodyError::NotBase64))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(pieces: &[&[u8]]) -> Result<Vec<u8>, NotBase64> {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        for piece in pieces {
            out.extend_from_slice(&decoder.decode(piece)?);
        }
        if decoder.is_whole() { Ok(out) } else { Err(NotBase64) }
    }

    proptest! {
        #[test]
        fn texts_one_after_another_are_read_however_they_are_cut(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
            piece_bytes in 1_usize..9,
        ) {
            let text: String = texts.iter().map(|bytes| STANDARD.encode(bytes)).collect();
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(piece_bytes).collect();
            prop_assert_eq!(decoded(&pieces), Ok(texts.concat()));
        }
    }

    #[test]
    fn what_is_no_base64_is_told() {
        assert_eq!(decoded(&[b"aGk=\r\n", b"aG\nk="]), Ok(b"hihi".to_vec()));
        for text in ["aGk", "a", "a===", "====", "aG=k", "aGk=a", "a-_a", "aGl=", "a b="] {
            assert_eq!(decoded(&[text.as_bytes()]), Err(NotBase64), "{text}");
        }
    }
}
