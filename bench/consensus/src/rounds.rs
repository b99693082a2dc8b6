//! Alternated rounds of two subjects, so that both meet the same machine, timed by the processor time of this thread.
//! It knows nothing of what is measured.

use std::fmt;

use rustix::time::{ClockId, clock_gettime};

/// Rounds of each subject.
pub(crate) const ROUNDS: usize = 9;
/// Commits in a round: enough that a round takes tens of milliseconds.
const ROUND_COMMITS: usize = 48 << 10;

/// A cluster that commits.
pub(crate) trait Subject {
    /// Proposes `batch` commands at once and works until every node has applied all of them.
    fn commit(&mut self, batch: usize) -> anyhow::Result<()>;
}

/// Median, least and greatest.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    /// The middle figure.
    pub(crate) median: f64,
    least: f64,
    greatest: f64,
}

impl Spread {
    /// Of figures of one kind.
    pub(crate) fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        Self { median: at(figures.len() / 2), least: at(0), greatest: at(figures.len().saturating_sub(1)) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.3} ({:.3}–{:.3})", self.median, self.least, self.greatest))
    }
}

/// µs of processor time per commit of both subjects.
pub(crate) fn alternate(
    one: &mut impl Subject,
    other: &mut impl Subject,
    batch: usize,
) -> anyhow::Result<(Spread, Spread)> {
    round(one, batch)?; // the first of each warms caches and buffers
    round(other, batch)?;
    let (mut of_one, mut of_other) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_one.push(round(one, batch)?);
        of_other.push(round(other, batch)?);
    }
    Ok((Spread::of(of_one), Spread::of(of_other)))
}

fn round(subject: &mut impl Subject, batch: usize) -> anyhow::Result<f64> {
    let turns = ROUND_COMMITS / batch;
    let before = thread_micros();
    for _ in 0..turns {
        subject.commit(batch)?;
    }
    Ok((thread_micros() - before) / (turns * batch) as f64)
}

fn thread_micros() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
