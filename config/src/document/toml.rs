//! TOML into the positioned tree. Only this file names the `toml` crate's spanned tree.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{DEPTH_MAX, Entry, Node, Value};
use crate::problem::{Position, Problem};

/// Reads one TOML document.
pub(super) fn parse(name: &str, text: &str) -> Result<Node, Box<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let places = Places::of(text);
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(Position::NONE, |span| places.position(&span));
        let message = format!("cannot be read as TOML: {}", error.message().trim().replace('\n', ", "));
        Box::new(Problem::error(name, at, "", message))
    })?;
    let reader = Reader { name, places };
    reader.map(table.get_ref(), Position { line: 1, column: 1 }, 0)
}

struct Reader<'a> {
    name: &'a str,
    places: Places<'a>,
}

impl Reader<'_> {
    fn map(&self, table: &DeTable<'_>, at: Position, depth: usize) -> Result<Node, Box<Problem>> {
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            let node = self.node(value, depth + 1)?;
            let at = self.places.position(&key.span());
            entries.push(Entry { key: key.get_ref().clone().into_owned(), at, node });
        }
        Ok(Node { at, value: Value::Map(entries) })
    }

    fn node(&self, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Box<Problem>> {
        let at = self.places.position(&value.span());
        if depth > DEPTH_MAX {
            let message = format!("nested more than {DEPTH_MAX} deep");
            return Err(Box::new(Problem::error(self.name, at, "", message)));
        }
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Text(number.to_string()),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Value::Float(number),
                Err(_) => Value::Text(number.to_string()),
            },
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Datetime(moment) => Value::Text(moment.to_string()),
            DeValue::Array(items) => {
                Value::List(items.iter().map(|item| self.node(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => return self.map(table, at, depth),
        };
        Ok(Node { at, value })
    }
}

/// Byte offsets to lines and columns.
struct Places<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Places<'a> {
    fn of(text: &'a str) -> Self {
        let after_breaks =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(index, _)| index + 1);
        Self { text, line_starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    fn position(&self, span: &Range<usize>) -> Position {
        let line = self.line_starts.partition_point(|start| *start <= span.start);
        let start = line.checked_sub(1).and_then(|index| self.line_starts.get(index)).copied().unwrap_or(0);
        let column = self.text.get(start..span.start).map_or(0, |before| before.chars().count()) + 1;
        Position { line: narrow(line), column: narrow(column) }
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
