//! The text that a Prometheus server reads (exposition format 0.0.4): families in order of name, each with its help and type.
//! It knows how things are written and nothing of what they mean.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

/// What a family holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Counter,
    Gauge,
    Histogram,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

struct Family {
    ty: Type,
    help: &'static str,
    lines: String,
}

/// The families of one scrape.
#[derive(Default)]
pub(super) struct Exposition {
    families: BTreeMap<String, Family>,
}

impl Exposition {
    /// A family to write lines into; begun with the first call.
    pub(super) fn family(&mut self, name: &str, ty: Type, help: &'static str) -> Lines<'_> {
        if !self.families.contains_key(name) {
            self.families.insert(name.to_owned(), Family { ty, help, lines: String::new() });
        }
        // It was put there just now.
        let lines = self.families.get_mut(name).map(|family| &mut family.lines);
        Lines { name: name.to_owned(), out: lines }
    }

    /// A family of one line without labels.
    pub(super) fn single(&mut self, name: &str, ty: Type, help: &'static str, value: impl Display) {
        self.family(name, ty, help).line("", &[], value);
    }

    /// The whole text.
    pub(super) fn text(self) -> String {
        let length =
            self.families.iter().map(|(name, family)| family.lines.len() + 2 * name.len() + 160).sum();
        let mut out = String::with_capacity(length);
        for (name, family) in self.families {
            // Writing to a String cannot fail.
            let _ = write!(out, "# HELP {name} {}\n# TYPE {name} {}\n", family.help, family.ty.name());
            out.push_str(&family.lines);
        }
        out
    }
}

/// One family, to be written.
pub(super) struct Lines<'e> {
    name: String,
    out: Option<&'e mut String>,
}

impl Lines<'_> {
    /// One line; `part` is what a histogram's lines have behind the name. Labels are given in order of name.
    pub(super) fn line(&mut self, part: &str, labels: &[(&str, &str)], value: impl Display) {
        let Some(out) = &mut self.out else { return };
        out.push_str(&self.name);
        out.push_str(part);
        for (index, (label, text)) in labels.iter().enumerate() {
            out.push(if index == 0 { '{' } else { ',' });
            out.push_str(label);
            out.push_str("=\"");
            escape(out, text);
            out.push('"');
        }
        if !labels.is_empty() {
            out.push('}');
        }
        let _ = writeln!(out, " {value}");
    }
}

fn escape(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            letter => out.push(letter),
        }
    }
}
