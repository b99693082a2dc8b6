//! The log by example: its bytes, its order of writes, and how it says what is wrong.

use super::*;
use crate::storage::testing::{
    OWNER, assert_golden, batch, command, directory, durable, members, meta, numbered, segment_path,
};
use crate::storage::{DataDirectory, Owner, SimDisk, SimFaults};
use ravelin_consensus::{Entry, EntryKind, HardState, Index, NodeId, Term};

mod model;
mod newer;

const SMALL: WalLimits = WalLimits { segment_bytes: 1024 };

fn open(disk: &SimDisk) -> Result<(Wal, Recovered), WalError> {
    Wal::open(DataDirectory::open(std::sync::Arc::new(disk.clone()), OWNER)?, SMALL, &members())
}

fn filled(disk: &SimDisk, entries: u64) -> Wal {
    let (mut wal, _) = open(disk).expect("fresh");
    for index in 1..=entries {
        assert_eq!(wal.append(&[numbered(index)]).expect("no fault"), Some(Token(index)));
    }
    wal
}

fn refused(disk: &SimDisk) -> WalError {
    open(disk).map(|(_, recovered)| recovered).expect_err("the log must not open")
}

#[test]
fn the_bytes_of_a_segment_are_golden() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk).expect("fresh");
    let configuration = Entry { term: Term(5), kind: EntryKind::Configuration(members()) };
    let empty = Entry { term: Term(5), kind: EntryKind::Empty };
    wal.append(&[
        batch(1, 5, 1, vec![empty, configuration, command(5, b"a command")]),
        batch(2, 6, 4, vec![]),
    ])
    .expect("no fault");
    let end = usize::try_from(wal.offset).expect("a small segment");
    let content = disk.content(&segment_path(1)).expect("there");
    let (written, rest) = content.split_at(end);
    assert_golden("wal-segment", written);
    assert_eq!(content.len(), 1024, "preallocated");
    assert!(rest.iter().all(|byte| *byte == 0));
}

#[test]
fn the_payload_of_an_installed_snapshot_is_golden() {
    let mut installed = batch(9, 4, 101, vec![command(4, b"x")]);
    installed.snapshot = Some(Box::new(meta(100, 3)));
    installed.hard_state = HardState { term: Term(4), vote: None };
    let mut bytes = Vec::new();
    encode_batch(&installed, &mut bytes).expect("small");
    assert_golden("wal-batch-with-snapshot", &bytes);
    let decoded = crate::storage::wire::decode_batch(&bytes).expect("just encoded");
    assert_eq!(decoded, Batch { token: Token(0), ..installed });
}

#[test]
fn many_batches_share_one_sync() {
    let disk = SimDisk::new(1);
    let mut wal = filled(&disk, 1);
    let before = disk.syncs();
    let batches: Vec<_> = (2..=5).map(numbered).collect();
    assert_eq!(wal.append(&batches).expect("no fault"), Some(Token(5)));
    assert_eq!(disk.syncs() - before, 1);
    assert_eq!(wal.append(&[]).expect("nothing to do"), None);
    assert_eq!(disk.syncs() - before, 1);
}

#[test]
fn a_group_larger_than_a_segment_gets_one_of_its_own() {
    let disk = SimDisk::new(1);
    let mut wal = filled(&disk, 1);
    let large = vec![5; 10_000];
    wal.append(&[batch(2, 1, 2, vec![command(1, &large)]), numbered(3)]).expect("no fault");
    wal.append(&[numbered(4)]).expect("no fault");
    assert_eq!(wal.segments(), 3);
    assert_eq!(open(&disk).expect("whole").1.entries.get(1), Some(&command(1, &large)));
}

#[test]
fn a_failed_sync_stops_the_log_for_good_and_is_never_retried() {
    let disk = SimDisk::new(1);
    let mut wal = filled(&disk, 3);
    disk.fail_next_sync();
    let error = wal.append(&[numbered(4)]).expect_err("not confirmed");
    assert!(matches!(&error, WalError::SyncFailed { .. }), "{error}");
    assert!(error.to_string().contains("false answer"), "{error}");
    let syncs = disk.syncs();
    for _ in 0..3 {
        let stopped = wal.append(&[numbered(4)]).expect_err("stopped").to_string();
        assert!(stopped.contains("has stopped") && stopped.contains("input/output error"), "{stopped}");
        assert!(matches!(wal.compact(&meta(2, 1)), Err(WalError::Stopped { .. })));
    }
    assert_eq!(disk.syncs(), syncs, "the device would now claim success");
    disk.crash();
    let recovered = open(&disk).expect("what is there").1;
    assert!((3..=4).contains(&recovered.entries.len()), "the acknowledged, and perhaps the one in doubt");
}

