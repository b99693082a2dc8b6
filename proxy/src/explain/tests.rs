//! Explanations as people read them, and that a request itself goes where they say.

use ravelin_config::Checker;
use ravelin_config::document::{self, Format};
use ravelin_config::draft::draft_with_files;
use ravelin_config::static_config::judge_document;

use super::*;

const CONFIG: &str = r"
entryPoints:
  web: {address: ':80'}
  websecure: {address: ':443', http: {tls: {}}}
  other: {address: ':8000'}
ping: {entryPoint: web}
http:
  routers:
    api: {rule: 'Host(`a.test`) && PathPrefix(`/api`)', service: api, middlewares: [all], entryPoints: [web]}
    post: {rule: 'Host(`a.test`) && PathPrefix(`/api`) && Method(`POST`)', service: api, entryPoints: [web]}
    low: {rule: 'Host(`a.test`)', service: mixed, entryPoints: [web]}
    same: {rule: 'Host(`a.test`)', service: mixed, entryPoints: [web]}
    broken: {rule: 'Host(`broken.test`)', service: nobody, entryPoints: [web]}
    far: {rule: 'Host(`far.test`)', service: api, entryPoints: [other]}
    secure: {rule: 'Host(`s.test`)', service: api, entryPoints: [websecure]}
    by-client: {rule: 'Host(`c.test`)', service: by-client, entryPoints: [web]}
    sticky: {rule: 'Host(`k.test`)', service: sticky, entryPoints: [web]}
    least: {rule: 'Host(`l.test`)', service: least, entryPoints: [web]}
    top: {rule: 'Host(`tree.test`)', entryPoints: [web]}
    leaf: {rule: 'Header(`X-Kind`, `leaf`)', service: api, parentRefs: [top]}
  middlewares:
    all: {chain: {middlewares: [strip, auth]}}
    strip: {stripPrefix: {prefixes: [/api]}}
    auth: {basicAuth: {users: ['a:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=']}}
  services:
    api: {loadBalancer: {servers: [{url: 'http://10.0.0.1:80'}], healthCheck: {path: /}}}
    two: {loadBalancer: {servers: [{url: 'http://10.0.0.2'}, {url: 'http://10.0.0.3'}]}}
    by-client: {loadBalancer: {strategy: hrw, servers: [{url: 'http://10.0.0.4'}, {url: 'http://10.0.0.5'}]}}
    sticky: {loadBalancer: {sticky: {cookie: {name: c}}, servers: [{url: 'http://10.0.0.6'}, {url: 'http://10.0.0.7'}]}}
    least: {loadBalancer: {strategy: leasttime, servers: [{url: 'http://10.0.0.8'}, {url: 'http://10.0.0.9'}]}}
    mixed: {weighted: {services: [{name: api, weight: 1}, {name: two, weight: 3}]}}
";

fn table() -> Arc<Table> {
    let document = document::parse("t.yaml", CONFIG, Format::Yaml).expect("good YAML");
    let no_files = |_: &str| Err("no files here".to_owned());
    let judged = judge_document(&document, &no_files).expect("static sections").expect("good ones");
    let mut checker = Checker::default();
    checker.replace_provider(&judged.draft);
    checker.replace_provider(&draft_with_files("file", &[document], &no_files).expect("a draft"));
    table_of(checker.records()).expect("a table")
}

fn text(question: Question) -> String {
    explain(&table(), &question).expect("an explanation").to_string()
}

fn get(url: &str) -> Question {
    Question::new(url).expect("a URL")
}

#[test]
fn the_way_of_a_request_is_told_down_to_its_server_and_why_the_others_lost() {
    assert_eq!(
        text(get("http://a.test/api/%78?q")),
        "GET http://a.test/api/%78?q on entry point web\n  \
           host a.test, path /api/x, without TLS\n\
         router api@file, priority 36: Host(`a.test`) && PathPrefix(`/api`)\n  \
           middleware strip@file: stripPrefix\n  \
           middleware auth@file: basicAuth\n\
         service api@file\n  \
           server http://10.0.0.1:80\n\
         the others whose host and path may fit\n  \
           post@file (priority 54): Method(`POST`) does not hold\n  \
           low@file (priority 14): its rule holds, but the priority of api@file is higher\n  \
           same@file (priority 14): its rule holds, but the priority of api@file is higher\n\
         6 further routers here are for other hosts or paths\n"
    );
}

