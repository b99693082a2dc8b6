//! What the proxies' own JSON access logs say of the load: answers, statuses, generations. It must not
//! trust the client's counts; the two are printed side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::load::Report;

/// The counts recomputed from one access log.
#[derive(Default)]
pub(crate) struct Counts {
    /// Lines with an answer to the load's own request.
    pub(crate) answers: u64,
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// The newest generation served.
    pub(crate) generation: u64,
    /// Every generation served: as many as there were changes.
    served: BTreeSet<u64>,
    /// Answers that are two changes or more behind one that was logged before.
    pub(crate) backwards: u64,
    /// Lines that could not be read; the last one may be cut off by a kill.
    pub(crate) broken: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&tell(self.answers, &self.statuses, self.generation))
    }
}

/// `7 answers (7 × 200), newest generation 3`.
fn tell(answers: u64, statuses: &BTreeMap<u16, u64>, generation: u64) -> String {
    let statuses: Vec<String> =
        statuses.iter().map(|(status, count)| format!("{count} × {status}")).collect();
    format!("{answers} answers ({}), newest generation {generation}", statuses.join(", "))
}

/// What the client counted of one proxy, in the same words.
pub(crate) fn seen(report: &Report, address: &str) -> String {
    let statuses = report.answers.get(address).cloned().unwrap_or_default();
    let generation = report.generation.get(address).copied().unwrap_or(0);
    tell(statuses.values().sum(), &statuses, generation)
}

/// What a proxy's log lacks of that which the client has seen. One that was killed may lack the lines that it had not written, and
/// have one that is cut off; nothing else may lose any.
pub(crate) fn faults(log: &Counts, report: &Report, address: &str, killed: bool) -> Vec<String> {
    let mut faults = Vec::new();
    if log.backwards > 0 {
        faults.push(format!("its access log shows {} generations going backwards", log.backwards));
    }
    if log.broken > u64::from(killed) {
        faults.push(format!("{} lines of its access log cannot be read", log.broken));
    }
    if killed {
        return faults;
    }
    for (status, seen) in report.answers.get(address).into_iter().flatten() {
        let logged = log.statuses.get(status).copied().unwrap_or(0);
        if logged < *seen {
            faults.push(format!("{logged} answers with {status} are logged, the client counted {seen}"));
        }
    }
    let seen = report.generation.get(address).copied().unwrap_or(0);
    if log.generation < seen {
        faults.push(format!("generation {} is the newest logged, the client saw {seen}", log.generation));
    }
    faults
}

/// Reads a whole access log.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn read(path: &Path) -> anyhow::Result<Counts> {
    let file = File::open(path).with_context(|| format!("the access log {}", path.display()))?;
    let mut counts = Counts::default();
    for line in BufReader::new(file).lines() {
        let line = line.with_context(|| format!("{}", path.display()))?;
        match serde_json::from_str::<Value>(&line) {
            Ok(value) => count(&mut counts, &value),
            Err(_) => counts.broken += 1,
        }
    }
    Ok(counts)
}

fn count(counts: &mut Counts, line: &Value) {
    if line["RequestPath"].as_str() != Some("/") {
        return; // the checks' own probes of other paths
    }
    counts.answers += 1;
    let status = line["DownstreamStatus"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(0);
    *counts.statuses.entry(status).or_default() += 1;
    let field = line["downstream_X-Ravelin-Generation"].as_str().and_then(|text| text.parse::<u64>().ok());
    let Some(generation) = field else { return };
    // Lines are written in the order in which answers end, over several workers: a request that was running when a change came
    // is one step back, whatever the numbers are. Two changes do not come within one request of the load.
    if counts.served.range(generation.saturating_add(1)..).count() >= 2 {
        counts.backwards += 1;
    }
    counts.served.insert(generation);
    counts.generation = counts.generation.max(generation);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_and_steps_back_are_seen() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("access.log");
        let line = |generation: u64| {
            format!(
                "{{\"RequestPath\":\"/\",\"DownstreamStatus\":200,\"downstream_X-Ravelin-Generation\":\"{generation}\"}}\n"
            )
        };
        std::fs::write(&path, format!("{}{}{}{{\"cut", line(3), line(5), line(2))).expect("a file");
        let counts = read(&path).expect("a readable log");
        assert_eq!((counts.answers, counts.generation, counts.backwards, counts.broken), (3, 5, 1, 1));
        std::fs::write(&path, format!("{}{}{}{}", line(3), line(5), line(3), line(5))).expect("a file");
        let counts = read(&path).expect("a readable log");
        assert_eq!(counts.backwards, 0, "it ran when the change came, and a number was left out");
    }

    #[test]
    fn what_the_client_saw_and_a_log_lacks_is_told_and_only_of_a_killed_process_forgiven() {
        let mut report = Report::default();
        report.answers.insert("a:1".to_owned(), [(200, 3), (503, 1)].into());
        report.generation.insert("a:1".to_owned(), 5);
        assert_eq!(seen(&report, "a:1"), "4 answers (3 × 200, 1 × 503), newest generation 5");
        let whole =
            Counts { answers: 5, statuses: [(200, 4), (503, 1)].into(), generation: 5, ..Counts::default() };
        assert_eq!(whole.to_string(), "5 answers (4 × 200, 1 × 503), newest generation 5");
        assert_eq!(faults(&whole, &report, "a:1", false), [] as [String; 0]);
        let lacks = Counts { answers: 2, statuses: [(200, 2)].into(), generation: 4, ..Counts::default() };
        assert_eq!(faults(&lacks, &report, "a:1", false).len(), 3, "two statuses and the generation");
        assert_eq!(faults(&lacks, &report, "a:1", true), [] as [String; 0]);
        let cut = Counts { broken: 1, ..whole };
        assert_eq!(faults(&cut, &report, "a:1", true), [] as [String; 0]);
        assert_eq!(faults(&cut, &report, "a:1", false).len(), 1);
        let back = Counts { backwards: 1, broken: 2, ..cut };
        assert_eq!(faults(&back, &report, "a:1", true).len(), 2, "no kill excuses that");
    }
}
