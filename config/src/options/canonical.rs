//! Objects from options and options from objects: the schema version and the byte form in one place.

use serde_json::Value as Json;

use crate::canonical::{CANONICAL_DEPTH_MAX, CanonicalError, value_to_bytes};
use crate::object::{Kind, Object};

/// The version of the options' table that objects are written with.
pub const SCHEMA_VERSION: u16 = 1;

/// An object of this kind with these options.
///
/// # Errors
/// [`CanonicalError`] if the options are nested too deep: a reference to a secret, one level deeper than what it stands for,
/// must fit too.
pub fn object(kind: Kind, json: &Json) -> Result<Object, CanonicalError> {
    if depth(json) >= CANONICAL_DEPTH_MAX {
        return Err(CanonicalError::TooDeep);
    }
    Ok(Object::new(kind, SCHEMA_VERSION, value_to_bytes(json)?))
}

/// Lists and groups around the innermost value. Recursion is bounded by the depth that documents may have.
fn depth(json: &Json) -> usize {
    match json {
        Json::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Json::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

/// The options of an object, whoever wrote it.
///
/// # Errors
/// What is wrong with the bytes, if they are no JSON object or of a newer schema.
pub fn object_json(object: &Object) -> Result<Json, String> {
    if object.schema > SCHEMA_VERSION {
        return Err(format!(
            "written with schema {}, newer than the {SCHEMA_VERSION} of this version of Ravelin",
            object.schema
        ));
    }
    match serde_json::from_slice(&object.bytes) {
        Ok(json @ Json::Object(_)) => Ok(json),
        Ok(_) => Err("the object's bytes are no JSON object".to_owned()),
        Err(error) => Err(format!("the object's bytes are no JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_gives_its_options_back() {
        let options = json!({"b": [1, {"x": "é\n\""}], "a": true});
        let object = object(Kind::HttpRouter, &options).expect("shallow");
        assert_eq!(object_json(&object), Ok(options));
    }

    #[test]
    fn foreign_bytes_are_errors() {
        let with = |schema, text: &str| Object::new(Kind::HttpRouter, schema, Arc::from(text.as_bytes()));
        assert!(object_json(&with(SCHEMA_VERSION + 1, "{}")).is_err_and(|error| error.contains("newer")));
        assert!(object_json(&with(1, "[]")).is_err_and(|error| error.contains("no JSON object")));
        assert!(object_json(&with(1, "{")).is_err_and(|error| error.contains("no JSON")));
    }
}
