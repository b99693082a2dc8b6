//! The smooth weighted round: a fixed order in which every member comes as often as its weight says, spread evenly. A pure
//! function of the weights.

use std::cmp::Reverse;
use std::collections::BTreeMap;

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
    let mut by_weight: BTreeMap<i64, Vec<u16>> = BTreeMap::new();
    for (&weight, member) in weights.iter().zip(0..=u16::MAX) {
        by_weight.entry(weight).or_default().push(member);
    }
    let groups = by_weight.into_iter().map(|(weight, members)| Alike { weight, members, next: 0, rounds: 0 });
    let mut groups: Vec<Alike> = groups.collect();
    let mut round = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
    for turn in 1..=total {
        let most = |group: &&mut Alike| (group.credit(turn, total), Reverse(group.first()));
        round.extend(groups.iter_mut().max_by_key(most).and_then(Alike::take));
    }
    round.into()
}

/// Members of one weight. They take turns in their order, so that only the next one has to be compared with other weights: a
/// round costs its slots times the different weights, of which there are few, as their sum is bounded.
struct Alike {
    weight: i64,
    members: Vec<u16>,
    next: usize,
    /// Turns that the next one has had.
    rounds: i64,
}

impl Alike {
    /// What the next one is owed at this turn of a round of `total`.
    fn credit(&self, turn: i64, total: i64) -> i64 {
        turn * self.weight - self.rounds * total
    }

    fn first(&self) -> Option<u16> {
        self.members.get(self.next).copied()
    }

    fn take(&mut self) -> Option<u16> {
        let taken = self.first();
        self.next += 1;
        if self.next == self.members.len() {
            (self.next, self.rounds) = (0, self.rounds + 1);
        }
        taken
    }
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

    /// The rule itself, at the cost of all members for each slot.
    fn plainly(weights: &[i64]) -> Vec<u16> {
        let total: i64 = weights.iter().sum();
        let mut credit = vec![0; weights.len()];
        let mut turn = || {
            credit.iter_mut().zip(weights).for_each(|(credit, weight)| *credit += weight);
            let most = |member: &usize| (credit[*member], Reverse(*member));
            let best = (0..weights.len()).max_by_key(most).expect("there are members");
            credit[best] -= total;
            u16::try_from(best).expect("few members")
        };
        (0..total).map(|_| turn()).collect()
    }

    /// All members times all slots would be four thousand million steps.
    #[test]
    fn the_most_members_cost_their_slots_and_no_more() {
        let heavy = |member: u64| if member.is_multiple_of(700) { 1_000_000 + member * 100 } else { 1 };
        let weights: Vec<u64> = (0..u64::from(u16::MAX)).map(heavy).collect();
        let round = schedule(&weights);
        assert!(round.len() >= weights.len());
        let mut turns = vec![0; weights.len()];
        round.iter().for_each(|&member| turns[usize::from(member)] += 1);
        assert!(turns.iter().all(|&turns| turns > 0), "each has at least one");
    }

    proptest! {
        #[test]
        fn members_come_in_the_order_of_the_plain_rule(weights in proptest::collection::vec(1_u64..9, 1..20)) {
            prop_assert_eq!(schedule(&weights).to_vec(), plainly(&scaled(&weights)));
        }

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
