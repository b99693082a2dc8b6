//! What a provider wants: one object per key, made from documents, and what was wrong with their text.
//!
//! A document that can be read always gives a draft. What does not fit the options' table stays in the object as it was
//! written, so that the check finds it again from the object alone; here it is noted with its place, for log and
//! `validate`. This module must not decide what is served.

mod files;

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::sync::Arc;

use serde_json::Value as Json;

pub(crate) use files::is_path;
pub use files::{FILE_BYTES_MAX, ReadFile, read_file};

use crate::digest::Digest;
use crate::document::{Document, Entry, Node, Value};
use crate::key::Key;
use crate::object::{Kind, Object};
use crate::options::{self, Field, Finding, Reading, Type};
use crate::parallel::{self, BATCH, SHARE_MIN};
use crate::problem::{Position, Problem, Severity};
use crate::secret::PRIVATE_KEY;

/// What a provider wants.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The provider's name, as behind the `@`.
    pub provider: String,
    /// Everything it wants; what is not here is not wanted.
    pub objects: BTreeMap<Key, Arc<Object>>,
    /// What is wrong with the text, in its order; with the object's key where it belongs to one.
    pub problems: Vec<(Option<Key>, Problem)>,
    /// Where each object stands in the text.
    pub places: BTreeMap<Key, Place>,
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The document's name.
    pub file: Arc<str>,
    /// Where its name stands, or its item of a list begins.
    pub at: Position,
    /// The option, as `http.routers.web`.
    pub path: String,
}

impl Draft {
    /// Shares the objects that did not change with an earlier draft, so that who compares drafts compares pointers.
    pub fn keep_unchanged(&mut self, earlier: &Self) {
        // Both are in the order of their keys.
        let mut before = earlier.objects.iter().peekable();
        for (key, object) in &mut self.objects {
            while before.next_if(|(earlier, _)| *earlier < key).is_some() {}
            if let Some((_, same)) = before.next_if(|(earlier, same)| *earlier == key && **same == *object) {
                *object = Arc::clone(same);
            }
        }
    }
}

/// Makes a draft from documents in the order of their precedence: of two objects with one name the first wins, the
/// later one is reported. Files that certificates and keys name are read from the disk, relative to the working
/// directory.
///
/// # Errors
/// Problems that leave no draft at all. None is known: texts that cannot be read fail earlier, as documents.
pub fn draft_from_documents(provider: &str, documents: &[Document]) -> Result<Draft, Vec<Problem>> {
    draft_with_files(provider, documents, &read_file)
}

/// As [`draft_from_documents`], with files read by the caller's function.
///
/// # Errors
/// As [`draft_from_documents`].
pub fn draft_with_files(
    provider: &str,
    documents: &[Document],
    files: &ReadFile<'_>,
) -> Result<Draft, Vec<Problem>> {
    let draft = Draft { provider: provider.to_owned(), ..Draft::default() };
    let mut drafting = Drafting { draft, files, document: Arc::from("") };
    for document in documents {
        drafting.document = Arc::from(document.name.as_str());
        drafting.document(&document.root);
    }
    let mut draft = drafting.draft;
    // Built anew of what is in order already, a tree takes half the room; drafts are kept.
    draft.objects = std::mem::take(&mut draft.objects).into_iter().collect();
    Ok(draft)
}

struct Drafting<'a> {
    draft: Draft,
    files: &'a ReadFile<'a>,
    document: Arc<str>,
}

