//! YAML into the positioned tree, from parser events. Only this file names the YAML parser.
//!
//! Scalars resolve as in Go's `yaml.v3` where that decodes into an untyped value, because that is what Traefik reads:
//! `yes` is text, `010` is eight, `1_000` is a number. Only the first document of a text counts, as in Traefik.

use std::collections::{BTreeMap, HashMap, HashSet};

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::{ALIAS_VALUES_MAX, DEPTH_MAX, Entry, Node, Value};
use crate::problem::{Position, Problem};

type Answer<T> = Result<T, Box<Problem>>;

/// Reads the first document of a YAML text that holds at most so many values.
pub(super) fn parse(name: &str, text: &str, values_max: usize) -> Answer<Node> {
    let options = granit_parser::options! { emit_comments: false };
    let parser = Parser::new_from_str_with_options(text, options);
    Reader { name, parser, anchors: BTreeMap::new(), unfolded: 0, values_left: values_max }.document()
}

struct Reader<'a> {
    name: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Anchored>,
    unfolded: usize,
    values_left: usize,
}

/// What an anchor stands for: copied at each alias, counted before it is copied.
struct Anchored {
    node: Node,
    values: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn document(mut self) -> Answer<Node> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) => {}
                Event::StreamEnd | Event::DocumentEnd => {
                    return Ok(Node { at: position(&span.start), value: Value::Null });
                }
                event => {
                    let root = self.node(event, &span, 0)?;
                    // The text after the first document is not ours, but what ends that document must be sound.
                    return self.next().map(|_| root);
                }
            }
        }
    }

    fn next(&mut self) -> Answer<(Event<'a>, Span)> {
        match self.parser.next_event() {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => Err(self.unreadable(&error)),
            None => Err(self.problem(Position::NONE, "cannot be read as YAML: the text ends too early")),
        }
    }

    fn unreadable(&self, error: &ScanError) -> Box<Problem> {
        let reason = error.info();
        let problem = self.problem(position(error.marker()), &format!("cannot be read as YAML: {reason}"));
        if reason.contains("tabs disallowed") {
            return Box::new(problem.mend("indent with blanks"));
        }
        if reason.contains("unexpected character: `") {
            return Box::new(problem.mend("put the value into quotes: '…'"));
        }
        problem
    }

    fn problem(&self, at: Position, message: &str) -> Box<Problem> {
        Box::new(Problem::error(self.name, at, "", message))
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Answer<Node> {
        let at = position(&span.start);
        if depth > DEPTH_MAX {
            return Err(self.problem(at, &format!("nested more than {DEPTH_MAX} deep")));
        }
        self.values_left = self
            .values_left
            .checked_sub(1)
            .ok_or_else(|| self.problem(at, "more values than one text may hold"))?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref()).map_err(|wrong| self.problem(at, &wrong))?;
                (value, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(depth)?, anchor),
            Event::Alias(anchor) => return self.alias(anchor, at, depth),
            other => return Err(self.problem(at, &format!("cannot be read as YAML: unexpected {other:?}"))),
        };
        let node = Node { at, value };
        if anchor != 0 {
            let (values, depth) = extent(&node);
            self.unfold(values, at)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), values, depth });
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Answer<Value> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => items.push(self.node(event, &span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Answer<Value> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = Seen::default();
        let mut merges = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let at = position(&span.start);
            let key = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, style, ..) => (text.into_owned(), style == ScalarStyle::Plain),
                Event::Alias(anchor) => match self.alias(anchor, at, depth)?.value {
                    Value::Text(text) => (text, false),
                    _ => return Err(self.problem(at, "a key must be text")),
                },
                _ => return Err(self.problem(at, "a key must be text, not a list or map")),
            };
            let (event, span) = self.next()?;
            let node = self.node(event, &span, depth + 1)?;
            if key == ("<<".to_owned(), true) {
                merges.push(node);
                continue;
            }
            if let Some(first) = seen.insert(&key.0, at, &entries) {
                let message =
                    format!("the key `{}` is already given at {}:{}", key.0, first.line, first.column);
                return Err(Box::new(
                    Problem::error(self.name, at, "", message).mend("rename or remove the duplicate"),
                ));
            }
            entries.push(Entry { key: key.0, at, node });
        }
        for merge in merges {
            self.merge(&mut entries, merge)?;
        }
        Ok(Value::Map(entries))
    }

    /// `<<`: the keys of the maps given that the map has not itself; of several maps the first wins.
    fn merge(&self, entries: &mut Vec<Entry>, merge: Node) -> Answer<()> {
        let maps = match merge.value {
            Value::List(items) => items,
            value => vec![Node { at: merge.at, value }],
        };
        let mut own: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        for map in maps {
            let Value::Map(merged) = map.value else {
                return Err(self.problem(map.at, "`<<` merges maps only"));
            };
            entries.extend(merged.into_iter().filter(|entry| own.insert(entry.key.clone())));
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: Position, depth: usize) -> Answer<Node> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(self.problem(at, "an alias to a value that contains it"));
        };
        let (node, values, deep) = (anchored.node.clone(), anchored.values, anchored.depth);
        self.unfold(values, at)?;
        if depth + deep > DEPTH_MAX {
            return Err(self.problem(at, &format!("nested more than {DEPTH_MAX} deep through aliases")));
        }
        Ok(node)
    }

    /// Counts values that are held or given a second time.
    fn unfold(&mut self, values: usize, at: Position) -> Answer<()> {
        self.unfolded = self.unfolded.saturating_add(values);
        if self.unfolded > ALIAS_VALUES_MAX {
            let message = format!("anchors and aliases unfold to more than {ALIAS_VALUES_MAX} values");
            return Err(self.problem(at, &message));
        }
        Ok(())
    }
}

