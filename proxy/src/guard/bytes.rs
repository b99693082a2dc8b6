//! Classes of bytes that HTTP/1 syntax distinguishes, as tables and scans of whole blocks. They say what a byte may be and
//! never what a message means.

use wide::u8x16;

const TOKEN: u8 = 1;
const PATH: u8 = 2;
const QUERY: u8 = 4;
const FRAGMENT: u8 = 8;
const HOST: u8 = 16;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0_u8; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let token = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        // The two sets are those of `http::Uri`, so that whatever passes here is a URI there. They are wider than
        // RFC 3986 where clients are known to send bytes unescaped.
        let path =
            matches!(byte, 0x21 | 0x22 | 0x24..=0x3B | 0x3D | 0x40..=0x5F | 0x61..=0x7E) || byte >= 0x80;
        let query = matches!(byte, 0x21 | 0x24..=0x3B | 0x3D | 0x3F..=0x7E) || byte >= 0x80;
        let fragment = matches!(byte, 0x21..=0x7E) || byte >= 0x80;
        let host = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        table[index] = ((token as u8) * TOKEN)
            | ((host as u8) * HOST)
            | ((path as u8) * PATH)
            | ((query as u8) * QUERY)
            | ((fragment as u8) * FRAGMENT);
        index += 1;
    }
    table
}

/// May stand in a method or a field name (RFC 9110 §5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TOKEN != 0
}

/// Length of the longest prefix of bytes that may stand in a host's name.
pub(super) fn host_prefix(bytes: &[u8]) -> usize {
    prefix(bytes, |byte| CLASSES[usize::from(byte)] & HOST != 0)
}

/// Which part of a request target a byte stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetPart {
    /// Before a `?`.
    Path,
    /// After a `?`.
    Query,
    /// After a `#`, which no request target may hold; kept apart so that the request path can name it.
    Fragment,
}

impl TargetPart {
    /// Length of the longest prefix that may stand in this part. `?` ends a path, `#` ends path and query.
    pub(super) fn prefix(self, bytes: &[u8]) -> usize {
        let mask = match self {
            Self::Path => PATH,
            Self::Query => QUERY,
            Self::Fragment => FRAGMENT,
        };
        prefix(bytes, |byte| CLASSES[usize::from(byte)] & mask != 0)
    }
}

/// Length of the longest prefix of token bytes: sixteen at a time while they are letters and hyphens, as most are.
#[inline]
pub(super) fn token_prefix(bytes: &[u8]) -> usize {
    let plain = letter_prefix(bytes);
    match bytes.get(plain) {
        Some(&byte) if is_token(byte) => other_token_prefix(bytes, plain),
        _ => plain,
    }
}

/// Length of the longest prefix of letters and hyphens.
#[inline]
pub(super) fn letter_prefix(bytes: &[u8]) -> usize {
    block_prefix(bytes, |block| !letters(block) & 0xFFFF, |byte| byte.is_ascii_alphabetic() || byte == b'-')
}

/// The same as of [`token_prefix`], where the first `plain` bytes are known to be letters and hyphens, and the next one is none.
#[cold]
#[inline(never)]
fn other_token_prefix(bytes: &[u8], plain: usize) -> usize {
    plain + bytes.get(plain..).map_or(0, |rest| prefix(rest, is_token))
}

/// Bytes that are looked at together.
const BLOCK_BYTES: usize = 16;

/// Length of the longest prefix without a mark. `marks` has a bit for each byte of a block, the first byte's the lowest; what
/// is less than a block at the end is asked byte by byte.
#[inline]
fn block_prefix(bytes: &[u8], marks: impl Fn(u8x16) -> i32, allowed: impl Fn(u8) -> bool) -> usize {
    let mut rest = bytes;
    while let Some((block, behind)) = rest.split_first_chunk::<BLOCK_BYTES>() {
        let marks = marks(u8x16::new(*block));
        if marks != 0 {
            return bytes.len() - rest.len() + marks.trailing_zeros() as usize;
        }
        rest = behind;
    }
    bytes.len() - rest.len() + prefix(rest, allowed)
}

