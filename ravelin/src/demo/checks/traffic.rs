//! Checks of what traffic sees: changes served, control plane gone, refused configuration, a proxy
//! killed. They must leave every process running.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ravelin_cluster::request::status::EventKind;

use super::control::unix_micros;
use super::{Bench, EVENT_TIME_MAX, KILLED};
use crate::demo::cluster::Cluster;
use crate::demo::write;

/// Applies a change and waits until both proxies answer with it.
pub(crate) async fn change_served(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let begun = Instant::now();
    let generation = bench.cluster.apply_next().await?;
    let committed = begun.elapsed();
    served_everywhere(bench, generation).await?;
    Ok(format!(
        "committed after {} ms, served on every proxy after {} ms",
        committed.as_millis(),
        begun.elapsed().as_millis()
    ))
}

/// Waits until the load has seen `generation` from every proxy.
pub(crate) async fn served_everywhere(bench: &mut Bench<'_>, generation: u64) -> anyhow::Result<()> {
    served(bench.cluster, generation).await
}

/// Waits until every proxy answers with `generation`.
pub(super) async fn served(cluster: &Cluster, generation: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut seen = vec![0; cluster.proxy_addresses.len()];
    while seen.iter().any(|seen| *seen < generation) {
        for (seen, address) in seen.iter_mut().zip(&cluster.proxy_addresses) {
            let client = crate::load::Client::new(address);
            let crate::load::Attempt::Answered(answer) = client.request("whoami.localhost", "/").await else {
                continue;
            };
            let field = answer.headers.get("x-ravelin-generation").and_then(|value| value.to_str().ok());
            *seen = field.and_then(|text| text.parse().ok()).unwrap_or(0);
        }
        if begun.elapsed() > EVENT_TIME_MAX {
            bail!("generation {generation} is not served after {EVENT_TIME_MAX:?}; seen {seen:?}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await; // another process's answer can only be asked again
    }
    Ok(())
}

/// Kills every controller, restarts one proxy by SIGTERM with drain: it serves its last generation.
pub(crate) async fn every_controller_killed(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    for controller in &mut bench.cluster.controllers {
        controller.kill()?;
    }
    bench.load.fresh().await?;
    let drained = Instant::now();
    let proxy = bench.cluster.proxies.get_mut(1).context("a second proxy")?;
    proxy.terminate(EVENT_TIME_MAX)?;
    let drained = drained.elapsed();
    proxy.start()?;
    let begun = Instant::now();
    let generation = bench.cluster.generation;
    served_everywhere(bench, generation).await?;
    Ok(format!(
        "drained in {} ms, serves its last generation {generation} again {} ms after its start",
        drained.as_millis(),
        begun.elapsed().as_millis()
    ))
}

/// Starts the controllers again; a change must come through without any help.
pub(crate) async fn controllers_back(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let begun = Instant::now();
    for controller in &mut bench.cluster.controllers {
        controller.start()?;
    }
    let leader = bench.cluster.leader(EVENT_TIME_MAX).await?;
    let elected = begun.elapsed();
    let generation = apply_until_accepted(bench).await?;
    served_everywhere(bench, generation).await?;
    Ok(format!(
        "controller-{} leads {} ms after the start, a change is served after {} ms",
        leader + 1,
        elected.as_millis(),
        begun.elapsed().as_millis()
    ))
}

/// Applies the next generation; an answer that says "nothing was accepted" is tried again.
pub(crate) async fn apply_until_accepted(bench: &mut Bench<'_>) -> anyhow::Result<u64> {
    let begun = Instant::now();
    loop {
        match bench.cluster.apply_next().await {
            Ok(generation) => return Ok(generation),
            Err(error) if begun.elapsed() > EVENT_TIME_MAX => return Err(error),
            Err(_) => {}
        }
    }
}

/// A configuration with errors, by operator and by file: the reason is shown and traffic is unchanged.
pub(crate) async fn refused_configuration(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let bad = "http:\n  middlewares:\n    generation:\n      headerz:\n        customResponseHeaders: {X-Ravelin-Generation: \"0\"}\n";
    let Err(reason) = bench.cluster.operator.apply(bad).await else { bail!("a wrong document was accepted") };
    let reason = format!("{reason:#}");
    if !reason.contains("headerz") {
        bail!("the reason does not name the wrong key: {reason}");
    }
    let told = if bench.cluster.own_file { broken_file(bench).await? } else { String::new() };
    let generation = bench.cluster.generation;
    served_everywhere(bench, generation).await?;
    let seen = bench.load.fresh().await?.generation;
    if seen.values().any(|seen| *seen != generation) {
        bail!("generation {generation} was served before, and now {seen:?}");
    }
    let shown =
        |text: &str| text.lines().last().unwrap_or_default().trim().chars().take(90).collect::<String>();
    let file = told.rsplit('/').next().unwrap_or_default();
    Ok(format!("refused: {}; and {}", shown(&reason), shown(file)))
}

/// Breaks the provided file, waits for the event that says so and why, and mends it. The reason, with its place.
async fn broken_file(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let path = bench.cluster.dynamic_file.clone();
    let good = std::fs::read_to_string(&path).context("the provided file")?;
    let since = unix_micros();
    write(&path, "http:\n  routers:\n    whoami: [\n")?;
    let mut told = None;
    let broken = bench
        .cluster
        .until(EVENT_TIME_MAX, "the broken file is told", async |cluster| {
            told = cluster.events().await.into_iter().find_map(|event| match event.kind {
                EventKind::ConfigurationRefused { reasons, .. } if event.at_micros >= since => {
                    Some(reasons.join("; "))
                }
                _ => None,
            });
            told.is_some()
        })
        .await;
    write(&path, &good)?;
    broken?;
    let told = told.unwrap_or_default();
    if !told.contains("dynamic.yaml:") {
        bail!("the reason does not name the file and the line: {told}");
    }
    Ok(told)
}

/// Kills the second proxy with requests in flight; only those may be lost: whose answer had begun, or never came.
pub(crate) async fn proxy_killed(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let before = bench.load.fresh().await?;
    let proxy = bench.cluster.proxies.get_mut(KILLED).context("a second proxy")?;
    proxy.kill()?;
    bench.load.fresh().await?;
    proxy.start()?;
    let begun = Instant::now();
    let generation = bench.cluster.generation;
    served_everywhere(bench, generation).await?;
    let back = begun.elapsed();
    let after = bench.load.fresh().await?;
    let lost = after.failed - before.failed;
    bench.losses_allowed = lost.min(after.broken - before.broken);
    Ok(format!(
        "lost in flight {lost}, retried at the other {}, back after {} ms",
        after.retried - before.retried,
        back.as_millis()
    ))
}
