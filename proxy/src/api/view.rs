//! What the API shows of a table: every router, service, middleware and entry point as one JSON object.
//! It must show what is wanted, with status and reasons, not what serves in its place.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ravelin_config::dynamic::{HttpRouter, HttpService, Middleware};
use ravelin_config::rule;
use ravelin_config::secret::shown_address;
use ravelin_config::{Key, Kind, Record, State};
use serde_json::{Map, Value, json};

use crate::compile::{entry_points_of, has_model, record, salvaged, udp_entry_points};
use crate::middleware::qualify;
use crate::table::{EntryPointTable, Table};

/// In place of a secret.
const HIDDEN: &str = "…";

pub(super) type Object = Map<String, Value>;

/// Objects by qualified name, without the fields that only lists have.
pub(super) struct View {
    pub(super) routers: BTreeMap<String, Object>,
    pub(super) services: BTreeMap<String, Object>,
    pub(super) middlewares: BTreeMap<String, Object>,
}

impl View {
    pub(super) fn new(table: &Table) -> Self {
        let mut view =
            Self { routers: BTreeMap::new(), services: BTreeMap::new(), middlewares: BTreeMap::new() };
        view.add_services(table);
        view.add_middlewares(table);
        view.add_routers(table);
        view
    }

    /// Of a kind of streams: objects of these kinds, in the order of the fields.
    pub(super) fn of_streams(table: &Table, streams: Streams) -> Self {
        let (routers, services, middlewares) = match streams {
            Streams::Tcp => (Kind::TcpRouter, Kind::TcpService, Some(Kind::TcpMiddleware)),
            Streams::Udp => (Kind::UdpRouter, Kind::UdpService, None),
        };
        let mut view = Self {
            routers: BTreeMap::new(),
            services: objects(table, services),
            middlewares: middlewares.map(|kind| objects(table, kind)).unwrap_or_default(),
        };
        view.services.values_mut().for_each(default_weights);
        for (name, object) in objects(table, routers) {
            view.add_stream_router(table, streams, name, object);
        }
        view
    }

    fn add_stream_router(&mut self, table: &Table, streams: Streams, name: String, mut object: Object) {
        let texts = |object: &Object, option: &str| -> Vec<String> {
            let items = object.get(option).and_then(Value::as_array).into_iter().flatten();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let mut entry_points = texts(&object, "entryPoints");
        if entry_points.is_empty() {
            entry_points = match streams {
                Streams::Tcp => entry_points_of(&table.entry_points, &[]),
                Streams::Udp => udp_entry_points(&table.entry_points),
            }
            .iter()
            .map(|entry_point| entry_point.name.to_string())
            .collect();
        }
        let using: Vec<String> =
            entry_points.iter().filter(|name| table.entry_point(name).is_some()).cloned().collect();
        let middlewares: Vec<String> = texts(&object, "middlewares")
            .iter()
            .map(|reference| qualify(reference, &name).to_string())
            .collect();
        let service = object.get("service").and_then(Value::as_str).unwrap_or_default();
        used_by(&mut self.services, &qualify(service, &name), &name);
        for used in &middlewares {
            used_by(&mut self.middlewares, used, &name);
        }
        if matches!(streams, Streams::Tcp) {
            let rule = object.get("rule").and_then(Value::as_str).unwrap_or_default();
            if object.get("priority").and_then(Value::as_i64).unwrap_or(0) == 0
                && !using.is_empty()
                && !rule.is_empty()
            {
                object.insert("priority".to_owned(), json!(stream_priority(rule)));
            }
            if let Some(Value::Object(tls)) = object.get_mut("tls") {
                tls.entry("passthrough").or_insert(json!(false));
            }
        }
        set_list(&mut object, "entryPoints", &entry_points);
        set_list(&mut object, "middlewares", &middlewares);
        set_list(&mut object, "using", &using);
        self.routers.insert(name, object);
    }

    /// The maps that `/api/rawdata` has of it, under these names; empty ones are left out.
    fn into_maps(self, names: [&str; 3], maps: &mut Object) {
        for (name, map) in names.into_iter().zip([self.routers, self.middlewares, self.services]) {
            if !map.is_empty() {
                let map = map.into_iter().map(|(name, object)| (name, Value::Object(object))).collect();
                maps.insert(name.to_owned(), Value::Object(map));
            }
        }
    }

    fn add_services(&mut self, table: &Table) {
        for (key, record) in records(table, Kind::HttpService) {
            let parsed = serde_json::from_slice::<HttpService>(&shown_bytes(table, &record)).ok();
            let mut object = match &parsed {
                Some(service) => object_of(service),
                None => raw(&record),
            };
            set_status(&mut object, table, &key, &record);
            let servers = parsed.and_then(|service| service.load_balancer).map(|balancer| balancer.servers);
            if let Some(servers) = servers.filter(|_| record.status.state != State::Disabled) {
                let compiled = table.services.get(key.name()).and_then(|service| service.as_ref().ok());
                let down: BTreeSet<&str> =
                    compiled.iter().flat_map(|service| service.servers_down()).collect();
                let statuses = servers.into_iter().map(|server| {
                    let is_down = down.contains(&*shown_address(&server.url));
                    (server.url, json!(if is_down { "DOWN" } else { "UP" }))
                });
                object.insert("serverStatus".to_owned(), Value::Object(statuses.collect()));
            }
            default_weights(&mut object);
            self.services.insert(key.name().to_owned(), object);
        }
    }

    fn add_middlewares(&mut self, table: &Table) {
        for (key, record) in records(table, Kind::HttpMiddleware) {
            let parsed = serde_json::from_slice::<Middleware>(&record.object.bytes);
            let mut object = parsed.map_or_else(|_| raw(&record), |middleware| object_of(&middleware));
            set_status(&mut object, table, &key, &record);
            self.middlewares.insert(key.name().to_owned(), object);
        }
    }

    fn add_routers(&mut self, table: &Table) {
        let mut copies: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, record) in records(table, Kind::HttpRouter) {
            let router = salvaged(&record);
            let mut object = match serde_json::from_slice::<HttpRouter>(&record.object.bytes) {
                Ok(router) => object_of(&router),
                Err(_) => raw(&record),
            };
            if let Some(core) = table.sections.core.as_ref().filter(|_| router.rule_syntax.is_empty()) {
                object.insert("ruleSyntax".to_owned(), json!(core.default_rule_syntax));
            }
            set_status(&mut object, table, &key, &record);
            let names = self.add_router(table, key.name(), &router, object);
            copies.insert(key.name().to_owned(), names);
        }
        self.name_parents(&copies);
        for object in self.services.values_mut().chain(self.middlewares.values_mut()) {
            if let Some(Value::Array(users)) = object.get_mut("usedBy") {
                users.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
                users.dedup();
            }
        }
    }

