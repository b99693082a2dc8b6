//! The bytes of a last good file: magic, version of the file's form, version of the feed messages in it, cluster, node, salt,
//! then length-prefixed sealed chunks. A build reads the versions that it writes and those before.
//! It must not trust any of them before they are opened.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ravelin_config::feed::{FEED_VERSIONS, Receiver, ReceiverLimits, Step, ToProxy, ToProxyV1};
use ravelin_config::{ConfigMap, GenerationId, Versions};
use ravelin_transport::codec::{self, CodecError, ENCODED_BYTES_MAX};

use super::Sealing;
use super::seal::Sealer;

/// The versions of the file's form that this build reads; it writes the newest.
pub const FORMAT_VERSIONS: Versions = Versions { oldest: 1, newest: 1 };

/// What this build reads.
pub(super) const READS: Reads = Reads { format: FORMAT_VERSIONS, feed: FEED_VERSIONS };

const MAGIC: &[u8; 8] = b"RVLNGOOD";
pub(super) const SALT_BYTES: usize = 32;
const HEADER_BYTES: usize = 8 + 1 + 1 + 16 + 8 + SALT_BYTES;
/// What sealing adds to a chunk.
const TAG_BYTES: usize = 16;

/// Why a last good file cannot be used or written.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// A file call failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Not a file of last good generations.
    #[error("{} is not a file of last good generations", path.display())]
    NotOne {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer version of Ravelin.
    #[error(
        "{} was written by a newer version of Ravelin: its {of} has version {found}, and this build reads {reads}. It is left as \
         it is; start the newer version, or let the control plane feed this one anew",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// What of it: `form`, or `feed`.
        of: &'static str,
        /// Its version.
        found: u8,
        /// What is read.
        reads: Versions,
    },
    /// Written by a version of Ravelin that is more than one step behind.
    #[error(
        "{} was written by an older version of Ravelin than this one reads: its {of} has version {found}, and this build reads \
         {reads}; start a version between the two once, or let the control plane feed this one anew",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// What of it: `form`, or `feed`.
        of: &'static str,
        /// Its version.
        found: u8,
        /// What is read.
        reads: Versions,
    },
    /// Of another cluster or another node.
    #[error("{} belongs to another cluster or node", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Damaged, cut short, or sealed with another key; what came before is used.
    #[error("{} is damaged at byte {at}: {detail}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the first unusable chunk begins.
        at: usize,
        /// What is wrong.
        detail: String,
    },
    /// A part cannot be encoded within the limits.
    #[error("a part of the generation cannot be encoded")]
    Encode {
        /// The cause.
        #[source]
        source: CodecError,
    },
    /// The cipher failed.
    #[error("the cipher refused to seal a chunk")]
    Seal,
}

/// Versions that a build reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reads {
    /// Of the file's form.
    pub(super) format: Versions,
    /// Of the feed messages in it.
    pub(super) feed: Versions,
}

impl Reads {
    fn check(path: &Path, of: &'static str, reads: Versions, found: u8) -> Result<u8, LastGoodError> {
        let path = path.to_owned();
        match found {
            found if found > reads.newest => Err(LastGoodError::Newer { path, of, found, reads }),
            found if found < reads.oldest => Err(LastGoodError::Older { path, of, found, reads }),
            found => Ok(found),
        }
    }
}

pub(super) struct Header {
    /// The version of the messages in the chunks.
    pub(super) feed: u8,
    pub(super) cluster: [u8; 16],
    pub(super) node: u64,
    pub(super) salt: [u8; SALT_BYTES],
}

