//! The header of a data directory: which format, whose cluster, which epoch, which node, which life. Nothing in a
//! directory is read before it; it must not be guessed, repaired or overwritten when it does not fit.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::sync::Arc;

use super::disk::{Disk, DiskError, TEMPORARY_SUFFIX, read_all, remove_if_present, replace_file};
use super::real_disk::LOCK_NAME;
use super::segment::is_segment_name;
use super::snapshot::is_snapshot_name;
use super::{SNAPSHOT_DIRECTORY, WAL_DIRECTORY, snapshot_directory, wal_directory};

/// The format of everything in the directory. A newer one is refused.
pub const FORMAT_VERSION: u32 = 1;

/// The header's file.
pub const VERSION_NAME: &str = "VERSION";

/// The note of how far the log is known to be committed.
pub const KNOWN_NAME: &str = "COMMITTED";

/// The files in the root that are replaced whole, by way of a temporary one.
const ROOT_NAMES: [&str; 2] = [VERSION_NAME, KNOWN_NAME];

/// What an empty file system has in its root.
const LOST_AND_FOUND: &str = "lost+found";

/// Most names shown of what lies in a directory that is not ours.
const NAMES_SHOWN_MAX: usize = 5;

const TITLE: &str = "Ravelin data directory. Do not edit, copy to another node, or restore from a backup.";
const HEADER_BYTES_MAX: u64 = 4096;

/// Whose directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster: [u8; 16],
    /// Counts the cluster's fenced recoveries: what a directory of an earlier epoch holds was given up.
    pub recovery_epoch: u32,
    /// The node.
    pub node: u64,
    /// The life of this node's data directory.
    pub incarnation: u64,
}

/// A data directory whose header fits its owner.
#[derive(Clone)]
pub struct DataDirectory {
    disk: Arc<dyn Disk>,
    owner: Owner,
    fresh: bool,
}

/// Why a directory was refused. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file call failed.
    #[error("cannot use the data directory")]
    Disk(#[from] DiskError),
    /// It belongs to another cluster.
    #[error(
        "{path} belongs to cluster {found}, but this node's identity is of cluster {expected}. Point the node at its own \
         data directory, or give it an empty one"
    )]
    OtherCluster {
        /// The header.
        path: String,
        /// The cluster in the header.
        found: String,
        /// The cluster of the identity.
        expected: String,
    },
    /// It belongs to another node of this cluster, or to another life of this node.
    #[error(
        "{path} belongs to node {found}, but this is node {expected}. Point the node at its own data directory, or give \
         it an empty one; a directory must never move between nodes"
    )]
    OtherNode {
        /// The header.
        path: String,
        /// Node and incarnation in the header.
        found: String,
        /// Node and incarnation of the identity.
        expected: String,
    },
    /// It is from before a recovery of the cluster.
    #[error(
        "{path} is of recovery epoch {found}, but this node's identity is of epoch {expected}: the directory is older than \
         a recovery of the cluster, which gave up what only this directory holds. This node must rejoin as a new one: \
         keep a copy of the directory, and start with an empty one. Nothing was changed"
    )]
    BeforeRecovery {
        /// The header.
        path: String,
        /// The epoch in the header.
        found: u32,
        /// The epoch of the identity.
        expected: u32,
    },
    /// The identity is from before a recovery of the cluster, and the directory is not.
    #[error(
        "{path} is of recovery epoch {found}, but this node's identity is of epoch {expected}: the identity file is older \
         than a recovery of the cluster. Put back the identity file that belongs to the directory. Nothing was changed"
    )]
    AfterRecovery {
        /// The header.
        path: String,
        /// The epoch in the header.
        found: u32,
        /// The epoch of the identity.
        expected: u32,
    },
    /// A newer Ravelin wrote it.
    #[error(
        "a newer version of Ravelin wrote {path}: {what}. Start that version again, or a newer one. \
         Nothing was changed, and this is no damage: do not replace this node"
    )]
    Newer {
        /// The header.
        path: String,
        /// What this version does not know.
        what: String,
    },
    /// The header cannot be read as one.
    #[error(
        "{path} is damaged ({what}). Keep a copy of the directory. If the other controllers have a quorum, replace this \
         node by a new one with an empty directory; do not edit the file"
    )]
    Damaged {
        /// The header.
        path: String,
        /// What does not fit.
        what: String,
    },
    /// There is data, but no header.
    #[error(
        "{path} is missing, yet there is data beside it ({evidence}). If this is the data directory of a node, put the \
         file back; if it is not, choose an empty directory"
    )]
    Missing {
        /// The header.
        path: String,
        /// A file that belongs to some node.
        evidence: String,
    },
    /// It holds something else, and no header.
    #[error(
        "{path} is neither empty nor a data directory of Ravelin: it holds {found}. Point the node at its own data \
         directory, or at an empty or new one; nothing there was changed"
    )]
    NotEmpty {
        /// The directory.
        path: String,
        /// The first few names in it.
        found: String,
    },
}

