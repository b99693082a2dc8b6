//! What the guard, the request path's edge and the connection know in common about the messages of one connection:
//! how many were accepted, begun and answered, and what was refused. Counts and instants only; it does no I/O.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;

use super::clock::{BodyClock, Expiry, Timeouts, WRITE_PROGRESS_BYTES, Waits, WriteStall};
use super::head::{After, Framing, Head};
use super::refusal::Refusal;
use crate::forwarded::Present;

/// A refused message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused {
    /// Number of messages accepted before it.
    index: u64,
    refusal: Refusal,
}

/// What is to be done about a refused message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ripe {
    /// Every earlier answer is out: write this one and close.
    Answer(Refusal),
    /// Its own answer has begun already: close without a further byte.
    Abort(Refusal),
}

/// The shared state of one HTTP/1 connection. All on one thread.
#[derive(Debug)]
pub struct Exchanges {
    accepted: Cell<u64>,
    called: Cell<u64>,
    begun: Cell<u64>,
    ended: Cell<u64>,
    refused: Cell<Option<Refused>>,
    released: Cell<bool>,
    unflushed: Cell<bool>,
    /// The client takes no bytes at present.
    blocked: Cell<bool>,
    writer: RefCell<Option<Waker>>,
    body_complete: Cell<bool>,
    /// hyper asked for bytes in its present poll.
    read_wanted: Cell<bool>,
    raw_targets: RefCell<VecDeque<(u64, Bytes)>>,
    /// Which fields the message of this number has; of those before it nobody knows any more.
    seen: Cell<Option<(u64, Present)>>,
    reader: RefCell<Option<Waker>>,
    head_since: Cell<Option<Instant>>,
    request_since: Cell<Instant>,
    body: Cell<Option<BodyClock>>,
    write: Cell<Option<WriteStall>>,
    idle_since: Cell<Instant>,
    draining_since: Cell<Option<Instant>>,
}

impl Exchanges {
    /// Nothing has happened yet.
    pub fn new(now: Instant) -> Self {
        Self {
            accepted: Cell::new(0),
            called: Cell::new(0),
            begun: Cell::new(0),
            ended: Cell::new(0),
            refused: Cell::new(None),
            released: Cell::new(false),
            unflushed: Cell::new(false),
            blocked: Cell::new(false),
            writer: RefCell::new(None),
            body_complete: Cell::new(true),
            read_wanted: Cell::new(false),
            raw_targets: RefCell::new(VecDeque::new()),
            seen: Cell::new(None),
            reader: RefCell::new(None),
            head_since: Cell::new(None),
            request_since: Cell::new(now),
            body: Cell::new(None),
            write: Cell::new(None),
            idle_since: Cell::new(now),
            draining_since: Cell::new(None),
        }
    }

    /// A request reached the request path: its number, its raw target where that differs from the URI, and which fields it has
    /// if that was noted.
    pub fn called(&self) -> (u64, Option<Bytes>, Option<Present>) {
        let index = self.called.get();
        self.called.set(index + 1);
        let seen = self.seen.get().filter(|(owner, _)| *owner == index).map(|(_, seen)| seen);
        let mut targets = self.raw_targets.borrow_mut();
        let target = targets.pop_front_if(|(owner, _)| *owner == index).map(|(_, target)| target);
        (index, target, seen)
    }

    /// Whether message `index` was refused after its head was accepted, so that it must not be carried out.
    pub fn is_refused(&self, index: u64) -> bool {
        self.refused.get().is_some_and(|refused| refused.index <= index)
    }

    /// An answer's head is handed to hyper; `tunnel` if it is a 101 that opens one.
    pub fn began(&self, tunnel: bool) {
        let begun = self.begun.get() + 1;
        self.begun.set(begun);
        // Only the answer to the message that holds the reader back releases it, and that is the last one accepted: answers to
        // those before it say nothing of a tunnel.
        if !tunnel && begun == self.accepted.get() {
            self.released.set(true);
            self.wake_reader();
        }
    }

    /// An answer's body ended or was dropped.
    pub fn ended(&self, now: Instant) {
        self.ended.set(self.ended.get() + 1);
        self.idle_since.set(now);
    }

    /// Requests handed to the request path so far.
    pub fn requests(&self) -> u64 {
        self.called.get()
    }

