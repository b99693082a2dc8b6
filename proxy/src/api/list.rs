//! Lists of the API: filters, order and pages, with the fields that only list items have.
//! It must not know where the objects come from.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::view::Object;
use crate::middleware::qualify;

const PER_PAGE_DEFAULT: i64 = 100;

/// The query of a list.
pub(super) struct Parameters {
    pairs: Vec<(String, String)>,
}

impl Parameters {
    pub(super) fn new(query: &str) -> Self {
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(pair);
        Self { pairs: pairs.collect() }
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn value(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A whole number; one that does not read counts as 0, as in Traefik.
    fn number(&self, name: &str, default: i64) -> i64 {
        self.value(name).map_or(default, |value| value.parse().unwrap_or(0))
    }
}

/// The items of one page and the number of the next, 1 after the last.
///
/// # Errors
/// What is wrong with the numbers.
pub(super) fn page(items: Vec<Object>, parameters: &Parameters) -> Result<(Vec<Object>, u64), String> {
    let page = parameters.number("page", 1);
    let per_page = parameters.number("per_page", PER_PAGE_DEFAULT);
    let (Ok(number), true) = (usize::try_from(page), page > 0) else {
        return Err(format!("invalid request: page: {page}"));
    };
    let (Ok(size), true) = (usize::try_from(per_page), per_page > 0) else {
        return Err(format!("invalid request: per_page: {per_page}"));
    };
    let start = (number - 1).saturating_mul(size);
    if start != 0 && start >= items.len() {
        return Err(format!("invalid request: page: {page}, per_page: {per_page}"));
    }
    let next = if start.saturating_add(size) < items.len() { number as u64 + 1 } else { 1 };
    Ok((items.into_iter().skip(start).take(size).collect(), next))
}

/// How an object gets its name, and what else only the API has.
pub(super) type Named = fn(&str, Object) -> Object;

/// A service or middleware with its name, provider and type.
pub(super) fn named(name: &str, mut object: Object) -> Object {
    const NOT_KINDS: [&str; 5] = ["status", "error", "usedBy", "serverStatus", "middlewares"];
    let kind = object.keys().find(|key| !NOT_KINDS.contains(&key.as_str())).map(|key| key.to_lowercase());
    if let Some(kind) = kind {
        object.insert("type".to_owned(), json!(kind));
    }
    provided(name, object)
}

/// A router with its name, provider and priority as text.
pub(super) fn named_router(name: &str, mut object: Object) -> Object {
    let priority = object.get("priority").and_then(Value::as_i64).unwrap_or(0);
    object.insert("priorityStr".to_owned(), json!(priority.to_string()));
    provided(name, object)
}

/// Any object with its name and provider, as UDP routers are shown.
pub(super) fn provided(name: &str, mut object: Object) -> Object {
    object.insert("name".to_owned(), json!(name));
    let provider = name.rsplit_once('@').map_or("", |(_, provider)| provider);
    object.insert("provider".to_owned(), json!(provider));
    object
}

fn text<'o>(object: &'o Object, name: &str) -> &'o str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Whether an item has the status asked for, and one of its texts holds what is searched, in any case.
fn wanted(object: &Object, searched: &[&str], parameters: &Parameters) -> bool {
    let status =
        parameters.value("status").is_none_or(|wanted| text(object, "status").eq_ignore_ascii_case(wanted));
    let search = parameters.value("search").map(str::to_lowercase);
    let found = search.is_none_or(|search| searched.iter().any(|text| text.to_lowercase().contains(&search)));
    status && found
}

pub(super) fn routers(
    routers: BTreeMap<String, Object>,
    parameters: &Parameters,
    named_router: Named,
) -> Vec<Object> {
    let items = routers.into_iter().filter(|(name, object)| {
        let service = text(object, "service");
        let serves = parameters
            .value("serviceName")
            .is_none_or(|name_wanted| service == name_wanted || *qualify(service, name) == *name_wanted);
        let middlewares = object.get("middlewares").and_then(Value::as_array);
        let passes = parameters.value("middlewareName").is_none_or(|name_wanted| {
            middlewares.is_some_and(|names| names.iter().any(|name| name.as_str() == Some(name_wanted)))
        });
        serves && passes && wanted(object, &[name, text(object, "rule")], parameters)
    });
    let items = items.map(|(name, object)| named_router(&name, object)).collect();
    let list = |object: &Object, name: &str| {
        let items = object.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).collect::<Vec<_>>().join("")
    };
    sorted(items, parameters, |by, a, b| match by {
        "priority" => {
            let priority = |object: &Object| object.get("priority").and_then(Value::as_i64).unwrap_or(0);
            priority(a).cmp(&priority(b))
        }
        "entryPoints" => list(a, "entryPoints").cmp(&list(b, "entryPoints")),
        "provider" | "rule" | "service" | "status" => text(a, by).cmp(text(b, by)),
        _ => Ordering::Equal,
    })
}

