//! What a running core was given and what it answered, kept so that another process can do the same again and compare: a
//! report from the field becomes a run on a laptop. A trace holds the cluster's commands as they stand in its log.
//!
//! The core is deterministic, so constants, what was durable and the inputs in order decide everything; of the answers a
//! digest and the beginning of their text are kept. Recording never holds the node up: where the writer cannot follow,
//! or the file is full, the trace ends. It must not steer the node.

mod wire;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use ravelin_consensus::{
    Batch, Core, Corrupt, Durable, Effect, Effects, Entry, Index, Input, Params, Time, Token,
};
use sha2::{Digest, Sha256};

use crate::storage::{CommandBytes, chain};
use wire::{InputForm, Record};

/// What a trace begins with: its name, a line's end, and the version of its form.
const MAGIC: &[u8] = b"ravelin trace\n\x01";
/// A longer record is not one of ours, and none is made.
const RECORD_BYTES_MAX: usize = 16 << 20;
/// A trace grows to this size and ends there.
pub const TRACE_BYTES_MAX: u64 = 256 << 20;
/// Records that wait for the writer; with more the trace ends.
const WAITING_MAX: usize = 16 << 10;
/// Entries of what was durable at the start, in one record.
const ENTRIES_AT_ONCE: u64 = 64;
/// Bytes of the text of an answer that are kept.
const SHOWN_BYTES_MAX: usize = 600;

/// Takes down what a core is given and answers.
#[derive(Debug)]
pub struct Recorder {
    /// `None` once a record was lost: what would follow could not be replayed.
    records: Option<SyncSender<Vec<u8>>>,
    writer: Option<JoinHandle<()>>,
}

/// Waits until everything is in the file: its writer ends when nothing more can come.
impl Drop for Recorder {
    fn drop(&mut self) {
        self.records = None;
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
    }
}

impl Recorder {
    /// Records a core that was just restored and has taken no step into a new file. A trace that is there already is
    /// kept as `NAME.1`: it may tell why the last process ended.
    ///
    /// # Errors
    /// The file or its writer cannot be made.
    pub fn open(core: &Core<CommandBytes>, path: &Path) -> io::Result<Self> {
        if path.exists() {
            let mut kept = path.as_os_str().to_owned();
            kept.push(".1");
            std::fs::rename(path, kept)?;
        }
        Self::begin(core, BufWriter::new(File::create(path)?), TRACE_BYTES_MAX)
    }

    fn begin(
        core: &Core<CommandBytes>,
        mut file: impl Write + Send + 'static,
        bytes_max: u64,
    ) -> io::Result<Self> {
        file.write_all(MAGIC)?;
        let (sender, records) = sync_channel(WAITING_MAX);
        let write = move || {
            if let Err(error) = write(&mut file, &records, bytes_max) {
                tracing::warn!(%error, "the trace ends here");
            }
        };
        let writer = std::thread::Builder::new().name("ravelin-trace".to_owned()).spawn(write)?;
        let mut recorder = Self { records: Some(sender), writer: Some(writer) };
        let base = core.first_index().previous();
        recorder.put(&Record::Head {
            params: core.params().clone(),
            hard_state: core.hard_state(),
            snapshot: core.snapshot().cloned(),
            members: core.configuration_at(base).clone(),
        });
        let mut first = core.first_index();
        while first <= core.last_index() {
            let last = Index(first.0.saturating_add(ENTRIES_AT_ONCE - 1)).min(core.last_index());
            let entries: Vec<Entry<CommandBytes>> =
                (first.0..=last.0).filter_map(|index| core.entry(Index(index)).cloned()).collect();
            let hard_state = core.hard_state();
            recorder.put(&Record::Entries(Batch {
                token: Token(0),
                hard_state,
                snapshot: None,
                first,
                entries: entries.into(),
            }));
            first = last.next();
        }
        Ok(recorder)
    }

