//! `proxy`: the same requests through Ravelin, the floor and nginx, in alternated rounds: CPU seconds
//! per 100,000 requests, latency, instructions, system calls, allocations, memory, ratios. It judges nothing but
//! whether they do the same work. `features`: Ravelin alone, with what looks at a request left out one by one.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::load::{self, Head};
use super::peer::{self, Kind, Omitted, Peer};
use super::same_work;
use super::stats::{Spread, cpu_seconds, percentile, resident_mib};

const KINDS: [Kind; 3] = [Kind::Ravelin, Kind::Floor, Kind::Nginx];
const FEATURES: [Kind; 5] = [
    Kind::Without(Omitted::All),
    Kind::Without(Omitted::Nothing),
    Kind::Without(Omitted::Log),
    Kind::Without(Omitted::Metrics),
    Kind::Without(Omitted::Middlewares),
];
const CONNECTIONS: u64 = 32;
const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;
/// Requests by which two traced runs differ: enough that what goes on beside them is less than the digits shown.
const SYSTEM_CALL_REQUESTS: u64 = 8_000;
const ALLOCATION_REQUESTS: u64 = 4_000;

struct Rounds {
    cpu: Vec<f64>,
    kernel: Vec<f64>,
    latencies: Vec<u32>,
    resident: f64,
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
    peer::pin(None, LOAD_CORE)?;
    let backend = peer::backend(LOAD_CORE)?;
    println!(
        "one worker on core {PROXY_CORE}, load and backend on core {LOAD_CORE}, {CONNECTIONS} connections, \
         {rounds} alternated rounds of {requests} requests\n"
    );
    if rounds > 0 {
        for head in [Head::Small, Head::Browser] {
            measure(kinds, folder, backend.address, head, rounds, requests)?;
        }
    }
    counts(kinds, folder, backend.address)
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
        match peer::proxy(kind, folder, upstream, &[], Some(PROXY_CORE)) {
            Ok(peer) => {
                send(peer.address, head, requests / 10)?; // warm: pools filled, pages touched
                peers.push((
                    kind,
                    peer,
                    Rounds { cpu: vec![], kernel: vec![], latencies: vec![], resident: 0.0 },
                ));
            }
            Err(error) => println!("skipped {}: {error:#}", kind.name()),
        }
    }
    let count = peers.len();
    for number in 0..rounds as usize {
        // Each begins in its turn, so that what follows what weighs on all of them alike.
        for place in 0..count {
            let (_, peer, measured) = &mut peers[(number + place) % count];
            round(peer, head, requests, measured)?;
        }
    }
    println!("{}", head.name());
    println!(
        "  {:<20} {:<26} {:<10} p50/p99/p99.9 µs       MiB",
        "", "CPU s per 100k (least–most)", "kernel s"
    );
    for (kind, _, measured) in &mut peers {
        measured.latencies.sort_unstable();
        let at = |share| percentile(&measured.latencies, share);
        println!(
            "  {:<20} {:<27} {:<10.3} {:>5}/{:>5}/{:>6}    {:>8.1}",
            kind.name(),
            Spread::of(&measured.cpu).to_string(),
            Spread::of(&measured.kernel).median,
            at(0.5),
            at(0.99),
            at(0.999),
            measured.resident
        );
    }
    ratios(&peers);
    Ok(())
}

/// Ravelin against each other one, and each feature against none, round by round: what disturbs one round disturbs both.
fn ratios(peers: &[(Kind, Peer, Rounds)]) {
    let of =
        |wanted: Kind| peers.iter().find(|(kind, ..)| *kind == wanted).map(|(.., measured)| &measured.cpu);
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

fn round(peer: &Peer, head: Head, requests: u64, measured: &mut Rounds) -> anyhow::Result<()> {
    let before = cpu_seconds(peer.pid())?;
    measured.latencies.extend(send(peer.address, head, requests)?);
    let after = cpu_seconds(peer.pid())?;
    let scale = 100_000.0 / requests as f64;
    measured.kernel.push((after.1 - before.1) * scale);
    measured.cpu.push((after.0 + after.1 - before.0 - before.1) * scale);
    measured.resident = resident_mib(peer.pid())?;
    Ok(())
}

fn send(target: SocketAddr, head: Head, requests: u64) -> anyhow::Result<Vec<u32>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime")?;
    tokio::task::LocalSet::new().block_on(&runtime, load::run(target, head, CONNECTIONS, requests))
}

