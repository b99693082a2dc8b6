//! Texts into trees: scalars, places, and every reason why a text is refused.

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::{DOCUMENT_BYTES_MAX, Document, Format, Node, Value, parse, parse_provided};
use crate::problem::{Position, Problem};

fn read(text: &str, format: Format) -> Document {
    parse("t", text, format).expect("the text is sound")
}

fn refused(text: &str, format: Format) -> Problem {
    let problems = parse("t.yaml", text, format).expect_err("the text must be refused");
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].clone()
}

fn at(node: &Node, keys: &[&str]) -> (Position, Node) {
    let (first, rest) = keys.split_first().expect("a key is asked for");
    let entry = node.entry(first).expect("the key is there");
    if rest.is_empty() { (entry.at, entry.node.clone()) } else { at(&entry.node, rest) }
}

#[test]
fn yaml_scalars_resolve_as_go_reads_them() {
    let text = "a: [yes, on, 'true', true, 1_000, 010, 0x1F, 1.5, 1e3, ~, '', !!str 5, 1.2.3, 2020-01-01, 10s, -7, .5]";
    let root = read(text, Format::Yaml).root;
    let expected = json!({"a": [
        "yes", "on", "true", true, 1000, 8, 31, 1.5, 1000.0, null, "", "5", "1.2.3", "2020-01-01", "10s", -7, 0.5
    ]});
    assert_eq!(root.to_json(), expected);
    assert_eq!(Node::from_json(&expected).to_json(), expected);
}

#[test]
fn both_formats_give_the_same_tree_with_places() {
    let yaml = "http:\n  routers:\n    wéb: {rule: \"Host(`a`)\", priority: 5}\n";
    let toml = "[http.routers]\n\"wéb\" = {rule = 'Host(`a`)', priority = 5}\n";
    let (yaml, toml) = (read(yaml, Format::Yaml).root, read(toml, Format::Toml).root);
    assert_eq!(yaml.to_json(), toml.to_json());
    let keys = ["http", "routers", "wéb", "priority"];
    assert_eq!(at(&yaml, &keys).0, Position { line: 3, column: 30 });
    assert_eq!(at(&toml, &keys).0, Position { line: 2, column: 30 });
    assert_eq!(at(&yaml, &keys).1.at, Position { line: 3, column: 40 });
    assert_eq!(at(&toml, &keys).1.at, Position { line: 2, column: 41 });
}

#[test]
fn keys_are_found_in_any_case_and_the_exact_spelling_wins() {
    let root = read("Rule: 1\nrule: 2\n", Format::Yaml).root;
    assert_eq!(root.entry("rule").map(|entry| &entry.node.value), Some(&Value::Integer(2)));
    assert_eq!(root.entry("RULE").map(|entry| &entry.node.value), Some(&Value::Integer(1)));
}

#[test]
fn a_provided_text_is_a_template_first_and_knows_its_places() {
    let environment = |name: &str| (name == "HOST").then(|| "a.test".to_owned());
    let read = |text: &str| parse_provided("t.yaml", text, Format::Yaml, &environment);
    let text = "a: 1\n{{ range list 1 2 }}\nb{{ . }}: {x: '{{ env `HOST` }}'}\n{{ end }}\nc: 2\n";
    let root = read(text).expect("a good template").root;
    assert_eq!(root.to_json(), json!({"a": 1, "b1": {"x": "a.test"}, "b2": {"x": "a.test"}, "c": 2}));
    let place = |key: &str| root.entry(key).map(|entry| (entry.at.line, entry.at.column));
    assert_eq!((place("b2"), place("c")), (Some((3, 1)), Some((5, 1))));
    let inner = root.entry("b2").and_then(|entry| entry.node.entry("x")).expect("it is there");
    assert_eq!((inner.at.line, inner.at.column, inner.node.at.column), (3, 12, 15));

    let broken = read("a: 1\n{{ range list 1 2 }}\nb: [\n{{ end }}\n").expect_err("no YAML");
    assert!(
        broken[0].at.line >= 3 && broken[0].message.contains("of what the template gives)"),
        "{broken:?}"
    );
    let unknown = read("a: 1\nb: x{{ enf \"B\" }}\n").expect_err("no such function");
    assert_eq!((unknown.len(), unknown[0].at), (1, Position { line: 2, column: 8 }));
    let plain = read("a: {b: {c: 1}}\n").expect("braces are no template");
    assert_eq!(plain.root.to_json(), json!({"a": {"b": {"c": 1}}}));
}

