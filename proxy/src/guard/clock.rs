//! When a connection has waited too long, and for what. One instant is asked for at a time, so that a connection needs a
//! single timer however often its state changes. It reads no clock: instants are handed in.

use std::time::{Duration, Instant};

/// The times a connection may take. `None` means for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept until the protocol is known: first bytes, TLS handshake, HTTP/2 preface.
    pub handshake: Duration,
    /// From a head's first byte to its last.
    pub head: Duration,
    /// From a request's first byte to its last, body included (`respondingTimeouts.readTimeout`).
    pub read: Option<Duration>,
    /// Without one byte of a body that is waited for.
    pub body_idle: Duration,
    /// Body bytes per second, counted over the time spent waiting for the client.
    pub body_rate_min: u64,
    /// Waiting time after which the rate counts.
    pub body_rate_grace: Duration,
    /// Without [`WRITE_PROGRESS_BYTES`] taken by a client that has bytes waiting.
    pub write_stall: Duration,
    /// From a request's first byte to the end of its answer (`respondingTimeouts.writeTimeout`).
    pub write: Option<Duration>,
    /// Between two requests (`respondingTimeouts.idleTimeout`).
    pub idle: Option<Duration>,
    /// Between two requests while the process or the entry point goes away.
    pub idle_in_drain: Duration,
    /// Idleness after which a connection keeps no buffers. Nothing of it shows outside.
    pub park: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            read: Some(Duration::from_secs(60)),
            body_idle: Duration::from_secs(30),
            body_rate_min: 500,
            body_rate_grace: Duration::from_secs(10),
            write_stall: Duration::from_secs(30),
            write: None,
            idle: Some(Duration::from_secs(180)),
            idle_in_drain: Duration::from_secs(5),
            park: Duration::from_secs(2),
        }
    }
}

/// Bytes that count as progress of a slow reader: window updates of single bytes must not keep an answer alive.
pub const WRITE_PROGRESS_BYTES: u64 = 1024;

/// What ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// A head did not come to its end.
    Head,
    /// A body did not come to its end, or too slowly.
    Body,
    /// The client does not take its answer, or the answer took too long.
    Write,
    /// No further request came.
    Idle,
}

/// How long one body has been waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct BodyClock {
    pub(super) bytes: u64,
    pub(super) waited: Duration,
    pub(super) waiting_since: Option<Instant>,
}

impl BodyClock {
    /// Nothing is at hand: from now on the client is waited for.
    pub(super) fn waits(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// Bytes came.
    pub(super) fn came(&mut self, bytes: u64, now: Instant) {
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some(since) = self.waiting_since.take() {
            self.waited = self.waited.saturating_add(now.saturating_duration_since(since));
        }
    }

    fn deadline(&self, timeouts: &Timeouts, request_since: Instant) -> Option<Instant> {
        let since = self.waiting_since?;
        let due = Duration::from_secs(self.bytes.checked_div(timeouts.body_rate_min)?)
            .max(timeouts.body_rate_grace);
        let rate = since.checked_add(due.saturating_sub(self.waited));
        let idle = since.checked_add(timeouts.body_idle);
        // The whole request's limit counts only while the client is what is waited for, and never before that began.
        let read = timeouts.read.and_then(|read| request_since.checked_add(read)).map(|at| at.max(since));
        [rate, idle, read].into_iter().flatten().min()
    }
}

/// A client that takes its bytes slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WriteStall {
    pub(super) since: Instant,
    pub(super) bytes: u64,
}

/// All instants that matter on one HTTP/1 connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// First byte of a head that is still incomplete.
    pub(super) head_since: Option<Instant>,
    /// First byte of the latest accepted head.
    pub(super) request_since: Instant,
    pub(super) body: Option<BodyClock>,
    pub(super) write: Option<WriteStall>,
    /// A request is being answered.
    pub(super) answering: bool,
    /// When the last answer ended, or the connection began.
    pub(super) idle_since: Instant,
    pub(super) draining_since: Option<Instant>,
}

