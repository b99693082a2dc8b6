//! One question to a server, by HTTP or by gRPC's health protocol, and whether its answer means that it is well. It asks nobody but the
//! configured address: a redirection that leads elsewhere is not followed.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::header::{
    ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, RANGE, REFERER, TE, USER_AGENT,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Body;
use ravelin_config::dynamic::HealthCheck;

use crate::body::{RequestBody, ResponseBody};
use crate::connection::{ConnectionFacts, Protocol};
use crate::forward::{self, Outgoing};
use crate::forwarded::Present;
use crate::middleware::CompileError;
use crate::upstream::{InUse, Scheme, ServerUrl, Transport, Upstream, UpstreamPools, UpstreamRegistry};

/// Redirections that are followed.
const REDIRECTIONS_MAX: usize = 10;
/// Bytes of an answer that are read, so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Who asks, unless the configuration says so.
const AGENT: HeaderValue = HeaderValue::from_static("ravelin-health-check");
/// gRPC's health protocol: the call, and its message without a service's name.
const GRPC_CALL: &str = "/grpc.health.v1.Health/Check";
const GRPC_EMPTY: &[u8] = &[0; 5];
/// Field 1 of the answer's message, a number: `SERVING`.
const GRPC_SERVING: &[u8] = &[0x08, 1];

/// What is asked of a server.
#[derive(Debug)]
pub(crate) struct Probe {
    upstream: Arc<Upstream>,
    _in_use: Arc<InUse>,
    host: HeaderValue,
    how: How,
}

#[derive(Debug)]
enum How {
    Http(Box<Http>),
    Grpc,
}

#[derive(Debug)]
struct Http {
    method: Method,
    /// `None`: the configured path leads elsewhere, or cannot be asked for; no answer is good enough.
    target: Option<PathAndQuery>,
    headers: HeaderMap,
    /// `None`: any from 200 to 399.
    status: Option<u16>,
    follow_redirects: bool,
}

impl Probe {
    /// For the server of this URL.
    ///
    /// # Errors
    /// Options that cannot be written into a request or an address. The control plane has judged them.
    pub(crate) fn compile(
        config: &HealthCheck,
        url: &ServerUrl,
        transport: &Arc<Transport>,
        upstreams: &UpstreamRegistry,
    ) -> Result<Self, CompileError> {
        let grpc = config.mode == "grpc";
        let (upstream, in_use) = upstreams.upstream(&address(config, url, grpc)?, transport)?;
        let host = match config.hostname.as_str() {
            "" => upstream.authority.clone(),
            name => value("hostname", name)?,
        };
        let how = if grpc { How::Grpc } else { How::Http(Box::new(Http::compile(config, &url.path)?)) };
        Ok(Self { upstream, _in_use: in_use, host, how })
    }

    /// Asks once. Cancel safe: dropping the future closes its connection.
    ///
    /// # Errors
    /// Why the server is not well.
    pub(crate) async fn ask(&self, pools: &UpstreamPools) -> Result<(), String> {
        match &self.how {
            How::Http(http) => self.ask_http(http, pools).await,
            How::Grpc => self.ask_grpc(pools).await,
        }
    }

    async fn ask_http(&self, http: &Http, pools: &UpstreamPools) -> Result<(), String> {
        let mut target = http.target.clone().ok_or("its path leads elsewhere")?;
        let (mut method, mut headers) = (http.method.clone(), http.headers.clone());
        for _ in 0..=REDIRECTIONS_MAX {
            let request = Asked { method: method.clone(), target: target.clone(), headers: headers.clone() };
            let mut response = self.send(pools, request, RequestBody::empty()).await?;
            drain(response.body_mut()).await;
            let next = if http.follow_redirects { self.redirected(&response, &target) } else { None };
            let Some(next) = next else { return http.judge(response.status()) };
            let keeps = matches!(response.status().as_u16(), 307 | 308) || method == Method::HEAD;
            method = if keeps { method } else { Method::GET };
            let from = format!("{}://{}{target}", self.scheme(), text(&self.upstream.authority));
            headers.extend(HeaderValue::from_str(&from).ok().map(|from| (REFERER, from)));
            target = next;
        }
        Err(format!("more than {REDIRECTIONS_MAX} redirections"))
    }

    /// Where a redirection leads, if that is at the same address.
    fn redirected(&self, response: &Response<ResponseBody>, from: &PathAndQuery) -> Option<PathAndQuery> {
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let location = text(response.headers().get(LOCATION)?);
        let own = format!("{}://{}", self.scheme(), text(&self.upstream.authority));
        let own_path =
            location.strip_prefix(&own).filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        joined(from.path(), own_path.unwrap_or(location))
    }

