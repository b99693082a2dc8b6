//! Matchers of Traefik's second rule language, told in those of the third: several arguments, templates in braces (`{name}`,
//! `{name:expression}`). It must not match anything by itself: there is one tree, one index and one way to ask.

use std::fmt::Write as _;

use super::parser::{is_spelling_of, network};
use super::{Matcher, Rule, RuleError};

const NAMES: [&str; 10] = [
    "Host",
    "HostHeader",
    "HostRegexp",
    "Path",
    "PathPrefix",
    "Method",
    "Headers",
    "HeadersRegexp",
    "Query",
    "ClientIP",
];

/// What a host's and a path's template take where they give no expression.
const LABEL: &str = "[^.]+";
const SEGMENT: &str = "[^/]+";

/// The rule that a matcher of the old language says, with its arguments, none of which is empty.
///
/// # Errors
/// [`RuleError`].
pub(super) fn build(position: usize, name: &str, arguments: Vec<(usize, String)>) -> Result<Rule, RuleError> {
    let Some(canonical) = NAMES.into_iter().find(|canonical| is_spelling_of(name, canonical)) else {
        let message = format!("unknown matcher `{name}`: `ruleSyntax: v2` knows those of version 2");
        return Err(RuleError::at(position, message));
    };
    let pairs = matches!(canonical, "Headers" | "HeadersRegexp");
    if arguments.is_empty() || (pairs && arguments.len() != 2) {
        let wanted = if pairs { "2 arguments" } else { "at least one argument" };
        let message = format!("{canonical} takes {wanted}, not {}", arguments.len());
        return Err(RuleError::at(position, message));
    }
    if pairs {
        let mut texts = arguments.into_iter().map(|(_, text)| text);
        let (field, value) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
        return Ok(Rule::Matcher(match canonical {
            "Headers" => Matcher::Header(field, value),
            _ => Matcher::HeaderRegexp(field, value),
        }));
    }
    let rules: Result<Vec<Rule>, RuleError> = arguments
        .into_iter()
        .map(|(at, text)| one(canonical, &text).map_err(|message| RuleError::at(at, message)))
        .map(|matcher| matcher.map(Rule::Matcher))
        .collect();
    let mut rules = rules?;
    Ok(match rules.len() {
        1 => rules.remove(0),
        // Every parameter must be there; of everything else one is enough.
        _ if canonical == "Query" => Rule::And(rules),
        _ => Rule::Or(rules),
    })
}

fn one(name: &str, text: &str) -> Result<Matcher, String> {
    if name.starts_with("Host") && !text.is_ascii() {
        return Err(format!("{name} takes ASCII only; write a name in Punycode"));
    }
    if name.starts_with("Path") && !text.starts_with('/') {
        return Err(format!("{name} must begin with a slash"));
    }
    Ok(match name {
        // A star is no wildcard in the old language, and no host holds one.
        "Host" | "HostHeader" if text.contains('*') => Matcher::HostRegexp(whole(&literal(text))),
        "Host" | "HostHeader" => Matcher::Host(text.to_owned()),
        "HostRegexp" => match expression(text, LABEL)? {
            Some(expression) => Matcher::HostRegexp(whole(&expression)),
            None if text.contains('*') => Matcher::HostRegexp(whole(&literal(text))),
            None => Matcher::Host(text.to_owned()),
        },
        "Path" => match expression(text, SEGMENT)? {
            Some(expression) => Matcher::PathRegexp(whole(&expression)),
            None => Matcher::Path(text.to_owned()),
        },
        "PathPrefix" => match expression(text, SEGMENT)? {
            Some(expression) => Matcher::PathRegexp(format!("^{expression}")),
            None => Matcher::PathPrefix(text.to_owned()),
        },
        "Method" => Matcher::Method(text.to_owned()),
        "Query" => {
            let (parameter, value) = text.split_once('=').unwrap_or((text, ""));
            match expression(value, ".*")? {
                Some(expression) => Matcher::QueryRegexp(parameter.to_owned(), Some(whole(&expression))),
                // Without a value any one will do.
                None if value.is_empty() => Matcher::QueryRegexp(parameter.to_owned(), Some(".*".to_owned())),
                None => Matcher::Query(parameter.to_owned(), Some(value.to_owned())),
            }
        }
        _ => Matcher::ClientIp(
            network(text).ok_or_else(|| format!("`{text}` is not an address or a network"))?,
        ),
    })
}

fn whole(expression: &str) -> String {
    format!("^{expression}$")
}