    /// Gives the core an input; what it adds to `effects` is its answer.
    pub fn step(
        &mut self,
        core: &mut Core<CommandBytes>,
        now: Time,
        input: Input<CommandBytes>,
        effects: &mut Effects<CommandBytes>,
    ) {
        let (form, before) = (InputForm::of(&input), effects.len());
        core.step(now, input, effects);
        let (digest, shown) = answer(effects.get(before..).unwrap_or_default());
        self.put(&Record::Step { now, input: form, digest, shown });
    }

    fn put(&mut self, record: &Record) {
        let Some(records) = &self.records else { return };
        let bytes = record.encode().ok().filter(|bytes| bytes.len() <= RECORD_BYTES_MAX);
        if bytes.is_none_or(|bytes| records.try_send(bytes).is_err()) {
            tracing::warn!("the trace ends here: its writer cannot follow");
            self.records = None;
        }
    }
}

/// Digest of an answer and the beginning of its text.
fn answer(effects: &[Effect<CommandBytes>]) -> (u64, String) {
    let text = effects.iter().map(|effect| format!("{effect:?}\n")).collect::<String>();
    let hash = Sha256::digest(text.as_bytes());
    let digest = hash.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
    let end = (0..=SHOWN_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    (digest, text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned())
}

/// Writes records until there are no more or the file is full. What waits no longer for others is in the file: a process
/// that is killed leaves all that it had time to write.
fn write(file: &mut impl Write, records: &Receiver<Vec<u8>>, bytes_max: u64) -> io::Result<()> {
    let mut left = bytes_max;
    loop {
        let record = match records.try_recv() {
            Ok(record) => record,
            Err(TryRecvError::Disconnected) => return file.flush(),
            Err(TryRecvError::Empty) => {
                file.flush()?;
                let Ok(record) = records.recv() else { return Ok(()) };
                record
            }
        };
        let length = u32::try_from(record.len()).map_err(io::Error::other)?;
        let bytes = u64::from(length) + 8;
        if bytes > left {
            tracing::warn!(bytes_max, "the trace is full");
            return file.flush();
        }
        left -= bytes;
        file.write_all(&length.to_le_bytes())?;
        file.write_all(&crc32c::crc32c(&record).to_le_bytes())?;
        file.write_all(&record)?;
    }
}

/// What a replay has found: the same, up to the trace's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Steps of the core.
    pub steps: u64,
    /// Effects that it answered.
    pub effects: u64,
    /// Whether the trace breaks off within a record, as that of a killed process may.
    pub cut: bool,
}

