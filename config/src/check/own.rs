//! What can be said of an object by itself: what is wrong with it, and to what it refers.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::{INTERNAL, middlewares, provider_of, services, static_sections, tls};
use crate::document::Node;
use crate::dynamic::{
    HttpRouter, HttpService, Middleware, ServersTransport, TlsCertificate, TlsOptions, TlsStore,
};
use crate::key::Key;
use crate::object::{Kind, Object};
use crate::options::{self, Field, Type};
use crate::problem::Severity;
use crate::rule::{self, HostKeys, PRIORITY_MAX, Syntax};
use crate::static_config::EntryPoint;

/// The verdict on an object by itself. Two objects with equal verdicts are alike for whoever refers to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// To what it refers, in the order in which faults are told.
    pub(super) references: Vec<Reference>,
    /// What most objects have nothing of.
    pub(super) seldom: Seldom,
    /// A service that knows whether it can serve.
    pub(super) checked: bool,
    /// A router whose options can be read: whether it names a service, or needs children.
    pub(super) names_service: Option<bool>,
    /// An entry point that says so.
    pub(super) as_default: bool,
    /// An entry point that speaks UDP.
    pub(super) udp: bool,
}

/// What is seldom said of an object: a hundred thousand are held, and each takes a word for it in place of a dozen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seldom(Option<Box<SeldomSaid>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeldomSaid {
    /// What keeps it from being used.
    pub(super) errors: Vec<String>,
    /// What does not.
    pub(super) warnings: Vec<String>,
    /// A router: hosts of its rule, if it has TLS. An entry point or anything else: empty.
    pub(super) tls_hosts: Vec<Arc<str>>,
    /// A router with TLS: the qualified name of its TLS options.
    pub(super) tls_options: Option<Arc<str>>,
    /// Services to which it refers and that must know whether they can serve.
    pub(super) needs_checked: Vec<Key>,
}

static NOTHING: SeldomSaid = SeldomSaid {
    errors: Vec::new(),
    warnings: Vec::new(),
    tls_hosts: Vec::new(),
    tls_options: None,
    needs_checked: Vec::new(),
};

impl Deref for Seldom {
    type Target = SeldomSaid;

    fn deref(&self) -> &SeldomSaid {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Seldom {
    fn deref_mut(&mut self) -> &mut SeldomSaid {
        self.0.get_or_insert_with(|| Box::new(NOTHING.clone()))
    }
}

impl Seldom {
    /// Takes no more than a word again if nothing was said, so that equal ones are equal.
    fn shrink(&mut self) {
        if **self == NOTHING {
            self.0 = None;
        }
    }
}

/// One reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) key: Key,
    pub(super) role: Role,
}

/// As what an object is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Service,
    Middleware,
    TlsOptions,
    Transport,
    EntryPoint,
    /// The static section that says where identities come from.
    Workload,
    /// A router within whose requests another finds its own.
    Parent,
    /// The entry points of routers that name none, under the key of an entry point without a name.
    DefaultEntryPoints,
}

/// The key of an entry point; without a name it stands for the default ones.
pub(super) fn entry_point_key(name: &str) -> Key {
    known_key(Kind::EntryPoint, name)
}

/// The key that a reference names. A name that cannot be a key names nothing, and so does this one.
fn known_key(kind: Kind, name: &str) -> Key {
    Key::of(kind, name).unwrap_or_else(|_| {
        let cut: String = name.chars().filter(|letter| !letter.is_control()).take(200).collect();
        Key::of(kind, &format!("{cut}…")).expect("a short name without control characters is a key")
    })
}

/// The keys under which others may refer to this one: itself, an entry point as one of the default ones, and a
/// middleware by its name alone, as entry points may.
pub(super) fn also_known_as(key: &Key) -> Vec<Key> {
    let mut keys = vec![key.clone()];
    match key.kind() {
        Some(Kind::EntryPoint) => keys.push(entry_point_key("")),
        Some(kind @ (Kind::HttpMiddleware | Kind::TlsOptions)) => {
            keys.extend(key.name().rsplit_once('@').map(|(name, _)| known_key(kind, name)));
        }
        _ => {}
    }
    keys
}

