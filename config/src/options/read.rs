//! Brings a positioned tree into canonical form by the table, and says what does not fit.
//!
//! Whatever does not fit stays in the result as it was written, so that reading the result again finds the same: an
//! object's bytes alone are enough to judge it. What may be a secret is in no message. Scalars are taken as Traefik takes them: a number or flag where text is
//! due, text where a number is due, one text separated by commas where a list is due.

use serde_json::{Map, Value as Json};

use super::{Field, Support, Type, nearest};
use crate::document::{Entry, Node, Value};
use crate::duration::GoDuration;
use crate::problem::{Position, Problem, Severity};
use crate::secret::{HIDDEN_NAME, is_header_name, looks_secret, may_hold_secrets, shown_name};

/// Most findings of one reading: more help nobody, and a text can hold a million faults.
const FINDINGS_MAX: usize = 200;

/// What a reading gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The options in canonical form.
    pub json: Json,
    /// What does not fit, in the order of the text.
    pub findings: Vec<Finding>,
    /// The options that were used; only if asked for.
    pub uses: Vec<Use>,
}

/// Something that does not fit the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub at: Position,
    /// The option, under the prefix that the reader was given.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub mend: Option<String>,
    /// How much it matters.
    pub severity: Severity,
}

impl Finding {
    /// The same as a problem of a file.
    pub fn in_file(self, file: &str) -> Problem {
        let Self { at, path, message, mend, severity } = self;
        Problem { file: file.to_owned(), at, path, message, mend, severity }
    }

    /// One line for a status: option, message and mend, without a place.
    pub fn status_text(&self) -> String {
        match (&self.mend, self.path.is_empty()) {
            (Some(mend), false) => format!("{}: {} ({mend})", self.path, self.message),
            (None, false) => format!("{}: {}", self.path, self.message),
            (Some(mend), true) => format!("{} ({mend})", self.message),
            (None, true) => self.message.clone(),
        }
    }
}

/// An option that a text uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Where.
    pub at: Position,
    /// The option as in the reference, with `*` for names and items: `http.routers.*.rule`.
    pub option: String,
    /// Whether it works here.
    pub support: Support,
}

/// Reads the options of a group from a tree. `path` is the prefix of the paths in findings and uses.
pub fn read(fields: &[Field], node: &Node, path: &str, with_uses: bool) -> Reading {
    let mut reader = Reader { path: path.to_owned(), option: path.to_owned(), ..Reader::default() };
    reader.with_uses = with_uses;
    let json = match &node.value {
        Value::Map(entries) => Json::Object(reader.group(fields, entries)),
        Value::Null => Json::Object(Map::new()),
        _ => reader.wrong_group(node, "keys with values", None),
    };
    Reading { json, findings: reader.findings, uses: reader.uses }
}

#[derive(Default)]
struct Reader {
    path: String,
    option: String,
    findings: Vec<Finding>,
    uses: Vec<Use>,
    with_uses: bool,
    /// Inside an option that does not work yet, what is below it need not be said again.
    within_not_yet: bool,
    /// Inside an option that may hold secrets no message shows a value.
    is_sensitive: bool,
}

impl Reader {
    fn group(&mut self, fields: &[Field], entries: &[Entry]) -> Map<String, Json> {
        let mut json = Map::new();
        let winners = winners(fields, entries);
        for (place, entry) in entries.iter().enumerate() {
            if entry.node.value == Value::Null {
                continue;
            }
            let known =
                fields.iter().zip(&winners).find(|(field, _)| field.name.eq_ignore_ascii_case(&entry.key));
            let Some((field, winner)) = known else {
                self.unknown(fields, entry);
                insert_unknown(&mut json, shown_name(&entry.key), entry);
                continue;
            };
            if *winner != Some(place) {
                self.found(entry, format!("`{}` is given twice, in different case", field.name), None);
                json.insert(entry.key.clone(), in_texts(&entry.node, true));
                continue;
            }
            if let Some(value) = self.field(field, entry) {
                json.insert(field.name.to_owned(), value);
            }
        }
        json
    }

    fn field(&mut self, field: &Field, entry: &Entry) -> Option<Json> {
        let (path, option) = (self.path.len(), self.option.len());
        let (within, is_sensitive) = (self.within_not_yet, self.is_sensitive);
        push(&mut self.path, field.name);
        push(&mut self.option, field.name);
        let before = self.findings.len();
        self.within_not_yet |= matches!(field.support, Support::NotYet(_));
        self.is_sensitive |= may_hold_secrets(field.name);
        let value = self.value(&field.ty, &entry.node);
        (self.within_not_yet, self.is_sensitive) = (within, is_sensitive);
        if let Some(value) = &value {
            self.support(field, value, entry, before);
        }
        self.path.truncate(path);
        self.option.truncate(option);
        value
    }

