//! The rule language on any text: it is parsed or refused; what was parsed prints to a text of the same tree; what compiles
//! never matches a request that the index would not have looked at it for.

use ravelin_config::rule::{
    CompiledRule, HostKeys, Matcher, Names, NoHeaders, PathKeys, RULE_BYTES_MAX, RequestFacts, RouteKeys,
    Rule, parse,
};

/// Hosts and paths that are tried with each rule, each at most.
const PROBES_MAX: usize = 6;

/// The input is the text of a rule.
pub fn run(input: &[u8]) {
    parses(input);
}

/// As [`run`]; whether the text is a rule.
pub fn parses(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let rule = match parse(text) {
        Ok(rule) => rule,
        Err(error) => {
            assert!(error.position.is_none_or(|at| at <= text.len()), "{error} lies outside the text");
            return false;
        }
    };
    let printed = rule.to_string();
    // Escapes may make a text longer than what is read.
    if printed.len() <= RULE_BYTES_MAX {
        assert_eq!(parse(&printed), Ok(rule.clone()), "{printed} is another rule");
    }
    if let Ok(compiled) = rule.compile() {
        probe(&rule, &compiled);
    }
    true
}

/// Requests made from the rule's own words: whatever matches must have the rule's necessary keys.
fn probe(rule: &Rule, compiled: &CompiledRule) {
    let (mut hosts, mut paths) = (vec!["else.test".to_owned()], vec!["/else".to_owned()]);
    words(rule, &mut hosts, &mut paths);
    let keys = rule.necessary_keys();
    for host in hosts.iter().take(PROBES_MAX) {
        for path in paths.iter().take(PROBES_MAX) {
            let facts = RequestFacts {
                host,
                path,
                method: "GET",
                query: "a=b",
                client_ip: Some([127, 0, 0, 1].into()),
                headers: &NoHeaders,
            };
            if compiled.matches(&facts) {
                assert!(admits(&keys, host, path), "{rule} matches {host}{path}, which {keys:?} leave out");
            }
        }
    }
}

fn words(rule: &Rule, hosts: &mut Vec<String>, paths: &mut Vec<String>) {
    match rule {
        Rule::And(rules) | Rule::Or(rules) => rules.iter().for_each(|rule| words(rule, hosts, paths)),
        Rule::Not(rule) => words(rule, hosts, paths),
        Rule::Matcher(Matcher::Host(host)) => {
            let host = host.to_ascii_lowercase();
            hosts.push(host.strip_prefix('*').map_or(host.clone(), |parent| format!("label{parent}")));
        }
        Rule::Matcher(Matcher::Path(path)) => paths.push(path.clone()),
        Rule::Matcher(Matcher::PathPrefix(path)) => {
            paths.push(path.clone());
            paths.push(format!("{path}/more"));
        }
        Rule::Matcher(_) => {}
    }
}

fn among(names: &Names, name: &str) -> bool {
    names.iter().any(|held| **held == *name)
}

/// Whether an index by these keys would try the rule for a request.
fn admits(keys: &RouteKeys, host: &str, path: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let hosts = match &keys.hosts {
        HostKeys::Any => true,
        HostKeys::Among { exact, parents } => {
            among(exact, &host) || host.split_once('.').is_some_and(|(_, parent)| among(parents, parent))
        }
    };
    let paths = match &keys.paths {
        PathKeys::Any => true,
        PathKeys::Among { exact, prefixes } => {
            among(exact, path) || prefixes.iter().any(|prefix| path.starts_with(&**prefix))
        }
    };
    hosts && paths
}
