//! `change`: one route changed by `apply` among 1,000, 10,000 and 100,000, on one controller and one
//! proxy as real processes: CPU of each, bytes over loopback, time until served, and the longest that one
//! event held the controller up. It judges nothing.
//!
//! CPU is read from the scheduler's own count (nanoseconds on a processor, thread by thread), with nobody
//! asking the proxy meanwhile; what the two processes use when nothing happens is taken off. Each `apply` is
//! a process of its own that opens a connection: what that costs the controller is printed beside it. Bytes are those of
//! a network namespace of its own, where the system allows one, as others use the loopback interface too.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::stats::{Spread, ThreadTimes, resident_mib};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
/// Changes of a provided file.
const FILE_CHANGES: usize = 5;
/// Time between them: more than what a storm of changes is throttled to.
const FILE_PAUSE: Duration = Duration::from_millis(2200);
/// Changes of which each has its CPU read.
const CHANGES: usize = 60;
/// Changes of which each has its time until served taken.
const TIMED: usize = 20;
/// What follows from one change is over by then.
const SETTLED: Duration = Duration::from_millis(150);
/// How long the processes are left alone after loading.
const LOADED: Duration = Duration::from_secs(12);
/// How long the idle processes are watched.
const IDLE: Duration = Duration::from_secs(3);
const OPERATOR: &str = "identities/operator.toml";
const SERVED_TIME_MAX: Duration = Duration::from_secs(300);

struct Measured {
    cpu_ms: Spread,
    controller_ms: Spread,
    proxy_ms: Spread,
    asking_ms: Spread,
    answered_ms: Spread,
    kib: Spread,
    served_ms: Spread,
}

/// Measures in a network namespace of its own, if there may be one.
pub(crate) fn run(is_alone: bool) -> anyhow::Result<()> {
    if is_alone {
        return measure();
    }
    let binary = std::env::current_exe().context("this binary")?;
    let alone = |what: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "sh", "-c"]);
        command.arg(format!("ip link set lo up && {what}")).arg(&binary);
        command
    };
    let may = alone("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !may {
        println!("no network namespace of our own: bytes include what others send over loopback");
        return measure();
    }
    let status = alone("exec \"$0\" change --alone").status().context("unshare")?;
    if !status.success() {
        bail!("the measuring process ended with {status}");
    }
    Ok(())
}

/// Measures each size and prints its rows, then the ratio of the largest to the smallest.
fn measure() -> anyhow::Result<()> {
    println!("one route changed by `apply`: median (least–greatest) of {CHANGES}, times of {TIMED}\n");
    let mut rows = Vec::new();
    for size in SIZES {
        let mut cluster = Cluster::start()?;
        let begun = Instant::now();
        cluster.load(size)?;
        let loaded = begun.elapsed().as_secs_f64();
        let longest_load = cluster.longest_event()?;
        let row = cluster.changes(size)?;
        println!("  {size} routes, loaded in {loaded:.1} s, {:.0} MiB resident", cluster.resident()?);
        println!("    CPU ms             {}", row.cpu_ms);
        println!("      controller       {}", row.controller_ms);
        println!("        connection     {} (a question that changes nothing)", row.asking_ms);
        println!("      proxy            {}", row.proxy_ms);
        println!("    ms for that question {}", row.answered_ms);
        println!("    KiB over loopback  {}", row.kib);
        println!("    ms until served    {}", row.served_ms);
        println!("    longest event      {longest_load} while loading");
        println!("                       {} in all", cluster.longest_event()?);
        drop(cluster);
        Cluster::start()?.by_file(size)?;
        rows.push(row);
    }
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { bail!("nothing was measured") };
    let own = |row: &Measured| row.cpu_ms.median - row.asking_ms.median;
    println!(
        "  100k / 1k: CPU {:.2} (without the connection {:.2}; controller {:.2}, proxy {:.2}), bytes {:.2}",
        last.cpu_ms.median / first.cpu_ms.median,
        own(last) / own(first),
        last.controller_ms.median / first.controller_ms.median,
        last.proxy_ms.median / first.proxy_ms.median,
        last.kib.median / first.kib.median
    );
    Ok(())
}

