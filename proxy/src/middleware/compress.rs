//! `compress`: answers that are worth it are encoded as the client prefers, as they come; what is waited for goes out at once. It looks
//! at heads only, and encodes nothing twice.

mod encoder;

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    HeaderName, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use ravelin_config::dynamic::{self, Encoding, media_type};

use super::{CompileError, Flow, Head, Kept, answer};
use crate::body::ResponseBody;
use crate::error::plain_text;
use encoder::Encoded;

/// Smaller answers are left as they are, where nothing is said.
const CONTENT_BYTES_MIN: u64 = 1_024;

const NO_GZIP: HeaderName = HeaderName::from_static("no-gzip-compression");

/// The compiled middleware.
#[derive(Debug)]
pub struct Compress {
    encodings: Box<[Encoding]>,
    default: Option<Encoding>,
    excluded: Box<[Box<str>]>,
    included: Box<[Box<str>]>,
    bytes_min: u64,
}

/// What an answer may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// As it is, but another client might get it encoded.
    Plain,
    /// Encoded, where it is worth it.
    Encoded(Encoding),
}

/// What a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepted {
    Chosen(Chosen),
    Identity,
    Nothing,
}

impl Compress {
    /// From its configuration.
    ///
    /// # Errors
    /// Encodings that are none, media types that are none, types both in- and excluded.
    pub fn compile(config: &dynamic::Compress) -> Result<Self, CompileError> {
        let value = |option, reason: String| CompileError::Value { option, reason };
        let (encodings, default) = config.encodings().map_err(|reason| value("encodings", reason))?;
        let (excluded, included) = config.media_types().map_err(|reason| value("contentTypes", reason))?;
        let bytes_min = u64::try_from(config.min_response_body_bytes).ok().filter(|&bytes| bytes > 0);
        Ok(Self {
            encodings: encodings.into(),
            default,
            excluded: excluded.into_iter().map(Into::into).collect(),
            included: included.into_iter().map(Into::into).collect(),
            bytes_min: bytes_min.unwrap_or(CONTENT_BYTES_MIN),
        })
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        let sent = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(media_type);
        if sent.is_some_and(|sent| is_among(&self.excluded, &sent)) {
            return Flow::Next(Kept::Nothing);
        }
        let chosen = match self.accepted(head.headers) {
            Accepted::Chosen(Chosen::Encoded(_)) if *head.method == Method::HEAD => Chosen::Plain,
            Accepted::Chosen(chosen) => chosen,
            Accepted::Identity => return Flow::Next(Kept::Nothing),
            Accepted::Nothing => return answer(plain_text(StatusCode::NOT_ACCEPTABLE, "Not Acceptable\n")),
        };
        Flow::Next(Kept::Compress(chosen))
    }

    pub(super) fn response(&self, chosen: Chosen, response: &mut Response<ResponseBody>) {
        const ENCODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        response.headers_mut().append(VARY, ENCODING);
        let Chosen::Encoded(encoding) = chosen else { return };
        if !self.is_worth_it(encoding, response) {
            return;
        }
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        // Ranges of what is sent are not those of what the server has.
        headers.remove(ACCEPT_RANGES);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
        let body = std::mem::replace(response.body_mut(), ResponseBody::empty());
        *response.body_mut() = ResponseBody::made(Encoded::new(encoding, body));
    }

    fn is_worth_it(&self, encoding: Encoding, response: &mut Response<ResponseBody>) -> bool {
        let size = http_body::Body::size_hint(response.body()).exact();
        let (status, headers) = (response.status(), response.headers_mut());
        if encoding == Encoding::Gzip && headers.remove(NO_GZIP).is_some() {
            return false;
        }
        let is_partial = status == StatusCode::PARTIAL_CONTENT || headers.contains_key(CONTENT_RANGE);
        if is_partial
            || headers.contains_key(CONTENT_ENCODING)
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || size.is_some_and(|bytes| bytes < self.bytes_min)
        {
            return false;
        }
        let Some(value) = headers.get(CONTENT_TYPE) else {
            return encoding != Encoding::Gzip || self.included.is_empty();
        };
        match value.to_str().ok().and_then(media_type) {
            Some(media_type) if !self.included.is_empty() => is_among(&self.included, &media_type),
            Some(media_type) => !is_among(&self.excluded, &media_type),
            None => encoding == Encoding::Gzip,
        }
    }

    /// What to encode answers with.
    fn accepted(&self, headers: &HeaderMap) -> Accepted {
        let encoded = |encoding| Accepted::Chosen(Chosen::Encoded(encoding));
        if !headers.contains_key(ACCEPT_ENCODING) {
            return self.default.map_or(Accepted::Identity, encoded);
        }
        let fields = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let named: Vec<Named> =
            fields.flat_map(|value| value.split(',')).filter_map(|one| self.named(one)).collect();
        let wild = || match self.encodings.first() {
            // As in Traefik, whose gzip asks for its name.
            Some(Encoding::Gzip) | None => Accepted::Chosen(Chosen::Plain),
            Some(first) => encoded(*first),
        };
        if named.iter().all(|one| one.weight.is_none()) {
            let by_order =
                self.encodings.iter().find(|own| named.iter().any(|one| one.what == What::Encoding(**own)));
            return match by_order {
                Some(encoding) => encoded(*encoding),
                None if named.iter().any(|one| one.what == What::Any) => wild(),
                None => Accepted::Identity,
            };
        }
        // Of equal weights the first that is configured, then what is named first.
        let place = |what: What| match what {
            What::Encoding(encoding) => self.encodings.iter().position(|own| *own == encoding),
            What::Any | What::Identity => None,
        };
        let key =
            |one: &Named| (u16::MAX - one.weight.unwrap_or(1_000), place(one.what).unwrap_or(usize::MAX));
        match named.iter().min_by_key(|one| key(one)) {
            None => Accepted::Identity,
            Some(Named { what: What::Encoding(_) | What::Any | What::Identity, weight: Some(0) }) => {
                Accepted::Nothing
            }
            Some(Named { what: What::Encoding(encoding), .. }) => encoded(*encoding),
            Some(Named { what: What::Any, .. }) => wild(),
            Some(Named { what: What::Identity, .. }) => Accepted::Identity,
        }
    }

    /// One member of `Accept-Encoding`, if this middleware knows it.
    fn named(&self, member: &str) -> Option<Named> {
        let (name, weight) = match member.split_once(';') {
            Some((name, weight)) => (name, Some(thousandths(weight.trim())?)),
            None => (member, None),
        };
        let what = match name.trim() {
            "*" => What::Any,
            "identity" => What::Identity,
            name => What::Encoding(*self.encodings.iter().find(|own| own.name() == name)?),
        };
        Some(Named { what, weight })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Encoding(Encoding),
    Any,
    Identity,
}

#[derive(Clone, Copy, Debug)]
struct Named {
    what: What,
    weight: Option<u16>,
}

/// A weight in thousandths; what is none does not count.
fn thousandths(weight: &str) -> Option<u16> {
    let quality: f64 = weight.strip_prefix("q=")?.trim().parse().ok()?;
    // Clamped to 0..=1000, which fits.
    (quality.is_finite()).then(|| (quality.clamp(0.0, 1.0) * 1_000.0).round() as u16)
}

fn is_among(types: &[Box<str>], media_type: &str) -> bool {
    types.iter().any(|one| **one == *media_type)
}

#[cfg(test)]
mod tests;
