//! Checks of the shipped code by exhaustive and seeded exploration. Nothing that is checked is implemented here.

pub mod cores;
#[cfg(not(ravelin_loom))]
pub mod golden;
#[cfg(ravelin_loom)]
mod live;
pub mod mutant;
#[cfg(not(ravelin_loom))]
pub mod raft;
#[cfg(ravelin_loom)]
mod shell;
#[cfg(feature = "cluster")]
pub mod sim;
