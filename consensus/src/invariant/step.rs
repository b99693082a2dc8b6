//! What must hold between a core before and after one step, and of the effects between.

use crate::core::{Core, Peer};
use crate::durable::{Durable, HardState};
use crate::effect::{Effect, RoleName};
use crate::entry::EntryKind;
use crate::invariant::{Violation, holds, must};
use crate::message::{AppendOutcome, Body, Message};
use crate::types::{Index, NodeId, Payload, Term};

/// Judges one step. `durable` is what the node's disk really holds at that moment, where the harness knows it.
///
/// # Errors
/// The first invariant that is broken.
pub fn check_step<P: Payload>(
    before: &Core<P>,
    after: &Core<P>,
    effects: &[Effect<P>],
    durable: Option<&Durable<P>>,
) -> Result<(), Violation> {
    check_monotone(before, after)?;
    check_leader(before, after)?;
    let mut handed = before.handed_index();
    for effect in effects {
        match effect {
            Effect::Persist(batch) if batch.snapshot.is_some() => {
                handed = batch.first.previous();
            }
            Effect::Persist(batch) => {
                let only_adds = after.role() != RoleName::PreCandidate || batch.first > before.last_index();
                holds(only_adds, "I22", || format!("entries from {} rewritten while asking", batch.first))?;
                let kept = batch.entries.is_empty() || batch.first > before.commit_index();
                holds(kept, "I12", || {
                    format!("entries from {} rewritten, commit {}", batch.first, before.commit_index())
                })?;
            }
            Effect::Apply { first, entries } => {
                holds(*first == handed.next() && !entries.is_empty(), "I18", || {
                    format!("apply from {first} after {handed}, {} entries", entries.len())
                })?;
                handed = handed.plus(entries.len());
            }
            Effect::Send { to, message } => {
                check_handover(after, *to, message)?;
                if let Some(durable) = durable {
                    check_promise(after, *to, message, durable)?;
                }
            }
            _ => {}
        }
    }
    holds(handed == after.handed_index(), "I18", || {
        format!("given {handed}, counted {}", after.handed_index())
    })
}

fn check_monotone<P: Payload>(before: &Core<P>, after: &Core<P>) -> Result<(), Violation> {
    let rises = after.durable_hard_state().term >= before.durable_hard_state().term;
    holds(rises && after.term() >= before.term(), "I3", || {
        format!("term fell from {} to {}", before.term(), after.term())
    })?;
    let (vote, now) = (before.hard_state(), after.hard_state());
    let kept = vote.term != now.term || vote.vote.is_none() || vote.vote == now.vote;
    holds(kept, "I2", || format!("vote changed from {:?} to {:?}", vote.vote, now.vote))?;
    let (commit, later) = (before.commit_index(), after.commit_index());
    holds(later >= commit && after.applied_index() >= before.applied_index(), "I17", || {
        format!("commit fell from {commit} to {later}, or what is applied")
    })?;
    let unchanged = after.role() != RoleName::PreCandidate || vote == now;
    must(unchanged, "I22", "asking for pre-votes changed term or vote")
}

fn check_leader<P: Payload>(before: &Core<P>, after: &Core<P>) -> Result<(), Violation> {
    let leads = |core: &Core<P>| core.role() == RoleName::Leader;
    if !leads(after) {
        return Ok(());
    }
    let own_term = after.term_at(after.commit_index()) == Some(after.term());
    holds(after.commit_index() <= before.commit_index() || own_term, "I7", || {
        format!("commit {} of an earlier term", after.commit_index())
    })?;
    check_changes(before, after)?;
    if !leads(before) || before.term() != after.term() {
        return Ok(());
    }
    let mut taken = (before.last_index().next().0..=after.last_index().0).map(Index);
    let is_command =
        |index: Index| matches!(after.entry(index).map(|entry| &entry.kind), Some(EntryKind::Command(_)));
    let idle = before.transfer().is_none() || !taken.any(is_command);
    must(idle, "I38", "a command is taken while leadership is handed over")?;
    let first = after.first_index().max(before.first_index());
    let mut shared = (first.0..=before.last_index().0).map(Index);
    let kept = shared.all(|index| before.entry(index) == after.entry(index));
    must(kept, "I8", "a leader changed an entry of its log")
}

