//! `forwardAuth`: another server is asked about each request. Where it agrees the request goes on, with fields of its answer if so
//! configured; else its answer is the client's. It is asked once, within a deadline, and follows no redirect.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use http::uri::PathAndQuery;
use http::{Method, Response, StatusCode};
use ravelin_config::dynamic;
use regex::bytes::Regex;

use super::{CompileError, Fetch, Fetched, Flow, Head, Kept, answer, pattern};
use crate::body::{RequestBody, ResponseBody};
use crate::error::{RequestError, bare, redirect};
use crate::forward::Outgoing;
use crate::forwarded::{
    self, Present, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PROTO, X_REAL_IP,
};
use crate::spool::{Bounds, SpoolError, Spooled};
use crate::upstream::{InUse, Scheme, ServerUrl, Transport, Upstream, UpstreamRegistry};

mod location;

use location::Base;

/// How long the server may take for its whole answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// Of a request's body, and of an answer's, in memory; a file takes what exceeds it.
const MEMORY_BYTES: u64 = 1 << 20;

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// The compiled middleware.
#[derive(Debug)]
pub struct ForwardAuth {
    upstream: Arc<Upstream>,
    _in_use: Arc<InUse>,
    base: Base,
    target: PathAndQuery,
    /// Forwarding fields stay as the entry point left them.
    trusts: bool,
    answer_fields: Box<[HeaderName]>,
    answer_pattern: Option<Regex>,
    request_fields: Box<[HeaderName]>,
    cookies: Box<[Box<str>]>,
    user_field: Option<HeaderName>,
    /// How much of a body it gets. `None`: it gets none.
    body: Option<Bounds>,
    answer: Bounds,
    keeps_location: bool,
    keeps_method: bool,
    sign_in: Option<HeaderValue>,
}

impl ForwardAuth {
    /// From its configuration.
    ///
    /// # Errors
    /// An address that is no URL, names that no field has, an expression or TLS material that cannot be used.
    pub fn compile(
        config: &dynamic::ForwardAuth,
        upstreams: &UpstreamRegistry,
    ) -> Result<Self, CompileError> {
        let value = |option, reason: &str| CompileError::Value { option, reason: reason.to_owned() };
        let names = |option, names: &[String]| {
            let parsed =
                names.iter().map(|name| name.trim().parse().map_err(|_| value(option, "no header name")));
            parsed.collect::<Result<Box<[HeaderName]>, _>>()
        };
        let url: ServerUrl = config.address.trim().parse()?;
        let transport = Transport::compile(&config.tls.clone().unwrap_or_default().transport(), None)?;
        let (upstream, in_use) = upstreams.upstream(&url, &Arc::new(transport))?;
        let query =
            config.address.split_once('?').map(|(_, query)| query.split('#').next().unwrap_or_default());
        let path = if url.path.is_empty() { "/" } else { &url.path };
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let expression = &config.auth_response_headers_regex;
        let bounds = |most: Option<i64>, tells_length| Bounds {
            memory: MEMORY_BYTES,
            most: most.and_then(|most| u64::try_from(most).ok()),
            tells_length,
        };
        let user_field = &config.header_field;
        let sign_in = &config.auth_signin_url;
        Ok(Self {
            base: Base::new(url.scheme == Scheme::Https, &url.authority, path),
            target: target.parse().map_err(|_| value("address", "no request target"))?,
            upstream,
            _in_use: in_use,
            trusts: config.trust_forward_header != Some(false),
            answer_fields: names("authResponseHeaders", &config.auth_response_headers)?,
            answer_pattern: (!expression.is_empty()).then(|| pattern::compile(expression)).transpose()?,
            request_fields: names("authRequestHeaders", &config.auth_request_headers)?,
            cookies: config.add_auth_cookies_to_response.iter().map(|name| name.trim().into()).collect(),
            user_field: names("headerField", std::slice::from_ref(user_field))
                .ok()
                .and_then(|names| names.first().cloned()),
            body: config.forward_body.then(|| bounds(config.max_body_size, false)),
            answer: bounds(config.max_response_body_size, true),
            keeps_location: config.preserve_location_header,
            keeps_method: config.preserve_request_method,
            sign_in: (!sign_in.is_empty())
                .then(|| sign_in.parse().map_err(|_| value("authSigninURL", "no field can hold it")))
                .transpose()?,
        })
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        let Some(bounds) = self.body.filter(|_| !http_body::Body::is_end_stream(head.body)) else {
            return self.ask(head, RequestBody::empty());
        };
        Flow::keep_body(head, bounds)
    }

