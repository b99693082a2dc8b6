//! Why the guard refuses, and the whole answer it then writes. It never repeats a byte of what was refused.

use std::time::SystemTime;

use http::StatusCode;

/// Why a message is refused. After one, nothing more of the connection is read as HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request line is not `method SP target SP version CRLF`.
    #[error("malformed request line")]
    RequestLine,
    /// A standard method in the wrong case: views of what it means differ.
    #[error("methods are case-sensitive")]
    MethodCase,
    /// A method longer than any in use.
    #[error("unknown method")]
    MethodTooLong,
    /// The target is not a URI, or of a form its method may not use.
    #[error("malformed request target")]
    Target,
    /// The target is longer than the URI type holds.
    #[error("request target too long")]
    TargetTooLong,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("unsupported protocol version")]
    Version,
    /// A field line that is not `name: value CRLF`: a bare CR or LF, a folded line, a control byte, a blank before the colon.
    #[error("malformed header field")]
    Field,
    /// More fields than allowed.
    #[error("too many header fields")]
    TooManyFields,
    /// The head is larger than allowed.
    #[error("header too large")]
    HeadTooLarge,
    /// HTTP/1.1 without Host.
    #[error("missing required Host header")]
    HostMissing,
    /// More than one Host, or one that is no host.
    #[error("malformed Host header")]
    Host,
    /// Not one plain number, or repeated.
    #[error("malformed Content-Length header")]
    ContentLength,
    /// Content-Length beside Transfer-Encoding.
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    LengthAndCoding,
    /// More than one Transfer-Encoding, or one in HTTP/1.0.
    #[error("malformed Transfer-Encoding header")]
    TransferEncoding,
    /// A transfer coding other than exactly `chunked`.
    #[error("unsupported transfer encoding")]
    UnknownCoding,
    /// An expectation other than `100-continue`.
    #[error("unknown expectation")]
    Expectation,
    /// The chunk grammar is violated.
    #[error("malformed chunked encoding")]
    Chunk,
    /// More bytes of chunk extensions than allowed.
    #[error("chunked encoding contains too much non-data")]
    ChunkExtensions,
    /// A malformed trailer field.
    #[error("malformed trailer field")]
    Trailer,
    /// More trailer bytes or fields than allowed.
    #[error("trailer too large")]
    TrailerTooLarge,
    /// The head did not come within its time.
    #[error("the request head took too long")]
    HeadTimeout,
    /// The body did not come within its time.
    #[error("the request body took too long")]
    BodyTimeout,
}

impl Refusal {
    /// The status that answers it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::RequestLine
            | Self::MethodCase
            | Self::Target
            | Self::Field
            | Self::HostMissing
            | Self::Host
            | Self::ContentLength
            | Self::LengthAndCoding
            | Self::TransferEncoding
            | Self::Chunk
            | Self::ChunkExtensions
            | Self::Trailer => StatusCode::BAD_REQUEST,
            Self::HeadTimeout | Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::TooManyFields | Self::HeadTooLarge | Self::TrailerTooLarge => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::MethodTooLong | Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }

    /// The whole answer; the connection closes after it.
    pub fn answer(self, now: SystemTime) -> Vec<u8> {
        let status = self.status();
        let body = format!("{} {}: {self}", status.as_str(), status.canonical_reason().unwrap_or_default());
        format!(
            "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\
             Content-Length: {}\r\nDate: {}\r\n\r\n{body}",
            status.as_str(),
            status.canonical_reason().unwrap_or_default(),
            body.len(),
            httpdate::fmt_http_date(now),
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_framed_and_says_close() {
        let text =
            String::from_utf8(Refusal::Version.answer(SystemTime::UNIX_EPOCH)).expect("answers are ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head ends with an empty line");
        assert!(head.starts_with("HTTP/1.1 505 HTTP Version Not Supported\r\n"), "{head}");
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        assert!(head.contains("\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT"), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
        assert_eq!(body, "505 HTTP Version Not Supported: unsupported protocol version");
    }
}
