//! Requests about control nodes, on the leader: judged against what is recorded, written into the log, answered once the
//! members are as asked. It must not change the members: what is wanted is recorded, and the leader follows it.

use std::collections::{BTreeMap, BTreeSet};

use ravelin_consensus::{Input, NodeId, ProposalId, Time};

use crate::api::{PendingId, State};
use crate::members::{self, ADDRESS_BYTES_MAX, NODES_MAX, NodeRecord, Wanted};
use crate::node::event::Actions;
use crate::node::{Node, Proposer};
use crate::request::nodes::{NodeChange, NodeContact, NodeList, NodePart, NodeView};
use crate::request::{Refusal, RefusalReason, Request, Response};
use crate::store::{Author, Change, ChangeId, Command, Put, StoreKey};

impl Node {
    /// `ChangeNode`, on the leader: writes what is wanted into the log, then waits until the members are so.
    pub(in crate::node) fn change_node(
        &mut self,
        now: Time,
        request: PendingId,
        change: &NodeChange,
        actions: &mut Actions,
    ) {
        let Some(pending) = self.api.get_mut(request) else { return };
        let (id, author) = (ChangeId(pending.envelope.id.0), pending.envelope.author.clone());
        if !self.is_healthy() || self.membership.proposed.is_some() {
            return self.api.wait_again(now, request);
        }
        if self.store.outcome(&id).is_some() {
            return self.settle_later(request);
        }
        let record = match self.judge_change(now, change) {
            Ok(Some(record)) => record,
            Ok(None) => return self.settle_later(request),
            Err(problem) => {
                let refusal = Refusal::new(RefusalReason::BadRequest, problem);
                return self.answer(now, request, Response::Refused(refusal), actions);
            }
        };
        let key = members::record_key(NodeId(change.node()));
        let put = record.encode().ok().zip(StoreKey::new(&key).ok());
        let Some((bytes, key)) = put else {
            let refusal = Refusal::new(RefusalReason::BadRequest, "the record cannot be written");
            return self.answer(now, request, Response::Refused(refusal), actions);
        };
        let command = Command::Change(Change {
            id,
            author: Author::Operator { name: author },
            at_unix_ms: now.micros / 1000,
            base: None,
            puts: vec![Put::new(key, bytes.into())],
            deletes: Vec::new(),
        });
        let Ok(payload) = command.encode() else { return self.api.wait_again(now, request) };
        self.membership.proposed = Some(id);
        self.api.set_state(request, State::InCore);
        let proposal = ProposalId(self.number());
        self.proposals.insert(proposal, Proposer::Member(request));
        self.step(now, Input::Propose { id: proposal, payload });
    }

    fn settle_later(&mut self, request: PendingId) {
        self.api.set_state(request, State::InCore);
        self.membership.settling.push((request, false));
    }

    /// The core's word on a record that was proposed for a request.
    pub(in crate::node) fn member_accepted(&mut self, request: PendingId) {
        if let Some(pending) = self.api.get_mut(request) {
            pending.may_take_effect = true;
        }
        self.membership.settling.push((request, true));
    }

