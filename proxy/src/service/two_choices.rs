//! Power of two choices: of two members drawn by chance the one with fewer requests in flight. Weights do not count, but for those of 0,
//! which are not here at all.

use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

/// Draws for all workers.
#[derive(Debug, Default)]
pub(super) struct TwoChoices {
    drawn: AtomicU64,
}

impl TwoChoices {
    /// One of `members` that is up.
    pub(super) fn of(
        &self,
        members: usize,
        up: impl Fn(usize) -> bool,
        in_flight: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        let chance = mixed(self.drawn.fetch_add(1, Ordering::Relaxed));
        let (mut a, mut b) = two(chance, members)?;
        if !up(a) || !up(b) {
            let alive: SmallVec<[usize; 32]> = (0..members).filter(|&member| up(member)).collect();
            let (first, second) = two(chance, alive.len())?;
            (a, b) = (*alive.get(first)?, *alive.get(second)?);
        }
        Some(if in_flight(b) < in_flight(a) { b } else { a })
    }
}

/// Two different numbers below `count`, if there are two.
fn two(chance: u64, count: usize) -> Option<(usize, usize)> {
    let count = u64::try_from(count).ok().filter(|&count| count > 0)?;
    let first = (chance >> 32) % count;
    let second = match count {
        1 => first,
        _ => (first + 1 + (chance & 0xffff_ffff) % (count - 1)) % count,
    };
    Some((usize::try_from(first).ok()?, usize::try_from(second).ok()?))
}

/// A number that looks like chance for each count, and different for each: one step of SplitMix64.
pub(super) fn mixed(count: u64) -> u64 {
    let mut z = count.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn idle_members_are_drawn_alike_and_the_busiest_never() {
        let choices = TwoChoices::default();
        let mut counts = [0_u32; 5];
        (0..20_000).for_each(|_| counts[choices.of(5, |_| true, |_| 0).expect("one")] += 1);
        assert!(counts.iter().all(|count| count.abs_diff(4_000) < 400), "{counts:?}");
        let busy = |member| u64::from(member == 3);
        assert!((0..20_000).all(|_| choices.of(5, |_| true, busy) != Some(3)));
    }

    proptest! {
        #[test]
        fn only_members_that_are_up_are_chosen(up in proptest::collection::vec(any::<bool>(), 0..9), draws in 1..40) {
            let choices = TwoChoices::default();
            for _ in 0..draws {
                match choices.of(up.len(), |member| up[member], |_| 0) {
                    Some(member) => prop_assert!(up[member]),
                    None => prop_assert!(!up.contains(&true)),
                }
            }
        }

        #[test]
        fn two_are_different(chance: u64, count in 2_usize..100_000) {
            let (a, b) = two(chance, count).expect("there are two");
            prop_assert!(a != b && a < count && b < count);
        }
    }
}
