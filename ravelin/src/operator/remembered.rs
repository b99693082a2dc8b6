//! Where the controllers of the cluster are, as it said last, beside the operator's identity file, or in the person's own folder for
//! state where nothing can be written there: the next command finds the cluster though none of those is left that the identity names.
//! Where to look, not whom to trust; it holds no secret, is no part of what a command does, and may be removed at any time.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
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

    /// What is remembered. `None` if nothing is, or it is of another cluster or form, or no such file at all: the identity's own
    /// addresses do without.
    pub(super) fn read(places: &Places, cluster: ClusterId) -> Option<Self> {
        // Elsewhere is written only where beside cannot be, and removed once it can: it is the newer of the two.
        let mut found = places.elsewhere.iter().chain([&places.beside]).filter_map(|place| read_at(place));
        found.find(|found| found.format == FORMAT && found.cluster == cluster.to_string())
    }

    /// Keeps it for the next command.
    ///
    /// # Errors
    /// Why it could be kept in no place.
    pub(super) fn write(&self, places: &Places) -> Result<(), String> {
        let told = |place: &Path, error: io::Error| format!("{}: {error}", place.display());
        let Err(beside) = self.write_at(&places.beside) else {
            if let Some(elsewhere) = &places.elsewhere {
                // It is older now, and may not be there.
                let _ = std::fs::remove_file(elsewhere);
            }
            return Ok(());
        };
        let beside = told(&places.beside, beside);
        let Some(elsewhere) = &places.elsewhere else { return Err(beside) };
        self.write_at(elsewhere).map_err(|error| format!("{beside}; {}", told(elsewhere, error)))
    }

    fn write_at(&self, place: &Path) -> io::Result<()> {
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        // Whole or not at all: another command may write or read it meanwhile.
        let file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&file, self)?;
        file.persist(place).map(drop).map_err(|error| error.error)
    }
}

fn read_at(place: &Path) -> Option<Remembered> {
    let mut text = String::new();
    File::open(place).ok()?.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Where it may lie.
#[derive(Debug)]
pub(super) struct Places {
    /// Beside the identity file, which may stand where nothing can be written.
    beside: PathBuf,
    /// In the folder for state of the person who runs the command (XDG Base Directory Specification), if there is one.
    elsewhere: Option<PathBuf>,
}

impl Places {
    /// Of this identity file, for whoever runs this process.
    pub(super) fn of(identity: &Path, cluster: ClusterId) -> Self {
        let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")));
        Self::under(identity, state.as_deref(), cluster)
    }

    fn under(identity: &Path, state: Option<&Path>, cluster: ClusterId) -> Self {
        let mut beside = identity.as_os_str().to_owned();
        beside.push(".controllers");
        let elsewhere = state.map(|state| state.join(format!("ravelin/{cluster}.controllers")));
        Self { beside: beside.into(), elsewhere }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_of_one_cluster_and_what_cannot_be_read_is_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (cluster, other) = (ClusterId([1; 16]), ClusterId([2; 16]));
        let places = Places::under(&folder.path().join("operator.toml"), None, cluster);
        assert_eq!(Remembered::read(&places, cluster), None);
        let told = Remembered::new(cluster, 4, BTreeMap::from([(4, "a.test:1".to_owned())]));
        told.write(&places).expect("the folder is ours");
        assert_eq!(Remembered::read(&places, cluster), Some(told.clone()));
        assert_eq!(Remembered::read(&places, other), None);
        let file = &places.beside;
        let text = std::fs::read_to_string(file).expect("just written");
        for damaged in [text.replace("\"format\": 1", "\"format\": 2"), text[..text.len() / 2].to_owned()] {
            std::fs::write(file, damaged).expect("the folder is ours");
            assert_eq!(Remembered::read(&places, cluster), None);
        }
        told.write(&places).expect("the folder is ours");
        assert_eq!(Remembered::read(&places, cluster), Some(told), "replaced whole");
    }

    #[test]
    fn where_nothing_can_be_written_beside_an_identity_it_is_kept_with_the_persons_own_state() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (cluster, other) = (ClusterId([1; 16]), ClusterId([2; 16]));
        let (identity, state) = (folder.path().join("operator.toml"), folder.path().join("state/of/mine"));
        let places = Places::under(&identity, Some(&state), cluster);
        // Whoever the test runs as: a folder in its place cannot be replaced by a file.
        std::fs::create_dir(&places.beside).expect("the folder is ours");
        let told =
            |answered| Remembered::new(cluster, answered, BTreeMap::from([(4, "a.test:1".to_owned())]));
        told(4).write(&places).expect("elsewhere");
        assert_eq!(Remembered::read(&places, cluster), Some(told(4)));
        let foreign = Places::under(&identity, Some(&state), other);
        assert_eq!(Remembered::read(&foreign, other), None, "each cluster has a file of its own");

        let without = Places::under(&identity, None, cluster);
        let reason = told(5).write(&without).expect_err("there is no other place");
        assert!(reason.contains("operator.toml.controllers"), "{reason}");
        std::fs::write(folder.path().join("file"), "").expect("the folder is ours");
        let nowhere = Places::under(&identity, Some(&folder.path().join("file")), cluster);
        let reason = told(5).write(&nowhere).expect_err("a file is no folder");
        assert!(reason.contains("operator.toml.controllers") && reason.contains("file/ravelin"), "{reason}");

        std::fs::remove_dir(&places.beside).expect("it is empty");
        told(5).write(&places).expect("beside");
        assert_eq!(
            Remembered::read(&places, cluster),
            Some(told(5)),
            "what was elsewhere is older, and gone"
        );
        assert_eq!(Remembered::read(&without, cluster), Some(told(5)));
        let left = std::fs::read_dir(folder.path()).expect("ours").count();
        assert_eq!(left, 3, "operator.toml.controllers, state and file: no half-written one");
    }
}