    /// The parents of each child router by all the names that they are shown under.
    fn name_parents(&mut self, copies: &BTreeMap<String, Vec<String>>) {
        for (name, object) in &mut self.routers {
            let Some(Value::Array(parents)) = object.get_mut("parentRefs") else { continue };
            let parents_named = parents.iter().filter_map(Value::as_str).flat_map(|parent| {
                let parent = qualify(parent, name).to_string();
                copies.get(&parent).cloned().unwrap_or_else(|| vec![parent])
            });
            *parents = parents_named.map(Value::String).collect();
        }
    }

    /// A router, and its copies for the entry points that give it something of their own; their names.
    fn add_router(&mut self, table: &Table, name: &str, router: &HttpRouter, object: Object) -> Vec<String> {
        if !router.parent_refs.is_empty() {
            self.add_copy(name.to_owned(), router, object, &[], &[], None);
            return vec![name.to_owned()];
        }
        let mut names = Vec::new();
        let wanted: Vec<String> = match router.entry_points.is_empty() {
            true => entry_points_of(&table.entry_points, &[]).iter().map(|e| e.name.to_string()).collect(),
            false => router.entry_points.clone(),
        };
        let mut plain = Vec::new();
        for entry_point in &wanted {
            match table.entry_point(entry_point).filter(|found| has_model(&found.config, &table.sections)) {
                Some(model) => {
                    let name =
                        if wanted.len() > 1 { format!("{entry_point}-{name}") } else { name.to_owned() };
                    let using = [entry_point.clone()];
                    names.push(name.clone());
                    self.add_copy(name, router, object.clone(), &using, &using, Some(model));
                }
                None => plain.push(entry_point.clone()),
            }
        }
        if !plain.is_empty() || wanted.is_empty() {
            let using: BTreeSet<String> =
                plain.iter().filter(|name| table.entry_point(name).is_some()).cloned().collect();
            let using: Vec<String> = using.into_iter().collect();
            self.add_copy(name.to_owned(), router, object, &plain, &using, None);
            names.push(name.to_owned());
        }
        names
    }

