//! The language of storage's golden scripts: the commands are the arms of `Storage::command`. They drive the shipped log and
//! snapshots over the simulated disk, with nothing left to chance. It must not judge anything, and of the forms on the disk
//! it knows a record's header only.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use ravelin_cluster::storage::{
    CommandBytes, DataDirectory, Disk as _, Kept, Owner, Recovered, SimDisk, SimFaults, SnapshotError,
    SnapshotStore, Wal, WalLimits, next_epoch,
};
use ravelin_consensus::{
    Batch, Configuration, Entry, EntryKind, HardState, Incarnation, Index, NodeId, SnapshotMeta, Term, Token,
};

use super::stanza::{self, Words};

const OWNER: Owner = Owner { cluster: *b"storage--scripts", recovery_epoch: 0, node: 1, incarnation: 1 };
/// Bytes before a segment's first record, and of a record before its payload.
const SEGMENT_HEADER_BYTES: usize = 88;
const RECORD_HEADER_BYTES: usize = 32;

/// A run of one script.
pub(crate) struct Storage {
    disk: SimDisk,
    owner: Owner,
    limits: WalLimits,
    /// The running process.
    process: Option<(Wal, SnapshotStore)>,
    /// The snapshots that were ever written, by their last entry.
    metas: BTreeMap<u64, SnapshotMeta>,
    tokens: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            disk: SimDisk::new(1),
            owner: OWNER,
            limits: WalLimits { segment_bytes: 1024 },
            process: None,
            metas: BTreeMap::new(),
            tokens: 0,
        }
    }
}

/// Where a record lies, and what its header says.
struct Place {
    path: String,
    offset: usize,
    sequence: u64,
    durable: u64,
    kind: &'static str,
}

