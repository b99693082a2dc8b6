//! Checks of the control plane's own survival: leader and provider node killed or frozen, changes
//! without a leader, late writes. They must leave every process running.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use ravelin_cluster::request::status::{EventKind, EventRecord};
use ravelin_cluster::request::{RequestName, Response};

use super::traffic::{apply_until_accepted, served_everywhere};
use super::{Bench, EVENT_TIME_MAX};
use crate::demo::write;

pub(super) fn unix_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Waits for a leader that was elected after `since`; its index and the milliseconds that it took,
/// from the controllers' own events.
pub(super) async fn new_leader(bench: &mut Bench<'_>, since: u64) -> anyhow::Result<(u64, u64, u64)> {
    let mut found = None;
    bench
        .cluster
        .until(EVENT_TIME_MAX, "a new leader", async |cluster| {
            let events = cluster.events().await;
            found =
                events.iter().filter(|event| event.at_micros >= since).find_map(|event| match event.kind {
                    EventKind::LeaderElected { term } => {
                        Some((event.node, term, (event.at_micros - since) / 1000))
                    }
                    _ => None,
                });
            found.is_some()
        })
        .await?;
    found.context("a new leader")
}

/// Kills the leader; another leads, a change comes through, the killed one is started again.
pub(crate) async fn leader_killed(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let leader = bench.cluster.leader(EVENT_TIME_MAX).await?;
    let since = unix_micros();
    bench.cluster.controllers[leader].kill()?;
    let (node, term, millis) = new_leader(bench, since).await?;
    let generation = apply_until_accepted(bench).await?;
    served_everywhere(bench, generation).await?;
    bench.cluster.controllers[leader].start()?;
    whole(bench).await?;
    Ok(format!("controller-{node} leads after {millis} ms, term {term}"))
}

/// How long an operator waits who asks while nobody leads: `--timeout 2`. Whatever is said is said by then, and a moment for each
/// of the two questions (what the request is called, and the request).
const LEADERLESS_TIMEOUT: Duration = Duration::from_secs(2);

/// With one node killed and another frozen no leader can be known: the answer must say so, and the
/// cluster must then be as the answer said.
pub(crate) async fn change_without_leader(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let leader = bench.cluster.leader(EVENT_TIME_MAX).await?;
    let nodes = bench.cluster.controllers.len();
    let (frozen, left) = ((leader + 1) % nodes, (leader + 2) % nodes);
    bench.cluster.controllers[leader].kill()?;
    bench.cluster.controllers[frozen].freeze()?;
    let unled = bench
        .cluster
        .until(EVENT_TIME_MAX, "the one that is left knows no leader", async |cluster| {
            cluster.status(left).await.is_some_and(|status| status.leader.is_none())
        })
        .await;
    let (text, wanted) = bench.cluster.next_document();
    let begun = Instant::now();
    let asked = bench.cluster.operator.waiting(LEADERLESS_TIMEOUT).apply_named(&text, None).await;
    let waited = begun.elapsed().as_millis();
    bench.cluster.controllers[frozen].thaw()?;
    bench.cluster.controllers[leader].start()?;
    unled?;
    whole(bench).await?;
    let allowed = LEADERLESS_TIMEOUT.as_secs();
    match asked {
        Ok((_, Response::Done(_))) => {
            bench.cluster.generation = wanted;
            served_everywhere(bench, wanted).await?;
            Ok(format!("accepted after {waited} ms and served"))
        }
        Ok((name, Response::Unknown { .. })) => {
            asked_again(bench, name, &text).await?;
            bench.cluster.generation = wanted;
            served_everywhere(bench, wanted).await?;
            Ok(format!(
                "answered after {waited} ms (--timeout {allowed}): outcome unknown; asked again by its name: done once, served"
            ))
        }
        Ok((_, Response::Unavailable { reason })) => never_came(bench, wanted, &reason, waited).await,
        Ok((_, other)) => bail!("answered by {other:?}"),
        // Its name could not be made: that is said too, and nothing was sent that could change anything.
        Err(error) => never_came(bench, wanted, &format!("{error:#}"), waited).await,
    }
}

