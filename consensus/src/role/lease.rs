//! Leases (the waiting variant of LeaseGuard; I33, B12): a leader answers reads alone for a while after it sent what a
//! quorum has answered, and a new leader commits nothing until every lease that an older one may hold is over.
//!
//! Who answered in the older term had not voted in a later one then, so that the new leader was elected after the older
//! one had sent: a lease is counted from the sending and the wait from the election, and clocks need only run alike.

use crate::core::Core;
use crate::effect::{Effect, Effects};
use crate::input::Timer;
use crate::quorum;
use crate::role::{Leader, Role};
use crate::types::{Payload, Round, Time};

/// The lease of one leader, and those of its predecessors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Lease {
    /// The round whose answers will extend it, and when that was begun.
    asked: Option<(Round, Time)>,
    /// It ends here.
    until: Time,
    /// Older leaders may hold theirs up to here.
    others: Time,
    /// Another was told to take over, who need not wait: there is no lease any more in this term.
    pub(crate) given_up: bool,
}

impl<P: Payload> Core<P> {
    /// What a new leader begins with. One that was told to take over waits for nobody: its predecessor has given its
    /// lease up, and had itself committed, so that all before are over.
    pub(crate) fn first_lease(&self, now: Time, out: &mut Effects<P>) -> Lease {
        let told = matches!(&self.role, Role::Candidate(ballot) if ballot.told);
        let Some(span) = self.params.lease.filter(|_| !told) else { return Lease::default() };
        // Clocks may differ by an eighth in how fast they run.
        let wait = span + span / 8;
        out.push(Effect::SetTimer { timer: Timer::Lease, min: wait, max: wait });
        Lease { others: now.after(wait), ..Lease::default() }
    }

    /// Whether nobody else may still answer reads from an older state.
    pub(crate) fn may_commit(&self, now: Time) -> bool {
        !matches!(&self.role, Role::Leader(leader) if now < leader.lease.others)
    }

    /// Extends the lease by what was answered, and begins a round for the next extension when half of it is over. Says
    /// whether one was begun, of which every peer must hear now.
    pub(crate) fn extend_lease(&mut self, now: Time) -> bool {
        let (own, Some(span)) = (self.params.id, self.params.lease) else { return false };
        let Role::Leader(Leader { progress, reads, lease, .. }) = &mut self.role else { return false };
        if let Some((round, sent)) = lease.asked {
            let heard = |node| node == own || progress.get(&node).is_some_and(|it| it.round >= round);
            if quorum::reached(self.log.configuration(), heard) {
                (lease.until, lease.asked) = (sent.after(span), None);
            }
        }
        let due = lease.asked.is_none() && !lease.given_up && now.after(span / 2) >= lease.until;
        if due {
            lease.asked = Some((reads.next_round(), now));
        }
        due
    }

    /// Whether this leader may answer reads alone.
    pub(crate) fn holds_lease(&self, now: Time) -> bool {
        matches!(&self.role, Role::Leader(leader) if now < leader.lease.until && !leader.lease.given_up)
    }
}
