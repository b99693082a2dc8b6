//! From a failing run to the smallest one that fails the same way: faults are dropped, numbers made calm, spans halved,
//! as long as it still fails. It must not know what a run is: it is told by a function whether one fails.

use super::plan::Plan;
use super::script::Script;

/// Runs that one shrinking may cost.
pub const RUNS_MAX: usize = 600;

/// What shrinking has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    /// The smallest run that fails.
    pub script: Script,
    /// How.
    pub what: String,
    /// Runs that it took.
    pub runs: usize,
}

/// Shrinks a run that fails. `fails` gives what is broken and when, in virtual microseconds.
///
/// A smaller run counts only if it breaks the same: the same words but for numbers.
pub fn shrink(script: Script, what: String, fails: impl Fn(&Script) -> Option<(String, u64)>) -> Shrunk {
    let kind = kind_of(&what);
    let mut search = Search { best: script, what, kind, runs: 0, fails };
    loop {
        let before = (search.best.clone(), search.runs);
        search.shorten();
        search.drop_faults();
        search.calm_numbers();
        search.halve_spans();
        if search.best == before.0 || search.runs >= RUNS_MAX {
            break;
        }
    }
    Shrunk { script: search.best, what: search.what, runs: search.runs }
}

/// What is broken, without what differs from run to run.
fn kind_of(what: &str) -> String {
    what.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

struct Search<F> {
    best: Script,
    what: String,
    kind: String,
    runs: usize,
    fails: F,
}

impl<F: Fn(&Script) -> Option<(String, u64)>> Search<F> {
    /// Whether a smaller run fails the same way; it is then the best. Gives when.
    fn takes(&mut self, smaller: Script) -> Option<u64> {
        if smaller == self.best || self.runs >= RUNS_MAX {
            return None;
        }
        self.runs += 1;
        let (what, at) = (self.fails)(&smaller).filter(|(what, _)| kind_of(what) == self.kind)?;
        (self.best, self.what) = (smaller, what);
        Some(at)
    }

    /// Ends faults where nothing was broken later.
    fn shorten(&mut self) {
        let last = self.best.faults.last().map_or(0, |fault| fault.at_micros + 1);
        for end in [last, self.best.plan.faults_micros / 2] {
            let mut shorter = self.best.clone();
            shorter.plan.faults_micros = end.min(shorter.plan.faults_micros);
            shorter.faults.retain(|fault| fault.at_micros < end);
            self.takes(shorter);
        }
    }

    /// Drops faults, many at a time and then one by one.
    fn drop_faults(&mut self) {
        let mut piece = self.best.faults.len().next_power_of_two();
        while piece > 0 {
            let mut from = 0;
            while from < self.best.faults.len() {
                let mut smaller = self.best.clone();
                smaller.faults.drain(from..(from + piece).min(smaller.faults.len()));
                if self.takes(smaller).is_none() {
                    from += piece;
                }
            }
            piece /= 2;
        }
    }

    /// Gives each number that is not calm its calm value.
    fn calm_numbers(&mut self) {
        for (name, calm) in Plan::calm().numbers() {
            if name == "seed" || name == "faults_micros" {
                continue;
            }
            let mut calmer = self.best.clone();
            if let Some(number) = calmer.plan.number(name) {
                *number = calm;
            }
            self.takes(calmer);
        }
    }

    fn halve_spans(&mut self) {
        for at in 0..self.best.faults.len() {
            while let Some(shorter) = self.best.faults.get(at).and_then(|fault| fault.shorter()) {
                let mut smaller = self.best.clone();
                smaller.faults[at] = shorter;
                if self.takes(smaller).is_none() {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::fault::Kind;

    #[test]
    fn what_does_not_matter_goes_and_what_matters_stays() {
        let whole = Script::parse(
            "seed 1\nloss_per_million 9\nread_percent 5\nat 10 pause node 1 for_micros 9000\n\
             at 20 kill node 2 down_micros 8000 calls 0\nat 30 wipe node 3 down_micros 7\nat 40 jump node 1 by_micros 3\n",
        )
        .expect("a script");
        let fails = |script: &Script| {
            let kills = script.faults.iter().any(|fault| matches!(fault.kind, Kind::Kill { .. }));
            let jumps = script.faults.iter().find(|fault| matches!(fault.kind, Kind::Jump { .. }))?;
            let broken = kills && script.plan.read_percent > 0;
            broken.then(|| (format!("entry {} is lost", script.faults.len()), jumps.at_micros))
        };
        let shrunk = shrink(whole, "entry 4 is lost".to_owned(), fails);
        assert_eq!(
            shrunk.script.to_string(),
            "seed 1\nread_percent 5\nfaults_micros 41\nat 20 kill node 2 down_micros 1000 calls 0\nat 40 jump node 1 by_micros 3\n"
        );
        assert_eq!(shrunk.what, "entry 2 is lost");
    }

    #[test]
    fn another_failure_is_not_a_smaller_one_of_this() {
        let whole = Script::parse("seed 1\nat 10 proxy-doubt proxy 1\n").expect("a script");
        let fails = |script: &Script| {
            Some((if script.faults() == 0 { "something else" } else { "this" }.to_owned(), 10))
        };
        assert_eq!(shrink(whole.clone(), "this".to_owned(), fails).script.faults(), 1);
    }
}
