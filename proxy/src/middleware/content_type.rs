//! `contentType`: gives an answer without `Content-Type` one by its first bytes, as browsers guess (the WHATWG's rules, as far as
//! Go's server follows them). Only answers of known length are looked at, so that nothing that streams is held back.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::Body as _;

use super::flow::Back;
use crate::body::ResponseBody;

/// Most bytes that are looked at.
const LOOK_BYTES_MAX: usize = 512;

/// Looks at the first piece of content of an answer that does not say what it is.
pub(crate) fn response(response: &mut Response<ResponseBody>) -> Back {
    let status = response.status();
    let silent = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || response.headers().contains_key(CONTENT_TYPE)
        || response.headers().contains_key(CONTENT_ENCODING)
        || response.body().size_hint().exact().is_none_or(|bytes| bytes == 0);
    if silent {
        return Back::Pass;
    }
    let mut taken = std::mem::replace(response, Response::new(ResponseBody::empty()));
    Back::later(async move {
        if let Some(found) = taken.body_mut().first().await.map(guess) {
            taken.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(found));
        }
        (taken, Back::Pass)
    })
}

/// What begins a text of HTML, whatever its case, before a blank or `>`.
const HTML: &[&str] = &[
    "<!DOCTYPE HTML",
    "<HTML",
    "<HEAD",
    "<SCRIPT",
    "<IFRAME",
    "<H1",
    "<DIV",
    "<FONT",
    "<TABLE",
    "<A",
    "<STYLE",
    "<TITLE",
    "<B",
    "<BODY",
    "<BR",
    "<P",
    "<!--",
];

/// What begins a kind of content exactly.
const EXACT: &[(&[u8], &str)] = &[
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"\xFE\xFF", "text/plain; charset=utf-16be"),
    (b"\xFF\xFE", "text/plain; charset=utf-16le"),
    (b"\xEF\xBB\xBF", "text/plain; charset=utf-8"),
    (b"\0\0\x01\0", "image/x-icon"),
    (b"\0\0\x02\0", "image/x-icon"),
    (b"BM", "image/bmp"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\x89PNG\r\n\x1A\n", "image/png"),
    (b"\xFF\xD8\xFF", "image/jpeg"),
    (b"ID3", "audio/mpeg"),
    (b"OggS\0", "application/ogg"),
    (b"MThd\0\0\0\x06", "audio/midi"),
    (b"\x1A\x45\xDF\xA3", "video/webm"),
    (b"\0\x01\0\0", "font/ttf"),
    (b"OTTO", "font/otf"),
    (b"ttcf", "font/collection"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"\x1F\x8B\x08", "application/x-gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"Rar!\x1A\x07\0", "application/x-rar-compressed"),
    (b"Rar!\x1A\x07\x01\0", "application/x-rar-compressed"),
    (b"\0asm", "application/wasm"),
];

/// Files in RIFF's and AIFF's containers: the first four bytes, those after the length, and the kind.
const CONTAINED: &[(&[u8], &[u8], &str)] = &[
    (b"RIFF", b"WEBPVP", "image/webp"),
    (b"RIFF", b"WAVE", "audio/wave"),
    (b"RIFF", b"AVI ", "video/avi"),
    (b"FORM", b"AIFF", "audio/aiff"),
];

fn guess(content: &[u8]) -> &'static str {
    let content = content.get(..LOOK_BYTES_MAX).unwrap_or(content);
    let is_blank = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\x0C' | b'\r' | b' ');
    let begin = content.iter().position(|byte| !is_blank(byte)).unwrap_or(content.len());
    let text = content.get(begin..).unwrap_or_default();
    if HTML.iter().any(|tag| is_tag(text, tag.as_bytes())) {
        return "text/html; charset=utf-8";
    }
    if text.starts_with(b"<?xml") {
        return "text/xml; charset=utf-8";
    }
    let exact = EXACT.iter().find(|(signature, _)| content.starts_with(signature));
    let contained = CONTAINED.iter().find(|(outer, inner, _)| {
        content.starts_with(outer) && content.get(8..).is_some_and(|rest| rest.starts_with(inner))
    });
    match (exact, contained) {
        (Some((_, found)), _) | (None, Some((_, _, found))) => found,
        (None, None) if is_mp4(content) => "video/mp4",
        (None, None) if content.get(34..36) == Some(b"LP") => "application/vnd.ms-fontobject",
        (None, None) if text.iter().any(|byte| is_binary(*byte)) => "application/octet-stream",
        (None, None) => "text/plain; charset=utf-8",
    }
}

