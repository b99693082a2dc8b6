//! The one normalised path. Routing, policy, rewriting and forwarding read this value only; it is normalised again after every
//! rewrite. It knows no routes and never decodes a reserved character.

use std::borrow::Cow;

use ravelin_config::dynamic::PathCharacters;
use ravelin_config::static_config::{EncodedCharacters, Http};

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// A `%` without two hexadecimal digits.
    #[error("a percent sign without two hexadecimal digits")]
    Percent,
    /// NUL, encoded or not.
    #[error("the path holds a NUL")]
    Nul,
    /// A number sign: a fragment never travels.
    #[error("the target holds a number sign")]
    Fragment,
    /// A blank or control byte.
    #[error("the path holds a blank or control byte")]
    Control,
    /// An overlong UTF-8 form, by which some decoders smuggle dots and slashes.
    #[error("the path holds an overlong UTF-8 form")]
    Overlong,
    /// An encoded character that the entry point's `encodedCharacters` refuses.
    #[error("the path holds a refused encoded character")]
    RefusedCharacter,
    /// A dot segment would appear under some common decoding.
    #[error("the path hides a dot segment")]
    HiddenDotSegment,
    /// The path cannot be part of a request target.
    #[error("the path cannot be written as a request target")]
    Unwritable,
}

impl PathError {
    /// The target is no target at all, whatever an entry point allows: its connection is not read further.
    pub fn is_syntax(self) -> bool {
        matches!(self, Self::NotAbsolute | Self::Percent | Self::Nul | Self::Control | Self::Overlong)
    }
}

/// What an entry point allows in paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathOptions {
    /// Resolve `//`, `/./` and `/../`. Off, doubled slashes stay and dot segments are refused.
    pub sanitize: bool,
    refused: Characters,
}

/// Characters that may not stand encoded in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Characters(u8);

const SLASH: u8 = 1;
const BACK_SLASH: u8 = 1 << 1;
const SEMICOLON: u8 = 1 << 2;
const PERCENT: u8 = 1 << 3;
const QUESTION_MARK: u8 = 1 << 4;
const HASH: u8 = 1 << 5;

impl Default for PathOptions {
    fn default() -> Self {
        Self { sanitize: true, refused: Characters::default() }
    }
}

impl PathOptions {
    /// From an entry point's `http` section.
    pub fn compile(http: &Http) -> Self {
        let refused =
            http.encoded_characters.as_ref().map_or_else(Characters::default, Characters::of_entry_point);
        Self { sanitize: http.sanitize_path, refused }
    }
}

impl Characters {
    fn of_entry_point(allowed: &EncodedCharacters) -> Self {
        Self::refused_by(&PathCharacters {
            allow_encoded_slash: allowed.allow_encoded_slash,
            allow_encoded_back_slash: allowed.allow_encoded_back_slash,
            allow_encoded_null_character: allowed.allow_encoded_null_character,
            allow_encoded_semicolon: allowed.allow_encoded_semicolon,
            allow_encoded_percent: allowed.allow_encoded_percent,
            allow_encoded_question_mark: allowed.allow_encoded_question_mark,
            allow_encoded_hash: allowed.allow_encoded_hash,
        })
    }

    /// All that are not allowed. A NUL is refused everywhere.
    pub fn refused_by(allowed: &PathCharacters) -> Self {
        let bits = [
            (allowed.allow_encoded_slash, SLASH),
            (allowed.allow_encoded_back_slash, BACK_SLASH),
            (allowed.allow_encoded_semicolon, SEMICOLON),
            (allowed.allow_encoded_percent, PERCENT),
            (allowed.allow_encoded_question_mark, QUESTION_MARK),
            (allowed.allow_encoded_hash, HASH),
        ];
        Self(bits.iter().filter(|(allowed, _)| !allowed).fold(0, |all, (_, bit)| all | bit))
    }

