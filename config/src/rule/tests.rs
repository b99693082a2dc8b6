//! Checks of the rule language: printing and parsing agree, matching agrees with a naive evaluator, hostile texts are bounded.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn facts<'a>(host: &'a str, path: &'a str) -> RequestFacts<'a> {
    RequestFacts { host, path, method: "GET", query: "", client_ip: None, headers: &NoHeaders }
}

fn compiled(text: &str) -> CompiledRule {
    let rule = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    rule.compile().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn holds(text: &str, facts: &RequestFacts<'_>) -> bool {
    compiled(text).matches(facts)
}

#[test]
fn operators_bind_as_in_go_and_chains_do_not_nest() {
    let host = |h: &str| Rule::Matcher(Matcher::Host(h.to_owned()));
    let parsed = parse("!Host(`a`) && Host(`b`) && Host(`c`) || (Host(`d`) || Host(\"e\"))");
    let expected = Rule::Or(vec![
        Rule::And(vec![Rule::Not(Box::new(host("a"))), host("b"), host("c")]),
        Rule::Or(vec![host("d"), host("e")]),
    ]);
    assert_eq!(parsed, Ok(expected));
}

#[test]
fn what_go_lets_through_is_let_through() {
    for text in [
        "Host(`a.test`,)",
        "Host(\"\\x61.test\") // a comment",
        "/* c */ Host( `a.test` /* in between */ )",
        "Host(`a.test`) &&\n Path(`/x`)",
        "Host(`a.test`) && Path(`/x`)\n\n",
        "\n Host(\n`a.test`,\n)",
        "HOST(`a.test`) && pathprefix(`/`) && Clientip(`10.0.0.0/8`) && Hostregexp(`a`)",
        "((((Host(`a.test`)))))",
        "! ! !Path(`/1`)",
        "Host(\"\\u0061\\141\\U00000062\")",
        "Host(`a`) && PathRegexp(`^/[[:alpha:]]+?$`)",
    ] {
        assert!(parse(text).is_ok(), "{text}: {:?}", parse(text));
    }
}

/// Rules that were seen to disable their router.
const REFUSED: [&str; 58] = [
    "hostRegexp(`^b$`)",
    "pathPrefix(`/`)",
    "Foo(`x`)",
    "Headers(`X`, `1`)",
    "HostHeader(`b.test`)",
    "",
    "   ",
    "Host",
    "Host()",
    "Host(``)",
    "Header(`X`, ``)",
    "Host(b.test)",
    "Host('b')",
    "Host('b.test')",
    "Host(`b.test`) & Path(`/`)",
    "Host(`b.test`) and Path(`/`)",
    "Host(`b.test`), Path(`/`)",
    "Host(`b.test`) Path(`/`)",
    "(Host(`b.test`)",
    "Host(`b.test`))",
    "Host(`b.test)",
    "Path(1)",
    "Host(Host(`b.test`))",
    "Host(\"b\" + \".test\")",
    "Host((\"b.test\"))",
    "Host(`b.test`) == Path(`/`)",
    "-Host(`b.test`)",
    "true",
    "Host(`b.test`)\n&& Path(`/`)",
    "Host(`b.test`);",
    "Host(\"b\\q.test\")",
    "Host(`b.test`, `c.test`)",
    "Path(`/a`, `/b`)",
    "Method(`GET`, `POST`)",
    "Header(`X`)",
    "Header(`X`, `1`, `2`)",
    "Query(`a`, `b`, `c`)",
    "ClientIP(`127.0.0.1`, `127.0.0.2`)",
    "Path(`b`)",
    "PathPrefix(`b`)",
    "PathPrefix(`*`)",
    "PathRegexp(`(`)",
    "HostRegexp(`[`)",
    "HeaderRegexp(`X`, `*`)",
    "QueryRegexp(`x`, `a{2,1}`)",
    "PathRegexp(`^/(?!x)`)",
    "PathRegexp(`(a)\\1`)",
    "Host(`bücher.test`)",
    "HostRegexp(`ü`)",
    "ClientIP(`300.1.1.1`)",
    "ClientIP(`127.0.0.1/33`)",
    "ClientIP(`localhost`)",
    "Host(`b.test`) &&",
    "&& Host(`b.test`)",
    "Host(`b.test`) || Foo(`x`)",
    "Http.Host(`b.test`)",
    "HostSNI(`b.test`)",
    "Host(`b.test`\n)",
];

#[test]
fn what_was_seen_refused_is_refused() {
    for text in REFUSED {
        let verdict = parse(text).and_then(|rule| rule.compile().map(drop));
        assert!(verdict.is_err(), "{text}");
    }
}

#[test]
fn errors_say_where_and_what() {
    let at = |text: &str| parse(text).expect_err("bad on purpose").to_string();
    assert_eq!(at("Host(`a`) && Foo(`x`)"), "at byte 13: unknown matcher `Foo`");
    assert_eq!(at("Headers(`a`, `b`)"), "at byte 0: unknown matcher `Headers`; this language says `Header`");
    assert_eq!(at("Path(`x`)"), "at byte 5: Path must begin with a slash");
    assert_eq!(at("Header(`x`)"), "at byte 0: Header takes 2 argument(s), not 1");
    assert!(at("Host(`b`)\n&& Path(`/`)").contains("a line that goes on ends with its operator"));
    assert!(at("Host('b')").contains("not in single quotes"));
}

#[test]
fn hostile_texts_are_bounded() {
    assert!(parse(&"(".repeat(60_000)).is_err());
    assert!(parse(&"!".repeat(60_000)).is_err());
    assert!(parse(&"x".repeat(RULE_BYTES_MAX + 1)).is_err());
    let depth = |n: usize| format!("{}Path(`/`){}", "(".repeat(n), ")".repeat(n));
    assert!(parse(&depth(RULE_DEPTH_MAX - 1)).is_ok() && parse(&depth(RULE_DEPTH_MAX)).is_err());
    let long = vec!["Host(`a.test`)"; 3000].join(" || ");
    assert!(holds(&long, &facts("a.test", "/")), "a long chain is no depth");
}

#[test]
fn hosts_forgive_one_dot_and_a_star_is_one_label() {
    let host = |rule: &str, host: &str| holds(&format!("Host(`{rule}`)"), &facts(host, "/"));
    assert!(host("UP.Test", "up.test") && host("up.test", "up.test.") && host("dot.test.", "dot.test"));
    assert!(!host("up.test", "up.test..") && !host("port.test:8080", "port.test"));
    assert!(host("::1", "::1") && !host("[::2]", "::2"));
    assert!(host("*.a.test", "x.a.test") && host("*.a.test", "x.a.test.") && host("*.A.test.", "x.a.test"));
    assert!(!host("*.a.test", "a.test") && !host("*.a.test", "y.x.a.test") && !host("*.a.test", ".a.test"));
    assert!(host("*", "") && host("*", "any.test") && !host("a.test", ""));
    assert!(!holds("HostRegexp(`^$`)", &facts("a.test", "/")), "one name only, not an empty second one");
}

#[test]
fn headers_compare_whole_lines_and_some_names_are_never_there() {
    let lines: &[(&str, &str)] = &[("X-Kind", "Red"), ("x-kind", "Blue"), ("Host", "h"), ("X_Under", "1")];
    let facts = RequestFacts { headers: &LinesOf(lines), ..facts("", "/") };
    assert!(holds("Header(`x-kind`, `Blue`)", &facts) && holds("Header(`X-KIND`, `Red`)", &facts));
    assert!(!holds("Header(`X-Kind`, `blue`)", &facts) && !holds("Header(`X-Kind`, `Red, Blue`)", &facts));
    assert!(holds("HeaderRegexp(`X-Kind`, `^B`)", &facts) && !holds("HeaderRegexp(`X-None`, `.*`)", &facts));
    assert!(!holds("Header(`Host`, `h`)", &facts) && holds("!HeaderRegexp(`host`, `.`)", &facts));
    assert!(holds("Header(`x_under`, `1`)", &facts) && !holds("Header(`X-Under`, `1`)", &facts));
}

struct LinesOf<'a>(&'a [(&'a str, &'a str)]);

