//! The write-ahead log: one record per batch of the core, many batches per sync, segments that come and go.
//!
//! Order is everything here: a group of records is written, synced, and only then acknowledged; the next group is not
//! written before. A segment is whole and durable before it gets its name, and the one before it is synced to its end.
//! It must not retry a write or sync that failed, and never drops a segment that holds an entry after the snapshot.

use std::collections::VecDeque;

use ravelin_consensus::{Batch, Configuration, SnapshotMeta, Token};

use super::directory::node_of;
use super::disk::{Disk, DiskError, DiskFile, TEMPORARY_SUFFIX, remove_if_present};
use super::log_state::{Recovered, check_place};
use super::record::{Group, GroupError, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, RecordKind};
use super::recovery::{ReadLog, SEGMENT_BYTES_MAX, read_log};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, is_segment_name, segment_path};
use super::wire::{Base, WireError, encode_base, encode_batch, encode_snapshot_meta};
use super::{CommandBytes, DataDirectory, wal_directory};

mod error;
#[cfg(test)]
mod tests;

pub use error::WalError;
pub(crate) use error::{damaged, newer};

/// Sizes of the log's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalLimits {
    /// Space reserved for each segment, in bytes. A group of batches that needs more gets a larger segment.
    pub segment_bytes: u64,
}

impl Default for WalLimits {
    fn default() -> Self {
        Self { segment_bytes: 4 << 20 }
    }
}

/// An open write-ahead log. Synchronous: it belongs on a thread of its own.
#[derive(Debug)]
pub struct Wal {
    directory: DataDirectory,
    limits: WalLimits,
    /// Oldest first; the last is being written.
    segments: VecDeque<Segment>,
    header: SegmentHeader,
    file: Box<dyn DiskFile>,
    offset: u64,
    next_sequence: u64,
    /// Highest sequence known to be on disk.
    durable: u64,
    /// What the records so far add up to, entries aside.
    base: Base,
    group: Group,
    stopped: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    number: u64,
    /// Highest index of an entry that was ever appended to it.
    highest: u64,
}

impl Wal {
    /// Opens the log of a data directory, or begins it in a fresh one. What it gives back is durable when it returns.
    /// `genesis` are the members at the birth of the cluster: a log that begins records them, any other must hold the same.
    ///
    /// # Errors
    /// [`WalError::Damaged`] and its kin: nothing was changed then. A torn tail is no error: it is cleaned and counted.
    pub fn open(
        mut directory: DataDirectory,
        limits: WalLimits,
        genesis: &Configuration,
    ) -> Result<(Self, Recovered), WalError> {
        let disk = directory.disk().clone();
        if directory.is_fresh() {
            begin(&mut directory, limits, genesis)?;
        }
        // Names and bytes may so far only be in the cache of a machine whose last process was killed.
        disk.sync_directory(&wal_directory(directory.owner()))?;
        let ReadLog { recovered, header, segments, end, doubtful, dirty_end, next_sequence } =
            read_log(&*disk, directory.owner())?;
        if recovered.genesis != *genesis {
            let path = disk.describe(&wal_directory(directory.owner()));
            let (found, expected) = (names(&recovered.genesis), names(genesis));
            return Err(WalError::OtherMembers { path, found, expected });
        }
        let file = disk.open(&segment_path(directory.owner(), header.number))?;
        rewrite(&*file, doubtful, end)?;
        clean(&*file, end, dirty_end)?;
        file.sync()?;
        let base = Base {
            hard_state: recovered.hard_state,
            snapshot: recovered.snapshot.clone(),
            next: recovered.next_index(),
            genesis: recovered.genesis.clone(),
        };
        let mut wal = Self {
            directory,
            limits,
            segments: segments.into_iter().map(|(number, highest)| Segment { number, highest }).collect(),
            header,
            file,
            offset: end,
            next_sequence,
            durable: next_sequence.saturating_sub(1),
            base,
            group: Group::default(),
            stopped: None,
        };
        // Power was lost before the mark behind the last group was on disk. Without one, damage to that group would look
        // like a torn write, for as long as nothing more is written. A segment's first record needs none.
        let mark = RECORD_HEADER_BYTES as u64;
        let unmarked = doubtful > SEGMENT_HEADER_BYTES as u64 && end - doubtful > mark;
        if unmarked && end + mark <= wal.header.reserved {
            wal.note_synced()?;
        }
        Ok((wal, recovered))
    }

