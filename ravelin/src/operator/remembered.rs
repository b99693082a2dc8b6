//! Where the controllers of the cluster are, as it said last, beside the operator's identity file: the next command finds the cluster
//! though none of those is left that the identity names. Where to look, not whom to trust; it holds no secret, is no part of what a
//! command does, and may be removed at any time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ravelin_transport::ClusterId;
use serde::{Deserialize, Serialize};

/// The form of the file that this build reads and writes.
const FORMAT: u32 = 1;
/// A longer file is none of ours.
const BYTES_MAX: u64 = 64 << 10;

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remembered {
    format: u32,
    cluster: String,
    /// The controller that answered last.
    pub(super) answered: u64,
    /// Where they are, by number.
    pub(super) controllers: BTreeMap<u64, String>,
}

impl Remembered {
    pub(super) fn new(cluster: ClusterId, answered: u64, controllers: BTreeMap<u64, String>) -> Self {
        Self { format: FORMAT, cluster: cluster.to_string(), answered, controllers }
    }

    /// What is remembered beside this identity file. `None` if nothing is, or it is of another cluster or form, or no such file at all:
    /// the identity's own addresses do without.
    pub(super) fn read(identity: &Path, cluster: ClusterId) -> Option<Self> {
        let mut text = String::new();
        File::open(beside(identity)).ok()?.take(BYTES_MAX).read_to_string(&mut text).ok()?;
        let found: Self = serde_json::from_str(&text).ok()?;
        (found.format == FORMAT && found.cluster == cluster.to_string()).then_some(found)
    }

    /// Keeps it for the next command. An identity may lie where nothing can be written: then nothing is remembered.
    pub(super) fn write(&self, identity: &Path) {
        let place = beside(identity);
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty());
        // Whole or not at all: another command may write or read it meanwhile.
        let written = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).and_then(|file| {
            serde_json::to_writer_pretty(&file, self)?;
            file.persist(&place).map_err(|error| error.error)
        });
        if let Err(error) = written {
            tracing::debug!(%error, place = %place.display(), "where the controllers are is not remembered");
        }
    }
}

fn beside(identity: &Path) -> PathBuf {
    let mut name = identity.as_os_str().to_owned();
    name.push(".controllers");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_of_one_cluster_and_what_cannot_be_read_is_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let identity = folder.path().join("operator.toml");
        let (cluster, other) = (ClusterId([1; 16]), ClusterId([2; 16]));
        assert_eq!(Remembered::read(&identity, cluster), None);
        let told = Remembered::new(cluster, 4, BTreeMap::from([(4, "a.test:1".to_owned())]));
        told.write(&identity);
        assert_eq!(Remembered::read(&identity, cluster), Some(told.clone()));
        assert_eq!(Remembered::read(&identity, other), None);
        let file = beside(&identity);
        let text = std::fs::read_to_string(&file).expect("just written");
        for damaged in [text.replace("\"format\": 1", "\"format\": 2"), text[..text.len() / 2].to_owned()] {
            std::fs::write(&file, damaged).expect("the folder is ours");
            assert_eq!(Remembered::read(&identity, cluster), None);
        }
        told.write(&identity);
        assert_eq!(Remembered::read(&identity, cluster), Some(told.clone()), "replaced whole");
        told.write(&folder.path().join("no/such/folder/operator.toml"));
    }
}
