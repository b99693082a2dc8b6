//! Requests in hand: from whom, until when, where they are, and that each gets exactly one answer.
//! It must not decide what a request means: the node does, and hands the answer over.

use std::collections::BTreeMap;
use std::time::Duration;

use ravelin_consensus::{NodeId, Time};

use crate::node::event::{Action, Actions, CallId, LinkId, TicketId};
use crate::node::timers::{after, between};
use crate::node::wire::Sender;
use crate::request::parts::{self, Assembler};
use crate::request::status::NodeStatus;
use crate::request::{Envelope, Request, Response};

mod places;

use places::Places;

/// Requests in hand at a time; further ones are answered at once.
const REQUESTS_MAX: usize = 4096;
/// Bytes of documents and commands in hand at a time.
const REQUEST_BYTES_MAX: usize = 64 << 20;
/// Bytes of requests that have not arrived whole, all lanes together.
const UNFINISHED_BYTES_MAX: usize = 64 << 20;
/// Lanes Forward open to this node at a time.
const LINKS_MAX: usize = 256;
/// Of all of these, one part in so many is kept for control nodes: what they pass on must get through a crowd of operators.
const RESERVED_PART: usize = 4;
/// Of what is left, one operator gets at most one part in so many.
const OPERATOR_PART: usize = 3;
/// Longest time that a request may be in hand.
const DEADLINE_MAX: Duration = Duration::from_secs(120);
/// How long to wait before a request is passed on again.
const PASS_ON_RETRY: Duration = Duration::from_millis(50);
/// How long a status question waits for other nodes.
const GATHER_TIMEOUT: Duration = Duration::from_millis(700);

/// Names a request in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PendingId(pub(crate) u64);

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyTo {
    /// To this process itself.
    Local(TicketId),
    /// Over a lane that a peer opened.
    Link { link: LinkId, call: u64 },
    /// To this node's reconciler, which proposed a part of a change.
    Reconciler { attempt: u64, part: u32 },
    /// To nobody: this node asked of its own accord, and sees what came of it.
    Nobody,
}

impl ReplyTo {
    /// Whether somebody outside of this node waits.
    pub(crate) fn is_outside(self) -> bool {
        !matches!(self, Self::Reconciler { .. } | Self::Nobody)
    }
}

/// A request in hand.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) reply: ReplyTo,
    pub(crate) envelope: Envelope,
    deadline: Time,
    state: State,
    /// Once set, "nothing was done" may no longer be said.
    pub(crate) may_take_effect: bool,
    bytes: usize,
    /// The operator that asked, if it came over a lane of one.
    operator: Option<String>,
}

/// What one operator has in hand here.
#[derive(Debug, Default)]
struct InHand {
    requests: usize,
    bytes: usize,
}

/// Where a request is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// To be looked at by the node, not before this time.
    Waiting { not_before: Time },
    /// With another node.
    Passed { call: CallId, to: NodeId },
    /// With the reconciler of this node.
    Reconciling,
    /// With the core of this node, as a read or proposal.
    InCore,
    /// A read that is answered once this is applied.
    Applying { index: u64 },
    /// Collecting the status of other nodes, until this time.
    Gathering(Gathering),
}

/// What is collected for a question about all nodes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gathering {
    until: Time,
    pub(crate) calls: BTreeMap<CallId, NodeId>,
    pub(crate) nodes: Vec<NodeStatus>,
    pub(crate) silent: Vec<u64>,
}

/// All requests in hand, and the lanes they came over.
#[derive(Debug, Default)]
pub(crate) struct Api {
    /// What this node says of itself in every message; none only where no other control node is spoken with.
    speaker: Option<Sender>,
    next: u64,
    next_call: u64,
    pending: BTreeMap<PendingId, Pending>,
    places: Places,
    bytes: usize,
    /// Bytes of questions that have not arrived whole, all lanes together.
    unfinished: usize,
    /// The leader and controller that requests were last recalled for.
    recalled_for: (Option<NodeId>, Option<NodeId>),
    calls: BTreeMap<CallId, Call>,
    links: BTreeMap<LinkId, Link>,
    /// By operator; only those that have something in hand.
    operators: BTreeMap<String, InHand>,
}

