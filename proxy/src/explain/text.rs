//! How an explanation reads: indented lines, and what there is to say of middlewares and services. It decides nothing.

use std::sync::Arc;

use ravelin_config::Kind;
use serde_json::{Map, Value};

use super::object_of;
use crate::compile::salvaged;
use crate::middleware::qualify;
use crate::service::{Asker, Foretold, Service, ServiceKind};
use crate::table::{Rank, Table};

/// Middlewares that are named; the compiler takes no longer chain.
const MIDDLEWARES_MAX: usize = 256;
/// Services one in the other, and all of them, that are named.
const SERVICES_MAX: usize = 256;

/// Lines, each indented by two blanks for every level.
#[derive(Default)]
pub(super) struct Text {
    out: String,
    services: usize,
}

impl Text {
    pub(super) fn line(&mut self, level: usize, text: &str) {
        self.out.extend(std::iter::repeat_n("  ", level));
        self.out.push_str(text);
        self.out.push('\n');
    }

    pub(super) fn done(self) -> String {
        self.out
    }
}

/// The middlewares of a router, behind those of its entry point, in order; chains laid out flat.
pub(super) fn middlewares(out: &mut Text, table: &Table, rank: &Rank, first: &[String]) {
    let Some(record) = object_of(table, Kind::HttpRouter, &rank.router) else { return };
    let router = salvaged(&record);
    listed(out, table, first.iter().chain(&router.middlewares), &rank.router, 1);
}

fn listed<'n>(
    out: &mut Text,
    table: &Table,
    names: impl Iterator<Item = &'n String>,
    owner: &str,
    level: usize,
) {
    let mut waiting: Vec<Arc<str>> = names.map(|name| qualify(name, owner)).collect();
    waiting.reverse();
    let mut told = 0;
    while let Some(name) = waiting.pop() {
        told += 1;
        if told > MIDDLEWARES_MAX {
            return out.line(level, "and so on");
        }
        let record = object_of(table, Kind::HttpMiddleware, &name);
        let json: Option<Map<String, Value>> =
            record.and_then(|record| serde_json::from_slice(&record.object.bytes).ok());
        let Some((kind, options)) = json.as_ref().and_then(|json| json.iter().next()) else {
            out.line(level, &format!("middleware {name}: does not exist"));
            continue;
        };
        let inner = options.get("middlewares").and_then(Value::as_array).filter(|_| kind == "chain");
        match inner {
            Some(inner) => {
                let inner = inner.iter().rev().filter_map(Value::as_str);
                waiting.extend(inner.map(|inner| qualify(inner, &name)));
            }
            None => out.line(level, &format!("middleware {name}: {kind}")),
        }
    }
}

/// A service, down to its servers, and which of them the asker would be led to.
pub(super) fn service(out: &mut Text, table: &Table, service: &Service, asker: &Asker<'_>, level: usize) {
    out.services += 1;
    if out.services > SERVICES_MAX {
        return out.line(level, "and so on");
    }
    if let Some(record) = object_of(table, Kind::HttpService, &service.name)
        && let Ok(Value::Object(json)) = serde_json::from_slice(&record.object.bytes)
        && let Some(names) = json.get("middlewares").and_then(Value::as_array)
    {
        let names: Vec<String> = names.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        listed(out, table, names.iter(), &service.name, level);
    }
    let child = |out: &mut Text, word: &str, child: &Service, why: &str| {
        let down = if child.is_up() { "" } else { ", down" };
        out.line(level, &format!("{word} service {}{down}{why}", child.name));
        self::service(out, table, child, asker, level + 1);
    };
    match &service.kind {
        ServiceKind::LoadBalancer(balancer) => match balancer.servers() {
            [] => out.line(level, "503: it has no server"),
            [only] => out.line(level, &server("server", &only.url, only.is_up())),
            servers => {
                let foretold = balancer.foretell(asker);
                for (member, one) in servers.iter().enumerate() {
                    let line = server("one of: server", &one.url, one.is_up());
                    out.line(level, &format!("{line}{}", taken(foretold, member)));
                }
                by(out, foretold, level);
            }
        },
        ServiceKind::Weighted(weighted) => {
            let foretold = weighted.foretell(asker);
            for (member, one) in weighted.services().iter().enumerate() {
                child(out, "one of:", one, taken(foretold, member));
            }
            by(out, foretold, level);
        }
        ServiceKind::Failover(failover) => {
            let [main, fallback] = failover.children();
            child(out, "first:", main, "");
            child(out, "in its place:", fallback, "");
        }
        ServiceKind::Mirroring(mirroring) => {
            child(out, "answers:", mirroring.service(), "");
            for one in mirroring.mirrored() {
                child(out, "gets copies:", one, "");
            }
        }
        ServiceKind::Internal(_) => out.line(level, "the process itself answers"),
    }
}

/// Why this one of several is taken, if it is.
fn taken(foretold: Foretold, member: usize) -> &'static str {
    match foretold {
        Foretold::Cookie(named) if named == member => " <- taken: the client's cookie names it",
        Foretold::Client(own) if own == member => " <- taken: the client's address leads to it",
        Foretold::Turn(next) if next == member => " <- next: they take turns",
        _ => "",
    }
}

/// How one of several is chosen that cannot be named before.
fn by(out: &mut Text, foretold: Foretold, level: usize) {
    match foretold {
        Foretold::TwoChoices => {
            out.line(level, "taken is the one of two, drawn by chance, that has less to do")
        }
        Foretold::LeastTime => {
            out.line(level, "taken is the one that answers soonest for what it has to do");
        }
        Foretold::Nobody => out.line(level, "503: none of them is up"),
        Foretold::Cookie(_) | Foretold::Client(_) | Foretold::Turn(_) => {}
    }
}

fn server(word: &str, url: &str, is_up: bool) -> String {
    let down = if is_up { "" } else { " (down: it gets no request)" };
    format!("{word} {url}{down}")
}
