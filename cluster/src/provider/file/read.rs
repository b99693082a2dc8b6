//! One look at a file or directory: what is there, whether it is another content than last time, and what it wants.
//! It must not watch, wait or keep anything.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ravelin_config::document::{self, DOCUMENT_BYTES_MAX, Format};
use ravelin_config::{Draft, draft_from_documents};
use sha2::{Digest, Sha256};

use super::FileSource;

/// Files of one directory that are read.
const FILES_MAX: usize = 10_000;
/// How deep a directory is read.
const DEPTH_MAX: usize = 16;
/// How long a file must have been left alone before "empty" or "broken" is believed: many writers truncate, then write.
const LEFT_ALONE: Duration = Duration::from_millis(100);

/// Tells one content from another: names and bytes of everything that was read.
pub(super) type Fingerprint = [u8; 32];

/// What was found.
pub(super) enum Look {
    /// The same content as last time.
    Same,
    /// It is being changed: look again soon.
    Fleeting,
    /// There is nothing to read.
    Missing(String),
    /// There is something, but it cannot be read as configuration.
    Unreadable(Fingerprint, Vec<String>),
    /// Another content.
    Changed(Fingerprint, Content),
}

/// A content that could be read.
pub(super) struct Content {
    pub(super) draft: Draft,
    /// Everything was read, and nothing is wanted.
    pub(super) explicitly_empty: bool,
}

struct Text {
    name: String,
    format: Format,
    bytes: Vec<u8>,
    being_written: bool,
}

/// Looks once. May block for as long as the file system does.
pub(super) fn look(source: &FileSource, seen: Option<Fingerprint>) -> Look {
    let texts = match source {
        FileSource::File(path) => file(path).map(|text| vec![text]),
        FileSource::Directory(path) => directory(path),
    };
    let texts = match texts {
        Ok(texts) => texts,
        Err(Trouble::Fleeting) => return Look::Fleeting,
        Err(Trouble::Missing(reason)) => return Look::Missing(reason),
    };
    let fingerprint = fingerprint(&texts);
    if seen == Some(fingerprint) {
        return Look::Same;
    }
    let being_written = texts.iter().any(|text| text.being_written);
    if texts.iter().any(|text| text.being_written && text.bytes.is_empty()) {
        return Look::Fleeting;
    }
    match parse(texts) {
        Ok(draft) => {
            let explicitly_empty = draft.objects.is_empty() && draft.problems.is_empty();
            Look::Changed(fingerprint, Content { draft, explicitly_empty })
        }
        Err(_) if being_written => Look::Fleeting,
        Err(problems) => Look::Unreadable(fingerprint, problems),
    }
}

fn parse(texts: Vec<Text>) -> Result<Draft, Vec<String>> {
    let mut documents = Vec::with_capacity(texts.len());
    let mut problems = Vec::new();
    for text in texts {
        match String::from_utf8(text.bytes) {
            Ok(content) => match document::parse_provided(&text.name, &content, text.format) {
                Ok(document) => documents.push(document),
                Err(found) => problems.extend(found.iter().map(ToString::to_string)),
            },
            Err(_) => problems.push(format!("{}: not a text in UTF-8", text.name)),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    draft_from_documents("file", &documents).map_err(|found| found.iter().map(ToString::to_string).collect())
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
        let reason = format!("{} bytes are more than the {DOCUMENT_BYTES_MAX} allowed", metadata.len());
        return Err(missing(reason));
    }
    let bytes = fs::read(path).map_err(|error| missing(error.to_string()))?;
    let age = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    Ok(Text { name, format, bytes, being_written: age.is_some_and(|age| age < LEFT_ALONE) })
}

/// Every configuration file below, by path. Names that begin with `..` are the old and new versions behind a
/// Kubernetes volume's links, which are read where they are linked to.
fn directory(root: &Path) -> Result<Vec<Text>, Trouble> {
    let mut paths = Vec::new();
    collect(root, 0, &mut paths)?;
    paths.sort();
    let mut texts = Vec::with_capacity(paths.len());
    let mut bytes = 0;
    for path in paths {
        let text = match file(&path) {
            Ok(text) => text,
            // Listed a moment ago and gone now: the next look sees what is true.
            Err(Trouble::Missing(_)) if fs::symlink_metadata(&path).is_err() => {
                return Err(Trouble::Fleeting);
            }
            Err(trouble) => return Err(trouble),
        };
        bytes += text.bytes.len();
        if bytes > DOCUMENT_BYTES_MAX {
            let reason = format!("the files together hold more than {DOCUMENT_BYTES_MAX} bytes");
            return Err(Trouble::Missing(format!("{}: {reason}", root.display())));
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
