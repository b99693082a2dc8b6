//! The API and ping of the process, rendered from the table of the request that asks: Traefik's names, statuses and texts.
//! It only reads. It must not show what another generation holds, nor secrets (certificates and keys are not rendered).

use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, Method, Response, StatusCode};
use percent_encoding::percent_decode_str;
use ravelin_config::static_config::Api;
use serde_json::{Map, Value, json};

use crate::explain::{Question, explain};
use crate::metrics;
use crate::request::Shared;
use crate::table::Table;

mod certificates;
mod dashboard;
mod dump;
mod list;
mod view;

use list::Parameters;
use view::{Streams, View};

/// With more objects than this the answer is made off the worker.
const INLINE_OBJECTS_MAX: usize = 200;
/// The first word of every path but ping's.
const PREFIX: &str = "/api/";

const NEXT_PAGE: HeaderName = HeaderName::from_static("x-next-page");
const CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// When this process first had to know.
static STARTED: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

/// Remembers the moment as the process's start, for `/api/version`.
pub fn started() {
    LazyLock::force(&STARTED);
}

/// Answers a request to `api@internal`. `path` is normalised, `query` raw, `prefix` what a middleware has taken off the path. Large
/// configurations are rendered off the worker.
///
/// Cancel safe: dropping it only wastes work.
pub async fn answer(
    table: &Table,
    method: &Method,
    path: &str,
    query: Option<&str>,
    prefix: &str,
) -> Response<Bytes> {
    if let Some(api) = table.sections.api.as_ref().filter(|api| api.dashboard)
        && let Some(page) = dashboard::below(base_of(api), method, path, prefix)
    {
        return page;
    }
    if table.config.len() <= INLINE_OBJECTS_MAX {
        return render(table, method, path, query.unwrap_or_default());
    }
    let (table, method) = (table.clone(), method.clone());
    let (path, query) = (path.to_owned(), query.unwrap_or_default().to_owned());
    let rendered = tokio::task::spawn_blocking(move || render(&table, &method, &path, &query));
    rendered.await.unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n"))
}

/// Answers a request to `dashboard@internal`. `path` is normalised.
pub fn dashboard(path: &str) -> Response<Bytes> {
    dashboard::answer(path)
}

/// The path in front of `/api`, which does not end with a slash.
fn base_of(api: &Api) -> &str {
    api.base_path.trim_end_matches('/')
}

/// Answers a request to `ping@internal`: 200 while the process serves, the configured status once it ends.
pub fn ping(table: &Table, terminating: bool) -> Response<Bytes> {
    let wanted = table.sections.ping.as_ref().map_or(503, |ping| ping.terminating_status_code);
    let status = match terminating {
        false => StatusCode::OK,
        true => u16::try_from(wanted)
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok())
            .unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
    };
    let body = match status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => "",
        status => status.canonical_reason().unwrap_or_default(),
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response
}

/// Answers a scrape of `prometheus@internal`. Large configurations are rendered off the worker.
///
/// Cancel safe: dropping it only wastes work.
pub(crate) async fn metrics(table: &Table, shared: &Arc<Shared>) -> Response<Bytes> {
    if table.config.len() <= INLINE_OBJECTS_MAX {
        return metrics::scrape(table, shared);
    }
    let (table, shared) = (table.clone(), Arc::clone(shared));
    let rendered = tokio::task::spawn_blocking(move || metrics::scrape(&table, &shared));
    rendered.await.unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n"))
}

