//! The invariant catalogue: what must hold of one core, of one step, and of all cores of a cluster with the history of
//! the run. Every harness (model, simulator, fuzzing, scripts) calls these and none has its own.
//!
//! Ids are I1 … I44; one that is missing here belongs to a feature that the core does not have. What clients see (from I42 on)
//! is judged where there are clients and a state machine.

mod cluster;
mod history;
mod local;
mod step;

use std::fmt;

pub use cluster::{View, check_cluster, cluster_invariants};
pub use history::{Committed, History};
pub use step::check_step;

/// Something that must never be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Id in the catalogue.
    pub id: &'static str,
    /// What was found.
    pub detail: String,
}

/// What was found, where the invariant `id` does not hold.
fn holds(condition: bool, id: &'static str, detail: impl FnOnce() -> String) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(Violation { id, detail: detail() }) }
}

/// The same where one sentence says it all.
fn must(condition: bool, id: &'static str, detail: &str) -> Result<(), Violation> {
    holds(condition, id, || detail.to_owned())
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = CATALOGUE.iter().find(|(id, _)| *id == self.id).map_or("unknown", |(_, title)| title);
        write!(f, "{} ({title}): {}", self.id, self.detail)
    }
}

impl std::error::Error for Violation {}

/// Every invariant that is checked, with what it says.
pub const CATALOGUE: &[(&str, &str)] = &[
    ("I1", "at most one leader per term, ever"),
    ("I2", "a vote once durable in a term is never another's"),
    ("I3", "terms never fall, in memory or on disk"),
    ("I4", "a vote, a vote request and an acknowledgement are durable before they are sent"),
    ("I5", "the durable term is never below that of a durable entry"),
    ("I6", "logs that agree on an entry agree on all before it"),
    ("I7", "a leader commits by counting only entries of its own term"),
    ("I8", "a leader only appends"),
    ("I9", "a leader holds every entry committed in a lower term"),
    ("I10", "the same entry is applied at an index everywhere"),
    ("I11", "a committed entry never changes"),
    ("I12", "nothing at or before the commit index is cut off"),
    ("I13", "a follower's commit index never passes what it knows to equal a leader's log"),
    ("I14", "an acknowledgement never passes the durable log"),
    ("I15", "what a leader believes of a peer's log is durable there"),
    ("I16", "a committed entry is durable at a quorum"),
    ("I17", "base <= snapshot <= applied <= handed <= commit <= last"),
    ("I18", "entries are applied in order, once, without gap, and durable here"),
    ("I19", "votes are counted once per member, our own when durable"),
    ("I22", "asking for pre-votes changes neither term nor vote, and cuts nothing off"),
    ("I23", "what is of an earlier term changes nothing"),
    ("I24", "only a voter campaigns, or one whose removal may not be committed; who is none stops leading"),
    ("I25", "one change of members at a time, and successive majorities share a member"),
    ("I26", "a leader changes members only once an entry of its term is committed"),
    ("I27", "the old voters are left only once the joint configuration is committed"),
    ("I28", "term runs, configurations and sizes are those of the entries"),
    ("I31", "a read sees everything committed when it began"),
    ("I32", "a read is confirmed in the term of a committed entry of its leader"),
    ("I34", "a snapshot that is installed ends in an entry that was decided"),
    ("I35", "a leader can always continue a peer from its log or offer it a snapshot"),
    ("I36", "disk and memory hold the same entries where memory calls itself durable"),
    ("I38", "who takes over is told once its durable log is whole, and nothing is appended meanwhile"),
    ("I39", "unanswered and uncommitted bytes stay within bounds"),
    ("I40", "a peer's match is below its next entry, and that at most one after what our own disk was given"),
    ("I41", "every proposal and read gets exactly one answer"),
    ("I42", "a command of a session takes effect once, and is answered alike whenever it is repeated"),
    ("I44", "what clients were told is linearizable"),
];
