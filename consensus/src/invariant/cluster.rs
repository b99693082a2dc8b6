//! What must hold of all cores of a cluster at once, with the history of the run.

use std::collections::BTreeMap;

use crate::configuration::Configuration;
use crate::core::Core;
use crate::durable::Durable;
use crate::effect::RoleName;
use crate::invariant::{History, Violation, holds};
use crate::types::{Incarnation, Index, NodeId, Payload, Term};

/// One member as a harness sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, P> {
    /// Its core.
    pub core: &'a Core<P>,
    /// What its disk really holds, where the harness knows.
    pub durable: Option<&'a Durable<P>>,
}

type Check<P> = fn(&[View<'_, P>], &History<P>) -> Result<(), Violation>;

/// The cluster invariants by id.
#[must_use]
pub fn cluster_invariants<P: Payload>() -> [(&'static str, Check<P>); 6] {
    [
        ("I6", logs_match),
        ("I9", leaders_are_complete),
        ("I11", committed_entries_stay),
        ("I15", beliefs_are_durable),
        ("I16", commits_are_held_by_a_quorum),
        ("I36", disks_agree_with_memory),
    ]
}

/// Every cluster invariant.
///
/// # Errors
/// The first one that is broken.
pub fn check_cluster<P: Payload>(views: &[View<'_, P>], history: &History<P>) -> Result<(), Violation> {
    cluster_invariants().iter().try_for_each(|(_, check)| check(views, history))
}

/// Figure 3 of the paper, "Log Matching": an entry at the same index with the same term means equal logs up to it.
fn logs_match<P: Payload>(views: &[View<'_, P>], _: &History<P>) -> Result<(), Violation> {
    for (at, left) in views.iter().enumerate() {
        for right in views.iter().skip(at + 1) {
            let (left, right) = (left.core, right.core);
            let first = left.first_index().max(right.first_index());
            let last = left.last_index().min(right.last_index());
            let mut agreed = false;
            for index in (first.0..=last.0).rev().map(Index) {
                agreed |= left.term_at(index) == right.term_at(index);
                holds(!agreed || left.entry(index) == right.entry(index), "I6", || {
                    format!("{} and {} agree after {index}, but not there", left.id(), right.id())
                })?;
            }
        }
    }
    Ok(())
}

/// "Leader Completeness" against what was committed in lower terms; a deposed leader need not hold later commits.
fn leaders_are_complete<P: Payload>(views: &[View<'_, P>], history: &History<P>) -> Result<(), Violation> {
    for core in views.iter().map(|view| view.core).filter(|core| core.role() == RoleName::Leader) {
        for index in (core.first_index().0..=history.commit_index().0).map(Index) {
            let Some(committed) = history.entry(index) else { continue };
            holds(committed.by >= core.term() || core.entry(index) == Some(&committed.entry), "I9", || {
                format!("leader {} of term {} lacks entry {index}", core.id(), core.term())
            })?;
        }
    }
    Ok(())
}

/// Every core's committed entries are those of the history.
fn committed_entries_stay<P: Payload>(views: &[View<'_, P>], history: &History<P>) -> Result<(), Violation> {
    for core in views.iter().map(|view| view.core) {
        for index in (core.first_index().0..=core.commit_index().0).map(Index) {
            let committed = history.entry(index).map(|committed| &committed.entry);
            holds(committed == core.entry(index), "I11", || {
                format!("{} holds another entry {index} than was committed", core.id())
            })?;
        }
    }
    Ok(())
}

/// A peer that has moved on to a later term may have cut what its old leader believes of it.
fn beliefs_are_durable<P: Payload>(views: &[View<'_, P>], _: &History<P>) -> Result<(), Violation> {
    for leader in views.iter().map(|view| view.core) {
        for peer in leader.peers() {
            let Some(durable) = durable_of(views, peer.id) else { continue };
            let lost = has_lost_its_disk(views, leader.configuration(), peer.id);
            if lost || durable.hard_state.term > leader.term() {
                continue;
            }
            let first = leader.first_index().max(durable.base());
            for index in (first.0..=peer.matched.0).map(Index) {
                holds(durable.term_at(index) == leader.term_at(index), "I15", || {
                    format!("{} believes {} to hold entry {index}", leader.id(), peer.id)
                })?;
            }
        }
    }
    Ok(())
}

fn durable_of<'a, P: Payload>(views: &[View<'a, P>], node: NodeId) -> Option<&'a Durable<P>> {
    views.iter().find(|view| view.core.id() == node).and_then(|view| view.durable)
}

/// Whether those for whom `yes` holds are a majority of each part that decides. Counted here anew, so that a slip where
/// the core counts cannot hide itself.
fn decides(members: &Configuration, yes: impl Fn(NodeId) -> bool) -> bool {
    let majority = |part: &BTreeMap<NodeId, Incarnation>| {
        part.keys().filter(|node| yes(**node)).count() * 2 > part.len()
    };
    majority(&members.voters) && (members.outgoing.is_empty() || majority(&members.outgoing))
}

/// Whether a member has come back with another disk than it was admitted with.
fn has_lost_its_disk<P: Payload>(views: &[View<'_, P>], members: &Configuration, node: NodeId) -> bool {
    let view = views.iter().find(|view| view.core.id() == node);
    let admitted = members.incarnation(node);
    view.is_some_and(|view| admitted.is_some_and(|admitted| admitted != view.core.params().incarnation))
}

/// Holds for ever after the commit, through every crash: for the members that the committed entries themselves name.
fn commits_are_held_by_a_quorum<P: Payload>(
    views: &[View<'_, P>],
    history: &History<P>,
) -> Result<(), Violation> {
    let Some(first) = views.first().filter(|_| views.iter().all(|view| view.durable.is_some())) else {
        return Ok(());
    };
    let genesis = (Index::ZERO, first.core.configuration_at(Index::ZERO));
    let (since, members) = history.configuration().unwrap_or(genesis);
    // The entries after a joint configuration may be committed by the new voters alone, once these are on their own.
    let left = members.left();
    let leaving = members.is_joint() && views.iter().any(|view| *view.core.configuration() == left);
    let has = |durable: &Durable<P>, index: Index, term: Term| {
        index < durable.base() || durable.term_at(index) == Some(term)
    };
    // What lies before every snapshot is in all of them.
    let oldest = views.iter().filter_map(|view| view.durable).map(Durable::base).min().unwrap_or_default();
    for index in (oldest.0.max(1)..=history.commit_index().0).map(Index) {
        let Some(term) = history.entry(index).map(|committed| committed.entry.term) else { continue };
        let asked = if leaving && index > since { &left } else { members };
        let held = decides(asked, |node| {
            // What a disk held that is gone was held when it was promised.
            has_lost_its_disk(views, asked, node)
                || durable_of(views, node).is_some_and(|durable| has(durable, index, term))
        });
        holds(held, "I16", || format!("entry {index} is committed, and not durable at a quorum"))?;
    }
    Ok(())
}

/// What a core calls durable is on its disk.
fn disks_agree_with_memory<P: Payload>(views: &[View<'_, P>], _: &History<P>) -> Result<(), Violation> {
    for (core, durable) in views.iter().filter_map(|view| Some((view.core, view.durable?))) {
        // The disk may be ahead of what was reported to the core, never behind.
        let reported = core.durable_hard_state();
        let behind = durable.hard_state.term < reported.term
            || durable.hard_state.term == reported.term
                && reported.vote.is_some()
                && durable.hard_state != reported;
        holds(!behind, "I36", || {
            format!("{}: {:?} on disk, {reported:?} reported", core.id(), durable.hard_state)
        })?;
        let first = core.first_index().max(durable.base().next());
        for index in (first.0..=core.durable_index().0).map(Index) {
            holds(durable.term_at(index) == core.term_at(index), "I36", || {
                format!("{}: entry {index} on disk differs from memory", core.id())
            })?;
        }
    }
    Ok(())
}
