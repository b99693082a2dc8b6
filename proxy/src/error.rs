//! Everything that can end a request without the service's own answer, and the one function that turns it into a response.
//! It logs nothing and retries nothing: it says whose fault it was and whether sending again would be safe.

use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};

use crate::body::{RequestBody, ResponseBody};
use crate::spool::SpoolError;

/// Who caused an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client sent what may not be sent, or left.
    Client,
    /// This proxy or its configuration.
    Proxy,
    /// The server behind.
    Upstream,
}

/// Why a request was not answered by its service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The Host (or `:authority`) is missing where it must not be, a list, or no host at all.
    #[error("bad host")]
    BadHost,
    /// The request target cannot be normalised, or holds what is refused.
    #[error("bad request target: {0}")]
    BadTarget(#[from] crate::path::PathError),
    /// What a middleware made of the path climbs, or is no path.
    #[error("the rewritten path is none: {0}")]
    RewrittenPath(#[source] crate::path::PathError),
    /// A field name with an underscore where `underscoreHeadersStrategy` is `reject`.
    #[error("a field name holds an underscore")]
    UnderscoreField,
    /// An `Expect` that is not `100-continue`.
    #[error("unknown expectation")]
    Expectation,
    /// CONNECT: this proxy opens no tunnels to arbitrary addresses.
    #[error("CONNECT is not served")]
    Connect,
    /// The target is malformed in a way that only ends in a plain 400 (bad authority form and the like).
    #[error("bad request")]
    BadRequest,
    /// A `Trailer` that announces a framing field.
    #[error("a trailer may not frame a message")]
    Trailer,
    /// No router matches.
    #[error("no router matches")]
    NoRoute,
    /// The TLS options of the matched router are not those that the connection was made with.
    #[error("the connection's TLS options are not the router's")]
    Misdirected,
    /// The matched router is in error and has no last good value.
    #[error("router {router} is in error: {reason}")]
    RouterInError {
        /// Qualified name of the router.
        router: Arc<str>,
        /// The first error of its status.
        reason: Arc<str>,
    },
    /// As many requests wait for servers as this worker takes on.
    #[error("too many requests wait for servers")]
    Overloaded,
    /// The service has no server that may be used.
    #[error("no available server")]
    NoServer,
    /// A middleware answered for the service with an error of its own.
    #[error("{reason}")]
    Middleware {
        /// The status it answers with.
        status: StatusCode,
        /// What the log says.
        reason: &'static str,
    },
    /// The connection could not be made, or broke before the answer's head was complete.
    #[error("upstream {what}")]
    Upstream {
        /// What failed.
        what: UpstreamFailure,
        /// The cause, where there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
        /// Nothing of the request reached the upstream's application, or it may be repeated safely.
        retry_safe: bool,
    },
    /// The client's body broke off while it was being forwarded.
    #[error("the client's body broke off")]
    ClientBody,
    /// The client's body is larger than a middleware allows.
    #[error("the client's body is too large")]
    ContentTooLarge,
    /// What a middleware keeps of a message cannot be written to or read from a temporary file.
    #[error("a temporary file cannot be used")]
    Disk(#[source] std::io::Error),
    /// The client left before it was answered.
    #[error("the client left")]
    ClientGone,
    /// A bug: the request was ended instead of the process.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

/// What failed at the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// Its name does not resolve.
    Resolve,
    /// Refused, unreachable, reset while connecting.
    Connect,
    /// No connection within the dial timeout.
    ConnectTimeout,
    /// The TLS handshake failed (certificate, version, protocol).
    Tls,
    /// The connection closed before a complete head of an answer.
    Closed,
    /// No head of an answer within the response header timeout.
    HeaderTimeout,
    /// It took nothing more of the request for too long.
    Stalled,
    /// What came is no HTTP answer that may be passed on.
    Malformed,
}

impl std::fmt::Display for UpstreamFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Resolve => "name does not resolve",
            Self::Connect => "cannot be connected to",
            Self::ConnectTimeout => "did not accept a connection in time",
            Self::Tls => "failed the TLS handshake",
            Self::Closed => "closed the connection before its answer",
            Self::HeaderTimeout => "did not answer in time",
            Self::Stalled => "took no more of the request",
            Self::Malformed => "sent a malformed answer",
        })
    }
}

/// Why a client's body that had to be kept was not.
impl From<SpoolError<RequestBody>> for RequestError {
    fn from(error: SpoolError<RequestBody>) -> Self {
        match error {
            SpoolError::TooLong(..) => Self::ContentTooLarge,
            SpoolError::Disk(error) => Self::Disk(error),
            SpoolError::Broken(_) => Self::ClientBody,
        }
    }
}

