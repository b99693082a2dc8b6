//! Raft as one total function: `Core::step(now, input, effects)`.
//!
//! No I/O, clock, randomness, threads, async or hash containers: the driver brings events and carries out effects.
//! Nothing that depends on durability leaves a core before the driver has reported the write as durable.

mod configuration;
mod core;
mod durable;
mod effect;
mod entry;
mod input;
pub mod invariant;
mod log;
mod message;
mod params;
mod persistence;
mod progress;
pub mod quorum;
mod read;
mod role;
mod types;

pub use configuration::{Change, ChangeError, Configuration};
pub use core::{Core, Peer, PeerMode, Renumbering};
pub use durable::{Batch, Corrupt, Durable, HardState, SnapshotMeta};
pub use effect::{Effect, Effects, HaltReason, RejectReason, RoleName};
pub use entry::{ENTRY_OVERHEAD_BYTES, Entry, EntryKind};
pub use input::{Input, Timer};
pub use message::{AppendOutcome, Body, Message, SnapshotOutcome};
pub use params::{Params, ParamsError};
pub use types::{
    ClusterId, Incarnation, Index, Life, NodeId, Payload, ProposalId, ReadId, RecoveryEpoch, Round, Term,
    Ticket, Time, Token,
};
