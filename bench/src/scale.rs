//! `scale`: what 10,000 and 100,000 hosts cost. A lone process with all of them in one file: from its start, and from the
//! writing of the file, to the last of them served; one changed route until it is live; latency at a steady rate while routes
//! change; memory once it has settled, and its peak. Then a small cluster: one route by `apply` until it is live. Each beside the
//! limit that the project set itself. It judges nothing.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::start::{self, Running, free_address, since, status, until};
use super::stats::{Spread, memory_mib, percentile};
use super::{backend, change};

/// What is asked of each number of hosts, in milliseconds and MiB; none where nothing is.
struct Limits {
    hosts: usize,
    started_ms: Option<f64>,
    written_ms: Option<f64>,
    changed_ms: f64,
    applied_ms: f64,
    resident_mib: Option<f64>,
}

const SIZES: [Limits; 2] = [
    Limits {
        hosts: 10_000,
        started_ms: Some(500.0),
        written_ms: None,
        changed_ms: 100.0,
        applied_ms: 100.0,
        resident_mib: None,
    },
    Limits {
        hosts: 100_000,
        started_ms: None,
        written_ms: Some(3_000.0),
        changed_ms: 1_000.0,
        applied_ms: 100.0,
        resident_mib: Some(250.0),
    },
];
const P99_LIMIT_MS: f64 = 5.0;
/// Changes of one route, each a whole new file put in place.
const CHANGES: usize = 5;
/// Time between them: more than what a storm of changes is throttled to.
const PAUSE: Duration = Duration::from_millis(2200);
/// Requests in a second, over so many connections, for so long.
const RATE: u32 = 2_000;
const CONNECTIONS: u32 = 16;
const LOAD: Duration = Duration::from_secs(10);
/// What follows from the last change is over by then.
const SETTLED: Duration = Duration::from_secs(12);

/// Measures each size and prints its rows.
pub(crate) fn run() -> anyhow::Result<()> {
    let backend = Backend::start()?;
    println!("milliseconds and MiB; spreads are median (least–greatest) of {CHANGES}");
    for limits in &SIZES {
        println!("\n  {} hosts in one file", limits.hosts);
        from_start(limits, backend.address)?;
        written(limits, backend.address)?;
        row("one route by `apply` to live", change::applied(limits.hosts)?, Some(limits.applied_ms));
    }
    Ok(())
}

fn row(name: &str, spread: Spread, limit: Option<f64>) {
    let limit = limit
        .map_or(String::new(), |limit| format!("  limit {limit:.0}, ratio {:.3}", spread.median / limit));
    println!("    {name:<46} {spread}{limit}");
}

fn from_start(limits: &Limits, backend: SocketAddr) -> anyhow::Result<()> {
    let lone = Folder::new(limits.hosts, backend)?;
    lone.put(&lone.text(None))?;
    let begun = Instant::now();
    let _process = lone.start()?;
    lone.live(&format!("h{}.scale.test", limits.hosts - 1))?;
    row("start to the last host served", Spread::of(&[since(begun)]), limits.started_ms);
    Ok(())
}

fn written(limits: &Limits, backend: SocketAddr) -> anyhow::Result<()> {
    let lone = Folder::new(limits.hosts, backend)?;
    let process = lone.start()?;
    until(|| TcpStream::connect(lone.web).is_ok()).context("not bound")?;
    let text = lone.text(None);
    let begun = Instant::now();
    std::fs::write(&lone.file, text).context("the file")?;
    lone.live(&format!("h{}.scale.test", limits.hosts - 1))?;
    row("file written to the last host served", Spread::of(&[since(begun)]), limits.written_ms);
    let mut changed = Vec::new();
    for number in 0..CHANGES {
        std::thread::sleep(PAUSE); // one change after another, not a storm that is held back
        let text = lone.text(Some((number * limits.hosts / CHANGES, number)));
        let begun = Instant::now();
        lone.put(&text)?;
        lone.live(&changed_host(number))?;
        changed.push(since(begun));
    }
    row("one route changed in the file to live", Spread::of(&changed), Some(limits.changed_ms));
    under_load(&lone)?;
    std::thread::sleep(SETTLED); // the memory of a process that nothing happens to
    let pid = process.0.id();
    row("resident once settled", Spread::of(&[memory_mib(pid, "VmRSS:")?]), limits.resident_mib);
    row("resident at its peak", Spread::of(&[memory_mib(pid, "VmHWM:")?]), None);
    Ok(())
}

