//! What is known of one HTTP/2 connection's streams and bytes: who waits for the client, and since when. Counts and instants
//! only; it does no I/O.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::Executor;

use super::frames::{DataCount, FrameWalk};
use crate::guard::Timeouts;
use crate::guard::clock::WRITE_PROGRESS_BYTES;

/// One stream, from its head to the end of its task: what it waits for, and how it is ended from outside.
#[derive(Debug)]
pub(super) struct Stream {
    /// Its place among the open ones.
    place: usize,
    begun: Instant,
    /// The request's body is not complete, and somebody wants it.
    reading: Cell<bool>,
    late: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    /// When bytes of the answer were given to hyper that wait for the client's windows, and how many.
    handed: Cell<Option<(Instant, u64)>>,
    cut: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

fn keep(place: &RefCell<Option<Waker>>, waker: &Waker) {
    let mut known = place.borrow_mut();
    if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
        *known = Some(waker.clone());
    }
}

fn wake(place: &RefCell<Option<Waker>>) {
    if let Some(waker) = place.borrow_mut().take() {
        waker.wake();
    }
}

impl Stream {
    pub(super) fn reads(&self, reading: bool) {
        self.reading.set(reading);
    }

    /// The body's time was over while it was still wanted.
    pub(super) fn is_late(&self) -> bool {
        self.late.get()
    }

    /// Ready once the body is late.
    pub(super) fn poll_late(&self, cx: &Context<'_>) -> Poll<()> {
        if self.late.get() {
            return Poll::Ready(());
        }
        keep(&self.reader, cx.waker());
        Poll::Pending
    }

    /// Bytes of the answer were handed over, or what was handed over is gone.
    pub(super) fn hands(&self, bytes: Option<u64>) {
        self.handed.set(bytes.map(|bytes| (Instant::now(), bytes)));
    }

    /// Looks whether its time is over, one way or the other.
    fn look(&self, timeouts: &Timeouts, now: Instant) {
        let is_over = |since: Instant, time: Duration| now.saturating_duration_since(since) >= time;
        if self.reading.get() && timeouts.read.is_some_and(|read| is_over(self.begun, read)) {
            self.late.set(true);
            wake(&self.reader);
        }
        if let Some((since, bytes)) = self.handed.get() {
            let taking = Duration::from_secs(bytes.checked_div(timeouts.body_rate_min).unwrap_or(0));
            if is_over(since, timeouts.write_stall.saturating_add(taking)) {
                self.cut.set(true);
                wake(&self.task);
            }
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Streams {
    active: Cell<u64>,
    total: Cell<u64>,
    /// Answers that have bytes which the client's windows do not let out.
    waiting: Cell<u64>,
    pub(super) idle_since: Cell<Instant>,
    /// When every stream was looked at last.
    looked_at: Cell<Instant>,
    /// Bytes of bodies given to hyper, less those of answers that were broken off.
    handed: Cell<u64>,
    sent: RefCell<DataCount>,
    pub(super) walk: RefCell<FrameWalk>,
    pub(super) blocked: Cell<bool>,
    /// The connection ends by a reset, so that what the client does not take is dropped.
    pub(super) abrupt: Cell<bool>,
    written_bytes: Cell<u64>,
    stalled: Cell<Option<Stall>>,
    /// Open streams by place; bounded by the streams that a client may open at once.
    open: RefCell<Vec<Option<Rc<Stream>>>>,
    free: RefCell<Vec<usize>>,
    /// The stream whose task runs for the first time.
    starting: RefCell<Option<Rc<Stream>>>,
}

/// Since when the client has taken too little, and what had been sent by then.
#[derive(Clone, Copy, Debug)]
struct Stall {
    since: Instant,
    written_bytes: u64,
    data_bytes: u64,
}

/// What ran out, or when to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Close in order.
    Idle,
    /// Close at once.
    Late,
    /// Look at every stream: one of them may have waited too long, or a stall may have begun unseen.
    Look,
}

impl Streams {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            active: Cell::new(0),
            total: Cell::new(0),
            waiting: Cell::new(0),
            idle_since: Cell::new(now),
            looked_at: Cell::new(now),
            handed: Cell::new(0),
            sent: RefCell::new(DataCount::default()),
            walk: RefCell::new(FrameWalk::new(now)),
            blocked: Cell::new(false),
            abrupt: Cell::new(false),
            written_bytes: Cell::new(0),
            stalled: Cell::new(None),
            open: RefCell::new(Vec::new()),
            free: RefCell::new(Vec::new()),
            starting: RefCell::new(None),
        }
    }

    /// A request came. Its stream is the one whose task runs.
    pub(super) fn began(&self) -> Option<Rc<Stream>> {
        self.active.set(self.active.get() + 1);
        self.total.set(self.total.get() + 1);
        self.starting.take()
    }

    /// Requests so far.
    pub(super) fn total(&self) -> u64 {
        self.total.get()
    }

    /// An answer ended. `broken_off`: bytes of it that hyper was given and may have thrown away.
    pub(super) fn ended(&self, broken_off: u64) {
        self.active.set(self.active.get().saturating_sub(1));
        self.handed.set(self.handed.get().saturating_sub(broken_off));
        self.idle_since.set(Instant::now());
    }

    pub(super) fn handed(&self, bytes: u64) {
        self.handed.set(self.handed.get().saturating_add(bytes));
    }

    /// Every answer has ended for us, but hyper still holds bytes that the client's windows do not let out.
    fn is_stuck(&self) -> bool {
        self.active.get() == 0 && self.handed.get() > self.sent.borrow().bytes()
    }