/// Asks for a change by its name until somebody says what came of it: it was done, by the first time or by this one.
async fn asked_again(bench: &mut Bench<'_>, name: RequestName, text: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        match bench.cluster.operator.apply_named(text, Some(name)).await {
            Ok((_, Response::Done(_))) => return Ok(()),
            Ok((_, Response::Unknown { .. } | Response::Unavailable { .. })) | Err(_)
                if begun.elapsed() < EVENT_TIME_MAX => {}
            Ok((_, other)) => bail!("what was unknown stays so, or is refused: {other:?}"),
            Err(error) => return Err(error),
        }
    }
}

/// What was said not to be accepted has not been, and does not come later: a newer one is served, and nothing older after it.
async fn never_came(
    bench: &mut Bench<'_>,
    denied: u64,
    reason: &str,
    waited: u128,
) -> anyhow::Result<String> {
    if bench.load.fresh().await?.generation.values().any(|seen| *seen >= denied) {
        bail!("generation {denied} is served, though it was answered: {reason}");
    }
    // The load tells if the number that was denied is served after it.
    bench.cluster.generation = denied;
    let generation = apply_until_accepted(bench).await?;
    served_everywhere(bench, generation).await?;
    let text: String = reason.chars().take(90).collect();
    Ok(format!("answered after {waited} ms: nothing was accepted: {text}"))
}

/// Freezes the leader until another leads, thaws it: it steps down, nothing is lost.
pub(crate) async fn leader_frozen(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let leader = bench.cluster.leader(EVENT_TIME_MAX).await?;
    let since = unix_micros();
    bench.cluster.controllers[leader].freeze()?;
    let found = new_leader(bench, since).await;
    bench.cluster.controllers[leader].thaw()?;
    let (node, term, millis) = found?;
    bench
        .cluster
        .until(EVENT_TIME_MAX, "the thawed leader steps down", async |cluster| {
            cluster.status(leader).await.is_some_and(|status| status.role != "leader" && status.term >= term)
        })
        .await?;
    let generation = apply_until_accepted(bench).await?;
    served_everywhere(bench, generation).await?;
    Ok(format!("controller-{node} leads after {millis} ms, term {term}; the thawed one follows"))
}

/// Kills the node that runs the providers: another takes over with a higher epoch and reads the file.
pub(crate) async fn provider_killed(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let (node, epoch) = role(bench).await?;
    let begun = Instant::now();
    bench.cluster.controllers[node].kill()?;
    let (successor, next) = role_after(bench, epoch).await?;
    let millis = begun.elapsed().as_millis();
    touch_file(bench).await?;
    bench.cluster.controllers[node].start()?;
    whole(bench).await?;
    Ok(format!("controller-{} runs the providers after {millis} ms, epoch {epoch} → {next}", successor + 1))
}

/// How often the freeze is tried again if it fell between two writes.
const FREEZES_MAX: u32 = 8;
/// How long after a thaw a late write must have been refused, if one was under way.
const LATE_WRITE_TIME_MAX: Duration = Duration::from_secs(3);
/// Routers of the write that is under way when its node is frozen: enough to take a while.
const LATE_ROUTERS: usize = 2_000;