    /// Begins a log in the place of a directory that goes on from another: its first segment records what that ends in, its
    /// entries follow as batches. The header does not yet name it.
    pub(super) fn begin_from(
        directory: DataDirectory,
        limits: WalLimits,
        base: &Base,
    ) -> Result<(Self, Recovered), WalError> {
        create_first(&directory, limits, base)?;
        Self::open(directory, limits, &base.genesis)
    }

    /// Writes the batches in order, one record each, and syncs once. Gives the last one's token: it and every earlier
    /// token is durable. `None` if there was no batch.
    ///
    /// # Errors
    /// Any [`WalError`]. The log is then stopped for good: every later call fails with [`WalError::Stopped`], and only
    /// opening the directory anew tells what is on disk.
    pub fn append(&mut self, batches: &[Batch<CommandBytes>]) -> Result<Option<Token>, WalError> {
        let Some(last) = batches.last() else { return Ok(None) };
        self.guarded(|wal| wal.append_batches(batches))?;
        Ok(Some(last.token))
    }

    /// Notes that a snapshot of our own is durable, then removes the segments that hold only entries it covers.
    /// The snapshot file must be durable before; it must stay until a newer one was noted here.
    ///
    /// # Errors
    /// As [`Wal::append`].
    pub fn compact(&mut self, meta: &SnapshotMeta) -> Result<(), WalError> {
        if self.base.snapshot.as_ref().is_some_and(|held| held.index >= meta.index) {
            return Ok(());
        }
        self.guarded(|wal| {
            wal.group.clear();
            let payload = encode_snapshot_meta(meta).map_err(WalError::Encode)?;
            push(&mut wal.group, RecordKind::Compacted, |target| {
                target.extend_from_slice(&payload);
                Ok(())
            })?;
            wal.write_group()?;
            wal.base.compacted(meta);
            wal.prune()
        })
    }

    /// Makes the last note durable too, so that damage to the last group would be recognised after a power loss.
    ///
    /// # Errors
    /// As [`Wal::append`].
    pub fn close(mut self) -> Result<(), WalError> {
        self.guarded(|wal| Ok(wal.file.sync()?))
    }

