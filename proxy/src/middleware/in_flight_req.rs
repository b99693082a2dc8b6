//! `inFlightReq`: at most so many requests of one source at once, counted for all workers of the process. The counts belong to
//! the router that uses the middleware and outlive a table as long as the next one has both. It holds no request back: one too
//! many is answered 429.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;
use ravelin_config::dynamic;

use super::source::Source;
use super::{CompileError, Flow, Head, Kept, PolicyStates, answer};
use crate::error::bare;

const SHARDS: usize = 16;

/// The middleware before it is bound to a router.
#[derive(Debug)]
pub struct Settings {
    amount: u64,
    source: Source,
}

impl Settings {
    /// From its configuration. An amount of 0 or less refuses everything, as in Traefik.
    ///
    /// # Errors
    /// A bad source criterion.
    pub fn compile(config: &dynamic::InFlightReq) -> Result<Self, CompileError> {
        let source = Source::compile(config.source_criterion.as_ref(), Source::Host)?;
        Ok(Self { amount: u64::try_from(config.amount).unwrap_or(0), source })
    }
}

type Shard = Mutex<HashMap<Box<[u8]>, u64, foldhash::fast::RandomState>>;

/// Requests in flight by source. Holds one entry per source that has any, so that its size is bounded by the requests in flight.
#[derive(Debug, Default)]
pub struct Counts {
    shards: [Shard; SHARDS],
    hasher: foldhash::fast::RandomState,
}

impl Counts {
    fn shard(&self, key: &[u8]) -> &Shard {
        let number = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        // The remainder by the length is an index.
        &self.shards[number]
    }

    fn enter(&self, key: &[u8], amount: u64) -> bool {
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        match shard.get_mut(key) {
            Some(count) if *count >= amount => false,
            Some(count) => {
                *count += 1;
                true
            }
            None if amount == 0 => false,
            None => {
                shard.insert(key.into(), 1);
                true
            }
        }
    }

    fn leave(&self, key: &[u8]) {
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = shard.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                shard.remove(key);
            }
        }
    }
}

/// The middleware as one router uses it.
#[derive(Debug)]
pub struct InFlightReq {
    settings: Arc<Settings>,
    counts: Arc<Counts>,
}

/// One request's place; dropping it gives the place up.
#[derive(Debug)]
pub struct Place {
    counts: Arc<Counts>,
    key: Box<[u8]>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counts.leave(&self.key);
    }
}

impl InFlightReq {
    pub(super) fn bind(
        settings: &Arc<Settings>,
        owner: &str,
        name: &Arc<str>,
        states: &PolicyStates,
    ) -> Self {
        Self { settings: Arc::clone(settings), counts: states.counts(owner, name) }
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        let mut key = Vec::with_capacity(32);
        self.settings.source.key(head, &mut key);
        if self.counts.enter(&key, self.settings.amount) {
            let place = Place { counts: Arc::clone(&self.counts), key: key.into() };
            return Flow::Next(Kept::Place(place));
        }
        let text = format!("max connections reached: {}", self.settings.amount);
        answer(bare(StatusCode::TOO_MANY_REQUESTS, text))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sample;
    use super::*;

    fn bound(amount: i64, owner: &str, states: &PolicyStates) -> InFlightReq {
        let settings =
            Settings::compile(&dynamic::InFlightReq { amount, source_criterion: None }).expect("good");
        InFlightReq::bind(&Arc::new(settings), owner, &"limit@file".into(), states)
    }

    fn enter(middleware: &InFlightReq, host: &str) -> Result<Place, u16> {
        match Sample::new("GET", "/").host(host).run(|head| middleware.request(head)) {
            Flow::Next(Kept::Place(place)) => Ok(place),
            Flow::Answer(answer) => Err(answer.status().as_u16()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn places_are_counted_by_source_and_given_up_on_drop() {
        let limit = bound(2, "r@file", &PolicyStates::default());
        let first = enter(&limit, "a.test").expect("a place");
        let _second = enter(&limit, "a.test").expect("a place");
        assert_eq!(enter(&limit, "a.test").err(), Some(429));
        let _other = enter(&limit, "b.test").expect("another source");
        drop(first);
        let _third = enter(&limit, "a.test").expect("a place again");
        assert_eq!(enter(&limit, "a.test").err(), Some(429));
    }

    #[test]
    fn routers_count_apart_and_keep_their_counts_over_a_swap() {
        let states = PolicyStates::default();
        let old = bound(1, "r@file", &states);
        let _place = enter(&old, "a.test").expect("a place");
        let other = bound(1, "s@file", &states);
        let _elsewhere = enter(&other, "a.test").expect("another router counts apart");
        let new = bound(1, "r@file", &states);
        drop(old);
        assert_eq!(enter(&new, "a.test").err(), Some(429), "the place taken before the swap still counts");
    }

    #[test]
    fn an_amount_of_nothing_refuses_everything() {
        for amount in [0, -1] {
            assert_eq!(enter(&bound(amount, "r@file", &PolicyStates::default()), "a.test").err(), Some(429));
        }
    }

    #[test]
    fn sources_without_requests_take_no_memory() {
        let limit = bound(1, "r@file", &PolicyStates::default());
        for number in 0..100 {
            drop(enter(&limit, &format!("h{number}.test")));
        }
        let held: usize =
            limit.counts.shards.iter().map(|shard| shard.lock().expect("not poisoned").len()).sum();
        assert_eq!(held, 0);
    }
}
