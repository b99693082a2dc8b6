//! What the simulated device promises to those who test with it: same seed, same losses; faults as real kernels show them.

use super::*;
use crate::storage::disk::read_all;

/// Some writes, of which only the first is synced, then a power loss; gives what is left of all files.
fn after_crash(seed: u64) -> Vec<(String, Vec<u8>)> {
    let disk = SimDisk::new(seed);
    disk.create_directory("d").expect("new");
    let kept = disk.create("d/kept").expect("free");
    kept.write_at(0, &[1; 3000]).expect("room");
    kept.sync().expect("no fault");
    disk.sync_directory("d").expect("there");
    kept.write_at(1000, &[2; 3000]).expect("room");
    kept.write_at(4000, &[3; 10]).expect("room");
    disk.create("d/new").expect("free").write_at(0, b"new").expect("room");
    disk.rename("d/kept", "d/renamed").expect("there");
    disk.crash();
    assert!(kept.write_at(0, b"x").is_err(), "the process that held it is gone");
    let paths = disk.paths();
    paths.iter().map(|path| (path.clone(), disk.content(path).expect("listed"))).collect()
}

#[test]
fn the_same_seed_loses_the_same_and_what_was_synced_is_never_lost() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let left = after_crash(seed);
        assert_eq!(left, after_crash(seed));
        let (_, content) = left
            .iter()
            .find(|(path, _)| path == "d/kept" || path == "d/renamed")
            .expect("a rename is seen entirely or not at all");
        assert_eq!(content.get(..1000), Some([1; 1000].as_slice()), "synced and not written since");
        assert!(content.iter().all(|byte| *byte <= 3), "only bytes that were written, or zeros");
        outcomes.insert(left);
    }
    assert!(outcomes.len() > 20, "{} different outcomes", outcomes.len());
}

#[test]
fn a_failed_sync_loses_for_good_what_readers_still_see_and_then_claims_success() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let file = disk.create("f").expect("free");
        disk.sync_directory("").expect("the root");
        file.write_at(0, &[7; 2000]).expect("room");
        disk.fail_next_sync();
        assert!(file.sync().is_err());
        assert_eq!(read_all(&disk, "f", 4000).expect("there"), [7; 2000], "still in the cache");
        file.sync().expect("the kernel takes the pages for clean");
        disk.crash();
        lost += usize::from(disk.content("f").expect("its name is durable") != [7; 2000]);
    }
    assert!(lost > 10, "lost in {lost} of 50");
}

#[test]
fn faults_by_chance_happen_as_often_as_told() {
    let disk = SimDisk::new(3);
    disk.set_faults(SimFaults {
        sync_errors_one_in: 5,
        write_errors_one_in: 5,
        sync_latency: Duration::from_millis(1),
        stalls_one_in: 10,
        stall: Duration::from_secs(1),
        ..SimFaults::default()
    });
    let file = disk.create("f").expect("free");
    let failed = |call: &dyn Fn() -> Result<(), DiskError>| (0..200).filter(|_| call().is_err()).count();
    let (writes, syncs) = (failed(&|| file.write_at(0, b"some bytes")), failed(&|| file.sync()));
    assert!((20..=60).contains(&writes) && (20..=60).contains(&syncs), "{writes} writes, {syncs} syncs");
    let latency = disk.take_latency();
    assert!((5..=40).contains(&latency.as_secs()) && latency.subsec_millis() == 200, "{latency:?}");
    assert_eq!((disk.take_latency(), disk.syncs()), (Duration::ZERO, 200));
}
