//! Judges drafts and requests with the incremental checker and makes commands of what changes. Runs on a thread of its
//! own, so that a large draft never holds up the node. It must not touch the store or the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ravelin_config::check::{Checker, INTERNAL, RecordChange, provider_of};
use ravelin_config::document::{self, Document, Format};
use ravelin_config::object::RECORD_VERSION;
use ravelin_config::parallel::{self, SHARE_MIN};
use ravelin_config::secret::{self, OpenError, Sealed};
use ravelin_config::static_config::{Judged, judge_document};
use ravelin_config::{
    Change as ConfigChange, ConfigMap, Digest, Draft, Key, Position, Problem, Record, RecordWire,
    SealingKeys, State, draft_with_files, template,
};
use ravelin_transport::codec;

use super::{Job, Prepared, Stamp, Verdict, Work};
use crate::request::{
    ApplyMode, Refusal, RefusalReason, SourceDocument, SourceFormat, VERDICTS_MAX, Verdict as ObjectVerdict,
};
use crate::storage::{CommandBytes, chain};
use crate::store::{Change, ChangeId, PlainKey, Put, Store, StoreKey};

/// The provider of objects that come by request: `name@cluster`.
pub const CLUSTER_PROVIDER: &str = "cluster";

/// The worker's state: everything that is wanted, with its verdicts. Before each job it is brought to the applied state,
/// at a cost that follows what differs: what was refused, what others changed, what was committed.
#[derive(Debug)]
pub struct Worker {
    sealing: SealingKeys,
    checker: Checker,
    /// The applied configuration that the checker held before its last job.
    based_on: ConfigMap,
    /// What the last job made of it, by the digests of the bytes that were to be committed: the bytes themselves lie in the
    /// log and the store.
    judged: BTreeMap<Key, Option<Digest>>,
    /// Keys that the last job touched and that were not to be committed: it was refused.
    astray: BTreeSet<Key>,
    #[cfg(test)]
    pub(super) restored: usize,
}

impl Worker {
    /// A worker that holds nothing yet. It judges values, and seals what is secret among them before it is proposed.
    pub fn new(sealing: SealingKeys) -> Self {
        Self {
            sealing,
            checker: Checker::default(),
            based_on: ConfigMap::new(),
            judged: BTreeMap::new(),
            astray: BTreeSet::new(),
            #[cfg(test)]
            restored: 0,
        }
    }

    /// Does one job.
    pub fn run(&mut self, job: Job) -> Verdict {
        let Job { number, stamp, work, store } = job;
        self.follow(store.config());
        Verdict { number, outcome: self.judge(&stamp, work, &store) }
    }

    /// Brings the checker to the applied state.
    fn follow(&mut self, applied: &ConfigMap) {
        let mut judged = std::mem::take(&mut self.judged);
        let mut differing = std::mem::take(&mut self.astray);
        for (key, change) in applied.diff(&self.based_on) {
            let bytes = match change {
                ConfigChange::Put(bytes) => Some(bytes),
                ConfigChange::Delete => None,
            };
            // What was judged last is mostly what was committed: then there is nothing to do.
            if judged.remove(&key).is_none_or(|held| held != bytes.map(|bytes| Digest::of(&bytes))) {
                differing.insert(key);
            }
        }
        // Judged, and not committed.
        differing.extend(judged.into_keys());
        #[cfg(test)]
        {
            self.restored += differing.len();
        }
        for key in differing {
            // Records that cannot be read are left out here, and so rewritten by whoever wants them.
            let record = applied.get(key.as_str()).and_then(|bytes| read_record(bytes));
            let record = record.map(|record| self.opened(applied, &key, &record));
            self.checker.restore(key, record);
        }
        self.based_on = applied.clone();
    }

    /// The record with its values in place of references: the check judges values.
    fn opened(&self, applied: &ConfigMap, key: &Key, record: &Record) -> Record {
        let (record, errors) = secret::fill_record(record, |id| {
            self.sealing.open(id, applied.secrets().get(id).ok_or(OpenError::Absent)?)
        });
        for error in errors {
            // It stays as it is, and is sealed anew as soon as whoever wants it says so again.
            tracing::error!(object = %key, %error, "a secret of the log cannot be opened here");
        }
        record
    }

