//! Checks of the files: what is saved comes back, whatever is damaged is told and the next older one used.

use std::sync::Arc;

use ravelin_config::secret::ViewKey;
use ravelin_config::{Digest, Key, SealingKeys, Secret, SecretId};

use super::format::Reads;
use super::*;
use ravelin_config::Versions;

fn sealing() -> Sealing {
    Sealing { key: [7; 32], cluster: [1; 16], node: 3 }
}

fn map(entries: &[(&str, &str)]) -> ConfigMap {
    let entry = |(key, text): &(&str, &str)| {
        (Key::new(key).expect("a short printable key"), Arc::from(text.as_bytes()))
    };
    entries.iter().map(entry).collect()
}

fn id(revision: u64, map: &ConfigMap) -> GenerationId {
    GenerationId { cluster: [1; 16], recovery_epoch: 0, revision, digest: map.digest() }
}

fn open(directory: &Path) -> (LastGood, Loaded) {
    LastGood::open(directory, sealing()).expect("the directory is ours")
}

fn newest(directory: &Path) -> (Option<(GenerationId, ConfigMap)>, Vec<LastGoodError>) {
    let (_, loaded) = open(directory);
    (loaded.newest, loaded.problems)
}

fn only_file(directory: &Path) -> PathBuf {
    files(directory).expect("it can be listed").first().expect("a file was written").clone()
}

/// Two generations in one file; the offset at which the second begins.
fn two(directory: &Path) -> ([(GenerationId, ConfigMap); 2], usize) {
    let first = map(&[("a", "1"), ("b", "1")]);
    let second = map(&[("a", "2")]);
    let (mut store, loaded) = open(directory);
    assert!(loaded.newest.is_none() && loaded.problems.is_empty());
    store.save(id(1, &first), &first).expect("saved");
    let length = fs::metadata(only_file(directory)).expect("it is there").len();
    store.save(id(2, &second), &second).expect("saved");
    ([(id(1, &first), first), (id(2, &second), second)], usize::try_from(length).expect("a small file"))
}

#[test]
fn what_was_saved_comes_back_and_saving_twice_writes_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ([_, second], _) = two(directory.path());
    let (found, problems) = newest(directory.path());
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(found, Some(second.clone()));
    let (mut store, _) = open(directory.path());
    store.save(second.0, &second.1).expect("saved");
    let before = fs::read(only_file(directory.path())).expect("readable");
    store.save(second.0, &second.1).expect("saved");
    assert_eq!(fs::read(only_file(directory.path())).expect("readable"), before);
}

#[test]
fn any_flipped_bit_is_told_and_an_older_generation_used() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ([first, _], second_at) = two(directory.path());
    let path = only_file(directory.path());
    let good = fs::read(&path).expect("readable");
    for at in 0..good.len() {
        let mut bad = good.clone();
        if let Some(byte) = bad.get_mut(at) {
            *byte ^= 0x10;
        }
        fs::write(&path, &bad).expect("writable");
        let (found, problems) = newest(directory.path());
        assert_eq!(problems.len(), 1, "byte {at}");
        let expected = (at >= second_at).then(|| first.clone());
        assert_eq!(found, expected, "byte {at}");
    }
}

#[test]
fn a_torn_tail_loses_only_the_last_generation() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ([first, second], second_at) = two(directory.path());
    let path = only_file(directory.path());
    let good = fs::read(&path).expect("readable");
    for length in second_at + 1..good.len() {
        fs::write(&path, good.get(..length).expect("shorter")).expect("writable");
        let (found, problems) = newest(directory.path());
        assert_eq!((found, problems.len()), (Some(first.clone()), 1), "cut at {length}");
    }
    // After a restart a new file is begun, and the damaged one is still there as the older one.
    let (mut store, _) = open(directory.path());
    store.save(second.0, &second.1).expect("saved");
    assert_eq!(newest(directory.path()).0, Some(second));
}

#[test]
fn foreign_newer_and_other_files_are_told_apart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    two(directory.path());
    let foreign = Sealing { cluster: [2; 16], ..sealing() };
    let (_, loaded) = LastGood::open(directory.path(), foreign).expect("the directory is ours");
    assert!(loaded.newest.is_none());
    assert!(matches!(loaded.problems.as_slice(), [LastGoodError::Foreign { .. }]));
    let stranger = Sealing { key: [8; 32], ..sealing() };
    let (_, loaded) = LastGood::open(directory.path(), stranger).expect("the directory is ours");
    assert!(matches!(loaded.problems.as_slice(), [LastGoodError::Damaged { at: 66, .. }]));

    let path = only_file(directory.path());
    let good = fs::read(&path).expect("readable");
    for (at, of) in [(8, "form"), (9, "feed")] {
        let mut newer = good.clone();
        *newer.get_mut(at).expect("the version byte") = 9;
        fs::write(&path, &newer).expect("writable");
        let (_, problems) = newest(directory.path());
        let text = problems.first().map(ToString::to_string).unwrap_or_default();
        assert!(
            text.contains("newer version") && text.contains(&format!("its {of} has version 9")),
            "{text}"
        );
        assert_eq!(fs::read(&path).expect("readable"), newer, "it is left for the version that reads it");
    }
    fs::write(&path, b"something else").expect("writable");
    assert!(matches!(newest(directory.path()).1.as_slice(), [LastGoodError::NotOne { .. }]));
}

