//! Snapshot files: immutable, named by what they hold, written beside and renamed when whole and durable.
//! It must not know what a chunk means, and never changes or replaces a finished file.
//!
//! ```text
//!  0  8 bytes   "RAVELSNP"
//!  8  u8        format version, then 7 × 0
//! 16  u64       index of the last entry covered
//! 24  u64       term of that entry
//! 32  4 × 0
//! 36  u32       crc32c of everything before
//! 40  chunks: u32 length (> 0), u32 crc32c of number and bytes (seeded with the header's), bytes
//!     end:    u32 0, u32 length, u32 crc32c (as a chunk's), encoded meta, so that a file can be told without a log
//! ```
//! The digest in name and meta is SHA-256 over the bytes of all chunks laid end to end.

use ravelin_consensus::{Configuration, Index, SnapshotMeta, Term};
use sha2::{Digest as _, Sha256};

use super::disk::{DiskError, DiskFile, TEMPORARY_SUFFIX, remove_if_present};
use super::wire::{WireError, encode_snapshot_meta};
use super::{DataDirectory, Owner, snapshot_directory};

mod error;
mod reader;
#[cfg(test)]
mod tests;

pub use error::SnapshotError;
pub use reader::SnapshotReader;

/// The largest chunk, in bytes: with its envelope it fits one frame of the transport.
pub const CHUNK_BYTES_MAX: usize = 960 << 10;

/// The largest snapshot, in bytes of its chunks.
pub const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;

const SNAPSHOT_VERSION: u8 = 1;
const MAGIC: &[u8; 8] = b"RAVELSNP";
const HEADER_BYTES: usize = 40;
const CHECKSUM_AT: usize = 36;
const SUFFIX: &str = ".snap";
const META_BYTES_MAX: usize = 1 << 20;

/// What a snapshot file's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName {
    /// The last entry covered.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// SHA-256 over the bytes of all chunks.
    pub digest: [u8; 32],
}

impl SnapshotName {
    fn path(&self, owner: &Owner) -> String {
        format!("{}/{}", snapshot_directory(owner), self.file_name())
    }

    fn file_name(&self) -> String {
        let digest = self.digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("{:020}-{:020}-{digest}{SUFFIX}", self.index.0, self.term.0)
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(SUFFIX)?.split('-');
        let (index, term, hex) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
        let mut digest = [0; 32];
        for (place, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hex.get(place * 2..place * 2 + 2)?, 16).ok()?;
        }
        let found = Self { index: Index(index), term: Term(term), digest };
        // One file has one name: what does not print back is not one of ours.
        (found.file_name() == name).then_some(found)
    }
}

impl From<&SnapshotMeta> for SnapshotName {
    fn from(meta: &SnapshotMeta) -> Self {
        Self { index: meta.index, term: meta.term, digest: meta.digest }
    }
}

pub(crate) fn is_snapshot_name(name: &str) -> bool {
    SnapshotName::parse(name).is_some()
}

/// The snapshots of one data directory. Clones share it; several may be written and read at a time.
#[derive(Debug, Clone)]
pub struct SnapshotStore {
    directory: DataDirectory,
}

impl SnapshotStore {
    /// The snapshots of this directory.
    pub fn new(directory: DataDirectory) -> Self {
        Self { directory }
    }

    /// Whose directory it is.
    pub fn owner(&self) -> &Owner {
        self.directory.owner()
    }

    /// Begins a snapshot. Dropping the writer before [`SnapshotWriter::finish`] removes what it wrote.
    ///
    /// # Errors
    /// [`SnapshotError::Busy`] if one of the same index and term is being written.
    pub fn begin(
        &self,
        index: Index,
        term: Term,
        configuration: Configuration,
    ) -> Result<SnapshotWriter, SnapshotError> {
        let place = snapshot_directory(self.directory.owner());
        let temporary = format!("{place}/{:020}-{:020}{TEMPORARY_SUFFIX}", index.0, term.0);
        let disk = self.directory.disk();
        let file = disk.create(&temporary).map_err(|error| match error {
            error if error.is_already_exists() => SnapshotError::Busy { path: disk.describe(&temporary) },
            error => error.into(),
        })?;
        let header = header(index, term);
        let writer = SnapshotWriter {
            directory: self.directory.clone(),
            temporary,
            file,
            meta: SnapshotMeta { index, term, digest: [0; 32], configuration },
            salt: salt(&header),
            offset: header.len() as u64,
            chunks: 0,
            bytes: 0,
            hasher: Sha256::new(),
            finished: false,
        };
        writer.file.write_at(0, &header)?;
        Ok(writer)
    }

