//! What one seed draws. Swarm testing: each seed has its own mixture of fault classes, each with a strength of its own;
//! some have one class only and some none, so that rare combinations come up and simple causes stay visible.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::clock::TRUE_SPEED;
use super::fault::{Fault, Kind};
use super::plan::Plan;
use super::proxy::PROXIES;
use super::script::Script;

/// Classes of faults that come at times of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Power,
    Kill,
    Outage,
    CutStart,
    CutSnapshot,
    DiskError,
    Full,
    SlowDisk,
    Pause,
    Clock,
    Split,
    OneWay,
    Link,
    Clog,
    Proxy,
    Damage,
    Wipe,
}

/// Each with the least and greatest mean time between two, and how many seeds in a hundred of the mixed ones have it.
const CLASSES: [(Class, u64, u64, u32); 17] = [
    (Class::Power, 800, 8_000, 50),
    (Class::Kill, 800, 8_000, 40),
    (Class::Outage, 3_000, 12_000, 20),
    (Class::CutStart, 2_000, 8_000, 25),
    (Class::CutSnapshot, 1_000, 4_000, 25),
    (Class::DiskError, 1_000, 8_000, 35),
    (Class::Full, 2_000, 8_000, 25),
    (Class::SlowDisk, 1_000, 8_000, 25),
    (Class::Pause, 1_000, 6_000, 40),
    (Class::Clock, 500, 6_000, 30),
    (Class::Split, 1_000, 6_000, 40),
    (Class::OneWay, 1_000, 6_000, 30),
    (Class::Link, 1_000, 6_000, 30),
    (Class::Clog, 500, 6_000, 30),
    (Class::Proxy, 500, 5_000, 40),
    (Class::Damage, 2_000, 10_000, 20),
    (Class::Wipe, 3_000, 12_000, 12),
];

/// How a seed mixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mix {
    /// No faults at all.
    Calm,
    /// Only this class, counted through [`CLASSES`] and then lossy, doubling and reordering links.
    Only(usize),
    /// Each class by its own chance.
    Some,
}

/// The slowest and the fastest clock beside leases, in millionths of the true speed: an eighth apart.
const SLOWEST: u64 = 942_000;
const FASTEST: u64 = 1_059_000;

/// Changing disk calls after which a recovery is cut: about twice as many as one makes.
const RECOVER_CALLS_MAX: u64 = 50;

/// Changing disk calls after which a write is cut: few enough to fall within one write.
const CUT_CALLS_MAX: u64 = 4;
/// The same for a snapshot or a start, which make more of them.
const CUT_CALLS_LONG_MAX: u64 = 12;

/// The script that a seed draws.
pub(super) fn script(seed: u64) -> Script {
    let mut dice = StdRng::seed_from_u64(seed ^ 0x5241_5645_4c49_4e00);
    let mix = match dice.random_range(0..100) {
        0..5 => Mix::Calm,
        5..25 => Mix::Only(dice.random_range(0..CLASSES.len() + 3)),
        _ => Mix::Some,
    };
    let mut plan = plan(seed, mix, &mut dice);
    let mut faults = Vec::new();
    for (place, (class, least, greatest, percent)) in CLASSES.into_iter().enumerate() {
        let chosen = match mix {
            Mix::Calm => false,
            Mix::Only(only) => only == place,
            Mix::Some => chance(&mut dice, percent),
        };
        let mean = dice.random_range(least..=greatest) * 1000;
        let mut at = about(&mut dice, mean);
        while chosen && at < plan.faults_micros {
            faults
                .extend(kinds(class, &plan, &mut dice).into_iter().map(|kind| Fault { at_micros: at, kind }));
            at += about(&mut dice, mean);
        }
    }
    if mix == Mix::Some {
        faults.extend(hand_overs(seed, &plan));
        faults = leases(seed, &mut plan, faults);
        faults = churn(seed, &mut plan, faults);
        faults.extend(recovery(seed, &mut plan));
    }
    faults.sort_by_key(|fault| fault.at_micros);
    Script { title: Vec::new(), plan, faults }
}

