//! Static options whose function comes later: each, wherever it stands, leaves the start alone, is told once, and `validate` lists it.

use super::*;
use crate::static_config::judge_document;
use crate::validate::validate;

/// Every option that does not work yet, the topmost of each branch, with a text that uses it and nothing else.
fn uses(fields: &'static [Field], path: &str, around: &dyn Fn(Json) -> Json, out: &mut Vec<(String, Json)>) {
    for field in fields {
        let name = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        let inside = |value: Json| around(json!({field.name: value}));
        if matches!(field.support, Support::NotYet(_)) {
            // A switch that is off, or on by itself, asks for nothing.
            let used = match field.ty {
                Type::Flag if field.default == "true" => continue,
                Type::Flag => json!(true),
                _ => example(std::slice::from_ref(field))[field.name].take(),
            };
            out.push((name, inside(used)));
            continue;
        }
        match field.ty {
            Type::Group(below) | Type::Switch(below) => uses(below, &name, &inside, out),
            Type::Groups(below) => uses(below, &format!("{name}[]"), &|value| inside(json!([value])), out),
            Type::Named(below) => {
                uses(below, &format!("{name}.*"), &|value| inside(json!({"web": value})), out);
            }
            _ => {}
        }
    }
}

#[test]
fn each_static_option_that_comes_later_starts_and_is_told_once_and_listed() {
    let mut all = Vec::new();
    uses(STATIC, "", &|value| value, &mut all);
    assert!(all.len() > 20, "{all:?}");
    for (option, mut json) in all {
        let points = json
            .as_object_mut()
            .expect("sections")
            .entry("entryPoints")
            .or_insert_with(|| json!({"web": {}}));
        points["web"]["address"] = json!(":80");
        let text = json.to_string();
        let document = parse("t.yaml", &text, Format::Yaml).expect("JSON is YAML");
        let judged =
            judge_document(&document, &|_| Err("no files here".to_owned())).expect("static sections");
        let judged = judged.unwrap_or_else(|problems| panic!("{option} stops the start: {problems:?}"));
        let told: Vec<&str> = judged
            .notes
            .iter()
            .filter(|note| note.severity == Severity::NotYet)
            .map(|note| note.path.as_str())
            .collect();
        assert_eq!(told, [option.replace(".*", ".web")], "{text}");
        let report = validate("t.yaml", &text, Format::Yaml, &|_| Err("no files here".to_owned()), &|_| None);
        assert_eq!(report.exit_status(), 3, "{option}: {report}");
        let listed = report
            .options
            .iter()
            .any(|used| used.option.starts_with(&option) && matches!(used.support, Support::NotYet(_)));
        assert!(listed, "{option}: {report}");
    }
}