/// Freezes the node that runs the providers in the middle of a write until another has taken over, thaws it: what it
/// still writes under its old epoch is refused.
pub(crate) async fn successor_frozen(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    for freeze in 1..=FREEZES_MAX {
        let (node, epoch) = role(bench).await?;
        let since = unix_micros();
        let late = tokio::spawn({
            let operator = bench.cluster.operator.clone();
            async move { operator.apply_through(node as u64 + 1, &late_document()).await }
        });
        // The write is on its way for some tens of milliseconds; a freeze that misses it is tried again.
        tokio::time::sleep(Duration::from_millis(15)).await;
        bench.cluster.controllers[node].freeze()?;
        let taken = role_after(bench, epoch).await;
        let touched = match &taken {
            Ok(_) => touch_file(bench).await,
            Err(_) => Ok(()),
        };
        bench.cluster.controllers[node].thaw()?;
        late.abort();
        let (third, next) = taken?;
        touched?;
        let refused = bench
            .cluster
            .until(LATE_WRITE_TIME_MAX, "the late write is refused", async |cluster| {
                let events = cluster.events().await;
                events.iter().any(|event| event.at_micros >= since && is_late_write_of(event, epoch))
            })
            .await;
        whole(bench).await?;
        let now = role(bench).await?;
        if now.1 < next {
            bail!("the epoch went back from {next} to {}", now.1);
        }
        if refused.is_ok() {
            return Ok(format!(
                "controller-{} took over, epoch {epoch} → {next}; the late write of epoch {epoch} was refused (freeze {freeze})",
                third + 1
            ));
        }
    }
    bail!("{FREEZES_MAX} freezes, and no late write was refused")
}

/// A write that takes a while.
fn late_document() -> String {
    let mut text = "http:\n  routers:\n".to_owned();
    for number in 0..LATE_ROUTERS {
        text.push_str(&format!(
            "    late{number}:\n      rule: Host(`late{number}.localhost`) && PathRegexp(`^/late/[a-z]+{number}$`)\n      service: whoami@file\n"
        ));
    }
    text
}

/// Whether a write of this epoch was refused as late.
fn is_late_write_of(event: &EventRecord, wanted: u64) -> bool {
    matches!(event.kind, EventKind::StaleWriteRefused { epoch, .. } if epoch == wanted)
}

async fn role(bench: &mut Bench<'_>) -> anyhow::Result<(usize, u64)> {
    role_after(bench, 0).await
}

/// The node and epoch of the controller role once the epoch is above `epoch`.
async fn role_after(bench: &mut Bench<'_>, epoch: u64) -> anyhow::Result<(usize, u64)> {
    let mut found = None;
    bench
        .cluster
        .until(EVENT_TIME_MAX, "a node runs the providers", async |cluster| {
            found = cluster.controller_role().await.filter(|(_, now)| *now > epoch);
            found.is_some()
        })
        .await?;
    found.context("a controller role")
}

/// Waits until all controllers answer and agree on one leader.
pub(super) async fn whole(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    bench
        .cluster
        .until(EVENT_TIME_MAX, "all controllers agree on one leader", async |cluster| {
            let mut leaders = Vec::new();
            for index in cluster.present() {
                let Some(status) = cluster.status(index).await else { return false };
                let Some(leader) = status.leader else { return false };
                leaders.push((leader, status.term));
            }
            leaders.windows(2).all(|pair| pair[0] == pair[1])
        })
        .await
}

/// Changes the provided file in a way that traffic can see, and waits until every proxy serves it.
async fn touch_file(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    if !bench.cluster.own_file {
        return Ok(());
    }
    let path = bench.cluster.dynamic_file.clone();
    let text = std::fs::read_to_string(&path).context("the provided file")?;
    let mark = format!("mark-{}", unix_micros());
    let kept: String =
        text.lines().filter(|line| !line.contains("# mark")).map(|line| format!("{line}\n")).collect();
    let marked = kept.replace(
        "  routers:\n",
        &format!("  routers:\n    {mark}: {{rule: \"PathPrefix(`/{mark}`)\", service: whoami}} # mark\n"),
    );
    write(&path, &marked)?;
    let begun = Instant::now();
    for address in bench.cluster.proxy_addresses.clone() {
        let client = crate::load::Client::new(&address);
        let wanted = format!("/{mark}");
        loop {
            if let crate::load::Attempt::Answered(answer) = client.request("mark.localhost", &wanted).await
                && answer.status == 200
            {
                break;
            }
            if begun.elapsed() > EVENT_TIME_MAX {
                bail!("the changed file is not served after {EVENT_TIME_MAX:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await; // another process's answer can only be asked again
        }
    }
    Ok(())
}
