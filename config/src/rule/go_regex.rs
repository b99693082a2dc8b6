//! Regular expressions as Go's RE2 reads them, compiled by the `regex` crate: same syntax, ASCII classes, bounded size.
//! It must refuse what Go refuses where that would change a meaning, and never accept backtracking constructs.

use std::iter::Peekable;
use std::str::Chars;

use regex::bytes::{Regex, RegexBuilder};

/// Largest compiled expression in bytes, and largest cache of one matcher.
pub const REGEX_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of groups.
const NEST_MAX: u32 = 100;

/// Compiles a Go expression. Matching is unanchored, over bytes, `.` and properties know Unicode, `\d \w \s \b` do not.
///
/// # Errors
/// One line that says what is wrong, or that the expression is larger than [`REGEX_BYTES_MAX`].
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern)?;
    RegexBuilder::new(&translated)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .nest_limit(NEST_MAX)
        .build()
        .map_err(|error| one_line(&error))
}

fn one_line(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("it needs more than {limit} bytes when compiled"),
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error:").trim().to_owned()
        }
    }
}

/// The same expression in the syntax of the `regex` crate.
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => escape(&mut rest, &mut out)?,
            '[' => class(&mut rest, &mut out)?,
            '(' => group(&mut rest, &mut out)?,
            // A brace that is no repetition stands for itself in Go.
            '{' if !is_repetition(rest.clone()) => literal('{', &mut out),
            other => out.push(other),
        }
    }
    Ok(out)
}

/// Whether what follows a `{` is `n}`, `n,}` or `n,m}`.
fn is_repetition(rest: Peekable<Chars<'_>>) -> bool {
    let inner: String = rest.take_while(|c| c.is_ascii_digit() || matches!(c, ',' | '}')).collect();
    let Some((inner, _)) = inner.split_once('}') else { return false };
    let number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    match inner.split_once(',') {
        None => number(inner),
        Some((low, high)) => number(low) && (high.is_empty() || number(high)),
    }
}

fn group(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push('(');
    if rest.peek() != Some(&'?') {
        return Ok(());
    }
    rest.next();
    out.push('?');
    match rest.peek() {
        Some('P') => {
            rest.next();
            match rest.peek() {
                Some('<') => out.push('P'),
                _ => return Err("`(?P` begins a named group, `(?P<name>...)`".to_owned()),
            }
        }
        Some('<') => {
            let mut ahead = rest.clone();
            ahead.next();
            if matches!(ahead.next(), Some('=' | '!')) {
                return Err("look-around is not supported".to_owned());
            }
        }
        Some('=' | '!') => return Err("look-around is not supported".to_owned()),
        _ => flags(rest, out)?,
    }
    Ok(())
}

fn flags(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    for c in rest.by_ref() {
        out.push(c);
        match c {
            'i' | 'm' | 's' | 'U' | '-' => {}
            ':' | ')' => return Ok(()),
            other => return Err(format!("`(?{other}` has no meaning")),
        }
    }
    Err("a group is not closed".to_owned())
}

/// Pushes a character so that it stands for itself, inside a class as well as outside.
fn literal(c: char, out: &mut String) {
    if c.is_ascii_alphanumeric() || !c.is_ascii() {
        out.push(c);
    } else {
        out.push_str(&format!("\\x{:02X}", u32::from(c)));
    }
}

/// The ranges of `\d`, `\s`, `\w` (given in lower case), which are ASCII in Go.
fn perl_class(c: char) -> Option<&'static str> {
    match c {
        'd' => Some("0-9"),
        's' => Some("\\t\\n\\f\\r\\x20"),
        'w' => Some("0-9A-Za-z_"),
        _ => None,
    }
}

/// What stands after a backslash, outside a class.
fn escape(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    let Some(c) = rest.peek().copied() else { return Err("a backslash at the end".to_owned()) };
    if class_escape(rest, out)? {
        return Ok(());
    }
    match c {
        'b' | 'B' => out.push_str(&format!("(?-u:\\{c})")),
        'A' | 'z' => out.push_str(&format!("\\{c}")),
        'Q' => {
            rest.next();
            while let Some(c) = rest.next() {
                if c == '\\' && rest.peek() == Some(&'E') {
                    rest.next();
                    break;
                }
                literal(c, out);
            }
            return Ok(());
        }
        _ => {
            literal(escaped_character(rest)?, out);
            return Ok(());
        }
    }
    rest.next();
    Ok(())
}

