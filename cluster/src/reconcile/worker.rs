//! Judges drafts and requests with the incremental checker and makes commands of what changes. Runs on a thread of its
//! own, so that a large draft never holds up the node. It must not touch the store or the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use ravelin_config::check::{Checker, INTERNAL, RecordChange, provider_of};
use ravelin_config::document::{self, Document, Format};
use ravelin_config::object::RECORD_VERSION;
use ravelin_config::static_config::{Judged, judge_document};
use ravelin_config::{ConfigMap, Draft, Key, Problem, Record, RecordWire, State, draft_with_files};
use ravelin_transport::codec;

use super::{Job, Prepared, Stamp, Verdict, Work};
use crate::request::{
    ApplyMode, Refusal, RefusalReason, SourceDocument, SourceFormat, VERDICTS_MAX, Verdict as ObjectVerdict,
};
use crate::storage::chain;
use crate::store::{Change, ChangeId, CommandError, Put, StoreKey};

/// The provider of objects that come by request: `name@cluster`.
pub const CLUSTER_PROVIDER: &str = "cluster";

/// The worker's state: everything that is wanted, with its verdicts.
#[derive(Debug, Default)]
pub struct Worker {
    checker: Option<Checker>,
}

impl Worker {
    /// Does one job; gives the verdict of one that asks for it.
    pub fn run(&mut self, job: Job) -> Option<Verdict> {
        match job {
            Job::Reset { map } => {
                // Records that cannot be read are left out here, and so rewritten by whoever wants them.
                let records = map.iter().filter_map(|(key, bytes)| Some((key.clone(), read_record(bytes)?)));
                self.checker = Some(Checker::from_records(records));
                None
            }
            Job::Judge { number, stamp, work } => {
                let outcome = self.judge(&stamp, work);
                let needs_reset = self.checker.is_none();
                Some(Verdict { number, outcome, needs_reset })
            }
        }
    }

    fn judge(&mut self, stamp: &Stamp, work: Work) -> Result<Prepared, Refusal> {
        let Some(checker) = &mut self.checker else {
            return Err(Refusal::new(RefusalReason::Conflict, "the check has not been set up"));
        };
        let mut notes = Vec::new();
        let change = match work {
            Work::Draft(draft) => checker.replace_provider(&draft),
            Work::Apply { documents, mode } => {
                let drafts = read_documents(&documents)?;
                notes = general_notes(&drafts);
                let told = drafts.cluster.problems.clone();
                let change = apply(checker, drafts, mode);
                if let Some(refusal) = in_error(&change, &told) {
                    // Whoever asked is there to read why; what the checker holds by now will never be committed.
                    self.checker = None;
                    return Err(refusal);
                }
                change
            }
            Work::Delete { keys } => checker.upsert([], own_keys(&keys)?),
        };
        prepare(stamp, &change, notes).map_err(|error| {
            // What the checker holds by now will never be committed.
            self.checker = None;
            Refusal::new(RefusalReason::TooLarge, chain(&error))
        })
    }
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

fn read_documents(documents: &[SourceDocument]) -> Result<Drafts, Refusal> {
    let mut read: Vec<Document> = Vec::with_capacity(documents.len());
    let mut problems = Vec::new();
    for source in documents {
        let format = match source.format {
            SourceFormat::Yaml => Format::Yaml,
            SourceFormat::Toml => Format::Toml,
        };
        match document::parse_provided(&source.name, &source.text, format) {
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

fn prepare(
    stamp: &Stamp,
    change: &RecordChange,
    mut verdicts: Vec<ObjectVerdict>,
) -> Result<Prepared, CommandError> {
    for (key, record) in &change.puts {
        if record.status.state != State::Enabled && verdicts.len() < VERDICTS_MAX {
            verdicts.push(ObjectVerdict {
                key: key.to_string(),
                state: record.status.state.as_str().to_owned(),
                errors: record.status.errors.clone(),
            });
        }
    }
    let (put, deleted) = (change.puts.len() as u64, change.deletes.len() as u64);
    if change.is_empty() {
        return Ok(Prepared { commands: Vec::new(), put, deleted, verdicts });
    }
    let mut puts = Vec::with_capacity(change.puts.len());
    for (key, record) in &change.puts {
        let bytes = codec::encode(RECORD_VERSION, &record.to_wire()).map_err(CommandError::Codec)?;
        puts.push(Put::new(StoreKey::Config(key.clone()), Arc::from(bytes.as_ref())));
    }
    let change = Change {
        id: ChangeId(stamp.id.0),
        author: stamp.author.clone(),
        at_unix_ms: stamp.at_unix_ms,
        base: Some(stamp.base),
        puts,
        deletes: change.deletes.iter().cloned().map(StoreKey::Config).collect(),
    };
    Ok(Prepared { commands: change.encode()?, put, deleted, verdicts })
}

/// The records of a configuration, decoded: for harnesses that compare states by meaning.
pub fn records(map: &ConfigMap) -> BTreeMap<Key, Record> {
    map.iter().filter_map(|(key, bytes)| Some((key.clone(), read_record(bytes)?))).collect()
}

#[cfg(test)]
mod tests;
