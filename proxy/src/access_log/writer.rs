//! The one thread that writes the access log. What it is given waits in a bounded queue; what does not fit is refused, and what
//! cannot be written is counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::BLOCK_BYTES;
use super::settings::SettingsError;

/// Blocks that wait, per worker.
const BLOCKS_PER_WORKER: usize = 8;

/// Why the access log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// Its settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Its file.
    #[error("cannot open the access log {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its thread.
    #[error("cannot start the access log's thread")]
    Thread(#[source] io::Error),
}

/// How long the old file stays open for blocks that workers still hold, after the log was opened anew.
const OLD_FILE_TIME: Duration = Duration::from_secs(1);

/// Whole lines, all of one file.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
    /// Which opening of the log they belong to.
    pub(super) file: u64,
}

enum Message {
    Block(Block),
    Reopen(u64),
    Flush(SyncSender<()>),
}

#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
    lost: Arc<AtomicU64>,
}

impl Writer {
    /// Opens the file (standard output if the name is empty) and starts the thread.
    pub(super) fn start(path: &str, workers: usize) -> Result<Self, WriterError> {
        let target = Target::open(path)?;
        let bound = BLOCKS_PER_WORKER * workers.max(1);
        let (queue, messages) = sync_channel(bound);
        let spare = Arc::new(Mutex::new(Vec::new()));
        let lost = Arc::new(AtomicU64::new(0));
        let state = (Arc::clone(&spare), Arc::clone(&lost));
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || run(target, &messages, &state.0, &state.1, bound))
            .map_err(WriterError::Thread)?;
        Ok(Self { queue: Some(queue), thread: Some(thread), spare, lost })
    }

    /// Gives a block away; it comes back if the queue is full.
    pub(super) fn give(&self, block: Block) -> Result<(), Block> {
        let Some(queue) = &self.queue else { return Err(block) };
        queue.try_send(Message::Block(block)).map_err(|refused| match refused {
            TrySendError::Full(Message::Block(block)) | TrySendError::Disconnected(Message::Block(block)) => {
                block
            }
            TrySendError::Full(_) | TrySendError::Disconnected(_) => {
                Block { bytes: Vec::new(), lines: 0, file: 0 }
            }
        })
    }

    /// An empty buffer, one that was written if there is any.
    pub(super) fn spare_block(&self) -> Vec<u8> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES))
    }

    pub(super) fn reopen(&self, file: u64) {
        if let Some(queue) = &self.queue {
            // Blocks for the time that a full queue takes to be written: signals come seldom.
            let _ = queue.send(Message::Reopen(file));
        }
    }

    pub(super) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.as_ref().is_some_and(|queue| queue.send(Message::Flush(done)).is_ok()) {
            let _ = wait.recv();
        }
    }

    pub(super) fn lost_lines(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has nothing left to wait for.
            let _ = thread.join();
        }
    }
}

fn run(
    mut target: Target,
    messages: &Receiver<Message>,
    spare: &Mutex<Vec<Vec<u8>>>,
    lost: &AtomicU64,
    spare_max: usize,
) {
    for message in messages {
        match message {
            Message::Block(mut block) => {
                if let Err(error) = target.write(&block) {
                    lost.fetch_add(block.lines, Ordering::Relaxed);
                    tracing::error!(%error, lines = block.lines, "cannot write the access log");
                }
                block.bytes.clear();
                let mut spare = spare.lock().unwrap_or_else(PoisonError::into_inner);
                if spare.len() < spare_max {
                    spare.push(block.bytes);
                }
            }
            Message::Reopen(file) => target.reopen(file),
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

enum Target {
    StandardOutput,
    File(Opened),
}

struct Opened {
    path: PathBuf,
    current: u64,
    file: File,
    /// The one before, for blocks begun before the log was opened anew.
    old: Option<(File, Instant)>,
}

impl Target {
    fn open(path: &str) -> Result<Self, WriterError> {
        if path.is_empty() {
            return Ok(Self::StandardOutput);
        }
        let path = PathBuf::from(path);
        match append(&path) {
            Ok(file) => Ok(Self::File(Opened { path, current: 0, file, old: None })),
            Err(source) => Err(WriterError::Open { path, source }),
        }
    }

    fn write(&mut self, block: &Block) -> io::Result<()> {
        let opened = match self {
            Self::StandardOutput => return io::stdout().lock().write_all(&block.bytes),
            Self::File(opened) => opened,
        };
        if opened.old.as_ref().is_some_and(|(_, since)| since.elapsed() > OLD_FILE_TIME) {
            opened.old = None;
        }
        match &mut opened.old {
            Some((old, _)) if block.file < opened.current => old.write_all(&block.bytes),
            _ => opened.file.write_all(&block.bytes),
        }
    }

    fn reopen(&mut self, file: u64) {
        let Self::File(opened) = self else { return };
        match append(&opened.path) {
            Ok(new) => {
                opened.old = Some((std::mem::replace(&mut opened.file, new), Instant::now()));
                opened.current = file;
            }
            Err(error) => {
                let path = opened.path.display();
                tracing::error!(%error, %path, "cannot open the access log anew; the old file stays");
            }
        }
    }
}

/// Creates the file and the folders above it where they are missing, as Traefik does.
fn append(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}
