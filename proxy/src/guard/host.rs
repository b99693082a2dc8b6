//! Which bytes may name a host in a Host field or an authority. It only refuses; the one canonical form is made elsewhere.

use std::net::Ipv6Addr;

use super::bytes::host_prefix;

/// Whether `value` is `host [":" port]`: a name of letters, digits, `-`, `.`, `_`, `~`, or a bracketed IPv6 address, and
/// a port of at most five digits, which may be empty. User information, lists, blanks, paths and escapes are not hosts.
pub(super) fn is_host(value: &[u8]) -> bool {
    if !value.is_empty() && host_prefix(value) == value.len() {
        return true;
    }
    let (host, port) = match value.iter().rposition(|&byte| byte == b':' || byte == b']') {
        Some(at) if value.get(at) == Some(&b':') => {
            let (host, port) = value.split_at(at);
            (host, port.get(1..).unwrap_or_default())
        }
        _ => (value, [].as_slice()),
    };
    if port.len() > 5 || !port.iter().all(u8::is_ascii_digit) {
        return false;
    }
    match host {
        [] => false,
        [b'[', inner @ .., b']'] => {
            std::str::from_utf8(inner).is_ok_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
        }
        name => host_prefix(name) == name.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn hosts_with_and_without_port() {
        for good in [
            "a.test",
            "A.TEST",
            "a.test.",
            "a.test:8080",
            "a.test:",
            "xn--bcher-kva.test",
            "127.0.0.1",
            "[::1]",
            "[::1]:80",
            "a_b",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
    }

    #[test]
    fn what_is_no_host() {
        let bad = [
            "",
            ":80",
            "a.test, b.test",
            "a.test,b.test",
            "a.test/x",
            "u@a.test",
            "a.test b",
            "a.test\0",
            "a.test:x",
            "a.test:-1",
            "a.test:123456",
            "[::1",
            "::1",
            "[::1]x",
            "[a.test]",
            "[::1%25eth0]",
            "a.test#b",
            "a.test?b",
            "a.test\\b",
            "a%2etest",
            "b\u{fc}cher.test",
            "a.test:80:80",
            "*",
        ];
        for bad in bad {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
