//! The head that was sent on a reused connection, kept as the bytes that went out, so that a request whose connection proves
//! dead can be sent again. A copy of bytes costs a fraction of a copy of a map, and almost none is ever read again.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Bytes of the buffer that an idle connection keeps.
const KEPT_BYTES_MAX: usize = 4096;

/// What was written since [`SentHead::begin`]. Bounded by the request's head: only requests without a body are kept.
#[derive(Debug, Default)]
pub(crate) struct SentHead {
    active: bool,
    /// Written, then offered to a write that did not take it yet.
    bytes: Vec<u8>,
    written: usize,
}

impl SentHead {
    /// A request follows that may have to be sent again.
    pub(crate) fn begin(&mut self) {
        self.active = true;
        self.bytes.clear();
        self.written = 0;
    }

    /// The request cannot be sent again any more, or need not be.
    pub(crate) fn end(&mut self) {
        self.active = false;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
    }

    /// A write is about to be tried with these bytes.
    pub(crate) fn offer<'b>(&mut self, slices: impl IntoIterator<Item = &'b [u8]>) {
        if !self.active {
            return;
        }
        self.bytes.truncate(self.written);
        for slice in slices {
            self.bytes.extend_from_slice(slice);
        }
    }

    /// The write took the first `bytes` of them.
    pub(crate) fn took(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes).min(self.bytes.len());
    }

    /// The fields of the head. `None`: it was not written to its end, or none was to be kept.
    pub(crate) fn fields(&self) -> Option<HeaderMap> {
        if !self.active {
            return None;
        }
        let mut lines =
            self.bytes.split_inclusive(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r\n"));
        lines.next()??;
        let mut fields = HeaderMap::new();
        loop {
            let line = lines.next()??;
            if line.is_empty() {
                return Some(fields);
            }
            let colon = line.iter().position(|&byte| byte == b':')?;
            let (name, value) = line.split_at(colon);
            let value = value.strip_prefix(b":")?.trim_ascii();
            fields.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\na: 1\r\nb: x: \xFFy\r\na: 2\r\nc: \r\n\r\n";

    fn text(fields: &HeaderMap) -> Vec<(&str, &[u8])> {
        fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
    }

    #[test]
    fn a_head_comes_back_however_it_was_written() {
        let want: [(&str, &[u8]); 4] = [("a", b"1"), ("a", b"2"), ("b", b"x: \xFFy"), ("c", b"")];
        for first in 0..=HEAD.len() {
            for second in [first, HEAD.len()] {
                let mut sent = SentHead::default();
                sent.begin();
                sent.offer([HEAD]);
                sent.took(first);
                // Not taken at all, then offered again in two slices.
                sent.offer([&HEAD[first..]]);
                sent.offer([&HEAD[first..second], &HEAD[second..]]);
                assert_eq!(text(&sent.fields().expect("whole")), want, "{first} {second}");
            }
        }
    }

    #[test]
    fn what_is_not_whole_or_not_asked_for_does_not_come_back() {
        for length in 0..HEAD.len() {
            let mut sent = SentHead::default();
            sent.begin();
            sent.offer([&HEAD[..length]]);
            assert_eq!(sent.fields(), None, "{length}");
        }
        let mut sent = SentHead::default();
        sent.offer([HEAD]);
        assert_eq!(sent.fields(), None);
        sent.begin();
        sent.offer([HEAD]);
        sent.end();
        assert_eq!(sent.fields(), None);
        sent.begin();
        assert_eq!(sent.fields(), None, "the last request's head is not this one's");
    }
}
