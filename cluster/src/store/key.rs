//! Keys of the replicated store: configuration objects by their own key, everything else under a prefix.
//! It must not know what the values mean, nor refuse a prefix for being unknown: a later version may have written it.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use ravelin_config::{Key, KeyError, SecretId};

/// Prefix of configuration objects.
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

/// The prefixes that mean something to this version, beside the configuration's and the secrets'.
const PREFIXES: [&str; 4] = [EVENTS_PREFIX, NODES_PREFIX, ROLES_PREFIX, USER_PREFIX];

/// The longest text that is read as a plain key, in bytes: damage, beyond. How long a key may be, the bounds in the state
/// say, which are far below.
const PLAIN_KEY_BYTES_MAX: usize = 64 << 10;

/// A key of the store. The configuration comes first; the others follow by their text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreKey {
    /// `config/` and the object's key.
    Config(Key),
    /// Any other.
    Plain(PlainKey),
}

/// A key outside the configuration: a prefix of small letters and hyphens, a slash, and a name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlainKey(Arc<str>);

/// Why a text is no key of the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreKeyError {
    /// No prefix, or nothing after it.
    #[error("\"{key}\" is not a name under a prefix (config/, nodes/, user/ …)")]
    Prefix {
        /// The text, cut short.
        key: String,
    },
    /// Longer than any version's keys.
    #[error("a key of {bytes} bytes is longer than the {PLAIN_KEY_BYTES_MAX} that are read")]
    TooLong {
        /// The length found, in bytes.
        bytes: usize,
    },
    /// Unprintable, or a configuration key that is empty or too long.
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
        if text.len() > PLAIN_KEY_BYTES_MAX {
            return Err(StoreKeyError::TooLong { bytes: text.len() });
        }
        if let Some(found) = text.chars().find(|c| c.is_control()) {
            return Err(KeyError::Control { code: u32::from(found) }.into());
        }
        if text.split_once('/').is_some_and(|(prefix, name)| is_prefix(prefix) && !name.is_empty()) {
            return Ok(Self::Plain(PlainKey(Arc::from(text))));
        }
        Err(StoreKeyError::Prefix { key: text.chars().take(80).collect() })
    }

    /// Whether this version knows what such a key is for. Asked before an operator's change is proposed; apply must never
    /// ask, as nodes of other versions know others.
    pub fn is_known(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::Plain(key) => {
                key.secret_id().is_some() || PREFIXES.iter().any(|prefix| key.0.starts_with(prefix))
            }
        }
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
        matches!(self, Self::Plain(key) if key.secret_id().is_some())
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

/// A small letter, then small letters and hyphens.
fn is_prefix(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
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
    fn texts_without_prefix_or_name_and_unprintable_ones_are_no_keys() {
        let (long, long_config) =
            (format!("user/{}", "x".repeat(64 << 10)), format!("config/{}", "x".repeat(1025)));
        for text in [
            "",
            "config/",
            "nodes/",
            "/x",
            "nodes",
            "Other/x",
            "-other/x",
            "oth3r/x",
            "user/a\nb",
            &long,
            &long_config,
        ] {
            assert!(StoreKey::new(text).is_err(), "{text:.80?}");
        }
    }

    #[test]
    fn prefixes_of_a_later_version_are_keys_that_this_one_knows_nothing_of() {
        let secret = format!("secrets/{}", "11".repeat(32));
        for text in ["config/x", "nodes/1", "user/x", "roles/controller", "events/1", &secret] {
            assert!(StoreKey::new(text).expect("a key").is_known(), "{text}");
        }
        for text in [
            "acme/account",
            "audit-log/1",
            "tokens/x/y",
            "secrets/short",
            &secret.to_uppercase().replace("SECRETS", "secrets").replace('1', "A"),
        ] {
            let key = StoreKey::new(text).expect("a key");
            assert_eq!(
                (key.is_known(), key.is_reserved(), key.is_secret(), key.to_string()),
                (false, false, false, text.to_owned())
            );
        }
    }

    #[test]
    fn only_the_store_writes_roles_and_events() {
        let reserved = |text| StoreKey::new(text).expect("a key").is_reserved();
        assert!(reserved("roles/controller") && reserved("events/1"));
        assert!(!reserved("config/roles/x") && !reserved("nodes/1") && !reserved("user/roles/"));
    }
}
