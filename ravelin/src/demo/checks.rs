//! `ravelin demo --once`: every check under steady load, one line each with its figure. A check must
//! be able to fail, wait for events rather than for time, and leave the cluster whole for the next.

mod control;
mod members;
mod traffic;

use std::time::{Duration, Instant};

use anyhow::bail;

use super::access_logs;
use super::cluster::Cluster;
use super::load::Load;
use crate::exit::CheckFailed;
use crate::load::Report;

/// Deadline of one awaited event: many times what is usual on two cores.
pub(crate) const EVENT_TIME_MAX: Duration = Duration::from_secs(30);

/// The place of the proxy that is killed with requests in flight.
const KILLED: usize = 1;

/// What a check works on.
pub(crate) struct Bench<'a> {
    /// The cluster.
    pub(crate) cluster: &'a mut Cluster,
    /// The load over it.
    pub(crate) load: Load,
    /// In-flight losses that a killed proxy may cause.
    pub(crate) losses_allowed: u64,
}

/// Runs all checks in order.
///
/// # Errors
/// A check did not hold ([`CheckFailed`]), or the load could not run.
pub(crate) async fn run(cluster: &mut Cluster, rate: u32) -> anyhow::Result<()> {
    let load = Load::start(cluster.directory(), &cluster.proxy_addresses, rate)?;
    let mut bench = Bench { cluster, load, losses_allowed: 0 };
    bench.load.fresh().await?;
    println!();
    let mut failed = Vec::new();
    macro_rules! check {
        ($name:literal, $function:path) => {
            if let Err(error) = bench.check($name, async |bench: &mut Bench<'_>| $function(bench).await).await
            {
                failed.push(format!("{}: {error:#}", $name));
            }
        };
    }
    check!("change served on every proxy", traffic::change_served);
    check!("leader killed (-9)", control::leader_killed);
    check!("change while no leader is known", control::change_without_leader);
    check!("leader frozen and thawed", control::leader_frozen);
    check!("provider node killed (-9)", control::provider_killed);
    check!("its successor frozen, late write refused", control::successor_frozen);
    check!("every controller killed, a proxy restarted", traffic::every_controller_killed);
    check!("all controllers back, no hand needed", traffic::controllers_back);
    check!("refused configuration changes nothing", traffic::refused_configuration);
    check!("two control nodes added", members::two_added);
    check!("leadership handed to a new one", members::leader_handed_over);
    check!("the old leader removed", members::old_leader_removed);
    check!("proxy killed (-9): in-flight losses", traffic::proxy_killed);
    let losses = bench.losses_allowed;
    let last = bench.load.finish().await?;
    cluster.stop()?;
    summary(cluster, &last, losses, &mut failed)?;
    if failed.is_empty() {
        println!("\nall checks hold");
        return Ok(());
    }
    bail!(CheckFailed(format!("\nnot held:\n  {}", failed.join("\n  "))))
}

impl Bench<'_> {
    /// Runs one check and prints its line.
    async fn check(
        &mut self,
        name: &str,
        body: impl AsyncFnOnce(&mut Self) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        let before = self.load.fresh().await?;
        let begun = Instant::now();
        let held = body(self).await;
        let after = self.load.fresh().await?;
        let seconds = begun.elapsed().as_secs_f64();
        let failed = after.failed - before.failed;
        let sent = after.sent - before.sent;
        let lost = format!("failed {failed} of {sent}");
        let result = match held {
            Ok(_) if failed > self.losses_allowed => {
                Err(anyhow::anyhow!("{lost}: {}", after.failures.join("; ")))
            }
            Ok(figure) => Ok(figure),
            Err(error) => Err(error),
        };
        match &result {
            Ok(figure) => println!("ok    {name:<44} {seconds:>5.1} s  {lost:<20} {figure}"),
            Err(error) => println!("FAIL  {name:<44} {seconds:>5.1} s  {lost:<20} {error:#}"),
        }
        result.map(|_| ())
    }
}

/// The totals, the client's beside those recomputed from the proxies' access logs.
fn summary(cluster: &Cluster, last: &Report, losses: u64, failed: &mut Vec<String>) -> anyhow::Result<()> {
    println!();
    let requests = last.failed.saturating_sub(losses);
    println!(
        "client: {} requests, failed requests {requests}, retried {}, generation backwards {}, slowest right answer {} ms",
        last.sent, last.retried, last.backwards, last.slowest_ms
    );
    println!("client: in-flight losses of the killed proxy {losses}, told apart from failed requests");
    judge_logs(cluster, last, Some(KILLED), failed)?;
    if last.backwards + requests > 0 {
        failed.push(format!("the load: {}", last.failures.join("; ")));
    }
    Ok(())
}

/// Recounts what the client saw from the proxies' access logs, and judges the difference. One proxy may have been killed.
pub(crate) fn judge_logs(
    cluster: &Cluster,
    last: &Report,
    killed: Option<usize>,
    failed: &mut Vec<String>,
) -> anyhow::Result<()> {
    let mut logged = 0;
    for (place, (proxy, address)) in cluster.proxies.iter().zip(&cluster.proxy_addresses).enumerate() {
        let log = access_logs::read(&proxy.folder().join("access.log"))?;
        println!("{}: the client counted {}", proxy.name(), access_logs::seen(last, address));
        println!("{}: its access log has {log}, those to the checks' own questions among them", proxy.name());
        logged += log.answers;
        let faults = access_logs::faults(&log, last, address, killed == Some(place));
        failed.extend(faults.into_iter().map(|fault| format!("{}: {fault}", proxy.name())));
    }
    if logged == 0 {
        failed.push("the access logs are empty".to_owned());
    }
    Ok(())
}

/// Waits until every proxy answers with `generation`.
pub(crate) async fn served_everywhere(cluster: &Cluster, generation: u64) -> anyhow::Result<()> {
    traffic::served(cluster, generation).await
}
