//! What must hold between a core before and after one step, and of the effects between.

use crate::core::{Core, Peer};
use crate::durable::{Durable, HardState};
use crate::effect::{Effect, RoleName};
use crate::entry::EntryKind;
use crate::invariant::Violation;
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
            Effect::Persist(batch) if !batch.entries.is_empty() && batch.first <= before.commit_index() => {
                let detail =
                    format!("entries from {} rewritten, commit {}", batch.first, before.commit_index());
                return Err(Violation::new("I12", detail));
            }
            Effect::Apply { first, entries } => {
                if *first != handed.next() || entries.is_empty() {
                    let detail = format!("apply from {first} after {handed}, {} entries", entries.len());
                    return Err(Violation::new("I18", detail));
                }
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
    if handed == after.handed_index() {
        Ok(())
    } else {
        Err(Violation::new("I18", format!("given {handed}, counted {}", after.handed_index())))
    }
}

fn check_monotone<P: Payload>(before: &Core<P>, after: &Core<P>) -> Result<(), Violation> {
    if after.term() < before.term() || after.durable_hard_state().term < before.durable_hard_state().term {
        return Err(Violation::new("I3", format!("term fell from {} to {}", before.term(), after.term())));
    }
    let (vote, now) = (before.hard_state(), after.hard_state());
    if vote.term == now.term && vote.vote.is_some() && vote.vote != now.vote {
        return Err(Violation::new("I2", format!("vote changed from {:?} to {:?}", vote.vote, now.vote)));
    }
    if after.commit_index() < before.commit_index() || after.applied_index() < before.applied_index() {
        let detail = format!("commit fell from {} to {}", before.commit_index(), after.commit_index());
        return Err(Violation::new("I17", detail));
    }
    if after.role() == RoleName::PreCandidate && (vote != now) {
        return Err(Violation::new("I22", "asking for pre-votes changed term or vote"));
    }
    Ok(())
}

fn check_leader<P: Payload>(before: &Core<P>, after: &Core<P>) -> Result<(), Violation> {
    let leads = |core: &Core<P>| core.role() == RoleName::Leader;
    if !leads(after) {
        return Ok(());
    }
    let own_term = after.term_at(after.commit_index()) == Some(after.term());
    if after.commit_index() > before.commit_index() && !own_term {
        let detail = format!("commit {} of an earlier term", after.commit_index());
        return Err(Violation::new("I7", detail));
    }
    check_changes(before, after)?;
    if !leads(before) || before.term() != after.term() {
        return Ok(());
    }
    let taken = (before.last_index().next().0..=after.last_index().0).map(Index);
    let is_command =
        |index: Index| matches!(after.entry(index).map(|entry| &entry.kind), Some(EntryKind::Command(_)));
    if before.transfer().is_some() && taken.into_iter().any(is_command) {
        return Err(Violation::new("I38", "a command is taken while leadership is handed over"));
    }
    let first = after.first_index().max(before.first_index());
    let shared = (first.0..=before.last_index().0).map(Index);
    if shared.into_iter().any(|index| before.entry(index) != after.entry(index)) {
        return Err(Violation::new("I8", "a leader changed an entry of its log"));
    }
    Ok(())
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
        if let Some(open) = open {
            return Err(Violation::new(id, format!("change {index} appended while {open} is not committed")));
        }
        if !old.may_precede(new) {
            return Err(Violation::new("I25", format!("{new:?} follows {old:?}")));
        }
        if after.term_at(after.commit_index()) != Some(after.term()) {
            return Err(Violation::new("I26", format!("change {index} before a commit of its term")));
        }
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
    let voted = |vote| durable.hard_state == HardState { term: message.term, vote: Some(vote) };
    match &message.body {
        Body::VoteReply { granted: true } if !voted(to) => {
            Err(Violation::new("I4", format!("vote for {to} sent, durable is {:?}", durable.hard_state)))
        }
        Body::Vote { .. } if !voted(core.id()) => {
            Err(Violation::new("I4", format!("votes asked for, durable is {:?}", durable.hard_state)))
        }
        Body::AppendReply { outcome: AppendOutcome::Accepted { matched }, .. } => {
            if durable.hard_state.term != message.term {
                let detail =
                    format!("acknowledged in term {}, durable is {:?}", message.term, durable.hard_state);
                return Err(Violation::new("I4", detail));
            }
            check_acknowledged(core, *matched, durable)
        }
        _ => Ok(()),
    }
}

/// I38. A leader whose own removal is committed in the same step knows its peers no longer.
fn check_handover<P: Payload>(core: &Core<P>, to: NodeId, message: &Message<P>) -> Result<(), Violation> {
    let whole = |peer: Peer| peer.id == to && peer.matched == core.last_index();
    let leads = core.role() == RoleName::Leader;
    if leads && message.body == Body::TimeoutNow && !core.peers().any(whole) {
        let detail = format!("{to} is told to take over, but lacks entries up to {}", core.last_index());
        return Err(Violation::new("I38", detail));
    }
    Ok(())
}

fn check_acknowledged<P: Payload>(
    core: &Core<P>,
    matched: Index,
    durable: &Durable<P>,
) -> Result<(), Violation> {
    if matched > durable.last_index() {
        let detail = format!("acknowledged {matched}, durable to {}", durable.last_index());
        return Err(Violation::new("I14", detail));
    }
    let from = durable.base().max(core.first_index().previous()).next();
    for index in (from.0..=matched.0).map(Index) {
        let on_disk = durable.term_at(index);
        if on_disk != core.term_at(index) {
            let detail = format!("acknowledged {matched}, but entry {index} has term {on_disk:?} on disk");
            return Err(Violation::new("I14", detail));
        }
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
