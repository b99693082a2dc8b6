//! Middlewares as the request path runs them: one kind per file, all kinds in the one table below. A chain runs its request
//! halves in order until one answers, and the answer passes the response halves of those that were passed, in reverse.
//! Nothing here forwards a request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Response};
use ravelin_config::dynamic;

use crate::body::ResponseBody;
use crate::error::RequestError;
use crate::forwarded::{PolicyError, Present};
use crate::path::{PathError, PathOptions};
use crate::upstream::{TransportError, UrlError};

pub mod add_prefix;
pub mod basic_auth;
pub(crate) mod content_type;
pub mod encoded_characters;
pub mod headers;
pub mod in_flight_req;
pub mod ip_allow_list;
mod pattern;
pub mod rate_limit;
pub mod redirect_regex;
pub mod redirect_scheme;
pub mod replace_path;
pub mod source;
pub mod strip_prefix;
pub mod strip_prefix_regex;

pub use in_flight_req::PolicyStates;

/// The registration table: every kind that works. Compiled, immutable, shared by routers and workers.
#[derive(Clone, Debug)]
pub enum Middleware {
    /// `headers`.
    Headers(Arc<headers::Headers>),
    /// `addPrefix`.
    AddPrefix(Arc<add_prefix::AddPrefix>),
    /// `stripPrefix`.
    StripPrefix(Arc<strip_prefix::StripPrefix>),
    /// `stripPrefixRegex`.
    StripPrefixRegex(Arc<strip_prefix_regex::StripPrefixRegex>),
    /// `replacePath`.
    ReplacePath(Arc<replace_path::ReplacePath>),
    /// `replacePathRegex`.
    ReplacePathRegex(Arc<replace_path::ReplacePathRegex>),
    /// `encodedCharacters`.
    EncodedCharacters(Arc<encoded_characters::EncodedCharacters>),
    /// `redirectScheme`.
    RedirectScheme(Arc<redirect_scheme::RedirectScheme>),
    /// `redirectRegex`.
    RedirectRegex(Arc<redirect_regex::RedirectRegex>),
    /// `ipAllowList`, and its old name `ipWhiteList`.
    IpAllowList(Arc<ip_allow_list::IpAllowList>),
    /// `inFlightReq`, bound to one router (or service).
    InFlightReq(Arc<in_flight_req::InFlightReq>),
    /// `rateLimit`, bound to one router (or service).
    RateLimit(Arc<rate_limit::RateLimit>),
    /// `basicAuth`.
    BasicAuth(Arc<basic_auth::BasicAuth>),
    /// `contentType`.
    ContentType,
}

/// A middleware object compiled by itself, before it is bound to the routers that use it.
#[derive(Clone, Debug)]
pub enum Template {
    /// The same for every router.
    Shared(Middleware),
    /// Every router that uses it has its own state.
    InFlightReq(Arc<in_flight_req::Settings>),
    /// The same.
    RateLimit(Arc<rate_limit::Settings>),
    /// Other middlewares in order, by qualified name.
    Chain(Box<[Arc<str>]>),
}

/// Why a middleware or service cannot be compiled. The control plane has judged objects before they reach a proxy, so that one
/// of these refuses a whole generation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// A reference that leads nowhere.
    #[error("{0} does not exist")]
    Missing(Arc<str>),
    /// A kind or option that does not work yet.
    #[error("{0} does not work yet")]
    Unsupported(String),
    /// An object without a kind.
    #[error("no kind is given")]
    NoKind,
    /// An object of more than one kind.
    #[error("more than one kind is given")]
    SeveralKinds,
    /// Chains that contain each other, or more than [`CHAIN_LENGTH_MAX`] in one.
    #[error("the chain {0} never ends, or is longer than {CHAIN_LENGTH_MAX}")]
    ChainLength(Arc<str>),
    /// An option's value.
    #[error("{option}: {reason}")]
    Value {
        /// Which option.
        option: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A server's URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A servers transport.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// An address or name in a policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Most middlewares in front of one router or service after chains are flattened.
pub const CHAIN_LENGTH_MAX: usize = 256;

/// What a middleware may see and change of a request on its way in.
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The fields; ours are among them already, `X-Forwarded-For` is not.
    ///
    /// `Host` may be among them as the client sent it, which no middleware looks at: [`Head::host`] is what counts.
    /// A field that a configuration names is found by `field`.
    pub headers: &'a mut HeaderMap,
    /// Which of them may be there. Who adds a field says so here.
    pub(crate) present: Present,
    /// The one normalised path. Who changes it sets it by [`Head::rewrite_path`].
    pub path: PathText,
    /// The query as the client sent it, without the question mark. `None`: the target has none.
    pub query: Option<&'a str>,
    /// The Host as the client sent it, or as a middleware set it: what is forwarded.
    pub host: HeaderValue,
    /// The connection is TLS.
    pub tls: bool,
    /// The client's address.
    pub client: std::net::IpAddr,
    /// What the entry point allows in paths.
    pub path_options: PathOptions,
    /// A middleware removed `X-Forwarded-For`: it is not written.
    pub omit_forwarded_for: bool,
    /// The user that the client says to be, right or not, for the log; empty where an authentication found none.
    pub user: Option<Vec<u8>>,
}

