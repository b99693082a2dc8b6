//! `start`: what a person waits for. A lone process from its start to its API and to the first routed request, a changed
//! file until it is served, and a start on the same ports after `kill -9`; then the demo from its start to the first
//! routed request. Each beside the limit that the project set itself. It judges nothing.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::stats::Spread;

const API_LIMIT_MS: f64 = 300.0;
const ROUTED_LIMIT_MS: f64 = 300.0;
const CHANGED_LIMIT_MS: f64 = 500.0;
const REBOUND_LIMIT_MS: f64 = 100.0;
const DEMO_LIMIT_MS: f64 = 5_000.0;
const DEMO_ROUNDS: usize = 3;
/// Longest wait for anything: only against hanging.
const TIME_MAX: Duration = Duration::from_secs(30);
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// How often a process is asked that cannot tell by itself.
const ASK_AGAIN: Duration = Duration::from_micros(500);

/// What one round took, in milliseconds.
struct Round {
    api: f64,
    routed: f64,
    changed: f64,
    rebound: f64,
}

/// Measures, and prints a row for each figure.
pub(crate) fn run(rounds: usize) -> anyhow::Result<()> {
    let backend = backend()?;
    let binary = std::env::current_exe().context("this binary")?.with_file_name("ravelin");
    let mut all = Vec::new();
    for _ in 0..rounds {
        all.push(round(&binary, backend)?);
    }
    println!("milliseconds, median (least–greatest) of {rounds}, and the median's share of the limit\n");
    let row = |name: &str, figures: &[f64], limit: f64| {
        let spread = Spread::of(figures);
        println!("  {name:<44} {spread}  limit {limit:.0}, ratio {:.3}", spread.median / limit);
    };
    let of = |figure: fn(&Round) -> f64| all.iter().map(figure).collect::<Vec<f64>>();
    row("standalone: start to API", &of(|round| round.api), API_LIMIT_MS);
    row("standalone: start to first routed request", &of(|round| round.routed), ROUTED_LIMIT_MS);
    row("standalone: file changed to served", &of(|round| round.changed), CHANGED_LIMIT_MS);
    row("standalone: start after kill -9 to bound", &of(|round| round.rebound), REBOUND_LIMIT_MS);
    let demos: Vec<f64> = (0..DEMO_ROUNDS).map(|_| demo(&binary)).collect::<anyhow::Result<_>>()?;
    row(&format!("demo: start to first routed request ({DEMO_ROUNDS})"), &demos, DEMO_LIMIT_MS);
    Ok(())
}

fn round(binary: &Path, backend: SocketAddr) -> anyhow::Result<Round> {
    let folder = tempfile::tempdir().context("a temporary folder")?;
    let file = folder.path().join("traefik.yml");
    let (web, api) = (free_address()?, free_address()?);
    let text = |host: &str| {
        format!(
            "entryPoints:\n  web: {{address: '{web}'}}\n  traefik: {{address: '{api}'}}\napi: {{insecure: true}}\n\
             providers: {{file: {{filename: '{}'}}}}\nhttp:\n  routers: {{r: {{rule: 'Host(`{host}`)', service: s}}}}\n  \
             services: {{s: {{loadBalancer: {{servers: [{{url: 'http://{backend}'}}]}}}}}}\n",
            file.display()
        )
    };
    std::fs::write(&file, text("first.test")).context("the configuration")?;
    let begun = Instant::now();
    let mut process = start(binary, &file)?;
    until(|| status(api, "x", "/api/version") == Some(200)).context("the API does not answer")?;
    let api_ms = since(begun);
    until(|| status(web, "first.test", "/") == Some(200)).context("the router does not serve")?;
    let routed = since(begun);
    let beside = file.with_extension("new");
    std::fs::write(&beside, text("second.test")).context("the configuration")?;
    let begun = Instant::now();
    std::fs::rename(&beside, &file).context("put in place")?;
    until(|| status(web, "second.test", "/") == Some(200)).context("the change is not served")?;
    let changed = since(begun);
    process.end()?;
    let begun = Instant::now();
    let mut process = start(binary, &file)?;
    until(|| TcpStream::connect(web).is_ok() && TcpStream::connect(api).is_ok()).context("not bound")?;
    let rebound = since(begun);
    process.end()?;
    Ok(Round { api: api_ms, routed, changed, rebound })
}

/// Starts the demo, reads when its first routed request was answered, and stops it as Ctrl-C does.
fn demo(binary: &Path) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut command = Command::new(binary);
    let child = command.arg("demo").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut process = Running(child.context("the demo could not be started")?);
    let out = process.0.stdout.take().context("its output")?;
    for line in BufReader::new(out).lines() {
        if line.context("the demo's output")?.starts_with("first routed request after ") {
            let taken = since(begun);
            kill_process(process.pid()?, Signal::INT).context("SIGINT")?;
            process.0.wait().context("its end")?;
            return Ok(taken);
        }
    }
    bail!("the demo ended without a routed request")
}

/// A process of the benchmark; killed when dropped.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    fn pid(&self) -> anyhow::Result<Pid> {
        i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).context("its process id")
    }

    /// `kill -9`, and waits.
    fn end(&mut self) -> anyhow::Result<()> {
        self.0.kill().context("SIGKILL")?;
        self.0.wait().context("its end")?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A lone process on a static configuration.
pub(crate) fn start(binary: &Path, file: &Path) -> anyhow::Result<Running> {
    let mut command = Command::new(binary);
    command.arg(format!("--configFile={}", file.display()));
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Ok(Running(child.context("ravelin could not be started")?))
}

/// Milliseconds since then.
pub(crate) fn since(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

/// Asks again and again until it holds, against hanging for at most [`TIME_MAX`].
pub(crate) fn until(mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !holds() {
        if begun.elapsed() > TIME_MAX {
            bail!("not within {} s", TIME_MAX.as_secs());
        }
        std::thread::sleep(ASK_AGAIN); // another process can only be asked again
    }
    Ok(())
}

/// The status of one GET on a connection of its own.
pub(crate) fn status(address: SocketAddr, host: &str, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// A server that answers everything with two bytes, on a thread of this process.
fn backend() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("the backend's port")?;
    let address = listener.local_addr().context("the backend's address")?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A client that goes away is no fault of the benchmark's.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    });
    Ok(address)
}

/// An address that nobody listened on a moment ago.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).context("a free port")
}
