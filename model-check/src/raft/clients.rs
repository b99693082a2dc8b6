//! What clients of one register have asked and heard, and whether that is linearizable: each call took effect at one moment
//! between its begin and its end (Herlihy and Wing). It knows no client by name, only which calls were over when one began.

use ravelin_consensus::invariant::{History, Violation};
use ravelin_consensus::{Effect, Entry, EntryKind, Index, NodeId, ReadId, Term};

use crate::raft::network::Load;

/// What is asked of the register, which holds 0 at first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Call {
    /// To hold this. No two writes are of the same.
    Write(Load),
    /// What it holds.
    Read,
}

/// For what a caller waits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Waits {
    /// For this node to apply the entry that it took the write into.
    Accepted { node: NodeId, index: Index, term: Term },
    /// For this node to say up to where a read must see.
    Asked { node: NodeId, read: ReadId },
    /// For this node to apply as much.
    Ready { node: NodeId, index: Index },
    /// In vain: what is to become of it is not said any more.
    Forever,
    /// No longer. The call has written or seen this.
    Over(Load),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Made {
    call: Call,
    /// Bit i: call i was over when this one began.
    after: u8,
    waits: Waits,
}

/// Calls that eight bits can name.
const CALLS_MAX: usize = 8;

/// All calls of a run, in the order in which they began.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Clients {
    calls: Vec<Made>,
}

impl Clients {
    /// Whether one of so many clients may call.
    pub(crate) fn may_call(&self, clients: u8) -> bool {
        let waiting = self.calls.iter().filter(|made| !made.is_over()).count();
        waiting < usize::from(clients) && self.calls.len() < CALLS_MAX
    }

    /// Whether a read has ended that saw what a write wrote.
    pub(crate) fn saw_a_write(&self) -> bool {
        self.calls.iter().any(|made| made.call == Call::Read && matches!(made.waits, Waits::Over(1..)))
    }

    /// Whether a call has begun after a write was over.
    pub(crate) fn followed_a_write(&self) -> bool {
        let wrote = |at: usize| {
            self.calls.get(at).is_some_and(|made| matches!(made.call, Call::Write(_)) && made.is_over())
        };
        self.calls.iter().any(|made| (0..8).any(|at| made.after >> at & 1 == 1 && wrote(at)))
    }

    /// A client calls `node`.
    pub(crate) fn begin(&mut self, call: Call, node: NodeId, read: ReadId) {
        let over = self.calls.iter().enumerate().filter(|(_, made)| made.is_over());
        let after = over.fold(0, |bits, (at, _)| bits | 1 << at);
        let waits = match call {
            Call::Read => Waits::Asked { node, read },
            // Until the node says that it has taken it.
            Call::Write(_) => Waits::Forever,
        };
        self.calls.push(Made { call, after, waits });
    }

    /// `node` has restarted and knows of no caller any more.
    pub(crate) fn restarted(&mut self, node: NodeId) {
        for made in &mut self.calls {
            if made.waits.at() == Some(node) {
                made.waits = Waits::Forever;
            }
        }
    }

    /// `node` has done this, and has applied everything up to `applied`, which `history` knows.
    ///
    /// # Errors
    /// I44: what callers were told fits no order.
    pub(crate) fn heard(
        &mut self,
        node: NodeId,
        effects: &[Effect<Load>],
        applied: Index,
        history: &History<Load>,
    ) -> Result<(), Violation> {
        for effect in effects {
            match effect {
                Effect::Accepted { index, term, .. } => {
                    if let Some(made) = self.calls.last_mut() {
                        made.waits = Waits::Accepted { node, index: *index, term: *term };
                    }
                }
                Effect::Apply { first, entries } => self.applied(node, *first, entries),
                Effect::ReadReady { id, index } => self.asked(node, *id, Some(*index)),
                Effect::ReadFailed { id, .. } => self.asked(node, *id, None),
                _ => {}
            }
        }
        let value = register(history, applied);
        let mut ended = false;
        for made in &mut self.calls {
            if matches!(made.waits, Waits::Ready { node: at, index } if at == node && index <= applied) {
                made.waits = Waits::Over(value);
            }
            ended |= made.is_over();
        }
        if ended && !fits(&self.calls, 0, 0) {
            return Err(Violation { id: "I44", detail: format!("{:?}", self.calls) });
        }
        Ok(())
    }

    fn applied(&mut self, node: NodeId, first: Index, entries: &[Entry<Load>]) {
        for made in &mut self.calls {
            let Waits::Accepted { node: at, index, term } = made.waits else { continue };
            let place = index.0.checked_sub(first.0).and_then(|place| usize::try_from(place).ok());
            let Some(entry) = place.filter(|_| at == node).and_then(|place| entries.get(place)) else {
                continue;
            };
            // Another entry in its place: whether it takes effect elsewhere is not known here.
            made.waits = match made.call {
                Call::Write(value) if entry.term == term => Waits::Over(value),
                _ => Waits::Forever,
            };
        }
    }

