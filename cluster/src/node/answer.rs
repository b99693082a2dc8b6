//! Requests: where each is decided (here, at the leader, at the controller), and the answer that follows.
//! It must not lose a request: each gets exactly one answer, and "nothing was done" is said only where that is certain.

use std::time::Duration;

use ravelin_config::object::RECORD_VERSION;
use ravelin_config::{Record, RecordWire, Understands};
use ravelin_consensus::{Input, NodeId, ProposalId, ReadId, RoleName, Time};
use ravelin_transport::codec;

use super::event::{Actions, CallId};
use super::wire::RAFT_VERSIONS;
use super::{Node, Proposer, fed_generation, gathered, with_ground};
use crate::api::{PendingId, ReplyTo, State};
use crate::reconcile::Work;
use crate::request::nodes::NodeChange;
use crate::request::status::{ClusterStatus, LongestEvent, NodeStatus};
use crate::request::{
    Change, Consistency, EVENTS_PAGE_MAX, Envelope, GET_OBJECTS_MAX, HOPS_MAX, ObjectView, Objects, Page,
    Refusal, RefusalReason, Request, Response, Scope,
};
use crate::storage::{CommandBytes, chain};
use crate::store::limits::LIMITS_LEVEL;
use crate::store::{ChangeId, Command, Outcome, Refusal as StoreRefusal};

/// Bytes of objects or events in one answer; a page ends before it grows beyond.
const PAGE_BYTES_MAX: usize = 2 << 20;

/// Who decides about a request.
enum Place {
    Here,
    At(NodeId),
    /// Nobody known at the moment.
    Nowhere,
}

impl Node {
    /// Takes a request in hand.
    pub(super) fn request(
        &mut self,
        now: Time,
        reply: ReplyTo,
        from_controller: bool,
        envelope: Envelope,
        actions: &mut Actions,
    ) {
        let refusal = if envelope.hops > HOPS_MAX {
            Some("passed on too often")
        } else if matches!(envelope.request, Request::Propose { .. }) && !from_controller {
            Some("only control nodes propose")
        } else if matches!(envelope.request, Request::ChangeNode(NodeChange::Announce { .. }))
            && !from_controller
        {
            Some("only control nodes say where they are")
        } else {
            None
        };
        if let Some(problem) = refusal {
            let refusal = Refusal::new(RefusalReason::BadRequest, problem);
            self.reply(now, reply, Response::Refused(refusal), actions);
            return;
        }
        match self.api.accept(now, reply, envelope) {
            Ok(request) => self.look_after(now, request, actions),
            Err(response) => self.reply(now, reply, response, actions),
        }
    }

    /// Gives the one answer to a request in hand.
    pub(super) fn answer(
        &mut self,
        now: Time,
        request: PendingId,
        response: Response,
        actions: &mut Actions,
    ) {
        let Some(pending) = self.api.get_mut(request) else { return };
        if let Response::Redirect { may_take_effect: true, .. } = response {
            pending.may_take_effect |= pending.envelope.request.changes_state();
        }
        // A redirect is for control nodes: whoever asked here first gets a real answer, now or later.
        if let Response::Redirect { .. } = response
            && pending.envelope.hops == 0
            && pending.reply.is_outside()
        {
            self.api.wait_again(now, request);
            return;
        }
        let response = if pending.may_take_effect { response.after_doubt() } else { response };
        if let Some(reply) = self.api.finish(request) {
            self.reply(now, reply, response, actions);
        }
    }

    fn reply(&mut self, now: Time, reply: ReplyTo, response: Response, actions: &mut Actions) {
        match reply {
            ReplyTo::Reconciler { attempt, part } => match response {
                Response::Proposed => {}
                Response::Refused(refusal) => {
                    let reconcile = &mut self.reconcile;
                    with_ground(&self.store, |ground| reconcile.refused(attempt, part, refusal, ground));
                }
                _ => self.reconcile.turned_away(now, attempt, part),
            },
            ReplyTo::Nobody => {}
            ReplyTo::Local(_) | ReplyTo::Link { .. } => self.api.reply(reply, response, actions),
        }
    }

