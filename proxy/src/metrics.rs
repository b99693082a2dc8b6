//! Metrics: what is counted of requests, for whom, and how a scrape shows it. Names, labels and buckets are Traefik's.
//!
//! Whom something is counted for (an entry point, a router, a service) is found when a table is compiled; a request only adds
//! to its worker's own numbers, which nobody else writes. It must not take a label from a request unless the configuration
//! asks for that, and nothing that it holds grows without a bound.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use http::HeaderName;
use ravelin_config::static_config;

mod exposition;
mod measured;
mod process;
mod scrape;
mod series;
mod vitals;

pub(crate) use measured::Measured;
pub(crate) use scrape::scrape;
pub(crate) use series::Shard;
pub use vitals::Vitals;

/// Most series that a process holds, over all workers; what would be one more is not counted but told of. A series takes
/// about 250 bytes with the usual buckets.
pub const SERIES_MAX: usize = 100_000;

/// What is counted, and how.
#[derive(Debug)]
pub(crate) struct Settings {
    by_entry_point: bool,
    by_router: bool,
    by_service: bool,
    internals: bool,
    /// Upper bounds of the durations' buckets: in seconds as they are shown, and in nanoseconds.
    bounds: Box<[(f64, u64)]>,
    /// Labels of counts of requests, in order of name, and the fields that hold their values.
    header_labels: Box<[(Box<str>, HeaderName)]>,
}

/// Whom something is counted for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    EntryPoint(Arc<str>),
    /// With the service that it names.
    Router(Arc<str>, Arc<str>),
    Service(Arc<str>),
}

/// How many series there are, and how often there was no room for one more.
#[derive(Debug, Default)]
struct Budget {
    series: AtomicUsize,
    uncounted: AtomicU64,
}

impl Budget {
    fn open(&self) -> bool {
        let open = self.series.fetch_add(1, Ordering::Relaxed) < SERIES_MAX;
        if !open {
            self.close(1);
        }
        open
    }

    fn close(&self, count: usize) {
        self.series.fetch_sub(count, Ordering::Relaxed);
    }

    fn miss(&self) {
        self.uncounted.fetch_add(1, Ordering::Relaxed);
    }
}

type Subjects = Mutex<BTreeMap<Name, Weak<Subject>>>;

/// All that is counted under one configuration of metrics.
#[derive(Debug)]
pub struct Metrics {
    settings: Arc<Settings>,
    budget: Arc<Budget>,
    workers: usize,
    /// Those that a table holds: each takes itself out with its last table.
    subjects: Arc<Subjects>,
}

/// One entry point, router or service for which is counted.
#[derive(Debug)]
pub struct Subject {
    name: Name,
    settings: Arc<Settings>,
    budget: Arc<Budget>,
    /// One for each worker, from its first request on.
    shards: Box<[OnceLock<Arc<Shard>>]>,
    registered: Weak<Subjects>,
}

impl Metrics {
    /// Counts nothing yet, for this many workers. `None` where nothing is to be counted.
    ///
    /// # Errors
    /// What is wrong with the configuration; the control plane has judged it before.
    pub fn compile(config: &static_config::Metrics, workers: usize) -> Result<Option<Self>, String> {
        let Some(prometheus) = &config.prometheus else { return Ok(None) };
        let nanos =
            |seconds: f64| std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_nanos();
        let bounds = prometheus.bounds()?.into_iter();
        let bounds = bounds.map(|bound| (bound, u64::try_from(nanos(bound)).unwrap_or(u64::MAX))).collect();
        let labels = prometheus.header_labels.iter().map(|(label, header)| {
            let name: HeaderName =
                header.trim().parse().map_err(|_| format!("headerLabels.{label}: no header name"))?;
            Ok((label.as_str().into(), name))
        });
        let settings = Settings {
            by_entry_point: prometheus.add_entry_points_labels,
            by_router: prometheus.add_routers_labels,
            by_service: prometheus.add_services_labels,
            internals: config.add_internals,
            bounds,
            header_labels: labels.collect::<Result<_, String>>()?,
        };
        Ok(Some(Self {
            settings: Arc::new(settings),
            budget: Arc::default(),
            workers: workers.max(1),
            subjects: Arc::default(),
        }))
    }

    /// Whether requests to this service are counted at all.
    pub(crate) fn counts(&self, service: &str) -> bool {
        self.settings.internals || !service.ends_with("@internal")
    }

    /// Where requests of an entry point are counted.
    pub(crate) fn entry_point(&self, name: &Arc<str>) -> Option<Arc<Subject>> {
        self.settings.by_entry_point.then(|| self.subject(Name::EntryPoint(Arc::clone(name))))
    }

    /// Where requests of a router that names this service are counted.
    pub(crate) fn router(&self, name: &Arc<str>, service: &Arc<str>) -> Option<Arc<Subject>> {
        self.settings.by_router.then(|| self.subject(Name::Router(Arc::clone(name), Arc::clone(service))))
    }

    /// Where requests to a service are counted.
    pub(crate) fn service(&self, name: &str) -> Option<Arc<Subject>> {
        self.settings.by_service.then(|| self.subject(Name::Service(name.into())))
    }

    /// The one of this name: its numbers go on from table to table.
    fn subject(&self, name: Name) -> Arc<Subject> {
        let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subject) = subjects.get(&name).and_then(Weak::upgrade) {
            return subject;
        }
        let subject = Arc::new(Subject {
            name: name.clone(),
            settings: Arc::clone(&self.settings),
            budget: Arc::clone(&self.budget),
            shards: (0..self.workers).map(|_| OnceLock::new()).collect(),
            registered: Arc::downgrade(&self.subjects),
        });
        subjects.insert(name, Arc::downgrade(&subject));
        subject
    }

    /// Those that are counted for now, in order.
    fn subjects(&self) -> Vec<Arc<Subject>> {
        let subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        subjects.values().filter_map(Weak::upgrade).collect()
    }
}

impl Subject {
    /// One worker's numbers. They are counted by the holder's own counter, which no other worker touches.
    pub(crate) fn shard(&self, worker: usize) -> Option<&Arc<Shard>> {
        let place = self.shards.get(worker)?;
        Some(place.get_or_init(|| Arc::new(Shard::new(Arc::clone(&self.settings), Arc::clone(&self.budget)))))
    }

    fn used_shards(&self) -> impl Iterator<Item = &Arc<Shard>> {
        self.shards.iter().filter_map(OnceLock::get)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let Some(subjects) = self.registered.upgrade() else { return };
        let mut subjects = subjects.lock().unwrap_or_else(PoisonError::into_inner);
        // Another one of the name may have come since.
        if subjects.get(&self.name).is_some_and(|found| found.strong_count() == 0) {
            subjects.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests;
