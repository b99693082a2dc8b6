//! A cluster of cores in virtual time, from a seed: messages that take time and are lost, doubled and overtaken, writes that
//! take time, proposals, reads and crashes. It measures how fast the core alone can be simulated; what surrounds it is in
//! [`sim`](crate::sim).

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ravelin_consensus::{Input, Message, NodeId, Time, Timer};

use super::{Cores, Item, Wanted};

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Inputs that cores took.
    pub events: u64,
    /// Entries committed, counted at the member that knows most.
    pub committed: u64,
    /// Digest of everything that happened.
    pub digest: u64,
}

/// What can happen, and the life of the member that it is meant for.
#[derive(Debug)]
enum Happening {
    Deliver { from: NodeId, message: Message<Item> },
    Timer { timer: Timer, generation: u64 },
    Written { life: u64 },
    Installed { life: u64 },
    Propose,
    Read,
    Crash,
}

struct World {
    cores: Cores,
    dice: StdRng,
    now: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), (usize, Happening)>,
    /// Of each member, what its timers and writes must match.
    timers: Vec<[u64; 3]>,
    lives: Vec<u64>,
    writing: Vec<bool>,
    loss_percent: u32,
    digest: u64,
}

/// Runs a seed until cores have taken so many inputs; `judged`: the catalogue is checked after each.
///
/// # Errors
/// The first invariant that is broken.
pub fn run(seed: u64, events: u64, judged: bool) -> Result<Counts, String> {
    let cores = Cores::new(3, judged, |params| {
        params.log_bytes_max = 8_000;
        params.entry_bytes_max = 500;
        params.uncommitted_bytes_max = 2_000;
        params.log_trailing_bytes_max = 500;
    });
    let count = cores.members.len();
    let mut dice = StdRng::seed_from_u64(seed);
    let loss_percent = dice.random_range(0..10);
    let mut world = World {
        cores,
        dice,
        now: 0,
        sequence: 0,
        queue: BTreeMap::new(),
        timers: vec![[0; 3]; count],
        lives: vec![0; count],
        writing: vec![false; count],
        loss_percent,
        digest: seed,
    };
    for at in 0..count {
        world.input(at, Input::Start { life: ravelin_consensus::Life(0) })?;
        for happening in [Happening::Propose, Happening::Read, Happening::Crash] {
            world.after(1_000, at, happening);
        }
    }
    while world.cores.steps < events
        && let Some(((now, _), (at, happening))) = world.queue.pop_first()
    {
        world.now = now;
        world.happen(at, happening)?;
    }
    let committed = world.cores.members.iter().map(|member| member.core.commit_index().0).max();
    Ok(Counts { events: world.cores.steps, committed: committed.unwrap_or(0), digest: world.digest })
}

impl World {
    fn time(&self) -> Time {
        Time { micros: self.now }
    }

    fn after(&mut self, wait: u64, at: usize, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + wait, self.sequence), (at, happening));
    }

    fn input(&mut self, at: usize, input: Input<Item>) -> Result<(), String> {
        let now = self.time();
        self.cores.step(at, now, input)?;
        self.look_after(at);
        Ok(())
    }

    fn happen(&mut self, at: usize, happening: Happening) -> Result<(), String> {
        let now = self.time();
        match happening {
            Happening::Deliver { from, message } => self.input(at, Input::Message { from, message }),
            Happening::Timer { timer, generation } if self.timers[at][place(timer)] == generation => {
                self.input(at, Input::Timer(timer))
            }
            Happening::Written { life } if self.lives[at] == life => {
                self.writing[at] = false;
                self.cores.persist(at, now, usize::MAX)?;
                self.look_after(at);
                Ok(())
            }
            Happening::Installed { life } if self.lives[at] == life => {
                let arrived = self.dice.random_range(0..8) > 0;
                self.cores.install(at, now, arrived)?;
                self.look_after(at);
                Ok(())
            }
            Happening::Timer { .. } | Happening::Written { .. } | Happening::Installed { .. } => Ok(()),
            Happening::Propose => {
                self.cores.propose(at, now)?;
                self.look_after(at);
                let wait = self.dice.random_range(200..4_000);
                self.after(wait, at, Happening::Propose);
                Ok(())
            }
            Happening::Read => {
                self.cores.read(at, now)?;
                self.look_after(at);
                self.after(20_000, at, Happening::Read);
                Ok(())
            }
            Happening::Crash => {
                let wait = self.dice.random_range(1_000_000..20_000_000);
                self.after(wait, at, Happening::Crash);
                self.lives[at] += 1;
                self.writing[at] = false;
                self.timers[at].iter_mut().for_each(|generation| *generation += 1);
                let kept = self.dice.random_range(0..4);
                self.cores.crash(at, now, kept)?;
                self.look_after(at);
                Ok(())
            }
        }
    }

    /// Carries out what the last step asked for.
    fn look_after(&mut self, at: usize) {
        let mut wanted = std::mem::take(&mut self.cores.wanted);
        for one in wanted.drain(..) {
            match one {
                Wanted::Deliver { to, from, message } => self.send(to, from, message),
                Wanted::Timer { timer, min_micros, max_micros } => {
                    let generation = &mut self.timers[at][place(timer)];
                    *generation += 1;
                    let generation = *generation;
                    let wait = self.dice.random_range(min_micros..=max_micros);
                    self.after(wait, at, Happening::Timer { timer, generation });
                }
                Wanted::NoTimer(timer) => self.timers[at][place(timer)] += 1,
            }
        }
        self.cores.wanted = wanted;
        let Some(member) = self.cores.members.get(at) else { return };
        let (term, commit) = (member.core.term().0, member.core.commit_index().0);
        for value in [self.now, term, commit] {
            self.digest = (self.digest ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
        let (writes, awaits, life) = (!member.queue.is_empty(), member.awaited.is_some(), self.lives[at]);
        if writes && !self.writing[at] {
            self.writing[at] = true;
            let wait = self.dice.random_range(100..2_000);
            self.after(wait, at, Happening::Written { life });
        }
        if awaits {
            self.after(3_000, at, Happening::Installed { life });
        }
    }

    fn send(&mut self, to: usize, from: NodeId, message: Message<Item>) {
        let chance = self.dice.random_range(0..100);
        if chance < self.loss_percent {
            return;
        }
        if chance == 99 {
            let wait = self.dice.random_range(100..50_000);
            self.after(wait, to, Happening::Deliver { from, message: message.clone() });
        }
        let wait = self.dice.random_range(100..600);
        self.after(wait, to, Happening::Deliver { from, message });
    }
}

const fn place(timer: Timer) -> usize {
    match timer {
        Timer::Election => 0,
        Timer::Heartbeat => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything_and_the_cluster_commits() {
        let counts = run(1, 20_000, true).expect("nothing breaks");
        assert!(counts.committed > 500, "{counts:?}");
        assert_eq!(run(1, 20_000, true), Ok(counts));
        assert_eq!(run(1, 20_000, false), Ok(counts), "judging changes nothing");
        assert_ne!(run(2, 20_000, false).map(|counts| counts.digest), Ok(counts.digest));
    }
}
