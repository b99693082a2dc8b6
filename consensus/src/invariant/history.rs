//! What a run has shown so far, which no single core remembers: who led, what was committed, when reads began.

use crate::configuration::Configuration;
use crate::core::Core;
use crate::effect::{Effect, RoleName};
use crate::entry::Entry;
use crate::invariant::{Violation, holds};
use crate::types::{Index, NodeId, Payload, ReadId, Term};

/// A committed entry, and the lowest term in which someone knew it to be committed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Committed<P> {
    /// The entry.
    pub entry: Entry<P>,
    /// The term.
    pub by: Term,
}

/// The memory of a run. Feed it every step.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct History<P> {
    leaders: Vec<(Term, NodeId)>,
    committed: Vec<Committed<P>>,
    reads: Vec<(ReadId, NodeId, Index)>,
}

impl<P> Default for History<P> {
    fn default() -> Self {
        History { leaders: Vec::new(), committed: Vec::new(), reads: Vec::new() }
    }
}

impl<P: Payload> History<P> {
    /// The leader that `term` had, if any was seen.
    #[must_use]
    pub fn leader(&self, term: Term) -> Option<NodeId> {
        self.leaders.iter().find(|(of, _)| *of == term).map(|(_, node)| *node)
    }

    /// Every term that had a leader, with it.
    #[must_use]
    pub fn leaders(&self) -> &[(Term, NodeId)] {
        &self.leaders
    }

    /// The committed entries from index 1 on.
    #[must_use]
    pub fn committed(&self) -> &[Committed<P>] {
        &self.committed
    }

    /// The newest committed configuration and its place; `None` while it is that of genesis.
    #[must_use]
    pub fn configuration(&self) -> Option<(Index, &Configuration)> {
        let mut newest = self.committed.iter().enumerate().rev();
        newest.find_map(|(at, committed)| Some((Index::ZERO.plus(at).next(), committed.entry.members()?)))
    }

    /// The greatest index that anybody has committed.
    #[must_use]
    pub fn commit_index(&self) -> Index {
        Index::ZERO.plus(self.committed.len())
    }

    /// The reads that wait for an answer: which, where, and what was committed when they began.
    #[must_use]
    pub fn reads(&self) -> &[(ReadId, NodeId, Index)] {
        &self.reads
    }

    /// A read was handed to `node`: from now on, its answer must reach at least what is committed now.
    pub fn read_began(&mut self, id: ReadId, node: NodeId) {
        self.reads.push((id, node, self.commit_index()));
    }

    /// `node` has restarted: what was asked of it is not answered any more.
    pub fn restarted(&mut self, node: NodeId) {
        self.reads.retain(|(_, at, _)| *at != node);
    }

    /// The same history under other names for the nodes.
    #[must_use]
    pub fn renamed(&self, name: &impl Fn(NodeId) -> NodeId) -> History<P> {
        let rename = |committed: &Committed<P>| Committed {
            entry: committed.entry.clone().renamed(name),
            by: committed.by,
        };
        History {
            leaders: self.leaders.iter().map(|(term, node)| (*term, name(*node))).collect(),
            committed: self.committed.iter().map(rename).collect(),
            reads: self.reads.iter().map(|(id, node, index)| (*id, name(*node), *index)).collect(),
        }
    }

    /// Takes note of a step of one core.
    ///
    /// # Errors
    /// The step contradicts what was seen before.
    pub fn record(&mut self, after: &Core<P>, effects: &[Effect<P>]) -> Result<(), Violation> {
        self.record_leader(after)?;
        self.record_commit(after)?;
        for effect in effects {
            match effect {
                Effect::ReadReady { id, index } => self.record_read(*id, Some(*index))?,
                Effect::ReadFailed { id, .. } => self.record_read(*id, None)?,
                Effect::Apply { first, entries } => self.check_applied(*first, entries)?,
                _ => {}
            }
        }
        let asked = self.reads.iter().filter(|(_, at, _)| *at == after.id()).count();
        holds(asked <= after.reads_waiting(), "I41", || format!("{} forgets a read", after.id()))
    }

    /// I1, over the whole run: two leaders of a term that never meet are caught too.
    fn record_leader(&mut self, after: &Core<P>) -> Result<(), Violation> {
        if after.role() != RoleName::Leader {
            return Ok(());
        }
        let (term, node) = (after.term(), after.id());
        if self.leader(term).is_none() {
            self.leaders.push((term, node));
            self.leaders.sort_unstable();
        }
        let leader = self.leader(term).unwrap_or(node);
        holds(leader == node, "I1", || format!("{leader} and {node} both led term {term}"))
    }

    fn record_commit(&mut self, after: &Core<P>) -> Result<(), Violation> {
        let commit = after.commit_index();
        let known = usize::try_from(commit.0).unwrap_or(usize::MAX).min(self.committed.len());
        let (known, _) = self.committed.split_at_mut(known);
        // Whoever knew an entry knew all before it, so the terms never fall along the log.
        for committed in known.iter_mut().rev().take_while(|committed| committed.by > after.term()) {
            committed.by = after.term();
        }
        while self.commit_index() < commit {
            let index = self.commit_index().next();
            let entry = after.entry(index);
            holds(entry.is_some(), "I11", || format!("entry {index} committed by one who has it not"))?;
            self.committed.extend(entry.map(|entry| Committed { entry: entry.clone(), by: after.term() }));
        }
        Ok(())
    }

    fn record_read(&mut self, id: ReadId, ready: Option<Index>) -> Result<(), Violation> {
        let open = self.reads.iter().position(|(read, ..)| *read == id).map(|at| self.reads.remove(at));
        holds(open.is_some(), "I41", || format!("read {id} was answered twice, or never asked"))?;
        let stale = ready.zip(open).filter(|(index, (_, _, began))| index < began);
        holds(stale.is_none(), "I31", || format!("read {id}: answer and commit at its beginning: {stale:?}"))
    }

    fn check_applied(&self, first: Index, entries: &[Entry<P>]) -> Result<(), Violation> {
        let mut index = first.previous();
        for entry in entries {
            index = index.next();
            let committed = self.entry(index).map(|committed| &committed.entry);
            holds(committed == Some(entry), "I10", || {
                format!("entry {index} applied differs from the committed one")
            })?;
        }
        Ok(())
    }

    /// The committed entry at `index`, counted from 1.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<&Committed<P>> {
        self.committed.get(usize::try_from(index.0.checked_sub(1)?).ok()?)
    }
}
