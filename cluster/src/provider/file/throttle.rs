//! Holds back sustained change, never a single one: a few drafts may go at once, further ones one per interval.
//! It must not drop anything: whoever waits reads the newest content afterwards.

use std::time::Duration;

use tokio::time::Instant;

/// Drafts that may go without a pause; each comes back after an interval.
const BURST: u32 = 3;

/// A bucket of a few tokens, refilled one per interval.
#[derive(Debug)]
pub(in crate::provider) struct Throttle {
    interval: Duration,
    /// When the bucket was, or will be, full.
    full_at: Option<Instant>,
}

impl Throttle {
    pub(in crate::provider) fn new(interval: Duration) -> Self {
        Self { interval, full_at: None }
    }

    /// Waits until another draft may go, and counts it. Cancel safe: nothing is counted before the wait is over.
    pub(in crate::provider) async fn wait(&mut self) {
        let now = Instant::now();
        let full_at = self.full_at.filter(|at| *at > now).unwrap_or(now);
        let allowed_at = full_at.checked_sub(self.interval * (BURST - 1)).unwrap_or(now);
        tokio::time::sleep_until(allowed_at).await;
        self.full_at = Some(full_at + self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn single_changes_go_at_once_and_a_storm_one_per_interval() {
        let mut throttle = Throttle::new(Duration::from_secs(2));
        let start = Instant::now();
        let mut gone = Vec::new();
        for _ in 0..6 {
            throttle.wait().await;
            gone.push(start.elapsed().as_millis());
        }
        assert_eq!(gone, [0, 0, 0, 2000, 4000, 6000]);
        tokio::time::sleep(Duration::from_secs(3)).await;
        throttle.wait().await;
        assert_eq!(start.elapsed().as_millis(), 9000, "a single change after a pause is not held back");
    }
}