#[derive(Debug)]
struct Call {
    request: PendingId,
    answer: Assembler,
}

#[derive(Debug)]
struct Link {
    /// The control node at the other end, if it is one.
    controller: Option<NodeId>,
    name: String,
    questions: Assembler,
    /// Frames of answers; the transport holds only a few of them at a time.
    queue: std::collections::VecDeque<bytes::Bytes>,
    queued: usize,
}

/// Frames of answers that wait in the transport for one lane.
const FRAMES_QUEUED_MAX: usize = 4;
/// Frames of answers that wait here for one lane; whoever asks more without reading is cut off.
const ANSWER_FRAMES_MAX: usize = 256;

/// A question that came over a lane.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) reply: ReplyTo,
    /// The control node that asks, if it is one, and what it says of itself.
    pub(crate) controller: Option<(NodeId, Option<Sender>)>,
    pub(crate) envelope: Envelope,
}

impl Api {
    /// Nothing in hand, on a node that says this of itself.
    pub(crate) fn new(speaker: Sender) -> Self {
        Self { speaker: Some(speaker), ..Self::default() }
    }

    /// A peer opened lane Forward: this control node, or an operator.
    pub(crate) fn opened(
        &mut self,
        link: LinkId,
        controller: Option<NodeId>,
        name: String,
        actions: &mut Actions,
    ) {
        let own = self.links.values().filter(|link| link.name == name).count();
        if self.links.len() >= room(LINKS_MAX, controller.is_some())
            || (controller.is_none() && own >= room(LINKS_MAX, false) / OPERATOR_PART)
        {
            let reason = format!("{} lanes are open here already, {own} of this peer", self.links.len());
            actions.push(Action::CloseLink { link, reason });
            return;
        }
        let link_state =
            Link { controller, name, questions: Assembler::default(), queue: Default::default(), queued: 0 };
        self.links.insert(link, link_state);
    }

    /// The lane is over: nobody waits for what came over it.
    pub(crate) fn closed(&mut self, link: LinkId) {
        if let Some(state) = self.links.remove(&link) {
            self.unfinished -= state.questions.bytes();
            let gone: Vec<PendingId> = self.places.of_link(link).collect();
            for id in gone {
                self.take(id);
            }
        }
    }

    /// A frame came over the lane; gives the question once it is whole.
    pub(crate) fn frame(&mut self, link: LinkId, frame: &[u8], actions: &mut Actions) -> Option<Question> {
        let state = self.links.get_mut(&link)?;
        let before = state.questions.bytes();
        let taken = state.questions.take_question(frame);
        self.unfinished = self.unfinished + state.questions.bytes() - before;
        match taken {
            Ok(None) if self.unfinished > room(UNFINISHED_BYTES_MAX, state.controller.is_some()) => {
                let reason = "too many large requests are on their way to this node".to_owned();
                actions.push(Action::CloseLink { link, reason });
                self.closed(link);
                None
            }
            Ok(None) => None,
            Ok(Some((call, speaker, mut envelope))) => {
                if state.controller.is_none() {
                    // Only control nodes pass on what others asked; everyone else asks in their own name.
                    envelope.author.clone_from(&state.name);
                    envelope.hops = 0;
                }
                let controller = state.controller.map(|node| (node, speaker));
                Some(Question { reply: ReplyTo::Link { link, call }, controller, envelope })
            }
            Err(error) => {
                actions.push(Action::CloseLink { link, reason: error.to_string() });
                self.closed(link);
                None
            }
        }
    }

    /// The transport took a frame of an answer.
    pub(crate) fn sent(&mut self, link: LinkId, actions: &mut Actions) {
        if let Some(state) = self.links.get_mut(&link) {
            state.queued = state.queued.saturating_sub(1);
            state.pump(link, actions);
        }
    }

