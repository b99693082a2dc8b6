//! The way of a request: one function that reads from top to bottom. Every step is one call into the module that owns it; no
//! step is done twice, and nothing before the router decides by anything but the canonical host, the normalised path and the
//! admitted fields.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONNECTION, COOKIE, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use ravelin_config::rule::{HeaderLookup, RequestFacts};

use crate::body::{RequestBody, ResponseBody};
use crate::connection::{ClientBody, ConnectionFacts, Protocol, RawTarget, TlsFacts};
use crate::error::{RequestError, bare};
use crate::exchange::Exchange;
use crate::forwarded::{self, Origin, Present};
use crate::limits::EntryPointPolicy;
use crate::middleware::{Head, PathText};
use crate::path::{self, PathError};
use crate::table::{EntryPointTable, Route, Table};

mod journey;
mod log;
mod mirror;
mod services;
mod state;

use journey::{Journey, Stage};
use log::{begin, finish, note_entry_point, note_route};
pub use state::{Shared, State};

/// Answers one request, which has the fields that are `present`, by one table, which the caller keeps alive. Never fails: every error is an answer. Dropping the future
/// abandons the request, upstream too.
pub async fn answer(
    state: &State,
    table: &Table,
    connection: &Rc<ConnectionFacts>,
    present: Present,
    request: Request<ClientBody>,
) -> Response<ResponseBody> {
    let (mut parts, incoming) = parts_of(request, present);
    let mut host = take_host(&mut parts);
    let mut exchange = begin(state, table, connection, &parts, host.as_ref());
    let mut body = RequestBody::new(incoming);
    let served = serve(state, table, connection, &mut exchange, (&mut parts, present), &mut host, &mut body);
    let mut response = match served.await {
        Ok(response) => response,
        Err(error) => refuse(connection, error),
    };
    if connection.protocol == Protocol::Http2 {
        response.headers_mut().remove(CONNECTION);
    }
    finish(&mut exchange, &mut response);
    if exchange.matters() {
        response.body_mut().bind(exchange);
    }
    response
}

/// A function of its own, as what is looked at here would stay with the request.
fn parts_of(request: Request<ClientBody>, present: Present) -> (Parts, ClientBody) {
    debug_assert_eq!(present, Present::of_client(request.headers()), "whoever read the head saw its fields");
    request.into_parts()
}

/// The Host field. Over HTTP/1 it stays among the others, as it is mostly forwarded unchanged; nothing on the way looks at it there.
fn take_host(parts: &mut Parts) -> Option<HeaderValue> {
    if parts.version > Version::HTTP_11 || parts.uri.authority().is_some() {
        return parts.headers.remove(HOST);
    }
    let mut values = parts.headers.get_all(HOST).iter();
    let (first, second) = (values.next().cloned(), values.next());
    if second.is_some() {
        parts.headers.remove(HOST);
    }
    first
}

async fn serve(
    state: &State,
    table: &Table,
    connection: &Rc<ConnectionFacts>,
    exchange: &mut Exchange,
    (parts, present): (&mut Parts, Present),
    host_field: &mut Option<HeaderValue>,
    body: &mut RequestBody,
) -> Result<Response<ResponseBody>, RequestError> {
    let Some(entry_point) = table.entry_point(&connection.entry_point) else {
        return Err(RequestError::NoRoute);
    };
    let policy = &*entry_point.policy;
    note_entry_point(exchange, entry_point);
    if is_asterisk_options(parts) {
        return Ok(bare(StatusCode::OK, ""));
    }
    check_head(parts, present)?;
    let host_value = host_of(parts, host_field.take())?;
    let host = crate::host::canonical(host_value.to_str().map_err(|_| RequestError::BadHost)?)
        .map_err(|_| RequestError::BadHost)?;
    let path = match path::normalise(parts.uri.path(), policy.path)? {
        Cow::Borrowed(_) => PathText::Original(parts.uri.clone()),
        Cow::Owned(path) => PathText::Own(path.into()),
    };
    let peer_value = state.peer_value(connection.peer.ip());
    let origin = Origin {
        peer: connection.peer.ip(),
        peer_value: &peer_value,
        tls: connection.tls.is_some(),
        server: &state.shared.server,
    };
    settle_protocol(parts, present);
    policy.forwarded.admit(&mut parts.headers, present, Some(&host_value), host.port, origin)?;
    let query = routing_query(parts.uri.query(), policy);
    let facts = RequestFacts {
        host: &host.name,
        path: path.as_str(),
        method: parts.method.as_str(),
        query: query.as_deref().unwrap_or_default(),
        client_ip: Some(connection.peer.ip()),
        headers: &Fields(&parts.headers),
    };
    let route = entry_point.route(connection.tls.is_some(), &facts);
    note_route(exchange, route.map(|route| &**route), policy);
    let route = route.ok_or(RequestError::NoRoute)?;
    if let Some(tls) = &connection.tls {
        check_connection(table, entry_point, route, &host.name, tls, &connection.outdated)?;
    }
    let mut head = Head {
        method: &parts.method,
        headers: &mut parts.headers,
        present: present.and(Present::FORWARDING),
        path,
        query: parts.uri.query(),
        host: host_value.clone(),
        tls: connection.tls.is_some(),
        client: connection.peer.ip(),
        path_options: policy.path,
        omit_forwarded_for: false,
        user: None,
        body,
        target: &parts.uri,
        certificates: connection.tls.as_ref().map_or(&[], |tls| &tls.client_certificates),
    };
    let asked = (&*host.name, query.as_deref());
    let mut journey = Journey::new(state, table, connection, policy, origin, asked, exchange);
    Ok(journey.run(&mut head, Stage::Router(route)).await)
}