/// A steady rate while one route after another changes.
fn under_load(lone: &Folder) -> anyhow::Result<()> {
    let begun = Instant::now() + Duration::from_millis(100);
    let web = lone.web;
    let clients: Vec<_> =
        (0..CONNECTIONS).map(|number| std::thread::spawn(move || client(web, begun, number))).collect();
    let mut reloads = 0;
    while begun.elapsed() + PAUSE < LOAD {
        let text = lone.text(Some((reloads, 1_000 + reloads)));
        lone.put(&text)?;
        lone.live(&changed_host(1_000 + reloads))?;
        reloads += 1;
        std::thread::sleep(PAUSE); // the next change
    }
    let (mut latencies, mut failed) = (Vec::new(), 0);
    for client in clients {
        let (more, errors) = client.join().map_err(|_| anyhow::anyhow!("a client has panicked"))?;
        latencies.extend(more);
        failed += errors;
    }
    latencies.sort_unstable();
    let at = |share| f64::from(percentile(&latencies, share)) / 1000.0;
    println!(
        "    {RATE} requests/s over {reloads} reloads: p50 {:.3}, p99 {:.3} (limit {P99_LIMIT_MS:.0}, ratio {:.3}), greatest {:.3}, \
         {failed} failed of {}",
        at(0.5),
        at(0.99),
        at(0.99) / P99_LIMIT_MS,
        at(1.0),
        latencies.len() + failed
    );
    Ok(())
}

/// Sends its share of the requests when each is due, and measures from there; microseconds, and how many failed.
fn client(web: SocketAddr, begun: Instant, number: u32) -> (Vec<u32>, usize) {
    let count = RATE * u32::try_from(LOAD.as_secs()).unwrap_or(1) / CONNECTIONS;
    let (mut latencies, mut failed) = (Vec::new(), 0);
    let mut stream = None;
    for turn in 0..count {
        let due = begun + Duration::from_secs(1) * (turn * CONNECTIONS + number) / RATE;
        std::thread::sleep(due.saturating_duration_since(Instant::now())); // its moment of the schedule
        let open = stream.take().or_else(|| connect(web));
        match open.and_then(ask) {
            Some(open) => {
                stream = Some(open);
                latencies.push(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            None => failed += 1,
        }
    }
    (latencies, failed)
}

fn connect(web: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(web).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    Some(stream)
}

/// One request that must be answered 200; the connection for the next one.
fn ask(mut stream: TcpStream) -> Option<TcpStream> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h7.scale.test\r\n\r\n").ok()?;
    let whole = backend::answer();
    let body = whole.len() - whole.windows(4).position(|window| window == b"\r\n\r\n")? - 4;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        answer.extend_from_slice(buffer.get(..count)?);
        if let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n")
            && answer.len() >= head + 4 + body
        {
            return answer.starts_with(b"HTTP/1.1 200").then_some(stream);
        }
    }
}

/// A lone process's configuration.
struct Folder {
    folder: tempfile::TempDir,
    file: PathBuf,
    web: SocketAddr,
    hosts: usize,
    backend: SocketAddr,
}

impl Folder {
    fn new(hosts: usize, backend: SocketAddr) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a temporary folder")?;
        let file = folder.path().join("dynamic.yml");
        let web = free_address()?;
        let fixed = format!(
            "entryPoints: {{web: {{address: '{web}'}}}}\nproviders: {{file: {{filename: '{}'}}}}\n",
            file.display()
        );
        std::fs::write(folder.path().join("traefik.yml"), fixed).context("the static configuration")?;
        Ok(Self { folder, file, web, hosts, backend })
    }

    fn start(&self) -> anyhow::Result<Running> {
        let binary = std::env::current_exe().context("this binary")?.with_file_name("ravelin");
        start::start(&binary, &self.folder.path().join("traefik.yml"))
    }

    /// Every host with a router of its own; the one at a place is another one.
    fn text(&self, changed: Option<(usize, usize)>) -> String {
        let mut text = format!(
            "http:\n  services:\n    s:\n      loadBalancer:\n        servers:\n          - url: http://{}\n  routers:\n",
            self.backend
        );
        // The host that is under load goes on.
        let changed = changed.map(|(at, number)| (at.max(8), number));
        for number in 0..self.hosts {
            let host = match changed {
                Some((at, change)) if at == number => changed_host(change),
                _ => format!("h{number}.scale.test"),
            };
            // Writing to a text cannot fail.
            let _ = write!(text, "    r{number}:\n      rule: Host(`{host}`)\n      service: s\n");
        }
        text
    }

    /// Puts a finished file in place.
    fn put(&self, text: &str) -> anyhow::Result<()> {
        let beside = self.file.with_extension("new");
        std::fs::write(&beside, text).context("the file")?;
        std::fs::rename(&beside, &self.file).context("put in place")
    }

    fn live(&self, host: &str) -> anyhow::Result<()> {
        until(|| status(self.web, host, "/") == Some(200)).with_context(|| format!("{host} is not served"))
    }
}

fn changed_host(number: usize) -> String {
    format!("changed-{number}.scale.test")
}

/// The backend, a process of its own.
struct Backend {
    _process: Running,
    address: SocketAddr,
}

impl Backend {
    fn start() -> anyhow::Result<Self> {
        let address = free_address()?;
        let binary: &Path = &std::env::current_exe().context("this binary")?;
        let mut command = Command::new(binary);
        let child = command.args(["backend", &address.to_string()]).stdin(Stdio::null()).spawn();
        let process = Running(child.context("the backend could not be started")?);
        until(|| TcpStream::connect(address).is_ok()).context("the backend is not bound")?;
        Ok(Self { _process: process, address })
    }
}
