//! What a circuit breaker counts: statuses of the last ten seconds and latencies of the last minute, in buckets of time that are
//! forgotten one by one. Bounded by the statuses there are and a fixed number of steps of time.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

const STATUS_BUCKET: Duration = Duration::from_secs(1);
const STATUS_BUCKETS: usize = 10;
const LATENCY_BUCKET: Duration = Duration::from_secs(10);
const LATENCY_BUCKETS: usize = 6;

/// Parts of each power of two of microseconds: a latency is off by less than a sixty-fourth.
const PARTS: u64 = 64;

/// Counts over a window of time.
#[derive(Debug)]
struct Window<const BUCKETS: usize> {
    step: Duration,
    /// The oldest first, each with the time of its beginning.
    buckets: VecDeque<(Instant, BTreeMap<u16, u64>)>,
}

impl<const BUCKETS: usize> Window<BUCKETS> {
    fn new(step: Duration) -> Self {
        Self { step, buckets: VecDeque::new() }
    }

    fn forget(&mut self, now: Instant) {
        let window = self.step * u32::try_from(BUCKETS).unwrap_or(u32::MAX);
        while self.buckets.front().is_some_and(|(begun, _)| now.saturating_duration_since(*begun) >= window) {
            self.buckets.pop_front();
        }
    }

    fn add(&mut self, key: u16, now: Instant) {
        self.forget(now);
        let current =
            self.buckets.back().filter(|(begun, _)| now.saturating_duration_since(*begun) < self.step);
        if current.is_none() {
            self.buckets.push_back((now, BTreeMap::new()));
        }
        if let Some((_, counts)) = self.buckets.back_mut() {
            *counts.entry(key).or_default() += 1;
        }
    }

    fn sums(&mut self, now: Instant) -> BTreeMap<u16, u64> {
        self.forget(now);
        let mut sums = BTreeMap::new();
        for (key, count) in self.buckets.iter().flat_map(|(_, counts)| counts) {
            *sums.entry(*key).or_default() += count;
        }
        sums
    }
}

/// What a breaker knows of its service.
#[derive(Debug)]
pub(super) struct Measures {
    statuses: Window<STATUS_BUCKETS>,
    latencies: Window<LATENCY_BUCKETS>,
}

impl Default for Measures {
    fn default() -> Self {
        Self { statuses: Window::new(STATUS_BUCKET), latencies: Window::new(LATENCY_BUCKET) }
    }
}

impl Measures {
    pub(super) fn note(&mut self, status: u16, took: Duration, now: Instant) {
        self.statuses.add(status, now);
        self.latencies.add(step_of(took), now);
    }

    /// The share of answers whose status is the one among those whose status is the other; 0 where there are none of these.
    pub(super) fn ratio(
        &mut self,
        now: Instant,
        one: impl Fn(u16) -> bool,
        other: impl Fn(u16) -> bool,
    ) -> f64 {
        let sums = self.statuses.sums(now);
        let count = |among: &dyn Fn(u16) -> bool| -> u64 {
            sums.iter().filter(|(status, _)| among(**status)).map(|(_, count)| count).sum()
        };
        // Counts of ten seconds are far below what a float holds exactly.
        let (one, other) = (count(&one) as f64, count(&other) as f64);
        if other == 0.0 { 0.0 } else { one / other }
    }

    /// The latency that so many percent of answers did not exceed; 0 without any.
    pub(super) fn latency(&mut self, now: Instant, percent: f64) -> Duration {
        let sums = self.latencies.sums(now);
        let all: u64 = sums.values().sum();
        let wanted = (all as f64 * percent.clamp(0.0, 100.0) / 100.0).round().max(1.0);
        let mut passed = 0.0;
        for (step, count) in sums {
            passed += count as f64;
            if passed >= wanted {
                return time_of(step);
            }
        }
        Duration::ZERO
    }
}

/// The number of a latency's step: exact below [`PARTS`] microseconds, then so many steps in each power of two.
fn step_of(took: Duration) -> u16 {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let Some(shift) =
        micros.checked_ilog2().and_then(|log| u64::from(log).checked_sub(u64::from(PARTS.ilog2())))
    else {
        return u16::try_from(micros).unwrap_or(u16::MAX);
    };
    u16::try_from((shift + 1) * PARTS + (micros >> shift) - PARTS).unwrap_or(u16::MAX)
}

/// The longest latency of a step.
fn time_of(step: u16) -> Duration {
    let step = u64::from(step);
    let Some(shift) = (step / PARTS).checked_sub(1) else { return Duration::from_micros(step) };
    let least = u128::from(step % PARTS + PARTS) << shift;
    let most = least + (1_u128 << shift) - 1;
    Duration::from_micros(u64::try_from(most).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_old_is_forgotten() {
        let (mut measures, start) = (Measures::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        for millis in [0, 500, 9_900] {
            measures.note(if millis == 0 { 500 } else { 200 }, Duration::from_millis(millis), at(millis));
        }
        let failed =
            |measures: &mut Measures, millis| measures.ratio(at(millis), |status| status == 500, |_| true);
        assert_eq!(failed(&mut measures, 9_900), 1.0 / 3.0);
        assert_eq!(failed(&mut measures, 10_100), 0.0, "of the first second nothing is left");
        assert_eq!(failed(&mut measures, 30_000), 0.0);
        assert!(
            measures.latency(at(30_000), 100.0) >= Duration::from_millis(9_900),
            "latencies are kept for longer"
        );
        assert_eq!(measures.latency(at(80_000), 100.0), Duration::ZERO);
    }

    #[test]
    fn a_quantile_is_that_of_all_answers() {
        let (mut measures, now) = (Measures::default(), Instant::now());
        for millis in 1..=100 {
            measures.note(200, Duration::from_millis(millis), now);
        }
        for (percent, millis) in [(0.0, 1), (50.0, 50), (95.0, 95), (100.0, 100), (1e300, 100)] {
            let latency = measures.latency(now, percent).as_secs_f64() * 1e3;
            assert!(
                latency >= f64::from(millis) && latency < f64::from(millis) * 1.02,
                "{percent}: {latency}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_latency_is_off_by_little(micros: u64) {
            let took = Duration::from_micros(micros);
            let told = time_of(step_of(took));
            prop_assert!(told >= took && told.as_secs_f64() <= took.as_secs_f64() * (1.0 + 1.0 / 64.0) + 1e-6);
        }

        #[test]
        fn windows_hold_no_more_buckets_than_they_may(times in proptest::collection::vec(0_u64..200_000, 1..200)) {
            let (mut window, start) = (Window::<3>::new(Duration::from_secs(1)), Instant::now());
            let mut times = times;
            times.sort_unstable();
            for millis in times {
                window.add(200, start + Duration::from_millis(millis));
                prop_assert!(window.buckets.len() <= 3);
            }
        }
    }
}
