//! Who this process is to servers, and whom it takes for one, by SPIFFE: an identity and authorities that the Workload API of its
//! own machine gives and changes. They live in memory alone. It opens no connection to a server, and judges none but by its
//! certificate.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use ravelin_config::spiffe::WorkloadAddress;
use tokio::sync::watch;

use crate::failure::Failures;

mod client;
mod identity;
mod message;
mod verifier;

use client::Times;
use identity::Identity;
pub use verifier::SpiffeError;
pub(crate) use verifier::client_config;

/// What is known of a Workload API.
#[derive(Clone)]
enum Known {
    /// It is asked for the first time.
    Nothing,
    /// It gave nothing yet, and why.
    Failed(Arc<str>),
    /// What it gave last.
    Identity(Arc<Identity>),
}

/// No identity was given yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no identity came yet from the Workload API {address}: {reason}")]
pub struct NoIdentity {
    address: WorkloadAddress,
    reason: Arc<str>,
}

/// One Workload API, followed for as long as this is held.
pub struct Source {
    address: WorkloadAddress,
    known: watch::Receiver<Known>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.address).finish()
    }
}

impl Source {
    /// What was given last.
    fn current(&self) -> Option<Arc<Identity>> {
        match &*self.known.borrow() {
            Known::Identity(identity) => Some(Arc::clone(identity)),
            Known::Nothing | Known::Failed(_) => None,
        }
    }

    /// Waits for the end of the first question only: who came early gets what it brings, who comes while there is nothing is told
    /// so at once. Cancel safe.
    ///
    /// # Errors
    /// Nothing was given yet.
    pub(crate) async fn ready(&self) -> Result<(), NoIdentity> {
        let mut known = self.known.clone();
        let told = known.wait_for(|known| !matches!(known, Known::Nothing)).await;
        let reason = match told.as_deref() {
            Ok(Known::Identity(_)) => return Ok(()),
            Ok(Known::Failed(reason)) => Arc::clone(reason),
            Ok(Known::Nothing) | Err(_) => Arc::from("it is not asked any more"),
        };
        Err(NoIdentity { address: self.address.clone(), reason })
    }
}

/// The Workload APIs that a process follows: one, or two while the configuration changes from one to the other.
#[derive(Debug, Default)]
pub struct Sources {
    followed: Mutex<Vec<(WorkloadAddress, Weak<Source>)>>,
    /// None is ever asked: for tables that serve nobody.
    none: bool,
    /// Where panics are counted.
    failures: OnceLock<Failures>,
}

impl Sources {
    /// For tables that serve nobody: no Workload API is asked.
    pub(crate) fn none() -> Self {
        Self { none: true, ..Self::default() }
    }

    /// Where panics are counted; the first one told before any source begins counts.
    pub(crate) fn watch_failures(&self, failures: Failures) {
        drop(self.failures.set(failures));
    }

    /// The Workload API at this address: the one that is followed already, if so.
    ///
    /// # Errors
    /// The thread that follows it cannot be started.
    pub(crate) fn at(&self, address: &WorkloadAddress) -> io::Result<Arc<Source>> {
        self.with_times(address, Times::default())
    }

    fn with_times(&self, address: &WorkloadAddress, times: Times) -> io::Result<Arc<Source>> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|(_, source)| source.strong_count() > 0);
        let same = followed.iter().find(|(known, _)| known == address);
        if let Some(source) = same.and_then(|(_, source)| source.upgrade()) {
            return Ok(source);
        }
        let (told, known) = watch::channel(Known::Nothing);
        if !self.none {
            client::start(address.clone(), told, times, self.failures.get().cloned().unwrap_or_default())?;
        }
        let source = Arc::new(Source { address: address.clone(), known });
        followed.push((address.clone(), Arc::downgrade(&source)));
        Ok(source)
    }
}

#[cfg(test)]
mod tests;
