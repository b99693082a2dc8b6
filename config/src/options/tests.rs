//! The table against the types, and readings of good and bad values.

mod conformance;
mod later;

use serde_json::{Value as Json, json};

use super::*;
use crate::document::{Format, Node, parse};
use crate::dynamic;
use crate::problem::Severity;
use crate::static_config;

fn node(yaml: &str) -> Node {
    parse("t", yaml, Format::Yaml).expect("the text is sound").root
}

fn reading(fields: &[Field], yaml: &str) -> (Json, Vec<String>) {
    let reading = read(fields, &node(yaml), "", false);
    let again = read(fields, &Node::from_json(&reading.json), "", false);
    assert_eq!(again.json, reading.json, "a reading of a reading changes nothing");
    let texts = |reading: &Reading| reading.findings.iter().map(Finding::status_text).collect::<Vec<_>>();
    let (mut first, mut second) = (texts(&reading), texts(&again));
    let in_order = first.clone();
    first.sort();
    second.sort();
    assert_eq!(first, second, "a reading of a reading finds the same");
    (reading.json, in_order)
}

/// A value for every option of a table, none of them the default.
fn example(fields: &[Field]) -> Json {
    let value = |field: &Field| match field.ty {
        Type::Text | Type::Content => json!("example"),
        Type::Flag => json!(field.default != "true"),
        Type::Integer => json!(7),
        Type::Number => json!(0.5),
        Type::Duration => json!("7s"),
        Type::Choice(words) | Type::AnyCase(words) => json!(words.last().map_or("", |(word, _)| *word)),
        Type::Texts | Type::Contents => json!(["example"]),
        Type::TextMap => json!({"Name": "example"}),
        Type::Group(fields) | Type::Switch(fields) => example(fields),
        Type::Groups(fields) => json!([example(fields)]),
        Type::Named(fields) => json!({"name": example(fields)}),
        Type::Free => json!({"any": "thing"}),
    };
    Json::Object(fields.iter().map(|field| (field.name.to_owned(), value(field))).collect())
}

/// Every option that `json` has and `other` has not, or has differently.
fn missing(json: &Json, other: &Json, path: &str, out: &mut Vec<String>) {
    match (json, other) {
        (Json::Object(left), Json::Object(right)) => {
            for (key, value) in left {
                missing(value, right.get(key).unwrap_or(&Json::Null), &format!("{path}.{key}"), out);
            }
        }
        (Json::Array(left), Json::Array(right)) if left.len() == right.len() => {
            for (value, other) in left.iter().zip(right) {
                missing(value, other, path, out);
            }
        }
        _ if json == other => {}
        _ => out.push(path.to_owned()),
    }
}

fn lost<T: serde::de::DeserializeOwned + serde::Serialize>(json: &Json) -> Vec<String> {
    let typed: T = serde_json::from_value(json.clone()).expect("the example fits the type");
    let back = serde_json::to_value(&typed).expect("the types print");
    let mut out = Vec::new();
    missing(json, &back, "", &mut out);
    out
}

#[test]
fn every_option_of_the_table_has_its_place_in_the_types() {
    let none: [&str; 0] = [];
    assert_eq!(lost::<dynamic::HttpRouter>(&example(routers::ROUTER)), none);
    assert_eq!(lost::<dynamic::HttpService>(&example(services::SERVICE)), none);
    let without_effect = [".forwardAuth.tls.caOptional"];
    assert_eq!(lost::<dynamic::Middleware>(&example(middlewares::MIDDLEWARE)), without_effect);
    assert_eq!(lost::<dynamic::ServersTransport>(&example(services::SERVERS_TRANSPORT)), none);
    assert_eq!(lost::<dynamic::TlsCertificate>(&example(certificates::CERTIFICATE)), none);
    assert_eq!(lost::<dynamic::TlsStore>(&example(certificates::STORE)), none);
    assert_eq!(lost::<dynamic::TlsOptions>(&example(certificates::OPTIONS)), [".preferServerCipherSuites"]);
    let mut config = example(STATIC);
    let point = config["entryPoints"]["name"].take();
    config.as_object_mut().map(|sections| sections.remove("entryPoints"));
    assert_eq!(lost::<static_config::EntryPoint>(&point), none);
    let later: Vec<String> = lost::<static_config::StaticConfig>(&config)
        .into_iter()
        .filter(|path| !later_or_without_effect(path))
        .collect();
    assert_eq!(later, none);
}

/// Options of the static table that the types need not hold, because nothing reads them.
fn later_or_without_effect(path: &str) -> bool {
    let mut fields = STATIC;
    for name in path.split('.').skip(1) {
        let Some(field) = fields.iter().find(|field| field.name == name) else { return false };
        if field.support != Support::Same {
            return true;
        }
        fields = field.ty.fields();
    }
    path == ".experimental"
}

