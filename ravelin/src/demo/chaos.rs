//! `ravelin demo --chaos`: faults of control nodes, drawn from a seed and composed, for a given time under load. The plan follows
//! from seed and time alone; no request may fail. It must use nothing that the shipped nodes do not have: signals, and a
//! relay process between them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::checks::{EVENT_TIME_MAX, judge_logs};
use super::cluster::Cluster;
use super::load::Load;
use crate::exit::CheckFailed;
use crate::relay::Weather;

/// Control nodes of the demo.
const NODES: u64 = 3;
/// Shortest and longest time between the beginnings of two faults, in milliseconds.
const PAUSE_MILLIS: (u64, u64) = (200, 1500);
/// Shortest and longest time that a fault lasts, in milliseconds.
const SPAN_MILLIS: (u64, u64) = (300, 4000);
/// The end of the time without a new fault, in milliseconds: as long as the longest one lasts.
const QUIET_MILLIS: u64 = SPAN_MILLIS.1;
/// How often a change of configuration is asked for meanwhile.
const CHANGE_INTERVAL: Duration = Duration::from_millis(500);
/// Longest wait for a change while faults are on; an answer that nothing was accepted is a good one.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(3);

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// SIGKILL, and started again at the end.
    Kill(u64),
    /// SIGSTOP, and SIGCONT at the end.
    Freeze(u64),
    /// Nothing between this node and the others.
    Isolate(u64),
    /// Nothing from the first to the second.
    OneWay(u64, u64),
    /// What goes between the two takes so many milliseconds.
    Delay(u64, u64, u64),
}

/// A fault with its time, in milliseconds from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Planned {
    from: u64,
    until: u64,
    fault: Fault,
}

/// SplitMix64: the same seed draws the same plan in every version.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn between(&mut self, (low, high): (u64, u64)) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// Two different nodes.
    fn two(&mut self) -> (u64, u64) {
        let one = self.between((1, NODES));
        let other = self.between((1, NODES - 1));
        (one, if other >= one { other + 1 } else { other })
    }
}

/// The faults of one run, in the order in which they begin. A process has one fault at a time; else they overlap as drawn.
fn plan(seed: u64, seconds: u64) -> Vec<Planned> {
    let mut draws = Draws(seed);
    let last = (seconds * 1000).saturating_sub(QUIET_MILLIS);
    let mut free_at = [0; NODES as usize + 1];
    let mut planned = Vec::new();
    let mut from = draws.between(PAUSE_MILLIS);
    while from < last {
        let until = from + draws.between(SPAN_MILLIS);
        let (one, other) = draws.two();
        let kind = draws.between((0, 4));
        let millis = draws.between((20, 400));
        let fault = match kind {
            0 => Fault::Kill(one),
            1 => Fault::Freeze(one),
            2 => Fault::Isolate(one),
            3 => Fault::OneWay(one, other),
            _ => Fault::Delay(one, other, millis),
        };
        let is_of_process = matches!(fault, Fault::Kill(_) | Fault::Freeze(_));
        let busy = usize::try_from(one).ok().and_then(|one| free_at.get_mut(one));
        match busy {
            Some(busy) if is_of_process && *busy > from => {}
            Some(busy) if is_of_process => {
                *busy = until;
                planned.push(Planned { from, until, fault });
            }
            _ => planned.push(Planned { from, until, fault }),
        }
        from += draws.between(PAUSE_MILLIS);
    }
    planned
}

/// What lies between the nodes while these faults are on.
fn weather<'a>(on: impl Iterator<Item = &'a Planned>) -> Weather {
    let (mut cut, mut delayed) = (BTreeSet::new(), BTreeSet::new());
    for planned in on {
        match planned.fault {
            Fault::Isolate(node) => {
                let others = (1..=NODES).filter(|other| *other != node);
                cut.extend(others.flat_map(|other| [(node, other), (other, node)]));
            }
            Fault::OneWay(from, to) => drop(cut.insert((from, to))),
            Fault::Delay(one, other, millis) => {
                delayed.extend([(one, other, millis), (other, one, millis)]);
            }
            Fault::Kill(_) | Fault::Freeze(_) => {}
        }
    }
    Weather { cut: cut.into_iter().collect(), delayed: delayed.into_iter().collect() }
}

