//! A judge that sees only what goes into cores and what comes out, never their state: who voted for whom, what was
//! applied, and which members decided it. It runs no Raft of its own; it believes disks and counts.

use std::collections::{BTreeMap, VecDeque};

use ravelin_consensus::invariant::Violation;
use ravelin_consensus::{
    AppendOutcome, Batch, Body, Configuration, Durable, Effect, Entry, HardState, Incarnation, Index, Input,
    Message, NodeId, Payload, RoleName, Term,
};

/// What was seen of one node.
#[derive(Clone, Debug)]
struct Seen<P> {
    disk: Durable<P>,
    /// Batches that were asked for and are not reported as written.
    pending: VecDeque<Batch<P>>,
    applied: Index,
}

/// The judge. Tell it of every start and every step, in order.
#[derive(Clone, Debug)]
pub(crate) struct Oracle<P> {
    genesis: Configuration,
    nodes: BTreeMap<NodeId, Seen<P>>,
    /// Every vote that anybody was told of, for ever.
    votes: BTreeMap<(NodeId, Term), NodeId>,
    leaders: BTreeMap<Term, NodeId>,
    /// What somebody has applied, for ever.
    decided: BTreeMap<Index, Entry<P>>,
}

fn holds(condition: bool, id: &'static str, detail: impl FnOnce() -> String) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(Violation { id, detail: detail() }) }
}

/// Whether those for whom `yes` holds are a majority of each part that decides. Counted here anew, so that a slip where
/// the core counts cannot hide itself.
fn decides(members: &Configuration, yes: impl Fn(NodeId) -> bool) -> bool {
    let majority = |part: &BTreeMap<NodeId, Incarnation>| {
        part.keys().filter(|node| yes(**node)).count() * 2 > part.len()
    };
    majority(&members.voters) && (members.outgoing.is_empty() || majority(&members.outgoing))
}

impl<P: Payload> Oracle<P> {
    /// Of a cluster that begins with these members.
    pub(crate) fn new(genesis: Configuration) -> Oracle<P> {
        Oracle {
            genesis,
            nodes: BTreeMap::new(),
            votes: BTreeMap::new(),
            leaders: BTreeMap::new(),
            decided: BTreeMap::new(),
        }
    }

    /// `node` starts, or starts again; the first `kept` of its unfinished batches had reached its disk.
    pub(crate) fn started(&mut self, node: NodeId, kept: usize) {
        let genesis = &self.genesis;
        let new = || Seen {
            disk: Durable::genesis(genesis.clone()),
            pending: VecDeque::new(),
            applied: Index::ZERO,
        };
        let seen = self.nodes.entry(node).or_insert_with(new);
        for batch in seen.pending.drain(..).take(kept) {
            seen.disk.write(&batch);
        }
        seen.applied = seen.disk.base();
    }

