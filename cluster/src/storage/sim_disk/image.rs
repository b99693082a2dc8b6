//! The simulated medium: for each file what is durable, what is only in the cache, and what a power loss leaves.
//! It must not decide when faults happen, only what they do.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dice, Kept, Loss};
use crate::storage::disk::directory_of;

/// The unit in which a real device writes; pieces of it may still be torn here.
const SECTOR_BYTES: usize = 512;

/// Names one file across renames.
pub(super) type FileId = u64;

#[derive(Debug, Default)]
pub(super) struct Image {
    directories: BTreeSet<String>,
    files: BTreeMap<FileId, File>,
    live_names: BTreeMap<String, FileId>,
    durable_names: BTreeMap<String, FileId>,
    /// Changes of names not yet synced, by directory, in order.
    pending_names: BTreeMap<String, Vec<NameChange>>,
    next_id: FileId,
}

#[derive(Debug)]
struct File {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Debug)]
enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug)]
enum NameChange {
    Link { path: String, id: FileId },
    Unlink { path: String },
    Rename { from: String, to: String },
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, FileId>) {
        match self {
            Self::Link { path, id } => {
                names.insert(path.clone(), *id);
            }
            Self::Unlink { path } => {
                names.remove(path);
            }
            Self::Rename { from, to } => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
        }
    }
}

impl Pending {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => overwrite(content, *offset, bytes),
            Self::Length(length) => content.resize(*length, 0),
        }
    }

    /// Applies what a power loss leaves of this change: whole sectors by a coin each, now and then a torn one.
    fn apply_torn(&self, content: &mut Vec<u8>, dice: &mut Dice) {
        match self {
            Self::Length(length) => {
                if dice.coin() {
                    content.resize(*length, 0);
                }
            }
            Self::Write { offset, bytes } => {
                let mut start = 0;
                while start < bytes.len() {
                    let in_sector = (offset + start) % SECTOR_BYTES;
                    let end = bytes.len().min(start + SECTOR_BYTES - in_sector);
                    let piece = bytes.get(start..end).unwrap_or_default();
                    if dice.coin() {
                        let kept = if dice.one_in(8) { dice.below(piece.len() + 1) } else { piece.len() };
                        overwrite(content, offset + start, piece.get(..kept).unwrap_or_default());
                    }
                    start = end;
                }
            }
        }
    }
}

fn overwrite(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(target) = content.get_mut(offset..end) {
        target.copy_from_slice(bytes);
    }
}

/// Applies this much of the changes, in their order; a write may be torn there.
fn keep(kept: Kept, changes: &[Pending], content: &mut Vec<u8>) {
    let size = |change: &Pending| match change {
        Pending::Write { bytes, .. } => bytes.len(),
        Pending::Length(_) => 0,
    };
    let mut left = kept.of(changes.iter().map(size).sum());
    for change in changes.iter().filter(|_| kept != Kept::Nothing) {
        match change {
            Pending::Write { offset, bytes } => {
                let kept = left.min(bytes.len());
                if kept > 0 {
                    overwrite(content, *offset, bytes.get(..kept).unwrap_or_default());
                }
                left -= kept;
            }
            Pending::Length(_) => change.apply(content),
        }
    }
}

impl File {
    fn settle(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    fn lose(&mut self, loss: Loss, dice: &mut Dice) {
        let pending = std::mem::take(&mut self.pending);
        if let Loss::Exactly(kept) = loss {
            return keep(kept, &pending, &mut self.durable);
        }
        match dice.below(4) {
            0 => {}
            1 => pending.iter().for_each(|change| change.apply(&mut self.durable)),
            2 => {
                let kept = dice.below(pending.len() + 1);
                pending.iter().take(kept).for_each(|change| change.apply(&mut self.durable));
            }
            _ => pending.iter().for_each(|change| change.apply_torn(&mut self.durable, dice)),
        }
    }
}

impl Image {
    pub(super) fn create_directory(&mut self, path: &str) {
        // Directories themselves are durable at once: the code under test makes its few before anything else.
        self.directories.insert(path.to_owned());
    }

    pub(super) fn has_directory(&self, path: &str) -> bool {
        path.is_empty() || self.directories.contains(path)
    }

    pub(super) fn directories(&self) -> impl Iterator<Item = &String> {
        self.directories.iter().filter(|path| !path.is_empty())
    }

    pub(super) fn find(&self, path: &str) -> Option<FileId> {
        self.live_names.get(path).copied()
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.live_names.keys().cloned().collect()
    }

    pub(super) fn live(&self, id: FileId) -> &[u8] {
        self.files.get(&id).map(|file| file.live.as_slice()).unwrap_or_default()
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.live_names.values().map(|id| self.live(*id).len() as u64).sum()
    }

