//! Which strings of an object are secrets, and how they leave it and come back.
//!
//! A place is filled only if the record lists it: text that merely looks like a reference stays what it is. It must not
//! judge the object: what is wrong in it is sealed too.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::seal::{OpenError, SealingKeys};
use super::{Secret, SecretId, SecretPlace};
use crate::canonical::value_to_bytes;
use crate::object::{Object, Record};

/// Options whose strings, at whatever depth below them, are secrets. In lower case; matched in any case, whether the option
/// is known, misplaced or comes later.
pub(super) const SECRET_OPTIONS: &[&str] = &[
    "accesskey",
    "apikey",
    "apitoken",
    "bearertoken",
    "clientsecret",
    "hmac",
    "hmacencoded",
    "key",
    "keyfile",
    "passphrase",
    "password",
    "privatekey",
    "secret",
    "secretaccesskey",
    "secretkey",
    "signingsecret",
    "tlskey",
    "token",
    "users",
    "usersfile",
];

/// What every PEM private key holds, of whatever kind.
const PRIVATE_KEY: &str = "PRIVATE KEY-----";
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

/// The object with references in place of its secrets, and those by name. An object without any stays as it is.
pub fn seal_object(object: &Object, keys: &SealingKeys) -> (Object, Vec<(SecretId, Secret)>) {
    let mut found = Vec::new();
    let Ok(mut json) = serde_json::from_slice::<Json>(&object.bytes) else { return (object.clone(), found) };
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
    taking.take(&mut json, false);
    if found.is_empty() {
        return (object.clone(), found);
    }
    places.sort_unstable();
    let Ok(bytes) = value_to_bytes(&json) else { return (object.clone(), Vec::new()) };
    (Object { kind: object.kind, schema: object.schema, bytes, secrets: places.into() }, found)
}

/// As [`seal_object`], for the wanted value and the last good one. The second is every secret that the record refers to
/// by name, in order, each once.
pub fn seal_record(record: &Record, keys: &SealingKeys) -> (Record, Vec<(SecretId, Secret)>) {
    let (object, mut found) = seal_object(&record.object, keys);
    let last_good = record.last_good.as_ref().map(|object| {
        let (object, more) = seal_object(object, keys);
        found.extend(more);
        object
    });
    found.sort_unstable_by_key(|(id, _)| *id);
    found.dedup_by_key(|(id, _)| *id);
    (Record { object, status: record.status.clone(), last_good }, found)
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
    fn take(&mut self, json: &mut Json, below_secret: bool) {
        if self.sealed.iter().any(|place| place.pointer == self.pointer) {
            return;
        }
        match json {
            Json::String(text) if (below_secret && !text.is_empty()) || text.contains(PRIVATE_KEY) => {
                let value = std::mem::take(text);
                *json = (self.replace)(&self.pointer, value);
            }
            Json::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.below(&index.to_string(), item, below_secret);
                }
            }
            Json::Object(members) => {
                for (name, member) in members.iter_mut() {
                    let is_secret = SECRET_OPTIONS.contains(&name.to_ascii_lowercase().as_str());
                    self.below(name, member, below_secret || is_secret);
                }
            }
            _ => {}
        }
    }

    /// One step down in the pointer, and back.
    fn below(&mut self, step: &str, json: &mut Json, below_secret: bool) {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
        self.take(json, below_secret);
        self.pointer.truncate(length);
    }
}
