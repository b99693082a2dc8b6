//! One search from beginning to end, and what may be said about it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

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
    let expanded = model.expanded.load(Ordering::Relaxed);
    let transitions = model.generated.load(Ordering::Relaxed);
    let elapsed = begun.elapsed();
    let discoveries = checker.discoveries();
    let mut violations = Vec::new();
    let mut unseen = Vec::new();
    for question in model.properties() {
        let found = discoveries.get(question.name);
        match (property::is_invariant(&question), found) {
            (true, Some(path)) => {
                let what = path.last_state().violation().map(ToString::to_string);
                let steps = path.clone().into_vec();
                let event =
                    |(state, action): (State, Option<Action>)| (state, action.map(|action| action.event));
                let events: Vec<_> = steps.into_iter().map(event).collect();
                let what = what.unwrap_or_else(|| question.name.to_owned());
                let id = what.split([' ', ':']).next().unwrap_or_default();
                let script = shrunk(&tell(&bounds, &events).text, id);
                violations.push(Broken { steps: events.len() - 1, script, what });
            }
            (false, None) => unseen.push(question.name),
            _ => {}
        }
    }
    let states = checker.unique_state_count();
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