impl Own {
    /// `language` is that of rules of routers that name none.
    pub(super) fn of(key: &Key, object: &Object, language: Syntax) -> Self {
        let mut own = Self::default();
        if key.kind() != Some(object.kind) {
            own.seldom.errors.push("the object's kind is not that of its key".to_owned());
            return own;
        }
        let json = match options::object_json(object) {
            Ok(json) => json,
            Err(error) => {
                own.seldom.errors.push(error);
                return own;
            }
        };
        let name = key.name().rsplit_once('@').map_or(key.name(), |(name, _)| name);
        if object.kind == Kind::EntryPoint && name.is_empty() {
            own.seldom.errors.push("an entry point needs a name".to_owned());
        }
        if name.contains('@') && provider_of(key) != INTERNAL {
            own.seldom.errors.push("a name must not hold `@`".to_owned());
        }
        let fields = options::of_object(object.kind, key.name());
        let reading = options::read(fields, &Node::from_json(&json), "", false);
        // A static section whose function comes later does not stop the rest of it.
        let is_static = matches!(object.kind, Kind::EntryPoint | Kind::StaticSection);
        for finding in &reading.findings {
            let later = is_static && finding.severity == Severity::NotYet;
            let texts = if later { &mut own.seldom.warnings } else { &mut own.seldom.errors };
            texts.push(finding.status_text());
        }
        let mut json = reading.json;
        if !own.seldom.errors.is_empty() {
            drop_misshapen(fields, &mut json);
        }
        own.typed(key, object.kind, json, language);
        own.seldom.errors.extend(options::not_yet(object.kind).map(str::to_owned));
        // Kept for as long as the object is wanted.
        own.references.shrink_to_fit();
        own.seldom.shrink();
        own
    }

    /// Where the router's TLS options count: each of its entry points with each of its hosts.
    pub(super) fn tls_places(&self) -> impl Iterator<Item = ((Key, Arc<str>), &Arc<str>)> {
        let points = self.references.iter();
        let points = points.filter(|to| matches!(to.role, Role::EntryPoint | Role::DefaultEntryPoints));
        self.seldom.tls_options.iter().flat_map(move |options| {
            let places = points
                .clone()
                .flat_map(|to| self.seldom.tls_hosts.iter().map(|host| (to.key.clone(), Arc::clone(host))));
            places.map(move |place| (place, options))
        })
    }

    /// A router's parents.
    pub(super) fn parents(&self) -> impl Iterator<Item = &Key> {
        self.references.iter().filter(|to| to.role == Role::Parent).map(|to| &to.key)
    }

    /// Runs the constructors of the kind. An object with errors may still fit its type, and then its references count.
    fn typed(&mut self, key: &Key, kind: Kind, json: Json, language: Syntax) {
        let sound = self.seldom.errors.is_empty();
        let provider = provider_of(key);
        match kind {
            Kind::HttpRouter => self.router(&parsed(json), provider, sound, language),
            Kind::HttpService => self.service(key, &parsed(json), provider, sound),
            Kind::HttpMiddleware => self.middleware(key, &json, provider, sound),
            Kind::HttpServersTransport if sound => {
                let transport = parsed::<ServersTransport>(json);
                self.refer_to_workload(&transport);
                tls::servers_transport(&transport, &mut self.seldom.errors);
            }
            Kind::TlsCertificate if sound => {
                let SeldomSaid { errors, warnings, .. } = &mut *self.seldom;
                tls::certificate(&parsed::<TlsCertificate>(json), errors, warnings);
            }
            Kind::TlsStore if sound => {
                let SeldomSaid { errors, warnings, .. } = &mut *self.seldom;
                tls::store(name_of(key), &parsed::<TlsStore>(json), errors, warnings);
            }
            Kind::TlsOptions if sound => tls::options(&parsed::<TlsOptions>(json), &mut self.seldom.errors),
            Kind::EntryPoint => self.entry_point(&parsed(json), sound),
            Kind::StaticSection if sound => {
                if key.name() == "serversTransport" {
                    self.refer_to_workload(&parsed(json.clone()));
                }
                static_sections::judge(key.name(), &json, &mut self.seldom.errors);
            }
            _ => {}
        }
    }

