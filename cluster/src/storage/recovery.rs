//! Reads the segments of a write-ahead log back, and tells a torn tail from damage.
//!
//! A crash can only leave the last group of records unfinished: nothing is written after a group before its sync has
//! returned. So an unreadable record is a *torn tail* only in the last segment, and only if no later record vouches for
//! it (`durable`, see [`record`](super::record)). Anything else is damage, and the log refuses to open: a log that is
//! cut short there could forget votes and committed entries.
//!
//! What cannot be told apart: damage to the very last group if power was lost before the note that follows each
//! successful sync reached the disk. Then, and only then, acknowledged records could be taken for a torn tail.
//!
//! What a later version wrote is neither: its checksum holds. The log refuses to open then, and nothing is cleaned.
//!
//! It must not write: the caller cleans the tail.

use std::collections::VecDeque;

use super::disk::{Disk, read_all};
use super::log_state::{LogState, Recovered};
use super::record::{Behind, Found, Record, RecordKind, find_behind, read};
use super::segment::{
    HeaderError, SEGMENT_HEADER_BYTES, SEGMENT_VERSION, SegmentHeader, segment_number, segment_path,
};
use super::wal::{WalError, damaged, newer};
use super::wire::{WireError, decode_base, decode_batch, decode_snapshot_meta};
use super::{Owner, wal_directory};

/// A segment longer than this is not one of ours, and none is made.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 2 << 30;

/// Where writing goes on, and what was found.
#[derive(Debug)]
pub(crate) struct ReadLog {
    pub(crate) recovered: Recovered,
    pub(crate) header: SegmentHeader,
    /// For each segment, oldest first: its number and the highest index of an entry in it.
    pub(crate) segments: Vec<(u64, u64)>,
    /// Where the next record goes in the last segment.
    pub(crate) end: u64,
    /// Where the records begin that nothing proves to be on disk; `end` if there is none.
    pub(crate) doubtful: u64,
    /// Where the last byte that is not zero ends; above `end` there is a torn write to be cleaned.
    pub(crate) dirty_end: u64,
    pub(crate) next_sequence: u64,
}

/// Reads every segment in order.
pub(crate) fn read_log(disk: &dyn Disk, owner: &Owner) -> Result<ReadLog, WalError> {
    let numbers = segment_numbers(disk, owner)?;
    let mut headers = Vec::with_capacity(numbers.len());
    for number in &numbers {
        headers.push(read_header(disk, *number, owner)?);
    }
    let mut reader = LogReader {
        disk,
        state: None,
        segments: Vec::new(),
        next_sequence: 0,
        durable: 0,
        doubtful: VecDeque::new(),
    };
    let mut tail = None;
    for (place, header) in headers.iter().enumerate() {
        let (end, dirty_end) = reader.read_segment(header, headers.get(place + 1))?;
        tail = Some((*header, end, dirty_end));
    }
    let (Some((header, end, dirty_end)), Some(state)) = (tail, reader.state) else {
        return Err(WalError::Missing { path: disk.describe(&wal_directory(owner)) });
    };
    let recovered = state
        .finish(dirty_end.saturating_sub(end))
        .map_err(|what| damaged(disk, &segment_path(owner, header.number), end, what))?;
    let doubtful = reader.doubtful.front().map_or(end, |(_, offset)| *offset);
    let (segments, next_sequence) = (reader.segments, reader.next_sequence);
    Ok(ReadLog { recovered, header, segments, end, doubtful, dirty_end, next_sequence })
}

/// The numbers of all segments, in order and without a gap.
fn segment_numbers(disk: &dyn Disk, owner: &Owner) -> Result<Vec<u64>, WalError> {
    let mut numbers: Vec<u64> =
        disk.list(&wal_directory(owner))?.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    for (number, following) in numbers.iter().zip(numbers.iter().skip(1)) {
        if number + 1 != *following {
            let what = format!("it is missing, while the segment {following} after it is there");
            return Err(damaged(disk, &segment_path(owner, number + 1), 0, what));
        }
    }
    Ok(numbers)
}

