//! A rule ready to match: arguments prepared once, cheap parts tried first.
//! Matching must not allocate except for a query, and must not depend on the order of its parts.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use regex::bytes::Regex;

use super::{Matcher, RequestFacts, Rule, RuleError, go_regex};

/// A rule ready to match.
#[derive(Debug, Clone)]
pub struct CompiledRule {
    node: Node,
}

#[derive(Debug, Clone)]
enum Node {
    All(Box<[Node]>),
    Any(Box<[Node]>),
    Not(Box<Node>),
    Always,
    Never,
    Host(Box<str>),
    /// `.example.com` for `*.example.com`: one label before it.
    HostUnder(Box<str>),
    HostRegexp(Regex),
    Path(Box<str>),
    PathPrefix(Box<str>),
    PathRegexp(Regex),
    Method(Box<str>),
    Header(Box<(Box<str>, Box<str>)>),
    HeaderRegexp(Box<(Box<str>, Regex)>),
    Query(Box<(Box<str>, Box<str>)>),
    QueryRegexp(Box<(Box<str>, Regex)>),
    ClientIp(IpNet),
}

/// Headers that a Go server keeps apart from the header map, so that no rule ever sees them there.
const NEVER_IN_HEADERS: [&str; 3] = ["host", "transfer-encoding", "trailer"];

impl CompiledRule {
    pub(super) fn new(rule: &Rule) -> Result<Self, RuleError> {
        Ok(Self { node: Node::new(rule)? })
    }

    /// Whether the rule holds for this request.
    pub fn matches(&self, facts: &RequestFacts<'_>) -> bool {
        self.node.matches(facts)
    }
}

fn regex(matcher: &Matcher, pattern: &str) -> Result<Regex, RuleError> {
    go_regex::compile(pattern).map_err(|error| RuleError {
        position: None,
        message: format!("the regular expression of {} is not valid: {error}", matcher.name()),
    })
}

impl Node {
    fn new(rule: &Rule) -> Result<Self, RuleError> {
        Ok(match rule {
            Rule::And(rules) => Self::All(Self::list(rules)?),
            Rule::Or(rules) => Self::Any(Self::list(rules)?),
            Rule::Not(rule) => Self::Not(Box::new(Self::new(rule)?)),
            Rule::Matcher(matcher) => Self::of_matcher(matcher)?,
        })
    }

    fn list(rules: &[Rule]) -> Result<Box<[Self]>, RuleError> {
        let mut nodes = rules.iter().map(Self::new).collect::<Result<Vec<_>, _>>()?;
        nodes.sort_by_key(Self::cost);
        Ok(nodes.into_boxed_slice())
    }

    fn of_matcher(matcher: &Matcher) -> Result<Self, RuleError> {
        let header = |name: &str| name.to_ascii_lowercase().into_boxed_str();
        Ok(match matcher {
            Matcher::Host(host) => host_node(&host.to_ascii_lowercase()),
            Matcher::HostRegexp(pattern) => Self::HostRegexp(regex(matcher, pattern)?),
            Matcher::Path(path) => Self::Path(path.as_str().into()),
            Matcher::PathPrefix(path) => Self::PathPrefix(path.as_str().into()),
            Matcher::PathRegexp(pattern) => Self::PathRegexp(regex(matcher, pattern)?),
            Matcher::Method(method) => Self::Method(method.to_uppercase().into()),
            Matcher::Header(name, _) | Matcher::HeaderRegexp(name, _)
                if NEVER_IN_HEADERS.contains(&&*name.to_ascii_lowercase()) =>
            {
                // Compiled all the same, so that a bad expression is an error under any name.
                if let Matcher::HeaderRegexp(_, pattern) = matcher {
                    regex(matcher, pattern)?;
                }
                Self::Never
            }
            Matcher::Header(name, value) => Self::Header(Box::new((header(name), value.as_str().into()))),
            Matcher::HeaderRegexp(name, pattern) => {
                Self::HeaderRegexp(Box::new((header(name), regex(matcher, pattern)?)))
            }
            Matcher::QueryRegexp(key, Some(pattern)) => {
                Self::QueryRegexp(Box::new((key.as_str().into(), regex(matcher, pattern)?)))
            }
            Matcher::Query(key, value) | Matcher::QueryRegexp(key, value) => {
                let value = value.as_deref().unwrap_or("");
                Self::Query(Box::new((key.as_str().into(), value.into())))
            }
            Matcher::ClientIp(network) => Self::ClientIp(*network),
        })
    }