    /// Requests that wait, reads that are ready, calls that went to the wrong node.
    pub(super) fn look_after_requests(&mut self, now: Time, actions: &mut Actions) {
        let (leader, controller) = (self.core.leader(), self.store.controller().map(|(node, _)| node));
        self.api.recall(now, leader, controller, |pending, to| match decider_of(&pending.envelope.request) {
            // The one that handed over says so itself.
            Decider::Leader if matches!(pending.envelope.request, Request::TransferLeader { .. }) => false,
            Decider::Leader => leader.is_some_and(|leader| leader != to),
            Decider::Controller => controller.is_some_and(|controller| controller != to),
            Decider::Anyone | Decider::Healthy => false,
        });
        for request in self.api.waiting(now) {
            self.look_after(now, request, actions);
        }
        for request in self.api.readable(self.core.applied_index().0) {
            self.read(now, request, false, actions);
        }
        for request in self.api.gathered(now) {
            self.gathered(now, request, actions);
        }
    }

    fn look_after(&mut self, now: Time, request: PendingId, actions: &mut Actions) {
        let Some(pending) = self.api.get_mut(request) else { return };
        let (id, hops) = (pending.envelope.id, pending.envelope.hops);
        let outcome = self.store.outcome(&ChangeId(id.0));
        if let Some(Outcome { generation, put, deleted, .. }) =
            outcome.filter(|_| pending.envelope.request.changes_objects())
        {
            // It took effect, whoever brought it to the log and whatever became of the answer: it is told as it was then.
            let change = Change { id, generation: generation.into(), put, deleted, verdicts: Vec::new() };
            self.answer(now, request, Response::Done(change), actions);
            return;
        }
        let decider = decider_of(&pending.envelope.request);
        match self.place(decider) {
            Place::Here => self.decide(now, request, actions),
            Place::At(node) if hops == 0 => {
                if let Err(response) = self.api.pass_on(now, request, node, actions) {
                    self.answer(now, request, response, actions);
                }
            }
            Place::At(node) => {
                let response = Response::Redirect { node: Some(node.0), may_take_effect: false };
                self.answer(now, request, response, actions);
            }
            Place::Nowhere if hops == 0 => self.api.wait_again(now, request),
            Place::Nowhere => {
                let response = Response::Redirect { node: None, may_take_effect: false };
                self.answer(now, request, response, actions);
            }
        }
    }

    fn place(&self, decider: Decider) -> Place {
        let me = self.me();
        let node = match decider {
            Decider::Anyone => return Place::Here,
            // Any member that has caught up reads by the leader's word; one that has not would only wait for it.
            Decider::Healthy if self.is_healthy() => return Place::Here,
            Decider::Leader | Decider::Healthy => self.core.leader(),
            // The controller can do nothing without a leader; asking it then only hides the reason.
            Decider::Controller => {
                self.core.leader().and_then(|_| self.store.controller()).map(|(node, _)| node)
            }
        };
        match node {
            Some(node) if node != me => Place::At(node),
            // What it would judge by must not be older than what clients were told.
            Some(_)
                if matches!(decider, Decider::Controller) && (self.run.is_none() || !self.is_healthy()) =>
            {
                Place::Nowhere
            }
            Some(_) => Place::Here,
            None => Place::Nowhere,
        }
    }

    fn decide(&mut self, now: Time, request: PendingId, actions: &mut Actions) {
        let Some(pending) = self.api.get_mut(request) else { return };
        match pending.envelope.request.clone() {
            Request::Apply { documents, mode } => {
                self.reconcile_request(now, request, Work::Apply { documents, mode }, actions);
            }
            Request::Delete { keys } => self.reconcile_request(now, request, Work::Delete { keys }, actions),
            Request::Get { consistency: Consistency::Stale, .. } => self.read(now, request, true, actions),
            Request::Get { consistency: Consistency::Linearizable, .. } => {
                self.api.set_state(request, State::InCore);
                let read = ReadId(self.number());
                self.reads.insert(read, request);
                self.step(now, Input::Read(read));
            }
            Request::Propose { command } => {
                let payload = CommandBytes(command.into());
                if let Some(refusal) = self.unfit(&payload) {
                    return self.answer(now, request, Response::Refused(refusal), actions);
                }
                self.api.set_state(request, State::InCore);
                let proposal = ProposalId(self.number());
                self.proposals.insert(proposal, Proposer::Request(request));
                self.step(now, Input::Propose { id: proposal, payload });
            }
            Request::Nodes => {
                let response = Response::Nodes(self.node_list(now));
                self.answer(now, request, response, actions);
            }
            Request::ChangeNode(change) => self.change_node(now, request, &change, actions),
            Request::TransferLeader { to } => self.transfer_leader(now, request, to, actions),
            Request::Status { scope: Scope::Node, proxies } => {
                let response = Response::Status(self.cluster_status(vec![self.status(proxies)], Vec::new()));
                self.answer(now, request, response, actions);
            }
            Request::Status { scope: Scope::Cluster, proxies } => {
                let (me, others) = (self.status(proxies), self.others());
                self.api.gather(now, request, me, &others, actions);
            }
            Request::Events { since, limit } => {
                let limit = limit.clamp(1, EVENTS_PAGE_MAX) as usize;
                let response = Response::Events(self.journal.since(since, limit, PAGE_BYTES_MAX));
                self.answer(now, request, response, actions);
            }
        }
    }

