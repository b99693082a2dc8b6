//! The judge over whole configurations: texts of errors, last good values, and what a change touches.

mod bad_input;
mod change;

use std::collections::BTreeMap;

use super::*;
use crate::document::{Format, parse};
use crate::draft::draft_with_files;
use crate::options;

/// A draft of one YAML text of provider `file`.
pub(super) fn draft(yaml: &str) -> Draft {
    let document = parse("t.yaml", yaml, Format::Yaml).expect("the text is sound");
    draft_with_files("file", &[document], &|_| Err("no such file".to_owned()))
        .expect("documents give a draft")
}

/// The objects of a static text: entry points and sections, by key.
pub(super) fn entry_points(yaml: &str) -> Draft {
    let document = parse("s.yaml", yaml, Format::Yaml).expect("the text is sound");
    let mut draft = Draft { provider: INTERNAL.to_owned(), ..Draft::default() };
    for entry in document.root.entries() {
        let reading = options::read(options::of_object(Kind::EntryPoint, ""), &entry.node, "", false);
        let object = options::object(Kind::EntryPoint, &reading.json).expect("shallow");
        let key = Key::of(Kind::EntryPoint, &entry.key).expect("a short name");
        draft.objects.insert(key, Arc::new(object));
    }
    draft
}

/// A checker with entry points web and websecure, and this.
pub(super) fn checker(yaml: &str) -> Checker {
    let mut checker = Checker::default();
    checker.replace_provider(&entry_points("web: {address: ':80'}\nwebsecure: {address: ':443'}\n"));
    checker.replace_provider(&draft(yaml));
    checker
}

/// The errors of an object; `None` if it is enabled.
pub(super) fn errors(checker: &Checker, key: &str) -> Option<(State, Vec<String>)> {
    let status = &checker.record(key).expect("the object is known").status;
    (status.state != State::Enabled).then(|| (status.state, status.errors.clone()))
}

/// The one error of a disabled object.
pub(super) fn error(checker: &Checker, key: &str) -> String {
    match errors(checker, key) {
        Some((State::Disabled, errors)) => errors.join(" | "),
        other => panic!("{key} should be disabled, is {other:?}"),
    }
}

pub(super) const GOOD: &str = "
http:
  routers:
    web: {rule: Host(`a.test`), service: s, middlewares: [chain], priority: 7, tls: {options: modern, certResolver: le}}
    plain: {rule: PathPrefix(`/`), service: split@file, entryPoints: [web]}
  services:
    s: {loadBalancer: {servers: [{url: 'http://127.0.0.1:1'}], serversTransport: t}}
    split: {weighted: {services: [{name: s, weight: 3}, {name: s@file}]}, middlewares: [limit]}
  middlewares:
    chain: {chain: {middlewares: [strip, head, limit]}}
    strip: {stripPrefix: {prefixes: /a}}
    head: {headers: {customRequestHeaders: {X-A: '1'}}}
    limit: {inFlightReq: {amount: 3, sourceCriterion: {ipStrategy: {depth: 1}}}}
    secure: {redirectScheme: {scheme: https, port: 443, permanent: true}}
  serversTransports:
    t: {insecureSkipVerify: true, forwardingTimeouts: {dialTimeout: 1}}
tls:
  options:
    modern: {minVersion: VersionTLS13, sniStrict: true}
  stores:
    default: {}
";

#[test]
fn a_good_configuration_is_enabled_as_a_whole() {
    let checker = checker(GOOD);
    let not_enabled: Vec<_> =
        checker.records().filter(|(_, record)| record.status.state != State::Enabled).collect();
    assert_eq!(not_enabled, []);
    assert_eq!(checker.records().count(), 14);
}

#[test]
fn verdicts_depend_on_the_objects_alone() {
    let first = checker(GOOD);
    let records: BTreeMap<Key, Record> =
        first.records().map(|(key, record)| (key.clone(), record.clone())).collect();
    let mut again = Checker::from_records(records.clone());
    assert_eq!(again.judge_again(), RecordChange::default());
    assert_eq!(again.replace_provider(&draft(GOOD)), RecordChange::default());
}