/// A bit for each byte that is a letter or a hyphen.
#[inline]
fn letters(block: u8x16) -> i32 {
    let lower = block | u8x16::splat(0x20);
    let letter = lower.max(u8x16::splat(b'a')).cmp_eq(lower) & lower.min(u8x16::splat(b'z')).cmp_eq(lower);
    (letter | block.cmp_eq(u8x16::splat(b'-'))).move_mask()
}

fn prefix(bytes: &[u8], allowed: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|&byte| !allowed(byte)).unwrap_or(bytes.len())
}

/// May stand in a field value (RFC 9110 §5.5): a tab, anything visible, and opaque bytes from 0x80.
pub(super) fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7F)
}

/// A bit for each byte that may not stand in a field value.
#[inline]
fn other_than_value(block: u8x16) -> i32 {
    let control = block.min(u8x16::splat(0x1F)).cmp_eq(block);
    let tab = block.cmp_eq(u8x16::splat(b'\t'));
    ((control ^ tab) | block.cmp_eq(u8x16::splat(0x7F))).move_mask()
}

/// Length of the longest prefix of bytes that may stand in a field value, sixteen at a time.
#[inline]
pub(crate) fn value_prefix(bytes: &[u8]) -> usize {
    block_prefix(bytes, other_than_value, is_value)
}

/// The places of all bytes that may not stand in a field value, in order; the ends of lines are among them. Each byte is looked
/// at once, however many lines there are.
pub(super) struct Breaks<'b> {
    /// What was not looked at.
    rest: &'b [u8],
    /// Where that begins.
    place: usize,
    /// Of the block before it: a bit for each place that was not told yet.
    marks: u32,
}

impl<'b> Breaks<'b> {
    /// Of these bytes.
    pub(super) fn of(bytes: &'b [u8]) -> Self {
        Self { rest: bytes, place: 0, marks: 0 }
    }

    /// What is less than a block at the end.
    #[cold]
    fn last_block(rest: &[u8]) -> [u8; BLOCK_BYTES] {
        std::array::from_fn(|place| rest.get(place).copied().unwrap_or(b' '))
    }
}

impl Iterator for Breaks<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.marks == 0 {
            let block = match self.rest.split_first_chunk() {
                Some((block, rest)) => {
                    self.rest = rest;
                    *block
                }
                None if self.rest.is_empty() => return None,
                None => Self::last_block(std::mem::take(&mut self.rest)),
            };
            self.marks = other_than_value(u8x16::new(block)).cast_unsigned();
            // No more than the bytes there are, but for what fills up the last block.
            self.place = self.place.wrapping_add(BLOCK_BYTES);
        }
        let place = self.place.wrapping_sub(BLOCK_BYTES - self.marks.trailing_zeros() as usize);
        self.marks &= self.marks.wrapping_sub(1);
        Some(place)
    }
}

/// A whole field line without a fault: a name, a colon, a value, CR and LF.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FieldLine<'l> {
    /// Token bytes, at least one.
    pub(crate) name: &'l [u8],
    /// With the blanks around it.
    pub(crate) value: &'l [u8],
    /// Of the line, its end included.
    pub(crate) bytes: usize,
}

impl<'l> FieldLine<'l> {
    /// The line that `bytes` begin with, if it is one.
    #[inline]
    pub(crate) fn of(bytes: &'l [u8]) -> Option<Self> {
        let name = bytes.get(..token_prefix(bytes)).filter(|name| !name.is_empty())?;
        let rest = bytes.get(name.len()..)?.strip_prefix(b":")?;
        let value = rest.get(..value_prefix(rest))?;
        rest.get(value.len()..)?.starts_with(b"\r\n").then_some(Self {
            name,
            value,
            bytes: name.len() + 1 + value.len() + 2,
        })
    }
}