    /// Notes the use of an option, and says so where it does not work yet and is not at its default or off.
    fn support(&mut self, field: &Field, value: &Json, entry: &Entry, before: usize) {
        let support =
            match (&field.ty, value) {
                (Type::Choice(words) | Type::AnyCase(words), Json::String(word)) => {
                    let known = words.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
                    known.map_or(field.support, |(_, support)| {
                        if *support == Support::Same { field.support } else { *support }
                    })
                }
                _ => field.support,
            };
        let off = *value == Json::Bool(false);
        let idle = off || scalar_text(value).is_some_and(|text| text == field.default);
        if let Support::NotYet(missing) = support
            && !idle
            && !self.within_not_yet
        {
            let finding = Finding {
                at: entry.at,
                path: self.path.clone(),
                message: missing.to_owned(),
                mend: None,
                severity: Severity::NotYet,
            };
            self.findings.insert(before, finding);
        }
        let bare_switch = matches!(value, Json::Object(map) if map.is_empty());
        let leaf = field.ty.fields().is_empty() || bare_switch;
        if self.with_uses && (leaf || support != Support::Same) && !self.within_not_yet {
            let support = if idle && matches!(support, Support::NotYet(_)) { Support::Same } else { support };
            self.uses.push(Use { at: entry.at, option: self.option.clone(), support });
        }
    }

    fn value(&mut self, ty: &Type, node: &Node) -> Option<Json> {
        match ty {
            Type::Free => Some(in_texts(node, false)),
            Type::Group(fields) => match &node.value {
                Value::Map(entries) => Some(Json::Object(self.group(fields, entries))),
                _ => Some(self.wrong_group(node, ty.describe(), None)),
            },
            Type::Switch(fields) => self.switch(fields, node),
            Type::Groups(fields) => self.groups(fields, node),
            Type::Named(fields) => self.named(fields, node),
            Type::TextMap => self.text_map(node),
            Type::Texts | Type::Contents => self.texts(node),
            Type::Text | Type::Content => match text_of(&node.value) {
                Some(text) => Some(Json::String(text)),
                None => Some(self.wrong(node, ty.describe(), None)),
            },
            Type::Choice(words) => Some(self.choice(node, words, |word, known| word == known)),
            Type::AnyCase(words) => Some(self.choice(node, words, str::eq_ignore_ascii_case)),
            Type::Flag => Some(match flag_of(&node.value) {
                Some(flag) => Json::Bool(flag),
                None => self.wrong(node, ty.describe(), None),
            }),
            Type::Integer => Some(match integer_of(&node.value) {
                Some(number) => number.into(),
                None => self.wrong(node, ty.describe(), None),
            }),
            Type::Number => Some(match number_of(&node.value) {
                Some(number) => number,
                None => self.wrong(node, ty.describe(), None),
            }),
            Type::Duration => Some(self.duration(node)),
        }
    }

    fn switch(&mut self, fields: &[Field], node: &Node) -> Option<Json> {
        match (&node.value, flag_of(&node.value)) {
            (Value::Map(entries), _) => Some(Json::Object(self.group(fields, entries))),
            (_, Some(true)) => Some(Json::Object(Map::new())),
            (_, Some(false)) => None,
            (Value::Text(text), None) if text.is_empty() => Some(Json::Object(Map::new())),
            _ => Some(self.wrong_group(node, "keys with values, `{}` or true", None)),
        }
    }

