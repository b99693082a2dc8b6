//! The process's own log: to standard error or a file, as text or JSON. It must not be used for access logs.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::anyhow;
use ravelin_config::static_config::Log;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// What people write as a level, and the least that is then shown. As in Traefik, the last two show only what ends the process;
/// that is told where it ends.
const LEVELS: [(&str, &str); 7] = [
    ("error", "error"),
    ("warn", "warn"),
    ("info", "info"),
    ("debug", "debug"),
    ("trace", "trace"),
    ("fatal", "off"),
    ("panic", "off"),
];

/// The file that the log goes to, if it does not go to standard error.
static FILE: OnceLock<LogFile> = OnceLock::new();

/// Starts the log on standard error at `level` (error, warn, info, debug, trace), as JSON if asked.
///
/// # Errors
/// The level is none of these, or the log was started before.
pub(crate) fn start(level: &str, json: bool) -> anyhow::Result<()> {
    let no_file = Log { level: level.to_owned(), ..Log::default() };
    start_as(&no_file, json)
}

/// Starts the log as the static configuration has it; `json` wins over its format. A file that cannot be opened is told on
/// standard error, which then takes its place: traffic matters more.
///
/// # Errors
/// The level is unknown, or the log was started before.
pub(crate) fn start_as(log: &Log, json: bool) -> anyhow::Result<()> {
    let level = log.level.to_ascii_lowercase();
    let Some(&(_, level)) = LEVELS.iter().find(|(name, _)| *name == level) else {
        let known = LEVELS.map(|(name, _)| name).join(", ");
        return Err(anyhow!("log level {level:?} is unknown; use one of {known}"));
    };
    // What a dependency says below a warning tells nothing about our own work.
    let others = if ["error", "off"].contains(&level) { level } else { "warn" };
    let filter = EnvFilter::new(format!("{others},ravelin={level}"));
    let opened = (!log.file_path.is_empty()).then(|| LogFile::open(Path::new(&log.file_path)));
    let (writer, problem) = match opened {
        Some(Ok(file)) => {
            let file = FILE.get_or_init(|| file);
            (BoxMakeWriter::new(move || file), None)
        }
        Some(Err(error)) => (BoxMakeWriter::new(io::stderr), Some(error)),
        None => (BoxMakeWriter::new(io::stderr), None),
    };
    let to_file = FILE.get().is_some();
    let colour =
        !to_file && !log.no_color && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let started = match json || log.format == "json" {
        true => builder.json().try_init(),
        false => builder.with_ansi(colour).try_init(),
    };
    started.map_err(|error| anyhow!("the log could not be started: {error}"))?;
    if let Some(error) = problem {
        tracing::error!(file = log.file_path, %error, "the log cannot be written there");
    }
    Ok(())
}

/// Opens the log's file anew, so that one that was moved away is let go. What cannot be opened leaves the old one in place.
pub(crate) fn reopen() {
    if let Some(Err(error)) = FILE.get().map(LogFile::reopen) {
        tracing::error!(%error, "the log could not be opened anew: the file before goes on");
    }
}

/// A file that is appended to line by line, and can be opened anew under its name.
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        // Of the process's own directory, wherever it goes later.
        let path = std::path::absolute(path)?;
        let file = Mutex::new(append(&path)?);
        Ok(Self { path, file })
    }

    fn reopen(&self) -> io::Result<()> {
        let anew = append(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = anew;
        Ok(())
    }
}

impl Write for &'static LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A line is written whole, so that lines of two threads never mix.
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}