    fn add_copy(
        &mut self,
        name: String,
        router: &HttpRouter,
        mut object: Object,
        entry_points: &[String],
        using: &[String],
        model: Option<&EntryPointTable>,
    ) {
        let of_model = model.map(|model| model.config.http.middlewares.clone()).unwrap_or_default();
        let middlewares: Vec<String> =
            of_model.iter().chain(&router.middlewares).map(|m| qualify(m, &name).to_string()).collect();
        let service = qualify(&router.service, &name);
        for used in &middlewares {
            used_by(&mut self.middlewares, used, &name);
        }
        used_by(&mut self.services, &service, &name);
        set_list(&mut object, "entryPoints", entry_points);
        set_list(&mut object, "middlewares", &middlewares);
        set_list(&mut object, "using", using);
        object.insert("observability".to_owned(), observability(router, model));
        let priority = match router.priority {
            0 if !using.is_empty() => rule::default_priority(&router.rule),
            priority => priority,
        };
        match priority {
            0 => drop(object.remove("priority")),
            priority => drop(object.insert("priority".to_owned(), json!(priority))),
        }
        let of_entry_point = model.and_then(|model| model.config.http.tls.as_ref());
        if router.tls.is_some() || of_entry_point.is_some() {
            let mut tls = match (&router.tls, of_entry_point) {
                (Some(tls), _) => object_of(tls),
                (None, tls) => tls.map(object_of).unwrap_or_default(),
            };
            if tls.get("options").and_then(Value::as_str).unwrap_or_default().is_empty() {
                tls.insert("options".to_owned(), json!("default"));
            }
            object.insert("tls".to_owned(), Value::Object(tls));
        }
        self.routers.insert(name, object);
    }
}

/// What is routed whole, without a look into it. Nothing of it is served yet, and each object says so.
#[derive(Clone, Copy)]
pub(super) enum Streams {
    Tcp,
    Udp,
}

/// All of `/api/rawdata`.
pub(super) fn raw_data(table: &Table) -> Value {
    let mut maps = Object::new();
    View::new(table).into_maps(["routers", "middlewares", "services"], &mut maps);
    let tcp = View::of_streams(table, Streams::Tcp);
    tcp.into_maps(["tcpRouters", "tcpMiddlewares", "tcpServices"], &mut maps);
    let udp = View::of_streams(table, Streams::Udp);
    udp.into_maps(["udpRouters", "udpMiddlewares", "udpServices"], &mut maps);
    Value::Object(maps)
}

/// The objects of a kind as they were written, with their statuses.
fn objects(table: &Table, kind: Kind) -> BTreeMap<String, Object> {
    let shown = |(key, record): (Key, Record)| {
        let mut object = match serde_json::from_slice(&shown_bytes(table, &record)) {
            Ok(Value::Object(object)) => object,
            _ => Object::new(),
        };
        set_status(&mut object, table, &key, &record);
        (key.name().to_owned(), object)
    };
    records(table, kind).map(shown).collect()
}

/// The priority that a TCP rule has by itself: what takes everything comes last.
fn stream_priority(rule: &str) -> i64 {
    match rule {
        "HostSNI(`*`)" => -1,
        rule => rule::default_priority(rule),
    }
}

/// Entry points by name, as configured.
pub(super) fn entry_points(table: &Table) -> BTreeMap<String, Value> {
    let one = |(name, entry_point): (&std::sync::Arc<str>, &std::sync::Arc<EntryPointTable>)| {
        let mut object = object_of(&*entry_point.config);
        object.values_mut().for_each(leave_out_empty);
        leave_out_empty_members(&mut object);
        object.insert("name".to_owned(), json!(**name));
        (name.to_string(), Value::Object(object))
    };
    table.entry_points.iter().map(one).collect()
}

/// Every static section, and the entry points, as they were given; secrets hidden.
pub(super) fn static_configuration(table: &Table) -> Value {
    let mut sections = Object::new();
    for (key, record) in records(table, Kind::StaticSection) {
        let shown = serde_json::from_slice(&shown_bytes(table, &record)).unwrap_or_default();
        sections.insert(key.name().to_owned(), shown);
    }
    let mut points = Object::new();
    for (key, record) in records(table, Kind::EntryPoint) {
        let shown = serde_json::from_slice(&shown_bytes(table, &record)).unwrap_or_default();
        points.insert(key.name().to_owned(), shown);
    }
    sections.insert("entryPoints".to_owned(), Value::Object(points));
    Value::Object(sections)
}

