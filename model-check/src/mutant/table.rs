//! The mutants. Each is a slip in one place, with what it stands for and what must catch it.

use crate::mutant::Mutant;

// `model harm` watches only what nodes have done to each other, so that a slip is caught by its consequence.
/// What the copy without any mutant must pass.
pub(crate) const CONTROL: &[&str] = &["model", "check", "pair"];

const ELECTIONS: &[&str] = &["model", "harm", "elections"];
const REPLICATION: &[&str] = &["model", "harm", "replication"];
const UNREACHABLE: &[&str] = &["model", "harm", "unreachable"];
const CRASH: &[&str] = &["model", "harm", "crash"];
const REORDER: &[&str] = &["model", "harm", "reorder"];
const SNAPSHOT_RACE: &[&str] = &["model", "harm", "snapshot-race"];
const READ: &[&str] = &["model", "harm", "read"];
const PAIR: &[&str] = &["model", "harm", "pair"];

/// Nothing breaks within the bounds, or not soon: the slip itself is what is caught.
const CRASH_STEP: &[&str] = &["model", "probe", "crash"];
const SNAPSHOT_STEP: &[&str] = &["model", "probe", "snapshot"];
const CHECK_QUORUM_STEP: &[&str] = &["model", "probe", "check-quorum"];
const PRE_VOTE_STEP: &[&str] = &["model", "probe", "pre-vote"];