    fn judge(&mut self, stamp: &Stamp, work: Work, store: &Store) -> Result<Prepared, Refusal> {
        let mut prepared = match work {
            Work::Draft(draft) => {
                let change = self.checker.replace_provider(&draft);
                let prepared = self.prepare(stamp, &change, store)?;
                Prepared { refused: Arc::new(self.refused(&draft)), ..prepared }
            }
            Work::Apply { documents, mode } => {
                let drafts = read_documents(&documents)?;
                let notes = general_notes(&drafts);
                let told = drafts.cluster.problems.clone();
                let change = apply(&mut self.checker, drafts, mode);
                if let Some(refusal) = in_error(&change, &told) {
                    // Whoever asked is there to read why.
                    self.astray = keys_of(&change);
                    return Err(refusal);
                }
                let mut prepared = self.prepare(stamp, &change, store)?;
                prepared.verdicts.splice(0..0, notes);
                prepared
            }
            Work::Delete { keys } => {
                let change = self.checker.upsert([], own_keys(&keys)?);
                self.prepare(stamp, &change, store)?
            }
        };
        prepared.verdicts.truncate(VERDICTS_MAX);
        Ok(prepared)
    }

    /// Makes commands of a change that fits the store.
    fn prepare(&mut self, stamp: &Stamp, change: &RecordChange, store: &Store) -> Result<Prepared, Refusal> {
        let made = encode(stamp, change, &self.sealing).and_then(|made| {
            // Before anything is proposed: in the log it would be refused too, part by part and late.
            store.check_fit(&made.change, &made.commands).map_err(|refusal| refusal.to_string())?;
            Ok(made)
        });
        match made {
            Ok(Made { change, prepared, commands }) => {
                self.judged = change.puts.into_iter().filter_map(config_put).collect();
                self.judged.extend(change.deletes.into_iter().filter_map(config_key).map(|key| (key, None)));
                Ok(Prepared { commands, ..prepared })
            }
            Err(problem) => {
                self.astray = keys_of(change);
                Err(Refusal::new(RefusalReason::TooLarge, problem))
            }
        }
    }

    /// The objects of a draft that are in error.
    fn refused(&self, draft: &Draft) -> BTreeMap<Key, Vec<String>> {
        let in_error = self.checker.records().filter(|(_, record)| record.status.state == State::Disabled);
        in_error
            .filter(|(key, _)| draft.objects.contains_key(*key))
            .map(|(key, record)| (key.clone(), record.status.errors.clone()))
            .collect()
    }
}

fn config_put(put: Put) -> Option<(Key, Option<Digest>)> {
    Some((config_key(put.key)?, Some(Digest::of(&put.value))))
}

fn config_key(key: StoreKey) -> Option<Key> {
    match key {
        StoreKey::Config(key) => Some(key),
        StoreKey::Plain(_) => None,
    }
}

fn keys_of(change: &RecordChange) -> BTreeSet<Key> {
    change.puts.keys().chain(&change.deletes).cloned().collect()
}

/// Why a request's change is refused: objects of its own that would be in error, with what is wrong at its place in the
/// text where that is known. What others make of the change is theirs.
fn in_error(change: &RecordChange, told: &[(Option<Key>, Problem)]) -> Option<Refusal> {
    let own = |key: &Key| provider_of(key) == CLUSTER_PROVIDER || key.as_str().starts_with("static/");
    let broken =
        change.puts.iter().filter(|(key, record)| own(key) && record.status.state == State::Disabled);
    let mut problems = Vec::new();
    for (key, record) in broken {
        problems.push(format!("{key}: {}", record.status.errors.join("; ")));
        let placed = told.iter().filter(|(of, _)| of.as_ref() == Some(key));
        problems.extend(placed.map(|(_, problem)| problem.to_string()));
        if problems.len() >= VERDICTS_MAX {
            problems.truncate(VERDICTS_MAX);
            break;
        }
    }
    (!problems.is_empty()).then_some(Refusal { reason: RefusalReason::InError, problems })
}

