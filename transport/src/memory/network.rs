//! A network for the simulator: frames between numbered nodes in virtual time, lost, doubled, delayed and reordered by a seed.
//!
//! It must never read a clock or draw a random number of its own, and must never hand out a frame that nobody sent.

use crate::lane::Lane;
use crate::random::Random;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the network does to frames. Probabilities are in a million.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// Shortest way.
    pub delay_min: Duration,
    /// Longest way of a frame that is not reordered.
    pub delay_max: Duration,
    /// How often a frame is lost.
    pub loss_per_million: u32,
    /// How often a frame arrives twice.
    pub duplicate_per_million: u32,
    /// How often a frame takes a detour and may be overtaken by later ones of its lane, as across a reconnect.
    pub reorder_per_million: u32,
    /// Longest detour.
    pub detour_max: Duration,
    /// Bytes on their way at once, all links together. Above it frames are lost.
    pub in_flight_bytes_max: usize,
}

impl Default for Faults {
    /// A healthy local network: up to a millisecond, nothing lost.
    fn default() -> Self {
        Self {
            delay_min: Duration::from_micros(100),
            delay_max: Duration::from_millis(1),
            loss_per_million: 0,
            duplicate_per_million: 0,
            reorder_per_million: 0,
            detour_max: Duration::ZERO,
            in_flight_bytes_max: 256 << 20,
        }
    }
}

/// A frame that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// When, in virtual time.
    pub at: Duration,
    /// Who sent it.
    pub from: u64,
    /// Who gets it.
    pub to: u64,
    /// On which lane.
    pub lane: Lane,
    /// The frame.
    pub frame: Bytes,
}

/// What happened so far: the witness that a test's faults took place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames handed to the network.
    pub sent: u64,
    /// Frames that arrived, duplicates included.
    pub delivered: u64,
    /// Frames lost by chance.
    pub lost: u64,
    /// Frames lost because too many bytes were on their way.
    pub overflowed: u64,
    /// Frames that were sent once and set on their way twice.
    pub duplicated: u64,
    /// Frames set on a detour.
    pub reordered: u64,
    /// Frames lost at a cut, when sent or on their way.
    pub cut: u64,
    /// Frames lost on their way to or from a node that crashed.
    pub crashed: u64,
}

/// The network between numbered nodes.
///
/// Frames of one lane of one direction arrive in the order in which they were sent, but for those on a detour. A cut link loses what is
/// sent into it, and what would arrive while it is cut.
#[derive(Debug, Clone)]
pub struct Network {
    random: Random,
    faults: Faults,
    link_faults: BTreeMap<(u64, u64), Faults>,
    cuts: BTreeSet<(u64, u64)>,
    in_flight: BTreeMap<(Duration, u64), Delivery>,
    in_flight_bytes: usize,
    sequence: u64,
    last_in_order: BTreeMap<(u64, u64, Lane), Duration>,
    counters: Counters,
}

impl Network {
    /// A network in which all that is left to chance follows from the seed.
    #[must_use]
    pub const fn new(seed: u64, faults: Faults) -> Self {
        Self {
            random: Random::new(seed),
            faults,
            link_faults: BTreeMap::new(),
            cuts: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            sequence: 0,
            last_in_order: BTreeMap::new(),
            counters: Counters {
                sent: 0,
                delivered: 0,
                lost: 0,
                overflowed: 0,
                duplicated: 0,
                reordered: 0,
                cut: 0,
                crashed: 0,
            },
        }
    }

    /// Sets a frame on its way, or loses it. Frames above [`crate::FRAME_BYTES_MAX`] are the caller's mistake, and lost.
    pub fn send(&mut self, now: Duration, from: u64, to: u64, lane: Lane, frame: Bytes) {
        self.counters.sent += 1;
        if self.cuts.contains(&(from, to)) {
            self.counters.cut += 1;
            return;
        }
        let faults = self.link_faults.get(&(from, to)).unwrap_or(&self.faults).clone();
        // The same draws for every frame, so that changing one probability does not change all that follows.
        let lost = self.random.chance(faults.loss_per_million);
        let doubled = self.random.chance(faults.duplicate_per_million);
        let ways = [self.way(&faults), self.way(&faults)];
        if lost {
            self.counters.lost += 1;
            return;
        }
        if doubled {
            self.counters.duplicated += 1;
        }
        for (delay, detour) in ways.into_iter().take(if doubled { 2 } else { 1 }) {
            let overflows = self.in_flight_bytes.saturating_add(frame.len()) > faults.in_flight_bytes_max;
            if overflows || frame.len() > crate::FRAME_BYTES_MAX {
                self.counters.overflowed += 1;
                continue;
            }
            let at = self.arrival((from, to, lane), now + delay, detour);
            self.in_flight_bytes += frame.len();
            self.sequence += 1;
            self.in_flight.insert((at, self.sequence), Delivery { at, from, to, lane, frame: frame.clone() });
        }
    }

