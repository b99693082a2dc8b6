//! Policy state of the process, by the router (or service) that uses a middleware and the middleware's name: an unchanged pair keeps it
//! over a swap of tables. The compiler alone uses it; nothing here is touched by a request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::circuit_breaker::{self, Breaker};
use super::in_flight_req::Counts;
use super::rate_limit::{self, Buckets};

/// What routers count by, as long as a table uses it: entries that none uses are dropped on growth.
#[derive(Debug, Default)]
pub struct PolicyStates {
    in_flight: Known<Counts>,
    rates: Known<Buckets>,
    breakers: Known<Breaker>,
}

type Known<T> = Mutex<HashMap<(String, Arc<str>), Weak<T>>>;

impl PolicyStates {
    pub(super) fn counts(&self, owner: &str, middleware: &Arc<str>) -> Arc<Counts> {
        known_or(&self.in_flight, owner, middleware, |_| true, Counts::default)
    }

    /// The buckets of an owner and middleware. Other settings begin anew.
    pub(super) fn buckets(
        &self,
        owner: &str,
        middleware: &Arc<str>,
        settings: &rate_limit::Settings,
    ) -> Arc<Buckets> {
        let fits = |buckets: &Buckets| buckets.count_by(settings);
        known_or(&self.rates, owner, middleware, fits, || Buckets::new(settings.clone()))
    }

    /// The breaker of an owner and middleware. Other settings begin anew.
    pub(super) fn breaker(
        &self,
        owner: &str,
        middleware: &Arc<str>,
        settings: &circuit_breaker::Settings,
    ) -> Arc<Breaker> {
        let fits = |breaker: &Breaker| breaker.works_by(settings);
        known_or(&self.breakers, owner, middleware, fits, || Breaker::new(settings.clone()))
    }
}

fn known_or<T>(
    known: &Known<T>,
    owner: &str,
    middleware: &Arc<str>,
    fits: impl FnOnce(&T) -> bool,
    make: impl FnOnce() -> T,
) -> Arc<T> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (owner.to_owned(), Arc::clone(middleware));
    let held = known.get(&key).and_then(Weak::upgrade);
    if let Some(held) = held.filter(|held| fits(held)) {
        return held;
    }
    if known.len() == known.capacity() {
        known.retain(|_, held| held.strong_count() > 0);
    }
    let made = Arc::new(make());
    known.insert(key, Arc::downgrade(&made));
    made
}
