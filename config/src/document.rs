//! A configuration text as one tree of values in which every key and value knows its line and column.
//!
//! YAML (and JSON, which is YAML) and TOML come out the same. Only what makes a text unreadable is an error here; what
//! the keys mean is for `options`. Everything is bounded: text size, nesting, and what aliases may unfold to.

mod toml;
mod yaml;

use std::path::Path;

use crate::problem::{Position, Problem};
use crate::template;

/// Longest text in bytes. A route takes about 100 to 200 bytes: enough for some 200,000.
pub const DOCUMENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most values in one YAML text: three bytes of text can be a value of a hundred bytes in memory.
pub const VALUES_MAX: usize = 4_000_000;
/// Deepest nesting of maps and lists, aliases unfolded. Traefik's deepest option stands at 9.
pub const DEPTH_MAX: usize = 64;
/// Most values that all anchors of a text together may hold and all its aliases unfold to.
pub const ALIAS_VALUES_MAX: usize = 1_000_000;

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2 with what Go's reader takes of 1.1; JSON too.
    Yaml,
    /// TOML 1.1.
    Toml,
}

impl Format {
    /// The format that a file's extension names, in any case; `None` for a file that Traefik would not read either.
    pub fn of_path(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        match extension.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

/// A text that could be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The file's name, as problems cite it.
    pub name: String,
    /// The whole text: a map, or nothing where the text is empty or all comments.
    pub root: Node,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the value begins.
    pub at: Position,
    /// The value.
    pub value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing: the key counts as absent.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the text. No two keys are equal; they may differ in case only.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key as written.
    pub key: String,
    /// Where the key stands.
    pub at: Position,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// A value that stands in no text.
    pub fn unplaced(value: Value) -> Self {
        Self { at: Position::NONE, value }
    }

    /// The entries of a map; nothing for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The entry under a key, spelled in any case; the exact spelling wins.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        let entries = self.entries();
        let exact = entries.iter().find(|entry| entry.key == key);
        exact.or_else(|| entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(key)))
    }

    /// The same value in JSON, for what Ravelin passes on unread.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(flag) => Json::Bool(*flag),
            Value::Integer(number) => integer_json(*number),
            Value::Float(number) => serde_json::Number::from_f64(*number)
                .map_or_else(|| Json::String(number.to_string()), Json::Number),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(entries) => {
                Json::Object(entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect())
            }
        }
    }

    /// The tree of a JSON value, without places.
    pub fn from_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        Self::unplaced(match json {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(whole), _) => Value::Integer(whole.into()),
                (None, Some(whole)) => Value::Integer(whole.into()),
                (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(Self::from_json).collect()),
            Json::Object(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        at: Position::NONE,
                        node: Self::from_json(value),
                    })
                    .collect(),
            ),
        })
    }
}

fn integer_json(number: i128) -> serde_json::Value {
    match (i64::try_from(number), u64::try_from(number)) {
        (Ok(whole), _) => whole.into(),
        (Err(_), Ok(whole)) => whole.into(),
        (Err(_), Err(_)) => serde_json::Value::String(number.to_string()),
    }
}

/// Reads a text. `name` is how problems cite the file.
///
/// # Errors
/// The problems that make the text unreadable, with their places: bad syntax, a key given twice, too large, too deep,
/// aliases that unfold to too much, or something else than a map at the top.
pub fn parse(name: &str, text: &str, format: Format) -> Result<Document, Vec<Problem>> {
    if text.len() > DOCUMENT_BYTES_MAX {
        let message =
            format!("the file is {} bytes long, more than the {DOCUMENT_BYTES_MAX} allowed", text.len());
        return Err(vec![
            Problem::error(name, Position::NONE, "", message).mend("split it into several files"),
        ]);
    }
    let root = match format {
        Format::Yaml => yaml::parse(name, text, VALUES_MAX),
        Format::Toml => toml::parse(name, text),
    }
    .map_err(|problem| vec![*problem])?;
    match root.value {
        Value::Map(_) | Value::Null => Ok(Document { name: name.to_owned(), root }),
        _ => {
            let message = "YAML with something else than keys and values at the top";
            Err(vec![Problem::error(name, root.at, "", message).mend("begin with a key such as `http:`")])
        }
    }
}

/// Reads a text of the file provider, which is a template first. Without `{{` it is read as it stands; else every place is that in
/// the template from which it comes.
///
/// # Errors
/// As [`parse`], or what is wrong in the template.
pub fn parse_provided(
    name: &str,
    text: &str,
    format: Format,
    environment: &template::Environment<'_>,
) -> Result<Document, Vec<Problem>> {
    match template::render(name, text, environment).map_err(|problem| vec![*problem])? {
        Some(rendered) => rendered.read(name, format),
        None => parse(name, text, format),
    }
}

#[cfg(test)]
mod tests;
