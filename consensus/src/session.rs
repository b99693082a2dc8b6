//! Exactly-once execution of what clients propose (dissertation §6.3; I42, B34): a table that a *state machine* keeps
//! as part of its state and of its snapshots. The core never sees it.
//!
//! A client that hears no answer proposes again, and both entries may be in the log. The table runs the first and
//! answers the second from memory. Everything in it follows from the entries applied, so it is the same on every node:
//! it reads no clock, and what it must forget it forgets by the order of the log.
//!
//! ```
//! use ravelin_consensus::{Executed, Index, SessionBounds, Sessions};
//!
//! let mut sessions = Sessions::new(SessionBounds { sessions_max: 100, replies_max: 8 });
//! let mut counter = 0;
//! let client = sessions.open(Index(1));
//! for index in [2, 3] {
//!     // The same command, proposed twice, stands at two places of the log.
//!     let done = sessions.execute(Index(index), client, 1, 1, || { counter += 1; counter });
//!     assert_eq!(done, Executed::Reply(&1));
//! }
//! assert_eq!(counter, 1);
//! ```

use std::collections::BTreeMap;
use std::convert::Infallible;

use crate::types::Index;

/// Name of a session: the place of the entry that opened it, so it is unique for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub Index);

/// How much the table may remember. The same on every node: it decides what is executed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SessionBounds {
    /// Sessions at a time; a further one ends the one that was used least recently. At least 1.
    pub sessions_max: usize,
    /// Replies of one session that its client has not acknowledged: how many commands it may have under way. At
    /// least 1.
    pub replies_max: usize,
}

/// What became of a command.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Executed<'a, R> {
    /// It has taken effect exactly once, now or before, with this reply.
    Reply(&'a R),
    /// The session was never opened, or has ended: whether the command took effect before is not known here. It did not
    /// now.
    NoSession,
    /// The client has said before that it holds the reply. Nothing was done now.
    Acknowledged,
    /// More commands are under way than the session may have: nothing was done, and the client may try again.
    TooMany,
}

/// The open sessions, with the replies that their clients may still ask for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sessions<R> {
    bounds: SessionBounds,
    sessions: BTreeMap<SessionId, Session<R>>,
    /// The same by the entry that used each last.
    used: BTreeMap<Index, SessionId>,
}

/// One session, as a snapshot holds it beside its name.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Session<R> {
    /// The entry that used it last.
    pub used: Index,
    /// Replies to sequence numbers below this one are acknowledged and forgotten.
    pub first: u64,
    /// The others, by sequence number.
    pub replies: BTreeMap<u64, R>,
}

impl<R> Sessions<R> {
    /// No sessions.
    #[must_use]
    pub fn new(bounds: SessionBounds) -> Sessions<R> {
        Sessions { bounds, sessions: BTreeMap::new(), used: BTreeMap::new() }
    }

    /// The table that a snapshot holds in parts; `None` if these are no table's: too many, or two of one place.
    #[must_use]
    pub fn of_parts(
        bounds: SessionBounds,
        parts: impl IntoIterator<Item = (SessionId, Session<R>)>,
    ) -> Option<Sessions<R>> {
        let mut table = Sessions::new(bounds);
        for (id, session) in parts {
            let fits = session.used >= id.0 && session.replies.len() <= bounds.replies_max.max(1);
            let is_new = table.used.insert(session.used, id).is_none();
            if !fits || !is_new || table.sessions.insert(id, session).is_some() {
                return None;
            }
        }
        (table.len() <= bounds.sessions_max.max(1)).then_some(table)
    }

    /// Every session, in order: what [`of_parts`](Sessions::of_parts) takes back.
    pub fn parts(&self) -> impl Iterator<Item = (SessionId, &Session<R>)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }

    /// Puts other bounds in force, from the next entry on.
    pub fn set_bounds(&mut self, bounds: SessionBounds) {
        self.bounds = bounds;
    }

    /// How many sessions are open; never more than the bound.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Opens the session that the entry at `index` asks for. To open it again is harmless. May end the session that was
    /// used least recently.
    pub fn open(&mut self, index: Index) -> SessionId {
        let id = SessionId(index);
        if self.sessions.contains_key(&id) {
            return id;
        }
        while self.sessions.len() >= self.bounds.sessions_max.max(1) {
            let Some((_, oldest)) = self.used.pop_first() else { break };
            self.sessions.remove(&oldest);
        }
        self.sessions.insert(id, Session { used: index, first: 0, replies: BTreeMap::new() });
        self.used.insert(index, id);
        id
    }

    /// Ends a session at its client's wish.
    pub fn close(&mut self, session: SessionId) {
        if let Some(closed) = self.sessions.remove(&session) {
            self.used.remove(&closed.used);
        }
    }

    /// Executes the command `sequence` of a session, in the entry at `index`, unless it was executed before: `run` is
    /// called at most once for each (session, sequence), ever. The client holds all replies below `acknowledged`.
    pub fn execute(
        &mut self,
        index: Index,
        session: SessionId,
        sequence: u64,
        acknowledged: u64,
        run: impl FnOnce() -> R,
    ) -> Executed<'_, R> {
        let run = || Ok::<R, Infallible>(run());
        match self.try_execute(index, session, sequence, acknowledged, run) {
            Ok(executed) => executed,
            Err(never) => match never {},
        }
    }

    /// As [`execute`](Sessions::execute), where the state machine may be unable to go on.
    ///
    /// # Errors
    /// That of `run`; the table is of no use then.
    pub fn try_execute<E>(
        &mut self,
        index: Index,
        session: SessionId,
        sequence: u64,
        acknowledged: u64,
        run: impl FnOnce() -> Result<R, E>,
    ) -> Result<Executed<'_, R>, E> {
        let Some(entry) = self.sessions.get_mut(&session) else { return Ok(Executed::NoSession) };
        self.used.remove(&entry.used);
        entry.used = index;
        self.used.insert(index, session);
        entry.first = entry.first.max(acknowledged.min(sequence));
        entry.replies = entry.replies.split_off(&entry.first);
        if sequence < entry.first {
            return Ok(Executed::Acknowledged);
        }
        if !entry.replies.contains_key(&sequence) {
            if entry.replies.len() >= self.bounds.replies_max.max(1) {
                return Ok(Executed::TooMany);
            }
            entry.replies.insert(sequence, run()?);
        }
        Ok(entry.replies.get(&sequence).map_or(Executed::Acknowledged, Executed::Reply))
    }
}

#[cfg(test)]
mod tests;
