//! The members, as this node carries them out: whom it dials and hears, what the leader does about what is wanted, requests
//! about control nodes, hand-overs, and the end of a node that was removed.
//!
//! It must not decide which set of members follows (`members` does) nor who leads (the core does).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ravelin_config::feed::{ADDRESS_BYTES_MAX, CONTROL_NODES_MAX, ControlNode, ControlPlane};
use ravelin_consensus::{
    Configuration, Incarnation, Input, NodeId, Params, PeerMode, ProposalId, RoleName, Term, Time,
};

use super::event::{Action, Actions, Directory};
use super::timers::{after, between};
use super::{Node, Proposer};
use crate::api::{PendingId, ReplyTo, State};
use crate::members::{self, NodeRecord, Records, Sight, Step};
use crate::request::nodes::{Leadership, NodeChange, NodeContact};
use crate::request::status::EventKind;
use crate::request::{Envelope, Refusal, RefusalReason, Request, RequestId, Response};
use crate::store::{Applied, ChangeId};

mod changes;

/// A node has caught up while the leader has at most so many committed entries that it does not hold.
const BEHIND_MAX: u64 = 1024;
/// How long a node that was removed still answers what is under way.
const REMOVED_GRACE: Duration = Duration::from_millis(500);
/// How long to wait before this node says again where it is dialled.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(5);
/// Most nodes whose own word on their address is kept.
const GREETINGS_MAX: usize = 64;

/// What a node keeps about the members beside the core and the state.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// As of the revision beside them.
    records: Records,
    read_at: Option<u64>,
    /// The revision that last changed a record.
    recorded_at: u64,
    /// Where nodes said they are dialled, each in which life.
    greetings: BTreeMap<NodeId, (Incarnation, String)>,
    /// What the shell was told last.
    told: Option<Directory>,
    /// Something changed on which that depends.
    is_stale: bool,
    /// The change of a record that is on its way through the log: one at a time, so that each is judged by what the one
    /// before has left.
    proposed: Option<ChangeId>,
    /// Requests that wait until the members are as they ask, and whether anything must be written for them first.
    settling: Vec<(PendingId, bool)>,
    handing: Option<Handing>,
    /// In this term a hand-over did not come about.
    kept_in: Option<Term>,
    announced: Option<Time>,
    /// The members do not name this node any more: when it ends.
    ends: Option<Time>,
}

/// Leadership on its way to another node.
#[derive(Debug)]
struct Handing {
    to: NodeId,
    term: Term,
    /// Who asked; none if the leader does it of its own accord.
    request: Option<PendingId>,
}

impl Node {
    /// What may follow from any event; cheap where nothing does.
    pub(super) fn look_after_members(&mut self, now: Time, actions: &mut Actions) {
        let revision = self.store.revision();
        if self.membership.read_at != Some(revision) {
            self.membership.read_at = Some(revision);
            let (records, at) = members::records(&self.store);
            self.membership.is_stale |= records != self.membership.records;
            self.membership.records = records;
            self.membership.recorded_at = at;
        }
        if self.membership.is_stale {
            self.tell_directory(now, actions);
        }
        self.settle_members(now, actions);
        self.settle_hand_over(now, actions);
    }

    /// The regular look.
    pub(super) fn tick_members(&mut self, now: Time, actions: &mut Actions) {
        self.tell_directory(now, actions);
        if self.membership.ends.is_some_and(|at| at <= now) {
            let reason = "this node was removed from the cluster: the log says so. Its data directory and identity file \
                          are of no use any more";
            return self.halt(now, reason.to_owned(), actions);
        }
        if self.core.role() == RoleName::Leader && self.is_healthy() {
            self.advance_members(now);
        }
        self.announce(now, actions);
    }

    /// Members of the cluster refuse this node for having been removed.
    pub(super) fn told_removed(&mut self, now: Time, by: NodeId, actions: &mut Actions) {
        // Who has a leader is one of a quorum that stands: a recovery beside it was a mistake, which must not take it down.
        if self.core.leader().is_some() {
            return;
        }
        let reason = format!(
            "this node was removed from the cluster: controller {by} says so. Its data directory and identity file are of \
             no use any more; to have it back, make it a new identity (ravelin init --add) and start with an empty \
             directory"
        );
        self.halt(now, reason, actions);
    }

