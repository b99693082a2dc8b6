//! Files in memory, for a node that keeps nothing between two lives: standalone without a data directory.
//! It must not lose or delay anything without saying so: faults belong to the simulated disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskError, DiskFile, directory_of, name_of};

/// Files in memory. Clones share them; preallocated space costs nothing until it is written.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    tree: Arc<Mutex<Tree>>,
    /// Bytes kept of each file, where not all are.
    kept_bytes: Option<usize>,
}

/// Bytes of a file that a log reads of itself when it is opened for the first time: names and members.
const HEAD_BYTES: usize = 64 << 10;

#[derive(Debug, Default)]
struct Tree {
    directories: BTreeSet<String>,
    files: BTreeMap<String, Arc<Mutex<Content>>>,
}

/// Bytes up to the last one written; from there to `length` the file reads as zeros.
#[derive(Debug, Default)]
struct Content {
    written: Vec<u8>,
    length: u64,
    /// What was written before here and is not in `written` is gone.
    gone_to: usize,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty disk that keeps no more than the head of each file: for the log of a lone voter, which nobody reads once it is
    /// opened, as there is no other node and no other life. Reading anything else is an error.
    pub fn of_heads() -> Self {
        Self { kept_bytes: Some(HEAD_BYTES), ..Self::default() }
    }

    /// Memory held by file contents, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.tree().files.values().map(|file| lock(file).written.capacity() as u64).sum()
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        lock(&self.tree)
    }

    fn failed(&self, operation: &'static str, path: &str, kind: io::ErrorKind) -> DiskError {
        DiskError::new(operation, self.describe(path), kind.into())
    }

    fn file(&self, path: &str, content: Arc<Mutex<Content>>) -> Box<dyn DiskFile> {
        Box::new(MemoryFile { content, path: self.describe(path), kept_bytes: self.kept_bytes })
    }
}

/// No code that holds these locks can panic half-way, so a poisoned one still guards whole data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk for MemoryDisk {
    fn describe(&self, path: &str) -> String {
        format!("memory:{path}")
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        self.tree().directories.insert(path.to_owned());
        Ok(())
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        let tree = self.tree();
        if !directory.is_empty() && !tree.directories.contains(directory) {
            return Err(self.failed("list", directory, io::ErrorKind::NotFound));
        }
        let names = tree.files.keys().filter(|path| directory_of(path) == directory);
        Ok(names.map(|path| name_of(path).to_owned()).collect())
    }

    fn list_root(&self) -> Result<Vec<String>, DiskError> {
        let mut names = self.list("")?;
        names.extend(self.tree().directories.iter().cloned());
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, path: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        let mut tree = self.tree();
        let directory = directory_of(path);
        if !directory.is_empty() && !tree.directories.contains(directory) {
            return Err(self.failed("create", path, io::ErrorKind::NotFound));
        }
        if tree.files.contains_key(path) {
            return Err(self.failed("create", path, io::ErrorKind::AlreadyExists));
        }
        let content = Arc::<Mutex<Content>>::default();
        tree.files.insert(path.to_owned(), Arc::clone(&content));
        Ok(self.file(path, content))
    }

    fn open(&self, path: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        match self.tree().files.get(path) {
            Some(content) => Ok(self.file(path, Arc::clone(content))),
            None => Err(self.failed("open", path, io::ErrorKind::NotFound)),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut tree = self.tree();
        match tree.files.remove(from) {
            Some(content) => {
                tree.files.insert(to.to_owned(), content);
                Ok(())
            }
            None => Err(self.failed("rename", from, io::ErrorKind::NotFound)),
        }
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        match self.tree().files.remove(path) {
            Some(_) => Ok(()),
            None => Err(self.failed("remove", path, io::ErrorKind::NotFound)),
        }
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        if path.is_empty() || self.tree().directories.contains(path) {
            return Ok(());
        }
        Err(self.failed("sync", path, io::ErrorKind::NotFound))
    }
}

#[derive(Debug)]
struct MemoryFile {
    content: Arc<Mutex<Content>>,
    path: String,
    kept_bytes: Option<usize>,
}

impl MemoryFile {
    fn index(&self, operation: &'static str, offset: u64) -> Result<usize, DiskError> {
        usize::try_from(offset)
            .map_err(|_| DiskError::new(operation, self.path.clone(), io::ErrorKind::FileTooLarge.into()))
    }
}

impl DiskFile for MemoryFile {
    fn bytes(&self) -> Result<u64, DiskError> {
        Ok(lock(&self.content).length)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let content = lock(&self.content);
        let start = self.index("read", offset)?;
        let available = self.index("read", content.length.saturating_sub(offset))?;
        let count = available.min(buffer.len());
        if content.gone_to > start && start.saturating_add(count) > content.written.len() {
            return Err(DiskError::new("read", self.path.clone(), io::ErrorKind::Unsupported.into()));
        }
        let written = content.written.get(start..).unwrap_or_default();
        let copied = count.min(written.len());
        let (head, rest) = buffer.split_at_mut(copied);
        head.copy_from_slice(written.get(..copied).unwrap_or_default());
        rest.iter_mut().take(count - copied).for_each(|byte| *byte = 0);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut content = lock(&self.content);
        let start = self.index("write", offset)?;
        let end = self.index("write", offset.saturating_add(bytes.len() as u64))?;
        let kept = self.kept_bytes.map_or(end, |kept| kept.min(end));
        if content.written.len() < kept {
            content.written.resize(kept, 0);
        }
        if kept < end {
            content.gone_to = content.gone_to.max(end);
        }
        let bytes = bytes.get(..kept.saturating_sub(start)).unwrap_or(bytes);
        if let Some(target) = content.written.get_mut(start..kept) {
            target.copy_from_slice(bytes);
        }
        content.length = content.length.max(end as u64);
        Ok(())
    }

    fn preallocate(&self, bytes: u64) -> Result<(), DiskError> {
        let mut content = lock(&self.content);
        content.length = content.length.max(bytes);
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_of_heads_keeps_the_head_of_a_file_and_refuses_to_read_the_rest() {
        let disk = MemoryDisk::of_heads();
        let file = disk.create("log").expect("it is not there");
        let whole: Vec<u8> = (0..2 * HEAD_BYTES).map(|at| (at % 251) as u8).collect();
        for (number, piece) in whole.chunks(1000).enumerate() {
            file.write_at(number as u64 * 1000, piece).expect("memory takes it");
        }
        assert_eq!(file.bytes().expect("it is there"), whole.len() as u64);
        // A buffer that grows is up to twice as large as what is in it.
        assert!(disk.resident_bytes() <= 2 * HEAD_BYTES as u64);
        let mut head = vec![0; HEAD_BYTES];
        assert_eq!(file.read_at(0, &mut head).expect("the head is kept"), HEAD_BYTES);
        assert_eq!(head, whole.get(..HEAD_BYTES).expect("longer"));
        let mut beyond = [0; 2];
        assert!(
            file.read_at(HEAD_BYTES as u64 - 1, &mut beyond).is_err(),
            "what is gone is not read as zeros"
        );
        file.preallocate(4 * HEAD_BYTES as u64).expect("it costs nothing");
        assert_eq!(file.read_at(3 * HEAD_BYTES as u64, &mut beyond).expect("never written"), 2);
        assert_eq!(beyond, [0; 2]);
    }
}
