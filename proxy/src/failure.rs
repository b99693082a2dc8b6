//! Where a part of the process says that it has failed. A worker cannot begin anew, as its sockets would wait for ever: the process is
//! told and ends in order. The table thread and the feed client begin anew by themselves, which is said and counted here, while what
//! is served goes on. It restarts nothing.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::connection::panic_text;

/// A part of the process that begins anew after a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What compiles tables and publishes them.
    TableThread,
    /// What says that a table is served.
    Announcer,
    /// What follows the control plane.
    FeedClient,
    /// What asks servers how they are: the server counts as down until the next time.
    HealthCheck,
    /// What follows the Workload API of SPIFFE.
    WorkloadApi,
}

impl Part {
    /// All there are, in the order of their counts.
    const ALL: [Self; 5] =
        [Self::TableThread, Self::Announcer, Self::FeedClient, Self::HealthCheck, Self::WorkloadApi];

    /// As it stands in the log and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::TableThread => "table thread",
            Self::Announcer => "announcer of tables",
            Self::FeedClient => "feed client",
            Self::HealthCheck => "health check",
            Self::WorkloadApi => "client of the Workload API",
        }
    }
}

/// The first failure that nothing goes on after, and how many were survived. Clones are one.
#[derive(Clone, Debug)]
pub struct Failures {
    first: watch::Sender<Option<Arc<str>>>,
    survived: Arc<[AtomicU64; Part::ALL.len()]>,
}

impl Default for Failures {
    fn default() -> Self {
        Self { first: watch::Sender::new(None), survived: Arc::default() }
    }
}

impl Failures {
    /// A part has ended that must not. Said in the log; the first one counts.
    pub fn report(&self, what: &str) {
        tracing::error!("{what}: this process cannot go on");
        self.first.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| Arc::from(what));
            is_first
        });
    }

    /// A part has panicked.
    pub fn panicked(&self, part: &str, panic: &(dyn Any + Send)) {
        self.report(&format!("{part} panicked: {}", panic_text(panic)));
    }

    /// A part has panicked and begins anew; what is served goes on. Gives what is to be told of it.
    pub fn survived(&self, part: Part, panic: &(dyn Any + Send)) -> String {
        self.count(part);
        let what = format!("the {} panicked: {}", part.name(), panic_text(panic));
        tracing::error!("{what}: it begins anew, and what is served goes on");
        what
    }

    /// Counts a panic of which something else is said.
    pub fn count(&self, part: Part) {
        for (counted, count) in Part::ALL.iter().zip(&*self.survived) {
            if *counted == part {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How often each part has panicked and begun anew.
    pub fn survived_by_part(&self) -> impl Iterator<Item = (Part, u64)> {
        Part::ALL.into_iter().zip(self.survived.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Whether anything has failed that nothing goes on after.
    pub fn any(&self) -> bool {
        self.first.borrow().is_some()
    }

    /// Waits for the first failure and says what it is; for ever if there is none. Cancel safe.
    pub async fn first(&self) -> Arc<str> {
        let mut failures = self.first.subscribe();
        loop {
            if let Some(what) = &*failures.borrow_and_update() {
                return Arc::clone(what);
            }
            // The sender lives as long as this.
            if failures.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
