//! `rateLimit`: a bucket of tokens for each source, per router. A request that comes a little too early waits; one that would
//! wait too long is answered 429 and takes no token.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};
use ravelin_config::{GoDuration, dynamic};

use super::source::{AddressStrategy, Source};
use super::{CompileError, Flow, Head, Kept, Later, Outcome, PolicyStates, answer};
use crate::error::bare;

const SHARDS: usize = 16;
/// Most sources that are known at a time; then those that were not seen for longest are forgotten.
const SOURCES_MAX: usize = 65_536;
const NANOS: f64 = 1e9;

/// The middleware before it is bound to a router.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Tokens in a second; none means no limit.
    rate: Option<f64>,
    burst: f64,
    delay_max: Duration,
    /// How long a source is known without a request.
    lifetime: Duration,
    source: Source,
}

impl Settings {
    /// From its configuration.
    ///
    /// # Errors
    /// A negative period, a bad source criterion.
    pub fn compile(config: &dynamic::RateLimit) -> Result<Self, CompileError> {
        let source =
            Source::compile(config.source_criterion.as_ref(), Source::Address(AddressStrategy::default()))?;
        let period = config.period.unwrap_or_default().nanos();
        if period < 0 {
            return Err(CompileError::Value {
                option: "period",
                reason: format!("negative value not valid for period: {}", GoDuration::from_nanos(period)),
            });
        }
        let seconds = if period == 0 { 1.0 } else { period as f64 / NANOS };
        let rate = (config.average > 0).then(|| config.average as f64 / seconds);
        let whole = rate.unwrap_or(0.0);
        // As Traefik bounds it: half the time of a token, or half a second where tokens are rarer than that.
        let delay_max = if whole < 1.0 { 0.5 } else { 0.5 / whole.floor() };
        let lifetime = if whole >= 1.0 { 2.0 } else { 1.0 + whole.recip().min(f64::from(u32::MAX)) };
        Ok(Self {
            rate,
            burst: config.burst.unwrap_or(1).max(1) as f64,
            delay_max: Duration::from_secs_f64(delay_max),
            lifetime: Duration::from_secs_f64(lifetime),
            source,
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

type Shard = Mutex<HashMap<Box<[u8]>, Bucket, foldhash::fast::RandomState>>;

/// The buckets of all sources. Bounded by `SOURCES_MAX`.
#[derive(Debug)]
pub struct Buckets {
    settings: Settings,
    shards: [Shard; SHARDS],
    hasher: foldhash::fast::RandomState,
}

impl Buckets {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, shards: Default::default(), hasher: foldhash::fast::RandomState::default() }
    }

    /// Whether they count by these settings.
    pub(super) fn count_by(&self, settings: &Settings) -> bool {
        self.settings == *settings
    }

    /// Takes a token, and tells how long to wait for it. A wait that is too long takes none.
    fn take(&self, key: &[u8], rate: f64, now: Instant) -> Result<Duration, Duration> {
        let settings = &self.settings;
        let number = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        // The remainder by the length is an index.
        let mut shard = self.shards[number].lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = shard.get(key).copied().unwrap_or(Bucket { tokens: settings.burst, at: now });
        let passed = now.saturating_duration_since(bucket.at);
        let tokens = (bucket.tokens + passed.as_secs_f64() * rate).min(settings.burst) - 1.0;
        let wait = if tokens < 0.0 { -tokens / rate } else { 0.0 };
        let wait = Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX);
        if wait > settings.delay_max {
            return Err(wait);
        }
        let bucket = Bucket { tokens, at: now };
        if let Some(held) = shard.get_mut(key) {
            *held = bucket;
        } else {
            if shard.len() >= SOURCES_MAX / SHARDS {
                forget(&mut shard, now, settings.lifetime);
            }
            shard.insert(key.into(), bucket);
        }
        Ok(wait)
    }
}

/// Makes room: who was not seen for its lifetime goes, or else the half that was not seen for longest.
fn forget(
    shard: &mut HashMap<Box<[u8]>, Bucket, foldhash::fast::RandomState>,
    now: Instant,
    lifetime: Duration,
) {
    shard.retain(|_, bucket| now.saturating_duration_since(bucket.at) < lifetime);
    if shard.len() >= SOURCES_MAX / SHARDS {
        let mut seen: Vec<Instant> = shard.values().map(|bucket| bucket.at).collect();
        let middle = seen.len() / 2;
        let (_, middle, _) = seen.select_nth_unstable(middle);
        let middle = *middle;
        shard.retain(|_, bucket| bucket.at > middle);
    }
}

/// The middleware as one router uses it.
#[derive(Debug)]
pub struct RateLimit {
    buckets: Arc<Buckets>,
}

impl RateLimit {
    pub(super) fn bind(settings: &Settings, owner: &str, name: &Arc<str>, states: &PolicyStates) -> Self {
        Self { buckets: states.buckets(owner, name, settings) }
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        let Some(rate) = self.buckets.settings.rate else { return Flow::Next(Kept::Nothing) };
        let mut key = Vec::with_capacity(32);
        self.buckets.settings.source.key(head, &mut key);
        match self.buckets.take(&key, rate, Instant::now()) {
            Ok(Duration::ZERO) => Flow::Next(Kept::Nothing),
            Ok(wait) => Flow::Later(Later::new(async move {
                tokio::time::sleep(wait).await;
                Outcome::Verdict(true)
            })),
            Err(wait) => refuse(wait),
        }
    }
}

fn refuse(wait: Duration) -> Flow {
    const X_RETRY_IN: HeaderName = HeaderName::from_static("x-retry-in");
    let status = StatusCode::TOO_MANY_REQUESTS;
    let mut response = bare(status, status.canonical_reason().unwrap_or_default());
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    let nanos = i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX);
    if let Ok(value) = HeaderValue::from_str(&GoDuration::from_nanos(nanos).to_string()) {
        response.headers_mut().insert(X_RETRY_IN, value);
    }
    answer(response)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sample;
    use super::*;

