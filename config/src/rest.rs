//! What a client puts in place of the provider `rest`: one JSON text in the form of a dynamic configuration. It must not decide who
//! may put anything, nor apply it.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::document::{self, Format};
use crate::draft::{Draft, draft_from_documents};
use crate::options;

/// The provider's name, as behind the `@`.
pub const PROVIDER: &str = "rest";

/// What was put.
#[derive(Clone, Debug)]
pub struct Put {
    /// What is wanted from now on; none where the text names no objects of any kind, which keeps those of before, as in Traefik.
    pub draft: Option<Arc<Draft>>,
    /// What of the text was taken in, for the answer.
    pub taken: Json,
}

/// Reads what was put. Names match in any case; sections that are not known are left out. Files that certificates and keys name are
/// read, so it may block.
///
/// # Errors
/// The text is no JSON, or cannot be a configuration: one line.
pub fn read(text: &[u8]) -> Result<Put, String> {
    let json: Json = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let taken = taken(&json)?;
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let told = |problems: Vec<crate::Problem>| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    // Read once more for the places: JSON is YAML.
    let document = document::parse(PROVIDER, text, Format::Yaml).map_err(told)?;
    let names_objects = taken.values().any(|section| section.as_object().is_some_and(|map| !map.is_empty()));
    let draft = match names_objects {
        true => Some(Arc::new(draft_from_documents(PROVIDER, &[document]).map_err(told)?)),
        false => None,
    };
    Ok(Put { draft, taken: Json::Object(taken) })
}

/// The sections and kinds of objects that are known, under their own names.
fn taken(json: &Json) -> Result<Map<String, Json>, String> {
    let map_of = |json: &Json, what: &str| match json {
        Json::Object(map) => Ok(map.clone()),
        Json::Null => Ok(Map::new()),
        _ => Err(format!("{what}: expected keys with values")),
    };
    let mut sections = Map::new();
    for (name, section) in map_of(json, "the configuration")? {
        let Some(field) = options::DYNAMIC.iter().find(|field| field.name.eq_ignore_ascii_case(&name)) else {
            continue;
        };
        if section.is_null() {
            continue;
        }
        let mut kinds = Map::new();
        for (name, objects) in map_of(&section, field.name)? {
            let known = field.ty.fields().iter().find(|kind| kind.name.eq_ignore_ascii_case(&name));
            if let Some(kind) = known.filter(|_| !objects.is_null()) {
                kinds.insert(kind.name.to_owned(), objects);
            }
        }
        sections.insert(field.name.to_owned(), Json::Object(kinds));
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(text: &str) -> Put {
        read(text.as_bytes()).unwrap_or_else(|wrong| panic!("{text}: {wrong}"))
    }

    #[test]
    fn objects_get_the_providers_name_and_what_was_taken_is_told() {
        let text = r#"{"HTTP": {"Routers": {"r": {"rule": "Host(`a.test`)", "service": "s"}}, "nonsense": 1}, "more": 2}"#;
        let put = put(text);
        let draft = put.draft.expect("it names objects");
        let keys: Vec<&str> = draft.objects.keys().map(crate::Key::as_str).collect();
        assert_eq!((draft.provider.as_str(), keys), ("rest", vec!["http/routers/r@rest"]));
        let router = json!({"rule": "Host(`a.test`)", "service": "s"});
        assert_eq!(put.taken, json!({"http": {"routers": {"r": router}}}));
    }

    #[test]
    fn what_names_no_kind_of_object_keeps_those_of_before_and_an_empty_kind_does_not() {
        for text in ["{}", "null", r#"{"http": {}}"#, r#"{"http": null}"#, r#"{"http": {"nonsense": 1}}"#] {
            assert!(put(text).draft.is_none(), "{text}");
        }
        let emptied = put(r#"{"http": {"routers": {}}}"#).draft.expect("routers are named: there are none");
        assert!(emptied.objects.is_empty());
    }

    #[test]
    fn what_is_no_json_or_no_configuration_is_refused_with_its_place() {
        let wrong = |text: &str| read(text.as_bytes()).expect_err(text);
        assert_eq!(wrong("not json"), "expected ident at line 1 column 2");
        assert_eq!(wrong("[1]"), "the configuration: expected keys with values");
        assert_eq!(wrong(r#"{"http": 1}"#), "http: expected keys with values");
        assert!(read(b"{\"http\": {\"routers\": {\"\xff\": {}}}}").is_err(), "no UTF-8");
        wrong(&"[".repeat(100_000));
    }
}