    fn groups(&mut self, fields: &[Field], node: &Node) -> Option<Json> {
        let Value::List(items) = &node.value else {
            return Some(self.wrong_group(node, "a list", Some("begin each item with `- `")));
        };
        if items.is_empty() {
            return None;
        }
        let (path, option) = (self.path.len(), self.option.len());
        let mut list = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            self.path.push_str(&format!("[{index}]"));
            self.option.push_str("[]");
            list.push(match &item.value {
                Value::Map(entries) => Json::Object(self.group(fields, entries)),
                _ => {
                    let mend = fields.first().map(|field| format!("write `- {}: …`", field.name));
                    self.wrong_group(item, "keys with values", mend.as_deref())
                }
            });
            self.path.truncate(path);
            self.option.truncate(option);
        }
        Some(Json::Array(list))
    }

    fn named(&mut self, fields: &[Field], node: &Node) -> Option<Json> {
        let Value::Map(entries) = &node.value else {
            return Some(self.wrong_group(node, "names, each with keys and values", None));
        };
        let (path, option) = (self.path.len(), self.option.len());
        let mut json = Map::new();
        for entry in entries {
            push(&mut self.path, &entry.key);
            push(&mut self.option, "*");
            let value = match &entry.node.value {
                Value::Map(inner) => Some(Json::Object(self.group(fields, inner))),
                Value::Null => None,
                _ => Some(self.wrong_group(&entry.node, "keys with values", None)),
            };
            json.extend(value.map(|value| (entry.key.clone(), value)));
            self.path.truncate(path);
            self.option.truncate(option);
        }
        Some(Json::Object(json))
    }

    fn text_map(&mut self, node: &Node) -> Option<Json> {
        let Value::Map(entries) = &node.value else {
            return Some(self.wrong_group(node, "keys with texts", None));
        };
        let mut json = Map::new();
        for entry in entries {
            if !is_header_name(entry.key.trim()) && entry.node.value != Value::Null {
                let length = self.path.len();
                push(&mut self.path, HIDDEN_NAME);
                self.push(entry.at, "this is no name of a header".to_owned(), None);
                self.path.truncate(length);
                insert_unknown(&mut json, HIDDEN_NAME, entry);
                continue;
            }
            match text_of(&entry.node.value) {
                Some(text) => _ = json.insert(entry.key.clone(), Json::String(text)),
                None if entry.node.value == Value::Null => {}
                None => {
                    let length = self.path.len();
                    push(&mut self.path, &entry.key);
                    let raw = self.wrong(&entry.node, "text", None);
                    self.path.truncate(length);
                    json.insert(entry.key.clone(), raw);
                }
            }
        }
        if json.is_empty() { None } else { Some(Json::Object(json)) }
    }

    fn texts(&mut self, node: &Node) -> Option<Json> {
        let list = match &node.value {
            Value::List(items) => {
                let list: Option<Vec<String>> = items.iter().map(|item| text_of(&item.value)).collect();
                match list {
                    Some(list) => list,
                    None => return Some(self.wrong(node, "a list of texts", None)),
                }
            }
            value => match text_of(value) {
                Some(text) if text.is_empty() => Vec::new(),
                Some(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
                None => return Some(self.wrong(node, "a list of texts", None)),
            },
        };
        if list.is_empty() { None } else { Some(list.into()) }
    }

    fn choice(
        &mut self,
        node: &Node,
        words: &[(&'static str, Support)],
        same: impl Fn(&str, &str) -> bool,
    ) -> Json {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        match text_of(&node.value) {
            Some(text) if words.iter().any(|(word, _)| same(&text, word)) => Json::String(text),
            Some(text) => {
                let mend =
                    nearest(&text, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
                let due = format!("one of {}", known.join(", "));
                self.wrong(node, &due, mend.as_deref())
            }
            None => self.wrong(node, &format!("one of {}", known.join(", ")), None),
        }
    }

    fn duration(&mut self, node: &Node) -> Json {
        let parsed = text_of(&node.value).map(|text| text.trim().parse::<GoDuration>());
        match parsed {
            Some(Ok(duration)) => Json::String(duration.to_string()),
            Some(Err(error)) => {
                let mend = "write `500ms`, `1m30s`, or a whole number of seconds";
                if self.is_sensitive {
                    return self.wrong(node, "a duration", Some(mend));
                }
                self.push(node.at, error.to_string(), Some(mend.to_owned()));
                node.to_json()
            }
            None => self.wrong(node, Type::Duration.describe(), None),
        }
    }

    fn unknown(&mut self, fields: &[Field], entry: &Entry) {
        let names = || fields.iter().map(|field| field.name);
        let mend = match nearest(&entry.key, names()) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if fields.is_empty() => None,
            None if fields.len() <= 8 => {
                Some(format!("known here: {}", names().collect::<Vec<_>>().join(", ")))
            }
            None => None,
        };
        self.found(entry, "field not found".to_owned(), mend);
    }

    fn found(&mut self, entry: &Entry, message: String, mend: Option<String>) {
        let length = self.path.len();
        push(&mut self.path, shown_name(&entry.key));
        self.push(entry.at, message, mend);
        self.path.truncate(length);
    }

    /// Notes a wrong type; gives the value as it was written.
    fn wrong(&mut self, node: &Node, due: &str, mend: Option<&str>) -> Json {
        if self.is_sensitive {
            return self.wrong_group(node, due, mend);
        }
        let message = format!("expected {due}, found {}", shown(&node.value));
        self.push(node.at, message, mend.map(str::to_owned));
        match node.value {
            Value::Map(_) | Value::List(_) => in_texts(node, true),
            _ => node.to_json(),
        }
    }

    /// As `wrong` where what was written may be anything, a password too: nothing shows it.
    fn wrong_group(&mut self, node: &Node, due: &str, mend: Option<&str>) -> Json {
        let message = format!("expected {due}, found {}", described(&node.value));
        self.push(node.at, message, mend.map(str::to_owned));
        in_texts(node, true)
    }

    fn push(&mut self, at: Position, message: String, mend: Option<String>) {
        if self.findings.len() < FINDINGS_MAX {
            let path = self.path.clone();
            self.findings.push(Finding { at, path, message, mend, severity: Severity::Error });
        }
    }
}

fn push(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// For each field the entry that counts where several name it in different case: the exact spelling, else the first.
fn winners(fields: &[Field], entries: &[Entry]) -> Vec<Option<usize>> {
    let mut winners = vec![None; fields.len()];
    for (place, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.node.value != Value::Null) {
        let field =
            fields.iter().zip(&mut winners).find(|(field, _)| field.name.eq_ignore_ascii_case(&entry.key));
        if let Some((field, winner)) = field
            && (winner.is_none() || entry.key == field.name)
        {
            *winner = Some(place);
        }
    }
    winners
}

/// A value's type and length.
fn described(value: &Value) -> String {
    match text_of(value) {
        Some(text) => format!("a text of {} characters", text.chars().count()),
        None => shown(value),
    }
}

/// The value as it was written, but numbers as texts where they may be secrets: only texts are sealed. With `all` every
/// number may be one, else those under names that say so.
fn in_texts(node: &Node, all: bool) -> Json {
    match &node.value {
        Value::Integer(_) | Value::Float(_) if all => text_of(&node.value).map_or(Json::Null, Json::String),
        Value::List(items) => Json::Array(items.iter().map(|item| in_texts(item, all)).collect()),
        Value::Map(entries) => {
            let mut members = Map::new();
            for entry in entries {
                if all {
                    insert_unknown(&mut members, shown_name(&entry.key), entry);
                } else {
                    members.insert(entry.key.clone(), in_texts(&entry.node, looks_secret(&entry.key)));
                }
            }
            Json::Object(members)
        }
        _ => node.to_json(),
    }
}

/// A member that no table knows, under its own name or the one that hides it. A hidden name goes below, where it is sealed
/// with its value; where that was done before, reading again changes nothing.
fn insert_unknown(members: &mut Map<String, Json>, shown: &str, entry: &Entry) {
    let value = in_texts(&entry.node, true);
    if shown == entry.key || entry.key.starts_with(HIDDEN_NAME) {
        members.insert(entry.key.clone(), value);
        return;
    }
    let mut name = HIDDEN_NAME.to_owned();
    while members.contains_key(&name) {
        name.push_str(HIDDEN_NAME);
    }
    members.insert(name, Json::Array(vec![Json::String(entry.key.clone()), value]));
}

/// A value for a message, cut so that no message grows with it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "keys with values".to_owned(),
        scalar => {
            let text = text_of(scalar).unwrap_or_default();
            let cut: String = text.chars().take(40).collect();
            if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{text:?}") }
        }
    }
}

fn scalar_text(json: &Json) -> Option<String> {
    match json {
        Json::Bool(flag) => Some(flag.to_string()),
        Json::Number(number) => Some(number.to_string()),
        Json::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// A scalar as Go prints it.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(format!("{number:.6}")),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

fn flag_of(value: &Value) -> Option<bool> {
    match text_of(value)?.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn integer_of(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => i64::try_from(*number).ok(),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn number_of(value: &Value) -> Option<Json> {
    let number = match value {
        Value::Integer(number) => return i64::try_from(*number).ok().map(Json::from),
        Value::Float(number) => *number,
        Value::Text(text) => text.parse().ok()?,
        _ => return None,
    };
    serde_json::Number::from_f64(number).map(Json::Number)
}
