//! Kills, freezes and loss at random while changes are asked for: what was said must be true, and all must come together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::harness::{Cluster, apply, site};
use crate::node::timers::Random;
use crate::request::Response;
use crate::request::status::EventKind;

/// Runs of the test, a tenth of a second each.
const SEEDS: u64 = 40;

struct Chaos {
    cluster: Cluster,
    random: Random,
    asked: BTreeMap<u64, String>,
    done: Vec<String>,
    not_done: Vec<String>,
    unknown: usize,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut cluster = Cluster::ready(3);
        cluster.random = Random::new(seed);
        cluster.loss_per_thousand = seed % 4 * 30;
        let random = Random::new(!seed);
        Self { cluster, random, asked: BTreeMap::new(), done: Vec::new(), not_done: Vec::new(), unknown: 0 }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.next() % bound
    }

    fn trouble(&mut self) {
        let node = 1 + self.below(3);
        match self.below(8) {
            0..=2 if self.cluster.is_alive(node) => {
                // Local questions die with the process that asked them.
                self.collect();
                self.cluster.kill(node);
            }
            3 if self.cluster.is_alive(node) => self.cluster.freeze(node),
            4..=6 if self.cluster.is_frozen(node) => self.cluster.thaw(node),
            4..=7 if !self.cluster.is_alive(node) => self.cluster.boot(node),
            _ => {}
        }
    }

    fn ask(&mut self, number: u64) {
        let node = 1 + self.below(3);
        if self.cluster.is_alive(node) && !self.cluster.is_frozen(node) {
            let name = format!("site{number}");
            let deadline = Duration::from_millis(500 + self.below(6000));
            let ticket = self.cluster.ask(node, apply(&site(&name)), deadline);
            self.asked.insert(ticket, name);
        }
    }

    /// What a provider of the present or a past controller wants.
    fn provide(&mut self, number: u64) {
        if let Some((node, epoch)) = self.cluster.controller() {
            let epoch = epoch - self.below(2).min(epoch - 1);
            self.cluster.draft(node, epoch, &site(&format!("provided{number}")));
        }
    }

    fn collect(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        for (ticket, name) in asked {
            match self.cluster.answered(ticket) {
                None => {
                    self.asked.insert(ticket, name);
                }
                Some(Response::Done(_)) => self.done.push(name),
                Some(Response::Unavailable { .. }) => self.not_done.push(name),
                Some(Response::Unknown { .. }) => self.unknown += 1,
                Some(other) => panic!("{name}: {other:?}"),
            }
        }
    }

    fn check(&mut self, seed: u64) {
        self.cluster.loss_per_thousand = 0;
        for node in 1..=3 {
            self.cluster.thaw(node);
            if !self.cluster.is_alive(node) {
                self.cluster.boot(node);
            }
        }
        self.cluster.run(Duration::from_secs(10));
        self.collect();
        let controller = self.cluster.controller();
        assert!(controller.is_some(), "seed {seed}: nobody runs the providers");
        self.cluster.apply(1, &site("last"));
        self.cluster.run(Duration::from_secs(1));
        assert_eq!(self.cluster.generations().len(), 1, "seed {seed}: states differ");
        let config = self.cluster.machine(1).node().store().config().clone();
        let holds = |name: &String| config.get(&format!("http/routers/{name}@cluster")).is_some();
        for name in &self.done {
            assert!(holds(name), "seed {seed}: {name} was said to be done");
        }
        for name in &self.not_done {
            assert!(!holds(name), "seed {seed}: {name} was said not to be done");
        }
        let running = self.cluster.alive().filter(|(_, machine)| machine.node().providers_epoch().is_some());
        assert_eq!(running.count(), 1, "seed {seed}: one node runs the providers");
    }
}

#[test]
fn whatever_happens_what_was_said_is_true_and_all_come_together() {
    let (mut done, mut not_done, mut unknown, mut epochs, mut stale) = (0, 0, 0, 0, 0);
    for seed in 0..SEEDS {
        let mut chaos = Chaos::new(seed);
        for number in 0..60 {
            if chaos.below(3) == 0 {
                chaos.trouble();
            }
            chaos.ask(number);
            if chaos.below(2) == 0 {
                chaos.provide(number);
            }
            let pause = Duration::from_millis(chaos.below(400));
            chaos.cluster.run(pause);
            chaos.collect();
        }
        chaos.check(seed);
        done += chaos.done.len();
        not_done += chaos.not_done.len();
        unknown += chaos.unknown;
        epochs += chaos.cluster.controller().map_or(0, |(_, epoch)| epoch);
        stale += chaos.cluster.saw(|kind| matches!(kind, EventKind::StaleWriteRefused { .. }));
    }
    println!("done {done}, not done {not_done}, unknown {unknown}, epochs {epochs}, stale writes {stale}");
    assert!(done > 100 && not_done > 20 && epochs > 40 && stale > 10, "the premises occur");
}
