//! A simulated device: what was not synced may be lost, torn or reordered by a crash; calls fail as told; everything
//! follows from a seed. It must not touch a real file or clock.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::disk::{Disk, DiskError, DiskFile, directory_of, name_of};

mod image;
#[cfg(test)]
mod tests;

use image::{FileId, Image};

/// What may go wrong by chance. `0` means never.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SimFaults {
    /// One sync in so many fails with an input/output error: a random part of what it covered is lost for good, the
    /// rest is durable, and *the next sync claims success*, as real kernels do.
    pub sync_errors_one_in: u32,
    /// One write in so many fails with an input/output error, a random prefix of it written.
    pub write_errors_one_in: u32,
    /// Bytes the device holds; creating or growing beyond fails with "no space". `None`: no end.
    pub space_bytes: Option<u64>,
    /// Virtual time that each sync takes.
    pub sync_latency: Duration,
    /// One sync in so many takes [`Self::stall`] on top.
    pub stalls_one_in: u32,
    /// How long such a stall lasts.
    pub stall: Duration,
}

/// How much of what was not synced a power loss or a failed sync leaves, where chance is not to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing of it.
    Nothing,
    /// The first half: of a file's bytes, in the order of their writing, one of which may be torn; of a directory's names.
    Half,
    /// All of it.
    All,
}

impl Kept {
    fn of(self, all: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Half => all / 2,
            Self::All => all,
        }
    }
}

/// What decides how much is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    ByChance,
    Exactly(Kept),
}

/// A simulated device. Clones share it: the simulator keeps one, the node under test gets another.
///
/// After [`SimDisk::crash`] every file handle opened before answers with an error, so that a node that was killed
/// cannot write on.
#[derive(Debug, Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    image: Image,
    dice: Dice,
    faults: SimFaults,
    /// Counts crashes; a handle of an earlier life is dead.
    life: u64,
    fail_next_sync: Option<Loss>,
    fail_next_write: bool,
    /// Where the next write goes instead of where it was meant to.
    misdirect: Option<u64>,
    /// Changing calls until all fail; `None`: they never do.
    calls_left: Option<u64>,
    syncs: u64,
    latency: Duration,
}

impl SimDisk {
    /// An empty device whose faults and losses follow from `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State {
            image: Image::default(),
            dice: Dice::new(seed),
            faults: SimFaults::default(),
            life: 0,
            fail_next_sync: None,
            fail_next_write: false,
            misdirect: None,
            calls_left: None,
            syncs: 0,
            latency: Duration::ZERO,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Sets what may go wrong from now on.
    pub fn set_faults(&self, faults: SimFaults) {
        self.state().faults = faults;
    }

    /// Makes the very next file sync before a crash or kill fail as [`SimFaults::sync_errors_one_in`] describes.
    pub fn fail_next_sync(&self) {
        self.state().fail_next_sync = Some(Loss::ByChance);
    }

    /// As [`SimDisk::fail_next_sync`], of which exactly this is durable of what the sync covered.
    pub fn fail_next_sync_keeping(&self, kept: Kept) {
        self.state().fail_next_sync = Some(Loss::Exactly(kept));
    }

    /// Makes the very next write before a crash or kill fail as [`SimFaults::write_errors_one_in`] describes.
    pub fn fail_next_write(&self) {
        self.state().fail_next_write = true;
    }

    /// Makes the very next write before a crash or kill claim success although its bytes went to another place, chosen by
    /// `place` among the sectors of all files: as firmware with a wrong map does.
    pub fn misdirect_next_write(&self, place: u64) {
        self.state().misdirect = Some(place);
    }

    /// Lets so many more changing calls (create, write, sync, rename …) happen; every later one fails, until
    /// [`SimDisk::crash`] or [`SimDisk::kill`]. So either can be placed at every step of whatever runs.
    pub fn stop_after(&self, calls: u64) {
        self.state().calls_left = Some(calls);
    }

    /// Power loss: of each file and directory, of what was not synced, a random part survives (nothing, all, a
    /// prefix, or single sectors and torn pieces of them). Handles opened before are dead.
    pub fn crash(&self) {
        self.lose_power(Loss::ByChance, Loss::ByChance);
    }

