//! `redirectRegex`: sends clients to what an expression makes of the URL that they asked for. A URL that stays the same passes.
//! The target is read as a URL, so that nothing in it can end the field that holds it.

use http::{HeaderValue, StatusCode};
use ravelin_config::dynamic;

use super::pattern::Pattern;
use super::redirect_scheme::status;
use super::{CompileError, Flow, Head, Kept, answer};
use crate::error::{RequestError, bare, redirect};
use crate::forwarded::X_FORWARDED_PROTO;
use crate::path::{self, PathError};

/// The compiled middleware.
#[derive(Debug)]
pub struct RedirectRegex {
    pattern: Pattern,
    permanent: bool,
}

impl RedirectRegex {
    /// From its configuration.
    ///
    /// # Errors
    /// An expression that cannot be compiled.
    pub fn compile(config: &dynamic::RedirectRegex) -> Result<Self, CompileError> {
        Ok(Self {
            pattern: Pattern::compile(&config.regex, &config.replacement)?,
            permanent: config.permanent,
        })
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        let Some(url) = asked_for(head) else { return Flow::Refuse(RequestError::BadHost) };
        let target = match self.pattern.replace(&url) {
            Ok(Some(target)) if target != url => target,
            Ok(_) => return Flow::Next(Kept::Nothing),
            Err(_) => return Flow::Refuse(RequestError::BadTarget(PathError::Unwritable)),
        };
        match location(&target)
            .and_then(|location| HeaderValue::from_maybe_shared(bytes::Bytes::from(location)).ok())
        {
            Some(location) => answer(redirect(status(head.method, self.permanent), location)),
            None => answer(bare(StatusCode::BAD_GATEWAY, "Bad Gateway")),
        }
    }
}

/// The URL as the client wrote it, with the path as middlewares left it.
fn asked_for(head: &Head<'_>) -> Option<String> {
    let host = head.host.to_str().ok()?;
    let secure = head.tls || head.headers.get(X_FORWARDED_PROTO).is_some_and(|proto| proto == "https");
    let path = head.path.as_str();
    let query = head.query.map_or(0, |query| query.len() + 1);
    let mut url = String::with_capacity(host.len() + path.len() + query + 8);
    url.push_str(if secure { "https://" } else { "http://" });
    url.push_str(host);
    url.push_str(path);
    if let Some(query) = head.query {
        url.push('?');
        url.push_str(query);
    }
    Some(url)
}

/// A URL or a reference to one as a `Location` may hold it; `None` for what is none. Path and fragment are encoded where they
/// have to be.
fn location(target: &str) -> Option<String> {
    if target.bytes().any(|byte| byte < b' ' || byte == 0x7F) {
        return None;
    }
    let (target, fragment) = match target.split_once('#') {
        Some((target, fragment)) => (target, Some(fragment)),
        None => (target, None),
    };
    let (scheme, rest) = split_scheme(target)?;
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let (authority, path) = match rest.strip_prefix("//") {
        Some(after) if !(scheme.is_empty() && after.starts_with('/')) => {
            let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
            (Some(authority), path)
        }
        _ => (None, rest),
    };
    if authority.is_some_and(|authority| !is_authority(authority)) {
        return None;
    }
    let mut out = String::with_capacity(target.len() + 16);
    if !scheme.is_empty() {
        out.push_str(scheme);
        out.push(':');
    }
    if let Some(authority) = authority {
        out.push_str("//");
        out.push_str(authority);
    }
    out.push_str(&encoded(path)?);
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
    if let Some(fragment) = fragment {
        out.push('#');
        out.push_str(&encoded(fragment)?);
    }
    Some(out)
}