/// System calls and allocations per request: the difference of two runs under a tracer.
fn counts(kinds: &[Kind], folder: &Path, upstream: SocketAddr) -> anyhow::Result<()> {
    println!("counts per request (two runs, the difference divided), {}", Head::Browser.name());
    for &kind in kinds {
        let count =
            |tool, head, requests, digits: usize| match counted(kind, folder, upstream, tool, head, requests)
            {
                Ok(count) => format!("{count:.digits$}"),
                Err(error) => format!("({error:#})"),
            };
        println!(
            "  {:<20} system calls {:<10} allocations {:<10} instructions outside the kernel {} ({}: {})",
            kind.name(),
            count(Tool::SystemCalls, Head::Browser, SYSTEM_CALL_REQUESTS, 2),
            count(Tool::Allocations, Head::Browser, ALLOCATION_REQUESTS, 2),
            count(Tool::Instructions, Head::Browser, ALLOCATION_REQUESTS, 0),
            Head::Small.name(),
            count(Tool::Instructions, Head::Small, ALLOCATION_REQUESTS, 0)
        );
    }
    Ok(())
}

fn counted(
    kind: Kind,
    folder: &Path,
    upstream: SocketAddr,
    tool: Tool,
    head: Head,
    requests: u64,
) -> anyhow::Result<f64> {
    let program = if tool == Tool::SystemCalls { "strace" } else { "valgrind" };
    if Command::new(program).arg("--version").output().is_err() {
        bail!("{program} is not installed");
    }
    let few = traced(kind, folder, upstream, tool, head, requests)?;
    let many = traced(kind, folder, upstream, tool, head, requests * 2)?;
    Ok((many - few) / requests as f64)
}

/// What a tracer counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    SystemCalls,
    Allocations,
    Instructions,
}

/// The total that a tracer counts while the process answers `requests`.
fn traced(
    kind: Kind,
    folder: &Path,
    upstream: SocketAddr,
    tool: Tool,
    head: Head,
    requests: u64,
) -> anyhow::Result<f64> {
    let out = folder.join("traced.out");
    let out_text = out.display().to_string();
    let log = format!("--log-file={out_text}");
    let wrap = match tool {
        Tool::SystemCalls => vec!["strace", "-f", "-c", "-o", &out_text],
        Tool::Allocations => vec!["valgrind", "--tool=dhat", &log, "--dhat-out-file=/dev/null"],
        Tool::Instructions => vec!["valgrind", "--tool=callgrind", &log, "--callgrind-out-file=/dev/null"],
    };
    let wrap: Vec<String> = wrap.into_iter().map(str::to_owned).collect();
    let peer = peer::proxy(kind, folder, upstream, &wrap, None)?;
    send(peer.address, head, requests)?;
    peer.terminate()?;
    let text = std::fs::read_to_string(&out).context("the tracer's output")?;
    let total = match tool {
        Tool::SystemCalls => text
            .lines()
            .rev()
            .find(|line| line.ends_with("total"))
            .and_then(|line| line.split_whitespace().nth(3)),
        Tool::Allocations => text
            .lines()
            .find_map(|line| line.split("Total:").nth(1))
            .and_then(|rest| rest.split(" in ").nth(1)?.split(' ').next()),
        Tool::Instructions => text.lines().find_map(|line| line.split("Collected :").nth(1)),
    };
    let digits: String = total.context("the tracer's total")?.chars().filter(char::is_ascii_digit).collect();
    digits.parse().context("the tracer's total")
}
