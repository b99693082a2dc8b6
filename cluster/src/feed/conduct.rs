//! How proxies behave: how much each may say and ask for, how often one process may take another's place, and what is
//! counted and told of those that do not keep to it. It must not close anything itself, and knows proxies by number only.

use std::collections::BTreeMap;
use std::time::Duration;

use ravelin_consensus::Time;

use crate::node::timers::{after, between};
use crate::request::status::EventKind;

/// A proxy that opens a lane says hello within this time.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Lanes of one proxy on which it has not said hello yet.
pub(super) const UNGREETED_MAX: usize = 4;
/// What one process hears where another one is attached under the same identity.
pub(super) const TWIN: &str = "another process is attached here under the identity of this proxy, and they took each other's \
                               place again and again: give each process an identity of its own";
/// Messages: a proxy says three of each generation.
const MESSAGES: Pace = Pace { interval: Duration::from_millis(4), burst: 1024 };
/// Whole generations, over all of a proxy's lanes.
const WHOLES: Pace = Pace { interval: Duration::from_secs(1), burst: 4 };
/// Times that a new lane takes the place of one that still stands. One process does so when its connection was lost and
/// the loss not seen here yet; two processes under one identity do so for ever.
const TAKEOVERS: Pace = Pace { interval: Duration::from_secs(20), burst: 3 };
/// What one proxy does wrong is told once in so long.
const TOLD_INTERVAL: Duration = Duration::from_secs(60);
/// After so long without a lane, what a proxy did is forgotten.
const KEPT: Duration = Duration::from_secs(120);

/// How often something may happen.
#[derive(Debug, Clone, Copy)]
struct Pace {
    interval: Duration,
    burst: u32,
}

/// When it may happen next, if it goes on at its pace (the generic cell rate algorithm).
#[derive(Debug, Clone, Copy, Default)]
struct Meter(Option<Time>);

impl Meter {
    fn allows(&mut self, now: Time, pace: Pace) -> bool {
        let next = self.0.map_or(now, |next| Time { micros: next.micros.max(now.micros) });
        let ahead = pace.interval.saturating_mul(pace.burst.saturating_sub(1));
        if between(now, next) > ahead {
            return false;
        }
        self.0 = Some(after(next, pace.interval));
        true
    }
}

#[derive(Debug)]
struct Record {
    messages: Meter,
    wholes: Meter,
    takeovers: Meter,
    offences: u64,
    told: Option<Time>,
    seen: Time,
}

/// What is known of each proxy that was attached lately.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    by_proxy: BTreeMap<u64, Record>,
}

impl Conduct {
    fn record(&mut self, now: Time, proxy: u64) -> &mut Record {
        let record = self.by_proxy.entry(proxy).or_insert(Record {
            messages: Meter::default(),
            wholes: Meter::default(),
            takeovers: Meter::default(),
            offences: 0,
            told: None,
            seen: now,
        });
        record.seen = now;
        record
    }

    /// Whether it may say one more message now.
    pub(super) fn may_say(&mut self, now: Time, proxy: u64) -> bool {
        self.record(now, proxy).messages.allows(now, MESSAGES)
    }

    /// Whether it may be sent one more whole generation now.
    pub(super) fn may_have_whole(&mut self, now: Time, proxy: u64) -> bool {
        self.record(now, proxy).wholes.allows(now, WHOLES)
    }

    /// Whether a new lane of it may take the place of one that stands.
    pub(super) fn may_take_over(&mut self, now: Time, proxy: u64) -> bool {
        self.record(now, proxy).takeovers.allows(now, TAKEOVERS)
    }

    /// Counts something that a well-behaved proxy never does; gives what to note, now and then.
    pub(super) fn offended(&mut self, now: Time, proxy: u64, reason: &str) -> Option<EventKind> {
        let record = self.record(now, proxy);
        record.offences += 1;
        if record.told.is_some_and(|told| between(told, now) < TOLD_INTERVAL) {
            return None;
        }
        record.told = Some(now);
        Some(EventKind::ProxyTurnedAway { proxy, reason: reason.to_owned(), times: record.offences })
    }

    /// Forgets proxies that have not been seen for a while.
    pub(super) fn forget(&mut self, now: Time) {
        self.by_proxy.retain(|_, record| between(record.seen, now) < KEPT);
    }

    /// How often it has done what a well-behaved proxy never does.
    #[cfg(test)]
    pub(super) fn offences(&self, proxy: u64) -> u64 {
        self.by_proxy.get(&proxy).map_or(0, |record| record.offences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time { micros: millis * 1000 }
    }

    #[test]
    fn a_burst_is_allowed_and_then_the_pace_of_each_proxy_alone() {
        let mut conduct = Conduct::default();
        let said = (0..5000).filter(|_| conduct.may_say(at(0), 1)).count();
        assert_eq!(said, 1024);
        assert!(conduct.may_say(at(0), 2), "another proxy is not concerned");
        let later = (0..5000).filter(|_| conduct.may_say(at(400), 1)).count();
        assert_eq!(later, 100, "one in four milliseconds");
        assert_eq!((0..9).filter(|_| conduct.may_take_over(at(0), 1)).count(), 3);
        assert!(!conduct.may_take_over(at(19_999), 1) && conduct.may_take_over(at(20_000), 1));
        assert_eq!((0..9).filter(|_| conduct.may_have_whole(at(0), 1)).count(), 4);
    }

    #[test]
    fn offences_are_counted_each_and_told_now_and_then() {
        let mut conduct = Conduct::default();
        let told =
            (0..1000).filter_map(|millis| conduct.offended(at(millis), 7, "noise")).collect::<Vec<_>>();
        let first = EventKind::ProxyTurnedAway { proxy: 7, reason: "noise".to_owned(), times: 1 };
        assert_eq!(told, [first]);
        let next = conduct.offended(at(60_000), 7, "noise");
        assert!(matches!(next, Some(EventKind::ProxyTurnedAway { times: 1001, .. })), "{next:?}");
        conduct.forget(at(179_999));
        assert_eq!(conduct.offences(7), 1001);
        conduct.forget(at(180_000));
        assert_eq!(conduct.by_proxy.len(), 0);
    }
}
