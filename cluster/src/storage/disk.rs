//! The seam to stable storage: the few synchronous file calls that the write-ahead log and snapshots need.
//! It must not know what the bytes mean, and adds no caching, retrying or naming of its own.

use std::fmt;
use std::io;

/// A place for files: a real directory, memory, or a simulated device.
///
/// Paths are relative, with `/` between parts and at most one directory level (`wal/0001.wal`); the empty path
/// names the root. What the calls promise, each implementation is held to by one conformance suite:
/// - file contents are durable after [`DiskFile::sync`] returned `Ok`;
/// - names (created, renamed, removed) are durable after [`Disk::sync_directory`] of their directory returned `Ok`;
/// - a rename is seen entirely or not at all, whatever happens.
///
/// Every call may block the thread; none may be made from an async task.
pub trait Disk: Send + Sync + 'static {
    /// The path as a person finds it, for messages.
    fn describe(&self, path: &str) -> String;

    /// Makes a directory if there is none.
    ///
    /// # Errors
    /// [`DiskError`] as the device reports it.
    fn create_directory(&self, path: &str) -> Result<(), DiskError>;

    /// The names of the files in a directory, in order; neither directories nor their contents.
    ///
    /// # Errors
    /// [`DiskError`]; not found if there is no such directory.
    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError>;

    /// The names of everything in the root, directories and links too, in order: what tells an empty directory from
    /// somebody else's.
    ///
    /// # Errors
    /// [`DiskError`] as the device reports it.
    fn list_root(&self) -> Result<Vec<String>, DiskError>;

    /// Makes a new, empty file.
    ///
    /// # Errors
    /// [`DiskError`]; already exists if the name is taken.
    fn create(&self, path: &str) -> Result<Box<dyn DiskFile>, DiskError>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// [`DiskError`]; not found if there is no such file.
    fn open(&self, path: &str) -> Result<Box<dyn DiskFile>, DiskError>;

    /// Renames a file within its directory, replacing what bears the new name.
    ///
    /// # Errors
    /// [`DiskError`]; not found if there is no such file.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file's name. Open handles stay usable.
    ///
    /// # Errors
    /// [`DiskError`]; not found if there is no such file.
    fn remove(&self, path: &str) -> Result<(), DiskError>;

    /// Makes every name created, renamed or removed in the directory durable.
    ///
    /// # Errors
    /// [`DiskError`]; the caller must then treat the names as unknown and stop.
    fn sync_directory(&self, path: &str) -> Result<(), DiskError>;
}

/// One open file.
pub trait DiskFile: Send + fmt::Debug {
    /// The length in bytes, preallocated space included.
    ///
    /// # Errors
    /// [`DiskError`] as the device reports it.
    fn bytes(&self) -> Result<u64, DiskError>;

    /// Reads from `offset` into `buffer`; fewer bytes than asked for only at the end of the file.
    ///
    /// # Errors
    /// [`DiskError`] as the device reports it.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError>;

    /// Writes all of `bytes` at `offset`, growing the file if needed. Durable only after [`DiskFile::sync`].
    ///
    /// # Errors
    /// [`DiskError`]; how much was written is then unknown.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Reserves space up to `bytes` and makes the file that long; what is new reads as zeros.
    ///
    /// # Errors
    /// [`DiskError`]; no space if the device cannot hold it.
    fn preallocate(&self, bytes: u64) -> Result<(), DiskError>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// [`DiskError`]; what was written since the last success may be lost *and a later sync may claim success all
    /// the same*, so the caller must never retry.
    fn sync(&self) -> Result<(), DiskError>;
}

/// A file call that failed: which, where, and the system's reason.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}")]
pub struct DiskError {
    /// What was tried, as a verb: `read`, `sync`.
    pub operation: &'static str,
    /// The path as [`Disk::describe`] gives it.
    pub path: String,
    /// The system's own error.
    pub source: io::Error,
}

impl DiskError {
    /// An error of the given call.
    pub fn new(operation: &'static str, path: impl Into<String>, source: io::Error) -> Self {
        Self { operation, path: path.into(), source }
    }

    /// Whether the device or the quota is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether there is no such file.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether the name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }
}

/// Reads a whole file of at most `bytes_max` bytes.
///
/// # Errors
/// [`DiskError`] as the device reports it; invalid data if the file is longer than `bytes_max`.
pub fn read_all(disk: &dyn Disk, path: &str, bytes_max: u64) -> Result<Vec<u8>, DiskError> {
    let file = disk.open(path)?;
    let length = file.bytes()?;
    let capacity = usize::try_from(length).ok().filter(|_| length <= bytes_max).ok_or_else(|| {
        let source = io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{length} bytes are more than the {bytes_max} allowed"),
        );
        DiskError::new("read", disk.describe(path), source)
    })?;
    let mut bytes = vec![0; capacity];
    let found = file.read_at(0, &mut bytes)?;
    bytes.truncate(found);
    Ok(bytes)
}

/// Replaces a small file whole: written beside, synced, renamed over, directory synced.
///
/// After a crash the file has either its old content or the new one.
///
/// # Errors
/// [`DiskError`] of the first call that failed; the old content is then still there, or the new one if only the
/// last step failed.
pub fn replace_file(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = format!("{path}{TEMPORARY_SUFFIX}");
    remove_if_present(disk, &temporary)?;
    let file = disk.create(&temporary)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(&temporary, path)?;
    disk.sync_directory(directory_of(path))
}

/// Removes a file; fine if there is none.
///
/// # Errors
/// [`DiskError`] as the device reports it.
pub fn remove_if_present(disk: &dyn Disk, path: &str) -> Result<(), DiskError> {
    match disk.remove(path) {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// Ends the names of files that are still being written; whoever opens a directory removes them.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// The directory part of a path; empty for the root.
pub fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// The last part of a path.
pub fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}