    /// A node said where it is dialled: a moved one cannot be reached at what the log says of it, nor can one that the log
    /// does not name yet.
    pub(super) fn greeted(&mut self, from: NodeId, life: Incarnation, address: String) {
        if self.core.configuration().incarnation(from).is_some_and(|admitted| admitted != life) {
            return;
        }
        let greetings = &mut self.membership.greetings;
        let greeting = (life, address);
        let is_news = greetings.get(&from) != Some(&greeting);
        let has_room = greetings.len() < GREETINGS_MAX || greetings.contains_key(&from);
        if is_news && has_room && greeting.1.len() <= ADDRESS_BYTES_MAX {
            greetings.insert(from, greeting);
            self.membership.is_stale = true;
        }
    }

    /// Whether the log, or this node's configuration, names a control node.
    pub(super) fn names(&self, node: NodeId) -> bool {
        self.core.configuration().incarnation(node).is_some()
            || self.membership.records.get(&node).is_some_and(NodeRecord::is_wanted)
    }

    fn tell_directory(&mut self, now: Time, actions: &mut Actions) {
        self.membership.is_stale = false;
        let directory = self.directory();
        if self.membership.told.as_ref() != Some(&directory) {
            self.membership.told = Some(directory.clone());
            actions.push(Action::Directory(directory));
        }
        let plane = self.control_plane();
        self.with_feed(|feed, source| feed.set_control_plane(now, plane, source, actions));
    }

    /// What proxies are told: every member by what is recorded of it, the same from whichever node they hear it.
    fn control_plane(&self) -> ControlPlane {
        let Params { cluster, recovery_epoch, incarnation, .. } = *self.options.params;
        let contacts = &self.options.contacts;
        let address = |node: &NodeId| {
            let recorded = self.membership.records.get(node).map(|record| &record.address);
            let recorded = recorded.filter(|address| !address.is_empty());
            let own = contacts.own.as_ref().filter(|_| *node == self.me());
            recorded.or_else(|| own.or(contacts.hints.get(node)).map(|contact| &contact.address)).cloned()
        };
        let wanted = self.membership.records.iter().filter(|(_, record)| record.is_wanted());
        let members: BTreeSet<NodeId> =
            self.core.configuration().members().chain(wanted.map(|(node, _)| *node)).collect();
        let nodes = members.iter().filter_map(|node| {
            let address = address(node).filter(|address| address.len() <= ADDRESS_BYTES_MAX)?;
            Some(ControlNode { node: node.0, address })
        });
        ControlPlane {
            cluster: cluster.0,
            recovery_epoch: recovery_epoch.0,
            incarnation: incarnation.0,
            as_of: self.membership.recorded_at,
            nodes: nodes.take(CONTROL_NODES_MAX).collect(),
        }
    }

    /// Whom to dial and whom to hear.
    fn directory(&self) -> Directory {
        let (me, config) = (self.me(), self.core.configuration());
        let Membership { records, greetings, .. } = &self.membership;
        let hints = &self.options.contacts.hints;
        let strangers = !self.is_healthy();
        let mut named: BTreeSet<NodeId> = config.members().collect();
        let is_told_nothing = named.is_empty();
        named.extend(records.iter().filter(|(_, record)| record.is_wanted()).map(|(node, _)| *node));
        named.extend(self.core.leader());
        if is_told_nothing {
            named.extend(hints.keys());
        }
        let mut dialled = named.clone();
        if strangers {
            dialled.extend(greetings.keys());
        }
        let address = |node: &NodeId| {
            let recorded =
                records.get(node).map(|record| &record.address).filter(|address| !address.is_empty());
            // What a node says of itself is newer than what was written down when it said so before.
            let life = records.get(node).map(NodeRecord::life).or(config.incarnation(*node));
            let told = greetings.get(node).filter(|(told, _)| life.is_none_or(|life| life == *told));
            let told = told.map(|(_, address)| address).or(recorded);
            told.or_else(|| hints.get(node).map(|hint| &hint.address)).cloned()
        };
        let key = |node: &NodeId| match records.get(node).filter(|record| record.is_wanted()) {
            Some(record) => record.public_key_sha256,
            None => hints.get(node).and_then(|hint| hint.public_key_sha256),
        };
        let removed = records.iter().filter(|(_, record)| !record.is_wanted());
        let removed = removed.filter_map(|(node, record)| Some((*node, record.public_key_sha256?)));
        let removed = removed.chain(members::former(&self.store)).filter(|(node, _)| !named.contains(node));
        Directory {
            dial: dialled
                .iter()
                .filter(|node| **node != me)
                .filter_map(|node| Some((*node, address(node)?)))
                .collect(),
            keys: named.iter().filter_map(|node| Some((*node, key(node)?))).collect(),
            removed: removed.collect(),
            named,
            strangers,
        }
    }

