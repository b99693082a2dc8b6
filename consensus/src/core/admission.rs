//! What is refused before any rule of the protocol sees it: strangers, nonsense, and damage on disk.

use crate::core::Core;
use crate::durable::{Corrupt, Durable};
use crate::effect::Effects;
use crate::entry::Entry;
use crate::message::{AppendOutcome, Body, Message, SnapshotOutcome};
use crate::types::{Index, NodeId, Payload, RecoveryEpoch, Round, Term};

impl<P: Payload> Core<P> {
    /// Whether a message may change anything: same cluster and epoch, from another node that may say such a thing
    /// (I29, B16), and possible at all.
    pub(super) fn admits(&self, from: NodeId, message: &Message<P>) -> bool {
        message.cluster == self.params.cluster
            && message.recovery_epoch == self.params.recovery_epoch
            && from != self.params.id
            && (self.log.configuration().incarnation(from) == Some(message.incarnation)
                || self.hears_stranger(&message.body))
            && is_well_formed(message)
    }

    /// What counts is counted from the admitted incarnation of a member only: an answer of one that lost its disk, or
    /// left, promises nothing. A leader however may be newer here than our configuration, or about to leave; so may a
    /// candidate, whom we hear while we have no leader (dissertation §4.1, §4.2.3; L3).
    fn hears_stranger(&self, body: &Body<P>) -> bool {
        match body {
            Body::Append { .. } | Body::Snapshot { .. } | Body::TimeoutNow => true,
            // Of the leader that was asked; its configuration may be newer than ours.
            Body::ReadReply { .. } => true,
            Body::PreVote { .. } | Body::Vote { .. } => self.leader().is_none(),
            Body::PreVoteReply { .. }
            | Body::Missing { .. }
            | Body::VoteReply { .. }
            | Body::AppendReply { .. }
            | Body::SnapshotReply { .. }
            | Body::Read { .. } => false,
        }
    }

    /// A request of an earlier term is answered in kind, so that the sender learns the term; nothing else in the
    /// answer matters, and it promises nothing. Answers of an earlier term are dropped.
    pub(super) fn answer_stale(&self, to: NodeId, body: &Body<P>, out: &mut Effects<P>) {
        let answer = match body {
            Body::PreVote { .. } => Body::PreVoteReply { granted: false },
            Body::Vote { .. } => Body::VoteReply { granted: false },
            Body::Append { prev_index, .. } => Body::AppendReply {
                outcome: AppendOutcome::Rejected {
                    prev_index: *prev_index,
                    hint_index: Index::ZERO,
                    hint_term: Term(0),
                },
                round: Round(0),
            },
            Body::Snapshot { meta, .. } => {
                Body::SnapshotReply { index: meta.index, outcome: SnapshotOutcome::Failed, round: Round(0) }
            }
            Body::Read { ticket } => Body::ReadReply { ticket: *ticket, index: None },
            Body::PreVoteReply { .. }
            | Body::Missing { .. }
            | Body::VoteReply { .. }
            | Body::AppendReply { .. }
            | Body::SnapshotReply { .. }
            | Body::TimeoutNow
            | Body::ReadReply { .. } => return,
        };
        self.send(to, answer, out);
    }
}

/// Whether an honest member could have sent this: bounds that keep sums from overflowing, and terms in order.
fn is_well_formed<P>(message: &Message<P>) -> bool {
    let term = message.term;
    let end = |index: Index, entry_term: Term| {
        index <= Index::MAX && entry_term <= term && (index == Index::ZERO) == (entry_term == Term(0))
    };
    let commit = if let Body::Append { commit, .. } = &message.body { *commit } else { Index::ZERO };
    if term > Term::MAX || commit > Index::MAX {
        return false;
    }
    match &message.body {
        Body::PreVote { last_index, last_term } => end(*last_index, *last_term),
        Body::Vote { last_index, last_term } => term > Term(0) && end(*last_index, *last_term),
        Body::Append { prev_index, prev_term, entries, .. }
        | Body::Missing { prev_index, prev_term, entries } => {
            let mut before = *prev_term;
            let entries_fit = entries.iter().all(|entry| {
                let rises = (before..=term).contains(&entry.term) && entry.term > Term(0);
                before = entry.term;
                rises && members_fit(entry, message.recovery_epoch)
            });
            term > Term(0) && end(*prev_index, *prev_term) && entries_fit
        }
        Body::AppendReply { outcome: AppendOutcome::Accepted { matched }, .. } => *matched <= Index::MAX,
        Body::AppendReply {
            outcome: AppendOutcome::Rejected { prev_index, hint_index, hint_term }, ..
        } => *prev_index <= Index::MAX && hint_index <= prev_index && *hint_term <= Term::MAX,
        Body::Snapshot { meta, .. } => {
            meta.index > Index::ZERO
                && end(meta.index, meta.term)
                && meta.configuration.is_usable()
                && meta.configuration.recovery_epoch <= message.recovery_epoch
        }
        Body::ReadReply { index, .. } => index.is_none_or(|index| index <= Index::MAX),
        Body::PreVoteReply { .. }
        | Body::VoteReply { .. }
        | Body::SnapshotReply { .. }
        | Body::TimeoutNow
        | Body::Read { .. } => true,
    }
}

/// Whether members that an entry names could decide, and did not come from a later recovery than `epoch`.
fn members_fit<P>(entry: &Entry<P>, epoch: RecoveryEpoch) -> bool {
    entry.members().is_none_or(|members| members.is_usable() && members.recovery_epoch <= epoch)
}

/// Whether what is durable can be that of a member in this recovery epoch (I36, I37).
pub(super) fn check_durable<P: Payload>(durable: &Durable<P>, epoch: RecoveryEpoch) -> Result<(), Corrupt> {
    let hard_state = durable.hard_state.term;
    if hard_state > Term::MAX || durable.last_index() > Index::MAX || durable.base() > Index::MAX {
        return Err(Corrupt::OutOfRange);
    }
    let mut index = durable.base();
    let mut before = Term(0);
    let mut recovered = durable.configuration.recovery_epoch;
    if let Some(meta) = &durable.snapshot {
        if meta.index == Index::ZERO || meta.term == Term(0) {
            return Err(Corrupt::NotAnEntry { index: meta.index });
        }
        if !meta.configuration.is_usable() {
            return Err(Corrupt::Members);
        }
        before = meta.term;
        recovered = meta.configuration.recovery_epoch;
    }
    for entry in &durable.entries {
        index = index.next();
        if entry.term == Term(0) {
            return Err(Corrupt::NotAnEntry { index });
        }
        if entry.term < before {
            return Err(Corrupt::TermFalls { index, term: entry.term, before });
        }
        if let Some(members) = entry.members() {
            if !members.is_usable() {
                return Err(Corrupt::Members);
            }
            if members.recovery_epoch < recovered {
                return Err(Corrupt::Epoch { index });
            }
            recovered = members.recovery_epoch;
        }
        before = entry.term;
    }
    if recovered > epoch {
        return Err(Corrupt::Epoch { index });
    }
    if before > hard_state {
        return Err(Corrupt::TermAhead { index, term: before, hard_state });
    }
    Ok(())
}
