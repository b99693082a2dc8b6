//! What the fields of one request head mean for framing. It is told of each part as it completes, in order, and keeps
//! only what later parts must be compared with.

use bytes::Bytes;
use http::Uri;

use super::bytes::{TargetPart, trim};
use super::host::is_host;
use super::refusal::Refusal;
use crate::forwarded::present::{Present, lists_nothing};

/// How the body of an accepted message is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    Empty,
    /// This many bytes, at least one.
    Length(u64),
    /// Chunked.
    Chunked,
}

/// What may follow a message on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The next message.
    Next,
    /// Nothing is read until the answer is known: it may open a tunnel (Upgrade, CONNECT).
    Hold,
    /// Nothing: the client or its version asked to close.
    Close,
}

/// An accepted head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// How the body is delimited.
    pub framing: Framing,
    /// What follows the body.
    pub after: After,
    /// The whole target, where it holds a `#`.
    pub raw_target: Option<Bytes>,
}

/// The fields that matter to framing; all others pass unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Upgrade,
    Expect,
}

impl Known {
    /// All that matter.
    const ANY: Present = Present::HOST
        .and(Present::CONTENT_LENGTH)
        .and(Present::TRANSFER_ENCODING)
        .and(Present::CONNECTION)
        .and(Present::UPGRADE)
        .and(Present::EXPECT);

    /// The field called `name`, which are token bytes in any case.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        Self::among(Present::named(name))
    }

    /// The field whose name gave `found`.
    #[inline]
    pub(super) fn among(found: Present) -> Option<Self> {
        if !found.any(Self::ANY) {
            return None;
        }
        let all = [
            (Present::HOST, Self::Host),
            (Present::CONNECTION, Self::Connection),
            (Present::CONTENT_LENGTH, Self::ContentLength),
            (Present::TRANSFER_ENCODING, Self::TransferEncoding),
            (Present::UPGRADE, Self::Upgrade),
            (Present::EXPECT, Self::Expect),
        ];
        all.into_iter().find_map(|(name, known)| found.any(name).then_some(known))
    }
}

/// Methods of RFC 9110 and RFC 5789. Any other token passes as an extension.
const STANDARD_METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

/// One head while it comes in.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    connect: bool,
    options: bool,
    has_fragment: bool,
    http_10: bool,
    host: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    close: bool,
    keep_alive: bool,
    /// There was a `Connection`, and whether all of them are more than the usual lone one.
    connection: bool,
    listing: bool,
    seen: Option<Present>,
}

impl Draft {
    /// The method is complete.
    pub(super) fn method(&mut self, method: &[u8]) -> Result<(), Refusal> {
        if matches!(method, b"GET" | b"HEAD" | b"POST" | b"PUT") {
            (self.connect, self.options) = (false, false);
            return Ok(());
        }
        let miscased = |standard: &&[u8]| method.eq_ignore_ascii_case(standard) && method != *standard;
        if STANDARD_METHODS.iter().any(miscased) {
            return Err(Refusal::MethodCase);
        }
        self.connect = method == b"CONNECT";
        self.options = method == b"OPTIONS";
        Ok(())
    }

    /// The target is complete; each of its bytes was already found legal in the part it was read in.
    pub(super) fn target(&mut self, target: &[u8], part: TargetPart) -> Result<(), Refusal> {
        self.has_fragment = part == TargetPart::Fragment;
        if !target.is_ascii() && std::str::from_utf8(target).is_err() {
            return Err(Refusal::Target);
        }
        let escaped = target.contains(&b'%');
        let path = || target.split(|&byte| byte == b'?').next().unwrap_or_default();
        if escaped && !escapes_are_whole(path()) {
            return Err(Refusal::Target);
        }
        let legal = match target {
            [b'/', ..] => !self.connect,
            b"*" => self.options,
            _ if self.connect => is_authority(target),
            _ => is_absolute(target),
        };
        if legal { Ok(()) } else { Err(Refusal::Target) }
    }

    /// The version is complete (eight bytes).
    pub(super) fn version(&mut self, version: &[u8]) -> Result<(), Refusal> {
        match version {
            b"HTTP/1.1" => self.http_10 = false,
            b"HTTP/1.0" => self.http_10 = true,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => return Err(Refusal::Version),
            _ => return Err(Refusal::RequestLine),
        }
        self.keep_alive = !self.http_10;
        Ok(())
    }

