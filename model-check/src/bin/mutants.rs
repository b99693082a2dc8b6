//! Builds the sources with every mutant woven in, and shows for each what catches it.
//!
//! `mutants [core | ID]`: with `core`, only those of the consensus core. Fails if one survives.

use std::path::Path;
use std::process::ExitCode;

use ravelin_model_check::mutant::{self, Choice};

fn main() -> ExitCode {
    let choice = match std::env::args().nth(1) {
        None => Choice::All,
        Some(word) if word == "core" => Choice::Core,
        Some(id) => Choice::One(id),
    };
    let Some(root) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() else { return ExitCode::from(2) };
    match mutant::run(root, &choice, |verdict| println!("{verdict}")) {
        Ok(verdicts) => {
            let caught = verdicts.iter().filter(|verdict| verdict.broken.is_some()).count();
            println!("mutants: {caught} of {} killed", verdicts.len());
            if caught == verdicts.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
