//! Where each line and column of a rendered text stands in the file that it was rendered from. It must not guess: what an
//! action wrote stands where the action begins.

use crate::document::{Node, Value};
use crate::problem::Position;

/// A piece of the output that is a piece of the file, or what one action wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where it begins in the output.
    pub(super) output: usize,
    /// Where it begins in the file, or where the action does.
    pub(super) source: usize,
    /// Whether it stands in the file as it is.
    pub(super) verbatim: bool,
}

/// Bytes between two counts of characters.
const BLOCK_BYTES: usize = 256;

/// Byte offsets to lines and columns and back, at a cost that does not grow with the length of a line. Ends of lines are `\n`,
/// with or without `\r` before.
#[derive(Clone, Debug)]
pub(super) struct Places {
    text: Box<str>,
    line_starts: Vec<usize>,
    /// Characters that begin before each block.
    characters: Vec<usize>,
}

impl Places {
    pub(super) fn of(text: &str) -> Self {
        let after = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(index, _)| index + 1);
        let line_starts = std::iter::once(0).chain(after).collect();
        let mut count = 0;
        let characters = text.as_bytes().chunks(BLOCK_BYTES).map(|block| {
            let before = count;
            count += beginnings(block);
            before
        });
        Self { text: text.into(), line_starts, characters: characters.collect() }
    }

    /// The line and column of a byte.
    pub(super) fn position(&self, offset: usize) -> Position {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|index| self.line_starts.get(index)).copied().unwrap_or(0);
        let column = self.characters_before(offset) - self.characters_before(start) + 1;
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Position { line: narrow(line), column: narrow(column) }
    }

    fn characters_before(&self, offset: usize) -> usize {
        let block = (offset / BLOCK_BYTES).min(self.characters.len().saturating_sub(1));
        let rest = self.text.as_bytes().get(block * BLOCK_BYTES..offset).unwrap_or_default();
        self.characters.get(block).copied().unwrap_or(0) + beginnings(rest)
    }

    /// The byte at a line and column; the end of the line where that is shorter.
    fn offset(&self, at: Position) -> usize {
        let index = (at.line as usize).saturating_sub(1).min(self.line_starts.len().saturating_sub(1));
        let start = self.line_starts.get(index).copied().unwrap_or(0);
        let end = self.line_starts.get(index + 1).copied().unwrap_or(self.text.len());
        let wanted = self.characters_before(start) + (at.column as usize).saturating_sub(1);
        let block = self.characters.partition_point(|before| *before <= wanted).saturating_sub(1);
        let mut number = self.characters.get(block).copied().unwrap_or(0);
        let first = block * BLOCK_BYTES;
        for (offset, byte) in self.text.as_bytes().iter().enumerate().skip(first) {
            if begins_character(*byte) {
                if number == wanted || offset >= end {
                    return offset.clamp(start, end);
                }
                number += 1;
            }
        }
        end
    }
}

fn begins_character(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

fn beginnings(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| begins_character(**byte)).count()
}

/// Where a rendered text comes from.
#[derive(Clone, Debug)]
pub struct Origins {
    output: Places,
    source: Places,
    segments: Vec<Segment>,
}

impl Origins {
    pub(super) fn new(output: &str, segments: Vec<Segment>, source: Places) -> Self {
        Self { output: Places::of(output), source, segments }
    }

    /// The place in the file of a place in the rendered text.
    pub fn of(&self, at: Position) -> Position {
        if at == Position::NONE {
            return at;
        }
        let offset = self.output.offset(at);
        let after = self.segments.partition_point(|segment| segment.output <= offset);
        let Some(segment) = after.checked_sub(1).and_then(|index| self.segments.get(index)) else {
            return Position { line: 1, column: 1 };
        };
        let within = if segment.verbatim { offset - segment.output } else { 0 };
        self.source.position(segment.source + within)
    }

    /// Gives every key and value its place in the file.
    pub(super) fn place(&self, node: &mut Node) {
        node.at = self.of(node.at);
        match &mut node.value {
            Value::List(items) => items.iter_mut().for_each(|item| self.place(item)),
            Value::Map(entries) => {
                for entry in entries {
                    entry.at = self.of(entry.at);
                    self.place(&mut entry.node);
                }
            }
            _ => {}
        }
    }
}