/// Milliseconds until each of a few routes, changed one by one by `apply` among so many, is served.
pub(crate) fn applied(size: usize) -> anyhow::Result<Spread> {
    let cluster = Cluster::start()?;
    cluster.load(size)?;
    std::thread::sleep(LOADED); // what follows from loading is over by then
    let served = (0..TIMED).map(|change| {
        let begun = Instant::now();
        cluster.change(change, change * size / TIMED)?;
        cluster.served(&host(change), "/")?;
        Ok(begun.elapsed().as_secs_f64() * 1000.0)
    });
    Ok(Spread::of(&served.collect::<anyhow::Result<Vec<f64>>>()?))
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

    fn ravelin(&self, words: &[&str]) -> anyhow::Result<String> {
        let output =
            Command::new(&self.binary).args(words).current_dir(self.path()).output().context("ravelin")?;
        if !output.status.success() {
            bail!("ravelin {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn apply(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let mut file = std::fs::File::create(self.path().join(name)).context("a document")?;
        file.write_all(text.as_bytes()).context("a document")?;
        self.ravelin(&["apply", "--identity", OPERATOR, "--timeout", "300", name]).map(drop)
    }

    /// Applies `size` routes by one request, and waits until the last one is served.
    fn load(&self, size: usize) -> anyhow::Result<()> {
        self.apply("routes.yaml", &routes(size, None))?;
        self.served(&format!("h{}.bench.test", size - 1), "/")
    }

    /// The same routes in a provided file, of which one changes: what reading it again takes, apart.
    fn by_file(&self, size: usize) -> anyhow::Result<()> {
        let file = self.path().join("provided.yaml");
        let begun = Instant::now();
        std::fs::write(&file, routes(size, None)).context("the provided file")?;
        let fixed = format!(
            "entryPoints:\n  web:\n    address: 127.0.0.1:8000\nproviders:\n  file:\n    filename: {}\n",
            file.display()
        );
        self.apply("static.yaml", &fixed)?;
        self.served(&format!("h{}.bench.test", size - 1), "/")?;
        let loaded = begun.elapsed().as_secs_f64();
        let (mut read, mut served) = (Vec::new(), Vec::new());
        for change in 0..FILE_CHANGES {
            std::thread::sleep(FILE_PAUSE); // one change after another, not a storm that is held back
            let text = routes(size, Some((change * size / FILE_CHANGES, change)));
            let begun = Instant::now();
            std::fs::write(&file, text).context("the provided file")?;
            self.served(&host(change), "/")?;
            served.push(begun.elapsed().as_secs_f64() * 1000.0);
            let status = self.ravelin(&["status", "--json", "--identity", OPERATOR])?;
            read.push(number_in(&status, "readMicros")? / 1000.0);
        }
        println!("    as a provided file, loaded in {loaded:.1} s");
        println!("      ms to read again {} (of these)", Spread::of(&read));
        println!("      ms until served  {}", Spread::of(&served));
        println!("      longest event    {}\n", self.longest_event()?);
        Ok(())
    }

    /// Changes the rule of one route again and again: first for CPU and bytes, then for the time.
    fn changes(&self, size: usize) -> anyhow::Result<Measured> {
        std::thread::sleep(LOADED); // what follows from loading is over by then
        let idle = self.idle()?;
        let (mut cpu, mut controller, mut proxy, mut kib) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for change in 0..CHANGES {
            let bytes_before = loopback_bytes()?;
            let used = self.used(&idle, || {
                self.change(change, change * size / CHANGES)?;
                std::thread::sleep(SETTLED); // asking whether it is served would cost what is measured
                Ok(())
            })?;
            kib.push((loopback_bytes()? - bytes_before) as f64 / 1024.0);
            cpu.push(used.iter().sum());
            controller.extend(used.first());
            proxy.extend(used.get(1));
        }
        self.served(&host(CHANGES - 1), "/")?;
        let (mut asking, mut answered) = (Vec::new(), Vec::new());
        for _ in 0..CHANGES {
            let begun = Instant::now();
            let used = self.used(&idle, || self.ravelin(&["events", "--identity", OPERATOR]).map(drop))?;
            answered.push(begun.elapsed().as_secs_f64() * 1000.0);
            asking.extend(used.first());
        }
        let mut served = Vec::new();
        for change in CHANGES..CHANGES + TIMED {
            let begun = Instant::now();
            self.change(change, change * size / (CHANGES + TIMED))?;
            self.served(&host(change), "/")?;
            served.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(Measured {
            cpu_ms: Spread::of(&cpu),
            controller_ms: Spread::of(&controller),
            proxy_ms: Spread::of(&proxy),
            asking_ms: Spread::of(&asking),
            answered_ms: Spread::of(&answered),
            kib: Spread::of(&kib),
            served_ms: Spread::of(&served),
        })
    }

    fn change(&self, change: usize, number: usize) -> anyhow::Result<()> {
        let text = format!(
            "http:\n  routers:\n    r{number}:\n      rule: Host(`{}`)\n      middlewares: [moved@cluster]\n      service: none@cluster\n",
            host(change)
        );
        self.apply("change.yaml", &text)
    }

    /// What each process uses in a second when nothing happens, in milliseconds.
    fn idle(&self) -> anyhow::Result<Vec<f64>> {
        let nothing = vec![0.0; self.processes.len()];
        let used = self.used(&nothing, || {
            std::thread::sleep(IDLE); // the window that is measured: nothing is to happen in it
            Ok(())
        })?;
        Ok(used.iter().map(|ms| ms / IDLE.as_secs_f64()).collect())
    }

    /// CPU milliseconds of each process while something is done, without what it uses anyway.
    fn used(&self, idle: &[f64], work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Vec<f64>> {
        let read = || self.processes.iter().map(|process| ThreadTimes::of(process.id())).collect();
        let before: anyhow::Result<Vec<ThreadTimes>> = read();
        let before = before?;
        let begun = Instant::now();
        work()?;
        let span = begun.elapsed().as_secs_f64();
        let after: anyhow::Result<Vec<ThreadTimes>> = read();
        let pairs = before.iter().zip(after?).zip(idle);
        Ok(pairs.map(|((before, after), idle)| after.since_ms(before) - idle * span).collect())
    }

    /// The longest that one event held the controller up, beside its election timeout.
    fn longest_event(&self) -> anyhow::Result<String> {
        let status = self.ravelin(&["status", "--json", "--identity", OPERATOR])?;
        let longest = status.split("\"longestEvent\":").nth(1).context("longestEvent in the status")?;
        let event = field(longest, "event").context("the event's name")?;
        let (took, timeout) = (number_in(longest, "micros")?, number_in(longest, "electionTimeoutMicros")?);
        Ok(format!("{:.1} ms ({event}), {:.2} of the election timeout", took / 1000.0, took / timeout))
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

/// Routes to one service through one middleware; one of them may be another than at first.
fn routes(size: usize, changed: Option<(usize, usize)>) -> String {
    let mut text = "http:\n  services:\n    none:\n      loadBalancer:\n        servers: []\n  middlewares:\n    moved:\n      redirectScheme:\n        scheme: https\n  routers:\n".to_owned();
    for number in 0..size {
        let host = match changed {
            Some((at, change)) if at == number => host(change),
            _ => format!("h{number}.bench.test"),
        };
        let _ = write!(
            text,
            "    r{number}:\n      rule: Host(`{host}`)\n      middlewares: [moved]\n      service: none\n"
        );
    }
    text
}

/// The first value of a name in a JSON text.
fn field<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!("\"{name}\":"))?;
    let rest = rest.trim_start();
    Some(rest.get(..rest.find([',', '}', '\n'])?)?.trim_matches('"'))
}

fn number_in(json: &str, name: &str) -> anyhow::Result<f64> {
    field(json, name).and_then(|text| text.parse().ok()).with_context(|| format!("{name} in the status"))
}

fn host(change: usize) -> String {
    format!("changed-{change}.bench.test")
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
