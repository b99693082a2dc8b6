//! Names and headers of the files that make up the write-ahead log.
//! It must not read or write files.
//!
//! ```text
//!  0  8 bytes   "RAVELWAL"
//!  8  u8        format version, then 7 × 0
//! 16  u64       number of the segment, as in its name
//! 24  16 bytes  cluster
//! 40  u64       node
//! 48  u64       incarnation
//! 56  u64       sequence of the first record
//! 64  u64       where the previous segment ended, in bytes (0: there is none)
//! 72  u64       bytes reserved for the file: one that is shorter was cut off
//! 80  u32       recovery epoch
//! 84  u32       crc32c of everything before
//! 88  records
//! ```
//! A segment gets its name only once header and first record are durable: a named segment without a whole header is
//! damage, never a crash in between.

use super::directory::Owner;
use super::wal_directory;

pub(crate) const SEGMENT_HEADER_BYTES: usize = 88;
pub(crate) const SEGMENT_VERSION: u8 = 1;

const MAGIC: &[u8; 8] = b"RAVELWAL";
const EPOCH_AT: usize = 80;
const CHECKSUM_AT: usize = 84;
const SUFFIX: &str = ".wal";
const NUMBER_DIGITS: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    pub(crate) owner: Owner,
    pub(crate) first_sequence: u64,
    pub(crate) previous_end: u64,
    pub(crate) reserved: u64,
}

/// Why bytes are not the header of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    Damaged,
    Newer(u8),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let fields: [(usize, &[u8]); 8] = [
            (0, MAGIC),
            (8, &[SEGMENT_VERSION]),
            (16, &self.number.to_le_bytes()),
            (24, &identity(&self.owner)),
            (56, &self.first_sequence.to_le_bytes()),
            (64, &self.previous_end.to_le_bytes()),
            (72, &self.reserved.to_le_bytes()),
            (EPOCH_AT, &self.owner.recovery_epoch.to_le_bytes()),
        ];
        for (at, field) in fields {
            bytes.iter_mut().skip(at).zip(field).for_each(|(target, byte)| *target = *byte);
        }
        let checksum = crc32c::crc32c(bytes.split_at(CHECKSUM_AT).0).to_le_bytes();
        bytes.iter_mut().skip(CHECKSUM_AT).zip(checksum).for_each(|(target, byte)| *target = byte);
        bytes
    }

    pub(crate) fn decode(segment: &[u8]) -> Result<Self, HeaderError> {
        let bytes: &[u8; SEGMENT_HEADER_BYTES] = segment.first_chunk().ok_or(HeaderError::Damaged)?;
        let version = bytes[8];
        if bytes.starts_with(MAGIC) && version > SEGMENT_VERSION {
            // Asked before the checksum: a newer header may be laid out differently.
            return Err(HeaderError::Newer(version));
        }
        let u64_at = |at: usize| {
            bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u64::from_le_bytes(*chunk))
        };
        let mut cluster = [0; 16];
        cluster.copy_from_slice(&bytes[24..40]);
        let recovery_epoch = bytes
            .get(EPOCH_AT..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |chunk| u32::from_le_bytes(*chunk));
        let header = Self {
            number: u64_at(16),
            owner: Owner { cluster, recovery_epoch, node: u64_at(40), incarnation: u64_at(48) },
            first_sequence: u64_at(56),
            previous_end: u64_at(64),
            reserved: u64_at(72),
        };
        // Comparing the whole encoding checks magic, zeros and checksum at once.
        if header.encode() == *bytes { Ok(header) } else { Err(HeaderError::Damaged) }
    }

    /// Binds the checksums of the segment's records to this log and this segment.
    pub(crate) fn salt(&self) -> u32 {
        let of_log = crc32c::crc32c(&identity(&self.owner));
        let of_segment = crc32c::crc32c_append(of_log, &self.number.to_le_bytes());
        crc32c::crc32c_append(of_segment, &self.owner.recovery_epoch.to_le_bytes())
    }
}

/// Cluster, node and incarnation as they lie in the header.
fn identity(owner: &Owner) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&owner.cluster);
    bytes[16..24].copy_from_slice(&owner.node.to_le_bytes());
    bytes[24..].copy_from_slice(&owner.incarnation.to_le_bytes());
    bytes
}

pub(crate) fn segment_path(owner: &Owner, number: u64) -> String {
    format!("{}/{number:0width$}{SUFFIX}", wal_directory(owner), width = NUMBER_DIGITS)
}

pub(crate) fn is_segment_name(name: &str) -> bool {
    segment_number(name).is_some()
}

pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    if digits.len() != NUMBER_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}
