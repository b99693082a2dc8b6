//! One look at a file or directory: what is there, whether it is another content than last time, and what it wants.
//! It must not watch, wait or keep anything.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ravelin_config::document::{self, DOCUMENT_BYTES_MAX, Format};
use ravelin_config::draft::{ReadFile, read_file};
use ravelin_config::{Draft, draft_with_files, template};
use sha2::{Digest, Sha256};

use super::FileSource;

/// Files of one directory that are read.
const FILES_MAX: usize = 10_000;
/// How deep a directory is read.
const DEPTH_MAX: usize = 16;
/// How long a file must have been left alone before what stands in it is believed: writers truncate, then write, and
/// may stop for a moment where the text happens to be valid.
pub(super) const LEFT_ALONE: Duration = Duration::from_millis(100);

/// Tells one content from another.
type Fingerprint = [u8; 32];

/// What the last look saw: the documents, and the files that they name (certificates, keys).
#[derive(Clone, Default)]
pub(super) struct Seen {
    /// Of every document, then of every named file; none where there was no such file.
    stamps: Vec<(PathBuf, Option<Stamp>)>,
    /// Nothing had been written shortly before, so that the same stamps mean the same content.
    is_settled: bool,
    documents: Fingerprint,
    named: BTreeMap<PathBuf, Fingerprint>,
}

impl Seen {
    /// The directories of the files that the documents name.
    pub(super) fn named_directories(&self) -> impl Iterator<Item = &Path> {
        self.named.keys().filter_map(|path| path.parent())
    }
}

/// What the file system says of a file without reading it: any write, rename or change of mode shows in it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Whether somebody may still be writing. A time in the future is some other clock's, and says nothing.
    fn is_fresh(&self, now: SystemTime) -> bool {
        let (seconds, nanos) = self.modified;
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else { return false };
        let modified = UNIX_EPOCH + Duration::new(seconds, nanos);
        now.duration_since(modified).is_ok_and(|age| age < LEFT_ALONE)
    }
}

/// What was found.
pub(super) enum Look {
    /// The same content as last time.
    Same(Seen),
    /// It is being changed: look again soon.
    Fleeting,
    /// There is nothing to read.
    Missing(String),
    /// There is something, but it cannot be read as configuration.
    Unreadable(Seen, Vec<String>),
    /// Another content.
    Changed(Seen, Content),
}

/// A content that could be read.
pub(super) struct Content {
    pub(super) draft: Draft,
    /// Everything was read, and nothing is wanted.
    pub(super) explicitly_empty: bool,
    /// The names of the documents that are templates.
    pub(super) templates: BTreeSet<String>,
}

struct Text {
    name: String,
    format: Format,
    bytes: Vec<u8>,
}

/// What is known of who writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Nothing: what was written a moment ago may not be whole.
    Rest,
    /// The document was moved into its place, and so is whole however fresh it is.
    Moved,
    /// It never rests: it is read as it stands.
    Spent,
}

/// Looks once. May block for as long as the file system does. Something that is being written is left alone, unless the
/// caller has no more patience; at the very first look it is only left alone where it is empty or cannot be read.
pub(super) fn look(source: &FileSource, seen: Option<&Seen>, patience: Patience) -> Look {
    let is_patient = patience != Patience::Spent;
    match try_look(source, seen, patience) {
        Ok(look) => look,
        Err(Trouble::Fleeting) if is_patient => Look::Fleeting,
        Err(Trouble::Fleeting) => Look::Missing("the directory never rests".to_owned()),
        Err(Trouble::Missing(reason)) => Look::Missing(reason),
    }
}

fn try_look(source: &FileSource, seen: Option<&Seen>, patience: Patience) -> Result<Look, Trouble> {
    let is_patient = patience != Patience::Spent;
    let paths = match source {
        FileSource::File(path) => vec![path.clone()],
        FileSource::Directory(path) => documents(path)?,
    };
    let now = SystemTime::now();
    let stamp = |path: &PathBuf| (path.clone(), Stamp::of(path));
    let mut stamps: Vec<_> = paths.iter().map(stamp).collect();
    let just_written = is_fresh(&stamps, now);
    let documents_are_fresh = patience != Patience::Moved && just_written;
    if let Some(seen) = seen {
        let named: Vec<_> = seen.named.keys().map(stamp).collect();
        let any_is_fresh = documents_are_fresh || is_fresh(&named, now);
        let with_named = [stamps.clone(), named].concat();
        if seen.is_settled && seen.stamps == with_named {
            return Ok(Look::Same(seen.clone()));
        }
        if is_patient && any_is_fresh {
            return Ok(Look::Fleeting);
        }
    }
    let texts = read(source, &paths)?;
    let documents = fingerprint(&texts);
    if let Some(seen) = seen.filter(|seen| seen.documents == documents) {
        let named = seen.named.keys().map(|path| (path.clone(), named_content(path).0)).collect();
        if seen.named == named {
            stamps.extend(named.keys().map(stamp));
            let is_settled = !is_fresh(&stamps, now);
            return Ok(Look::Same(Seen { stamps, is_settled, documents, named }));
        }
    }
    if is_patient && just_written && texts.iter().any(|text| text.bytes.is_empty()) {
        return Ok(Look::Fleeting);
    }
    // Stamped before it is read: what is written in between shows as another stamp next time.
    let named = RefCell::new(BTreeMap::new());
    let parsed = parse(texts, &|name| {
        let path = PathBuf::from(name);
        let stamp = Stamp::of(&path);
        let (content_fingerprint, content) = named_content(&path);
        named.borrow_mut().insert(path, (stamp, content_fingerprint));
        content
    });
    let named = named.into_inner();
    stamps.extend(named.iter().map(|(path, (stamp, _))| (path.clone(), *stamp)));
    let is_settled = !is_fresh(&stamps, now);
    let named = named.into_iter().map(|(path, (_, content))| (path, content)).collect();
    let seen = Seen { stamps, is_settled, documents, named };
    Ok(match parsed {
        Ok((draft, templates)) => {
            let explicitly_empty = draft.objects.is_empty() && draft.problems.is_empty();
            Look::Changed(seen, Content { draft, explicitly_empty, templates })
        }
        Err(_) if is_patient && documents_are_fresh => Look::Fleeting,
        Err(problems) => Look::Unreadable(seen, problems),
    })
}

