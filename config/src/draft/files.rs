//! Options that name a file or hold its content: the content takes the name's place, so that an object needs no disk.

use std::io::Read as _;

use serde_json::Value as Json;

use crate::document::{Node, Value};
use crate::options::{Field, Finding, Reading, Type};
use crate::problem::{Position, Severity};

/// Longest file that an option may name, in bytes. A bundle of all public roots takes about 250 kB.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads a file as text; the error is one line for a person.
pub type ReadFile<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

/// Reads a file from the disk, up to [`FILE_BYTES_MAX`].
///
/// # Errors
/// Why it cannot be read, in one line.
pub fn read_file(path: &str) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("longer than the {FILE_BYTES_MAX} bytes allowed"));
    }
    Ok(text)
}

/// Longest path that is shown.
const PATH_SHOWN_BYTES_MAX: usize = 255;

/// Whether what stands for a file is surely a path, and so may be shown: a key without its frame begins with no slash, and
/// ends in nothing that looks like a file's extension.
pub(crate) fn is_path(text: &str) -> bool {
    let extension = text.rsplit_once('.').map_or("", |(_, extension)| extension);
    let ends =
        (1..=5).contains(&extension.len()) && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let begins = ["/", "./", "../", "~/"].iter().any(|begin| text.starts_with(begin));
    (begins || ends) && text.len() <= PATH_SHOWN_BYTES_MAX && !text.contains(char::is_control)
}

/// Puts contents in the place of names, and notes the files that cannot be read. Their names stay, and the check says
/// that they are no PEM.
pub(super) fn resolve(
    fields: &[Field],
    reading: &mut Reading,
    files: &ReadFile<'_>,
    node: &Node,
    path: &str,
) {
    let Json::Object(map) = &mut reading.json else { return };
    for field in fields {
        let Some(value) = map.get_mut(field.name) else { continue };
        let inner = node.entry(field.name).map(|entry| &entry.node);
        let at = inner.map_or(Position::NONE, |node| node.at);
        // Of most fields nothing is said.
        let path = || format!("{path}.{}", field.name);
        let findings = &mut reading.findings;
        match (&field.ty, value) {
            (Type::Content, value) => content(value, files, findings, at, &path()),
            (Type::Contents, Json::Array(items)) => {
                let places = inner.map(|node| match &node.value {
                    Value::List(items) => items.iter().map(|item| item.at).collect(),
                    _ => vec![],
                });
                for (index, item) in items.iter_mut().enumerate() {
                    let at = places.as_ref().and_then(|places| places.get(index)).copied().unwrap_or(at);
                    content(item, files, findings, at, &path());
                }
            }
            (Type::Group(fields) | Type::Switch(fields), value) => {
                below(fields, value, files, findings, inner, &path());
            }
            (Type::Groups(fields), Json::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    let inner = match inner.map(|node| &node.value) {
                        Some(Value::List(nodes)) => nodes.get(index),
                        _ => None,
                    };
                    below(fields, item, files, findings, inner, &format!("{}[{index}]", path()));
                }
            }
            _ => {}
        }
    }
}

fn below(
    fields: &[Field],
    value: &mut Json,
    files: &ReadFile<'_>,
    findings: &mut Vec<Finding>,
    node: Option<&Node>,
    path: &str,
) {
    let mut reading = Reading { json: value.take(), ..Reading::default() };
    let nothing = Node::unplaced(Value::Null);
    resolve(fields, &mut reading, files, node.unwrap_or(&nothing), path);
    *value = reading.json;
    findings.append(&mut reading.findings);
}

fn content(value: &mut Json, files: &ReadFile<'_>, findings: &mut Vec<Finding>, at: Position, path: &str) {
    let Json::String(text) = value else { return };
    if text.contains("-----BEGIN ") || text.is_empty() {
        return;
    }
    match files(text) {
        Ok(content) => *text = content,
        Err(error) => findings.push(Finding {
            at,
            path: path.to_owned(),
            message: if is_path(text) {
                format!("the file {text:?} cannot be read: {error}")
            } else {
                format!("a text of {} bytes is neither PEM nor a file that can be read: {error}", text.len())
            },
            mend: Some("name a file that Ravelin may read, or give its content".to_owned()),
            severity: Severity::Error,
        }),
    }
}
