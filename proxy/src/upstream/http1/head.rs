//! The two heads of an exchange with an HTTP/1 server: the request's as it is written, the answer's as it is read, line by line,
//! however it is cut. It reads and writes no socket, and decides nothing about what an answer means for its connection.

use bytes::{Buf, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::Fault;
use crate::guard::bytes::{FieldLine, trim, value_prefix};

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one of its lines: as long as a line is not whole, each read looks at all of it.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Fields of an answer.
const FIELDS_MAX: usize = 100;
/// Bytes of a usual field line.
const FIELD_BYTES_USUAL: usize = 48;
/// `HTTP/1.1 200`.
const STATUS_BYTES: usize = 12;

/// What a request says before its body. `fields` holds no Host and no framing.
pub(crate) struct RequestHead<'r> {
    pub(crate) method: &'r Method,
    pub(crate) target: &'r str,
    pub(crate) host: &'r HeaderValue,
    pub(crate) fields: &'r HeaderMap,
}

/// How a request's content is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// There is none, and nobody would expect any.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
}

impl RequestHead<'_> {
    /// Appends the head's bytes. A Host or framing field among the others is passed over: theirs are these.
    pub(super) fn write(&self, out: &mut Vec<u8>, content: Content) {
        // The buffer stays with its connection: it has room but for the first request.
        out.reserve(FIELD_BYTES_USUAL * (self.fields.len() + 2));
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        out.extend_from_slice(self.host.as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in self.fields {
            let text = name.as_str();
            if matches!(text.len(), 4 | 14 | 17) && is_ours(name) {
                continue;
            }
            write_line(out, text, value);
        }
        match content {
            Content::None => {}
            Content::Length(length) => {
                out.extend_from_slice(b"content-length: ");
                out.extend_from_slice(length.to_string().as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            Content::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Whether a field is written by [`RequestHead::write`] alone. Asked only of names as long as one of these.
fn is_ours(name: &HeaderName) -> bool {
    *name == HOST || *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING
}

/// Appends one field line.
pub(super) fn write_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    write_line(out, name.as_str(), value);
}

fn write_line(out: &mut Vec<u8>, name: &str, value: &HeaderValue) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AnswerHead {
    pub(crate) version: Version,
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    /// There is a `Transfer-Encoding`.
    coded: bool,
}

/// An answer's head while it comes in.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    line: Option<(Version, StatusCode)>,
    bytes: usize,
    fields: usize,
    coded: bool,
}

impl HeadReader {
    /// Takes whole lines from the front of `read`; `Some` at the end of the head. `fields` collects them, and is given away with
    /// the head; what it held is gone with the first line.
    pub(super) fn read(
        &mut self,
        read: &mut BytesMut,
        fields: &mut HeaderMap,
    ) -> Result<Option<AnswerHead>, Fault> {
        let (version, status) = match self.line {
            Some(line) => line,
            None => {
                let Some(line) = self.status_line(read)? else { return Ok(None) };
                fields.clear();
                *self.line.insert(line)
            }
        };
        loop {
            if read.starts_with(b"\r\n") {
                read.advance(2);
                let Self { coded, .. } = std::mem::take(self);
                return Ok(Some(AnswerHead { version, status, fields: std::mem::take(fields), coded }));
            }
            let Some(line) = FieldLine::of(read) else {
                return self.incomplete(read, "a field line").map(|()| None);
            };
            let (name, value, bytes) = (line.name.len(), line.value.len(), line.bytes);
            self.coded |= name == TRANSFER_ENCODING.as_str().len()
                && line.name.eq_ignore_ascii_case(TRANSFER_ENCODING.as_str().as_bytes());
            self.count(bytes)?;
            self.fields += 1;
            if self.fields > FIELDS_MAX {
                return Err(Fault::Malformed("too many fields"));
            }
            let line = read.split_to(bytes).freeze();
            append(fields, &line, name, value)?;
        }
    }

    /// `HTTP/1.1 200 OK` and its line end. Only the two versions of HTTP/1 with their usual spelling are taken.
    fn status_line(&mut self, read: &mut BytesMut) -> Result<Option<(Version, StatusCode)>, Fault> {
        const FAULT: Fault = Fault::Malformed("the status line");
        let Some((start, rest)) = read.split_at_checked(STATUS_BYTES) else {
            return self.incomplete(read, "the status line").map(|()| None);
        };
        let (version, code) = match start.split_at_checked(9) {
            Some((b"HTTP/1.1 ", code)) => (Version::HTTP_11, code),
            Some((b"HTTP/1.0 ", code)) => (Version::HTTP_10, code),
            _ => return Err(FAULT),
        };
        let status = StatusCode::from_bytes(code).map_err(|_| FAULT)?;
        let reason = value_prefix(rest);
        match rest.get(reason..) {
            Some([b'\r', b'\n', ..]) if reason == 0 || rest.first() == Some(&b' ') => {
                let bytes = STATUS_BYTES + reason + 2;
                self.count(bytes)?;
                read.advance(bytes);
                Ok(Some((version, status)))
            }
            _ => self.incomplete(read, "the status line").map(|()| None),
        }
    }

    /// A line that is not whole yet; one that is whole, or too long to become it, is a fault.
    fn incomplete(&self, read: &[u8], what: &'static str) -> Result<(), Fault> {
        if read.contains(&b'\n') {
            return Err(Fault::Malformed(what));
        }
        if read.len() > LINE_BYTES_MAX || self.bytes + read.len() > HEAD_BYTES_MAX {
            return Err(Fault::Malformed("too long a head"));
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes += bytes;
        if self.bytes > HEAD_BYTES_MAX || bytes > LINE_BYTES_MAX {
            return Err(Fault::Malformed("too long a head"));
        }
        Ok(())
    }
}

/// Appends the field of a line whose name and value have these many bytes.
pub(super) fn append(
    fields: &mut HeaderMap,
    line: &bytes::Bytes,
    name_bytes: usize,
    value_bytes: usize,
) -> Result<(), Fault> {
    let fault = || Fault::Malformed("a field line");
    let (name, rest) = line.split_at_checked(name_bytes).ok_or_else(fault)?;
    let value = trim(rest.get(1..=value_bytes).unwrap_or_default());
    let value = if value.is_empty() { bytes::Bytes::new() } else { line.slice_ref(value) };
    let name = HeaderName::from_bytes(name).map_err(|_| fault())?;
    fields.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| fault())?);
    Ok(())
}

/// How an answer's content is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    Empty,
    Length(u64),
    Chunked,
    /// Up to the end of the connection.
    Close,
}

/// The framing of an answer (RFC 9112, 6.3), stricter than written there: whatever two readers could read in two ways is a fault.
pub(super) fn framing(head: &mut AnswerHead, asked_head: bool) -> Result<Framing, Fault> {
    let chunked = head.coded && is_chunked(&head.fields)?;
    if asked_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Framing::Empty);
    }
    let length = content_length(&mut head.fields)?;
    match (chunked, length) {
        (true, Some(_)) => Err(Fault::Malformed("a length beside a transfer coding")),
        (true, None) if head.version < Version::HTTP_11 => {
            Err(Fault::Malformed("a transfer coding in HTTP/1.0"))
        }
        (true, None) => Ok(Framing::Chunked),
        (false, Some(0)) => Ok(Framing::Empty),
        (false, Some(length)) => Ok(Framing::Length(length)),
        (false, None) => Ok(Framing::Close),
    }
}

/// Whether the one coding is `chunked`; any other is none that is known.
fn is_chunked(fields: &HeaderMap) -> Result<bool, Fault> {
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(Fault::Malformed("an unknown transfer coding")),
    }
}

/// The length, if there is one. One that is said more than once, always the same, becomes one.
fn content_length(fields: &mut HeaderMap) -> Result<Option<u64>, Fault> {
    let mut values = fields.get_all(CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let length = digits(first.as_bytes()).ok_or(Fault::Malformed("Content-Length"))?;
    let mut repeated = false;
    for value in values {
        repeated = true;
        if value != first {
            return Err(Fault::Malformed("differing Content-Length"));
        }
    }
    if repeated {
        let first = first.clone();
        fields.insert(CONTENT_LENGTH, first);
    }
    Ok(Some(length))
}

fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0_u64, |length, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}