    /// The record that a change leads to; none where it stands so already. An error is for people.
    fn judge_change(&self, now: Time, change: &NodeChange) -> Result<Option<NodeRecord>, String> {
        let node = NodeId(change.node());
        let record = self.membership.records.get(&node);
        let life = self.core.configuration().incarnation(node);
        let unknown = || format!("controller {node} is not a member of the cluster");
        match change {
            NodeChange::Add { contact, votes } => self.judge_addition(node, contact, *votes),
            NodeChange::Announce { contact } => {
                if life.is_none_or(|life| life.0 != contact.incarnation) {
                    return Err(unknown());
                }
                let new = self.record_of(contact, Wanted::Voter)?;
                match record {
                    Some(old) if !old.is_wanted() || old.incarnation != new.incarnation => Err(unknown()),
                    Some(old) if old.address == new.address => Ok(None),
                    Some(old) => Ok(Some(NodeRecord { address: new.address, ..old.clone() })),
                    None => Ok(Some(new)),
                }
            }
            NodeChange::Remove { force, .. } => {
                if record.is_none() && life.is_none() {
                    return Err(unknown());
                }
                let wanted = Wanted::Removed { force: *force };
                if record.is_some_and(|record| record.wanted == wanted || (!record.is_wanted() && !force)) {
                    return Ok(None);
                }
                self.sight_of(now, |sight| sight.check_removal(node, *force))?;
                Ok(Some(self.wanted_so(node, wanted).ok_or_else(unknown)?))
            }
            NodeChange::Promote { .. } | NodeChange::Demote { .. } => {
                let votes = matches!(change, NodeChange::Promote { .. });
                let wanted = if votes { Wanted::Voter } else { Wanted::Spare };
                if !self.names(node) || record.is_some_and(|record| !record.is_wanted()) {
                    return Err(unknown());
                }
                if record.is_some_and(|record| record.wanted == wanted) {
                    return Ok(None);
                }
                if !votes {
                    self.sight_of(now, |sight| sight.check_removal(node, false))?;
                }
                Ok(Some(self.wanted_so(node, wanted).ok_or_else(unknown)?))
            }
        }
    }

    fn judge_addition(
        &self,
        node: NodeId,
        contact: &NodeContact,
        votes: bool,
    ) -> Result<Option<NodeRecord>, String> {
        let new = self.record_of(contact, if votes { Wanted::Voter } else { Wanted::Spare })?;
        let record = self.membership.records.get(&node);
        let known = record.map(|record| record.incarnation);
        let known = known.or_else(|| self.core.configuration().incarnation(node).map(|life| life.0));
        match (record, known) {
            (Some(old), _) if !old.is_wanted() && old.incarnation >= new.incarnation => Err(format!(
                "controller {node} was removed, and this identity of it with it: make it a new one with ravelin init --add"
            )),
            (Some(old), _) if !old.is_wanted() && self.core.configuration().incarnation(node).is_some() => {
                Err(format!("the earlier controller {node} is still on its way out"))
            }
            (Some(old), _) if !old.is_wanted() => self.within_bounds(new),
            (Some(old), _) if old.incarnation == new.incarnation => {
                if old.public_key_sha256.is_some() && old.public_key_sha256 != new.public_key_sha256 {
                    return Err(format!("controller {node} is a member with another key"));
                }
                Ok((*old != new).then_some(new))
            }
            (None, Some(life)) if life == new.incarnation => Ok(Some(new)),
            (_, Some(_)) => Err(format!(
                "controller {node} is a member under an earlier identity: remove it first (ravelin node remove {node})"
            )),
            (_, None) => self.within_bounds(new),
        }
    }

    fn within_bounds(&self, new: NodeRecord) -> Result<Option<NodeRecord>, String> {
        let wanted = self.membership.records.values().filter(|record| record.is_wanted()).count();
        if wanted >= NODES_MAX {
            return Err(format!("there are {wanted} control nodes; {NODES_MAX} are the most"));
        }
        Ok(Some(new))
    }

    fn record_of(&self, contact: &NodeContact, wanted: Wanted) -> Result<NodeRecord, String> {
        let NodeContact { node, recovery_epoch, incarnation, address, public_key_sha256 } = contact;
        let own = self.options.params.recovery_epoch.0;
        if *recovery_epoch != own {
            return Err(format!(
                "the identity of controller {node} is of recovery epoch {recovery_epoch}, and the cluster is in epoch {own}: make \
                 it anew, with ravelin init --add and --epoch {own}"
            ));
        }
        if *node == 0 || address.is_empty() || address.len() > ADDRESS_BYTES_MAX {
            return Err(format!("controller {node} at {address:.80?} makes no sense"));
        }
        let key = <[u8; 32]>::try_from(public_key_sha256.as_slice());
        Ok(NodeRecord {
            recovery_epoch: self.store.recovery_epoch(),
            incarnation: *incarnation,
            address: address.clone(),
            public_key_sha256: Some(key.map_err(|_| "a key's SHA-256 has 32 bytes".to_owned())?),
            wanted,
        })
    }