    fn contains(self, byte: u8) -> bool {
        let bit = match byte {
            b'/' => SLASH,
            b'\\' => BACK_SLASH,
            b';' => SEMICOLON,
            b'%' => PERCENT,
            b'?' => QUESTION_MARK,
            b'#' => HASH,
            _ => return false,
        };
        self.0 & bit != 0
    }

    /// Whether one of them stands encoded in a normalised path.
    pub fn any_in(self, path: &str) -> bool {
        let bytes = path.as_bytes();
        bytes.iter().enumerate().any(|(at, &byte)| {
            byte == b'%' && hex_pair(bytes.get(at + 1..at + 3)).is_some_and(|value| self.contains(value))
        })
    }
}

/// Brings a path into its one form: unreserved characters decoded, hexadecimal digits upper case, other bytes that no path
/// holds raw encoded, doubled slashes and dot segments resolved. The result never holds a dot segment, also not under
/// repeated decoding, encoded separators, backslashes or `;` parameters. Idempotent. A path that is normal already (the usual
/// case) is borrowed.
pub fn normalise(path: &str, options: PathOptions) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let mut out = recode(path.as_bytes(), options)?;
    if options.sanitize {
        out = resolve(&out);
    }
    if hides_dot_segment(&out) {
        return Err(PathError::HiddenDotSegment);
    }
    // Every byte pushed above is ASCII.
    String::from_utf8(out).map(Cow::Owned).map_err(|_| PathError::Unwritable)
}

/// Brings what a middleware made of a path into the one form. Bytes that end a path or stand in none are encoded, as what is
/// rewritten is a path as a whole; a slash is put before what begins with none.
///
/// # Errors
/// As [`normalise`]. Where it must be `whole` already, empty and dot segments are errors, not resolved.
pub(crate) fn rewritten(path: &str, options: PathOptions, whole: bool) -> Result<String, PathError> {
    let mut text = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        text.push('/');
    }
    for character in path.chars() {
        match character {
            '?' | '#' | '\u{1}'..=' ' | '\u{7F}' => push_escape(&mut text, character),
            _ => text.push(character),
        }
    }
    if whole {
        let recoded = recode(text.as_bytes(), options)?;
        if resolve(&recoded) != recoded {
            return Err(PathError::HiddenDotSegment);
        }
    }
    normalise(&text, options).map(Cow::into_owned)
}

fn push_escape(text: &mut String, character: char) {
    let mut bytes = [0; 4];
    for byte in character.encode_utf8(&mut bytes).bytes() {
        text.push('%');
        text.extend(char::from_digit(u32::from(byte >> 4), 16).map(|digit| digit.to_ascii_uppercase()));
        text.extend(char::from_digit(u32::from(byte & 0xF), 16).map(|digit| digit.to_ascii_uppercase()));
    }
}

/// Plain text as part of a path: whatever would mean something else there is encoded, percent signs too.
pub(crate) fn encode_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match u8::try_from(character) {
            Ok(byte) if is_raw(byte) => out.push(character),
            _ => push_escape(&mut out, character),
        }
    }
    out
}

/// The first percent sign without two hexadecimal digits, with what follows it.
pub(crate) fn bad_escape(path: &str) -> Option<String> {
    path.match_indices('%').find_map(|(at, _)| {
        let pair = path.as_bytes().get(at + 1..at + 3);
        hex_pair(pair).is_none().then(|| {
            path.chars().skip(path.get(..at).map_or(0, |before| before.chars().count())).take(3).collect()
        })
    })
}

/// Bytes a path may hold raw: RFC 3986 `pchar` without `%`, the slash, and brackets, which Traefik passes raw.
fn is_raw(byte: u8) -> bool {
    RAW.get(usize::from(byte)).is_some_and(|&raw| raw)
}

const RAW: [bool; 256] = raw_bytes();

