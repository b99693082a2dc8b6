//! Which of the fields that the request path asks about a head has at all: one look over its names in place of a hash for each
//! field that is mostly absent. It keeps no values and changes nothing.

use http::HeaderMap;

/// Names found among a head's fields. Fields may have been removed since: absence is certain, presence is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Present(u32);

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
        Self(headers.keys().fold(0, |all, name| all | Self::named(name.as_str()).0)).judged(headers)
    }

    /// Of these fields of a client.
    pub(crate) fn of_client(headers: &HeaderMap) -> Self {
        let all = headers.keys().map(http::HeaderName::as_str);
        Self(all.fold(0, |all, name| all | Self::named(name).0 | Self::underscored(name).0)).judged(headers)
    }

    /// Looks at the one value that decides.
    fn judged(self, headers: &HeaderMap) -> Self {
        if self.any(Self::CONNECTION) && super::names_no_field(headers, self) {
            Self(self.0 & !Self::LISTING.0)
        } else {
            self
        }
    }

    /// Of the field of this name, which is about to be added.
    pub(crate) fn of_name(name: &http::HeaderName) -> Self {
        Self::named(name.as_str())
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

    fn named(name: &str) -> Self {
        let bytes = name.as_bytes();
        match bytes.first() {
            Some(b't') => match name {
                "te" => Self::TE,
                "trailer" => Self::TRAILER,
                "transfer-encoding" => Self::TRANSFER_ENCODING,
                _ => Self(0),
            },
            Some(b'u') => match name {
                "upgrade" => Self::UPGRADE,
                "user-agent" => Self::USER_AGENT,
                _ => Self(0),
            },
            Some(b'c') => match name {
                "connection" => Self(Self::CONNECTION.0 | Self::LISTING.0),
                "content-length" => Self::CONTENT_LENGTH,
                _ => Self(0),
            },
            Some(b'p') => match name {
                "proxy-connection" | "proxy-authenticate" | "proxy-authorization" => Self::PROXY_HOP,
                _ => Self::forwarding(name),
            },
            Some(b'e') if name == "expect" => Self::EXPECT,
            Some(b'k') if name == "keep-alive" => Self(Self::KEEP_ALIVE.0 | Self::LISTING.0),
            Some(b'a') if name == "authorization" => Self::AUTHORIZATION,
            Some(b'w') if name == "www-authenticate" => Self::WWW_AUTHENTICATE,
            Some(b'x' | b'f') => Self::forwarding(name),
            _ => Self(0),
        }
    }

    fn underscored(name: &str) -> Self {
        let bytes = name.as_bytes();
        let found = match bytes.last_chunk::<8>() {
            // The last word may overlap the one before it.
            Some(last) => {
                holds_underscore(*last) || bytes.as_chunks().0.iter().any(|&word| holds_underscore(word))
            }
            None => bytes.iter().fold(false, |any, &byte| any | (byte == b'_')),
        };
        if found { Self::UNDERSCORE } else { Self(0) }
    }

    fn forwarding(name: &str) -> Self {
        match (super::is_forwarding(name), name == "x-forwarded-for") {
            (false, _) => Self(0),
            (true, false) => Self::FORWARDING,
            (true, true) => Self(Self::FORWARDING.0 | Self::X_FORWARDED_FOR.0),
        }
    }
}

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
            assert_eq!(Present::named(name), want, "{name}");
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                http::HeaderValue::from_static("v"),
            )]);
            assert_eq!(Present::of(&headers), want, "{name}");
        }
        for length in 0..20 {
            let name = format!("x{}", "a".repeat(length));
            assert_eq!(Present::underscored(&name), Present(0), "{name}");
            for place in 1..=length {
                let mut name = name.clone();
                name.replace_range(place..=place, "_");
                assert_eq!(Present::underscored(&name), Present::UNDERSCORE, "{name}");
            }
        }
        for hop in super::super::HOP_BY_HOP.iter().chain([&http::header::TE, &http::header::UPGRADE]) {
            assert!(Present::named(hop.as_str()).any(Present::HOP_BY_HOP), "{hop}");
        }
        for name in [
            "x-forwarded-any",
            "x-forwarded",
            "forwarded",
            "x-real-ip",
            "x-original-url",
            "x-rewrite-url",
            "proxy",
        ] {
            assert!(super::super::is_forwarding(name), "{name}");
            assert_eq!(Present::named(name), Present::FORWARDING, "{name}");
        }
        for name in ["t", "tea", "x-request-id", "from", "pragma", "cookie", "host", "accept", "user-agents"]
        {
            assert_eq!(Present::named(name), Present(0), "{name}");
        }
    }
}
