//! Which requests count as one source, for limits. It only reads; what it yields is a key, never an address to trust further.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderName;
use ipnet::IpNet;
use ravelin_config::dynamic;

use super::{CompileError, Head};
use crate::forwarded::{X_FORWARDED_FOR, network};

/// A compiled `sourceCriterion`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The Host, as it came.
    Host,
    /// A request field's first value.
    Field(HeaderName),
    /// An address.
    Address(AddressStrategy),
}

/// A compiled `ipStrategy`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressStrategy {
    /// The nth address of `X-Forwarded-For` from the right; 0: not by depth.
    depth: usize,
    /// The last address of `X-Forwarded-For` that is in none of these.
    excluded: Box<[IpNet]>,
    ipv6_prefix_bits: Option<u8>,
}

impl Source {
    /// From its configuration; without one it is `unset`.
    ///
    /// # Errors
    /// More than one field, an address range or header name that is none, bits beyond 128.
    pub fn compile(config: Option<&dynamic::SourceCriterion>, unset: Self) -> Result<Self, CompileError> {
        let Some(config) = config else { return Ok(unset) };
        let given =
            [config.ip_strategy.is_some(), !config.request_header_name.is_empty(), config.request_host];
        match given {
            [false, false, false] => Ok(unset),
            [true, false, false] => {
                let strategy = config.ip_strategy.clone().unwrap_or_default();
                Ok(Self::Address(AddressStrategy::compile(&strategy)?))
            }
            [false, true, false] => {
                let name = config.request_header_name.parse().map_err(|_| CompileError::Value {
                    option: "requestHeaderName",
                    reason: format!("{:?} is no header name", config.request_header_name),
                })?;
                Ok(Self::Field(name))
            }
            [false, false, true] => Ok(Self::Host),
            _ => Err(CompileError::Value {
                option: "sourceCriterion",
                reason: "iPStrategy, RequestHeaderName and RequestHost are mutually exclusive".to_owned(),
            }),
        }
    }

    /// The request's source, written behind what `key` holds already.
    pub fn key(&self, head: &Head<'_>, key: &mut Vec<u8>) {
        match self {
            Self::Host => key.extend_from_slice(head.host.as_bytes()),
            Self::Field(name) => {
                key.extend_from_slice(head.field(name).map_or(&[][..], |value| value.as_bytes()))
            }
            Self::Address(strategy) => strategy.key(head, key),
        }
    }
}

impl AddressStrategy {
    /// From its configuration. A negative depth is none, as in Traefik.
    ///
    /// # Errors
    /// An address range that is none, bits beyond 128.
    pub fn compile(config: &dynamic::IpStrategy) -> Result<Self, CompileError> {
        let value = |option, reason: String| CompileError::Value { option, reason };
        let depth = usize::try_from(config.depth).unwrap_or(0);
        let excluded = config.excluded_ips.iter().map(|text| network(text)).collect::<Result<_, _>>()?;
        let ipv6_prefix_bits = config
            .ipv6_subnet
            .map(|bits| u8::try_from(bits).ok().filter(|&bits| bits <= 128))
            .map(|bits| bits.ok_or_else(|| value("ipv6Subnet", "not from 0 to 128".to_owned())))
            .transpose()?;
        Ok(Self { depth, excluded, ipv6_prefix_bits })
    }

    fn key(&self, head: &Head<'_>, key: &mut Vec<u8>) {
        use std::io::Write;
        let listed = self.listed(head);
        let text = match listed {
            Some(text) => text,
            None if self.depth == 0 && self.excluded.is_empty() => {
                // Writing into a vector cannot fail.
                let _ = write!(key, "{}", self.masked(head.client));
                return;
            }
            None => return,
        };
        match text.parse::<IpAddr>() {
            Ok(address) => {
                let _ = write!(key, "{}", self.masked(address));
            }
            Err(_) => key.extend_from_slice(text.as_bytes()),
        }
    }

    /// The client's address; `None` where the list of addresses holds none in its place.
    pub(super) fn address(&self, head: &Head<'_>) -> Option<IpAddr> {
        match self.listed(head) {
            Some(text) => Some(self.masked(address_of(text)?)),
            None if self.depth == 0 && self.excluded.is_empty() => Some(self.masked(head.client)),
            None => None,
        }
    }

