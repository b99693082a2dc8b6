//! Mutants: one-place slips that a good engineer could make, each of which some check must catch.
//!
//! The table names them; this builds a copy of the sources in which every one is present behind a choice made when
//! the process starts, so that one build serves all probes. The shipped sources know nothing of it.

mod copy;
pub mod page;
mod show;
#[cfg(not(ravelin_loom))]
mod steps;
mod table;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub use copy::{CopyError, weave};
pub use show::show;
#[cfg(not(ravelin_loom))]
pub use steps::steps;
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
    /// Those of the consensus core that its model or its scripts must catch: only these need to be built.
    Core,
    /// The one of this id.
    One(String),
}

impl Choice {
    fn covers(&self, mutant: &Mutant) -> bool {
        match self {
            Choice::All => true,
            Choice::Core => mutant.is_of_the_core() && mutant.probe.first() == Some(&"model"),
            Choice::One(id) => mutant.id == id,
        }
    }
}

impl Mutant {
    fn is_of_the_core(&self) -> bool {
        self.file.starts_with("consensus/")
    }

    /// Besides its own probe, the layers that may catch it too.
    fn further_probes(&self) -> &'static [&'static [&'static str]] {
        if self.is_of_the_core() {
            &[table::SCRIPTS, table::SHORT_SIMULATION]
        } else if self.file.starts_with("cluster/src/storage/") {
            &[table::SHORT_SIMULATION]
        } else {
            &[]
        }
    }
}

/// One kind of check.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Layer {
    /// The bounded exhaustive searches.
    Model,
    /// The whole-cluster simulation.
    Simulation,
    /// The golden scripts of the core.
    Scripts,
    /// The golden scripts of log and snapshots.
    Storage,
}

/// How a layer caught a mutant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Death {
    /// By which layer.
    pub by: Layer,
    /// The layer's own words for where: a configuration and how many events, a seed, a script.
    pub at: String,
    /// What is broken.
    pub what: String,
    /// How long that took.
    pub elapsed: Duration,
}

/// What became of one mutant.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Which.
    pub mutant: Mutant,
    /// Everything that caught it; nothing if it survived.
    pub deaths: Vec<Death>,
    /// How long all its probes took.
    pub elapsed: Duration,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { mutant, deaths, elapsed } = self;
        let seconds = elapsed.as_secs_f64();
        match deaths.first() {
            Some(Death { what, at, .. }) => {
                write!(f, "{:<28} caught   {seconds:5.1} s  {what} ({at})", mutant.id)
            }
            None => write!(f, "{:<28} SURVIVED {seconds:5.1} s", mutant.id),
        }
    }
}

/// Builds the copy and probes every chosen mutant, after the unmutated copy has passed the control probe. With
/// `every_layer` not only the probe of the table is asked. `report` is told of each verdict as it comes.
///
/// # Errors
/// The table does not fit the sources, the copy does not build, or a probe neither held nor named what is broken.
pub fn run(
    root: &Path,
    choice: &Choice,
    every_layer: bool,
    mut report: impl FnMut(&Verdict),
) -> Result<Vec<Verdict>, MutantError> {
    let numbered = MUTANTS.iter().enumerate().map(|(at, mutant)| (at + 1, mutant));
    let chosen: Vec<(usize, &Mutant)> = numbered.filter(|(_, mutant)| choice.covers(mutant)).collect();
    if chosen.is_empty() {
        return Err(MutantError::NoneChosen);
    }
    let core_only = !every_layer && chosen.iter().all(|(_, mutant)| mutant.probe.first() == Some(&"model"));
    let binaries = build(root, core_only)?;
    let cluster = [table::STORAGE, table::SIMULATION_CONTROL];
    for words in [table::MODEL_CONTROL, table::SCRIPTS].iter().chain(cluster.iter().filter(|_| !core_only)) {
        control(&binaries, words)?;
    }
    let mut verdicts = Vec::new();
    for (choice, mutant) in chosen {
        let verdict = judge(&binaries, choice, mutant, every_layer)?;
        report(&verdict);
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

/// Writes the copy with all mutants woven in and builds it. Returns the folder of its binaries.
///
/// What the copy depends on is what the workspace does, built with the same flags in the same folder: only its own crates
/// are built anew.
fn build(root: &Path, core_only: bool) -> Result<PathBuf, MutantError> {
    let target = root.join("target");
    let home = target.join("mutants");
    copy::write(root, &home, &MUTANTS.iter().collect::<Vec<_>>())?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&home).args(["build", "--quiet", "--offline", "-p", "ravelin-model-check", "--bins"]);
    cargo.arg("--target-dir").arg(&target);
    if core_only {
        cargo.arg("--no-default-features");
    }
    let output = cargo.output().map_err(|source| MutantError::Start { what: "cargo".to_owned(), source })?;
    if output.status.success() {
        Ok(target.join("debug"))
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
    let output = Command::new(binaries.join(copy::name(binary)))
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

/// Asks the probe of the table, and with `every_layer` the other layers that may catch it too.
fn judge(binaries: &Path, choice: usize, mutant: &Mutant, every_layer: bool) -> Result<Verdict, MutantError> {
    let more = if every_layer { mutant.further_probes() } else { &[] };
    let begun = Instant::now();
    let mut deaths = Vec::new();
    for words in [mutant.probe].into_iter().chain(more.iter().copied()) {
        deaths.extend(probe(binaries, choice, mutant, words)?);
    }
    Ok(Verdict { mutant: *mutant, deaths, elapsed: begun.elapsed() })
}

/// Runs one probe; `None` if nothing broke.
fn probe(
    binaries: &Path,
    choice: usize,
    mutant: &Mutant,
    words: &[&str],
) -> Result<Option<Death>, MutantError> {
    let (code, text, elapsed) = start(binaries, choice, words)?;
    let broken = text.lines().find_map(|line| line.trim().strip_prefix("BROKEN"));
    let broken = broken.map(|line| line.trim_start_matches([':', ' ']).to_owned());
    match (code, broken) {
        (Some(0), None) => Ok(None),
        (Some(1), Some(broken)) => {
            let death = death(words, &text, broken, elapsed);
            if let Some(seed) = death.at.strip_prefix("seed ") {
                control(binaries, &["sim", "--seed", seed, "--probe"])?;
            }
            Ok(Some(death))
        }
        _ => Err(MutantError::Probe { id: mutant.id, code, text }),
    }
}

/// Reads out of what a probe printed where it found what is broken.
fn death(words: &[&str], text: &str, broken: String, elapsed: Duration) -> Death {
    let (by, at, what) = match words {
        [_, "scripts" | "storage-scripts"] => {
            let (name, what) = broken.split_once(' ').unwrap_or((&broken, ""));
            let layer = if words == table::STORAGE { Layer::Storage } else { Layer::Scripts };
            (layer, name.trim_end_matches(':').to_owned(), what.to_owned())
        }
        ["model", .., configuration] => {
            let events = text.lines().find_map(|line| line.trim().strip_prefix("after ")?.split(',').next());
            let at = events.map(|events| format!("{configuration}, {events}"));
            (Layer::Model, at.unwrap_or_else(|| format!("{configuration}, whole")), broken)
        }
        _ => {
            let (seed, what) = broken.split_once(": ").unwrap_or((&broken, ""));
            (Layer::Simulation, seed.to_owned(), what.to_owned())
        }
    };
    Death { by, at, what, elapsed }
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
