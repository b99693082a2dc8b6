//! The node's deadlines and its randomness: what is due when, and a generator that a seed determines.
//! It must not read a clock or an entropy source.

use std::collections::BTreeMap;
use std::time::Duration;

use ravelin_consensus::{Time, Timer};

/// Adds a span to a time, stopping at the end of time.
pub(crate) fn after(now: Time, span: Duration) -> Time {
    Time { micros: now.micros.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)) }
}

/// Time from `earlier` to `later`; zero if they are the other way round.
pub(crate) fn between(earlier: Time, later: Time) -> Duration {
    Duration::from_micros(later.micros.saturating_sub(earlier.micros))
}

/// What can fall due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A timer of the core.
    Core(Timer),
    /// Committed entries wait for another event to be applied in.
    Apply,
    /// The node's own regular look at roles, requests and feeds.
    Tick,
}

/// Pending deadlines, at most one of each kind.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<Due, Time>,
    announced: Option<Time>,
}

impl Timers {
    pub(crate) fn set(&mut self, due: Due, at: Time) {
        self.due.insert(due, at);
    }

    pub(crate) fn cancel(&mut self, due: Due) {
        self.due.remove(&due);
    }

    /// Takes one deadline that has passed, the earliest first.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<Due> {
        let (&due, _) =
            self.due.iter().filter(|(_, at)| **at <= now).min_by_key(|(due, at)| (**at, **due))?;
        self.due.remove(&due);
        Some(due)
    }

    /// The next deadline, if it is another one than was given out last.
    pub(crate) fn announce(&mut self) -> Option<Time> {
        let next = self.due.values().min().copied();
        if next == self.announced {
            return None;
        }
        self.announced = next;
        next
    }

    /// Forgets what was given out: the caller has used it up.
    pub(crate) fn woken(&mut self) {
        self.announced = None;
    }
}

/// SplitMix64: small, fixed for ever (a library's generator may change its stream), good enough for jitter.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A span between the two, both included, in whole microseconds.
    pub(crate) fn span(&mut self, min: Duration, max: Duration) -> Duration {
        let width = u64::try_from(max.saturating_sub(min).as_micros()).unwrap_or(u64::MAX);
        min + Duration::from_micros(self.next() % width.saturating_add(1).max(1))
    }

    /// A name that no other node draws, as far as the seeds are good.
    pub(crate) fn id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        let (high, low) = id.split_at_mut(8);
        high.copy_from_slice(&self.next().to_le_bytes());
        low.copy_from_slice(&self.next().to_le_bytes());
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Time {
        Time { micros }
    }

    #[test]
    fn deadlines_fall_due_in_order_and_are_announced_once() {
        let mut timers = Timers::default();
        timers.set(Due::Tick, at(50));
        timers.set(Due::Core(Timer::Election), at(30));
        assert_eq!(timers.announce(), Some(at(30)));
        assert_eq!(timers.announce(), None);
        timers.set(Due::Core(Timer::Election), at(40));
        assert_eq!(timers.announce(), Some(at(40)));
        assert_eq!(timers.take_due(at(39)), None);
        assert_eq!(timers.take_due(at(60)), Some(Due::Core(Timer::Election)));
        assert_eq!(timers.take_due(at(60)), Some(Due::Tick));
        assert_eq!(timers.take_due(at(60)), None);
        timers.set(Due::Tick, at(40));
        timers.woken();
        assert_eq!(timers.announce(), Some(at(40)), "after a wake the same time is given out again");
        timers.cancel(Due::Tick);
        assert_eq!(timers.announce(), None);
    }

    #[test]
    fn a_seed_gives_one_stream_within_the_range() {
        let (mut one, mut other) = (Random::new(7), Random::new(7));
        for _ in 0..1000 {
            let (min, max) = (Duration::from_millis(5), Duration::from_millis(6));
            let span = one.span(min, max);
            assert!((min..=max).contains(&span));
            assert_eq!(span, other.span(min, max));
        }
        assert_eq!(Random::new(0).next(), 0xe220_a839_7b1d_cdaf, "the published first value of SplitMix64");
    }
}
