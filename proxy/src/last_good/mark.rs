//! The mark: the newest generation that this proxy ever began to serve, durable before it is served. What is kept of a generation
//! follows later and may be lost; the mark says then that something newer was served. It must not hold configuration.
//!
//! One file with two slots, far enough apart that one torn write never takes both. The slot that is not the newest is
//! written, in place, so that a full disk does not matter; both are read, and the newest whole one counts.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ravelin_config::{Digest, GenerationId, Versions};

use super::{LastGoodError, Sealing, io_error};

/// Versions of a slot that this build reads; it writes the newest.
const MARK_VERSIONS: Versions = Versions { oldest: 1, newest: 1 };
const MAGIC: &[u8; 8] = b"RVLNMARK";
/// Magic, version, cluster, node, recovery epoch, revision, digest.
const BODY_BYTES: usize = 8 + 1 + 16 + 8 + 4 + 8 + 32;
/// The body and its SHA-256.
const SLOT_BYTES: usize = BODY_BYTES + 32;
/// Where the slots begin.
const PLACES: [u64; 2] = [0, 4096];

/// The open file.
pub(super) struct Mark {
    path: PathBuf,
    file: File,
    newest: Option<GenerationId>,
    /// The slot that is written next.
    next: usize,
}

impl Mark {
    /// Opens the mark, which is made if it is not there. A slot of another cluster or node, or one that is not whole, says nothing.
    pub(super) fn open(directory: &Path, sealing: &Sealing) -> Result<Self, LastGoodError> {
        let path = directory.join("mark");
        let is_new = !path.exists();
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(io_error(&path, "open"))?;
        if is_new {
            let room = PLACES.iter().try_for_each(|place| file.write_all_at(&[0; SLOT_BYTES], *place));
            room.and_then(|()| file.sync_all()).map_err(io_error(&path, "make"))?;
            let sync = File::open(directory).and_then(|directory| directory.sync_all());
            sync.map_err(io_error(directory, "sync"))?;
        }
        let mut mark = Self { path, file, newest: None, next: 0 };
        for (slot, place) in PLACES.into_iter().enumerate() {
            let found = mark.read(place, sealing)?;
            if let Some(found) = found
                && mark.newest.is_none_or(|newest| found.is_newer_than(&newest))
            {
                mark.newest = Some(found);
                mark.next = 1 - slot;
            }
        }
        Ok(mark)
    }

    fn read(&self, place: u64, sealing: &Sealing) -> Result<Option<GenerationId>, LastGoodError> {
        let mut slot = [0; SLOT_BYTES];
        match self.file.read_exact_at(&mut slot, place) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(source) => return Err(io_error(&self.path, "read")(source)),
        }
        if let Some(&found) = slot.strip_prefix(MAGIC).and_then(<[u8]>::first)
            && found > MARK_VERSIONS.newest
        {
            let (path, of, reads) = (self.path.clone(), "mark", MARK_VERSIONS);
            return Err(LastGoodError::Newer { path, of, found, reads });
        }
        Ok(parse(&slot, sealing))
    }

    /// The newest generation that was marked.
    pub(super) fn newest(&self) -> Option<GenerationId> {
        self.newest
    }

    /// Marks a generation, unless one as new is marked. Durable when it returns.
    pub(super) fn raise(&mut self, generation: GenerationId, sealing: &Sealing) -> Result<(), LastGoodError> {
        if self.newest.is_some_and(|newest| !generation.is_newer_than(&newest)) {
            return Ok(());
        }
        let place = PLACES.get(self.next).copied().unwrap_or_default();
        let slot = to_bytes(&generation, sealing);
        let written = self.file.write_all_at(&slot, place).and_then(|()| self.file.sync_data());
        written.map_err(io_error(&self.path, "write"))?;
        self.newest = Some(generation);
        self.next = 1 - self.next;
        Ok(())
    }
}

fn to_bytes(generation: &GenerationId, sealing: &Sealing) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT_BYTES);
    slot.extend_from_slice(MAGIC);
    slot.push(MARK_VERSIONS.newest);
    slot.extend_from_slice(&sealing.cluster);
    slot.extend_from_slice(&sealing.node.to_le_bytes());
    slot.extend_from_slice(&generation.recovery_epoch.to_le_bytes());
    slot.extend_from_slice(&generation.revision.to_le_bytes());
    slot.extend_from_slice(&generation.digest.0);
    let sum = Digest::of(&slot);
    slot.extend_from_slice(&sum.0);
    slot
}

