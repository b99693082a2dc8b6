//! What the proxies' own JSON access logs say of the load: answers, statuses, generations. It must not
//! trust the client's counts; the two are printed side by side.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

/// The counts recomputed from one access log.
#[derive(Default)]
pub(crate) struct Counts {
    /// Lines with an answer to the load's own request.
    pub(crate) answers: u64,
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u64, u64>,
    /// The newest generation served.
    pub(crate) generation: u64,
    /// Requests that began after an older request had ended and yet carry an older generation.
    pub(crate) backwards: u64,
    /// Lines that could not be read; the last one may be cut off by a kill.
    pub(crate) broken: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statuses: Vec<String> =
            self.statuses.iter().map(|(status, count)| format!("{count} × {status}")).collect();
        write!(
            f,
            "its access log has {} answers ({}), newest generation {}",
            self.answers,
            statuses.join(", "),
            self.generation
        )
    }
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
    *counts.statuses.entry(line["DownstreamStatus"].as_u64().unwrap_or(0)).or_default() += 1;
    let field = line["downstream_X-Ravelin-Generation"].as_str().and_then(|text| text.parse::<u64>().ok());
    let Some(generation) = field else { return };
    // Lines are written in the order in which answers end, over several workers: two steps back can
    // only come from a request that was already running when the change came.
    if generation + 1 < counts.generation {
        counts.backwards += 1;
    }
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
    }
}