    fn scheme(&self) -> &'static str {
        if self.upstream.scheme == Scheme::Https { "https" } else { "http" }
    }

    async fn ask_grpc(&self, pools: &UpstreamPools) -> Result<(), String> {
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
            (TE, HeaderValue::from_static("trailers")),
            (USER_AGENT, AGENT),
        ]);
        let target = PathAndQuery::from_static(GRPC_CALL);
        let request = Asked { method: Method::POST, target, headers };
        let body = RequestBody::full(Bytes::from_static(GRPC_EMPTY));
        let mut response = self.send(pools, request, body).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("status {}", response.status()));
        }
        let (message, trailers) = message(response.body_mut()).await?;
        let status = trailers.get("grpc-status").or_else(|| response.headers().get("grpc-status"));
        match status.map(HeaderValue::as_bytes) {
            Some(b"0") if message.as_deref() == Some(GRPC_SERVING) => Ok(()),
            Some(b"0") => Err("it says that it does not serve".to_owned()),
            Some(b"12") => Err("it does not know the health protocol".to_owned()),
            status => Err(format!("gRPC status {}", String::from_utf8_lossy(status.unwrap_or(b"missing")))),
        }
    }

    async fn send(
        &self,
        pools: &UpstreamPools,
        request: Asked,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, String> {
        let tracker = body.tracker();
        let mut outgoing = Outgoing {
            method: request.method,
            target: request.target,
            present: Present::of(&request.headers),
            headers: request.headers,
            host: self.host.clone(),
            upgrade: None,
            body,
            tracker,
        };
        // No client: nothing is relayed to it.
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let facts = Rc::new(ConnectionFacts::new(0, nobody, nobody, Arc::from(""), Protocol::Http1));
        let answer = forward::forward(pools, &facts, &self.upstream, &mut outgoing).await;
        answer.map_err(|error| match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })
    }
}

/// A request of a check.
struct Asked {
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
}

impl Http {
    fn compile(config: &HealthCheck, base_path: &str) -> Result<Self, CompileError> {
        let method = match config.method.as_str() {
            "" => Method::GET,
            method => Method::from_bytes(method.as_bytes()).map_err(|error| wrong("method", error))?,
        };
        let mut headers = HeaderMap::from_iter([(USER_AGENT, AGENT)]);
        for (name, text) in &config.headers {
            let name: HeaderName = name.parse().map_err(|error| wrong("headers", error))?;
            // As in Traefik: the Host is `hostname`.
            if name != HOST {
                headers.insert(name, value("headers", text)?);
            }
        }
        // As in Traefik, whose client asks so for whatever it would unpack; of an answer only the status is looked at.
        let unasked = !headers.contains_key(ACCEPT_ENCODING) && !headers.contains_key(RANGE);
        if unasked && method != Method::HEAD {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let status = match config.status {
            0 => None,
            status => Some(u16::try_from(status).map_err(|error| wrong("status", error))?),
        };
        let target = joined(base_path, &config.path);
        Ok(Self { method, target, headers, status, follow_redirects: config.follow_redirects })
    }

    fn judge(&self, status: StatusCode) -> Result<(), String> {
        let well = match self.status {
            None => (200..400).contains(&status.as_u16()),
            Some(wanted) => status.as_u16() == wanted,
        };
        if well { Ok(()) } else { Err(format!("status {}", status.as_u16())) }
    }
}

fn wrong(what: &'static str, reason: impl std::fmt::Display) -> CompileError {
    CompileError::Value { option: "healthCheck", reason: format!("{what}: {reason}") }
}

fn value(what: &'static str, text: &str) -> Result<HeaderValue, CompileError> {
    HeaderValue::from_str(text).map_err(|error| wrong(what, error))
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

/// The address that is asked: the server's, with what the check says otherwise.
fn address(config: &HealthCheck, url: &ServerUrl, grpc: bool) -> Result<ServerUrl, CompileError> {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let authority = match (config.port, grpc) {
        (0, false) => url.authority.clone(),
        (0, true) => format!("{host}:{}", url.port),
        (port, _) => format!("{host}:{port}"),
    };
    let scheme = match (config.scheme.as_str(), grpc) {
        ("https", true) => "https",
        (_, true) => "h2c",
        ("", false) => match url.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::H2c => "h2c",
        },
        (scheme, false) => scheme,
    };
    Ok(format!("{scheme}://{authority}").parse()?)
}

/// A reference below a path (RFC 3986, 5.2). `None`: it leads to another host, or is no target.
fn joined(base: &str, reference: &str) -> Option<PathAndQuery> {
    let reference = reference.split('#').next().unwrap_or_default();
    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    };
    let scheme_ends =
        path.find(':').filter(|&colon| !path.get(..colon).is_some_and(|scheme| scheme.contains('/')));
    if path.starts_with("//") || scheme_ends.is_some() {
        return None;
    }
    let whole = match path {
        "" => base.to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("{}/{path}", base.rsplit_once('/').map_or("", |(directory, _)| directory)),
    };
    let mut out = without_dots(&whole);
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
    PathAndQuery::try_from(out).ok()
}

/// The path without dot segments, and with a slash before it.
fn without_dots(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    out.pop();
                }
                if last {
                    out.push("");
                }
            }
            segment => out.push(segment),
        }
    }
    format!("/{}", out.join("/"))
}

/// Reads a short answer to its end.
async fn drain(body: &mut ResponseBody) {
    let mut left = ANSWER_BYTES_MAX;
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            return;
        }
    }
}

/// The one message of an answer of gRPC, and its trailers.
async fn message(body: &mut ResponseBody) -> Result<(Option<Bytes>, HeaderMap), String> {
    let (mut read, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        match frame.map_err(|error| error.to_string())?.into_data() {
            Ok(data) if read.len() + data.len() > ANSWER_BYTES_MAX => {
                return Err("too long an answer".to_owned());
            }
            Ok(data) => read.extend_from_slice(&data),
            Err(frame) => trailers.extend(frame.into_trailers().ok().into_iter().flatten()),
        }
    }
    Ok((framed(read.into()), trailers))
}

/// The message behind its flag and length, if it is whole and not compressed.
fn framed(mut read: Bytes) -> Option<Bytes> {
    if read.len() < GRPC_EMPTY.len() || read.get_u8() != 0 {
        return None;
    }
    let bytes = usize::try_from(read.get_u32()).ok()?;
    (bytes == read.len()).then_some(read)
}

#[cfg(test)]
mod tests;
