//! Starting the real binary, talking to it, and waiting for what it does. It must end every process that
//! it started.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Deadline of anything awaited: many times what is usual, only against hanging.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ravelin"))
}

/// Ports below those that the system hands out by itself.
const PORT_MIN: u16 = 10_000;
const PORT_MAX: u16 = 20_000;

/// Runs the binary to its end.
pub(crate) fn ravelin(folder: &Path, words: &[&str]) -> Output {
    ravelin_in(folder, words, &[])
}

/// The same with these variables in its environment.
pub(crate) fn ravelin_in(folder: &Path, words: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(binary())
        .args(words)
        .envs(environment.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

/// What a finished run printed, both streams.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A running process; killed when dropped.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts the binary in `folder`, its output in `folder/NAME.log`.
    pub(crate) fn start(folder: &Path, name: &str, words: &[&str]) -> Self {
        Self::start_program(binary(), folder, name, words)
    }

    /// As [`Self::start`], another program; it must end with its first child if it has any.
    pub(crate) fn start_program(program: &Path, folder: &Path, name: &str, words: &[&str]) -> Self {
        let log = folder.join(format!("{name}.log"));
        let out = std::fs::File::options().create(true).append(true).open(&log).expect("a log file");
        let errors = out.try_clone().expect("a second handle");
        let mut command = Command::new(program);
        command.args(words).current_dir(folder).stdin(Stdio::null()).stdout(out).stderr(errors);
        // The machine's own variables must not configure the process under test.
        for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("TRAEFIK_")) {
            command.env_remove(variable);
        }
        Self::of(command, log)
    }

    /// Takes over a command, whose output goes to `log`.
    pub(crate) fn of(mut command: Command, log: PathBuf) -> Self {
        Self { child: command.spawn().expect("the binary starts"), log }
    }

    /// Sends a signal by its name, without waiting for anything.
    pub(crate) fn signal(&self, name: &str) {
        let told = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(told.expect("kill(1)").success());
    }

    /// Types a line; its input must be a pipe.
    pub(crate) fn type_line(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("a pipe");
        writeln!(input, "{line}").expect("it reads");
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file that keeps what it prints.
    pub(crate) fn log(&self) -> PathBuf {
        self.log.clone()
    }

    /// Everything that it printed so far.
    pub(crate) fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// SIGKILL, and waits.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM, waits, and tells whether it ended with success.
    pub(crate) fn terminate(&mut self) -> bool {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until it has ended by itself, having said each of these.
    pub(crate) fn ended_because(mut self, why: &[&str]) {
        self.wait();
        let printed = self.printed();
        for part in why {
            assert!(printed.contains(part), "{part:?} is missing:\n{printed}");
        }
    }

    /// Waits for its end, and tells whether that was with success.
    pub(crate) fn wait(&mut self) -> bool {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("its process id");
        let ended = pidfd_open(pid, PidfdFlags::empty()).expect("its descriptor");
        let limit = Timespec { tv_sec: TIME_MAX.as_secs().cast_signed(), tv_nsec: 0 };
        let readable = poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&limit)).expect("waiting");
        assert!(readable > 0, "it does not end:\n{}", self.printed());
        self.child.wait().expect("it ends").success()
    }

    /// Waits until `holds`; fails with `what` and the process's output after the deadline or at its end.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            let ended = self.child.try_wait().expect("its state");
            assert!(ended.is_none(), "ended while waiting for {what}:\n{}", self.printed());
            assert!(begun.elapsed() < TIME_MAX, "not in time: {what}\n{}", self.printed());
            std::thread::sleep(Duration::from_millis(5)); // another process can only be asked again
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of the loopback interface that no other run of these tests uses.
pub(crate) fn own_ip() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 0x80 | high, middle, low)
}

/// An address that nobody takes while a test uses it, also while nothing listens there: at this process's own IP address, with a port
/// that is given to no socket that asks for any.
pub(crate) fn free_address() -> SocketAddr {
    static PORTS: AtomicU16 = AtomicU16::new(PORT_MIN);
    let ip = own_ip();
    loop {
        let port = PORTS.fetch_add(1, Ordering::Relaxed);
        assert!(port < PORT_MAX, "more addresses than any run of these tests needs");
        let address = SocketAddr::from((ip, port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// An answer: status, head and body as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// One GET on a connection of its own; nothing if no whole answer came.
pub(crate) fn get(address: SocketAddr, host: &str, path: &str) -> Option<Answer> {
    send(address, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
}

/// Sends bytes, reads to the end.
pub(crate) fn send(address: SocketAddr, bytes: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(TIME_MAX)).ok()?;
    stream.write_all(bytes).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// The status of one GET, 0 if no answer came.
pub(crate) fn status(address: SocketAddr, host: &str, path: &str) -> u16 {
    get(address, host, path).map_or(0, |answer| answer.status)
}
