//! What follows from records and members: pairs, places taken, leaders that go.

use super::*;

fn record(wanted: Wanted) -> NodeRecord {
    NodeRecord {
        recovery_epoch: 0,
        incarnation: 1,
        address: "127.0.0.1:1".to_owned(),
        public_key_sha256: Some([7; 32]),
        wanted,
    }
}

/// Voters, others, and who is wanted how where that is not as a voter; all of them ready but those named last.
struct Scene {
    members: Configuration,
    records: Records,
    ready: BTreeSet<NodeId>,
}

impl Scene {
    fn new(voters: &[u64], learners: &[u64]) -> Self {
        let lives = |nodes: &[u64]| nodes.iter().map(|node| (NodeId(*node), Incarnation(1))).collect();
        let members =
            Configuration { voters: lives(voters), learners: lives(learners), ..Configuration::default() };
        let records = members.members().map(|node| (node, record(Wanted::Voter))).collect();
        let ready = members.members().collect();
        Self { members, records, ready }
    }

    fn wanted(mut self, node: u64, wanted: Wanted) -> Self {
        self.records.insert(NodeId(node), record(wanted));
        self
    }

    fn silent(mut self, node: u64) -> Self {
        self.ready.remove(&NodeId(node));
        self
    }

    fn sight(&self) -> Sight<'_> {
        Sight {
            records: &self.records,
            members: &self.members,
            me: NodeId(1),
            ready: &self.ready,
            may_hand_over: true,
        }
    }

    fn next(&self) -> Option<Step> {
        let step = self.sight().next();
        if let Some(Step::Change(changes)) = &step {
            let after = self.members.changed(changes).expect("a change that the core takes");
            assert!(after.voters.len() % 2 == 1 && after.voters.len() <= VOTERS_MAX, "{after:?}");
        }
        step
    }
}

const GONE: Wanted = Wanted::Removed { force: false };

fn voter(node: u64) -> Change {
    Change::AddVoter(NodeId(node), Incarnation(1))
}

fn gone(node: u64) -> Change {
    Change::Remove(NodeId(node))
}

fn back(node: u64) -> Change {
    Change::Demote(NodeId(node))
}

fn change(changes: &[Change]) -> Option<Step> {
    Some(Step::Change(changes.to_vec()))
}

#[test]
fn nodes_begin_without_a_vote_and_get_it_in_pairs_once_they_have_caught_up() {
    let whole = Scene::new(&[1, 2, 3], &[]);
    assert_eq!(whole.next(), None);
    let recorded = Scene::new(&[1, 2, 3], &[]).wanted(4, Wanted::Voter).wanted(5, Wanted::Spare);
    let life = Incarnation(1);
    assert_eq!(
        recorded.next(),
        change(&[Change::AddLearner(NodeId(4), life), Change::AddLearner(NodeId(5), life)])
    );
    assert_eq!(Scene::new(&[1, 2, 3], &[4]).next(), None, "a hot spare");
    assert_eq!(Scene::new(&[1, 2, 3], &[4, 5]).next(), change(&[voter(4), voter(5)]));
    assert_eq!(Scene::new(&[1, 2, 3], &[4, 5]).silent(5).next(), None, "it has not caught up");
    assert_eq!(Scene::new(&[1, 2, 3], &[4, 5]).wanted(5, Wanted::Spare).next(), None);
    assert_eq!(Scene::new(&[1], &[2, 3]).next(), change(&[voter(2), voter(3)]));
    assert_eq!(Scene::new(&[1, 2, 3, 4, 5], &[6, 7, 8]).next(), change(&[voter(6), voter(7)]));
    assert_eq!(Scene::new(&[1, 2, 3, 4, 5, 6, 7], &[8, 9]).next(), None, "seven is the most");
    assert_eq!(
        Scene::new(&[1, 2, 3], &[4, 5, 6, 7]).next(),
        change(&[voter(4), voter(5), voter(6), voter(7)])
    );
}

