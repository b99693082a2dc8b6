//! Middlewares as the request path runs them: one kind per file, all kinds in the one table below. A chain runs its request
//! halves in order until one answers, and the answer passes the response halves of those that were passed, in reverse.
//! Nothing here forwards a request.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response};
use ravelin_config::dynamic;

use crate::body::ResponseBody;
use crate::forwarded::PolicyError;
use crate::service::Service;
use crate::upstream::{TransportError, UpstreamRegistry, UrlError};

pub mod add_prefix;
pub mod basic_auth;
pub mod buffering;
pub mod circuit_breaker;
pub mod compress;
pub(crate) mod content_type;
pub mod digest_auth;
pub mod encoded_characters;
pub mod errors;
mod flow;
pub mod forward_auth;
pub mod grpc_web;
mod head;
pub mod headers;
pub mod in_flight_req;
pub mod ip_allow_list;
pub mod pass_tls_client_cert;
mod pattern;
pub mod rate_limit;
pub mod redirect_regex;
pub mod redirect_scheme;
pub mod replace_path;
pub mod retry;
pub mod source;
mod states;
pub mod strip_prefix;
pub mod strip_prefix_regex;

pub(crate) use flow::{Again, Attempt, Back, Fetch, Fetched, Flow, Held, Kept, Later, Outcome};
pub(crate) use head::Saved;
pub use head::{Head, PathText};
pub use states::PolicyStates;

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
    /// `circuitBreaker`, bound to one router (or service).
    CircuitBreaker(Arc<circuit_breaker::CircuitBreaker>),
    /// `compress`.
    Compress(Arc<compress::Compress>),
    /// `forwardAuth`.
    ForwardAuth(Arc<forward_auth::ForwardAuth>),
    /// `grpcWeb`.
    GrpcWeb(Arc<grpc_web::GrpcWeb>),
    /// `digestAuth`.
    DigestAuth(Arc<digest_auth::DigestAuth>),
    /// `passTLSClientCert`.
    PassTlsClientCert(Arc<pass_tls_client_cert::PassTlsClientCert>),
    /// `errors`, with its service.
    Errors(Arc<errors::Errors>),
    /// `buffering`.
    Buffering(Arc<buffering::Buffering>),
    /// `retry`.
    Retry(Arc<retry::Retry>),
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
    /// The same.
    CircuitBreaker(Arc<circuit_breaker::Settings>),
    /// It needs a service, which is compiled after it.
    Errors(Arc<errors::Settings>),
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
    /// Services nested deeper than [`crate::service::DEPTH_MAX`].
    #[error("{0} holds services within services more than {max} deep", max = crate::service::DEPTH_MAX)]
    Depth(Arc<str>),
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

