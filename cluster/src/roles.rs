//! Who is what: whether this node has caught up, and, on the leader, which node is the controller.
//! It must not start providers or write to the log: the node does what is decided here.

use std::collections::BTreeMap;
use std::time::Duration;

use ravelin_consensus::{Configuration, Index, NodeId, Term, Time};

use crate::node::timers::between;
use crate::node::wire::Presence;

/// How long the leader goes without a sign of life before it takes a controller for lost.
pub const CONTROLLER_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long a new leader looks for a healthy node besides itself before it appoints itself.
pub const APPOINT_GRACE: Duration = Duration::from_millis(600);
/// How long an appointment may be on its way before it is proposed again.
const APPOINT_RETRY: Duration = Duration::from_millis(1000);
/// How long a node may know no leader before it calls what it feeds stale.
pub const STALE_AFTER: Duration = Duration::from_secs(2);

/// What the node knows of itself when it asks for a decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'a> {
    /// This node.
    pub(crate) me: NodeId,
    /// Its term.
    pub(crate) term: Term,
    /// The leader it knows.
    pub(crate) leader: Option<NodeId>,
    /// Last entry in the state machine.
    pub(crate) applied: Index,
    /// Term of that entry.
    pub(crate) applied_term: Term,
    /// The members.
    pub(crate) members: &'a Configuration,
    /// The controller that the applied state names, and its epoch.
    pub(crate) controller: Option<(NodeId, u64)>,
}

/// What the leader decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appointment {
    /// The new controller.
    pub(crate) node: NodeId,
    /// Its epoch: one more than the last.
    pub(crate) epoch: u64,
    /// The controller that was found silent, unless it was reported before.
    pub(crate) lost: Option<(NodeId, u64)>,
}

/// The soft state behind the decisions. None of it survives a restart.
#[derive(Debug, Default)]
pub(crate) struct Roles {
    heard: BTreeMap<NodeId, Heard>,
    following: Option<(Term, NodeId)>,
    /// What the leader had committed when this node (re)connected to it.
    target: Option<Index>,
    leading_since: Option<(Term, Time)>,
    appointed: Option<(u64, Time)>,
    reported_lost: u64,
    leaderless_since: Option<Time>,
    known_once: bool,
}

#[derive(Debug, Clone)]
struct Heard {
    at: Time,
    presence: Option<Presence>,
}

impl Roles {
    /// Any frame of lane Raft is a sign of life of a member. Others are heard by the core alone: nothing is kept of them here.
    pub(crate) fn heard(&mut self, now: Time, from: NodeId, members: &Configuration) {
        if let Some(heard) = self.entry(now, from, members) {
            heard.at = now;
        }
    }

    /// What a member says of itself.
    pub(crate) fn presence(&mut self, now: Time, from: NodeId, presence: Presence, members: &Configuration) {
        if let Some(heard) = self.entry(now, from, members) {
            *heard = Heard { at: now, presence: Some(presence) };
        }
    }

    /// What is kept of a member; bounded by how many there are, whatever certificates arrive.
    fn entry(&mut self, now: Time, from: NodeId, members: &Configuration) -> Option<&mut Heard> {
        members.incarnation(from)?;
        if !self.heard.contains_key(&from) {
            self.heard.retain(|node, _| members.incarnation(*node).is_some());
        }
        Some(self.heard.entry(from).or_insert(Heard { at: now, presence: None }))
    }

    /// What members said of themselves, those that are heard of.
    pub(crate) fn presences(&self) -> impl Iterator<Item = (NodeId, &Presence)> {
        self.heard.iter().filter_map(|(node, heard)| Some((*node, heard.presence.as_ref()?)))
    }

    /// Nodes that were heard of lately and say that they have caught up.
    pub(crate) fn well(&self, now: Time) -> impl Iterator<Item = NodeId> {
        let fresh = self.heard.iter().filter(move |(_, heard)| between(heard.at, now) < CONTROLLER_TIMEOUT);
        let well =
            fresh.filter(|(_, heard)| heard.presence.as_ref().is_some_and(|presence| presence.healthy));
        well.map(|(node, _)| *node)
    }

    /// The oldest revision of configuration that a proxy of each control node serves that is heard of and feeds any.
    pub(crate) fn served(&self, now: Time) -> impl Iterator<Item = u64> {
        let fresh = self.heard.values().filter(move |heard| between(heard.at, now) < CONTROLLER_TIMEOUT);
        fresh.filter_map(|heard| heard.presence.as_ref()?.served)
    }

    /// The leader named its commit index: the first one after a (re)connect is what this node has to catch up with.
    pub(crate) fn leader_commit(&mut self, term: Term, leader: NodeId, commit: Index) {
        if self.following != Some((term, leader)) {
            self.following = Some((term, leader));
            self.target = Some(commit);
        }
    }

