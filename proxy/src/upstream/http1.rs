//! One HTTP/1 connection to a server: a request is written, its answer read, by whoever polls; there is no task beside the
//! request's own, no channel and no copy of a head. Only HTTP's syntax and framing are known here: what an answer means for the
//! client and for the pool is decided by the forwarder and the return rule.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::interim::Relay;
use super::io::UpstreamIo;
use super::unique_id;
use super::wear::{Wear, Worn};
use crate::body::{BodyError, RequestBody};

mod content;
mod head;

use content::Content;
pub(crate) use head::{AnswerHead, RequestHead};
use head::{Content as Sent, HeadReader, framing, write_field};

/// Bytes asked for at first; more while an answer fills what is asked for.
const READ_BYTES: usize = 8 * 1024;
const READ_BYTES_MAX: usize = 256 * 1024;
/// The largest room for a request that is kept.
const OUT_BYTES_KEPT: usize = 16 * 1024;
/// How many of them a worker keeps: as many requests are written at once where so many clients are busy.
const OUT_KEPT_MAX: usize = 64;
/// A piece of a request's body up to this length is copied behind what goes before it.
const COPIED_BYTES_MAX: usize = 1024;
/// No further piece of a body is taken while more than this waits to be written.
const WAITING_BYTES_MAX: usize = 4096;
/// Interim answers to one request.
const INTERIM_MAX: u32 = 100;

