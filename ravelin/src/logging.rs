//! The process's own log: to standard error or a file, as text or JSON. It must not be used for access logs.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use anyhow::anyhow;
use ravelin_config::static_config::Log;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

mod rotation;

use rotation::Rotation;

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
    let opened =
        (!log.file_path.is_empty()).then(|| LogFile::open(Path::new(&log.file_path), Rotation::new(log)));
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

/// A file that is appended to line by line, can be opened anew under its name, and is put aside when it has grown.
struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    open: Mutex<Open>,
    /// One tidies at a time.
    tidying: Mutex<()>,
}

struct Open {
    file: File,
    bytes: u64,
}

impl Open {
    fn append(path: &Path) -> io::Result<Self> {
        let file = append(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

impl LogFile {
    fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        // Of the process's own directory, wherever it goes later.
        let path = std::path::absolute(path)?;
        let open = Mutex::new(Open::append(&path)?);
        Ok(Self { path, rotation, open, tidying: Mutex::new(()) })
    }

    fn reopen(&self) -> io::Result<()> {
        let anew = Open::append(&self.path)?;
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = anew;
        Ok(())
    }

    /// Writes a line whole, so that lines of two threads never mix; true if the file was put aside before.
    fn line(&self, bytes: &[u8], now: SystemTime) -> io::Result<bool> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let length = bytes.len() as u64;
        let full = open.bytes > 0 && open.bytes.saturating_add(length) > self.rotation.bytes_max;
        // What cannot be put aside goes on growing: a line is worth more than a bound.
        let aside = full && Rotation::put_aside(&self.path, now).is_ok();
        if aside && let Ok(anew) = Open::append(&self.path) {
            *open = anew;
        }
        open.file.write_all(bytes)?;
        open.bytes = open.bytes.saturating_add(length);
        Ok(aside)
    }

    fn tidy(&self) {
        let _one = self.tidying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.rotation.tidy(&self.path, SystemTime::now()) {
            tracing::warn!(%error, "log files that were put aside could not all be packed or removed");
        }
    }
}

impl Write for &'static LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.line(bytes, SystemTime::now())? {
            let file: &'static LogFile = self;
            // Packing takes a while. Where no thread can be had, the next time will do.
            drop(std::thread::Builder::new().name("log-files".to_owned()).spawn(move || file.tidy()));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_grown_is_put_aside_before_the_next_line_and_no_line_is_lost_or_cut() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("own.log");
        std::fs::write(&path, "of before\n").expect("written");
        let rotation = Rotation { bytes_max: 20, ..Rotation::new(&Log::default()) };
        let file = LogFile::open(&path, rotation).expect("it opens");
        let put_aside: Vec<bool> = (0..4)
            .map(|line| {
                file.line(format!("line {line}...\n").as_bytes(), SystemTime::now()).expect("written")
            })
            .collect();
        assert_eq!(put_aside, [false, true, false, true], "10 bytes and 10 are not more than 20");
        let long = "a line that is longer than the bound\n";
        assert!(file.line(long.as_bytes(), SystemTime::now()).expect("written"));
        assert_eq!(std::fs::read_to_string(&path).expect("the newest"), long, "it is one line all the same");
        let mut all: Vec<(PathBuf, String)> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| (path.clone(), std::fs::read_to_string(path).expect("text")))
            .collect();
        all.sort_unstable();
        let mut lines: Vec<&str> = all.iter().flat_map(|(_, text)| text.lines()).collect();
        lines.sort_unstable();
        let wanted = [long.trim_end(), "line 0...", "line 1...", "line 2...", "line 3...", "of before"];
        assert_eq!(lines, wanted);
    }
}