fn read_record(bytes: &[u8]) -> Option<Record> {
    Record::from_wire(codec::decode::<RecordWire>(RECORD_VERSION, bytes).ok()?).ok()
}

/// What the documents of a request want.
struct Drafts {
    /// Dynamic objects, as `name@cluster`.
    cluster: Draft,
    /// The whole static configuration; none if no document holds a static section.
    fixed: Option<Judged>,
}

fn template_problem(name: &str) -> Problem {
    let message = "a template: it must be carried out before it is sent, as `ravelin apply` does";
    Problem::error(name, Position::NONE, "", message)
}

fn read_documents(documents: &[SourceDocument]) -> Result<Drafts, Refusal> {
    let mut read: Vec<Document> = Vec::with_capacity(documents.len());
    let mut problems = Vec::new();
    for source in documents {
        let format = match source.format {
            SourceFormat::Yaml => Format::Yaml,
            SourceFormat::Toml => Format::Toml,
        };
        let parsed = match template::render_dynamic(&source.name, &source.text, format, &|_| None) {
            Ok(None) => document::parse(&source.name, &source.text, format),
            // Whose environment? Not this node's, for somebody far away.
            Ok(Some(_)) | Err(_) => Err(vec![template_problem(&source.name)]),
        };
        match parsed {
            Ok(document) => read.push(document),
            Err(found) => problems.extend(found.iter().map(ToString::to_string)),
        }
    }
    // A file named in a request would be read from the controller's disk, on the word of somebody far away.
    let no_files =
        |_: &str| Err("files are not read for requests; give the certificate itself, as PEM text".to_owned());
    let mut fixed = None;
    for document in &read {
        match judge_document(document, &no_files) {
            None => {}
            Some(Ok(_)) if fixed.is_some() => {
                problems.push(format!("{}: a second static configuration in one request", document.name));
            }
            Some(Ok(judged)) => fixed = Some(judged),
            Some(Err(found)) => problems.extend(found.iter().map(ToString::to_string)),
        }
    }
    if problems.is_empty() {
        match draft_with_files(CLUSTER_PROVIDER, &read, &no_files) {
            Ok(cluster) => return Ok(Drafts { cluster, fixed }),
            Err(found) => problems.extend(found.iter().map(ToString::to_string)),
        }
    }
    problems.truncate(VERDICTS_MAX);
    Err(Refusal { reason: RefusalReason::Unreadable, problems })
}

/// Problems of the text that belong to no object.
fn general_notes(drafts: &Drafts) -> Vec<ObjectVerdict> {
    let general = drafts.cluster.problems.iter().filter(|(key, _)| key.is_none()).map(|(_, problem)| problem);
    let notes = drafts.fixed.iter().flat_map(|fixed| &fixed.notes);
    general
        .chain(notes)
        .take(VERDICTS_MAX)
        .map(|problem| ObjectVerdict {
            key: problem.path.clone(),
            state: State::Warning.as_str().to_owned(),
            errors: vec![problem.to_string()],
        })
        .collect()
}

fn apply(checker: &mut Checker, drafts: Drafts, mode: ApplyMode) -> RecordChange {
    let Drafts { cluster, fixed } = drafts;
    let fixed = fixed.map(|judged| judged.draft);
    // A static configuration is one whole; an option that is left out has its default again.
    let is_gone = |key: &Key| match (provider_of(key), &fixed) {
        (CLUSTER_PROVIDER, _) => mode == ApplyMode::Replace && !cluster.objects.contains_key(key),
        (INTERNAL, Some(fixed)) => !fixed.objects.contains_key(key),
        _ => false,
    };
    // Nothing goes in most cases, and then nothing but the request's own objects may be looked at.
    let gone: Vec<Key> = if mode == ApplyMode::Replace || fixed.is_some() {
        checker.records().map(|(key, _)| key).filter(|key| is_gone(key)).cloned().collect()
    } else {
        Vec::new()
    };
    let puts = cluster.objects.into_iter().chain(fixed.into_iter().flat_map(|fixed| fixed.objects));
    checker.upsert(puts.map(|(key, object)| (key, Arc::unwrap_or_clone(object))), gone)
}

