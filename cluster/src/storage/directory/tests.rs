//! Headers of data directories: what is accepted, what is refused and how it is said.

use std::sync::Arc;

use super::*;
use crate::storage::testing::{OWNER, assert_golden, members};
use crate::storage::{RealDisk, SimDisk, Wal, WalLimits};

fn open(disk: &SimDisk, owner: Owner) -> Result<DataDirectory, DirectoryError> {
    DataDirectory::open(Arc::new(disk.clone()), owner)
}

fn used() -> SimDisk {
    let disk = SimDisk::new(1);
    let directory = open(&disk, OWNER).expect("fresh");
    assert!(directory.is_fresh());
    Wal::open(directory, WalLimits { segment_bytes: 512 }, &members()).expect("fresh");
    disk
}

#[test]
fn the_header_of_a_started_directory_has_its_golden_bytes() {
    assert_golden("data-directory-version", header(&OWNER, false).as_bytes());
}

#[test]
fn its_owner_finds_it_started_after_the_log_was_made() {
    let disk = used();
    assert!(!open(&disk, OWNER).expect("ours").is_fresh());
}

#[test]
fn another_cluster_is_refused_with_both_ids_and_the_path() {
    let owner = Owner { cluster: [0xee; 16], ..OWNER };
    let disk = used();
    let before = disk.content(VERSION_NAME);
    let text = open(&disk, owner).expect_err("another cluster's").to_string();
    for part in
        ["simulated:VERSION", &cluster_hex(&OWNER.cluster), &"ee".repeat(16), "its own data directory"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(disk.content(VERSION_NAME), before, "nothing was changed");
}

#[test]
fn another_node_or_another_life_is_refused() {
    for owner in [Owner { node: 8, ..OWNER }, Owner { incarnation: 9, ..OWNER }] {
        let text = open(&used(), owner).expect_err("not its own").to_string();
        assert!(text.contains("belongs to node 7 (incarnation 0000000001020304)"), "{text}");
        assert!(text.contains(&format!("this is node {}", node_of(owner.node, owner.incarnation))), "{text}");
    }
}

#[test]
fn a_directory_and_an_identity_of_different_recoveries_are_refused_with_what_to_do() {
    for (recovery_epoch, parts) in [
        (6, ["epoch 5", "of epoch 6", "rejoin as a new one"]),
        (4, ["epoch 5", "of epoch 4", "Put back the identity file"]),
    ] {
        let disk = used();
        let before: Vec<_> = disk.paths().iter().map(|path| disk.content(path)).collect();
        let text = open(&disk, Owner { recovery_epoch, ..OWNER }).expect_err("another epoch's").to_string();
        for part in parts {
            assert!(text.contains(part), "{text}");
        }
        let after: Vec<_> = disk.paths().iter().map(|path| disk.content(path)).collect();
        assert_eq!(after, before, "nothing was changed");
    }
}

#[test]
fn a_newer_format_is_refused_whatever_else_it_says() {
    let disk = used();
    disk.put(VERSION_NAME, b"format = 2\nwho knows\n");
    let error = open(&disk, OWNER).expect_err("newer");
    assert!(matches!(&error, DirectoryError::Newer { .. }), "{error}");
    assert!(error.to_string().contains("it says format 2, and this version knows only 1"), "{error}");
}

#[test]
fn a_whole_header_that_says_more_than_this_version_knows_is_a_newer_one() {
    for (from, to) in [("log = started", "log = sealed"), ("log = started", "place = 3\nlog = started")] {
        let disk = used();
        let text = header(&OWNER, false).replace(from, to);
        let (body, _) = text.rsplit_once("crc32c = ").expect("the last line");
        let changed = format!("{body}crc32c = {:08x}\n", crc32c::crc32c(body.as_bytes()));
        disk.put(VERSION_NAME, changed.as_bytes());
        let error = open(&disk, OWNER).expect_err("newer");
        assert!(matches!(&error, DirectoryError::Newer { .. }), "{to}: {error}");
        assert_eq!(disk.content(VERSION_NAME).as_deref(), Some(changed.as_bytes()), "nothing was changed");
    }
}

#[test]
fn every_flipped_bit_of_the_header_is_refused() {
    let disk = used();
    let bytes = disk.content(VERSION_NAME).expect("there").len() as u64;
    for place in 0..bytes * 8 {
        assert!(disk.flip_bit(VERSION_NAME, place / 8, (place % 8) as u8));
        let refused = open(&disk, OWNER).expect_err("one bit is wrong");
        assert!(!matches!(refused, DirectoryError::Disk(_)), "bit {place}: {refused}");
        assert!(disk.flip_bit(VERSION_NAME, place / 8, (place % 8) as u8));
    }
    open(&disk, OWNER).expect("whole again");
}

#[test]
fn data_without_a_header_is_not_taken_over() {
    let disk = used();
    disk.remove(VERSION_NAME).expect("there");
    let error = open(&disk, OWNER).expect_err("whose is it?");
    assert!(
        matches!(&error, DirectoryError::Missing { evidence, .. } if evidence.ends_with(".wal")),
        "{error}"
    );
}

#[test]
fn a_start_cut_short_at_any_call_is_simply_begun_again() {
    let mut finished = false;
    for calls in 0..60 {
        let disk = SimDisk::new(calls);
        disk.stop_after(calls);
        let start = || Wal::open(open(&disk, OWNER)?, WalLimits { segment_bytes: 512 }, &members());
        finished = start().is_ok();
        disk.crash();
        let (_, recovered) = start().expect("an interrupted first start leaves nothing in the way");
        assert_eq!(recovered.entries.len(), 0);
    }
    assert!(finished, "the last rounds were not interrupted at all");
}

#[test]
fn a_directory_with_anything_else_in_it_is_refused_and_left_as_it_is() {
    for path in ["notes.tmp", "COMMITTED", "photographs/1.jpg"] {
        let disk = SimDisk::new(1);
        if let Some((directory, _)) = path.split_once('/') {
            disk.create_directory(directory).expect("no fault");
        }
        disk.put(path, b"a person's");
        let error = open(&disk, OWNER).expect_err("somebody else's");
        assert!(matches!(error, DirectoryError::NotEmpty { .. }), "{error}");
        let name = path.split('/').next().expect("the first part");
        let text = error.to_string();
        assert!(text.contains(&format!("it holds {name}.")), "{text}");
        assert!(text.contains("simulated:") && text.contains("empty or new one"), "{text}");
        assert_eq!(disk.paths(), [path], "nothing was made and nothing removed");
    }
}

#[test]
fn many_foreign_names_are_cut_short() {
    let disk = SimDisk::new(1);
    (1..=7).for_each(|number| disk.put(&format!("file{number}"), b"x"));
    let text = open(&disk, OWNER).expect_err("somebody else's").to_string();
    assert!(text.contains("it holds file1, file2, file3, file4, file5 and 2 more."), "{text}");
}

#[test]
fn an_empty_file_system_and_a_start_cut_short_are_empty_enough() {
    let root = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(root.path().join("lost+found")).expect("room");
    std::fs::write(root.path().join("VERSION.tmp"), "half").expect("room");
    let open = || {
        let disk = RealDisk::open(root.path()).expect("free");
        DataDirectory::open(Arc::new(disk), OWNER)
    };
    assert!(open().expect("only what is found in an empty one").is_fresh());
    assert!(!root.path().join("VERSION.tmp").exists());
    std::fs::remove_file(root.path().join("VERSION")).expect("there");
    let text = open().expect_err("a directory made by someone").to_string();
    assert!(text.contains("it holds snapshots-5, wal-5."), "{text}");
}

#[test]
fn beside_our_own_header_only_our_own_temporary_files_go() {
    let disk = used();
    for path in ["COMMITTED.tmp", "notes.tmp"] {
        disk.put(path, b"x");
    }
    open(&disk, OWNER).expect("ours");
    assert_eq!(disk.content("COMMITTED.tmp"), None);
    assert_eq!(disk.content("notes.tmp").as_deref(), Some(b"x".as_slice()));
}

#[test]
fn unfinished_files_are_removed() {
    let disk = used();
    for path in ["wal-5/segment.tmp", "snapshots-5/1-1.tmp", "VERSION.tmp"] {
        disk.put(path, b"half");
    }
    open(&disk, OWNER).expect("ours");
    assert!(!disk.paths().iter().any(|path| path.ends_with(".tmp")), "{:?}", disk.paths());
}