    /// Why a command is not put into the log: no node could read it, which would stop them all, it would pass a bound, or
    /// an operator writes where this version knows nothing.
    /// Whose epoch and base it is, apply alone decides, the same everywhere.
    fn unfit(&self, payload: &CommandBytes) -> Option<Refusal> {
        let read = Command::decode(payload).and_then(|command| Ok((command.unknown_key()?, command)));
        let command = match read {
            Ok((None, Command::SetLimits { .. })) if self.store.feature_level() < LIMITS_LEVEL => {
                let problem = "it is not put into the log: the feature level that brings it is not in force";
                return Some(Refusal::new(RefusalReason::BadRequest, problem));
            }
            Ok((None, Command::RaiseFeatureLevel { level, .. })) if !self.all_support(level) => {
                // A node of an older version stops at such an entry.
                let problem =
                    "it is not put into the log: it is not known of every member that it supports this";
                return Some(Refusal::new(RefusalReason::BadRequest, problem));
            }
            Ok((None, command)) => command,
            Ok((Some(key), _)) => {
                let problem =
                    format!("it is not put into the log: this version knows no keys like \"{key}\"");
                return Some(Refusal::new(RefusalReason::BadRequest, problem));
            }
            Err(error) => {
                let problem =
                    format!("it is not put into the log, as no node could read it: {}", chain(&error));
                return Some(Refusal::new(RefusalReason::Unreadable, problem));
            }
        };
        // A leader that has not caught up knows too little to refuse anything.
        if !self.is_healthy() {
            return None;
        }
        match self.store.check(&command) {
            Err(over @ StoreRefusal::OverQuota { .. }) => {
                Some(Refusal::new(RefusalReason::TooLarge, over.to_string()))
            }
            _ => None,
        }
    }

    fn reconcile_request(&mut self, now: Time, request: PendingId, work: Work, actions: &mut Actions) {
        let Some(pending) = self.api.get_mut(request) else { return };
        let Envelope { id, since, author, .. } = &pending.envelope;
        let (name, author) = ((*id, *since), author.clone());
        self.api.set_state(request, State::Reconciling);
        if let Err(response) = self.reconcile.request(request, name, author, work) {
            self.answer(now, request, response, actions);
        }
    }

    /// An answer came back from another node.
    pub(super) fn called(
        &mut self,
        now: Time,
        call: CallId,
        request: PendingId,
        response: Response,
        actions: &mut Actions,
    ) {
        if let Some(gathering) = self.api.gathering(request) {
            let Some(node) = gathering.calls.remove(&call) else { return };
            match response {
                Response::Status(status) => gathering.nodes.extend(status.nodes),
                _ => gathering.silent.push(node.0),
            }
            return;
        }
        self.answer(now, request, response, actions);
    }

    /// No answer will come from another node: ask again, wherever it is to be decided by then.
    pub(super) fn call_failed(
        &mut self,
        now: Time,
        call: CallId,
        request: PendingId,
        may_have_arrived: bool,
    ) {
        if let Some(gathering) = self.api.gathering(request) {
            let silent = gathering.calls.remove(&call);
            gathering.silent.extend(silent.map(|node| node.0));
            return;
        }
        let Some(pending) = self.api.get_mut(request) else { return };
        pending.may_take_effect |= may_have_arrived && pending.envelope.request.changes_state();
        self.api.wait_again(now, request);
    }

    fn gathered(&mut self, now: Time, request: PendingId, actions: &mut Actions) {
        let Some(gathering) = self.api.gathering(request) else { return };
        let mut nodes = std::mem::take(&mut gathering.nodes);
        let mut silent = std::mem::take(&mut gathering.silent);
        silent.extend(gathering.calls.values().map(|node| node.0));
        nodes.sort_by_key(|node| node.node);
        silent.sort_unstable();
        let response = Response::Status(self.cluster_status(nodes, silent));
        self.answer(now, request, response, actions);
    }

    /// Answers a read from the applied state.
    fn read(&mut self, now: Time, request: PendingId, stale: bool, actions: &mut Actions) {
        let Some(pending) = self.api.get_mut(request) else { return };
        let Request::Get { prefix, after, limit, .. } = pending.envelope.request.clone() else { return };
        let response = self.page(&prefix, after.as_deref(), limit, stale);
        self.answer(now, request, response, actions);
    }

