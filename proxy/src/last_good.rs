//! The last good generations on this proxy's disk, sealed: what it serves after a restart with no control plane.
//! It must not serve what it cannot open and check in full; age is never a reason to refuse.
//!
//! A file is a header and sealed chunks. Chunks are messages of the feed, so that reading a file goes through the same checks
//! as receiving: the keys that open its secrets, one whole generation, then deltas. A change appends its own bytes only; when the
//! deltas outgrow the whole, a new file begins. The newest [`FILES_KEPT`] files stay. A mark beside them names the newest
//! generation that was ever served: what is kept may lag behind it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ravelin_config::feed::{FEED_VERSION, ToProxy, ToProxyV1, whole_to_parts};
use ravelin_config::{Change, ConfigMap, Delta, GenerationId};
use ravelin_transport::codec::{self, CodecError};

mod control_plane;
mod format;
mod mark;
mod seal;

pub(crate) use control_plane::KeptControlPlane;
pub use format::{FORMAT_VERSIONS, LastGoodError};
use format::{Header, SALT_BYTES};
use mark::Mark;
use seal::Sealer;

/// Files kept: the one in use and the one before it.
pub const FILES_KEPT: usize = 2;
/// Bytes of one chunk before sealing, or one record where that is larger.
const CHUNK_BYTES_MAX: usize = 512 << 10;
/// Deltas may always grow to this many bytes before a new file begins.
const DELTA_BYTES_MIN: u64 = 1 << 20;

/// Who may open the files: the node's own key, for one cluster and node.
#[derive(Clone)]
pub struct Sealing {
    /// Derived from the node's private key, never a constant.
    pub key: [u8; 32],
    /// The cluster.
    pub cluster: [u8; 16],
    /// The node.
    pub node: u64,
}

/// What was found on disk.
pub struct Loaded {
    /// The newest generation that could be opened and checked.
    pub newest: Option<(GenerationId, ConfigMap)>,
    /// The newest generation that was served, though it may not have been kept.
    pub mark: Option<GenerationId>,
    /// Every file, or tail of a file, that could not be used, and why.
    pub problems: Vec<LastGoodError>,
}

/// The store of last good generations. One process at a time; all calls block, so it lives off the workers.
pub struct LastGood {
    directory: PathBuf,
    sealing: Sealing,
    open: Option<OpenFile>,
    /// None where it cannot be used, which was told.
    mark: Option<Mark>,
}

struct OpenFile {
    path: PathBuf,
    file: File,
    sealer: Sealer,
    whole_bytes: u64,
    delta_bytes: u64,
    held: (GenerationId, ConfigMap),
}

fn io_error<'a>(path: &'a Path, doing: &'static str) -> impl FnOnce(io::Error) -> LastGoodError + 'a {
    move |source| LastGoodError::Io { path: path.to_owned(), doing, source }
}

impl LastGood {
    /// Opens the directory, which is made if it is not there, and reads the newest usable generation.
    ///
    /// # Errors
    /// [`LastGoodError::Io`] if the directory cannot be made or listed. Unusable files are told in [`Loaded::problems`].
    pub fn open(directory: &Path, sealing: Sealing) -> Result<(Self, Loaded), LastGoodError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(io_error(directory, "make"))?;
        let mut loaded = Loaded { newest: None, mark: None, problems: Vec::new() };
        for path in paths(directory, "tmp")? {
            // What a crash left over is in nobody's way, also where the disk takes no change at present.
            if let Err(source) = fs::remove_file(&path) {
                loaded.problems.push(LastGoodError::Io { path, doing: "remove", source });
            }
        }
        for path in files(directory)? {
            let (found, problem) = format::read(&path, &sealing);
            loaded.problems.extend(problem);
            if let Some(found) = found {
                loaded.newest = Some(found);
                break;
            }
        }
        // A file is never appended to after a restart: its last chunk may have been torn, and its key must not seal
        // another chunk under the same number.
        let mark = Mark::open(directory, &sealing).map_err(|problem| loaded.problems.push(problem)).ok();
        loaded.mark = mark.as_ref().and_then(Mark::newest);
        Ok((Self { directory: directory.to_owned(), sealing, open: None, mark }, loaded))
    }

    /// Marks a generation that is about to be served: after a restart nothing older is taken. Durable when it returns.
    ///
    /// # Errors
    /// [`LastGoodError::Io`]; the mark is then where it was, or there.
    pub fn mark(&mut self, generation: GenerationId) -> Result<(), LastGoodError> {
        self.mark.as_mut().map_or(Ok(()), |mark| mark.raise(generation, &self.sealing))
    }

    /// Keeps a generation that is served. Durable when it returns.
    ///
    /// # Errors
    /// [`LastGoodError`]; what was kept before stays usable.
    pub fn save(&mut self, generation: GenerationId, map: &ConfigMap) -> Result<(), LastGoodError> {
        if let Some(open) = &mut self.open {
            if open.held.0 == generation {
                return Ok(());
            }
            let room = open.whole_bytes.max(DELTA_BYTES_MIN);
            if generation.is_newer_than(&open.held.0) && open.delta_bytes < room {
                let result = open.append(generation, map);
                if result.is_err() {
                    // Half a chunk may stand in the file: nothing more goes there.
                    self.open = None;
                }
                return result;
            }
        }
        self.begin(generation, map, seal::random_salt())
    }

    /// Forgets how far the file in use was written: the next generation begins a new one. For when that is not known any more.
    pub fn begin_anew(&mut self) {
        self.open = None;
    }

    fn begin(
        &mut self,
        generation: GenerationId,
        map: &ConfigMap,
        salt: [u8; SALT_BYTES],
    ) -> Result<(), LastGoodError> {
        let path = self.directory.join(format::file_name(&generation));
        let temporary = path.with_extension("tmp");
        let header =
            Header { feed: FEED_VERSION, cluster: self.sealing.cluster, node: self.sealing.node, salt };
        let written = write_whole(&temporary, &self.sealing, &header, generation, map).and_then(|written| {
            fs::rename(&temporary, &path).map_err(io_error(&path, "rename to"))?;
            Ok(written)
        });
        let (file, sealer, whole_bytes) = match written {
            Ok(written) => written,
            Err(error) => {
                // What was begun must not take the room that the next try needs. If it stays, opening removes it.
                let _ = fs::remove_file(&temporary);
                return Err(error);
            }
        };
        // By its name this file is the newest from here on: whatever fails below, nothing more goes into the one before it.
        self.open = None;
        let sync = File::open(&self.directory).and_then(|directory| directory.sync_all());
        sync.map_err(io_error(&self.directory, "sync"))?;
        let held = (generation, map.clone());
        self.open = Some(OpenFile { path, file, sealer, whole_bytes, delta_bytes: 0, held });
        self.remove_old()
    }

    /// Removes this node's own files but the newest. Those of another cluster or format are nobody's here to judge.
    fn remove_old(&self) -> Result<(), LastGoodError> {
        let written = self.open.as_ref().map(|open| open.path.as_path());
        let own = files(&self.directory)?.into_iter().filter(|path| format::is_own(path, &self.sealing));
        for old in own.skip(FILES_KEPT).filter(|path| Some(path.as_path()) != written) {
            fs::remove_file(&old).map_err(io_error(&old, "remove"))?;
        }
        Ok(())
    }
}