const FAULTS: &str = "
http:
  routers:
    no-service: {rule: Host(`a`)}
    bad-service: {rule: Host(`a`), service: nope}
    foreign: {rule: Host(`a`), service: s@docker}
    bad-middleware: {rule: Host(`a`), service: s, middlewares: [nope]}
    no-rule: {service: s}
    bad-rule: {rule: Hast(`a`), service: s}
    bad-regex: {rule: PathRegexp(`(`), service: s}
    high: {rule: Host(`a`), service: s, priority: 9223372036854775807}
    nowhere: {rule: Host(`a`), service: s, entryPoints: [nowhere]}
    partly: {rule: Host(`a`), service: s, entryPoints: [web, nowhere]}
    options: {rule: Host(`a`), service: s, tls: {options: nope}}
    api: {rule: Host(`a`), service: api@internal}
    empty: {rule: Host(`a`), service: empty}
    two: {rule: Host(`a`), service: two}
    none: {rule: Host(`a`), service: s, middlewares: [none]}
    both: {rule: Host(`a`), service: s, middlewares: [both]}
  services:
    s: {loadBalancer: {servers: [{url: 'http://127.0.0.1:1'}]}}
    empty: {}
    two: {loadBalancer: {}, weighted: {}}
    transport: {loadBalancer: {serversTransport: nope}}
    url: {loadBalancer: {servers: [{url: '127.0.0.1:80'}]}}
  middlewares:
    none: {}
    both: {chain: {}, stripPrefix: {}}
";

#[test]
fn faults_are_told_in_traefiks_words() {
    let checker = checker(FAULTS);
    let table = [
        ("routers/no-service", "the service is missing on the router"),
        ("routers/bad-service", "the service \"nope@file\" does not exist"),
        ("routers/foreign", "the service \"s@docker\" does not exist"),
        ("routers/bad-middleware", "middleware \"nope@file\" does not exist"),
        ("routers/no-rule", "router has no rule"),
        (
            "routers/high",
            "the router priority 9223372036854775807 exceeds the max user-defined priority 9223372036854774807",
        ),
        ("routers/nowhere", "entryPoint \"nowhere\" doesn't exist | no valid entryPoint for this router"),
        ("routers/options", "unknown TLS options: nope@file"),
        ("routers/api", "api is not enabled"),
        ("routers/empty", "the service \"empty@file\" does not have any type defined"),
        (
            "services/two",
            "cannot create service: multi-types service not supported, consider declaring two different pieces of service instead",
        ),
        (
            "routers/none",
            "invalid middleware \"none@file\" configuration: invalid middleware type or middleware does not exist",
        ),
        (
            "middlewares/both",
            "cannot create middleware: multi-types middleware not supported, consider declaring two different pieces of middleware instead",
        ),
        ("services/transport", "servers transport not found nope@file"),
        ("services/url", "error parsing server URL 127.0.0.1:80: it has no scheme such as http://"),
    ];
    for (name, text) in table {
        assert_eq!(error(&checker, &format!("http/{name}@file")), text);
    }
    for (name, begin) in [
        ("bad-rule", "error while parsing rule Hast(`a`): "),
        ("bad-regex", "error while adding rule PathRegexp(`(`): "),
        ("two", "service \"two@file\": cannot create service: multi-types"),
        ("both", "middleware \"both@file\": cannot create middleware: multi-types"),
    ] {
        let text = error(&checker, &format!("http/routers/{name}@file"));
        assert!(text.starts_with(begin), "{text}");
    }
    let partly = Some((State::Warning, vec!["entryPoint \"nowhere\" doesn't exist".to_owned()]));
    assert_eq!(errors(&checker, "http/routers/partly@file"), partly);
}

#[test]
fn cycles_and_endless_chains_are_found() {
    let cycle = checker(
        "
http:
  routers:
    r: {rule: Host(`a`), service: s, middlewares: [a]}
    w: {rule: Host(`a`), service: x}
  middlewares:
    a: {chain: {middlewares: [b]}}
    b: {chain: {middlewares: [a]}}
    self: {chain: {middlewares: [self]}}
  services:
    s: {loadBalancer: {}}
    x: {weighted: {services: [{name: y}]}}
    y: {weighted: {services: [{name: x}]}}
",
    );
    let text = error(&cycle, "http/routers/r@file");
    let recursion = "could not instantiate middleware a@file: recursion detected in a@file->b@file->a@file";
    assert!(text.starts_with(recursion), "{text}");
    assert!(error(&cycle, "http/middlewares/self@file").contains("self@file->self@file"));
    let text = error(&cycle, "http/routers/w@file");
    assert_eq!(text, "could not instantiate service x@file: recursion detected in x@file->y@file->x@file");

    let mut wide = "http:\n  middlewares:\n    m0: {stripPrefix: {prefixes: /}}\n".to_owned();
    for level in 1..40 {
        let below = level - 1;
        wide.push_str(&format!("    m{level}: {{chain: {{middlewares: [m{below}, m{below}]}}}}\n"));
    }
    let wide = checker(&wide);
    assert_eq!(errors(&wide, "http/middlewares/m6@file"), None);
    assert!(error(&wide, "http/middlewares/m39@file").contains("longer than 256"));

    let mut deep = "http:\n  middlewares:\n    m0: {stripPrefix: {prefixes: /}}\n".to_owned();
    for level in 1..2000 {
        deep.push_str(&format!("    m{level}: {{chain: {{middlewares: [m{}]}}}}\n", level - 1));
    }
    assert!(error(&checker(&deep), "http/middlewares/m1999@file").contains("more than 64 deep"));
}

