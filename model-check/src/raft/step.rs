//! Why the bounds of a configuration are as large as they are: with any of them a step lower, a mutant survives that dies
//! within them; only one of each configuration may stand a step above that. This is the table and what was shown of it last; it
//! searches nothing.

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

impl Step {
    /// Configuration and bound.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.configuration, self.lower)
    }
}

const fn step(configuration: &'static str, lower: &'static str, mutant: &'static str) -> Step {
    Step { configuration, lower, mutant }
}

/// Every bound that a mutant needs, by configuration in their order. Most are of mutants whose probe it is.
pub const STEPS: &[Step] = &[
    step("elections", "terms=2", "longer-log-wins"),
    step("replication", "terms=3", "commit-any-term"),
    step("unreachable", "terms=2", "commit-own-end"),
    step("unreachable", "unreachable=0", "commit-own-end"),
    step("crash", "crashes=0", "vote-before-durable"),
    step("crash", "separate=false", "ack-before-durable"),
    step("reorder", "terms=1", "term-without-stepping-down"),
    step("reorder", "proposals=0", "term-without-stepping-down"),
    step("duplication", "terms=2", "vote-starts-anew"),
    step("duplication", "inflight=1", "vote-starts-anew"),
    step("duplication", "reads=0", "vote-starts-anew"),
    step("duplication", "duplicates=0", "vote-starts-anew"),
    step("pre-vote", "terms=1", "stale-pre-votes-count"),
    step("pre-vote", "inflight=1", "stale-pre-votes-count"),
    step("pre-vote", "pre_vote=false", "pre-vote-asks-for-votes"),
    step("missing", "terms=1", "missing-goes-anywhere"),
    step("missing", "inflight=1", "missing-goes-anywhere"),
    step("missing", "proposals=0", "term-without-stepping-down"),
    step("missing", "pre_vote=false", "missing-goes-anywhere"),
    step("check-quorum", "separate=false", "stalled-disk-leads"),
    step("check-quorum", "check_quorum=false", "leader-without-quorum-stays"),
    step("snapshot", "terms=1", "snapshot-before-durable"),
    step("snapshot", "snapshots=0", "snapshot-before-durable"),
    step("snapshot", "separate=false", "snapshot-before-durable"),
    step("snapshot-race", "terms=1", "install-over-newer"),
    step("snapshot-race", "inflight=1", "install-over-newer"),
    step("snapshot-race", "snapshots=0", "install-over-newer"),
    step("read", "terms=1", "read-before-commit"),
    step("read", "inflight=1", "read-any-answer"),
    step("read", "reads=1", "read-round-reused"),
    step("joint", "terms=1", "configuration-stays"),
    step("joint", "changes=1", "two-changes"),
    step("replace-leader", "terms=2", "removed-never-campaigns"),
    step("replace-leader", "inflight=1", "removed-never-campaigns"),
    step("replace-leader", "changes=0", "removed-leader-stays"),
    step("lost-disk", "terms=1", "stranger-acknowledges"),
    step("lost-disk", "wipes=0", "incarnation-ignored"),
    step("transfer", "proposals=0", "proposals-during-transfer"),
    step("transfer", "transfers=0", "told-before-durable"),
    step("follower-read", "proposals=0", "any-ticket"),
    step("follower-read", "reads=1", "any-ticket"),
    step("follower-read", "crashes=0", "ticket-without-life"),
    step("lease", "terms=1", "commits-beside-a-lease"),
    step("lease", "reads=0", "commits-beside-a-lease"),
    step("lease-transfer", "reads=0", "lease-over-transfer"),
    step("lease-transfer", "transfers=0", "lease-over-transfer"),
    step("lease-transfer", "lease=0", "lease-over-transfer"),
    step("gather", "terms=1", "votes-gathered"),
    step("gather", "separate=false", "votes-gathered"),
    step("pair", "terms=2", "solicit-before-durable"),
    step("pair", "inflight=1", "solicit-before-durable"),
    step("pair", "crashes=0", "solicit-before-durable"),
    step("pair", "separate=false", "solicit-before-durable"),
    step("sessions", "proposals=3", "acknowledged-runs-again"),
    step("recovery-epoch", "terms=2", "older-epoch-heard"),
    step("recovery-epoch", "recoveries=0", "older-epoch-heard"),
    step("linearizability", "terms=1", "read-before-commit"),
    step("linearizability", "proposals=0", "accepted-one-before"),
    step("linearizability", "reads=0", "accepted-one-before"),
    step("linearizability-pair", "terms=1", "read-before-commit"),
    step("linearizability-pair", "proposals=0", "accepted-one-before"),
    step("linearizability-pair", "reads=0", "accepted-one-before"),
];

/// The one step beyond: in these configurations a single bound stands one step above what the mutants need. The others have
/// none.
pub const BEYOND: &[(&str, &str)] = &[
    ("elections", "inflight=1"),
    ("crash", "terms=2"),
    ("reorder", "inflight=1"),
    ("check-quorum", "terms=1"),
    ("snapshot", "crashes=0"),
    ("transfer", "terms=1"),
    ("follower-read", "terms=1"),
    ("lease", "lease=1"),
    ("lease-transfer", "terms=1"),
    ("gather", "proposals=0"),
    ("sessions", "terms=1"),
    ("linearizability-pair", "inflight=1"),
];

/// What was shown last, by [configuration and bound](Step::title): how the mutant dies within the bounds, and what it survives below them.
pub type Shown = BTreeMap<String, [String; 2]>;

const INTRODUCTION: &str = "
## One step less

No bound can be lowered by one step without losing a mutant: with the bound of this table one step lower, the mutant beside it
survives the whole search that kills it otherwise. `cargo xtask mutants --steps` shows that. Most searches go one step beyond, in one
bound only: no mutant needs it. (Entries of a message are no such bound, as fewer make more messages. Where a
mutant dies as something rare is never seen, it survives if it leaves no more unseen than those bounds do anyway.) It showed last:

| configuration | one step less | mutant | within the bounds it | one step less it |
|---|---|---|---|---|
";

/// The part of the page about the model.
pub(super) fn section(shown: &Shown) -> String {
    let mut text = INTRODUCTION.to_owned();
    for step in STEPS {
        let Step { configuration, lower, mutant } = step;
        let nothing = Default::default();
        let [dies, survives] = shown.get(&step.title()).unwrap_or(&nothing);
        let _ = writeln!(text, "| {configuration} | {lower} | `{mutant}` | {dies} | {survives} |");
    }
    let beyond: Vec<String> = BEYOND.iter().map(|(name, lower)| format!("{name} ({lower})")).collect();
    let _ =
        writeln!(text, "\nOne step beyond what its mutants need, and what they need: {}.", beyond.join(", "));
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
        let known = STEPS.iter().find(|step| {
            (step.configuration, step.lower, step.mutant)
                == (*configuration, *lower, mutant.trim_matches('`'))
        });
        let shown = [dies, survives].map(|cell| (*cell).to_owned());
        known.filter(|_| !dies.is_empty()).map(|step| (step.title(), shown))
    });
    rows.collect()
}