impl Drafting<'_> {
    fn document(&mut self, root: &Node) {
        for entry in root.entries() {
            let Some(field) =
                options::DYNAMIC.iter().find(|field| field.name.eq_ignore_ascii_case(&entry.key))
            else {
                continue; // A static section, or a name that Traefik ignores too.
            };
            match field.name {
                "http" | "tls" => self.section(field, entry),
                _ => {
                    self.later(field, entry);
                    // What is wrong in it was told of the whole section; its objects are wanted all the same.
                    let told = self.draft.problems.len();
                    self.section(field, entry);
                    self.draft.problems.truncate(told);
                }
            }
        }
    }

    /// A section whose function comes later: judged by the table as a whole.
    fn later(&mut self, field: &Field, entry: &Entry) {
        let alone = Node { at: entry.at, value: Value::Map(vec![entry.clone()]) };
        let reading = options::read(std::slice::from_ref(field), &alone, "", false);
        self.note(None, reading.findings);
    }

    fn section(&mut self, section: &Field, entry: &Entry) {
        let (path, fields) = (section.name, section.ty.fields());
        let Some(entries) = self.entries(&entry.node, path) else { return };
        for entry in entries {
            let Some(field) = fields.iter().find(|field| field.name.eq_ignore_ascii_case(&entry.key)) else {
                let alone = Node { at: entry.at, value: Value::Map(vec![entry.clone()]) };
                let reading = options::read(fields, &alone, path, false);
                self.note(None, reading.findings);
                continue;
            };
            let path = format!("{path}.{}", field.name);
            match field.ty {
                Type::Named(fields) => {
                    if let Some(kind) = kind_of(&path) {
                        self.named(kind, fields, &entry.node, &path);
                    }
                }
                Type::Groups(fields) => self.certificates(fields, &entry.node, &path),
                _ => {}
            }
        }
    }

    /// The entries of a map; notes anything else but nothing.
    fn entries<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n [Entry]> {
        match &node.value {
            Value::Map(entries) => Some(entries),
            Value::Null => None,
            _ => {
                let message = "expected keys with values";
                let problem = Problem::error(&self.document, node.at, path, message);
                self.draft.problems.push((None, problem));
                None
            }
        }
    }

    fn named(&mut self, kind: Kind, fields: &'static [Field], node: &Node, path: &str) {
        let Some(entries) = self.entries(node, path) else { return };
        for entries in entries.chunks(BATCH) {
            let read = parallel::map(entries, SHARE_MIN, |entry| {
                let path = format!("{path}.{}", entry.key);
                let is_there = entry.node.value != Value::Null;
                is_there.then(|| (options::read(fields, &entry.node, &path, false), path))
            });
            for (entry, (reading, path)) in entries.iter().zip(read).filter_map(|(e, read)| Some((e, read?)))
            {
                let name = format!("{}@{}", entry.key, self.draft.provider);
                self.object((kind, &name), fields, &entry.node, entry.at, (reading, path));
            }
        }
    }

    /// Certificates have no names: their key is made from what `certFile` says. Where that says nothing, or holds a private
    /// key, from the place in the text: a name tells nothing of a secret, not even whether a guess is right.
    fn certificates(&mut self, fields: &'static [Field], node: &Node, path: &str) {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Null => return,
            _ => {
                let problem = Problem::error(&self.document, node.at, path, "expected a list");
                return self.draft.problems.push((None, problem.mend("begin each item with `- `")));
            }
        };
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let file = item.entry("certFile").map(|entry| &entry.node.value);
            let digest = match file {
                Some(Value::Text(text)) if !text.contains(PRIVATE_KEY) => Digest::of(text.as_bytes()),
                _ => Digest::of(format!("{}: {path}", self.document).as_bytes()),
            };
            let name = format!("{digest}@{}", self.draft.provider);
            let reading = options::read(fields, item, &path, false);
            self.object((Kind::TlsCertificate, &name), fields, item, item.at, (reading, path));
        }
    }

    fn object(
        &mut self,
        (kind, name): (Kind, &str),
        fields: &'static [Field],
        node: &Node,
        at: Position,
        (mut reading, path): (Reading, String),
    ) {
        let refuse = |message: String| (None, Problem::error(&self.document, at, &path, message));
        let key = match Key::of(kind, name) {
            Ok(key) => key,
            Err(error) => {
                return self.draft.problems.push(refuse(format!("the name cannot be used: {error}")));
            }
        };
        files::resolve(fields, &mut reading, self.files, node, &path);
        let json = match reading.json {
            json @ Json::Object(_) => json,
            // What is no map at all stays under a name that no table has, so that the check finds it.
            other => serde_json::json!({ "": other }),
        };
        let object = match options::object(kind, &json) {
            Ok(object) => Arc::new(object),
            Err(error) => return self.draft.problems.push(refuse(error.to_string())),
        };
        match self.draft.objects.entry(key.clone()) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(object);
                self.draft.places.insert(key.clone(), Place { file: Arc::clone(&self.document), at, path });
                self.note(Some(&key), reading.findings);
            }
            btree_map::Entry::Occupied(_) => {
                let first = self.draft.places.get(&key).map_or(String::new(), |place| {
                    format!(" at {}:{}:{}", place.file, place.at.line, place.at.column)
                });
                let message = format!("already defined{first}, which is the one that counts");
                let problem = Problem::error(&self.document, at, &path, message)
                    .mend("rename or remove one of them")
                    .severity(Severity::Warning);
                self.draft.problems.push((Some(key), problem));
            }
        }
    }

    fn note(&mut self, key: Option<&Key>, findings: Vec<Finding>) {
        let file = &self.document;
        self.draft.problems.extend(findings.into_iter().map(|finding| (key.cloned(), finding.in_file(file))));
    }
}

/// The kind of a section's objects; none for those that nobody sees before they work.
fn kind_of(path: &str) -> Option<Kind> {
    Some(match path {
        "http.routers" => Kind::HttpRouter,
        "http.services" => Kind::HttpService,
        "http.middlewares" => Kind::HttpMiddleware,
        "http.serversTransports" => Kind::HttpServersTransport,
        "tcp.routers" => Kind::TcpRouter,
        "tcp.services" => Kind::TcpService,
        "tcp.middlewares" => Kind::TcpMiddleware,
        "udp.routers" => Kind::UdpRouter,
        "udp.services" => Kind::UdpService,
        "tls.stores" => Kind::TlsStore,
        "tls.options" => Kind::TlsOptions,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