/// Keys that a request may delete: those that came by request, and static ones. Others belong to a provider, which
/// would bring them back.
fn own_keys(keys: &[String]) -> Result<Vec<Key>, Refusal> {
    let mut own = Vec::with_capacity(keys.len());
    let mut problems = Vec::new();
    for text in keys {
        match Key::new(text) {
            Ok(key) if key.kind().is_none() => problems.push(format!("{text}: not the key of an object")),
            Ok(key) => match provider_of(&key) {
                CLUSTER_PROVIDER | INTERNAL => own.push(key),
                provider => problems.push(format!(
                    "{text}: belongs to provider {provider}, which would bring it back; change it at its source"
                )),
            },
            Err(error) => problems.push(format!("{text}: {error}")),
        }
    }
    if problems.is_empty() {
        return Ok(own);
    }
    problems.truncate(VERDICTS_MAX);
    Err(Refusal { reason: RefusalReason::BadRequest, problems })
}

/// A change in the form that the log takes.
struct Made {
    change: Change,
    prepared: Prepared,
    commands: Vec<CommandBytes>,
}

/// The error says why, for a person; where it is an object whose secrets cannot be sealed, which.
fn encode(stamp: &Stamp, change: &RecordChange, sealing: &SealingKeys) -> Result<Made, String> {
    let mut prepared = Prepared {
        put: change.puts.len() as u64,
        deleted: change.deletes.len() as u64,
        ..Prepared::default()
    };
    let mut puts = Vec::with_capacity(change.puts.len());
    let mut secrets = BTreeMap::new();
    let records: Vec<(&Key, &Record)> = change.puts.iter().collect();
    let sealed = parallel::map(&records, SHARE_MIN, |(key, record)| seal(key, record, sealing));
    for ((key, record), sealed) in records.into_iter().zip(sealed) {
        if record.status.state != State::Enabled && prepared.verdicts.len() < VERDICTS_MAX {
            prepared.verdicts.push(ObjectVerdict {
                key: key.to_string(),
                state: record.status.state.as_str().to_owned(),
                errors: record.status.errors.clone(),
            });
        }
        let (put, found) = sealed?;
        puts.push(put);
        secrets.extend(found);
    }
    let envelopes = secrets
        .iter()
        .map(|(id, value)| Put::new(StoreKey::Plain(PlainKey::secret(id)), sealing.seal(id, value)));
    puts.extend(envelopes);
    let deletes = change.deletes.iter().cloned().map(StoreKey::Config).collect();
    let made = Change {
        id: ChangeId(stamp.id.0),
        author: stamp.author.clone(),
        at_unix_ms: stamp.at_unix_ms,
        base: Some(stamp.base),
        puts,
        deletes,
    };
    let commands =
        if change.is_empty() { Vec::new() } else { made.encode().map_err(|error| chain(&error))? };
    Ok(Made { change: made, prepared, commands })
}

/// A record as it is put, and the secrets of it: from here on nobody sees a value, not the log, not a disk, not an answer.
fn seal(key: &Key, record: &Record, sealing: &SealingKeys) -> Result<Sealed<Put>, String> {
    let (record, found) =
        secret::seal_record(record, sealing).map_err(|error| format!("{key} is not taken: {error}"))?;
    let bytes = codec::encode(RECORD_VERSION, &record.to_wire()).map_err(|error| chain(&error))?;
    let put = Put::new(StoreKey::Config(key.clone()), Arc::from(bytes.as_ref()));
    Ok((Put { secrets: record.secrets().collect(), ..put }, found))
}

/// The records of a configuration, decoded: for harnesses that compare states by meaning.
pub fn records(map: &ConfigMap) -> BTreeMap<Key, Record> {
    map.iter().filter_map(|(key, bytes)| Some((key.clone(), read_record(bytes)?))).collect()
}

#[cfg(test)]
mod tests;
