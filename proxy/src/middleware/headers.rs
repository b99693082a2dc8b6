//! `headers`: fields set on requests and answers, CORS, security fields, allowed hosts. Everything is prepared when it is
//! compiled; a request only copies references. It routes and authenticates nothing.

use http::header::{HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY};
use http::{Method, Response, StatusCode};
use ravelin_config::dynamic;
use regex::Regex;

use super::{CompileError, Flow, Head, Kept, answer, field_value, joined};
use crate::body::ResponseBody;
use crate::error::{bare, plain_text};
use crate::forwarded::Present;

mod security;

use security::Security;

/// The compiled middleware.
#[derive(Debug)]
pub struct Headers {
    request: Box<[Change]>,
    /// What `request` may add.
    added: Present,
    host: Option<HeaderValue>,
    omit_forwarded_for: bool,
    response: Box<[Change]>,
    cors: Option<Cors>,
    security: Security,
}

/// What happens to one field: all its values are replaced, or it is removed.
#[derive(Debug)]
struct Change {
    name: HeaderName,
    value: Option<HeaderValue>,
}

#[derive(Debug)]
struct Cors {
    allow_headers: Option<HeaderValue>,
    allow_methods: Option<HeaderValue>,
    expose_headers: Option<HeaderValue>,
    max_age: HeaderValue,
    any_origin: bool,
    origins: Box<[HeaderValue]>,
    origin_patterns: Box<[Regex]>,
    credentials: bool,
    vary: bool,
}

/// Most bytes of one compiled origin pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl Headers {
    /// From its configuration.
    ///
    /// # Errors
    /// Names and values that no field can have, origin patterns that are no regular expressions.
    pub fn compile(config: &dynamic::Headers) -> Result<Self, CompileError> {
        let mut request = Vec::new();
        let mut host = None;
        let mut omit_forwarded_for = false;
        for (name, value) in &config.custom_request_headers {
            if name.eq_ignore_ascii_case("host") {
                host = (!value.is_empty())
                    .then(|| field_value("customRequestHeaders", value))
                    .transpose()?
                    .or(host);
            } else if name == "X-Forwarded-For" && value.is_empty() {
                // Only this spelling keeps the proxy from writing the field, as in Traefik.
                omit_forwarded_for = true;
                request.push(change("customRequestHeaders", name, value)?);
            } else {
                request.push(change("customRequestHeaders", name, value)?);
            }
        }
        let response = config
            .custom_response_headers
            .iter()
            .map(|(name, value)| change("customResponseHeaders", name, value))
            .collect::<Result<_, _>>()?;
        let added = request
            .iter()
            .fold(Present::default(), |all, change: &Change| all.and(Present::of_name(&change.name)));
        Ok(Self {
            request: request.into(),
            added,
            host,
            omit_forwarded_for,
            response,
            cors: Cors::compile(config)?,
            security: Security::compile(config)?,
        })
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        let origin = self.cors.as_ref().and_then(|_| head.headers.get(ORIGIN).cloned());
        if let Some(cors) = &self.cors
            && let Some(preflight) = cors.preflight(head, origin.as_ref())
        {
            return answer(preflight);
        }
        for change in &self.request {
            change.apply(head.headers);
        }
        head.present = head.present.and(self.added);
        head.omit_forwarded_for |= self.omit_forwarded_for;
        if let Some(host) = &self.host {
            head.host = host.clone();
        }
        if !self.security.allows_host(head) {
            return answer(plain_text(StatusCode::INTERNAL_SERVER_ERROR, "Bad Host\n"));
        }
        Flow::Next(Kept::Headers { origin: origin.map(Box::new), secure: self.security.is_secure(head) })
    }

    pub(super) fn response(
        &self,
        origin: Option<&HeaderValue>,
        secure: bool,
        response: &mut Response<ResponseBody>,
    ) {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let headers = response.headers_mut();
        self.security.apply(secure, headers);
        for change in &self.response {
            change.apply(headers);
        }
        if let Some(cors) = &self.cors {
            cors.apply(origin, headers);
        }
    }
}

fn change(option: &'static str, name: &str, value: &str) -> Result<Change, CompileError> {
    let name = name
        .trim()
        .parse()
        .map_err(|_| CompileError::Value { option, reason: format!("{name:?} is no header name") })?;
    let value = (!value.is_empty()).then(|| field_value(option, value)).transpose()?;
    Ok(Change { name, value })
}

impl Change {
    fn apply(&self, headers: &mut HeaderMap) {
        match &self.value {
            Some(value) => headers.insert(self.name.clone(), value.clone()),
            None => headers.remove(&self.name),
        };
    }
}

