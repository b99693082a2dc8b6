//! A run as text: its numbers where they are not calm, then its faults in order. What a failing seed shrinks to, and what
//! is committed and replayed. It must read back exactly what it prints.

use std::fmt;

use super::fault::Fault;
use super::plan::Plan;

/// Everything that decides a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// What it shows, for people: the lines that begin with `#`.
    pub title: Vec<String>,
    pub(super) plan: Plan,
    /// In the order of their times.
    pub(super) faults: Vec<Fault>,
}

/// A line that is none of a script's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    /// Counted from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is neither a number of the run nor a fault: {}", self.line, self.text)
    }
}

impl std::error::Error for ScriptError {}

impl Script {
    /// What a seed draws.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        super::draw::script(seed)
    }

    /// A run without a fault.
    #[must_use]
    pub const fn calm() -> Self {
        Self { title: Vec::new(), plan: Plan::calm(), faults: Vec::new() }
    }

    /// The seed from which everything follows that the script leaves open.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.plan.seed
    }

    /// How many faults it has.
    #[must_use]
    pub const fn faults(&self) -> usize {
        self.faults.len()
    }

    /// Reads what [`Script`] prints.
    ///
    /// # Errors
    /// The first line that means nothing.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let mut script = Self::calm();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let unknown = || ScriptError { line: at + 1, text: line.to_owned() };
            if let Some(title) = line.strip_prefix('#') {
                script.title.push(title.trim().to_owned());
            } else if line.starts_with("at ") {
                script.faults.push(Fault::parse(line).ok_or_else(unknown)?);
            } else {
                let (name, number) = line.trim().split_once(' ').ok_or_else(unknown)?;
                let place = script.plan.number(name).ok_or_else(unknown)?;
                *place = number.parse().map_err(|_| unknown())?;
            }
        }
        script.faults.sort_by_key(|fault| fault.at_micros);
        Ok(script)
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.title.iter().try_for_each(|line| writeln!(f, "# {line}"))?;
        let calm = Plan::calm().numbers();
        for ((name, number), (_, calm)) in self.plan.numbers().into_iter().zip(calm) {
            if number != calm || name == "seed" {
                writeln!(f, "{name} {number}")?;
            }
        }
        self.faults.iter().try_for_each(|fault| writeln!(f, "{fault}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_reads_back_what_it_prints() {
        for seed in 0..50 {
            let mut script = Script::of_seed(seed);
            script.title.push("a title".to_owned());
            assert_eq!(Script::parse(&script.to_string()), Ok(script));
        }
    }

    #[test]
    fn a_line_that_means_nothing_is_named() {
        let error = Script::parse("seed 4\nspeed 9\n").expect_err("there is no such number");
        assert_eq!((error.line, error.text.as_str()), (2, "speed 9"));
        assert!(Script::parse("seed four\n").is_err());
    }
}
