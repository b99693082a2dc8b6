//! Keys of configuration objects: one bounded, printable path per object, its kind readable from the prefix.
//! It must not know what an object holds.

use std::fmt;
use std::sync::Arc;

use crate::object::Kind;

/// Longest key in bytes; longer names are refused where they are read.
pub const KEY_BYTES_MAX: usize = 1024;

/// The key of one configuration object, e.g. `http/routers/web@file`.
///
/// Always between 1 and [`KEY_BYTES_MAX`] bytes and free of control characters; clones share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// Why a text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is empty.
    #[error("a key must not be empty")]
    Empty,
    /// The text is longer than [`KEY_BYTES_MAX`].
    #[error("a key of {bytes} bytes is longer than the {KEY_BYTES_MAX} allowed")]
    TooLong {
        /// The length found, in bytes.
        bytes: usize,
    },
    /// The text holds a control character.
    #[error("a key must not hold the control character U+{code:04X}")]
    Control {
        /// The code point found.
        code: u32,
    },
}

impl Key {
    /// A key from its full text.
    ///
    /// # Errors
    /// [`KeyError`] if the text is empty, too long, or holds a control character.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        Self::check(text)?;
        Ok(Self(Arc::from(text)))
    }

    fn check(text: &str) -> Result<(), KeyError> {
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong { bytes: text.len() });
        }
        if let Some(found) = text.chars().find(|c| c.is_control()) {
            return Err(KeyError::Control { code: u32::from(found) });
        }
        Ok(())
    }

    /// The key of the object of `kind` with this (qualified) name.
    ///
    /// # Errors
    /// As [`Key::new`].
    pub fn of(kind: Kind, name: &str) -> Result<Self, KeyError> {
        Self::new(&format!("{}{name}", kind.prefix()))
    }

    /// The full text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind that the prefix names; `None` for a key outside the configuration's own prefixes.
    pub fn kind(&self) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| self.0.starts_with(kind.prefix()))
    }

    /// What follows the kind's prefix: `web@file` of `http/routers/web@file`; the whole text if no kind fits.
    pub fn name(&self) -> &str {
        match self.kind() {
            Some(kind) => self.0.strip_prefix(kind.prefix()).unwrap_or(&self.0),
            None => &self.0,
        }
    }

    /// The provider after the last `@` of the name, if there is one.
    pub fn provider(&self) -> Option<&str> {
        self.name().rsplit_once('@').map(|(_, provider)| provider)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0)
    }
}

impl std::borrow::Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<Key> for Arc<str> {
    fn from(key: Key) -> Self {
        key.0
    }
}

/// The only way in from a wire or a disk: no key escapes the bounds.
impl TryFrom<Arc<str>> for Key {
    type Error = KeyError;

    fn try_from(text: Arc<str>) -> Result<Self, KeyError> {
        Self::check(&text)?;
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_name_and_provider_come_from_the_text() {
        let key = Key::of(Kind::HttpRouter, "web@file").expect("short and printable");
        assert_eq!(key.as_str(), "http/routers/web@file");
        assert_eq!(key.kind(), Some(Kind::HttpRouter));
        assert_eq!((key.name(), key.provider()), ("web@file", Some("file")));
        let entry_point = Key::of(Kind::EntryPoint, "web").expect("short and printable");
        assert_eq!(entry_point.kind(), Some(Kind::EntryPoint));
        assert_eq!((entry_point.name(), entry_point.provider()), ("web", None));
        let section = Key::new("static/api").expect("short and printable");
        assert_eq!((section.kind(), section.name()), (Some(Kind::StaticSection), "api"));
        assert_eq!(Key::new("other/x").expect("short and printable").kind(), None);
    }

    #[test]
    fn refuses_what_is_unbounded_or_unprintable() {
        assert_eq!(Key::new(""), Err(KeyError::Empty));
        assert_eq!(Key::new(&"x".repeat(1025)), Err(KeyError::TooLong { bytes: 1025 }));
        assert_eq!(Key::new("a\nb"), Err(KeyError::Control { code: 10 }));
    }
}