    /// A read may be answered from `index` on, or not at all: then its client has asked nothing.
    fn asked(&mut self, node: NodeId, read: ReadId, index: Option<Index>) {
        let waits = Waits::Asked { node, read };
        let Some(at) = self.calls.iter().position(|made| made.waits == waits) else { return };
        match (index, self.calls.get_mut(at)) {
            (Some(index), Some(made)) => made.waits = Waits::Ready { node, index },
            _ => {
                self.calls.remove(at);
                let before = (1u8 << at) - 1;
                for made in &mut self.calls {
                    made.after = made.after & before | made.after >> 1 & !before;
                }
            }
        }
    }

    /// The same under other names for the nodes.
    pub(crate) fn renamed(&self, name: &impl Fn(NodeId) -> NodeId) -> Clients {
        let rename = |made: &Made| {
            let waits = match made.waits {
                Waits::Accepted { node, index, term } => Waits::Accepted { node: name(node), index, term },
                Waits::Asked { node, read } => Waits::Asked { node: name(node), read },
                Waits::Ready { node, index } => Waits::Ready { node: name(node), index },
                other => other,
            };
            Made { waits, ..*made }
        };
        Clients { calls: self.calls.iter().map(rename).collect() }
    }
}

impl Made {
    fn is_over(&self) -> bool {
        matches!(self.waits, Waits::Over(_))
    }
}

impl Waits {
    fn at(self) -> Option<NodeId> {
        match self {
            Waits::Accepted { node, .. } | Waits::Asked { node, .. } | Waits::Ready { node, .. } => {
                Some(node)
            }
            Waits::Forever | Waits::Over(_) => None,
        }
    }
}

/// What the register holds once everything up to `applied` is applied.
fn register(history: &History<Load>, applied: Index) -> Load {
    let applied = usize::try_from(applied.0).unwrap_or(usize::MAX).min(history.committed().len());
    let (applied, _) = history.committed().split_at(applied);
    let written = applied.iter().rev().find_map(|committed| match committed.entry.kind {
        EntryKind::Command(value) => Some(value),
        _ => None,
    });
    written.unwrap_or_default()
}

/// Whether the calls that are not yet `taken` (by their bits) fit, when the register holds `value`: tries each that may be
/// next. One that is not over may have taken effect, or not yet.
fn fits(calls: &[Made], taken: u8, value: Load) -> bool {
    let mut rest = calls.iter().enumerate().filter(|(at, _)| taken >> at & 1 == 0);
    if rest.clone().all(|(_, made)| !made.is_over()) {
        return true;
    }
    rest.any(|(at, made)| {
        let next = match (made.call, made.waits) {
            (Call::Write(written), _) => Some(written),
            (Call::Read, Waits::Over(seen)) => Some(seen).filter(|seen| *seen == value),
            (Call::Read, _) => None,
        };
        made.after & !taken == 0 && next.is_some_and(|value| fits(calls, taken | 1 << at, value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
    use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

    use super::*;

    /// What one of two clients does next: it calls, or hears an answer; of a read, that the register holds so much.
    #[derive(Clone, Copy, Debug)]
    struct Next {
        client: usize,
        reads: bool,
        seen: Load,
    }

    /// The same run before both judges; gives their verdicts.
    fn judged(run: &[Next]) -> (bool, bool) {
        let mut ours: Vec<Made> = Vec::new();
        let mut theirs = LinearizabilityTester::new(Register(0));
        let mut open: [Option<usize>; 2] = [None; 2];
        let mut written = 0;
        for next in run {
            let client = next.client;
            if let Some(at) = open[client].take() {
                let (value, told) = match ours[at].call {
                    Call::Write(value) => (value, RegisterRet::WriteOk),
                    Call::Read => (next.seen, RegisterRet::ReadOk(next.seen)),
                };
                ours[at].waits = Waits::Over(value);
                theirs.on_return(client, told).expect("it had called");
            } else if ours.len() < CALLS_MAX {
                written += u8::from(!next.reads);
                let call = if next.reads { Call::Read } else { Call::Write(written) };
                let over = ours.iter().enumerate().filter(|(_, made)| made.is_over());
                let after = over.fold(0, |bits, (at, _)| bits | 1 << at);
                open[client] = Some(ours.len());
                ours.push(Made { call, after, waits: Waits::Forever });
                let asked = if next.reads { RegisterOp::Read } else { RegisterOp::Write(written) };
                theirs.on_invoke(client, asked).expect("it waits for nothing");
            }
        }
        (fits(&ours, 0, 0), theirs.is_consistent())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]
        #[test]
        fn the_judge_agrees_with_the_one_of_stateright(
            run in prop::collection::vec((0..2usize, any::<bool>(), 0..4u8), 0..12)
        ) {
            let run: Vec<Next> = run.into_iter().map(|(client, reads, seen)| Next { client, reads, seen }).collect();
            let (ours, theirs) = judged(&run);
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn a_read_after_a_write_sees_it_and_one_beside_it_may() {
        let next = |client, reads, seen| Next { client, reads, seen };
        let write = |client| next(client, false, 0);
        assert_eq!(judged(&[write(0), write(0), next(1, true, 0), next(1, true, 0)]), (false, false));
        assert_eq!(judged(&[write(0), next(1, true, 0), write(0), next(1, true, 0)]), (true, true));
        assert_eq!(judged(&[write(0), next(1, true, 0), write(0), next(1, true, 1)]), (true, true));
    }
}
