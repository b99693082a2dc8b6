//! The grammar of rules: `!` binds closest, then `&&`, then `||`; arguments are texts of a fixed count.
//! It must not compile expressions: a tree from here is bounded, not yet known to be usable.

use std::net::IpAddr;

use ipnet::IpNet;

use super::lexer::{Lexer, Token, Word};
use super::{Matcher, RULE_BYTES_MAX, RULE_DEPTH_MAX, Rule, RuleError, Syntax, version2};

/// Parses a rule.
///
/// # Errors
/// [`RuleError`] with the position of the first thing that is wrong, or if the text is longer than [`RULE_BYTES_MAX`]
/// or nested deeper than [`RULE_DEPTH_MAX`].
pub fn parse(text: &str) -> Result<Rule, RuleError> {
    parse_as(text, Syntax::Version3)
}

/// As [`parse`], of a rule in either language; the tree is one of the third.
///
/// # Errors
/// As [`parse`].
pub fn parse_as(text: &str, syntax: Syntax) -> Result<Rule, RuleError> {
    if text.len() > RULE_BYTES_MAX {
        let message = format!("a rule of {} bytes is longer than the {RULE_BYTES_MAX} allowed", text.len());
        return Err(RuleError { position: None, message });
    }
    if text.trim().is_empty() {
        return Err(RuleError { position: None, message: "the rule is empty".to_owned() });
    }
    let mut lexer = Lexer::new(text);
    let token = lexer.next()?;
    let mut parser = Parser { lexer, token, depth: 0, syntax };
    let rule = parser.chain(true)?;
    // A last line end is harmless: there is nothing after it to be cut off.
    let unexpected = parser.unexpected("`&&`, `||` or the end of the rule");
    if parser.token.word == Word::LineEnd {
        parser.advance()?;
    }
    if parser.token.word == Word::End { Ok(rule) } else { Err(unexpected) }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token,
    depth: usize,
    syntax: Syntax,
}

impl Parser<'_> {
    fn advance(&mut self) -> Result<Word, RuleError> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.token, next).word)
    }

    fn unexpected(&self, expected: &str) -> RuleError {
        let found = match &self.token.word {
            Word::LineEnd => "the line ends".to_owned(),
            Word::End => "the rule ends".to_owned(),
            Word::Name(name) => format!("`{name}` stands"),
            Word::Text(_) => "a text stands".to_owned(),
            Word::Open => "`(` stands".to_owned(),
            Word::Close => "`)` stands".to_owned(),
            Word::Comma => "`,` stands".to_owned(),
            Word::And => "`&&` stands".to_owned(),
            Word::Or => "`||` stands".to_owned(),
            Word::Not => "`!` stands".to_owned(),
        };
        let mend = match self.token.word {
            Word::LineEnd => "; a line that goes on ends with its operator or comma",
            _ => "",
        };
        RuleError::at(self.token.position, format!("{found} where {expected} is expected{mend}"))
    }

    /// `or` chains hold `and` chains, which hold single terms.
    fn chain(&mut self, or: bool) -> Result<Rule, RuleError> {
        let term = |parser: &mut Self| if or { parser.chain(false) } else { parser.term() };
        let operator = if or { Word::Or } else { Word::And };
        let first = term(self)?;
        if self.token.word != operator {
            return Ok(first);
        }
        let mut rules = vec![first];
        while self.token.word == operator {
            self.advance()?;
            rules.push(term(self)?);
        }
        Ok(if or { Rule::Or(rules) } else { Rule::And(rules) })
    }

    fn term(&mut self) -> Result<Rule, RuleError> {
        self.depth += 1;
        if self.depth > RULE_DEPTH_MAX {
            let message = format!("the rule is nested deeper than {RULE_DEPTH_MAX}");
            return Err(RuleError::at(self.token.position, message));
        }
        let rule = match &self.token.word {
            Word::Not => {
                self.advance()?;
                Rule::Not(Box::new(self.term()?))
            }
            Word::Open => {
                self.advance()?;
                let rule = self.chain(true)?;
                if self.token.word != Word::Close {
                    return Err(self.unexpected("`)`, `&&` or `||`"));
                }
                self.advance()?;
                rule
            }
            Word::Name(_) => self.matcher()?,
            _ => return Err(self.unexpected("a matcher, `!` or `(`")),
        };
        self.depth -= 1;
        Ok(rule)
    }

    fn matcher(&mut self) -> Result<Rule, RuleError> {
        let position = self.token.position;
        let Word::Name(name) = self.advance()? else { return Err(self.unexpected("a matcher")) };
        if self.token.word != Word::Open {
            return Err(self.unexpected(&format!("`(` after `{name}`")));
        }
        self.advance()?;
        let mut arguments = Vec::new();
        while self.token.word != Word::Close {
            let at = self.token.position;
            match self.advance()? {
                Word::Text(text) => arguments.push((at, text)),
                _ => return Err(RuleError::at(at, "an argument is a text in backticks or double quotes")),
            }
            match self.token.word {
                Word::Comma => drop(self.advance()?),
                Word::Close => {}
                _ => return Err(self.unexpected("`,` or `)`")),
            }
        }
        self.advance()?;
        if let Some((at, _)) = arguments.iter().find(|(_, text)| text.is_empty()) {
            return Err(RuleError::at(*at, format!("an argument of {name} is empty")));
        }
        match self.syntax {
            Syntax::Version3 => build(position, &name, arguments).map(Rule::Matcher),
            Syntax::Version2 => version2::build(position, &name, arguments),
        }
    }
}

