//! A template's text as pieces: text between actions with its blanks trimmed, and the tokens of each action. It must not know
//! what an action means.

use super::Fault;

/// A piece of the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// Bytes that stand for themselves.
    Text {
        /// The first.
        start: usize,
        /// Behind the last.
        end: usize,
    },
    /// What stands between `{{` and `}}`.
    Action {
        /// Where its `{{` begins.
        at: usize,
        /// What stands in it.
        tokens: Vec<Token>,
    },
}

/// A token of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    /// Where it begins.
    pub(super) at: usize,
    /// Whether a blank stands before it, or nothing.
    pub(super) apart: bool,
    /// What it is.
    pub(super) kind: TokenKind,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// A keyword, a function, `true`, `false` or `nil`.
    Word(String),
    /// `.name`, without the dot.
    Field(String),
    /// `$name` with the dollar sign.
    Variable(String),
    /// A dot alone.
    Dot,
    /// A text in quotes, without them.
    Text(String),
    /// A whole number, or a character.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// `(`.
    Open,
    /// `)`.
    Close,
    /// `|`.
    Pipe,
    /// `,`.
    Comma,
    /// `:=`.
    Declare,
    /// `=`.
    Assign,
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// Cuts a text into pieces.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, Fault> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut trim_next = false;
    while let Some(open) = text.get(at..).and_then(|rest| rest.find(OPEN)).map(|offset| at + offset) {
        let mut inner = open + OPEN.len();
        let trims = begins_with_trim(&text[inner..]);
        push_text(&mut found, text, (at, open), trim_next, trims);
        if trims {
            inner += 1;
        }
        let first = inner + blanks(&text[inner..]);
        if text[first..].starts_with("/*") {
            (at, trim_next) = comment(text, open, first)?;
            continue;
        }
        let mut lexer = Lexer { text, at: inner, depth: 0, tokens: Vec::new() };
        trim_next = lexer.action(open)?;
        at = lexer.at;
        found.push(Piece::Action { at: open, tokens: lexer.tokens });
    }
    push_text(&mut found, text, (at, text.len()), trim_next, false);
    Ok(found)
}