fn read_header(disk: &dyn Disk, number: u64, owner: &Owner) -> Result<SegmentHeader, WalError> {
    let path = segment_path(owner, number);
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let found = disk.open(&path)?.read_at(0, &mut bytes)?;
    let header =
        SegmentHeader::decode(bytes.get(..found).unwrap_or_default()).map_err(|error| match error {
            HeaderError::Newer(found) => {
                let what = format!(
                    "the segment is of format {found}, and this version knows only {SEGMENT_VERSION}"
                );
                newer(disk, &path, 0, what)
            }
            HeaderError::Damaged => damaged(disk, &path, 0, "its header is unreadable".to_owned()),
        })?;
    if header.owner != *owner {
        return Err(WalError::Foreign { path: disk.describe(&path) });
    }
    if header.number != number {
        let what = format!("it says that it is segment {}", header.number);
        return Err(damaged(disk, &path, 0, what));
    }
    Ok(header)
}

/// Where the last byte that is not zero ends. Looks at eight bytes at a time: most of a segment may be unused.
fn written_end(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((head, [0, 0, 0, 0, 0, 0, 0, 0])) = rest.split_last_chunk() {
        rest = head;
    }
    rest.iter().rposition(|byte| *byte != 0).map_or(0, |place| place + 1)
}

struct LogReader<'a> {
    disk: &'a dyn Disk,
    state: Option<LogState>,
    segments: Vec<(u64, u64)>,
    next_sequence: u64,
    /// Highest sequence that a record vouches for.
    durable: u64,
    /// Sequence and offset of the records of this segment that none vouches for yet.
    doubtful: VecDeque<(u64, u64)>,
}

/// Why a record is not taken although its checksum holds.
enum Unfit {
    /// A later version wrote its content.
    Newer(String),
    Damaged(String),
}

impl From<String> for Unfit {
    fn from(what: String) -> Self {
        Self::Damaged(what)
    }
}

