//! Where the control nodes of the cluster are, as one of them said last, beside the last good generations: a proxy that starts again
//! finds the cluster though none of the nodes that its identity file names is left. It must not hold configuration or keys.
//!
//! One small file: version, cluster, proxy, what was said in the form of the feed, SHA-256 of all before it. It is replaced whole.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ravelin_config::feed::ControlPlane;
use ravelin_config::feed::wire::ControlPlaneV1;
use ravelin_config::{Digest, Versions};
use ravelin_transport::codec;

use super::{LastGoodError, Sealing, io_error};

/// Versions of the file that this build reads; it writes the newest.
const VERSIONS: Versions = Versions { oldest: 1, newest: 1 };
/// The file's name.
const NAME: &str = "control-plane";
/// A longer file is none of ours.
const BYTES_MAX: u64 = 64 << 10;

/// Cluster and number of the proxy, and what was said.
type KeptV1 = ([u8; 16], u64, ControlPlaneV1);

/// The file of one proxy.
pub(crate) struct KeptControlPlane {
    directory: PathBuf,
    cluster: [u8; 16],
    node: u64,
}

impl KeptControlPlane {
    /// Below the directory of the last good generations, which must be there.
    pub(crate) fn new(directory: &Path, sealing: &Sealing) -> Self {
        Self { directory: directory.to_owned(), cluster: sealing.cluster, node: sealing.node }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(NAME)
    }

    /// What was kept; none if nothing was, or it is of another cluster or node.
    ///
    /// # Errors
    /// [`LastGoodError`]: it cannot be read, is damaged, or of a newer version. Nothing is changed by that.
    pub(crate) fn read(&self) -> Result<Option<ControlPlane>, LastGoodError> {
        let path = self.path();
        let bytes = match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Ok(metadata) if metadata.len() > BYTES_MAX => return Err(LastGoodError::NotOne { path }),
            _ => fs::read(&path).map_err(io_error(&path, "read"))?,
        };
        let damaged =
            |detail: &str| LastGoodError::Damaged { path: path.clone(), at: 0, detail: detail.to_owned() };
        let (content, sum) = bytes.split_last_chunk::<32>().ok_or_else(|| damaged("it is cut short"))?;
        if Digest::of(content).0 != *sum {
            return Err(damaged("its checksum is wrong"));
        }
        match codec::version(content) {
            Some(found) if found > VERSIONS.newest => {
                return Err(LastGoodError::Newer { path, of: "control plane", found, reads: VERSIONS });
            }
            _ => {}
        }
        let (cluster, node, told): KeptV1 =
            codec::decode(VERSIONS.newest, content).map_err(|error| damaged(&error.to_string()))?;
        if (cluster, node) != (self.cluster, self.node) {
            return Ok(None);
        }
        let told = ControlPlane::try_from(told).map_err(|error| damaged(&error.to_string()))?;
        Ok(Some(told))
    }

    /// Keeps what was said. Durable when it returns; blocks.
    ///
    /// # Errors
    /// [`LastGoodError`]; what was kept before stays.
    pub(crate) fn write(&self, told: ControlPlane) -> Result<(), LastGoodError> {
        let kept: KeptV1 = (self.cluster, self.node, told.into());
        let content = codec::encode(VERSIONS.newest, &kept);
        let mut bytes = content.map_err(|source| LastGoodError::Encode { source })?.to_vec();
        let sum = Digest::of(&bytes);
        bytes.extend_from_slice(&sum.0);
        let (path, temporary) = (self.path(), self.directory.join(format!("{NAME}.tmp")));
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        let mut file = options.map_err(io_error(&temporary, "make"))?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_all());
        let renamed = written.and_then(|()| fs::rename(&temporary, &path));
        let synced = renamed.and_then(|()| File::open(&self.directory)?.sync_all());
        synced.map_err(io_error(&path, "write"))
    }
}

#[cfg(test)]
mod tests {
    use ravelin_config::feed::ControlNode;

    use super::*;

    fn told(as_of: u64) -> ControlPlane {
        let nodes = vec![ControlNode { node: 4, address: "a:1".to_owned() }];
        ControlPlane { cluster: [0xc1; 16], recovery_epoch: 2, incarnation: 3, as_of, nodes }
    }

    fn kept(directory: &Path, node: u64) -> KeptControlPlane {
        KeptControlPlane::new(directory, &Sealing { key: [1; 32], cluster: [0xc1; 16], node })
    }

    #[test]
    fn what_was_said_last_is_there_after_a_restart_and_only_for_this_node() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let own = kept(folder.path(), 1);
        assert!(matches!(own.read(), Ok(None)), "nothing was said yet");
        for as_of in [7, 8] {
            own.write(told(as_of)).expect("the folder can be written");
            assert_eq!(own.read().expect("whole"), Some(told(as_of)));
        }
        assert_eq!(kept(folder.path(), 2).read().expect("whole"), None, "another node's");
    }

    #[test]
    fn the_form_of_the_file_is_fixed_and_what_is_damaged_or_newer_is_said_to_be() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let own = kept(folder.path(), 1);
        own.write(told(9)).expect("the folder can be written");
        let path = own.path();
        let bytes = fs::read(&path).expect("just written");
        let content = bytes.len() - 32;
        let hex: String = bytes[..content].iter().map(|byte| format!("{byte:02x}")).collect();
        let cluster = "c1".repeat(16);
        let form = format!(
            "01{cluster}0100000000000000{cluster}0200000003000000000000000900000000000000\
             010000000000000004000000000000000300000000000000613a31"
        );
        assert_eq!(hex, form, "another form needs another version");
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).expect("the folder can be written");
            assert!(matches!(own.read(), Err(LastGoodError::Damaged { .. })), "byte {at}");
            fs::write(&path, &bytes[..at]).expect("the folder can be written");
            assert!(matches!(own.read(), Err(LastGoodError::Damaged { .. })), "cut at {at}");
        }
        let mut newer = [&[2], &bytes[1..content]].concat();
        let sum = Digest::of(&newer);
        newer.extend_from_slice(&sum.0);
        fs::write(&path, newer).expect("the folder can be written");
        assert!(matches!(own.read(), Err(LastGoodError::Newer { found: 2, .. })));
    }
}
