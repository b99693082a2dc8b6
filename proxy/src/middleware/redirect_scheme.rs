//! `redirectScheme`: sends clients to another scheme or port of the same host. A request that is there already passes. It always
//! keeps the client's own host and never reads a header that names another one.

use http::{HeaderValue, Method, StatusCode};
use ravelin_config::dynamic;

use super::{CompileError, Flow, Head, Kept, answer};
use crate::error::{RequestError, redirect};
use crate::forwarded::X_FORWARDED_PROTO;

/// The compiled middleware.
#[derive(Debug)]
pub struct RedirectScheme {
    scheme: Box<str>,
    /// Empty where the scheme's own port is meant.
    port: Box<str>,
    permanent: bool,
}

impl RedirectScheme {
    /// From its configuration.
    ///
    /// # Errors
    /// No scheme.
    pub fn compile(config: &dynamic::RedirectScheme) -> Result<Self, CompileError> {
        if config.scheme.is_empty() {
            return Err(CompileError::Value {
                option: "scheme",
                reason: "you must provide a target scheme".to_owned(),
            });
        }
        let port = if is_default(&config.scheme, &config.port) { "" } else { config.port.as_str() };
        Ok(Self { scheme: config.scheme.as_str().into(), port: port.into(), permanent: config.permanent })
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        let Ok(host) = head.host.to_str() else { return Flow::Refuse(RequestError::BadHost) };
        let (name, port) = split_port(host);
        let scheme = client_scheme(head);
        let port = if is_default(scheme, port) { "" } else { port };
        if scheme == &*self.scheme && port == &*self.port {
            return Flow::Next(Kept::Nothing);
        }
        let path = head.path.as_str();
        let mut location = String::with_capacity(self.scheme.len() + name.len() + path.len() + 16);
        location.push_str(&self.scheme);
        location.push_str("://");
        location.push_str(name);
        if !self.port.is_empty() {
            location.push(':');
            location.push_str(&self.port);
        }
        location.push_str(path);
        if let Some(query) = head.query {
            location.push('?');
            location.push_str(query);
        }
        match HeaderValue::from_maybe_shared(bytes::Bytes::from(location)) {
            Ok(location) => answer(redirect(status(head.method, self.permanent), location)),
            Err(_) => Flow::Refuse(RequestError::BadRequest),
        }
    }
}

/// Only GET gets a status that lets a client change its method.
pub(super) fn status(method: &Method, permanent: bool) -> StatusCode {
    match (method == Method::GET, permanent) {
        (true, true) => StatusCode::MOVED_PERMANENTLY,
        (true, false) => StatusCode::FOUND,
        (false, true) => StatusCode::PERMANENT_REDIRECT,
        (false, false) => StatusCode::TEMPORARY_REDIRECT,
    }
}

/// The scheme that the client used, by what the header policy let through or wrote; TLS on this connection stands above it only
/// where nothing was said.
fn client_scheme<'h>(head: &'h Head<'_>) -> &'h str {
    let said = head.headers.get(X_FORWARDED_PROTO).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match said {
        "" if head.tls => "https",
        "" => "http",
        _ if said.eq_ignore_ascii_case("ws") => "http",
        _ if said.eq_ignore_ascii_case("wss") => "https",
        other => other,
    }
}

/// Name (IPv6 with its brackets) and port, empty if there is none.
fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    }
}

fn is_default(scheme: &str, port: &str) -> bool {
    matches!((scheme, port), ("http", "80") | ("https", "443"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sample;
    use super::*;

    fn to(scheme: &str, port: &str, permanent: bool) -> RedirectScheme {
        let config = dynamic::RedirectScheme { scheme: scheme.into(), port: port.into(), permanent };
        RedirectScheme::compile(&config).expect("good")
    }

    fn outcome(middleware: &RedirectScheme, sample: &mut Sample) -> Option<(u16, String)> {
        sample.redirected(|head| middleware.request(head))
    }

    #[test]
    fn the_host_stays_and_the_port_is_the_targets() {
        let table = [
            ("a.test", "/x/y?q=1&r=%20;z", "8443", "https://a.test:8443/x/y?q=1&r=%20;z"),
            ("a.test:8080", "/x", "8443", "https://a.test:8443/x"),
            ("a.test:8080", "/x", "443", "https://a.test/x"),
            ("A.Test.", "/", "", "https://A.Test./"),
            ("[::1]:8080", "/v6", "8443", "https://[::1]:8443/v6"),
            ("[::1]", "/v6", "", "https://[::1]/v6"),
        ];
        for (host, target, port, want) in table {
            let mut sample = Sample::new("GET", target).host(host);
            assert_eq!(
                outcome(&to("https", port, false), &mut sample),
                Some((302, want.to_owned())),
                "{host} {target}"
            );
        }
    }

    #[test]
    fn only_get_is_redirected_with_a_status_that_lets_the_method_change() {
        for (method, permanent, want) in [
            ("GET", true, 301),
            ("GET", false, 302),
            ("HEAD", true, 308),
            ("POST", true, 308),
            ("PUT", false, 307),
        ] {
            let mut sample = Sample::new(method, "/").host("a.test");
            assert_eq!(
                outcome(&to("https", "", permanent), &mut sample).map(|(status, _)| status),
                Some(want),
                "{method}"
            );
        }
    }

    #[test]
    fn who_is_there_already_passes() {
        let table = [
            ("https", "a.test", false),
            ("wss", "a.test", false),
            ("https", "a.test:443", false),
            ("http", "a.test", true),
            ("ws", "a.test", true),
            ("gopher", "a.test", true),
            ("https", "a.test:8080", true),
        ];
        for (proto, host, redirected) in table {
            let mut sample = Sample::new("GET", "/").host(host).field("x-forwarded-proto", proto);
            assert_eq!(
                outcome(&to("https", "443", true), &mut sample).is_some(),
                redirected,
                "{proto} {host}"
            );
        }
        let mut sample = Sample::new("GET", "/").host("a.test:80").field("x-forwarded-proto", "http");
        assert_eq!(outcome(&to("http", "80", true), &mut sample), None);
    }

    #[test]
    fn a_scheme_is_needed() {
        assert!(RedirectScheme::compile(&dynamic::RedirectScheme::default()).is_err());
    }
}