fn is_fresh(stamps: &[(PathBuf, Option<Stamp>)], now: SystemTime) -> bool {
    stamps.iter().any(|(_, stamp)| stamp.is_some_and(|stamp| stamp.is_fresh(now)))
}

/// What stands in a file that a document names, or why it cannot be read.
fn named_content(path: &Path) -> (Fingerprint, Result<String, String>) {
    let content = read_file(&path.to_string_lossy());
    let mut hasher = Sha256::new();
    match &content {
        Ok(text) => hasher.update([&[1], text.as_bytes()].concat()),
        Err(error) => hasher.update([&[0], error.as_bytes()].concat()),
    }
    (hasher.finalize().into(), content)
}

/// The draft of some texts, and the names of those that are templates.
fn parse(texts: Vec<Text>, files: &ReadFile<'_>) -> Result<(Draft, BTreeSet<String>), Vec<String>> {
    let mut documents = Vec::with_capacity(texts.len());
    let mut templates = BTreeSet::new();
    let mut problems = Vec::new();
    for text in texts {
        match String::from_utf8(text.bytes) {
            Ok(content) => {
                if content.contains("{{") {
                    templates.insert(text.name.clone());
                }
                let environment = &template::process_environment;
                match document::parse_provided(&text.name, &content, text.format, environment) {
                    Ok(document) => documents.push(document),
                    Err(found) => problems.extend(found.iter().map(ToString::to_string)),
                }
            }
            Err(_) => problems.push(format!("{}: not a text in UTF-8", text.name)),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let draft = draft_with_files("file", &documents, files)
        .map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    Ok((draft, templates))
}

enum Trouble {
    Fleeting,
    Missing(String),
}

fn file(path: &Path) -> Result<Text, Trouble> {
    let name = path.display().to_string();
    let missing = |reason: String| Trouble::Missing(format!("{name}: {reason}"));
    let format = Format::of_path(path)
        .ok_or_else(|| missing("the name must end in .yaml, .yml or .toml".to_owned()))?;
    let metadata = fs::metadata(path).map_err(|error| missing(error.to_string()))?;
    if metadata.is_dir() {
        return Err(missing("is a directory, not a file".to_owned()));
    }
    if metadata.len() > DOCUMENT_BYTES_MAX as u64 {
        let reason = format!(
            "{} bytes are more than the {DOCUMENT_BYTES_MAX} that the configuration of one provider may have",
            metadata.len()
        );
        return Err(missing(reason));
    }
    let bytes = fs::read(path).map_err(|error| missing(error.to_string()))?;
    Ok(Text { name, format, bytes })
}

/// Every configuration file below, by path. Names that begin with `..` are the old and new versions behind a
/// Kubernetes volume's links, which are read where they are linked to.
fn documents(root: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let mut paths = Vec::new();
    collect(root, 0, &mut paths)?;
    paths.sort();
    Ok(paths)
}

fn read(source: &FileSource, paths: &[PathBuf]) -> Result<Vec<Text>, Trouble> {
    let mut texts = Vec::with_capacity(paths.len());
    let mut bytes = 0;
    for path in paths {
        let text = match (file(path), source) {
            (Ok(text), _) => text,
            // Listed a moment ago and gone now: the next look sees what is true.
            (Err(Trouble::Missing(_)), FileSource::Directory(_)) if fs::symlink_metadata(path).is_err() => {
                return Err(Trouble::Fleeting);
            }
            (Err(trouble), _) => return Err(trouble),
        };
        bytes += text.bytes.len();
        if bytes > DOCUMENT_BYTES_MAX {
            let reason = format!("the files together hold more than {DOCUMENT_BYTES_MAX} bytes");
            return Err(Trouble::Missing(format!("{}: {reason}", source.path().display())));
        }
        texts.push(text);
    }
    Ok(texts)
}

fn collect(directory: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> Result<(), Trouble> {
    let trouble = |reason: String| Trouble::Missing(format!("{}: {reason}", directory.display()));
    if depth > DEPTH_MAX {
        return Err(trouble(format!("more than {DEPTH_MAX} directories deep")));
    }
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound && depth > 0 => return Err(Trouble::Fleeting),
        Err(error) => return Err(trouble(error.to_string())),
    };
    for entry in entries {
        let path = entry.map_err(|error| trouble(error.to_string()))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("..") {
            continue;
        }
        if path.is_dir() {
            collect(&path, depth + 1, paths)?;
        } else if Format::of_path(&path).is_some() {
            paths.push(path);
            if paths.len() > FILES_MAX {
                return Err(trouble(format!("more than {FILES_MAX} files")));
            }
        }
    }
    Ok(())
}

fn fingerprint(texts: &[Text]) -> Fingerprint {
    let mut hasher = Sha256::new();
    for text in texts {
        for part in [text.name.as_bytes(), &text.bytes] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hasher.finalize().into()
}