impl Cors {
    fn compile(config: &dynamic::Headers) -> Result<Option<Self>, CompileError> {
        let defined = config.access_control_allow_credentials
            || !config.access_control_allow_headers.is_empty()
            || !config.access_control_allow_methods.is_empty()
            || !config.access_control_allow_origin_list.is_empty()
            || !config.access_control_allow_origin_list_regex.is_empty()
            || !config.access_control_expose_headers.is_empty()
            || config.access_control_max_age != 0
            || config.add_vary_header;
        if !defined {
            return Ok(None);
        }
        let pattern = |text: &String| {
            regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| {
                CompileError::Value { option: "accessControlAllowOriginListRegex", reason: error.to_string() }
            })
        };
        let origins = &config.access_control_allow_origin_list;
        Ok(Some(Self {
            allow_headers: joined("accessControlAllowHeaders", &config.access_control_allow_headers)?,
            allow_methods: joined("accessControlAllowMethods", &config.access_control_allow_methods)?,
            expose_headers: joined("accessControlExposeHeaders", &config.access_control_expose_headers)?,
            max_age: HeaderValue::from(config.access_control_max_age),
            any_origin: origins.iter().any(|origin| origin == "*"),
            origins: origins
                .iter()
                .map(|origin| field_value("accessControlAllowOriginList", origin))
                .collect::<Result<_, _>>()?,
            origin_patterns: config
                .access_control_allow_origin_list_regex
                .iter()
                .map(pattern)
                .collect::<Result<_, _>>()?,
            credentials: config.access_control_allow_credentials,
            vary: config.add_vary_header,
        }))
    }

    /// The value of `Access-Control-Allow-Origin` for this request's Origin.
    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        const ANY: HeaderValue = HeaderValue::from_static("*");
        if self.any_origin && !self.credentials {
            return Some(ANY);
        }
        let origin = origin.filter(|origin| !origin.is_empty())?;
        let listed = self.any_origin || self.origins.contains(origin);
        let fits = || {
            origin
                .to_str()
                .is_ok_and(|text| self.origin_patterns.iter().any(|pattern| pattern.is_match(text)))
        };
        (listed || fits()).then(|| origin.clone())
    }

    /// The answer to a preflight request; `None` for any other request. A foreign origin is answered too, without leave.
    fn preflight(&self, head: &Head<'_>, origin: Option<&HeaderValue>) -> Option<Response<ResponseBody>> {
        const REQUEST_METHOD: HeaderName = http::header::ACCESS_CONTROL_REQUEST_METHOD;
        let origin = origin.filter(|origin| !origin.is_empty())?;
        let asked = head.headers.get(REQUEST_METHOD).is_some_and(|method| !method.is_empty());
        if head.method != Method::OPTIONS || !asked {
            return None;
        }
        let mut response = bare(StatusCode::OK, "");
        let headers = response.headers_mut();
        let fields = [
            (http::header::ACCESS_CONTROL_ALLOW_HEADERS, self.allow_headers.clone()),
            (http::header::ACCESS_CONTROL_ALLOW_METHODS, self.allow_methods.clone()),
            (http::header::ACCESS_CONTROL_ALLOW_ORIGIN, self.allowed(Some(origin))),
            (http::header::ACCESS_CONTROL_MAX_AGE, Some(self.max_age.clone())),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        self.apply_common(headers);
        Some(response)
    }

    fn apply(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if let Some(allowed) = self.allowed(origin) {
            headers.insert(http::header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        }
        self.apply_common(headers);
        if self.vary {
            add_vary(headers);
        }
    }

    fn apply_common(&self, headers: &mut HeaderMap) {
        if self.credentials {
            headers.insert(http::header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(names) = &self.expose_headers {
            headers.insert(http::header::ACCESS_CONTROL_EXPOSE_HEADERS, names.clone());
        }
    }
}

/// Names Origin in `Vary`, once, and keeps all that the service named.
fn add_vary(headers: &mut HeaderMap) {
    const ORIGIN_VALUE: HeaderValue = HeaderValue::from_static("Origin");
    let named = headers
        .get_all(VARY)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim() == "*" || name.trim().eq_ignore_ascii_case("origin"));
    if named {
        return;
    }
    let mut all: Vec<u8> = Vec::new();
    for value in headers.get_all(VARY) {
        all.extend_from_slice(value.as_bytes());
        all.push(b',');
    }
    all.extend_from_slice(b"Origin");
    headers.insert(VARY, HeaderValue::from_bytes(&all).unwrap_or(ORIGIN_VALUE));
}

#[cfg(test)]
mod tests;