/// Why there is no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The connection ended or broke.
    #[error("the connection ended too early")]
    Closed(#[source] Option<io::Error>),
    /// What came is no answer that may be passed on.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// The request's own body broke off.
    #[error("the request's body broke off")]
    Body(#[source] BodyError),
    /// The request's own body is longer or shorter than it was said.
    #[error("the request's body has another length")]
    Length,
}

/// Buffers of a worker, lent to whichever of its connections reads or writes: few bytes that stay in the caches in place of many that
/// are cold, and none for a connection that waits.
#[derive(Debug, Default)]
pub(crate) struct Room {
    read: RefCell<BytesMut>,
    out: RefCell<Vec<Vec<u8>>>,
}

impl Room {
    /// An empty buffer for a request.
    fn lend(&self) -> Vec<u8> {
        self.out.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a buffer back, unless it is too large to be kept.
    fn take_back(&self, mut buffer: Vec<u8>) {
        let mut kept = self.out.borrow_mut();
        if (1..=OUT_BYTES_KEPT).contains(&buffer.capacity()) && kept.len() < OUT_KEPT_MAX {
            buffer.clear();
            kept.push(buffer);
        }
    }
}

/// What is left to send of a request.
#[derive(Debug, Default)]
struct Sending {
    /// Head and framing, of which `written` bytes are out.
    out: Vec<u8>,
    written: usize,
    /// Goes behind `out`.
    piece: Bytes,
    /// Goes behind `piece`.
    behind: &'static [u8],
    body: Option<RequestBody>,
    /// Of the body, if its length was said.
    left: Option<u64>,
    /// Trailer fields that the head announced: no other is sent.
    announced: Vec<HeaderName>,
    unflushed: bool,
    /// The server takes no more; its answer may be there all the same.
    broken: Option<io::Error>,
    /// Bytes that the server took.
    taken: u64,
}

/// A connection, used by one request at a time.
#[derive(Debug)]
pub(crate) struct Client {
    io: UpstreamIo,
    room: Rc<Room>,
    /// Read and not yet given on.
    read: BytesMut,
    read_bytes: usize,
    sending: Sending,
    /// It waits to be written together with others.
    departing: bool,
    /// Why it could not be.
    undeparted: Option<Fault>,
    /// Any byte of the request went out.
    begun: bool,
    /// Any byte of its answer came.
    answered: bool,
    reader: HeadReader,
    interim: u32,
    asked_head: bool,
    content: Content,
    /// What is to be told of the content.
    fault: Option<Fault>,
    /// The connection has come to its end.
    ended: bool,
    worn: Worn,
}

impl Client {
    pub(crate) fn new(io: UpstreamIo, room: Rc<Room>) -> Self {
        Self {
            io,
            room,
            read: BytesMut::new(),
            read_bytes: READ_BYTES,
            sending: Sending::default(),
            departing: false,
            undeparted: None,
            begun: false,
            answered: false,
            reader: HeadReader::default(),
            interim: 0,
            asked_head: false,
            content: Content::Ended,
            fault: None,
            ended: false,
            worn: Worn::new(Instant::now(), unique_id()),
        }
    }

    /// Begins a request. Its head is copied, so that the caller can send it once more elsewhere; nothing is written yet.
    pub(crate) fn begin(&mut self, head: &RequestHead<'_>, body: RequestBody, announced: Vec<HeaderName>) {
        let usually_full = matches!(*head.method, Method::POST | Method::PUT | Method::PATCH);
        let content = match body.size_hint().exact() {
            _ if body.is_end_stream() && usually_full => Sent::Length(0),
            _ if body.is_end_stream() => Sent::None,
            Some(length) => Sent::Length(length),
            None => Sent::Chunked,
        };
        let mut out = self.room.lend();
        head.write(&mut out, content);
        self.sending = Sending {
            out,
            body: (!body.is_end_stream()).then_some(body),
            left: match content {
                Sent::None => Some(0),
                Sent::Length(length) => Some(length),
                Sent::Chunked => None,
            },
            announced,
            ..Sending::default()
        };
        self.worn.used();
        (self.departing, self.undeparted) = (true, None);
        (self.begun, self.answered, self.interim) = (false, false, 0);
        self.read_bytes = READ_BYTES;
        self.asked_head = *head.method == Method::HEAD;
    }

    /// No byte of the request went out.
    pub(crate) fn is_unwritten(&self) -> bool {
        !self.begun
    }

    /// No byte of an answer came.
    pub(crate) fn is_unanswered(&self) -> bool {
        !self.answered
    }

    /// The body of a request of which nothing went out.
    pub(crate) fn take_body(&mut self) -> RequestBody {
        self.sending.body.take().unwrap_or_else(RequestBody::empty)
    }

    /// Sends the request and waits for the head of its final answer. `fields` is used for the answer's, once one begins. Cancel
    /// safe in that a later call goes on; who gives up drops the connection.
    pub(crate) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        fields: &mut HeaderMap,
        relay: Option<Relay<'_>>,
    ) -> Poll<Result<AnswerHead, Fault>> {
        // Reading first: an end, or bytes that nobody asked for, show before anything is written.
        loop {
            match self.poll_read(cx) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Fault::Closed(Some(error)))),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Fault::Closed(self.sending.broken.take()))),
                Poll::Ready(Ok(_)) if !self.begun => {
                    return Poll::Ready(Err(Fault::Malformed("an answer before its request")));
                }
                Poll::Ready(Ok(_)) => self.answered = true,
            }
            if let Some(head) = self.head(fields, relay)? {
                return Poll::Ready(Ok(head));
            }
        }
        if let Some(fault) = self.undeparted.take() {
            return Poll::Ready(Err(fault));
        }
        if self.departing {
            return Poll::Pending;
        }
        match self.poll_send(cx) {
            Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Writes the request now. False: whoever waits for its answer has to look after it, and is not woken by anything else.
    pub(crate) fn depart(&mut self, cx: &mut Context<'_>) -> bool {
        self.departing = false;
        match self.poll_send(cx) {
            Poll::Ready(Ok(())) => true,
            Poll::Pending => self.waits_for_server().is_none(),
            Poll::Ready(Err(fault)) => {
                self.undeparted = Some(fault);
                false
            }
        }
    }

    /// The final answer's head, if it is there; interim ones before it are passed on.
    fn head(
        &mut self,
        fields: &mut HeaderMap,
        relay: Option<Relay<'_>>,
    ) -> Result<Option<AnswerHead>, Fault> {
        loop {
            let Some(mut head) = self.reader.read(&mut self.read, fields)? else {
                self.let_go();
                return Ok(None);
            };
            if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
                self.interim += 1;
                if self.interim > INTERIM_MAX {
                    return Err(Fault::Malformed("interim answers without end"));
                }
                if let Some(relay) = relay {
                    relay.pass(head.status, &mut head.fields);
                }
                *fields = head.fields;
                continue;
            }
            if head.status != StatusCode::SWITCHING_PROTOCOLS {
                self.content = Content::new(framing(&mut head, self.asked_head)?);
            }
            self.let_go();
            return Ok(Some(head));
        }
    }

    /// Sends what is left of the request. Ready once all of it is out, or the server takes no more.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            let waits = self.sending.fill(cx)?;
            if self.sending.broken.is_some() {
                return Poll::Ready(Ok(()));
            }
            if self.sending.has_bytes() {
                let polled = self.sending.poll_write(Pin::new(&mut self.io), cx);
                match ready!(polled) {
                    Ok(()) => self.begun = true,
                    Err(error) if !self.begun => return Poll::Ready(Err(Fault::Closed(Some(error)))),
                    // The server may have said why it reads no further.
                    Err(error) => self.sending.broken = Some(error),
                }
                continue;
            }
            if self.sending.unflushed {
                if let Err(error) = ready!(Pin::new(&mut self.io).poll_flush(cx)) {
                    self.sending.broken = Some(error);
                    return Poll::Ready(Ok(()));
                }
                self.sending.unflushed = false;
            }
            if waits {
                return Poll::Pending;
            }
            self.room.take_back(std::mem::take(&mut self.sending.out));
            self.sending.written = 0;
            return Poll::Ready(Ok(()));
        }
    }

    /// The whole request went out.
    pub(crate) fn is_sent(&self) -> bool {
        self.sending.body.is_none()
            && !self.sending.has_bytes()
            && !self.sending.unflushed
            && self.sending.broken.is_none()
    }

    /// How much the server took so far, if more waits for it.
    pub(crate) fn waits_for_server(&self) -> Option<u64> {
        let unsent = self.sending.has_bytes() || self.sending.unflushed;
        let waits = unsent && !self.departing && self.sending.broken.is_none();
        waits.then_some(self.sending.taken)
    }

    /// Ends the connection although a request is on it.
    pub(crate) fn cut(&self) {
        self.io.cut();
    }

    /// The next piece of the answer's content. A fault is told one call later than it shows, so that what came before it has gone
    /// on its way to the client.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(Some(Err(fault)));
        }
        let fault = match ready!(self.poll_content(cx)) {
            Ok(frame) => return Poll::Ready(frame.map(Ok)),
            Err(fault) => fault,
        };
        self.fault = Some(fault);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Fault>> {
        loop {
            let piece = self.content.next(&mut self.read)?;
            self.let_go();
            if piece.is_some() || self.content.is_ended() {
                return Poll::Ready(Ok(piece));
            }
            let bytes = ready!(self.poll_read(cx)).map_err(|error| Fault::Closed(Some(error)))?;
            if bytes == 0 {
                self.content.end()?;
            }
        }
    }

    pub(crate) fn is_answer_ended(&self) -> bool {
        self.content.is_ended()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }

    /// Bytes came behind the answer's end.
    pub(crate) fn has_surplus(&self) -> bool {
        !self.read.is_empty()
    }

    /// The connection's end was seen.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether it was used long enough.
    pub(crate) fn is_worn(&self, wear: Wear, now: Instant) -> bool {
        self.worn.is_over(wear, now)
    }

    /// Whether a connection between two requests stands, and says nothing. Lets go of whom it would have woken.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        !self.ended
            && self.read.is_empty()
            && Pin::new(&mut self.io).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// After a 101: the stream, and what was read behind the head.
    pub(crate) fn into_parts(self) -> (UpstreamIo, Bytes) {
        (self.io, self.read.freeze())
    }

    /// All that was read is taken: no share is kept in the worker's room, so that it can be used anew from its beginning. A buffer
    /// of the connection's own, which long answers have, stays until their end.
    fn let_go(&mut self) {
        if self.read.is_empty() && (self.read_bytes == READ_BYTES || self.content.is_ended()) {
            self.read = BytesMut::new();
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (free, bytes) = if self.read.is_empty() && self.read_bytes == READ_BYTES {
            let mut room = self.room.read.borrow_mut();
            let read = ready!(read_into(&mut room, READ_BYTES, &mut self.io, cx))?;
            self.read = room.split();
            read
        } else {
            ready!(read_into(&mut self.read, self.read_bytes, &mut self.io, cx))?
        };
        if bytes == 0 {
            self.ended = true;
        } else if bytes == free {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        } else if bytes < READ_BYTES {
            self.read_bytes = READ_BYTES;
        }
        Poll::Ready(Ok(bytes))
    }
}

