//! One mutant shown die: the slip as a difference, what broke, and a script that leads there and can be stepped through.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mutant::{
    CHOICE, Choice, MUTANTS, Mutant, MutantError, Verdict, build, copy, judge, start, table,
};

/// Puts one mutant into the copy, shows it die, and leaves the script that shows it in `target/mutants/ID.txt`. With `step`
/// that script is then run piece by piece, the next one at each line of input.
///
/// # Errors
/// The table does not fit the sources, the copy does not build, or a probe says nothing.
pub fn show(root: &Path, id: &str, step: bool) -> Result<Verdict, MutantError> {
    let numbered = MUTANTS.iter().enumerate().find(|(_, mutant)| Choice::One(id.to_owned()).covers(mutant));
    let (choice, mutant) = numbered.map(|(at, mutant)| (at + 1, mutant)).ok_or(MutantError::NoneChosen)?;
    let simulated = mutant.probe.first() == Some(&"sim");
    println!("{}: {}\n\n{}", mutant.id, mutant.slip, difference(root, mutant)?);
    println!("stands for {}\n", mutant.stands_for);
    let binaries = build(root, !simulated)?;
    let verdict = judge(&binaries, choice, mutant, false)?;
    println!("{verdict}");
    let Some(death) = verdict.deaths.first() else { return Ok(verdict) };
    println!("probe: {}\n", mutant.probe.join(" "));
    let script = match simulated {
        true => shrunk(&binaries, choice, &death.at)?,
        false => counterexample(root, &binaries, choice, mutant)?,
    };
    let file = root.join("target/mutants").join(format!("{id}.txt"));
    std::fs::write(&file, &script)
        .map_err(|source| MutantError::Start { what: file.display().to_string(), source })?;
    if step {
        step_through(&binaries, choice, simulated, &file)?;
    } else {
        println!("{}", script);
        println!("this is {}; `cargo xtask mutant {id} --step` goes through it step by step", file.display());
    }
    if !simulated {
        let (_, shipped, _) = start(&binaries, 0, &["model", "script", &file.display().to_string()])?;
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
    let (_, text, _) = start(binaries, choice, table::SCRIPTS)?;
    let name = text.lines().find_map(|line| line.strip_prefix("BROKEN: ")?.split([' ', ':']).next());
    let name = name.ok_or_else(|| MutantError::Probe { id: mutant.id, code: None, text: text.clone() })?;
    let file: PathBuf = root.join("consensus/tests/scripts").join(name);
    let (_, answered, _) = start(binaries, choice, &["model", "script", &file.display().to_string()])?;
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

fn step_through(binaries: &Path, choice: usize, simulated: bool, file: &Path) -> Result<(), MutantError> {
    let what = if simulated { "sim" } else { "model" };
    let mut command = Command::new(binaries.join(what));
    match simulated {
        true => command.arg("--script").arg(file).args(["--trace", "--step"]),
        false => command.arg("script").arg(file).arg("--step"),
    };
    let ended = command.env(CHOICE, choice.to_string()).status();
    ended.map(|_| ()).map_err(|source| MutantError::Start { what: what.to_owned(), source })
}

/// Where the shipped core first answers otherwise.
fn against_the_shipped(script: &str, shipped: &str) -> String {
    let differs = script.lines().zip(shipped.lines()).zip(1..).find(|((wrong, right), _)| wrong != right);
    match differs {
        Some(((wrong, right), line)) => format!(
            "line {line}: with the slip {wrong:?}\n{:width$} as shipped {right:?}",
            "",
            width = format!("line {line}:").len()
        ),
        None => "the shipped core answers the same until here".to_owned(),
    }
}
