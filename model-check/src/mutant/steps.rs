//! Shows for each configuration of the model that its bounds are needed: the mutant of its [step](STEPS) dies within them, and
//! survives the complete search of the same with the step left out.

use std::path::Path;

use crate::mutant::{MUTANTS, MutantError, build, control, probe, start, table};
use crate::raft::step::{STEPS, Shown};

/// Asks about every step, or that of one configuration. `report` is told of each; says what was shown, and whether all was as
/// it should be.
///
/// # Errors
/// The copy with mutants does not build, a probe says nothing, or there is no such step.
pub fn steps(
    root: &Path,
    only: Option<&str>,
    mut report: impl FnMut(&str),
) -> Result<(Shown, bool), MutantError> {
    let chosen = STEPS.iter().filter(|step| only.is_none_or(|only| step.configuration == only));
    let numbered = chosen.map(|step| {
        let found = MUTANTS.iter().enumerate().find(|(_, mutant)| mutant.id == step.mutant);
        found.map(|(at, mutant)| (step, at + 1, mutant)).ok_or(MutantError::NoneChosen)
    });
    let numbered: Vec<_> = numbered.collect::<Result<_, _>>()?;
    if numbered.is_empty() {
        return Err(MutantError::NoneChosen);
    }
    let binaries = build(root, true)?;
    control(&binaries, table::MODEL_CONTROL)?;
    let (mut shown, mut right) = (Shown::new(), true);
    for (step, choice, mutant) in numbered {
        let own = mutant.probe.last() == Some(&step.configuration);
        let words = if own { mutant.probe } else { &["model", "harm", step.configuration] };
        let death = probe(&binaries, choice, mutant, words)?;
        // A whole search that has not seen what it must has no number of events.
        let events = |at: &str| Some(at.rsplit_once(", ")?.1.to_owned()).filter(|events| events != "whole");
        let after = |at: &str| events(at).map_or_else(String::new, |events| format!(" after {events}"));
        let dies = death.map(|death| after(&death.at));
        let words: Vec<&str> = words.iter().copied().chain([step.lower]).collect();
        let survives = survived(&binaries, choice, &words)?;
        right &= dies.is_some() && survives.is_some();
        let cells = [
            dies.map_or("SURVIVES".to_owned(), |after| format!("dies{after}")),
            survives.map_or("DIES".to_owned(), |states| format!("survives {states} states")),
        ];
        let [within, below] = &cells;
        report(&format!(
            "{:<16} {} {within}; with {} it {below}",
            step.configuration, step.mutant, step.lower
        ));
        shown.insert(step.title(), cells);
    }
    Ok((shown, right))
}

/// The states of a whole search that a mutant survives: nothing breaks, and it leaves no more unseen than the code without it
/// does within the same bounds.
fn survived(binaries: &Path, choice: usize, words: &[&str]) -> Result<Option<String>, MutantError> {
    let broken = |choice| -> Result<(bool, String, Vec<String>), MutantError> {
        let (code, text, _) = start(binaries, choice, words)?;
        let broken =
            text.lines().filter(|line| line.trim().starts_with("BROKEN")).map(str::to_owned).collect();
        Ok((code == Some(0), text, broken))
    };
    let (whole, text, of_mutant) = broken(choice)?;
    let states = text.lines().find_map(|line| line.strip_prefix("model: 1 configurations, "));
    let states = states.and_then(|rest| rest.split(' ').next()).unwrap_or("?").to_owned();
    if whole {
        return Ok(Some(states));
    }
    let unseen = of_mutant.iter().all(|line| line.starts_with("BROKEN: never seen"));
    let as_without = unseen && !of_mutant.is_empty() && broken(0)?.2 == of_mutant;
    Ok(as_without.then_some(states))
}
