//! Highest random weight: one client always gets the same member, and when a member goes only its own clients move. Members are
//! weighed anew for each request, at the cost of all of them; nothing is remembered.

use super::two_choices::mixed;

/// Members with their names and weights.
#[derive(Debug)]
pub(super) struct Rendezvous {
    members: Box<[(Box<str>, f64)]>,
}

impl Rendezvous {
    /// For members of these names and weights, all above 0.
    pub(super) fn new<'n>(members: impl Iterator<Item = (&'n str, u64)>) -> Self {
        let members = members.map(|(name, weight)| (name.into(), weight as f64)).collect();
        Self { members }
    }

    /// The member of this client, among those that are up.
    pub(super) fn of(&self, client: &[u8], up: impl Fn(usize) -> bool) -> Option<usize> {
        let client = sum(OFFSET, client);
        let alive = self.members.iter().enumerate().filter(|(member, _)| up(*member));
        let weighed =
            alive.map(|(member, (name, weight))| (member, weight * luck(sum(client, name.as_bytes()))));
        weighed.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(member, _)| member)
    }
}

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// The 64-bit FNV-1a sum, continued.
fn sum(before: u64, bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(before, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// How much a sum counts: a weight multiplied by it is the highest one as often as the weight's share says.
fn luck(sum: u64) -> f64 {
    // The last bytes of a name reach few bits of its sum, and names differ in their last bytes.
    let unit = mixed(sum) as f64 / 2_f64.powi(64);
    luck_of(unit)
}

fn luck_of(unit: f64) -> f64 {
    1.0 / (-unit.ln()).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clients() -> impl Iterator<Item = String> {
        (0..20_000_u32).map(|number| std::net::Ipv4Addr::from(number.wrapping_mul(2_654_435_761)).to_string())
    }

    #[test]
    fn clients_are_shared_by_weight() {
        let names = ["http://a", "http://b", "http://c"];
        let members = Rendezvous::new(names.into_iter().zip([1, 2, 5]));
        let mut counts = [0_u32; 3];
        clients().for_each(|client| counts[members.of(client.as_bytes(), |_| true).expect("one")] += 1);
        for (count, share) in counts.into_iter().zip([2_500_u32, 5_000, 12_500]) {
            assert!(count.abs_diff(share) < share / 10, "{counts:?}");
        }
    }

    proptest! {
        /// A client moves only if its own member goes down.
        #[test]
        fn only_clients_of_a_lost_member_move(client in "[0-9a-f.:]{1,20}", count in 1_usize..12, down in 0_usize..12) {
            let names: Vec<String> = (0..count).map(|number| format!("http://h{number}")).collect();
            let members = Rendezvous::new(names.iter().map(|name| (name.as_str(), 1)));
            let before = members.of(client.as_bytes(), |_| true).expect("one");
            let after = members.of(client.as_bytes(), |member| member != down);
            if before != down {
                prop_assert_eq!(after, Some(before));
            } else {
                prop_assert_ne!(after, Some(down));
                prop_assert_eq!(after.is_none(), count == 1);
            }
        }
    }

    #[test]
    fn sums_at_both_ends_weigh_something_finite() {
        assert!((0..=u64::MAX).step_by(1 << 50).all(|sum| luck(sum).is_finite() && luck(sum) > 0.0));
        assert!(luck_of(1.0).is_finite() && luck_of(0.0) >= 0.0, "both ends of the unit");
        assert_eq!(sum(OFFSET, b"a"), 0xaf63_dc4c_8601_ec8c, "FNV-1a, not FNV-1");
    }
}