/// A class written as an escape, `\d` or `\p{..}`; false, with nothing taken, if it is none.
fn class_escape(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<bool, String> {
    let Some(c) = rest.peek().copied() else { return Ok(false) };
    if let Some(ranges) = perl_class(c.to_ascii_lowercase()) {
        rest.next();
        out.push_str(if c.is_ascii_uppercase() { "[^" } else { "[" });
        out.push_str(ranges);
        out.push(']');
        return Ok(true);
    }
    if !matches!(c, 'p' | 'P') {
        return Ok(false);
    }
    rest.next();
    let mut negated = c == 'P';
    let mut name = String::new();
    match rest.next() {
        Some('{') => loop {
            match rest.next() {
                Some('}') => break,
                Some(c) => name.push(c),
                None => return Err("`\\p{` is not closed".to_owned()),
            }
        },
        Some(c) => name.push(c),
        None => return Err("`\\p` names no property".to_owned()),
    }
    if let Some(positive) = name.strip_prefix('^') {
        negated = !negated;
        name = positive.to_owned();
    }
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!("`{name}` is not a Unicode property"));
    }
    out.push_str(&format!("\\{}{{{name}}}", if negated { 'P' } else { 'p' }));
    Ok(true)
}

/// One character written as an escape, after its backslash.
fn escaped_character(rest: &mut Peekable<Chars<'_>>) -> Result<char, String> {
    let Some(c) = rest.next() else { return Err("a backslash at the end".to_owned()) };
    let code = match c {
        'a' => 0x07,
        'f' => 0x0c,
        'n' => 0x0a,
        'r' => 0x0d,
        't' => 0x09,
        'v' => 0x0b,
        'x' => hexadecimal(rest)?,
        '0'..='7' => octal(c, rest)?,
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => u32::from(c),
        other => return Err(format!("`\\{other}` has no meaning")),
    };
    char::from_u32(code).ok_or_else(|| format!("U+{code:X} is not a character"))
}

fn hexadecimal(rest: &mut Peekable<Chars<'_>>) -> Result<u32, String> {
    let mut digits = String::new();
    if rest.peek() == Some(&'{') {
        rest.next();
        loop {
            match rest.next() {
                Some('}') => break,
                Some(c) if c.is_ascii_hexdigit() && digits.len() < 8 => digits.push(c),
                _ => return Err("`\\x{` wants hexadecimal digits and `}`".to_owned()),
            }
        }
    } else {
        digits.extend(rest.by_ref().take(2));
        if digits.len() != 2 {
            return Err("`\\x` wants two hexadecimal digits".to_owned());
        }
    }
    u32::from_str_radix(&digits, 16).map_err(|_| "`\\x` wants hexadecimal digits".to_owned())
}

fn octal(first: char, rest: &mut Peekable<Chars<'_>>) -> Result<u32, String> {
    let mut code = first.to_digit(8).unwrap_or(0);
    let digit = |rest: &mut Peekable<Chars<'_>>| rest.peek().and_then(|c| c.to_digit(8));
    if first != '0' && digit(rest).is_none() {
        return Err("back-references are not supported".to_owned());
    }
    for _ in 0..2 {
        let Some(value) = digit(rest) else { break };
        code = code * 8 + value;
        rest.next();
    }
    Ok(code)
}

fn class(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push('[');
    if rest.peek() == Some(&'^') {
        rest.next();
        out.push('^');
    }
    let mut first = true;
    loop {
        match rest.peek().copied() {
            None => return Err("a class is not closed".to_owned()),
            Some(']') if !first => {
                rest.next();
                out.push(']');
                return Ok(());
            }
            Some(_) => {}
        }
        first = false;
        if posix_class(rest, out)? {
            continue;
        }
        if rest.peek() == Some(&'\\') {
            let mut ahead = rest.clone();
            ahead.next();
            if class_escape(&mut ahead, out)? {
                *rest = ahead;
                continue;
            }
        }
        let low = class_character(rest)?;
        let mut ahead = rest.clone();
        if ahead.next() == Some('-') && !matches!(ahead.peek(), None | Some(']')) {
            *rest = ahead;
            let high = class_character(rest)?;
            if high < low {
                return Err(format!("the range `{low}-{high}` runs backwards"));
            }
            literal(low, out);
            out.push('-');
            literal(high, out);
        } else {
            literal(low, out);
        }
    }
}

