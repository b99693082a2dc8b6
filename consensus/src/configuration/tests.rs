//! The algebra of configurations against its purpose: whoever decides before and after a change has someone in common.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Change, ChangeError, Configuration};
use crate::quorum;
use crate::types::{Incarnation, NodeId};

const NODES: u64 = 5;

fn part() -> impl Strategy<Value = BTreeSet<u64>> {
    proptest::collection::btree_set(1..=NODES, 0..=NODES as usize)
}

/// Any configuration that a log can hold while no change is under way.
fn simple() -> impl Strategy<Value = Configuration> {
    (part(), part()).prop_filter_map("somebody must decide", |(voters, learners)| {
        let admitted = |ids: BTreeSet<u64>| ids.into_iter().map(|id| (NodeId(id), Incarnation(id)));
        let learners = learners.difference(&voters).copied().collect();
        let configuration = Configuration {
            voters: admitted(voters).collect(),
            learners: admitted(learners).collect(),
            ..Configuration::default()
        };
        configuration.is_usable().then_some(configuration)
    })
}

fn change() -> impl Strategy<Value = Change> {
    let node = || (1..=NODES).prop_map(NodeId);
    let life = |node: NodeId, other: bool| Incarnation(node.0 + u64::from(other) * 100);
    let rarely = || prop_oneof![9 => Just(false), 1 => Just(true)];
    prop_oneof![
        (node(), rarely()).prop_map(move |(node, other)| Change::AddVoter(node, life(node, other))),
        (node(), rarely()).prop_map(move |(node, other)| Change::AddLearner(node, life(node, other))),
        node().prop_map(Change::Demote),
        node().prop_map(Change::Remove),
    ]
}

/// Whether some set decides under `one` while its complement decides under `other`.
fn can_disagree(one: &Configuration, other: &Configuration) -> bool {
    (0..1u64 << NODES).any(|set| {
        let within = |node: NodeId| set >> (node.0 - 1) & 1 == 1;
        quorum::reached(one, within) && quorum::reached(other, |node| !within(node))
    })
}

proptest! {
    #[test]
    fn successive_configurations_cannot_disagree(
        before in simple(),
        changes in proptest::collection::vec(change(), 1..4),
    ) {
        let Ok(during) = before.changed(&changes) else { return Ok(()) };
        prop_assert!(during.is_usable() && before.may_precede(&during));
        prop_assert!(!can_disagree(&before, &during));
        if during.is_joint() {
            let after = during.left();
            prop_assert!(after.is_usable() && during.may_precede(&after) && !after.is_joint());
            prop_assert!(!can_disagree(&during, &after));
            prop_assert!(!before.may_precede(&after), "two majorities that need not meet");
            prop_assert_eq!(during.changed(&changes), Err(ChangeError::Joint));
        } else {
            prop_assert_eq!(&during.voters, &before.voters);
        }
    }

    /// The result is what each part asks for, and nothing else moves.
    #[test]
    fn a_change_does_what_it_names(
        before in simple(),
        changes in proptest::collection::vec(change(), 1..4),
    ) {
        let Ok(during) = before.changed(&changes) else { return Ok(()) };
        let after = during.left();
        for change in &changes {
            let (voter, learner) = (after.voters.get(&change.node()), after.learners.get(&change.node()));
            match change {
                Change::AddVoter(_, life) => prop_assert_eq!((voter, learner), (Some(life), None)),
                Change::AddLearner(_, life) => prop_assert_eq!((voter, learner), (None, Some(life))),
                Change::Demote(_) => prop_assert!(voter.is_none() && learner.is_some()),
                Change::Remove(_) => prop_assert!(voter.is_none() && learner.is_none()),
            }
        }
        for node in (1..=NODES).map(NodeId).filter(|node| changes.iter().all(|it| it.node() != *node)) {
            prop_assert_eq!(after.voters.get(&node), before.voters.get(&node));
            prop_assert_eq!(after.learners.get(&node), before.learners.get(&node));
        }
    }

    /// A refusal is never a matter of order.
    #[test]
    fn the_order_of_parts_means_nothing(before in simple(), mut changes in proptest::collection::vec(change(), 1..4)) {
        let forward = before.changed(&changes);
        changes.reverse();
        match (forward, before.changed(&changes)) {
            (Ok(forward), Ok(backward)) => prop_assert_eq!(forward, backward),
            (Err(_), Err(_)) => {}
            (forward, backward) => prop_assert!(false, "{forward:?} but {backward:?}"),
        }
    }
}

#[test]
fn refusals_say_why() {
    let two = Configuration::of_voters([1, 2].map(|id| (NodeId(id), Incarnation(id))));
    let refused = |changes: &[Change]| two.changed(changes).expect_err("each of these is refused");
    assert_eq!(refused(&[]), ChangeError::NothingChanges);
    assert_eq!(refused(&[Change::Remove(NodeId(1)), Change::Remove(NodeId(2))]), ChangeError::NoVoters);
    assert_eq!(refused(&[Change::Demote(NodeId(3))]), ChangeError::NotAMember(NodeId(3)));
    assert_eq!(
        refused(&[Change::AddVoter(NodeId(1), Incarnation(9))]),
        ChangeError::AlreadyAMember(NodeId(1))
    );
    let again = [Change::Remove(NodeId(1)), Change::AddVoter(NodeId(1), Incarnation(9))];
    assert_eq!(refused(&again), ChangeError::NamedTwice(NodeId(1)));
}

#[test]
fn a_learner_is_promoted_only_as_the_one_that_was_admitted() {
    let mut members = Configuration::of_voters([(NodeId(1), Incarnation(1))]);
    members.learners.insert(NodeId(2), Incarnation(2));
    let promote = |life| members.changed(&[Change::AddVoter(NodeId(2), Incarnation(life))]);
    assert!(promote(2).is_ok());
    assert_eq!(promote(3), Err(ChangeError::AlreadyAMember(NodeId(2))));
}

#[test]
fn a_recovery_follows_from_no_change() {
    let simple = Configuration::of_voters([(NodeId(1), Incarnation(1))]);
    let joint = simple.changed(&[Change::AddVoter(NodeId(2), Incarnation(1))]).expect("a new voter");
    for next in [joint, simple.clone()] {
        assert!(simple.may_precede(&next));
        let mut recovered = next;
        recovered.recovery_epoch.0 += 1;
        assert!(!simple.may_precede(&recovered));
    }
}

#[test]
fn every_refusal_is_told_in_words_of_its_own() {
    let node = NodeId(7);
    let told = [
        ChangeError::NothingChanges,
        ChangeError::NoVoters,
        ChangeError::NotAMember(node),
        ChangeError::AlreadyAMember(node),
        ChangeError::NamedTwice(node),
        ChangeError::Joint,
    ]
    .map(|error| error.to_string());
    assert!(told.iter().all(|text| text.len() > 10), "{told:?}");
    assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len());
    assert_eq!(told.iter().filter(|text| text.contains('7')).count(), 3, "{told:?}");
}
