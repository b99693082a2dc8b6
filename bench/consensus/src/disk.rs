//! Three nodes with the shipped write-ahead log on real files: how much of what the disk can do reaches the clients, and
//! how long one client waits. Messages go through channels, the disk is the one that holds the build.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::clients::{CLIENTS, round, runtime};
use crate::rounds::Spread;
use crate::{COMMAND_BYTES, driver, syncs};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(500);
const RAW: Duration = Duration::from_millis(300);
/// Rounds in which three writers sync at once.
const SYNCS: usize = 150;
/// What a record of one batch costs in the log beside its entries, and an entry beside its command: about.
const RECORD_BYTES: usize = 64;
const ENTRY_BYTES: usize = 24;

/// Prints both tables.
pub(crate) fn measure() -> anyhow::Result<()> {
    let on_disk = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
    std::fs::create_dir_all(on_disk)?;
    let folder = tempfile::Builder::new().prefix("disk").tempdir_in(on_disk)?;
    println!(
        "\nthree nodes in one process with their logs on disk, commands of {COMMAND_BYTES} bytes, median of {ROUNDS} rounds \
         (least–greatest); syncs that the disk can do: three writers of groups of the same size, without consensus"
    );
    println!(
        "clients    commits per second              entries per sync    syncs per second    of the disk's    share    cores busy"
    );
    let mut latency = None;
    for clients in CLIENTS {
        let seen = rounds(&folder.path().join(clients.to_string()), clients)?;
        let Row { commits, group, synced, possible, share, busy, .. } = &seen;
        println!(
            "{clients:>7}    {commits:<30}  {:>16.1}    {:>16.0}    {:>13.0}    {:>5.2}    {:>10.2}",
            group.median, synced.median, possible.median, share.median, busy.median
        );
        latency = latency.or(Some(seen));
    }
    if let Some(Row { latency, sync, later, .. }) = latency {
        let trip = syncs::loopback()?;
        let (floor, staggered) = (sync.median + trip * 1e6, later.median + trip / 2.0 * 1e6);
        println!(
            "one client waits {latency} µs; a quorum's slower sync {sync} µs, a round trip over loopback {:.1} µs: {:.2} times both",
            trip * 1e6,
            latency.median / floor
        );
        println!(
            "where two of the three begin to sync half a round trip later, as followers do: {later} µs, {:.2} times that and half a trip",
            latency.median / staggered
        );
    }
    Ok(())
}

/// What was seen with so many clients.
struct Row {
    commits: Spread,
    group: Spread,
    synced: Spread,
    possible: Spread,
    share: Spread,
    busy: Spread,
    latency: Spread,
    sync: Spread,
    /// The same where two of the three begin half a round trip later.
    later: Spread,
}

fn rounds(folder: &Path, clients: usize) -> anyhow::Result<Row> {
    let runtime = runtime()?;
    let cluster = runtime.block_on(driver::Cluster::start(Some(folder)))?;
    runtime.block_on(round(&cluster, clients, ROUND))?; // the first fills caches and buffers
    let mut figures: [Vec<f64>; 9] = Default::default();
    for at in 0..ROUNDS {
        let (syncs_before, busy_before) = (cluster.leader_syncs.load(Ordering::Relaxed), process_seconds());
        let began = std::time::Instant::now();
        let seen = runtime.block_on(round(&cluster, clients, ROUND))?;
        let seconds = began.elapsed().as_secs_f64();
        let busy = (process_seconds() - busy_before) / seconds;
        let synced = (cluster.leader_syncs.load(Ordering::Relaxed) - syncs_before) as f64 / seconds;
        let group = seen.per_second / synced;
        let group_bytes = RECORD_BYTES + (group * (COMMAND_BYTES + ENTRY_BYTES) as f64) as usize;
        let raw = folder.join(format!("raw-{at}"));
        let possible = syncs::per_second(&raw.join("rate"), group_bytes, RAW)?;
        let (mut sync, mut later) = (0.0, 0.0);
        if clients == 1 {
            sync = syncs::quorum_latency(&raw.join("at-once"), group_bytes, SYNCS, 0.0)?;
            later = syncs::quorum_latency(&raw.join("later"), group_bytes, SYNCS, syncs::loopback()? / 2.0)?;
        }
        let share = seen.per_second / (group * possible);
        let row = [
            seen.per_second,
            group,
            synced,
            possible,
            share,
            busy,
            seen.latency * 1e6,
            sync * 1e6,
            later * 1e6,
        ];
        for (figures, figure) in figures.iter_mut().zip(row) {
            figures.push(figure);
        }
    }
    drop(cluster);
    runtime.shutdown_timeout(Duration::from_secs(1));
    let [commits, group, synced, possible, share, busy, latency, sync, later] = figures.map(Spread::of);
    Ok(Row { commits, group, synced, possible, share, busy, latency, sync, later })
}

/// Seconds that all threads of this process have been on a core.
fn process_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
