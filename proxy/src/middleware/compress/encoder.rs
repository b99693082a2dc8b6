//! A body encoded as it comes: whatever the encoder holds goes out as soon as more has to be waited for, so that nothing is kept from
//! a client that could have it. Memory is the encoder's own, which its window bounds, and one buffer.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http_body::{Body, Frame};
use ravelin_config::dynamic::Encoding;

use crate::body::{BodyError, ResponseBody};

/// Encoded bytes that go out without waiting for more.
const BUFFER_BYTES: usize = 16 * 1024;
/// brotli: a window of 256 KiB, and a quality that keeps up with a network.
const BROTLI: (u32, u32) = (4, 18);
/// zstd: the level that its own tool takes, in a window of 256 KiB.
const ZSTD: (i32, u32) = (3, 18);

/// The encoders, each of which writes into a buffer of its own.
enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    /// It was finished; what is left goes out.
    Done(Vec<u8>),
}

impl Encoder {
    fn new(encoding: Encoding) -> io::Result<Self> {
        Ok(match encoding {
            Encoding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default())),
            Encoding::Brotli => {
                let (quality, window) = BROTLI;
                Self::Brotli(Box::new(brotli::CompressorWriter::new(
                    Vec::new(),
                    BUFFER_BYTES,
                    quality,
                    window,
                )))
            }
            Encoding::Zstd => {
                let (level, window) = ZSTD;
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(window))?;
                Self::Zstd(encoder)
            }
        })
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(data),
            Self::Brotli(encoder) => encoder.write_all(data),
            Self::Zstd(encoder) => encoder.write_all(data),
            Self::Done(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Brotli(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
            Self::Done(_) => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        let left = match std::mem::replace(self, Self::Done(Vec::new())) {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
            Self::Done(left) => left,
        };
        *self = Self::Done(left);
        Ok(())
    }

    fn output(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Done(left) => left,
        }
    }
}

/// The encoded body.
pub(super) struct Encoded {
    inner: ResponseBody,
    encoding: Encoding,
    /// Made with the first piece.
    encoder: Option<Encoder>,
    /// The encoder was given something since it was flushed.
    holds: bool,
    /// What comes after the content: trailers, an error, or nothing more.
    last: Option<Option<Result<Frame<Bytes>, BodyError>>>,
}

impl Encoded {
    pub(super) fn new(encoding: Encoding, inner: ResponseBody) -> Self {
        Self { inner, encoding, encoder: None, holds: false, last: None }
    }

    fn encoder(&mut self) -> io::Result<&mut Encoder> {
        if self.encoder.is_none() {
            self.encoder = Some(Encoder::new(self.encoding)?);
        }
        self.encoder.as_mut().ok_or_else(|| io::ErrorKind::Other.into())
    }

    fn take(&mut self) -> Option<Bytes> {
        let output = self.encoder.as_mut()?.output();
        (!output.is_empty()).then(|| Bytes::from(std::mem::take(output)))
    }

    fn step(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    self.encoder()?.write(&data)?;
                    self.holds = true;
                }
                Err(trailers) => {
                    self.encoder()?.finish()?;
                    self.last = Some(Some(Ok(trailers)));
                }
            },
            Poll::Ready(Some(Err(error))) => {
                // What is broken off must not look whole.
                self.last = Some(Some(Err(error)));
            }
            Poll::Ready(None) => {
                self.encoder()?.finish()?;
                self.last = Some(None);
            }
            Poll::Pending if self.holds => {
                self.encoder()?.flush()?;
                self.holds = false;
                return Ok(Poll::Pending);
            }
            Poll::Pending => return Ok(Poll::Pending),
        }
        Ok(Poll::Ready(()))
    }
}