    /// Takes a request in hand.
    ///
    /// # Errors
    /// The answer, where there is no room.
    pub(crate) fn accept(
        &mut self,
        now: Time,
        reply: ReplyTo,
        envelope: Envelope,
    ) -> Result<PendingId, Response> {
        let bytes = content_bytes(&envelope.request);
        let operator = match reply {
            ReplyTo::Link { link, .. } => self.links.get(&link).filter(|link| link.controller.is_none()),
            ReplyTo::Local(_) | ReplyTo::Reconciler { .. } | ReplyTo::Nobody => None,
        };
        let operator = operator.map(|link| link.name.clone());
        let (requests_max, bytes_max) =
            (room(REQUESTS_MAX, operator.is_none()), room(REQUEST_BYTES_MAX, operator.is_none()));
        if self.pending.len() >= requests_max || self.bytes + bytes > bytes_max {
            return Err(Response::Unavailable { reason: "too many requests are in hand here".to_owned() });
        }
        if let Some(operator) = &operator {
            let own = self.operators.entry(operator.clone()).or_default();
            if own.requests >= requests_max / OPERATOR_PART
                || (own.requests > 0 && own.bytes + bytes > bytes_max / OPERATOR_PART)
            {
                let reason = format!("{operator} has {} requests in hand here already", own.requests);
                return Err(Response::Unavailable { reason });
            }
            own.requests += 1;
            own.bytes += bytes;
        }
        let span = Duration::from_millis(envelope.deadline_millis.into()).min(DEADLINE_MAX);
        self.next += 1;
        let id = PendingId(self.next);
        let pending = Pending {
            reply,
            envelope,
            deadline: after(now, span),
            state: State::Waiting { not_before: now },
            may_take_effect: false,
            bytes,
            operator,
        };
        self.bytes += bytes;
        self.places.enter(id, pending.deadline, reply, &pending.state);
        self.pending.insert(id, pending);
        Ok(id)
    }

    pub(crate) fn get_mut(&mut self, id: PendingId) -> Option<&mut Pending> {
        self.pending.get_mut(&id)
    }

    /// Requests that the node should look at now.
    pub(crate) fn waiting(&self, now: Time) -> Vec<PendingId> {
        self.places.waiting(now).collect()
    }

    /// Reads that may be answered now that this is applied.
    pub(crate) fn readable(&self, applied: u64) -> Vec<PendingId> {
        self.places.readable(applied).collect()
    }

    /// Passes a request on to another node. It stays in hand until that one answers.
    ///
    /// # Errors
    /// The answer, where it cannot be passed on at all.
    pub(crate) fn pass_on(
        &mut self,
        now: Time,
        id: PendingId,
        to: NodeId,
        actions: &mut Actions,
    ) -> Result<(), Response> {
        let Some(pending) = self.pending.get_mut(&id) else { return Ok(()) };
        let mut envelope = pending.envelope.clone();
        envelope.hops += 1;
        envelope.deadline_millis = millis_left(now, pending.deadline);
        self.next_call += 1;
        let call = CallId(self.next_call);
        let frames = parts::question(call.0, self.speaker, &envelope).map_err(|error| {
            Response::Unavailable { reason: format!("the request cannot be passed on: {error}") }
        })?;
        self.set_state(id, State::Passed { call, to });
        self.calls.insert(call, Call { request: id, answer: Assembler::default() });
        actions.push(Action::Call { to, call, frames });
        Ok(())
    }