impl Header {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.push(FORMAT_VERSIONS.newest);
        bytes.push(self.feed);
        bytes.extend_from_slice(&self.cluster);
        bytes.extend_from_slice(&self.node.to_le_bytes());
        bytes.extend_from_slice(&self.salt);
        bytes
    }

    /// Reads the header of any form that a build reads. All forms so far begin alike.
    pub(super) fn from_bytes(path: &Path, bytes: &[u8], reads: Reads) -> Result<Self, LastGoodError> {
        let not_one = || LastGoodError::NotOne { path: path.to_owned() };
        let rest = bytes.strip_prefix(MAGIC.as_slice()).ok_or_else(not_one)?;
        let (&found, rest) = rest.split_first().ok_or_else(not_one)?;
        Reads::check(path, "form", reads.format, found)?;
        let (&feed, rest) = rest.split_first().ok_or_else(not_one)?;
        let feed = Reads::check(path, "feed", reads.feed, feed)?;
        let (cluster, rest) = rest.split_first_chunk::<16>().ok_or_else(not_one)?;
        let (node, rest) = rest.split_first_chunk::<8>().ok_or_else(not_one)?;
        let (salt, _) = rest.split_first_chunk::<SALT_BYTES>().ok_or_else(not_one)?;
        Ok(Self { feed, cluster: *cluster, node: u64::from_le_bytes(*node), salt: *salt })
    }
}

/// Names sort by generation: epoch, then revision, both of fixed width.
pub(super) fn file_name(generation: &GenerationId) -> String {
    format!(
        "{:010}-{:020}-{}.sealed",
        generation.recovery_epoch,
        generation.revision,
        generation.digest.short()
    )
}

/// Whether a file's header says that this node wrote it, in this format.
pub(super) fn is_own(path: &Path, sealing: &Sealing) -> bool {
    let mut bytes = [0; HEADER_BYTES];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.is_ok()
        && Header::from_bytes(path, &bytes, READS)
            .is_ok_and(|header| (header.cluster, header.node) == (sealing.cluster, sealing.node))
}

/// The newest complete generation of a file, and what stopped the reading before its end.
pub(super) fn read(
    path: &Path,
    sealing: &Sealing,
) -> (Option<(GenerationId, ConfigMap)>, Option<LastGoodError>) {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(source) => {
            return (None, Some(LastGoodError::Io { path: path.to_owned(), doing: "read", source }));
        }
    };
    let header = match Header::from_bytes(path, &bytes, READS) {
        Ok(header) => header,
        Err(error) => return (None, Some(error)),
    };
    if (header.cluster, header.node) != (sealing.cluster, sealing.node) {
        return (None, Some(LastGoodError::Foreign { path: path.to_owned() }));
    }
    let mut sealer = Sealer::new(&sealing.key, &header);
    let mut receiver = Receiver::new(sealing.cluster, ReceiverLimits::default(), None);
    let mut newest = None;
    let mut at = HEADER_BYTES;
    while at < bytes.len() {
        let taken = chunk(&bytes, at).and_then(|sealed| {
            let step = receiver.handle(open(&mut sealer, header.feed, sealed)?);
            Ok((sealed.len(), step))
        });
        let detail = match taken {
            Ok((length, Step::Nothing)) => {
                at += 4 + length;
                continue;
            }
            Ok((length, Step::Complete { generation, map })) => {
                receiver.adopt(generation, map.clone());
                newest = Some((generation, map));
                at += 4 + length;
                continue;
            }
            Ok((_, step)) => format!("its parts do not fit: {step:?}"),
            Err(detail) => detail,
        };
        return (newest, Some(LastGoodError::Damaged { path: path.to_owned(), at, detail }));
    }
    (newest, None)
}

fn chunk(bytes: &[u8], at: usize) -> Result<&[u8], String> {
    let cut = || "it is cut short".to_owned();
    let (length, rest) = bytes.get(at..).and_then(<[u8]>::split_first_chunk::<4>).ok_or_else(cut)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > ENCODED_BYTES_MAX + TAG_BYTES {
        return Err(format!("a chunk of {length} bytes is larger than any that is written"));
    }
    rest.get(..length).ok_or_else(cut)
}

fn open(sealer: &mut Sealer, feed: u8, sealed: &[u8]) -> Result<ToProxy, String> {
    let opened = sealer.open(sealed).ok_or("a chunk does not open with this node's key")?;
    codec::decode_into::<ToProxyV1, _>(feed, &opened).map_err(|error| error.to_string())
}