    /// Role, term or leader changed.
    pub(crate) fn changed(&mut self, now: Time, me: NodeId, term: Term, leader: Option<NodeId>) {
        if leader == Some(me) {
            if self.leading_since.is_none_or(|(led, _)| led != term) {
                self.leading_since = Some((term, now));
                self.appointed = None;
                self.heard.clear();
            }
        } else {
            self.leading_since = None;
        }
        if leader != self.following.map(|(_, leader)| leader) || self.leading_since.is_some() {
            self.following = None;
            self.target = None;
        }
        self.known_once |= leader.is_some();
        match leader {
            Some(_) => self.leaderless_since = None,
            None => {
                self.leaderless_since.get_or_insert(now);
            }
        }
    }

    /// Whether this node has applied what the leader had committed when it (re)connected. A new leader does not know how
    /// far its predecessors have committed before it commits an entry of its own term: until that one is applied here,
    /// what it says counts for nothing.
    pub(crate) fn is_healthy(&self, standing: &Standing<'_>) -> bool {
        if standing.applied_term != standing.term {
            return false;
        }
        match standing.leader {
            Some(leader) if leader == standing.me => true,
            Some(leader) => {
                self.following == Some((standing.term, leader))
                    && self.target.is_some_and(|target| standing.applied >= target)
            }
            None => false,
        }
    }

    /// Whether no quorum has stood behind this node for long enough to say so.
    pub(crate) fn is_stale(&self, now: Time) -> bool {
        !self.known_once || self.leaderless_since.is_some_and(|since| between(since, now) >= STALE_AFTER)
    }

    /// On the leader: whom to appoint now, if anyone. Repeats itself only after a while.
    pub(crate) fn appoint(&mut self, now: Time, standing: &Standing<'_>) -> Option<Appointment> {
        let (led, since) = self.leading_since?;
        if led != standing.term || !self.is_healthy(standing) {
            return None;
        }
        let epoch = standing.controller.map_or(0, |(_, epoch)| epoch) + 1;
        if self
            .appointed
            .is_some_and(|(on_its_way, at)| on_its_way == epoch && between(at, now) < APPOINT_RETRY)
        {
            return None;
        }
        let lost = match standing.controller {
            Some((node, _)) if !self.is_silent(now, since, node, standing) => return None,
            lost => lost,
        };
        let node = self.candidate(now, since, standing)?;
        self.appointed = Some((epoch, now));
        let lost = lost.filter(|(_, epoch)| *epoch > self.reported_lost);
        self.reported_lost = lost.map_or(self.reported_lost, |(_, epoch)| epoch);
        Some(Appointment { node, epoch, lost })
    }

    fn is_silent(&self, now: Time, since: Time, node: NodeId, standing: &Standing<'_>) -> bool {
        if node == standing.me {
            return false;
        }
        let heard = self.heard.get(&node).map_or(since, |heard| heard.at.max(since));
        standing.members.incarnation(node).is_none() || between(heard, now) > CONTROLLER_TIMEOUT
    }