/// Reads behind what `buffer` holds. Ready with how many bytes there was room for, and how many came.
fn read_into(
    buffer: &mut BytesMut,
    room: usize,
    io: &mut UpstreamIo,
    cx: &mut Context<'_>,
) -> Poll<io::Result<(usize, usize)>> {
    if buffer.capacity() - buffer.len() < room {
        // Takes the same memory again where nobody holds any of it any more.
        buffer.reserve(room);
    }
    let free = buffer.capacity() - buffer.len();
    poll_read_buf(Pin::new(io), cx, buffer).map_ok(|bytes| (free, bytes))
}

impl Sending {
    fn has_bytes(&self) -> bool {
        self.written < self.out.len() || !self.piece.is_empty() || !self.behind.is_empty()
    }

    /// Takes the next piece of the body if the last one is out. `true`: the body has no next one yet.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, Fault> {
        let waiting = self.out.len() - self.written;
        let room = waiting <= WAITING_BYTES_MAX && self.piece.is_empty() && self.behind.is_empty();
        let Some(body) = self.body.as_mut().filter(|_| room) else { return Ok(false) };
        let frame = match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => return Ok(true),
            Poll::Ready(Some(Err(error))) => return Err(Fault::Body(error)),
            Poll::Ready(None) => {
                self.body = None;
                return self.end(None).map(|()| false);
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        let ended = body.is_end_stream();
        if waiting == 0 {
            self.written = 0;
            self.out.clear();
        }
        match frame.into_data() {
            Ok(data) => {
                self.data(data)?;
                if ended {
                    self.body = None;
                    self.end(None)?;
                }
            }
            Err(frame) => {
                self.body = None;
                self.end(frame.into_trailers().ok())?;
            }
        }
        Ok(false)
    }

