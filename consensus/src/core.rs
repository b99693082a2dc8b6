//! The core: its state and its one step. Signatures first; the rules arrive with the next commits.

use std::sync::Arc;

use crate::configuration::Configuration;
use crate::durable::{Corrupt, Durable};
use crate::effect::{Effect, Effects, HaltReason, RoleName};
use crate::input::Input;
use crate::params::Params;
use crate::types::{Index, NodeId, Payload, Term, Time};

/// One member's Raft state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Core<P> {
    params: Arc<Params>,
    durable: Durable<P>,
}

impl<P: Payload> Core<P> {
    /// A core that continues from what is durable.
    ///
    /// # Errors
    /// The durable state contradicts itself.
    pub fn restore(params: Arc<Params>, durable: Durable<P>) -> Result<Self, Corrupt> {
        Ok(Core { params, durable })
    }

    /// Takes one event and says what is to be done. Total and deterministic.
    pub fn step(&mut self, _now: Time, _input: Input<P>, out: &mut Effects<P>) {
        out.push(Effect::Halt(HaltReason::PersistFailed));
    }

    /// The role.
    pub fn role(&self) -> RoleName {
        RoleName::Follower
    }

    /// The leader of the current term, as far as known.
    pub fn leader(&self) -> Option<NodeId> {
        None
    }

    /// The current term.
    pub fn term(&self) -> Term {
        self.durable.hard_state.term
    }

    /// Everything up to here is committed.
    pub fn commit_index(&self) -> Index {
        self.durable.base()
    }

    /// Everything up to here is in the state machine, as far as reported.
    pub fn applied_index(&self) -> Index {
        self.durable.base()
    }

    /// The last entry of the log in memory.
    pub fn last_index(&self) -> Index {
        self.durable.last_index()
    }

    /// The members that are effective now.
    pub fn configuration(&self) -> &Configuration {
        &self.durable.configuration
    }

    /// The constants.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Bytes of entries in memory.
    pub fn log_bytes(&self) -> u64 {
        0
    }
}