    /// Writes a whole snapshot from its chunks.
    ///
    /// # Errors
    /// [`SnapshotError`]; nothing remains of it then. [`SnapshotError::Source`] if a chunk could not be made.
    pub fn write<B: AsRef<[u8]>, E: std::error::Error + Send + Sync + 'static>(
        &self,
        index: Index,
        term: Term,
        configuration: Configuration,
        chunks: impl IntoIterator<Item = Result<B, E>>,
    ) -> Result<SnapshotMeta, SnapshotError> {
        let mut writer = self.begin(index, term, configuration)?;
        for chunk in chunks {
            writer.push(chunk.map_err(|error| SnapshotError::Source(Box::new(error)))?.as_ref())?;
        }
        writer.finish(None)
    }

    /// Opens a finished snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Missing`], [`SnapshotError::Damaged`], [`SnapshotError::Newer`].
    pub fn open(&self, meta: &SnapshotMeta) -> Result<SnapshotReader, SnapshotError> {
        reader::open(&self.directory, meta)
    }

    /// The finished snapshots, oldest first.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`].
    pub fn list(&self) -> Result<Vec<SnapshotName>, SnapshotError> {
        let names = self.directory.disk().list(&snapshot_directory(self.directory.owner()))?;
        let mut found: Vec<_> = names.iter().filter_map(|name| SnapshotName::parse(name)).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Removes every snapshot older than `keep`. To be called only once the log has noted `keep`.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`]; some may be left, which harms nothing.
    pub fn remove_older(&self, keep: &SnapshotMeta) -> Result<(), SnapshotError> {
        self.remove_if(|name| name.index < keep.index)
    }

    /// Removes every snapshot but the one that the log continues from: at start, when none is being written.
    ///
    /// # Errors
    /// As [`SnapshotStore::remove_older`].
    pub fn retain_only(&self, keep: Option<&SnapshotMeta>) -> Result<(), SnapshotError> {
        let keep = keep.map(SnapshotName::from);
        self.remove_if(|name| Some(*name) != keep)
    }

    fn remove_if(&self, goes: impl Fn(&SnapshotName) -> bool) -> Result<(), SnapshotError> {
        for name in self.list()?.iter().filter(|name| goes(name)) {
            remove_if_present(&**self.directory.disk(), &name.path(self.directory.owner()))?;
        }
        Ok(self.directory.disk().sync_directory(&snapshot_directory(self.directory.owner()))?)
    }
}

/// A snapshot being written or received. Not there for anybody until it is finished.
#[derive(Debug)]
pub struct SnapshotWriter {
    directory: DataDirectory,
    temporary: String,
    file: Box<dyn DiskFile>,
    meta: SnapshotMeta,
    salt: u32,
    offset: u64,
    chunks: u64,
    bytes: u64,
    hasher: Sha256,
    finished: bool,
}

impl SnapshotWriter {
    /// How many chunks were taken so far: where a broken transfer goes on.
    pub fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// [`SnapshotError::TooLarge`] for an empty chunk, one above [`CHUNK_BYTES_MAX`], or beyond
    /// [`SNAPSHOT_BYTES_MAX`] in all; else as the device reports it.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), SnapshotError> {
        let bytes = self.bytes + chunk.len() as u64;
        if chunk.is_empty() || chunk.len() > CHUNK_BYTES_MAX || bytes > SNAPSHOT_BYTES_MAX {
            return Err(SnapshotError::TooLarge { chunk_bytes: chunk.len(), bytes });
        }
        let mut framed = Vec::with_capacity(chunk.len() + 8);
        framed.extend_from_slice(&length_of(chunk).to_le_bytes());
        framed.extend_from_slice(&checksum(self.salt, self.chunks, chunk).to_le_bytes());
        framed.extend_from_slice(chunk);
        self.file.write_at(self.offset, &framed)?;
        self.hasher.update(chunk);
        self.offset += framed.len() as u64;
        self.chunks += 1;
        self.bytes = bytes;
        Ok(())
    }

    /// Makes the snapshot durable under its name. `expected`: what a received one was announced as.
    ///
    /// # Errors
    /// [`SnapshotError::Mismatch`] if it is not what was announced; nothing remains of it then.
    pub fn finish(mut self, expected: Option<&SnapshotMeta>) -> Result<SnapshotMeta, SnapshotError> {
        self.meta.digest = std::mem::take(&mut self.hasher).finalize().into();
        if let Some(expected) = expected.filter(|expected| **expected != self.meta) {
            return Err(SnapshotError::Mismatch { expected: expected.into(), found: (&self.meta).into() });
        }
        let meta = encode_snapshot_meta(&self.meta).map_err(SnapshotError::Encode)?;
        if meta.len() > META_BYTES_MAX {
            return Err(SnapshotError::Encode(WireError::Length));
        }
        let mut end = vec![0; 4];
        end.extend_from_slice(&length_of(&meta).to_le_bytes());
        end.extend_from_slice(&checksum(self.salt, self.chunks, &meta).to_le_bytes());
        end.extend_from_slice(&meta);
        self.file.write_at(self.offset, &end)?;
        self.file.sync()?;
        let (disk, owner) = (self.directory.disk(), self.directory.owner());
        disk.rename(&self.temporary, &SnapshotName::from(&self.meta).path(owner))?;
        // From here on the temporary name is gone; removing it again would be in vain.
        self.finished = true;
        disk.sync_directory(&snapshot_directory(owner))?;
        Ok(self.meta.clone())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.finished {
            // If it cannot be removed now, opening the directory next time does.
            let _: Result<(), DiskError> = remove_if_present(&**self.directory.disk(), &self.temporary);
        }
    }
}

fn header(index: Index, term: Term) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8] = SNAPSHOT_VERSION;
    bytes[16..24].copy_from_slice(&index.0.to_le_bytes());
    bytes[24..32].copy_from_slice(&term.0.to_le_bytes());
    let checksum = crc32c::crc32c(bytes.split_at(CHECKSUM_AT).0);
    bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn salt(header: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c(header)
}

/// Bound to its number, so that no chunk is ever taken for another.
fn checksum(salt: u32, number: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(salt, &number.to_le_bytes()), bytes)
}

/// Chunks and metas are bounded far below this type's range.
fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
