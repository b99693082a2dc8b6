//! What one seed draws: which faults, how often, how long. Swarm testing: each seed has its own mixture, many without
//! some fault at all, so that rare combinations come up.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ravelin_transport::memory::Faults;

/// The parameters of one run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed itself.
    pub seed: u64,
    /// Lane Raft between control nodes, while faults last.
    pub network: Faults,
    /// Longest time a sync takes.
    pub sync_max: Duration,
    /// Mean time between crashes of some node; none if zero.
    pub crash_every: Duration,
    /// How many crashes in a hundred come in the middle of a write.
    pub torn_percent: u32,
    /// Longest time until a crashed node is started again.
    pub restart_max: Duration,
    /// Mean time between partitions; none if zero.
    pub partition_every: Duration,
    /// Longest partition.
    pub partition_max: Duration,
    /// Mean time between pauses of some node; none if zero.
    pub pause_every: Duration,
    /// Longest pause.
    pub pause_max: Duration,
    /// Mean time between changes asked for by clients.
    pub change_every: Duration,
    /// Mean time between changes of the file that the provider reads.
    pub file_every: Duration,
    /// Bytes of log in memory that force a snapshot at half.
    pub log_bytes_max: u64,
    /// Space reserved for each segment of a log.
    pub segment_bytes: u64,
    /// Virtual time with faults.
    pub faults_for: Duration,
    /// Virtual time without, in which everything must come together.
    pub settle_for: Duration,
}

impl Plan {
    /// The plan that a seed draws.
    pub fn of(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed ^ 0x5241_5645_4c49_4e00);
        let maybe = |dice: &mut StdRng, percent: u32, min: u64, max: u64| -> Duration {
            let span = Duration::from_millis(dice.random_range(min..=max));
            if dice.random_range(0..100) < percent { span } else { Duration::ZERO }
        };
        let rate = |dice: &mut StdRng, percent: u32, max: u32| -> u32 {
            let rate = dice.random_range(0..=max);
            if dice.random_range(0..100) < percent { rate } else { 0 }
        };
        let network = Faults {
            delay_min: Duration::from_micros(dice.random_range(50..500)),
            delay_max: Duration::from_micros(dice.random_range(500..20_000)),
            loss_per_million: rate(&mut dice, 60, 300_000),
            duplicate_per_million: rate(&mut dice, 60, 500_000),
            reorder_per_million: rate(&mut dice, 60, 200_000),
            detour_max: Duration::from_millis(dice.random_range(1..300)),
            ..Faults::default()
        };
        Self {
            seed,
            network,
            sync_max: Duration::from_micros(dice.random_range(200..30_000)),
            crash_every: maybe(&mut dice, 75, 800, 6_000),
            torn_percent: dice.random_range(0..=80),
            restart_max: Duration::from_millis(dice.random_range(50..4_000)),
            partition_every: maybe(&mut dice, 60, 1_000, 6_000),
            partition_max: Duration::from_millis(dice.random_range(100..5_000)),
            pause_every: maybe(&mut dice, 50, 1_000, 6_000),
            pause_max: Duration::from_millis(dice.random_range(50..4_000)),
            change_every: Duration::from_millis(dice.random_range(60..400)),
            file_every: Duration::from_millis(dice.random_range(300..2_500)),
            log_bytes_max: if dice.random_range(0..100) < 50 { 40 << 10 } else { 4 << 20 },
            segment_bytes: 4 << dice.random_range(10..18),
            faults_for: Duration::from_secs(dice.random_range(8..16)),
            settle_for: Duration::from_secs(20),
        }
    }

    /// The generator of everything that the plan leaves to chance.
    pub fn dice(&self) -> StdRng {
        StdRng::seed_from_u64(self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_one_plan_and_seeds_differ() {
        assert_eq!(format!("{:?}", Plan::of(7)), format!("{:?}", Plan::of(7)));
        let without_crash = (0..100).filter(|seed| Plan::of(*seed).crash_every.is_zero()).count();
        assert!((5..60).contains(&without_crash), "swarm: some seeds have no crash: {without_crash}");
    }
}
