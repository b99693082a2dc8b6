//! Where in an object a walk is, by the options' table: from this follows which strings are secrets.
//!
//! What the table does not know, and what is not of the type that is due, is taken for a secret: a slip in an option's name
//! must not publish a password. It must not look below the value that it is asked about.

use super::names;
use crate::duration::GoDuration;
use crate::object::Kind;
use crate::options::{self, Field, Type};

/// What is due where the walk is.
#[derive(Clone, Copy)]
pub(super) enum Within {
    /// Secrets, whatever stands there.
    Secret,
    /// What no table describes: names tell.
    Free,
    /// What no table describes, under a name that may stand for a map of headers.
    FreeHeaders,
    /// A header's value.
    Header {
        /// Whether the header's name tells of a secret.
        is_secret: bool,
        /// Whether the table says that it is a header: else it may be something else, with names below it.
        is_known: bool,
    },
    /// Options of a table.
    Options {
        /// The table.
        fields: &'static [Field],
        /// Whether what is misplaced here may well be a secret.
        is_sensitive: bool,
    },
    /// An option's value that is no group.
    Value {
        /// What it holds.
        ty: Type,
        /// As of options.
        is_sensitive: bool,
        /// Whether it is the address of a server.
        is_address: bool,
    },
}

impl Within {
    /// At the top of an object. Static sections are walked by names alone: an error in one of them ends the start.
    pub(super) fn object(kind: Kind) -> Self {
        match kind {
            Kind::EntryPoint | Kind::StaticSection => Self::Free,
            _ => Self::Options { fields: options::of_object(kind, ""), is_sensitive: false },
        }
    }

    /// Whether a string that stands here is a secret.
    pub(super) fn seals(self, text: &str) -> bool {
        match self {
            // A string is no group, no list and no map.
            Self::Secret | Self::Options { .. } => true,
            Self::Free | Self::FreeHeaders => names::is_credentials(text),
            Self::Header { is_secret, .. } => is_secret || names::is_credentials(text),
            Self::Value { ty, is_sensitive, is_address } => match ty {
                Type::Text | Type::Content | Type::Texts | Type::Contents => is_address && text.contains('@'),
                Type::TextMap | Type::Groups(_) | Type::Named(_) => true,
                Type::Group(_) | Type::Switch(_) | Type::Free => false,
                Type::Flag | Type::Integer | Type::Number => is_sensitive,
                Type::Duration => is_sensitive && text.parse::<GoDuration>().is_err(),
                Type::Choice(words) | Type::AnyCase(words) => {
                    is_sensitive && !words.iter().any(|(word, _)| word.eq_ignore_ascii_case(text))
                }
            },
        }
    }

    /// An item of a list that stands here.
    pub(super) fn item(self) -> Self {
        match self {
            Self::Free | Self::FreeHeaders | Self::Header { .. } => self,
            Self::Value { ty: Type::Texts | Type::Contents, .. } => self,
            Self::Value { ty: Type::Groups(fields), is_sensitive, .. } => {
                Self::Options { fields, is_sensitive }
            }
            Self::Secret | Self::Options { .. } | Self::Value { .. } => Self::Secret,
        }
    }

    /// What stands here under a name.
    pub(super) fn member(self, name: &str) -> Self {
        match self {
            Self::Free | Self::Header { is_known: false, .. } if names::looks_secret(name) => Self::Secret,
            Self::Free if name.to_ascii_lowercase().ends_with("headers") => Self::FreeHeaders,
            Self::FreeHeaders => Self::Header { is_secret: names::is_secret_header(name), is_known: false },
            Self::Free | Self::Header { is_known: false, .. } => Self::Free,
            Self::Options { fields, is_sensitive } => {
                let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
                field.map_or(Self::Secret, |field| Self::option(field, is_sensitive))
            }
            Self::Value { ty: Type::TextMap, .. } => {
                Self::Header { is_secret: names::is_secret_header(name), is_known: true }
            }
            Self::Value { ty: Type::Named(fields), is_sensitive, .. } => {
                Self::Options { fields, is_sensitive }
            }
            Self::Secret | Self::Header { .. } | Self::Value { .. } => Self::Secret,
        }
    }

    fn option(field: &'static Field, is_sensitive: bool) -> Self {
        if names::is_secret(field.name) {
            return Self::Secret;
        }
        let is_sensitive = is_sensitive || names::may_hold_secrets(field.name);
        match field.ty {
            Type::Free => Self::Free,
            Type::Group(fields) | Type::Switch(fields) => Self::Options { fields, is_sensitive },
            ty => Self::Value { ty, is_sensitive, is_address: names::is_address(field.name) },
        }
    }
}