/// Requests to hand leadership over, by dice of their own: who has them or not, the other faults of a seed stay the same.
fn hand_overs(seed: u64, plan: &Plan) -> Vec<Fault> {
    let mut dice = StdRng::seed_from_u64(seed ^ 0x4841_4e44_4f56_4552);
    let mean = dice.random_range(300..4_000) * 1_000;
    let chosen = chance(&mut dice, 30) && plan.nodes > 1;
    let mut found = Vec::new();
    let mut at_micros = about(&mut dice, mean);
    while chosen && at_micros < plan.faults_micros {
        let (node, other) = (dice.random_range(1..=plan.nodes), dice.random_range(1..=plan.nodes));
        found.push(Fault { at_micros, kind: Kind::HandOver { node, other } });
        at_micros += about(&mut dice, mean);
    }
    found
}

/// An eighth of the mixed seeds ends in the loss of a quorum, by dice of its own. Mostly one node is cut off from the others
/// before, so that there is one that has missed something.
fn recovery(seed: u64, plan: &mut Plan) -> Option<Fault> {
    let mut dice = StdRng::seed_from_u64(seed ^ 0x5245_434f_5645_5200);
    if !chance(&mut dice, 12) || plan.nodes == 1 || plan.spares > 0 {
        return None;
    }
    plan.recover_calls = dice.random_range(1..=RECOVER_CALLS_MAX);
    let for_micros = dice.random_range(500_000..3_000_000);
    let set = 1 << dice.random_range(0..plan.nodes);
    let at_micros = plan.faults_micros.saturating_sub(for_micros);
    chance(&mut dice, 70).then_some(Fault { at_micros, kind: Kind::Split { set, for_micros } })
}

/// Members that come and go in a fifth of the mixed seeds, by dice of their own. Everything befalls spares too then, and
/// no disk is lost or damaged: who votes may be few meanwhile, and all of them are needed.
fn churn(seed: u64, plan: &mut Plan, faults: Vec<Fault>) -> Vec<Fault> {
    let mut dice = StdRng::seed_from_u64(seed ^ 0x4348_5552_4e00_0000);
    if !chance(&mut dice, 20) || plan.nodes == 1 {
        return faults;
    }
    plan.spares = dice.random_range(1..=2);
    let all = plan.nodes + plan.spares;
    let mut found = Vec::new();
    for fault in faults {
        let (name, mut numbers) = fault.kind.words();
        if ["rot", "misdirect", "wipe"].contains(&name) {
            continue;
        }
        for (name, number) in &mut numbers {
            match *name {
                "node" if chance(&mut dice, 40) => *number = dice.random_range(1..=all),
                "set" => *number = dice.random_range(1..(1 << all)),
                _ => {}
            }
        }
        found.extend(Kind::of(name, &numbers.into_iter().collect()).map(|kind| Fault { kind, ..fault }));
    }
    let mean = dice.random_range(200..1_500) * 1_000;
    let mut at_micros = about(&mut dice, mean);
    while at_micros < plan.faults_micros {
        let node = dice.random_range(1..=plan.nodes);
        let wish = [0, 0, 0, 1, 2, 2, 3, 4][dice.random_range(0..8_usize)];
        // Who is no member yet is added more often than others.
        let other = match wish {
            0 if chance(&mut dice, 70) => dice.random_range(plan.nodes + 1..=all),
            _ => dice.random_range(1..=all),
        };
        found.push(Fault { at_micros, kind: Kind::Members { node, other, wish } });
        at_micros += about(&mut dice, mean);
    }
    found
}

/// A quarter of the mixed seeds has leases, by dice of their own. Clocks are then within their bound: none jumps, and none
/// runs more than an eighth faster than another. There is more to read, from the keys that everybody writes.
fn leases(seed: u64, plan: &mut Plan, faults: Vec<Fault>) -> Vec<Fault> {
    let mut dice = StdRng::seed_from_u64(seed ^ 0x4c45_4153_4553_0000);
    if !chance(&mut dice, 25) {
        return faults;
    }
    plan.lease_micros = dice.random_range(100_000..1_500_000);
    plan.read_percent = dice.random_range(40..70);
    plan.shared_percent = dice.random_range(50..90);
    plan.ask_micros = dice.random_range(3_000..40_000);
    let bounded = |fault: Fault| match fault.kind {
        Kind::Jump { .. } => None,
        Kind::Drift { node, per_million, for_micros } => {
            let per_million = if per_million < TRUE_SPEED { SLOWEST } else { FASTEST };
            Some(Fault { kind: Kind::Drift { node, per_million, for_micros }, ..fault })
        }
        _ => Some(fault),
    };
    let faults = faults.into_iter().filter_map(bounded).collect();
    if plan.nodes > 1 && chance(&mut dice, 25) { slow_leaders(&mut dice, plan, faults) } else { faults }
}

