//! What a node takes from its disk and what from its identity file when it starts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use ravelin_config::SealingKeys;
use ravelin_consensus::{
    Batch, Configuration, Entry, EntryKind, HardState, Incarnation, Index, NodeId, Term, Time, Token,
};

use super::frames::of_epoch;
use crate::node::NodeOptions;
use crate::node::boot::{BootError, Booted, Member, boot};
use crate::node::event::{Action, Actions, Event};
use crate::storage::{DirectoryError, SimDisk, SnapshotError, WalError, WalLimits};
use crate::store::{FEATURE_LEVEL, Store};

fn member(voters: &[(u64, u64)]) -> Member {
    Member { cluster: [0xc1; 16], recovery_epoch: 0, node: 1, incarnation: 1, voters: voters.to_vec() }
}

fn start(disk: &SimDisk, member: &Member) -> Result<Booted, BootError> {
    let sealing = SealingKeys::new(member.cluster, &[[7; 32]]).expect("one key");
    let options = NodeOptions::new(member.params(), sealing);
    boot(Arc::new(disk.clone()), WalLimits { segment_bytes: 4096 }, member, options, 1)
}

fn contents(disk: &SimDisk) -> BTreeMap<String, Option<Vec<u8>>> {
    disk.paths().into_iter().map(|path| (path.clone(), disk.content(&path))).collect()
}

#[test]
fn an_identity_with_other_controllers_than_the_log_began_with_is_refused() {
    let whole = member(&[(1, 1), (2, 1), (3, 1)]);
    let disk = SimDisk::new(1);
    let mut booted = start(&disk, &whole).expect("fresh");
    let entries = vec![Entry { term: Term(1), kind: EntryKind::Empty }].into();
    let hard_state = HardState { term: Term(1), vote: Some(NodeId(1)) };
    let batch = Batch { token: Token(1), hard_state, snapshot: None, first: Index(1), entries };
    booted.log.persist(&[batch]).expect("something was written");
    drop(booted);
    let before = contents(&disk);

    let alone = "1 (incarnation 0000000000000001)";
    let (second, third) = ("2 (incarnation 0000000000000001)", "3 (incarnation 0000000000000001)");
    let trimmed = start(&disk, &member(&[(1, 1)])).expect_err("it would be a quorum of one");
    assert_refused(&trimmed, &format!("{alone}, {second}, {third}"), alone);
    let reborn = start(&disk, &member(&[(1, 1), (2, 9), (3, 1)])).expect_err("another life of node 2");
    let renewed = "2 (incarnation 0000000000000009)";
    assert_refused(&reborn, &format!("{alone}, {second}, {third}"), &format!("{alone}, {renewed}, {third}"));
    let grown = start(&disk, &member(&[(1, 1), (2, 1), (3, 1), (4, 1)]));
    assert!(matches!(grown, Err(BootError::Wal(WalError::OtherMembers { .. }))));
    assert_eq!(contents(&disk), before, "nothing was changed");

    let again = start(&disk, &whole).expect("the identity it began with");
    let members = [1, 2, 3].map(|node| (NodeId(node), Incarnation(1)));
    assert_eq!(again.node.core.configuration(), &Configuration::of_voters(members));
}

#[test]
fn a_directory_from_before_a_recovery_is_refused() {
    let before = member(&[(1, 1), (2, 1), (3, 1)]);
    let disk = SimDisk::new(1);
    drop(start(&disk, &before).expect("fresh"));
    let kept = contents(&disk);
    let after = Member { recovery_epoch: 1, ..before.clone() };
    let error = start(&disk, &after).expect_err("its votes and entries were given up");
    assert!(
        matches!(&error, BootError::Directory(DirectoryError::BeforeRecovery { found: 0, expected: 1, .. })),
        "{error}"
    );
    assert!(error.to_string().contains("rejoin as a new one"), "{error}");
    assert_eq!(contents(&disk), kept, "nothing was changed");
    start(&disk, &before).expect("the identity it belongs to");
}