/// The path of a request: the client's own bytes while nothing changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathText {
    /// As in the request's URI, which was normal already.
    Original(http::Uri),
    /// Normalised or rewritten.
    Own(Box<str>),
}

impl PathText {
    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            // An absolute-form target may have no path at all.
            Self::Original(uri) if uri.path().is_empty() => "/",
            Self::Original(uri) => uri.path(),
            Self::Own(text) if text.is_empty() => "/",
            Self::Own(text) => text,
        }
    }

    /// A middleware left nothing of it: what is put before it is the whole path then.
    pub(crate) fn is_used_up(&self) -> bool {
        matches!(self, Self::Own(text) if text.is_empty())
    }
}

impl Head<'_> {
    /// The first value of the field that a configuration names. The Host is none, as in Traefik.
    pub(crate) fn field(&self, name: &HeaderName) -> Option<&HeaderValue> {
        if *name == HOST { None } else { self.headers.get(name) }
    }

    /// Sets a rewritten path after bringing it into its one form again.
    ///
    /// # Errors
    /// A path that climbs, or that cannot be normalised: the request is refused.
    pub fn rewrite_path(&mut self, path: &str) -> Result<(), RequestError> {
        self.set_path(crate::path::rewritten(path, self.path_options, false))
    }

    /// Sets what is left of a path, nothing too, or stands in its place. It must be a path already: nothing of it is resolved, so that no
    /// client reaches by a rewriting what it could not ask for.
    ///
    /// # Errors
    /// Empty and dot segments, or what cannot be normalised: the request is refused.
    pub fn replace_path(&mut self, path: &str) -> Result<(), RequestError> {
        if path.is_empty() {
            self.path = PathText::Own(Box::default());
            return Ok(());
        }
        self.set_path(crate::path::rewritten(path, self.path_options, true))
    }

    fn set_path(&mut self, path: Result<String, PathError>) -> Result<(), RequestError> {
        self.path = PathText::Own(path.map_err(RequestError::RewrittenPath)?.into());
        Ok(())
    }
}

/// What the request half of a middleware decides.
#[derive(Debug)]
pub enum Flow {
    /// On to the next; what its response half needs is kept.
    Next(Kept),
    /// This is the answer.
    Answer(Box<Response<ResponseBody>>),
    /// The request is refused with this error.
    Refuse(RequestError),
    /// The middleware's `Middleware::resume` decides by what this comes to.
    Later(Later),
}

/// Something that takes time before a middleware can decide. Dropping it gives it up.
pub struct Later(Pin<Box<dyn Future<Output = bool>>>);

impl Later {
    pub(crate) fn new(waited_for: impl Future<Output = bool> + 'static) -> Self {
        Self(Box::pin(waited_for))
    }
}

impl Future for Later {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        self.0.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Later")
    }
}

/// What a middleware keeps from the request for the answer.
#[derive(Debug, Default)]
pub enum Kept {
    /// Nothing.
    #[default]
    Nothing,
    /// `headers`: the Origin, and whether the request came over TLS.
    Headers {
        /// The value of Origin.
        origin: Option<Box<HeaderValue>>,
        /// The client's side is TLS.
        secure: bool,
    },
    /// `inFlightReq`: the place taken, given up when the exchange ends.
    Place(in_flight_req::Place),
}