impl DataDirectory {
    /// Checks the header, or makes one in a directory that holds no data yet.
    ///
    /// # Errors
    /// [`DirectoryError`]; nothing was changed then, except that temporary files may be gone.
    pub fn open(disk: Arc<dyn Disk>, owner: Owner) -> Result<Self, DirectoryError> {
        let path = disk.describe(VERSION_NAME);
        let fresh = match read_all(&*disk, VERSION_NAME, HEADER_BYTES_MAX) {
            Ok(bytes) => check_header(&path, &bytes, &owner)?,
            Err(error) if error.is_not_found() => {
                refuse_foreign_data(&*disk, &path)?;
                refuse_other_content(&*disk)?;
                replace_file(&*disk, VERSION_NAME, header(&owner, true).as_bytes())?;
                true
            }
            Err(error) => return Err(error.into()),
        };
        let directory = Self { disk, owner, fresh };
        directory.make_places()?;
        let disk = &*directory.disk;
        // Beside the header may lie what is not ours, a file system's own or a person's: only what we name goes.
        for name in ROOT_NAMES {
            remove_if_present(disk, &format!("{name}{TEMPORARY_SUFFIX}"))?;
        }
        for place in [wal_directory(&owner), snapshot_directory(&owner)] {
            for name in disk.list(&place)?.iter().filter(|name| name.ends_with(TEMPORARY_SUFFIX)) {
                remove_if_present(disk, &format!("{place}/{name}"))?;
            }
        }
        Ok(directory)
    }

    /// The places of log and snapshots, durably there.
    fn make_places(&self) -> Result<(), DiskError> {
        for place in [wal_directory(&self.owner), snapshot_directory(&self.owner)] {
            self.disk.create_directory(&place)?;
        }
        self.disk.sync_directory("")
    }

    /// Whose directory a header says it is, without comparing it with anything. Nothing is changed.
    ///
    /// # Errors
    /// [`DirectoryError::Newer`], [`DirectoryError::Damaged`], [`DirectoryError::Disk`]: not found if there is no header.
    pub fn owner_of(disk: &dyn Disk) -> Result<Owner, DirectoryError> {
        let bytes = read_all(disk, VERSION_NAME, HEADER_BYTES_MAX)?;
        Ok(parse_header(&disk.describe(VERSION_NAME), &bytes)?.0)
    }

    /// Whether a header says that it is exactly this owner's, and a log was begun. Nothing is changed.
    ///
    /// # Errors
    /// [`DirectoryError`]; [`DirectoryError::Disk`] also where there is no header.
    pub fn has_log(disk: &dyn Disk, owner: &Owner) -> Result<bool, DirectoryError> {
        let bytes = read_all(disk, VERSION_NAME, HEADER_BYTES_MAX)?;
        Ok(!check_header(&disk.describe(VERSION_NAME), &bytes, owner)?)
    }

    /// The same directory in its next recovery epoch: empty places beside those of this one. Its header still says this one.
    pub(super) fn next_epoch(&self) -> Result<Self, DiskError> {
        let owner = Owner { recovery_epoch: self.owner.recovery_epoch + 1, ..self.owner };
        let next = Self { disk: Arc::clone(&self.disk), owner, fresh: false };
        next.make_places()?;
        for place in [wal_directory(&owner), snapshot_directory(&owner)] {
            // What lies there was left by a recovery that did not come to its end.
            for name in next.disk.list(&place)? {
                next.disk.remove(&format!("{place}/{name}"))?;
            }
            next.disk.sync_directory(&place)?;
        }
        Ok(next)
    }

    /// Lets the header say that this is the directory's epoch from now on.
    pub(super) fn take_over(&self) -> Result<(), DiskError> {
        replace_file(&*self.disk, VERSION_NAME, header(&self.owner, false).as_bytes())
    }

    /// The disk that it lies on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Whose it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Whether no log was ever completed here: what lies in it, if anything, was never acknowledged.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Records that the log exists from now on, so that its absence is damage.
    pub(super) fn mark_started(&mut self) -> Result<(), DiskError> {
        replace_file(&*self.disk, VERSION_NAME, header(&self.owner, false).as_bytes())?;
        self.fresh = false;
        Ok(())
    }
}

impl std::fmt::Debug for DataDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "DataDirectory({}, {})",
            self.disk.describe(""),
            node_of(self.owner.node, self.owner.incarnation)
        )
    }
}

