//! The one header policy: which fields of a client reach anyone behind this proxy, and which are ours. It runs once before
//! routing (`admit`) and once before a request is sent (`dispatch`); nothing else adds or removes forwarding or hop-by-hop
//! fields. It reads no body and chooses no route.

use std::net::IpAddr;

use http::Version;
use http::header::{
    CONNECTION, Entry, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use ipnet::IpNet;
use ravelin_config::static_config::{EntryPoint, UnderscoreHeaders};

use crate::error::RequestError;

pub(crate) mod present;

pub use present::Present;

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub(crate) const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_FORWARDED_SERVER: HeaderName = HeaderName::from_static("x-forwarded-server");
pub(crate) const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Fields that belong to one connection, never passed on. `TE`, `Trailer` and `Upgrade` are handled on their own.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    http::header::PROXY_AUTHENTICATE,
    http::header::PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
];

/// Fields that a `Connection` field cannot take away: framing, routing, credentials and content (removing them would change
/// what the request means), and ours.
const IMMUNE: [&str; 12] = [
    "host",
    "content-length",
    "transfer-encoding",
    "content-type",
    "content-encoding",
    "authorization",
    "cookie",
    "set-cookie",
    "trailer",
    "te",
    "upgrade",
    "x-real-ip",
];

/// Fields that are written to a usual request: ours, and one of a middleware.
const FIELDS_ADDED: usize = 7;

/// What one entry point believes and passes on.
#[derive(Clone, Debug, Default)]
pub struct ForwardedPolicy {
    insecure: bool,
    trusted: Box<[IpNet]>,
    connection: Box<[HeaderName]>,
    append_client: bool,
    underscores: Underscores,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Underscores {
    Keep,
    #[default]
    Drop,
    Reject,
}

/// Why an entry point's policy cannot be used. The control plane has checked it before; here it only stops a table.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Neither an address nor a network.
    #[error("{0:?} is neither an address nor a network")]
    Network(String),
    /// Not a field name.
    #[error("{0:?} is no header name")]
    FieldName(String),
}

/// What `admit` and `dispatch` need to know of the request's connection.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The peer's address.
    pub peer: IpAddr,
    /// The peer's address as a field value.
    pub peer_value: &'a HeaderValue,
    /// It came over TLS.
    pub tls: bool,
    /// This host's name.
    pub server: &'a HeaderValue,
}

impl ForwardedPolicy {
    /// From an entry point's configuration. `append_client` is false if `global.notAppendXForwardedFor` is set.
    pub fn compile(entry_point: &EntryPoint, append_client: bool) -> Result<Self, PolicyError> {
        let section = &entry_point.forwarded_headers;
        let trusted = section.trusted_ips.iter().map(|text| network(text)).collect::<Result<_, _>>()?;
        let connection = section
            .connection
            .iter()
            .map(|name| name.parse().map_err(|_| PolicyError::FieldName(name.clone())))
            .collect::<Result<_, _>>()?;
        let underscores = match entry_point.http.underscore_headers_strategy {
            None | Some(UnderscoreHeaders::Delete) => Underscores::Drop,
            Some(UnderscoreHeaders::Keep) => Underscores::Keep,
            Some(UnderscoreHeaders::Reject) => Underscores::Reject,
        };
        let append_client = append_client && !section.not_append_x_forwarded_for;
        Ok(Self { insecure: section.insecure, trusted, connection, append_client, underscores })
    }

    /// Whether forwarding fields of this peer are believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.insecure || self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// Before routing: drops what the client may not say, then writes our own fields. `X-Forwarded-For` is written by
    /// [`ForwardedPolicy::dispatch`], so that rules do not see it. `host` is the Host value as the client sent it.
    pub(crate) fn admit(
        &self,
        headers: &mut HeaderMap,
        present: Present,
        host: Option<&HeaderValue>,
        port: Option<u16>,
        origin: Origin<'_>,
    ) -> Result<(), RequestError> {
        let trusted = self.trusts(origin.peer);
        if present.any(Present::UNDERSCORE) || (!trusted && present.any(Present::FORWARDING)) {
            self.drop_unwanted(headers, trusted)?;
        }
        // At once, in place of twice where a client sends few.
        headers.reserve(FIELDS_ADDED);
        // Before ours are written, so that ours survive.
        drop_listed(headers, present, &self.connection);
        if trusted && present.any(Present::FORWARDING) {
            write_unsaid(headers, present, host, port, origin);
        } else {
            write_all(headers, present, host, port, origin);
        }
        Ok(())
    }

    /// What a server is told where a client sent these fields and no middleware changed any: `admit`, then
    /// `dispatch`. For checks of the policy as a whole.
    ///
    /// # Errors
    /// A field name with an underscore where those are refused.
    pub fn told(
        &self,
        mut headers: HeaderMap,
        host: &HeaderValue,
        port: Option<u16>,
        origin: Origin<'_>,
    ) -> Result<HeaderMap, RequestError> {
        let present = Present::of_client(&headers);
        self.admit(&mut headers, present, Some(host), port, origin)?;
        let present = Present::of(&headers);
        self.dispatch(&mut headers, present, origin, false);
        Ok(headers)
    }