/// What stands before the first colon of an absolute URL; `None` where a colon comes first.
fn split_scheme(target: &str) -> Option<(&str, &str)> {
    let end = target.find(|letter: char| !(letter.is_ascii_alphanumeric() || "+-.".contains(letter)));
    match target.split_at_checked(end.unwrap_or(target.len())) {
        Some(("", rest)) if rest.starts_with(':') => None,
        Some((scheme, rest)) if scheme.starts_with(|first: char| first.is_ascii_alphabetic()) => {
            Some(rest.strip_prefix(':').map_or(("", target), |rest| (scheme, rest)))
        }
        _ => Some(("", target)),
    }
}

/// Whether this is a host as Go's URLs have one: no escapes but of bytes beyond ASCII, a port of digits only.
fn is_authority(authority: &str) -> bool {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    };
    let bytes = name.as_bytes();
    let escapes = bytes.iter().enumerate().filter(|&(_, &byte)| byte == b'%').all(|(at, _)| {
        matches!(bytes.get(at + 1..at + 3), Some([b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', low]) if low.is_ascii_hexdigit())
            || bytes.get(at + 1..at + 3) == Some(b"25")
    });
    let letters = name.bytes().all(|byte| {
        byte.is_ascii_alphanumeric() || byte >= 0x80 || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&byte)
    });
    escapes && letters && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// A path or fragment with what it may not hold encoded, and escapes as they are; `None` for a broken escape.
fn encoded(text: &str) -> Option<String> {
    if path::bad_escape(text).is_some() {
        return None;
    }
    let parts: Vec<String> = text.split('%').map(path::encode_text).collect();
    Some(parts.join("%"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sample;
    use super::*;

    fn outcome(regex: &str, replacement: &str, mut sample: Sample) -> Option<(u16, String)> {
        let config =
            dynamic::RedirectRegex { regex: regex.into(), replacement: replacement.into(), permanent: false };
        let middleware = RedirectRegex::compile(&config).expect("good");
        sample.redirected(|head| middleware.request(head))
    }

    #[test]
    fn the_whole_url_is_rewritten() {
        let table = [
            ("^http://[^/]+(/.*)$", "/rel$1", "/x?q=1", "/rel/x?q=1"),
            ("^http://([a-z.]+)/(.*)", "http://$1x/$2", "/x", "http:///x"),
            ("/p", "/b", "/p/p?y=/p", "http://a.test/b/b?y=/b"),
            ("^http://[^/]+/(.*)$", "http://x.test/a b/é?q=ü $1", "/z", "http://x.test/a%20b/%C3%A9?q=ü z"),
            ("^http://[^/]+/(.*)$", "http://x.test/$1#part", "/x?q=1", "http://x.test/x?q=1#part"),
            ("^.*$", "", "/x", ""),
            ("^http://(.*)$", "https://$1", "/a%2Fb", "https://a.test/a%2Fb"),
            ("^.*$", "https://[::1]:8443/x", "/", "https://[::1]:8443/x"),
        ];
        for (regex, replacement, target, want) in table {
            let got = outcome(regex, replacement, Sample::new("GET", target));
            assert_eq!(got, Some((302, want.to_owned())), "{regex} {target}");
        }
        let secure = Sample::new("POST", "/x").tls();
        assert_eq!(outcome("^https://", "http://", secure), Some((307, "http://a.test/x".to_owned())));
        let told = Sample::new("GET", "/x").field("x-forwarded-proto", "https");
        assert_eq!(outcome("^http://", "https://", told), None, "the client spoke TLS already");
    }

    #[test]
    fn a_url_that_stays_the_same_passes() {
        assert_eq!(outcome("^(.*)$", "$1", Sample::new("GET", "/x%2Fy?q=1")), None);
        assert_eq!(outcome("nowhere", "x", Sample::new("GET", "/x")), None);
    }

    #[test]
    fn a_target_that_is_no_url_is_502() {
        for target in
            ["http://192.168.0.%31/", "http://a b/", "http://a:x/", ":x", "http://a/%zz", "http://a/\u{1}"]
        {
            let got = outcome("^.*$", target, Sample::new("GET", "/x"));
            assert_eq!(got, Some((502, String::new())), "{target}");
        }
    }
}