/// As Go leaves out what is empty; structures stay, and so does the one switch whose absence would say the contrary.
fn leave_out_empty(value: &mut Value) {
    if let Value::Object(object) = value {
        object.values_mut().for_each(leave_out_empty);
        leave_out_empty_members(object);
    }
}

fn leave_out_empty_members(object: &mut Object) {
    object.retain(|name, value| match value {
        Value::Bool(false) => name == "sanitizePath",
        Value::String(text) => !text.is_empty() && text != "0s",
        Value::Number(number) => number.as_i64() != Some(0),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    });
}

/// Counts of certificates: all, and those in error.
pub(super) fn certificates(table: &Table) -> Value {
    let (mut total, mut errors) = (0_u64, 0_u64);
    for (key, record) in records(table, Kind::TlsCertificate) {
        total += 1;
        let in_error = record.status.state == State::Disabled || table.problems.contains_key(&key);
        errors += u64::from(in_error);
    }
    json!({"total": total, "warnings": 0, "errors": errors})
}

fn records(table: &Table, kind: Kind) -> impl Iterator<Item = (Key, Record)> {
    // The compiler has read every record of the table before.
    table.config.range(kind.prefix()).filter_map(|(key, bytes)| Some((key.clone(), record(key, bytes).ok()?)))
}

fn object_of<T: serde::Serialize>(value: &T) -> Object {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        _ => Object::new(),
    }
}

/// The record's object with something to show in the places of its secrets: of an address the part that is none, and of
/// everything else that there is something.
fn shown_bytes<'r>(table: &Table, record: &'r Record) -> Cow<'r, [u8]> {
    let object = &record.object;
    let Some(mut json) =
        (!object.secrets.is_empty()).then(|| serde_json::from_slice::<Value>(&object.bytes).ok()).flatten()
    else {
        return Cow::Borrowed(&object.bytes);
    };
    for place in object.secrets.iter() {
        let Some(value) = json.pointer_mut(&place.pointer) else { continue };
        let address = table.config.secrets().open(&place.id).ok().filter(|_| place.pointer.ends_with("/url"));
        let shown = address.map_or_else(|| HIDDEN.to_owned(), |address| shown_address(address.expose()));
        *value = Value::String(shown);
    }
    Cow::Owned(serde_json::to_vec(&json).unwrap_or_default())
}

/// What does not fit its type is shown as it was written.
fn raw(record: &Record) -> Object {
    match serde_json::from_slice(&record.object.bytes) {
        Ok(Value::Object(object)) => object,
        _ => Object::new(),
    }
}

fn set_status(object: &mut Object, table: &Table, key: &Key, record: &Record) {
    let mut errors = record.status.errors.clone();
    let mut state = record.status.state;
    if let Some(problem) = table.problems.get(key).filter(|_| state != State::Disabled) {
        errors.push(problem.to_string());
        state = State::Disabled;
    }
    object.insert("status".to_owned(), json!(state.as_str()));
    if !errors.is_empty() {
        object.insert("error".to_owned(), json!(errors));
    }
}

fn set_list(object: &mut Object, name: &str, items: &[String]) {
    match items.is_empty() {
        true => drop(object.remove(name)),
        false => drop(object.insert(name.to_owned(), json!(items))),
    }
}

fn used_by(map: &mut BTreeMap<String, Object>, used: &str, user: &str) {
    let Some(object) = map.get_mut(used) else { return };
    let users = object.entry("usedBy").or_insert_with(|| json!([]));
    if let Value::Array(users) = users {
        users.push(json!(user));
    }
}

/// A router's own values, else its entry point's, else Traefik's defaults.
fn observability(router: &HttpRouter, model: Option<&EntryPointTable>) -> Value {
    let of_model = model.and_then(|model| model.config.observability.clone()).unwrap_or_default();
    let own = router.observability.clone().unwrap_or_default();
    json!({
        "accessLogs": own.access_logs.unwrap_or(of_model.access_logs),
        "metrics": own.metrics.unwrap_or(of_model.metrics),
        "tracing": own.tracing.unwrap_or(of_model.tracing),
        "traceVerbosity": own.trace_verbosity.unwrap_or(of_model.trace_verbosity),
    })
}

fn default_weights(object: &mut Object) {
    let services = object.get_mut("weighted").and_then(|weighted| weighted.get_mut("services"));
    for child in services.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(child) = child {
            child.entry("weight").or_insert(json!(1));
        }
    }
}
