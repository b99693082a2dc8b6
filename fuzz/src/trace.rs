//! The replay of a recorded run on any bytes: it refuses, finds a difference or agrees, and says the same each time.

use ravelin_cluster::trace::fuzz_replay;

/// The bytes are a trace; the checksums of its records are mended first.
pub fn run(input: &[u8]) {
    replays(input);
}

/// As [`run`]; how many steps agreed, if the whole trace did.
pub fn replays(input: &[u8]) -> Option<u64> {
    let told = |_: ()| fuzz_replay(input).map_err(|error| error.to_string());
    let first = told(());
    assert_eq!(first, told(()), "two replays of the same bytes");
    first.ok().map(|replayed| replayed.steps)
}