    pub(super) fn create(&mut self, path: &str) -> FileId {
        let id = self.next_id;
        self.next_id += 1;
        self.files.insert(id, File { live: Vec::new(), durable: Vec::new(), pending: Vec::new() });
        self.change_names(NameChange::Link { path: path.to_owned(), id }, path);
        id
    }

    pub(super) fn put(&mut self, path: &str, bytes: &[u8]) {
        self.directories.insert(directory_of(path).to_owned());
        let id = self.create(path);
        self.files.insert(id, File { live: bytes.to_vec(), durable: bytes.to_vec(), pending: Vec::new() });
        self.sync_directory(directory_of(path));
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> bool {
        let known = self.live_names.contains_key(from);
        if known {
            self.change_names(NameChange::Rename { from: from.to_owned(), to: to.to_owned() }, to);
        }
        known
    }

    pub(super) fn remove(&mut self, path: &str) -> bool {
        let known = self.live_names.contains_key(path);
        if known {
            self.change_names(NameChange::Unlink { path: path.to_owned() }, path);
        }
        known
    }

    fn change_names(&mut self, change: NameChange, path: &str) {
        change.apply(&mut self.live_names);
        self.pending_names.entry(directory_of(path).to_owned()).or_default().push(change);
    }

    pub(super) fn sync_directory(&mut self, path: &str) {
        for change in self.pending_names.remove(path).unwrap_or_default() {
            change.apply(&mut self.durable_names);
        }
    }

    pub(super) fn write(&mut self, id: FileId, offset: u64, bytes: &[u8]) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.change_file(id, Pending::Write { offset, bytes: bytes.to_vec() });
    }

    /// A write that a device has put elsewhere: the sectors that were meant keep what they held, or zeros where there was
    /// nothing yet, and some other sectors lose it. Durable at once, as nobody will sync what nobody knows to be there.
    pub(super) fn write_elsewhere(&mut self, id: FileId, offset: u64, bytes: &[u8], place: u64) {
        let end = usize::try_from(offset).unwrap_or(usize::MAX).saturating_add(bytes.len());
        if self.live(id).len() < end {
            self.change_file(id, Pending::Length(end));
        }
        let sectors = |file: &File| file.live.len().div_ceil(SECTOR_BYTES);
        let all: usize = self.live_names.values().filter_map(|id| self.files.get(id)).map(sectors).sum();
        let mut sector = usize::try_from(place.checked_rem(all as u64).unwrap_or(0)).unwrap_or(0);
        for named in self.live_names.values() {
            let Some(file) = self.files.get_mut(named) else { continue };
            if sector >= sectors(file) {
                sector -= sectors(file);
                continue;
            }
            let at = sector * SECTOR_BYTES;
            let room = file.live.len().saturating_sub(at).min(bytes.len());
            for content in [&mut file.live, &mut file.durable] {
                overwrite(content, at, bytes.get(..room).unwrap_or_default());
            }
            return;
        }
    }

    pub(super) fn set_length(&mut self, id: FileId, bytes: u64) {
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.change_file(id, Pending::Length(length));
    }

    fn change_file(&mut self, id: FileId, change: Pending) {
        if let Some(file) = self.files.get_mut(&id) {
            change.apply(&mut file.live);
            file.pending.push(change);
        }
    }

    pub(super) fn sync(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(&id) {
            file.settle();
        }
    }

    /// A sync that fails: what it covered is partly durable, partly lost, while readers still see all of it.
    pub(super) fn fail_sync(&mut self, id: FileId, loss: Loss, dice: &mut Dice) {
        if let Some(file) = self.files.get_mut(&id) {
            file.lose(loss, dice);
        }
    }

    pub(super) fn lose_power(&mut self, bytes: Loss, names: Loss, dice: &mut Dice) {
        for changes in std::mem::take(&mut self.pending_names).into_values() {
            // File systems journal names in order, so a prefix survives; each directory by itself.
            let kept = match names {
                Loss::ByChance => dice.below(changes.len() + 1),
                Loss::Exactly(kept) => kept.of(changes.len()),
            };
            changes.iter().take(kept).for_each(|change| change.apply(&mut self.durable_names));
        }
        self.live_names = self.durable_names.clone();
        let named: BTreeSet<FileId> = self.live_names.values().copied().collect();
        self.files.retain(|id, _| named.contains(id));
        for file in self.files.values_mut() {
            file.lose(bytes, dice);
            file.live = file.durable.clone();
        }
    }

    pub(super) fn flip_bit(&mut self, path: &str, offset: u64, bit: u8) -> bool {
        let place = usize::try_from(offset).unwrap_or(usize::MAX);
        let Some(file) = self.find(path).and_then(|id| self.files.get_mut(&id)) else { return false };
        if place >= file.live.len() {
            return false;
        }
        for content in [&mut file.live, &mut file.durable] {
            if let Some(byte) = content.get_mut(place) {
                *byte ^= 1 << (bit % 8);
            }
        }
        true
    }
}