#[test]
fn ties_nested_services_children_and_errors_are_told() {
    let tie = text(get("http://a.test/"));
    assert!(tie.contains("router low@file, priority 14"), "{tie}");
    assert!(tie.contains("same@file (priority 14): its rule holds and its priority is the same, but low@file comes first by name"), "{tie}");
    assert!(tie.contains("  one of: service api@file\n    server http://10.0.0.1:80\n  one of: service two@file <- next: they take turns\n    one of: server http://10.0.0.2 <- next: they take turns\n    one of: server http://10.0.0.3\n"), "{tie}");
    let post = text(get("http://a.test/api").with("method", "POST").expect("a method"));
    assert!(post.contains("router post@file"), "{post}");
    let broken = text(get("http://broken.test/"));
    assert!(
        broken.contains("503: the router is in error: the service \"nobody@file\" does not exist"),
        "{broken}"
    );
    let leaf = get("http://tree.test/").with("header", "X-Kind: leaf").expect("a field");
    assert!(text(leaf).contains("router leaf@file"), "the child by its field");
    let none = text(get("http://tree.test/"));
    assert!(none.contains("leaf@file (priority 24): Header(`X-Kind`, `leaf`) does not hold\n"), "{none}");
    assert!(
        none.ends_with("no child takes it: 404\n") || none.contains("no child takes it: 404\n"),
        "{none}"
    );
    assert!(text(get("http://x.test/ping")).contains("the process itself answers"));
}

#[test]
fn the_server_is_named_where_cookie_address_or_turn_decide_and_else_what_decides() {
    let taken = |question: Question| {
        let text = text(question);
        let line = text.lines().find(|line| line.contains("<- ")).unwrap_or_else(|| panic!("{text}"));
        line.trim().to_owned()
    };
    let of_client = |client: &str| taken(get("http://c.test/").with("client", client).expect("an address"));
    let both: std::collections::BTreeSet<String> =
        (0..32).map(|last| of_client(&format!("10.1.0.{last}"))).collect();
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(both.iter().all(|line| line.ends_with("taken: the client's address leads to it")), "{both:?}");
    assert_eq!(of_client("10.1.0.1"), of_client("10.1.0.1"));

    assert_eq!(taken(get("http://k.test/")), "one of: server http://10.0.0.6 <- next: they take turns");
    let value = crate::service::sticky_value("http://10.0.0.7");
    let stuck = get("http://k.test/").with("header", &format!("Cookie: c={value}")).expect("a field");
    assert_eq!(taken(stuck), "one of: server http://10.0.0.7 <- taken: the client's cookie names it");
    let least = text(get("http://l.test/"));
    assert!(least.contains("taken is the one that answers soonest") && !least.contains("<-"), "{least}");
}

#[test]
fn who_would_take_it_elsewhere_is_told() {
    let far = text(get("http://far.test/"));
    assert!(far.contains("no router takes it: 404\n"), "{far}");
    assert!(far.contains("on entry point other router far@file would take it\n"), "{far}");
    let secure = get("http://s.test/").with("entryPoint", "websecure").expect("a name");
    let secure = text(secure);
    assert!(
        secure.contains("router websecure-secure@file has TLS: it would take the request over it")
            || secure.contains("router secure@file has TLS: it would take the request over it"),
        "{secure}"
    );
    let refused = text(get("http://a.test/%00"));
    assert!(refused.contains("400: the path is refused"), "{refused}");
    let unknown = explain(&table(), &get("http://a.test:9/")).expect_err("nobody listens there").to_string();
    assert_eq!(
        unknown,
        "no entry point listens on port 9: name one with --entry-point; there are: other, web, websecure"
    );
    for bad in ["a.test/x", "ftp://a.test/", "/x"] {
        assert!(Question::new(bad).is_err(), "{bad}");
    }
}
