//! `ipAllowList`: answers clients whose address is in none of its ranges. The address is the connection's unless an `ipStrategy`
//! reads another from what trusted proxies wrote; where that holds no address, the client is refused.

use std::net::IpAddr;

use http::StatusCode;
use ipnet::{IpNet, Ipv4Net};
use ravelin_config::dynamic;

use super::source::AddressStrategy;
use super::{CompileError, Flow, Head, Kept, answer};
use crate::error::bare;
use crate::forwarded::network;

/// The compiled middleware.
#[derive(Debug)]
pub struct IpAllowList {
    ranges: Box<[IpNet]>,
    strategy: AddressStrategy,
    status: StatusCode,
}

impl IpAllowList {
    /// From its configuration.
    ///
    /// # Errors
    /// No range, one that is neither an address nor a network, a status without a reason phrase or that ends no request.
    pub fn compile(config: &dynamic::IpAllowList) -> Result<Self, CompileError> {
        let value = |option, reason: String| CompileError::Value { option, reason };
        if config.source_range.is_empty() {
            return Err(value("sourceRange", "sourceRange is empty, IPAllowLister not created".to_owned()));
        }
        let ranges = config.source_range.iter().map(|text| network(text).map(canonical));
        let given = u16::try_from(config.reject_status_code).ok();
        let status = match given {
            Some(0) => Some(StatusCode::FORBIDDEN),
            given => given.and_then(|status| StatusCode::from_u16(status).ok()),
        };
        let status = status
            .filter(|status| !status.is_informational() && status.canonical_reason().is_some())
            .ok_or_else(|| {
                value("rejectStatusCode", format!("invalid HTTP status code {}", config.reject_status_code))
            })?;
        Ok(Self {
            ranges: ranges.collect::<Result<_, _>>()?,
            strategy: AddressStrategy::compile(&config.ip_strategy.clone().unwrap_or_default())?,
            status,
        })
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        let address = self.strategy.address(head).map(|address| address.to_canonical());
        if address.is_some_and(|address| self.ranges.iter().any(|range| range.contains(&address))) {
            return Flow::Next(Kept::Nothing);
        }
        answer(bare(self.status, self.status.canonical_reason().unwrap_or_default()))
    }
}

/// IPv4 in IPv6's form is IPv4.
fn canonical(range: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    match (range, range.addr().to_canonical()) {
        (IpNet::V6(range), IpAddr::V4(address)) => range
            .prefix_len()
            .checked_sub(MAPPED_BITS)
            .and_then(|bits| Ipv4Net::new(address, bits).ok())
            .map_or(IpNet::V6(range), IpNet::V4),
        _ => range,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sample;
    use super::*;

    fn list(ranges: &[&str], depth: Option<i64>, subnet: Option<i64>) -> IpAllowList {
        let strategy = dynamic::IpStrategy {
            depth: depth.unwrap_or(0),
            ipv6_subnet: subnet,
            ..dynamic::IpStrategy::default()
        };
        let config = dynamic::IpAllowList {
            source_range: ranges.iter().map(|&text| text.to_owned()).collect(),
            ip_strategy: (depth.is_some() || subnet.is_some()).then_some(strategy),
            reject_status_code: 0,
        };
        IpAllowList::compile(&config).expect("good")
    }

    fn passes(list: &IpAllowList, forwarded_for: &str) -> bool {
        let mut sample = Sample::new("GET", "/").field("x-forwarded-for", forwarded_for);
        match sample.run(|head| list.request(head)) {
            Flow::Next(_) => true,
            Flow::Answer(answer) => {
                assert_eq!(answer.status(), StatusCode::FORBIDDEN);
                false
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_connections_address_counts_unless_a_strategy_says_otherwise() {
        for (ranges, want) in [
            (&["127.0.0.1"][..], true),
            (&["10.0.0.0/8", " 127.0.0.0/30 "], true),
            (&["::ffff:127.0.0.1"], true),
            (&["::ffff:127.0.0.0/104"], true),
            (&["::1", "10.0.0.1"], false),
            (&["127.0.0.8/30"], false),
        ] {
            assert_eq!(passes(&list(ranges, None, None), "10.0.0.1"), want, "{ranges:?}");
            assert_eq!(passes(&list(ranges, Some(-1), None), "10.0.0.1"), want, "a negative depth is none");
        }
    }

    #[test]
    fn what_other_proxies_wrote_is_read_with_port_zone_and_brackets() {
        let inside = list(&["10.0.0.0/8", "2001:db8::/32"], Some(1), None);
        for (text, want) in [
            ("1.1.1.1, 10.0.0.1", true),
            ("10.0.0.1, 1.1.1.1", false),
            ("10.0.0.1:1234", true),
            ("::ffff:10.0.0.1", true),
            ("2001:db8::1%eth0", true),
            ("[2001:db8::1]:443", true),
            ("10.0.0.1,", false),
            ("010.0.0.1", false),
            ("garbage", false),
            ("", false),
        ] {
            assert_eq!(passes(&inside, text), want, "{text:?}");
        }
        let masked = list(&["2001:db8:1:2::"], Some(1), Some(64));
        assert!(passes(&masked, "2001:db8:1:2:3::4") && !passes(&masked, "2001:db8:1:3::"));
    }

    #[test]
    fn ranges_and_statuses_that_are_none_are_refused() {
        let config = |ranges: &[&str], reject_status_code| dynamic::IpAllowList {
            source_range: ranges.iter().map(|&text| text.to_owned()).collect(),
            ip_strategy: None,
            reject_status_code,
        };
        for (ranges, status) in [
            (&[][..], 0),
            (&["10.0.0.0/33"], 0),
            (&["localhost"], 0),
            (&["10.0.0.1"], 599),
            (&["10.0.0.1"], 100),
            (&["10.0.0.1"], -1),
        ] {
            assert!(IpAllowList::compile(&config(ranges, status)).is_err(), "{ranges:?} {status}");
        }
        for status in [200..=208, 300..=305, 400..=418, 421..=426, 428..=429, 500..=508, 510..=511]
            .into_iter()
            .flatten()
        {
            assert!(IpAllowList::compile(&config(&["10.0.0.1"], status)).is_ok(), "{status}");
        }
    }
}
