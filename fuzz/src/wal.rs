//! The write-ahead log on any bytes: it opens or refuses, and what opened once opens again the same. Checksums would keep
//! nearly every change out, so most inputs have theirs mended first.

use ravelin_cluster::storage::{Recovered, fuzz_recover};

const SEGMENT_HEADER_BYTES: usize = 88;
const SEGMENT_EPOCH_AT: usize = 80;
const SEGMENT_CHECKSUM_AT: usize = 84;
const RECORD_HEADER_BYTES: usize = 32;
const RECORD_ALIGNMENT: usize = 8;

/// The first byte says what to do with the rest, which is a segment: `s` mends its checksums, anything else takes it as it is.
pub fn run(input: &[u8]) {
    recovers(input);
}

/// As [`run`]; what was recovered.
pub fn recovers(input: &[u8]) -> Option<Recovered> {
    let (letter, segment) = input.split_first()?;
    let mut segment = segment.to_vec();
    if *letter == b's' {
        mend(&mut segment);
    }
    fuzz_recover(&segment)
}

/// Makes header and records say of themselves what they hold, as far as their lengths make sense.
pub fn mend(segment: &mut [u8]) {
    let Some(header) = segment.get(..SEGMENT_CHECKSUM_AT) else { return };
    let checksum = crc32c::crc32c(header);
    // As the log salts its records: by cluster, node and incarnation, then by the segment's number and the recovery epoch.
    let salt = crc32c::crc32c(header.get(24..56).unwrap_or_default());
    let salt = crc32c::crc32c_append(salt, header.get(16..24).unwrap_or_default());
    let salt = crc32c::crc32c_append(salt, header.get(SEGMENT_EPOCH_AT..).unwrap_or_default());
    put(segment, SEGMENT_CHECKSUM_AT, checksum);
    let mut at = SEGMENT_HEADER_BYTES;
    while let Some(length) = segment.get(at + 4..at + 8).and_then(|field| field.first_chunk()) {
        let end = at + RECORD_HEADER_BYTES + u32::from_le_bytes(*length) as usize;
        let end = end.next_multiple_of(RECORD_ALIGNMENT);
        let whole = segment.get(at..end).filter(|record| record.iter().any(|byte| *byte != 0));
        let Some(covered) = whole.and_then(|record| record.get(4..)) else { break };
        put(segment, at, crc32c::crc32c_append(salt, covered));
        at = end;
    }
}

fn put(segment: &mut [u8], at: usize, value: u32) {
    segment.iter_mut().skip(at).zip(value.to_le_bytes()).for_each(|(target, byte)| *target = byte);
}
