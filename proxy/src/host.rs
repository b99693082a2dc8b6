//! The one canonical host: lower case, no port, no trailing dot. Routing, policy and SNI checks read this value only; what is
//! forwarded is what the client sent. It resolves nothing and knows no routes.

use std::borrow::Cow;

/// Longest host in bytes that is taken (RFC 1035 allows 253 and a dot; underscores and numbers of any kind are let through).
pub const HOST_BYTES_MAX: usize = 255;

/// A host that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// A list, a path, userinfo, blanks, control or non-ASCII bytes.
    #[error("the host holds a byte that no host holds")]
    Byte,
    /// Brackets that do not enclose an address.
    #[error("the bracketed address is malformed")]
    Bracket,
    /// The port is not a decimal number up to 65535.
    #[error("the port is not a number")]
    Port,
    /// Longer than [`HOST_BYTES_MAX`].
    #[error("the host is too long")]
    Length,
}

/// A Host value taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    /// Canonical: lower case, no port, no trailing dot; IPv6 without brackets.
    pub name: Cow<'a, str>,
    /// The port if one was written (an empty port counts as none).
    pub port: Option<u16>,
}

/// Canonicalises a Host value. The empty value is legal (HTTP/1.1 allows `Host:` without content) and yields an empty name.
/// Borrows where the value is canonical already, so that the usual request allocates nothing.
pub fn canonical(value: &str) -> Result<Host<'_>, HostError> {
    if value.len() > HOST_BYTES_MAX + 6 {
        return Err(HostError::Length);
    }
    let (name, port) = if let Some(rest) = value.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(HostError::Bracket)?;
        let (zone_free, zone) =
            address.split_once('%').map_or((address, None), |(before, zone)| (before, Some(zone)));
        if zone.is_some_and(|zone| zone.is_empty() || !zone.bytes().all(is_host_byte)) {
            return Err(HostError::Bracket);
        }
        zone_free.parse::<std::net::Ipv6Addr>().map_err(|_| HostError::Bracket)?;
        let port = match after.strip_prefix(':') {
            Some(port) => port,
            None if after.is_empty() => "",
            None => return Err(HostError::Bracket),
        };
        (address, port)
    } else {
        match value.split_once(':') {
            Some((name, port)) => (name, port),
            None => (value, ""),
        }
    };
    // One look at each byte: what of all classes it belongs to, and what any does.
    let (all, any) = name.bytes().fold((HOST, 0), |(all, any), byte| {
        let class = CLASSES.get(usize::from(byte)).copied().unwrap_or(0);
        (all & class, any | class)
    });
    if !value.starts_with('[') && all & HOST == 0 {
        return Err(HostError::Byte);
    }
    let port = parse_port(port)?;
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.ends_with('.') {
        return Err(HostError::Byte);
    }
    if name.len() > HOST_BYTES_MAX {
        return Err(HostError::Length);
    }
    let name = if any & UPPER != 0 { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) };
    Ok(Host { name, port })
}

fn parse_port(text: &str) -> Result<Option<u16>, HostError> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HostError::Port);
    }
    text.parse().map(Some).map_err(|_| HostError::Port)
}

/// May stand in a host.
const HOST: u8 = 1;
/// Has another case.
const UPPER: u8 = 2;

const CLASSES: [u8; 256] = classes();

fn is_host_byte(byte: u8) -> bool {
    CLASSES.get(usize::from(byte)).is_some_and(|class| class & HOST != 0)
}

/// RFC 3986 `reg-name` without percent-encoding and without the comma (a comma is a list of hosts, which two proxies read in
/// two ways).
const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let marks = matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
        );
        if byte.is_ascii_alphanumeric() || marks {
            table[index] |= HOST;
        }
        if byte.is_ascii_uppercase() {
            table[index] |= UPPER;
        }
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_come_out_canonical_or_are_refused() {
        let good = [
            ("a.test", "a.test", None),
            ("A.Test.", "a.test", None),
            ("a.test:8080", "a.test", Some(8080)),
            ("a.test.:80", "a.test", Some(80)),
            ("a.test:", "a.test", None),
            ("", "", None),
            ("[::1]", "::1", None),
            ("[::1]:99", "::1", Some(99)),
            ("[FE80::1%eth0]", "fe80::1%eth0", None),
            ("10.0.0.1:1", "10.0.0.1", Some(1)),
            ("under_score.test", "under_score.test", None),
            ("xn--bcher-kva.test", "xn--bcher-kva.test", None),
        ];
        for (value, name, port) in good {
            let host = canonical(value).unwrap_or_else(|error| panic!("{value}: {error}"));
            assert_eq!((host.name.as_ref(), host.port), (name, port), "{value}");
        }
        for value in [
            "a.test, b.test",
            "a.test b.test",
            "a.test/",
            "a.test/x",
            "joe@a.test",
            "a.test#x",
            "a.test?x",
            "a\\b",
            "a\0b",
            "a.test:bad",
            "a.test:99999",
            "a.test:+1",
            "[::1",
            "[zz]",
            "[::1]x",
            "[::1%]",
            "[::1%eth0/..]",
            "[::1%a b]",
            "[::1%u@evil.test]",
            "[::1%a,b]",
            "::1",
            "b%20c",
            "bücher.test",
            "\"a\"",
            "<a>",
        ] {
            assert!(canonical(value).is_err(), "{value} must be refused");
        }
        assert_eq!(canonical(&"a".repeat(300)), Err(HostError::Length));
    }

    #[test]
    fn the_usual_host_is_not_copied() {
        assert!(matches!(canonical("www.example.com:8443").expect("good").name, Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn canonical_is_idempotent_and_lower_case(value in "[A-Za-z0-9._-]{0,40}(:[0-9]{0,4})?") {
            if let Ok(host) = canonical(&value) {
                prop_assert!(!host.name.bytes().any(|byte| byte.is_ascii_uppercase()));
                let again = canonical(&host.name).expect("canonical text is good");
                prop_assert_eq!(again.name.as_ref(), host.name.as_ref());
            }
        }
    }
}
