//! Mirroring: one service answers, others get copies of a share of its requests. It says which requests and how much of a body; what
//! becomes of a copy is nobody's business, and never the client's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ravelin_config::dynamic::Mirroring as Config;
use smallvec::SmallVec;

use super::Service;

/// Copies of one service under way at once; further ones are not made.
const COPIES_MAX: usize = 256;
const WHOLE_PERCENT: u64 = 100;

/// A service and its mirrors.
#[derive(Debug)]
pub struct Mirroring {
    service: Arc<Service>,
    mirrors: Box<[Mirror]>,
    /// Requests so far.
    total: AtomicU64,
    /// Copies have the request's body.
    pub(crate) body: bool,
    /// Most bytes of a body that is copied; requests with a longer one are not. `None`: as many as come.
    pub(crate) body_bytes_max: Option<u64>,
    copies: Copies,
    checked: bool,
}

#[derive(Debug)]
struct Mirror {
    service: Arc<Service>,
    percent: u64,
}

/// Mirrors of one request.
pub(crate) type Mirrors = SmallVec<[Arc<Service>; 2]>;

/// Copies under way, of which there is a most.
#[derive(Debug, Default)]
pub(crate) struct Copies(Arc<AtomicUsize>);

impl Copies {
    /// A place for one more, if there is one.
    pub(crate) fn enter(&self) -> Option<UnderWay> {
        let place = UnderWay(Arc::clone(&self.0));
        // Counted before it is asked, so that no two get the last one; dropping the place gives it back.
        (self.0.fetch_add(1, Ordering::Relaxed) < COPIES_MAX).then_some(place)
    }

    #[cfg(test)]
    pub(crate) fn under_way(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A copy under way, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Mirroring {
    /// From its configuration, its service and its mirrors in their order.
    pub(super) fn compile(config: &Config, service: Arc<Service>, mirrors: Vec<Arc<Service>>) -> Self {
        let percents = config.mirrors.iter().map(|mirror| u64::try_from(mirror.percent).unwrap_or(0));
        let mirrors = mirrors.into_iter().zip(percents);
        Self {
            service,
            mirrors: mirrors.map(|(service, percent)| Mirror { service, percent }).collect(),
            total: AtomicU64::new(0),
            body: config.mirror_body,
            body_bytes_max: u64::try_from(config.max_body_size).ok(),
            copies: Copies::default(),
            checked: config.health_check.is_some(),
        }
    }

    /// The service that answers.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Who gets a copy of the next request. Each mirror's share is exact over any hundred requests of all workers.
    pub(crate) fn mirrors(&self) -> Mirrors {
        if self.mirrors.is_empty() {
            return Mirrors::new();
        }
        let number = self.total.fetch_add(1, Ordering::Relaxed);
        let due = |mirror: &&Mirror| is_due(number, mirror.percent);
        self.mirrors.iter().filter(due).map(|mirror| Arc::clone(&mirror.service)).collect()
    }

    /// A place for a copy, if there is one.
    pub(crate) fn enter(&self) -> Option<UnderWay> {
        self.copies.enter()
    }

    pub(super) fn is_up(&self) -> bool {
        !self.checked || self.service.is_up()
    }

    /// The services that get copies.
    pub(crate) fn mirrored(&self) -> impl Iterator<Item = &Service> {
        self.mirrors.iter().map(|mirror| &*mirror.service)
    }

    pub(super) fn children(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.mirrors.iter().map(|mirror| &mirror.service).chain([&self.service])
    }
}

/// Whether request `number`, counted from 0, is one of the share; the first one is.
fn is_due(number: u64, percent: u64) -> bool {
    let number = number % WHOLE_PERCENT;
    let before = (number * percent).div_ceil(WHOLE_PERCENT);
    ((number + 1) * percent).div_ceil(WHOLE_PERCENT) > before
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_request_is_copied_and_then_every_so_many() {
        let due = |percent: u64| (0..12).filter(|number| is_due(*number, percent)).collect::<Vec<_>>();
        assert_eq!(due(50), [0, 2, 4, 6, 8, 10]);
        assert_eq!(due(10), [0, 10]);
        assert_eq!(due(0), [] as [u64; 0]);
        assert_eq!(due(100).len(), 12);
    }

    #[test]
    fn no_more_copies_are_under_way_than_there_are_places() {
        let copies = Copies::default();
        let mut places: Vec<UnderWay> = std::iter::from_fn(|| copies.enter()).take(COPIES_MAX + 1).collect();
        assert_eq!((places.len(), copies.under_way()), (COPIES_MAX, COPIES_MAX));
        places.pop();
        assert!(copies.enter().is_some() && copies.under_way() == COPIES_MAX - 1);
    }

    proptest! {
        #[test]
        fn shares_are_exact_over_any_hundred(percent in 0_u64..=100, first in 0_u64..10_000) {
            let copies = (first..first + 100).filter(|number| is_due(*number, percent)).count();
            prop_assert_eq!(copies as u64, percent);
        }
    }
}
