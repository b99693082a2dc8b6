//! Keys of the replicated store: configuration objects by their own key, everything else under a fixed prefix.
//! It must not know what the values mean.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use ravelin_config::{Key, KeyError, SecretId};

/// Prefix of configuration objects. It sorts before every other prefix.
pub const CONFIG_PREFIX: &str = "config/";
/// Prefix of events; only the store itself writes here.
pub const EVENTS_PREFIX: &str = "events/";
/// Prefix of records about nodes.
pub const NODES_PREFIX: &str = "nodes/";
/// Prefix of decided roles; only the store itself writes here.
pub const ROLES_PREFIX: &str = "roles/";
/// Prefix of secrets: envelopes by the name of their value. One lives as long as an object refers to it.
pub const SECRETS_PREFIX: &str = "secrets/";
/// Prefix of the user's own keys.
pub const USER_PREFIX: &str = "user/";

const PREFIXES: [&str; 5] = [EVENTS_PREFIX, NODES_PREFIX, ROLES_PREFIX, SECRETS_PREFIX, USER_PREFIX];

/// A key of the store. Ordered as its text is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreKey {
    /// `config/` and the object's key.
    Config(Key),
    /// Any other.
    Plain(PlainKey),
}

/// A key outside the configuration: one of the fixed prefixes and a name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlainKey(Arc<str>);

/// Why a text is no key of the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreKeyError {
    /// No known prefix, or nothing after it.
    #[error("\"{key}\" is not under a known prefix (config/, nodes/, user/ …)")]
    Prefix {
        /// The text, cut short.
        key: String,
    },
    /// A secret whose name is no keyed digest.
    #[error("\"{key}\" is not the name of a secret, which has 64 hexadecimal digits")]
    Secret {
        /// The text, cut short.
        key: String,
    },
    /// Too long, or unprintable.
    #[error(transparent)]
    Text(#[from] KeyError),
}

impl StoreKey {
    /// A key from its full text, for example `config/http/routers/web@file` or `nodes/3`.
    ///
    /// # Errors
    /// [`StoreKeyError`].
    pub fn new(text: &str) -> Result<Self, StoreKeyError> {
        if let Some(key) = text.strip_prefix(CONFIG_PREFIX) {
            return Ok(Self::Config(Key::new(key)?));
        }
        // The same bounds hold for all keys.
        Key::new(text)?;
        if text.strip_prefix(SECRETS_PREFIX).is_some_and(|name| SecretId::parse(name).is_none()) {
            return Err(StoreKeyError::Secret { key: text.chars().take(80).collect() });
        }
        if PREFIXES.iter().any(|prefix| text.strip_prefix(prefix).is_some_and(|name| !name.is_empty())) {
            return Ok(Self::Plain(PlainKey(Arc::from(text))));
        }
        Err(StoreKeyError::Prefix { key: text.chars().take(80).collect() })
    }

    /// Whether only the store itself writes under this key.
    pub fn is_reserved(&self) -> bool {
        match self {
            Self::Config(_) => false,
            Self::Plain(key) => key.0.starts_with(EVENTS_PREFIX) || key.0.starts_with(ROLES_PREFIX),
        }
    }

    /// Whether it is the key of a secret.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Plain(key) if key.0.starts_with(SECRETS_PREFIX))
    }

    /// Length of the full text, in bytes.
    pub fn bytes(&self) -> u64 {
        self.text_bytes() as u64
    }

    pub(super) fn text_bytes(&self) -> usize {
        match self {
            Self::Config(key) => CONFIG_PREFIX.len() + key.as_str().len(),
            Self::Plain(key) => key.0.len(),
        }
    }
}

impl PlainKey {
    /// The event that became this revision. Zero-padded, so that keys sort as revisions do.
    pub(super) fn event(revision: u64) -> Self {
        Self(format!("{EVENTS_PREFIX}{revision:020}").into())
    }

    pub(super) fn controller() -> Self {
        Self(format!("{ROLES_PREFIX}controller").into())
    }

    /// The secret of this name.
    pub fn secret(id: &SecretId) -> Self {
        Self(format!("{SECRETS_PREFIX}{id}").into())
    }

    /// The secret's name, if it is one's key.
    pub fn secret_id(&self) -> Option<SecretId> {
        SecretId::parse(self.0.strip_prefix(SECRETS_PREFIX)?)
    }

    /// The full text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<PlainKey> for StoreKey {
    fn from(key: PlainKey) -> Self {
        Self::Plain(key)
    }
}

impl From<Key> for StoreKey {
    fn from(key: Key) -> Self {
        Self::Config(key)
    }
}

impl Borrow<str> for PlainKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(key) => write!(f, "{CONFIG_PREFIX}{key}"),
            Self::Plain(key) => f.write_str(&key.0),
        }
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreKey({self})")
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlainKey({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back_and_sort_as_keys_do() {
        let texts =
            ["config/http/routers/a@file", "config/zzz", "events/00000000000000000007", "nodes/3", "user/x"];
        let keys: Vec<_> = texts.iter().map(|text| StoreKey::new(text).expect("a key")).collect();
        assert!(keys.is_sorted() && texts.is_sorted());
        for (text, key) in texts.iter().zip(&keys) {
            assert_eq!((key.to_string(), key.bytes()), ((*text).to_owned(), text.len() as u64));
        }
        assert_eq!(StoreKey::Plain(PlainKey::event(7)), keys[2]);
    }

    #[test]
    fn unknown_prefixes_and_unprintable_texts_are_refused() {
        for text in
            ["", "config/", "nodes/", "other/x", "nodes", "user/a\nb", &format!("user/{}", "x".repeat(1024))]
        {
            assert!(StoreKey::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_the_store_writes_roles_and_events() {
        let reserved = |text| StoreKey::new(text).expect("a key").is_reserved();
        assert!(reserved("roles/controller") && reserved("events/1"));
        assert!(!reserved("config/roles/x") && !reserved("nodes/1") && !reserved("user/roles/"));
    }
}
