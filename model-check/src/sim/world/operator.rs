//! The operators of a run: leadership handed over, members that come and go, by the very requests that the CLI makes. What
//! they are told must be so. It must not change members by itself.

use ravelin_cluster::request::nodes::{Leadership, NodeChange, NodeContact};
use ravelin_cluster::request::{Request, RequestId};

use super::*;
use crate::sim::station::Ending;

/// How long an operator waits for an answer.
const PATIENCE_MILLIS: u32 = 1_500;

/// How often a node that was removed dials the others.
const REFUSED_MICROS: u64 = 700_000;

/// What an operator has asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Errand {
    /// That another one lead.
    HandOver,
    /// That a node of this life be a member.
    Add(u64, u64),
    /// That it be none.
    Remove(u64, u64),
    /// That a member vote, or stand back.
    Votes,
}

impl World {
    /// An operator asks a node that another one lead.
    pub(super) fn ask_to_hand_over(&mut self, node: u64, other: u64) {
        self.send_operator(node, Errand::HandOver, Request::TransferLeader { to: Some(other) });
    }

    /// An operator asks a node that something else is wanted of another one.
    pub(super) fn ask_for_members(&mut self, node: u64, other: u64, wish: u64) {
        let (number, life) = self.station(other).identity();
        let contact = NodeContact {
            node: number,
            recovery_epoch: 0,
            incarnation: life,
            address: format!("node-{number}:1"),
            public_key_sha256: vec![u8::try_from(number ^ life << 4).unwrap_or(0); 32],
        };
        let (errand, change) = match wish {
            0 | 1 => (Errand::Add(number, life), NodeChange::Add { contact, votes: wish == 0 }),
            2 => (Errand::Remove(number, life), NodeChange::Remove { node: number, force: false }),
            3 => (Errand::Votes, NodeChange::Promote { node: number }),
            _ => (Errand::Votes, NodeChange::Demote { node: number }),
        };
        if let Errand::Remove(number, life) = errand {
            self.removals.insert((number, life));
        }
        self.send_operator(node, errand, Request::ChangeNode(change));
    }

    fn send_operator(&mut self, node: u64, errand: Errand, request: Request) {
        let station = self.station(node).number as usize - 1;
        if self.stations[station].machine.is_none() {
            return;
        }
        let (life, ticket) = (self.stations[station].life, self.next_number());
        let mut id = [0xff; 16];
        id[..8].copy_from_slice(&ticket.to_le_bytes());
        let envelope = Envelope {
            id: RequestId(id),
            hops: 0,
            deadline_millis: PATIENCE_MILLIS,
            author: "operator-1".to_owned(),
            since: None,
            request,
        };
        self.errands.insert((station, ticket), errand);
        let event = Event::Request { ticket: TicketId(ticket), envelope };
        self.at(self.now, Happening::Node { station, life, event });
    }

    /// An answer to an operator.
    ///
    /// # Errors
    /// It is not so: who is said to lead has never led, who is said to be a member or none is not.
    pub(super) fn told_operator(&mut self, errand: Errand, response: &Response) -> Result<(), String> {
        match (errand, response) {
            (Errand::HandOver, Response::Leads(Leadership { leader, term, wanted })) => {
                let mark = if leader == wanted { Mark::HandedOver } else { Mark::NotHandedOver };
                self.report.count(mark, 1);
                return self.oracle.led(*term, *leader);
            }
            (Errand::HandOver, Response::Nodes(_)) | (_, Response::Leads(_)) => {
                return Err(format!("{errand:?} was answered {response:?}"));
            }
            (_, Response::Refused(_)) => {
                let mark = if matches!(errand, Errand::HandOver) {
                    Mark::NotHandedOver
                } else {
                    Mark::MembersRefused
                };
                self.report.count(mark, 1);
            }
            (_, Response::Nodes(_)) => self.report.count(Mark::MembersChanged, 1),
            (_, Response::Unavailable { .. } | Response::Unknown { .. }) => return Ok(()),
            _ => return Err(format!("{errand:?} was answered {response:?}")),
        }
        match errand {
            Errand::Add(node, life) if matches!(response, Response::Nodes(_)) => {
                // Somebody may want it to go again.
                let is_so = self.oracle.is_member((node, life)) || self.removals.contains(&(node, life));
                if is_so { Ok(()) } else { Err(format!("node {node} was said to be a member, and is none")) }
            }
            Errand::Remove(node, life)
                if matches!(response, Response::Nodes(_)) && self.oracle.is_member((node, life)) =>
            {
                Err(format!("node {node} was said to be removed, and is a member"))
            }
            _ => Ok(()),
        }
    }

    /// A node has ended because it was removed. Somebody sets its machine up as a new one.
    ///
    /// # Errors
    /// It is a member.
    pub(super) fn removed(&mut self, station: usize) -> Result<(), String> {
        let identity = self.stations[station].identity();
        if !self.oracle.is_former(identity) {
            return Err(format!("node {} ended as removed, and nobody has removed it", station + 1));
        }
        self.report.count(Mark::Removed, 1);
        self.end(station, Ending::Kill);
        self.stations[station].renew(&self.plan);
        Ok(())
    }

    /// Who is no member any more hears so from the first that it reaches and that knows: it dials those whom it takes for
    /// members again and again.
    pub(super) fn refuse_removed(&mut self) {
        for station in 0..self.stations.len() {
            let held = &self.stations[station];
            if held.machine.is_none() || !(held.given_up || self.oracle.is_former(held.identity())) {
                continue;
            }
            let Some(by) = (0..self.stations.len()).find(|other| self.refuses(*other, station)) else {
                continue;
            };
            self.report.count(Mark::ToldRemoved, 1);
            let (life, by) = (self.stations[station].life, NodeId(self.stations[by].number));
            let event = Event::RefusedAsRemoved { by };
            self.after(LINK_MICROS, Happening::Node { station, life, event });
        }
        self.after(REFUSED_MICROS, Happening::Refusals);
    }

    /// Whether a member knows that another node is none any more, and is reached by it.
    fn refuses(&self, member: usize, removed: usize) -> bool {
        let (held, gone) = (&self.stations[member], &self.stations[removed]);
        let is_member = !held.given_up && self.oracle.is_member(held.identity());
        let Some(machine) = held.machine.as_ref().filter(|_| is_member) else { return false };
        let (node, life) = gone.identity();
        let known = machine.node().core().configuration().incarnation(NodeId(node));
        let knows = gone.given_up || known.is_none_or(|known| known.0 != life);
        knows && !self.is_cut(removed, member)
    }
}