    /// What is recorded of a member, with this wanted of it.
    fn wanted_so(&self, node: NodeId, wanted: Wanted) -> Option<NodeRecord> {
        if let Some(record) = self.membership.records.get(&node) {
            return Some(NodeRecord { wanted, ..record.clone() });
        }
        let hint = self.options.contacts.hints.get(&node);
        Some(NodeRecord {
            recovery_epoch: self.store.recovery_epoch(),
            incarnation: self.core.configuration().incarnation(node)?.0,
            address: hint.map(|hint| hint.address.clone()).unwrap_or_default(),
            public_key_sha256: hint.and_then(|hint| hint.public_key_sha256),
            wanted,
        })
    }

    /// Answers what waits until the members are as asked.
    pub(super) fn settle_members(&mut self, now: Time, actions: &mut Actions) {
        if self.membership.settling.is_empty() {
            return;
        }
        let mut waiting = std::mem::take(&mut self.membership.settling);
        waiting.retain(|(request, writes)| {
            let Some(pending) = self.api.get_mut(*request) else { return false };
            let Request::ChangeNode(change) = pending.envelope.request.clone() else { return false };
            let is_written = !writes || self.store.outcome(&ChangeId(pending.envelope.id.0)).is_some();
            if is_written && self.is_so(&change) {
                let response = Response::Nodes(self.node_list(now));
                self.answer(now, *request, response, actions);
                return false;
            }
            true
        });
        self.membership.settling.extend(waiting);
    }

    /// Whether the applied members are as a change asks.
    fn is_so(&self, change: &NodeChange) -> bool {
        let node = NodeId(change.node());
        let life = self.applied_members.incarnation(node);
        let Some(record) = self.membership.records.get(&node) else { return false };
        match change {
            NodeChange::Add { contact, .. } => {
                record.incarnation != contact.incarnation || life == Some(record.life())
            }
            NodeChange::Announce { contact } => record.address == contact.address || !record.is_wanted(),
            NodeChange::Remove { .. } => {
                (record.is_wanted() || life.is_none()) && !self.applied_members.is_joint()
            }
            NodeChange::Promote { .. } => true,
            NodeChange::Demote { .. } => {
                record.wanted != Wanted::Spare
                    || (!self.applied_members.is_joint() && !self.applied_members.voters.contains_key(&node))
            }
        }
    }

    /// The control nodes, as this leader knows them.
    pub(in crate::node) fn node_list(&self, now: Time) -> NodeList {
        let (ready, members) = (self.ready(now), self.core.configuration());
        let records = &self.membership.records;
        let wanted = records.iter().filter(|(_, record)| record.is_wanted()).map(|(node, _)| *node);
        let all: BTreeSet<NodeId> = members.members().chain(wanted).collect();
        let last = self.core.last_index().0;
        let behind: BTreeMap<NodeId, u64> =
            self.core.peers().map(|peer| (peer.id, last.saturating_sub(peer.matched.0))).collect();
        let view = |node: NodeId| {
            let record = records.get(&node);
            let life = members.incarnation(node);
            let is_leaving = record.is_some_and(|record| !record.is_wanted() || Some(record.life()) != life);
            let part = match life {
                None => NodePart::Joining,
                Some(_) if is_leaving => NodePart::Leaving,
                Some(_) if members.voters.contains_key(&node) => NodePart::Voter,
                Some(_) => NodePart::Spare,
            };
            NodeView {
                node: node.0,
                incarnation: record.map(|record| record.incarnation).or(life.map(|life| life.0)).unwrap_or(0),
                address: record.map(|record| record.address.clone()).unwrap_or_default(),
                part,
                wants_vote: record.is_none_or(|record| record.wanted == Wanted::Voter),
                ready: ready.contains(&node),
                behind: behind.get(&node).copied(),
            }
        };
        NodeList {
            leader: self.me().0,
            term: self.core.term().0,
            recovery_epoch: self.options.params.recovery_epoch.0,
            nodes: all.into_iter().map(view).collect(),
        }
    }
}
