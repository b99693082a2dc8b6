//! Servers behind the proxy and the connections to them: who a server is (`Upstream`), how it is reached (`Transport`), and one
//! pool of idle connections per worker. It chooses no server and retries nothing by itself beyond a request that was never
//! written.

pub mod connect;
pub(crate) mod departures;
pub(crate) mod http1;
pub(crate) mod interim;
pub(crate) mod io;
pub(crate) mod lease;
pub(crate) mod pool;
pub mod return_rule;
pub(crate) mod stall;
pub mod transport;
pub(crate) mod wear;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::HeaderValue;
use ravelin_config::secret::shown_address;

pub use pool::UpstreamPools;
pub use transport::{Transport, TransportError};

/// What is spoken to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// HTTP/1.1 over TCP.
    Http,
    /// HTTP/1.1 or HTTP/2 by ALPN, over TLS.
    Https,
    /// HTTP/2 with prior knowledge over TCP.
    H2c,
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::H2c => 80,
            Self::Https => 443,
        }
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Known without asking anyone.
    Socket(SocketAddr),
    /// Resolved anew for each connection.
    Name {
        /// Host name.
        host: Box<str>,
        /// Port.
        port: u16,
    },
}

/// One server as the pools know it: two services that name the same server by the same transport share it. Lives as long as
/// any service of a live table, or a connection to it.
#[derive(Debug)]
pub struct Upstream {
    /// Unique in the process; the pools' key.
    pub(crate) id: u64,
    /// What is spoken.
    pub scheme: Scheme,
    /// Where it is.
    pub address: Address,
    /// `host:port` or `host` as the URL names it: the Host it gets where the client's is not passed on.
    pub authority: HeaderValue,
    /// How it is reached.
    pub transport: Arc<Transport>,
    /// The name in SNI and certificate checks.
    pub(crate) server_name: Option<rustls_pki_types::ServerName<'static>>,
    in_use: Weak<InUse>,
}

/// Held by every service of a table that names the server; when the last one goes, its connections are not kept.
#[derive(Debug)]
pub struct InUse(());

impl Upstream {
    /// Whether any service still names it. One atomic load.
    pub fn is_in_use(&self) -> bool {
        self.in_use.strong_count() > 0
    }
}

/// Why a server's URL cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not `scheme://host[:port][/path]`. Shown without user and password.
    #[error("{0:?} is no URL of a server")]
    Malformed(String),
    /// A scheme other than http, https and h2c. As of the other, without user and password.
    #[error("unsupported scheme in {0:?}: http, https and h2c work")]
    Scheme(String),
}

/// A server's URL taken apart. Userinfo and query are left out, as Traefik ignores them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// What is spoken.
    pub scheme: Scheme,
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// Port, the scheme's own if none is written.
    pub port: u16,
    /// Host and port as written.
    pub authority: String,
    /// Path as written, empty or beginning with a slash.
    pub path: String,
}

impl std::str::FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let malformed = || UrlError::Malformed(shown_address(text));
        let (scheme, rest) = text.split_once("://").ok_or_else(malformed)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "h2c" => Scheme::H2c,
            _ => return Err(UrlError::Scheme(shown_address(text))),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let parsed = crate::host::canonical(authority).map_err(|_| malformed())?;
        if parsed.name.is_empty() {
            return Err(malformed());
        }
        let port = parsed.port.unwrap_or_else(|| scheme.default_port());
        let host = parsed.name.into_owned();
        Ok(Self { scheme, host, port, authority: authority.to_owned(), path: path.to_owned() })
    }
}

#[derive(PartialEq, Eq, Hash)]
struct UpstreamKey {
    scheme: Scheme,
    authority: String,
    transport: u64,
}

/// Every known server of the process, so that an unchanged server keeps its pooled connections when services change. Used by
/// the compiler only; bounded by the servers of the live tables, as entries that nothing uses are dropped on growth.
#[derive(Default)]
pub struct UpstreamRegistry {
    known: Mutex<HashMap<UpstreamKey, Known>>,
}

type Known = (Weak<Upstream>, Weak<InUse>);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A number no other pool key or transport of this process has.
pub(crate) fn unique_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

