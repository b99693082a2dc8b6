//! Mutants: one-place slips that a good engineer could make, each of which some check must catch.
//!
//! The table names them; this builds a copy of the sources in which every one is present behind a choice made when
//! the process starts, so that one build serves all probes. The shipped sources know nothing of it.

mod copy;
mod table;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub use copy::{CopyError, weave};
pub use table::MUTANTS;

/// Name of the environment variable that chooses a mutant, by its place in the table counted from 1.
pub const CHOICE: &str = "RAVELIN_MUTANT";

/// One slip.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mutant {
    /// Short name.
    pub id: &'static str,
    /// The invariants and bug classes that it stands for.
    pub stands_for: &'static str,
    /// What the engineer overlooked.
    pub slip: &'static str,
    /// The source file, from the workspace's root.
    pub file: &'static str,
    /// The right expression; where it needs its surroundings to be found, it stands «between these marks». The whole
    /// occurs exactly once in the file.
    pub original: &'static str,
    /// The wrong one.
    pub wrong: &'static str,
    /// What must catch it: a binary of this crate and its arguments. It must fail, and name what is broken.
    pub probe: &'static [&'static str],
}

/// Which mutants are asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Choice {
    /// All of them.
    All,
    /// Those of the consensus core, which need only it and its model to be built.
    Core,
    /// The one of this id.
    One(String),
}

impl Choice {
    fn covers(&self, mutant: &Mutant) -> bool {
        match self {
            Choice::All => true,
            Choice::Core => mutant.is_of_the_core(),
            Choice::One(id) => mutant.id == id,
        }
    }
}

impl Mutant {
    fn is_of_the_core(&self) -> bool {
        self.file.starts_with("consensus/")
    }
}

/// What became of one mutant.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Which.
    pub mutant: Mutant,
    /// The probe's first line about what is broken; `None` if it survived.
    pub broken: Option<String>,
    /// The probe's first line.
    pub summary: String,
    /// How long the probe took.
    pub elapsed: Duration,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { mutant, broken, elapsed, summary } = self;
        let seconds = elapsed.as_secs_f64();
        match broken {
            Some(broken) => write!(f, "{:<28} caught   {seconds:5.1} s  {broken}", mutant.id),
            None => write!(f, "{:<28} SURVIVED {seconds:5.1} s  {summary}", mutant.id),
        }
    }
}

/// Builds the copy and probes every chosen mutant, after the unmutated copy has passed the control probe.
/// `report` is told of each verdict as it comes.
///
/// # Errors
/// The table does not fit the sources, the copy does not build, or a probe neither held nor named what is broken.
pub fn run(
    root: &Path,
    choice: &Choice,
    mut report: impl FnMut(&Verdict),
) -> Result<Vec<Verdict>, MutantError> {
    let numbered = MUTANTS.iter().enumerate().map(|(at, mutant)| (at + 1, mutant));
    let chosen: Vec<(usize, &Mutant)> = numbered.filter(|(_, mutant)| choice.covers(mutant)).collect();
    if chosen.is_empty() {
        return Err(MutantError::NoneChosen);
    }
    let core_only = chosen.iter().all(|(_, mutant)| mutant.is_of_the_core());
    let binaries = build(root, core_only)?;
    control(&binaries, table::CONTROL)?;
    if !core_only {
        control(&binaries, table::SIMULATION_CONTROL)?;
    }
    let mut verdicts = Vec::new();
    for (choice, mutant) in chosen {
        let verdict = probe(&binaries, choice, mutant)?;
        report(&verdict);
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

/// Writes the copy with all mutants woven in and builds it. Returns the folder of its binaries.
fn build(root: &Path, core_only: bool) -> Result<PathBuf, MutantError> {
    let home = root.join("target").join("mutants");
    copy::write(root, &home, &MUTANTS.iter().collect::<Vec<_>>())?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&home).args(["build", "--quiet", "--offline", "-p", "ravelin-model-check", "--bins"]);
    cargo.arg("--target-dir").arg(home.join("target"));
    // Wrong code looks wrong to the compiler as well.
    cargo.env("RUSTFLAGS", "-Awarnings");
    if core_only {
        cargo.arg("--no-default-features");
    }
    let output = cargo.output().map_err(|source| MutantError::Start { what: "cargo".to_owned(), source })?;
    if output.status.success() {
        Ok(home.join("target").join("debug"))
    } else {
        Err(MutantError::Build(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

fn start(
    binaries: &Path,
    choice: usize,
    probe: &[&str],
) -> Result<(Option<i32>, String, Duration), MutantError> {
    let (binary, arguments) = probe.split_first().ok_or(MutantError::NoProbe)?;
    let begun = Instant::now();
    let output = Command::new(binaries.join(binary))
        .args(arguments)
        .env(CHOICE, choice.to_string())
        .output()
        .map_err(|source| MutantError::Start { what: (*binary).to_owned(), source })?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code(), text, begun.elapsed()))
}

/// Without a choice the copy must behave as the shipped code: else a caught mutant would say nothing.
fn control(binaries: &Path, probe: &[&str]) -> Result<(), MutantError> {
    let (code, text, _) = start(binaries, 0, probe)?;
    if code == Some(0) { Ok(()) } else { Err(MutantError::Control(text)) }
}

fn probe(binaries: &Path, choice: usize, mutant: &Mutant) -> Result<Verdict, MutantError> {
    let (code, text, elapsed) = start(binaries, choice, mutant.probe)?;
    let broken = text.lines().find_map(|line| line.trim().strip_prefix("BROKEN"));
    let broken = broken.map(|line| line.trim_start_matches([':', ' ']).to_owned());
    let summary = text.lines().next().unwrap_or_default().to_owned();
    match (code, &broken) {
        (Some(0), None) | (Some(1), Some(_)) => Ok(Verdict { mutant: *mutant, broken, summary, elapsed }),
        _ => Err(MutantError::Probe { id: mutant.id, code, text }),
    }
}

/// Why mutants could not be judged.
#[derive(Debug)]
pub enum MutantError {
    /// The table does not fit the sources.
    Copy(CopyError),
    /// The copy does not build.
    Build(String),
    /// A program could not be started.
    Start {
        /// Which.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// No mutant of that id.
    NoneChosen,
    /// A mutant has no probe.
    NoProbe,
    /// The unmutated copy fails its probe.
    Control(String),
    /// A probe ended in a way that says nothing.
    Probe {
        /// Of which mutant.
        id: &'static str,
        /// Its exit status.
        code: Option<i32>,
        /// What it printed.
        text: String,
    },
}

impl fmt::Display for MutantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MutantError::Copy(error) => error.fmt(f),
            MutantError::Build(text) => write!(f, "the copy with mutants does not build:\n{text}"),
            MutantError::Start { what, source } => write!(f, "{what} could not be started: {source}"),
            MutantError::NoneChosen => f.write_str("there is no such mutant"),
            MutantError::NoProbe => f.write_str("a mutant has no probe"),
            MutantError::Control(text) => write!(f, "without any mutant the probe fails:\n{text}"),
            MutantError::Probe { id, code, text } => {
                write!(f, "the probe of {id} ended with {code:?} and says nothing:\n{text}")
            }
        }
    }
}

impl std::error::Error for MutantError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            MutantError::Copy(error) => Some(error),
            MutantError::Start { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<CopyError> for MutantError {
    fn from(error: CopyError) -> Self {
        MutantError::Copy(error)
    }
}
