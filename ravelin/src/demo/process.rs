//! One operating-system process of the demo: started with its command line shown, its output kept in a
//! file, ended by its own pid only. It must leave no process behind, however the demo ends.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// How long a process may take for its orderly end when the demo ends.
const END_TIME_MAX: Duration = Duration::from_secs(2);

/// A process of the demo; ended when dropped.
pub(crate) struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// A process that is not running yet: `ravelin ARGUMENTS`, in `folder`, its output in `folder/log`.
    pub(crate) fn new(name: &str, arguments: Vec<String>, folder: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("the path of this binary")?;
        fs::create_dir_all(folder).with_context(|| format!("{} could not be made", folder.display()))?;
        Ok(Self { name: name.to_owned(), program, arguments, folder: folder.to_path_buf(), child: None })
    }

    /// Its name, for example `controller-1`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The command line that a person would type.
    pub(crate) fn command_line(&self) -> String {
        let words = self.arguments.iter().map(|word| match word.contains(' ') {
            true => format!("'{word}'"),
            false => word.clone(),
        });
        format!("ravelin {}", words.collect::<Vec<_>>().join(" "))
    }

    /// The file that keeps its output.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The folder that it runs in.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its process id while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it, its output appended to its log.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = self.open_log()?;
        let errors = log.try_clone().context("the log's handle")?;
        self.spawn(Stdio::null(), Stdio::from(log), Stdio::from(errors))
    }

    /// Starts it with its input and output as pipes; only its errors go to the log.
    pub(crate) fn start_piped(&mut self) -> anyhow::Result<&mut Child> {
        let log = self.open_log()?;
        self.spawn(Stdio::piped(), Stdio::piped(), Stdio::from(log))?;
        self.child.as_mut().context("just started")
    }

    fn open_log(&self) -> anyhow::Result<File> {
        let path = self.log();
        File::options().create(true).append(true).open(&path).with_context(|| format!("{}", path.display()))
    }

    fn spawn(&mut self, input: Stdio, output: Stdio, errors: Stdio) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder).stdin(input).stdout(output).stderr(errors);
        let child = command.spawn().with_context(|| format!("{} could not be started", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// How it has ended, if nobody here ended it: told once.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(child) = self.child.as_mut() else { return Ok(None) };
        let ended = child.try_wait().with_context(|| format!("waiting for {}", self.name))?;
        if ended.is_some() {
            self.child = None;
        }
        Ok(ended)
    }

    /// Fails with the end of its log if it has ended by itself.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.ended()? else { return Ok(()) };
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        bail!(
            "{} ended by itself ({status}):\n{}",
            self.name,
            lines[lines.len().saturating_sub(12)..].join("\n")
        );
    }

    /// SIGKILL, then waits for its end.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(5))
    }

    /// SIGSTOP: frozen until [`Self::thaw`].
    pub(crate) fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// SIGTERM, then waits for a clean end; an error if it took longer than `limit`.
    pub(crate) fn terminate(&mut self, limit: Duration) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        self.wait(limit)
    }

    /// Waits for its end without a limit.
    pub(crate) fn join(&mut self) -> anyhow::Result<ExitStatus> {
        let mut child = self.child.take().with_context(|| format!("{} is not running", self.name))?;
        child.wait().with_context(|| format!("waiting for {}", self.name))
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("its process id")?;
        kill_process(pid, signal).map_err(io::Error::from).with_context(|| format!("signal to {}", self.name))
    }

    /// Waits until it has ended by itself; an error if that takes longer than `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> anyhow::Result<()> {
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("its process id")?;
        // std offers no wait with a limit; the descriptor of a process is readable once it has ended.
        let ended = pidfd_open(pid, PidfdFlags::empty()).context("the process's descriptor")?;
        let limit_spec = Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
        let mut watched = [PollFd::new(&ended, PollFlags::IN)];
        if poll(&mut watched, Some(&limit_spec)).context("waiting for its end")? == 0 {
            bail!("{} did not end within {limit:?}", self.name);
        }
        child.wait().with_context(|| format!("waiting for {}", self.name))?;
        self.child = None;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // In order if it can; nothing is left of it in any case.
        let _ = self.terminate(END_TIME_MAX);
        if let Some(child) = self.child.as_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
