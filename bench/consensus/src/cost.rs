//! What one commit costs: three nodes in one thread, memory for disks, Ravelin's core beside raft-rs doing the same work.

use crate::rounds::{self, ROUNDS};
use crate::{COMMAND_BYTES, ours, raft_rs};

/// Proposals that are made before anything else happens.
const BATCHES: [usize; 5] = [1, 16, 64, 256, 1024];
/// What the core may cost, µs of processor time for all three nodes together: at batch 1 and at batch 1024.
const GOALS_US: [(usize, f64); 2] = [(1, 1.5), (1024, 0.30)];

/// Prints the table; gives the line that a script reads.
pub(crate) fn measure() -> anyhow::Result<String> {
    println!(
        "three nodes in one thread, commands of {COMMAND_BYTES} bytes, median of {ROUNDS} alternated rounds (least–greatest)"
    );
    println!(
        "batch    Ravelin µs per commit     raft-rs µs per commit     raft-rs / Ravelin    allocations in step per commit"
    );
    let mut line = Vec::new();
    for batch in BATCHES {
        let mut ours = ours::Cluster::start()?;
        let mut theirs = raft_rs::Cluster::start()?;
        let (mine, peer) = rounds::alternate(&mut ours, &mut theirs, batch)?;
        let allocations = ours::allocations_per_commit(batch)?;
        let ratio = peer.median / mine.median;
        println!("{batch:>5}    {mine:<24}  {peer:<24}  {ratio:>10.2}           {allocations:>12.5}");
        if let Some((_, goal)) = GOALS_US.iter().find(|(of, _)| *of == batch) {
            println!("         {:.2} × the goal of {goal} µs", mine.median / goal);
            line.push((mine.median, peer.median));
        }
    }
    let [(a, c), (b, d)] = line.as_slice() else { anyhow::bail!("a batch with a goal was not measured") };
    Ok(format!(
        "consensus: {a:.2} µs per commit at batch 1, {b:.3} µs at batch 1024, raft-rs {c:.2} and {d:.3}"
    ))
}
