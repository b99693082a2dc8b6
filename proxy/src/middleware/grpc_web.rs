//! `grpcWeb`: a page's call in gRPC-Web becomes one of gRPC, in bytes or in base64, and its answer the page's again, trailers at the
//! end of the content. Leave is given to pages of the origins that are listed, and what browsers ask beforehand is answered here. Every
//! other request and answer passes as it is.

use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN,
    TRAILER, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::{Body, Frame};
use ravelin_config::dynamic;

use super::{Flow, Head, Kept, answer};
use crate::body::{BodyError, RequestBody, ResponseBody};
use crate::error::bare;
use crate::forwarded::Present;

const GRPC: &str = "application/grpc";
const GRPC_WEB: &str = "application/grpc-web";
const GRPC_WEB_TEXT: &str = "application/grpc-web-text";

/// The first byte of the message that holds the trailers; its length follows.
const TRAILERS: u8 = 1 << 7;

/// How long a browser need not ask again.
const PREFLIGHT_SECONDS_MAX: u16 = 600;

/// The compiled middleware.
#[derive(Debug)]
pub struct GrpcWeb {
    origins: Box<[Box<str>]>,
    any_origin: bool,
}

/// How a client of gRPC-Web asked.
#[derive(Debug)]
pub struct Asked {
    /// In base64.
    text: bool,
    /// From a page of an origin that is listed.
    origin: Option<HeaderValue>,
}

impl GrpcWeb {
    /// From its configuration.
    pub fn compile(config: &dynamic::GrpcWeb) -> Self {
        Self {
            origins: config.allow_origins.iter().map(|origin| origin.as_str().into()).collect(),
            any_origin: config.allow_origins.iter().any(|origin| origin == "*"),
        }
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        if *head.method == Method::OPTIONS {
            return self.preflight(head).map_or(Flow::Next(Kept::Nothing), answer);
        }
        let called = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let called = called.filter(|_| *head.method == Method::POST);
        let Some((text, subtype)) = called.and_then(web_type) else { return Flow::Next(Kept::Nothing) };
        if let Ok(grpc) = HeaderValue::try_from(format!("{GRPC}{subtype}")) {
            head.headers.insert(CONTENT_TYPE, grpc);
        }
        head.headers.remove(CONTENT_LENGTH);
        head.present = head.present.and(Present::GRPC);
        *head.body = std::mem::replace(head.body, RequestBody::empty()).translated(text);
        let origin = head.headers.get(ORIGIN).filter(|origin| self.allows(origin)).cloned();
        Flow::Next(Kept::GrpcWeb(Box::new(Asked { text, origin })))
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        !origin.is_empty()
            && (self.any_origin || self.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes()))
    }

    /// The answer to what a browser asks before a call; `None` for any other request. A foreign origin is answered too, without leave.
    fn preflight(&self, head: &Head<'_>) -> Option<Response<ResponseBody>> {
        let names = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS)?.to_str().ok()?;
        if !names.to_ascii_lowercase().contains("x-grpc-web") {
            return None;
        }
        let method = head.headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|method| !method.is_empty())?;
        let mut response = bare(StatusCode::OK, "");
        let fields = response.headers_mut();
        for name in ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"] {
            fields.append(VARY, HeaderValue::from_static(name));
        }
        let method = method.to_str().unwrap_or_default().to_ascii_uppercase();
        let known = matches!(method.as_str(), "GET" | "POST" | "HEAD" | "OPTIONS");
        if let Some(origin) = head.headers.get(ORIGIN).filter(|origin| known && self.allows(origin)) {
            give_leave(fields, origin.clone());
            let allowed =
                [(ACCESS_CONTROL_ALLOW_METHODS, method), (ACCESS_CONTROL_ALLOW_HEADERS, listed(names))];
            for (name, value) in allowed {
                if let Ok(value) = HeaderValue::try_from(value) {
                    fields.insert(name, value);
                }
            }
            fields.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS_MAX.into());
        }
        Some(response)
    }
}

/// Whether a content type is of gRPC-Web, and then whether of its form in base64, and what of it stays.
fn web_type(called: &str) -> Option<(bool, &str)> {
    let text = called.strip_prefix(GRPC_WEB_TEXT).map(|subtype| (true, subtype));
    text.or_else(|| called.strip_prefix(GRPC_WEB).map(|subtype| (false, subtype)))
}