/// Runs the plan of `seed` for `seconds` under load.
///
/// # Errors
/// A request failed, or the cluster did not come back ([`CheckFailed`]); the processes could not be handled.
pub(crate) async fn run(cluster: &mut Cluster, seed: u64, seconds: u64, rate: u32) -> anyhow::Result<()> {
    let plan = plan(seed, seconds);
    println!("seed {seed}: {} faults in {seconds} s; the same seed gives the same plan\n", plan.len());
    let mut load = Load::start(cluster.directory(), &cluster.proxy_addresses, rate)?;
    load.fresh().await?;
    let changes = carry_out(cluster, &plan, seconds).await?;
    cluster.weather(&Weather::default())?;
    let begun = Instant::now();
    let back = come_back(cluster).await;
    let healed = begun.elapsed();
    let report = load.finish().await?;
    cluster.stop()?;
    println!(
        "\nclient: {} requests, failed requests {}, retried {}, generation backwards {}, slowest right answer {} ms",
        report.sent, report.failed, report.retried, report.backwards, report.slowest_ms
    );
    println!(
        "changes asked for meanwhile: {} accepted, {} answered with \"nothing was accepted\", {} with \"unknown\"",
        changes.accepted, changes.refused, changes.unknown
    );
    let mut failed = Vec::new();
    judge_logs(cluster, &report, None, &mut failed)?;
    if report.failed + report.backwards > 0 {
        failed.push(format!("the load: {}", report.failures.join("; ")));
    }
    if let Err(error) = back {
        failed.push(format!("the cluster did not come back: {error:#}"));
    }
    if changes.accepted == 0 {
        failed.push("no change was accepted in the whole time".to_owned());
    }
    if !failed.is_empty() {
        bail!(CheckFailed(format!("\nseed {seed} did not hold:\n  {}", failed.join("\n  "))));
    }
    println!(
        "chaos: seed {seed}, {seconds} s, {} faults, 0 failed requests; a change was served everywhere {} ms after the last",
        plan.len(),
        healed.as_millis()
    );
    Ok(())
}

/// What became of the changes asked for.
#[derive(Default)]
struct Changes {
    accepted: u64,
    refused: u64,
    unknown: u64,
}

/// Begins and ends faults in their time, and asks for changes meanwhile.
async fn carry_out(cluster: &mut Cluster, plan: &[Planned], seconds: u64) -> anyhow::Result<Changes> {
    let begun = Instant::now();
    let mut moments: Vec<(u64, bool, Planned)> = plan
        .iter()
        .flat_map(|planned| [(planned.from, true, *planned), (planned.until, false, *planned)])
        .collect();
    moments.sort_by_key(|(at, begins, planned)| (*at, *begins, *planned));
    let mut moments = moments.into_iter().peekable();
    let mut on: BTreeSet<Planned> = BTreeSet::new();
    let mut changes = Changes::default();
    let mut change_at = begun;
    let end = begun + Duration::from_secs(seconds);
    let mut asked = tokio::task::JoinSet::new();
    while Instant::now() < end {
        let next = moments.peek().map_or(end, |(at, _, _)| begun + Duration::from_millis(*at));
        tokio::select! {
            // Faults have their time by the plan, whatever became of a change.
            biased;
            () = tokio::time::sleep_until(next.min(end).into()) => {
                if let Some((at, begins, planned)) = moments.next_if(|_| next <= Instant::now()) {
                    let word = if begins { "begins" } else { "ends" };
                    println!("{:>7.1} s  {:?} {word}", at as f64 / 1000.0, planned.fault);
                    if begins { on.insert(planned) } else { on.remove(&planned) };
                    strike(cluster, planned.fault, begins)?;
                    cluster.weather(&weather(on.iter()))?;
                }
            }
            Some(outcome) = asked.join_next() => changes.count(cluster, outcome.context("a task ended early")?),
            () = tokio::time::sleep_until(change_at.into()), if asked.is_empty() => {
                change_at = Instant::now() + CHANGE_INTERVAL;
                let (operator, generation) = (cluster.operator.clone(), cluster.generation + 1);
                asked.spawn(async move {
                    let document = super::cluster::generation_document(generation);
                    let answer = tokio::time::timeout(CHANGE_TIME_MAX, operator.apply(&document)).await;
                    (generation, answer.ok().map(|answer| answer.map_err(|error| format!("{error:#}"))))
                });
            }
        }
    }
    while let Some(outcome) = asked.join_next().await {
        changes.count(cluster, outcome.context("a task ended early")?);
    }
    for controller in &mut cluster.controllers {
        controller.check_alive()?;
    }
    Ok(changes)
}