impl Middleware {
    /// Compiles a list of qualified names for one router or service (`owner`): chains are flattened, kinds with state are bound
    /// to the owner. State of an owner that had it before is kept.
    ///
    /// # Errors
    /// A name that leads nowhere, or a chain without end.
    pub fn compile(
        names: &[Arc<str>],
        templates: &dyn Fn(&str) -> Option<Arc<Template>>,
        services: &dyn Fn(&str) -> Option<Arc<Service>>,
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
                Template::CircuitBreaker(settings) => {
                    let breaker = circuit_breaker::CircuitBreaker::bind(settings, owner, &name, states);
                    out.push(Self::CircuitBreaker(Arc::new(breaker)));
                }
                Template::Errors(settings) => {
                    let service = services(&settings.service)
                        .ok_or_else(|| CompileError::Missing(Arc::clone(&settings.service)))?;
                    out.push(Self::Errors(Arc::new(settings.bind(service))));
                }
                Template::Chain(members) => waiting.extend(members.iter().rev().map(Arc::clone)),
            }
        }
        Ok(out.into())
    }

    /// What it is, as configurations name it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Headers(_) => "headers",
            Self::AddPrefix(_) => "addPrefix",
            Self::StripPrefix(_) => "stripPrefix",
            Self::StripPrefixRegex(_) => "stripPrefixRegex",
            Self::ReplacePath(_) => "replacePath",
            Self::ReplacePathRegex(_) => "replacePathRegex",
            Self::EncodedCharacters(_) => "encodedCharacters",
            Self::RedirectScheme(_) => "redirectScheme",
            Self::RedirectRegex(_) => "redirectRegex",
            Self::IpAllowList(_) => "ipAllowList",
            Self::InFlightReq(_) => "inFlightReq",
            Self::RateLimit(_) => "rateLimit",
            Self::BasicAuth(_) => "basicAuth",
            Self::ContentType => "contentType",
            Self::Retry(_) => "retry",
            Self::PassTlsClientCert(_) => "passTLSClientCert",
            Self::DigestAuth(_) => "digestAuth",
            Self::ForwardAuth(_) => "forwardAuth",
            Self::GrpcWeb(_) => "grpcWeb",
            Self::Compress(_) => "compress",
            Self::CircuitBreaker(_) => "circuitBreaker",
            Self::Errors(_) => "errors",
            Self::Buffering(_) => "buffering",
        }
    }

    /// The request half.
    pub(crate) fn request(&self, head: &mut Head<'_>) -> Flow {
        #[cfg(test)]
        tests::strike(self.kind(), "request", head.path.as_str());
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
            Self::Retry(middleware) => middleware.request(head),
            Self::Errors(middleware) => middleware.request(),
            Self::PassTlsClientCert(middleware) => middleware.request(head),
            Self::DigestAuth(middleware) => middleware.request(head),
            Self::ForwardAuth(middleware) => middleware.request(head),
            Self::GrpcWeb(middleware) => middleware.request(head),
            Self::Compress(middleware) => middleware.request(head),
            Self::CircuitBreaker(middleware) => middleware.request(),
            Self::Buffering(middleware) => middleware.request(head),
            Self::ContentType => Flow::Next(Kept::Nothing),
        }
    }

    /// Goes on with what a [`Flow::Later`] of this middleware came to.
    pub(crate) fn resume(&self, head: &mut Head<'_>, outcome: Outcome) -> Flow {
        match (self, outcome) {
            (Self::BasicAuth(middleware), Outcome::Verdict(right)) => middleware.resume(head, right),
            (Self::ForwardAuth(middleware), Outcome::Body(body)) => middleware.read(head, body),
            (Self::ForwardAuth(middleware), Outcome::Fetched(fetched)) => middleware.resume(head, fetched),
            (Self::Retry(middleware), Outcome::Body(body)) => middleware.resume(head, body),
            (Self::Buffering(middleware), Outcome::Body(body)) => middleware.resume(head, body),
            _ => Flow::Next(Kept::Nothing),
        }
    }

    /// The response half. `head` is the request as it went on.
    pub(crate) fn response(
        &self,
        kept: Kept,
        response: &mut Response<ResponseBody>,
        attempt: Attempt,
        head: &Head<'_>,
    ) -> Back {
        #[cfg(test)]
        tests::strike(self.kind(), "response", head.path.as_str());
        match (self, kept) {
            (Self::Headers(middleware), Kept::Headers { origin, secure }) => {
                middleware.response(origin.as_deref(), secure, response);
                Back::Pass
            }
            (Self::Retry(middleware), Kept::Retry(left)) => middleware.response(left, response, attempt),
            (Self::Compress(middleware), Kept::Compress(chosen)) => {
                middleware.response(chosen, response);
                Back::Pass
            }
            (Self::ForwardAuth(middleware), Kept::Cookies(cookies)) => {
                middleware.response(&cookies, response);
                Back::Pass
            }
            (Self::GrpcWeb(_), Kept::GrpcWeb(asked)) => {
                grpc_web::response(*asked, response);
                Back::Pass
            }
            (Self::CircuitBreaker(_), Kept::Observation(mut observation)) => {
                observation.status = Some(response.status());
                Back::Hold(Held::Observation { _observation: observation })
            }
            (Self::ContentType, _) => content_type::response(response),
            (Self::Errors(middleware), Kept::Errors) => middleware.response(response, head),
            (Self::Buffering(middleware), Kept::Buffering(whole)) => middleware.response(whole, response),
            (_, Kept::Place(place)) => Back::Hold(Held::Place { _place: place }),
            _ => Back::Pass,
        }
    }
}

impl Template {
    /// Compiles the middleware object of this qualified name. `upstreams` are the process's servers.
    ///
    /// # Errors
    /// No kind, several kinds, a kind that does not work yet, values that its constructor refuses.
    pub fn compile(
        name: &str,
        config: &dynamic::Middleware,
        upstreams: &UpstreamRegistry,
    ) -> Result<Self, CompileError> {
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
        if let Some(settings) = &config.circuit_breaker {
            found.push(Self::CircuitBreaker(Arc::new(circuit_breaker::Settings::compile(settings)?)));
        }
        if let Some(settings) = &config.errors {
            found.push(Self::Errors(Arc::new(errors::Settings::compile(name, settings)?)));
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
        if let Some(settings) = &config.forward_auth {
            let kind = forward_auth::ForwardAuth::compile(settings, upstreams)?;
            found.push(Self::Shared(Middleware::ForwardAuth(Arc::new(kind))));
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
    if let Some(kind) = &config.buffering {
        add(Middleware::Buffering(Arc::new(buffering::Buffering::compile(kind)?)));
    }
    if let Some(kind) = &config.compress {
        add(Middleware::Compress(Arc::new(compress::Compress::compile(kind)?)));
    }
    if let Some(kind) = &config.digest_auth {
        add(Middleware::DigestAuth(Arc::new(digest_auth::DigestAuth::compile(kind)?)));
    }
    if let Some(kind) = &config.grpc_web {
        add(Middleware::GrpcWeb(Arc::new(grpc_web::GrpcWeb::compile(kind))));
    }
    if let Some(kind) = &config.pass_tls_client_cert {
        let compiled = pass_tls_client_cert::PassTlsClientCert::compile(kind);
        add(Middleware::PassTlsClientCert(Arc::new(compiled)));
    }
    if let Some(kind) = &config.retry {
        add(Middleware::Retry(Arc::new(retry::Retry::compile(kind)?)));
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
