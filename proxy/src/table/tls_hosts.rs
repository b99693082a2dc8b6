//! Which TLS options each host of an entry point has, from the hosts that routers name.
//! It must not load certificates or options: it knows their names only.

use std::sync::Arc;

use imbl::OrdMap;
use ravelin_config::rule::{HostKeys, RouteKeys};

/// The options of hosts that no router gives any.
pub const DEFAULT_OPTIONS: &str = "default";

/// A persistent multiset of (host, options); `*.parent` stands for one label before it.
#[derive(Clone, Default)]
pub struct TlsHosts {
    counts: OrdMap<(Arc<str>, Arc<str>), usize>,
}

impl TlsHosts {
    /// Adds (or, with `false`, takes back) the hosts of one router over TLS.
    pub fn change(&mut self, keys: &RouteKeys, options: &Arc<str>, add: bool) {
        let HostKeys::Among { exact, parents } = &keys.hosts else { return };
        let parents = parents.iter().map(|parent| Arc::from(format!("*.{parent}")));
        for host in exact.iter().cloned().chain(parents) {
            let key = (host, Arc::clone(options));
            let count = self.counts.get(&key).copied().unwrap_or(0);
            match if add { count + 1 } else { count.saturating_sub(1) } {
                0 => drop(self.counts.remove(&key)),
                count => drop(self.counts.insert(key, count)),
            }
        }
    }

    /// The options of a host. Routers that disagree about it all get the default ones.
    pub fn options(&self, host: &str) -> &str {
        let host = host.trim_end_matches('.');
        self.exactly(host)
            .or_else(|| host.split_once('.').and_then(|(_, parent)| self.exactly(&format!("*.{parent}"))))
            .unwrap_or(DEFAULT_OPTIONS)
    }

    /// Whether routers give this host more than one set of options.
    pub fn is_disputed(&self, host: &str) -> bool {
        self.of(host).nth(1).is_some()
    }

    fn of<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        let from = (Arc::from(host), Arc::from(""));
        self.counts
            .range(from..)
            .take_while(move |((held, _), _)| **held == *host)
            .map(|((_, options), _)| options)
    }

    fn exactly(&self, host: &str) -> Option<&str> {
        let from = (Arc::from(host), Arc::from(""));
        let mut options = self
            .counts
            .range(from..)
            .take_while(|((held, _), _)| **held == *host)
            .map(|((_, options), _)| options);
        match (options.next(), options.next()) {
            (None, _) => None,
            (Some(only), None) => Some(only),
            (Some(_), Some(_)) => Some(DEFAULT_OPTIONS),
        }
    }
}

#[cfg(test)]
mod tests {
    use ravelin_config::rule;

    use super::*;

    #[test]
    fn hosts_have_the_options_that_their_routers_agree_on() {
        let keys = |text: &str| rule::parse(text).expect("good").necessary_keys();
        let (strict, other): (Arc<str>, Arc<str>) = (Arc::from("strict@file"), Arc::from("other@file"));
        let mut hosts = TlsHosts::default();
        hosts.change(&keys("Host(`a.test`) || Host(`*.b.test`)"), &strict, true);
        hosts.change(&keys("PathPrefix(`/`)"), &other, true);
        assert_eq!(hosts.options("a.test."), "strict@file");
        assert_eq!((hosts.options("x.b.test"), hosts.options("y.x.b.test")), ("strict@file", "default"));
        assert_eq!(hosts.options("c.test"), "default");
        hosts.change(&keys("Host(`a.test`) && Path(`/x`)"), &other, true);
        assert!(hosts.is_disputed("a.test") && !hosts.is_disputed("c.test"));
        assert_eq!(hosts.options("a.test"), "default");
        hosts.change(&keys("Host(`a.test`) && Path(`/x`)"), &other, false);
        assert_eq!(hosts.options("a.test"), "strict@file");
    }
}
