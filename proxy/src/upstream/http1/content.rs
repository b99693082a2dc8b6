//! An answer's content as it comes out of its framing. It reads no socket: bytes in, pieces out.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::Fault;
use super::head::{Framing, append};
use crate::guard::Limits;
use crate::guard::bytes::FieldLine;
use crate::guard::chunk::{Chunks, Progress};

/// Where in an answer's content its reader stands.
#[derive(Debug)]
pub(super) enum Content {
    /// At its end.
    Ended,
    Length(u64),
    Close,
    Chunked(Box<Chunked>),
}

/// Chunks, and what came of the trailer section.
#[derive(Debug)]
pub(super) struct Chunked {
    chunks: Chunks,
    limits: Limits,
    trailers: BytesMut,
}

impl Content {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Ended,
            Framing::Length(length) => Self::Length(length),
            Framing::Close => Self::Close,
            Framing::Chunked => Self::Chunked(Box::new(Chunked {
                chunks: Chunks::of_a_server(),
                limits: Limits::default(),
                trailers: BytesMut::new(),
            })),
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ended => SizeHint::with_exact(0),
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Close | Self::Chunked(_) => SizeHint::default(),
        }
    }

    /// Takes the next piece from the front of `read`. `None`: there is none yet, or the content has ended.
    pub(super) fn next(&mut self, read: &mut BytesMut) -> Result<Option<Frame<Bytes>>, Fault> {
        match self {
            Self::Ended => Ok(None),
            _ if read.is_empty() => Ok(None),
            Self::Length(left) => {
                let bytes = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= bytes as u64;
                let ended = *left == 0;
                if ended {
                    *self = Self::Ended;
                }
                Ok(Some(Frame::data(read.split_to(bytes).freeze())))
            }
            Self::Close => Ok(Some(Frame::data(read.split().freeze()))),
            Self::Chunked(chunked) => match chunked.next(read)? {
                Next::Piece(piece) => Ok(Some(Frame::data(piece))),
                Next::More => Ok(None),
                Next::End(trailers) => {
                    *self = Self::Ended;
                    Ok(trailers.map(Frame::trailers))
                }
            },
        }
    }

    /// The connection has ended.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        match self {
            Self::Ended | Self::Close => {
                *self = Self::Ended;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) => Err(Fault::Closed(None)),
        }
    }
}

enum Next {
    Piece(Bytes),
    More,
    End(Option<HeaderMap>),
}

impl Chunked {
    fn next(&mut self, read: &mut BytesMut) -> Result<Next, Fault> {
        let malformed = |_| Fault::Malformed("a chunk");
        while !read.is_empty() {
            let in_data = self.chunks.is_in_data();
            let in_trailers = self.chunks.is_in_trailers();
            let progress = self.chunks.feed(read, &self.limits).map_err(malformed)?;
            let (Progress::Taken(bytes) | Progress::Ended(bytes)) = progress;
            if in_data {
                return Ok(Next::Piece(read.split_to(bytes).freeze()));
            }
            if in_trailers {
                self.trailers.extend_from_slice(read.get(..bytes).unwrap_or_default());
            }
            read.advance(bytes);
            if matches!(progress, Progress::Ended(_)) {
                return self.trailers().map(Next::End);
            }
        }
        Ok(Next::More)
    }

    fn trailers(&mut self) -> Result<Option<HeaderMap>, Fault> {
        let mut fields = HeaderMap::new();
        while let Some(line) = FieldLine::of(&self.trailers) {
            let (name, value, bytes) = (line.name.len(), line.value.len(), line.bytes);
            let line = self.trailers.split_to(bytes).freeze();
            append(&mut fields, &line, name, value)?;
        }
        Ok((!fields.is_empty()).then_some(fields))
    }
}
