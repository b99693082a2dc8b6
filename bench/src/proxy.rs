//! `proxy`: the same requests through Ravelin, the floor and nginx, in alternated rounds: CPU seconds
//! per 100,000 requests, latency, instructions, system calls, allocations, memory, ratios. It judges nothing but
//! whether they do the same work. `features`: Ravelin alone, with what looks at a request left out one by one.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;

use super::counts;
use super::load::{Head, Load};
use super::peer::{self, Kind, Omitted, Peer};
use super::same_work;
use super::stats::{Spread, ThreadTimes, percentile, resident_mib, system_seconds};

const KINDS: [Kind; 3] = [Kind::Ravelin, Kind::Floor, Kind::Nginx];
const FEATURES: [Kind; 5] = [
    Kind::Without(Omitted::All),
    Kind::Without(Omitted::Nothing),
    Kind::Without(Omitted::Log),
    Kind::Without(Omitted::Metrics),
    Kind::Without(Omitted::Middlewares),
];
pub(crate) const CONNECTIONS: u64 = 32;
const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// Turns that each peer takes in a round: the machine's own moods last longer than a turn, and so meet all alike.
const TURNS: u64 = 16;

/// One of the compared processes and what was measured of it so far.
struct Measured {
    kind: Kind,
    peer: Peer,
    load: Load,
    /// CPU seconds per 100,000 requests, one figure a round.
    cpu: Vec<f64>,
    /// Seconds in the kernel when the rounds began: it is counted in ticks, too coarse for one round.
    kernel_before: f64,
    latencies: Vec<u32>,
}

/// Measures both heads and prints a table each.
pub(crate) fn run(rounds: u32, requests: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("a temporary folder")?;
    same_work::check(&KINDS, folder.path())?;
    compare(&KINDS, folder.path(), rounds, requests)
}

/// Measures what each feature costs.
pub(crate) fn features(rounds: u32, requests: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("a temporary folder")?;
    compare(&FEATURES, folder.path(), rounds, requests)
}

fn compare(kinds: &[Kind], folder: &Path, rounds: u32, requests: u64) -> anyhow::Result<()> {
    peer::pin(LOAD_CORE)?;
    let backend = peer::backend(LOAD_CORE)?;
    println!(
        "one worker on core {PROXY_CORE}, load and backend on core {LOAD_CORE}, {CONNECTIONS} connections, \
         {rounds} rounds of {requests} requests in {TURNS} alternated turns\n"
    );
    if rounds > 0 {
        for head in [Head::Small, Head::Browser] {
            measure(kinds, folder, backend.address, head, rounds, requests)?;
        }
    }
    counts::print(kinds, folder, backend.address)
}

fn measure(
    kinds: &[Kind],
    folder: &Path,
    upstream: SocketAddr,
    head: Head,
    rounds: u32,
    requests: u64,
) -> anyhow::Result<()> {
    let mut peers = Vec::new();
    for &kind in kinds {
        match begin(kind, folder, upstream, head, requests) {
            Ok(measured) => peers.push(measured),
            Err(error) => println!("skipped {}: {error:#}", kind.name()),
        }
    }
    for number in 0..rounds as usize {
        round(&mut peers, number, requests)?;
    }
    println!("{}", head.name());
    println!(
        "  {:<20} {:<26} {:<10} p50/p99/p99.9 µs       MiB",
        "", "CPU s per 100k (least–most)", "kernel s"
    );
    for measured in &mut peers {
        measured.latencies.sort_unstable();
        let at = |share| percentile(&measured.latencies, share);
        let kernel = system_seconds(measured.peer.pid())? - measured.kernel_before;
        println!(
            "  {:<20} {:<27} {:<10.3} {:>5}/{:>5}/{:>6}    {:>8.1}",
            measured.kind.name(),
            Spread::of(&measured.cpu).to_string(),
            kernel * 100_000.0 / (f64::from(rounds) * requests as f64),
            at(0.5),
            at(0.99),
            at(0.999),
            resident_mib(measured.peer.pid())?
        );
    }
    ratios(&peers);
    Ok(())
}

/// Starts one and warms it: pools filled, pages touched.
fn begin(
    kind: Kind,
    folder: &Path,
    upstream: SocketAddr,
    head: Head,
    requests: u64,
) -> anyhow::Result<Measured> {
    let peer = peer::proxy(kind, folder, upstream, &[], Some(PROXY_CORE))?;
    let mut load = Load::connect(peer.address, head, CONNECTIONS)?;
    load.send(requests / 4)?;
    let kernel_before = system_seconds(peer.pid())?;
    Ok(Measured { kind, peer, load, cpu: vec![], kernel_before, latencies: vec![] })
}

/// One round: each peer takes its turns among the others'. Each begins in its turn, so that what follows what weighs on
/// all of them alike.
fn round(peers: &mut [Measured], number: usize, requests: u64) -> anyhow::Result<()> {
    let count = peers.len();
    let each = requests / TURNS;
    let mut used_ms = vec![0.0; count];
    for turn in 0..TURNS as usize {
        for place in 0..count {
            let at = (number + turn + place) % count;
            let Measured { peer, load, latencies, .. } = &mut peers[at];
            let before = ThreadTimes::of(peer.pid())?;
            latencies.extend(load.send(each)?);
            used_ms[at] += ThreadTimes::of(peer.pid())?.since_ms(&before);
        }
    }
    for (measured, used) in peers.iter_mut().zip(used_ms) {
        measured.cpu.push(used / 1_000.0 * 100_000.0 / (each * TURNS) as f64);
    }
    Ok(())
}

/// Ravelin against each other one, and each feature against none, round by round: what disturbs one round disturbs both.
fn ratios(peers: &[Measured]) {
    let of = |wanted: Kind| peers.iter().find(|one| one.kind == wanted).map(|one| &one.cpu);
    let beside = [(Kind::Ravelin, Kind::Floor), (Kind::Ravelin, Kind::Nginx)];
    let bare = Kind::Without(Omitted::All);
    for (one, other) in beside.into_iter().chain(FEATURES.map(|kind| (kind, bare))) {
        if let (Some(ravelin), Some(peer)) = (of(one), of(other).filter(|_| one != other)) {
            let ratios: Vec<f64> = ravelin.iter().zip(peer).map(|(ravelin, peer)| ravelin / peer).collect();
            println!("  {} / {:<18} {}", one.name(), other.name(), Spread::of(&ratios));
        }
    }
    println!();
}
