//! What one seed draws: which faults, how often, how long. Swarm testing: each seed has its own mixture, many without
//! some fault at all, so that rare combinations come up.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ravelin_transport::memory::Faults;

/// The parameters of one run. A mean time of zero means never.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed itself.
    pub seed: u64,
    /// Lane Raft between control nodes, while faults last.
    pub network: Faults,
    /// Longest time a sync takes.
    pub sync_max: Duration,
    /// Mean time between crashes of some node.
    pub crash_every: Duration,
    /// How many crashes in a hundred come in the middle of a write.
    pub torn_percent: u32,
    /// How many crashes in a hundred leave the machine its power.
    pub kill_percent: u32,
    /// How many starts in a hundred are cut by another power loss.
    pub cut_start_percent: u32,
    /// Longest time until a crashed node is started again.
    pub restart_max: Duration,
    /// Mean time between power losses of all at once.
    pub outage_every: Duration,
    /// Mean time between failing syncs.
    pub sync_error_every: Duration,
    /// Mean time between disks that become full.
    pub full_every: Duration,
    /// Longest time that a disk stays full.
    pub full_max: Duration,
    /// Mean time between partitions.
    pub partition_every: Duration,
    /// Longest partition.
    pub partition_max: Duration,
    /// How many lanes in a hundred are silent for a while before a cut breaks them.
    pub silent_percent: u32,
    /// Mean time between pauses of some node.
    pub pause_every: Duration,
    /// Longest pause.
    pub pause_max: Duration,
    /// Mean time between restarts of some proxy.
    pub proxy_restart_every: Duration,
    /// Mean time between requests of clients.
    pub ask_every: Duration,
    /// How many requests in a hundred are reads.
    pub read_percent: u32,
    /// How many changes in a hundred are larger than one entry of the log.
    pub large_percent: u32,
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
        let small_log = chance(&mut dice, 50);
        Self {
            seed,
            network: network(&mut dice),
            sync_max: Duration::from_micros(dice.random_range(200..30_000)),
            crash_every: maybe(&mut dice, 75, 800, 6_000),
            torn_percent: dice.random_range(0..=80),
            kill_percent: dice.random_range(0..=60),
            cut_start_percent: rate(&mut dice, 40, 50),
            restart_max: millis(&mut dice, 50, 4_000),
            outage_every: maybe(&mut dice, 20, 3_000, 12_000),
            sync_error_every: maybe(&mut dice, 35, 1_000, 8_000),
            full_every: maybe(&mut dice, 25, 2_000, 8_000),
            full_max: millis(&mut dice, 100, 3_000),
            partition_every: maybe(&mut dice, 60, 1_000, 6_000),
            partition_max: millis(&mut dice, 100, 5_000),
            silent_percent: dice.random_range(0..=100),
            pause_every: maybe(&mut dice, 50, 1_000, 6_000),
            pause_max: millis(&mut dice, 50, 4_000),
            proxy_restart_every: maybe(&mut dice, 40, 500, 5_000),
            ask_every: millis(&mut dice, 30, 300),
            read_percent: rate(&mut dice, 70, 50),
            // A large change does not fit where the log is bounded to little.
            large_percent: if small_log { 0 } else { rate(&mut dice, 10, 8) },
            file_every: millis(&mut dice, 200, 2_000),
            log_bytes_max: if small_log { dice.random_range(8..40) << 10 } else { 8 << 20 },
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

fn network(dice: &mut StdRng) -> Faults {
    Faults {
        delay_min: Duration::from_micros(dice.random_range(50..500)),
        delay_max: Duration::from_micros(dice.random_range(500..20_000)),
        loss_per_million: rate(dice, 60, 300_000),
        duplicate_per_million: rate(dice, 60, 500_000),
        reorder_per_million: rate(dice, 60, 200_000),
        detour_max: millis(dice, 1, 300),
        ..Faults::default()
    }
}

fn chance(dice: &mut StdRng, percent: u32) -> bool {
    dice.random_range(0..100) < percent
}

fn millis(dice: &mut StdRng, min: u64, max: u64) -> Duration {
    Duration::from_millis(dice.random_range(min..=max))
}

/// A span in so many seeds of a hundred, else zero.
fn maybe(dice: &mut StdRng, percent: u32, min: u64, max: u64) -> Duration {
    let span = millis(dice, min, max);
    if chance(dice, percent) { span } else { Duration::ZERO }
}

/// A rate in so many seeds of a hundred, else zero.
fn rate(dice: &mut StdRng, percent: u32, max: u32) -> u32 {
    let rate = dice.random_range(0..=max);
    if chance(dice, percent) { rate } else { 0 }
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