pub(super) fn services(services: BTreeMap<String, Object>, parameters: &Parameters) -> Vec<Object> {
    let items = services.into_iter().filter(|(name, object)| wanted(object, &[name], parameters));
    let items = items.map(|(name, object)| named(&name, object)).collect();
    sorted(items, parameters, |by, a, b| match by {
        "servers" => {
            let servers = |object: &Object| {
                let servers = object.get("loadBalancer").and_then(|balancer| balancer.get("servers"));
                servers.and_then(Value::as_array).map_or(0, Vec::len)
            };
            servers(a).cmp(&servers(b))
        }
        "type" | "provider" | "status" => text(a, by).cmp(text(b, by)),
        _ => Ordering::Equal,
    })
}

pub(super) fn middlewares(middlewares: BTreeMap<String, Object>, parameters: &Parameters) -> Vec<Object> {
    let items = middlewares.into_iter().filter(|(name, object)| wanted(object, &[name], parameters));
    let items = items.map(|(name, object)| named(&name, object)).collect();
    sorted(items, parameters, |by, a, b| match by {
        "type" | "provider" | "status" => text(a, by).cmp(text(b, by)),
        _ => Ordering::Equal,
    })
}

pub(super) fn certificates(certificates: Vec<Object>, parameters: &Parameters) -> Vec<Object> {
    let items = certificates.into_iter().filter(|object| {
        let names =
            object.get("sans").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let own = ["commonName", "issuerOrg", "issuerCN"].map(|name| text(object, name));
        wanted(object, &names.chain(own).collect::<Vec<_>>(), parameters)
    });
    let issuer = |object: &Object| {
        let organization = text(object, "issuerOrg").to_owned();
        if organization.is_empty() { text(object, "issuerCN").to_owned() } else { organization }
    };
    sorted(items.collect(), parameters, |by, a, b| {
        let by_name = || text(a, "commonName").cmp(text(b, "commonName"));
        match by {
            "issuer" => issuer(a).cmp(&issuer(b)).then_with(by_name),
            "validUntil" => text(a, "notAfter").cmp(text(b, "notAfter")).then_with(by_name),
            "status" => text(a, by).cmp(text(b, by)).then_with(by_name),
            _ => by_name(),
        }
    })
}

pub(super) fn entry_points(entry_points: &BTreeMap<String, Value>) -> Vec<Object> {
    entry_points.values().filter_map(Value::as_object).cloned().collect()
}

/// By the order asked for, then by name; both turned around for `direction=desc`.
fn sorted(
    mut items: Vec<Object>,
    parameters: &Parameters,
    compare: impl Fn(&str, &Object, &Object) -> Ordering,
) -> Vec<Object> {
    let by = parameters.value("sortBy").unwrap_or("name");
    let descending = parameters.value("direction") == Some("desc");
    items.sort_by(|a, b| {
        let order = compare(by, a, b).then_with(|| text(a, "name").cmp(text(b, "name")));
        if descending { order.reverse() } else { order }
    });
    items
}
