//! What may happen next in a state of the model.

use std::fmt;
use std::sync::Arc;

use ravelin_consensus::Timer;

use crate::raft::member::Outcome;

/// One event, and which messages remain in flight after it.
#[derive(Clone)]
pub struct Action {
    /// What happens.
    pub event: Event,
    /// Bit i: message i of (those in flight before, then those just sent) is in flight afterwards.
    pub kept: u64,
    /// What the event makes of the node that takes part.
    pub(crate) outcome: Arc<Outcome>,
}

impl PartialEq for Action {
    fn eq(&self, other: &Action) -> bool {
        (self.event, self.kept) == (other.event, other.kept)
    }
}

impl Eq for Action {}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, messages {:b} kept", self.event, self.kept)
    }
}

/// One event. Nodes and messages are named by their place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// A message arrives.
    Deliver {
        /// Which.
        packet: usize,
        /// Whether it stays in flight.
        again: bool,
    },
    /// A timer runs out.
    Timer {
        /// Whose.
        node: usize,
        /// Which.
        timer: Timer,
    },
    /// A client proposes a command.
    Propose {
        /// To whom.
        node: usize,
        /// Which: 0 where it does not matter.
        command: u8,
    },
    /// An operator asks for other members.
    Change {
        /// Whom.
        node: usize,
        /// Who becomes a voter.
        added: Option<usize>,
        /// Who is a member no longer.
        removed: Option<usize>,
    },
    /// A client asks for a linearizable read.
    Read {
        /// Whom.
        node: usize,
    },
    /// A leader is asked to hand over.
    Transfer {
        /// Who is asked.
        node: usize,
        /// To whom.
        to: usize,
    },
    /// A leader is told that a peer cannot be reached.
    Unreachable {
        /// Who is told.
        node: usize,
        /// Of whom.
        peer: usize,
    },
    /// The oldest unfinished write becomes durable, and the node learns it.
    Persist {
        /// Whose.
        node: usize,
    },
    /// The process dies and restarts.
    Crash {
        /// Whose.
        node: usize,
        /// So many of its unfinished writes had become durable.
        persisted: usize,
    },
    /// The node is taken for the only survivor: it goes on alone, in the next recovery epoch.
    Recover {
        /// Which.
        node: usize,
    },
    /// The node loses its disk and comes back empty, as another incarnation.
    Wipe {
        /// Whose.
        node: usize,
    },
    /// The state machine's snapshot of all that is applied is durable.
    TakeSnapshot {
        /// Whose.
        node: usize,
    },
    /// The bytes of an offered snapshot have arrived.
    InstallSnapshot {
        /// Where.
        node: usize,
    },
    /// So much time passes for all that every lease is over, and every wait for one.
    Pass,
}

impl Event {
    /// The node that takes part, unless it is a delivery.
    #[must_use]
    pub fn node(&self) -> Option<usize> {
        match self {
            Event::Deliver { .. } | Event::Pass => None,
            Event::Timer { node, .. }
            | Event::Propose { node, .. }
            | Event::Change { node, .. }
            | Event::Read { node }
            | Event::Transfer { node, .. }
            | Event::Unreachable { node, .. }
            | Event::Persist { node }
            | Event::Crash { node, .. }
            | Event::Recover { node }
            | Event::Wipe { node }
            | Event::TakeSnapshot { node }
            | Event::InstallSnapshot { node } => Some(*node),
        }
    }
}
