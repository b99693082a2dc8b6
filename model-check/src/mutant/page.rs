//! The page about the mutants, made from the table and from what was measured last. What was measured is kept in the page
//! itself and nowhere else, so that text and table cannot part without a test that says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::mutant::{Layer, MUTANTS, Mutant, Verdict};

/// Where the page is, from the workspace's root.
#[must_use]
pub fn path(root: &Path) -> PathBuf {
    root.join("docs/reference/mutants.md")
}

/// What each layer has shown of one mutant, as the page says it; empty where it did not catch it.
pub type Shown = BTreeMap<Layer, String>;

const LAYERS: [Layer; 4] = [Layer::Model, Layer::Simulation, Layer::Scripts, Layer::Storage];

const INTRODUCTION: &str = "# Mutants

Each is a slip in one place of the shipped sources that a good engineer could make. A check that misses one has a hole, so
`cargo xtask mutants` puts each into a copy of the sources and asks the probe of the table to catch it; CI does so on
every change. `cargo xtask mutant ID` shows one die, with a script to step through (`--step`); `cargo xtask mutants
--write` asks the other layers too and writes this page.

- model: the bounded search that broke, the events of its shortest counterexample (`whole` if what had to be possible was
  not found in a complete search), and the time.
- simulation: the seed that broke, and the time. Of the mutants of core and storage only a few seeds were asked.
- scripts, storage scripts: the first golden script of the core (`consensus/tests/scripts/`), of log and snapshots
  (`cluster/tests/storage_scripts/`), that answers otherwise.

| mutant | stands for | the slip | in | model | simulation | scripts | storage scripts |
|---|---|---|---|---|---|---|---|
";

/// The page.
#[must_use]
pub fn page(shown: &BTreeMap<String, Shown>) -> String {
    let mut text = INTRODUCTION.to_owned();
    let (mut exhaustive, mut scripts) = (0, 0);
    for mutant in MUTANTS.iter() {
        let nothing = Shown::new();
        let shown = shown.get(mutant.id).unwrap_or(&nothing);
        let by = |layer| shown.get(&layer).map_or("", String::as_str);
        exhaustive += usize::from(!by(Layer::Model).is_empty() || !by(Layer::Simulation).is_empty());
        scripts += usize::from(!by(Layer::Scripts).is_empty() || !by(Layer::Storage).is_empty());
        text += &format!("| `{}` | {} |", mutant.id, words(mutant).join(" | "));
        for layer in LAYERS {
            text += &format!(" {} |", by(layer));
        }
        text.push('\n');
    }
    let all = MUTANTS.len();
    text += &format!(
        "\n{all} mutants: {exhaustive} caught by model or simulation, {scripts} by golden scripts.\n"
    );
    text
}

/// What the table says of a mutant.
fn words(mutant: &Mutant) -> [String; 3] {
    [mutant.stands_for.to_owned(), mutant.slip.to_owned(), format!("`{}`", mutant.file)]
}

/// What a page says was measured, by mutant.
#[must_use]
pub fn measured(page: &str) -> BTreeMap<String, Shown> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let id = cells.first()?.trim_end_matches('`').to_owned();
        let of = |(layer, cell): (Layer, &&str)| (!cell.is_empty()).then(|| (layer, (*cell).to_owned()));
        Some((id, LAYERS.into_iter().zip(cells.get(4..8)?).filter_map(of).collect()))
    })
    .collect()
}

/// What a page must say after these verdicts.
#[must_use]
pub fn with(page: &str, verdicts: &[Verdict]) -> BTreeMap<String, Shown> {
    let mut shown = measured(page);
    for verdict in verdicts {
        let of_one = verdict.deaths.iter().map(|death| {
            let seconds = death.elapsed.as_secs_f64();
            let text = match death.by {
                Layer::Scripts | Layer::Storage => format!("`{}`", death.at),
                _ => format!("{}, {seconds:.1} s", death.at),
            };
            (death.by, text)
        });
        shown.insert(verdict.mutant.id.to_owned(), of_one.collect());
    }
    shown
}