    /// Members that answer this leader and have caught up, itself included.
    pub(super) fn ready(&self, now: Time) -> BTreeSet<NodeId> {
        let commit = self.core.commit_index().0;
        let close = self.core.peers().filter(|peer| {
            peer.mode == PeerMode::Replicate && peer.matched.0.saturating_add(BEHIND_MAX) >= commit
        });
        let close: BTreeSet<NodeId> = close.map(|peer| peer.id).collect();
        let well = self.roles.well(now).filter(|node| close.contains(node));
        well.chain([self.me()]).collect()
    }

    /// The leader brings the members closer to what is wanted, one change at a time.
    fn advance_members(&mut self, now: Time) {
        if self.membership.handing.is_some() {
            return;
        }
        let (ready, term) = (self.ready(now), self.core.term());
        let sight = Sight {
            records: &self.membership.records,
            members: self.core.configuration(),
            me: self.me(),
            ready: &ready,
            may_hand_over: self.membership.kept_in != Some(term),
        };
        match sight.next() {
            None => {}
            Some(Step::HandOver(to)) => self.hand_leadership(now, to, None),
            Some(Step::Change(changes)) => {
                let id = ProposalId(self.number());
                self.proposals.insert(id, Proposer::Roles);
                self.step(now, Input::Change { id, changes });
            }
        }
    }

    fn hand_leadership(&mut self, now: Time, to: NodeId, request: Option<PendingId>) {
        self.membership.handing = Some(Handing { to, term: self.core.term(), request });
        self.step(now, Input::Transfer(to));
    }

    /// The core gave the hand-over up: this node goes on, or somebody else leads.
    pub(super) fn hand_over_failed(&mut self, now: Time, to: NodeId, actions: &mut Actions) {
        let Some(handing) = self.membership.handing.take_if(|handing| handing.to == to) else { return };
        self.membership.kept_in = Some(handing.term);
        let Some(request) = handing.request else { return };
        let response = match self.core.leader() {
            Some(leader) => self.leads(leader, to),
            None => Response::Unknown { reason: "no leader is known; leadership may have moved".to_owned() },
        };
        self.answer(now, request, response, actions);
    }

    /// Answers a hand-over once somebody else leads.
    fn settle_hand_over(&mut self, now: Time, actions: &mut Actions) {
        let Some(Handing { to, request, term }) = &self.membership.handing else { return };
        let (to, request) = (*to, *request);
        if self.core.role() == RoleName::Leader && self.core.term() != *term {
            // It lost the leadership in between, for another reason, and has it again.
            return self.hand_over_failed(now, to, actions);
        }
        match self.core.leader() {
            Some(leader) if leader != self.me() => {
                self.membership.handing = None;
                if let Some(request) = request {
                    let response = self.leads(leader, to);
                    self.answer(now, request, response, actions);
                }
            }
            _ => {}
        }
    }

    fn leads(&self, leader: NodeId, wanted: NodeId) -> Response {
        Response::Leads(Leadership { leader: leader.0, term: self.core.term().0, wanted: wanted.0 })
    }

    /// `TransferLeader`, on the leader.
    pub(super) fn transfer_leader(
        &mut self,
        now: Time,
        request: PendingId,
        to: Option<u64>,
        actions: &mut Actions,
    ) {
        let me = self.me();
        if self.membership.handing.is_some() {
            return self.api.wait_again(now, request);
        }
        let asked_before = self.api.get_mut(request).is_some_and(|pending| pending.may_take_effect);
        let ready = self.ready(now);
        let voters = &self.core.configuration().voters;
        let heir = match to.map(NodeId) {
            Some(to) if to == me => return self.answer(now, request, self.leads(me, me), actions),
            Some(to) if voters.contains_key(&to) => Ok(to),
            Some(to) => Err(format!("controller {to} is no voter, so it cannot lead")),
            None if asked_before => {
                let reason =
                    "the leader that was asked is gone; leadership may have moved because of it".to_owned();
                return self.answer(now, request, Response::Unknown { reason }, actions);
            }
            None => {
                let heirs = voters.keys().copied().filter(|node| *node != me && ready.contains(node));
                heirs.min().ok_or_else(|| "no other voter has caught up, so none can lead".to_owned())
            }
        };
        match heir {
            Ok(to) => {
                self.api.set_state(request, State::InCore);
                self.hand_leadership(now, to, Some(request));
            }
            Err(problem) => {
                let refusal = Refusal::new(RefusalReason::BadRequest, problem);
                self.answer(now, request, Response::Refused(refusal), actions);
            }
        }
    }

