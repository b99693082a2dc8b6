//! A body read to its end and kept, so that it can be sent more than once or judged as a whole: in memory up to a bound, what exceeds it
//! in a temporary file without a name, which goes with the last who holds it. It knows neither requests nor answers.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::task::JoinHandle;

use crate::body::BodyError;

/// Bytes that one read of a file brings.
const READ_BYTES: usize = 64 * 1024;
/// Smaller pieces are joined: each costs memory of its own, and holds the buffer that it was read into.
const PIECE_BYTES_MIN: usize = 4 * 1024;
/// Largest buffer of joined pieces.
const JOINED_BYTES_MAX: usize = 16 * 1024;

/// How much is kept, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Bytes of content in memory; what comes after them goes into a file.
    pub(crate) memory: u64,
    /// Bytes of content in all. `None`: as many as come, which the disk bounds.
    pub(crate) most: Option<u64>,
    /// What is kept tells its length, even if it came without.
    pub(crate) tells_length: bool,
}

/// A body that was read to its end.
#[derive(Debug, Default)]
pub(crate) struct Spooled {
    pieces: Vec<Bytes>,
    /// Small pieces, until they are many.
    joined: BytesMut,
    file: Option<Arc<File>>,
    /// Bytes of content, in memory and in the file.
    bytes: u64,
    trailers: Option<HeaderMap>,
    tells_length: bool,
}

/// Why a body was not kept.
#[derive(Debug)]
pub(crate) enum SpoolError<B> {
    /// It holds more than the bound: what was read of it, and what is left.
    TooLong(Rc<Spooled>, B),
    /// The temporary file.
    Disk(io::Error),
    /// The body broke off.
    Broken(BodyError),
}

/// Reads a body to its end. Dropping the future drops what was read.
///
/// # Errors
/// A body that is too long or breaks off, a disk that is full.
pub(crate) async fn spool<B>(mut body: B, bounds: Bounds) -> Result<Rc<Spooled>, SpoolError<B>>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    let exceeds = |bytes: u64| bounds.most.is_some_and(|most| bytes > most);
    let tells_length = bounds.tells_length || body.size_hint().exact().is_some();
    let mut kept = Spooled { tells_length, ..Spooled::default() };
    if exceeds(body.size_hint().lower()) {
        return Err(SpoolError::TooLong(Rc::new(kept), body));
    }
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let data = match frame.map_err(SpoolError::Broken)?.into_data() {
            Ok(data) => data,
            Err(frame) => {
                kept.trailers = frame.into_trailers().ok();
                continue;
            }
        };
        kept.bytes = kept.bytes.saturating_add(data.len() as u64);
        if kept.file.is_none() && kept.bytes <= bounds.memory {
            kept.keep(data);
        } else {
            kept.write(data).await.map_err(SpoolError::Disk)?;
        }
        if exceeds(kept.bytes) {
            kept.settle();
            return Err(SpoolError::TooLong(Rc::new(kept), body));
        }
    }
    kept.settle();
    Ok(Rc::new(kept))
}

impl Spooled {
    /// What is whole already.
    pub(crate) fn of(content: Bytes) -> Rc<Self> {
        Rc::new(Self {
            bytes: content.len() as u64,
            pieces: vec![content],
            tells_length: true,
            ..Self::default()
        })
    }

    /// Neither content nor trailers.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0 && self.trailers.is_none()
    }

    fn keep(&mut self, data: Bytes) {
        if data.len() >= PIECE_BYTES_MIN {
            self.settle();
            return self.pieces.push(data);
        }
        self.joined.extend_from_slice(&data);
        if self.joined.len() >= JOINED_BYTES_MAX {
            self.settle();
        }
    }

    fn settle(&mut self) {
        if !self.joined.is_empty() {
            self.pieces.push(std::mem::take(&mut self.joined).freeze());
        }
    }

    async fn write(&mut self, data: Bytes) -> io::Result<()> {
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(tempfile::tempfile()?),
            };
            (&*file).write_all(&data).map(|()| file)
        });
        self.file = Some(written.await.map_err(io::Error::other)??);
        Ok(())
    }
}

/// One way through a body that is kept.
#[derive(Debug)]
pub(crate) struct Reader {
    spooled: Rc<Spooled>,
    /// Pieces handed out.
    piece: usize,
    /// Bytes handed out.
    given: u64,
    /// Where the next read of the file begins.
    offset: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    trailers_given: bool,
}