    fn drop_unwanted(&self, headers: &mut HeaderMap, trusted: bool) -> Result<(), RequestError> {
        let mut unwanted = smallvec::SmallVec::<[HeaderName; 8]>::new();
        for name in headers.keys() {
            let underscored = name.as_str().as_bytes().contains(&b'_');
            if underscored && self.underscores == Underscores::Reject {
                return Err(RequestError::UnderscoreField);
            }
            let dropped = underscored
                && (self.underscores == Underscores::Drop || (!trusted && is_alias(name.as_str())));
            if dropped || (!trusted && is_forwarding(name.as_str())) {
                unwanted.push(name.clone());
            }
        }
        for name in unwanted {
            headers.remove(name);
        }
        Ok(())
    }

    /// Before sending: appends the client's address (unless a middleware took the field away), then removes every field of
    /// this hop. Returns the protocol asked for if the request wants to switch protocols.
    pub(crate) fn dispatch(
        &self,
        headers: &mut HeaderMap,
        present: Present,
        origin: Origin<'_>,
        omit_forwarded_for: bool,
    ) -> Option<HeaderValue> {
        let upgrade = if present.any(Present::UPGRADE) { requested_upgrade(headers) } else { None };
        strip_hop_by_hop(headers, present);
        if !omit_forwarded_for && self.append_client {
            if present.any(Present::X_FORWARDED_FOR) {
                append_client(headers, origin.peer_value);
            } else {
                headers.insert(X_FORWARDED_FOR, origin.peer_value.clone());
            }
        }
        if let Some(protocol) = &upgrade {
            const UPGRADE_VALUE: HeaderValue = HeaderValue::from_static("Upgrade");
            headers.insert(CONNECTION, UPGRADE_VALUE);
            headers.insert(UPGRADE, protocol.clone());
        }
        upgrade
    }
}

/// Removes what `Connection` names, save what `kept` holds and what it cannot take away.
fn drop_listed(headers: &mut HeaderMap, present: Present, kept: &[HeaderName]) {
    if !present.any(Present::LISTING) {
        return;
    }
    for name in listed(headers) {
        if !is_immune(name.as_str()) && !kept.contains(&name) {
            headers.remove(name);
        }
    }
}

/// Writes our fields where the client, who is believed, left them out.
fn write_unsaid(
    headers: &mut HeaderMap,
    present: Present,
    host: Option<&HeaderValue>,
    port: Option<u16>,
    origin: Origin<'_>,
) {
    let proto = proto_value(headers, present, origin.tls);
    insert_if_blank(headers, X_REAL_IP, || Some(origin.peer_value.clone()));
    insert_if_blank(headers, X_FORWARDED_PROTO, || Some(proto));
    let secure = origin.tls
        || headers.get(X_FORWARDED_PROTO).is_some_and(|proto| matches!(proto.as_bytes(), b"https" | b"wss"));
    insert_if_blank(headers, X_FORWARDED_PORT, || Some(port_value(port, secure)));
    insert_if_blank(headers, X_FORWARDED_HOST, || host.filter(|host| !host.is_empty()).cloned());
    headers.insert(X_FORWARDED_SERVER, origin.server.clone());
}

/// Writes our fields where none of them can be there.
fn write_all(
    headers: &mut HeaderMap,
    present: Present,
    host: Option<&HeaderValue>,
    port: Option<u16>,
    origin: Origin<'_>,
) {
    let proto = proto_value(headers, present, origin.tls);
    headers.insert(X_REAL_IP, origin.peer_value.clone());
    headers.insert(X_FORWARDED_PROTO, proto);
    headers.insert(X_FORWARDED_PORT, port_value(port, origin.tls));
    if let Some(host) = host.filter(|host| !host.is_empty()) {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
    headers.insert(X_FORWARDED_SERVER, origin.server.clone());
}

fn proto_value(headers: &HeaderMap, present: Present, tls: bool) -> HeaderValue {
    let web_socket = present.any(Present::UPGRADE) && is_web_socket(headers);
    HeaderValue::from_static(match (tls, web_socket) {
        (false, false) => "http",
        (true, false) => "https",
        (false, true) => "ws",
        (true, true) => "wss",
    })
}

/// Removes the fields of one hop from a request or an answer, with all that `Connection` names. `Te: trailers` stays, as does
/// `Trailer`, which announces fields of the body.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap, present: Present) {
    if !present.any(Present::HOP_BY_HOP) {
        return;
    }
    drop_listed(headers, present, &[]);
    if present.any(Present::CONNECTION) {
        headers.remove(CONNECTION);
    }
    if present.any(Present::TRANSFER_ENCODING) {
        headers.remove(TRANSFER_ENCODING);
    }
    let trailers = present.any(Present::TE) && headers.get_all(TE).iter().any(accepts_trailers);
    if present.any(Present::KEEP_ALIVE) || present.any(Present::PROXY_HOP) {
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
    }
    if present.any(Present::UPGRADE) {
        headers.remove(UPGRADE);
    }
    if present.any(Present::TE) && headers.remove(TE).is_some() && trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes the fields of one hop from an answer. There `Te` means nothing, and `Trailer` goes as Traefik does with answers
/// that carry no body framed in chunks; `keep_trailer` says that one does.
pub(crate) fn strip_answer(headers: &mut HeaderMap, present: Present, keep_trailer: bool) {
    strip_hop_by_hop(headers, present);
    if present.any(Present::TE) {
        headers.remove(TE);
    }
    if !keep_trailer && present.any(Present::TRAILER) {
        headers.remove(TRAILER);
    }
}

/// Refuses a `Trailer` that announces a framing field.
///
/// # Errors
/// [`RequestError::Trailer`].
pub fn check_trailer(headers: &HeaderMap) -> Result<(), RequestError> {
    let framing = |value: &HeaderValue| {
        let names = value.to_str().unwrap_or_default();
        names
            .split(',')
            .map(str::trim)
            .any(|name| FRAMING.iter().any(|known| name.eq_ignore_ascii_case(known)))
    };
    if headers.get_all(TRAILER).iter().any(framing) { Err(RequestError::Trailer) } else { Ok(()) }
}

const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "trailer"];