#[test]
fn a_build_reads_what_the_version_before_wrote_and_says_so_of_others() {
    let versions = |oldest, newest| Versions { oldest, newest };
    let file =
        |form: u8, feed: u8| [b"RVLNGOOD".as_slice(), &[form, feed], &[1; 16 + 8 + SALT_BYTES]].concat();
    let read = |form, feed, reads| {
        Header::from_bytes(Path::new("x"), &file(form, feed), reads).map(|header| header.feed)
    };
    // Builds of this version, of one to come, and of one after that.
    let now = Reads { format: versions(1, 1), feed: versions(1, 1) };
    let next = Reads { format: versions(1, 2), feed: versions(1, 2) };
    let later = Reads { format: versions(2, 3), feed: versions(1, 2) };
    assert!(matches!(read(1, 1, now), Ok(1)));
    assert!(matches!(read(1, 1, next), Ok(1)) && matches!(read(2, 2, next), Ok(2)));
    assert!(matches!(read(2, 1, now), Err(LastGoodError::Newer { of: "form", found: 2, .. })));
    assert!(matches!(read(1, 2, now), Err(LastGoodError::Newer { of: "feed", found: 2, .. })));
    let older = read(1, 1, later).expect_err("two steps behind");
    assert!(older.to_string().contains("this build reads 2 to 3"), "{older}");
}

#[test]
fn a_new_file_begins_when_deltas_outgrow_the_whole_and_old_files_go() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (mut store, _) = open(directory.path());
    let large = "x".repeat(400_000);
    for revision in 1..20 {
        let text = format!("{revision}{large}");
        let map = map(&[("a", &text)]);
        store.save(id(revision, &map), &map).expect("saved");
    }
    let kept = files(directory.path()).expect("it can be listed");
    assert_eq!(kept.len(), FILES_KEPT);
    for path in &kept {
        let bytes = fs::metadata(path).expect("it is there").len();
        assert!(bytes < 2_500_000, "{bytes} bytes are more than a whole, its room for deltas, and one delta");
    }
    let (found, _) = newest(directory.path());
    assert_eq!(found.map(|(generation, _)| generation.revision), Some(19));
    let damaged = kept.first().expect("two files");
    fs::write(damaged, b"RVLNGOOD").expect("writable");
    let (found, problems) = newest(directory.path());
    assert_eq!(problems.len(), 1);
    assert!(found.is_some_and(|(generation, _)| generation.revision < 19), "the older file is used");
}

#[test]
fn secrets_come_back_with_the_keys_that_open_them_whole_and_appended() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let keys = |number: u8| SealingKeys::new([1; 16], &[[number; 32]]).expect("one key").view_key("");
    let add = |map: &mut ConfigMap, number: u8, key: &ViewKey| {
        let id = SecretId([number; 32]);
        map.change_secrets([(id, Some(key.seal(&id, &Secret::new(format!("value {number}")))))]);
        map.add_view_key(key.clone());
    };
    let value = |map: &ConfigMap, number: u8| {
        map.secrets().open(&SecretId([number; 32])).map(|secret| secret.expose().to_owned())
    };
    let mut map = map(&[("a", "1")]);
    add(&mut map, 1, &keys(1));
    let (mut store, _) = open(directory.path());
    store.save(id(1, &map), &map).expect("saved");
    // A delta brings another secret under another key, and the first stays.
    map.put(Key::new("b").expect("a key"), Arc::from(b"1".as_slice()));
    add(&mut map, 2, &keys(2));
    store.save(id(2, &map), &map).expect("saved");
    let (found, problems) = newest(directory.path());
    assert!(problems.is_empty(), "{problems:?}");
    let (_, found) = found.expect("it was saved");
    assert_eq!((value(&found, 1), value(&found, 2)), (Ok("value 1".to_owned()), Ok("value 2".to_owned())));
    assert_eq!(found.secrets().keys(), map.secrets().keys());
    map.put(Key::new("b").expect("a key"), Arc::from(b"2".as_slice()));
    map.change_secrets([(SecretId([1; 32]), None)]);
    store.save(id(3, &map), &map).expect("saved");
    let (found, _) = newest(directory.path());
    assert_eq!(found.expect("it was saved").1.secrets().len(), 1, "what was dropped stays dropped");
}