    /// Space that the log takes on disk, in bytes, the last segment as reserved.
    ///
    /// # Errors
    /// [`WalError::Disk`].
    pub fn disk_bytes(&self) -> Result<u64, WalError> {
        let (disk, owner) = (self.directory.disk(), self.directory.owner());
        self.segments
            .iter()
            .try_fold(0, |sum, segment| Ok(sum + disk.open(&segment_path(owner, segment.number))?.bytes()?))
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Runs one change; after an error there is no other.
    fn guarded<T>(&mut self, change: impl FnOnce(&mut Self) -> Result<T, WalError>) -> Result<T, WalError> {
        if let Some(cause) = &self.stopped {
            return Err(WalError::Stopped { cause: cause.clone() });
        }
        let result = change(self);
        if let Err(error) = &result {
            self.stopped = Some(super::chain(error));
        }
        result
    }

    fn append_batches(&mut self, batches: &[Batch<CommandBytes>]) -> Result<(), WalError> {
        self.group.clear();
        let mut base = self.base.clone();
        let mut highest = 0;
        for batch in batches {
            base.batch(batch).map_err(|what| WalError::OutOfPlace { what })?;
            highest = batch.first.plus(batch.entries.len()).previous().0.max(highest);
            push(&mut self.group, RecordKind::Batch, |target| encode_batch(batch, target))?;
        }
        self.write_group()?;
        let installed = base.snapshot != self.base.snapshot;
        self.base = base;
        if let Some(segment) = self.segments.back_mut() {
            segment.highest = segment.highest.max(highest);
        }
        if installed { self.prune() } else { Ok(()) }
    }

    /// Writes and syncs the group, in a new segment if this one has no room, and notes the success behind it.
    fn write_group(&mut self) -> Result<(), WalError> {
        let needed = (self.group.bytes() + RECORD_HEADER_BYTES) as u64;
        if self.offset + needed > self.header.reserved {
            self.rotate(needed)?;
        }
        let records = self.group.records();
        let bytes = self.group.seal(self.header.salt(), self.next_sequence, self.durable);
        self.file.write_at(self.offset, bytes)?;
        self.file.sync()?;
        self.offset += bytes.len() as u64;
        self.next_sequence += records;
        self.durable = self.next_sequence - 1;
        self.note_synced()
    }

    /// Not synced itself: it reaches the disk with the next group, or when the system writes its cache back.
    fn note_synced(&mut self) -> Result<(), WalError> {
        self.group.clear();
        push(&mut self.group, RecordKind::Synced, |_| Ok(()))?;
        let bytes = self.group.seal(self.header.salt(), self.next_sequence, self.durable);
        self.file.write_at(self.offset, bytes)?;
        self.offset += bytes.len() as u64;
        self.next_sequence += 1;
        Ok(())
    }

    fn rotate(&mut self, needed: u64) -> Result<(), WalError> {
        if needed > SEGMENT_BYTES_MAX / 2 {
            let (bytes, bytes_max) =
                (self.group.bytes(), usize::try_from(SEGMENT_BYTES_MAX / 2).unwrap_or(usize::MAX));
            return Err(WalError::TooLarge { bytes, bytes_max });
        }
        self.file.sync()?;
        self.durable = self.next_sequence - 1;
        let header = SegmentHeader {
            number: self.header.number + 1,
            owner: *self.directory.owner(),
            first_sequence: self.next_sequence,
            previous_end: self.offset,
            reserved: self.limits.segment_bytes,
        };
        let created = create_segment(&**self.directory.disk(), header, &self.base, needed)?;
        self.segments.push_back(Segment { number: header.number, highest: 0 });
        self.header = created.header;
        self.file = created.file;
        self.offset = created.end;
        self.next_sequence += 1;
        self.durable = self.next_sequence - 1;
        Ok(())
    }

    /// Removes the oldest segments as long as they hold no entry after the snapshot. Each removal is durable before the
    /// next, so that no crash leaves a gap.
    fn prune(&mut self) -> Result<(), WalError> {
        let covered = self.base.snapshot.as_ref().map_or(0, |meta| meta.index.0);
        while self.segments.len() > 1 {
            let Some(oldest) = self.segments.front().filter(|segment| segment.highest <= covered) else {
                break;
            };
            let (disk, owner) = (self.directory.disk(), self.directory.owner());
            disk.remove(&segment_path(owner, oldest.number))?;
            disk.sync_directory(&wal_directory(owner))?;
            self.segments.pop_front();
        }
        Ok(())
    }
}

impl Base {
    fn batch(&mut self, batch: &Batch<CommandBytes>) -> Result<(), String> {
        let next = batch.snapshot.as_ref().map_or(self.next, |meta| meta.index.next());
        check_place(batch, next)?;
        self.hard_state = batch.hard_state;
        if let Some(meta) = &batch.snapshot {
            self.snapshot = Some(SnapshotMeta::clone(meta));
        }
        self.next = batch.first.plus(batch.entries.len());
        self.raise_to_snapshot();
        Ok(())
    }

    fn compacted(&mut self, meta: &SnapshotMeta) {
        self.snapshot = Some(meta.clone());
        self.raise_to_snapshot();
    }

    fn raise_to_snapshot(&mut self) {
        if let Some(meta) = &self.snapshot {
            self.next = self.next.max(meta.index.next());
        }
    }
}

fn push(
    group: &mut Group,
    kind: RecordKind,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), WireError>,
) -> Result<(), WalError> {
    group.push(kind, write).map_err(|error| match error {
        GroupError::Wire(source) => WalError::Encode(source),
        GroupError::TooLarge { bytes } => WalError::TooLarge { bytes, bytes_max: RECORD_BYTES_MAX },
    })
}