#[test]
fn a_full_disk_stops_the_log_clearly_and_loses_nothing() {
    let disk = SimDisk::new(1);
    let mut wal = filled(&disk, 1);
    disk.set_faults(SimFaults { space_bytes: Some(2600), ..Default::default() });
    let mut acknowledged = 1;
    let error = loop {
        match wal.append(&[numbered(acknowledged + 1)]) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, WalError::NoSpace { .. }), "{error}");
    assert!(error.to_string().contains("Nothing acknowledged is lost. Free space"), "{error}");
    assert!(matches!(wal.append(&[numbered(acknowledged + 1)]), Err(WalError::Stopped { .. })));
    assert!(acknowledged > 10 && wal.segments() == 2);
    assert!(
        !disk.paths().iter().any(|path| path.ends_with(".tmp")),
        "no half-made segment takes the little room"
    );
    let (mut wal, recovered) = open(&disk).expect("a full disk does not stop a start");
    assert_eq!(recovered.entries.len() as u64, acknowledged);
    disk.set_faults(SimFaults::default());
    wal.append(&[numbered(acknowledged + 1)]).expect("room again");
}

#[test]
fn compaction_removes_whole_segments_and_keeps_what_follows_the_snapshot() {
    let disk = SimDisk::new(1);
    let mut wal = filled(&disk, 60);
    let before = wal.segments();
    assert!(before > 5);
    wal.compact(&meta(50, 1)).expect("no fault");
    assert!(wal.segments() <= 3, "{before} segments before, {} after", wal.segments());
    assert_eq!(wal.disk_bytes().expect("there"), wal.segments() as u64 * 1024);
    wal.compact(&meta(20, 1)).expect("an older one changes nothing");
    wal.append(&[numbered(61)]).expect("no fault");
    let recovered = open(&disk).expect("whole").1;
    assert_eq!(recovered.snapshot, Some(meta(50, 1)));
    assert_eq!((recovered.entries.len(), recovered.next_index()), (11, Index(62)));
}

#[test]
fn an_installed_snapshot_replaces_the_log() {
    let disk = SimDisk::new(1);
    let mut wal = filled(&disk, 60);
    let mut installed = batch(61, 2, 501, vec![]);
    installed.snapshot = Some(Box::new(meta(500, 2)));
    wal.append(&[installed, batch(62, 2, 501, vec![command(2, b"after")])]).expect("no fault");
    assert_eq!(wal.segments(), 1);
    let recovered = open(&disk).expect("whole").1;
    assert_eq!((recovered.snapshot, recovered.entries), (Some(meta(500, 2)), vec![command(2, b"after")]));
}

#[test]
fn a_batch_that_does_not_connect_is_not_written() {
    let disk = SimDisk::new(1);
    let mut wal = filled(&disk, 3);
    let error = wal.append(&[numbered(5)]).expect_err("entry 4 is missing").to_string();
    assert!(error.contains("begins at entry 5, but the log continues at 4"), "{error}");
    assert_eq!(open(&disk).expect("whole").1.entries.len(), 3);
}

