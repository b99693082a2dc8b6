//! One search from beginning to end, and what may be said about it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Path};

use crate::golden::shrunk;
use crate::raft::action::Action;
use crate::raft::bounds::{Bounds, Watch};
use crate::raft::model::Raft;
use crate::raft::property;
use crate::raft::script::tell;
use crate::raft::state::State;

/// What a search has found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its bounds.
    pub bounds: Bounds,
    /// Distinct states, up to renaming of nodes.
    pub states: usize,
    /// Transitions taken.
    pub transitions: u64,
    /// Longest path of the depth-first search.
    pub depth: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether every state that was found had all its transitions taken, by the model's own count.
    pub exhaustive: bool,
    /// Broken invariants, each with the path that breaks it.
    pub violations: Vec<Broken>,
    /// Witnesses that were not found.
    pub unseen: Vec<&'static str>,
}

/// A broken invariant, and how it came to that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// What is broken.
    pub what: String,
    /// Events that lead there.
    pub steps: usize,
    /// The same events as a golden script.
    pub script: String,
}

/// In which order states are visited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Needs little memory: for complete searches.
    DepthFirst,
    /// Finds a shortest counterexample: for searches that are expected to end early.
    BreadthFirst,
}

/// Searches everything within the bounds, or until an invariant is broken.
#[must_use]
pub fn check(bounds: Bounds, order: Order, watch: Watch, threads: usize) -> Report {
    check_until(bounds, order, watch, threads, None)
}

/// Searches several. There are as many at a time as threads, each in a thread of its own, the largest first: so none waits
/// for what another thread holds, and all end at about the same time. `told` hears of them in the given order.
pub fn check_all(all: &[Bounds], order: Order, watch: Watch, threads: usize, mut told: impl FnMut(&Report)) {
    let at_a_time = threads.clamp(1, all.len().max(1));
    let mut by_size: Vec<(usize, Bounds)> = all.iter().copied().enumerate().collect();
    by_size.sort_by_key(|(_, bounds)| Reverse(bounds.states));
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            let (sender, next, by_size) = (sender.clone(), &next, &by_size);
            scope.spawn(move || {
                while let Some((place, bounds)) = by_size.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = check(*bounds, order, watch, threads / at_a_time);
                    if sender.send((*place, report)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut due = 0;
        for (place, report) in receiver {
            early.insert(place, report);
            while let Some(report) = early.remove(&due) {
                told(&report);
                due += 1;
            }
        }
    });
}

/// The same, but no state is looked at after the deadline: what is found then is not exhaustive, and says so.
pub(crate) fn check_until(
    bounds: Bounds,
    order: Order,
    watch: Watch,
    threads: usize,
    deadline: Option<Instant>,
) -> Report {
    let begun = Instant::now();
    let mut model = Raft::new(bounds, watch);
    model.deadline = deadline;
    let search = model.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    match order {
        Order::DepthFirst => report(bounds, search.spawn_dfs().join(), begun),
        Order::BreadthFirst => report(bounds, search.spawn_bfs().join(), begun),
    }
}

/// Serves stateright's explorer, which searches only where one looks, until the process is ended.
pub fn explore(bounds: Bounds, address: SocketAddr) {
    Raft::new(bounds, Watch::Everything).checker().serve(address);
}

fn report(bounds: Bounds, checker: impl Checker<Raft>, begun: Instant) -> Report {
    let model = checker.model();
    // Counted before paths are rebuilt, which runs the model again.
    let expanded = model.expanded.0.load(Ordering::Relaxed);
    let unseen = model.unseen();
    let states = checker.unique_state_count();
    // Of all that were generated the first state alone was not by a transition.
    let transitions = checker.state_count().saturating_sub(1) as u64;
    let elapsed = begun.elapsed();
    let violations: Vec<Broken> = checker.discoveries().into_values().map(|path| told(model, path)).collect();
    Report {
        bounds,
        states,
        transitions,
        depth: checker.max_depth(),
        elapsed,
        // stateright's own `is_done` is true for a truncated search too.
        exhaustive: violations.is_empty() && expanded == states as u64,
        violations,
        unseen,
    }
}

/// What a path breaks at its end.
fn told(model: &Raft, path: Path<State, Action>) -> Broken {
    let what = model.broken(path.last_state()).map(|violation| violation.to_string());
    let what = what.unwrap_or_else(|| property::INVARIANTS.to_owned());
    let event = |(state, action): (State, Option<Action>)| (state, action.map(|action| action.event));
    let events: Vec<_> = path.into_vec().into_iter().map(event).collect();
    let id = what.split([' ', ':']).next().unwrap_or_default();
    let script = shrunk(&tell(&model.bounds, &events).text, id);
    Broken { steps: events.len() - 1, script, what }
}

impl Report {
    /// Whether the search is complete, found what it had to find, and nothing else.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.is_unbroken()
            && self.unseen.is_empty()
            && self.bounds.states.is_none_or(|states| states == self.states)
    }

    /// Whether the search is complete and nothing broke, whatever its size.
    #[must_use]
    pub fn is_unbroken(&self) -> bool {
        self.exhaustive && self.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { bounds, states, transitions, depth, elapsed, .. } = self;
        write!(
            f,
            "{bounds}: {states} states, {transitions} transitions, depth {depth}, {:.1} s",
            elapsed.as_secs_f64()
        )?;
        if let Some(expected) = bounds.states.filter(|expected| expected != states) {
            write!(f, "\n  expected exactly {expected} states")?;
        }
        if !self.exhaustive {
            f.write_str("\n  NOT EXHAUSTIVE")?;
        }
        for name in &self.unseen {
            write!(f, "\n  never seen: {name}")?;
        }
        for Broken { what, steps, script } in &self.violations {
            write!(f, "\n  BROKEN: {what}\n  after {steps} events, as a golden script:\n\n{script}")?;
        }
        Ok(())
    }
}
