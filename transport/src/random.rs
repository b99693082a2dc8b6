//! A small generator whose numbers depend on its seed alone, on every machine and with every version of every crate.
//! For faults and jitter, never for secrets.

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..=max`. The bias of the multiplication is below 2⁻³² for the small ranges used here.
    pub(crate) const fn up_to(&mut self, max: u64) -> u64 {
        ((self.next() as u128 * (max as u128 + 1)) >> 64) as u64
    }

    /// True with this probability in a million.
    pub(crate) const fn chance(&mut self, per_million: u32) -> bool {
        self.up_to(999_999) < per_million as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random::new(1_234_567);
        let numbers = [random.next(), random.next(), random.next()];
        assert_eq!(
            numbers,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let mut random = Random::new(7);
        let drawn: Vec<u64> = (0..1000).map(|_| random.up_to(3)).collect();
        for wanted in 0..=3 {
            assert!(drawn.contains(&wanted));
        }
        assert!(drawn.iter().all(|number| *number <= 3));
        assert!((0..1000).all(|_| !random.chance(0) && random.chance(1_000_000)));
        assert_eq!(random.up_to(0), 0);
    }
}
