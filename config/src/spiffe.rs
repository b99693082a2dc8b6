//! The names of SPIFFE, and where its Workload API is: read from text and judged as the standard says. It asks nobody and
//! verifies no certificate.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// How every SPIFFE ID begins.
const SCHEME: &str = "spiffe://";

/// A text that is no name of SPIFFE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not `spiffe://…`.
    #[error("a SPIFFE ID begins with spiffe://")]
    Scheme,
    /// No trust domain, or letters that it may not have.
    #[error("a trust domain has small letters, digits, `.`, `-` and `_`, and at least one of them")]
    Domain,
    /// An empty segment, `.`, `..`, or letters that a path may not have.
    #[error("a path has segments of letters, digits, `.`, `-` and `_`, none of them empty, `.` or `..`")]
    Path,
}

/// Those who trust the same authorities.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Box<str>);

impl TrustDomain {
    /// The domain's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = NameError;

    /// The name alone, or that of a whole ID.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains(':') {
            return Ok(text.parse::<SpiffeId>()?.domain);
        }
        let known = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
        };
        if text.is_empty() || !text.bytes().all(known) {
            return Err(NameError::Domain);
        }
        Ok(Self(text.into()))
    }
}

/// Who a workload is: `spiffe://domain/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId {
    domain: TrustDomain,
    /// Empty, or begins with a slash.
    path: Box<str>,
}

impl SpiffeId {
    /// Whose authorities speak for it.
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{}", self.domain, self.path)
    }
}

impl FromStr for SpiffeId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let rest = text.strip_prefix(SCHEME).ok_or(NameError::Scheme)?;
        let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if domain.contains(':') {
            return Err(NameError::Domain);
        }
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let good = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(known);
        if !path.is_empty() && !path.split('/').skip(1).all(good) {
            return Err(NameError::Path);
        }
        Ok(Self { domain: domain.parse()?, path: path.into() })
    }
}

/// Where the Workload API is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkloadAddress {
    /// A socket of this machine.
    Unix(PathBuf),
    /// An address and a port.
    Tcp(SocketAddr),
}

/// A text that is no address of a Workload API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected unix:///path/of/the/socket, or tcp:// with an IP address and a port")]
pub struct AddressError;

impl fmt::Display for WorkloadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl FromStr for WorkloadAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(address) = text.strip_prefix("tcp://") {
            return Ok(Self::Tcp(address.parse().map_err(|_| AddressError)?));
        }
        let path = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")).ok_or(AddressError)?;
        let plain = path.len() > 1 && path.starts_with('/') && !path.contains(['?', '#', '\0']);
        if plain { Ok(Self::Unix(path.into())) } else { Err(AddressError) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let domain = |text: &str| text.parse::<SpiffeId>().map(|id| id.domain().to_string());
        assert_eq!(domain("spiffe://a.test/web/1").as_deref(), Ok("a.test"));
        assert_eq!(domain("spiffe://a-b_c.1").as_deref(), Ok("a-b_c.1"));
        for (text, error) in [
            ("", NameError::Scheme),
            ("a.test", NameError::Scheme),
            ("SPIFFE://a.test", NameError::Scheme),
            ("https://a.test/x", NameError::Scheme),
            ("spiffe://", NameError::Domain),
            ("spiffe:///web", NameError::Domain),
            ("spiffe://A.test/web", NameError::Domain),
            ("spiffe://a.test:80/web", NameError::Domain),
            ("spiffe://joe@a.test/web", NameError::Domain),
            ("spiffe://spiffe://a.test", NameError::Domain),
            ("spiffe://a.test/", NameError::Path),
            ("spiffe://a.test/web/", NameError::Path),
            ("spiffe://a.test//web", NameError::Path),
            ("spiffe://a.test/../web", NameError::Path),
            ("spiffe://a.test/w%65b", NameError::Path),
            ("spiffe://a.test/web?x", NameError::Path),
        ] {
            assert_eq!(domain(text), Err(error), "{text}");
        }
        let domain = |text: &str| text.parse::<TrustDomain>().map(|domain| domain.to_string());
        assert_eq!(domain("a.test").as_deref(), Ok("a.test"));
        assert_eq!(domain("spiffe://a.test/web").as_deref(), Ok("a.test"));
        assert_eq!(domain("a.test/web"), Err(NameError::Domain));
        assert_eq!(domain(""), Err(NameError::Domain));
        assert_eq!(domain("http://a.test"), Err(NameError::Scheme));
    }

    #[test]
    fn addresses_are_a_socket_of_this_machine_or_an_address_with_a_port() {
        let shown = |text: &str| text.parse::<WorkloadAddress>().map(|address| address.to_string());
        assert_eq!(shown("unix:///run/agent.sock").as_deref(), Ok("unix:///run/agent.sock"));
        assert_eq!(shown("unix:/run/agent.sock").as_deref(), Ok("unix:///run/agent.sock"));
        assert_eq!(shown("tcp://127.0.0.1:8081").as_deref(), Ok("tcp://127.0.0.1:8081"));
        assert_eq!(shown("tcp://[::1]:8081").as_deref(), Ok("tcp://[::1]:8081"));
        for text in [
            "",
            "/run/agent.sock",
            "unix://",
            "unix:///",
            "unix://run/agent.sock",
            "unix:///run/a?b",
            "tcp://127.0.0.1",
            "tcp://agent.test:8081",
            "tcp://127.0.0.1:8081/",
            "http://127.0.0.1:8081",
        ] {
            assert_eq!(shown(text), Err(AddressError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_says_the_same_again(text in "spiffe://[a-z.]{0,8}(/[a-zA-Z.]{0,4}){0,3}") {
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
