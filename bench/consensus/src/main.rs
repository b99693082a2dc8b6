//! The consensus core in figures, beside its peers in the same run: what one commit costs (`cost`), how many clients see
//! how many commits (`clients`), and what a real disk leaves of it (`disk`). It prints figures and ratios and judges nothing.

mod clients;
mod cost;
mod disk;
mod driver;
mod legs;
mod openraft;
mod ours;
mod raft_rs;
mod rounds;
mod syncs;

/// Bytes of one command.
const COMMAND_BYTES: usize = 16;
/// Entries after which a node lets go of those that it has applied.
const COMPACT_ENTRIES: u64 = 64 << 10;
/// Members of every cluster.
const NODES: u64 = 3;

fn main() -> anyhow::Result<()> {
    let only = std::env::args().nth(1);
    let asked = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let line = if asked("cost") { Some(cost::measure()?) } else { None };
    if asked("clients") {
        clients::measure()?;
    }
    if asked("disk") {
        disk::measure()?;
    }
    if let Some(line) = line {
        println!("{line}");
    }
    Ok(())
}