const fn raw_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let marks = matches!(
            byte,
            b'/' | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
                | b'['
                | b']'
        );
        table[index] = is_unreserved(byte) || marks;
        index += 1;
    }
    table
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether nothing needs a closer look: only raw bytes, and no segment that is empty or begins with a dot.
fn is_normal(path: &[u8]) -> bool {
    let mut after_slash = false;
    for &byte in path {
        if !is_raw(byte) || (after_slash && matches!(byte, b'/' | b'.')) {
            return false;
        }
        after_slash = byte == b'/';
    }
    true
}

fn recode(path: &[u8], options: PathOptions) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(path.len() + 8);
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        at += 1;
        match byte {
            b'%' => {
                let value = hex_pair(path.get(at..at + 2)).ok_or(PathError::Percent)?;
                at += 2;
                match value {
                    0 => return Err(PathError::Nul),
                    _ if is_overlong(value, path.get(at..at + 3)) => return Err(PathError::Overlong),
                    _ if options.refused.contains(value) => return Err(PathError::RefusedCharacter),
                    _ if is_unreserved(value) => out.push(value),
                    _ => push_encoded(&mut out, value),
                }
            }
            0 => return Err(PathError::Nul),
            b'#' | b'?' => return Err(PathError::Fragment),
            0x01..=b' ' | 0x7F => return Err(PathError::Control),
            b'\\' if options.refused.contains(byte) => return Err(PathError::RefusedCharacter),
            _ if is_raw(byte) => out.push(byte),
            _ => push_encoded(&mut out, byte),
        }
    }
    Ok(out)
}

/// Whether a byte, and the escape behind it, begin a form of a character that has a shorter one (RFC 3629, 3).
fn is_overlong(byte: u8, behind: Option<&[u8]>) -> bool {
    let next = || match behind {
        Some([b'%', pair @ ..]) => hex_pair(Some(pair)),
        _ => None,
    };
    match byte {
        0xC0 | 0xC1 => true,
        0xE0 => next().is_some_and(|next| (0x80..0xA0).contains(&next)),
        0xF0 => next().is_some_and(|next| (0x80..0x90).contains(&next)),
        _ => false,
    }
}

fn hex_pair(pair: Option<&[u8]>) -> Option<u8> {
    let &[high, low] = pair? else { return None };
    Some(hex_digit(high)? << 4 | hex_digit(low)?)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn push_encoded(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push(b'%');
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 0xF)]);
}

/// Resolves empty and dot segments. A trailing slash stays, as does the one that a final dot segment leaves.
fn resolve(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let mut open = true;
    for segment in path.split(|&byte| byte == b'/').skip(1) {
        open = false;
        match segment {
            b"" | b"." => open = true,
            b".." => {
                out.truncate(out.iter().rposition(|&byte| byte == b'/').unwrap_or(0));
                open = true;
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    if open || out.is_empty() {
        out.push(b'/');
    }
    out
}

/// How often a hidden segment is looked for after one more decoding: nobody decodes more often by mistake.
const DECODINGS_MAX: usize = 3;

fn hides_dot_segment(path: &[u8]) -> bool {
    if has_dot_segment(path) {
        return true;
    }
    let mut decoded = path.to_vec();
    for _ in 0..DECODINGS_MAX {
        if !decoded.contains(&b'%') {
            return false;
        }
        decoded = decode(&decoded);
        if has_dot_segment(&decoded) {
            return true;
        }
    }
    false
}

/// Decodes every well-formed escape once.
pub(crate) fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        at += 1;
        if byte == b'%'
            && let Some(value) = hex_pair(path.get(at..at + 2))
        {
            out.push(value);
            at += 2;
        } else {
            out.push(byte);
        }
    }
    out
}

fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|&byte| matches!(byte, b'/' | b'\\')).any(|segment| {
        let name = segment.split(|&byte| byte == b';').next().unwrap_or(segment);
        matches!(name, b"." | b"..")
    })
}

#[cfg(test)]
mod tests;
