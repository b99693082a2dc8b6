//! Tells what a table does with a request, and why not something else: `ravelin explain`. It asks the same index and the same rules as
//! a request does, and sends nothing. It must not change what it looks at: no turn is taken, no count goes up.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use ravelin_config::rule::{self, HeaderLookup, RequestFacts, Syntax};
use ravelin_config::static_config::Address;
use ravelin_config::{ConfigMap, GenerationId, Key, Kind, Record, object};
use ravelin_transport::codec;

use crate::compile::{Compiler, Process, Refusal, record, salvaged};
use crate::path;
use crate::request::routing_query;
use crate::service::{Asker, Checks};
use crate::spiffe::Sources;
use crate::table::{EntryPointTable, Outcome, Rank, Ranked, Route, RouteIndex, Table};
use crate::tls::TlsError;

mod text;

/// Routers that lost of which each is told; the rest is counted.
const OTHERS_MAX: usize = 64;
/// Routers one below the other that are followed; the control plane allows no circle.
const CHILDREN_MAX: usize = 64;

/// A request as somebody thinks of it.
#[derive(Clone, Debug)]
pub struct Question {
    /// With scheme and host.
    pub url: Uri,
    /// Its method.
    pub method: Method,
    /// Its fields, by name.
    pub fields: Vec<(String, String)>,
    /// Where it comes from.
    pub client: IpAddr,
    /// Where it comes in; by the URL's port if absent.
    pub entry_point: Option<String>,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The URL has no scheme or host.
    #[error("{0} is no URL of the form http://HOST/PATH or https://HOST/PATH")]
    Url(String),
    /// A method, field or address that is none.
    #[error("{0}")]
    Word(String),
    /// No entry point is at the URL's port, or of the name.
    #[error("no entry point {wanted}; there are: {known}")]
    EntryPoint {
        /// What was looked for.
        wanted: String,
        /// All there are.
        known: String,
    },
    /// No default certificate can be made.
    #[error("no certificate can be generated")]
    Certificate(#[from] TlsError),
    /// The configuration cannot be compiled.
    #[error("the configuration cannot be compiled")]
    Refused(#[from] Refusal),
    /// An object cannot be written down.
    #[error("an object cannot be written")]
    Codec(#[from] codec::CodecError),
}

/// What becomes of a request, and why. Its text is what is to be known.
#[derive(Clone, Debug)]
pub struct Explanation {
    text: String,
}

impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Question {
    /// A GET by nobody in particular.
    ///
    /// # Errors
    /// [`ExplainError::Url`].
    pub fn new(url: &str) -> Result<Self, ExplainError> {
        let wrong = || ExplainError::Url(url.to_owned());
        let url: Uri = url.parse().map_err(|_| wrong())?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
            return Err(wrong());
        }
        let client = Ipv4Addr::LOCALHOST.into();
        Ok(Self { url, method: Method::GET, fields: Vec::new(), client, entry_point: None })
    }

    /// Takes in one more thing that is known of it: `method`, `header` (`Name: value`), `client` or `entryPoint`.
    ///
    /// # Errors
    /// [`ExplainError::Word`].
    pub fn with(mut self, name: &str, value: &str) -> Result<Self, ExplainError> {
        let wrong = |what: &str| ExplainError::Word(format!("{value:?} is no {what}"));
        match name {
            "method" => self.method = value.parse().map_err(|_| wrong("method"))?,
            "header" => {
                let (name, value) =
                    value.split_once(':').ok_or_else(|| wrong("field of the form `Name: value`"))?;
                self.fields.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            "client" => self.client = value.parse().map_err(|_| wrong("address"))?,
            "entryPoint" => self.entry_point = Some(value.to_owned()),
            _ => return Err(ExplainError::Word(format!("{name:?} is not known of a request"))),
        }
        Ok(self)
    }

    fn over_tls(&self) -> bool {
        self.url.scheme() == Some(&Scheme::HTTPS)
    }

    fn port(&self) -> u16 {
        self.url.port_u16().unwrap_or(if self.over_tls() { 443 } else { 80 })
    }
}

/// The table of these records, in a process that serves nobody and asks no server how it is.
///
/// # Errors
/// [`ExplainError`].
pub fn table_of<'r>(
    records: impl IntoIterator<Item = (&'r Key, &'r Record)>,
) -> Result<Arc<Table>, ExplainError> {
    let mut map = ConfigMap::new();
    for (key, record) in records {
        let bytes = codec::encode(object::RECORD_VERSION, &record.to_wire())?;
        map.put(key.clone(), bytes.to_vec().into());
    }
    let generation = GenerationId { cluster: [0; 16], recovery_epoch: 0, revision: 1, digest: map.digest() };
    let process = Process { checks: Checks::none(), workloads: Sources::none(), ..Process::new(1)? };
    Ok(Compiler::new(Arc::new(process)).apply(generation, &map)?)
}

/// Tells what a table does with a request.
///
/// # Errors
/// The entry point is not known.
pub fn explain(table: &Table, question: &Question) -> Result<Explanation, ExplainError> {
    let mut out = text::Text::default();
    let found = entry_points(table, question)?;
    for (index, entry_point) in found.iter().enumerate() {
        if index > 0 {
            out.line(0, "");
        }
        on_entry_point(&mut out, table, entry_point, question);
    }
    Ok(Explanation { text: out.done() })
}

/// Where the request comes in: several where more than one listens on the port.
fn entry_points<'t>(
    table: &'t Table,
    question: &Question,
) -> Result<Vec<&'t Arc<EntryPointTable>>, ExplainError> {
    let known = || table.entry_points.keys().map(|name| &**name).collect::<Vec<_>>().join(", ");
    if let Some(name) = &question.entry_point {
        let found = table.entry_point(name).map(|found| vec![found]);
        return found.ok_or_else(|| ExplainError::EntryPoint { wanted: name.clone(), known: known() });
    }
    let port = question.port();
    let listens = |point: &&Arc<EntryPointTable>| {
        point.config.address.parse::<Address>().is_ok_and(|address| address.port == port)
    };
    let found: Vec<_> = table.entry_points.values().filter(listens).collect();
    if found.is_empty() {
        let wanted = format!("listens on port {port}: name one with --entry-point");
        return Err(ExplainError::EntryPoint { wanted, known: known() });
    }
    Ok(found)
}