impl HeaderLookup for LinesOf<'_> {
    fn any_value(&self, name: &str, accept: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.any_value(name, accept)
    }
}

#[test]
fn queries_are_decoded_as_forms() {
    let query = |rule: &str, query: &str| holds(rule, &RequestFacts { query, ..facts("", "/") });
    assert!(query("Query(`a`, `1`)", "b=2&a=1") && query("Query(`a b`, `c d`)", "a+b=c%20d"));
    assert!(query("Query(`m`)", "m") && query("Query(`m`)", "m=") && !query("Query(`m`)", "m=1"));
    assert!(query("Query(`a`, `2`)", "a=1;a=2") && !query("Query(`a`, `%zz`)", "a=%zz"));
    assert!(query("QueryRegexp(`a`, `^[0-9]+$`)", "a=x&a=12") && !query("QueryRegexp(`a`, `.`)", "a="));
}

#[test]
fn client_addresses_are_those_of_the_connection() {
    let ip = |rule: &str, ip: &str| {
        let client_ip = Some(ip.parse().expect("a test address"));
        holds(&format!("ClientIP(`{rule}`)"), &RequestFacts { client_ip, ..facts("", "/") })
    };
    assert!(ip("127.0.0.9/30", "127.0.0.8") && !ip("127.0.0.9/30", "127.0.0.12"));
    assert!(ip("::ffff:127.0.0.1", "127.0.0.1") && ip("127.0.0.1", "::ffff:127.0.0.1"));
    assert!(!ip("::/0", "127.0.0.1") && ip("0.0.0.0/0", "127.0.0.1") && ip("fe80::1/10", "fe80::2"));
    assert!(!holds("ClientIP(`0.0.0.0/0`)", &facts("", "/")), "no address, no match");
}