    /// Asks every other member for its status on behalf of a request.
    pub(crate) fn gather(
        &mut self,
        now: Time,
        id: PendingId,
        me: NodeStatus,
        others: &[NodeId],
        actions: &mut Actions,
    ) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        let until = after(now, GATHER_TIMEOUT).min(pending.deadline);
        let mut envelope = pending.envelope.clone();
        envelope.hops += 1;
        envelope.deadline_millis = millis_left(now, until);
        if let Request::Status { scope, .. } = &mut envelope.request {
            *scope = crate::request::Scope::Node;
        }
        let mut calls = BTreeMap::new();
        for &to in others {
            self.next_call += 1;
            let call = CallId(self.next_call);
            if let Ok(frames) = parts::question(call.0, self.speaker, &envelope) {
                self.calls.insert(call, Call { request: id, answer: Assembler::default() });
                actions.push(Action::Call { to, call, frames });
                calls.insert(call, to);
            }
        }
        self.set_state(id, State::Gathering(Gathering { until, calls, nodes: vec![me], silent: Vec::new() }));
    }

    /// A frame of an answer from another node; gives request and answer once it is whole.
    pub(crate) fn call_frame(&mut self, call: CallId, frame: &[u8]) -> Option<(PendingId, Response)> {
        let state = self.calls.get_mut(&call)?;
        let response = match state.answer.take_answer(frame) {
            Ok(None) => return None,
            Ok(Some((_, speaker, response))) if self.is_ours(speaker) => response,
            Ok(Some(_)) => Response::Unknown { reason: "the answer is of another recovery epoch".to_owned() },
            Err(error) => {
                Response::Unknown { reason: format!("the other node's answer cannot be read: {error}") }
            }
        };
        Some((self.calls.remove(&call)?.request, response))
    }

    /// Whether who speaks is of the cluster and recovery epoch of this node.
    fn is_ours(&self, speaker: Option<Sender>) -> bool {
        let of = |sender: Sender| (sender.cluster, sender.recovery_epoch);
        self.speaker.is_none_or(|own| speaker.is_some_and(|speaker| of(speaker) == of(own)))
    }

    /// There will be no answer from another node; gives the request.
    pub(crate) fn call_failed(&mut self, call: CallId) -> Option<PendingId> {
        Some(self.calls.remove(&call)?.request)
    }

    /// Puts a request back to be looked at again, a little later.
    pub(crate) fn wait_again(&mut self, now: Time, id: PendingId) {
        self.set_state(id, State::Waiting { not_before: after(now, PASS_ON_RETRY) });
    }

    /// The request is somewhere else from now on; nothing happens if it was answered.
    pub(crate) fn set_state(&mut self, id: PendingId, state: State) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        self.places.depart(id, &pending.state);
        self.places.arrive(id, &state);
        pending.state = state;
    }

    /// What is collected for a request, if it is one about all nodes.
    pub(crate) fn gathering(&mut self, id: PendingId) -> Option<&mut Gathering> {
        match &mut self.pending.get_mut(&id)?.state {
            State::Gathering(gathering) => Some(gathering),
            _ => None,
        }
    }

    /// Takes requests out of calls that no longer help: their target is not the right one any more. Looks at them only
    /// where leader or controller are others than last time.
    pub(crate) fn recall(
        &mut self,
        now: Time,
        leader: Option<NodeId>,
        controller: Option<NodeId>,
        is_wrong: impl Fn(&Pending, NodeId) -> bool,
    ) {
        if self.recalled_for == (leader, controller) {
            return;
        }
        self.recalled_for = (leader, controller);
        let passed: Vec<PendingId> = self.places.passed().collect();
        for id in passed {
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            let State::Passed { call, to } = pending.state else { continue };
            if is_wrong(pending, to) {
                self.calls.remove(&call);
                pending.may_take_effect |= pending.envelope.request.changes_state();
                self.set_state(id, State::Waiting { not_before: now });
            }
        }
    }

    /// Lets a request go, to be answered once; none if it was answered before.
    pub(crate) fn finish(&mut self, id: PendingId) -> Option<ReplyTo> {
        self.take(id).map(|pending| pending.reply)
    }

    /// Sends an answer to somebody outside.
    pub(crate) fn reply(&mut self, to: ReplyTo, response: Response, actions: &mut Actions) {
        match to {
            ReplyTo::Reconciler { .. } | ReplyTo::Nobody => {}
            ReplyTo::Local(ticket) => actions.push(Action::Respond { ticket, response }),
            ReplyTo::Link { link, call } => {
                let Some(state) = self.links.get_mut(&link) else { return };
                state.queue.extend(parts::answer(call, self.speaker, &response));
                if state.queue.len() > ANSWER_FRAMES_MAX {
                    let reason = "answers are not read".to_owned();
                    actions.push(Action::CloseLink { link, reason });
                    self.closed(link);
                    return;
                }
                state.pump(link, actions);
            }
        }
    }

    fn take(&mut self, id: PendingId) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.places.leave(id, pending.deadline, pending.reply, &pending.state);
        self.bytes -= pending.bytes;
        if let Some(operator) = &pending.operator
            && let Some(own) = self.operators.get_mut(operator)
        {
            own.requests -= 1;
            own.bytes -= pending.bytes;
            if own.requests == 0 {
                self.operators.remove(operator);
            }
        }
        match &pending.state {
            State::Passed { call, .. } => {
                self.calls.remove(call);
            }
            State::Gathering(gathering) => {
                for call in gathering.calls.keys() {
                    self.calls.remove(call);
                }
            }
            _ => {}
        }
        Some(pending)
    }

    /// Requests whose time is over, with the truth about each.
    pub(crate) fn overdue(&self, now: Time, leader_known: bool) -> Vec<(PendingId, Response)> {
        let overdue = self.places.overdue(now);
        overdue.filter_map(|id| Some((id, self.pending.get(&id)?.too_late(leader_known)))).collect()
    }

    /// Status questions that have waited long enough.
    pub(crate) fn gathered(&self, now: Time) -> Vec<PendingId> {
        let is_ready = |id: &PendingId| match self.pending.get(id).map(|pending| &pending.state) {
            Some(State::Gathering(gathering)) => gathering.until <= now || gathering.calls.is_empty(),
            _ => false,
        };
        self.places.gathering().filter(is_ready).collect()
    }
}