/// I25, I26, I27: every configuration that a leader appends.
fn check_changes<P: Payload>(before: &Core<P>, after: &Core<P>) -> Result<(), Violation> {
    let appended = (before.last_index().next().0..=after.last_index().0).map(Index);
    let is_change = |index: &Index| {
        matches!(after.entry(*index).map(|entry| &entry.kind), Some(EntryKind::Configuration(_)))
    };
    for index in appended.filter(is_change) {
        let (old, new) = (after.configuration_at(index.previous()), after.configuration_at(index));
        let open = (after.commit_index().next().0..index.0).map(Index).find(|at| is_change(at));
        let id = if old.is_joint() { "I27" } else { "I25" };
        holds(open.is_none(), id, || format!("change {index} while {open:?} is not committed"))?;
        holds(old.may_precede(new), "I25", || format!("{new:?} follows {old:?}"))?;
        holds(after.term_at(after.commit_index()) == Some(after.term()), "I26", || {
            format!("change {index} before a commit of its term")
        })?;
    }
    Ok(())
}

/// I4, I14: what a message promises is on disk when it is sent.
fn check_promise<P: Payload>(
    core: &Core<P>,
    to: NodeId,
    message: &Message<P>,
    durable: &Durable<P>,
) -> Result<(), Violation> {
    let (term, written) = (message.term, durable.hard_state);
    let voted = |vote| written == HardState { term, vote: Some(vote) };
    let (kept, acknowledged) = match &message.body {
        Body::VoteReply { granted: true } => (voted(to), None),
        Body::Vote { .. } => (voted(core.id()), None),
        Body::AppendReply { outcome: AppendOutcome::Accepted { matched }, .. } => {
            (written.term == term, Some(*matched))
        }
        _ => return Ok(()),
    };
    holds(kept, "I4", || format!("{:?} sent to {to} in term {term}, durable is {written:?}", message.body))?;
    acknowledged.map_or(Ok(()), |matched| check_acknowledged(core, matched, durable))
}

/// I38. A leader whose own removal is committed in the same step knows its peers no longer.
fn check_handover<P: Payload>(core: &Core<P>, to: NodeId, message: &Message<P>) -> Result<(), Violation> {
    let whole = |peer: Peer| peer.id == to && peer.matched == core.last_index();
    let leads = core.role() == RoleName::Leader;
    holds(!leads || message.body != Body::TimeoutNow || core.peers().any(whole), "I38", || {
        format!("{to} is told to take over, but lacks entries up to {}", core.last_index())
    })
}

fn check_acknowledged<P: Payload>(
    core: &Core<P>,
    matched: Index,
    durable: &Durable<P>,
) -> Result<(), Violation> {
    holds(matched <= durable.last_index(), "I14", || {
        format!("acknowledged {matched}, durable to {}", durable.last_index())
    })?;
    let from = durable.base().max(core.first_index().previous()).next();
    for index in (from.0..=matched.0).map(Index) {
        let on_disk = durable.term_at(index);
        holds(on_disk == core.term_at(index), "I14", || {
            format!("acknowledged {matched}, but entry {index} has term {on_disk:?} on disk")
        })?;
    }
    Ok(())
}

impl<P> Durable<P> {
    /// The term at `index`, also of the snapshot's last entry; `None` where nothing is held.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        let (base, term) = match &self.snapshot {
            Some(meta) => (meta.index, meta.term),
            None => (Index::ZERO, Term(0)),
        };
        if index == base {
            return Some(term);
        }
        let at = index.0.checked_sub(base.0)?.checked_sub(1)?;
        self.entries.get(usize::try_from(at).ok()?).map(|entry| entry.term)
    }
}