    pub(super) fn waits(&self, waiting: bool) {
        let count = self.waiting.get();
        self.waiting.set(if waiting { count + 1 } else { count.saturating_sub(1) });
    }

    /// Bytes came. `false`: the budget is spent.
    pub(super) fn came(&self, bytes: &[u8], now: Instant) -> bool {
        self.walk.borrow_mut().came(bytes, now)
    }

    pub(super) fn wrote(&self, bytes: &[u8]) {
        let frames = self.sent.borrow_mut().wrote(bytes);
        self.walk.borrow_mut().wrote(bytes.len(), frames);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.written_bytes.set(self.written_bytes.get().saturating_add(length));
    }

    /// Notes whether bytes wait for the client, and since when it has taken too few.
    fn look(&self, now: impl FnOnce() -> Instant) {
        if self.active.get() == 0 && self.resets_seen() {
            // Whoever resets a stream throws away what was on its way there: that waits for nobody.
            self.handed.set(self.sent.borrow().bytes());
        }
        let blocked = self.blocked.get();
        let waits = blocked || self.waiting.get() > 0 || self.is_stuck();
        let (written_bytes, data_bytes) = (self.written_bytes.get(), self.sent.borrow().bytes());
        // Where the client's windows are shut, what it makes us say besides (PING, SETTINGS) is no progress.
        let moved = |stall: Stall| match blocked {
            true => written_bytes.saturating_sub(stall.written_bytes),
            false => data_bytes.saturating_sub(stall.data_bytes),
        };
        if !waits {
            self.stalled.set(None);
        } else if self.stalled.get().is_none_or(|stall| moved(stall) >= WRITE_PROGRESS_BYTES) {
            self.stalled.set(Some(Stall { since: now(), written_bytes, data_bytes }));
        }
    }

    fn resets_seen(&self) -> bool {
        let ours = self.sent.borrow_mut().take_reset();
        self.walk.borrow_mut().take_reset() || ours
    }

    /// Looks at every stream. Call it when [`Streams::deadline`] says so.
    pub(super) fn look_at_each(&self, timeouts: &Timeouts, now: Instant) {
        self.looked_at.set(now);
        let open: Vec<Rc<Stream>> = self.open.borrow().iter().flatten().map(Rc::clone).collect();
        for stream in open {
            stream.look(timeouts, now);
        }
    }

    pub(super) fn deadline(
        &self,
        timeouts: &Timeouts,
        idle: Option<Duration>,
        accepted_at: Instant,
        now: impl FnOnce() -> Instant,
    ) -> Option<(Instant, Due)> {
        self.look(now);
        let walk = self.walk.borrow();
        if !walk.is_open() {
            return Some((accepted_at.checked_add(timeouts.handshake)?, Due::Late));
        }
        let after = |since: Option<Instant>, time: Duration| since.and_then(|since| since.checked_add(time));
        let late = [
            after(walk.head_since(), timeouts.head),
            after(walk.data_since(), timeouts.body_idle),
            after(self.stalled.get().map(|stall| stall.since), timeouts.write_stall),
        ];
        let late = late.into_iter().flatten().min().map(|at| (at, Due::Late));
        let other = if self.is_stuck() {
            None
        } else if self.active.get() == 0 {
            idle.and_then(|idle| after(Some(self.idle_since.get()), idle)).map(|at| (at, Due::Idle))
        } else {
            let read = timeouts.read.unwrap_or(Duration::MAX) / 4;
            let interval = read.min(timeouts.write_stall / 2);
            after(Some(self.looked_at.get()), interval).map(|at| (at, Due::Look))
        };
        [late, other].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    fn enter(&self) -> Rc<Stream> {
        let mut open = self.open.borrow_mut();
        let place = self.free.borrow_mut().pop().unwrap_or(open.len());
        let stream = Rc::new(Stream {
            place,
            begun: Instant::now(),
            reading: Cell::new(false),
            late: Cell::new(false),
            reader: RefCell::new(None),
            handed: Cell::new(None),
            cut: Cell::new(false),
            task: RefCell::new(None),
        });
        match open.get_mut(place) {
            Some(held) => *held = Some(Rc::clone(&stream)),
            None => open.push(Some(Rc::clone(&stream))),
        }
        stream
    }

    fn leave(&self, stream: &Stream) {
        if let Some(held) = self.open.borrow_mut().get_mut(stream.place) {
            *held = None;
            self.free.borrow_mut().push(stream.place);
        }
    }
}

/// Spawns a connection's streams on its own thread, each where it can be found and ended.
#[derive(Clone, Debug)]
pub(super) struct OnThisThread(pub(super) Rc<Streams>);

/// A stream's place, given up on every way out of its task.
struct Entered(Rc<Streams>, Rc<Stream>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.leave(&self.1);
    }
}

impl<F> Executor<F> for OnThisThread
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        let entered = Entered(Rc::clone(&self.0), self.0.enter());
        tokio::task::spawn_local(async move {
            let Entered(streams, stream) = &entered;
            *streams.starting.borrow_mut() = Some(Rc::clone(stream));
            let mut future = pin!(future);
            poll_fn(|cx| {
                if stream.cut.get() {
                    // Dropping the task resets its stream.
                    return Poll::Ready(());
                }
                let polled = future.as_mut().poll(cx);
                streams.starting.take();
                keep(&stream.task, cx.waker());
                polled.map(drop)
            })
            .await;
        });
    }
}
