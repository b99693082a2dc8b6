//! The log against a naive model, the core's own `Durable`, under random batches, crashes, faults and flipped bits.

use proptest::prelude::*;
use ravelin_consensus::{Configuration, Durable, Incarnation};

use super::*;
use crate::storage::{fuzz_recover, fuzz_seed};

type State = Durable<CommandBytes>;

#[derive(Debug, Clone)]
struct Shape {
    term_up: bool,
    vote: Option<u8>,
    /// How far before the end of the log the batch begins.
    back: u8,
    entries: Vec<(u8, u16)>,
    install: Option<u8>,
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Shape>),
    Compact(u8),
    /// The process is killed: nothing is lost.
    Kill,
    /// Calls fail after so many more; what runs then is cut short there.
    StopAfter(u8),
    FailSync,
}

fn shape() -> impl Strategy<Value = Shape> {
    let entries = prop::collection::vec((0..6_u8, 0..300_u16), 0..4);
    let install = prop::option::weighted(0.05, 0..20_u8);
    (any::<bool>(), prop::option::of(1..8_u8), prop_oneof![3 => Just(0), 1 => 0..9_u8], entries, install)
        .prop_map(|(term_up, vote, back, entries, install)| Shape { term_up, vote, back, entries, install })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => prop::collection::vec(shape(), 1..4).prop_map(Step::Append),
        2 => any::<u8>().prop_map(Step::Compact),
        1 => Just(Step::Kill),
        2 => (0..12_u8).prop_map(Step::StopAfter),
        1 => Just(Step::FailSync),
    ]
}

/// A batch that a core in this state could emit.
fn batch_of(shape: &Shape, state: &State, token: u64) -> Batch<CommandBytes> {
    let term = Term(state.hard_state.term.0.max(1) + u64::from(shape.term_up));
    let snapshot = shape.install.map(|ahead| Box::new(meta(state.base().0 + 1 + u64::from(ahead), term.0)));
    let first = match &snapshot {
        Some(meta) => meta.index.next(),
        None => {
            Index(state.last_index().next().0.saturating_sub(u64::from(shape.back)).max(state.base().0 + 1))
        }
    };
    let entries = shape.entries.iter().map(|(kind, size)| match kind {
        0 => Entry { term, kind: EntryKind::Empty },
        1 => {
            let voters = [(NodeId(u64::from(*size)), Incarnation(1))];
            Entry { term, kind: EntryKind::Configuration(Configuration::of_voters(voters)) }
        }
        byte => command(term.0, &vec![*byte; usize::from(*size)]),
    });
    let hard_state = HardState { term, vote: shape.vote.map(|node| NodeId(u64::from(node))) };
    Batch { token: Token(token), hard_state, snapshot, first, entries: entries.collect() }
}

/// Runs one changing step; gives every state that a later opening may find, the last one being the acknowledged one if
/// the step succeeded.
fn run(wal: &mut Wal, step: &Step, state: &State, token: &mut u64) -> (Vec<State>, Result<(), WalError>) {
    let mut states = vec![state.clone()];
    let result = match step {
        Step::Append(shapes) => {
            let mut batches = Vec::new();
            for shape in shapes {
                *token += 1;
                let mut next = states.last().expect("begins with one").clone();
                let batch = batch_of(shape, &next, *token);
                next.write(&batch);
                states.push(next);
                batches.push(batch);
            }
            wal.append(&batches).map(|found| assert_eq!(found, Some(Token(*token))))
        }
        Step::Compact(share) if state.last_index() > state.base() => {
            let covered = 1 + u64::from(*share) % state.entries.len() as u64;
            let meta = meta(state.base().0 + covered, state.hard_state.term.0);
            let mut next = state.clone();
            next.compact(&meta);
            states.push(next);
            wal.compact(&meta)
        }
        _ => Ok(()),
    };
    (states, result)
}

/// What happens between one life and the next.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Crash,
    /// Only the process is killed; it opens again and goes on with what the cache held.
    Kill,
    /// Killed and opened, then a crash.
    KillThenCrash,
}

impl End {
    fn of(seed: u64, turn: usize) -> Self {
        match (seed >> (turn % 32)) & 3 {
            0 => Self::Kill,
            1 => Self::KillThenCrash,
            _ => Self::Crash,
        }
    }
}