    /// `node` was given `input` and answered with `effects`.
    ///
    /// # Errors
    /// What it must never have done.
    pub(crate) fn saw(
        &mut self,
        node: NodeId,
        input: &Input<P>,
        effects: &[Effect<P>],
    ) -> Result<(), Violation> {
        if !self.nodes.contains_key(&node) {
            self.started(node, 0);
        }
        let Some(seen) = self.nodes.get_mut(&node) else { return Ok(()) };
        match input {
            Input::Persisted(token) => {
                while let Some(batch) = seen.pending.pop_front_if(|batch| batch.token <= *token) {
                    seen.disk.write(&batch);
                }
            }
            Input::SnapshotTaken(meta) if meta.index <= seen.applied && meta.index > seen.disk.base() => {
                seen.disk.compact(meta);
            }
            _ => {}
        }
        for effect in effects {
            match effect {
                Effect::Persist(batch) => self.persists(node, batch)?,
                Effect::Send { to, message } => self.says(node, *to, message)?,
                Effect::Apply { first, entries } => self.applies(node, *first, entries)?,
                Effect::RoleChanged { role: RoleName::Leader, term, .. } => {
                    let leader = *self.leaders.entry(*term).or_insert(node);
                    holds(leader == node, "I1", || format!("{leader} and {node} both led term {term}"))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is applied here is never written over, and a snapshot ends in an entry that was decided.
    fn persists(&mut self, node: NodeId, batch: &Batch<P>) -> Result<(), Violation> {
        let Some(seen) = self.nodes.get_mut(&node) else { return Ok(()) };
        if let Some(meta) = &batch.snapshot {
            let term = self.decided.get(&meta.index).map(|entry| entry.term);
            holds(term == Some(meta.term), "I34", || format!("{node} installs what nobody decided"))?;
            seen.applied = seen.applied.max(meta.index);
        }
        holds(batch.entries.is_empty() || batch.first > seen.applied, "I12", || {
            format!("{node} writes from {} although {} is applied", batch.first, seen.applied)
        })?;
        seen.pending.push_back(batch.clone());
        Ok(())
    }

    /// Promises: each is on disk, and votes are given once.
    fn says(&mut self, node: NodeId, to: NodeId, message: &Message<P>) -> Result<(), Violation> {
        let Some(seen) = self.nodes.get(&node) else { return Ok(()) };
        let durable = seen.disk.hard_state;
        let vote = match &message.body {
            Body::Vote { .. } => node,
            Body::VoteReply { granted: true } => to,
            Body::AppendReply { outcome: AppendOutcome::Accepted { matched }, .. } => {
                let held = *matched <= seen.disk.last_index() && durable.term == message.term;
                return holds(held, "I14", || format!("{node} acknowledges {matched}, disk at {durable:?}"));
            }
            _ => return Ok(()),
        };
        let written = HardState { term: message.term, vote: Some(vote) };
        holds(durable == written, "I4", || {
            format!("{node} tells of a vote for {vote}, disk at {durable:?}")
        })?;
        let first = *self.votes.entry((node, message.term)).or_insert(vote);
        holds(first == vote, "I2", || format!("{node} voted for {first} and {vote} in term {}", message.term))
    }

    /// Applied in order, the same everywhere, and held by those whose majority decides.
    fn applies(&mut self, node: NodeId, first: Index, entries: &[Entry<P>]) -> Result<(), Violation> {
        let mut index = first.previous();
        for entry in entries {
            index = index.next();
            let Some(seen) = self.nodes.get_mut(&node) else { return Ok(()) };
            holds(index == seen.applied.next(), "I18", || {
                format!("{node} applies {index} after {}", seen.applied)
            })?;
            seen.applied = index;
            match self.decided.get(&index) {
                Some(decided) => {
                    holds(decided == entry, "I10", || format!("{node} applies another entry {index}"))?;
                }
                None => {
                    self.decides(index, entry)?;
                    self.decided.insert(index, entry.clone());
                }
            }
        }
        Ok(())
    }

    /// An entry that nobody had applied before.
    fn decides(&self, index: Index, entry: &Entry<P>) -> Result<(), Violation> {
        let before = self.members(index);
        let members = entry.members().unwrap_or(before);
        if let Some(next) = entry.members() {
            holds(before.may_precede(next), "I25", || format!("{next:?} follows {before:?}"))?;
        }
        let has = |node: NodeId| {
            self.nodes
                .get(&node)
                .is_some_and(|seen| index < seen.disk.base() || seen.disk.term_at(index) == Some(entry.term))
        };
        // Behind a joint configuration the new voters may have been on their own already.
        let held =
            if entry.members().is_some() { decides(members, has) } else { decides(&members.left(), has) };
        holds(held, "I16", || format!("entry {index} is applied, and not on the disks of a quorum"))
    }

    /// The members that the entries decided before `index` name.
    fn members(&self, index: Index) -> &Configuration {
        self.decided.range(..index).rev().find_map(|(_, entry)| entry.members()).unwrap_or(&self.genesis)
    }
}
