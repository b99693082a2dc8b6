//! Least time: the server whose answers begin soonest, times the requests that it has to answer first. Servers that are alike take
//! turns, as all do before any has answered.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use smallvec::SmallVec;

use super::turns::Turns;

/// Answers that a mean is made of.
const SAMPLES: usize = 100;

/// Weights, and whose turn it is among equals.
#[derive(Debug)]
pub(super) struct LeastTime {
    weights: Box<[f64]>,
    turns: Turns,
}

/// How soon the last answers of a server began. Written by all workers without a lock: each answer takes a place of its own.
#[derive(Debug)]
pub(super) struct Times {
    micros: [AtomicU32; SAMPLES],
    /// Of what stands in the places.
    sum: AtomicU64,
    taken: AtomicUsize,
}

impl Default for Times {
    fn default() -> Self {
        let micros = [const { AtomicU32::new(0) }; SAMPLES];
        Self { micros, sum: AtomicU64::new(0), taken: AtomicUsize::new(0) }
    }
}

impl Times {
    /// An answer began after this long.
    pub(super) fn note(&self, waited: Duration) {
        let micros = u32::try_from(waited.as_micros()).unwrap_or(u32::MAX);
        let place = self.taken.fetch_add(1, Ordering::Relaxed) % SAMPLES;
        let Some(place) = self.micros.get(place) else { return };
        let before = place.swap(micros, Ordering::Relaxed);
        self.sum.fetch_add(u64::from(micros).wrapping_sub(u64::from(before)), Ordering::Relaxed);
    }

    /// The mean in microseconds; 0 before any answer.
    pub(super) fn mean(&self) -> f64 {
        let count = self.taken.load(Ordering::Relaxed).clamp(1, SAMPLES);
        self.sum.load(Ordering::Relaxed) as f64 / count as f64
    }
}

impl LeastTime {
    /// For members of these weights, all above 0.
    pub(super) fn new(weights: &[u64]) -> Self {
        let as_factors = weights.iter().map(|&weight| weight as f64).collect();
        Self { weights: as_factors, turns: Turns::new(weights) }
    }

    /// The member with the least time. `load`: mean time, and requests in flight.
    pub(super) fn of(&self, up: impl Fn(usize) -> bool, load: impl Fn(usize) -> (f64, u64)) -> Option<usize> {
        let mut least = f64::INFINITY;
        let mut alike: SmallVec<[usize; 16]> = SmallVec::new();
        for (member, weight) in self.weights.iter().enumerate().filter(|(member, _)| up(*member)) {
            let (mean, in_flight) = load(member);
            let time = mean * (1.0 + in_flight as f64) / weight;
            if time < least {
                least = time;
                alike.clear();
            }
            if time <= least {
                alike.push(member);
            }
        }
        match *alike {
            [only] => Some(only),
            // In the order of their numbers, as they were found.
            _ => self.turns.next(|member| alike.binary_search(&member).is_ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_mean_is_that_of_the_last_hundred() {
        let times = Times::default();
        assert_eq!(times.mean(), 0.0);
        times.note(Duration::from_micros(300));
        assert_eq!(times.mean(), 300.0);
        (0..100).for_each(|_| times.note(Duration::from_micros(10)));
        assert_eq!(times.mean(), 10.0, "also below a millisecond");
        (0..50).for_each(|_| times.note(Duration::from_micros(30)));
        assert_eq!(times.mean(), 20.0);
    }

    #[test]
    fn times_that_come_from_all_workers_are_all_counted() {
        let times = Times::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|micros| times.note(Duration::from_micros(micros))));
            }
        });
        (0..100).for_each(|_| times.note(Duration::from_micros(7)));
        assert_eq!(times.mean(), 7.0, "nothing of what was replaced is left in the sum");
    }

    #[test]
    fn the_quickest_is_chosen_until_it_is_busy() {
        let least = LeastTime::new(&[1, 1]);
        let of = |in_flight: u64| {
            least.of(|_| true, |member| if member == 0 { (10.0, in_flight) } else { (35.0, 0) })
        };
        assert_eq!((of(0), of(2), of(3)), (Some(0), Some(0), Some(1)));
        assert_eq!(least.of(|member| member == 1, |_| (1.0, 0)), Some(1));
        assert_eq!(least.of(|_| false, |_| (1.0, 0)), None);
    }

    proptest! {
        /// Before any answer there is no time to go by: turns by weight.
        #[test]
        fn equals_take_turns_by_weight(weights in proptest::collection::vec(1_u64..6, 2..6)) {
            let least = LeastTime::new(&weights);
            let total: u64 = weights.iter().sum();
            let mut counts = vec![0; weights.len()];
            (0..total).for_each(|_| counts[least.of(|_| true, |_| (0.0, 0)).expect("one")] += 1);
            prop_assert_eq!(counts, weights);
        }
    }
}