/// The fields as rules see them.
struct Fields<'h>(&'h HeaderMap);

impl HeaderLookup for Fields<'_> {
    fn any_value(&self, name: &str, accept: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        // As in Traefik the Host is no field.
        !name.eq_ignore_ascii_case(HOST.as_str())
            && self.0.get_all(name).iter().any(|value| accept(value.as_bytes()))
    }
}

/// Whether a request may come over this connection: the handshake must have asked for what the host's and the router's TLS
/// options ask for in this table. Connections outlive tables: one whose own name has other options by now is outdated, and ends.
fn check_connection(
    table: &Table,
    entry_point: &EntryPointTable,
    route: &Route,
    host: &str,
    tls: &TlsFacts,
    outdated: &Cell<bool>,
) -> Result<(), RequestError> {
    let is_own = tls.sni.as_deref() == Some(host);
    if !is_own || tls.settled.get() != table.number {
        let own = tls.sni.as_deref().unwrap_or_default();
        // As in Traefik another host's options are others by their name already.
        let is_same = is_own || entry_point.tls_options(host) == entry_point.tls_options(own);
        if !is_same || table.demands(entry_point, host) != Some(tls.demands) {
            outdated.set(is_own || table.demands(entry_point, own) != Some(tls.demands));
            return Err(RequestError::Misdirected);
        }
        if is_own {
            tls.settled.set(table.number);
        }
    }
    if table.asks_more(route, tls.demands) { Err(RequestError::Misdirected) } else { Ok(()) }
}

/// What is refused whatever the route.
fn check_head(parts: &Parts, present: Present) -> Result<(), RequestError> {
    check_target(parts)?;
    if present.any(Present::EXPECT) {
        check_expectation(&parts.headers)?;
    }
    if present.any(Present::TRAILER) {
        forwarded::check_trailer(&parts.headers)?;
    }
    Ok(())
}

/// Takes out what only the client's connection means, and brings cookies into their one form.
fn settle_protocol(parts: &mut Parts, present: Present) {
    if present.any(Present::TRANSFER_ENCODING) {
        parts.headers.remove(TRANSFER_ENCODING);
    }
    if present.any(Present::UPGRADE) {
        forwarded::forbid_switching(&mut parts.headers, parts.version);
    }
    if parts.version == Version::HTTP_2 {
        join_cookies(&mut parts.headers);
    }
}

/// `OPTIONS *` is a question to the proxy itself.
fn is_asterisk_options(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS && parts.uri.path() == "*"
}

/// The forms of a target that are served: origin-form, and absolute-form of http and https.
fn check_target(parts: &Parts) -> Result<(), RequestError> {
    if parts.method == Method::CONNECT {
        return Err(RequestError::Connect);
    }
    if parts.extensions.get::<RawTarget>().is_some() {
        return Err(PathError::Fragment.into());
    }
    let served = match (parts.uri.scheme_str(), parts.uri.authority()) {
        (None, None) => true,
        (Some("http" | "https"), Some(authority)) => !authority.as_str().contains('@'),
        _ => false,
    };
    if served && parts.uri.path() != "*" { Ok(()) } else { Err(RequestError::BadRequest) }
}

fn check_expectation(headers: &HeaderMap) -> Result<(), RequestError> {
    let known =
        |value: &HeaderValue| value.is_empty() || value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(EXPECT).iter().all(known) { Ok(()) } else { Err(RequestError::Expectation) }
}

/// The Host that routes and is forwarded: the target's authority if it has one (over HTTP/2 they must agree), else the field. An
/// absent one is the empty value, which HTTP/1.0 clients may send.
fn host_of(parts: &Parts, field: Option<HeaderValue>) -> Result<HeaderValue, RequestError> {
    let Some(authority) = parts.uri.authority() else {
        return match field {
            Some(field) => Ok(field),
            None if parts.version == Version::HTTP_10 => Ok(HeaderValue::from_static("")),
            None => Err(RequestError::BadHost),
        };
    };
    if let Some(field) = field
        && parts.version == Version::HTTP_2
        && !field.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
    {
        return Err(RequestError::BadHost);
    }
    HeaderValue::from_str(authority.as_str()).map_err(|_| RequestError::BadHost)
}

/// HTTP/2 clients may send a cookie in crumbs; servers of HTTP/1.1 expect one field (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Field values joined by printable bytes are a field value.
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}

/// The query as rules see it and servers get it: a semicolon separates pairs like an ampersand, or is data.
pub(crate) fn routing_query<'u>(query: Option<&'u str>, policy: &EntryPointPolicy) -> Option<Cow<'u, str>> {
    let query = query?;
    Some(match (query.contains(';'), policy.encode_query_semicolons) {
        (false, _) => Cow::Borrowed(query),
        (true, true) => Cow::Owned(query.replace(';', "%3B")),
        (true, false) => Cow::Owned(query.replace(';', "&")),
    })
}

fn router_in_error(route: &Route, reason: &Arc<str>) -> RequestError {
    RequestError::RouterInError { router: Arc::clone(route.name()), reason: Arc::clone(reason) }
}

/// Turns an error into its answer, and says in the log what the client is not told.
fn refuse(connection: &ConnectionFacts, error: RequestError) -> Response<ResponseBody> {
    let source = std::error::Error::source(&error).map(ToString::to_string);
    tracing::debug!(connection = connection.id, side = ?error.side(), cause = source, "request refused: {error}");
    error.into_response()
}

#[cfg(test)]
mod tests;
