//! The smooth weighted round: a fixed order in which every member comes as often as its weight says, spread evenly. A pure
//! function of the weights.

/// Most slots of one round: it bounds a service's memory and the time to make it.
pub const SCHEDULE_SLOTS_MAX: u64 = 4096;

/// The round for these weights (all above 0), as indices into them. Shares are exact over a round if the weights, divided by
/// their common divisor, sum up to at most [`SCHEDULE_SLOTS_MAX`]; else they are scaled down, each to at least one slot.
/// Members beyond 65,535 get no turn.
pub fn schedule(weights: &[u64]) -> Box<[u16]> {
    let members = weights.len().min(usize::from(u16::MAX));
    let weights = scaled(weights.get(..members).unwrap_or_default());
    let total: i64 = weights.iter().sum();
    if weights.iter().all(|&weight| weight == 1) {
        return (0..u16::try_from(members).unwrap_or(u16::MAX)).collect();
    }
    let mut credit = vec![0_i64; members];
    let mut round = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
    for _ in 0..total {
        for (credit, weight) in credit.iter_mut().zip(&weights) {
            *credit += weight;
        }
        let mut best = 0;
        let mut most = i64::MIN;
        for (member, &credit) in credit.iter().enumerate() {
            if credit > most {
                (best, most) = (member, credit);
            }
        }
        if let Some(credit) = credit.get_mut(best) {
            *credit -= total;
        }
        round.push(u16::try_from(best).unwrap_or(u16::MAX));
    }
    round.into()
}

fn scaled(weights: &[u64]) -> Vec<i64> {
    let divisor = weights.iter().copied().fold(0, common_divisor).max(1);
    let total: u128 = weights.iter().map(|&weight| u128::from(weight / divisor)).sum();
    let slots = u128::from(SCHEDULE_SLOTS_MAX);
    let scale = |weight: u64| {
        let weight = u128::from(weight / divisor);
        let slots = if total <= slots { weight } else { (weight * slots / total).max(1) };
        i64::try_from(slots).unwrap_or(i64::MAX)
    };
    weights.iter().map(|&weight| scale(weight)).collect()
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_rounds() {
        assert_eq!(*schedule(&[]), [] as [u16; 0]);
        assert_eq!(*schedule(&[7]), [0]);
        assert_eq!(*schedule(&[2, 2, 2]), [0, 1, 2]);
        assert_eq!(*schedule(&[3, 1]), [0, 0, 1, 0]);
        assert_eq!(*schedule(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(schedule(&[u64::MAX, 1]).len(), 4096, "the small one keeps one slot");
    }

    proptest! {
        #[test]
        fn shares_are_exact_and_spread(weights in proptest::collection::vec(1_u64..40, 1..12)) {
            let round = schedule(&weights);
            let divisor = weights.iter().copied().fold(0, common_divisor);
            let total: u64 = weights.iter().map(|weight| weight / divisor).sum();
            prop_assert_eq!(round.len() as u64, total);
            for (member, weight) in weights.iter().enumerate() {
                let turns = round.iter().filter(|&&slot| usize::from(slot) == member).count() as u64;
                prop_assert_eq!(turns, weight / divisor);
            }
            // Smooth: after any number of turns every member is close to its share of them.
            for (member, weight) in weights.iter().enumerate() {
                let mut turns = 0;
                for (taken, &slot) in (1_u64..).zip(&round) {
                    turns += u64::from(usize::from(slot) == member);
                    let share = taken * (weight / divisor);
                    prop_assert!((turns * total).abs_diff(share) <= total * weights.len() as u64);
                }
            }
        }
    }
}
