//! Providers: they watch something and say what configuration it wants. Run by the controller only.
//! They must not judge objects or know of the log; an outage is never an empty configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ravelin_config::secret::{self, OpenError, Secret, SecretId};
use ravelin_config::static_config::Providers;
use ravelin_config::{ConfigMap, Draft, GenerationId, Key, Record, RecordWire};
use ravelin_transport::codec;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::request::status::ProviderState;

pub mod file;
pub mod rest;

/// The key under which the cluster's configuration says which providers run.
pub const PROVIDERS_KEY: &str = "static/providers";

/// One provider that should run, with everything that it needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderSpec {
    /// A file or directory on the controller's own disk.
    File(FileSpec),
    /// Whatever is put by REST into this process.
    Rest {
        /// Sustained change leads to at most one draft in this time; a single change is never delayed by it.
        throttle: Duration,
    },
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
    /// Whether the log is told, in lines of level DEBUG, what templates gave.
    pub log_generated: bool,
}

/// Where the file provider reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// One file.
    File(PathBuf),
    /// Every `.yaml`, `.yml` and `.toml` in a directory and below, in order of their paths.
    Directory(PathBuf),
}

impl FileSource {
    /// The file or directory.
    pub fn path(&self) -> &std::path::Path {
        match self {
            Self::File(path) | Self::Directory(path) => path,
        }
    }
}

impl ProviderSpec {
    /// The name after the `@`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Rest { .. } => ravelin_config::rest::PROVIDER,
        }
    }

    /// The provider itself.
    pub fn build(self) -> Box<dyn Provider> {
        match self {
            Self::File(spec) => Box::new(file::FileProvider::new(spec)),
            Self::Rest { throttle } => Box::new(rest::RestProvider::new(throttle)),
        }
    }
}

/// The providers that this build knows, by the name after the `@`.
const KNOWN: [&str; 2] = ["file", ravelin_config::rest::PROVIDER];

/// What a configuration says about providers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Those to run.
    pub specs: Vec<ProviderSpec>,
    /// Those that this build knows and that the configuration does not ask for: their objects go. Nothing is known of
    /// others, so theirs stay.
    pub dropped: Vec<&'static str>,
}

/// The providers that a configuration asks for, with their secrets, which `open` opens.
///
/// # Errors
/// Why that cannot be told: the section has a newer schema, is in error from the start, or refers to a secret that cannot be
/// opened here.
pub fn wanted(
    map: &ConfigMap,
    open: impl Fn(&SecretId, &[u8]) -> Result<Secret, OpenError>,
) -> Result<Wanted, String> {
    let Some(bytes) = map.get(PROVIDERS_KEY) else {
        return Ok(Wanted { specs: Vec::new(), dropped: KNOWN.to_vec() });
    };
    let wire: RecordWire =
        codec::decode(ravelin_config::object::RECORD_VERSION, bytes).map_err(|error| error.to_string())?;
    let record = Record::from_wire(wire).map_err(|error| error.to_string())?;
    let Some(object) = record.effective() else {
        return Err(format!("in error, and never was good: {}", record.status.errors.join("; ")));
    };
    let object = secret::fill(object, |id| open(id, map.secrets().get(id).ok_or(OpenError::Absent)?));
    let object = object.map_err(|error| error.to_string())?;
    let providers: Providers = serde_json::from_slice(&object.bytes).map_err(|error| error.to_string())?;
    let asked_for = |name: &str| match name {
        "file" => providers.file.is_some(),
        _ => providers.rest.is_some(),
    };
    let dropped = KNOWN.into_iter().filter(|name| !asked_for(name)).collect();
    Ok(Wanted { specs: specs(&providers), dropped })
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
        let log_generated = file.debug_log_generated_template.unwrap_or(false);
        Some(ProviderSpec::File(FileSpec { source, watch: file.watch, throttle, log_generated }))
    });
    let rest = providers.rest.as_ref().map(|_| ProviderSpec::Rest { throttle });
    file.into_iter().chain(rest).collect()
}

/// What a provider says.
#[derive(Debug, Clone)]
pub enum ProviderUpdate {
    /// Everything that it wants now, instead of what it wanted before. Unchanged objects keep their `Arc`.
    Draft {
        /// What.
        draft: Arc<Draft>,
        /// How long it took to read and parse: shown, never judged by.
        read: Duration,
    },
    /// How it stands.
    State {
        /// Its name.
        provider: String,
        /// How.
        state: ProviderState,
    },
}

/// What became of a provider's last draft, object by object. Clones are cheap; the memory follows the objects in error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftOutcome {
    /// Refused as a whole: it changes nothing.
    Refused {
        /// Why, one text each.
        problems: Vec<String>,
    },
    /// It is in the log.
    Accepted {
        /// The generation that holds it.
        generation: GenerationId,
        /// Its objects in error, with the reasons: each keeps its last good value, or stands as an error in its place.
        refused: Arc<BTreeMap<Key, Vec<String>>>,
        /// Whether every proxy that is attached to a control node serves it, or something newer.
        serving: bool,
    },
}

/// What became of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectOutcome<'a> {
    /// It is in the log, and on its way to the proxies.
    Accepted,
    /// It is in error, for these reasons; or the whole draft is.
    Refused(&'a [String]),
    /// Every attached proxy serves it.
    Serving,
}