fn give_leave(fields: &mut HeaderMap, origin: HeaderValue) {
    fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    fields.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
}

/// The names of a list of fields in the usual letters; what no name holds is left out.
fn listed(names: &str) -> String {
    let names = names.split([',', ' ']).map(usual_letters).filter(|name| !name.is_empty());
    names.collect::<Vec<_>>().join(", ")
}

/// A capital at the start and behind each separator, as Go writes the names of fields.
fn usual_letters(name: &str) -> String {
    let mut begins = true;
    let letters =
        name.chars().filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'));
    let cased = letters.map(|letter| {
        let cased = if begins { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
        begins = matches!(letter, '-' | '_');
        cased
    });
    cased.collect()
}

/// Makes an answer of gRPC one of gRPC-Web. One of anything else, an error's text too, stays as it is but for the leave that pages have.
pub(super) fn response(asked: Asked, response: &mut Response<ResponseBody>) {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let fields = response.headers_mut();
    let subtype = fields.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|called| {
        let subtype = called.strip_prefix(GRPC)?;
        (subtype.is_empty() || subtype.starts_with(['+', ';'])).then(|| subtype.to_owned())
    });
    fields.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = asked.origin {
        give_leave(fields, origin);
    }
    // Where it has ended with its head, the trailers are in there.
    let ended = fields.contains_key("grpc-status");
    if let Some(subtype) = &subtype {
        let form = if asked.text { GRPC_WEB_TEXT } else { GRPC_WEB };
        if let Ok(called) = HeaderValue::try_from(format!("{form}{subtype}")) {
            fields.insert(CONTENT_TYPE, called);
        }
        fields.remove(TRAILER);
        if !ended {
            fields.remove(CONTENT_LENGTH);
        }
    }
    expose(fields);
    if subtype.is_some() && !ended {
        let inner = std::mem::replace(response.body_mut(), ResponseBody::empty());
        *response.body_mut() =
            ResponseBody::made(Translated { inner, text: asked.text, told: false, ended: false });
    }
}

/// Lets pages read every field of the answer.
fn expose(fields: &mut HeaderMap) {
    let mut names: Vec<String> = fields.keys().map(|name| usual_letters(name.as_str())).collect();
    names.sort();
    names.extend(["grpc-status".to_owned(), "grpc-message".to_owned()]);
    if let Ok(names) = HeaderValue::try_from(names.join(", ")) {
        fields.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names);
    }
}

/// The content of an answer, and then its trailers as the last message. Every piece goes out at once: in base64 each has its own padding.
struct Translated {
    inner: ResponseBody,
    text: bool,
    /// The trailers were told.
    told: bool,
    /// Nothing more comes.
    ended: bool,
}

impl Translated {
    fn piece(&self, bytes: Bytes) -> Frame<Bytes> {
        Frame::data(if self.text { STANDARD.encode(bytes).into() } else { bytes })
    }
}

impl Body for Translated {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let frame = match std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => Some(frame),
                None if !self.told => None,
                end => {
                    self.ended = end.is_none();
                    return Poll::Ready(end);
                }
            };
            let data = match frame.map(Frame::into_data) {
                Some(Ok(data)) => data,
                Some(Err(frame)) if !self.told => {
                    self.told = true;
                    last_message(&frame.into_trailers().unwrap_or_default())
                }
                Some(Err(_)) => continue,
                None => {
                    self.told = true;
                    last_message(&HeaderMap::new())
                }
            };
            return Poll::Ready(Some(Ok(self.piece(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.told && self.inner.is_end_stream())
    }
}

/// Trailers as a message: lines of fields in order of their names.
fn last_message(trailers: &HeaderMap) -> Bytes {
    let mut fields: Vec<_> = trailers.iter().collect();
    fields.sort_by_key(|(name, _)| name.as_str());
    let mut lines = BytesMut::new();
    for (name, value) in fields {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value.as_bytes());
        lines.extend_from_slice(b"\r\n");
    }
    let mut message = BytesMut::with_capacity(1 + size_of::<u32>() + lines.len());
    message.put_u8(TRAILERS);
    // The trailers of an answer are bounded far below 4 GiB.
    message.put_u32(u32::try_from(lines.len()).unwrap_or(u32::MAX));
    message.extend_from_slice(&lines);
    message.freeze()
}

#[cfg(test)]
mod tests;