    /// Goes on with the client's body.
    pub(super) fn read(
        &self,
        head: &mut Head<'_>,
        body: Result<Rc<Spooled>, SpoolError<RequestBody>>,
    ) -> Flow {
        match body {
            Ok(spooled) => {
                *head.body = RequestBody::kept(&spooled);
                self.ask(head, RequestBody::kept(&spooled))
            }
            Err(SpoolError::TooLong(..)) => answer(bare(StatusCode::UNAUTHORIZED, "")),
            Err(error) => Flow::Refuse(error.into()),
        }
    }

    fn ask(&self, head: &Head<'_>, body: RequestBody) -> Flow {
        let headers = self.headers(head);
        let outgoing = Outgoing {
            method: if self.keeps_method { head.method.clone() } else { Method::GET },
            target: self.target.clone(),
            present: Present::of(&headers),
            headers,
            host: self.upstream.authority.clone(),
            upgrade: None,
            tracker: body.tracker(),
            body,
        };
        Flow::Fetch(Box::new(Fetch {
            upstream: Arc::clone(&self.upstream),
            outgoing,
            answer: self.answer,
            time_max: ANSWER_TIME_MAX,
        }))
    }

    /// What the server is told of a request.
    fn headers(&self, head: &Head<'_>) -> HeaderMap {
        let mut headers = head.headers.clone();
        let present = Present::of(&headers);
        forwarded::strip_hop_by_hop(&mut headers, present);
        headers.remove(CONTENT_LENGTH);
        headers.remove(EXPECT);
        if !self.request_fields.is_empty() {
            let mut named = HeaderMap::with_capacity(self.request_fields.len() + 6);
            for name in &self.request_fields {
                for value in headers.get_all(name) {
                    named.append(name, value.clone());
                }
            }
            let forwarding = [X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PROTO];
            for name in forwarding.iter().chain([&X_FORWARDED_METHOD, &X_FORWARDED_URI]) {
                if let Some(value) = head.headers.get(name).filter(|_| self.trusts) {
                    named.insert(name, value.clone());
                }
            }
            headers = named;
        }
        if !self.trusts {
            let family: Vec<HeaderName> =
                headers.keys().filter(|name| is_forwarding(name)).cloned().collect();
            for name in family {
                headers.remove(name);
            }
        }
        let target = match head.query {
            Some(query) => format!("{}?{query}", head.path.as_str()),
            None => head.path.as_str().to_owned(),
        };
        let host = head.host.to_str().unwrap_or_default();
        let port = crate::host::canonical(host).ok().and_then(|host| host.port);
        let port = port.unwrap_or(if head.tls { 443 } else { 80 });
        let told = [
            (X_FORWARDED_METHOD, HeaderValue::from_str(head.method.as_str())),
            (X_FORWARDED_URI, HeaderValue::from_str(&target)),
            (X_FORWARDED_HOST, HeaderValue::from_bytes(head.host.as_bytes())),
            (X_FORWARDED_PROTO, HeaderValue::from_str(if head.tls { "https" } else { "http" })),
            (X_FORWARDED_PORT, HeaderValue::from_str(&port.to_string())),
        ];
        for (name, value) in told {
            if let Ok(value) = value {
                headers.entry(name).or_insert(value);
            }
        }
        if let Ok(client) = HeaderValue::from_str(&head.client.to_string()) {
            forwarded::append_client(&mut headers, &client);
        }
        headers
    }

