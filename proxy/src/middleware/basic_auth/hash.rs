//! Password hashes of htpasswd files: bcrypt, MD5 in Apache's and the old Unix form, SHA-1. What it does not know fits no
//! password; a plain text is no hash.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

/// Largest exponent of bcrypt: one more doubles the time, and this is some seconds.
const BCRYPT_COST_MAX: u32 = 16;
/// Rounds of MD5 in its Unix form.
const MD5_ROUNDS: usize = 1_000;

/// A user's hash. Its text is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Hash {
    Bcrypt { text: Box<str>, cost: u32 },
    Md5 { magic: &'static str, salt: Box<[u8]>, text: Box<[u8]> },
    Sha1(Box<[u8]>),
    Unknown,
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bcrypt { .. } => "Bcrypt",
            Self::Md5 { .. } => "Md5",
            Self::Sha1(_) => "Sha1",
            Self::Unknown => "Unknown",
        })
    }
}

impl Hash {
    /// From the text after a user's colon. Unknown forms are taken, and fit nothing, as in Traefik.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        if let Some(encoded) = text.strip_prefix("{SHA}") {
            return Ok(STANDARD.decode(encoded).map_or(Self::Unknown, |hash| Self::Sha1(hash.into())));
        }
        for magic in ["$apr1$", "$1$"] {
            if let Some((salt, hash)) = text.strip_prefix(magic).and_then(|rest| rest.split_once('$')) {
                // Longer salts are cut, as everywhere.
                let salt = salt.as_bytes().iter().take(8).copied().collect();
                return Ok(Self::Md5 { magic, salt, text: hash.as_bytes().into() });
            }
        }
        let bcrypt = ["$2a$", "$2b$", "$2x$", "$2y$"].iter().find_map(|magic| text.strip_prefix(magic));
        let Some(cost) = bcrypt.and_then(|rest| rest.split_once('$')) else { return Ok(Self::Unknown) };
        match cost.0.parse() {
            Ok(cost) if cost > BCRYPT_COST_MAX => Err("a bcrypt cost above 16 takes too long"),
            Ok(cost) => Ok(Self::Bcrypt { text: text.into(), cost }),
            Err(_) => Ok(Self::Unknown),
        }
    }

    /// Whether it takes so long that others must not wait for it.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self, Self::Bcrypt { .. } | Self::Md5 { .. })
    }

    /// Orders hashes by the time that they take.
    pub(super) fn cost(&self) -> u32 {
        match self {
            Self::Bcrypt { cost, .. } => 4 + cost,
            Self::Md5 { .. } => 3,
            Self::Sha1(_) => 2,
            Self::Unknown => 1,
        }
    }

    /// Whether it is that of the password.
    pub(super) fn fits(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt { text, .. } => bcrypt::verify(password, text).unwrap_or(false),
            Self::Md5 { magic, salt, text } => {
                verify_slices_are_equal(&md5_crypt(password, magic.as_bytes(), salt), text).is_ok()
            }
            Self::Sha1(hash) => {
                let found = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, password);
                verify_slices_are_equal(found.as_ref(), hash).is_ok()
            }
            Self::Unknown => false,
        }
    }
}

/// MD5 in its Unix form (Poul-Henning Kamp, 1994), whose text is 22 letters.
fn md5_crypt(password: &[u8], magic: &[u8], salt: &[u8]) -> Vec<u8> {
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut first = Md5::new().chain_update(password).chain_update(magic).chain_update(salt);
    first.update(inner.iter().cycle().take(password.len()).copied().collect::<Vec<u8>>());
    let mut bits = password.len();
    while bits > 0 {
        let byte = if bits & 1 == 1 { Some(&0) } else { password.first() };
        first.update(byte.map_or(&[][..], std::slice::from_ref));
        bits >>= 1;
    }
    let mut found = first.finalize();
    for round in 0..MD5_ROUNDS {
        let mut next = Md5::new();
        let (odd, even) = (&found[..], password);
        next.update(if round % 2 == 1 { even } else { odd });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if round % 2 == 1 { odd } else { even });
        found = next.finalize();
    }
    letters(&found.into())
}

fn letters(hash: &[u8; 16]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const GROUPS: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut out = Vec::with_capacity(22);
    let mut push = |mut value: u32, count: usize| {
        for _ in 0..count {
            // The remainder by the length is an index.
            out.push(LETTERS[(value % 64) as usize]);
            value /= 64;
        }
    };
    for [high, middle, low] in GROUPS {
        push(u32::from(hash[high]) << 16 | u32::from(hash[middle]) << 8 | u32::from(hash[low]), 4);
    }
    push(u32::from(hash[11]), 2);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_forms_fit_their_password_only() {
        for text in [
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/",
            "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1",
            "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
            "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
        ] {
            let hash = Hash::read(text).expect("a hash");
            assert!(hash.fits(b"secret") && !hash.fits(b"wrong") && !hash.fits(b""), "{text}");
        }
        let empty = Hash::read("{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=").expect("a hash");
        assert!(empty.fits(b""));
    }

    #[test]
    fn unknown_forms_fit_nothing() {
        for text in [
            "secret",
            "",
            "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.",
            "{SHA}!",
            "$2y$x$",
            "$1$",
        ] {
            let hash = Hash::read(text).expect("it is taken");
            assert!(!hash.fits(b"secret") && !hash.fits(text.as_bytes()), "{text}");
        }
        assert!(Hash::read("$2y$17$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW").is_err());
        assert_eq!(format!("{:?}", Hash::read("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=")), "Ok(Sha1)");
    }
}