impl Pending {
    fn too_late(&self, leader_known: bool) -> Response {
        let in_doubt = match self.state {
            State::Passed { .. } | State::Reconciling | State::InCore => {
                self.envelope.request.changes_state()
            }
            _ => self.may_take_effect,
        };
        if in_doubt {
            return Response::Unknown {
                reason: "no answer from the log in time; the change may still take effect, once".to_owned(),
            };
        }
        let reason = if leader_known {
            "the cluster did not get to it in time; nothing was changed"
        } else {
            "no leader is known, so the cluster has no quorum at the moment; nothing was changed"
        };
        Response::Unavailable { reason: reason.to_owned() }
    }
}

impl Link {
    fn pump(&mut self, link: LinkId, actions: &mut Actions) {
        while self.queued < FRAMES_QUEUED_MAX
            && let Some(frame) = self.queue.pop_front()
        {
            self.queued += 1;
            actions.push(Action::SendLink { link, frame });
        }
    }
}

impl Request {
    /// Whether it asks for a change of objects under its own id.
    pub(crate) fn changes_objects(&self) -> bool {
        matches!(self, Self::Apply { .. } | Self::Delete { .. })
    }

    /// Whether it could leave a trace in the log.
    pub(crate) fn changes_state(&self) -> bool {
        match self {
            Self::Apply { .. }
            | Self::Delete { .. }
            | Self::Propose { .. }
            | Self::ChangeNode(_)
            | Self::TransferLeader { .. } => true,
            Self::Get { .. } | Self::Status { .. } | Self::Events { .. } | Self::Nodes => false,
        }
    }
}

/// How much of a bound this peer may see used.
const fn room(max: usize, is_controller: bool) -> usize {
    if is_controller { max } else { max - max / RESERVED_PART }
}

fn content_bytes(request: &Request) -> usize {
    match request {
        Request::Apply { documents, .. } => documents.iter().map(|document| document.text.len()).sum(),
        Request::Propose { command } => command.len(),
        Request::Delete { keys } => keys.iter().map(String::len).sum(),
        Request::Get { .. }
        | Request::Status { .. }
        | Request::Events { .. }
        | Request::Nodes
        | Request::ChangeNode(_)
        | Request::TransferLeader { .. } => 0,
    }
}

fn millis_left(now: Time, deadline: Time) -> u32 {
    u32::try_from(between(now, deadline).as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