impl RequestError {
    /// Shorthand for an upstream failure.
    pub fn upstream(
        what: UpstreamFailure,
        source: impl Into<Option<Box<dyn std::error::Error + Send + Sync>>>,
        retry_safe: bool,
    ) -> Self {
        Self::Upstream { what, source: source.into(), retry_safe }
    }

    /// Whose fault it was.
    pub fn side(&self) -> Side {
        match self {
            Self::BadHost
            | Self::BadTarget(_)
            | Self::RewrittenPath(_)
            | Self::UnderscoreField
            | Self::Expectation
            | Self::Connect
            | Self::BadRequest
            | Self::Trailer
            | Self::NoRoute
            | Self::Misdirected
            | Self::ClientBody
            | Self::ContentTooLarge
            | Self::ClientGone => Side::Client,
            Self::RouterInError { .. }
            | Self::Overloaded
            | Self::NoServer
            | Self::Middleware { .. }
            | Self::Disk(_)
            | Self::Internal(_) => Side::Proxy,
            Self::Upstream { .. } => Side::Upstream,
        }
    }

    /// Whether the same request may be sent once more, to the same or another server, without being carried out twice.
    pub fn retry_safe(&self) -> bool {
        matches!(self, Self::Upstream { retry_safe: true, .. })
    }

