//! What this build knows of the objects that it is given: which are set aside, which are in error, and where the whole generation
//! has to be refused. It must not build anything.

use std::sync::Arc;

use ravelin_config::options::SCHEMA_VERSION;
use ravelin_config::rule::Syntax;
use ravelin_config::static_config::Core;
use ravelin_config::understands::MUST_BE_KNOWN;
use ravelin_config::{ConfigMap, Key, Kind, Object, Record, RecordError};

use super::{Refusal, router, unreadable, wire};

/// A record that came.
#[derive(Debug)]
pub(super) enum Read {
    /// One to build with.
    Known(Record),
    /// Of a kind that this build does not know and may leave out: why, for people.
    Aside(Arc<str>),
}

/// The language of rules of routers that name none in a configuration, before its sections are read.
pub(super) fn language(map: &ConfigMap) -> Syntax {
    let record = Key::of(Kind::StaticSection, "core").ok().and_then(|key| {
        let bytes = map.get(key.as_str())?;
        super::record(&key, bytes).ok()
    });
    let value = record.as_ref().and_then(Record::effective);
    let core = value.and_then(|object| serde_json::from_slice::<Core>(&object.bytes).ok());
    Core::syntax(core.as_ref())
}

/// Reads a record. One without a place of its own may be in error later; here it is refused only where the rest could not be
/// served safely without it.
///
/// # Errors
/// [`Refusal::Record`].
pub(super) fn read(key: &Key, bytes: &[u8], language: Syntax) -> Result<Read, Refusal> {
    let record = match Record::from_wire(wire(key, bytes)?) {
        Ok(record) => record,
        // A kind of its own has a prefix of its own: nothing that is built here refers to it.
        Err(RecordError::UnknownKind { code }) if key.kind().is_none() && code & MUST_BE_KNOWN == 0 => {
            return Ok(Read::Aside(format!("this build knows no objects of kind {code}: set aside").into()));
        }
        Err(error) => return Err(unreadable(key, &error)),
    };
    match key.kind() {
        Some(Kind::EntryPoint | Kind::StaticSection) => match record.effective().and_then(newer) {
            Some(reason) => Err(unreadable(key, &reason)),
            None => Ok(Read::Known(record)),
        },
        Some(Kind::HttpRouter) => match record.effective().and_then(newer) {
            Some(reason) if !router::has_place(&record, language) => Err(unreadable(
                key,
                &format!("{reason}; and its rule cannot be read, so that its place is not known"),
            )),
            _ => Ok(Read::Known(record)),
        },
        _ => Ok(Read::Known(record)),
    }
}

/// Why an object must not be read as if it said all that this build knows.
pub(super) fn newer(object: &Object) -> Option<String> {
    (object.schema > SCHEMA_VERSION).then(|| {
        format!(
            "written with schema {}, newer than the {SCHEMA_VERSION} of this version of Ravelin",
            object.schema
        )
    })
}
