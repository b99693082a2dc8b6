//! Answers of the cluster as text or JSON. It must not decide anything.

use std::fmt::Write as _;

use anyhow::anyhow;
use ravelin_cluster::request::nodes::{Leadership, NodeList, NodePart};
use ravelin_cluster::request::status::{ClusterStatus, EventKind, EventRecord, Generation};
use ravelin_cluster::request::{Change, Objects, RequestName, Response};
use serde::Serialize;

use crate::exit::Unknown;

/// What a change that was not made means for whoever asked.
pub(super) fn not_done(response: Response) -> anyhow::Error {
    match response {
        Response::Refused(refusal) => {
            anyhow!("refused, nothing was changed:\n  {}", refusal.problems.join("\n  "))
        }
        Response::Unavailable { reason } => anyhow!("nothing was accepted, asking again is safe: {reason}"),
        Response::Unknown { reason } => unknown(&reason, None),
        other => anyhow!("an answer to another question: {other:?}"),
    }
}

/// What an unknown outcome means for whoever asked, and how to ask again where that can be done.
pub(super) fn unknown(reason: &str, name: Option<RequestName>) -> anyhow::Error {
    let mut text = format!(
        "the outcome is unknown: the change may have taken effect, and may still take effect: {reason}"
    );
    if let Some(name) = name {
        let _ = write!(
            text,
            "\nask again with --request {name}: it takes effect once at most, and the answer is that of the first time"
        );
    }
    Unknown(text).into()
}

fn json(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

fn name(generation: Option<&Generation>) -> &str {
    generation.map_or("-", |generation| generation.name.as_str())
}

/// A committed change.
pub(super) fn change(change: &Change, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return json(change);
    }
    println!("generation {}: {} put, {} deleted", change.generation.name, change.put, change.deleted);
    for verdict in &change.verdicts {
        println!("  {} {}: {}", verdict.key, verdict.state, verdict.errors.join("; "));
    }
    Ok(())
}

/// Objects, one line each.
pub(super) fn objects(objects: &Objects, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return json(objects);
    }
    let stale = if objects.stale { " (may be old)" } else { "" };
    println!("generation {}{stale}", name(objects.generation.as_ref()));
    for object in &objects.objects {
        println!("{:<48} {:<8} {}", object.key, object.state, object.object);
        for error in &object.errors {
            println!("    {error}");
        }
    }
    Ok(())
}

/// Nodes and proxies, one line each.
pub(super) fn status(status: &ClusterStatus, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return json(status);
    }
    println!("cluster {}", status.cluster);
    for node in &status.nodes {
        let role = role(&node.role, node.controller, node.controller_epoch);
        let healthy = if node.healthy { "" } else { ", catching up" };
        let stale = if node.stale { ", below quorum" } else { "" };
        println!(
            "controller-{:<3} {role:<32} term {:<5} applied {:<8} {}{healthy}{stale}",
            node.node,
            node.term,
            node.applied_index,
            name(node.generation.as_ref())
        );
        for provider in &node.providers {
            println!("    provider {:<12} {:?}, {} objects", provider.name, provider.state, provider.objects);
        }
        for proxy in &node.proxies {
            println!("    proxy-{:<3} serving {}", proxy.node, name(proxy.serving.as_ref()));
            if let Some(refused) = &proxy.refused {
                println!("      refused {}: {}", refused.generation.name, refused.reasons.join("; "));
            }
            if let Some(overdue) = &proxy.overdue {
                println!("      neither takes nor refuses {}: what it serves is old", overdue.name);
            }
            if !proxy.lacks.is_empty() {
                println!("      does not know, and sets aside: {}", proxy.lacks.join(", "));
            }
        }
        if let Some(halted) = &node.halted {
            println!("    halted: {halted}");
        }
    }
    for node in &status.silent {
        println!("controller-{node:<3} no answer");
    }
    for twins in &status.twins {
        let nodes: Vec<String> = twins.nodes.iter().map(|node| format!("controller-{node}")).collect();
        println!(
            "proxy-{}: more than one process runs under this identity, fed by {}: give each an identity of its own",
            twins.proxy,
            nodes.join(" and ")
        );
    }
    Ok(())
}

/// Control nodes, one line each.
pub(super) fn nodes(list: &NodeList, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return json(list);
    }
    if list.recovery_epoch > 0 {
        println!("recovery epoch {}", list.recovery_epoch);
    }
    for node in &list.nodes {
        let part = match node.part {
            NodePart::Voter => "voter",
            NodePart::Spare => "spare",
            NodePart::Joining => "joining",
            NodePart::Leaving => "leaving",
        };
        let part = if node.node == list.leader { "voter, leader" } else { part };
        let state = match (node.ready, node.behind) {
            (true, _) => String::new(),
            (false, Some(behind)) => format!("  not caught up, {behind} entries behind"),
            (false, None) => "  not caught up".to_owned(),
        };
        println!("controller-{:<3} {part:<14} {}{state}", node.node, node.address);
    }
    Ok(())
}

/// Who leads after a hand-over.
pub(super) fn leads(leads: &Leadership, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return json(leads);
    }
    println!("controller-{} leads, term {}", leads.leader, leads.term);
    Ok(())
}

/// `leader, controller (epoch 3)` and its kin.
pub(crate) fn role(role: &str, controller: bool, epoch: u64) -> String {
    if controller { format!("{role}, controller (epoch {epoch})") } else { role.to_owned() }
}

/// Events, one line each, times in UTC.
pub(super) fn events(events: &[EventRecord], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return json(&events);
    }
    for event in events {
        println!("{} controller-{} {}", utc(event.at_micros), event.node, words(&event.kind));
    }
    Ok(())
}

/// An event in words.
fn words(kind: &EventKind) -> String {
    let mut text = format!("{kind:?}").replace(" { ", ": ").replace(" }", "");
    if let EventKind::StaleWriteRefused { epoch, current, .. } = kind {
        text.clear();
        let _ = write!(text, "a late write of epoch {epoch} was refused; epoch {current} stands");
    }
    text
}

/// Hours, minutes, seconds and milliseconds of the day in UTC.
fn utc(micros: u64) -> String {
    let millis = micros / 1000;
    let seconds = millis / 1000;
    format!("{:02}:{:02}:{:02}.{:03}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60, millis % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_the_day() {
        assert_eq!(utc(1_000_000 * (3600 * 25 + 61) + 5_000), "01:01:01.005Z");
    }

    #[test]
    fn an_unknown_outcome_is_never_called_a_failure() {
        let error = not_done(Response::Unknown { reason: "no answer in time".to_owned() });
        assert!(error.is::<Unknown>() && error.to_string().contains("may still take effect"), "{error}");
    }
}
