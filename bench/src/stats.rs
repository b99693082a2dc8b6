//! Medians, spreads and percentiles of what was measured, and what the system tells of a process. It
//! must not smooth: every figure is one that was measured.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context;

/// Median, least and greatest of some rounds.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    /// The middle one.
    pub(crate) median: f64,
    /// The least.
    pub(crate) least: f64,
    /// The greatest.
    pub(crate) greatest: f64,
}

impl Spread {
    /// Of at least one figure.
    pub(crate) fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Self { median: at(sorted.len() / 2), least: at(0), greatest: at(sorted.len().saturating_sub(1)) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} ({:.3}–{:.3})", self.median, self.least, self.greatest)
    }
}

/// A percentile of sorted microseconds.
pub(crate) fn percentile(sorted: &[u32], share: f64) -> u32 {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// Seconds that a process has been in the kernel, to a hundredth.
pub(crate) fn system_seconds(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let field = text.rsplit(") ").next().and_then(|fields| fields.split(' ').nth(12));
    let ticks: f64 = field.and_then(|field| field.parse().ok()).context("a field of stat")?;
    Ok(ticks / 100.0) // USER_HZ is 100 on every Linux
}

/// Nanoseconds that each thread of a process has been on a processor.
pub(crate) struct ThreadTimes(BTreeMap<u32, u64>);

impl ThreadTimes {
    /// The threads of a process as they are now.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let mut times = BTreeMap::new();
        let threads = format!("/proc/{pid}/task");
        for thread in fs::read_dir(&threads).with_context(|| threads.clone())? {
            let path = thread.with_context(|| threads.clone())?.path();
            let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            // A thread may end between the two looks.
            let Ok(text) = fs::read_to_string(path.join("schedstat")) else { continue };
            let nanos = text.split_whitespace().next().and_then(|field| field.parse().ok());
            times.insert(number.context("a thread's number")?, nanos.context("a thread's time")?);
        }
        Ok(Self(times))
    }

    /// Milliseconds used since an earlier look. What a thread used that has ended since is not counted: idle
    /// threads end after seconds, looks are closer together.
    pub(crate) fn since_ms(&self, earlier: &Self) -> f64 {
        let used = self.0.iter().map(|(thread, now)| now - earlier.0.get(thread).copied().unwrap_or(0));
        used.sum::<u64>() as f64 / 1e6
    }
}

/// Resident memory of a process in MiB.
pub(crate) fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    memory_mib(pid, "VmRSS:")
}

/// A row of what the system tells of a process's memory, in MiB: `VmRSS:`, `VmHWM:`.
pub(crate) fn memory_mib(pid: u32, row: &str) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix(row)).with_context(|| row.to_owned())?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().with_context(|| row.to_owned())?;
    Ok(kib / 1024.0)
}