    fn data(&mut self, data: Bytes) -> Result<(), Fault> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.left {
            Some(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Fault::Length)?;
            }
            None => {
                self.out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                self.behind = b"\r\n";
            }
        }
        if data.len() <= COPIED_BYTES_MAX {
            self.out.extend_from_slice(&data);
            self.out.extend_from_slice(std::mem::take(&mut self.behind));
        } else {
            self.piece = data;
        }
        Ok(())
    }

    /// The body has come to its end.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Fault> {
        match self.left {
            Some(0) => return Ok(()),
            Some(_) => return Err(Fault::Length),
            None => {}
        }
        if !self.piece.is_empty() {
            self.behind = b"\r\n0\r\n\r\n";
            return Ok(());
        }
        self.out.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.iter().flatten().filter(|(name, _)| self.announced.contains(name)) {
            write_field(&mut self.out, name, value);
        }
        self.out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn poll_write(&mut self, io: Pin<&mut UpstreamIo>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let out = self.out.get(self.written..).unwrap_or_default();
        let polled = if self.piece.is_empty() && self.behind.is_empty() {
            io.poll_write(cx, out)
        } else {
            let slices =
                [io::IoSlice::new(out), io::IoSlice::new(&self.piece), io::IoSlice::new(self.behind)];
            io.poll_write_vectored(cx, &slices)
        };
        let mut bytes = ready!(polled)?;
        if bytes == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unflushed = true;
        self.taken += bytes as u64;
        let of_out = bytes.min(out.len());
        self.written += of_out;
        bytes -= of_out;
        let of_piece = bytes.min(self.piece.len());
        self.piece.advance(of_piece);
        bytes -= of_piece;
        self.behind = self.behind.get(bytes..).unwrap_or_default();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
