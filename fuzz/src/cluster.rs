//! Three members of a cluster under any history: messages that arrive, are doubled or lost, timers, unfinished writes,
//! crashes, snapshots. The invariant catalogue judges every step.

use ravelin_model_check::cores::moves::{self, Reached};

/// Two bytes for each move: what, and to which.
pub fn run(input: &[u8]) {
    reaches(input);
}

/// As [`run`]; how far the history led.
///
/// # Panics
/// If an invariant is broken: that is the property under test.
pub fn reaches(input: &[u8]) -> Reached {
    moves::run(input).unwrap_or_else(|broken| panic!("{broken}"))
}
