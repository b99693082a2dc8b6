//! Snapshot files: what is written, what is read back, and every way in which a file can be wrong.

use std::convert::Infallible;

use super::*;
use crate::storage::testing::{OWNER, assert_golden, directory, members};
use crate::storage::{Disk as _, SimDisk};

fn chunks(parts: &[&[u8]]) -> Vec<Result<Vec<u8>, Infallible>> {
    parts.iter().map(|part| Ok(part.to_vec())).collect()
}

fn write(store: &SnapshotStore, index: u64, parts: &[&[u8]]) -> SnapshotMeta {
    store.write(Index(index), Term(3), members(), chunks(parts)).expect("no fault")
}

fn read(store: &SnapshotStore, meta: &SnapshotMeta) -> Result<Vec<Vec<u8>>, SnapshotError> {
    store.open(meta)?.map(|chunk| chunk.map(|bytes| bytes.to_vec())).collect()
}

fn path_of(meta: &SnapshotMeta) -> String {
    SnapshotName::from(meta).path(&OWNER)
}

#[test]
fn the_bytes_of_a_snapshot_are_golden() {
    let disk = SimDisk::new(1);
    let meta = write(&SnapshotStore::new(directory(disk.clone())), 12, &[b"first chunk", b"second"]);
    assert_eq!(
        path_of(&meta),
        "snapshots-5/00000000000000000012-00000000000000000003-\
         2552b3109416ca39a400fe94909a6ac5e6c3e6375008c4a813974b93fb9a3ab7.snap"
    );
    assert_golden("snapshot", &disk.content(&path_of(&meta)).expect("there"));
}