#[test]
fn a_spare_takes_the_place_of_a_voter_that_goes_and_without_one_another_stands_back() {
    assert_eq!(Scene::new(&[1, 2, 3], &[4]).wanted(3, GONE).next(), change(&[gone(3), voter(4)]));
    let not_yet = Scene::new(&[1, 2, 3], &[4]).wanted(3, GONE).silent(4);
    assert_eq!(not_yet.next(), None, "it waits for the one that shall take the place");
    let forced = Scene::new(&[1, 2, 3], &[4]).wanted(3, Wanted::Removed { force: true }).silent(4);
    assert_eq!(forced.next(), change(&[gone(3), back(2)]));
    assert_eq!(Scene::new(&[1, 2, 3, 4, 5], &[]).wanted(2, GONE).next(), change(&[gone(2), back(5)]));
    let silent = Scene::new(&[1, 2, 3, 4, 5], &[]).wanted(2, GONE).silent(3);
    assert_eq!(silent.next(), change(&[gone(2), back(3)]), "who does not answer goes first");
    assert_eq!(
        Scene::new(&[1, 2, 3, 4, 5], &[]).wanted(2, GONE).wanted(3, GONE).next(),
        change(&[gone(2), gone(3)])
    );
    assert_eq!(Scene::new(&[1, 2, 3], &[4]).wanted(4, GONE).next(), change(&[gone(4)]));
    assert_eq!(Scene::new(&[1, 2, 3], &[4]).wanted(3, Wanted::Spare).next(), change(&[back(3), voter(4)]));
}

#[test]
fn another_life_of_a_node_takes_its_place_only_after_the_first_is_gone() {
    let mut scene = Scene::new(&[1, 2, 3], &[4]);
    scene.records.insert(NodeId(3), NodeRecord { incarnation: 9, ..record(Wanted::Voter) });
    assert_eq!(scene.next(), change(&[gone(3), voter(4)]));
    let after = Scene::new(&[1, 2, 4], &[]);
    let mut records = after.records.clone();
    records.insert(NodeId(3), NodeRecord { incarnation: 9, ..record(Wanted::Voter) });
    let after = Scene { records, ..after };
    assert_eq!(after.next(), change(&[Change::AddLearner(NodeId(3), Incarnation(9))]));
}

#[test]
fn a_leader_that_goes_hands_over_first_if_anybody_can_take_over() {
    let scene = Scene::new(&[1, 2, 3], &[4]).wanted(1, GONE).silent(2);
    assert_eq!(scene.next(), Some(Step::HandOver(NodeId(3))));
    let alone = Scene::new(&[1, 2, 3], &[4]).wanted(1, GONE).silent(2).silent(3);
    assert_eq!(alone.next(), change(&[gone(1), voter(4)]));
    let in_vain = Sight { may_hand_over: false, ..scene.sight() };
    assert_eq!(in_vain.next(), change(&[gone(1), voter(4)]), "the other did not take over in time");
}

#[test]
fn nothing_begins_while_a_change_is_under_way() {
    let mut scene = Scene::new(&[1, 2, 3], &[4, 5]);
    scene.members.outgoing = scene.members.voters.clone();
    assert_eq!(scene.next(), None);
}

#[test]
fn a_removal_that_leaves_one_voter_or_none_is_told_before() {
    let refused = |scene: &Scene, node: u64, force: bool| scene.sight().check_removal(NodeId(node), force);
    let three = Scene::new(&[1, 2, 3], &[]);
    assert!(refused(&three, 3, false).expect_err("one would be left").contains("--force"));
    assert_eq!(refused(&three, 3, true), Ok(()));
    assert_eq!(refused(&Scene::new(&[1, 2, 3], &[4]), 3, false), Ok(()));
    assert_eq!(refused(&Scene::new(&[1, 2, 3], &[4]), 4, false), Ok(()), "it has no vote");
    assert_eq!(refused(&Scene::new(&[1, 2, 3, 4, 5], &[]), 4, false), Ok(()));
    assert!(refused(&Scene::new(&[1], &[]), 1, true).expect_err("none would be left").contains("only voter"));
    assert_eq!(refused(&Scene::new(&[1], &[2]), 1, false), Ok(()), "the other takes over");
}
