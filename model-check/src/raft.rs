//! Model checking of the shipped Raft core: stateright explores every order of messages, timers, disk writes and
//! crashes within printed bounds. Nothing of the protocol is implemented here; a node is the shipped
//! [`Core`](ravelin_consensus::Core), its disk and its unfinished writes.
//!
//! What is abstracted: time (any timer may run out at any moment), loss (a message that is never delivered), and the
//! state machine (it applies at once). Cores that differ only in the names of nodes or tokens are one state.

mod action;
mod bounds;
mod clients;
pub mod deep;
mod machine;
mod member;
mod model;
mod network;
mod past;
mod property;
mod run;
pub mod script;
mod state;
pub mod step;
mod symmetry;

pub use action::{Action, Event};
pub use bounds::{Bounds, CONFIGURATIONS, Disk, Wanted, Watch};
pub use model::Raft;
pub use property::Mark;
pub use run::{Broken, Order, Report, check, check_all, explore};
pub use state::State;