/// Why a trace was not replayed to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("the trace cannot be read")]
    Io(#[from] io::Error),
    /// It does not begin as one.
    #[error("this is no trace that this version can read")]
    NotATrace,
    /// A record is not what was written.
    #[error("record {record} is damaged")]
    Damaged {
        /// Counted from 0.
        record: u64,
    },
    /// A record means nothing to this version, or stands where it cannot.
    #[error("record {record} cannot be read: {why}")]
    Unreadable {
        /// Counted from 0.
        record: u64,
        /// Why.
        why: String,
    },
    /// A core cannot start from what it says was durable.
    #[error("a core cannot start from what was durable")]
    Corrupt(#[from] Corrupt),
    /// The fresh core answered otherwise.
    #[error("step {step} differs: given {input}\nrecorded:\n{recorded}\nanswered:\n{answered}")]
    Differs {
        /// Counted from 0.
        step: u64,
        /// What both were given.
        input: String,
        /// The beginning of the recorded answer.
        recorded: String,
        /// The beginning of the fresh core's.
        answered: String,
    },
}

/// Gives a fresh core what a trace's core was given, and compares each answer.
///
/// # Errors
/// [`ReplayError`]; the first difference ends it.
pub fn replay(source: impl Read) -> Result<Replayed, ReplayError> {
    let mut source = BufReader::new(source);
    let mut magic = [0; MAGIC.len()];
    source.read_exact(&mut magic).map_err(|_| ReplayError::NotATrace)?;
    if magic != MAGIC {
        return Err(ReplayError::NotATrace);
    }
    let mut reader = Reader { source, record: 0, cut: false };
    let mut start = reader.head()?;
    let mut core: Option<Core<CommandBytes>> = None;
    let (mut steps, mut count) = (0, 0);
    let mut effects = Effects::new();
    while let Some(record) = reader.next()? {
        match record {
            Record::Head { .. } => return Err(reader.unreadable("a second beginning")),
            Record::Entries(batch) if core.is_none() => start.1.entries.extend(batch.entries.iter().cloned()),
            Record::Entries(_) => return Err(reader.unreadable("durable entries after the first step")),
            Record::Step { now, input, digest, shown } => {
                let core = match &mut core {
                    Some(core) => core,
                    None => core.insert(Core::restore(Arc::clone(&start.0), start.1.clone())?),
                };
                let input = input.input().map_err(|error| reader.unreadable(&chain(&error)))?;
                let given = format!("{input:?}");
                core.step(now, input, &mut effects);
                count += effects.len() as u64;
                let (fresh, answered) = answer(&effects);
                drop(effects.drain());
                if fresh != digest {
                    return Err(ReplayError::Differs {
                        step: steps,
                        input: given,
                        recorded: shown,
                        answered,
                    });
                }
                steps += 1;
            }
        }
    }
    Ok(Replayed { steps, effects: count, cut: reader.cut })
}

struct Reader<R> {
    source: R,
    /// Records read so far.
    record: u64,
    cut: bool,
}

impl<R: Read> Reader<R> {
    /// What the core starts from, without its entries.
    fn head(&mut self) -> Result<(Arc<Params>, Durable<CommandBytes>), ReplayError> {
        match self.next()? {
            Some(Record::Head { params, hard_state, snapshot, members }) => {
                params.check().map_err(|error| self.unreadable(&chain(&error)))?;
                let durable = Durable { hard_state, snapshot, ..Durable::genesis(members) };
                Ok((Arc::new(params), durable))
            }
            _ => Err(self.unreadable("it does not begin with what the core started from")),
        }
    }

    /// The next whole record.
    fn next(&mut self) -> Result<Option<Record>, ReplayError> {
        let mut header = [0; 8];
        let found = fill(&mut self.source, &mut header)?;
        let [a, b, c, d, checksum @ ..] = header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if found < header.len() {
            self.cut = found > 0;
            return Ok(None);
        }
        if length > RECORD_BYTES_MAX {
            return Err(ReplayError::Damaged { record: self.record });
        }
        let mut bytes = Vec::new();
        let found = self.source.by_ref().take(length as u64).read_to_end(&mut bytes)?;
        if found < length {
            self.cut = true;
            return Ok(None);
        }
        if crc32c::crc32c(&bytes) != u32::from_le_bytes(checksum) {
            return Err(ReplayError::Damaged { record: self.record });
        }
        let record = Record::decode(&bytes).map_err(|error| self.unreadable(&chain(&error)))?;
        self.record += 1;
        Ok(Some(record))
    }

    fn unreadable(&self, why: &str) -> ReplayError {
        ReplayError::Unreadable { record: self.record, why: why.to_owned() }
    }
}

/// Reads until the target is full or the source ends; how much was read.
fn fill(source: &mut impl Read, target: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = target.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// For the fuzz target: the same with the checksums of a trace's records mended first, which would keep nearly every
/// change out.
#[doc(hidden)]
pub fn fuzz_replay(input: &[u8]) -> Result<Replayed, ReplayError> {
    let mut bytes = input.to_vec();
    let mut at = MAGIC.len();
    while let Some(length) = bytes.get(at..at + 4).and_then(|field| field.first_chunk()) {
        let end = at + 8 + u32::from_le_bytes(*length) as usize;
        let Some(checksum) = bytes.get(at + 8..end).map(crc32c::crc32c) else { break };
        bytes.iter_mut().skip(at + 4).zip(checksum.to_le_bytes()).for_each(|(target, byte)| *target = byte);
        at = end;
    }
    replay(bytes.as_slice())
}

#[cfg(test)]
mod tests;
