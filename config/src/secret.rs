//! Secrets: values that no log, disk, answer or digest may show. An object holds a reference where one stood; the value
//! travels beside the configuration, in an envelope.
//!
//! How secrets leave an object and come back is in `places`; which strings are secrets in `within` by the options' table and
//! in `names` by names; keys and envelopes in `seal`; what a
//! configuration carries beside its records in `beside`. Nothing here may print a value.

use std::fmt;

use bincode::{Decode, Encode};
use zeroize::Zeroizing;

mod beside;
mod names;
mod places;
mod seal;
mod within;

pub use beside::{SecretMap, VIEW_KEYS_MAX};
pub use names::shown_address;
pub(crate) use names::{
    HIDDEN_NAME, PRIVATE_KEY, is_header_name, looks_secret, may_hold_secrets, shown_name,
};
pub use places::{FillError, SealError, Sealed, fill, fill_record, seal_object, seal_record, shown_object};
pub use seal::{ENVELOPE_VERSION, KEY_BYTES, KeyId, OpenError, SealingKeys, ViewKey};

/// The name of a secret: a keyed digest of its value. `Display` prints all 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct SecretId(pub [u8; 32]);

/// The value of a secret: text, wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

/// Where in an object's JSON a secret stood.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct SecretPlace {
    /// JSON pointer (RFC 6901).
    pub pointer: String,
    /// The secret's name.
    pub id: SecretId,
}

impl SecretId {
    /// The id in 64 lower-case hexadecimal digits; `None` if the text is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: &u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return None;
        }
        let mut id = [0; 32];
        for (byte, [high, low]) in id.iter_mut().zip(pairs) {
            *byte = digit(high)? << 4 | digit(low)?;
        }
        Some(Self(id))
    }

    /// The first 12 hexadecimal digits: enough to tell secrets apart for a person.
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretId({self})")
    }
}

impl Secret {
    /// A secret of this value.
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value. Whoever takes it must not print it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests;
