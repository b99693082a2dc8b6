//! Classes of bytes that HTTP/1 syntax distinguishes, as tables and word-wise scans. They say what a byte may be and
//! never what a message means.

const TOKEN: u8 = 1;
const PATH: u8 = 2;
const QUERY: u8 = 4;
const FRAGMENT: u8 = 8;

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
        table[index] = ((token as u8) * TOKEN)
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

/// Length of the longest prefix of token bytes: eight at a time while they are letters and hyphens, as most are.
#[inline]
pub(super) fn token_prefix(bytes: &[u8]) -> usize {
    word_prefix(bytes, other_than_letters, is_token)
}

/// Length of the longest prefix of bytes that are `allowed`, eight at a time. `others` marks the top bit of each byte of a word that
/// may not be allowed; of its marks the lowest is true.
#[inline]
fn word_prefix(bytes: &[u8], others: impl Fn(u64) -> u64, allowed: impl Fn(u8) -> bool) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let marks = others(u64::from_le_bytes(*word));
        if marks == 0 {
            continue;
        }
        let first = (marks.trailing_zeros() / 8) as usize;
        if !word.get(first).is_some_and(|&byte| allowed(byte)) {
            return place * 8 + first;
        }
        if let Some(first) = word.iter().position(|&byte| !allowed(byte)) {
            return place * 8 + first;
        }
    }
    words.len() * 8 + prefix(rest, allowed)
}

/// The top bit of each of eight bytes that is neither a letter nor a hyphen.
fn other_than_letters(word: u64) -> u64 {
    let lower = word | (ONES * 0x20);
    // Without their top bits no sum of two bytes reaches the next one.
    let low = lower & !HIGHS;
    let from_a = low + ONES * (0x80 - b'a' as u64);
    let beyond_z = low + ONES * (0x80 - (b'z' as u64 + 1));
    let hyphen = (word & !HIGHS) ^ (ONES * b'-' as u64);
    // Its top bit is set unless the byte is zero.
    let not_hyphen = hyphen + ONES * 0x7F;
    !(((from_a & !beyond_z) | !not_hyphen) & !word) & HIGHS
}

fn prefix(bytes: &[u8], allowed: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|&byte| !allowed(byte)).unwrap_or(bytes.len())
}

/// May stand in a field value (RFC 9110 §5.5): a tab, anything visible, and opaque bytes from 0x80.
pub(super) fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7F)
}

const ONES: u64 = u64::MAX / 0xFF;
const HIGHS: u64 = ONES * 0x80;

/// The top bit of each of eight bytes that may not stand in a field value, or is a tab. Only the lowest mark is true: a byte below
/// 0x20 borrows into its top bit, 0x7F becomes zero by the exclusive or and then borrows too, and borrows may spread upwards
/// into neighbours, never downwards.
fn other_than_value(word: u64) -> u64 {
    let below = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7F);
    let delete = delete.wrapping_sub(ONES) & !delete;
    (below | delete) & HIGHS
}

/// Length of the longest prefix of bytes that may stand in a field value, eight at a time.
#[inline]
pub(crate) fn value_prefix(bytes: &[u8]) -> usize {
    word_prefix(bytes, other_than_value, is_value)
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
    fn the_word_scan_equals_the_byte_scan_at_every_offset() {
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
    fn the_word_scan_of_names_equals_the_byte_scan_at_every_offset() {
        for odd in 0..=255_u8 {
            for place in 0..20 {
                let mut bytes = *b"Accept-Encoding-zZaA";
                bytes[place] = odd;
                let naive = bytes.iter().position(|&byte| !is_token(byte)).unwrap_or(bytes.len());
                assert_eq!(token_prefix(&bytes), naive, "byte {odd:#x} at {place}");
                let in_word = place % 8;
                let word: [u8; 8] = std::array::from_fn(|at| if at == in_word { odd } else { b'-' });
                let want = odd.is_ascii_alphabetic() || odd == b'-';
                assert_eq!(other_than_letters(u64::from_le_bytes(word)) == 0, want, "byte {odd:#x}");
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
