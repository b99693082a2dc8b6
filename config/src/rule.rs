//! The rule language of HTTP routers: tree, parser, printer, matching, and the keys that an index can rely on.
//! It must not know routers or tables, and no text can make it recurse or allocate without bound.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

mod compiled;
pub mod go_regex;
mod keys;
mod lexer;
mod parser;
mod routing_path;
mod version2;

pub use compiled::CompiledRule;
pub use keys::{HostKeys, Names, PathKeys, RouteKeys};
pub use parser::{parse, parse_as};
pub use routing_path::routing_path;

/// Longest rule in bytes.
pub const RULE_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of parentheses and negations; chains of `&&` or `||` do not nest.
pub const RULE_DEPTH_MAX: usize = 64;
/// Highest priority a user may give.
pub const PRIORITY_MAX: i64 = i64::MAX - 1000;

/// Why a rule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .position.map(|at| format!("at byte {at}: ")).unwrap_or_default())]
pub struct RuleError {
    /// Byte offset in the text, where one is to blame.
    pub position: Option<usize>,
    /// What is wrong, for people.
    pub message: String,
}

impl RuleError {
    pub(crate) fn at(position: usize, message: impl Into<String>) -> Self {
        Self { position: Some(position), message: message.into() }
    }
}

/// A language of rules.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// That of Traefik 3.
    #[default]
    Version3,
    /// That of Traefik 2, deprecated.
    Version2,
}

impl Syntax {
    /// What a router's `ruleSyntax` names: whatever is not `v2` is the language of version 3, as in Traefik.
    pub fn named(name: &str) -> Self {
        if name == "v2" { Self::Version2 } else { Self::Version3 }
    }
}

/// A parsed rule. `Display` prints it so that parsing gives the same tree back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Rule {
    /// All of at least two.
    And(Vec<Rule>),
    /// Any of at least two.
    Or(Vec<Rule>),
    /// Not this.
    Not(Box<Rule>),
    /// One matcher.
    Matcher(Matcher),
}

/// One matcher with its arguments as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Matcher {
    /// The host: exact, `*.suffix` for exactly one label more, or `*` for any.
    Host(String),
    /// A regular expression found in the host.
    HostRegexp(String),
    /// The exact path.
    Path(String),
    /// A textual prefix of the path.
    PathPrefix(String),
    /// A regular expression found in the path.
    PathRegexp(String),
    /// The method; written in any case.
    Method(String),
    /// A header with exactly this value in one of its lines.
    Header(String, String),
    /// A header with a line in which the regular expression is found.
    HeaderRegexp(String, String),
    /// A query parameter with this value; without a value: an empty one.
    Query(String, Option<String>),
    /// A query parameter in whose value the regular expression is found; without one: an empty value.
    QueryRegexp(String, Option<String>),
    /// The address of the connection's client.
    ClientIp(IpNet),
}

impl Matcher {
    /// The canonical name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Host(_) => "Host",
            Self::HostRegexp(_) => "HostRegexp",
            Self::Path(_) => "Path",
            Self::PathPrefix(_) => "PathPrefix",
            Self::PathRegexp(_) => "PathRegexp",
            Self::Method(_) => "Method",
            Self::Header(..) => "Header",
            Self::HeaderRegexp(..) => "HeaderRegexp",
            Self::Query(..) => "Query",
            Self::QueryRegexp(..) => "QueryRegexp",
            Self::ClientIp(_) => "ClientIP",
        }
    }

    fn arguments(&self) -> Vec<String> {
        match self {
            Self::Host(a)
            | Self::HostRegexp(a)
            | Self::Path(a)
            | Self::PathPrefix(a)
            | Self::PathRegexp(a)
            | Self::Method(a) => vec![a.clone()],
            Self::Header(a, b) | Self::HeaderRegexp(a, b) => vec![a.clone(), b.clone()],
            Self::Query(a, b) | Self::QueryRegexp(a, b) => {
                std::iter::once(a.clone()).chain(b.clone()).collect()
            }
            Self::ClientIp(network) => vec![network.to_string()],
        }
    }
}