impl Waits {
    /// The next instant at which something runs out, as things stand.
    pub(super) fn next(&self, timeouts: &Timeouts) -> Option<(Instant, Expiry)> {
        let mut next = None;
        let mut consider = |at: Option<Instant>, expiry: Expiry| {
            if let Some(at) = at
                && next.is_none_or(|(earliest, _)| at < earliest)
            {
                next = Some((at, expiry));
            }
        };
        consider(self.body.and_then(|body| body.deadline(timeouts, self.request_since)), Expiry::Body);
        consider(self.write.and_then(|stall| stall.since.checked_add(timeouts.write_stall)), Expiry::Write);
        if self.answering {
            consider(timeouts.write.and_then(|write| self.request_since.checked_add(write)), Expiry::Write);
        } else if let Some(since) = self.head_since {
            // A head that was sent ahead is not late before the answer in front of it is out.
            let at = since.max(self.idle_since).checked_add(timeouts.head);
            consider(at, Expiry::Head);
        } else {
            consider(timeouts.idle.and_then(|idle| self.idle_since.checked_add(idle)), Expiry::Idle);
            let drained = self.draining_since.map(|since| since.max(self.idle_since));
            consider(drained.and_then(|since| since.checked_add(timeouts.idle_in_drain)), Expiry::Idle);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn waits(start: Instant) -> Waits {
        Waits {
            head_since: None,
            request_since: start,
            body: None,
            write: None,
            answering: false,
            idle_since: start,
            draining_since: None,
        }
    }

    fn next(waits: &Waits, start: Instant) -> Option<(u64, Expiry)> {
        waits.next(&Timeouts::default()).map(|(at, expiry)| ((at - start).as_secs(), expiry))
    }

    #[test]
    fn an_idle_connection_may_wait_long_and_a_begun_head_may_not() {
        let start = Instant::now();
        let mut waits = waits(start);
        assert_eq!(next(&waits, start), Some((180, Expiry::Idle)));
        waits.head_since = Some(start + 100 * SECOND);
        assert_eq!(next(&waits, start), Some((110, Expiry::Head)));
    }

    #[test]
    fn a_head_sent_ahead_waits_for_the_answer_before_it() {
        let start = Instant::now();
        let mut waits = waits(start);
        waits.head_since = Some(start);
        waits.answering = true;
        assert_eq!(next(&waits, start), None, "the request path owns the time of an answer");
        waits.answering = false;
        waits.idle_since = start + 50 * SECOND;
        assert_eq!(next(&waits, start), Some((60, Expiry::Head)));
    }

    #[test]
    fn a_body_is_late_by_silence_by_rate_or_by_its_whole_time() {
        let start = Instant::now();
        let mut waits = waits(start);
        waits.answering = true;
        let mut body = BodyClock::default();
        waits.body = Some(body);
        assert_eq!(next(&waits, start), None, "nobody waits for the client");
        body.waits(start + SECOND);
        waits.body = Some(body);
        assert_eq!(next(&waits, start), Some((11, Expiry::Body)), "rate, after its grace");
        body.came(1_000_000, start + 9 * SECOND);
        body.waits(start + 20 * SECOND);
        waits.body = Some(body);
        assert_eq!(next(&waits, start), Some((50, Expiry::Body)), "silence");
        body.came(1, start + 21 * SECOND);
        body.waits(start + 55 * SECOND);
        waits.body = Some(body);
        assert_eq!(next(&waits, start), Some((60, Expiry::Body)), "the whole request");
    }

    #[test]
    fn time_the_upstream_takes_is_not_held_against_the_client() {
        let start = Instant::now();
        let mut body = BodyClock::default();
        for second in 0..9 {
            body.waits(start + second * 10 * SECOND);
            body.came(1, start + (second * 10 + 1) * SECOND);
        }
        assert_eq!(body.waited, 9 * SECOND);
    }

    #[test]
    fn drain_shortens_idleness_from_its_own_beginning() {
        let start = Instant::now();
        let mut waits = waits(start);
        waits.draining_since = Some(start + 60 * SECOND);
        assert_eq!(next(&waits, start), Some((65, Expiry::Idle)));
        waits.idle_since = start + 70 * SECOND;
        assert_eq!(next(&waits, start), Some((75, Expiry::Idle)));
    }

    #[test]
    fn a_reader_that_takes_nothing_is_late() {
        let start = Instant::now();
        let mut waits = waits(start);
        waits.answering = true;
        waits.write = Some(WriteStall { since: start, bytes: 0 });
        assert_eq!(next(&waits, start), Some((30, Expiry::Write)));
    }
}