#[test]
fn entry_points_pass_their_own_faults_to_their_routers() {
    let mut checker = Checker::default();
    checker.replace_provider(&draft(
        "http: {routers: {r: {rule: Host(`a`), service: s}, e: {rule: Host(`a`), service: s, entryPoints: other}}, \
         services: {s: {loadBalancer: {}}}, middlewares: {m: {stripPrefix: {prefixes: /}}}}",
    ));
    assert_eq!(errors(&checker, "http/routers/r@file"), None, "without entry points nothing is said of them");
    checker.replace_provider(&entry_points(
        "web: {address: ':80', http: {middlewares: [m, nope@file]}}\nother: {address: ':81', http: {middlewares: m}}\n",
    ));
    assert_eq!(error(&checker, "http/routers/r@file"), "middleware \"nope@file\" does not exist");
    assert_eq!(errors(&checker, "http/routers/e@file"), None, "a bare name means the router's provider");
    let web = errors(&checker, "static/entryPoints/web");
    assert_eq!(web, Some((State::Warning, vec!["middleware \"nope@file\" does not exist".to_owned()])));

    checker.replace_provider(&entry_points("web: {address: ':80', asDefault: true}\nother: {address: x}\n"));
    assert_eq!(errors(&checker, "http/routers/r@file"), None);
    assert_eq!(error(&checker, "static/entryPoints/other"), "address: missing port in address \"x\"");
    assert_eq!(
        error(&checker, "http/routers/e@file"),
        "entryPoint \"other\": address: missing port in address \"x\""
    );
    checker.replace_provider(&entry_points("traefik: {address: ':80'}\nu: {address: ':53/udp'}\n"));
    assert_eq!(error(&checker, "http/routers/r@file"), "no valid entryPoint for this router");
}

#[test]
fn routers_on_one_host_with_different_tls_options_are_warned() {
    let text = |second: &str| {
        format!(
            "
http:
  routers:
    a: {{rule: Host(`x.test`), service: s, tls: {{}}}}
    b: {{rule: Host(`x.test`) && Path(`/b`), service: s, tls: {{options: {second}}}}}
    c: {{rule: Host(`x.test`), service: s}}
    d: {{rule: Host(`x.test`), service: s, entryPoints: [web], tls: {{}}}}
    e: {{rule: Host(`y.test`), service: s, entryPoints: [web], tls: {{options: strict}}}}
    f: {{rule: Host(`y.test`), service: s, entryPoints: [websecure], tls: {{}}}}
  services: {{s: {{loadBalancer: {{}}}}}}
tls: {{options: {{strict: {{sniStrict: true}}}}}}
"
        )
    };
    let mut checker = checker(&text("strict"));
    let warning = "found different TLS options for routers on the same host x.test, so using the default TLS options \
                   instead";
    for name in ["a", "b", "d"] {
        let found = errors(&checker, &format!("http/routers/{name}@file"));
        assert_eq!(found, Some((State::Warning, vec![warning.to_owned()])), "{name}");
    }
    for name in ["c", "e", "f"] {
        assert_eq!(errors(&checker, &format!("http/routers/{name}@file")), None, "{name}");
    }
    let change = checker.replace_provider(&draft(&text("default")));
    let changed: Vec<&str> = change.puts.keys().map(Key::as_str).collect();
    assert_eq!(changed, ["http/routers/a@file", "http/routers/b@file", "http/routers/d@file"]);
    assert_eq!(errors(&checker, "http/routers/a@file"), None);
}