fn push_text(
    found: &mut Vec<Piece>,
    text: &str,
    (start, end): (usize, usize),
    trim_left: bool,
    trim_right: bool,
) {
    let piece = &text[start..end];
    let left = if trim_left { piece.len() - piece.trim_start_matches(is_blank).len() } else { 0 };
    let kept = &piece[left..];
    let kept = if trim_right { kept.trim_end_matches(is_blank) } else { kept };
    if !kept.is_empty() {
        found.push(Piece::Text { start: start + left, end: start + left + kept.len() });
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches(is_blank).len()
}

/// Whether what follows `{{` is the marker that trims what stands before: a minus and a blank.
fn begins_with_trim(inner: &str) -> bool {
    inner.strip_prefix('-').is_some_and(|rest| rest.starts_with(is_blank))
}

/// The end of a comment that begins at `first`, and whether it trims what follows.
fn comment(text: &str, open: usize, first: usize) -> Result<(usize, bool), Fault> {
    let close =
        text[first + 2..].find("*/").ok_or_else(|| Fault::new(open, "the comment is never closed"))?;
    let after = first + 2 + close + 2;
    let rest = &text[after..];
    if rest.starts_with(CLOSE) {
        return Ok((after + CLOSE.len(), false));
    }
    let trimmed = blanks(rest);
    match rest[trimmed..].strip_prefix('-') {
        Some(end) if trimmed > 0 && end.starts_with(CLOSE) => Ok((after + trimmed + 1 + CLOSE.len(), true)),
        _ => Err(Fault::new(open, "a comment must end right before the closing `}}`")),
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Reads up to behind the closing braces; whether they trim what follows.
    fn action(&mut self, open: usize) -> Result<bool, Fault> {
        loop {
            let skipped = blanks(self.rest());
            self.at += skipped;
            let rest = self.rest();
            let trims = skipped > 0 && rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(CLOSE));
            if trims || rest.starts_with(CLOSE) {
                if self.depth > 0 {
                    return Err(Fault::new(open, "a parenthesis is never closed"));
                }
                self.at += CLOSE.len() + usize::from(trims);
                return Ok(trims);
            }
            let Some(c) = rest.chars().next() else {
                return Err(Fault::new(open, "the action is never closed: `}}` is missing"));
            };
            let apart = skipped > 0 || self.tokens.is_empty();
            let at = self.at;
            let kind = self.token(c)?;
            self.tokens.push(Token { at, apart, kind });
        }
    }

    fn token(&mut self, c: char) -> Result<TokenKind, Fault> {
        let simple = match c {
            '(' => Some(TokenKind::Open),
            ')' => Some(TokenKind::Close),
            '|' => Some(TokenKind::Pipe),
            ',' => Some(TokenKind::Comma),
            '=' => Some(TokenKind::Assign),
            _ => None,
        };
        if let Some(kind) = simple {
            match kind {
                TokenKind::Open => self.depth += 1,
                TokenKind::Close if self.depth == 0 => {
                    return Err(Fault::new(self.at, "a `)` without its `(`"));
                }
                TokenKind::Close => self.depth -= 1,
                _ => {}
            }
            self.at += 1;
            return Ok(kind);
        }
        let begin = self.at;
        match c {
            ':' if self.rest().starts_with(":=") => {
                self.at += 2;
                Ok(TokenKind::Declare)
            }
            '"' => self.quoted(),
            '`' => self.raw(),
            '\'' => self.character(),
            '$' => {
                self.at += 1;
                self.word();
                Ok(TokenKind::Variable(self.text[begin..self.at].to_owned()))
            }
            '.' if !self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                self.at += 1;
                let name = self.word();
                Ok(if name.is_empty() { TokenKind::Dot } else { TokenKind::Field(name) })
            }
            '.' | '+' | '-' | '0'..='9' => self.number(),
            c if is_word(c) => Ok(TokenKind::Word(self.word())),
            _ => Err(Fault::new(self.at, "a character that has no meaning in an action")),
        }
    }

    fn word(&mut self) -> String {
        let rest = self.rest();
        let word = &rest[..rest.len() - rest.trim_start_matches(is_word).len()];
        let word = word.to_owned();
        self.at += word.len();
        word
    }

    fn raw(&mut self) -> Result<TokenKind, Fault> {
        let inner = &self.rest()[1..];
        let end = inner.find('`').ok_or_else(|| Fault::new(self.at, "a raw text is never closed"))?;
        // Go leaves carriage returns out of raw texts.
        let text = inner[..end].replace('\r', "");
        self.at += end + 2;
        Ok(TokenKind::Text(text))
    }

    fn quoted(&mut self) -> Result<TokenKind, Fault> {
        let begin = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let Some(c) = self.rest().chars().next().filter(|c| *c != '\n') else {
                return Err(Fault::new(begin, "a text in quotes is never closed"));
            };
            self.at += c.len_utf8();
            match c {
                '"' => break,
                '\\' => self.escape(&mut bytes, begin)?,
                c => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        let text = String::from_utf8(bytes).map_err(|_| Fault::new(begin, "a text that is no UTF-8"))?;
        Ok(TokenKind::Text(text))
    }

    fn character(&mut self) -> Result<TokenKind, Fault> {
        let begin = self.at;
        let wrong =
            || Fault::new(begin, "one character belongs between single quotes; texts stand in double quotes");
        self.at += 1;
        let mut bytes = Vec::new();
        match self.rest().chars().next() {
            None | Some('\n' | '\'') => return Err(wrong()),
            Some('\\') => {
                self.at += 1;
                self.escape(&mut bytes, begin)?;
            }
            Some(c) => {
                self.at += c.len_utf8();
                bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
            }
        }
        if !self.rest().starts_with('\'') {
            return Err(wrong());
        }
        self.at += 1;
        let number = match std::str::from_utf8(&bytes).ok().and_then(|text| text.chars().next()) {
            Some(c) => i64::from(u32::from(c)),
            None => bytes.first().copied().map_or(0, i64::from),
        };
        Ok(TokenKind::Integer(number))
    }

    /// What follows a backslash, as in Go.
    fn escape(&mut self, bytes: &mut Vec<u8>, begin: usize) -> Result<(), Fault> {
        let unknown = || Fault::new(begin, "an escape that Go does not know");
        let c = self.rest().chars().next().ok_or_else(unknown)?;
        let simple = match c {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' | '\'' | '"' => Some(c as u8),
            _ => None,
        };
        if let Some(byte) = simple {
            self.at += 1;
            bytes.push(byte);
            return Ok(());
        }
        let (skip, count, radix) = match c {
            'x' => (1, 2, 16),
            'u' => (1, 4, 16),
            'U' => (1, 8, 16),
            '0'..='7' => (0, 3, 8),
            _ => return Err(unknown()),
        };
        let digits = self.rest().get(skip..skip + count).ok_or_else(unknown)?;
        if !digits.chars().all(|c| c.is_digit(radix)) {
            return Err(unknown());
        }
        let number = u32::from_str_radix(digits, radix).map_err(|_| unknown())?;
        self.at += skip + count;
        if matches!(c, 'u' | 'U') {
            let c = char::from_u32(number).ok_or_else(unknown)?;
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
        } else {
            bytes.push(u8::try_from(number).map_err(|_| unknown())?);
        }
        Ok(())
    }

    fn number(&mut self) -> Result<TokenKind, Fault> {
        let begin = self.at;
        let rest = self.rest();
        let mut end = 0;
        let mut before = ' ';
        for c in rest.chars() {
            let sign = matches!(c, '+' | '-') && (end == 0 || matches!(before, 'e' | 'E' | 'p' | 'P'));
            if !(sign || c.is_ascii_alphanumeric() || matches!(c, '.' | '_')) {
                break;
            }
            before = c;
            end += c.len_utf8();
        }
        let word = rest[..end].to_owned();
        self.at += end;
        match (super::value::integer(&word), super::value::float(&word)) {
            (Some(number), _) => Ok(TokenKind::Integer(number)),
            (None, Some(number)) if word.contains(['.', 'e', 'E']) => Ok(TokenKind::Float(number)),
            (None, Some(_)) => Err(Fault::new(begin, "a whole number of more than 64 bits")),
            (None, None) => Err(Fault::new(begin, "this is no number")),
        }
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