    /// A transport with SPIFFE needs somebody who gives identities.
    fn refer_to_workload(&mut self, transport: &ServersTransport) {
        if transport.spiffe.is_some() {
            self.refer(Role::Workload, known_key(Kind::StaticSection, "spiffe"));
        }
    }

    fn router(&mut self, router: &HttpRouter, provider: &str, sound: bool, language: Syntax) {
        self.refer_to_places(router, provider);
        if let Some(tls) = &router.tls {
            let options = match tls.options.as_deref() {
                None | Some("" | "default") => "default".to_owned(),
                Some(name) => qualified(name, provider),
            };
            if options != "default" {
                self.refer(Role::TlsOptions, known_key(Kind::TlsOptions, &options));
            }
            self.seldom.tls_options = Some(Arc::from(options));
        }
        if !router.service.is_empty() {
            self.refer(Role::Service, known_key(Kind::HttpService, &qualified(&router.service, provider)));
        }
        for name in &router.middlewares {
            self.refer(Role::Middleware, known_key(Kind::HttpMiddleware, &qualified(name, provider)));
        }
        if !sound {
            return;
        }
        self.names_service = Some(!router.service.is_empty());
        if router.priority > PRIORITY_MAX && provider != INTERNAL {
            self.seldom.errors.push(format!(
                "the router priority {} exceeds the max user-defined priority {PRIORITY_MAX}",
                router.priority
            ));
        }
        self.rule(&router.rule, router.syntax(language));
    }

    /// Where a router finds its requests: on entry points, or among those of its parents.
    fn refer_to_places(&mut self, router: &HttpRouter, provider: &str) {
        if router.parent_refs.is_empty() {
            for name in &router.entry_points {
                self.refer(Role::EntryPoint, entry_point_key(name));
            }
            if router.entry_points.is_empty() {
                self.refer(Role::DefaultEntryPoints, entry_point_key(""));
            }
            return;
        }
        for name in &router.parent_refs {
            self.refer(Role::Parent, known_key(Kind::HttpRouter, &qualified(name, provider)));
        }
        let given = [
            ("entryPoints", !router.entry_points.is_empty()),
            ("tls", router.tls.is_some()),
            ("observability", router.observability.is_some()),
        ];
        for (option, _) in given.into_iter().filter(|(_, given)| *given) {
            self.seldom.errors.push(format!(
                "{option}: a child router has none of its own, that of the root router counts"
            ));
        }
    }

    fn rule(&mut self, text: &str, syntax: Syntax) {
        if text.is_empty() {
            return self.seldom.errors.push("router has no rule".to_owned());
        }
        let rule = match rule::parse_as(text, syntax) {
            Ok(rule) => rule,
            Err(error) => {
                return self.seldom.errors.push(format!("error while parsing rule {text}: {error}"));
            }
        };
        if let Err(error) = rule.compile() {
            self.seldom.errors.push(format!("error while adding rule {text}: {error}"));
        }
        if self.seldom.tls_options.is_some()
            && let HostKeys::Among { exact, .. } = rule.necessary_keys().hosts
        {
            self.seldom.tls_hosts = exact.into_vec();
        }
    }

    fn service(&mut self, key: &Key, service: &HttpService, provider: &str, sound: bool) {
        for name in &service.middlewares {
            self.refer(Role::Middleware, known_key(Kind::HttpMiddleware, &qualified(name, provider)));
        }
        if let Some(transport) = service.load_balancer.as_ref().and_then(|lb| lb.servers_transport.as_deref())
            && !transport.is_empty()
        {
            let name = qualified(transport, provider);
            self.refer(Role::Transport, known_key(Kind::HttpServersTransport, &name));
        }
        for child in service.children() {
            self.refer(Role::Service, known_key(Kind::HttpService, &qualified(child, provider)));
        }
        self.checked = service.is_checked();
        let needed = service.checked_children();
        self.seldom.needs_checked =
            needed.map(|child| known_key(Kind::HttpService, &qualified(child, provider))).collect();
        if !sound {
            return;
        }
        if provider == INTERNAL {
            self.seldom.errors.extend(services::internal(name_of(key)));
        } else {
            services::judge(key.name(), service, &mut self.seldom.errors);
        }
    }

