//! The one byte form of an object: JSON with sorted keys, no blanks, no absent values.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::object::{Kind, Object};

/// The version of the options' table that objects are written with.
pub const SCHEMA_VERSION: u16 = 1;

/// An object of this kind with these options.
pub fn object(kind: Kind, json: &Json) -> Object {
    let mut bytes = Vec::with_capacity(128);
    write(json, &mut bytes);
    Object { kind, schema: SCHEMA_VERSION, bytes: Arc::from(bytes) }
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

fn write(json: &Json, out: &mut Vec<u8>) {
    match json {
        Json::Object(map) => {
            // serde_json keeps the order of insertion if any crate of the build asks for that.
            let mut entries: Vec<(&String, &Json)> =
                map.iter().filter(|(_, value)| !value.is_null()).collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                scalar(&Json::String(key.clone()), out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
        Json::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        other => scalar(other, out),
    }
}

fn scalar(json: &Json, out: &mut Vec<u8>) {
    out.extend_from_slice(json.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bytes_have_one_form() {
        let options = json!({"b": [1, {"y": null, "x": "é\n\""}], "a": true, "n": null, "c": 0.5});
        let object = object(Kind::HttpRouter, &options);
        assert_eq!(
            std::str::from_utf8(&object.bytes).expect("JSON is text"),
            r#"{"a":true,"b":[1,{"x":"é\n\""}],"c":0.5}"#
        );
        let read = object_json(&object).expect("the bytes were just written");
        assert_eq!(super::object(Kind::HttpRouter, &read), object);
    }

    #[test]
    fn foreign_bytes_are_errors() {
        let with =
            |schema, text: &str| Object { kind: Kind::HttpRouter, schema, bytes: Arc::from(text.as_bytes()) };
        assert!(object_json(&with(SCHEMA_VERSION + 1, "{}")).is_err_and(|error| error.contains("newer")));
        assert!(object_json(&with(1, "[]")).is_err_and(|error| error.contains("no JSON object")));
        assert!(object_json(&with(1, "{")).is_err_and(|error| error.contains("no JSON")));
    }
}
