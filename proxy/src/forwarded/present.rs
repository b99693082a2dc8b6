//! Which of the fields that the request path asks about a head has at all: one look over its names in place of a hash for each
//! field that is mostly absent. It keeps no values and changes nothing.
//!
//! Whoever reads a head over HTTP/1 has its names at hand and notes them on the way; elsewhere they are looked over afterwards.

use http::{HeaderMap, HeaderValue};

/// Names found among a head's fields. Fields may have been removed since: absence is certain, presence is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present(u32);

const ONES: u64 = u64::MAX / 0xFF;

impl Present {
    pub(crate) const TE: Self = Self(1);
    pub(crate) const TRAILER: Self = Self(1 << 1);
    pub(crate) const TRANSFER_ENCODING: Self = Self(1 << 2);
    pub(crate) const UPGRADE: Self = Self(1 << 3);
    pub(crate) const USER_AGENT: Self = Self(1 << 4);
    pub(crate) const EXPECT: Self = Self(1 << 5);
    pub(crate) const CONNECTION: Self = Self(1 << 6);
    pub(crate) const CONTENT_LENGTH: Self = Self(1 << 7);
    pub(crate) const KEEP_ALIVE: Self = Self(1 << 8);
    /// `Proxy-Connection`, `Proxy-Authenticate` or `Proxy-Authorization`.
    pub(crate) const PROXY_HOP: Self = Self(1 << 9);
    pub(crate) const AUTHORIZATION: Self = Self(1 << 10);
    pub(crate) const WWW_AUTHENTICATE: Self = Self(1 << 11);
    pub(crate) const X_FORWARDED_FOR: Self = Self(1 << 12);
    /// Any field by which proxies tell each other who the client is.
    pub(crate) const FORWARDING: Self = Self(1 << 13);
    /// Any name with an underscore.
    pub(crate) const UNDERSCORE: Self = Self(1 << 14);
    /// A `Connection` that is more than the usual lone `keep-alive`, or the field of that name: it may name fields that are there.
    pub(crate) const LISTING: Self = Self(1 << 15);
    /// No field: a middleware made a gRPC request of it, which says over HTTP/2 that it takes trailers.
    pub(crate) const GRPC: Self = Self(1 << 16);
    /// The field of that name. It stays among the others over HTTP/1, and is asked for by whoever reads a head.
    pub(crate) const HOST: Self = Self(1 << 17);
    /// What [`super::strip_hop_by_hop`] has to do with.
    pub(crate) const HOP_BY_HOP: Self = Self(
        Self::TE.0
            | Self::UPGRADE.0
            | Self::CONNECTION.0
            | Self::KEEP_ALIVE.0
            | Self::PROXY_HOP.0
            | Self::TRANSFER_ENCODING.0,
    );

