//! The access log: settings, one buffer per worker, one writer for the process. A line is formatted into its worker's buffer
//! without a message or allocation of its own; buffers go to the writer in blocks. A full writer costs lines, which are counted,
//! never time on a worker.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ravelin_config::static_config;

use crate::exchange::Entry;

mod clock;
mod format;
mod settings;
mod writer;

pub use settings::SettingsError;
use settings::{Format, Settings};
pub use writer::WriterError;
use writer::{Block, Writer};

/// A block goes to the writer at this size.
const BLOCK_BYTES: usize = 64 * 1024;
/// A line waits at most this long in its worker's buffer where buffering is asked for (`bufferingSize`).
const BUFFERED_INTERVAL: Duration = Duration::from_millis(100);
/// A worker flushes at most this often where it is not: lines then stand in the order of their requests' ends, over workers
/// too, but for requests that end together.
const UNBUFFERED_INTERVAL: Duration = Duration::from_millis(2);

/// The access log of a process. Dropping it writes what it was given and ends the writer.
#[derive(Debug)]
pub struct AccessLog {
    settings: Settings,
    writer: Writer,
    requests: AtomicU64,
    dropped: AtomicU64,
    /// Counts reopenings: a block holds lines of one file only.
    file: AtomicU64,
}

impl AccessLog {
    /// Opens the log and starts its writer, for `workers` workers.
    ///
    /// # Errors
    /// A format, mode or filter that is not known; a file that cannot be opened.
    pub fn open(config: &static_config::AccessLog, workers: usize) -> Result<Arc<Self>, WriterError> {
        let settings = Settings::compile(config)?;
        let writer = Writer::start(&config.file_path, workers)?;
        Ok(Arc::new(Self {
            settings,
            writer,
            requests: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            file: AtomicU64::new(0),
        }))
    }

    /// Opens the file anew, after it was renamed: lines of requests that ended before go to the old one. Call it on SIGUSR1.
    pub fn reopen(&self) {
        let file = self.file.fetch_add(1, Ordering::AcqRel) + 1;
        self.writer.reopen(file);
    }

    /// Waits until everything given to the writer before is written. Blocks: not for workers.
    pub fn flush(&self) {
        self.writer.flush();
    }

    /// Lines lost because the writer could not keep up or could not write.
    pub fn dropped_lines(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed) + self.writer.lost_lines()
    }

    /// Whether requests to the process's own services are logged.
    pub fn logs_internals(&self) -> bool {
        self.settings.add_internals
    }

    /// Whether any request or answer field is logged, so that fields must be kept.
    pub(crate) fn keeps_headers(&self) -> bool {
        self.settings.keeps_headers()
    }

    /// Whether the time that a service took is logged.
    pub(crate) fn keeps_waiting(&self) -> bool {
        self.settings.format == Format::Json
    }

    /// The number of the next request, from 1 on.
    pub(crate) fn next_number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }
}

struct Buffer {
    log: Arc<AccessLog>,
    block: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    /// The file that the waiting lines belong to.
    file: Cell<u64>,
    flush_due: Cell<bool>,
    flushed_at: Cell<Option<Instant>>,
    clock: RefCell<clock::Stamps>,
}

/// One worker's part of the log. Cheap to clone; never leaves its thread.
#[derive(Clone)]
pub struct WorkerLog(Rc<Buffer>);

impl std::fmt::Debug for WorkerLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerLog").field("lines_waiting", &self.0.lines.get()).finish_non_exhaustive()
    }
}

impl WorkerLog {
    /// The part of one worker.
    pub fn new(log: Arc<AccessLog>) -> Self {
        let block = RefCell::new(Vec::with_capacity(BLOCK_BYTES));
        Self(Rc::new(Buffer {
            log,
            block,
            lines: Cell::new(0),
            file: Cell::new(0),
            flush_due: Cell::new(false),
            flushed_at: Cell::new(None),
            clock: RefCell::new(clock::Stamps::default()),
        }))
    }

    /// The process's log.
    pub fn log(&self) -> &Arc<AccessLog> {
        &self.0.log
    }

    /// Writes the line of one request that ended at `now`, if the filters let it through.
    pub(crate) fn write(&self, entry: &Entry, now: Instant) {
        let buffer = &self.0;
        let duration = now.saturating_duration_since(entry.started);
        if !buffer.log.settings.filters.keep(entry.final_status(), duration) {
            return;
        }
        let file = buffer.log.file.load(Ordering::Acquire);
        if buffer.file.get() != file {
            self.flush();
            buffer.file.set(file);
        }
        let full = {
            let mut block = buffer.block.borrow_mut();
            let mut clock = buffer.clock.borrow_mut();
            match buffer.log.settings.format {
                Format::Common => {
                    format::common(&mut block, entry, duration, &buffer.log.settings, &mut clock)
                }
                Format::GenericClf => format::generic(&mut block, entry, &buffer.log.settings, &mut clock),
                Format::Json => format::json(&mut block, entry, duration, &buffer.log.settings, &mut clock),
            }
            block.push(b'\n');
            block.len() >= BLOCK_BYTES
        };
        buffer.lines.set(buffer.lines.get() + 1);
        let quiet = || {
            let since = |at| now.saturating_duration_since(at);
            buffer.flushed_at.get().is_none_or(|at| since(at) >= UNBUFFERED_INTERVAL)
        };
        if full || (!buffer.log.settings.buffered && quiet()) {
            self.flush();
        } else {
            self.flush_soon();
        }
    }

    /// Hands the buffer to the writer. Call it when the worker drains.
    pub fn flush(&self) {
        let buffer = &self.0;
        let lines = buffer.lines.replace(0);
        if lines == 0 {
            return;
        }
        buffer.flushed_at.set(Some(Instant::now()));
        let fresh = buffer.log.writer.spare_block();
        let bytes = buffer.block.replace(fresh);
        if let Err(refused) = buffer.log.writer.give(Block { bytes, lines, file: buffer.file.get() }) {
            buffer.log.dropped.fetch_add(refused.lines, Ordering::Relaxed);
            let mut bytes = refused.bytes;
            bytes.clear();
            buffer.block.replace(bytes);
        }
    }

    fn flush_soon(&self) {
        if self.0.flush_due.replace(true) {
            return;
        }
        let this = self.clone();
        let wait = if self.0.log.settings.buffered { BUFFERED_INTERVAL } else { UNBUFFERED_INTERVAL };
        tokio::task::spawn_local(async move {
            tokio::time::sleep(wait).await;
            this.0.flush_due.set(false);
            this.flush();
        });
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let lines = self.lines.get();
        if lines > 0
            && self.log.writer.give(Block { bytes: self.block.take(), lines, file: self.file.get() }).is_err()
        {
            self.log.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
