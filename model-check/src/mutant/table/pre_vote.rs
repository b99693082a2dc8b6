//! Slips of asking before an election, and of bringing a log on without a leader.

use super::SCRIPTS;
use crate::mutant::Mutant;

/// The slip itself is caught.
const PRE_VOTE_STEP: &[&str] = &["model", "probe", "pre-vote"];
/// What it does to others is.
const MISSING: &[&str] = &["model", "harm", "missing"];

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "pre-vote-asks-for-votes",
        stands_for: "I22, I4, B22",
        slip: "sends the wrong one of two messages of the same shape",
        file: "consensus/src/role/candidate.rs",
        original: "Body::PreVote { last_index: self.log.last_index(), last_term: self.log.last_term() }",
        wrong: "Body::Vote { last_index: self.log.last_index(), last_term: self.log.last_term() }",
        probe: PRE_VOTE_STEP,
    },
    Mutant {
        id: "stale-pre-votes-count",
        stands_for: "I23, B22: stale pre-votes (hashicorp/raft)",
        slip: "takes answers to the pre-vote of an earlier term",
        file: "consensus/src/core.rs",
        original: "message.term < self.hard_state.term",
        wrong: "message.term < self.hard_state.term && !matches!(message.body, Body::PreVoteReply { .. })",
        probe: PRE_VOTE_STEP,
    },
    Mutant {
        id: "behind-stays-behind",
        stands_for: "L1, B23: the partial partition \"constrained\"",
        slip: "refuses whoever is behind, and leaves it there",
        file: "consensus/src/role/candidate.rs",
        original: "«self.send(from, Body::Missing { prev_index, prev_term, entries }, out)»;",
        wrong: "drop(entries)",
        probe: SCRIPTS,
    },
    Mutant {
        id: "missing-goes-anywhere",
        stands_for: "I6, B23",
        slip: "takes what it lacked when it asked, wherever its log ends by now",
        file: "consensus/src/role/candidate.rs",
        original: "if «!goes_on» || ",
        wrong: "false",
        probe: MISSING,
    },
    Mutant {
        id: "missing-after-another",
        stands_for: "I6, B23",
        slip: "sends what follows an entry of its own that is not the asker's",
        file: "consensus/src/role/candidate.rs",
        original: "} else if «self.log.term_at(prev_index) == Some(prev_term)» {",
        wrong: "self.log.term_at(prev_index).is_some()",
        probe: SCRIPTS,
    },
];