    /// Power loss as [`SimDisk::crash`], of which exactly this is left of each file's bytes and of each directory's names.
    pub fn crash_keeping(&self, bytes: Kept, names: Kept) {
        self.lose_power(Loss::Exactly(bytes), Loss::Exactly(names));
    }

    fn lose_power(&self, bytes: Loss, names: Loss) {
        let state = &mut *self.state();
        state.life += 1;
        state.disarm();
        state.image.lose_power(bytes, names, &mut state.dice);
    }

    /// The process is killed but the machine lives: nothing is lost. Handles opened before are dead.
    pub fn kill(&self) {
        let mut state = self.state();
        state.life += 1;
        state.disarm();
    }

    /// Inverts one bit of a file, on the medium and in the cache; `false` if there is no such bit.
    pub fn flip_bit(&self, path: &str, offset: u64, bit: u8) -> bool {
        self.state().image.flip_bit(path, offset, bit)
    }

    /// The content of a file as a reader now sees it.
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let id = state.image.find(path)?;
        Some(state.image.live(id).to_vec())
    }

    /// Puts a file there, durable at once; its directory too.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        self.state().image.put(path, bytes);
    }

    /// Every file as a reader now sees it, by path in order.
    pub fn paths(&self) -> Vec<String> {
        self.state().image.paths()
    }

    /// How many file syncs were asked for so far, failed ones included.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Virtual time spent in calls since the last time this was asked; the caller delays the completion by it.
    pub fn take_latency(&self) -> Duration {
        std::mem::take(&mut self.state().latency)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn file(&self, state: &State, path: &str, id: FileId) -> Box<dyn DiskFile> {
        Box::new(SimFile { state: Arc::clone(&self.state), id, life: state.life, path: self.describe(path) })
    }
}

impl State {
    /// A process has ended, and with it what was to befall it.
    fn disarm(&mut self) {
        self.calls_left = None;
        (self.fail_next_sync, self.fail_next_write, self.misdirect) = (None, false, None);
    }

