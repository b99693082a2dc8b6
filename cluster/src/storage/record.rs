//! Framing of one record of the write-ahead log: checksum, length, sequence, and what was durable when it was written.
//! It must not interpret payloads, nor decide what a bad record means.
//!
//! ```text
//!  0  u32  crc32c of everything after this field to the end of the padding, seeded with the segment's salt
//!  4  u32  length of the payload
//!  8  u64  sequence: counts records over all segments, from 1
//! 16  u64  durable: the highest sequence known to be on disk when this record was written
//! 24  u8   kind
//! 25  u8   version
//! 26  6 × 0
//! 32  payload, then zeros to a multiple of 8
//! ```
//! All integers are little endian. 32 zero bytes are no record: the log has not come this far. `durable` is what tells a
//! torn tail from damage: a record whose `durable` covers an unreadable one proves that the unreadable one had been
//! synced. The salt binds a record to its log and segment, so that none from elsewhere is ever taken for one of ours.
//!
//! A record whose checksum holds was written on purpose. If this version does not know its version, its kind or what its
//! zeros have become, a later one wrote it: the log is then refused as it is. So a new kind needs no new version; any other
//! change of the layout does.

use super::wire::WireError;

pub(crate) const RECORD_HEADER_BYTES: usize = 32;
pub(crate) const RECORD_ALIGNMENT: usize = 8;
/// The largest payload. Far above what the core puts into one batch.
pub(crate) const RECORD_BYTES_MAX: usize = 256 << 20;

const RECORD_VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// From here to the end of the header there are zeros.
const RESERVED_AT: usize = 26;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// The state that a segment starts from; its first record, and nowhere else.
    Base,
    /// One batch of the core.
    Batch,
    /// A snapshot of our own is durable: entries up to it may go.
    Compacted,
    /// Nothing by itself; written after a sync, its `durable` vouches for what the sync covered.
    Synced,
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Base),
            2 => Some(Self::Batch),
            3 => Some(Self::Compacted),
            4 => Some(Self::Synced),
            _ => None,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Base => 1,
            Self::Batch => 2,
            Self::Compacted => 3,
            Self::Synced => 4,
        }
    }
}

/// A whole record whose checksum holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) sequence: u64,
    pub(crate) durable: u64,
    pub(crate) kind: RecordKind,
    pub(crate) payload: &'a [u8],
    /// Offset after its padding.
    pub(crate) end: usize,
}

/// What lies at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Record(Record<'a>),
    /// Zeros where a header would be, or too few bytes for one.
    Blank,
    /// Not a record of this segment.
    Bad,
    /// A record of a later format: its checksum holds, so nobody may take it for damage, or clean it away.
    Newer(Unknown),
}

/// What a record whose checksum holds says that this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unknown {
    #[error("a record is of format {0}, and this version knows only {RECORD_VERSION}")]
    Version(u8),
    #[error("a record is of kind {0}, which this version does not know")]
    Kind(u8),
    #[error("a record uses bytes of its header that this version does not know")]
    Reserved,
    #[error("a record of {0} bytes is longer than this version writes any")]
    Length(usize),
}

/// What lies behind an unreadable record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// A record that was written when the unreadable one was already durable.
    Proof { offset: usize, sequence: u64 },
    /// A record of a later format: what it proves, this version cannot tell.
    Newer { offset: usize, unknown: Unknown },
}

/// Records being put together for one write: payloads first, headers once their place is known.
#[derive(Debug, Default)]
pub(crate) struct Group {
    bytes: Vec<u8>,
    records: Vec<(usize, RecordKind)>,
}

/// Memory that a group keeps for the next one, in bytes.
const GROUP_KEPT_BYTES: usize = 1 << 20;

