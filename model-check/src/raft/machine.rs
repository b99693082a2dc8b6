//! The state machine of a node where clients have sessions: the shipped table, and beside it a judge that forgets nothing.
//! What it holds follows from the entries applied, so it makes no state of its own.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use ravelin_consensus::invariant::{History, Violation};
use ravelin_consensus::{EntryKind, Executed, Index, SessionBounds, SessionId, Sessions};

use crate::raft::network::Load;

/// The command that opens a session. The greater ones are what its client asks for, in their order.
pub(crate) const OPEN: Load = 1;

/// A second session ends the first.
const BOUNDS: SessionBounds = SessionBounds { sessions_max: 1, replies_max: 2 };

/// What has become of the commands applied so far. Each effect counts one up, and its reply is the count.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Machine {
    table: Sessions<u8>,
    /// The client's: the first that was opened.
    session: Option<SessionId>,
    count: u8,
    /// What each command has answered when it took effect.
    effects: BTreeMap<Load, u8>,
}

impl Default for Machine {
    fn default() -> Self {
        let table = Sessions::new(BOUNDS);
        Machine { table, session: None, count: 0, effects: BTreeMap::new() }
    }
}

impl Machine {
    /// Applies a command.
    ///
    /// # Errors
    /// I42: it took effect twice, or is answered otherwise than when it did.
    pub(crate) fn apply(&mut self, index: Index, command: Load) -> Result<(), Violation> {
        if command == OPEN {
            let opened = self.table.open(index);
            self.session.get_or_insert(opened);
        }
        let Some(session) = self.session.filter(|_| command > OPEN) else { return Ok(()) };
        let sequence = u64::from(command - OPEN);
        let (count, before) = (&mut self.count, self.effects.get(&command).copied());
        let mut runs = 0;
        // A client asks for one thing at a time, so whoever asks for this holds the replies to all before.
        let executed = self.table.execute(index, session, sequence, sequence, || {
            runs += 1;
            *count += 1;
            *count
        });
        let right = match executed {
            Executed::Reply(reply) => before.is_none_or(|before| runs == 0 && *reply == before),
            Executed::Acknowledged => runs == 0 && before.is_some(),
            Executed::NoSession | Executed::TooMany => runs == 0,
        };
        if !right {
            let detail = format!("command {sequence} at {index} ran {runs} times, {before:?} before");
            return Err(Violation { id: "I42", detail });
        }
        if runs > 0 {
            self.effects.insert(command, self.count);
        }
        Ok(())
    }

    /// Whether a command has taken effect.
    pub(crate) fn has_run(&self, command: Load) -> bool {
        self.effects.contains_key(&command)
    }

    /// Whether the client's session is over.
    pub(crate) fn session_ended(&self) -> bool {
        self.session.is_some_and(|session| self.table.parts().all(|(open, _)| open != session))
    }
}

/// What the client may ask for by now, each also again: to open its session, and what comes after the last request that it
/// can know to have taken effect.
pub(crate) fn requests(history: &History<Load>) -> RangeInclusive<Load> {
    let command = |kind: &EntryKind<Load>| match kind {
        EntryKind::Command(command) => Some(*command),
        _ => None,
    };
    let answered = history.committed().iter().filter_map(|committed| command(&committed.entry.kind)).max();
    OPEN..=answered.map_or(OPEN, |answered| answered + 1)
}