/// 32 hexadecimal digits.
pub(super) fn cluster_hex(cluster: &[u8; 16]) -> String {
    cluster.iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn node_of(node: u64, incarnation: u64) -> String {
    format!("{node} (incarnation {incarnation:016x})")
}

fn header(owner: &Owner, fresh: bool) -> String {
    let mut text = format!(
        "{TITLE}\nformat = {FORMAT_VERSION}\ncluster = {}\nrecovery epoch = {}\nnode = {}\nincarnation = {:016x}\nlog = {}\n",
        cluster_hex(&owner.cluster),
        owner.recovery_epoch,
        owner.node,
        owner.incarnation,
        if fresh { "starting" } else { "started" },
    );
    let checksum = crc32c::crc32c(text.as_bytes());
    let _ = writeln!(text, "crc32c = {checksum:08x}");
    text
}

/// Whether the log was never completed; the error if the header is not this owner's.
fn check_header(path: &str, bytes: &[u8], owner: &Owner) -> Result<bool, DirectoryError> {
    let (found, fresh) = parse_header(path, bytes)?;
    if found.cluster != owner.cluster {
        return Err(DirectoryError::OtherCluster {
            path: path.to_owned(),
            found: cluster_hex(&found.cluster),
            expected: cluster_hex(&owner.cluster),
        });
    }
    if (found.node, found.incarnation) != (owner.node, owner.incarnation) {
        return Err(DirectoryError::OtherNode {
            path: path.to_owned(),
            found: node_of(found.node, found.incarnation),
            expected: node_of(owner.node, owner.incarnation),
        });
    }
    check_epoch(path, found.recovery_epoch, owner)?;
    Ok(fresh)
}

/// Whose it is, and whether the log was never completed.
fn parse_header(path: &str, bytes: &[u8]) -> Result<(Owner, bool), DirectoryError> {
    let damaged = |what: &str| DirectoryError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))
            .ok_or_else(|| damaged(name))
    };
    let format: u32 = field("format")?.parse().map_err(|_| damaged("format"))?;
    let newer = |what: String| DirectoryError::Newer { path: path.to_owned(), what };
    if format > FORMAT_VERSION {
        // Asked first: a newer header may look different in everything else.
        return Err(newer(format!("it says format {format}, and this version knows only {FORMAT_VERSION}")));
    }
    let (body, checksum) = text.rsplit_once("crc32c = ").ok_or_else(|| damaged("crc32c"))?;
    if checksum != format!("{:08x}\n", crc32c::crc32c(body.as_bytes())) {
        return Err(damaged("its checksum does not match"));
    }
    let owner = Owner {
        cluster: parse_cluster(field("cluster")?).ok_or_else(|| damaged("cluster"))?,
        recovery_epoch: field("recovery epoch")?.parse().map_err(|_| damaged("recovery epoch"))?,
        node: field("node")?.parse().map_err(|_| damaged("node"))?,
        incarnation: u64::from_str_radix(field("incarnation")?, 16).map_err(|_| damaged("incarnation"))?,
    };
    let fresh = field("log")? == "starting";
    if text != header(&owner, fresh) {
        // Its checksum holds, so it was written on purpose.
        return Err(newer("it says more than this version knows".to_owned()));
    }
    Ok((owner, fresh))
}

/// The cluster of [`cluster_hex`]; `None` for any other text of the same length.
fn parse_cluster(hex: &str) -> Option<[u8; 16]> {
    let number = u128::from_str_radix(hex, 16).ok()?;
    (cluster_hex(&number.to_be_bytes()) == hex).then(|| number.to_be_bytes())
}

fn check_epoch(path: &str, found: u32, owner: &Owner) -> Result<(), DirectoryError> {
    let (path, expected) = (path.to_owned(), owner.recovery_epoch);
    match found.cmp(&expected) {
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(DirectoryError::BeforeRecovery { path, found, expected }),
        Ordering::Greater => Err(DirectoryError::AfterRecovery { path, found, expected }),
    }
}

fn refuse_foreign_data(disk: &dyn Disk, path: &str) -> Result<(), DirectoryError> {
    // Of any epoch: without the header nobody can tell which one counts.
    for place in disk.list_root()? {
        let kind = place.split_once('-').map_or(&*place, |(kind, _)| kind);
        let is_data = match kind {
            WAL_DIRECTORY => is_segment_name as fn(&str) -> bool,
            SNAPSHOT_DIRECTORY => is_snapshot_name,
            _ => continue,
        };
        let names = match disk.list(&place) {
            Err(error) if matches!(error.source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                continue;
            }
            other => other?,
        };
        if let Some(name) = names.iter().find(|name| is_data(name)) {
            let evidence = disk.describe(&format!("{place}/{name}"));
            return Err(DirectoryError::Missing { path: path.to_owned(), evidence });
        }
    }
    Ok(())
}

/// Refuses a directory in which anything lies that a first start does not find in an empty one.
fn refuse_other_content(disk: &dyn Disk) -> Result<(), DirectoryError> {
    let half_made = format!("{VERSION_NAME}{TEMPORARY_SUFFIX}");
    let mut names = disk.list_root()?;
    names.retain(|name| ![LOCK_NAME, LOST_AND_FOUND, &half_made].contains(&name.as_str()));
    if names.is_empty() {
        return Ok(());
    }
    let more = names.len().saturating_sub(NAMES_SHOWN_MAX);
    names.truncate(NAMES_SHOWN_MAX);
    let mut found = names.join(", ");
    if more > 0 {
        let _ = write!(found, " and {more} more");
    }
    Err(DirectoryError::NotEmpty { path: disk.describe(""), found })
}

#[cfg(test)]
mod tests;
