//! Any bytes as a history of a cluster of three: which message arrives, is doubled or lost, which timer runs out, which
//! write is finished, who crashes. For fuzzing: every input means something, and the catalogue judges every step.

use ravelin_consensus::{Input, Message, NodeId, Time, Timer};

use super::{Cores, Item, Wanted};

/// Messages in flight beyond which the oldest are lost.
const IN_FLIGHT_MAX: usize = 32;
/// Most moves of one input; longer ones add nothing that shorter ones do not reach.
const MOVES_MAX: usize = 2_000;

/// What an input has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The highest term.
    pub term: u64,
    /// Entries committed by somebody.
    pub committed: u64,
    /// The greatest index of a snapshot.
    pub snapshot: u64,
}

/// Runs the history that these bytes mean: two for each move.
///
/// # Errors
/// The first invariant that is broken.
pub fn run(bytes: &[u8]) -> Result<Reached, String> {
    let mut bag = Vec::new();
    let mut cores = Cores::new(3, true, |params| {
        params.append_entries_max = 2;
        params.append_bytes_max = 200;
        params.inflight_messages_max = 2;
        params.entry_bytes_max = 100;
        params.uncommitted_bytes_max = 250;
        params.log_bytes_max = 1_000;
        params.log_trailing_bytes_max = 100;
        params.reads_pending_max = 2;
    });
    for at in 0..cores.members.len() {
        cores.step(at, Time::default(), Input::Start { life: ravelin_consensus::Life(0) })?;
    }
    for pair in bytes.chunks_exact(2).take(MOVES_MAX) {
        let [kind, number] = pair else { continue };
        collect(&mut cores, &mut bag);
        take(&mut cores, &mut bag, *kind, usize::from(*number))?;
    }
    let of_all = |of: fn(&super::Member) -> u64| cores.members.iter().map(of).max().unwrap_or(0);
    Ok(Reached {
        term: of_all(|member| member.core.term().0),
        committed: cores.history.commit_index().0,
        snapshot: of_all(|member| member.core.snapshot().map_or(0, |meta| meta.index.0)),
    })
}

type Packet = (usize, NodeId, Message<Item>);

fn collect(cores: &mut Cores, bag: &mut Vec<Packet>) {
    bag.extend(cores.wanted.drain(..).filter_map(|wanted| match wanted {
        Wanted::Deliver { to, from, message } => Some((to, from, message)),
        Wanted::Timer { .. } | Wanted::NoTimer(_) => None,
    }));
    bag.drain(..bag.len().saturating_sub(IN_FLIGHT_MAX));
}

fn take(cores: &mut Cores, bag: &mut Vec<Packet>, kind: u8, number: usize) -> Result<(), String> {
    let now = Time::default();
    let count = cores.members.len();
    let (at, more) = (number % count, number / count);
    match kind % 32 {
        0..=9 if !bag.is_empty() => {
            let (to, from, message) = bag.remove(number % bag.len());
            cores.step(to, now, Input::Message { from, message })
        }
        10 if !bag.is_empty() => {
            let (to, from, message) = bag[number % bag.len()].clone();
            cores.step(to, now, Input::Message { from, message })
        }
        11 if !bag.is_empty() => {
            bag.remove(number % bag.len());
            Ok(())
        }
        12 | 13 => cores.step(at, now, Input::Timer(Timer::Election)),
        14 | 15 => cores.step(at, now, Input::Timer(Timer::Heartbeat)),
        16 => cores.step(at, now, Input::Timer(Timer::CheckQuorum)),
        17..=19 => cores.propose(at, now),
        20 => cores.read(at, now),
        21..=26 => cores.persist(at, now, more % 3 + 1),
        27 => cores.crash(at, now, more % 4),
        28 => cores.snapshot(at, now),
        29 => cores.install(at, now, true),
        30 => cores.install(at, now, false),
        31 => cores.step(at, now, Input::Unreachable(NodeId((more % count) as u64 + 1))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn random_histories_hold_and_some_go_far() {
        let mut furthest = Reached { term: 0, committed: 0, snapshot: 0 };
        for seed in 0..200 {
            let mut bytes = vec![0; 1_200];
            StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
            let reached = run(&bytes).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
            furthest.term = furthest.term.max(reached.term);
            furthest.committed = furthest.committed.max(reached.committed);
            furthest.snapshot = furthest.snapshot.max(reached.snapshot);
        }
        assert!(furthest.term > 3 && furthest.committed > 3 && furthest.snapshot > 0, "{furthest:?}");
    }
}