    /// The status that the client sees.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadHost
            | Self::BadTarget(_)
            | Self::RewrittenPath(_)
            | Self::UnderscoreField
            | Self::BadRequest
            | Self::Trailer
            | Self::ClientBody => StatusCode::BAD_REQUEST,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::Connect => StatusCode::NOT_IMPLEMENTED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::RouterInError { .. } | Self::Overloaded | Self::NoServer => StatusCode::SERVICE_UNAVAILABLE,
            Self::Middleware { status, .. } => *status,
            Self::Upstream { what, .. } => match what {
                UpstreamFailure::ConnectTimeout
                | UpstreamFailure::HeaderTimeout
                | UpstreamFailure::Stalled => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            },
            Self::ClientGone => client_closed_request(),
            Self::ContentTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Disk(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The response for this error. The only place where an error becomes one.
    pub fn into_response(self) -> Response<ResponseBody> {
        match &self {
            Self::NoRoute => plain_text(StatusCode::NOT_FOUND, "404 page not found\n"),
            Self::NoServer => plain_text(StatusCode::SERVICE_UNAVAILABLE, "no available server\n"),
            Self::Overloaded => {
                // Who balances in front, or asks again, is to wait a little; as for connections beyond their number.
                const SOON: HeaderValue = HeaderValue::from_static("1");
                let mut response = plain_text(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable\n");
                response.headers_mut().insert(RETRY_AFTER, SOON);
                response
            }
            Self::RouterInError { router, .. } => {
                let text = format!("router {router} is in error and has no last good configuration\n");
                plain_text(StatusCode::SERVICE_UNAVAILABLE, text)
            }
            Self::UnderscoreField | Self::RewrittenPath(_) => {
                plain_text(StatusCode::BAD_REQUEST, "Bad Request\n")
            }
            Self::BadHost => refused(StatusCode::BAD_REQUEST, "400 Bad Request: malformed Host header"),
            Self::BadRequest => refused(StatusCode::BAD_REQUEST, "400 Bad Request: malformed request target"),
            Self::BadTarget(error) if error.is_syntax() => {
                refused(StatusCode::BAD_REQUEST, "400 Bad Request")
            }
            Self::Trailer => refused(StatusCode::BAD_REQUEST, "400 Bad Request"),
            Self::BadTarget(_) | Self::Expectation | Self::Connect => bare(self.status(), ""),
            Self::Misdirected => plain_text(StatusCode::MISDIRECTED_REQUEST, "Misdirected Request\n"),
            Self::ClientGone => bare(self.status(), "Client Closed Request"),
            Self::ContentTooLarge => bare(self.status(), "Request Entity Too Large"),
            Self::Middleware { status, .. } => bare(*status, status.canonical_reason().unwrap_or_default()),
            Self::Upstream { .. } | Self::ClientBody | Self::Disk(_) | Self::Internal(_) => {
                let status = self.status();
                bare(status, status.canonical_reason().unwrap_or_default())
            }
        }
    }
}

/// 499: the client left. Only logs ever show it.
pub fn client_closed_request() -> StatusCode {
    const CODE: u16 = 499;
    StatusCode::from_u16(CODE).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A text answer with Traefik's (that is Go's `http.Error`) fields.
pub fn plain_text(status: StatusCode, text: impl Into<bytes::Bytes>) -> Response<ResponseBody> {
    const TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
    const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
    let mut response = bare(status, text);
    response.headers_mut().insert(CONTENT_TYPE, TYPE);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    response
}

/// The answer to what is no request: nothing more is read on that connection.
fn refused(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    const TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
    const CLOSE: HeaderValue = HeaderValue::from_static("close");
    let mut response = bare(status, text);
    response.headers_mut().insert(CONTENT_TYPE, TYPE);
    response.headers_mut().insert(CONNECTION, CLOSE);
    response
}

/// An answer with a body and no field that describes it, as Traefik gives where the gateway itself failed.
pub fn bare(status: StatusCode, text: impl Into<bytes::Bytes>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(text));
    *response.status_mut() = status;
    response
}

/// A redirect: `Location` and the reason phrase as its body.
pub fn redirect(status: StatusCode, location: HeaderValue) -> Response<ResponseBody> {
    const LOCATION: HeaderName = http::header::LOCATION;
    let mut response = bare(status, status.canonical_reason().unwrap_or_default());
    response.headers_mut().insert(LOCATION, location);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::PathError;

    fn upstream(what: UpstreamFailure) -> RequestError {
        RequestError::upstream(what, None, false)
    }

    #[test]
    fn every_error_has_its_answer() {
        let middleware =
            RequestError::Middleware { status: StatusCode::TOO_MANY_REQUESTS, reason: "too many" };
        let in_error = RequestError::RouterInError { router: "r@file".into(), reason: "x".into() };
        let table = [
            (RequestError::BadHost, 400, Side::Client),
            (RequestError::BadTarget(PathError::Percent), 400, Side::Client),
            (RequestError::BadTarget(PathError::HiddenDotSegment), 400, Side::Client),
            (RequestError::RewrittenPath(PathError::HiddenDotSegment), 400, Side::Client),
            (RequestError::UnderscoreField, 400, Side::Client),
            (RequestError::Expectation, 417, Side::Client),
            (RequestError::Connect, 501, Side::Client),
            (RequestError::BadRequest, 400, Side::Client),
            (RequestError::Trailer, 400, Side::Client),
            (RequestError::NoRoute, 404, Side::Client),
            (RequestError::Misdirected, 421, Side::Client),
            (in_error, 503, Side::Proxy),
            (RequestError::Overloaded, 503, Side::Proxy),
            (RequestError::NoServer, 503, Side::Proxy),
            (middleware, 429, Side::Proxy),
            (upstream(UpstreamFailure::Resolve), 502, Side::Upstream),
            (upstream(UpstreamFailure::Connect), 502, Side::Upstream),
            (upstream(UpstreamFailure::ConnectTimeout), 504, Side::Upstream),
            (upstream(UpstreamFailure::Tls), 502, Side::Upstream),
            (upstream(UpstreamFailure::Closed), 502, Side::Upstream),
            (upstream(UpstreamFailure::HeaderTimeout), 504, Side::Upstream),
            (upstream(UpstreamFailure::Malformed), 502, Side::Upstream),
            (RequestError::ClientBody, 400, Side::Client),
            (RequestError::ContentTooLarge, 413, Side::Client),
            (RequestError::Disk(std::io::ErrorKind::StorageFull.into()), 500, Side::Proxy),
            (RequestError::ClientGone, 499, Side::Client),
            (RequestError::Internal("x"), 500, Side::Proxy),
        ];
        for (error, status, side) in table {
            let text = error.to_string();
            assert_eq!((error.status().as_u16(), error.side()), (status, side), "{text}");
            assert!(!error.retry_safe(), "{text}");
            assert_eq!(error.into_response().status().as_u16(), status, "{text}");
        }
        assert!(RequestError::upstream(UpstreamFailure::Connect, None, true).retry_safe());
    }

    #[test]
    fn texts_are_traefiks() {
        let field =
            |error: RequestError, name: HeaderName| error.into_response().headers().get(name).cloned();
        assert_eq!(field(RequestError::NoServer, CONTENT_TYPE).expect("a type"), "text/plain; charset=utf-8");
        assert_eq!(field(RequestError::NoRoute, X_CONTENT_TYPE_OPTIONS).expect("nosniff"), "nosniff");
        assert_eq!(field(upstream(UpstreamFailure::Connect), CONTENT_TYPE), None);
        assert_eq!(field(RequestError::BadTarget(PathError::Percent), CONNECTION).expect("close"), "close");
        assert_eq!(field(RequestError::BadTarget(PathError::Fragment), CONNECTION), None);
    }
}