#[test]
fn empty_texts_hold_nothing_and_only_the_first_document_counts() {
    for text in ["", "# nothing\n", "---\n", "\u{feff}# x"] {
        assert_eq!(read(text, Format::Yaml).root.value, Value::Null, "{text:?}");
    }
    assert_eq!(read("", Format::Toml).root.entries(), []);
    let several = read("\u{feff}---\r\na: 1\r\n---\r\nb: [\r\n", Format::Yaml).root;
    assert_eq!(several.to_json(), json!({"a": 1}));
    assert_eq!(
        read("{\"a\": {\"b\": [1, \"x\"]}}", Format::Yaml).root.to_json(),
        json!({"a": {"b": [1, "x"]}})
    );
}

#[test]
fn anchors_and_merge_keys_unfold() {
    let text = "base: &base {a: 1, b: 2}\nx: {<<: *base, b: 3}\ny: *base\nz: {<<: [{a: 9}, *base]}\n";
    let root = read(text, Format::Yaml).root.to_json();
    assert_eq!(root["x"], json!({"a": 1, "b": 3}));
    assert_eq!(root["y"], json!({"a": 1, "b": 2}));
    assert_eq!(root["z"], json!({"a": 9, "b": 2}));
}

#[test]
fn bad_syntax_is_refused_with_its_place() {
    let problem = refused("http:\n  routers: {\n", Format::Yaml);
    assert!(problem.message.starts_with("cannot be read as YAML"), "{problem}");
    assert_eq!(problem.at, Position { line: 2, column: 12 }, "{problem}");
    let problem = refused("a = 1\n= x\n", Format::Toml);
    assert!(problem.message.starts_with("cannot be read as TOML"), "{problem}");
    assert_eq!(problem.at.line, 2, "{problem}");
    assert!(refused("[1, 2]", Format::Yaml).message.contains("at the top"));
    assert!(refused("a: !!binary x", Format::Yaml).message.contains("tag"));
    assert!(refused("? [a]\n: 1", Format::Yaml).message.contains("a key must be text"));
}

#[test]
fn a_key_given_twice_is_refused_with_both_places() {
    let problem = refused("http:\n  routers:\n    a: {}\n    b: {}\n    a: {}\n", Format::Yaml);
    assert_eq!(
        problem.to_string(),
        "t.yaml:5:5: the key `a` is already given at 3:5 (rename or remove the duplicate)"
    );
    let many: String = (0..40).map(|n| format!("k{n}: 1\n")).collect::<String>() + "k3: 2\n";
    assert_eq!(refused(&many, Format::Yaml).at, Position { line: 41, column: 1 });
    assert!(refused("a = 1\na = 2\n", Format::Toml).message.contains("duplicate key"));
}

#[test]
fn alias_bombs_deep_nesting_and_size_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{aliases}]").expect("writing to a string cannot fail");
    }
    let problem = refused(&bomb, Format::Yaml);
    assert!(problem.message.contains("aliases unfold to more than"), "{problem}");
    assert!(problem.at.line > 1, "{problem}");
    let nested =
        (0..60).map(|n| format!("&n{n} [")).collect::<String>() + &"x, ".repeat(20_000) + &"]".repeat(60);
    assert!(refused(&format!("a: {nested}"), Format::Yaml).message.contains("anchors and aliases unfold"));
    assert!(refused("a: &a [*a]", Format::Yaml).message.contains("contains it"));

    let deep = format!("a: {}{}", "[".repeat(70), "]".repeat(70));
    assert!(refused(&deep, Format::Yaml).message.contains("nested more than"));
    assert!(refused(&format!("a: {}{}", "[".repeat(9000), "]".repeat(9000)), Format::Yaml).at.line == 1);
    let deep = format!("a = {}{}", "[".repeat(70), "]".repeat(70));
    assert!(refused(&deep, Format::Toml).message.contains("nested more than"));
    assert!(refused(&format!("a = {}{}", "[".repeat(9000), "]".repeat(9000)), Format::Toml).at.line == 1);

    let few = |most| super::yaml::parse("t", "a: [1, 2, 3]", most);
    assert!(few(5).is_ok());
    assert!(few(4).is_err_and(|problem| problem.message.contains("more values than one text may hold")));
    let large = "#".repeat(DOCUMENT_BYTES_MAX + 1);
    assert!(refused(&large, Format::Yaml).message.contains("bytes long"));
}

#[test]
fn the_extension_names_the_format() {
    for (path, format) in [
        ("a.yml", Some(Format::Yaml)),
        ("a.YAML", Some(Format::Yaml)),
        ("d/a.Toml", Some(Format::Toml)),
        ("a.json", None),
        ("a", None),
    ] {
        assert_eq!(Format::of_path(Path::new(path)), format, "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn any_text_is_answered(text in "[-a-c:{}\\[\\]&*<|>'\"!#\\n 0-9.,?~%]{0,60}") {
        for format in [Format::Yaml, Format::Toml] {
            if let Ok(document) = parse("t", &text, format) {
                prop_assert!(matches!(document.root.value, Value::Map(_) | Value::Null));
            }
        }
    }
}