/// Writes a new file with one whole generation, durable but for its name.
fn write_whole(
    path: &Path,
    sealing: &Sealing,
    header: &Header,
    generation: GenerationId,
    map: &ConfigMap,
) -> Result<(File, Sealer, u64), LastGoodError> {
    let mut sealer = Sealer::new(&sealing.key, header);
    let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = options.map_err(io_error(path, "make"))?;
    file.write_all(&header.to_bytes()).map_err(io_error(path, "write"))?;
    let parts = whole_to_parts(generation, map, 0, CHUNK_BYTES_MAX).into_iter().map(ToProxy::Part);
    let whole_bytes = write_chunks(&mut file, path, &mut sealer, keys(map).chain(parts))?;
    file.sync_all().map_err(io_error(path, "sync"))?;
    Ok((file, sealer, whole_bytes))
}

impl OpenFile {
    fn append(&mut self, generation: GenerationId, map: &ConfigMap) -> Result<(), LastGoodError> {
        let secrets = map.secrets().diff(self.held.1.secrets());
        let mut delta =
            Delta { base: self.held.0, target: generation, puts: Vec::new(), deletes: Vec::new(), secrets };
        for (key, change) in map.diff(&self.held.1) {
            match change {
                Change::Put(bytes) => delta.puts.push((key, bytes)),
                Change::Delete => delta.deletes.push(key),
            }
        }
        let same_keys = map.secrets().keys() == self.held.1.secrets().keys();
        let keys = keys(map).filter(|_| !same_keys);
        let chunks = keys.chain(delta.to_parts(0, CHUNK_BYTES_MAX).into_iter().map(ToProxy::Part));
        self.delta_bytes += write_chunks(&mut self.file, &self.path, &mut self.sealer, chunks)?;
        self.file.sync_data().map_err(io_error(&self.path, "sync"))?;
        self.held = (generation, map.clone());
        Ok(())
    }
}

/// The keys that open the secrets of a generation, the newest last, as they came.
fn keys(map: &ConfigMap) -> impl Iterator<Item = ToProxy> {
    map.secrets().keys().iter().rev().cloned().map(ToProxy::ViewKey)
}

fn write_chunks(
    file: &mut File,
    path: &Path,
    sealer: &mut Sealer,
    messages: impl Iterator<Item = ToProxy>,
) -> Result<u64, LastGoodError> {
    let mut written = 0;
    for message in messages {
        let encoded = codec::encode(FEED_VERSION, &ToProxyV1::from(message));
        let encoded = encoded.map_err(|source: CodecError| LastGoodError::Encode { source })?;
        let chunk = sealer.seal(&encoded)?;
        file.write_all(&chunk).map_err(io_error(path, "write"))?;
        written += chunk.len() as u64;
    }
    Ok(written)
}

/// The files of last good generations, newest first by their names.
fn files(directory: &Path) -> Result<Vec<PathBuf>, LastGoodError> {
    let mut files = paths(directory, "sealed")?;
    files.sort_unstable_by(|a, b| b.cmp(a));
    Ok(files)
}

fn paths(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, LastGoodError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(io_error(directory, "list"))? {
        let path = entry.map_err(io_error(directory, "list"))?.path();
        if path.extension().is_some_and(|known| known == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