impl Changes {
    fn count(
        &mut self,
        cluster: &mut Cluster,
        (generation, answer): (u64, Option<Result<impl Sized, String>>),
    ) {
        match answer {
            Some(Ok(_)) => {
                cluster.generation = generation;
                self.accepted += 1;
            }
            Some(Err(why)) if why.contains("nothing was accepted") => self.refused += 1,
            // It may be in the log: what is asked for next must be newer all the same.
            Some(Err(_)) | None => self.unknown += 1,
        }
    }
}

fn strike(cluster: &mut Cluster, fault: Fault, begins: bool) -> anyhow::Result<()> {
    let (Fault::Kill(node) | Fault::Freeze(node)) = fault else { return Ok(()) };
    let process = usize::try_from(node - 1).ok().and_then(|place| cluster.controllers.get_mut(place));
    let process = process.context("a node of the demo")?;
    match (fault, begins) {
        (Fault::Kill(_), true) => process.kill(),
        (Fault::Kill(_), false) => process.start(),
        (_, true) => process.freeze(),
        (_, false) => process.thaw(),
    }
}

/// With every fault over, a change must come through and be served everywhere, by nobody's hand.
async fn come_back(cluster: &mut Cluster) -> anyhow::Result<()> {
    cluster.leader(EVENT_TIME_MAX).await?;
    let begun = Instant::now();
    let generation = loop {
        match cluster.apply_next().await {
            Ok(generation) => break generation,
            Err(error) if begun.elapsed() > EVENT_TIME_MAX => return Err(error),
            Err(_) => {}
        }
    };
    super::checks::served_everywhere(cluster, generation).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan_and_every_kind_of_fault_ends_in_time() {
        assert_eq!(plan(7, 60), plan(7, 60));
        assert_ne!(plan(7, 60), plan(8, 60));
        let mut kinds = BTreeSet::new();
        for seed in 0..20 {
            for planned in plan(seed, 60) {
                assert!(planned.from < planned.until && planned.until <= 60_000, "{planned:?}");
                kinds.insert(format!("{:?}", planned.fault).split('(').next().map(str::to_owned));
                if let Fault::OneWay(one, other) | Fault::Delay(one, other, _) = planned.fault {
                    assert!(one != other && (1..=NODES).contains(&one) && (1..=NODES).contains(&other));
                }
            }
        }
        assert_eq!(kinds.len(), 5, "{kinds:?}");
    }

    #[test]
    fn a_process_is_struck_by_one_fault_at_a_time_and_some_faults_overlap() {
        let mut overlaps = 0;
        for seed in 0..20 {
            let plan = plan(seed, 60);
            for (place, one) in plan.iter().enumerate() {
                for other in plan.iter().skip(place + 1).filter(|other| other.from < one.until) {
                    overlaps += 1;
                    let of = |planned: &Planned| match planned.fault {
                        Fault::Kill(node) | Fault::Freeze(node) => Some(node),
                        _ => None,
                    };
                    assert!(of(one).is_none() || of(one) != of(other), "{one:?} {other:?}");
                }
            }
        }
        assert!(overlaps > 100, "faults are composed: {overlaps}");
    }

    #[test]
    fn what_lies_between_nodes_follows_from_the_faults_that_are_on() {
        let on = |fault| Planned { from: 0, until: 1, fault };
        let both = [on(Fault::Isolate(2)), on(Fault::Delay(1, 3, 50)), on(Fault::Kill(1))];
        let found = weather(both.iter());
        assert_eq!(found.cut, [(1, 2), (2, 1), (2, 3), (3, 2)]);
        assert_eq!(found.delayed, [(1, 3, 50), (3, 1, 50)]);
        assert_eq!(weather([].iter()), Weather::default());
    }
}