/// Leaders that are cut off while their clocks run as slowly as is allowed and those of the others as fast, twice. Links and
/// disks are good, elections are quick, leases long, and nobody misses his quorum for long: else no leader comes so early that
/// its wait for the older lease matters. Little else goes wrong.
fn slow_leaders(dice: &mut StdRng, plan: &mut Plan, mut faults: Vec<Fault>) -> Vec<Fault> {
    let span = dice.random_range(2_000_000..3_500_000);
    plan.lease_micros = span;
    plan.election_micros = dice.random_range(25_000..50_000);
    plan.check_quorum_micros = 2 * span;
    (plan.delay_min_micros, plan.delay_max_micros) = (50, 1_000);
    plan.sync_max_micros = plan.sync_max_micros.min(1_000);
    (plan.loss_per_million, plan.reorder_per_million) = (0, 0);
    plan.ask_micros = dice.random_range(6_000..15_000);
    plan.shared_percent = dice.random_range(90..=100);
    faults.retain(|_| chance(dice, 5));
    // The first leader waits too, and hands nothing over before.
    let mut at = 1_000_000 + span * 5 / 4;
    for _ in 0..2 {
        let (slow, asked) = (dice.random_range(1..=plan.nodes), dice.random_range(1..=plan.nodes));
        let (cut, for_micros) = (at + 500_000 + dice.random_range(0..span / 2), span * 5 / 4);
        faults.push(Fault { at_micros: at, kind: Kind::HandOver { node: asked, other: slow } });
        for node in 1..=plan.nodes {
            let per_million = if node == slow { SLOWEST } else { FASTEST };
            let kind = Kind::Drift { node, per_million, for_micros: 2 * span };
            faults.push(Fault { at_micros: at + 200_000, kind });
        }
        faults.push(Fault { at_micros: cut, kind: Kind::Split { set: 1 << (slow - 1), for_micros } });
        at += 2 * span + 500_000;
    }
    plan.faults_micros = at;
    faults
}

fn plan(seed: u64, mix: Mix, dice: &mut StdRng) -> Plan {
    let small_log = chance(dice, 50);
    let rate = |place: usize, most: u64, dice: &mut StdRng| {
        let rate = dice.random_range(1..=most);
        let some = chance(dice, 60);
        match mix {
            Mix::Calm => 0,
            Mix::Only(only) => {
                if only == CLASSES.len() + place {
                    rate
                } else {
                    0
                }
            }
            Mix::Some => {
                if some {
                    rate
                } else {
                    0
                }
            }
        }
    };
    Plan {
        seed,
        nodes: match dice.random_range(0..100) {
            0..3 => 1,
            3..18 => 5,
            _ => 3,
        },
        delay_min_micros: dice.random_range(50..500),
        delay_max_micros: dice.random_range(500..20_000),
        loss_per_million: rate(0, 300_000, dice),
        duplicate_per_million: rate(1, 500_000, dice),
        reorder_per_million: rate(2, 200_000, dice),
        detour_max_micros: dice.random_range(1_000..300_000),
        sync_max_micros: dice.random_range(200..30_000),
        silent_percent: dice.random_range(0..=100),
        skew_max_micros: maybe(dice, 50, 3_600_000_000),
        ask_micros: dice.random_range(30_000..300_000),
        read_percent: maybe(dice, 70, 50),
        shared_percent: maybe(dice, 60, 70),
        // A large change does not fit where the log is bounded to little.
        large_percent: if small_log { 0 } else { maybe(dice, 25, 10) },
        file_micros: dice.random_range(200_000..2_000_000),
        log_bytes_max: if small_log { dice.random_range(8..40) << 10 } else { 8 << 20 },
        segment_bytes: 1 << dice.random_range(10..18),
        heavy_bytes: if chance(dice, 50) { 1 } else { 1 << 20 },
        faults_micros: dice.random_range(4_000_000..14_000_000),
        ..Plan::calm()
    }
}

