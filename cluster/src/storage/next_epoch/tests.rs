//! The step from one epoch to the next: whole or not at all, wherever power is lost, and the old log stays readable.

use std::collections::BTreeMap;

use ravelin_consensus::EntryKind;

use super::*;
use crate::storage::SimDisk;
use crate::storage::testing::{OWNER, batch, command, durable, members};

const SMALL: WalLimits = WalLimits { segment_bytes: 1024 };
const NEXT: Owner = Owner { recovery_epoch: OWNER.recovery_epoch + 1, ..OWNER };

type State = Durable<CommandBytes>;

/// A directory with entries, a vote, and perhaps a snapshot; with what a core would restart from.
fn used(seed: u64, with_snapshot: bool) -> (SimDisk, State) {
    let disk = SimDisk::new(seed);
    let directory = DataDirectory::open(Arc::new(disk.clone()), OWNER).expect("fresh");
    let (mut wal, _) = Wal::open(directory.clone(), SMALL, &members()).expect("fresh");
    for index in 1..=20 {
        wal.append(&[batch(index, 3, index, vec![command(3, &[7; 100])])]).expect("no fault");
    }
    if with_snapshot {
        let chunks = [Ok::<_, SnapshotError>([9; 700])];
        let snapshots = SnapshotStore::new(directory);
        let taken = snapshots.write(Index(12), Term(3), members(), chunks).expect("no fault");
        wal.compact(&taken).expect("no fault");
    }
    wal.close().expect("no fault");
    let state = durable(&survey(&disk, OWNER).expect("its own"));
    (disk, state)
}

fn step(disk: &SimDisk) -> Result<Owner, NextEpochError> {
    pass(Arc::new(disk.clone()), OWNER, SMALL)
}

/// What a node of this epoch restarts from.
fn opened(disk: &SimDisk, owner: Owner) -> State {
    let directory = DataDirectory::open(Arc::new(disk.clone()), owner).expect("of this epoch");
    if let (Some(meta), snapshots) =
        (survey(disk, owner).expect("its log").snapshot, SnapshotStore::new(directory.clone()))
    {
        let chunks = snapshots.open(&meta).expect("its snapshot").collect::<Result<Vec<_>, _>>();
        assert_eq!(chunks.expect("whole"), [&[9; 700][..]]);
    }
    durable(&Wal::open(directory, SMALL, &members()).expect("whole").1)
}

fn contents(disk: &SimDisk, places: &[&str]) -> BTreeMap<String, Option<Vec<u8>>> {
    let wanted = |path: &String| places.iter().any(|place| path.starts_with(place));
    disk.paths().into_iter().filter(wanted).map(|path| (path.clone(), disk.content(&path))).collect()
}

#[test]
fn the_survivor_goes_on_alone_with_all_that_it_holds() {
    for with_snapshot in [false, true] {
        let (disk, before) = used(1, with_snapshot);
        let old = contents(&disk, &["wal-5/", "snapshots-5/"]);
        assert_eq!(step(&disk).expect("no fault"), NEXT);
        let after = opened(&disk, NEXT);
        assert_eq!(after.entries.len(), before.entries.len() + 1);
        assert!(after.entries.starts_with(&before.entries));
        assert_eq!(after.snapshot, before.snapshot);
        assert_eq!(after.hard_state, HardState { term: before.hard_state.term.next(), vote: None });
        let last = after.entries.last().expect("the recovery");
        let EntryKind::Configuration(alone) = &last.kind else { panic!("not the members: {last:?}") };
        assert_eq!(alone.recovery_epoch.0, NEXT.recovery_epoch);
        assert_eq!(alone.voters, BTreeMap::from([(NodeId(OWNER.node), Incarnation(OWNER.incarnation))]));
        assert_eq!(contents(&disk, &["wal-5/", "snapshots-5/"]), old, "the old log is kept");
        let error = DataDirectory::open(Arc::new(disk.clone()), OWNER).expect_err("the identity of before");
        assert!(matches!(error, DirectoryError::AfterRecovery { found: 6, expected: 5, .. }), "{error}");
    }
}

/// Power is lost after each single call, and within it as the simulated disk likes: the directory is of one epoch, whole,
/// and the step can be taken again.
#[test]
fn at_every_crash_point_the_directory_is_of_one_epoch_or_the_other() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..6 {
        let mut calls = 0;
        loop {
            let (disk, before) = used(seed, seed % 2 == 0);
            disk.stop_after(calls);
            let result = step(&disk);
            disk.crash();
            let owner = DataDirectory::owner_of(&disk).expect("a header is always there");
            if owner == OWNER {
                assert!(result.is_err(), "acknowledged, and lost at call {calls}");
                assert_eq!(opened(&disk, OWNER), before, "call {calls}");
                step(&disk).expect("it can be taken again");
                old += 1;
            } else {
                new += u64::from(result.is_err());
            }
            let after = opened(&disk, NEXT);
            assert!(after.entries.starts_with(&before.entries), "call {calls}");
            assert_eq!(after.entries.len(), before.entries.len() + 1, "call {calls}");
            if result.is_ok() {
                break;
            }
            calls += 1;
        }
        assert!(calls > 20, "there were only {calls} calls");
    }
    assert!(old > 100 && new > 0, "{old} before the step, {new} after it but not told");
}

#[test]
fn what_cannot_be_read_whole_is_not_given_up() {
    let (disk, _) = used(1, true);
    let snapshot = disk.paths().into_iter().find(|path| path.ends_with(".snap")).expect("taken");
    assert!(disk.flip_bit(&snapshot, 200, 3));
    let error = step(&disk).expect_err("its digest does not hold");
    assert!(matches!(error, NextEpochError::Snapshot(_)), "{error}");
    assert_eq!(DataDirectory::owner_of(&disk).expect("a header"), OWNER);
}

#[test]
fn only_a_log_of_ones_own_is_passed_on_and_a_look_changes_nothing() {
    let (disk, _) = used(1, true);
    let before = contents(&disk, &[""]);
    for other in [Owner { node: 8, ..OWNER }, NEXT, Owner { cluster: [1; 16], ..OWNER }] {
        let error = pass(Arc::new(disk.clone()), other, SMALL).expect_err("not its own");
        assert!(matches!(error, NextEpochError::Directory(_)), "{error}");
        survey(&disk, other).expect_err("not its own");
    }
    survey(&disk, OWNER).expect("its own");
    assert_eq!(contents(&disk, &[""]), before);

    let empty = SimDisk::new(2);
    DataDirectory::open(Arc::new(empty.clone()), OWNER).expect("fresh");
    let error = step(&empty).expect_err("nothing was ever acknowledged here");
    assert!(matches!(error, NextEpochError::Empty { .. }), "{error}");
    assert!(matches!(step(&SimDisk::new(3)), Err(NextEpochError::Directory(DirectoryError::Disk(_)))));
}

#[test]
fn long_logs_are_written_in_records_that_can_be_read() {
    let (disk, _) = used(1, false);
    let directory = DataDirectory::open(Arc::new(disk.clone()), OWNER).expect("its own");
    let (mut wal, _) = Wal::open(directory, SMALL, &members()).expect("its own");
    let large: Vec<_> = (0..5).map(|_| command(3, &vec![1; 700 << 10])).collect();
    for (entry, index) in large.into_iter().zip(21..) {
        wal.append(&[batch(index, 3, index, vec![entry])]).expect("no fault");
    }
    drop(wal);
    step(&disk).expect("no fault");
    assert_eq!(opened(&disk, NEXT).entries.len(), 26);
}
