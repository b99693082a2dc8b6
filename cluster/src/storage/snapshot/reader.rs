//! Reads a snapshot file chunk by chunk, never more than one in memory, and checks all of it.
//! It must not hand out a chunk whose checksum does not hold, nor end well if the whole is not what its name says.

use bytes::Bytes;
use ravelin_consensus::SnapshotMeta;
use sha2::{Digest as _, Sha256};

use super::{
    CHUNK_BYTES_MAX, HEADER_BYTES, MAGIC, META_BYTES_MAX, SNAPSHOT_VERSION, SnapshotError, SnapshotName,
    checksum, header, salt,
};
use crate::storage::DataDirectory;
use crate::storage::disk::DiskFile;
use crate::storage::wire::decode_snapshot_meta;

/// A finished snapshot being read. Iterate over its chunks; `None` after the last means that the whole was checked.
#[derive(Debug)]
pub struct SnapshotReader {
    file: Box<dyn DiskFile>,
    path: String,
    meta: SnapshotMeta,
    salt: u32,
    offset: u64,
    number: u64,
    /// Absent once chunks were skipped: the digest can then not be checked.
    hasher: Option<Sha256>,
    ended: bool,
}

pub(super) fn open(directory: &DataDirectory, meta: &SnapshotMeta) -> Result<SnapshotReader, SnapshotError> {
    let disk = directory.disk();
    let relative = SnapshotName::from(meta).path(directory.owner());
    let path = disk.describe(&relative);
    let file = disk.open(&relative).map_err(|error| match error {
        error if error.is_not_found() => SnapshotError::Missing { path: path.clone() },
        error => error.into(),
    })?;
    let expected = header(meta.index, meta.term);
    let mut found = [0; HEADER_BYTES];
    file.read_at(0, &mut found)?;
    if found.starts_with(MAGIC) && found[8] > SNAPSHOT_VERSION {
        let what = format!("it is of format {}, and this version knows only {SNAPSHOT_VERSION}", found[8]);
        return Err(SnapshotError::Newer { path, what });
    }
    if found != expected {
        return Err(SnapshotError::Damaged { path, offset: 0, what: "its header is unreadable".to_owned() });
    }
    Ok(SnapshotReader {
        file,
        path,
        meta: meta.clone(),
        salt: salt(&expected),
        offset: HEADER_BYTES as u64,
        number: 0,
        hasher: Some(Sha256::new()),
        ended: false,
    })
}

impl SnapshotReader {
    /// Goes past chunks without reading them, so that `number` comes next: where a broken transfer goes on. The digest
    /// of the whole is then no longer checked here; the receiver checks it.
    ///
    /// # Errors
    /// As [`SnapshotReader::next_chunk`], if there are fewer chunks.
    pub fn skip_to(&mut self, number: u64) -> Result<(), SnapshotError> {
        while self.number < number {
            self.hasher = None;
            let length = self.length(0, CHUNK_BYTES_MAX)?;
            if length == 0 {
                return Err(self.damaged(format!("it has only {} chunks", self.number)));
            }
            self.offset += 8 + length as u64;
            self.number += 1;
        }
        Ok(())
    }

    /// The next chunk; `None` at the end, once everything was checked.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] or [`SnapshotError::Disk`].
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        if self.ended {
            return Ok(None);
        }
        let length = self.length(0, CHUNK_BYTES_MAX)?;
        if length == 0 {
            self.check_end()?;
            self.ended = true;
            return Ok(None);
        }
        let chunk = self.checked(4, length)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk);
        }
        self.offset += 8 + length as u64;
        self.number += 1;
        Ok(Some(chunk.into()))
    }

    fn check_end(&mut self) -> Result<(), SnapshotError> {
        let length = self.length(4, META_BYTES_MAX)?;
        let meta = self.checked(8, length)?;
        let meta = decode_snapshot_meta(&meta).map_err(|error| {
            let what = crate::storage::chain(&error);
            if error.is_newer() {
                return SnapshotError::Newer { path: self.path.clone(), what };
            }
            self.damaged(what)
        })?;
        if meta != self.meta {
            return Err(self.damaged("it describes another snapshot than its name".to_owned()));
        }
        let digest: Option<[u8; 32]> = self.hasher.take().map(|hasher| hasher.finalize().into());
        if digest.is_some_and(|digest| digest != self.meta.digest) {
            return Err(self.damaged("its content does not have the digest of its name".to_owned()));
        }
        Ok(())
    }

    /// The length field `ahead` bytes from here.
    fn length(&self, ahead: u64, bytes_max: usize) -> Result<usize, SnapshotError> {
        let mut field = [0; 4];
        let found = self.file.read_at(self.offset + ahead, &mut field)?;
        let length = u32::from_le_bytes(field) as usize;
        if found < field.len() || length > bytes_max {
            return Err(self.damaged(format!("chunk {} has no possible length", self.number)));
        }
        Ok(length)
    }

    /// The bytes after a checksum field `ahead` bytes from here.
    fn checked(&self, ahead: u64, length: usize) -> Result<Vec<u8>, SnapshotError> {
        let mut bytes = vec![0; 4 + length];
        let found = self.file.read_at(self.offset + ahead, &mut bytes)?;
        let content = bytes.split_off(4);
        let expected = checksum(self.salt, self.number, &content).to_le_bytes();
        if found < 4 + length || bytes != expected {
            return Err(self.damaged(format!("the checksum of chunk {} does not match", self.number)));
        }
        Ok(content)
    }

    fn damaged(&self, what: String) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.clone(), offset: self.offset, what }
    }
}

impl Iterator for SnapshotReader {
    type Item = Result<Bytes, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_chunk();
        if next.is_err() {
            self.ended = true;
        }
        next.transpose()
    }
}
