//! What clients see of three nodes in one process, with memory for disks and channels for the network: Ravelin's core in the
//! driver of `driver`, beside openraft doing the same. Each client has one command under way, and the next when it is applied.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::rounds::Spread;
use crate::{COMMAND_BYTES, driver, openraft};

/// Clients at a time.
pub(crate) const CLIENTS: [usize; 5] = [1, 64, 256, 1024, 4096];
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(400);

/// A cluster that takes commands.
pub(crate) trait Commits: Clone + Send + Sync + 'static {
    /// Returns once the command is committed and applied at the leader.
    fn commit(&self, command: Bytes) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Prints the table.
pub(crate) fn measure() -> anyhow::Result<()> {
    println!(
        "\nthree nodes in one process, in memory, commands of {COMMAND_BYTES} bytes, thousands of commits per second, median of \
         {ROUNDS} alternated rounds of {ROUND:?} (least–greatest)"
    );
    println!("clients    Ravelin                      openraft                     Ravelin / openraft");
    for clients in CLIENTS {
        let runtime = runtime()?;
        let (ours, theirs) = runtime.block_on(alternate(clients))?;
        let ratio = ours.median / theirs.median;
        println!("{clients:>7}    {ours:<27}  {theirs:<27}  {ratio:>10.2}");
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
    Ok(())
}

/// A runtime with a worker for each core of the machine.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_time().build()?)
}

async fn alternate(clients: usize) -> anyhow::Result<(Spread, Spread)> {
    let ours = driver::Cluster::start(None, None).await?;
    let theirs = openraft::Cluster::start().await?;
    round(&ours, clients, ROUND).await?; // the first of each warms caches and buffers
    round(&theirs, clients, ROUND).await?;
    let (mut of_ours, mut of_theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_ours.push(round(&ours, clients, ROUND).await?.per_second / 1e3);
        of_theirs.push(round(&theirs, clients, ROUND).await?.per_second / 1e3);
    }
    Ok((Spread::of(of_ours), Spread::of(of_theirs)))
}

/// What the clients of one round saw.
pub(crate) struct Seen {
    /// Commits per second of all together.
    pub(crate) per_second: f64,
    /// Median time of one commit, seconds.
    pub(crate) latency: f64,
}

/// Lets so many clients commit one command after the other for as long as `span`.
pub(crate) async fn round(cluster: &impl Commits, clients: usize, span: Duration) -> anyhow::Result<Seen> {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let cluster = cluster.clone();
        tasks.spawn(async move {
            let mut taken = Vec::new();
            let mut began = Instant::now();
            while start.elapsed() < span {
                cluster.commit(Bytes::copy_from_slice(&[7; COMMAND_BYTES])).await?;
                let now = Instant::now();
                taken.push(now.duration_since(began).as_secs_f64());
                began = now;
            }
            anyhow::Ok(taken)
        });
    }
    let mut taken = Vec::new();
    while let Some(of_one) = tasks.join_next().await {
        taken.extend(of_one??);
    }
    let per_second = taken.len() as f64 / start.elapsed().as_secs_f64();
    Ok(Seen { per_second, latency: Spread::of(taken).median })
}