impl UpstreamRegistry {
    /// The server for this URL by this transport: the known one if any service or connection still holds it.
    ///
    /// # Errors
    /// An authority that cannot be a field value or a server name.
    pub fn upstream(
        &self,
        url: &ServerUrl,
        transport: &Arc<Transport>,
    ) -> Result<(Arc<Upstream>, Arc<InUse>), UrlError> {
        let key =
            UpstreamKey { scheme: url.scheme, authority: url.authority.clone(), transport: transport.id };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((upstream, in_use)) = known.get(&key)
            && let (Some(upstream), Some(in_use)) = (upstream.upgrade(), in_use.upgrade())
        {
            return Ok((upstream, in_use));
        }
        let in_use = Arc::new(InUse(()));
        let upstream = Arc::new(build(url, transport, &in_use)?);
        if known.len() == known.capacity() {
            known.retain(|_, (_, in_use)| in_use.strong_count() > 0);
        }
        known.insert(key, (Arc::downgrade(&upstream), Arc::downgrade(&in_use)));
        Ok((upstream, in_use))
    }
}

fn build(url: &ServerUrl, transport: &Arc<Transport>, in_use: &Arc<InUse>) -> Result<Upstream, UrlError> {
    let malformed = || UrlError::Malformed(url.authority.clone());
    let address = match url.host.parse() {
        Ok(ip) => Address::Socket(SocketAddr::new(ip, url.port)),
        Err(_) => Address::Name { host: url.host.clone().into(), port: url.port },
    };
    let server_name = match url.scheme {
        Scheme::Https => {
            let name = transport.server_name.as_deref().unwrap_or(&url.host).to_owned();
            Some(rustls_pki_types::ServerName::try_from(name).map_err(|_| malformed())?)
        }
        Scheme::Http | Scheme::H2c => None,
    };
    Ok(Upstream {
        id: unique_id(),
        scheme: url.scheme,
        address,
        authority: HeaderValue::from_str(&url.authority).map_err(|_| malformed())?,
        transport: Arc::clone(transport),
        server_name,
        in_use: Arc::downgrade(in_use),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_urls_are_taken_apart() {
        let url = |text: &str| text.parse::<ServerUrl>();
        let parts = |text: &str| {
            let url = url(text).unwrap_or_else(|error| panic!("{error}"));
            (url.scheme, url.host, url.port, url.authority, url.path)
        };
        assert_eq!(
            parts("http://127.0.0.1:8080"),
            (Scheme::Http, "127.0.0.1".into(), 8080, "127.0.0.1:8080".into(), String::new())
        );
        assert_eq!(
            parts("https://Joe:pw@Name.test/base/?from=url#x"),
            (Scheme::Https, "name.test".into(), 443, "Name.test".into(), "/base/".into())
        );
        assert_eq!(
            parts("h2c://[::1]:9/b%2fse"),
            (Scheme::H2c, "::1".into(), 9, "[::1]:9".into(), "/b%2fse".into())
        );
        for text in ["", "127.0.0.1:80", "http://", "http:///x", "http://a b", "http://a:port", "http://::1"]
        {
            assert!(matches!(url(text), Err(UrlError::Malformed(_))), "{text}");
        }
        assert!(matches!(url("ftp://a"), Err(UrlError::Scheme(_))));
        for text in
            ["ftp://joe:secret@a", "joe:secret@a", "http://joe:secret@a:port", "http://joe:se/cret@a b"]
        {
            let told = url(text).expect_err("no URL").to_string();
            assert!(!told.contains("joe") && !told.contains("cret"), "{told}");
        }
    }

    #[test]
    fn the_same_server_is_shared_until_no_service_names_it() {
        let registry = UpstreamRegistry::default();
        let transport = Arc::new(Transport::plain());
        let url: ServerUrl = "http://127.0.0.1:1/a".parse().expect("a URL");
        let same: ServerUrl = "http://127.0.0.1:1/b".parse().expect("a URL");
        let (first, in_use) = registry.upstream(&url, &transport).expect("known");
        let (second, also) = registry.upstream(&same, &transport).expect("known");
        assert_eq!(first.id, second.id);
        let other = Arc::new(Transport::plain());
        assert_ne!(
            registry.upstream(&url, &other).expect("known").0.id,
            first.id,
            "another transport is another pool"
        );
        drop((in_use, also));
        assert!(!first.is_in_use());
        assert_ne!(registry.upstream(&url, &transport).expect("known").0.id, first.id);
    }
}
