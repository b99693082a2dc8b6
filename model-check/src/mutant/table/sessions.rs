//! Slips of the table that makes commands take effect once.

use crate::mutant::Mutant;

const SESSIONS: &[&str] = &["model", "harm", "sessions"];

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "session-runs-again",
        stands_for: "I42, B34: dissertation §6.3",
        slip: "asks whether a reply is acknowledged instead of whether there is one",
        file: "consensus/src/session.rs",
        original: "!entry.replies.contains_key(&sequence)",
        wrong: "sequence >= entry.first",
        probe: SESSIONS,
    },
    Mutant {
        id: "acknowledged-runs-again",
        stands_for: "I42, B34: dissertation §6.3",
        slip: "takes the last command that was acknowledged for one that was not",
        file: "consensus/src/session.rs",
        original: "sequence < entry.first",
        wrong: "sequence.saturating_add(1) < entry.first",
        probe: SESSIONS,
    },
    Mutant {
        id: "newest-session-serves",
        stands_for: "I42, B34: a session that has ended",
        slip: "runs a command in the newest session instead of the one that it names",
        file: "consensus/src/session.rs",
        original: "self.sessions.get_mut(&session)",
        wrong: "self.sessions.values_mut().next_back()",
        probe: SESSIONS,
    },
];