#[test]
fn files_of_another_cluster_are_left_alone_and_cost_none_of_ours() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let foreign = Sealing { cluster: [2; 16], ..sealing() };
    let theirs = |revision| {
        let map = map(&[("a", "theirs")]);
        let (mut store, _) =
            LastGood::open(directory.path(), foreign.clone()).expect("the directory is ours");
        let generation = GenerationId { cluster: [2; 16], ..id(revision, &map) };
        store.save(generation, &map).expect("saved");
    };
    theirs(1000);
    theirs(1001);
    let ours = map(&[("a", "ours")]);
    let (mut store, _) = open(directory.path());
    store.save(id(5, &ours), &ours).expect("saved");
    let (found, problems) = newest(directory.path());
    assert_eq!(found, Some((id(5, &ours), ours)), "it survives files whose names sort before its own");
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert_eq!(files(directory.path()).expect("it can be listed").len(), 3);
}

#[test]
fn leftovers_of_a_crash_are_removed_at_the_next_start() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ([_, second], _) = two(directory.path());
    let leftover = directory.path().join("0000000000-00000000000000000009-x.tmp");
    fs::write(&leftover, b"half a file").expect("writable");
    assert_eq!(newest(directory.path()).0, Some(second));
    assert!(!leftover.exists());
}

#[test]
fn a_disk_that_does_not_take_it_is_an_error_and_the_next_save_begins_anew() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let directory = parent.path().join("last-good");
    let ([_, second], _) = two(&directory);
    let (mut store, _) = open(&directory);
    fs::remove_dir_all(&directory).expect("it is ours");
    let error = store.save(second.0, &second.1).expect_err("nowhere to write");
    assert!(matches!(error, LastGoodError::Io { doing: "make", .. }), "{error}");
    fs::create_dir(&directory).expect("it is ours");
    store.save(second.0, &second.1).expect("saved");
    assert_eq!(newest(&directory).0, Some(second));
}

/// Set in the child process of the test below, to the folder on a file system of its own.
const CHILD: &str = "RAVELIN_TEST_TINY_DISK";

#[test]
fn a_full_disk_costs_nothing_that_was_kept_and_is_used_again_when_there_is_room() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return fill_the_disk(Path::new(&directory));
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let name =
        "last_good::tests::a_full_disk_costs_nothing_that_was_kept_and_is_used_again_when_there_is_room";
    let this = std::env::current_exe().expect("a test runs from a file");
    let script =
        "mount -t tmpfs -o size=128k tmpfs \"$1\" || exit 77; exec \"$2\" --exact \"$3\" --nocapture";
    let child = std::process::Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .args([directory.path().as_os_str(), this.as_os_str(), name.as_ref()])
        .env(CHILD, directory.path())
        .output();
    let Ok(child) = child else {
        return eprintln!("skipped: there is no unshare(1) to mount a tiny disk with");
    };
    let (out, text) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    if child.status.code() == Some(77) || text.contains("unshare:") {
        return eprintln!("skipped: no tiny disk can be mounted here: {text}");
    }
    assert!(child.status.success() && out.contains("1 passed"), "{out}{text}");
}

fn fill_the_disk(directory: &Path) {
    let ([_, second], _) = two(directory);
    let (mut store, loaded) = open(directory);
    assert_eq!(loaded.newest, Some(second.clone()));
    let large = map(&[("a", &"x".repeat(4000))]);
    let third = (id(3, &large), large);
    store.save(third.0, &third.1).expect("there is room");
    let filler = directory.join("filler");
    let mut file = File::create(&filler).expect("there is room");
    while file.write_all(&[0; 512]).is_ok() {}
    let fourth = map(&[("a", &"y".repeat(9000))]);
    // The first try appends, the later ones begin anew; none of them leaves anything behind.
    for _ in 0..3 {
        let error = store.save(id(4, &fourth), &fourth).expect_err("the disk is full");
        let LastGoodError::Io { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull, "{error}");
        assert!(paths(directory, "tmp").expect("it can be listed").is_empty());
        assert_eq!(newest(directory).0, Some(third.clone()), "what was kept is there");
    }
    drop(file);
    fs::remove_file(&filler).expect("it is ours");
    store.save(id(4, &fourth), &fourth).expect("there is room again");
    assert_eq!(newest(directory).0, Some((id(4, &fourth), fourth)));
}

#[test]
fn golden_bytes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (mut store, _) = open(directory.path());
    let mut map = map(&[("http/routers/web@file", "{}")]);
    map.change_secrets([(SecretId([0xaa; 32]), Some(Arc::from(b"envelope".as_slice())))]);
    map.add_view_key(SealingKeys::new([1; 16], &[[2; 32]]).expect("one key").view_key(""));
    store.begin(id(42, &map), &map, [5; SALT_BYTES]).expect("saved");
    let path = only_file(directory.path());
    assert_eq!(
        path.file_name().and_then(|name| name.to_str()),
        Some("0000000000-00000000000000000042-c3df9e482150.sealed")
    );
    let bytes = fs::read(&path).expect("readable");
    assert_eq!(bytes.get(..10), Some(b"RVLNGOOD\x01\x01".as_slice()));
    assert_eq!(
        Digest::of(&bytes).to_string(),
        "d039217c7dafbac5df3df8996f5609c8c41237ee595e21c6fc2b6dc97d7d80b1"
    );
}
