//! Commands of sessions: each takes effect once, however often it stands in the log, and is answered with what came of it then.
//! It must not keep words or whole answers: what is recorded has to be the same on every version.

use std::sync::Arc;

use ravelin_consensus::{Executed, Index, SessionBounds, SessionId, Sessions, Term};

use super::Store;
use super::applied::{Applied, ApplyError, Refusal};
use super::command::{Envelope, SessionTag};
use super::limits::Limits;

/// What came of a session's command, as it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reply {
    /// The store's revision after it.
    pub revision: u64,
    /// The kind of its refusal, if it was refused: see [`Refusal::code`].
    pub refused: Option<u16>,
}

/// Shared by the clones of a store until one of them changes it; bounded by the number of sessions and of their replies.
pub(super) type Table = Arc<Sessions<Reply>>;

pub(super) fn bounds(limits: &Limits) -> SessionBounds {
    let count = |max: u64| usize::try_from(max).unwrap_or(usize::MAX);
    SessionBounds { sessions_max: count(limits.sessions_max), replies_max: count(limits.session_replies_max) }
}

impl Store {
    /// The open sessions.
    pub fn sessions(&self) -> &Sessions<Reply> {
        &self.sessions
    }

    /// Applies an entry's command, once if it is one of a session. On an error nothing was changed.
    pub(super) fn apply_envelope(
        &mut self,
        index: Index,
        term: Term,
        envelope: &Envelope,
    ) -> Result<Applied, ApplyError> {
        let Some(SessionTag { session, sequence, acknowledged }) = envelope.tag() else {
            return self.apply_command(index, term, Some(&envelope.command));
        };
        let mut table = Arc::clone(&self.sessions);
        let mut now = None;
        let executed =
            Arc::make_mut(&mut table).try_execute(index, session, sequence, acknowledged, || {
                let applied = self.apply_command(index, term, Some(&envelope.command))?;
                let refused = match &applied {
                    Applied::Refused { refusal, .. } => Some(refusal.code()),
                    _ => None,
                };
                now = Some(applied);
                Ok(Reply { revision: self.revision, refused })
            })?;
        let again = match executed {
            Executed::Reply(reply) => Applied::Answered { session, sequence, reply: *reply },
            Executed::NoSession => refused(Refusal::SessionOver { session }),
            Executed::Acknowledged => refused(Refusal::SessionAcknowledged { sequence }),
            Executed::TooMany => refused(Refusal::SessionFull { max: self.limits.session_replies_max }),
        };
        self.applied = (index, term);
        // Other bounds may have come with the very command.
        Arc::make_mut(&mut table).set_bounds(bounds(&self.limits));
        self.sessions = table;
        Ok(now.unwrap_or(again))
    }

    pub(super) fn open_session(&mut self) -> Applied {
        let session = Arc::make_mut(&mut self.sessions).open(self.applied.0);
        Applied::SessionOpened { session }
    }

    pub(super) fn close_session(&mut self, session: SessionId) -> Applied {
        Arc::make_mut(&mut self.sessions).close(session);
        Applied::SessionClosed { session }
    }
}

fn refused(refusal: Refusal) -> Applied {
    Applied::Refused { id: None, refusal }
}
