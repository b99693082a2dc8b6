//! How long one connection carries requests. A connection that is never idle would live for ever: its server's name would never be looked
//! up again, and whatever a server keeps for it would only grow. Not all of a pool end at once.

use std::time::{Duration, Instant};

/// Requests after which a connection is not kept.
const REQUESTS_MAX: u64 = 10_000;
/// Age after which it is not kept.
const AGE_MAX: Duration = Duration::from_secs(3600);
/// How much earlier than others a connection may end: this part of each limit.
const SPREAD: u64 = 10;
/// Steps of the spread.
const STEPS: u64 = 256;

/// The limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wear {
    pub(crate) requests_max: u64,
    pub(crate) age_max: Duration,
}

impl Default for Wear {
    fn default() -> Self {
        Self { requests_max: REQUESTS_MAX, age_max: AGE_MAX }
    }
}

/// What one connection has behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Worn {
    opened: Instant,
    requests: u64,
    /// Its place within the spread.
    step: u64,
}

impl Worn {
    /// Of a connection opened at `now`, with a number that no other has.
    pub(crate) fn new(now: Instant, number: u64) -> Self {
        Self { opened: now, requests: 0, step: number % STEPS }
    }

    /// It carries one more request.
    pub(crate) fn used(&mut self) {
        self.requests += 1;
    }

    /// Whether it has had enough.
    pub(crate) fn is_over(&self, wear: Wear, now: Instant) -> bool {
        let less = |limit: u64| limit - limit / SPREAD * self.step / STEPS;
        let age_max = u64::try_from(wear.age_max.as_millis()).unwrap_or(u64::MAX / STEPS);
        self.requests >= less(wear.requests_max)
            || now.saturating_duration_since(self.opened) >= Duration::from_millis(less(age_max))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// No connection ends before nine tenths of a limit, none goes on beyond it.
        #[test]
        fn connections_end_within_the_last_tenth(number: u64, requests in 0_u64..12_000, age in 0_u64..4_000) {
            let begun = Instant::now();
            let mut worn = Worn::new(begun, number);
            (0..requests).for_each(|_| worn.used());
            let over = worn.is_over(Wear::default(), begun + Duration::from_secs(age));
            prop_assert!(over || (requests < 10_000 && age < 3_600));
            prop_assert!(!over || requests > 9_000 || age > 3_240);
        }
    }

    #[test]
    fn a_pool_does_not_end_at_once() {
        let begun = Instant::now();
        let late = begun + Duration::from_secs(3_400);
        let over =
            (0..STEPS).filter(|number| Worn::new(begun, *number).is_over(Wear::default(), late)).count();
        assert!((64..192).contains(&over), "{over} of {STEPS}");
    }
}