    /// Counts one changing call.
    fn spend(&mut self, operation: &'static str, path: &str) -> Result<(), DiskError> {
        match &mut self.calls_left {
            None => Ok(()),
            Some(0) => Err(DiskError::new(operation, path, io::Error::other("stopped here (simulated)"))),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

fn lock(mutex: &Mutex<State>) -> MutexGuard<'_, State> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(operation: &'static str, path: &str, kind: io::ErrorKind) -> DiskError {
    DiskError::new(operation, format!("simulated:{path}"), kind.into())
}

fn device_error(operation: &'static str, path: &str) -> DiskError {
    DiskError::new(operation, path, io::Error::other("input/output error (simulated)"))
}

impl Disk for SimDisk {
    fn describe(&self, path: &str) -> String {
        format!("simulated:{path}")
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        self.state().image.create_directory(path);
        Ok(())
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        let state = self.state();
        if !state.image.has_directory(directory) {
            return Err(failed("list", directory, io::ErrorKind::NotFound));
        }
        let paths = state.image.paths();
        let names = paths.iter().filter(|path| directory_of(path) == directory);
        Ok(names.map(|path| name_of(path).to_owned()).collect())
    }

    fn list_root(&self) -> Result<Vec<String>, DiskError> {
        let mut names = self.list("")?;
        names.extend(self.state().image.directories().cloned());
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, path: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        let mut state = self.state();
        state.spend("create", path)?;
        if !state.image.has_directory(directory_of(path)) {
            return Err(failed("create", path, io::ErrorKind::NotFound));
        }
        if state.image.find(path).is_some() {
            return Err(failed("create", path, io::ErrorKind::AlreadyExists));
        }
        let id = state.image.create(path);
        Ok(self.file(&state, path, id))
    }

    fn open(&self, path: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        let state = self.state();
        match state.image.find(path) {
            Some(id) => Ok(self.file(&state, path, id)),
            None => Err(failed("open", path, io::ErrorKind::NotFound)),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        state.spend("rename", from)?;
        if state.image.rename(from, to) {
            return Ok(());
        }
        Err(failed("rename", from, io::ErrorKind::NotFound))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        state.spend("remove", path)?;
        if state.image.remove(path) {
            return Ok(());
        }
        Err(failed("remove", path, io::ErrorKind::NotFound))
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        state.spend("sync", path)?;
        if !state.image.has_directory(path) {
            return Err(failed("sync", path, io::ErrorKind::NotFound));
        }
        state.image.sync_directory(path);
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    state: Arc<Mutex<State>>,
    id: FileId,
    life: u64,
    path: String,
}

impl SimFile {
    fn alive(&self, operation: &'static str) -> Result<MutexGuard<'_, State>, DiskError> {
        let state = lock(&self.state);
        if state.life == self.life {
            return Ok(state);
        }
        let source = io::Error::other("the machine has crashed since the file was opened (simulated)");
        Err(DiskError::new(operation, self.path.clone(), source))
    }

    /// Refuses what would make the file longer than the device has room for.
    fn room(&self, operation: &'static str, state: &State, bytes: u64) -> Result<(), DiskError> {
        let Some(space) = state.faults.space_bytes else { return Ok(()) };
        let growth = bytes.saturating_sub(state.image.live(self.id).len() as u64);
        if growth > 0 && state.image.used_bytes() + growth > space {
            return Err(DiskError::new(operation, self.path.clone(), io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn bytes(&self) -> Result<u64, DiskError> {
        Ok(self.alive("read the length of")?.image.live(self.id).len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let state = self.alive("read")?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = state.image.live(self.id).get(start..).unwrap_or_default();
        let count = found.len().min(buffer.len());
        let (target, _) = buffer.split_at_mut(count);
        target.copy_from_slice(found.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut guard = self.alive("write")?;
        guard.spend("write", &self.path)?;
        self.room("write", &guard, offset.saturating_add(bytes.len() as u64))?;
        let state = &mut *guard;
        if let Some(place) = state.misdirect.take() {
            state.image.write_elsewhere(self.id, offset, bytes, place);
            return Ok(());
        }
        let chance = state.dice.one_in(state.faults.write_errors_one_in);
        if std::mem::take(&mut state.fail_next_write) || chance {
            let kept = state.dice.below(bytes.len() + 1);
            state.image.write(self.id, offset, bytes.get(..kept).unwrap_or_default());
            return Err(device_error("write", &self.path));
        }
        state.image.write(self.id, offset, bytes);
        Ok(())
    }

    fn preallocate(&self, bytes: u64) -> Result<(), DiskError> {
        let mut state = self.alive("preallocate")?;
        state.spend("preallocate", &self.path)?;
        self.room("preallocate", &state, bytes)?;
        if bytes > state.image.live(self.id).len() as u64 {
            state.image.set_length(self.id, bytes);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut guard = self.alive("sync")?;
        guard.spend("sync", &self.path)?;
        let state = &mut *guard;
        state.syncs += 1;
        state.latency += state.faults.sync_latency;
        if state.dice.one_in(state.faults.stalls_one_in) {
            state.latency += state.faults.stall;
        }
        let chance = state.dice.one_in(state.faults.sync_errors_one_in);
        if let Some(loss) = state.fail_next_sync.take().or(chance.then_some(Loss::ByChance)) {
            state.image.fail_sync(self.id, loss, &mut state.dice);
            return Err(device_error("sync", &self.path));
        }
        state.image.sync(self.id);
        Ok(())
    }
}

/// A small generator of its own (SplitMix64), so that a seed means the same bytes in every later version.
#[derive(Debug, Clone)]
struct Dice {
    state: u64,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if the bound is 0.
    fn below(&mut self, bound: usize) -> usize {
        let drawn = self.next().checked_rem(bound as u64).unwrap_or(0);
        usize::try_from(drawn).unwrap_or(0)
    }

    /// Whether a chance of one in `count` comes true; never for 0, and nothing is drawn then.
    fn one_in(&mut self, count: u32) -> bool {
        count > 0 && self.below(count as usize) == 0
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}
