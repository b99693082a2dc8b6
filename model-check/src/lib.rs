//! Checks of the shipped code by exhaustive and seeded exploration. Nothing that is checked is implemented here.

pub mod raft;
