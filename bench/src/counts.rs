//! What one request costs in countable things: system calls, allocations, instructions outside the kernel. Counted by
//! tracers in two runs of different length, so that starting and ending fall out. It must not time anything: a traced
//! process is many times slower.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::load::{Head, Load};
use super::peer::{self, Kind};
use super::proxy::CONNECTIONS;

/// Requests by which two traced runs differ: enough that what goes on beside them is less than the digits shown.
const SYSTEM_CALL_REQUESTS: u64 = 8_000;
const PROFILE_REQUESTS: u64 = 4_000;
/// What a program calls for memory: the C library's and mimalloc's ways in, neither of which goes through the other.
const ALLOCATING: [&str; 12] = [
    "malloc",
    "calloc",
    "realloc",
    "memalign",
    "aligned_alloc",
    "posix_memalign",
    "mi_malloc",
    "mi_zalloc",
    "mi_realloc",
    "mi_malloc_aligned",
    "mi_zalloc_aligned",
    "mi_realloc_aligned",
];

/// Counts for each of the compared ones and prints a line each.
pub(crate) fn print(kinds: &[Kind], folder: &Path, upstream: SocketAddr) -> anyhow::Result<()> {
    println!("counts per request (two runs, the difference divided), {}", Head::Browser.name());
    for &kind in kinds {
        let count = |tool, head, digits: [usize; 2]| match counted(kind, folder, upstream, tool, head) {
            Ok(counts) => [0, 1].map(|at| format!("{:.*}", digits[at], counts[at])),
            Err(error) => [format!("({error:#})"), "(none)".to_owned()],
        };
        let [system_calls, _] = count(Tool::SystemCalls, Head::Browser, [2, 0]);
        let [instructions, allocations] = count(Tool::Profile, Head::Browser, [0, 2]);
        let [of_small, _] = count(Tool::Profile, Head::Small, [0, 2]);
        println!(
            "  {:<20} system calls {system_calls:<10} allocations {allocations:<10} instructions outside the kernel \
             {instructions} ({}: {of_small})",
            kind.name(),
            Head::Small.name(),
        );
    }
    Ok(())
}

/// What runs a process and counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    /// strace: system calls.
    SystemCalls,
    /// callgrind: instructions, and calls that ask for memory.
    Profile,
}

fn counted(
    kind: Kind,
    folder: &Path,
    upstream: SocketAddr,
    tool: Tool,
    head: Head,
) -> anyhow::Result<[f64; 2]> {
    let (program, requests) = match tool {
        Tool::SystemCalls => ("strace", SYSTEM_CALL_REQUESTS),
        Tool::Profile => ("valgrind", PROFILE_REQUESTS),
    };
    if Command::new(program).arg("--version").output().is_err() {
        bail!("{program} is not installed");
    }
    let few = traced(kind, folder, upstream, tool, head, requests)?;
    let many = traced(kind, folder, upstream, tool, head, requests * 2)?;
    Ok([0, 1].map(|at| (many[at] - few[at]) / requests as f64))
}

/// The totals that a tracer counts while the process answers `requests`.
fn traced(
    kind: Kind,
    folder: &Path,
    upstream: SocketAddr,
    tool: Tool,
    head: Head,
    requests: u64,
) -> anyhow::Result<[f64; 2]> {
    let out = folder.join("traced.out");
    let out_text = out.display().to_string();
    let profile = format!("--callgrind-out-file={out_text}");
    let wrap = match tool {
        Tool::SystemCalls => vec!["strace", "-f", "-c", "-o", &out_text],
        Tool::Profile => vec!["valgrind", "--tool=callgrind", "--quiet", &profile],
    };
    let wrap: Vec<String> = wrap.into_iter().map(str::to_owned).collect();
    let peer = peer::proxy(kind, folder, upstream, &wrap, None)?;
    let mut load = Load::connect(peer.address, head, CONNECTIONS)?;
    load.send(requests)?;
    drop(load);
    peer.terminate()?;
    let text = std::fs::read_to_string(&out).context("the tracer's output")?;
    match tool {
        Tool::SystemCalls => Ok([system_calls(&text)?, 0.0]),
        Tool::Profile => Ok([instructions(&text)?, allocations(&text) as f64]),
    }
}

/// Of strace's summary: the fourth column of its last line.
fn system_calls(summary: &str) -> anyhow::Result<f64> {
    let last = summary.lines().rev().find(|line| line.ends_with("total")).context("strace's total")?;
    let count = last.split_whitespace().nth(3).and_then(|count| count.parse().ok());
    count.context("strace's number of calls")
}

/// Of callgrind's file: its total.
fn instructions(profile: &str) -> anyhow::Result<f64> {
    let total = profile.lines().rev().find_map(|line| line.strip_prefix("totals: "));
    total.and_then(|total| total.trim().parse().ok()).context("callgrind's total")
}

/// Of callgrind's file: how often anything of [`ALLOCATING`] was called. A function has a number, and its name stands
/// beside that the first time only.
fn allocations(profile: &str) -> u64 {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let (mut called, mut total) = ("", 0);
    for line in profile.lines() {
        if let Some(function) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            if !name.is_empty() {
                names.insert(number, name);
            }
            called = number;
        } else if let Some(calls) = line.strip_prefix("calls=") {
            // A recursion's second turn has its own name, with a mark behind it: it is the allocator's own affair.
            if names.get(called).is_some_and(|name| ALLOCATING.contains(name)) {
                total += calls.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_for_memory_are_counted_by_name_and_number() {
        let profile = "fn=(1) serve\n12 3\ncfn=(2) mi_malloc_aligned\ncalls=40 7\n12 900\n\
                       fn=(3) free\n1 1\nfn=(4) parse\ncfn=(2)\ncalls=2 7\n12 45\ncfn=(3)\ncalls=9 1\n1 9\n\
                       totals: 957\n";
        assert_eq!(allocations(profile), 42);
        assert_eq!(instructions(profile).expect("it stands there"), 957.0);
        let summary = "% time seconds usecs/call calls errors syscall\n100.00 0.1 2 4077 3 total\n";
        assert_eq!(system_calls(summary).expect("it stands there"), 4077.0);
    }
}