/// What a rule can see of a request: one canonical host, one normalised path, and the headers as policy sees them.
#[derive(Clone, Copy)]
pub struct RequestFacts<'a> {
    /// Canonical host: lower case, no port, IPv6 without brackets; empty if there is none.
    pub host: &'a str,
    /// The path as rules see it: what [`routing_path()`] makes of the normalised one.
    pub path: &'a str,
    /// The method as received.
    pub method: &'a str,
    /// The raw query without its question mark; empty if there is none.
    pub query: &'a str,
    /// The address of the connection's client.
    pub client_ip: Option<IpAddr>,
    /// The headers.
    pub headers: &'a dyn HeaderLookup,
}

/// Access to the header lines of a request.
pub trait HeaderLookup {
    /// Whether `accept` holds for the value of any line named `name`, which is given in lower case.
    fn any_value(&self, name: &str, accept: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// A request without headers.
pub struct NoHeaders;

impl HeaderLookup for NoHeaders {
    fn any_value(&self, _name: &str, _accept: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        false
    }
}

impl HeaderLookup for [(&str, &str)] {
    fn any_value(&self, name: &str, accept: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.iter().any(|(key, value)| key.eq_ignore_ascii_case(name) && accept(value.as_bytes()))
    }
}

/// The priority of a router that sets none: the bytes of its rule as written, blanks and comments too.
pub fn default_priority(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

impl Rule {
    /// Makes the rule ready to match.
    ///
    /// # Errors
    /// [`RuleError`] if a regular expression is not valid or too large, or a host is not ASCII.
    pub fn compile(&self) -> Result<CompiledRule, RuleError> {
        CompiledRule::new(self)
    }

    /// The parts because of which the rule does not hold for a request, as they would be written: of a conjunction those that do
    /// not hold, of anything else the whole. Empty if it holds. For people: it compiles each part.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn unmet(&self, facts: &RequestFacts<'_>) -> Result<Vec<String>, RuleError> {
        let mut unmet = Vec::new();
        match self {
            Self::And(rules) => {
                for rule in rules {
                    unmet.extend(rule.unmet(facts)?);
                }
            }
            whole if whole.compile()?.matches(facts) => {}
            whole => unmet.push(whole.to_string()),
        }
        Ok(unmet)
    }

    /// Keys that every matching request has; see [`RouteKeys`].
    pub fn necessary_keys(&self) -> RouteKeys {
        keys::necessary(self, false)
    }

    fn print_within(&self, f: &mut fmt::Formatter<'_>, parenthesise: bool) -> fmt::Result {
        if parenthesise { write!(f, "({self})") } else { write!(f, "{self}") }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(rules) | Self::Or(rules) => {
                let and = matches!(self, Self::And(_));
                for (position, rule) in rules.iter().enumerate() {
                    if position > 0 {
                        f.write_str(if and { " && " } else { " || " })?;
                    }
                    // The same operator inside keeps its parentheses: they are part of the tree.
                    let inner = matches!(rule, Self::Or(_)) || (and && matches!(rule, Self::And(_)));
                    rule.print_within(f, inner)?;
                }
                Ok(())
            }
            Self::Not(rule) => {
                f.write_str("!")?;
                rule.print_within(f, matches!(**rule, Self::And(_) | Self::Or(_)))
            }
            Self::Matcher(matcher) => {
                write!(f, "{}(", matcher.name())?;
                for (position, argument) in matcher.arguments().iter().enumerate() {
                    if position > 0 {
                        f.write_str(", ")?;
                    }
                    print_literal(f, argument)?;
                }
                f.write_str(")")
            }
        }
    }
}

/// Backticks where the text allows them, as people write rules; else double quotes with escapes.
fn print_literal(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    if !text.contains(['`', '\r', '\0']) {
        return write!(f, "`{text}`");
    }
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests;