    fn cost(&self) -> u32 {
        match self {
            Self::Always | Self::Never => 0,
            Self::Host(_) | Self::HostUnder(_) | Self::Path(_) | Self::PathPrefix(_) | Self::Method(_) => 1,
            Self::ClientIp(_) => 2,
            Self::Header(_) => 10,
            Self::HostRegexp(_) | Self::PathRegexp(_) => 50,
            Self::HeaderRegexp(_) => 60,
            Self::Query(_) | Self::QueryRegexp(_) => 100,
            Self::Not(node) => node.cost(),
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().map(Self::cost).sum(),
        }
    }

    fn matches(&self, facts: &RequestFacts<'_>) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.matches(facts)),
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(facts)),
            Self::Not(node) => !node.matches(facts),
            Self::Always => true,
            Self::Never => false,
            Self::Host(host) => same_host(host, facts.host),
            Self::HostUnder(suffix) => under(suffix, facts.host),
            Self::HostRegexp(regex) => regex.is_match(facts.host.as_bytes()),
            Self::Path(path) => **path == *facts.path,
            Self::PathPrefix(path) => facts.path.starts_with(&**path),
            Self::PathRegexp(regex) => regex.is_match(facts.path.as_bytes()),
            Self::Method(method) => **method == *facts.method,
            Self::Header(pair) => facts.headers.any_value(&pair.0, &mut |value| value == pair.1.as_bytes()),
            Self::HeaderRegexp(pair) => facts.headers.any_value(&pair.0, &mut |value| pair.1.is_match(value)),
            Self::Query(pair) => any_query_value(facts.query, &pair.0, |value| value == pair.1.as_bytes()),
            Self::QueryRegexp(pair) => any_query_value(facts.query, &pair.0, |value| pair.1.is_match(value)),
            Self::ClientIp(network) => facts.client_ip.is_some_and(|ip| contains(network, ip)),
        }
    }
}

fn host_node(host: &str) -> Node {
    if host == "*" {
        return Node::Always;
    }
    match host.strip_prefix('*') {
        Some(suffix) if suffix.starts_with('.') => {
            Node::HostUnder(suffix.strip_suffix('.').filter(|rest| !rest.is_empty()).unwrap_or(suffix).into())
        }
        _ => Node::Host(host.into()),
    }
}

/// Equal, or equal but for one trailing dot on either side.
fn same_host(rule: &str, host: &str) -> bool {
    !host.is_empty()
        && (rule == host || rule.strip_suffix('.') == Some(host) || host.strip_suffix('.') == Some(rule))
}

fn under(suffix: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.strip_suffix(suffix).is_some_and(|label| !label.is_empty() && !label.contains('.'))
}

fn contains(network: &IpNet, ip: IpAddr) -> bool {
    network.contains(&ip.to_canonical())
}

/// Whether `accept` holds for any value of the parameter. Pairs with a broken escape are skipped, as Go skips them.
fn any_query_value(query: &str, key: &str, accept: impl Fn(&[u8]) -> bool) -> bool {
    query.split(['&', ';']).filter(|pair| !pair.is_empty()).any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (unescape(name), unescape(value)) {
            (Some(name), Some(value)) => *name == *key.as_bytes() && accept(&value),
            _ => false,
        }
    })
}

/// Form decoding: `+` is a blank, `%XX` a byte; `None` if an escape is broken.
fn unescape(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    Some(Cow::Owned(bytes))
}
