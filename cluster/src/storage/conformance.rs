//! What every disk has to do, run on all three. It must not test what only one of them can.

use std::sync::Arc;
use std::time::Duration;

use super::disk::{read_all, replace_file};
use super::testing::{OWNER, batch, command, members, numbered};
use super::{
    DataDirectory, Disk, MemoryDisk, RealDisk, RealDiskError, SimDisk, SnapshotStore, Wal, WalLimits,
};

fn on_every_disk(check: impl Fn(Arc<dyn Disk>)) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    check(Arc::new(RealDisk::open(directory.path()).expect("the directory is new")));
    check(Arc::new(MemoryDisk::new()));
    check(Arc::new(SimDisk::new(1)));
}

#[test]
fn contents_are_read_back_grown_and_preallocated_with_zeros() {
    on_every_disk(|disk| {
        let file = disk.create("a").expect("the name is free");
        file.write_at(3, b"xyz").expect("room");
        assert_eq!(file.bytes().expect("length"), 6);
        file.preallocate(10).expect("room");
        file.preallocate(4).expect("never shortens");
        file.write_at(0, b"abc").expect("room");
        file.sync().expect("no fault");
        assert_eq!(file.bytes().expect("length"), 10);
        assert_eq!(read_all(&*disk, "a", 100).expect("there"), b"abcxyz\0\0\0\0");
        let mut end = [9; 8];
        assert_eq!(file.read_at(6, &mut end).expect("inside"), 4);
        assert_eq!(end, [0, 0, 0, 0, 9, 9, 9, 9], "only what is there is written to the buffer");
        assert_eq!(file.read_at(10, &mut end).expect("at the end"), 0);
        assert!(read_all(&*disk, "a", 9).is_err(), "longer than the reader allows");
    });
}

#[test]
fn names_are_created_once_listed_in_order_renamed_over_and_removed() {
    on_every_disk(|disk| {
        disk.create_directory("d").expect("new");
        disk.create_directory("d").expect("there already");
        for name in ["d/b", "d/a", "top"] {
            disk.create(name).expect("the name is free").write_at(0, name.as_bytes()).expect("room");
        }
        assert!(disk.create("d/a").expect_err("taken").is_already_exists());
        assert_eq!(disk.list("d").expect("there"), ["a", "b"]);
        assert!(disk.list("").expect("there").contains(&"top".to_owned()));
        disk.rename("d/a", "d/b").expect("there");
        assert_eq!(disk.list("d").expect("there"), ["b"]);
        assert_eq!(read_all(&*disk, "d/b", 100).expect("there"), b"d/a");
        let open = disk.open("d/b").expect("there");
        disk.remove("d/b").expect("there");
        let mut content = [0; 3];
        assert_eq!(open.read_at(0, &mut content).expect("open files outlive their names"), 3);
        disk.sync_directory("d").expect("there");
        for error in [
            disk.remove("d/b").err(),
            disk.rename("d/b", "d/c").err(),
            disk.open("d/b").map(drop).err(),
            disk.list("none").map(drop).err(),
            disk.create("none/a").map(drop).err(),
            disk.sync_directory("none").err(),
        ] {
            assert!(error.expect("it is not there").is_not_found());
        }
    });
}

#[test]
fn a_small_file_is_replaced_whole() {
    on_every_disk(|disk| {
        for content in ["first", "second, longer", "3"] {
            replace_file(&*disk, "small", content.as_bytes()).expect("room");
            assert_eq!(read_all(&*disk, "small", 100).expect("there"), content.as_bytes());
        }
        assert!(!disk.list("").expect("there").iter().any(|name| name.ends_with(".tmp")));
    });
}

#[test]
fn log_and_snapshots_come_back_on_every_disk() {
    on_every_disk(|disk| {
        let open = || DataDirectory::open(Arc::clone(&disk), OWNER).expect("fresh, then ours");
        let limits = WalLimits { segment_bytes: 600 };
        let (mut wal, recovered) = Wal::open(open(), limits, &members()).expect("fresh");
        assert_eq!((recovered.entries.len(), recovered.snapshot), (0, None));
        for index in 1..=40 {
            wal.append(&[numbered(index)]).expect("no fault");
        }
        let snapshots = SnapshotStore::new(open());
        let chunks = [b"one".as_slice(), b"two"].map(Ok::<_, std::convert::Infallible>);
        let meta = snapshots
            .write(ravelin_consensus::Index(30), ravelin_consensus::Term(1), members(), chunks)
            .expect("no fault");
        wal.compact(&meta).expect("no fault");
        wal.append(&[batch(41, 2, 39, vec![command(2, b"instead")])]).expect("truncates and appends");
        let segments = wal.segments();
        drop(wal);

        let (wal, recovered) = Wal::open(open(), limits, &members()).expect("ours");
        assert_eq!(wal.segments(), segments);
        assert_eq!(recovered.snapshot.as_ref(), Some(&meta));
        assert_eq!(recovered.entries.len(), 9, "entries 31 to 39");
        assert_eq!(recovered.entries.last(), Some(&command(2, b"instead")));
        assert_eq!(recovered.hard_state.term.0, 2);
        let read: Vec<_> = snapshots.open(&meta).expect("there").collect::<Result<_, _>>().expect("whole");
        assert_eq!(read, [b"one".as_slice(), b"two"]);
    });
}

#[test]
fn a_real_directory_belongs_to_one_process_at_a_time() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("made/on/the/way");
    let held = RealDisk::open(&path).expect("free");
    // A second open file description behaves as another process does: the lock belongs to the description.
    let refused = RealDisk::open(&path).expect_err("taken");
    assert!(
        matches!(&refused, RealDiskError::Locked { path: named } if *named == path.display().to_string())
    );
    drop(held);
    RealDisk::open(&path).expect("free again, though the lock file stayed");
}

#[test]
fn who_awaits_a_real_directory_hears_when_the_last_user_has_let_go() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (held, release) = RealDisk::open_awaited(directory.path()).expect("free");
    let held = Arc::new(held);
    let other = Arc::clone(&held);
    drop(held);
    assert!(!release.wait(Duration::ZERO), "one user is left");
    drop(other);
    assert!(release.wait(Duration::from_secs(60)), "nobody has it any more");
    RealDisk::open(directory.path()).expect("free again");
}