    fn page(&self, prefix: &str, after: Option<&str>, limit: u32, stale: bool) -> Response {
        let limit = limit.clamp(1, GET_OBJECTS_MAX) as usize;
        let mut objects = Vec::new();
        let mut bytes = 0;
        let mut next = None;
        for (key, record) in self.store.config().range_after(prefix, after) {
            if objects.len() >= limit || bytes > PAGE_BYTES_MAX {
                next = objects.last().map(|object: &ObjectView| object.key.clone());
                break;
            }
            bytes += key.as_str().len() + record.len();
            objects.push(view(key.as_str(), record));
        }
        let generation = fed_generation(&self.store).map(Into::into);
        Response::Objects(Objects { generation, stale, objects, next })
    }

    fn cluster_status(&self, nodes: Vec<NodeStatus>, silent: Vec<u64>) -> ClusterStatus {
        let cluster = self.options.params.cluster.0.iter().map(|byte| format!("{byte:02x}")).collect();
        gathered::together(cluster, self.me().0, nodes, silent)
    }

    /// How this node stands, with one page of its proxies.
    pub(crate) fn status(&self, proxies: Page) -> NodeStatus {
        let controller = self.store.controller();
        let (proxies, next_proxy) = self.feed.proxies(proxies);
        NodeStatus {
            node: self.me().0,
            role: role_name(self.core.role()).to_owned(),
            controller: self.run.is_some(),
            healthy: self.is_healthy(),
            term: self.core.term().0,
            leader: self.core.leader().map(|leader| leader.0),
            controller_node: controller.map(|(node, _)| node.0),
            controller_epoch: controller.map_or(0, |(_, epoch)| epoch),
            last_index: self.core.last_index().0,
            commit_index: self.core.commit_index().0,
            applied_index: self.core.applied_index().0,
            revision: self.store.revision(),
            generation: fed_generation(&self.store).map(Into::into),
            stale: self.feed.is_stale(),
            objects: self.store.config().len() as u64,
            understands: Understands::this_build(RAFT_VERSIONS),
            proxies_attached: self.feed.attached(),
            proxies,
            next_proxy,
            providers: self
                .run
                .as_ref()
                .map(|run| run.providers.values().cloned().collect())
                .unwrap_or_default(),
            longest_event: self.longest(),
            halted: self.halted.clone(),
        }
    }

    fn longest(&self) -> LongestEvent {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let (event, span) = self.longest_event;
        LongestEvent {
            event: event.to_owned(),
            micros: micros(span),
            election_timeout_micros: micros(self.options.params.election_timeout_min),
        }
    }
}

/// Who may decide about a kind of request.
enum Decider {
    Anyone,
    /// Any node that has caught up.
    Healthy,
    Leader,
    Controller,
}

fn decider_of(request: &Request) -> Decider {
    match request {
        Request::Apply { .. } | Request::Delete { .. } => Decider::Controller,
        Request::Get { consistency: Consistency::Linearizable, .. } => Decider::Healthy,
        Request::Propose { .. }
        | Request::Nodes
        | Request::ChangeNode(_)
        | Request::TransferLeader { .. } => Decider::Leader,
        Request::Get { .. } | Request::Status { .. } | Request::Events { .. } => Decider::Anyone,
    }
}

fn role_name(role: RoleName) -> &'static str {
    match role {
        RoleName::Follower => "follower",
        RoleName::PreCandidate => "preCandidate",
        RoleName::Candidate => "candidate",
        RoleName::Leader => "leader",
    }
}

/// One record as `Get` shows it. A record that this version cannot read is shown as one, not left out.
fn view(key: &str, bytes: &[u8]) -> ObjectView {
    let record = codec::decode::<RecordWire>(RECORD_VERSION, bytes)
        .map_err(|error| error.to_string())
        .and_then(|wire| Record::from_wire(wire).map_err(|error| error.to_string()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match record {
        Ok(record) => ObjectView {
            key: key.to_owned(),
            state: record.status.state.as_str().to_owned(),
            errors: record.status.errors,
            object: text(&record.object.bytes),
            last_good: record.last_good.map(|object| text(&object.bytes)),
        },
        Err(error) => ObjectView {
            key: key.to_owned(),
            state: "disabled".to_owned(),
            errors: vec![format!("this version cannot read the record: {error}")],
            object: String::new(),
            last_good: None,
        },
    }
}