    /// A healthy node other than the leader, the most advanced first, then the lowest number; else the leader itself.
    fn candidate(&self, now: Time, since: Time, standing: &Standing<'_>) -> Option<NodeId> {
        let best = standing
            .members
            .members()
            .filter(|node| *node != standing.me && standing.controller.is_none_or(|(lost, _)| lost != *node))
            .filter_map(|node| {
                let heard = self.heard.get(&node)?;
                let presence = heard.presence.as_ref().filter(|presence| presence.healthy)?;
                let fresh = between(heard.at, now) < CONTROLLER_TIMEOUT / 2;
                fresh.then_some((std::cmp::Reverse(presence.applied), node))
            })
            .min();
        match best {
            Some((_, node)) => Some(node),
            None if standing.members.members().count() == 1 => Some(standing.me),
            None => (between(since, now) >= APPOINT_GRACE).then_some(standing.me),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_consensus::Incarnation;

    fn at(millis: u64) -> Time {
        Time { micros: millis * 1000 }
    }

    fn members(count: u64) -> Configuration {
        Configuration::of_voters((1..=count).map(|node| (NodeId(node), Incarnation(1))))
    }

    fn leader(members: &Configuration, controller: Option<(NodeId, u64)>) -> Standing<'_> {
        Standing {
            me: NodeId(1),
            term: Term(3),
            leader: Some(NodeId(1)),
            applied: Index(9),
            applied_term: Term(3),
            members,
            controller,
        }
    }

    fn presence(applied: u64, healthy: bool) -> Presence {
        let understands = ravelin_config::Understands::this_build(crate::node::wire::RAFT_VERSIONS);
        Presence {
            term: 3,
            applied,
            healthy,
            providers_epoch: 0,
            served: None,
            understands,
            feature_level: 1,
        }
    }

    fn leading(now: Time) -> Roles {
        let mut roles = Roles::default();
        roles.changed(now, NodeId(1), Term(3), Some(NodeId(1)));
        roles
    }

    #[test]
    fn a_lone_voter_appoints_itself_at_once_and_only_when_it_is_caught_up() {
        let lone = members(1);
        let mut roles = leading(at(0));
        let behind = Standing { applied_term: Term(2), ..leader(&lone, None) };
        assert_eq!(roles.appoint(at(0), &behind), None);
        let appointment = roles.appoint(at(0), &leader(&lone, None));
        assert_eq!(appointment, Some(Appointment { node: NodeId(1), epoch: 1, lost: None }));
        assert_eq!(roles.appoint(at(1), &leader(&lone, None)), None, "it is on its way");
        assert!(roles.appoint(at(2000), &leader(&lone, None)).is_some(), "and was lost on the way");
        assert_eq!(roles.appoint(at(2001), &leader(&lone, Some((NodeId(1), 1)))), None);
    }

    #[test]
    fn a_healthy_node_is_preferred_to_the_leader_and_the_most_advanced_to_others() {
        let three = members(3);
        let mut roles = leading(at(0));
        assert_eq!(roles.appoint(at(10), &leader(&three, None)), None, "others get time to report");
        roles.presence(at(20), NodeId(2), presence(7, true), &three);
        roles.presence(at(20), NodeId(3), presence(8, true), &three);
        let appointment = roles.appoint(at(30), &leader(&three, None)).expect("a healthy node is there");
        assert_eq!(appointment.node, NodeId(3));

        let mut alone = leading(at(0));
        alone.presence(at(20), NodeId(2), presence(1, false), &three);
        assert_eq!(alone.appoint(at(30), &leader(&three, None)), None);
        let appointment = alone.appoint(at(700), &leader(&three, None)).expect("the grace is over");
        assert_eq!(appointment.node, NodeId(1));
    }

    #[test]
    fn a_silent_controller_is_replaced_under_a_higher_epoch_and_reported_once() {
        let three = members(3);
        let mut roles = leading(at(0));
        let standing = leader(&three, Some((NodeId(2), 4)));
        roles.presence(at(1000), NodeId(3), presence(9, true), &three);
        roles.presence(at(1000), NodeId(2), presence(9, true), &three);
        assert_eq!(roles.appoint(at(2400), &standing), None, "not silent for long enough");
        roles.heard(at(2450), NodeId(3), &three);
        let appointment = roles.appoint(at(2600), &standing).expect("silent");
        assert_eq!(appointment, Appointment { node: NodeId(3), epoch: 5, lost: Some((NodeId(2), 4)) });
        roles.heard(at(3700), NodeId(3), &three);
        let again = roles.appoint(at(3800), &standing).expect("the first was lost");
        assert_eq!((again.epoch, again.lost), (5, None));
    }

    #[test]
    fn nothing_is_kept_of_who_is_no_member_however_many_come() {
        let (three, two) = (members(3), members(2));
        let mut roles = leading(at(0));
        for node in 2..10_000 {
            roles.heard(at(node), NodeId(node), &three);
            roles.presence(at(node), NodeId(node), presence(9, true), &three);
        }
        assert_eq!(roles.heard.keys().copied().collect::<Vec<_>>(), [NodeId(2), NodeId(3)]);
        roles.heard.remove(&NodeId(2));
        roles.heard(at(10_000), NodeId(2), &two);
        assert_eq!(roles.heard.keys().copied().collect::<Vec<_>>(), [NodeId(2)], "the third was removed");
    }

    #[test]
    fn a_new_leader_gives_the_controller_time_to_be_heard() {
        let three = members(3);
        let mut roles = leading(at(10_000));
        let standing = leader(&three, Some((NodeId(2), 4)));
        assert_eq!(roles.appoint(at(11_000), &standing), None);
        assert!(roles.appoint(at(11_600), &standing).is_some());
    }

    #[test]
    fn health_is_what_the_leader_had_committed_at_the_connect() {
        let three = members(3);
        let mut roles = Roles::default();
        roles.changed(at(0), NodeId(2), Term(3), Some(NodeId(1)));
        let follower = Standing { me: NodeId(2), ..leader(&three, None) };
        assert!(!roles.is_healthy(&follower), "nothing heard of the leader's commit index");
        roles.leader_commit(Term(3), NodeId(1), Index(10));
        assert!(!roles.is_healthy(&follower));
        roles.leader_commit(Term(3), NodeId(1), Index(50));
        assert!(roles.is_healthy(&Standing { applied: Index(10), ..follower }));
        let before = Standing { applied: Index(10), applied_term: Term(2), ..follower };
        assert!(!roles.is_healthy(&before), "a new leader may know less than was committed before it");
        roles.changed(at(1), NodeId(2), Term(4), None);
        assert!(!roles.is_healthy(&Standing { applied: Index(60), leader: None, ..follower }));
        assert!(!roles.is_stale(at(1500)));
        assert!(roles.is_stale(at(2001)));
        roles.changed(at(2500), NodeId(2), Term(4), Some(NodeId(3)));
        assert!(!roles.is_stale(at(2500)));
        assert!(Roles::default().is_stale(at(0)), "no leader was ever known");
    }
}
