//! Where a part of the process that nobody can do without says that it has ended: a worker, the table thread, the feed client.
//! The process is told and ends; nothing goes on half alive. It restarts nothing.

use std::any::Any;
use std::sync::Arc;

use tokio::sync::watch;

use crate::connection::panic_text;

/// The first failure of a vital part. Clones are one.
#[derive(Clone, Debug)]
pub struct Failures(watch::Sender<Option<Arc<str>>>);

impl Default for Failures {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Failures {
    /// A part has ended that must not. Said in the log; the first one counts.
    pub fn report(&self, what: &str) {
        tracing::error!("{what}: this process cannot go on");
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| Arc::from(what));
            is_first
        });
    }

    /// A part has panicked.
    pub fn panicked(&self, part: &str, panic: &(dyn Any + Send)) {
        self.report(&format!("{part} panicked: {}", panic_text(panic)));
    }

    /// Whether anything has failed.
    pub fn any(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits for the first failure and says what it is; for ever if there is none. Cancel safe.
    pub async fn first(&self) -> Arc<str> {
        let mut failures = self.0.subscribe();
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
