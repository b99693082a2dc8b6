//! Files in a real directory, held by an advisory lock: two processes never share one.
//! It must not retry a failed sync, nor keep anything of its own beside the files.

use std::cell::Cell;
use std::convert::Infallible;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::disk::{Disk, DiskError, DiskFile};

/// The file that carries the lock. It holds nothing and stays behind: only the lock on it counts, which the kernel
/// releases when its process ends, however it ends.
pub const LOCK_NAME: &str = "LOCK";

const ZEROS_BYTES: usize = 1 << 20;

/// A directory on a real file system, locked for this process as long as the value lives.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    _lock: File,
    /// Stands after the lock: fields are dropped in their order, so whoever hears of this one finds the lock gone.
    _held: mpsc::Sender<Infallible>,
}

/// Tells when a directory is free again: the last user of its [`RealDisk`] has let go.
#[derive(Debug)]
pub struct Release(mpsc::Receiver<Infallible>);

impl Release {
    /// Waits until the directory is free, at most so long; false if it is still held then. Blocks.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        self.0.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Disconnected)
    }
}

/// Why a directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum RealDiskError {
    /// Another process holds it.
    #[error(
        "{path} is in use by another process. Two nodes must never share a data directory: stop the other process, or \
         give this node a directory of its own"
    )]
    Locked {
        /// The directory.
        path: String,
    },
    /// It could not be made or locked.
    #[error("cannot use the data directory: {0}")]
    Disk(#[from] DiskError),
}

impl RealDisk {
    /// Takes the directory, making it (mode 0700) if it is not there.
    ///
    /// # Errors
    /// [`RealDiskError::Locked`] if another process has it, [`RealDiskError::Disk`] if it cannot be made or opened.
    pub fn open(root: &Path) -> Result<Self, RealDiskError> {
        Self::open_awaited(root).map(|(disk, _)| disk)
    }

    /// As [`Self::open`], for whoever must know when all that work on the directory have let go of it.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn open_awaited(root: &Path) -> Result<(Self, Release), RealDiskError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(|source| DiskError::new("create", root.display().to_string(), source))?;
        let path = root.join(LOCK_NAME);
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| DiskError::new("open", path.display().to_string(), source))?;
        match lock.try_lock() {
            Ok(()) => {
                let (held, release) = mpsc::channel();
                Ok((Self { root: root.to_owned(), _lock: lock, _held: held }, Release(release)))
            }
            Err(TryLockError::WouldBlock) => Err(RealDiskError::Locked { path: root.display().to_string() }),
            Err(TryLockError::Error(source)) => {
                Err(DiskError::new("lock", path.display().to_string(), source).into())
            }
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    fn failed(&self, operation: &'static str, path: &str) -> impl FnOnce(io::Error) -> DiskError {
        let path = self.describe(path);
        move |source| DiskError::new(operation, path, source)
    }

    fn open_with(&self, path: &str, create: bool) -> Result<Box<dyn DiskFile>, DiskError> {
        let operation = if create { "create" } else { "open" };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(create)
            .mode(0o600)
            .open(self.path(path))
            .map_err(self.failed(operation, path))?;
        Ok(Box::new(RealFile { file, path: self.describe(path), length_changed: Cell::new(create) }))
    }
}

impl Disk for RealDisk {
    fn describe(&self, path: &str) -> String {
        self.path(path).display().to_string()
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        match std::fs::DirBuilder::new().mode(0o700).create(self.path(path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(self.failed("create", path)),
        }
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.path(directory)).map_err(self.failed("list", directory))? {
            let entry = entry.map_err(self.failed("list", directory))?;
            let kind = entry.file_type().map_err(self.failed("list", directory))?;
            if kind.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn list_root(&self) -> Result<Vec<String>, DiskError> {
        let entries = std::fs::read_dir(self.path("")).map_err(self.failed("list", ""))?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>().map_err(self.failed("list", ""))?;
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, path: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        self.open_with(path, true)
    }

    fn open(&self, path: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        self.open_with(path, false)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        std::fs::rename(self.path(from), self.path(to)).map_err(self.failed("rename", from))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        std::fs::remove_file(self.path(path)).map_err(self.failed("remove", path))
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        File::open(self.path(path))
            .and_then(|directory| directory.sync_all())
            .map_err(self.failed("sync", path))
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    path: String,
    /// fdatasync promises only the metadata that reading needs; a changed length gets the full fsync.
    length_changed: Cell<bool>,
}

impl RealFile {
    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> DiskError {
        let path = self.path.clone();
        move |source| DiskError::new(operation, path, source)
    }

    /// For file systems without fallocate: real zeros reserve the space just as well, only slower.
    fn write_zeros(&self, from: u64, to: u64) -> io::Result<()> {
        let zeros = vec![0_u8; ZEROS_BYTES];
        let mut offset = from;
        while offset < to {
            let length = usize::try_from(to - offset).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
            self.file.write_all_at(zeros.get(..length).unwrap_or(&zeros), offset)?;
            offset += length as u64;
        }
        Ok(())
    }
}

impl DiskFile for RealFile {
    fn bytes(&self) -> Result<u64, DiskError> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(self.failed("read the length of"))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("read")(error)),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, offset).map_err(self.failed("write"))
    }

    fn preallocate(&self, bytes: u64) -> Result<(), DiskError> {
        let length = self.bytes()?;
        if bytes <= length {
            return Ok(());
        }
        self.length_changed.set(true);
        loop {
            match fallocate(&self.file, FallocateFlags::empty(), length, bytes - length) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    return self.write_zeros(length, bytes).map_err(self.failed("preallocate"));
                }
                Err(error) => return Err(self.failed("preallocate")(error.into())),
            }
        }
    }

    fn sync(&self) -> Result<(), DiskError> {
        let result =
            if self.length_changed.replace(false) { self.file.sync_all() } else { self.file.sync_data() };
        result.map_err(self.failed("sync"))
    }
}