fn is_tag(text: &[u8], tag: &[u8]) -> bool {
    let Some((begin, rest)) = text.split_at_checked(tag.len()) else { return false };
    begin.eq_ignore_ascii_case(tag) && (tag == b"<!--" || matches!(rest.first(), Some(b' ' | b'>')))
}

fn is_binary(byte: u8) -> bool {
    matches!(byte, 0..=0x08 | 0x0B | 0x0E..=0x1A | 0x1C..=0x1F)
}

/// A box of the type `ftyp` that names a brand beginning with `mp4`.
fn is_mp4(content: &[u8]) -> bool {
    let Some(size) = content.get(..4).and_then(|size| <[u8; 4]>::try_from(size).ok()) else { return false };
    let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
    if size % 4 != 0 || content.get(4..8) != Some(b"ftyp") {
        return false;
    }
    let Some(ftyp) = content.get(..size) else { return false };
    // The third word is a version, no brand.
    ftyp.chunks(4).enumerate().skip(2).any(|(word, brand)| word != 3 && brand.starts_with(b"mp4"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(
        content: &'static [u8],
        fields: &[(&'static str, &'static str)],
        status: u16,
    ) -> Option<String> {
        let mut response = Response::new(ResponseBody::full(content));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        for (name, value) in fields {
            response.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        if let Back::Later(later) = super::response(&mut response) {
            (response, _) = runtime.block_on(later);
        }
        let whole = runtime.block_on(http_body_util::BodyExt::collect(response.body_mut())).expect("a body");
        assert_eq!(whole.to_bytes(), content, "no byte is lost");
        response.headers().get(CONTENT_TYPE).map(|value| value.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn kinds_are_told_by_their_first_bytes() {
        let table: [(&[u8], &str); 16] = [
            (b"u1", "text/plain; charset=utf-8"),
            (b"{\"a\": 1}", "text/plain; charset=utf-8"),
            (b"<!DOCTYPE html><html>", "text/html; charset=utf-8"),
            (b" \n<html>no", "text/html; charset=utf-8"),
            (b"<!-- x", "text/html; charset=utf-8"),
            (b"<p", "text/plain; charset=utf-8"),
            (b"<?xml version", "text/xml; charset=utf-8"),
            (b"GIF89a......", "image/gif"),
            (b"\x89PNG\r\n\x1A\n1", "image/png"),
            (b"RIFF1234WAVE", "audio/wave"),
            (b"RIFF1234WEBPVP", "image/webp"),
            (b"\0\0\0\x10ftypisom\0\0\0\0mp42", "application/octet-stream"),
            (b"\0\0\0\x14ftypisom\0\0\0\0mp42", "video/mp4"),
            (b"\0\x01\x02\x03", "application/octet-stream"),
            (b"\xEF\xBB\xBFx", "text/plain; charset=utf-8"),
            (b"\x1F\x8B\x08", "application/x-gzip"),
        ];
        for (content, want) in table {
            assert_eq!(described(content, &[], 200).as_deref(), Some(want), "{content:?}");
        }
        assert_eq!(described(b"<html>no</html>", &[], 404).as_deref(), Some("text/html; charset=utf-8"));
    }

    #[test]
    fn what_says_what_it_is_or_has_no_content_stays() {
        assert_eq!(
            described(b"<html>", &[("content-type", "application/x-own")], 200).as_deref(),
            Some("application/x-own")
        );
        assert_eq!(described(b"<html>", &[("content-type", "")], 200).as_deref(), Some(""));
        assert_eq!(described(b"<html>", &[("content-encoding", "br")], 200), None);
        assert_eq!(described(b"", &[], 200), None);
        assert_eq!(described(b"x", &[], 304), None);
    }
}
