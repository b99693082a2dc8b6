//! Builds the sources with every mutant woven in, and shows for each what catches it.
//!
//! `mutants [core | ID]`: with `core`, only those of the consensus core. Fails if one survives. `mutants --write`: asks every
//! layer, and writes the page about them; `mutants --write ID`: takes over what the probe of one says. `mutants --show ID [--step]`: one, with a script that shows it.
//! `mutants --steps [CONFIGURATION]`: that the bounds of the model are needed.

use std::path::Path;
use std::process::ExitCode;

use ravelin_model_check::mutant::{self, Choice, MutantError, Verdict, page};
use ravelin_model_check::raft::{deep, step};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some(root) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() else { return ExitCode::from(2) };
    let told = |verdict: &Verdict| println!("{verdict}");
    let outcome = match words.as_slice() {
        [] => mutant::run(root, &Choice::All, false, told),
        ["--write"] => mutant::run(root, &Choice::All, true, told).and_then(|found| write(root, found)),
        ["--write", id] => {
            let one = Choice::One((*id).to_owned());
            mutant::run(root, &one, false, told).and_then(|found| write(root, found))
        }
        ["--steps"] => return steps(root, None),
        ["--steps", configuration] => return steps(root, Some(configuration)),
        ["--show", id] => mutant::show(root, id, false).map(|verdict| vec![verdict]),
        ["--show", id, "--step"] => mutant::show(root, id, true).map(|verdict| vec![verdict]),
        ["core"] => mutant::run(root, &Choice::Core, false, told),
        [id] => mutant::run(root, &Choice::One((*id).to_owned()), false, told),
        _ => {
            eprintln!("mutants [core | ID | --write [ID] | --show ID [--step] | --steps [CONFIGURATION]]");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(verdicts) => {
            let caught = verdicts.iter().filter(|verdict| !verdict.deaths.is_empty()).count();
            println!("mutants: {caught} of {} killed", verdicts.len());
            if caught == verdicts.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Shows that no configuration of the model can do with a step less, and takes that into the page about it.
fn steps(root: &Path, only: Option<&str>) -> ExitCode {
    let (found, right) = match mutant::steps(root, only, |line| println!("{line}")) {
        Ok(shown) => shown,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let path = deep::path(root);
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let mut shown = step::shown(&old);
    let count = found.len();
    shown.extend(found);
    let (deeper, machine) = deep::found(&old);
    if let Err(error) = std::fs::write(&path, deep::page(&deeper, &machine, &shown)) {
        eprintln!("{}: {error}", path.display());
        return ExitCode::from(2);
    }
    println!("steps: {count} bounds, {}", if right { "each needed" } else { "NOT each needed" });
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn write(root: &Path, verdicts: Vec<Verdict>) -> Result<Vec<Verdict>, MutantError> {
    let path = page::path(root);
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let written = std::fs::write(&path, page::page(&page::with(&old, &verdicts)));
    written.map_err(|source| MutantError::Start { what: path.display().to_string(), source })?;
    Ok(verdicts)
}