impl Reader {
    /// From its beginning.
    pub(crate) fn new(spooled: &Rc<Spooled>) -> Self {
        let spooled = Rc::clone(spooled);
        Self { spooled, piece: 0, given: 0, offset: 0, reading: None, trailers_given: false }
    }

    /// Bytes still to come.
    pub(crate) fn left(&self) -> u64 {
        self.spooled.bytes.saturating_sub(self.given)
    }

    /// How many bytes are still to come, where that may be told: a length ends a body over HTTP/1, so that one with trailers has none.
    pub(crate) fn told(&self) -> Option<u64> {
        (self.spooled.tells_length && self.spooled.trailers.is_none()).then(|| self.left())
    }

    /// Nothing more comes.
    pub(crate) fn is_ended(&self) -> bool {
        self.left() == 0 && (self.trailers_given || self.spooled.trailers.is_none())
    }

    /// The next piece.
    ///
    /// # Errors
    /// The temporary file cannot be read, or is shorter than what was written.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(piece) = self.spooled.pieces.get(self.piece) {
            self.piece += 1;
            self.given += piece.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
        }
        if self.left() == 0 {
            let trailers = self.spooled.trailers.clone().filter(|_| !self.trailers_given);
            self.trailers_given = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let Some(file) = &self.spooled.file else {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        };
        let reading = self.reading.get_or_insert_with(|| {
            let (file, offset) = (Arc::clone(file), self.offset);
            tokio::task::spawn_blocking(move || read_at(&file, offset))
        });
        let read = std::task::ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let read = read.map_err(io::Error::other).and_then(|read| read);
        Poll::Ready(Some(read.map(|data| {
            self.offset += data.len() as u64;
            self.given += data.len() as u64;
            Frame::data(data)
        })))
    }
}

fn read_at(file: &File, offset: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; READ_BYTES];
    let read = file.read_at(&mut buffer, offset)?;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    buffer.truncate(read);
    Ok(buffer.into())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::time::Duration;

    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    use super::*;

    /// A body of these pieces, with or without a trailer.
    struct Pieces(VecDeque<Bytes>, bool);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            if let Some(piece) = self.0.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let trailers = std::mem::take(&mut self.1).then(trailers);
            Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
        }
    }

    fn trailers() -> HeaderMap {
        HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("e"))])
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(10), future).await })
            .expect("in time")
    }

    async fn read(spooled: &Rc<Spooled>) -> (Vec<u8>, Option<HeaderMap>) {
        let mut reader = Reader::new(spooled);
        let body = http_body_util::StreamBody::new(futures_util::stream::poll_fn(move |cx| {
            reader
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| Ok::<_, Infallible>(frame.expect("readable"))))
        }));
        let collected = body.collect().await.expect("infallible");
        let trailers = collected.trailers().cloned();
        (collected.to_bytes().to_vec(), trailers)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Wherever the bytes lie, they come out as they went in, as often as asked; one byte too many is none.
        #[test]
        fn a_body_is_the_same_each_time_it_is_read(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..400), 0..12),
            memory in 0_u64..3_000,
            most in proptest::option::of(0_u64..3_000),
            trailer in any::<bool>(),
        ) {
            let whole = pieces.concat();
            let body = Pieces(pieces.into_iter().map(Bytes::from).collect(), trailer);
            block_on(async move {
                match spool(body, Bounds { memory, most, tells_length: true }).await {
                    Ok(spooled) => {
                        prop_assert!(most.is_none_or(|most| whole.len() as u64 <= most));
                        prop_assert_eq!(spooled.bytes, whole.len() as u64);
                        prop_assert_eq!(spooled.file.is_some(), whole.len() as u64 > memory);
                        prop_assert!(spooled.pieces.iter().map(|piece| piece.len() as u64).sum::<u64>() <= memory);
                        for _ in 0..2 {
                            prop_assert_eq!(read(&spooled).await, (whole.clone(), trailer.then(trailers)));
                        }
                    }
                    Err(SpoolError::TooLong(begun, rest)) => {
                        prop_assert!(most.is_some_and(|most| whole.len() as u64 > most));
                        let (mut all, _) = read(&begun).await;
                        all.extend(rest.0.into_iter().flatten());
                        prop_assert_eq!(all, whole);
                    }
                    Err(_) => return Err(TestCaseError::fail("nothing else can go wrong")),
                }
                Ok(())
            })?;
        }
    }
}