#[test]
fn methods_are_written_in_any_case_but_compared_exactly() {
    assert!(holds("Method(`get`)", &facts("", "/")));
    assert!(!holds("Method(`GET`)", &RequestFacts { method: "get", ..facts("", "/") }));
}

#[test]
fn keys_of_the_usual_shapes() {
    let keys = |text: &str| parse(text).expect("good").necessary_keys();
    let set = |items: &[&str]| items.iter().map(|item| Arc::from(*item)).collect();
    let found = keys("(Host(`A`) || Host(`b.`)) && PathPrefix(`/x`) && !Header(`k`, `v`)");
    assert_eq!(found.hosts, HostKeys::Among { exact: set(&["a", "b"]), parents: set(&[]) });
    assert_eq!(found.paths, PathKeys::Among { exact: set(&[]), prefixes: set(&["/x"]) });
    let none = RouteKeys { hosts: HostKeys::Any, paths: PathKeys::Any };
    assert_eq!(keys("Host(`a`) || PathPrefix(`/x`)"), none);
    assert_eq!(keys("!Host(`a`) && !(Path(`/x`) || Host(`b`))"), none);
    assert_eq!(keys("Host(`*`)"), none);
    let found = keys("!(!Host(`*.a.test`) || !Path(`/x`)) && PathPrefix(`/`)");
    assert_eq!(found.hosts, HostKeys::Among { exact: set(&[]), parents: set(&["a.test"]) });
    assert_eq!(found.paths, PathKeys::Among { exact: set(&["/x"]), prefixes: set(&[]) });
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let text = "[a-zA-Z`\"\\\\\n\r\té .*+-]{1,6}";
    let host = prop::sample::select(vec!["a.test", "B.test.", "*.a.test", "*", "x.a.test"]);
    let path = "/[ab]{0,2}(/[ab]?)?";
    prop_oneof![
        host.prop_map(|h| Matcher::Host(h.to_owned())),
        prop::sample::select(vec!["^a", "test$", "x.a"]).prop_map(|r| Matcher::HostRegexp(r.to_owned())),
        path.prop_map(Matcher::Path),
        path.prop_map(Matcher::PathPrefix),
        prop::sample::select(vec!["^/a", "b$", "a/b"]).prop_map(|r| Matcher::PathRegexp(r.to_owned())),
        prop::sample::select(vec!["GET", "post"]).prop_map(|m| Matcher::Method(m.to_owned())),
        ("[Kk]", prop_oneof!["[vw]".boxed(), text.boxed()]).prop_map(|(k, v)| Matcher::Header(k, v)),
        ("k", "[vw]").prop_map(|(k, v)| Matcher::HeaderRegexp(k, v)),
        ("[qr]", prop::option::of("[12]")).prop_map(|(k, v)| Matcher::Query(k, v)),
        ("[qr]", prop::option::of("[12]")).prop_map(|(k, v)| Matcher::QueryRegexp(k, v)),
        ("10\\.0\\.0\\.[0-3]", 24u8..=32).prop_map(|(ip, len)| {
            Matcher::ClientIp(parser::network(&format!("{ip}/{len}")).expect("a good network"))
        }),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    matcher().prop_map(Rule::Matcher).prop_recursive(5, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Rule::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Rule::Or),
            inner.prop_map(|rule| Rule::Not(Box::new(rule))),
        ]
    })
}

