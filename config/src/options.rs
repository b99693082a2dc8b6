//! Every option of Traefik v3.7 that Ravelin knows, in one table: its type, its default, and whether it works here.
//!
//! The table drives everything that has to agree: `read` brings a user's text into canonical form and judges it by the
//! table, `validate` and the reference pages are printed from it, and the check re-judges objects by it. What a value
//! *means* is not its business.

mod canonical;
mod certificates;
mod middlewares;
mod providers;
mod read;
mod reference;
mod routers;
mod sections;
mod services;
mod streams;
mod suggest;

pub use canonical::{SCHEMA_VERSION, object, object_json};
pub use read::{Finding, Reading, Use, read};
pub use reference::{DIFFERENCES, Difference, differences_markdown, options_markdown};
pub use suggest::nearest;

use crate::object::Kind;

/// An option.
#[derive(Debug)]
pub struct Field {
    /// Its name in Traefik's spelling; matched in any case.
    pub name: &'static str,
    /// What it holds.
    pub ty: Type,
    /// Its value when absent, as a person would write it; empty where there is none.
    pub default: &'static str,
    /// Whether it works here.
    pub support: Support,
}

/// Whether an option works as in Traefik.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As in Traefik.
    Same,
    /// Works, or is taken, but not quite as in Traefik: how and why.
    Different(&'static str),
    /// Known and does not work yet: what is missing.
    NotYet(&'static str),
}

/// What an option holds.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// Text.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number of 64 bits.
    Integer,
    /// A number.
    Number,
    /// A duration, see [`crate::duration`].
    Duration,
    /// A path to a file, or the file's content.
    Content,
    /// One of a few words, each with its own support.
    Choice(&'static [(&'static str, Support)]),
    /// One of a few words in any case.
    AnyCase(&'static [(&'static str, Support)]),
    /// A list of texts; one text counts as a list separated by commas.
    Texts,
    /// A list of paths or contents.
    Contents,
    /// Texts by names of the user's choice.
    TextMap,
    /// Further options.
    Group(&'static [Field]),
    /// Further options, all of which may be absent: `{}`, `true` and an empty value switch it on.
    Switch(&'static [Field]),
    /// A list of groups.
    Groups(&'static [Field]),
    /// Groups by names of the user's choice.
    Named(&'static [Field]),
    /// Anything.
    Free,
}

impl Type {
    /// What a person should write.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Flag => "true or false",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Duration => "a duration such as `500ms` or `1m30s`, or whole seconds",
            Self::Content => "a file's path or its content",
            Self::Choice(_) | Self::AnyCase(_) => "one of a few words",
            Self::Texts => "a list of texts",
            Self::Contents => "a list of files' paths or contents",
            Self::TextMap => "keys with texts",
            Self::Group(_) | Self::Switch(_) => "keys with values",
            Self::Groups(_) => "a list of keys with values",
            Self::Named(_) => "names, each with keys and values",
            Self::Free => "anything",
        }
    }

    /// The options below this one.
    pub fn fields(&self) -> &'static [Field] {
        match self {
            Self::Group(fields) | Self::Switch(fields) | Self::Groups(fields) | Self::Named(fields) => fields,
            _ => &[],
        }
    }
}

const fn field(name: &'static str, ty: Type) -> Field {
    Field { name, ty, default: "", support: Support::Same }
}

const fn text(name: &'static str) -> Field {
    field(name, Type::Text)
}

const fn flag(name: &'static str) -> Field {
    field(name, Type::Flag).or("false")
}

const fn integer(name: &'static str) -> Field {
    field(name, Type::Integer)
}

const fn number(name: &'static str) -> Field {
    field(name, Type::Number)
}

const fn duration(name: &'static str) -> Field {
    field(name, Type::Duration)
}

const fn content(name: &'static str) -> Field {
    field(name, Type::Content)
}

const fn choice(name: &'static str, words: &'static [(&'static str, Support)]) -> Field {
    field(name, Type::Choice(words))
}

const fn any_case(name: &'static str, words: &'static [(&'static str, Support)]) -> Field {
    field(name, Type::AnyCase(words))
}

const fn texts(name: &'static str) -> Field {
    field(name, Type::Texts)
}

const fn contents(name: &'static str) -> Field {
    field(name, Type::Contents)
}

const fn text_map(name: &'static str) -> Field {
    field(name, Type::TextMap)
}

const fn group(name: &'static str, fields: &'static [Field]) -> Field {
    field(name, Type::Group(fields))
}

const fn switch(name: &'static str, fields: &'static [Field]) -> Field {
    field(name, Type::Switch(fields))
}

const fn groups(name: &'static str, fields: &'static [Field]) -> Field {
    field(name, Type::Groups(fields))
}

const fn named(name: &'static str, fields: &'static [Field]) -> Field {
    field(name, Type::Named(fields))
}

const fn free(name: &'static str) -> Field {
    field(name, Type::Free)
}

impl Field {
    const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn differs(mut self, reason: &'static str) -> Self {
        self.support = Support::Different(reason);
        self
    }

    const fn not_yet(mut self, missing: &'static str) -> Self {
        self.support = Support::NotYet(missing);
        self
    }
}

/// The dynamic configuration's sections.
pub const DYNAMIC: &[Field] = &[
    group(
        "http",
        &[
            named("routers", routers::ROUTER),
            named("services", services::SERVICE),
            named("middlewares", middlewares::MIDDLEWARE),
            named("serversTransports", services::SERVERS_TRANSPORT),
        ],
    ),
    group("tcp", streams::TCP).not_yet("TCP routing does not work yet"),
    group("udp", streams::UDP).not_yet("UDP routing does not work yet"),
    group(
        "tls",
        &[
            groups("certificates", certificates::CERTIFICATE),
            named("options", certificates::OPTIONS),
            named("stores", certificates::STORE),
        ],
    ),
];

/// The static configuration's sections.
pub const STATIC: &[Field] = sections::STATIC;

/// What is said of every object of a kind whose section does not work yet.
pub fn not_yet(kind: Kind) -> Option<&'static str> {
    let section = DYNAMIC
        .iter()
        .find(|section| kind.prefix().strip_prefix(section.name).is_some_and(|rest| rest.starts_with('/')));
    match section?.support {
        Support::NotYet(text) => Some(text),
        Support::Same | Support::Different(_) => None,
    }
}

/// The options of an object of this kind; for a static section those of the section named.
pub fn of_object(kind: Kind, section: &str) -> &'static [Field] {
    match kind {
        Kind::HttpRouter => routers::ROUTER,
        Kind::HttpService => services::SERVICE,
        Kind::HttpMiddleware => middlewares::MIDDLEWARE,
        Kind::HttpServersTransport => services::SERVERS_TRANSPORT,
        Kind::TcpRouter => streams::TCP_ROUTER,
        Kind::TcpService => streams::TCP_SERVICE,
        Kind::TcpMiddleware => streams::TCP_MIDDLEWARE,
        Kind::UdpRouter => streams::UDP_ROUTER,
        Kind::UdpService => streams::UDP_SERVICE,
        Kind::TlsCertificate => certificates::CERTIFICATE,
        Kind::TlsStore => certificates::STORE,
        Kind::TlsOptions => certificates::OPTIONS,
        Kind::EntryPoint => sections::ENTRY_POINT,
        Kind::StaticSection => {
            STATIC.iter().find(|field| field.name == section).map_or(&[], |field| field.ty.fields())
        }
    }
}

#[cfg(test)]
mod tests;