    /// Goes on with what the server said.
    pub(super) fn resume(&self, head: &mut Head<'_>, fetched: Fetched) -> Flow {
        let response = match fetched {
            Ok(response) => response,
            Err(SpoolError::TooLong(..)) => return answer(bare(StatusCode::UNAUTHORIZED, "")),
            Err(SpoolError::Broken(error)) => {
                tracing::debug!("the authentication server cannot be asked: {error}");
                return answer(bare(StatusCode::INTERNAL_SERVER_ERROR, ""));
            }
            Err(SpoolError::Disk(error)) => return Flow::Refuse(RequestError::Disk(error)),
        };
        if !response.status().is_success() {
            return answer(self.refused(response));
        }
        let fields = response.headers();
        if let Some(user) = &self.user_field {
            head.user = Some(fields.get(user).map_or_else(Vec::new, |value| value.as_bytes().to_vec()));
        }
        self.pass_fields(head, fields);
        let cookies: Vec<HeaderValue> = fields.get_all(SET_COOKIE).iter().cloned().collect();
        if cookies.is_empty() || self.cookies.is_empty() {
            return Flow::Next(Kept::Nothing);
        }
        Flow::Next(Kept::Cookies(cookies.into()))
    }

    fn pass_fields(&self, head: &mut Head<'_>, fields: &HeaderMap) {
        for name in &self.answer_fields {
            head.headers.remove(name);
            for value in fields.get_all(name) {
                head.headers.append(name, value.clone());
            }
            head.present = head.present.and(Present::of_name(name));
        }
        let Some(pattern) = &self.answer_pattern else { return };
        let is_named = |name: &&HeaderName| pattern.is_match(canonical(name).as_bytes());
        let gone: Vec<HeaderName> = head.headers.keys().filter(is_named).cloned().collect();
        for name in gone {
            head.headers.remove(name);
        }
        for name in fields.keys().filter(is_named) {
            for value in fields.get_all(name) {
                head.headers.append(name, value.clone());
            }
            head.present = head.present.and(Present::of_name(name));
        }
    }

    /// The answer to a client that may not pass.
    fn refused(&self, response: Response<Rc<Spooled>>) -> Response<ResponseBody> {
        if let (StatusCode::UNAUTHORIZED, Some(sign_in)) = (response.status(), &self.sign_in) {
            return redirect(StatusCode::FOUND, sign_in.clone());
        }
        let (mut head, body) = response.into_parts();
        if let Some(location) = head.headers.get(LOCATION).filter(|_| !self.keeps_location) {
            let whole = location.to_str().ok().and_then(|location| self.base.absolute(location));
            match whole.and_then(|whole| HeaderValue::from_str(&whole).ok()) {
                Some(whole) => drop(head.headers.insert(LOCATION, whole)),
                None => return bare(StatusCode::INTERNAL_SERVER_ERROR, ""),
            }
        }
        head.extensions.clear();
        Response::from_parts(head, ResponseBody::kept(&body))
    }

    /// Adds the server's cookies of the names that are listed, in place of the service's. The others stay as they came.
    pub(super) fn response(&self, cookies: &[HeaderValue], response: &mut Response<ResponseBody>) {
        let is_listed = |value: &HeaderValue| {
            let name = value.as_bytes().split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
            self.cookies.iter().any(|listed| listed.as_bytes() == name)
        };
        let headers = response.headers_mut();
        let own: Vec<HeaderValue> =
            headers.get_all(SET_COOKIE).iter().filter(|value| !is_listed(value)).cloned().collect();
        headers.remove(SET_COOKIE);
        for value in own.iter().chain(cookies.iter().filter(|value| is_listed(value))) {
            headers.append(SET_COOKIE, value.clone());
        }
    }
}

fn is_forwarding(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-forwarded-") || *name == X_REAL_IP
}

/// A field's name as Go writes it, as expressions in Traefik see it: `X-Auth-User`.
fn canonical(name: &HeaderName) -> String {
    let mut upper = true;
    let letters = name.as_str().chars().map(|letter| {
        let written = if upper { letter.to_ascii_uppercase() } else { letter };
        upper = letter == '-';
        written
    });
    letters.collect()
}

#[cfg(test)]
mod tests;
