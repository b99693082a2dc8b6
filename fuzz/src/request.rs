//! What a client says of where its request goes and of itself: the path has one form without dot segments under any common decoding, the
//! host one form too, and a client that is not trusted says nothing about who it is.

use http::{HeaderMap, HeaderName, HeaderValue};
use ravelin_config::static_config::{EntryPoint, Http};
use ravelin_proxy::forwarded::{ForwardedPolicy, Origin};
use ravelin_proxy::{host, path};

/// How often a server behind may decode what it gets.
const DECODINGS_MAX: usize = 3;
/// Most fields of a request that reach the policy.
const FIELDS_MAX: usize = 100;
const PEER: HeaderValue = HeaderValue::from_static("192.0.2.7");
const SERVER: HeaderValue = HeaderValue::from_static("edge");

/// The first byte chooses (1: the client is trusted, 2: over TLS, 4: paths are not resolved); then a line each of path, host and fields.
pub fn run(input: &[u8]) {
    told(input);
}

/// As [`run`]; how many of path, host and fields were taken.
pub fn told(input: &[u8]) -> usize {
    let Some((&choice, rest)) = input.split_first() else { return 0 };
    let mut lines = rest.split(|&byte| byte == b'\n');
    let mut text = || lines.next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let (path, host) = (text(), text());
    let options = path::PathOptions::compile(&Http { sanitize_path: choice & 4 == 0, ..Http::default() });
    let fields: HeaderMap = lines.take(FIELDS_MAX).filter_map(field).collect();
    usize::from(path_has_one_form(path, options))
        + usize::from(host_has_one_form(host))
        + usize::from(says_nothing_of_itself(fields, host, choice))
}

fn path_has_one_form(text: &str, options: path::PathOptions) -> bool {
    // Nothing else is ever a path where requests come from.
    if text.contains('?') || text.parse::<http::uri::PathAndQuery>().is_err() {
        return false;
    }
    let Ok(once) = path::normalise(text, options) else { return false };
    assert!(once.starts_with('/') && once.is_ascii(), "{once}");
    assert_eq!(path::normalise(&once, options).as_deref(), Ok(&*once), "another form of {text}");
    let mut view = once.as_bytes().to_vec();
    for _ in 0..=DECODINGS_MAX {
        for segment in view.split(|&byte| byte == b'/' || byte == b'\\') {
            let name = segment.split(|&byte| byte == b';').next().unwrap_or(segment);
            assert!(name != b"." && name != b"..", "{once} of {text}");
        }
        view = decoded(&view);
    }
    true
}

fn decoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        let pair = after.get(..2).filter(|_| first == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        let pair = pair.filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

fn host_has_one_form(text: &str) -> bool {
    let Ok(host) = host::canonical(text) else { return false };
    assert!(!host.name.bytes().any(|byte| byte.is_ascii_uppercase()), "{text}");
    if !text.starts_with('[') {
        let again = host::canonical(&host.name).expect("a canonical host is one");
        assert_eq!((&*again.name, again.port), (&*host.name, None), "another form of {text}");
    }
    true
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let at = line.iter().position(|&byte| byte == b':')?;
    let value = line.get(at + 1..)?.trim_ascii();
    Some((HeaderName::from_bytes(line.get(..at)?).ok()?, HeaderValue::from_bytes(value).ok()?))
}

fn says_nothing_of_itself(fields: HeaderMap, host: &str, choice: u8) -> bool {
    let Ok(value) = HeaderValue::from_str(host) else { return false };
    let trusted = choice & 1 != 0;
    let mut entry_point = EntryPoint::default();
    entry_point.forwarded_headers.insecure = trusted;
    let policy = ForwardedPolicy::compile(&entry_point, true).expect("a good policy");
    let peer = std::net::Ipv4Addr::new(192, 0, 2, 7).into();
    let origin = Origin { peer, peer_value: &PEER, tls: choice & 2 != 0, server: &SERVER };
    let said = fields.contains_key("upgrade");
    let Ok(told) = policy.told(fields, &value, None, origin) else { return false };
    let only = |name: &str| {
        let mut values = told.get_all(name).iter();
        (values.next(), values.next().is_some())
    };
    let (last, more) = only("x-forwarded-for");
    assert!(!more && last.is_some_and(|last| last.as_bytes().ends_with(PEER.as_bytes())), "{told:?}");
    assert_eq!(only("x-forwarded-server"), (Some(&SERVER), false), "{told:?}");
    assert!(!told.contains_key("transfer-encoding") && !told.contains_key("keep-alive"), "{told:?}");
    assert!(said || !told.contains_key("upgrade"), "{told:?}");
    if !trusted {
        assert_eq!(only("x-forwarded-for"), (Some(&PEER), false), "{told:?}");
        assert_eq!(only("x-real-ip"), (Some(&PEER), false), "{told:?}");
        let ours = ["for", "host", "port", "proto", "server"];
        for name in told.keys().map(HeaderName::as_str) {
            let family = name.strip_prefix("x-forwarded-").is_some_and(|kind| !ours.contains(&kind));
            let lies = matches!(name, "forwarded" | "proxy" | "x-original-url" | "x-rewrite-url");
            assert!(!family && !lies && !name.contains('_'), "{name} of {told:?}");
        }
    }
    true
}