    /// A field that matters is complete.
    pub(super) fn field(&mut self, field: Known, value: &[u8]) -> Result<(), Refusal> {
        let value = trim(value);
        match field {
            Known::Host => {
                if std::mem::replace(&mut self.host, true) {
                    return Err(Refusal::HostRepeated);
                }
                // An empty one is legal: the client's URI has no authority (RFC 9112, 3.2).
                if !value.is_empty() && !is_host(value) {
                    return Err(Refusal::Host);
                }
            }
            Known::ContentLength => {
                if self.length.is_some() {
                    return Err(Refusal::ContentLength);
                }
                self.length = Some(content_length(value).ok_or(Refusal::ContentLength)?);
            }
            Known::TransferEncoding => {
                if std::mem::replace(&mut self.chunked, true) || self.http_10 {
                    return Err(Refusal::TransferEncoding);
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::UnknownCoding);
                }
            }
            Known::Connection => self.connection(value),
            Known::Upgrade => self.upgrade = true,
            Known::Expect => {
                if !value.is_empty() && !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Refusal::Expectation);
                }
            }
        }
        Ok(())
    }

    /// Exactly hyper's reading, so that both agree after which message the connection ends.
    fn connection(&mut self, value: &[u8]) {
        let usual = lists_nothing(value);
        self.listing |= std::mem::replace(&mut self.connection, true) || !usual;
        if usual && !self.close {
            self.keep_alive = true;
            return;
        }
        let has = |wanted: &[u8]| {
            value.is_ascii()
                && value.split(|&byte| byte == b',').any(|token| trim(token).eq_ignore_ascii_case(wanted))
        };
        if self.close || has(b"close") {
            self.close = true;
            self.keep_alive = false;
        } else if !self.keep_alive {
            self.keep_alive = has(b"keep-alive");
        }
    }

    /// The empty line was read.
    pub(super) fn finish(&self, target: &[u8]) -> Result<Head, Refusal> {
        if self.length.is_some() && self.chunked {
            return Err(Refusal::LengthAndCoding);
        }
        if !self.host && !self.http_10 {
            return Err(Refusal::HostMissing);
        }
        let framing = match self.length {
            _ if self.chunked => Framing::Chunked,
            None | Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
        };
        let after = if self.connect || (self.upgrade && !self.http_10) {
            After::Hold
        } else if self.keep_alive {
            After::Next
        } else {
            After::Close
        };
        let raw_target = self.has_fragment.then(|| Bytes::copy_from_slice(target));
        Ok(Head { framing, after, raw_target })
    }

    /// These are the names of its fields.
    pub(super) fn saw(&mut self, names: Present) {
        self.seen = Some(names.listing(self.listing));
    }

    /// Which fields there are, if it was said.
    pub(super) fn seen(&self) -> Option<Present> {
        self.seen
    }

    /// Whether the connection ends after this message, were it not for a tunnel.
    pub(super) fn closes(&self) -> bool {
        !self.keep_alive
    }
}

/// Plain digits without padding, up to 2^63: what every reader understands alike.
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || (value.len() > 1 && value.first() == Some(&b'0')) {
        return None;
    }
    let mut length = 0_u64;
    for &byte in value {
        if !byte.is_ascii_digit() {
            return None;
        }
        length = length.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    (length <= i64::MAX as u64).then_some(length)
}

/// Whether every `%` is followed by two hexadecimal digits.
fn escapes_are_whole(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'%')
        .skip(1)
        .all(|after| matches!(after, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()))
}

/// The target of a CONNECT: host and port, both present.
fn is_authority(target: &[u8]) -> bool {
    let port = target.rsplit(|&byte| byte == b':').next().unwrap_or_default();
    is_host(target) && port.len() < target.len() && !port.is_empty() && Uri::try_from(target).is_ok()
}

/// An `http` or `https` URI with a host and without user information.
fn is_absolute(target: &[u8]) -> bool {
    let rest = [b"http://".as_slice(), b"https://"].iter().find_map(|scheme| {
        let (head, rest) = target.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let Some(rest) = rest else { return false };
    let authority = rest.split(|byte| matches!(byte, b'/' | b'?' | b'#')).next().unwrap_or_default();
    is_host(authority) && Uri::try_from(target).is_ok()
}
