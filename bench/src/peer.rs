//! The processes that a benchmark compares: started with their committed configuration, pinned to one
//! core, ended by their pid. It must not tune a peer beyond what stands in `bench/peers/`.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

const NGINX: &str = include_str!("../peers/nginx.conf");
const RAVELIN: &str = include_str!("../peers/ravelin.yaml");
/// Lines end in the name of the feature that they belong to.
const FEATURES: &str = include_str!("../peers/features.yaml");
/// Under a profiler a start takes many times as long.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The shipped binary, standalone, one worker.
    Ravelin,
    /// Bare hyper on both sides.
    Floor,
    /// Debian's nginx.
    Nginx,
    /// The shipped binary with all that a request is usually seen by, but for what is left out.
    Without(Omitted),
}

/// What is left out of `features.yaml`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Omitted {
    /// Nothing.
    Nothing,
    /// The access log.
    Log,
    /// Metrics by entry point and service.
    Metrics,
    /// The three middlewares.
    Middlewares,
    /// All of these.
    All,
}

impl Omitted {
    /// The configuration that is left.
    fn configuration(self) -> String {
        let omitted: &[&str] = match self {
            Self::Nothing => &[],
            Self::Log => &["log"],
            Self::Metrics => &["metrics"],
            Self::Middlewares => &["middlewares"],
            Self::All => &["log", "metrics", "middlewares"],
        };
        let left = FEATURES.lines().filter(|line| {
            line.rsplit_once("# ").is_none_or(|(_, feature)| !omitted.contains(&feature.trim()))
        });
        left.map(|line| format!("{line}\n")).collect()
    }
}

impl Kind {
    /// Its name in the output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ravelin => "ravelin",
            Self::Floor => "floor (bare hyper)",
            Self::Nginx => "nginx",
            Self::Without(Omitted::Nothing) => "all",
            Self::Without(Omitted::Log) => "without log",
            Self::Without(Omitted::Metrics) => "without metrics",
            Self::Without(Omitted::Middlewares) => "without middlewares",
            Self::Without(Omitted::All) => "bare",
        }
    }
}

/// A running process; killed when dropped.
pub(crate) struct Peer {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Peer {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, and waits for its end (a profiler writes its results then). A tracer blocks signals that are meant for it, so
    /// that the process it runs gets this one.
    pub(crate) fn terminate(mut self) -> anyhow::Result<()> {
        let own = self.child.id();
        let children =
            std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        let traced = children.split_whitespace().next().and_then(|pid| pid.parse::<i32>().ok());
        let pid = traced.or_else(|| i32::try_from(own).ok()).and_then(Pid::from_raw);
        let pid = pid.context("its process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("SIGTERM")?;
        self.child.wait().context("its end")?;
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The backend on core `core`.
pub(crate) fn backend(core: usize) -> anyhow::Result<Peer> {
    let address = free_address()?;
    let mut command = Command::new(std::env::current_exe().context("this binary")?);
    command.arg("backend").arg(address.to_string());
    start(command, address, Some(core))
}

/// Starts one of the compared processes in `folder`, before `wrap` if a profiler runs it.
pub(crate) fn proxy(
    kind: Kind,
    folder: &Path,
    upstream: SocketAddr,
    wrap: &[String],
    core: Option<usize>,
) -> anyhow::Result<Peer> {
    let address = free_address()?;
    let own = std::env::current_exe().context("this binary")?;
    let fill = |text: &str| {
        text.replace("{folder}", &folder.display().to_string())
            .replace("{listen}", &address.to_string())
            .replace("{upstream}", &upstream.to_string())
    };
    let mut words: Vec<String> = wrap.to_vec();
    match kind {
        Kind::Ravelin | Kind::Without(_) => {
            let (name, text) = match kind {
                Kind::Without(omitted) => (kind.name().replace(' ', "-"), omitted.configuration()),
                _ => ("ravelin".to_owned(), RAVELIN.to_owned()),
            };
            let file = folder.join(format!("{name}.yaml"));
            std::fs::write(&file, fill(&text).replace("{name}", &name)).context("its configuration")?;
            words.push(own.with_file_name("ravelin").display().to_string());
            words.push(format!("--configFile={}", file.display()));
            words.push("--workers=1".to_owned());
        }
        Kind::Floor => {
            let log = folder.join("floor-access.log").display().to_string();
            words.extend([
                own.display().to_string(),
                "floor".to_owned(),
                address.to_string(),
                upstream.to_string(),
                log,
            ]);
        }
        Kind::Nginx => {
            let file = folder.join("nginx.conf");
            std::fs::write(&file, fill(NGINX)).context("its configuration")?;
            let file = file.display().to_string();
            words.extend([
                "nginx".to_owned(),
                "-p".to_owned(),
                folder.display().to_string(),
                "-c".to_owned(),
                file,
            ]);
        }
    }
    let (program, arguments) = words.split_first().context("a program")?;
    let mut command = Command::new(program);
    command.args(arguments);
    start(command, address, core)
}

fn start(mut command: Command, address: SocketAddr, core: Option<usize>) -> anyhow::Result<Peer> {
    let shown = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // What is started inherits the cores: a process pinned later may have threads by then that are not.
    let own = sched_getaffinity(None).context("this thread's cores")?;
    if let Some(core) = core {
        pin(core)?;
    }
    let child = command.spawn().with_context(|| format!("{shown} could not be started"));
    sched_setaffinity(None, &own).context("this thread's cores")?;
    let mut peer = Peer { address, child: child? };
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        if let Some(status) = peer.child.try_wait().context("its state")? {
            bail!("{shown} ended with {status}");
        }
        if begun.elapsed() > START_TIME_MAX {
            bail!("{shown} does not listen on {address} after {START_TIME_MAX:?}");
        }
        std::thread::sleep(Duration::from_millis(5)); // another process can only be asked again
    }
    Ok(peer)
}

/// Pins this thread to one core; the threads and processes that it starts later inherit that.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).context("pinning to a core")
}

fn free_address() -> anyhow::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").context("a free port")?.local_addr().context("its address")
}