/// What a path below `/api/` names.
enum Place<'p> {
    RawData,
    Version,
    Overview,
    Explain,
    SupportDump,
    Certificates(Option<&'p str>),
    EntryPoints(Option<&'p str>),
    Http(&'static str, Option<&'p str>),
    Streams(Streams, &'static str, Option<&'p str>),
}

fn place(path: &str) -> Option<Place<'_>> {
    let mut words = path.strip_prefix(PREFIX)?.split('/');
    let (first, second, third, fourth) = (words.next()?, words.next(), words.next(), words.next());
    let kind = |known: &[&'static str]| known.iter().copied().find(|name| Some(*name) == second);
    match (first, fourth) {
        ("rawdata", _) if second.is_none() => Some(Place::RawData),
        ("version", _) if second.is_none() => Some(Place::Version),
        ("overview", _) if second.is_none() => Some(Place::Overview),
        ("certificates", _) if third.is_none() && second != Some("") => Some(Place::Certificates(second)),
        ("support-dump", _) if second.is_none() => Some(Place::SupportDump),
        ("explain", _) if second.is_none() => Some(Place::Explain),
        ("entrypoints", _) if third.is_none() && second != Some("") => Some(Place::EntryPoints(second)),
        (_, None) if third == Some("") => None,
        ("http", None) => kind(&["routers", "services", "middlewares"]).map(|kind| Place::Http(kind, third)),
        ("tcp", None) => kind(&["routers", "services", "middlewares"])
            .map(|kind| Place::Streams(Streams::Tcp, kind, third)),
        ("udp", None) => kind(&["routers", "services"]).map(|kind| Place::Streams(Streams::Udp, kind, third)),
        _ => None,
    }
}

fn render(table: &Table, method: &Method, path: &str, query: &str) -> Response<Bytes> {
    let base = table.sections.api.as_ref().map_or("", base_of);
    let Some(place) = path.strip_prefix(base).and_then(place) else {
        return text(StatusCode::NOT_FOUND, "404 page not found\n");
    };
    if method != Method::GET {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return response;
    }
    match place {
        Place::Version => version(),
        Place::RawData => encoded(&view::raw_data(table)),
        Place::Overview => encoded(&overview(table)),
        Place::Certificates(None) => {
            let items = certificates::certificates(table).into_iter().map(|(_, item)| item).collect();
            listed(list::certificates(items, &Parameters::new(query)), query)
        }
        Place::Certificates(Some(name)) => {
            let id = decoded(name);
            let found =
                certificates::certificates(table).into_iter().find(|(fingerprint, _)| *fingerprint == id);
            found.map_or_else(|| not_found("certificate", name), |(_, found)| encoded(&Value::Object(found)))
        }
        Place::Explain => explanation(table, query),
        Place::SupportDump => support_dump(table),
        Place::EntryPoints(None) => listed(list::entry_points(&view::entry_points(table)), query),
        Place::EntryPoints(Some(name)) => {
            let found = view::entry_points(table).remove(&decoded(name));
            found.map_or_else(|| not_found("entry point", name), |found| encoded(&found))
        }
        Place::Http(kind, name) => objects(View::new(table), kind, name, query, list::named_router),
        Place::Streams(Streams::Tcp, kind, name) => {
            objects(View::of_streams(table, Streams::Tcp), kind, name, query, list::named_router)
        }
        Place::Streams(Streams::Udp, kind, name) => {
            objects(View::of_streams(table, Streams::Udp), kind, name, query, list::provided)
        }
    }
}

/// One object of a view by its name, or a page of all of a kind. `named_router` gives a router the fields that only the API has.
fn objects(
    mut view: View,
    kind: &str,
    name: Option<&str>,
    query: &str,
    named_router: list::Named,
) -> Response<Bytes> {
    let Some(name) = name else {
        let parameters = Parameters::new(query);
        let items = match kind {
            "routers" => list::routers(view.routers, &parameters, named_router),
            "services" => list::services(view.services, &parameters),
            _ => list::middlewares(view.middlewares, &parameters),
        };
        return listed(items, query);
    };
    let id = decoded(name);
    let (noun, found) = match kind {
        "routers" => ("router", view.routers.remove(&id).map(|found| named_router(&id, found))),
        "services" => ("service", view.services.remove(&id).map(|found| list::named(&id, found))),
        _ => ("middleware", view.middlewares.remove(&id).map(|found| list::named(&id, found))),
    };
    found.map_or_else(|| not_found(noun, name), |found| encoded(&Value::Object(found)))
}

/// Ravelin's own: what becomes of a request to the `url` of the query, with `method`, `header`, `client` and `entryPoint` if given.
fn explanation(table: &Table, query: &str) -> Response<Bytes> {
    let parameters = Parameters::new(query);
    let mut pairs = parameters.pairs();
    let url = pairs.clone().find(|(name, _)| *name == "url").map_or("", |(_, url)| url);
    let question = Question::new(url).and_then(|question| {
        pairs.try_fold(question, |question, (name, value)| match name {
            "url" => Ok(question),
            name => question.with(name, value),
        })
    });
    match question.and_then(|question| explain(table, &question)) {
        Ok(explanation) => text(StatusCode::OK, &explanation.to_string()),
        Err(wrong) => error(StatusCode::BAD_REQUEST, &wrong.to_string()),
    }
}

fn decoded(name: &str) -> String {
    percent_decode_str(name).decode_utf8_lossy().into_owned()
}

fn version_text() -> String {
    let started = jiff::Timestamp::try_from(*STARTED).unwrap_or_default();
    let value = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "Codename": "ravelin",
        "startDate": started.to_string(),
    });
    value.to_string()
}

