//! Three nodes with the shipped write-ahead log on real files: how much of what the disk can do reaches the clients, and
//! how long one client waits. Messages go through channels, the disk is the one that holds the build.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};

use crate::clients::{CLIENTS, round};
use crate::legs::{self, Followed, Notes};
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
        "clients    commits per second              entries per sync    syncs per second    of the disk's    share    idle between two, µs    without    cores busy    of bare writers"
    );
    for clients in CLIENTS {
        let (row, notes) = rounds(&folder.path().join(clients.to_string()), clients)?;
        let Row { commits, group, synced, possible, share, idle, busy, bare, .. } = &row;
        // What the share would be if the disk had its next batch as soon as it is done with one.
        let without = share.median / (1.0 - synced.median * idle.median / 1e6);
        println!(
            "{clients:>7}    {commits:<30}  {:>16.1}    {:>16.0}    {:>13.0}    {:>5.2}    {:>20.1}    {without:>7.2}    {:>10.2}    {:>15.2}",
            group.median, synced.median, possible.median, share.median, idle.median, busy.median, bare.median
        );
        if let Some(notes) = notes {
            alone(&row, &notes)?;
        }
    }
    Ok(())
}

/// Prints what one client waits for, whole and in parts.
fn alone(row: &Row, notes: &Notes) -> anyhow::Result<()> {
    let Row { latency, sync, later, .. } = row;
    let cores = |busy: &Spread, of: &Spread| busy.median / of.median * 1e6;
    println!(
        "  processor time of a commit, all nodes: {:.0} µs; of three bare syncs: {:.0} µs",
        cores(&row.busy, &row.commits),
        cores(&row.bare, &row.possible)
    );
    let trip = syncs::loopback()? * 1e6;
    println!("  one client waits {latency} µs");
    let own = notes.print();
    let wakes = legs::wakes(Duration::from_secs_f64(own / 1e6))?;
    println!(
        "  a wake-up after a rest of one sync, µs: thread to task {}, task to task {}, task to thread {}",
        wakes.thread_to_task, wakes.task_to_task, wakes.task_to_thread
    );
    let way = 4.0 * wakes.task_to_task.median + wakes.task_to_thread.median + wakes.thread_to_task.median;
    println!(
        "  the wait is {:.2} times that sync and the wake-ups on the way (client, leader, follower, its log, and back: {way:.1} µs)",
        latency.median / (own + way)
    );
    for (what, sync) in [
        ("a quorum's slower sync, three bare writers that begin at once,", sync.median),
        ("the same where two begin half a trip later, as followers do,", later.median),
        ("the sync that decided here,", own),
    ] {
        let both = sync + trip;
        println!(
            "  {what} {sync:.1} µs, and a round trip of a byte over loopback, {trip:.1} µs: the wait is {:.2} times both",
            latency.median / both
        );
    }
    Ok(())
}

/// A runtime with one worker: the logs' threads need the other cores, and whom a worker wakes itself comes at once.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(1).enable_time().build()?)
}

/// What was seen with so many clients.
struct Row {
    commits: Spread,
    group: Spread,
    synced: Spread,
    possible: Spread,
    share: Spread,
    /// Microseconds for which the leader's disk has nothing to do, for each sync.
    idle: Spread,
    busy: Spread,
    /// The same of the three writers without consensus.
    bare: Spread,
    latency: Spread,
    sync: Spread,
    /// The same where two of the three begin half a round trip later.
    later: Spread,
}

fn rounds(folder: &Path, clients: usize) -> anyhow::Result<(Row, Option<Arc<Notes>>)> {
    let runtime = runtime()?;
    let notes = (clients == 1).then(Notes::new);
    let cluster = runtime.block_on(driver::Cluster::start(Some(folder), notes.clone()))?;
    let followed = notes.clone().map(|notes| Followed(cluster.clone(), notes));
    let seen = || match &followed {
        Some(followed) => runtime.block_on(round(followed, clients, ROUND)),
        None => runtime.block_on(round(&cluster, clients, ROUND)),
    };
    seen()?; // the first fills caches and buffers
    let mut figures: [Vec<f64>; 11] = Default::default();
    for at in 0..ROUNDS {
        let counts = || {
            let (syncs, idle) = (&cluster.leader_syncs, &cluster.leader_idle);
            (syncs.load(Ordering::Relaxed) as f64, idle.load(Ordering::Relaxed) as f64, process_seconds())
        };
        let (began, before) = (std::time::Instant::now(), counts());
        let seen = seen()?;
        let (seconds, after) = (began.elapsed().as_secs_f64(), counts());
        let busy = (after.2 - before.2) / seconds;
        let synced = (after.0 - before.0) / seconds;
        let idle = (after.1 - before.1) / 1e3 / (after.0 - before.0);
        let group = seen.per_second / synced;
        let group_bytes = RECORD_BYTES + (group * (COMMAND_BYTES + ENTRY_BYTES) as f64) as usize;
        let raw = folder.join(format!("raw-{at}"));
        let (began, before) = (std::time::Instant::now(), process_seconds());
        let possible = syncs::per_second(&raw.join("rate"), group_bytes, RAW)?;
        let bare = (process_seconds() - before) / began.elapsed().as_secs_f64();
        let (mut sync, mut later) = (0.0, 0.0);
        if clients == 1 {
            sync = syncs::quorum_latency(&raw.join("at-once"), group_bytes, SYNCS, 0.0)?;
            later = syncs::quorum_latency(&raw.join("later"), group_bytes, SYNCS, syncs::loopback()? / 2.0)?;
        }
        let share = seen.per_second / (group * possible);
        let (latency, sync, later) = (seen.latency * 1e6, sync * 1e6, later * 1e6);
        let row = [seen.per_second, group, synced, possible, share, idle, busy, bare, latency, sync, later];
        for (figures, figure) in figures.iter_mut().zip(row) {
            figures.push(figure);
        }
    }
    drop(followed);
    drop(cluster);
    runtime.shutdown_timeout(Duration::from_secs(1));
    let [commits, group, synced, possible, share, idle, busy, bare, latency, sync, later] =
        figures.map(Spread::of);
    let row = Row { commits, group, synced, possible, share, idle, busy, bare, latency, sync, later };
    Ok((row, notes))
}

/// Seconds that all threads of this process have been on a core.
fn process_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