    fn settings(average: i64, period_secs: i64, burst: i64) -> Settings {
        Settings::compile(&dynamic::RateLimit {
            average,
            period: Some(GoDuration::from_secs(period_secs)),
            burst: Some(burst),
            ..dynamic::RateLimit::default()
        })
        .expect("good")
    }

    #[test]
    fn tokens_come_back_with_time_and_early_requests_wait() {
        let buckets = Buckets::new(settings(10, 1, 2));
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let take = |millis| buckets.take(b"a", 10.0, at(millis)).map(|wait| wait.as_millis());
        assert_eq!((take(0), take(0)), (Ok(0), Ok(0)));
        assert_eq!(take(0).map_err(|wait| wait.as_millis()), Err(100), "more than 50 ms is too long");
        assert_eq!(take(60), Ok(40), "a token comes in 40 ms");
        assert_eq!(take(300), Ok(0));
        assert_eq!(buckets.take(b"b", 10.0, at(0)), Ok(Duration::ZERO), "another source");
    }

    #[test]
    fn refused_requests_take_no_token() {
        let buckets = Buckets::new(settings(1, 3600, 1));
        let start = Instant::now();
        assert_eq!(buckets.take(b"a", 1.0 / 3600.0, start), Ok(Duration::ZERO));
        for _ in 0..3 {
            let wait = buckets.take(b"a", 1.0 / 3600.0, start).expect_err("none left");
            assert_eq!(wait.as_secs_f64().round(), 3600.0);
        }
    }

    #[test]
    fn sources_are_bounded() {
        let buckets = Buckets::new(settings(1, 3600, 1));
        let start = Instant::now();
        for number in 0..(SOURCES_MAX as u64 * 2) {
            let now = start + Duration::from_nanos(number);
            assert!(buckets.take(&number.to_be_bytes(), 1.0 / 3600.0, now).is_ok(), "{number}");
        }
        let held: usize = buckets.shards.iter().map(|shard| shard.lock().expect("not poisoned").len()).sum();
        assert!(held <= SOURCES_MAX, "{held}");
        let last = (SOURCES_MAX as u64 * 2 - 1).to_be_bytes();
        assert!(buckets.take(&last, 1.0 / 3600.0, start).is_err(), "who was seen last is known");
    }

    #[test]
    fn a_limit_is_told_with_the_time_to_wait() {
        let states = PolicyStates::default();
        let bind = |settings: &Settings| RateLimit::bind(settings, "r@file", &"limit@file".into(), &states);
        let limit = bind(&settings(1, 3600, 1));
        let status = |limit: &RateLimit| match Sample::new("GET", "/").run(|head| limit.request(head)) {
            Flow::Next(_) => None,
            Flow::Answer(answer) => answer.headers().get(RETRY_AFTER).cloned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(status(&limit), None);
        assert_eq!(status(&limit).expect("too many"), "3600");
        assert_eq!(
            status(&bind(&settings(1, 3600, 1))).expect("an unchanged limit goes on counting"),
            "3600"
        );
        assert_eq!(status(&bind(&settings(1, 3600, 5))), None, "another limit begins anew");
        for (average, burst) in [(0, 1), (-1, 1)] {
            let limit = bind(&settings(average, 1, burst));
            assert!((0..3).all(|_| status(&limit).is_none()), "no limit");
        }
    }

    #[test]
    fn a_negative_period_is_refused() {
        let period = Some(GoDuration::from_secs(-1));
        assert!(Settings::compile(&dynamic::RateLimit { period, ..dynamic::RateLimit::default() }).is_err());
    }
}
