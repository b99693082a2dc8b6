//! Checks of the set of control nodes: nodes that join, a leader that hands over, one that goes. They must leave a cluster
//! whose members all run.

use std::time::Instant;

use anyhow::{Context, bail};
use ravelin_cluster::request::nodes::{NodeList, NodePart};

use super::control::{new_leader, unix_micros, whole};
use super::traffic::{apply_until_accepted, served_everywhere};
use super::{Bench, EVENT_TIME_MAX};

/// Starts two more control nodes and makes them members: both vote once they have caught up.
pub(crate) async fn two_added(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let begun = Instant::now();
    let before = voters(&bench.cluster.operator.nodes().await?);
    for _ in 0..2 {
        bench.cluster.add_controller().await?;
    }
    let mut after = Vec::new();
    bench
        .cluster
        .until(EVENT_TIME_MAX, "the new nodes vote", async |cluster| {
            after = cluster.operator.nodes().await.as_ref().map(voters).unwrap_or_default();
            after.len() == before.len() + 2
        })
        .await?;
    let millis = begun.elapsed().as_millis();
    whole(bench).await?;
    Ok(format!("{} → {} voters after {millis} ms", before.len(), after.len()))
}

/// Hands leadership to the node that joined last: a change comes through.
pub(crate) async fn leader_handed_over(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let wanted = bench.cluster.controllers.len() as u64;
    let since = unix_micros();
    let begun = Instant::now();
    let leads = bench.cluster.operator.transfer_leader(Some(wanted)).await?;
    let answered = begun.elapsed().as_millis();
    if leads.leader != wanted {
        bail!("controller-{} leads instead of controller-{wanted}", leads.leader);
    }
    let (node, term, millis) = new_leader(bench, since).await?;
    let generation = apply_until_accepted(bench).await?;
    served_everywhere(bench, generation).await?;
    Ok(format!("controller-{node} leads after {millis} ms, term {term}; answered after {answered} ms"))
}

/// Removes the node that led before, and the one that leads now: each is told and ends, and the voters stay an odd number.
pub(crate) async fn old_leader_removed(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let leader = bench.cluster.leader(EVENT_TIME_MAX).await?;
    let other = bench.cluster.present().find(|place| *place != leader).context("more than one node")?;
    for place in [other, leader] {
        bench.cluster.remove_controller(place, EVENT_TIME_MAX).await?;
    }
    whole(bench).await?;
    let left = voters(&bench.cluster.operator.nodes().await?);
    if left.len() != 3 {
        bail!("voters are {left:?}");
    }
    let generation = apply_until_accepted(bench).await?;
    served_everywhere(bench, generation).await?;
    Ok(format!(
        "controller-{} and the leading controller-{} are gone, voters {left:?}",
        other + 1,
        leader + 1
    ))
}

fn voters(list: &NodeList) -> Vec<u64> {
    list.nodes.iter().filter(|node| node.part == NodePart::Voter).map(|node| node.node).collect()
}
