//! One worker's numbers for one entry point, router or service. Only that worker writes them, with plain loads and stores; a scrape
//! reads them at any time and may see a request counted in one number and not yet in the next.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::{Budget, Settings};

/// Lists of series; a power of two.
const HEADS: usize = 8;
/// Most series of a list.
const LENGTH_MAX: usize = 64;
/// Most pairs of a TLS version and a cipher suite: a library knows fewer.
const TLS_MAX: usize = 32;
/// Most sets of values that requests give to the labels asked of them, for each worker; further ones are counted as `other`.
const LABELLED_MAX: usize = 256;
/// What stands for values that there is no room for.
const OTHER: &str = "other";

/// The methods that are told apart.
const METHODS: [&str; 11] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PRI",
    "EXTENSION_METHOD",
];

/// What a request is said to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    Http,
    Websocket,
    Sse,
    GrpcWeb,
    Grpc,
}

const SPOKEN: [(Spoken, &str); 5] = [
    (Spoken::Http, "http"),
    (Spoken::Websocket, "websocket"),
    (Spoken::Sse, "sse"),
    (Spoken::GrpcWeb, "grpc-web"),
    (Spoken::Grpc, "grpc"),
];

/// A method, as far as it is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MethodLabel(u32);

impl MethodLabel {
    pub(crate) fn of(method: &http::Method) -> Self {
        let found = METHODS.iter().position(|known| *known == method.as_str());
        Self(u32::try_from(found.unwrap_or(METHODS.len() - 1)).unwrap_or_default())
    }
}

/// Status, method and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels(u32);

impl Labels {
    pub(super) fn new(code: u16, method: MethodLabel, spoken: Spoken) -> Self {
        Self(u32::from(code) << 8 | method.0 << 4 | spoken as u32)
    }

    pub(super) fn code(self) -> u32 {
        self.0 >> 8
    }

    pub(super) fn method(self) -> &'static str {
        METHODS.get((self.0 >> 4 & 0xf) as usize).copied().unwrap_or_default()
    }

    pub(super) fn protocol(self) -> &'static str {
        SPOKEN.get((self.0 & 0xf) as usize).map_or("", |(_, name)| name)
    }

    fn head(self) -> usize {
        (self.0 ^ self.0 >> 8) as usize % HEADS
    }
}

/// One request, as it is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample<'s> {
    pub(super) labels: Labels,
    pub(super) took: Duration,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
    /// Version and cipher suite, under TLS.
    pub(super) tls: Option<(&'static str, &'static str)>,
    /// Values of the labels that are taken from its fields.
    pub(super) values: Option<&'s [Box<str>]>,
}

/// On a cache line (and the one fetched with it) of its own: its worker writes it for each request.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    settings: Arc<Settings>,
    budget: Arc<Budget>,
    heads: [OnceLock<Box<Series>>; HEADS],
    tls: OnceLock<Box<TlsSeries>>,
    /// Counts of requests by labels of their own; nothing where none are asked for. Only a scrape ever waits for it.
    labelled: Mutex<Labelled>,
}

#[derive(Debug)]
struct Series {
    labels: Labels,
    next: OnceLock<Box<Self>>,
    /// One more than there are bounds.
    buckets: Box<[AtomicU64]>,
    nanos: AtomicU64,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
}

#[derive(Debug)]
struct TlsSeries {
    labels: (&'static str, &'static str),
    next: OnceLock<Box<Self>>,
    requests: AtomicU64,
}

/// What all workers together have counted under the same labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) buckets: Vec<u64>,
    pub(super) nanos: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
}

/// Counts of requests by labels and by the values of those that are taken from fields.
type Labelled = BTreeMap<(Labels, Box<[Box<str>]>), u64>;

/// What all workers together have counted for one.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) series: BTreeMap<Labels, Total>,
    pub(super) tls: BTreeMap<(&'static str, &'static str), u64>,
    pub(super) labelled: Labelled,
}

/// Adds to what only this thread writes.
fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

