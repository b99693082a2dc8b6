//! Why the bounds of a configuration are as large as they are: with one of them a step lower, a mutant survives that dies
//! within them. This is the table and what was shown of it last; it searches nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

/// One bound of a configuration, and for whom it is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The configuration.
    pub configuration: &'static str,
    /// The bound without the step, as it is set by hand.
    pub lower: &'static str,
    /// The mutant that survives then.
    pub mutant: &'static str,
}

const fn step(configuration: &'static str, lower: &'static str, mutant: &'static str) -> Step {
    Step { configuration, lower, mutant }
}

/// One for each configuration, in their order. Most are of mutants whose probe it is.
pub const STEPS: &[Step] = &[
    step("elections", "terms=2", "longer-log-wins"),
    step("replication", "terms=3", "commit-any-term"),
    step("unreachable", "terms=2", "commit-own-end"),
    step("crash", "crashes=0", "vote-before-durable"),
    step("reorder", "proposals=0", "term-without-stepping-down"),
    step("pre-vote", "pre_vote=false", "pre-vote-asks-for-votes"),
    step("check-quorum", "check_quorum=false", "leader-without-quorum-stays"),
    step("snapshot", "snapshots=0", "snapshot-before-durable"),
    step("snapshot-race", "inflight=1", "install-over-newer"),
    step("read", "reads=1", "read-round-reused"),
    step("joint", "changes=1", "two-changes"),
    step("replace-leader", "changes=0", "removed-leader-stays"),
    step("lost-disk", "wipes=0", "incarnation-ignored"),
    step("transfer", "proposals=0", "proposals-during-transfer"),
    step("follower-read", "crashes=0", "ticket-without-life"),
    step("lease", "terms=1", "commits-beside-a-lease"),
    step("lease-transfer", "reads=0", "lease-over-transfer"),
    step("gather", "terms=1", "votes-gathered"),
    step("pair", "terms=2", "solicit-before-durable"),
    step("sessions", "proposals=3", "acknowledged-runs-again"),
    step("recovery-epoch", "terms=2", "older-epoch-heard"),
    step("linearizability", "terms=1", "read-before-commit"),
];

/// What was shown last, by configuration: how the mutant dies within the bounds, and what it survives below them.
pub type Shown = BTreeMap<String, [String; 2]>;

const INTRODUCTION: &str = "
## One step less

With the bound of this table one step lower, the mutant beside it survives the whole search that kills it otherwise.
`cargo xtask mutants --steps` shows that; it showed last:

| configuration | one step less | mutant | within the bounds it | one step less it |
|---|---|---|---|---|
";

/// The part of the page about the model.
pub(super) fn section(shown: &Shown) -> String {
    let mut text = INTRODUCTION.to_owned();
    for Step { configuration, lower, mutant } in STEPS {
        let nothing = Default::default();
        let [dies, survives] = shown.get(*configuration).unwrap_or(&nothing);
        let _ = writeln!(text, "| {configuration} | {lower} | `{mutant}` | {dies} | {survives} |");
    }
    text
}

/// What a page says was shown, of steps that are still those of the table.
#[must_use]
pub fn shown(page: &str) -> Shown {
    let (_, text) = page.split_once("## One step less").unwrap_or_default();
    let (text, _) = text.split_once("\n## ").unwrap_or((text, ""));
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")).filter_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [configuration, lower, mutant, dies, survives, ..] = cells.as_slice() else { return None };
        let known = STEPS.iter().any(|step| {
            (step.configuration, step.lower, step.mutant)
                == (*configuration, *lower, mutant.trim_matches('`'))
        });
        let shown = [dies, survives].map(|cell| (*cell).to_owned());
        (known && !dies.is_empty()).then(|| ((*configuration).to_owned(), shown))
    });
    rows.collect()
}