/// The keys of one map: a scan while it is small, an index once it is not.
#[derive(Default)]
struct Seen(HashMap<String, Position>);

impl Seen {
    const SCAN_MAX: usize = 16;

    /// Notes a key; answers where it stood before, if it did.
    fn insert(&mut self, key: &str, at: Position, entries: &[Entry]) -> Option<Position> {
        if entries.len() < Self::SCAN_MAX {
            return entries.iter().find(|entry| entry.key == key).map(|entry| entry.at);
        }
        if self.0.is_empty() {
            self.0.extend(entries.iter().map(|entry| (entry.key.clone(), entry.at)));
        }
        self.0.insert(key.to_owned(), at)
    }
}

/// How many values a tree holds, and how deep it is.
fn extent(node: &Node) -> (usize, usize) {
    let children: &mut dyn Iterator<Item = &Node> = match &node.value {
        Value::List(items) => &mut items.iter(),
        Value::Map(entries) => &mut entries.iter().map(|entry| &entry.node),
        _ => return (1, 0),
    };
    children
        .map(extent)
        .fold((1, 0), |(values, depth), (more, deeper)| (values + more, depth.max(deeper + 1)))
}

fn position(mark: &Marker) -> Position {
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Position { line: narrow(mark.line()), column: narrow(mark.col().saturating_add(1)) }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let resolved = || if style == ScalarStyle::Plain { plain(text) } else { Value::Text(text.to_owned()) };
    match tag.map(|tag| (tag, tag.core_suffix())) {
        None => Ok(resolved()),
        Some((_, Some("str"))) => Ok(Value::Text(text.to_owned())),
        Some((_, Some(_))) => Ok(plain(text)),
        Some((tag, None)) if tag.original() == "!" => Ok(Value::Text(text.to_owned())),
        Some((tag, None)) => Err(format!("the YAML tag `{}` has no meaning here", tag.original())),
    }
}

/// What an unquoted scalar means.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let first = text.as_bytes().first().copied().unwrap_or_default();
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return Value::Text(text.to_owned());
    }
    let digits = text.replace('_', "");
    match integer(&digits).map(Value::Integer).or_else(|| float(&digits).map(Value::Float)) {
        Some(number) => number,
        None => Value::Text(text.to_owned()),
    }
}

/// A whole number as Go reads it with base 0: prefixes `0x`, `0o`, `0b`, and a leading zero for octal. Up to 64 bits.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, radix) = match digits.get(..2) {
        Some("0x" | "0X") => (&digits[2..], 16),
        Some("0o" | "0O") => (&digits[2..], 8),
        Some("0b" | "0B") => (&digits[2..], 2),
        Some(_) if digits.starts_with('0') => (&digits[1..], 8),
        _ => (digits, 10),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let signed = if negative { -number } else { number };
    (signed >= i128::from(i64::MIN)).then_some(signed)
}

/// A decimal number, or one of YAML's infinities.
fn float(text: &str) -> Option<f64> {
    match text.strip_prefix(['+', '-']).unwrap_or(text) {
        ".inf" | ".Inf" | ".INF" if text.starts_with('-') => return Some(f64::NEG_INFINITY),
        ".inf" | ".Inf" | ".INF" => return Some(f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        _ => {}
    }
    let decimal =
        text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    if decimal { text.parse().ok() } else { None }
}
