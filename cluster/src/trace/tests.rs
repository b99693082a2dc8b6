//! Traces of a core with its log, written and replayed: the same, cut, damaged, and of a core that would answer otherwise.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use ravelin_consensus::{ClusterId, Configuration, Incarnation, NodeId, ProposalId, Timer};

use super::*;

/// A file in memory that can be looked at while it is written.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a lone voter with these constants has recorded, which starts with `durable` and proposes so many commands.
fn recorded(
    durable: Durable<CommandBytes>,
    commands: u64,
    bytes_max: u64,
) -> (Vec<u8>, Durable<CommandBytes>) {
    let params = Arc::new(Params::new(ClusterId([3; 16]), NodeId(1), Incarnation(1)));
    let mut disk = durable.clone();
    let mut core = Core::restore(params, durable).expect("nothing contradicts itself");
    let file = Shared::default();
    let mut recorder = Recorder::begin(&core, file.clone(), bytes_max).expect("a thread");
    let mut effects = Effects::new();
    let mut waiting = vec![Input::Start { life: ravelin_consensus::Life(7) }];
    for number in 1..=commands {
        let payload = CommandBytes(Bytes::from(vec![number as u8; 20]));
        waiting.push(Input::Propose { id: ProposalId(number), payload });
        waiting.push(Input::Timer(Timer::Heartbeat));
    }
    let mut now = Time::default();
    waiting.reverse();
    while let Some(input) = waiting.pop() {
        now.micros += 10;
        recorder.step(&mut core, now, input, &mut effects);
        for effect in effects.drain() {
            match effect {
                Effect::Persist(batch) => {
                    disk.write(&batch);
                    waiting.push(Input::Persisted(batch.token));
                }
                Effect::Apply { first, entries } => {
                    waiting.push(Input::Applied(first.plus(entries.len()).previous()));
                }
                _ => {}
            }
        }
    }
    drop(recorder);
    (file.bytes(), disk)
}

fn genesis() -> Durable<CommandBytes> {
    Durable::genesis(Configuration::of_voters([(NodeId(1), Incarnation(1))]))
}

#[test]
fn a_trace_replays_the_same_also_from_what_was_durable() {
    let (trace, disk) = recorded(genesis(), 100, TRACE_BYTES_MAX);
    let replayed = replay(trace.as_slice()).expect("the same core");
    assert!(replayed.steps > 300 && replayed.effects > 200 && !replayed.cut, "{replayed:?}");
    assert!(disk.entries.len() as u64 > ENTRIES_AT_ONCE, "more than one record of entries");
    let (second, _) = recorded(disk, 3, TRACE_BYTES_MAX);
    assert!(replay(second.as_slice()).expect("the same core").steps > 5);
}

#[test]
fn a_trace_that_breaks_off_is_replayed_up_to_there() {
    let (trace, _) = recorded(genesis(), 5, TRACE_BYTES_MAX);
    let whole = replay(trace.as_slice()).expect("the same core").steps;
    let mut seen = 0;
    let head = trace[MAGIC.len()..].first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
    let records = MAGIC.len() + 8 + head.expect("a first record");
    assert!(replay(&trace[..records - 1]).is_err(), "nothing can start from half a beginning");
    for end in (records..trace.len()).step_by(7) {
        let replayed = replay(&trace[..end]).expect("a beginning");
        assert!(replayed.steps >= seen && replayed.steps <= whole);
        seen = replayed.steps;
    }
    assert!(seen + 1 >= whole && whole > 15, "{seen} of {whole}");
}

#[test]
fn a_trace_ends_where_its_file_is_full() {
    let (trace, _) = recorded(genesis(), 100, 4_000);
    assert!(trace.len() <= MAGIC.len() + 4_000);
    assert!(replay(trace.as_slice()).expect("a beginning").steps > 5);
}

/// The trace with one byte of the record that holds `text` changed, its checksum mended by the fuzz entry.
#[test]
fn a_core_that_answers_otherwise_is_found_at_the_step_where_it_does() {
    let (trace, _) = recorded(genesis(), 5, TRACE_BYTES_MAX);
    let at = trace.windows(20).position(|window| window == [3; 20]).expect("the third command is there");
    let mut other = trace.clone();
    other[at] = 9;
    let error = fuzz_replay(&other).expect_err("another command");
    let ReplayError::Differs { input, recorded, answered, .. } = &error else { panic!("{error}") };
    assert!(input.starts_with("Propose") && recorded != answered, "{error}");
    assert!(matches!(replay(other.as_slice()), Err(ReplayError::Damaged { .. })));
}

#[test]
fn what_is_no_trace_is_refused() {
    assert!(matches!(replay(&b"ravelin"[..]), Err(ReplayError::NotATrace)));
    assert!(matches!(replay(MAGIC), Err(ReplayError::Unreadable { record: 0, .. })));
    let newer = [&MAGIC[..MAGIC.len() - 1], &[2]].concat();
    assert!(matches!(replay(newer.as_slice()), Err(ReplayError::NotATrace)));
}
