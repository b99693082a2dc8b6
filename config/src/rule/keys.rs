//! Keys that a matching request necessarily has: what an index may look at before it tries the whole rule.
//! It must never give a key that a matching request could lack; giving fewer keys than possible is only slower.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Matcher, Rule};

/// Some names in order, each once; an index shares their texts. There are as many of these as routes, and most hold one name
/// or none.
pub type Names = Box<[Arc<str>]>;

/// The hosts and the paths that a matching request necessarily has, each judged by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteKeys {
    /// Hosts.
    pub hosts: HostKeys,
    /// Paths.
    pub paths: PathKeys,
}

/// Necessary hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKeys {
    /// Nothing is known: any host may match.
    Any,
    /// The host, lower case and without trailing dots, is one of `exact`, or has one label before one of `parents`.
    Among {
        /// Whole hosts.
        exact: Names,
        /// Hosts without their first label: `example.com` for `*.example.com`.
        parents: Names,
    },
}

/// Necessary paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathKeys {
    /// Nothing is known: any path may match.
    Any,
    /// The path is one of `exact` or begins with one of `prefixes`.
    Among {
        /// Whole paths.
        exact: Names,
        /// Textual prefixes.
        prefixes: Names,
    },
}

/// A host as it stands in keys.
pub(super) fn host_key(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

const NONE: RouteKeys = RouteKeys { hosts: HostKeys::Any, paths: PathKeys::Any };

pub(super) fn necessary(rule: &Rule, negated: bool) -> RouteKeys {
    match rule {
        Rule::Not(inner) => necessary(inner, !negated),
        // De Morgan: a negated `&&` is an `||` of negations, and the other way round.
        Rule::And(rules) if !negated => all(rules, negated),
        Rule::Or(rules) if negated => all(rules, negated),
        Rule::And(rules) | Rule::Or(rules) => any(rules, negated),
        Rule::Matcher(_) if negated => NONE,
        Rule::Matcher(matcher) => of_matcher(matcher),
    }
}

fn of_matcher(matcher: &Matcher) -> RouteKeys {
    let one = |text: String| Names::from([Arc::from(text)]);
    match matcher {
        Matcher::Host(host) if host == "*" => NONE,
        Matcher::Host(host) => {
            let hosts = match host.strip_prefix("*.") {
                Some(parent) => HostKeys::Among { exact: Names::default(), parents: one(host_key(parent)) },
                None => HostKeys::Among { exact: one(host_key(host)), parents: Names::default() },
            };
            RouteKeys { hosts, paths: PathKeys::Any }
        }
        Matcher::Path(path) => RouteKeys {
            hosts: HostKeys::Any,
            paths: PathKeys::Among { exact: one(path.clone()), prefixes: Names::default() },
        },
        Matcher::PathPrefix(path) => RouteKeys {
            hosts: HostKeys::Any,
            paths: PathKeys::Among { exact: Names::default(), prefixes: one(path.clone()) },
        },
        _ => NONE,
    }
}

/// All hold at once: the more selective keys are enough.
fn all(rules: &[Rule], negated: bool) -> RouteKeys {
    let mut best = NONE;
    for keys in rules.iter().map(|rule| necessary(rule, negated)) {
        if cost_of_hosts(&keys.hosts) < cost_of_hosts(&best.hosts) {
            best.hosts = keys.hosts;
        }
        if cost_of_paths(&keys.paths) < cost_of_paths(&best.paths) {
            best.paths = keys.paths;
        }
    }
    best
}

/// At least one holds: only the union of all keys is necessary, and nothing is if one part has none.
fn any(rules: &[Rule], negated: bool) -> RouteKeys {
    let mut keys = rules.iter().map(|rule| necessary(rule, negated));
    let Some(mut union) = keys.next() else { return NONE };
    for other in keys {
        union.hosts = match (union.hosts, other.hosts) {
            (
                HostKeys::Among { exact, parents },
                HostKeys::Among { exact: more_exact, parents: more_parents },
            ) => HostKeys::Among { exact: both(exact, more_exact), parents: both(parents, more_parents) },
            _ => HostKeys::Any,
        };
        union.paths = match (union.paths, other.paths) {
            (
                PathKeys::Among { exact, prefixes },
                PathKeys::Among { exact: more_exact, prefixes: more_prefixes },
            ) => PathKeys::Among { exact: both(exact, more_exact), prefixes: both(prefixes, more_prefixes) },
            _ => PathKeys::Any,
        };
    }
    union
}

/// The names of both.
fn both(names: Names, more: Names) -> Names {
    let all: BTreeSet<Arc<str>> = names.into_iter().chain(more).collect();
    all.into_iter().collect()
}

/// Smaller is more selective: whole hosts before parents before anything.
fn cost_of_hosts(keys: &HostKeys) -> usize {
    match keys {
        HostKeys::Any => usize::MAX,
        HostKeys::Among { exact, parents } => exact.len() + 1000 * parents.len(),
    }
}

/// Smaller is more selective: whole paths, then long prefixes, then short ones.
fn cost_of_paths(keys: &PathKeys) -> usize {
    match keys {
        PathKeys::Any => usize::MAX,
        PathKeys::Among { exact, prefixes } => {
            exact.len() + prefixes.iter().map(|prefix| 1000 + 10_000 / prefix.len().max(1)).sum::<usize>()
        }
    }
}