impl Group {
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.bytes.clear();
        self.bytes.shrink_to(GROUP_KEPT_BYTES);
    }

    /// Adds a record; `write` appends its payload.
    pub(crate) fn push(
        &mut self,
        kind: RecordKind,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), WireError>,
    ) -> Result<(), GroupError> {
        let start = self.bytes.len();
        self.bytes.resize(start + RECORD_HEADER_BYTES, 0);
        write(&mut self.bytes)?;
        let length = self.bytes.len() - start - RECORD_HEADER_BYTES;
        if length > RECORD_BYTES_MAX {
            return Err(GroupError::TooLarge { bytes: length });
        }
        let length = u32::try_from(length).map_err(|_| GroupError::TooLarge { bytes: length })?;
        self.fill(start + CHECKSUM_BYTES, &length.to_le_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(RECORD_ALIGNMENT), 0);
        self.records.push((start, kind));
        Ok(())
    }

    /// How many records it holds.
    pub(crate) fn records(&self) -> u64 {
        self.records.len() as u64
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Completes every header, the first record having the sequence `first`, and gives the bytes to write.
    pub(crate) fn seal(&mut self, salt: u32, first: u64, durable: u64) -> &[u8] {
        let mut end = self.bytes.len();
        for (place, (start, kind)) in std::mem::take(&mut self.records).into_iter().enumerate().rev() {
            self.fill(start + 8, &(first + place as u64).to_le_bytes());
            self.fill(start + 16, &durable.to_le_bytes());
            self.fill(start + 24, &[kind.byte(), RECORD_VERSION]);
            let covered = self.bytes.get(start + CHECKSUM_BYTES..end).unwrap_or_default();
            let checksum = crc32c::crc32c_append(salt, covered);
            self.fill(start, &checksum.to_le_bytes());
            end = start;
        }
        &self.bytes
    }

    fn fill(&mut self, at: usize, bytes: &[u8]) {
        if let Some(target) = self.bytes.get_mut(at..at + bytes.len()) {
            target.copy_from_slice(bytes);
        }
    }
}

/// Why a record was not added to a group.
#[derive(Debug)]
pub(crate) enum GroupError {
    Wire(WireError),
    TooLarge { bytes: usize },
}

impl From<WireError> for GroupError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// What lies at `offset` of a segment with this salt. Takes any bytes.
pub(crate) fn read(segment: &[u8], offset: usize, salt: u32) -> Found<'_> {
    let Some(header) = segment.get(offset..offset.saturating_add(RECORD_HEADER_BYTES)) else {
        return Found::Blank;
    };
    if header.iter().all(|byte| *byte == 0) {
        return Found::Blank;
    }
    let length = u32_at(header, CHECKSUM_BYTES) as usize;
    let end = offset + RECORD_HEADER_BYTES + length.next_multiple_of(RECORD_ALIGNMENT);
    let Some(covered) = segment.get(offset + CHECKSUM_BYTES..end) else { return Found::Bad };
    if crc32c::crc32c_append(salt, covered) != u32_at(header, 0) {
        return Found::Bad;
    }
    let kind = match known_kind(header, length) {
        Ok(kind) => kind,
        Err(unknown) => return Found::Newer(unknown),
    };
    let payload_start = offset + RECORD_HEADER_BYTES;
    match segment.get(payload_start..payload_start + length) {
        Some(payload) => {
            let (sequence, durable) = (u64_at(header, 8), u64_at(header, 16));
            Found::Record(Record { sequence, durable, kind, payload, end })
        }
        None => Found::Bad,
    }
}

/// The kind of a record whose checksum holds, if this version knows everything that its header says.
fn known_kind(header: &[u8], length: usize) -> Result<RecordKind, Unknown> {
    let (kind, version) = (header.get(24).copied().unwrap_or(0), header.get(25).copied().unwrap_or(0));
    if version != RECORD_VERSION {
        return Err(Unknown::Version(version));
    }
    if header.iter().skip(RESERVED_AT).any(|byte| *byte != 0) {
        return Err(Unknown::Reserved);
    }
    if length > RECORD_BYTES_MAX {
        return Err(Unknown::Length(length));
    }
    RecordKind::from_byte(kind).ok_or(Unknown::Kind(kind))
}

/// What the first record after `offset` shows that was written when the record `sequence` was already durable, or that
/// this version does not know. A proof makes an unreadable `sequence` damage and no torn write.
pub(crate) fn find_behind(segment: &[u8], offset: usize, salt: u32, sequence: u64) -> Option<Behind> {
    let possible = sequence..=sequence.saturating_add((segment.len() / RECORD_HEADER_BYTES) as u64);
    let mut at = offset.next_multiple_of(RECORD_ALIGNMENT);
    while let Some(header) = segment.get(at..at + RECORD_HEADER_BYTES) {
        // The sequence is looked at first: a checksum over every offset would cost too much.
        if possible.contains(&u64_at(header, 8)) {
            match read(segment, at, salt) {
                Found::Record(record) if record.durable >= sequence => {
                    return Some(Behind::Proof { offset: at, sequence: record.sequence });
                }
                Found::Newer(unknown) => return Some(Behind::Newer { offset: at, unknown }),
                Found::Record(record) => {
                    at = record.end;
                    continue;
                }
                _ => {}
            }
        }
        at += RECORD_ALIGNMENT;
    }
    None
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u64::from_le_bytes(*chunk))
}
