//! How much a process takes on before it says that it is overloaded: connections by the descriptors that it may have, requests by
//! those and by its memory. It counts nothing; who counts compares.

use std::path::Path;

/// What a request takes as a rule, with its connection to the server: what one may take at most is told of each entry point.
const REQUEST_BYTES: u64 = 64 * 1024;
/// Percent of the memory that requests may take together.
const MEMORY_PERCENT: u64 = 85;
/// Requests that each worker takes on whatever the memory: connections lie unevenly on workers.
const WORKER_REQUESTS_MIN: usize = 1024;

/// Clients' connections of all workers together: four tenths of the descriptors that this process may have, as each may need another
/// one towards a server.
pub fn connections_max() -> usize {
    let descriptors =
        rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20);
    usize::try_from(descriptors).unwrap_or(usize::MAX) / 10 * 4
}

/// Requests that may wait for servers at once, of all `workers` workers together: each holds a descriptor and memory.
pub fn requests_max(workers: usize) -> usize {
    within(memory_bytes(Path::new("/")), connections_max()).max(WORKER_REQUESTS_MIN.saturating_mul(workers))
}

fn within(memory_bytes: Option<u64>, descriptors: usize) -> usize {
    let by_memory = memory_bytes.map(|bytes| bytes / 100 * MEMORY_PERCENT / REQUEST_BYTES);
    let by_memory = by_memory.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    descriptors.min(by_memory)
}

/// The memory of this machine, or what the group of processes may have of it; `None` where the system does not say.
fn memory_bytes(root: &Path) -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let machine = read("proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    });
    // Version 2 of groups, then version 1; within a container the group is the root. "max" is no number.
    let groups = ["sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = groups.iter().find_map(|path| read(path)?.trim().parse::<u64>().ok());
    [machine, group].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_machine_group_and_descriptors_counts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        assert_eq!(memory_bytes(folder.path()), None);
        write("proc/meminfo", "MemFree:  5 kB\nMemTotal:       1048576 kB\n");
        assert_eq!(memory_bytes(folder.path()), Some(1 << 30));
        write("sys/fs/cgroup/memory.max", "max\n");
        assert_eq!(memory_bytes(folder.path()), Some(1 << 30));
        write("sys/fs/cgroup/memory.max", "536870912\n");
        assert_eq!(memory_bytes(folder.path()), Some(1 << 29));
        assert_eq!(within(Some(1 << 29), 1 << 20), 6963, "85 % of 512 MiB, 64 KiB each");
        assert_eq!(within(Some(1 << 29), 400), 400);
        assert_eq!(within(None, 400), 400);
    }
}