    /// Of these fields, but for [`Present::UNDERSCORE`], which is asked for once, where a request comes in.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let named = |all: Self, name: &http::HeaderName| all.and(Self::of_name(name));
        headers.keys().fold(Self(0), named).judged(headers)
    }

    /// Of these fields of a client.
    pub(crate) fn of_client(headers: &HeaderMap) -> Self {
        let named = |all: Self, name: &http::HeaderName| {
            all.and(Self::of_name(name)).and(Self::underscored(name.as_str().as_bytes()))
        };
        headers.keys().fold(Self(0), named).judged(headers)
    }

    /// Looks at the one value that decides.
    fn judged(self, headers: &HeaderMap) -> Self {
        if !self.any(Self::CONNECTION) {
            return self;
        }
        let mut values = headers.get_all(http::header::CONNECTION).iter();
        let first = values.next().map(HeaderValue::as_bytes).unwrap_or_default();
        self.listing(!lists_nothing(first) || values.next().is_some())
    }

    /// Whether its `Connection` fields are more than the usual lone one.
    pub(crate) fn listing(self, listing: bool) -> Self {
        if listing || self.any(Self::KEEP_ALIVE) { self } else { Self(self.0 & !Self::LISTING.0) }
    }

    /// Of the field of this name, which is about to be added.
    pub(crate) fn of_name(name: &http::HeaderName) -> Self {
        Self::named(name.as_str().as_bytes())
    }

    /// With what was added since.
    #[must_use]
    pub(crate) const fn and(self, added: Self) -> Self {
        Self(self.0 | added.0)
    }

    /// Whether none of `found` is missing here.
    pub(crate) const fn covers(self, found: Self) -> bool {
        found.0 & !self.0 == 0
    }

    /// Whether any of `fields` may be there.
    pub(crate) const fn any(self, fields: Self) -> bool {
        self.0 & fields.0 != 0
    }

    /// Of the field of this name: token bytes in any case. Nearly all are told by first letter and length to be none that is
    /// asked for.
    #[inline]
    pub(crate) fn named(name: &[u8]) -> Self {
        let first = name.first().copied().unwrap_or_default();
        let lengths = ASKED_LENGTHS[usize::from(first % 32)];
        if lengths >> name.len().min(31) & 1 == 0 { Self(0) } else { Self::asked(name) }
    }

    pub(crate) fn underscored(name: &[u8]) -> Self {
        let found = match name.last_chunk::<8>() {
            // The last word may overlap the one before it.
            Some(last) => {
                holds_underscore(*last) || name.as_chunks().0.iter().any(|&word| holds_underscore(word))
            }
            None => name.iter().fold(false, |any, &byte| any | (byte == b'_')),
        };
        if found { Self::UNDERSCORE } else { Self(0) }
    }
}

/// Names that are asked for, each behind its length: one list for who looks them up and for the table that tells nearly all others.
macro_rules! asked {
    ($($length:literal $name:literal => $fields:expr,)*) => {
        impl Present {
            #[inline(never)]
            fn asked(name: &[u8]) -> Self {
                match name.len() {
                    $($length if is(name, $name) => $fields,)*
                    _ if name.get(..12).is_some_and(|name| is(name, FORWARDED_FAMILY)) => Self::FORWARDING,
                    _ => Self(0),
                }
            }
        }

        const fn asked_lengths() -> [u32; 32] {
            let mut lengths = [0; 32];
            $(
                assert!($name.len() == $length && $length < 31, "the length is that of the name");
                lengths[$name[0] as usize % 32] |= 1 << $length;
            )*
            lengths[FORWARDED_FAMILY[0] as usize % 32] |= u32::MAX << FORWARDED_FAMILY.len();
            lengths
        }
    };
}

/// How all names begin that are asked for however they go on.
const FORWARDED_FAMILY: &[u8; 12] = b"x-forwarded-";

asked! {
    2 b"te" => Self::TE,
    4 b"host" => Self::HOST,
    5 b"proxy" => Self::FORWARDING,
    6 b"expect" => Self::EXPECT,
    7 b"upgrade" => Self::UPGRADE,
    7 b"trailer" => Self::TRAILER,
    9 b"forwarded" => Self::FORWARDING,
    9 b"x-real-ip" => Self::FORWARDING,
    10 b"connection" => Self(Self::CONNECTION.0 | Self::LISTING.0),
    10 b"user-agent" => Self::USER_AGENT,
    10 b"keep-alive" => Self(Self::KEEP_ALIVE.0 | Self::LISTING.0),
    11 b"x-forwarded" => Self::FORWARDING,
    13 b"authorization" => Self::AUTHORIZATION,
    13 b"x-rewrite-url" => Self::FORWARDING,
    14 b"content-length" => Self::CONTENT_LENGTH,
    14 b"x-original-url" => Self::FORWARDING,
    15 b"x-forwarded-for" => Self(Self::FORWARDING.0 | Self::X_FORWARDED_FOR.0),
    16 b"www-authenticate" => Self::WWW_AUTHENTICATE,
    16 b"proxy-connection" => Self::PROXY_HOP,
    17 b"transfer-encoding" => Self::TRANSFER_ENCODING,
    18 b"proxy-authenticate" => Self::PROXY_HOP,
    19 b"proxy-authorization" => Self::PROXY_HOP,
}