impl Storage {
    /// Carries out one command; its answer.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let answer = self.command(&Words::of(line));
        if answer.is_empty() { "ok\n".to_owned() } else { format!("{answer}\n") }
    }

    fn command(&mut self, words: &Words<'_>) -> String {
        match words.plain.first().copied().unwrap_or_default() {
            "open" => self.open(words),
            "append" => self.append(words),
            "snapshot" => self.snapshot(words),
            "compact" => self.compact(words),
            "read" => self.read(words),
            "crash" => {
                self.process = None;
                let bytes = kept(words, "keep").unwrap_or(Kept::Nothing);
                self.disk.crash_keeping(bytes, kept(words, "names").unwrap_or(bytes));
                String::new()
            }
            "kill" => {
                self.process = None;
                self.disk.kill();
                String::new()
            }
            "stop" => self.told(|disk| disk.stop_after(words.key("after").unwrap_or(0))),
            "fail-sync" => {
                self.told(|disk| disk.fail_next_sync_keeping(kept(words, "keep").unwrap_or(Kept::Nothing)))
            }
            "fail-write" => self.told(SimDisk::fail_next_write),
            "room" => {
                let used: usize = self
                    .disk
                    .paths()
                    .iter()
                    .filter_map(|path| self.disk.content(path))
                    .map(|it| it.len())
                    .sum();
                let space_bytes = words.key("bytes").map(|room| used as u64 + room);
                self.told(|disk| disk.set_faults(SimFaults { space_bytes, ..SimFaults::default() }))
            }
            "flip" => self.flip(words),
            "cut" => {
                let path = self.segment(words);
                let mut content = self.disk.content(&path).expect("the segment is there");
                content.truncate(usize::try_from(words.key("to").unwrap_or(0)).expect("a small number"));
                self.told(|disk| disk.put(&path, &content))
            }
            "remove" => {
                let path = self.segment(words);
                self.told(|disk| disk.remove(&path).expect("the segment is there"))
            }
            "records" => self.records(),
            "pass" => self.pass(),
            _ => panic!("{}: unknown command", words.line),
        }
    }

    fn told(&self, what: impl FnOnce(&SimDisk)) -> String {
        what(&self.disk);
        String::new()
    }

    fn process(&mut self) -> &mut (Wal, SnapshotStore) {
        self.process.as_mut().expect("no process runs: `open` starts one")
    }

    /// `open [segment=BYTES]`: starts a process; what it finds.
    fn open(&mut self, words: &Words<'_>) -> String {
        assert!(self.process.is_none(), "{}: a process runs", words.line);
        self.limits.segment_bytes = words.key("segment").unwrap_or(self.limits.segment_bytes);
        let directory = match DataDirectory::open(Arc::new(self.disk.clone()), self.owner) {
            Ok(directory) => directory,
            Err(error) => return format!("refused: {}", chain(&error)),
        };
        let snapshots = SnapshotStore::new(directory.clone());
        match Wal::open(directory, self.limits, &members()) {
            Ok((wal, recovered)) => {
                self.process = Some((wal, snapshots));
                found(&recovered)
            }
            Err(error) => format!("refused: {}", chain(&error)),
        }
    }

    /// `append FIRST TEXT… [+ FIRST TEXT…] [term=T] [vote=N] [install=INDEX]`: batches of one entry for each text, with one
    /// sync; with `install` the first of them puts that snapshot in the place of the log.
    fn append(&mut self, words: &Words<'_>) -> String {
        let term = Term(words.key("term").unwrap_or(1));
        let hard_state = HardState { term, vote: words.key("vote").map(NodeId) };
        let mut snapshot = words.key("install").map(|index| Box::new(self.meta(index)));
        let mut batches = Vec::new();
        let texts = words.plain.get(1..).unwrap_or_default();
        for batch in texts.split(|word| *word == "+") {
            let (first, texts) =
                batch.split_first().expect("a batch begins with the index of its first entry");
            let first = first.parse().unwrap_or_else(|_| panic!("{}: {first} is no index", words.line));
            let entry = |text: &&str| {
                let bytes = Bytes::copy_from_slice(text.as_bytes());
                Entry { term, kind: EntryKind::Command(CommandBytes(bytes)) }
            };
            self.tokens += 1;
            batches.push(Batch {
                token: Token(self.tokens),
                hard_state,
                snapshot: snapshot.take(),
                first: Index(first),
                entries: texts.iter().map(entry).collect(),
            });
        }
        match self.process().0.append(&batches) {
            Ok(token) => {
                assert_eq!(token, Some(Token(self.tokens)), "the last batch's token");
                format!("durable, {}", self.segments())
            }
            Err(error) => format!("stopped: {}", chain(&error)),
        }
    }

    /// `snapshot INDEX TERM TEXT…`: one chunk for each text.
    fn snapshot(&mut self, words: &Words<'_>) -> String {
        let (index, term) = (words.number(1), words.number(2));
        let chunks = words.plain.iter().skip(3).map(|text| Ok::<_, Infallible>(text.as_bytes()));
        match self.process().1.write(Index(index), Term(term), members(), chunks) {
            Ok(meta) => {
                self.metas.insert(index, meta);
                "durable".to_owned()
            }
            Err(error) => format!("not written: {}", chain(&error)),
        }
    }

    fn meta(&self, index: u64) -> SnapshotMeta {
        self.metas.get(&index).cloned().unwrap_or_else(|| panic!("no snapshot of {index} was written"))
    }

    /// `compact INDEX`: notes that snapshot in the log, which lets go of what it covers.
    fn compact(&mut self, words: &Words<'_>) -> String {
        let meta = self.meta(words.number(1));
        match self.process().0.compact(&meta) {
            Ok(()) => format!("noted, {}", self.segments()),
            Err(error) => format!("stopped: {}", chain(&error)),
        }
    }

    /// `read INDEX`: the chunks of that snapshot.
    fn read(&mut self, words: &Words<'_>) -> String {
        let meta = self.meta(words.number(1));
        let chunks = self.process().1.open(&meta).and_then(|reader| reader.collect::<Result<Vec<_>, _>>());
        let text = |chunks: Vec<Bytes>| {
            let texts: Vec<_> =
                chunks.iter().map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect();
            texts.join(" ")
        };
        chunks.map_or_else(|error: SnapshotError| format!("refused: {}", chain(&error)), text)
    }

    /// `flip record=N | segment=N | snapshot=INDEX | VERSION [byte=N]`: inverts the lowest bit of a byte, of a record the
    /// first of its payload.
    fn flip(&mut self, words: &Words<'_>) -> String {
        let byte = words.key("byte");
        let (path, offset) = if let Some(sequence) = words.key("record") {
            let place = self.places().into_iter().find(|place| place.sequence == sequence);
            let Place { path, offset, .. } = place.unwrap_or_else(|| panic!("there is no record {sequence}"));
            (path, offset as u64 + byte.unwrap_or(RECORD_HEADER_BYTES as u64))
        } else if let Some(index) = words.key("snapshot") {
            let name = format!("/{index:020}-");
            let path =
                self.disk.paths().into_iter().find(|path| path.contains(&name) && path.ends_with(".snap"));
            (path.unwrap_or_else(|| panic!("no snapshot of {index} lies there")), byte.unwrap_or(0))
        } else if words.plain.get(1) == Some(&"VERSION") {
            ("VERSION".to_owned(), byte.unwrap_or(0))
        } else {
            (self.segment(words), byte.unwrap_or(0))
        };
        assert!(self.disk.flip_bit(&path, offset, 0), "{}: {path} has no byte {offset}", words.line);
        String::new()
    }

    /// Lets the directory of a stopped node pass to the next recovery epoch.
    fn pass(&mut self) -> String {
        assert!(self.process.is_none(), "a process runs");
        match next_epoch::pass(Arc::new(self.disk.clone()), self.owner, self.limits) {
            Ok(owner) => {
                self.owner = owner;
                format!("epoch {}", owner.recovery_epoch)
            }
            Err(error) => format!("refused: {}", chain(&error)),
        }
    }

    /// The segments' numbers, as they are named on the disk.
    fn segments(&self) -> String {
        let numbers: Vec<String> =
            self.segment_paths().iter().map(|path| number_of(path).to_string()).collect();
        format!("segments {}", numbers.join(" "))
    }

    fn segment_paths(&self) -> Vec<String> {
        self.disk.paths().into_iter().filter(|path| path.ends_with(".wal")).collect()
    }

    /// The path of `segment=N`.
    fn segment(&self, words: &Words<'_>) -> String {
        let number = words.key("segment").unwrap_or_else(|| panic!("{}: which segment?", words.line));
        let path = self.segment_paths().into_iter().find(|path| number_of(path) == number);
        path.unwrap_or_else(|| panic!("{}: there is no such segment", words.line))
    }

    /// Every record's header, as it lies there.
    fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for path in self.segment_paths() {
            let content = self.disk.content(&path).expect("just listed");
            let mut offset = SEGMENT_HEADER_BYTES;
            while let Some(header) = content.get(offset..offset + RECORD_HEADER_BYTES)
                && header.iter().any(|byte| *byte != 0)
            {
                let number =
                    |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
                let kind = match header[24] {
                    1 => "base",
                    2 => "batch",
                    3 => "compacted",
                    4 => "synced",
                    _ => "?",
                };
                places.push(Place {
                    path: path.clone(),
                    offset,
                    sequence: number(8),
                    durable: number(16),
                    kind,
                });
                let length = u32::from_le_bytes(header[4..8].try_into().expect("four bytes")) as usize;
                offset += RECORD_HEADER_BYTES + length.next_multiple_of(8);
            }
        }
        places
    }

    /// The records, a line for each segment: sequence, kind, and the highest that each vouches for.
    fn records(&self) -> String {
        let mut text = String::new();
        let mut path = String::new();
        for place in self.places() {
            if place.path != path {
                path.clone_from(&place.path);
                let separator = if text.is_empty() { "" } else { "\n" };
                let (place, _) = path.split_once('/').expect("segments lie in a folder");
                let _ = write!(text, "{separator}{place}, segment {}:", number_of(&path));
            }
            let _ = write!(text, " {} {} ({})", place.sequence, place.kind, place.durable);
        }
        text
    }
}