/// The meaning of a rule, written a second time and without any preparation.
fn naive(rule: &Rule, facts: &RequestFacts<'_>) -> bool {
    let values = |key: &str| -> Vec<String> {
        let pairs = facts.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.filter(|(k, _)| *k == key).map(|(_, v)| v.to_owned()).collect()
    };
    let found = |pattern: &str, text: &str| regex::Regex::new(pattern).expect("a simple one").is_match(text);
    match rule {
        Rule::And(rules) => rules.iter().all(|rule| naive(rule, facts)),
        Rule::Or(rules) => rules.iter().any(|rule| naive(rule, facts)),
        Rule::Not(rule) => !naive(rule, facts),
        Rule::Matcher(matcher) => match matcher {
            Matcher::Host(host) if host == "*" => true,
            Matcher::Host(host) => match host.to_lowercase().trim_end_matches('.').strip_prefix("*.") {
                Some(parent) => facts.host.split_once('.').is_some_and(|(_, rest)| rest == parent),
                None => host.to_lowercase().trim_end_matches('.') == facts.host,
            },
            Matcher::HostRegexp(pattern) => found(pattern, facts.host),
            Matcher::Path(path) => path == facts.path,
            Matcher::PathPrefix(path) => facts.path.starts_with(path),
            Matcher::PathRegexp(pattern) => found(pattern, facts.path),
            Matcher::Method(method) => method.to_uppercase() == facts.method,
            Matcher::Header(k, v) => {
                facts.headers.any_value(&k.to_lowercase(), &mut |line| line == v.as_bytes())
            }
            Matcher::HeaderRegexp(k, p) => facts.headers.any_value(k, &mut |line| {
                found(p, std::str::from_utf8(line).expect("test headers are text"))
            }),
            Matcher::Query(k, v) => values(k).iter().any(|value| value == v.as_deref().unwrap_or("")),
            Matcher::QueryRegexp(k, Some(p)) => values(k).iter().any(|value| found(p, value)),
            Matcher::QueryRegexp(k, None) => values(k).iter().any(String::is_empty),
            Matcher::ClientIp(network) => facts.client_ip.is_some_and(|ip| network.contains(&ip)),
        },
    }
}

fn among(names: &Names, name: &str) -> bool {
    names.iter().any(|held| **held == *name)
}

fn has_keys(keys: &RouteKeys, facts: &RequestFacts<'_>) -> bool {
    let hosts = match &keys.hosts {
        HostKeys::Any => true,
        HostKeys::Among { exact, parents } => {
            among(exact, facts.host)
                || facts.host.split_once('.').is_some_and(|(_, parent)| among(parents, parent))
        }
    };
    let paths = match &keys.paths {
        PathKeys::Any => true,
        PathKeys::Among { exact, prefixes } => {
            among(exact, facts.path) || prefixes.iter().any(|prefix| facts.path.starts_with(&**prefix))
        }
    };
    hosts && paths
}

proptest! {
    #[test]
    fn printing_and_parsing_agree(rule in rule()) {
        let text = rule.to_string();
        prop_assert_eq!(parse(&text).map_err(|error| format!("{text}: {error}")), Ok(rule));
    }

    #[test]
    fn matching_agrees_with_a_naive_evaluator_and_keys_are_necessary(
        rule in rule(),
        host in prop::sample::select(vec!["a.test", "b.test", "x.a.test", "y.x.a.test", ""]),
        path in "/[ab]{0,2}(/[ab]?)?",
        method in prop::sample::select(vec!["GET", "POST"]),
        query in prop::sample::select(vec!["", "q=1", "q&r=2", "q=&r=12", "r=2&r=1"]),
        header in prop::option::of("[vw]{1,2}"),
        last in 0u8..4,
    ) {
        let lines: Vec<(&str, &str)> = header.iter().map(|value| ("K", value.as_str())).collect();
        let facts = RequestFacts {
            host,
            path: &path,
            method,
            query,
            client_ip: Some(IpAddr::from([10, 0, 0, last])),
            headers: &LinesOf(&lines),
        };
        let expected = naive(&rule, &facts);
        let compiled = rule.compile().expect("simple arguments only");
        prop_assert_eq!(compiled.matches(&facts), expected, "{}", rule);
        if expected {
            prop_assert!(has_keys(&rule.necessary_keys(), &facts), "{}", rule);
        }
    }

    #[test]
    fn no_text_panics(text in "[HostPah()`\"'/&|!, \n*.\\\\xu0-9é]{0,60}") {
        if let Ok(rule) = parse(&text) {
            prop_assert_eq!(parse(&rule.to_string()), Ok(rule));
        }
    }

    #[test]
    fn no_pattern_panics(pattern in "[a\\\\\\[\\](){}?*+^$|.:dpPQEx0-9-]{0,20}") {
        prop_assert!(go_regex::compile(&pattern).map_err(|error| error.len() < 400).err() != Some(false));
    }
}