/// Whether token bytes are this text of small letters and hyphens, in any case: no other token byte becomes one of these by the bit
/// that makes letters small.
#[inline]
fn is<const BYTES: usize>(name: &[u8], text: &[u8; BYTES]) -> bool {
    let differing = |name: &[u8; BYTES]| name.iter().zip(text).fold(0, |any, (a, b)| any | ((a | 0x20) ^ b));
    name.as_array().is_some_and(|name| differing(name) == 0)
}

/// Whether a value of `Connection` is the usual `keep-alive`, which names no field.
pub(crate) fn lists_nothing(value: &[u8]) -> bool {
    value == b"keep-alive" || value.eq_ignore_ascii_case(b"keep-alive")
}

/// How long the names are that are asked for, by the low bits of their first letter: a bit for each length, the last one for all
/// from 31 on.
const ASKED_LENGTHS: [u32; 32] = asked_lengths();

fn holds_underscore(word: [u8; 8]) -> bool {
    // A byte that is an underscore becomes zero and then borrows into its top bit.
    let word = u64::from_le_bytes(word) ^ u64::from_le_bytes([b'_'; 8]);
    word.wrapping_sub(ONES) & !word & (ONES << 7) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_asked_for_is_found_and_no_other() {
        let table = [
            ("te", Present::TE),
            ("host", Present::HOST),
            ("trailer", Present::TRAILER),
            ("transfer-encoding", Present::TRANSFER_ENCODING),
            ("upgrade", Present::UPGRADE),
            ("user-agent", Present::USER_AGENT),
            ("expect", Present::EXPECT),
            ("connection", Present(Present::CONNECTION.0 | Present::LISTING.0)),
            ("content-length", Present::CONTENT_LENGTH),
            ("keep-alive", Present(Present::KEEP_ALIVE.0 | Present::LISTING.0)),
            ("proxy-connection", Present::PROXY_HOP),
            ("proxy-authenticate", Present::PROXY_HOP),
            ("proxy-authorization", Present::PROXY_HOP),
            ("authorization", Present::AUTHORIZATION),
            ("www-authenticate", Present::WWW_AUTHENTICATE),
            ("x-forwarded-for", Present(Present::FORWARDING.0 | Present::X_FORWARDED_FOR.0)),
        ];
        for (name, want) in table {
            let capitals = name.to_ascii_uppercase();
            assert_eq!(Present::named(name.as_bytes()), want, "{name}");
            assert_eq!(Present::named(capitals.as_bytes()), want, "{capitals}");
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_static("v"),
            )]);
            assert_eq!(Present::of(&headers), want, "{name}");
        }
        for length in 0..20 {
            let name = format!("x{}", "a".repeat(length));
            assert_eq!(Present::underscored(name.as_bytes()), Present(0), "{name}");
            for place in 1..=length {
                let mut name = name.clone();
                name.replace_range(place..=place, "_");
                assert_eq!(Present::underscored(name.as_bytes()), Present::UNDERSCORE, "{name}");
            }
        }
        for hop in super::super::HOP_BY_HOP.iter().chain([&http::header::TE, &http::header::UPGRADE]) {
            assert!(Present::of_name(hop).any(Present::HOP_BY_HOP), "{hop}");
        }
        let long = format!("x-forwarded-{}", "a".repeat(70));
        for name in [
            &long,
            "x-forwarded-any",
            "x-forwarded",
            "forwarded",
            "x-real-ip",
            "x-original-url",
            "x-rewrite-url",
            "proxy",
        ] {
            assert_eq!(Present::named(name.as_bytes()), Present::FORWARDING, "{name}");
        }
        for name in [
            "t",
            "tea",
            "x-request-id",
            "from",
            "pragma",
            "cookie",
            "accept",
            "user-agents",
            "x-forwardedfor",
        ] {
            assert_eq!(Present::named(name.as_bytes()), Present(0), "{name}");
        }
    }
}
