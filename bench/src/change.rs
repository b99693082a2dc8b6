//! `change`: one route changed by `apply` among 1,000, 10,000 and 100,000, on one controller and one
//! proxy as real processes: CPU of both, bytes over loopback, time until served. It judges nothing.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::stats::{Spread, cpu_seconds, resident_mib};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
const ROUTES_PER_APPLY: usize = 10_000;
const CHANGES: usize = 20;
const SERVED_TIME_MAX: Duration = Duration::from_secs(300);

struct Measured {
    cpu_ms: Spread,
    kib: Spread,
    served_ms: Spread,
}

/// Measures each size and prints a row each, then the ratio of the largest to the smallest.
pub(crate) fn run() -> anyhow::Result<()> {
    println!("one route changed by `apply`, median of {CHANGES} (least–most); CPU is controller + proxy\n");
    println!(
        "  {:>8}  {:<28} {:<28} {:<28} load",
        "routes", "CPU ms", "KiB over loopback", "ms until served"
    );
    let mut rows = Vec::new();
    for size in SIZES {
        let mut cluster = Cluster::start()?;
        let begun = Instant::now();
        cluster.load(size)?;
        let loaded = begun.elapsed().as_secs_f64();
        let row = cluster.changes(size)?;
        let memory = cluster.resident()?;
        println!(
            "  {size:>8}  {:<28} {:<28} {:<28} {loaded:.1} s, {memory:.0} MiB",
            row.cpu_ms.to_string(),
            row.kib.to_string(),
            row.served_ms.to_string()
        );
        rows.push(row);
    }
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { bail!("nothing was measured") };
    println!(
        "\n  100k / 1k: CPU {:.2}, bytes {:.2}",
        last.cpu_ms.median / first.cpu_ms.median,
        last.kib.median / first.kib.median
    );
    Ok(())
}

/// One controller and one proxy; killed when dropped.
struct Cluster {
    folder: tempfile::TempDir,
    binary: PathBuf,
    processes: Vec<Child>,
    web: String,
}

impl Cluster {
    fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a temporary folder")?;
        let binary = std::env::current_exe().context("this binary")?.with_file_name("ravelin");
        let control =
            UdpSocket::bind("127.0.0.1:0").context("a port")?.local_addr().context("its address")?;
        let web = TcpListener::bind("127.0.0.1:0")
            .context("a port")?
            .local_addr()
            .context("its address")?
            .to_string();
        let mut cluster = Self { folder, binary, processes: Vec::new(), web };
        let nodes = format!("controller-1={control},proxy-1");
        cluster.ravelin(&["init", "--out", "identities", "--nodes", &nodes])?;
        let place = format!("web={}", cluster.web);
        cluster.spawn(&[
            "controller",
            "--identity",
            "identities/controller-1.toml",
            "--data",
            "controller",
            "--log-level",
            "error",
        ])?;
        let proxy =
            ["proxy", "--identity", "identities/proxy-1.toml", "--data", "proxy", "--entry-point", &place];
        cluster.spawn(&[&proxy[..], &["--log-level", "error", "--workers", "1"]].concat())?;
        cluster.apply("static.yaml", "entryPoints:\n  web:\n    address: 127.0.0.1:8000\n")?;
        Ok(cluster)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn spawn(&mut self, words: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.binary);
        command.args(words).current_dir(self.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().with_context(|| format!("ravelin {}", words.join(" ")))?;
        self.processes.push(child);
        Ok(())
    }

    fn ravelin(&self, words: &[&str]) -> anyhow::Result<()> {
        let output =
            Command::new(&self.binary).args(words).current_dir(self.path()).output().context("ravelin")?;
        if !output.status.success() {
            bail!("ravelin {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn apply(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let mut file = std::fs::File::create(self.path().join(name)).context("a document")?;
        file.write_all(text.as_bytes()).context("a document")?;
        self.ravelin(&["apply", "--identity", "identities/operator.toml", "--timeout", "300", name])
    }

    /// Applies `size` routes, a part at a time as one request is bounded, and waits until the last one is served.
    fn load(&self, size: usize) -> anyhow::Result<()> {
        let shared = "http:\n  services:\n    none:\n      loadBalancer:\n        servers: []\n  middlewares:\n    moved:\n      redirectScheme:\n        scheme: https\n";
        self.apply("shared.yaml", shared)?;
        for first in (0..size).step_by(ROUTES_PER_APPLY) {
            let mut text = "http:\n  routers:\n".to_owned();
            for number in first..size.min(first + ROUTES_PER_APPLY) {
                let _ = write!(
                    text,
                    "    r{number}:\n      rule: Host(`h{number}.bench.test`)\n      middlewares: [moved]\n      service: none\n"
                );
            }
            self.apply("routes.yaml", &text)?;
        }
        self.served(&format!("h{}.bench.test", size - 1), "/")
    }

    /// Changes the rule of one route again and again.
    fn changes(&self, size: usize) -> anyhow::Result<Measured> {
        let (mut cpu, mut kib, mut served) = (Vec::new(), Vec::new(), Vec::new());
        for change in 0..CHANGES {
            let number = change * size / CHANGES;
            let host = format!("changed-{change}.bench.test");
            let text = format!(
                "http:\n  routers:\n    r{number}:\n      rule: Host(`{host}`)\n      middlewares: [moved@cluster]\n      service: none@cluster\n"
            );
            let (cpu_before, bytes_before) = (self.cpu()?, loopback_bytes()?);
            let begun = Instant::now();
            self.apply("change.yaml", &text)?;
            self.served(&host, "/")?;
            served.push(begun.elapsed().as_secs_f64() * 1000.0);
            kib.push((loopback_bytes()? - bytes_before) as f64 / 1024.0);
            cpu.push((self.cpu()? - cpu_before) * 1000.0);
        }
        Ok(Measured { cpu_ms: mean_as_spread(&cpu), kib: Spread::of(&kib), served_ms: Spread::of(&served) })
    }

    fn cpu(&self) -> anyhow::Result<f64> {
        let each = self
            .processes
            .iter()
            .map(|process| cpu_seconds(process.id()).map(|(user, system)| user + system));
        each.sum()
    }

    fn resident(&mut self) -> anyhow::Result<f64> {
        self.processes.iter().map(|process| resident_mib(process.id())).sum()
    }

    /// Asks until the host is redirected, which only its own router does.
    fn served(&self, host: &str, path: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.redirected(host, path).unwrap_or(false) {
            if begun.elapsed() > SERVED_TIME_MAX {
                bail!("{host} is not served after {SERVED_TIME_MAX:?}");
            }
            std::thread::sleep(Duration::from_millis(2)); // another process can only be asked again
        }
        Ok(())
    }

    fn redirected(&self, host: &str, path: &str) -> anyhow::Result<bool> {
        let mut stream = TcpStream::connect(&self.web).context("connect")?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").context("send")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("receive")?;
        Ok(answer.starts_with("HTTP/1.1 302") || answer.starts_with("HTTP/1.1 307"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The system counts CPU in ticks of 10 ms: one change is below a tick, so the mean over all stands for each.
fn mean_as_spread(figures: &[f64]) -> Spread {
    let mean = figures.iter().sum::<f64>() / figures.len().max(1) as f64;
    Spread { median: mean, ..Spread::of(figures) }
}

/// Bytes sent over the loopback interface so far.
fn loopback_bytes() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/net/dev").context("/proc/net/dev")?;
    let line = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("lo:"))
        .context("the loopback interface")?;
    line.split_whitespace().nth(8).and_then(|field| field.parse().ok()).context("its bytes")
}