/// One fault of a class; an outage is one for each node.
fn kinds(class: Class, plan: &Plan, dice: &mut StdRng) -> Vec<Kind> {
    let node = dice.random_range(1..=plan.nodes);
    let other = 1 + (node - 1 + dice.random_range(1..plan.nodes.max(2))) % plan.nodes;
    let down_micros = dice.random_range(20_000..6_000_000);
    let for_micros = dice.random_range(50_000..5_000_000);
    let cut = if chance(dice, 40) { dice.random_range(1..=CUT_CALLS_MAX) } else { 0 };
    let long = dice.random_range(0..CUT_CALLS_LONG_MAX);
    let place = dice.random_range(0..1 << 40);
    let kind = match class {
        Class::Power => Kind::PowerLoss { node, down_micros, calls: cut },
        Class::Kill => Kind::Kill { node, down_micros, calls: cut },
        Class::Outage => {
            let down = |node, dice: &mut StdRng| {
                let down_micros = dice.random_range(20_000..4_000_000);
                Kind::PowerLoss { node, down_micros, calls: 0 }
            };
            return (1..=plan.nodes).map(|node| down(node, dice)).collect();
        }
        Class::CutStart => Kind::CutStart { node, calls: long },
        Class::CutSnapshot => Kind::CutSnapshot { node, calls: long, down_micros },
        Class::DiskError if chance(dice, 50) => Kind::SyncError { node, down_micros },
        Class::DiskError => Kind::WriteError { node, down_micros },
        Class::Full => Kind::Full { node, room_bytes: dice.random_range(0..8 << 10), for_micros },
        Class::SlowDisk => {
            Kind::SlowDisk { node, extra_micros: dice.random_range(1_000..800_000), for_micros }
        }
        Class::Pause => Kind::Pause { node, for_micros },
        Class::Clock if chance(dice, 50) => {
            Kind::Jump { node, by_micros: dice.random_range(1_000..60_000_000) }
        }
        Class::Clock => Kind::Drift { node, per_million: dice.random_range(300_000..3_000_000), for_micros },
        Class::Split => Kind::Split { set: dice.random_range(1..(1 << plan.nodes)), for_micros },
        Class::OneWay if chance(dice, 50) => Kind::Mute { node, for_micros },
        Class::OneWay => Kind::Deaf { node, for_micros },
        Class::Link if chance(dice, 50) => Kind::CutLink { node, other, for_micros },
        Class::Link => Kind::CutWay { node, other, for_micros },
        Class::Clog => Kind::Clog { node, other, for_micros },
        Class::Proxy => proxy(dice),
        Class::Damage if chance(dice, 50) => {
            Kind::Rot { node, place, bit: dice.random_range(0..8), down_micros }
        }
        Class::Damage => Kind::Misdirect { node, place, down_micros },
        Class::Wipe => Kind::Wipe { node, down_micros },
    };
    vec![kind]
}

fn proxy(dice: &mut StdRng) -> Kind {
    let proxy = dice.random_range(1..=PROXIES);
    match dice.random_range(0..8) {
        0 | 1 => Kind::ProxyDoubt { proxy },
        2 | 3 => Kind::ProxyRestart { proxy, disk: 1 },
        4 => Kind::ProxyRestart { proxy, disk: 2 },
        _ => Kind::ProxyRestart { proxy, disk: 0 },
    }
}

fn chance(dice: &mut StdRng, percent: u32) -> bool {
    dice.random_range(0..100) < percent
}

/// A number in so many seeds of a hundred, else zero.
fn maybe(dice: &mut StdRng, percent: u32, most: u64) -> u64 {
    let number = dice.random_range(0..=most);
    if chance(dice, percent) { number } else { 0 }
}

/// A span around a mean: from a tenth to about twice of it.
fn about(dice: &mut StdRng, mean: u64) -> u64 {
    dice.random_range(mean / 10..=mean * 2).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn names(script: &Script) -> BTreeSet<&'static str> {
        script.faults.iter().map(|fault| fault.kind.words().0).collect()
    }

    #[test]
    fn a_seed_draws_one_script_and_some_are_calm_or_of_one_class() {
        assert_eq!(script(7).to_string(), script(7).to_string());
        let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
        let (mut none, mut one) = (0, 0);
        for seed in 0..300 {
            let drawn = script(seed);
            let lossy = drawn.plan.loss_per_million + drawn.plan.duplicate_per_million > 0;
            none += u64::from(drawn.faults.is_empty() && !lossy && drawn.plan.reorder_per_million == 0);
            one += u64::from(names(&drawn).len() == 1 && !lossy);
            names(&drawn).into_iter().for_each(|name| *seen.entry(name).or_default() += 1);
        }
        assert!((5..60).contains(&none) && (10..100).contains(&one), "{none} calm, {one} of one class");
        assert_eq!(seen.len(), 24, "every kind is drawn by some seed: {seen:?}");
        assert!(seen.values().all(|seeds| (3..200).contains(seeds)), "and by some not: {seen:?}");
    }
}
