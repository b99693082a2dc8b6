//! The stages in which a process stops serving, and how long each may take. Sequence only; workers act on it.

use std::time::Duration;

use crate::connection::Stage;
use crate::listener::OpenEntryPoints;

/// How long connections get to say goodbye once their time is over.
pub const CLOSING_TIME_MAX: Duration = Duration::from_secs(2);

/// How long the stages of an orderly end take at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainTimes {
    /// Connections are still accepted (`lifeCycle.requestAcceptGraceTimeout`).
    pub accept: Duration,
    /// Requests in flight may end (`lifeCycle.graceTimeOut`).
    pub drain: Duration,
}

impl DrainTimes {
    /// The longest of each among the entry points that are open.
    pub fn of(open: &OpenEntryPoints) -> Self {
        let longest = |time: fn(&crate::connection::Settings) -> Duration| {
            open.values().map(|open| time(&open.settings)).max().unwrap_or_default()
        };
        Self {
            accept: longest(|settings| settings.accept_grace),
            drain: longest(|settings| settings.drain_grace),
        }
    }
}

/// Whether a process at this stage takes new connections.
pub fn accepts(stage: Stage) -> bool {
    stage == Stage::Open
}