#[test]
fn names_are_read_back_and_nothing_else_is_taken_for_one() {
    let name = SnapshotName { index: Index(5), term: Term(2), digest: [0xab; 32] };
    let path = name.path(&OWNER);
    let text = crate::storage::disk::name_of(&path);
    assert_eq!(SnapshotName::parse(text), Some(name));
    for wrong in
        [&text[1..], &text.to_uppercase(), "x.snap", &text.replace(".snap", ""), &text.replacen('0', "+", 1)]
    {
        assert_eq!(SnapshotName::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_snapshot_is_there_only_when_it_is_finished() {
    let disk = SimDisk::new(1);
    let store = SnapshotStore::new(directory(disk.clone()));
    let mut writer = store.begin(Index(9), Term(3), members()).expect("no fault");
    writer.push(b"part").expect("no fault");
    assert!(matches!(store.begin(Index(9), Term(3), members()), Err(SnapshotError::Busy { .. })));
    assert_eq!(store.list().expect("no fault"), []);
    drop(writer);
    assert_eq!(disk.paths(), ["VERSION"], "a dropped writer leaves nothing");
    let meta = write(&store, 9, &[b"part"]);
    assert_eq!(store.list().expect("no fault"), [SnapshotName::from(&meta)]);
}

#[test]
fn a_received_snapshot_must_be_the_announced_one() {
    let disk = SimDisk::new(1);
    let store = SnapshotStore::new(directory(disk.clone()));
    let meta = write(&store, 9, &[b"ab", b"c"]);
    let receive = |content: &[u8], expected: &SnapshotMeta| {
        let mut writer = store.begin(meta.index, meta.term, members())?;
        writer.push(content)?;
        writer.finish(Some(expected))
    };
    assert_eq!(receive(b"abc", &meta).expect("other chunks, same content"), meta);
    let refused = receive(b"abd", &meta).expect_err("other content");
    assert!(matches!(refused, SnapshotError::Mismatch { .. }), "{refused}");
    let renamed = SnapshotMeta { configuration: Configuration::default(), ..meta.clone() };
    assert!(receive(b"abc", &renamed).is_err(), "other members");
    assert_eq!(store.list().expect("no fault"), [SnapshotName::from(&meta)]);
}

#[test]
fn skipping_gives_the_chunks_from_there_on() {
    let store = SnapshotStore::new(directory(SimDisk::new(1)));
    let meta = write(&store, 9, &[b"0", b"11", b"222"]);
    let mut reader = store.open(&meta).expect("there");
    reader.skip_to(2).expect("there are three");
    assert_eq!(reader.next_chunk().expect("whole").as_deref(), Some(b"222".as_slice()));
    assert_eq!(reader.next_chunk().expect("whole"), None);
    let refused = store.open(&meta).expect("there").skip_to(4).expect_err("there are three");
    assert!(refused.to_string().contains("only 3 chunks"), "{refused}");
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let disk = SimDisk::new(1);
    let store = SnapshotStore::new(directory(disk.clone()));
    let meta = write(&store, 9, &[b"some content", b"and more"]);
    let path = path_of(&meta);
    let whole = disk.content(&path).expect("there");
    for place in 0..whole.len() as u64 * 8 {
        assert!(disk.flip_bit(&path, place / 8, (place % 8) as u8));
        let refused = read(&store, &meta).expect_err("one bit is wrong");
        assert!(
            matches!(refused, SnapshotError::Damaged { .. } | SnapshotError::Newer { .. }),
            "bit {place}"
        );
        assert!(disk.flip_bit(&path, place / 8, (place % 8) as u8));
    }
    for length in 0..whole.len() {
        disk.put(&path, whole.get(..length).expect("shorter"));
        let refused = read(&store, &meta).expect_err("cut off").to_string();
        assert!(refused.contains("is damaged at byte") && refused.contains(&path), "{length}: {refused}");
    }
    disk.remove(&path).expect("there");
    assert!(matches!(read(&store, &meta), Err(SnapshotError::Missing { .. })));
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let disk = SimDisk::new(1);
    let store = SnapshotStore::new(directory(disk.clone()));
    let meta = write(&store, 9, &[b"x"]);
    let mut bytes = disk.content(&path_of(&meta)).expect("there");
    bytes[8] = 2;
    disk.put(&path_of(&meta), &bytes);
    let refused = read(&store, &meta).expect_err("newer");
    assert!(matches!(refused, SnapshotError::Newer { .. }), "{refused}");
    let text = refused.to_string();
    for part in ["it is of format 2, and this version knows only 1", "Start that version", "no damage"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn bounds_hold_for_each_chunk() {
    let store = SnapshotStore::new(directory(SimDisk::new(1)));
    let mut writer = store.begin(Index(1), Term(1), members()).expect("no fault");
    assert!(matches!(writer.push(b""), Err(SnapshotError::TooLarge { .. })));
    assert!(matches!(writer.push(&vec![0; CHUNK_BYTES_MAX + 1]), Err(SnapshotError::TooLarge { .. })));
    writer.push(&vec![0; CHUNK_BYTES_MAX]).expect("just fits");
    assert_eq!(writer.chunks(), 1);
}

#[test]
fn no_space_says_so_and_leaves_nothing() {
    let disk = SimDisk::new(1);
    let store = SnapshotStore::new(directory(disk.clone()));
    disk.set_faults(crate::storage::SimFaults { space_bytes: Some(2000), ..Default::default() });
    let refused =
        store.write(Index(1), Term(1), members(), chunks(&[&[1; 900], &[2; 900]])).expect_err("full");
    assert!(matches!(&refused, SnapshotError::NoSpace { .. }), "{refused}");
    assert_eq!(disk.paths(), ["VERSION"]);
}

#[test]
fn older_ones_go_and_the_kept_one_stays() {
    let store = SnapshotStore::new(directory(SimDisk::new(1)));
    let metas: Vec<_> = [3, 5, 8].into_iter().map(|index| write(&store, index, &[b"x"])).collect();
    store.remove_older(&metas[1]).expect("no fault");
    let left = |store: &SnapshotStore| -> Vec<u64> {
        store.list().expect("no fault").iter().map(|name| name.index.0).collect()
    };
    assert_eq!(left(&store), [5, 8]);
    store.retain_only(Some(&metas[1])).expect("no fault");
    assert_eq!(left(&store), [5]);
    store.retain_only(None).expect("no fault");
    assert_eq!(left(&store), [0; 0]);
}

#[test]
fn after_a_crash_at_any_call_a_snapshot_is_whole_or_not_there() {
    let mut outcomes = [0, 0];
    for seed in 0..120 {
        let disk = SimDisk::new(seed);
        let store = SnapshotStore::new(directory(disk.clone()));
        disk.stop_after(seed % 10);
        let written = store.write(Index(4), Term(3), members(), chunks(&[&[7; 900], b"end"]));
        disk.crash();
        let store = SnapshotStore::new(directory(disk.clone()));
        let there = store.list().expect("no fault");
        outcomes[usize::from(!there.is_empty())] += 1;
        assert!(written.is_err() || there.len() == 1, "what was acknowledged is there");
        if let Some(name) = there.first() {
            let meta = SnapshotMeta {
                index: name.index,
                term: name.term,
                digest: name.digest,
                configuration: members(),
            };
            assert_eq!(read(&store, &meta).expect("whole").len(), 2);
        }
        assert!(!disk.paths().iter().any(|path| path.ends_with(".tmp")), "the directory was opened again");
    }
    assert!(outcomes.iter().all(|count| *count > 10), "both outcomes happen: {outcomes:?}");
}

#[test]
fn a_whole_description_of_a_newer_form_is_no_damage() {
    let disk = SimDisk::new(1);
    let store = SnapshotStore::new(directory(disk.clone()));
    let meta = write(&store, 12, &[b"x"]);
    let mut bytes = disk.content(&path_of(&meta)).expect("there");
    let at = bytes.len() - encode_snapshot_meta(&meta).expect("small").len();
    bytes[at] = crate::storage::wire::WIRE_VERSION + 1;
    let checksum = checksum(salt(&header(Index(12), Term(3))), 1, &bytes[at..]);
    bytes[at - 4..at].copy_from_slice(&checksum.to_le_bytes());
    disk.put(&path_of(&meta), &bytes);
    let refused = read(&store, &meta).expect_err("newer");
    assert!(matches!(&refused, SnapshotError::Newer { what, .. } if what.contains("version 3")), "{refused}");
}