impl Body for Encoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            if let Some(last) = this.last.take() {
                let Some(rest) = this.take() else {
                    this.last = Some(None);
                    return Poll::Ready(last);
                };
                this.last = Some(last);
                return Poll::Ready(Some(Ok(Frame::data(rest))));
            }
            let stepped = this.step(cx).map_err(|error| BodyError::Upstream(error.into()));
            let waits = match stepped {
                Ok(stepped) => stepped.is_pending(),
                Err(error) => {
                    this.last = Some(Some(Err(error)));
                    continue;
                }
            };
            let enough = this.encoder.as_mut().is_some_and(|encoder| encoder.output().len() >= BUFFER_BYTES);
            if (waits || enough)
                && let Some(data) = this.take()
            {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::Read;
    use std::task::Waker;

    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    /// Pieces, between which it may have to be waited.
    struct Pieces(VecDeque<Option<Frame<Bytes>>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            match self.0.pop_front() {
                Some(None) => Poll::Pending,
                Some(Some(frame)) => Poll::Ready(Some(Ok(frame))),
                None => Poll::Ready(None),
            }
        }
    }

    fn decoded(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let read = match encoding {
            Encoding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
            Encoding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
            Encoding::Zstd => {
                zstd::stream::read::Decoder::new(bytes).expect("a decoder").read_to_end(&mut out)
            }
        };
        // What is not at its end yet can be read as far as it goes.
        drop(read);
        out
    }

    const ENCODINGS: [Encoding; 3] = [Encoding::Gzip, Encoding::Brotli, Encoding::Zstd];

    #[test]
    fn what_has_come_can_be_read_while_more_is_waited_for() {
        for encoding in ENCODINGS {
            let data = |text: &'static str| Some(Frame::data(Bytes::from_static(text.as_bytes())));
            let pieces = Pieces([data("data: 1\n\n"), None, data("data: 2\n\n"), None].into());
            let mut body = Encoded::new(encoding, ResponseBody::made(pieces));
            let mut cx = Context::from_waker(Waker::noop());
            let mut seen = Vec::new();
            for wanted in ["data: 1\n\n", "data: 1\n\ndata: 2\n\n"] {
                while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
                    seen.extend(frame.expect("no error").into_data().expect("content"));
                    if decoded(encoding, &seen) == wanted.as_bytes() {
                        break;
                    }
                }
                assert_eq!(decoded(encoding, &seen), wanted.as_bytes(), "{encoding:?}");
            }
        }
    }

    #[test]
    fn what_breaks_off_never_looks_whole() {
        for encoding in ENCODINGS {
            let pieces = futures_util::stream::iter([
                Ok(Frame::data(Bytes::from_static(b"abc"))),
                Err(BodyError::TooLong),
            ]);
            let mut body =
                Encoded::new(encoding, ResponseBody::made(http_body_util::StreamBody::new(pieces)));
            let mut cx = Context::from_waker(Waker::noop());
            let failed = std::iter::from_fn(|| match Pin::new(&mut body).poll_frame(&mut cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => panic!("nothing to wait for"),
            });
            assert!(failed.take(5).any(|frame| frame.is_err()), "{encoding:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Whatever comes, in whatever pieces, is what is read; trailers too.
        #[test]
        fn what_is_encoded_is_what_came(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3_000), 0..8),
            waits in any::<bool>(),
            trailer in any::<bool>(),
            which in 0_usize..3,
        ) {
            let encoding = ENCODINGS[which];
            let whole = pieces.concat();
            let mut queue = VecDeque::new();
            for piece in pieces {
                queue.push_back(Some(Frame::data(Bytes::from(piece))));
                if waits {
                    queue.push_back(None);
                }
            }
            let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("e"))]);
            if trailer {
                queue.push_back(Some(Frame::trailers(trailers.clone())));
            }
            let mut body = Encoded::new(encoding, ResponseBody::made(Pieces(queue)));
            let (mut seen, mut after) = (Vec::new(), None);
            let mut cx = Context::from_waker(Waker::noop());
            loop {
                match Pin::new(&mut body).poll_frame(&mut cx) {
                    Poll::Pending => {}
                    Poll::Ready(None) => break,
                    Poll::Ready(Some(frame)) => match frame.expect("no error").into_data() {
                        Ok(data) => seen.extend(data),
                        Err(frame) => after = frame.into_trailers().ok(),
                    },
                }
            }
            prop_assert_eq!(decoded(encoding, &seen), whole);
            prop_assert_eq!(after, trailer.then_some(trailers));
        }
    }
}
