//! From a source to what the process runs with: the typed sections, what must be said at the start, and the objects
//! that go into the generation.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::internal::internal_objects;
use super::source::{self, Inputs, Source};
use super::{StaticConfig, removed};
use crate::check::{Checker, INTERNAL};
use crate::document::{Document, Node, Value};
use crate::draft::{Draft, Place, ReadFile, read_file};
use crate::key::Key;
use crate::object::{Kind, State};
use crate::options::{self, Finding, STATIC, Type, Use};
use crate::problem::{Position, Problem, Severity};

/// A static configuration that can be started with.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Where it came from.
    pub source: Source,
    /// The sections that work, with defaults.
    pub config: StaticConfig,
    /// What to say once at the start: options that do not work yet, and what is probably not meant.
    pub notes: Vec<Problem>,
    /// The objects of provider `internal`: entry points, sections, and what Traefik names `…@internal`.
    pub draft: Draft,
}

/// Finds and reads the static configuration.
///
/// # Errors
/// Everything that stops the start, each with its place where it has one.
pub fn load(inputs: &Inputs<'_>) -> Result<Loaded, Vec<Problem>> {
    let (source, root) = source::tree(inputs)?;
    let name = source.name();
    let Judged { config, mut notes, draft, uses: _ } = judge(&name, root, &read_file, false)?;
    notes.splice(0..0, source::passed_over(inputs, &source));
    Ok(Loaded { source, config, notes, draft })
}

/// What the static sections of a text say.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The sections that work, with defaults.
    pub config: StaticConfig,
    /// What to say once at the start.
    pub notes: Vec<Problem>,
    /// The objects of provider `internal`.
    pub draft: Draft,
    /// Which options are used; only of a document.
    pub uses: Vec<Use>,
}

/// Judges the static sections of a document, as [`load`] would; `None` if it has none.
///
/// # Errors
/// As [`load`].
pub fn judge_document(document: &Document, files: &ReadFile<'_>) -> Option<Result<Judged, Vec<Problem>>> {
    let root = source::sections_of(document.root.clone());
    (!root.entries().is_empty()).then(|| judge(&document.name, root, files, true))
}

fn judge(file: &str, mut root: Node, files: &ReadFile<'_>, with_uses: bool) -> Result<Judged, Vec<Problem>> {
    let mut errors = removed::check(file, &mut root);
    let reading = options::read(STATIC, &root, "", with_uses);
    let (wrong, notes): (Vec<Finding>, Vec<Finding>) =
        reading.findings.into_iter().partition(|finding| finding.severity == Severity::Error);
    errors.extend(wrong.into_iter().map(|finding| as_traefik_says(finding).in_file(file)));
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut notes: Vec<Problem> = notes.into_iter().map(|finding| finding.in_file(file)).collect();
    let mut json = reading.json;
    add_entry_points(&mut json);
    let config: StaticConfig = serde_json::from_value(json.clone()).map_err(|error| {
        vec![Problem::error(file, Position::NONE, "", format!("cannot be used: {error}"))]
    })?;
    let mut draft = draft_of(file, &root, &json, files);
    let internal = internal_objects(&config, draft.objects.get("static/serversTransport"));
    notes.extend(internal.left_out.into_iter().map(|(path, text)| {
        Problem::error(file, place(&root, &path), &path, text).severity(Severity::Warning)
    }));
    draft.objects.extend(internal.objects);
    let errors = faults(file, &draft);
    if errors.is_empty() { Ok(Judged { config, notes, draft, uses: reading.uses }) } else { Err(errors) }
}

/// Traefik's own words, by which people search.
fn as_traefik_says(mut finding: Finding) -> Finding {
    if finding.message == "field not found" {
        let node = finding.path.rsplit('.').next().unwrap_or_default();
        finding.message = format!("field not found, node: {node}");
    }
    finding
}

