//! Providers: they watch something and say what configuration it wants. Run by the controller only.
//! They must not judge objects or know of the log; an outage is never an empty configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ravelin_config::static_config::Providers;
use ravelin_config::{ConfigMap, Draft, GenerationId, Record, RecordWire};
use ravelin_transport::codec;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::request::status::ProviderState;

pub mod file;

/// The key under which the cluster's configuration says which providers run.
pub const PROVIDERS_KEY: &str = "static/providers";

/// One provider that should run, with everything that it needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderSpec {
    /// A file or directory on the controller's own disk.
    File(FileSpec),
}

/// What the file provider reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// Where.
    pub source: FileSource,
    /// Whether a change is noticed.
    pub watch: bool,
    /// Sustained change leads to at most one draft in this time; a single change is never delayed by it.
    pub throttle: Duration,
}

/// Where the file provider reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// One file.
    File(PathBuf),
    /// Every `.yaml`, `.yml` and `.toml` in a directory and below, in order of their paths.
    Directory(PathBuf),
}

impl ProviderSpec {
    /// The name after the `@`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
        }
    }

    /// The provider itself.
    pub fn build(self) -> Box<dyn Provider> {
        match self {
            Self::File(spec) => Box::new(file::FileProvider::new(spec)),
        }
    }
}

/// The providers that a configuration asks for. A section that cannot be read asks for none, and says why.
///
/// # Errors
/// Why the section cannot be read; it was checked before it was committed, so only a newer schema leads here.
pub fn wanted(map: &ConfigMap) -> Result<Vec<ProviderSpec>, String> {
    let Some(bytes) = map.get(PROVIDERS_KEY) else { return Ok(Vec::new()) };
    let wire: RecordWire =
        codec::decode(ravelin_config::object::RECORD_VERSION, bytes).map_err(|error| error.to_string())?;
    let record = Record::from_wire(wire).map_err(|error| error.to_string())?;
    let Some(object) = record.effective() else { return Ok(Vec::new()) };
    let providers: Providers = serde_json::from_slice(&object.bytes).map_err(|error| error.to_string())?;
    Ok(specs(&providers))
}

/// The providers that a static section asks for.
pub fn specs(providers: &Providers) -> Vec<ProviderSpec> {
    let throttle =
        Duration::from_nanos(u64::try_from(providers.providers_throttle_duration.nanos()).unwrap_or(0));
    let file = providers.file.as_ref().and_then(|file| {
        // With both given the directory wins, as in Traefik.
        let source = match (file.directory.as_str(), file.filename.as_str()) {
            ("", "") => return None,
            ("", filename) => FileSource::File(PathBuf::from(filename)),
            (directory, _) => FileSource::Directory(PathBuf::from(directory)),
        };
        Some(ProviderSpec::File(FileSpec { source, watch: file.watch, throttle }))
    });
    file.into_iter().collect()
}

/// What a provider says.
#[derive(Debug, Clone)]
pub enum ProviderUpdate {
    /// Everything that it wants now, instead of what it wanted before. Unchanged objects keep their `Arc`.
    Draft(Arc<Draft>),
    /// How it stands.
    State {
        /// Its name.
        provider: String,
        /// How.
        state: ProviderState,
    },
}

/// Why a draft was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftRefusal {
    /// One text each.
    pub problems: Vec<String>,
}

/// Where a provider's updates go: bounded, the provider waits when the node is slow.
#[derive(Debug, Clone)]
pub struct Updates(mpsc::Sender<ProviderUpdate>);

impl Updates {
    /// A channel of updates with room for a few.
    pub fn channel() -> (Self, mpsc::Receiver<ProviderUpdate>) {
        let (sender, receiver) = mpsc::channel(4);
        (Self(sender), receiver)
    }

    /// Hands over an update. Nothing happens once the run is over.
    pub async fn send(&self, update: ProviderUpdate) {
        // A closed channel means that the run has ended; the provider is about to be told.
        drop(self.0.send(update).await);
    }
}

/// What became of the last draft, as far as known.
pub type Outcome = Option<Result<GenerationId, DraftRefusal>>;

/// What surrounds a provider while it runs.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where its updates go.
    pub updates: Updates,
    /// What became of its last draft.
    pub outcome: watch::Receiver<Outcome>,
    /// Changes when a person asks to read everything anew (SIGHUP).
    pub reload: watch::Receiver<u64>,
    /// The run is over.
    pub stop: CancellationToken,
}

/// Something that says what configuration it wants.
pub trait Provider: Send + 'static {
    /// The name after the `@`.
    fn name(&self) -> &str;

    /// Runs until told to stop. Cancel safe: dropping the future leaves nothing behind.
    fn run(self: Box<Self>, surroundings: Surroundings) -> ravelin_transport::BoxFuture<'static, ()>;
}
