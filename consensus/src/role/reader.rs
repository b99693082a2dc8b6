//! Linearizable reads asked of a follower (dissertation §6.4): it asks its leader, whose next round answers, and then
//! serves them from its own state once that is applied.
//!
//! An answer is taken only for the very question that is open. Its ticket holds the life of this process, so that an
//! answer to a question from before a restart confirms nothing (I31, B11).

use crate::core::Core;
use crate::effect::{Effect, Effects};
use crate::input::Timer;
use crate::message::Body;
use crate::read::Asker;
use crate::role::Role;
use crate::types::{Index, NodeId, Payload, ReadId, Ticket};

/// The reads of one follower under one leader.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Questions {
    /// Those that the leader was asked about, and by which ticket.
    pub(crate) open: Option<(Ticket, Vec<ReadId>)>,
    /// Those for the next question: one at a time, however many reads.
    pub(crate) queued: Vec<ReadId>,
}

impl Questions {
    pub(crate) fn len(&self) -> usize {
        self.queued.len() + self.open.as_ref().map_or(0, |(_, ids)| ids.len())
    }

    /// Every read that was not answered.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = ReadId> + use<> {
        let open = self.open.take().map(|(_, ids)| ids).unwrap_or_default();
        open.into_iter().chain(std::mem::take(&mut self.queued))
    }
}

impl<P: Payload> Core<P> {
    /// Queues a linearizable read, at a leader for its next round and at a follower for its next question.
    pub(crate) fn read(&mut self, id: ReadId, out: &mut Effects<P>) {
        let known = self.leader();
        let max = self.params.reads_pending_max;
        match &mut self.role {
            Role::Leader(leader) if leader.reads.len() < max => leader.reads.queued.push(Asker::Here(id)),
            Role::Follower(follower) if known.is_some() && follower.questions.len() < max => {
                follower.questions.queued.push(id);
            }
            _ => out.push(Effect::ReadFailed { id, leader: known }),
        }
    }

    /// The role ends: what it has not confirmed fails. Whoever asked from afar hears of the change as well.
    pub(crate) fn abandon_reads(&mut self, known: Option<NodeId>, out: &mut Effects<P>) {
        let mut fail = |id| out.push(Effect::ReadFailed { id, leader: known });
        match &mut self.role {
            Role::Leader(leader) => leader.reads.abandon().for_each(fail),
            Role::Follower(follower) => {
                let asked = follower.questions.open.is_some();
                follower.questions.abandon().for_each(&mut fail);
                if asked {
                    out.push(Effect::CancelTimer(Timer::Read));
                }
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }

    /// Asks the leader about everything that is queued, once the question before is answered.
    pub(crate) fn settle_reader(&mut self, out: &mut Effects<P>) {
        let Role::Follower(follower) = &mut self.role else { return };
        let questions = &mut follower.questions;
        if questions.open.is_none() && !questions.queued.is_empty() {
            self.ticket = self.ticket.next();
            questions.open = Some((self.ticket, std::mem::take(&mut questions.queued)));
            self.ask_leader(out);
        }
    }

    /// The question that is open, sent again until there is an answer or another leader.
    pub(crate) fn ask_leader(&mut self, out: &mut Effects<P>) {
        let Role::Follower(follower) = &self.role else { return };
        if let (Some(leader), Some((ticket, _))) = (follower.leader, &follower.questions.open) {
            self.send(leader, Body::Read { ticket: *ticket }, out);
            let interval = self.params.heartbeat_interval;
            out.push(Effect::SetTimer { timer: Timer::Read, min: interval, max: interval });
        }
    }

    /// A member asks on behalf of its reads: they join the next round, begun after this (I31).
    pub(crate) fn on_read(&mut self, from: NodeId, ticket: Ticket, out: &mut Effects<P>) {
        let max = self.params.reads_pending_max;
        match &mut self.role {
            Role::Leader(leader) if leader.reads.holds(from, ticket) => {}
            Role::Leader(leader) if leader.reads.len() < max => {
                leader.reads.queued.push(Asker::Member { node: from, ticket });
            }
            _ => self.send(from, Body::ReadReply { ticket, index: None }, out),
        }
    }

    /// The leader's answer, if it is to the open question.
    pub(crate) fn on_read_reply(
        &mut self,
        from: NodeId,
        ticket: Ticket,
        index: Option<Index>,
        out: &mut Effects<P>,
    ) {
        let known = self.leader();
        let Role::Follower(follower) = &mut self.role else { return };
        let answers = |open: &mut (Ticket, Vec<ReadId>)| follower.leader == Some(from) && open.0 == ticket;
        let Some((_, ids)) = follower.questions.open.take_if(answers) else { return };
        out.push(Effect::CancelTimer(Timer::Read));
        for id in ids {
            out.push(match index {
                Some(index) => Effect::ReadReady { id, index },
                None => Effect::ReadFailed { id, leader: known },
            });
        }
    }
}
