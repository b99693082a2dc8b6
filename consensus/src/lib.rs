//! Raft as one total function: `Core::step(now, input, effects)`.
//!
//! No I/O, clock, randomness, threads, async or hash containers: the driver brings events and carries out effects.
//! Nothing that depends on durability leaves a core before the driver has reported the write as durable.
//!
//! ```text
//!   message ──┐                      ┌──▶ Send
//!   timer ────┤    ┌────────────┐    ├──▶ SetTimer ──▶ Timer ─────────┐
//!   propose ──┼──▶ │ Core::step │ ──▶┼──▶ Persist ───▶ Persisted ─────┼──▶ inputs again
//!   read ─────┤    └────────────┘    ├──▶ Apply ─────▶ Applied ───────┘
//!   change ───┘                      └──▶ Accepted, ReadReady, … : the answers
//! ```
//!
//! Three nodes that agree, with a queue for network, disks and clocks:
//!
//! ```
//! use std::collections::VecDeque;
//! use std::sync::Arc;
//!
//! use ravelin_consensus::{
//!     ClusterId, Configuration, Core, Durable, Effect, Effects, EntryKind, Incarnation, Input, Life, NodeId, Params,
//!     ProposalId, RoleName, Time, Timer,
//! };
//!
//! let ids = [1, 2, 3].map(NodeId);
//! let members = Configuration::of_voters(ids.map(|id| (id, Incarnation(1))));
//! let mut cores = ids.map(|id| {
//!     let params = Params::new(ClusterId([7; 16]), id, Incarnation(1));
//!     Core::restore(Arc::new(params), Durable::genesis(members.clone())).expect("a new member contradicts nothing")
//! });
//! let mut applied: [Vec<u8>; 3] = Default::default();
//!
//! let mut events: VecDeque<(NodeId, Input<u8>)> = VecDeque::new();
//! events.extend(ids.map(|id| (id, Input::Start { life: Life(1) })));
//! events.push_back((NodeId(1), Input::Timer(Timer::Election)));
//! let mut effects = Effects::new();
//! let mut proposed = false;
//! while let Some((id, input)) = events.pop_front() {
//!     let at = usize::try_from(id.0 - 1).expect("three nodes");
//!     cores[at].step(Time::default(), input, &mut effects);
//!     for effect in effects.drain() {
//!         match effect {
//!             Effect::Send { to, message } => events.push_back((to, Input::Message { from: id, message })),
//!             // A driver writes and syncs the batch first; nothing that depends on it has been sent.
//!             Effect::Persist(batch) => events.push_back((id, Input::Persisted(batch.token))),
//!             Effect::Apply { first, entries } => {
//!                 let last = first.plus(entries.len()).previous();
//!                 let commands = entries.into_iter().filter_map(|entry| match entry.kind {
//!                     EntryKind::Command(command) => Some(command),
//!                     _ => None,
//!                 });
//!                 applied[at].extend(commands);
//!                 events.push_back((id, Input::Applied(last)));
//!             }
//!             _ => {} // timers, answers to callers, snapshots
//!         }
//!     }
//!     if !proposed && cores[0].role() == RoleName::Leader {
//!         proposed = true;
//!         events.push_back((NodeId(1), Input::Propose { id: ProposalId(1), payload: 42 }));
//!     }
//! }
//! assert_eq!(applied, [vec![42], vec![42], vec![42]]);
//! ```

mod configuration;
mod core;
mod durable;
mod effect;
mod entries;
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
mod session;
mod types;

pub use configuration::{Change, ChangeError, Configuration};
pub use core::{Core, Peer, PeerMode, Renumbering};
pub use durable::{Batch, Corrupt, Durable, HardState, SnapshotMeta};
pub use effect::{Effect, Effects, HaltReason, RejectReason, RoleName};
pub use entries::Entries;
pub use entry::{ENTRY_OVERHEAD_BYTES, Entry, EntryKind};
pub use input::{Input, Timer};
pub use message::{AppendOutcome, Body, Message, SnapshotOutcome};
pub use params::{Params, ParamsError};
pub use session::{Executed, Session, SessionBounds, SessionId, Sessions};
pub use types::{
    ClusterId, Incarnation, Index, Life, NodeId, Payload, ProposalId, ReadId, RecoveryEpoch, Round, Term,
    Ticket, Time, Token,
};
