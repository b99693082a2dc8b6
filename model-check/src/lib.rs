//! Checks of the shipped code by exhaustive and seeded exploration. Nothing that is checked is implemented here.

pub mod mutant;
pub mod raft;
#[cfg(feature = "cluster")]
pub mod sim;