    fn listed<'h>(&self, head: &'h Head<'_>) -> Option<&'h str> {
        let addresses = || {
            head.headers
                .get_all(X_FORWARDED_FOR)
                .iter()
                .rev()
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.rsplit(','))
                .map(str::trim)
        };
        match self.depth.checked_sub(1) {
            Some(skipped) => addresses().nth(skipped),
            None if self.excluded.is_empty() => None,
            None => addresses().find(|text| {
                !text.is_empty()
                    && !text.parse().is_ok_and(|address: IpAddr| {
                        self.excluded.iter().any(|range| range.contains(&address))
                    })
            }),
        }
    }

    fn masked(&self, address: IpAddr) -> IpAddr {
        match (address, self.ipv6_prefix_bits) {
            (IpAddr::V6(address), Some(bits)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
            }
            _ => address,
        }
    }
}

/// An address as other proxies write it: with a port, in brackets or with a zone too. One of IPv4 in IPv6's form is itself.
fn address_of(text: &str) -> Option<IpAddr> {
    let host = match text.parse::<std::net::SocketAddr>() {
        Ok(address) => return Some(address.ip().to_canonical()),
        Err(_) => text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text),
    };
    let host = host.split_once('%').map_or(host, |(host, _)| host);
    host.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sample;
    use super::*;

    fn key(source: &Source, sample: &mut Sample) -> String {
        let mut key = Vec::new();
        sample.run(|head| source.key(head, &mut key));
        String::from_utf8(key).expect("text")
    }

    fn by_address(depth: i64, excluded: &[&str], subnet: Option<i64>) -> Source {
        let ip_strategy = dynamic::IpStrategy {
            depth,
            excluded_ips: excluded.iter().map(|&text| text.to_owned()).collect(),
            ipv6_subnet: subnet,
        };
        let config = dynamic::SourceCriterion {
            ip_strategy: Some(ip_strategy),
            ..dynamic::SourceCriterion::default()
        };
        Source::compile(Some(&config), Source::Host).expect("good")
    }

    #[test]
    fn each_criterion_yields_its_part_of_the_request() {
        let mut sample = Sample::new("GET", "/")
            .host("a.test")
            .field("x-forwarded-for", "9.9.9.9, 10.0.0.1")
            .field("host", "b.test")
            .field("x-id", "7");
        assert_eq!(key(&Source::Field(http::header::HOST), &mut sample), "", "the Host is no field");
        assert_eq!(key(&Source::Host, &mut sample), "a.test");
        assert_eq!(key(&Source::Field("x-id".parse().expect("a name")), &mut sample), "7");
        assert_eq!(key(&Source::Field("x-no".parse().expect("a name")), &mut sample), "");
        assert_eq!(key(&by_address(0, &[], None), &mut sample), "127.0.0.1");
        assert_eq!(key(&by_address(1, &[], None), &mut sample), "10.0.0.1");
        assert_eq!(key(&by_address(2, &[], None), &mut sample), "9.9.9.9");
        assert_eq!(key(&by_address(3, &[], None), &mut sample), "");
        assert_eq!(key(&by_address(0, &["10.0.0.0/8"], None), &mut sample), "9.9.9.9");
        assert_eq!(key(&by_address(0, &["0.0.0.0/0"], None), &mut sample), "");
        let mut sample = Sample::new("GET", "/").field("x-forwarded-for", "2001:db8:1:2:3::4");
        assert_eq!(key(&by_address(1, &[], Some(48)), &mut sample), "2001:db8:1::");
        assert_eq!(key(&by_address(1, &[], Some(0)), &mut sample), "::");
        assert_eq!(key(&by_address(1, &[], Some(128)), &mut sample), "2001:db8:1:2:3::4");
    }

    #[test]
    fn one_criterion_at_most() {
        let two = dynamic::SourceCriterion {
            request_host: true,
            request_header_name: "X".into(),
            ..dynamic::SourceCriterion::default()
        };
        assert!(Source::compile(Some(&two), Source::Host).is_err());
        assert_eq!(Source::compile(None, Source::Host).ok(), Some(Source::Host));
        let empty = dynamic::SourceCriterion::default();
        assert_eq!(Source::compile(Some(&empty), Source::Host).ok(), Some(Source::Host));
        let bad = dynamic::SourceCriterion {
            request_header_name: "a b".into(),
            ..dynamic::SourceCriterion::default()
        };
        assert!(Source::compile(Some(&bad), Source::Host).is_err());
    }
}
