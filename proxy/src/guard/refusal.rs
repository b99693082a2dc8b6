//! Why the guard refuses, and the whole answer it then writes. It never repeats a byte of what was refused.

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
    /// A Host that is no host.
    #[error("malformed Host header")]
    Host,
    /// More than one Host.
    #[error("too many Host headers")]
    HostRepeated,
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
            | Self::HostRepeated
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

    /// The whole answer; the connection closes after it. Head and text are those of Traefik, whose text ends with the close and
    /// names a reason in few cases only; the others are for the log.
    pub fn answer(self) -> Vec<u8> {
        let status = self.status();
        let (code, phrase) = (status.as_str(), status.canonical_reason().unwrap_or_default());
        let mut answer = format!("HTTP/1.1 {code} {phrase}\r\n");
        if self == Self::Expectation {
            answer.push_str("Connection: close\r\nContent-Length: 0\r\n\r\n");
            return answer.into_bytes();
        }
        answer.push_str("Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n");
        answer.push_str(code);
        answer.push(' ');
        answer.push_str(phrase);
        if self.is_told() {
            answer.push_str(": ");
            answer.push_str(&self.to_string());
        }
        answer.into_bytes()
    }

    fn is_told(self) -> bool {
        match self.status() {
            StatusCode::BAD_REQUEST => matches!(self, Self::HostMissing | Self::Host),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => false,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(refusal: Refusal) -> String {
        String::from_utf8(refusal.answer()).expect("answers are ASCII")
    }

    #[test]
    fn an_answer_ends_with_its_connection_and_tells_few_reasons() {
        let table = [
            (Refusal::RequestLine, "400 Bad Request", ""),
            (Refusal::HostRepeated, "400 Bad Request", ""),
            (Refusal::Host, "400 Bad Request", ": malformed Host header"),
            (Refusal::HostMissing, "400 Bad Request", ": missing required Host header"),
            (Refusal::HeadTooLarge, "431 Request Header Fields Too Large", ""),
            (Refusal::Version, "505 HTTP Version Not Supported", ": unsupported protocol version"),
        ];
        for (refusal, status, reason) in table {
            let head = "Content-Type: text/plain; charset=utf-8\r\nConnection: close";
            assert_eq!(text(refusal), format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{status}{reason}"));
        }
    }

    #[test]
    fn an_unknown_expectation_is_answered_without_text() {
        let want = "HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(text(Refusal::Expectation), want);
    }
}
