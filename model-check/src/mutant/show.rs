//! One mutant shown die: the slip as a difference, what broke, and a script that leads there and can be stepped through.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mutant::{
    CHOICE, Choice, MUTANTS, Mutant, MutantError, Verdict, build, copy, judge, start, table,
};

/// What a mutant's probe is, and so what shows it die.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A bounded search, or the golden scripts of the core.
    Core,
    /// The golden scripts of log and snapshots.
    Storage,
    /// A seed of the simulation.
    Seed,
}

impl Way {
    fn of(mutant: &Mutant) -> Self {
        match mutant.probe {
            ["model", ..] => Self::Core,
            probe if probe == table::STORAGE => Self::Storage,
            _ => Self::Seed,
        }
    }

    /// The program, and the words before the file, that run a script.
    fn words(self) -> [&'static str; 2] {
        match self {
            Self::Core => ["model", "script"],
            Self::Storage => ["sim", "storage-script"],
            Self::Seed => ["sim", "--script"],
        }
    }
}

/// Puts one mutant into the copy, shows it die, and leaves the script that shows it in `target/mutants/ID.txt`. With `step`
/// that script is then run piece by piece, the next one at each line of input.
///
/// # Errors
/// The table does not fit the sources, the copy does not build, or a probe says nothing.
pub fn show(root: &Path, id: &str, step: bool) -> Result<Verdict, MutantError> {
    let numbered = MUTANTS.iter().enumerate().find(|(_, mutant)| Choice::One(id.to_owned()).covers(mutant));
    let (choice, mutant) = numbered.map(|(at, mutant)| (at + 1, mutant)).ok_or(MutantError::NoneChosen)?;
    let way = Way::of(mutant);
    println!("{}: {}\n\n{}", mutant.id, mutant.slip, difference(root, mutant)?);
    println!("stands for {}\n", mutant.stands_for);
    let binaries = build(root, false)?;
    let verdict = judge(&binaries, choice, mutant, false)?;
    println!("{verdict}");
    let Some(death) = verdict.deaths.first() else { return Ok(verdict) };
    println!("probe: {}\n", mutant.probe.join(" "));
    let script = match way {
        Way::Seed => shrunk(&binaries, choice, &death.at)?,
        Way::Core => counterexample(root, &binaries, choice, mutant)?,
        Way::Storage => golden(root, &binaries, choice, mutant, way)?,
    };
    let file = root.join("target/mutants").join(format!("{id}.txt"));
    std::fs::write(&file, &script)
        .map_err(|source| MutantError::Start { what: file.display().to_string(), source })?;
    if step {
        step_through(&binaries, choice, way, &file)?;
    } else {
        println!("{}", script);
        println!("this is {}; `cargo xtask mutant {id} --step` goes through it step by step", file.display());
    }
    if way != Way::Seed {
        let [program, command] = way.words();
        let (_, shipped, _) = start(&binaries, 0, &[program, command, &file.display().to_string()])?;
        println!("{}", against_the_shipped(&script, &shipped));
    }
    Ok(verdict)
}

/// The lines that the slip changes, as a difference.
fn difference(root: &Path, mutant: &Mutant) -> Result<String, MutantError> {
    let source = copy::text(&root.join(mutant.file))?;
    let (from, to) = copy::place(&source, mutant)?;
    let line = source.get(..from).map_or(0, |before| before.lines().count().max(1));
    let right = source.get(from..to).unwrap_or_default();
    Ok(format!("{}:{line}\n- {right}\n+ {}", mutant.file, mutant.wrong))
}

/// The counterexample of the model; where there is none, because something never happens, the first golden script that
/// answers otherwise.
fn counterexample(
    root: &Path,
    binaries: &Path,
    choice: usize,
    mutant: &Mutant,
) -> Result<String, MutantError> {
    let (_, text, _) = start(binaries, choice, mutant.probe)?;
    if let Some((_, script)) = text.split_once("as a golden script:\n\n") {
        let script: Vec<&str> = script.lines().take_while(|line| !line.starts_with("model: ")).collect();
        let stands_for = mutant.stands_for;
        return Ok(format!("# {}: {} ({stands_for}).\n{}\n", mutant.id, mutant.slip, script.join("\n")));
    }
    golden(root, binaries, choice, mutant, Way::Core)
}

/// The first golden script that answers otherwise, with these answers.
fn golden(
    root: &Path,
    binaries: &Path,
    choice: usize,
    mutant: &Mutant,
    way: Way,
) -> Result<String, MutantError> {
    let (probe, folder) = match way {
        Way::Storage => (table::STORAGE, "cluster/tests/storage_scripts"),
        _ => (table::SCRIPTS, "consensus/tests/scripts"),
    };
    let (_, text, _) = start(binaries, choice, probe)?;
    let name = text.lines().find_map(|line| line.strip_prefix("BROKEN: ")?.split([' ', ':']).next());
    let name = name.ok_or_else(|| MutantError::Probe { id: mutant.id, code: None, text: text.clone() })?;
    let file: PathBuf = root.join(folder).join(name);
    let [program, command] = way.words();
    let (_, answered, _) = start(binaries, choice, &[program, command, &file.display().to_string()])?;
    Ok(answered)
}

/// The smallest script of the simulation that fails as this seed did.
fn shrunk(binaries: &Path, choice: usize, seed: &str) -> Result<String, MutantError> {
    let number = seed.trim_start_matches("seed ");
    let (_, text, _) = start(binaries, choice, &["sim", "--seed", number])?;
    let script =
        text.split_once("model-check/tests/sim_scripts:\n").map_or(text.as_str(), |(_, script)| script);
    Ok(script.to_owned())
}

fn step_through(binaries: &Path, choice: usize, way: Way, file: &Path) -> Result<(), MutantError> {
    let [program, command] = way.words();
    let mut running = Command::new(binaries.join(copy::name(program)));
    running.arg(command).arg(file).args((way == Way::Seed).then_some("--trace")).arg("--step");
    let ended = running.env(CHOICE, choice.to_string()).status();
    ended.map(|_| ()).map_err(|source| MutantError::Start { what: program.to_owned(), source })
}

/// Where what is shipped first answers otherwise.
fn against_the_shipped(script: &str, shipped: &str) -> String {
    let differs = script.lines().zip(shipped.lines()).zip(1..).find(|((wrong, right), _)| wrong != right);
    match differs {
        Some(((wrong, right), line)) => format!(
            "line {line}: with the slip {wrong:?}\n{:width$} as shipped {right:?}",
            "",
            width = format!("line {line}:").len()
        ),
        None => "what is shipped answers the same until here".to_owned(),
    }
}