#[test]
fn damage_says_where_why_and_what_to_do() {
    let disk = SimDisk::new(1);
    drop(filled(&disk, 3));
    assert!(disk.flip_bit(&segment_path(1), 272, 3));
    let text = refused(&disk).to_string();
    for part in [
        "simulated:wal-5/00000000000000000001.wal is damaged at byte",
        "shows that it was on disk",
        "replace it by a new one",
        "Do not edit or shorten",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_missing_segment_or_a_missing_log_is_damage() {
    for missing in [1, 2, 3] {
        let disk = SimDisk::new(1);
        assert!(filled(&disk, 60).segments() > 3);
        disk.remove(&segment_path(missing)).expect("there");
        let error = refused(&disk);
        assert!(matches!(&error, WalError::Damaged { .. }), "without segment {missing}: {error}");
    }
    let disk = SimDisk::new(1);
    drop(filled(&disk, 3));
    disk.remove(&segment_path(1)).expect("there");
    let error = refused(&disk);
    assert!(
        matches!(&error, WalError::Missing { .. }) && error.to_string().contains("vote twice"),
        "{error}"
    );
}

#[test]
fn a_segment_that_was_cut_off_is_damage_wherever_the_cut_is() {
    let disk = SimDisk::new(1);
    drop(filled(&disk, 3));
    let whole = disk.content(&segment_path(1)).expect("there");
    for length in 0..whole.len() {
        disk.put(&segment_path(1), whole.get(..length).expect("shorter"));
        assert!(matches!(refused(&disk), WalError::Damaged { .. }), "cut to {length} bytes");
    }
}

#[test]
fn segments_of_others_and_of_the_future_are_refused() {
    let disk = SimDisk::new(1);
    drop(filled(&disk, 3));
    let whole = disk.content(&segment_path(1)).expect("there");

    for other in [Owner { node: 8, ..OWNER }, Owner { recovery_epoch: 4, ..OWNER }] {
        let mut header = SegmentHeader::decode(&whole).expect("whole");
        header.owner = other;
        let mut foreign = whole.clone();
        foreign.splice(..SEGMENT_HEADER_BYTES, header.encode());
        disk.put(&segment_path(1), &foreign);
        assert!(matches!(refused(&disk), WalError::Foreign { .. }));
    }

    let mut newer = whole;
    newer[8] = 2;
    disk.put(&segment_path(1), &newer);
    let error = refused(&disk);
    assert!(matches!(&error, WalError::Newer { offset: 0, .. }), "{error}");
    assert!(error.to_string().contains("is of format 2, and this version knows only 1"), "{error}");
}

#[test]
fn a_torn_tail_is_cut_and_leaves_no_trace() {
    let disk = SimDisk::new(1);
    let wal = filled(&disk, 3);
    let (end, salt, next) = (wal.offset, wal.header.salt(), wal.next_sequence);
    // Two records of one group, the first of them torn: the second is whole, but proves nothing.
    let mut group = Group::default();
    for index in [4, 5] {
        push(&mut group, RecordKind::Batch, |target| encode_batch(&numbered(index), target)).expect("small");
    }
    let bytes = group.seal(salt, next, next - 1).to_vec();
    disk.open(&segment_path(1)).and_then(|file| file.write_at(end, &bytes)).expect("room");
    assert!(disk.flip_bit(&segment_path(1), end + 40, 0));
    let (mut wal, recovered) = open(&disk).expect("a torn tail is no damage");
    assert_eq!(recovered.entries.len(), 3);
    assert!(recovered.torn_bytes > 0 && recovered.torn_bytes <= bytes.len() as u64);
    let content = disk.content(&segment_path(1)).expect("there");
    assert!(content.iter().skip(usize::try_from(end).expect("small")).all(|byte| *byte == 0));
    wal.append(&[numbered(4)]).expect("no fault");
    disk.crash();
    assert_eq!(open(&disk).expect("whole").1.entries.len(), 4);
}

#[test]
fn what_a_killed_process_left_in_the_cache_is_synced_before_it_counts() {
    let disk = SimDisk::new(1);
    let wal = filled(&disk, 3);
    let mut group = Group::default();
    push(&mut group, RecordKind::Batch, |target| encode_batch(&numbered(4), target)).expect("small");
    let bytes = group.seal(wal.header.salt(), wal.next_sequence, wal.durable).to_vec();
    wal.file.write_at(wal.offset, &bytes).expect("room");
    disk.kill();
    let recovered = open(&disk).expect("whole").1;
    assert_eq!(recovered.entries.len(), 4, "written whole, though never acknowledged");
    for _ in 0..20 {
        disk.crash();
        assert_eq!(open(&disk).expect("whole").1, recovered, "and never lost from then on");
    }
}

/// The mark behind the last group may be lost with the power; from the next start on there is one again.
#[test]
fn damage_to_what_a_start_has_found_is_no_torn_write() {
    let mut unmarked = 0;
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let wal = filled(&disk, 3);
        let mark = usize::try_from(wal.offset).expect("a small segment") - RECORD_HEADER_BYTES;
        drop(wal);
        disk.crash();
        let found = disk.content(&segment_path(1)).expect("there");
        unmarked += u64::from(found.iter().skip(mark).all(|byte| *byte == 0));
        assert_eq!(open(&disk).expect("only power was lost").1.entries.len(), 3);
        disk.kill();
        assert!(disk.flip_bit(&segment_path(1), mark as u64 - 9, 3));
        assert!(matches!(refused(&disk), WalError::Damaged { .. }), "seed {seed}");
    }
    assert!(unmarked > 5, "the mark was lost {unmarked} times");
}

#[test]
fn what_is_acknowledged_after_a_kill_at_any_call_of_a_rotation_survives_a_crash() {
    let mut rotated = 0;
    for seed in 0..240 {
        let disk = SimDisk::new(seed);
        let mut wal = filled(&disk, 1);
        let mut next = 2;
        while wal.offset + 200 < wal.header.reserved {
            wal.append(&[numbered(next)]).expect("no fault");
            next += 1;
        }
        let large = |index| batch(index, 1, index, vec![command(1, &[7; 300])]);
        disk.stop_after(seed % 12);
        let written = wal.append(&[large(next)]).is_ok();
        disk.kill();
        let (mut wal, recovered) = open(&disk).expect("a killed process is no damage");
        assert!(!written || recovered.next_index().0 == next + 1);
        rotated += usize::from(wal.segments() > 1);
        wal.append(&[numbered(recovered.next_index().0)]).expect("no fault");
        disk.crash();
        let after = open(&disk).expect("a crash is no damage").1;
        assert_eq!(after.next_index(), recovered.next_index().next(), "seed {seed}");
    }
    assert!(rotated > 50, "{rotated} of 240 were stopped late enough for a new segment to be there");
}

#[test]
fn votes_without_entries_are_kept() {
    let disk = SimDisk::new(1);
    let mut wal = filled(&disk, 3);
    let vote = HardState { term: Term(9), vote: Some(NodeId(7)) };
    wal.append(&[Batch { hard_state: vote, ..batch(4, 9, 4, vec![]) }]).expect("no fault");
    disk.crash();
    let recovered = open(&disk).expect("whole").1;
    assert_eq!((recovered.hard_state, durable(&recovered).last_index()), (vote, Index(3)));
    drop(directory(disk));
}
