//! Weighted round robin: a fixed smooth round and one ticket counter for all workers, so that shares are exact whoever asks. A member
//! that is down costs a ticket and gets no request; the shares of the others stay those of their weights.

use std::sync::atomic::{AtomicU64, Ordering};

use super::schedule;

/// Whose turn it is among members.
#[derive(Debug)]
pub(super) struct Turns {
    round: Box<[u16]>,
    members: usize,
    ticket: AtomicU64,
}

impl Turns {
    /// For members of these weights, all above 0.
    pub(super) fn new(weights: &[u64]) -> Self {
        Self { round: schedule(weights), members: weights.len(), ticket: AtomicU64::new(0) }
    }

    /// The next one that is up.
    pub(super) fn next(&self, up: impl Fn(usize) -> bool) -> Option<usize> {
        if let [only] = *self.round {
            return Some(usize::from(only)).filter(|&only| up(only));
        }
        let slots = self.round.len() as u64;
        for _ in 0..slots {
            let ticket = self.ticket.fetch_add(1, Ordering::Relaxed);
            // The remainder of a division by the length is an index.
            let slot = usize::try_from(ticket % slots).unwrap_or(0);
            let member = self.round.get(slot).copied().map(usize::from)?;
            if up(member) {
                return Some(member);
            }
        }
        // Other workers may have drawn every turn of those that are up.
        (0..self.members).find(|&member| up(member))
    }

    /// Whose turn it is, which is left to it.
    pub(super) fn peek(&self, up: impl Fn(usize) -> bool) -> Option<usize> {
        let slots = self.round.len() as u64;
        let ticket = self.ticket.load(Ordering::Relaxed);
        let turns = (0..slots).map(|turn| usize::try_from(ticket.wrapping_add(turn) % slots).unwrap_or(0));
        turns
            .filter_map(|slot| self.round.get(slot).copied().map(usize::from))
            .find(|&member| up(member))
            .or_else(|| (0..self.members).find(|&member| up(member)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whichever members are down, the others share by their weights exactly, over as many draws as their turns need.
        #[test]
        fn shares_of_those_that_are_up_are_exact(
            members in proptest::collection::vec((1_u64..9, any::<bool>()), 1..12),
        ) {
            let weights: Vec<u64> = members.iter().map(|(weight, _)| *weight).collect();
            let turns = Turns::new(&weights);
            let alive: u64 = members.iter().filter(|(_, up)| *up).map(|(weight, _)| weight).sum();
            let mut counts = vec![0; members.len()];
            for _ in 0..alive {
                let foretold = turns.peek(|member| members[member].1);
                let member = turns.next(|member| members[member].1).expect("one is up");
                prop_assert_eq!(foretold, Some(member));
                counts[member] += 1;
            }
            for (count, (weight, up)) in counts.iter().zip(&members) {
                // A round is divided by the weights' common divisor: each gets its share, or its share of the rounds that fit.
                prop_assert_eq!(*count, if *up { *weight } else { 0 });
            }
            if alive == 0 {
                prop_assert_eq!(turns.next(|member| members[member].1), None);
            }
        }
    }

    #[test]
    fn shares_stay_exact_between_threads_while_one_is_down() {
        let turns = Turns::new(&[3, 2, 1]);
        let count = || (0..1_000).filter(|_| turns.next(|member| member != 1) == Some(0)).count();
        let first: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(first, 3_000, "three of four, as one has weight 3 and the other 1");
    }
}