impl Middleware {
    /// Compiles a list of qualified names for one router or service (`owner`): chains are flattened, kinds with state are bound
    /// to the owner. State of an owner that had it before is kept.
    ///
    /// # Errors
    /// A name that leads nowhere, or a chain without end.
    pub fn compile(
        names: &[Arc<str>],
        templates: &dyn Fn(&str) -> Option<Arc<Template>>,
        owner: &str,
        states: &PolicyStates,
    ) -> Result<Box<[Self]>, CompileError> {
        let mut out = Vec::with_capacity(names.len());
        let mut waiting: Vec<Arc<str>> = names.iter().rev().map(Arc::clone).collect();
        let mut visited = 0;
        while let Some(name) = waiting.pop() {
            visited += 1;
            if visited > CHAIN_LENGTH_MAX {
                return Err(CompileError::ChainLength(name));
            }
            let template = templates(&name).ok_or_else(|| CompileError::Missing(Arc::clone(&name)))?;
            match &*template {
                Template::Shared(middleware) => out.push(middleware.clone()),
                Template::InFlightReq(settings) => {
                    out.push(Self::InFlightReq(Arc::new(in_flight_req::InFlightReq::bind(
                        settings, owner, &name, states,
                    ))));
                }
                Template::RateLimit(settings) => {
                    let limit = rate_limit::RateLimit::bind(settings, owner, &name, states);
                    out.push(Self::RateLimit(Arc::new(limit)));
                }
                Template::Chain(members) => waiting.extend(members.iter().rev().map(Arc::clone)),
            }
        }
        Ok(out.into())
    }

    /// The request half.
    pub(crate) fn request(&self, head: &mut Head<'_>) -> Flow {
        match self {
            Self::Headers(middleware) => middleware.request(head),
            Self::AddPrefix(middleware) => middleware.request(head),
            Self::StripPrefix(middleware) => middleware.request(head),
            Self::StripPrefixRegex(middleware) => middleware.request(head),
            Self::ReplacePath(middleware) => middleware.request(head),
            Self::ReplacePathRegex(middleware) => middleware.request(head),
            Self::EncodedCharacters(middleware) => middleware.request(head),
            Self::RedirectRegex(middleware) => middleware.request(head),
            Self::IpAllowList(middleware) => middleware.request(head),
            Self::RedirectScheme(middleware) => middleware.request(head),
            Self::InFlightReq(middleware) => middleware.request(head),
            Self::RateLimit(middleware) => middleware.request(head),
            Self::BasicAuth(middleware) => middleware.request(head),
            Self::ContentType => Flow::Next(Kept::Nothing),
        }
    }

    /// Goes on with what a [`Flow::Later`] of this middleware came to.
    pub(crate) fn resume(&self, head: &mut Head<'_>, outcome: bool) -> Flow {
        match self {
            Self::BasicAuth(middleware) => middleware.resume(head, outcome),
            _ => Flow::Next(Kept::Nothing),
        }
    }

    /// The response half; returns what must live until the exchange ends.
    pub(crate) fn response(
        &self,
        kept: Kept,
        response: &mut Response<ResponseBody>,
    ) -> Option<in_flight_req::Place> {
        match (self, kept) {
            (Self::Headers(middleware), Kept::Headers { origin, secure }) => {
                middleware.response(origin.as_deref(), secure, response);
                None
            }
            (_, Kept::Place(place)) => Some(place),
            _ => None,
        }
    }
}