    /// Ready unless the client takes no bytes: then hyper is given no more either, as it would keep them all.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.blocked.get() {
            return Poll::Ready(());
        }
        *self.writer.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The body of the message that came last has been read to its end.
    pub fn is_body_complete(&self) -> bool {
        self.body_complete.get()
    }

    /// From now on an idle connection closes sooner.
    pub fn drain(&self, now: Instant) {
        if self.draining_since.get().is_none() {
            self.draining_since.set(Some(now));
        }
    }

    /// The next instant at which something runs out, as things stand.
    pub fn deadline(&self, timeouts: &Timeouts) -> Option<(Instant, Expiry)> {
        if self.refused.get().is_some() {
            return self
                .write
                .get()
                .and_then(|stall| Some((stall.since.checked_add(timeouts.write_stall)?, Expiry::Write)));
        }
        Waits {
            head_since: self.head_since.get(),
            request_since: self.request_since.get(),
            body: self.body.get(),
            write: self.write.get(),
            // An answer that hyper still holds is under way, however its body ended.
            answering: self.ended.get() < self.accepted.get() || self.unflushed.get(),
            idle_since: self.idle_since.get(),
            draining_since: self.draining_since.get(),
        }
        .next(timeouts)
    }

    /// When a connection on which nothing is under way may let its buffers go.
    pub fn parking(&self, timeouts: &Timeouts) -> Option<Instant> {
        let accepted = self.accepted.get();
        let quiet = self.ended.get() == accepted
            && self.called.get() == accepted
            && !self.unflushed.get()
            && self.body_complete.get()
            && self.head_since.get().is_none()
            && self.refused.get().is_none();
        self.idle_since.get().checked_add(timeouts.park).filter(|_| quiet)
    }

    /// What is to be done about a refused message, once its time has come. Ask after each poll of hyper.
    pub fn ripe(&self) -> Option<Ripe> {
        let Refused { index, refusal } = self.refused.get()?;
        if self.begun.get() > index {
            return Some(Ripe::Abort(refusal));
        }
        (self.ended.get() >= index && !self.unflushed.get()).then_some(Ripe::Answer(refusal))
    }

    /// Refuses what is coming in: a head that is incomplete, or the body of the latest message.
    pub fn refuse(&self, refusal: Refusal, in_body: bool) {
        if self.refused.get().is_none() {
            let index = self.accepted.get() - u64::from(in_body);
            self.refused.set(Some(Refused { index, refusal }));
        }
    }

    /// hyper is about to be polled.
    pub fn before_poll(&self) {
        self.read_wanted.set(false);
    }

    /// hyper was polled and waits. If it asked for no bytes, as nobody takes the body at present or ever, then the client is
    /// not what is waited for.
    pub fn after_poll(&self) {
        if !self.read_wanted.get()
            && let Some(mut body) = self.body.get()
            && body.waiting_since.is_some()
        {
            body.came(0, Instant::now());
            self.body.set(Some(body));
        }
    }

    // What follows is told by the guard alone.

    pub(super) fn read_wanted(&self) {
        self.read_wanted.set(true);
    }

    pub(super) fn accept(&self, head: Head, seen: Option<Present>) {
        let index = self.accepted.get();
        self.seen.set(seen.map(|seen| (index, seen)));
        self.accepted.set(index + 1);
        if let Some(target) = head.raw_target {
            self.raw_targets.borrow_mut().push_back((index, target));
        }
        if let Some(since) = self.head_since.take() {
            self.request_since.set(since);
        }
        if head.after == After::Hold {
            self.released.set(false);
        }
        self.body_complete.set(head.framing == Framing::Empty);
        self.body.set((head.framing != Framing::Empty).then(BodyClock::default));
    }

    pub(super) fn end_body(&self) {
        self.body_complete.set(true);
        self.body.set(None);
    }

    pub(super) fn body_came(&self, bytes: usize, now: Instant) {
        if let Some(mut body) = self.body.get() {
            body.came(u64::try_from(bytes).unwrap_or(u64::MAX), now);
            self.body.set(Some(body));
        }
    }

    /// A read found nothing.
    pub(super) fn read_waits(&self, now: impl FnOnce() -> Instant) {
        if let Some(mut body) = self.body.get()
            && body.waiting_since.is_none()
        {
            body.waits(now());
            self.body.set(Some(body));
        }
    }

    pub(super) fn head_came(&self, now: Instant) {
        if self.head_since.get().is_none() {
            self.head_since.set(Some(now));
        }
    }

    pub(super) fn head_gone(&self) {
        self.head_since.set(None);
    }

    pub(super) fn is_released(&self) -> bool {
        self.released.get()
    }

    pub(super) fn is_any_refused(&self) -> bool {
        self.refused.get().is_some()
    }

    /// Every request handed over so far has its answer begun: an interim answer would come too late.
    pub(super) fn has_begun_all(&self) -> bool {
        self.begun.get() >= self.called.get()
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.unflushed.set(true);
        if let Some(mut stall) = self.write.get() {
            stall.bytes = stall.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
            self.write.set((stall.bytes < WRITE_PROGRESS_BYTES).then_some(stall));
        }
    }

    pub(super) fn write_blocked(&self, now: impl FnOnce() -> Instant) {
        self.unflushed.set(true);
        self.blocked.set(true);
        if self.write.get().is_none() {
            self.write.set(Some(WriteStall { since: now(), bytes: 0 }));
        }
    }

    pub(super) fn flushed(&self, now: impl FnOnce() -> Instant) {
        self.unflushed.set(false);
        if self.blocked.replace(false)
            && let Some(waker) = self.writer.borrow_mut().take()
        {
            waker.wake();
        }
        if self.write.take().is_some() {
            self.idle_since.set(now());
        }
    }

    pub(super) fn reader_waits(&self, waker: &Waker) {
        let mut reader = self.reader.borrow_mut();
        if !reader.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *reader = Some(waker.clone());
        }
    }

    fn wake_reader(&self) {
        if let Some(waker) = self.reader.borrow_mut().take() {
            waker.wake();
        }
    }
}
