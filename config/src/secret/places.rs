//! Which strings of an object are secrets, and how they leave it and come back.
//!
//! A place is filled only if the record lists it: text that merely looks like a reference stays what it is. It must not
//! judge the object: what is wrong in it is sealed too, and of what the options' table does not know nothing is taken for
//! public. What cannot be sealed goes nowhere.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::seal::{OpenError, SealingKeys};
use super::within::Within;
use super::{Secret, SecretId, SecretPlace, names};
use crate::canonical::{CANONICAL_DEPTH_MAX, value_to_bytes};
use crate::object::{Object, Record};

/// The only entry of what stands in a secret's place.
const REFERENCE: &str = "secret";

/// Why an object's secrets are not all in their places.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// One of them cannot be had.
    #[error("the secret {} at {pointer} cannot be had: {source}", id.short())]
    Open {
        /// Which.
        id: SecretId,
        /// Where.
        pointer: String,
        /// Why.
        source: OpenError,
    },
    /// The record names a place where its object holds no such reference.
    #[error("there is no reference to a secret at {pointer}")]
    Place {
        /// Where.
        pointer: String,
    },
    /// The object cannot be read or written as JSON.
    #[error("the object is no JSON")]
    Json,
}

/// Why an object's secrets cannot be sealed: then it must not be shown to anybody. Tells nothing of what the object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It cannot be read, so nobody knows what in it is a secret.
    #[error("it is no JSON, so that its secrets cannot be found")]
    Json,
    /// A reference would stand deeper than anything may.
    #[error("with its secrets sealed it is nested deeper than {CANONICAL_DEPTH_MAX}")]
    TooDeep,
}

/// An object or a record with references in place of its secrets, and those by name.
pub type Sealed<T> = (T, Vec<(SecretId, Secret)>);

/// The object with references in place of its secrets, and those by name. An object without any stays as it is.
///
/// # Errors
/// [`SealError`]: the object must not be used then.
pub fn seal_object(object: &Object, keys: &SealingKeys) -> Result<Sealed<Object>, SealError> {
    let mut found = Vec::new();
    let mut json = serde_json::from_slice::<Json>(&object.bytes).map_err(|_| SealError::Json)?;
    // What stands for a secret already was listed when it was sealed.
    let mut places = object.secrets.to_vec();
    let mut taking = Taking {
        sealed: &object.secrets,
        pointer: String::new(),
        replace: &mut |pointer, value| {
            let secret = Secret::new(value);
            let id = keys.name(secret.expose());
            places.push(SecretPlace { pointer: pointer.to_owned(), id });
            found.push((id, secret));
            reference(&id)
        },
    };
    taking.take(&mut json, Within::object(object.kind));
    if found.is_empty() {
        return Ok((object.clone(), found));
    }
    places.sort_unstable();
    let bytes = value_to_bytes(&json).map_err(|_| SealError::TooDeep)?;
    Ok((Object { kind: object.kind, schema: object.schema, bytes, secrets: places.into() }, found))
}

/// As [`seal_object`], for the wanted value and the last good one. The second is every secret that the record refers to
/// by name, in order, each once.
///
/// # Errors
/// [`SealError`] of either: the record must not be used then.
pub fn seal_record(record: &Record, keys: &SealingKeys) -> Result<Sealed<Record>, SealError> {
    let (object, mut found) = seal_object(&record.object, keys)?;
    let last_good = record.last_good.as_ref().map(|object| seal_object(object, keys)).transpose()?;
    let last_good = last_good.map(|(object, more)| {
        found.extend(more);
        object
    });
    found.sort_unstable_by_key(|(id, _)| *id);
    found.dedup_by_key(|(id, _)| *id);
    Ok((Record { object, status: record.status.clone(), last_good }, found))
}

/// The object with its secrets in their places.
///
/// # Errors
/// [`FillError`].
pub fn fill(
    object: &Object,
    mut open: impl FnMut(&SecretId) -> Result<Secret, OpenError>,
) -> Result<Object, FillError> {
    if object.secrets.is_empty() {
        return Ok(object.clone());
    }
    let mut json: Json = serde_json::from_slice(&object.bytes).map_err(|_| FillError::Json)?;
    for SecretPlace { pointer, id } in object.secrets.iter() {
        let place = json.pointer_mut(pointer).filter(|place| **place == reference(id));
        let place = place.ok_or_else(|| FillError::Place { pointer: pointer.clone() })?;
        let secret =
            open(id).map_err(|source| FillError::Open { id: *id, pointer: pointer.clone(), source })?;
        *place = Json::String(secret.expose().to_owned());
    }
    let bytes = value_to_bytes(&json).map_err(|_| FillError::Json)?;
    Ok(Object { kind: object.kind, schema: object.schema, bytes, secrets: Arc::default() })
}

/// As [`fill`], for the wanted value and the last good one. What cannot be filled stays sealed.
pub fn fill_record(
    record: &Record,
    mut open: impl FnMut(&SecretId) -> Result<Secret, OpenError>,
) -> (Record, Vec<FillError>) {
    let mut errors = Vec::new();
    let mut filled = |object: &Object| {
        fill(object, &mut open).unwrap_or_else(|error| {
            errors.push(error);
            object.clone()
        })
    };
    let object = filled(&record.object);
    let last_good = record.last_good.as_ref().map(filled);
    (Record { object, status: record.status.clone(), last_good }, errors)
}

/// The object's JSON for a person, with `…` in the place of each secret.
pub fn shown_object(object: &Object) -> String {
    let Ok(mut json) = serde_json::from_slice::<Json>(&object.bytes) else {
        return "an object that is no JSON".to_owned();
    };
    let hidden = || Json::String("…".to_owned());
    for place in object.secrets.iter() {
        if let Some(reference) = json.pointer_mut(&place.pointer) {
            *reference = hidden();
        }
    }
    let mut taking = Taking { sealed: &[], pointer: String::new(), replace: &mut |_, _| hidden() };
    taking.take(&mut json, Within::object(object.kind));
    json.to_string()
}

fn reference(id: &SecretId) -> Json {
    Json::Object(Map::from_iter([(REFERENCE.to_owned(), Json::String(id.to_string()))]))
}

/// A walk through an object that puts what `replace` gives in the place of each secret.
struct Taking<'a> {
    /// Places that hold references already.
    sealed: &'a [SecretPlace],
    /// Where the walk is.
    pointer: String,
    replace: &'a mut dyn FnMut(&str, String) -> Json,
}

impl Taking<'_> {
    /// Recursion is bounded by the depth of canonical JSON.
    fn take(&mut self, json: &mut Json, within: Within) {
        if self.sealed.iter().any(|place| place.pointer == self.pointer) {
            return;
        }
        match json {
            Json::String(text) if !text.is_empty() && (within.seals(text) || names::is_secret_text(text)) => {
                let value = std::mem::take(text);
                *json = (self.replace)(&self.pointer, value);
            }
            Json::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.below(&index.to_string(), item, within.item());
                }
            }
            Json::Object(members) => {
                for (name, member) in members.iter_mut() {
                    self.below(name, member, within.member(name));
                }
            }
            _ => {}
        }
    }

    /// One step down in the pointer, and back.
    fn below(&mut self, step: &str, json: &mut Json, within: Within) {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
        self.take(json, within);
        self.pointer.truncate(length);
    }
}