fn parse(slot: &[u8], sealing: &Sealing) -> Option<GenerationId> {
    let (body, sum) = slot.split_at_checked(BODY_BYTES)?;
    if Digest::of(body).0 != sum {
        return None;
    }
    let (&version, rest) = body.strip_prefix(MAGIC)?.split_first()?;
    let (cluster, rest) = rest.split_first_chunk::<16>()?;
    let (node, rest) = rest.split_first_chunk::<8>()?;
    let (recovery_epoch, rest) = rest.split_first_chunk::<4>()?;
    let (revision, rest) = rest.split_first_chunk::<8>()?;
    let (digest, _) = rest.split_first_chunk::<32>()?;
    let is_own = *cluster == sealing.cluster && u64::from_le_bytes(*node) == sealing.node;
    (MARK_VERSIONS.contain(version) && is_own).then_some(GenerationId {
        cluster: *cluster,
        recovery_epoch: u32::from_le_bytes(*recovery_epoch),
        revision: u64::from_le_bytes(*revision),
        digest: Digest(*digest),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn sealing() -> Sealing {
        Sealing { key: [7; 32], cluster: [1; 16], node: 3 }
    }

    fn id(revision: u64) -> GenerationId {
        GenerationId { cluster: [1; 16], recovery_epoch: 2, revision, digest: Digest([0xd1; 32]) }
    }

    fn newest(directory: &Path) -> Option<GenerationId> {
        Mark::open(directory, &sealing()).expect("the directory is ours").newest()
    }

    fn marked(directory: &Path, revisions: &[u64]) {
        let mut mark = Mark::open(directory, &sealing()).expect("the directory is ours");
        for revision in revisions {
            mark.raise(id(*revision), &sealing()).expect("it can be written");
        }
    }

    #[test]
    fn the_newest_that_was_marked_is_found_and_never_lowered() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(newest(directory.path()), None);
        marked(directory.path(), &[4, 5, 3]);
        assert_eq!(newest(directory.path()), Some(id(5)));
        marked(directory.path(), &[4, 6, 7, 8]);
        assert_eq!(newest(directory.path()), Some(id(8)));
    }

    #[test]
    fn a_write_that_was_cut_anywhere_leaves_the_mark_before_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        marked(directory.path(), &[4]);
        let path = directory.path().join("mark");
        let before = fs::read(&path).expect("readable");
        marked(directory.path(), &[5]);
        let after = fs::read(&path).expect("readable");
        let differing = (0..after.len()).filter(|at| before.get(*at) != after.get(*at));
        let (first, last) = (differing.clone().min().expect("a slot"), differing.max().expect("a slot"));
        for cut in first..=last {
            fs::write(&path, [&after[..cut], &before[cut..]].concat()).expect("writable");
            assert_eq!(newest(directory.path()), Some(id(4)), "cut at {cut}");
            let mut flipped = after.clone();
            flipped[cut] ^= 0x20;
            // What names a newer version is not taken for damage.
            if cut != 8 + 4096 {
                fs::write(&path, flipped).expect("writable");
                assert_eq!(newest(directory.path()), Some(id(4)), "flipped at {cut}");
            }
        }
    }

    #[test]
    fn another_nodes_mark_says_nothing_and_a_newer_form_is_told() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        marked(directory.path(), &[4]);
        let other = Sealing { node: 4, ..sealing() };
        let mark = Mark::open(directory.path(), &other).expect("the directory is ours");
        assert_eq!(mark.newest(), None);
        let path = directory.path().join("mark");
        let mut newer = fs::read(&path).expect("readable");
        newer[8] = 9;
        fs::write(&path, newer).expect("writable");
        let error = Mark::open(directory.path(), &sealing()).err().expect("it is newer").to_string();
        assert!(error.contains("newer version") && error.contains("its mark has version 9"), "{error}");
    }

    #[test]
    fn golden_bytes() {
        let slot = to_bytes(&id(0x0102), &sealing());
        let hex: String = slot.iter().take(BODY_BYTES).map(|byte| format!("{byte:02x}")).collect();
        let (cluster, digest) = ("01".repeat(16), "d1".repeat(32));
        let expected = format!("52564c4e4d41524b01{cluster}0300000000000000020000000201000000000000{digest}");
        assert_eq!(hex, expected);
        assert_eq!(slot.get(BODY_BYTES..), Some(Digest::of(&slot[..BODY_BYTES]).0.as_slice()));
    }
}