fn support_dump(table: &Table) -> Response<Bytes> {
    let sections = view::static_configuration(table).to_string();
    let dynamic = view::raw_data(table).to_string();
    let version = version_text();
    let files = [
        ("version.json", version.as_bytes()),
        ("static-config.json", sections.as_bytes()),
        ("runtime-config.json", dynamic.as_bytes()),
    ];
    dump::answer(&files)
        .unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n"))
}

fn version() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(version_text()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    response
}

fn overview(table: &Table) -> Value {
    let view = View::new(table);
    let count = |statuses: &mut dyn Iterator<Item = &Map<String, Value>>| {
        let (mut total, mut warnings, mut errors) = (0, 0, 0);
        for item in statuses {
            total += 1;
            match item.get("status").and_then(Value::as_str) {
                Some("warning") => warnings += 1,
                Some("disabled") => errors += 1,
                _ => {}
            }
        }
        json!({"total": total, "warnings": warnings, "errors": errors})
    };
    let (tcp, udp) = (View::of_streams(table, Streams::Tcp), View::of_streams(table, Streams::Udp));
    let of = &table.sections.providers;
    let providers: Vec<&str> = of.file.iter().map(|_| "File").chain(of.rest.iter().map(|_| "Rest")).collect();
    let metrics = if table.metrics.is_some() { "Prometheus" } else { "" };
    json!({
        "http": {
            "routers": count(&mut view.routers.values()),
            "services": count(&mut view.services.values()),
            "middlewares": count(&mut view.middlewares.values()),
        },
        "tcp": {
            "routers": count(&mut tcp.routers.values()),
            "services": count(&mut tcp.services.values()),
            "middlewares": count(&mut tcp.middlewares.values()),
        },
        "udp": {"routers": count(&mut udp.routers.values()), "services": count(&mut udp.services.values())},
        "certificates": view::certificates(table),
        "features": {"tracing": "", "metrics": metrics, "accessLog": table.sections.access_log.is_some()},
        "providers": providers,
    })
}

/// One page of a list, with the number of the next; 1 stands for the end.
fn listed(items: Vec<Map<String, Value>>, query: &str) -> Response<Bytes> {
    match list::page(items, &Parameters::new(query)) {
        Ok((items, next)) => {
            let mut response = encoded(&Value::Array(items.into_iter().map(Value::Object).collect()));
            response.headers_mut().insert(NEXT_PAGE, HeaderValue::from(next));
            response
        }
        Err(message) => error(StatusCode::BAD_REQUEST, &message),
    }
}

/// As Go's encoder writes: `<`, `>` and `&` escaped, a line end at the end.
fn encoded(value: &Value) -> Response<Bytes> {
    let plain = value.to_string();
    let mut body = String::with_capacity(plain.len() + 1);
    for c in plain.chars() {
        match c {
            // None of these stands outside a text in JSON.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => body.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => body.push(c),
        }
    }
    body.push('\n');
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn not_found(noun: &str, name: &str) -> Response<Bytes> {
    error(StatusCode::NOT_FOUND, &format!("{noun} not found: {name}"))
}

/// JSON sent as text: so Traefik does.
fn error(status: StatusCode, message: &str) -> Response<Bytes> {
    text(status, &format!("{}\n", json!({"message": message})))
}

pub(crate) fn text(status: StatusCode, body: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(body.as_bytes()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests;