/// The entry points that Traefik makes by itself: `http` if there is none, `traefik` if something needs it.
fn add_entry_points(json: &mut Json) {
    let needs = |json: &Json| {
        let insecure = json.pointer("/api/insecure") == Some(&Json::Bool(true));
        let routed = |section: &Json| {
            let at = section.get("entryPoint").and_then(Json::as_str).unwrap_or("traefik");
            at == "traefik" && section.get("manualRouting") != Some(&Json::Bool(true))
        };
        insecure
            || json.pointer("/providers/rest/insecure") == Some(&Json::Bool(true))
            || json.get("ping").is_some_and(routed)
            || json.pointer("/metrics/prometheus").is_some_and(routed)
    };
    let needs_traefik = needs(json);
    let Json::Object(sections) = json else { return };
    let points = sections.entry("entryPoints").or_insert_with(|| json!({}));
    let Json::Object(points) = points else { return };
    if points.is_empty() {
        points.insert("http".to_owned(), json!({"address": ":80"}));
    }
    if needs_traefik && !points.contains_key("traefik") {
        points.insert("traefik".to_owned(), json!({"address": ":8080"}));
    }
}

/// Entry points and sections as objects.
fn draft_of(file: &str, root: &Node, json: &Json, files: &ReadFile<'_>) -> Draft {
    let mut draft = Draft { provider: INTERNAL.to_owned(), ..Draft::default() };
    let file: Arc<str> = Arc::from(file);
    let mut put = |kind: Kind, name: &str, json: &Json, path: String| {
        let Ok(key) = Key::of(kind, name) else { return };
        let Ok(object) = options::object(kind, json) else { return };
        let place = Place { file: Arc::clone(&file), at: place(root, &path), path };
        draft.objects.insert(key.clone(), Arc::new(object));
        draft.places.insert(key, place);
    };
    for (section, value) in json.as_object().into_iter().flatten() {
        match value {
            Json::Object(points) if section == "entryPoints" => {
                for (name, point) in points {
                    put(Kind::EntryPoint, name, point, format!("entryPoints.{name}"));
                }
            }
            value if section == "serversTransport" => {
                let mut value = value.clone();
                read_roots(&mut value, files);
                put(Kind::StaticSection, section, &value, section.clone());
            }
            value if later(section) => _ = value,
            // As in Traefik: without an address it is off.
            value if section == "spiffe" && is_off(value) => _ = value,
            value => put(Kind::StaticSection, section, value, section.clone()),
        }
    }
    draft
}

fn is_off(workload: &Json) -> bool {
    workload.get("workloadAPIAddr").and_then(Json::as_str).is_none_or(str::is_empty)
}

/// Sections whose function comes later as a whole are no part of a generation.
fn later(section: &str) -> bool {
    let field = STATIC.iter().find(|field| field.name == section);
    field.is_some_and(|field| {
        matches!(field.support, options::Support::NotYet(_)) || matches!(field.ty, Type::Named(_))
    })
}

fn read_roots(transport: &mut Json, files: &ReadFile<'_>) {
    let roots = transport.get_mut("rootCAs").and_then(Json::as_array_mut);
    for root in roots.into_iter().flatten() {
        if let Some(text) = root.as_str().filter(|text| !text.contains("-----BEGIN "))
            && let Ok(content) = files(text)
        {
            *root = Json::String(content);
        }
    }
}

/// What the check says of entry points and sections by themselves.
fn faults(file: &str, draft: &Draft) -> Vec<Problem> {
    let mut checker = Checker::default();
    checker.replace_provider(draft);
    let mut problems = Vec::new();
    for (key, record) in checker.records() {
        let is_static = matches!(key.kind(), Some(Kind::EntryPoint | Kind::StaticSection));
        if !is_static || record.status.state != State::Disabled {
            continue;
        }
        let (at, path) = match draft.places.get(key) {
            Some(place) => (place.at, place.path.as_str()),
            None => (Position::NONE, key.name()),
        };
        problems.extend(record.status.errors.iter().map(|error| Problem::error(file, at, path, error)));
    }
    problems
}

/// Where an option stands, or the nearest above it that does.
fn place(root: &Node, path: &str) -> Position {
    let (mut node, mut at) = (root, Position::NONE);
    for key in path.split('.') {
        let Value::Map(_) = &node.value else { break };
        let Some(entry) = node.entry(key) else { break };
        (node, at) = (&entry.node, entry.at);
    }
    at
}

#[cfg(test)]
mod tests;