#[test]
fn examples_have_no_findings_but_what_does_not_work_yet() {
    for fields in [DYNAMIC, STATIC] {
        let read = read(fields, &Node::from_json(&example(fields)), "", false);
        let errors: Vec<_> =
            read.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[test]
fn keys_match_in_any_case_and_scalars_are_taken_as_traefik_takes_them() {
    let yaml = "RULE: 1.5\nEntrypoints: 'web, third'\npriority: '12'\nTLS: true\nmiddlewares: [1, true]\nservice: s\n";
    let (json, findings) = reading(routers::ROUTER, yaml);
    assert_eq!(findings, Vec::<String>::new());
    assert_eq!(
        json,
        json!({"rule": "1.500000", "entryPoints": ["web", "third"], "priority": 12, "tls": {},
               "middlewares": ["1", "true"], "service": "s"})
    );
    let (json, findings) =
        reading(routers::ROUTER, "tls: false\nmiddlewares:\nentryPoints: []\npriority: ~\nnonsense:\n");
    assert_eq!((json, findings), (json!({}), vec![]));
    let timeouts = "loadBalancer: {responseForwarding: {flushInterval: 5}, passHostHeader: 'F'}";
    let (json, _) = reading(services::SERVICE, timeouts);
    assert_eq!(
        json,
        json!({"loadBalancer": {"responseForwarding": {"flushInterval": "5s"}, "passHostHeader": false}})
    );
}

#[test]
fn what_does_not_fit_is_named_with_its_mend_and_stays_as_written() {
    let yaml = "rule: [a]\nmidlewares: [x]\npriority: high\nTls: 3\nrUle: b\ntls: {domain: x}\n";
    let (json, findings) = reading(routers::ROUTER, yaml);
    assert_eq!(
        findings,
        [
            "rule: expected text, found a list",
            "midlewares: field not found (did you mean `middlewares`?)",
            "priority: expected a whole number, found \"high\"",
            "Tls: `tls` is given twice, in different case",
            "rUle: `rule` is given twice, in different case",
            "tls.domain: field not found (did you mean `domains`?)",
        ]
    );
    assert_eq!(json["midlewares"], json!(["x"]));
    let (_, findings) =
        reading(middlewares::MIDDLEWARE, "headers: {customRequestHeaders: {A: [1]}, stsSeconds: 1.5}");
    assert_eq!(
        findings,
        [
            "headers.customRequestHeaders.A: expected text, found a list",
            "headers.stsSeconds: expected a whole number, found \"1.500000\"",
        ]
    );
    let (_, findings) = reading(services::SERVICE, "loadBalancer: {servers: {url: x}, strategy: wr}");
    assert_eq!(
        findings,
        [
            "loadBalancer.servers: expected a list, found keys with values (begin each item with `- `)",
            "loadBalancer.strategy: expected one of wrr, p2c, hrw, leasttime, found \"wr\" (did you mean `wrr`?)",
        ]
    );
}

#[test]
fn what_does_not_work_yet_is_said_once_and_not_where_it_is_off() {
    let (_, findings) = reading(middlewares::MIDDLEWARE, "plugin: {p: {a: b}}");
    assert_eq!(findings, ["plugin: plugins do not work yet"]);
    let (_, findings) = reading(middlewares::MIDDLEWARE, "compres: {}");
    assert_eq!(findings, ["compres: field not found (did you mean `compress`?)"]);
    let (_, findings) = reading(STATIC, "log: {compress: false, maxAge: 0}\napi: {debug: false}\n");
    assert_eq!(findings, Vec::<String>::new());
}

#[test]
fn uses_name_the_option_with_stars() {
    let yaml = "http:\n  routers:\n    web: {rule: x, tls: {certResolver: le}}\n";
    let read = read(DYNAMIC, &node(yaml), "", true);
    let uses: Vec<(&str, bool)> =
        read.uses.iter().map(|used| (used.option.as_str(), used.support == Support::Same)).collect();
    assert_eq!(uses, [("http.routers.*.rule", true), ("http.routers.*.tls.certResolver", false)]);
}

#[test]
fn names_are_unique_in_any_case_and_defaults_fit_their_types() {
    fn walk(fields: &[Field], path: &str) {
        let mut names: Vec<String> = fields.iter().map(|field| field.name.to_lowercase()).collect();
        names.sort();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before, "{path} names an option twice");
        for field in fields {
            walk(field.ty.fields(), &format!("{path}.{}", field.name));
            match field.ty {
                Type::Flag if !["true", "false"].contains(&field.default) => {
                    assert!(field.default.starts_with("as "), "{path}.{}: {}", field.name, field.default);
                }
                Type::Duration if !field.default.is_empty() && !field.default.starts_with("as ") => {
                    let parsed = field.default.parse::<crate::duration::GoDuration>();
                    assert!(parsed.is_ok(), "{path}.{}: {}", field.name, field.default);
                }
                _ => {}
            }
        }
    }
    walk(DYNAMIC, "");
    walk(STATIC, "");
}

/// Compares a page with the committed one; `RAVELIN_REWRITE=1` writes it.
fn committed(name: &str, page: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference").join(name);
    if std::env::var_os("RAVELIN_REWRITE").is_some() {
        std::fs::write(&path, page).expect("the checkout can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "docs/reference/{name} is not what the table says; RAVELIN_REWRITE=1 writes it anew"
    );
}

#[test]
fn the_reference_pages_are_what_the_table_says() {
    committed("options.md", &options_markdown());
    committed("differences.md", &differences_markdown());
}

#[test]
fn differences_concern_options_that_exist() {
    for pattern in DIFFERENCES.iter().flat_map(|difference| difference.concerns) {
        let known = paths(DYNAMIC, "").into_iter().chain(paths(STATIC, "")).any(|path| path == **pattern);
        assert!(known, "{pattern} is no option");
    }
}

/// The paths of all options, as uses name them.
fn paths(fields: &[Field], above: &str) -> Vec<String> {
    let mut out = Vec::new();
    for field in fields {
        let path = if above.is_empty() { field.name.to_owned() } else { format!("{above}.{}", field.name) };
        let below = match field.ty {
            Type::Named(_) => format!("{path}.*"),
            Type::Groups(_) => format!("{path}[]"),
            _ => path.clone(),
        };
        out.push(path);
        out.extend(paths(field.ty.fields(), &below));
    }
    out
}
