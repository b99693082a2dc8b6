//! A node's own clock: it may begin anywhere, run too fast or too slow, and jump ahead. It must never go backwards: it
//! stands for a monotonic one.

/// One clock, as a line through a point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// True time of the point.
    at: u64,
    /// What the clock shows there.
    shows: u64,
    /// How fast it runs from there on.
    per_million: u64,
}

/// The speed of a true clock.
pub(super) const TRUE_SPEED: u64 = 1_000_000;

impl Clock {
    /// A true clock that begins at this reading.
    pub(super) const fn new(shows: u64) -> Self {
        Self { at: 0, shows, per_million: TRUE_SPEED }
    }

    /// What it shows at a true time.
    pub(super) const fn read(&self, now: u64) -> u64 {
        self.shows + now.saturating_sub(self.at) * self.per_million / TRUE_SPEED
    }

    /// The first true time, `now` or later, at which it shows this much.
    pub(super) const fn when(&self, shows: u64, now: u64) -> u64 {
        let wait = (shows.saturating_sub(self.shows) * TRUE_SPEED).div_ceil(self.per_million);
        let at = self.at + wait;
        if at > now { at } else { now }
    }

    /// Lets it run at another speed, and jump.
    pub(super) const fn set(&mut self, now: u64, per_million: u64, jump: u64) {
        *self = Self { at: now, shows: self.read(now) + jump, per_million };
    }

    /// How fast it runs.
    pub(super) const fn speed(&self) -> u64 {
        self.per_million
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_met_by_the_clock_that_set_it() {
        let mut clock = Clock::new(5_000);
        for (now, speed, jump) in [(10, TRUE_SPEED, 0), (1_000, 333_333, 7), (2_500, 2_900_001, 0)] {
            clock.set(now, speed, jump);
            for wait in [0, 1, 999, 100_000] {
                let wanted = clock.read(now) + wait;
                let at = clock.when(wanted, now);
                assert!(clock.read(at) >= wanted, "not before");
                assert!(at == now || clock.read(at - 1) < wanted, "and not later");
            }
        }
    }

    #[test]
    fn it_never_goes_backwards() {
        let mut clock = Clock::new(0);
        clock.set(100, 500_000, 40);
        assert_eq!((clock.read(100), clock.read(102)), (140, 141));
        clock.set(102, TRUE_SPEED, 0);
        assert_eq!((clock.read(102), clock.read(103)), (141, 142));
    }
}
