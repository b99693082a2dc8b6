//! Canonical JSON: the one byte form of an object, so that equal objects have equal bytes and digests.
//! It must not add or drop anything: absent and null stay apart.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

/// Deepest nesting of arrays and objects.
pub const CANONICAL_DEPTH_MAX: usize = 100;

/// Why a value has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// It cannot be written as JSON.
    #[error("the value cannot be written as JSON")]
    Serialize(#[source] serde_json::Error),
    /// It is nested deeper than [`CANONICAL_DEPTH_MAX`].
    #[error("the value is nested deeper than {CANONICAL_DEPTH_MAX}")]
    TooDeep,
}

/// The canonical bytes of a value: keys sorted by their bytes, no blanks, numbers and texts as `serde_json` writes them.
///
/// # Errors
/// [`CanonicalError`] if the value is no JSON or nested too deep.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Arc<[u8]>, CanonicalError> {
    let value = serde_json::to_value(value).map_err(CanonicalError::Serialize)?;
    value_to_bytes(&value)
}

/// As [`to_bytes`], for a value that is JSON already.
///
/// # Errors
/// [`CanonicalError::TooDeep`].
pub fn value_to_bytes(value: &Value) -> Result<Arc<[u8]>, CanonicalError> {
    let mut bytes = Vec::with_capacity(128);
    write(value, 0, &mut bytes)?;
    Ok(Arc::from(bytes))
}

// Sorted here and not by the map: its order depends on a feature that any crate of the build may switch on.
fn write(value: &Value, depth: usize, bytes: &mut Vec<u8>) -> Result<(), CanonicalError> {
    if depth > CANONICAL_DEPTH_MAX {
        return Err(CanonicalError::TooDeep);
    }
    match value {
        Value::Array(items) => {
            bytes.push(b'[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    bytes.push(b',');
                }
                write(item, depth + 1, bytes)?;
            }
            bytes.push(b']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            bytes.push(b'{');
            for (position, (key, item)) in members.into_iter().enumerate() {
                if position > 0 {
                    bytes.push(b',');
                }
                serde_json::to_writer(&mut *bytes, key).map_err(CanonicalError::Serialize)?;
                bytes.push(b':');
                write(item, depth + 1, bytes)?;
            }
            bytes.push(b'}');
        }
        scalar => serde_json::to_writer(&mut *bytes, scalar).map_err(CanonicalError::Serialize)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(value: &Value) -> String {
        String::from_utf8(value_to_bytes(value).expect("shallow").to_vec()).expect("JSON is UTF-8")
    }

    #[test]
    fn golden_bytes() {
        let value = json!({"b": [1, -2, 1.5, true, null], "a": {"é": "\u{1}\"\\/", "Z": {}}, "B": []});
        assert_eq!(text(&value), r#"{"B":[],"a":{"Z":{},"é":"\u0001\"\\/"},"b":[1,-2,1.5,true,null]}"#);
    }

    #[test]
    fn absent_is_not_null_and_depth_is_bounded() {
        assert_ne!(text(&json!({"a": null})), text(&json!({})));
        let mut deep = json!(1);
        for _ in 0..=CANONICAL_DEPTH_MAX {
            deep = json!([deep]);
        }
        assert!(matches!(value_to_bytes(&deep), Err(CanonicalError::TooDeep)));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>()
                .prop_filter_map("finite", |number| serde_json::Number::from_f64(number).map(Value::Number)),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,3}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_bytes_read_back_as_the_same_value_and_are_a_fixed_point(value in value()) {
            let bytes = text(&value);
            let again: Value = serde_json::from_str(&bytes).expect("canonical bytes are JSON");
            prop_assert_eq!(text(&again), bytes);
        }
    }
}