/// All mutants. A probe chooses one by its place, counted from 1.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "commit-any-term",
        stands_for: "I7, B3: paper §5.4.2, figure 8",
        slip: "commits whatever a quorum holds",
        file: "consensus/src/role/leader.rs",
        original: "self.log.term_at(agreed) == Some(self.hard_state.term)",
        wrong: "self.log.term_at(agreed).is_some()",
        probe: REPLICATION,
    },
    Mutant {
        id: "vote-before-durable",
        stands_for: "I4, B1",
        slip: "answers from the vote in memory",
        file: "consensus/src/role/follower.rs",
        original: "self.persistence.hard_state()",
        wrong: "self.hard_state",
        probe: CRASH,
    },
    Mutant {
        id: "ack-before-durable",
        stands_for: "I14, B5",
        slip: "acknowledges the log in memory",
        file: "consensus/src/role/follower.rs",
        original: "self.persistence.index()",
        wrong: "self.log.last_index()",
        probe: CRASH,
    },
    Mutant {
        id: "leader-counts-memory",
        stands_for: "I16, B5",
        slip: "a leader counts its own log before its disk has it",
        file: "consensus/src/role/leader.rs",
        original: "self.persistence.index()",
        wrong: "self.log.last_index()",
        probe: CRASH,
    },
    Mutant {
        id: "longer-log-wins",
        stands_for: "I21, I9: paper §5.4.1",
        slip: "compares lengths and forgets terms",
        file: "consensus/src/log.rs",
        original: "(last_term, last_index) >= (self.last_term(), self.last_index())",
        wrong: "last_index >= self.last_index() || last_term > Term::MAX",
        probe: ELECTIONS,
    },
    Mutant {
        id: "commit-own-end",
        stands_for: "I13, B8: figure 2, rule 5 of AppendEntries",
        slip: "a follower commits up to its own log's end",
        file: "consensus/src/role/follower.rs",
        original: "commit.min(follower.matched)",
        wrong: "commit.min(self.log.last_index())",
        probe: UNREACHABLE,
    },
    Mutant {
        id: "truncate-always",
        stands_for: "I14, I15, B7",
        slip: "cuts the log at every append instead of at a conflict",
        file: "consensus/src/role/follower.rs",
        original: "index > self.log.base() && held != Some(entry.term)",
        wrong: "index > self.log.base()",
        probe: REORDER,
    },
    Mutant {
        id: "late-write-counts",
        stands_for: "I36, B25",
        slip: "a late completion marks entries durable that a later write replaces",
        file: "consensus/src/persistence.rs",
        original: "self.index = self.index.min(later.first.previous());",
        wrong: "let _ = later;",
        probe: CRASH,
    },
    Mutant {
        id: "half-is-a-quorum",
        stands_for: "I16, I1, B4",
        slip: "rounds half up: right for odd sizes only",
        file: "consensus/src/quorum.rs",
        original: "members.len() / 2 + 1",
        wrong: "members.len().div_ceil(2)",
        probe: PAIR,
    },
    Mutant {
        id: "vote-reset-same-term",
        stands_for: "I2, I1, B2",
        slip: "forgets the vote on stepping down without a change of term",
        file: "consensus/src/role/candidate.rs",
        original: "Follower { leader, ..Follower::default() }",
        wrong: "self.hard_state.vote = None; Follower { leader, ..Follower::default() }",
        probe: CHECK_QUORUM_STEP,
    },
    Mutant {
        id: "stale-messages-count",
        stands_for: "I23, B6, B9",
        slip: "takes answers of an earlier term",
        file: "consensus/src/core.rs",
        original: "message.term < self.hard_state.term",
        wrong: "message.term < self.hard_state.term && !matches!(message.body, Body::VoteReply { .. })",
        probe: ELECTIONS,
    },
    Mutant {
        id: "solicit-before-durable",
        stands_for: "I4, I19, B1",
        slip: "asks for votes before its own is durable",
        file: "consensus/src/role/candidate.rs",
        original: "self.persistence.hard_state() == self.hard_state",
        wrong: "true",
        probe: CRASH,
    },
    Mutant {
        id: "second-vote",
        stands_for: "I2, I1",
        slip: "votes for whoever is up to date",
        file: "consensus/src/role/candidate.rs",
        original: "Some(vote) => «vote == from»,",
        wrong: "vote == from || vote != self.params.id",
        probe: ELECTIONS,
    },
    Mutant {
        id: "restart-commits-all",
        stands_for: "I10, I11, B20",
        slip: "takes the whole durable log as committed after a restart",
        file: "consensus/src/core.rs",
        original: "commit: «base»,",
        wrong: "last",
        probe: CRASH,
    },
    Mutant {
        id: "apply-before-durable",
        stands_for: "I18",
        slip: "applies what is committed elsewhere and not yet durable here",
        file: "consensus/src/core.rs",
        original: "self.commit.min(self.persistence.index())",
        wrong: "self.commit",
        probe: CRASH_STEP,
    },
    Mutant {
        id: "read-before-commit",
        stands_for: "I31, B10: dissertation §6.4",
        slip: "serves reads before an entry of the own term is committed",
        file: "consensus/src/role/leader.rs",
        original: "self.log.term_at(self.commit) == Some(self.hard_state.term)",
        wrong: "true",
        probe: READ,
    },
    Mutant {
        id: "read-any-answer",
        stands_for: "I31, I32, B11",
        slip: "any answer confirms the newest round",
        file: "consensus/src/role/leader.rs",
        original: "round.min(newest)",
        wrong: "newest",
        probe: READ,
    },
    Mutant {
        id: "install-over-newer",
        stands_for: "I34, I17, B17",
        slip: "installs a snapshot although the log has caught up meanwhile",
        file: "consensus/src/role/follower.rs",
        original: "meta.index > self.commit && self.log.term_at(meta.index) != Some(meta.term)",
        wrong: "true",
        probe: SNAPSHOT_RACE,
    },
    Mutant {
        id: "snapshot-before-durable",
        stands_for: "I14, I36, B17",
        slip: "after an installed snapshot, takes what lies before it for durable at once",
        file: "consensus/src/core.rs",
        original: "if restarted { Index(1) } else { first }",
        wrong: "first",
        probe: SNAPSHOT_STEP,
    },
    Mutant {
        id: "pre-vote-asks-for-votes",
        stands_for: "I22, I4, B22",
        slip: "sends the wrong one of two messages of the same shape",
        file: "consensus/src/role/candidate.rs",
        original: "Body::PreVote { last_index: self.log.last_index(), last_term: self.log.last_term() }",
        wrong: "Body::Vote { last_index: self.log.last_index(), last_term: self.log.last_term() }",
        probe: PRE_VOTE_STEP,
    },
];