/// A text as the expression that finds nothing else.
fn literal(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

/// A template as an expression; `None` where it has no braces and means itself.
fn expression(template: &str, default: &str) -> Result<Option<String>, String> {
    let unbalanced = || format!("the braces of `{template}` are not balanced");
    if !template.contains(['{', '}']) {
        return Ok(None);
    }
    let (mut out, mut rest) = (String::new(), template);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        out.push_str(&literal(before));
        let end = closing(from).ok_or_else(unbalanced)?;
        let inside = from.get(1..end).unwrap_or_default();
        let (name, pattern) = inside.split_once(':').unwrap_or((inside, default));
        if name.is_empty() || pattern.is_empty() {
            return Err(format!("a name or an expression is missing in `{{{inside}}}`"));
        }
        let _ = write!(out, "(?:{pattern})");
        rest = from.get(end + 1..).unwrap_or_default();
    }
    out.push_str(&literal(rest));
    Ok(Some(out))
}

/// Where the brace closes with which the text begins; braces inside are of the expression.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::rule::{NoHeaders, RequestFacts, Syntax, parse, parse_as};

    fn same(old: &str, new: &str) {
        let told = parse_as(old, Syntax::Version2).unwrap_or_else(|error| panic!("{old}: {error}"));
        assert_eq!(told, parse(new).unwrap_or_else(|error| panic!("{new}: {error}")), "{old}");
        told.compile().unwrap_or_else(|error| panic!("{old}: {error}"));
    }

    #[test]
    fn rules_of_version_2_are_told_in_those_of_version_3() {
        same("Host(`a.test`)", "Host(`a.test`)");
        same("HostHeader(`a.test`) && !Path(`/no`)", "Host(`a.test`) && !Path(`/no`)");
        same(
            "host(`a.test`, `b.test`) && METHOD(`GET`, `put`)",
            "(Host(`a.test`) || Host(`b.test`)) && (Method(`GET`) || Method(`put`))",
        );
        same(
            "Headers(`X-A`, `1`) || HeadersRegexp(`X-A`, `^[0-9]+$`)",
            "Header(`X-A`, `1`) || HeaderRegexp(`X-A`, `^[0-9]+$`)",
        );
        same("Path(`/p1`, `/p2/{id:[0-9]{2}}`)", "Path(`/p1`) || PathRegexp(`^/p2/(?:[0-9]{2})$`)");
        same("PathPrefix(`/x.y/{n}/`)", r"PathRegexp(`^/x\.y/(?:[^/]+)/`)");
        same(
            "HostRegexp(`{sub:[a-z]+}.a.test`, `{any}`, `b.test`)",
            r"HostRegexp(`^(?:[a-z]+)\.a\.test$`) || HostRegexp(`^(?:[^.]+)$`) || Host(`b.test`)",
        );
        same("Host(`*.a.test`)", r"HostRegexp(`^\*\.a\.test$`)");
        same(
            "Query(`a=1`, `b`, `c={n:[0-9]+}`)",
            "Query(`a`, `1`) && QueryRegexp(`b`, `.*`) && QueryRegexp(`c`, `^(?:[0-9]+)$`)",
        );
        same("ClientIP(`10.0.0.1`, `127.0.0.0/8`)", "ClientIP(`10.0.0.1`) || ClientIP(`127.0.0.0/8`)");
    }

    #[test]
    fn what_is_no_rule_of_version_2_is_refused() {
        for text in [
            "PathRegexp(`/`)",
            "Header(`a`, `b`)",
            "Headers(`a`)",
            "Host()",
            "Host(``)",
            "Path(`x`)",
            "Path(`/{`)",
            "Path(`/}{`)",
            "Path(`/{:x}`)",
            "Path(`/{n:}`)",
            "ClientIP(`x`)",
            "HostRegexp(`ä`)",
        ] {
            let told = parse_as(text, Syntax::Version2);
            assert!(told.is_err(), "{text}: {told:?}");
        }
        assert!(parse_as("Path(`/{n:(}`)", Syntax::Version2).expect("a tree").compile().is_err());
    }

    #[test]
    fn an_alternative_in_a_template_stays_within_it() {
        let rule = parse_as("Path(`/{n:a|b}/x`)", Syntax::Version2).expect("good");
        let rule = rule.compile().expect("good");
        let found = |path: &str| {
            rule.matches(&RequestFacts {
                host: "",
                path,
                method: "GET",
                query: "",
                client_ip: None,
                headers: &NoHeaders,
            })
        };
        assert_eq!(["/a/x", "/b/x", "/a", "/c/x", "/z/b/x"].map(found), [true, true, false, false, false]);
    }

    #[test]
    fn only_the_word_v2_means_the_old_language() {
        let syntaxes = ["", "default", "v3", "v9", "v2"].map(Syntax::named);
        assert_eq!(syntaxes.map(|syntax| syntax == Syntax::Version2), [false, false, false, false, true]);
    }
}