/// Runs one file; returns it with the answers of this run.
pub(crate) fn answered(text: &str) -> String {
    let mut storage = Storage::default();
    stanza::answered(text, &mut |line| storage.run(line))
}

fn members() -> Configuration {
    Configuration::of_voters([1, 2, 3].map(|node| (NodeId(node), Incarnation(1))))
}

fn kept(words: &Words<'_>, key: &str) -> Option<Kept> {
    Some(match *words.keyed.get(key)? {
        "none" => Kept::Nothing,
        "half" => Kept::Half,
        "all" => Kept::All,
        other => panic!("{}: {other} is neither none, half nor all", words.line),
    })
}

fn number_of(path: &str) -> u64 {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.trim_end_matches(".wal").parse().expect("a segment is named by its number")
}

/// What an opened log holds.
fn found(recovered: &Recovered) -> String {
    let Recovered { hard_state, snapshot, entries, torn_bytes, .. } = recovered;
    let mut text = format!("term {}", hard_state.term);
    if let Some(vote) = hard_state.vote {
        let _ = write!(text, " vote {vote}");
    }
    let base = snapshot.as_ref().map_or(Index::ZERO, |meta| meta.index);
    if let Some(meta) = snapshot {
        let _ = write!(text, ", snapshot {}/{}", meta.index, meta.term);
    }
    let shown = |(place, entry): (usize, &Entry<CommandBytes>)| {
        let what = match &entry.kind {
            EntryKind::Command(CommandBytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            EntryKind::Empty => "empty".to_owned(),
            EntryKind::Configuration(members) => {
                let voters: Vec<String> = members.voters.keys().map(|node| node.0.to_string()).collect();
                format!("voters {} of epoch {}", voters.join(" "), members.recovery_epoch.0)
            }
        };
        format!("{}/{} {what}", base.next().plus(place), entry.term)
    };
    let entries: Vec<String> = entries.iter().enumerate().map(shown).collect();
    let _ = match entries.is_empty() {
        true => write!(text, ", no entries"),
        false => write!(text, ", entries {}", entries.join(", ")),
    };
    if *torn_bytes > 0 {
        let _ = write!(text, "; {torn_bytes} torn bytes cut off");
    }
    text
}

/// An error with all its reasons.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut reason = error.source();
    while let Some(next) = reason {
        let _ = write!(text, ": {next}");
        reason = next.source();
    }
    text
}