/// Begins the log of a directory in which none was ever completed.
fn begin(directory: &mut DataDirectory, limits: WalLimits, genesis: &Configuration) -> Result<(), WalError> {
    create_first(directory, limits, &Base::of_members(genesis.clone()))?;
    Ok(directory.mark_started()?)
}

/// Makes the first segment of a log that goes on from `base`; what lay in its place was never completed.
fn create_first(directory: &DataDirectory, limits: WalLimits, base: &Base) -> Result<(), WalError> {
    let (disk, owner) = (&**directory.disk(), *directory.owner());
    let place = wal_directory(&owner);
    for name in disk.list(&place)?.iter().filter(|name| is_segment_name(name)) {
        disk.remove(&format!("{place}/{name}"))?;
    }
    let header = SegmentHeader {
        number: 1,
        owner,
        first_sequence: 1,
        previous_end: 0,
        reserved: limits.segment_bytes,
    };
    create_segment(disk, header, base, 0)?;
    Ok(())
}

/// The members of a configuration, for people.
fn names(configuration: &Configuration) -> String {
    let parts = [&configuration.voters, &configuration.outgoing, &configuration.learners];
    let members: Vec<String> =
        parts.into_iter().flatten().map(|(node, life)| node_of(node.0, life.0)).collect();
    if members.is_empty() { "(none)".to_owned() } else { members.join(", ") }
}

struct CreatedSegment {
    header: SegmentHeader,
    file: Box<dyn DiskFile>,
    end: u64,
}

/// Makes a segment with its header and base, with room for `needed` bytes more (even if that is more than the header
/// asks for), and names it once it is durable.
fn create_segment(
    disk: &dyn Disk,
    mut header: SegmentHeader,
    base: &Base,
    needed: u64,
) -> Result<CreatedSegment, WalError> {
    let mut group = Group::default();
    let payload = encode_base(base).map_err(WalError::Encode)?;
    push(&mut group, RecordKind::Base, |target| {
        target.extend_from_slice(&payload);
        Ok(())
    })?;
    let end = (SEGMENT_HEADER_BYTES + group.bytes()) as u64;
    header.reserved = header.reserved.max(end + needed);
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(group.seal(header.salt(), header.first_sequence, header.first_sequence - 1));
    let place = wal_directory(&header.owner);
    let temporary = format!("{place}/segment{TEMPORARY_SUFFIX}");
    remove_if_present(disk, &temporary)?;
    let file = disk.create(&temporary)?;
    let written = write_segment(&*file, &bytes, header.reserved).and_then(|()| {
        disk.rename(&temporary, &segment_path(&header.owner, header.number))?;
        disk.sync_directory(&place)
    });
    if let Err(error) = written {
        // On a full disk the half-made file would only be in the way; whether it goes changes nothing else.
        let _ = remove_if_present(disk, &temporary);
        return Err(error.into());
    }
    Ok(CreatedSegment { header, file, end })
}

fn write_segment(file: &dyn DiskFile, bytes: &[u8], reserved: u64) -> Result<(), DiskError> {
    file.preallocate(reserved)?;
    file.write_at(0, bytes)?;
    file.sync()
}

/// Writes once more what only the cache may hold. If a sync failed in an earlier life of the process, the system takes
/// these bytes for clean, and a sync alone would claim success without writing them.
fn rewrite(file: &dyn DiskFile, from: u64, to: u64) -> Result<(), DiskError> {
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)];
    let found = file.read_at(from, &mut bytes)?;
    file.write_at(from, bytes.get(..found).unwrap_or_default())
}

/// Overwrites a torn tail with zeros, so that no remainder of it can ever be read as a record. Needs no space.
fn clean(file: &dyn DiskFile, end: u64, dirty_end: u64) -> Result<(), DiskError> {
    const PIECE_BYTES: u64 = 1 << 20;
    let mut at = end;
    while at < dirty_end {
        let length = (dirty_end - at).min(PIECE_BYTES);
        file.write_at(at, &vec![0; usize::try_from(length).unwrap_or(0)])?;
        at += length;
    }
    Ok(())
}

const _: () = assert!(SEGMENT_HEADER_BYTES.is_multiple_of(super::record::RECORD_ALIGNMENT));