/// Drops the fields of a request's trailer section that could be taken for fields of its head: framing, routing, credentials,
/// content, what proxies say of the client, and names with an underscore.
pub fn admit_trailers(trailers: &mut HeaderMap) {
    let unwanted: smallvec::SmallVec<[HeaderName; 4]> = trailers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            is_immune(name)
                || is_forwarding(name)
                || name.contains('_')
                || HOP_BY_HOP.iter().any(|hop| hop.as_str() == name)
        })
        .cloned()
        .collect();
    for name in unwanted {
        trailers.remove(name);
    }
}

/// Takes away what may not become a change of protocol: HTTP/1.0 has none (RFC 9110, 7.8), and `h2c` would let a client speak to
/// the server past every rule here.
pub fn forbid_switching(headers: &mut HeaderMap, version: Version) {
    const SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
    let Some(asked) = headers.get(UPGRADE) else { return };
    let h2c = asked
        .as_bytes()
        .split(|&byte| byte == b',')
        .any(|name| name.trim_ascii().eq_ignore_ascii_case(b"h2c"));
    if h2c || version != Version::HTTP_11 {
        headers.remove(UPGRADE);
        headers.remove(SETTINGS);
    }
}

/// The value of `Upgrade` if `Connection` names it.
pub fn requested_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(UPGRADE)?;
    names_upgrade(headers).then(|| value.clone())
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"))
}

fn is_web_socket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && names_upgrade(headers)
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

fn listed(headers: &HeaderMap) -> smallvec::SmallVec<[HeaderName; 4]> {
    tokens(headers).filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok()).collect()
}

fn is_immune(name: &str) -> bool {
    IMMUNE.contains(&name) || name.starts_with("x-forwarded-")
}

/// Fields by which proxies tell each other who the client is and what it asked for.
fn is_forwarding(name: &str) -> bool {
    Present::named(name.as_bytes()).any(Present::FORWARDING)
}

fn is_alias(name: &str) -> bool {
    is_forwarding(&name.replace('_', "-"))
}

fn accepts_trailers(value: &HeaderValue) -> bool {
    value
        .to_str()
        .is_ok_and(|text| text.split(',').any(|token| token.trim().eq_ignore_ascii_case("trailers")))
}

/// An absent or empty field counts as unsaid.
fn insert_if_blank(headers: &mut HeaderMap, name: HeaderName, value: impl FnOnce() -> Option<HeaderValue>) {
    if headers.get(&name).is_none_or(HeaderValue::is_empty)
        && let Some(value) = value()
    {
        headers.insert(name, value);
    }
}

fn port_value(port: Option<u16>, secure: bool) -> HeaderValue {
    match (port, secure) {
        (Some(port), _) => HeaderValue::from(port),
        (None, true) => HeaderValue::from_static("443"),
        (None, false) => HeaderValue::from_static("80"),
    }
}

pub(crate) fn append_client(headers: &mut HeaderMap, client: &HeaderValue) {
    match headers.entry(X_FORWARDED_FOR) {
        Entry::Vacant(entry) => {
            entry.insert(client.clone());
        }
        Entry::Occupied(mut entry) => {
            let mut joined = Vec::with_capacity(64);
            for prior in entry.iter() {
                joined.extend_from_slice(prior.as_bytes());
                joined.extend_from_slice(b", ");
            }
            joined.extend_from_slice(client.as_bytes());
            // Both parts were field values; joined by printable bytes they are one.
            if let Ok(value) = HeaderValue::from_bytes(&joined) {
                entry.insert(value);
            }
        }
    }
}

/// An address or a network.
pub(crate) fn network(text: &str) -> Result<IpNet, PolicyError> {
    let text = text.trim();
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| PolicyError::Network(text.to_owned()))
}

/// The Host field's value of a request that has one.
pub fn host_field(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(HOST)
}

#[cfg(test)]
mod tests;