fn on_entry_point(out: &mut text::Text, table: &Table, entry_point: &EntryPointTable, question: &Question) {
    let tls = question.over_tls();
    out.line(0, &format!("{} {} on entry point {}", question.method, question.url, entry_point.name));
    let policy = &entry_point.policy;
    let authority = question.url.authority().map_or("", |authority| authority.as_str());
    let host = match crate::host::canonical(authority) {
        Ok(host) => host,
        Err(error) => return out.line(1, &format!("400: the host is refused: {error}")),
    };
    let path = match path::normalise(question.url.path(), policy.path) {
        Ok(path) => path,
        Err(error) => return out.line(1, &format!("400: the path is refused: {error}")),
    };
    let query = routing_query(question.url.query(), policy);
    out.line(
        1,
        &format!("host {}, path {path}, {}", host.name, if tls { "with TLS" } else { "without TLS" }),
    );
    let seen = rule::routing_path(&path);
    let facts = RequestFacts {
        host: &host.name,
        path: &seen,
        method: question.method.as_str(),
        query: query.as_deref().unwrap_or_default(),
        client_ip: Some(question.client),
        headers: &Fields(&question.fields),
    };
    let (headers, client) = (header_map(&question.fields), question.client.to_string());
    let asker = Asker { headers: &headers, client: client.as_bytes() };
    let (index, other) =
        if tls { (&entry_point.tls, &entry_point.plain) } else { (&entry_point.plain, &entry_point.tls) };
    let winner = index.find(&facts);
    match winner {
        Some(route) => through(out, table, entry_point, route, &facts, &asker),
        None => out.line(0, "no router takes it: 404"),
    }
    others(out, table, index, winner, &facts);
    elsewhere(out, table, entry_point, other, &facts, tls);
}

/// The fields of a question, as rules see them.
struct Fields<'q>(&'q [(String, String)]);

impl HeaderLookup for Fields<'_> {
    fn any_value(&self, name: &str, accept: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.iter().any(|(key, value)| key.eq_ignore_ascii_case(name) && accept(value.as_bytes()))
    }
}

/// The fields as services see them; what cannot be sent is left out.
fn header_map(fields: &[(String, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            map.append(name, value);
        }
    }
    map
}