fn assert_refused(error: &BootError, wanted_found: &str, wanted_expected: &str) {
    let BootError::Wal(error @ WalError::OtherMembers { found, expected, .. }) = error else {
        panic!("refused for another reason: {error}");
    };
    assert_eq!((found.as_str(), expected.as_str()), (wanted_found, wanted_expected));
    let text = error.to_string();
    for part in ["simulated:wal", wanted_found, wanted_expected, "put back the identity file"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn an_identity_without_founders_knows_of_nobody_and_never_campaigns() {
    let joiner = member(&[]);
    let disk = SimDisk::new(1);
    let mut booted = start(&disk, &joiner).expect("fresh");
    let mut actions = Actions::new();
    booted.node.handle(Time { micros: 0 }, Event::Start, &mut actions);
    for second in 1..60 {
        booted.node.handle(Time { micros: second * 1_000_000 }, Event::Wake, &mut actions);
    }
    let campaigns = |action: &Action| matches!(action, Action::SendRaft { .. } | Action::Persist(_));
    assert!(!actions.as_slice().iter().any(campaigns), "{actions:?}");
    assert_eq!((booted.node.core.term(), booted.node.core.configuration().members().count()), (Term(0), 0));
    drop(booted);
    let founder = start(&disk, &member(&[(1, 1)])).expect_err("a log that began without founders");
    assert_refused(&founder, "(none)", "1 (incarnation 0000000000000001)");
    start(&disk, &joiner).expect("the identity it began with");
}

/// A directory whose log continues from a snapshot with this content.
fn continued_from(change: impl Fn(&mut Vec<u8>)) -> (SimDisk, Member) {
    let (disk, alone) = (SimDisk::new(1), member(&[(1, 1)]));
    let mut booted = start(&disk, &alone).expect("fresh");
    let entry = Entry { term: Term(1), kind: EntryKind::Empty };
    let hard_state = HardState { term: Term(1), vote: Some(NodeId(1)) };
    let entries = vec![entry.clone()].into();
    let batch = Batch { token: Token(1), hard_state, snapshot: None, first: Index(1), entries };
    booted.log.persist(&[batch]).expect("something was written");
    let mut state = Store::new(alone.cluster);
    state.apply(Index(1), &entry).expect("the first entry");
    let chunk = state.snapshot_chunks().next().expect("a header").expect("small");
    let mut chunk = chunk.to_vec();
    change(&mut chunk);
    let members = booted.node.core().configuration().clone();
    let written = booted.snapshots.files().write(Index(1), Term(1), members, [Ok::<_, Infallible>(chunk)]);
    assert!(booted.log.compact(&written.expect("room")).is_none());
    booted.log.close().expect("no fault");
    (disk, alone)
}

/// Whoever takes it for damage replaces a node that only needs its newer version again.
#[test]
fn what_a_newer_version_wrote_into_a_snapshot_is_no_damage_and_stays() {
    let (disk, alone) = continued_from(|_| {});
    start(&disk, &alone).expect("its own");

    let (disk, alone) = continued_from(|chunk| chunk[0] += 1);
    let before = contents(&disk);
    let error = start(&disk, &alone).expect_err("another form of the state");
    let BootError::NewerState { found, supported } = error else { panic!("for another reason: {error}") };
    assert_eq!(found, supported + 1);
    assert_eq!(contents(&disk), before, "nothing was changed");

    // After the version, a length, the item's kind, the cluster and its epoch.
    const LEVEL_AT: usize = 1 + 8 + 4 + 16 + 4;
    let (disk, alone) = continued_from(|chunk| chunk[LEVEL_AT..LEVEL_AT + 2].fill(0xff));
    let before = contents(&disk);
    let error = start(&disk, &alone).expect_err("a level of later versions");
    assert!(matches!(error, BootError::NewerLevel { found: u16::MAX, supported: FEATURE_LEVEL }), "{error}");
    assert!(error.to_string().contains("no damage: do not replace this node"), "{error}");
    assert_eq!(contents(&disk), before, "nothing was changed");

    let (disk, alone) = continued_from(|_| {});
    let path = disk.paths().into_iter().find(|path| path.ends_with(".snap")).expect("taken");
    let mut bytes = disk.content(&path).expect("there");
    bytes[8] += 1;
    disk.put(&path, &bytes);
    let error = start(&disk, &alone).expect_err("another form of the file");
    assert!(matches!(&error, BootError::Snapshot(SnapshotError::Newer { .. })), "{error}");
    assert_eq!(disk.content(&path).expect("there"), bytes, "nothing was changed");
}

/// What was given up with a recovery may be anything: a node that holds it has no business to go on.
#[test]
fn a_node_without_a_leader_that_hears_of_a_recovery_ends_and_says_why() {
    let mut booted = start(&SimDisk::new(1), &member(&[(1, 1), (2, 1), (3, 1)])).expect("fresh");
    let (mut actions, now) = (Actions::new(), Time { micros: 0 });
    booted.node.handle(now, Event::Start, &mut actions);
    let hear = |epoch| Event::RaftFrame { from: NodeId(2), frame: of_epoch(epoch) };
    booted.node.handle(now, hear(0), &mut actions);
    assert_eq!(booted.node.halted(), None, "its own epoch");
    booted.node.handle(now, hear(1), &mut actions);
    let why = booted.node.halted().expect("it was given up");
    for part in ["controller 2 is of recovery epoch 1", "of epoch 0 and was given up", "empty directory"] {
        assert!(why.contains(part), "{part:?} is missing: {why}");
    }
    assert!(actions.as_slice().iter().any(|action| matches!(action, Action::Halt { .. })), "{actions:?}");
}
