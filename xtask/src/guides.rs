//! The guides to the checks, tried: every command of a `sh` block runs, with its budget cut to seconds, or is one that a step
//! of `verify` runs; every command of a CI job is one that there is. It must not know what a guide says beyond its commands.

use clap::Parser;

use super::verify::SHOWN_MUTANT;
use super::{Arguments, Chore, run, workspace_root};

const GUIDES: [&str; 3] = ["model-checking.md", "simulation.md", "fuzzing.md"];

/// The lines of a guide that call a chore: in `sh` blocks, and as `run:` in `yaml` blocks.
fn commands(text: &str) -> (Vec<Chore>, Vec<Chore>) {
    let (mut shell, mut jobs) = (Vec::new(), Vec::new());
    let mut language = "";
    for line in text.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            language = fence;
            continue;
        }
        let (list, line) = match language {
            "sh" => (&mut shell, Some(line)),
            "yaml" => (&mut jobs, line.trim().strip_prefix("- run: ")),
            _ => continue,
        };
        let Some(line) = line.and_then(|line| line.split('#').next()).filter(|line| !line.is_empty()) else {
            continue;
        };
        let words = line.strip_prefix("cargo ").unwrap_or_else(|| panic!("no chore: {line}"));
        let parsed = Arguments::try_parse_from(words.split_whitespace());
        list.push(parsed.unwrap_or_else(|error| panic!("{line}: {error}")).chore);
    }
    (shell, jobs)
}

/// The same in seconds; `None` for what only a step of `verify` can run.
fn cut(chore: Chore) -> Option<Chore> {
    match chore {
        // It measures, which no test may judge.
        Chore::Sim { core: true, .. } => None,
        Chore::Sim { from, seed, script, trace, core, .. } => {
            Some(Chore::Sim { seeds: Some(2), from, seed, script, trace, core })
        }
        // It builds a copy of the sources, which the step `mutants` has at hand: that one shows it.
        Chore::Mutant { id, .. } if id == SHOWN_MUTANT => None,
        // It needs a toolchain of its own, and the step `fuzz` does the same.
        Chore::Fuzz { .. } => None,
        chore => Some(chore),
    }
}

#[test]
fn every_command_of_the_guides_works() {
    let root = workspace_root();
    let (mut ran, mut known) = (0, 0);
    for guide in GUIDES {
        let text = std::fs::read_to_string(root.join("docs/guides").join(guide)).expect("the guide");
        let (shell, jobs) = commands(&text);
        assert!(!shell.is_empty(), "{guide} shows no command");
        known += shell.len() + jobs.len();
        for chore in shell.into_iter().filter_map(cut) {
            run(&root, chore).unwrap_or_else(|error| panic!("{guide}: {error:#}"));
            ran += 1;
        }
    }
    assert!(ran >= 3 && known >= 12, "the commands were found: {ran} of {known} ran");
}
