//! Handing leadership to another voter (dissertation §3.10): the leader takes nothing new, brings the target's durable
//! log to its own end and tells it to campaign at once. A timer ends an attempt that does not succeed (I38, B21).

use crate::core::Core;
use crate::effect::{Effect, Effects};
use crate::input::Timer;
use crate::message::Body;
use crate::role::{Role, Transfer};
use crate::types::{NodeId, Payload};

impl<P: Payload> Core<P> {
    /// Begins a transfer, or says at once that there is none.
    pub(crate) fn hand_over(&mut self, to: NodeId, out: &mut Effects<P>) {
        let known = self.leader();
        let is_voter = self.log.configuration().voters.contains_key(&to) && to != self.params.id;
        let deadline = self.params.election_timeout_max;
        match &mut self.role {
            Role::Leader(leader) if is_voter && leader.transfer.is_none() => {
                leader.transfer = Some(Transfer { to, told: false });
                out.push(Effect::SetTimer { timer: Timer::Transfer, min: deadline, max: deadline });
            }
            _ => out.push(Effect::TransferFailed { to, leader: known }),
        }
    }

    /// The time is over: this leader goes on.
    pub(crate) fn transfer_timeout(&mut self, out: &mut Effects<P>) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(transfer) = leader.transfer.take()
        {
            out.push(Effect::TransferFailed { to: transfer.to, leader: Some(self.params.id) });
        }
    }

    /// I38: the target is told once its durable log ends where ours does, and again at each heartbeat.
    pub(crate) fn settle_transfer(&mut self, out: &mut Effects<P>) {
        let last = self.log.last_index();
        // Who takes over need not wait for older leases: we have, once we have committed.
        let waited =
            self.params.lease.is_none() || self.log.term_at(self.commit) == Some(self.hard_state.term);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = leader.transfer.as_mut().filter(|transfer| !transfer.told) else { return };
        let to = transfer.to;
        if waited && leader.progress.get(&to).is_some_and(|progress| progress.matched >= last) {
            transfer.told = true;
            leader.lease.given_up = self.params.lease.is_some();
            self.send(to, Body::TimeoutNow, out);
        }
    }

    /// The leader asks us to take over: no pre-vote, as it stands back.
    pub(crate) fn on_timeout_now(&mut self, from: NodeId, out: &mut Effects<P>) {
        let follows = matches!(&self.role, Role::Follower(follower) if follower.leader == Some(from));
        if follows && self.may_campaign() {
            self.campaign(out);
            if let Role::Candidate(ballot) = &mut self.role {
                ballot.told = self.params.lease.is_some();
            }
        }
    }
}