    /// Everything that has arrived by `now`, in order of arrival.
    pub fn deliveries(&mut self, now: Duration) -> Vec<Delivery> {
        let mut arrived = Vec::new();
        while let Some(first) = self.in_flight.first_entry()
            && first.key().0 <= now
        {
            let delivery = first.remove();
            self.in_flight_bytes -= delivery.frame.len();
            if self.cuts.contains(&(delivery.from, delivery.to)) {
                self.counters.cut += 1;
            } else {
                self.counters.delivered += 1;
                arrived.push(delivery);
            }
        }
        arrived
    }

    /// When the next frame arrives, if any is on its way.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        self.in_flight.first_key_value().map(|((at, _), _)| *at)
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// New faults for every link that has none of its own.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Faults of one direction of one link; `None` returns it to the common ones.
    pub fn set_link_faults(&mut self, from: u64, to: u64, faults: Option<Faults>) {
        match faults {
            Some(faults) => self.link_faults.insert((from, to), faults),
            None => self.link_faults.remove(&(from, to)),
        };
    }

    /// Cuts one direction of one link: an asymmetric fault.
    pub fn cut_one_way(&mut self, from: u64, to: u64) {
        self.cuts.insert((from, to));
    }

    /// Cuts a link in both directions. Cutting some links of a node and not others makes a partial partition.
    pub fn cut(&mut self, one: u64, other: u64) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Cuts every link between nodes of different groups; nodes in no group keep all their links.
    pub fn partition(&mut self, groups: &[&[u64]]) {
        for (position, group) in groups.iter().enumerate() {
            for other in groups.iter().skip(position + 1) {
                for one in *group {
                    for two in *other {
                        self.cut(*one, *two);
                    }
                }
            }
        }
    }

    /// Whether frames of this direction are cut.
    #[must_use]
    pub fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// Mends one direction of one link.
    pub fn mend_one_way(&mut self, from: u64, to: u64) {
        self.cuts.remove(&(from, to));
    }

    /// Mends every cut. Frames lost at a cut stay lost.
    pub fn mend_all(&mut self) {
        self.cuts.clear();
    }

    /// Loses everything on its way to or from a node, as when its process dies and its connections with it.
    pub fn crash(&mut self, node: u64) {
        let before = self.in_flight.len();
        self.in_flight.retain(|_, delivery| delivery.from != node && delivery.to != node);
        self.counters.crashed += (before - self.in_flight.len()) as u64;
        self.in_flight_bytes = self.in_flight.values().map(|delivery| delivery.frame.len()).sum();
        self.last_in_order.retain(|(from, to, _), _| *from != node && *to != node);
    }

    /// How long one copy takes, and whether by a detour.
    fn way(&mut self, faults: &Faults) -> (Duration, bool) {
        let spread = faults.delay_max.saturating_sub(faults.delay_min);
        let delay = faults.delay_min + self.part_of(spread);
        let detour = self.part_of(faults.detour_max);
        match self.random.chance(faults.reorder_per_million) {
            true => (delay + detour, true),
            false => (delay, false),
        }
    }

    fn part_of(&mut self, whole: Duration) -> Duration {
        Duration::from_micros(self.random.up_to(u64::try_from(whole.as_micros()).unwrap_or(u64::MAX)))
    }

    fn arrival(&mut self, link: (u64, u64, Lane), earliest: Duration, detour: bool) -> Duration {
        if detour {
            self.counters.reordered += 1;
            return earliest;
        }
        let last = self.last_in_order.entry(link).or_default();
        *last = earliest.max(*last);
        *last
    }
}
