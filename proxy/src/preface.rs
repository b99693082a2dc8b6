//! Which protocol the first bytes of a connection announce. A pure function of a prefix: the same answer however the
//! bytes arrive.

/// What an HTTP/2 client says first (RFC 9113 §3.4).
pub const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The content type of a TLS record that carries a ClientHello.
const TLS_HANDSHAKE: u8 = 0x16;

/// What a ClientHello in the record format of SSL 2 begins with. No other protocol here does.
const SSL2_RECORD: u8 = 0x80;

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A TLS record.
    Tls,
    /// A client of before TLS: it gets an alert.
    Ssl2,
    /// The HTTP/2 preface, whole.
    Http2,
    /// Anything else: HTTP/1, or something for its guard to refuse.
    Http1,
}

/// Judges the first bytes. `None`: they are still a beginning of more than one thing.
pub fn opening(first: &[u8]) -> Option<Opening> {
    let known = first.len().min(HTTP2_PREFACE.len());
    match first {
        [] => None,
        [TLS_HANDSHAKE, ..] => Some(Opening::Tls),
        [SSL2_RECORD, ..] => Some(Opening::Ssl2),
        _ if first.get(..known) != HTTP2_PREFACE.get(..known) => Some(Opening::Http1),
        _ => (known == HTTP2_PREFACE.len()).then_some(Opening::Http2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_does_not_depend_on_the_split() {
        let inputs: [(&[u8], Opening); 6] = [
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", Opening::Http2),
            (b"PRI * HTTP/1.1\r\n\r\n", Opening::Http1),
            (b"POST / HTTP/1.1\r\n", Opening::Http1),
            (b"GET / HTTP/1.1\r\n", Opening::Http1),
            (b"\x16\x03\x01", Opening::Tls),
            (b"\x80\x2e\x01\x03\x01", Opening::Ssl2),
        ];
        for (input, expected) in inputs {
            let first = (0..=input.len()).find_map(|length| opening(&input[..length]));
            assert_eq!(first, Some(expected), "{:?}", String::from_utf8_lossy(input));
            assert_eq!(opening(input), Some(expected));
        }
        assert_eq!(opening(b""), None);
        assert_eq!(opening(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"), None);
    }
}
