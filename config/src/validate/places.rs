//! Where the option stands that a verdict speaks of.

use crate::document::{Node, Value};
use crate::options;
use crate::problem::Position;

/// How verdicts begin, and the option they speak of.
const OPTION_OF: &[(&str, &str)] = &[
    ("error while parsing rule", "rule"),
    ("error while adding rule", "rule"),
    ("router has no rule", "rule"),
    ("the service is missing", "service"),
    ("the service \"", "service"),
    ("service \"", "service"),
    ("api is not", "service"),
    ("dashboard is not", "service"),
    ("ping is not", "service"),
    ("prometheus is not", "service"),
    ("rest is not", "service"),
    ("could not instantiate service", "service"),
    ("parent router \"", "parentRefs"),
    ("middleware \"", "middlewares"),
    ("invalid middleware \"", "middlewares"),
    ("could not instantiate middleware", "middlewares"),
    ("entryPoint \"", "entryPoints"),
    ("no valid entryPoint", "entryPoints"),
    ("unknown TLS options", "tls.options"),
    ("TLS options \"", "tls.options"),
    ("the router priority", "priority"),
    ("servers transport", "loadBalancer.serversTransport"),
    ("error parsing server URL", "loadBalancer.servers"),
    ("you must provide a target scheme", "redirectScheme"),
    ("headers configuration", "headers"),
    ("invalid CipherSuite", "cipherSuites"),
    ("invalid CurveID", "curvePreferences"),
    ("invalid clientAuthType", "clientAuth"),
    ("found different TLS options", "tls"),
];

/// Whether a verdict only passes on what is wrong with another object: `middleware "m@file": …`.
pub(super) fn is_of_another(verdict: &str) -> bool {
    let subjects = ["middleware \"", "service \"", "servers transport \"", "entryPoint \"", "TLS options \""];
    subjects.iter().any(|subject| {
        verdict
            .strip_prefix(subject)
            .and_then(|rest| rest.split_once('"'))
            .is_some_and(|(_, rest)| rest.starts_with(": "))
    })
}

/// What to do about a verdict, where it does not say so itself.
pub(super) fn mend(verdict: &str) -> Option<String> {
    let begins = ["error while parsing rule ", "error while adding rule "];
    let rest = begins.iter().find_map(|begin| verdict.strip_prefix(begin))?;
    let (rule, reason) = rest.split_once(": ").unwrap_or((rest, ""));
    let word = |word: &str| reason.contains(&format!("`{word}`"));
    let matchers = [
        "Host",
        "HostRegexp",
        "Path",
        "PathPrefix",
        "PathRegexp",
        "Header",
        "HeaderRegexp",
        "Method",
        "Query",
    ];
    let unknown = reason.split_once("unknown matcher `").and_then(|(_, rest)| rest.split_once('`'));
    let near = unknown.and_then(|(name, _)| options::nearest(name, matchers));
    let hint = if !rule.contains(['`', '"', '\'']) {
        "put the values into backticks, as in Host(`example.com`)".to_owned()
    } else if word("and") || word("AND") {
        "write `&&` for and".to_owned()
    } else if word("or") || word("OR") {
        "write `||` for or".to_owned()
    } else if let Some(near) = near {
        format!("did you mean `{near}`?")
    } else {
        "correct the rule".to_owned()
    };
    Some(format!(
        "{hint}; until the rule can be read, the router has no place, and others may get its requests"
    ))
}

/// The place and path of the option that a verdict on the object at `path` speaks of; the object's own if none is known.
pub(super) fn of(verdict: &str, root: &Node, path: &str, at: Position) -> (Position, String) {
    let said = OPTION_OF.iter().find(|(begin, _)| verdict.starts_with(begin)).map(|(_, option)| *option);
    let option = said.or_else(|| {
        let (option, _) = verdict.split_once(": ")?;
        let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '.';
        (!option.is_empty() && option.chars().all(plain)).then_some(option)
    });
    let object = descend(root, path);
    let found = option.and_then(|option| Some((place_below(object?, option)?, format!("{path}.{option}"))));
    found.unwrap_or_else(|| (at, path.to_owned()))
}

/// The value at `http.routers.web` or `tls.certificates[3]`. Names may hold dots, so that the longest that fits counts.
fn descend<'n>(mut node: &'n Node, mut path: &str) -> Option<&'n Node> {
    while !path.is_empty() {
        if let Some(rest) = path.strip_prefix('[') {
            let (index, rest) = rest.split_once(']')?;
            let Value::List(items) = &node.value else { return None };
            node = items.get(index.parse::<usize>().ok()?)?;
            path = rest.trim_start_matches('.');
            continue;
        }
        let fits = |key: &str| {
            let head = path.get(..key.len())?;
            let rest = &path[key.len()..];
            let ends = rest.is_empty() || rest.starts_with(['.', '[']);
            (ends && head.eq_ignore_ascii_case(key)).then_some(rest)
        };
        let entries = node.entries().iter().filter_map(|entry| Some((entry, fits(&entry.key)?)));
        let (entry, rest) = entries.max_by_key(|(entry, _)| entry.key.len())?;
        node = &entry.node;
        path = rest.strip_prefix('.').unwrap_or(rest);
    }
    Some(node)
}

/// Where an option of an object stands: its key, or that of the nearest above it that is there.
fn place_below(node: &Node, option: &str) -> Option<Position> {
    let (mut node, mut at) = (node, None);
    for key in option.split('.') {
        let Some(entry) = node.entry(key) else { break };
        (node, at) = (&entry.node, Some(entry.at));
    }
    at
}
