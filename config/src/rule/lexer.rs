//! Words of the rule language, which are those of Go expressions: quotes, escapes, comments, and lines that end a term.
//! It must not know matchers.

use super::RuleError;

/// A word and the byte offset where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) position: usize,
    pub(super) word: Word,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    Name(String),
    Text(String),
    Open,
    Close,
    Comma,
    And,
    Or,
    Not,
    /// A line that ended after a term: Go puts a semicolon there.
    LineEnd,
    End,
}

/// Reads words one by one, so that a hostile text costs no more than its length.
pub(super) struct Lexer<'a> {
    text: &'a str,
    position: usize,
    /// Whether a line end here would end the term.
    after_term: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, position: 0, after_term: false }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or("")
    }

    /// Skips blanks and comments; true if a line ended meanwhile.
    fn skip_blanks(&mut self) -> Result<bool, RuleError> {
        let mut line_ended = false;
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
            line_ended |= rest.as_bytes().iter().take(blanks).any(|byte| *byte == b'\n');
            self.position += blanks;
            let rest = self.rest();
            if let Some(comment) = rest.strip_prefix("//") {
                self.position += 2 + comment.find('\n').unwrap_or(comment.len());
            } else if let Some(comment) = rest.strip_prefix("/*") {
                let Some(end) = comment.find("*/") else {
                    return Err(RuleError::at(self.position, "the comment is not closed"));
                };
                line_ended |= comment.as_bytes().iter().take(end).any(|byte| *byte == b'\n');
                self.position += end + 4;
            } else {
                return Ok(line_ended);
            }
        }
    }

    pub(super) fn next(&mut self) -> Result<Token, RuleError> {
        let before = self.position;
        if self.skip_blanks()? && self.after_term {
            self.after_term = false;
            return Ok(Token { position: before, word: Word::LineEnd });
        }
        let position = self.position;
        let word = self.word()?;
        self.after_term = matches!(word, Word::Name(_) | Word::Text(_) | Word::Close);
        Ok(Token { position, word })
    }

    fn word(&mut self) -> Result<Word, RuleError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Word::End) };
        let simple = |word: Word, length: usize| Ok((word, length));
        let (word, length) = match first {
            '(' => simple(Word::Open, 1),
            ')' => simple(Word::Close, 1),
            ',' => simple(Word::Comma, 1),
            '&' if rest.starts_with("&&") => simple(Word::And, 2),
            '|' if rest.starts_with("||") => simple(Word::Or, 2),
            '!' if !rest.starts_with("!=") => simple(Word::Not, 1),
            '`' => self.raw_text(rest),
            '"' => self.quoted_text(rest),
            c if c.is_alphabetic() || c == '_' => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                simple(Word::Name(rest.get(..end).unwrap_or(rest).to_owned()), end)
            }
            '\'' => Err(self.error("text is written in backticks or double quotes, not in single quotes")),
            c => Err(self.error(format!("{c:?} has no meaning in a rule"))),
        }?;
        self.position += length;
        Ok(word)
    }

    fn error(&self, message: impl Into<String>) -> RuleError {
        RuleError::at(self.position, message)
    }

    fn raw_text(&self, rest: &str) -> Result<(Word, usize), RuleError> {
        let body = rest.get(1..).unwrap_or("");
        let Some(end) = body.find('`') else { return Err(self.error("the backtick is not closed")) };
        let text: String = body.get(..end).unwrap_or("").chars().filter(|c| *c != '\r').collect();
        if text.contains('\0') {
            return Err(self.error("text must not hold a NUL character"));
        }
        Ok((Word::Text(text), end + 2))
    }

    fn quoted_text(&self, rest: &str) -> Result<(Word, usize), RuleError> {
        // Escapes name bytes, so the text is gathered as bytes and must come out as UTF-8.
        let mut bytes = Vec::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((offset, c)) = chars.next() {
            match c {
                '"' => {
                    let text = String::from_utf8(bytes);
                    let text = text.map_err(|_| self.error("the escapes in this text are not UTF-8"))?;
                    return Ok((Word::Text(text), offset + 1));
                }
                '\n' | '\0' => break,
                '\\' => {
                    let from = rest.get(offset + 1..).unwrap_or("");
                    let at = self.position + offset;
                    let length = escape(from, &mut bytes)
                        .ok_or_else(|| RuleError::at(at, "this escape has no meaning"))?;
                    for _ in from.get(..length).unwrap_or("").chars() {
                        chars.next();
                    }
                }
                c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Err(self.error("the double quote is not closed on its line"))
    }
}

/// One Go escape after its backslash: its bytes go to `bytes`; the length of its text comes back.
fn escape(from: &str, bytes: &mut Vec<u8>) -> Option<usize> {
    let first = from.chars().next()?;
    let digits = |skip: usize, count: usize, radix: u32| -> Option<u32> {
        let text = from.get(skip..skip + count)?;
        text.chars().all(|c| c.is_digit(radix)).then(|| u32::from_str_radix(text, radix).ok()).flatten()
    };
    let byte = |byte: u8, length: usize, bytes: &mut Vec<u8>| {
        bytes.push(byte);
        Some(length)
    };
    let scalar = |code: u32, length: usize, bytes: &mut Vec<u8>| {
        bytes.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
        Some(length)
    };
    match first {
        'a' => byte(0x07, 1, bytes),
        'b' => byte(0x08, 1, bytes),
        'f' => byte(0x0c, 1, bytes),
        'n' => byte(b'\n', 1, bytes),
        'r' => byte(b'\r', 1, bytes),
        't' => byte(b'\t', 1, bytes),
        'v' => byte(0x0b, 1, bytes),
        '\\' => byte(b'\\', 1, bytes),
        '"' => byte(b'"', 1, bytes),
        'x' => byte(u8::try_from(digits(1, 2, 16)?).ok()?, 3, bytes),
        '0'..='7' => byte(u8::try_from(digits(0, 3, 8)?).ok()?, 3, bytes),
        'u' => scalar(digits(1, 4, 16)?, 5, bytes),
        'U' => scalar(digits(1, 8, 16)?, 9, bytes),
        _ => None,
    }
}
