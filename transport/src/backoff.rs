//! When to dial again: exponential, jittered, bounded. A plain machine: the time and the seed are passed in, and nothing is waited for here.

use crate::random::Random;
use std::time::Duration;

/// How quickly to dial again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffOptions {
    /// Longest wait after the first failure; it doubles with each further one.
    pub first: Duration,
    /// Longest wait of all.
    pub max: Duration,
    /// A connection that lived so long ends the row of failures. A shorter one counts as one more: a peer that takes connections only to
    /// drop them must not be dialled in a tight loop.
    pub stable_after: Duration,
}

impl Default for BackoffOptions {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            max: Duration::from_secs(2),
            stable_after: Duration::from_secs(5),
        }
    }
}

/// The state of one peer's dialling. Equal seeds and equal calls give equal waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    options: BackoffOptions,
    random: Random,
    failures: u32,
    connected_at: Option<Duration>,
}

impl Backoff {
    /// At rest: the first dial needs no wait. Give each peer another seed, or all come at once.
    #[must_use]
    pub const fn new(options: BackoffOptions, seed: u64) -> Self {
        Self { options, random: Random::new(seed), failures: 0, connected_at: None }
    }

    /// A connection came about. `now` counts from any fixed moment.
    pub const fn connected(&mut self, now: Duration) {
        self.connected_at = Some(now);
    }

    /// A dial failed or a connection ended: how long to wait before the next dial. Between half and the whole of the current step.
    pub fn failed(&mut self, now: Duration) -> Duration {
        if let Some(since) = self.connected_at.take()
            && now.saturating_sub(since) >= self.options.stable_after
        {
            self.failures = 0;
        }
        let doubled = 1_u32
            .checked_shl(self.failures)
            .map_or(Duration::MAX, |times| self.options.first.saturating_mul(times));
        let step = doubled.min(self.options.max);
        self.failures = self.failures.saturating_add(1);
        let half = step / 2;
        let jitter = u64::try_from((step - half).as_micros()).unwrap_or(u64::MAX - 1);
        half + Duration::from_micros(self.random.up_to(jitter.min(u64::MAX - 1)))
    }

    /// Failures in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn options() -> BackoffOptions {
        BackoffOptions { first: Duration::from_millis(100), max: 3 * SECOND, stable_after: 5 * SECOND }
    }

    #[test]
    fn waits_double_up_to_the_bound() {
        let mut backoff = Backoff::new(options(), 1);
        for step_millis in [100, 200, 400, 800, 1600, 3000, 3000] {
            let step = Duration::from_millis(step_millis);
            let wait = backoff.failed(Duration::ZERO);
            assert!(wait >= step / 2 && wait <= step, "{wait:?} of {step:?}");
        }
        assert_eq!(backoff.failures(), 7);
    }

    #[test]
    fn only_a_connection_that_lived_ends_the_row() {
        let mut backoff = Backoff::new(options(), 1);
        for _ in 0..5 {
            backoff.failed(Duration::ZERO);
        }
        backoff.connected(10 * SECOND);
        assert!(backoff.failed(11 * SECOND) >= Duration::from_millis(1500), "it lived a second only");
        backoff.connected(20 * SECOND);
        assert!(backoff.failed(25 * SECOND) <= Duration::from_millis(100), "it lived long enough");
        assert!(
            backoff.failed(90 * SECOND) >= Duration::from_millis(100),
            "time without a connection is no merit"
        );
    }

    proptest! {
        #[test]
        fn waits_are_bounded_for_ever_and_follow_from_the_seed(
            seed: u64, first_micros: u64, max_micros: u64, calls in 1_usize..200,
        ) {
            let options = BackoffOptions {
                first: Duration::from_micros(first_micros),
                max: Duration::from_micros(max_micros),
                stable_after: SECOND,
            };
            let mut one = Backoff::new(options, seed);
            let mut two = Backoff::new(options, seed);
            for _ in 0..calls {
                let wait = one.failed(Duration::ZERO);
                prop_assert!(wait <= options.max);
                prop_assert_eq!(wait, two.failed(Duration::ZERO));
            }
        }
    }
}