impl LogReader<'_> {
    /// Takes all records of one segment; gives where they end, and where what is not zero ends.
    fn read_segment(
        &mut self,
        header: &SegmentHeader,
        following: Option<&SegmentHeader>,
    ) -> Result<(u64, u64), WalError> {
        let path = segment_path(&header.owner, header.number);
        let bytes = read_all(self.disk, &path, SEGMENT_BYTES_MAX)?;
        if (bytes.len() as u64) < header.reserved {
            let what = format!("it was cut off here: {} bytes had been reserved for it", header.reserved);
            return Err(damaged(self.disk, &path, bytes.len() as u64, what));
        }
        if self.state.is_some() && header.first_sequence != self.next_sequence {
            let what = format!("it begins with record {}, not {}", header.first_sequence, self.next_sequence);
            return Err(damaged(self.disk, &path, 0, what));
        }
        self.next_sequence = header.first_sequence;
        self.doubtful.clear();
        self.segments.push((header.number, 0));
        let salt = header.salt();
        let mut at = SEGMENT_HEADER_BYTES;
        let found = loop {
            match read(&bytes, at, salt) {
                Found::Record(record) => {
                    self.take(&path, at, &record, at == SEGMENT_HEADER_BYTES)?;
                    at = record.end;
                }
                other => break other,
            }
        };
        if let Found::Newer(unknown) = found {
            return Err(newer(self.disk, &path, at as u64, unknown.to_string()));
        }
        if at == SEGMENT_HEADER_BYTES {
            let what =
                "its first record is unreadable, although a segment is named only once that is on disk";
            return Err(damaged(self.disk, &path, at as u64, what.to_owned()));
        }
        let dirty = written_end(&bytes);
        match following {
            Some(following) => self.check_sealed(&path, at, following)?,
            None if dirty > at => self.check_tail(&path, &bytes, at, salt)?,
            None => {}
        }
        Ok((at as u64, dirty.max(at) as u64))
    }

    /// A segment with a successor was synced to its end before the successor was made.
    fn check_sealed(&self, path: &str, at: usize, following: &SegmentHeader) -> Result<(), WalError> {
        if at as u64 == following.previous_end && self.next_sequence == following.first_sequence {
            return Ok(());
        }
        let what = format!(
            "record {} is unreadable, although the next segment shows that the records up to {} (byte {}) were on disk",
            self.next_sequence,
            following.first_sequence.saturating_sub(1),
            following.previous_end
        );
        Err(damaged(self.disk, path, at as u64, what))
    }

    fn check_tail(&self, path: &str, bytes: &[u8], at: usize, salt: u32) -> Result<(), WalError> {
        let (offset, sequence) = match find_behind(bytes, at, salt, self.next_sequence) {
            None => return Ok(()),
            Some(Behind::Newer { offset, unknown }) => {
                return Err(newer(self.disk, path, offset as u64, unknown.to_string()));
            }
            Some(Behind::Proof { offset, sequence }) => (offset, sequence),
        };
        let what = format!(
            "record {} is unreadable, although record {sequence} (byte {offset}) shows that it was on disk",
            self.next_sequence
        );
        Err(damaged(self.disk, path, at as u64, what))
    }

    fn take(&mut self, path: &str, at: usize, record: &Record<'_>, first: bool) -> Result<(), WalError> {
        self.fold(record, first).map_err(|unfit| match unfit {
            Unfit::Newer(what) => newer(self.disk, path, at as u64, what),
            Unfit::Damaged(what) => damaged(self.disk, path, at as u64, what),
        })?;
        self.next_sequence += 1;
        self.durable = self.durable.max(record.durable);
        self.doubtful.push_back((record.sequence, at as u64));
        while self.doubtful.front().is_some_and(|(sequence, _)| *sequence <= self.durable) {
            self.doubtful.pop_front();
        }
        Ok(())
    }

    /// Folds one record in; `Err` says what does not fit although its checksum holds.
    fn fold(&mut self, record: &Record<'_>, first: bool) -> Result<(), Unfit> {
        if record.sequence != self.next_sequence || record.durable >= record.sequence {
            let (found, wanted) = (record.sequence, self.next_sequence);
            let durable = record.durable;
            return Err(format!("it holds record {found} (durable {durable}) in place of {wanted}").into());
        }
        let unreadable = |error: WireError| {
            let what = format!("record {}: {}", record.sequence, crate::storage::chain(&error));
            if error.is_newer() { Unfit::Newer(what) } else { Unfit::Damaged(what) }
        };
        match (record.kind, &mut self.state) {
            (RecordKind::Base, state) if first => {
                let base = decode_base(record.payload).map_err(unreadable)?;
                match state {
                    None => self.state = Some(LogState::begin(base)),
                    Some(state) if state.base() != base => {
                        let what = "the state it starts from is not the one the previous segment ends in";
                        return Err(what.to_owned().into());
                    }
                    Some(_) => {}
                }
            }
            (RecordKind::Batch, Some(state)) if !first => {
                let batch = decode_batch(record.payload).map_err(unreadable)?;
                let last = batch.first.0.saturating_add(batch.entries.len() as u64).saturating_sub(1);
                if let Some((_, highest)) = self.segments.last_mut() {
                    *highest = last.max(*highest);
                }
                state.batch(batch)?;
            }
            (RecordKind::Compacted, Some(state)) if !first => {
                state.compacted(decode_snapshot_meta(record.payload).map_err(unreadable)?);
            }
            (RecordKind::Synced, Some(_)) if !first => {}
            (kind, _) => {
                return Err(format!("record {} of kind {kind:?} is out of place", record.sequence).into());
            }
        }
        Ok(())
    }
}