/// From a router to the servers.
fn through(
    out: &mut text::Text,
    table: &Table,
    entry_point: &EntryPointTable,
    route: &Arc<Route>,
    facts: &RequestFacts<'_>,
    asker: &Asker<'_>,
) {
    let mut first: &[String] = &entry_point.config.http.middlewares;
    let mut route = route;
    for _ in 0..CHILDREN_MAX {
        let (rule, _) = rule_of(table, &route.rank);
        out.line(0, &format!("router {}, priority {}: {rule}", route.name(), route.rank.priority));
        text::middlewares(out, table, &route.rank, first);
        first = &[];
        match &route.outcome {
            Outcome::Serve { service, .. } => {
                out.line(0, &format!("service {}", service.name));
                return text::service(out, table, service, asker, 1);
            }
            Outcome::Error { reason } => {
                return out.line(0, &format!("503: the router is in error: {reason}"));
            }
            Outcome::Branch { children, .. } => match children.find(facts) {
                Some(child) => {
                    out.line(0, "its children are asked, as the middlewares leave the request; unchanged:");
                    route = child;
                }
                None => {
                    others(out, table, children, None, facts);
                    return out.line(0, "no child takes it: 404");
                }
            },
        }
    }
}

/// Why the other routers lost: those whose host and path fit, by rank.
fn others(
    out: &mut text::Text,
    table: &Table,
    index: &RouteIndex<Route>,
    winner: Option<&Arc<Route>>,
    facts: &RequestFacts<'_>,
) {
    let candidates = index.candidates(facts);
    let lost = candidates.iter().filter(|route| winner.is_none_or(|winner| !Arc::ptr_eq(winner, route)));
    let mut told = 0;
    for route in lost {
        if told == 0 {
            out.line(0, "the others whose host and path may fit");
        }
        told += 1;
        if told <= OTHERS_MAX {
            let why = why_not(table, route, winner, facts);
            out.line(1, &format!("{} (priority {}): {why}", route.name(), route.rank.priority));
        }
    }
    if told > OTHERS_MAX {
        out.line(1, &format!("and {} more", told - OTHERS_MAX));
    }
    let rest = index.len().saturating_sub(candidates.len());
    if rest > 0 {
        out.line(0, &format!("{rest} further routers here are for other hosts or paths"));
    }
}

fn why_not(table: &Table, route: &Route, winner: Option<&Arc<Route>>, facts: &RequestFacts<'_>) -> String {
    let Some(winner) = winner.filter(|_| route.rule().matches(facts)) else {
        let (rule, syntax) = rule_of(table, &route.rank);
        let unmet = rule::parse_as(&rule, syntax).and_then(|rule| rule.unmet(facts)).unwrap_or_default();
        return match unmet.is_empty() {
            true => "its rule does not hold".to_owned(),
            false => format!("{} does not hold", unmet.join(", ")),
        };
    };
    let (own, first) = (&route.rank, &winner.rank);
    if own.priority < first.priority {
        return format!("its rule holds, but the priority of {} is higher", winner.name());
    }
    let by = if own.precedence == first.precedence { "name" } else { "provider" };
    format!("its rule holds and its priority is the same, but {} comes first by {by}", winner.name())
}

/// Routers that would take the request if it came otherwise: with or without TLS, or in at another place.
fn elsewhere(
    out: &mut text::Text,
    table: &Table,
    here: &EntryPointTable,
    other: &RouteIndex<Route>,
    facts: &RequestFacts<'_>,
    tls: bool,
) {
    if let Some(route) = other.find(facts) {
        let (has, lacks) = if tls { ("no TLS", "without it") } else { ("TLS", "over it") };
        out.line(0, &format!("router {} has {has}: it would take the request {lacks}", route.name()));
    }
    for point in table.entry_points.values().filter(|point| point.name != here.name) {
        let found = if tls { &point.tls } else { &point.plain }.find(facts);
        if let Some(route) = found {
            out.line(0, &format!("on entry point {} router {} would take it", point.name, route.name()));
        }
    }
}

/// A router's rule as it was written, and its language.
fn rule_of(table: &Table, rank: &Rank) -> (String, Syntax) {
    let router = object_of(table, Kind::HttpRouter, &rank.router).map(|record| salvaged(&record));
    let router = router.unwrap_or_default();
    let syntax = router.syntax(table.sections.language());
    (router.rule, syntax)
}

/// An object of the table, in force or not.
fn object_of(table: &Table, kind: Kind, name: &str) -> Option<Record> {
    let key = Key::of(kind, name).ok()?;
    record(&key, table.config.get(key.as_str())?).ok()
}

#[cfg(test)]
mod tests;