const NAMES: [&str; 11] = [
    "Host",
    "HostRegexp",
    "Path",
    "PathPrefix",
    "PathRegexp",
    "Method",
    "Header",
    "HeaderRegexp",
    "Query",
    "QueryRegexp",
    "ClientIP",
];

/// The canonical name for one of the accepted spellings: as is, all lower, all upper, or only the first letter upper.
fn canonical_name(name: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|canonical| is_spelling_of(name, canonical))
}

pub(super) fn is_spelling_of(name: &str, canonical: &str) -> bool {
    let lower = canonical.to_ascii_lowercase();
    let title: String = lower
        .chars()
        .enumerate()
        .map(|(position, c)| if position == 0 { c.to_ascii_uppercase() } else { c })
        .collect();
    name == canonical || name == lower || name == canonical.to_ascii_uppercase() || name == title
}

fn build(position: usize, name: &str, arguments: Vec<(usize, String)>) -> Result<Matcher, RuleError> {
    let Some(canonical) = canonical_name(name) else {
        return Err(RuleError::at(position, format!("unknown matcher `{name}`{}", hint(name))));
    };
    let (least, most) = match canonical {
        "Header" | "HeaderRegexp" => (2, 2),
        "Query" | "QueryRegexp" => (1, 2),
        _ => (1, 1),
    };
    let count = arguments.len();
    if count < least || count > most {
        let wanted = if least == most { format!("{least}") } else { format!("{least} or {most}") };
        let message = format!("{canonical} takes {wanted} argument(s), not {count}");
        return Err(RuleError::at(position, message));
    }
    let mut arguments = arguments.into_iter();
    let (at, first) = arguments.next().unwrap_or_default();
    let second = arguments.next().map(|(_, text)| text);
    let ascii = |text: String| match text.is_ascii() {
        true => Ok(text),
        false => Err(RuleError::at(at, format!("{canonical} takes ASCII only; write a name in Punycode"))),
    };
    let slash = |text: String| match text.starts_with('/') {
        true => Ok(text),
        false => Err(RuleError::at(at, format!("{canonical} must begin with a slash"))),
    };
    Ok(match canonical {
        "Host" => Matcher::Host(ascii(first)?),
        "HostRegexp" => Matcher::HostRegexp(ascii(first)?),
        "Path" => Matcher::Path(slash(first)?),
        "PathPrefix" => Matcher::PathPrefix(slash(first)?),
        "PathRegexp" => Matcher::PathRegexp(first),
        "Method" => Matcher::Method(first),
        "Header" => Matcher::Header(first, second.unwrap_or_default()),
        "HeaderRegexp" => Matcher::HeaderRegexp(first, second.unwrap_or_default()),
        "Query" => Matcher::Query(first, second),
        "QueryRegexp" => Matcher::QueryRegexp(first, second),
        _ => {
            let network = network(&first)
                .ok_or_else(|| RuleError::at(at, format!("`{first}` is not an address or a network")))?;
            Matcher::ClientIp(network)
        }
    })
}

fn hint(name: &str) -> &'static str {
    match name {
        "Headers" => "; this language says `Header`",
        "HeadersRegexp" => "; this language says `HeaderRegexp`",
        "HostHeader" => "; this language says `Host`",
        "HostSNI" | "HostSNIRegexp" | "ALPN" => "; it belongs to TCP routers",
        _ if canonical_name(&name.to_ascii_lowercase()).is_some() => "; mind its capital letters",
        _ => "",
    }
}

/// An address or a network; IPv4 written as IPv6 is IPv4, host bits are dropped.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let network = match text.split_once('/') {
        Some(_) => text.parse::<IpNet>().ok()?,
        None => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    let address = match network {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().map(|v4| (v4, v6.prefix_len().saturating_sub(96))),
        IpNet::V4(_) => None,
    };
    match address {
        Some((v4, prefix)) => IpNet::new(v4.into(), prefix).ok().map(|network| network.trunc()),
        None => Some(network.trunc()),
    }
}