    fn middleware(&mut self, key: &Key, json: &Json, provider: &str, sound: bool) {
        let kinds = json.as_object().map_or(0, serde_json::Map::len);
        let middleware: Middleware = parsed(json.clone());
        for name in middleware.chain.iter().flat_map(|chain| &chain.middlewares) {
            self.refer(Role::Middleware, known_key(Kind::HttpMiddleware, &qualified(name, provider)));
        }
        if let Some(errors) = &middleware.errors {
            self.refer(Role::Service, known_key(Kind::HttpService, &qualified(&errors.service, provider)));
        }
        if kinds > 1 && sound {
            self.seldom.errors.push(
                "cannot create middleware: multi-types middleware not supported, consider declaring two different \
                 pieces of middleware instead"
                    .to_owned(),
            );
        } else if kinds == 0 {
            self.seldom.errors.push(format!(
                "invalid middleware \"{}\" configuration: invalid middleware type or middleware does not exist",
                key.name()
            ));
        } else if sound {
            middlewares::judge(&middleware, &mut self.seldom.errors);
        }
    }

    fn entry_point(&mut self, entry_point: &EntryPoint, sound: bool) {
        self.as_default = entry_point.as_default;
        self.udp = entry_point.address.to_ascii_lowercase().ends_with("/udp");
        for name in &entry_point.http.middlewares {
            self.refer(Role::Middleware, known_key(Kind::HttpMiddleware, name));
        }
        if let Some(name) = entry_point.http.tls.as_ref().and_then(|tls| tls.options.as_deref())
            && !name.is_empty()
            && name != "default"
        {
            self.refer(Role::TlsOptions, known_key(Kind::TlsOptions, name));
        }
        if sound {
            static_sections::entry_point(entry_point, &mut self.seldom.errors);
        }
    }

    fn refer(&mut self, role: Role, key: Key) {
        let reference = Reference { key, role };
        // Of middlewares each mention counts: they run as often as they are named.
        if role == Role::Middleware || !self.references.contains(&reference) {
            self.references.push(reference);
        }
    }
}

/// A reference's full name: without an `@` it means the same provider.
pub(super) fn qualified(name: &str, provider: &str) -> String {
    if name.contains('@') { name.to_owned() } else { format!("{name}@{provider}") }
}

/// The name without its provider.
fn name_of(key: &Key) -> &str {
    key.name().rsplit_once('@').map_or(key.name(), |(name, _)| name)
}

/// Drops what stands as a list where a group is due: the types would take it for the group's options in their order, and so
/// any text, a password too, for the name of something, which messages show.
fn drop_misshapen(fields: &[Field], json: &mut Json) {
    let Json::Object(members) = json else { return };
    for field in fields {
        let Some(value) = members.get_mut(field.name) else { continue };
        let fits = match (&field.ty, &mut *value) {
            (Type::Group(_) | Type::Switch(_) | Type::Named(_), Json::Array(_)) => false,
            (Type::Group(fields) | Type::Switch(fields), value) => {
                drop_misshapen(fields, value);
                true
            }
            (Type::Groups(fields), Json::Array(items)) => {
                items.retain(Json::is_object);
                items.iter_mut().for_each(|item| drop_misshapen(fields, item));
                true
            }
            _ => true,
        };
        if !fits {
            members.remove(field.name);
        }
    }
}

/// The typed form. What the table found fault with may not fit; then what fits field by field is taken.
fn parsed<T: DeserializeOwned + Default>(json: Json) -> T {
    if let Ok(typed) = serde_json::from_value(json.clone()) {
        return typed;
    }
    let Json::Object(entries) = json else { return T::default() };
    let fitting = entries.into_iter().filter(|(key, value)| {
        let alone = Json::Object(std::iter::once((key.clone(), value.clone())).collect());
        serde_json::from_value::<T>(alone).is_ok()
    });
    serde_json::from_value(Json::Object(fitting.collect())).unwrap_or_default()
}