/// Ends one life and opens again, through further crashes at each call of the opening itself; what is found has to be
/// one of the allowed states.
fn reopen(disk: &SimDisk, allowed: &[State], end: End, more_crashes: u64) -> (Wal, State) {
    let check = |opened: (Wal, Recovered), allowed: &[State]| {
        let found = durable(&opened.1);
        assert!(allowed.contains(&found), "found {found:?}\nallowed {allowed:?}");
        (opened.0, found)
    };
    let mut allowed = allowed.to_vec();
    if end != End::Crash {
        disk.kill();
        let opened = check(open(disk).expect("a killed process is no damage"), &allowed);
        if end == End::Kill {
            return opened;
        }
        // What an opening handed out counts as durable, whatever syncs failed before it.
        allowed = vec![opened.1];
    }
    for calls in 0..more_crashes {
        disk.crash();
        disk.stop_after(calls);
        if let Err(error) = open(disk) {
            let expected =
                matches!(error, WalError::Disk(_) | WalError::SyncFailed { .. } | WalError::Directory(_));
            assert!(expected, "a crash is no damage: {error}");
        }
    }
    disk.crash();
    check(open(disk).expect("a crash is no damage"), &allowed)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    /// Whatever is acknowledged survives; what is found is always the acknowledged state or one that a prefix of the
    /// unacknowledged batches leads to.
    #[test]
    fn recovery_agrees_with_the_model_at_every_crash_point(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let disk = SimDisk::new(seed);
        let mut wal = open(&disk).expect("fresh").0;
        let (mut state, mut token) = (State::genesis(members()), 0);
        for (turn, step) in steps.iter().enumerate() {
            match step {
                Step::Kill => disk.kill(),
                Step::StopAfter(calls) => disk.stop_after(u64::from(*calls)),
                Step::FailSync => disk.fail_next_sync(),
                Step::Append(_) | Step::Compact(_) => {}
            }
            let (states, result) = run(&mut wal, step, &state, &mut token);
            if result.is_ok() && !matches!(step, Step::Kill) {
                state = states.last().expect("begins with one").clone();
                continue;
            }
            (wal, state) = reopen(&disk, &states, End::of(seed, turn), seed % 5);
        }
        reopen(&disk, &[state], End::KillThenCrash, seed % 3);
    }

    /// One flipped bit anywhere before the last note of success is refused; after it, it changes nothing.
    #[test]
    fn a_flipped_bit_is_refused_or_harmless(
        batches in prop::collection::vec(prop::collection::vec(shape(), 1..4), 1..12),
        compact in any::<Option<u8>>(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8_u8), 40),
    ) {
        let disk = SimDisk::new(1);
        let mut wal = open(&disk).expect("fresh").0;
        let (mut state, mut token) = (State::genesis(members()), 0);
        let steps = batches.into_iter().map(Step::Append).chain(compact.map(Step::Compact));
        for step in steps {
            let (states, result) = run(&mut wal, &step, &state, &mut token);
            result.expect("no fault");
            state = states.last().expect("begins with one").clone();
        }
        let last_note = wal.offset - RECORD_HEADER_BYTES as u64;
        let paths: Vec<String> = wal.segments.iter().map(|segment| segment_path(segment.number)).collect();
        for (segment, offset, bit) in places {
            let path = segment.get(&paths);
            let content = disk.content(path).expect("there");
            let written = if *path == segment_path(wal.header.number) {
                last_note
            } else {
                let following = disk.content(&segment_path(number_after(path))).expect("it has a successor");
                SegmentHeader::decode(&following).expect("whole").previous_end
            };
            let offset = offset.index(content.len()) as u64;
            prop_assert!(disk.flip_bit(path, offset, bit));
            match open(&disk) {
                Ok((_, recovered)) => {
                    prop_assert!(offset >= written, "byte {offset} of {path} was not missed");
                    prop_assert_eq!(&durable(&recovered), &state);
                    // Opening may have cleaned it away; put back what was there.
                    disk.put(path, &content);
                }
                Err(error) => {
                    prop_assert!(offset < written, "byte {offset} of {path}: {error}");
                    prop_assert!(disk.flip_bit(path, offset, bit));
                    prop_assert!(disk.content(path).is_some_and(|now| now == content), "a refusal changes nothing");
                }
            }
        }
    }

    /// A bit flipped after a power loss that also tore the tail: an acknowledged state, or a refusal, or (only where the
    /// last note of success was lost too) a state without the last group; never anything else.
    #[test]
    fn a_crash_and_a_flipped_bit_together_never_give_a_wrong_state(
        seed in any::<u64>(),
        batches in prop::collection::vec(prop::collection::vec(shape(), 1..3), 2..10),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let disk = SimDisk::new(seed);
        let mut wal = open(&disk).expect("fresh").0;
        let (mut state, mut token, mut last_group) = (State::genesis(members()), 0, Vec::new());
        for shapes in batches {
            let (states, result) = run(&mut wal, &Step::Append(shapes), &state, &mut token);
            result.expect("no fault");
            state = states.last().expect("begins with one").clone();
            last_group = states;
        }
        let path = segment_path(wal.header.number);
        disk.crash();
        prop_assert!(disk.flip_bit(&path, place.index(1024) as u64, bit));
        if let Ok((_, recovered)) = open(&disk) {
            prop_assert!(last_group.contains(&durable(&recovered)));
        }
    }

    /// Any bytes in place of a segment: no panic, and what opens once opens again the same.
    #[test]
    fn any_bytes_are_taken_without_panic(
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = fuzz_seed();
        for (place, value) in flips {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        bytes.truncate(cut.index(bytes.len() * 2));
        fuzz_recover(&bytes);
    }
}

fn number_after(path: &str) -> u64 {
    crate::storage::segment::segment_number(crate::storage::disk::name_of(path)).expect("a segment") + 1
}

#[test]
fn an_untouched_segment_is_recovered_by_the_fuzz_entry() {
    assert_eq!(fuzz_recover(&fuzz_seed()).expect("whole").entries.len(), 6);
    assert_eq!(fuzz_recover(b""), None);
    assert_eq!(fuzz_recover(&[0; 4096]), None);
}