    pub(super) fn sight_of<T>(&self, now: Time, use_it: impl FnOnce(&Sight<'_>) -> T) -> T {
        let ready = self.ready(now);
        use_it(&Sight {
            records: &self.membership.records,
            members: self.core.configuration(),
            me: self.me(),
            ready: &ready,
            may_hand_over: true,
        })
    }

    /// What the log decided about the record that was on its way.
    pub(super) fn member_decided(&mut self, applied: &Applied) {
        let id = match applied {
            Applied::Changed { id, .. } | Applied::Unchanged { id, .. } | Applied::Duplicate { id, .. } => {
                Some(*id)
            }
            Applied::Refused { id, .. } => *id,
            _ => None,
        };
        if id.is_some() && id == self.membership.proposed {
            self.membership.proposed = None;
        }
    }

    /// A record was not taken by the core.
    pub(super) fn member_rejected(&mut self) {
        self.membership.proposed = None;
    }

    /// Role, term or leader changed: what waits here is the next leader's to settle.
    pub(super) fn members_led_anew(&mut self, now: Time) {
        self.membership.is_stale = true;
        if self.core.role() != RoleName::Leader {
            self.membership.proposed = None;
            for (request, _) in std::mem::take(&mut self.membership.settling) {
                self.api.wait_again(now, request);
            }
        }
    }

    /// Another set of members is committed and applied.
    pub(super) fn apply_members(&mut self, now: Time, members: Configuration, actions: &mut Actions) {
        let me = self.me();
        let before = std::mem::replace(&mut self.applied_members, members.clone());
        self.membership.is_stale = true;
        if members.is_joint() || before == members {
            return;
        }
        let numbers = |part: &BTreeMap<NodeId, Incarnation>| part.keys().map(|node| node.0).collect();
        let (voters, spares) = (numbers(&members.voters), numbers(&members.learners));
        self.note(now, EventKind::MembersChanged { voters, spares }, actions);
        // A node that joins replays the log from before it was a member; only the end of its membership is one.
        let was_member = before.incarnation(me) == Some(self.options.params.incarnation);
        self.membership.ends = match members.incarnation(me) {
            None if was_member => Some(after(now, REMOVED_GRACE)),
            _ => None,
        };
    }

    /// Says where this node is dialled, where the log does not.
    fn announce(&mut self, now: Time, actions: &mut Actions) {
        let Some(own) = &self.options.contacts.own else { return };
        let Some(key) = own.public_key_sha256 else { return };
        let (me, life) = (self.me(), self.options.params.incarnation);
        let is_known = self.membership.records.get(&me).is_some_and(|record| {
            !record.is_wanted() || (record.address == own.address && record.incarnation == life.0)
        });
        let waits = self.membership.announced.is_some_and(|at| between(at, now) < ANNOUNCE_INTERVAL);
        if is_known || waits || !self.is_healthy() || self.core.configuration().incarnation(me) != Some(life)
        {
            return;
        }
        let contact = NodeContact {
            node: me.0,
            recovery_epoch: self.options.params.recovery_epoch.0,
            incarnation: life.0,
            address: own.address.clone(),
            public_key_sha256: key.to_vec(),
        };
        self.membership.announced = Some(now);
        let envelope = Envelope {
            id: RequestId(self.random.id()),
            hops: 0,
            deadline_millis: u32::try_from(ANNOUNCE_INTERVAL.as_millis()).unwrap_or(u32::MAX),
            author: format!("controller-{me}"),
            request: Request::ChangeNode(NodeChange::Announce { contact }),
            since: None,
        };
        self.request(now, ReplyTo::Nobody, true, envelope, actions);
    }
}