impl Shard {
    pub(super) fn new(settings: Arc<Settings>, budget: Arc<Budget>) -> Self {
        Self {
            settings,
            budget,
            heads: [const { OnceLock::new() }; HEADS],
            tls: OnceLock::new(),
            labelled: Mutex::default(),
        }
    }

    /// Counts one request.
    pub(super) fn record(&self, sample: &Sample<'_>) {
        let Some(series) = self.series(sample.labels) else { return self.budget.miss() };
        let nanos = u64::try_from(sample.took.as_nanos()).unwrap_or(u64::MAX);
        let bounds = &self.settings.bounds;
        let place = bounds.iter().position(|(_, bound)| nanos <= *bound).unwrap_or(bounds.len());
        if let Some(bucket) = series.buckets.get(place) {
            add(bucket, 1);
        }
        add(&series.nanos, nanos);
        add(&series.received_bytes, sample.received_bytes);
        add(&series.sent_bytes, sample.sent_bytes);
        if let Some(labels) = sample.tls {
            self.record_tls(labels);
        }
        if let Some(values) = sample.values {
            self.record_labelled(sample.labels, values);
        }
    }

    /// The series of these labels; a new one where there is room.
    fn series(&self, labels: Labels) -> Option<&Series> {
        let mut place = self.heads.get(labels.head())?;
        for _ in 0..LENGTH_MAX {
            let series = match place.get() {
                Some(series) => series,
                None if !self.budget.open() => return None,
                None => place.get_or_init(|| Box::new(Series::new(labels, self.settings.bounds.len()))),
            };
            if series.labels == labels {
                return Some(series);
            }
            place = &series.next;
        }
        None
    }

    fn record_tls(&self, labels: (&'static str, &'static str)) {
        let mut place = &self.tls;
        for _ in 0..TLS_MAX {
            let series = place.get_or_init(|| {
                Box::new(TlsSeries { labels, next: OnceLock::new(), requests: AtomicU64::new(0) })
            });
            if series.labels == labels {
                return add(&series.requests, 1);
            }
            place = &series.next;
        }
    }

    fn record_labelled(&self, labels: Labels, values: &[Box<str>]) {
        let mut labelled = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (labels, Box::from(values));
        let has_room = labelled.len() < LABELLED_MAX;
        match labelled.get_mut(&key) {
            Some(count) => *count += 1,
            None if has_room => drop(labelled.insert(key, 1)),
            None => {
                let others: Box<[Box<str>]> = values.iter().map(|_| OTHER.into()).collect();
                *labelled.entry((labels, others)).or_default() += 1;
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Series> {
        let lists = self.heads.iter();
        lists.flat_map(|head| {
            std::iter::successors(head.get().map(|first| &**first), |series| {
                series.next.get().map(|next| &**next)
            })
        })
    }

    /// Adds what it holds to what the others hold.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for series in self.all() {
            let total = totals.series.entry(series.labels).or_default();
            total.buckets.resize(series.buckets.len(), 0);
            for (sum, bucket) in total.buckets.iter_mut().zip(&series.buckets) {
                *sum += load(bucket);
            }
            total.nanos = total.nanos.wrapping_add(load(&series.nanos));
            total.received_bytes = total.received_bytes.wrapping_add(load(&series.received_bytes));
            total.sent_bytes = total.sent_bytes.wrapping_add(load(&series.sent_bytes));
        }
        for series in std::iter::successors(self.tls.get(), |series| series.next.get()) {
            *totals.tls.entry(series.labels).or_default() += load(&series.requests);
        }
        for (key, count) in &*self.labelled.lock().unwrap_or_else(PoisonError::into_inner) {
            *totals.labelled.entry(key.clone()).or_default() += count;
        }
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.budget.close(self.all().count());
    }
}

impl Series {
    fn new(labels: Labels, bounds: usize) -> Self {
        Self {
            labels,
            next: OnceLock::new(),
            buckets: (0..=bounds).map(|_| AtomicU64::new(0)).collect(),
            nanos: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
        }
    }
}