impl Template {
    /// Compiles the middleware object of this qualified name.
    ///
    /// # Errors
    /// No kind, several kinds, a kind that does not work yet, values that its constructor refuses.
    pub fn compile(name: &str, config: &dynamic::Middleware) -> Result<Self, CompileError> {
        if let Some(kind) = config.other.keys().next() {
            return Err(CompileError::Unsupported(kind.clone()));
        }
        let mut found = Vec::with_capacity(1);
        if let Some(chain) = &config.chain {
            found.push(Self::Chain(
                chain.middlewares.iter().map(|reference| qualify(reference, name)).collect(),
            ));
        }
        if let Some(settings) = &config.in_flight_req {
            found.push(Self::InFlightReq(Arc::new(in_flight_req::Settings::compile(settings)?)));
        }
        if let Some(settings) = &config.rate_limit {
            if settings.redis.is_some() {
                return Err(CompileError::Unsupported("rateLimit.redis".to_owned()));
            }
            found.push(Self::RateLimit(Arc::new(rate_limit::Settings::compile(settings)?)));
        }
        if let Some(kind) = &config.content_type {
            // Switched off, it is a chain of nothing.
            let off = kind.auto_detect == Some(false);
            found.push(if off { Self::Chain(Box::default()) } else { Self::Shared(Middleware::ContentType) });
        }
        found.extend(shared(config)?.into_iter().map(Self::Shared));
        match (found.pop(), found.is_empty()) {
            (None, _) => Err(CompileError::NoKind),
            (Some(template), true) => Ok(template),
            (Some(_), false) => Err(CompileError::SeveralKinds),
        }
    }
}

/// The kinds of an object that are the same for every router that uses it.
fn shared(config: &dynamic::Middleware) -> Result<Vec<Middleware>, CompileError> {
    let mut found = Vec::new();
    let mut add = |middleware: Middleware| found.push(middleware);
    if let Some(kind) = &config.headers {
        add(Middleware::Headers(Arc::new(headers::Headers::compile(kind)?)));
    }
    if let Some(kind) = &config.add_prefix {
        add(Middleware::AddPrefix(Arc::new(add_prefix::AddPrefix::compile(kind)?)));
    }
    if let Some(kind) = &config.strip_prefix {
        add(Middleware::StripPrefix(Arc::new(strip_prefix::StripPrefix::compile(kind))));
    }
    if let Some(kind) = &config.strip_prefix_regex {
        add(Middleware::StripPrefixRegex(Arc::new(strip_prefix_regex::StripPrefixRegex::compile(kind)?)));
    }
    if let Some(kind) = &config.replace_path {
        add(Middleware::ReplacePath(Arc::new(replace_path::ReplacePath::compile(kind)?)));
    }
    if let Some(kind) = &config.replace_path_regex {
        add(Middleware::ReplacePathRegex(Arc::new(replace_path::ReplacePathRegex::compile(kind)?)));
    }
    if let Some(kind) = &config.encoded_characters {
        add(Middleware::EncodedCharacters(Arc::new(encoded_characters::EncodedCharacters::compile(kind))));
    }
    if let Some(kind) = &config.redirect_scheme {
        add(Middleware::RedirectScheme(Arc::new(redirect_scheme::RedirectScheme::compile(kind)?)));
    }
    if let Some(kind) = &config.redirect_regex {
        add(Middleware::RedirectRegex(Arc::new(redirect_regex::RedirectRegex::compile(kind)?)));
    }
    if let Some(kind) = &config.basic_auth {
        add(Middleware::BasicAuth(Arc::new(basic_auth::BasicAuth::compile(kind)?)));
    }
    for kind in [&config.ip_allow_list, &config.ip_white_list].into_iter().flatten() {
        add(Middleware::IpAllowList(Arc::new(ip_allow_list::IpAllowList::compile(kind)?)));
    }
    Ok(found)
}

/// A reference as seen from an object: without `@provider` it means the object's own provider.
pub fn qualify(reference: &str, owner: &str) -> Arc<str> {
    match (reference.contains('@'), owner.rsplit_once('@')) {
        (false, Some((_, provider))) => format!("{reference}@{provider}").into(),
        _ => reference.into(),
    }
}

/// A text that Go's `http.Error` would have written, as a `Flow`.
pub(crate) fn answer(response: Response<ResponseBody>) -> Flow {
    Flow::Answer(Box::new(response))
}

/// Joined values of a configured list, or `None` if there are none.
pub(crate) fn joined(option: &'static str, values: &[String]) -> Result<Option<HeaderValue>, CompileError> {
    if values.is_empty() {
        return Ok(None);
    }
    field_value(option, &values.join(",")).map(Some)
}

/// A configured text as a field value.
pub(crate) fn field_value(option: &'static str, text: &str) -> Result<HeaderValue, CompileError> {
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(text.trim().as_bytes()))
        .map_err(|error| CompileError::Value { option, reason: format!("{text:?}: {error}") })
}

#[cfg(test)]
pub(crate) mod tests;