impl DraftOutcome {
    /// What became of one object of the draft.
    pub fn of(&self, key: &Key) -> ObjectOutcome<'_> {
        match self {
            Self::Refused { problems } => ObjectOutcome::Refused(problems),
            Self::Accepted { refused, serving, .. } => match refused.get(key) {
                Some(reasons) => ObjectOutcome::Refused(reasons),
                None if *serving => ObjectOutcome::Serving,
                None => ObjectOutcome::Accepted,
            },
        }
    }
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

/// What surrounds a provider while it runs.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where its updates go.
    pub updates: Updates,
    /// What became of its last draft, as far as known; the newest word replaces older ones.
    pub outcome: watch::Receiver<Option<DraftOutcome>>,
    /// Changes when a person asks to read everything anew (SIGHUP).
    pub reload: watch::Receiver<u64>,
    /// What was last put by REST into this process; none before the first time.
    pub put: watch::Receiver<Option<Arc<Draft>>>,
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

#[cfg(test)]
mod tests {
    use ravelin_config::object::RECORD_VERSION;
    use ravelin_config::{Kind, Object, SealingKeys, State, Status};

    use super::*;

    fn section(text: &str, state: State) -> ConfigMap {
        let object = Object::new(Kind::StaticSection, 1, text.as_bytes().into());
        let status = Status { state, errors: vec!["why".to_owned()] };
        let wire = Record { object, status, last_good: None }.to_wire();
        let bytes = codec::encode(RECORD_VERSION, &wire).expect("small");
        let mut map = ConfigMap::new();
        map.put(Key::new(PROVIDERS_KEY).expect("a key"), bytes.to_vec().into());
        map
    }

    #[test]
    fn only_what_is_known_and_not_asked_for_is_dropped() {
        let wanted = |map: &ConfigMap| wanted(map, |_, _| Err(OpenError::Absent));
        assert_eq!(wanted(&ConfigMap::new()).map(|wanted| wanted.dropped), Ok(vec!["file", "rest"]));
        let other = section(r#"{"docker":{}}"#, State::Enabled);
        assert_eq!(wanted(&other), Ok(Wanted { specs: Vec::new(), dropped: vec!["file", "rest"] }));
        let file = section(r#"{"file":{"filename":"/a.yml"}}"#, State::Enabled);
        let rest = wanted(&section(r#"{"rest":{}}"#, State::Enabled)).expect("it is good");
        assert!(matches!(rest.specs[..], [ProviderSpec::Rest { .. }]) && rest.dropped == ["file"]);
        let wanted = wanted(&file).expect("it is good");
        assert_eq!((wanted.specs.len(), wanted.dropped), (1, vec!["rest"]));
    }

    #[test]
    fn what_is_sealed_in_the_section_is_opened_or_said_to_be_missing_without_being_shown() {
        let keys = SealingKeys::new([0; 16], &[[1; 32]]).expect("one key");
        let text = r#"{"file":{"filename":"http://joe:Marked0@a"}}"#;
        let object = Object::new(Kind::StaticSection, 1, text.as_bytes().into());
        let record = Record { object, status: Status::enabled(), last_good: None };
        let (record, secrets) = secret::seal_record(&record, &keys).expect("it can be sealed");
        assert_eq!(secrets.len(), 1);
        let bytes = codec::encode(RECORD_VERSION, &record.to_wire()).expect("small");
        let mut map = ConfigMap::new();
        map.put(Key::new(PROVIDERS_KEY).expect("a key"), bytes.to_vec().into());
        let open = |id: &SecretId, envelope: &[u8]| keys.open(id, envelope);
        let reason = wanted(&map, open).expect_err("it is not there");
        assert!(reason.contains("cannot be had") && !reason.contains("Marked0"), "{reason}");
        map.change_secrets(secrets.iter().map(|(id, secret)| (*id, Some(keys.seal(id, secret)))));
        let [ProviderSpec::File(spec)] = &wanted(&map, open).expect("it opens").specs[..] else {
            panic!("one provider")
        };
        assert_eq!(spec.source.path(), std::path::Path::new("http://joe:Marked0@a"));
    }

    #[test]
    fn an_outcome_tells_of_each_object_what_became_of_it() {
        let key = |name: &str| Key::new(&format!("http/routers/{name}@file")).expect("a key");
        let why = vec!["why".to_owned()];
        let generation = GenerationId {
            cluster: [1; 16],
            recovery_epoch: 0,
            revision: 3,
            digest: ravelin_config::Digest([0; 32]),
        };
        let refused = Arc::new(BTreeMap::from([(key("bad"), why.clone())]));
        let accepted =
            |serving| DraftOutcome::Accepted { generation, refused: Arc::clone(&refused), serving };
        assert_eq!(accepted(false).of(&key("good")), ObjectOutcome::Accepted);
        assert_eq!(accepted(true).of(&key("good")), ObjectOutcome::Serving);
        assert_eq!(accepted(true).of(&key("bad")), ObjectOutcome::Refused(&why), "its last good value is");
        let whole = DraftOutcome::Refused { problems: why.clone() };
        assert_eq!(whole.of(&key("good")), ObjectOutcome::Refused(&why));
    }

    #[test]
    fn a_section_in_error_from_the_start_says_nothing_about_providers() {
        let section = section("{}", State::Disabled);
        let error = wanted(&section, |_, _| Err(OpenError::Absent)).expect_err("it is not none");
        assert!(error.contains("why"), "{error}");
    }
}