/// `bytes` without spaces and tabs at its ends.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    bytes.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_byte_passes_exactly_where_the_uri_type_takes_it() {
        for byte in 0..0x80_u8 {
            if byte != b'?' && byte != b'#' {
                let path = http::Uri::try_from([b"/a".as_slice(), &[byte], b"b"].concat()).is_ok();
                assert_eq!(TargetPart::Path.prefix(&[byte]) == 1, path, "path byte {byte:#x}");
            }
            if byte != b'#' {
                let query = http::Uri::try_from([b"/?a".as_slice(), &[byte], b"b"].concat()).is_ok();
                assert_eq!(TargetPart::Query.prefix(&[byte]) == 1, query, "query byte {byte:#x}");
            }
        }
        assert_eq!(TargetPart::Path.prefix(b"/a?b"), 2);
        assert_eq!(TargetPart::Path.prefix(b"/a#b"), 2);
        assert_eq!(TargetPart::Query.prefix(b"a?b#c"), 3);
    }

    #[test]
    fn the_block_scan_equals_the_byte_scan_at_every_offset() {
        for bad in 0..=255_u8 {
            for length in 0..40 {
                let mut bytes = vec![b'a'; 48];
                bytes[length] = bad;
                bytes[(length + 7) % 48] = 0xFF;
                bytes[(length + 9) % 48] = b'\t';
                let naive = bytes.iter().position(|&byte| !is_value(byte)).unwrap_or(bytes.len());
                assert_eq!(value_prefix(&bytes), naive, "byte {bad:#x} at {length}");
            }
        }
    }

    #[test]
    fn breaks_are_told_wherever_they_stand_and_in_order() {
        for length in 0..100 {
            let bytes: Vec<u8> = (0..length).map(|place| [b'a', 0xFF, b'\t', b'\r'][place * 7 % 4]).collect();
            assert!(
                Breaks::of(&bytes).eq((0..length).filter(|&place| !is_value(bytes[place]))),
                "{length} bytes"
            );
        }
        for bad in 0..=255_u8 {
            for place in 0..70 {
                let mut bytes = [b'a'; 70];
                bytes[place] = bad;
                let naive = (!is_value(bad)).then_some(place);
                assert!(Breaks::of(&bytes).eq(naive), "byte {bad:#x} at {place}");
            }
        }
    }

    #[test]
    fn the_block_scan_of_names_equals_the_byte_scan_at_every_offset() {
        for odd in 0..=255_u8 {
            for place in 0..20 {
                let mut bytes = *b"Accept-Encoding-zZaA";
                bytes[place] = odd;
                let naive = bytes.iter().position(|&byte| !is_token(byte)).unwrap_or(bytes.len());
                assert_eq!(token_prefix(&bytes), naive, "byte {odd:#x} at {place}");
                let block: [u8; 16] = std::array::from_fn(|at| if at == place % 16 { odd } else { b'-' });
                let letter = odd.is_ascii_alphabetic() || odd == b'-';
                let marks = if letter { 0xFFFF } else { 0xFFFF & !(1 << (place % 16)) };
                assert_eq!(letters(block.into()), marks, "byte {odd:#x} at {place}");
            }
        }
    }

    #[test]
    fn a_field_line_is_whole_and_plain_or_none() {
        let line = FieldLine { name: b"a-B", value: b" c\td ", bytes: 11 };
        assert_eq!(FieldLine::of(b"a-B: c\td \r\nx"), Some(line));
        assert_eq!(FieldLine::of(b"a:\r\n").map(|line| (line.value.len(), line.bytes)), Some((0, 4)));
        let none =
            [": b\r\n", "a b: c\r\n", "a : b\r\n", "a: b\n", "a: b\r", "a: b", "a", "", "\r\n", "a: b\0\r\n"];
        for bytes in none {
            assert_eq!(FieldLine::of(bytes.as_bytes()), None, "{bytes:?}");
        }
    }

    #[test]
    fn trimming_leaves_inner_blanks() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t"), b"");
        assert_eq!(trim(b""), b"");
    }
}