fn class_character(rest: &mut Peekable<Chars<'_>>) -> Result<char, String> {
    match rest.next() {
        Some('\\') => escaped_character(rest),
        Some(c) => Ok(c),
        None => Err("a class is not closed".to_owned()),
    }
}

const POSIX_NAMES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// `[:alpha:]` inside a class; false, with nothing taken, if none begins here.
fn posix_class(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<bool, String> {
    let mut ahead = rest.clone();
    if ahead.next() != Some('[') || ahead.next() != Some(':') {
        return Ok(false);
    }
    // No name is longer; an unbounded look ahead would cost the square of a hostile pattern's length.
    let text: String = ahead.take(12).collect();
    let Some((name, _)) = text.split_once(":]") else { return Ok(false) };
    let positive = name.strip_prefix('^').unwrap_or(name);
    if !POSIX_NAMES.contains(&positive) {
        return Err(format!("`[:{name}:]` is not a class"));
    }
    out.push_str(&format!("[:{name}:]"));
    for _ in 0..name.len() + 4 {
        rest.next();
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, text: &str) -> bool {
        compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")).is_match(text.as_bytes())
    }

    #[test]
    fn classes_are_ascii_but_dot_and_properties_know_unicode() {
        assert!(found(r"^\d$", "7") && !found(r"^\d$", "٣"));
        assert!(found(r"^\w+$", "a_9") && !found(r"^\w$", "é"));
        assert!(found(r"^[\w-]+$", "a-b") && !found(r"^[^\W]$", "é"));
        assert!(!found(r"^\s$", "\u{b}") && !found(r"^\s$", "\u{a0}") && found(r"^\s$", "\t"));
        assert!(found(r"^/é.$", "/éé") && found(r"^/u\pL+$", "/uü") && !found(r"^/u\pL+$", "/u1"));
        assert!(found(r"\p{^Greek}", "a") && !found(r"\p{^Greek}", "α") && found(r"[\p{Greek}x]", "α"));
        assert!(found(r"a\b", "aé"), "a word boundary is an ASCII one");
        assert!(found(r"^[[:alpha:]]+?$", "abc") && found(r"^[[:^digit:]]$", "x"));
    }

    #[test]
    fn braces_classes_and_escapes_mean_what_they_mean_in_go() {
        assert!(found(r"^{sub:[a-z]+}$", "{sub:abc}"), "a brace that repeats nothing is itself");
        assert!(found(r"^a{,2}$", "a{,2}") && found(r"^a{2}$", "aa") && found(r"^a{1,}$", "aaa"));
        assert!(found(r"^[[a&&~-]+$", "[&~-a"), "no set operations in a class");
        assert!(found(r"^[]a]+$", "]a") && found(r"^[^]a]$", "x"));
        assert!(found(r"^\Qa.b\E+$", "a.bb") && !found(r"^\Qa.b\E$", "axb"));
        assert!(found(r"^\x41\x{42}\103\n$", "ABC\n") && found(r"^[\x41-\x43\-]+$", "AC-"));
        assert!(found(r"^\<\>\/\_$", "<>/_"));
        assert!(found(r"(?i)^FOLD(?-i:x)$", "foldx") && found(r"(?P<n>a)(?<m>b)", "ab"));
        assert!(found("b", "abc"), "unanchored");
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for pattern in [
            "(",
            "[",
            "*",
            "a{2,1}",
            r"^/(?!x)",
            r"(?=x)",
            r"(?<!x)",
            r"(a)\1",
            r"\C",
            r"\Z",
            r"\8",
            r"a\",
            "[b-a]",
            "[[:what:]]",
            r"\p{}",
            r"\pX",
            r"(?x)a",
            r"\é",
            r"(?Pa)",
            "(?i",
            r"\x4",
            r"\x{110000}",
            "[a",
        ] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_large_expression_is_refused_with_one_line() {
        let error = compile(r"(\pL{500}){500}").expect_err("far over a mebibyte");
        assert!(error.contains("bytes when compiled") && !error.contains('\n'), "{error}");
        assert!(compile(&"(".repeat(10_000)).is_err());
    }
}
