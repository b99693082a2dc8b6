//! What a later version of Ravelin may have left in a log is refused as such: never taken for damage, never cleaned.

use super::*;
use crate::storage::record::RECORD_ALIGNMENT;

const KIND_AT: usize = 24;
const VERSION_AT: usize = 25;
const RESERVED_AT: usize = 26;
/// Of a batch: its payload begins with the length of the encoded head.
const BATCH_VERSION_AT: usize = RECORD_HEADER_BYTES + 4;

/// The record of a batch, changed at one byte, its checksum made good again.
fn record(wal: &Wal, first: u64, durable: u64, at: usize, value: u8) -> Vec<u8> {
    let mut group = Group::default();
    let index = wal.base.next.0;
    push(&mut group, RecordKind::Batch, |target| encode_batch(&numbered(index), target)).expect("small");
    let mut bytes = group.seal(wal.header.salt(), first, durable).to_vec();
    bytes[at] = value;
    let checksum = crc32c::crc32c_append(wal.header.salt(), &bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn put(disk: &SimDisk, offset: u64, bytes: &[u8]) {
    disk.open(&segment_path(1)).and_then(|file| file.write_at(offset, bytes)).expect("room");
}

fn assert_newer(disk: &SimDisk, what: &str) {
    let before = disk.content(&segment_path(1)).expect("there");
    let text = refused(disk).to_string();
    assert!(text.contains("a newer version of Ravelin wrote"), "{what}: {text}");
    assert!(text.contains("Start that version") && text.contains("Nothing was changed"), "{what}: {text}");
    assert!(!text.contains("empty directory") && !text.contains("damaged"), "{what}: {text}");
    assert_eq!(disk.content(&segment_path(1)).expect("there"), before, "{what}: something was changed");
}

#[test]
fn a_newer_record_at_the_end_is_no_torn_write() {
    for (what, at, value) in [
        ("kind", KIND_AT, 9),
        ("version", VERSION_AT, 2),
        ("reserved", RESERVED_AT, 1),
        ("payload", BATCH_VERSION_AT, crate::storage::wire::WIRE_VERSION + 1),
    ] {
        let disk = SimDisk::new(1);
        let wal = filled(&disk, 3);
        let (end, first) = (wal.offset, wal.next_sequence);
        put(&disk, end, &record(&wal, first, first - 1, at, value));
        drop(wal);
        assert_newer(&disk, what);
    }
}

#[test]
fn a_newer_record_behind_a_torn_one_is_not_cleaned_away() {
    let disk = SimDisk::new(1);
    let wal = filled(&disk, 3);
    let (end, first) = (wal.offset, wal.next_sequence);
    let mut torn = record(&wal, first, first - 1, KIND_AT, 2);
    torn[RECORD_HEADER_BYTES] ^= 1;
    assert!(torn.len().is_multiple_of(RECORD_ALIGNMENT));
    put(&disk, end, &torn);
    put(&disk, end + torn.len() as u64, &record(&wal, first + 1, first - 1, KIND_AT, 9));
    drop(wal);
    assert_newer(&disk, "behind a torn record");
}

#[test]
fn a_newer_record_that_a_later_one_vouches_for_is_no_damage() {
    let disk = SimDisk::new(1);
    let wal = filled(&disk, 3);
    let (end, first) = (wal.offset, wal.next_sequence);
    let newer = record(&wal, first, first - 1, KIND_AT, 9);
    put(&disk, end, &newer);
    put(&disk, end + newer.len() as u64, &record(&wal, first + 1, first, KIND_AT, 2));
    drop(wal);
    assert_newer(&disk, "before a known record");
}
