//! Election, the controller and its epochs, fencing, staleness.

use std::time::Duration;

use ravelin_consensus::NodeId;

use super::harness::{Cluster, apply, site};
use crate::node::understood::Understood;
use crate::node::{CONTROLLER_TIMEOUT, Node};
use crate::request::status::EventKind;
use crate::request::{RefusalReason, Request, Response};
use crate::store::{Author, Change, ChangeId, Command, FEATURE_LEVEL, Limits, Put, Stage, Store, StoreKey};

#[test]
fn a_leader_appoints_a_controller_that_is_not_itself() {
    let cluster = Cluster::ready(3);
    let (controller, epoch) = cluster.controller().expect("it is ready");
    assert_eq!(epoch, 1);
    assert_ne!(Some(controller), cluster.leader());
    assert_eq!(cluster.saw(|kind| matches!(kind, EventKind::LeaderElected { .. })), 1);
    let appointed = EventKind::ControllerAppointed { node: controller, epoch };
    assert!(cluster.saw(|kind| *kind == appointed) >= 2, "a quorum applied it");
}

#[test]
fn a_lone_node_is_everything_within_milliseconds() {
    let mut cluster = Cluster::new(1);
    let start = cluster.now;
    cluster.boot(1);
    cluster.until("it runs the providers", |cluster| cluster.controller() == Some((1, 1)));
    assert!(cluster.now.micros - start.micros < 20_000, "nothing waits for a timer");
    let change = cluster.apply(1, &site("a"));
    assert_eq!((change.put, change.verdicts.len()), (2, 0), "{change:?}");
}

#[test]
fn a_killed_controller_is_replaced_under_a_higher_epoch() {
    let mut cluster = Cluster::ready(3);
    let (first, _) = cluster.controller().expect("it is ready");
    cluster.kill(first);
    let killed = cluster.now;
    cluster.until("another takes over", |cluster| cluster.controller().is_some_and(|(_, epoch)| epoch == 2));
    let took = Duration::from_micros(cluster.now.micros - killed.micros);
    assert!(took < CONTROLLER_TIMEOUT + Duration::from_millis(500), "{took:?}");
    assert_eq!(cluster.saw(|kind| matches!(kind, EventKind::ControllerLost { epoch: 1, .. })), 1);

    cluster.boot(first);
    cluster.run(Duration::from_secs(3));
    assert!(cluster.machine(first).node().is_healthy(), "the returning voter has caught up");
    assert_eq!(cluster.machine(first).node().providers_epoch(), None, "its epoch is over");
    assert_eq!(cluster.controller().map(|(_, epoch)| epoch), Some(2), "nothing changes when it is back");
}

#[test]
fn a_killed_leader_is_replaced_and_the_controller_stays() {
    let mut cluster = Cluster::ready(3);
    let leader = cluster.leader().expect("it is ready");
    let controller = cluster.controller();
    cluster.kill(leader);
    cluster.until("another leads", |cluster| cluster.leader().is_some());
    cluster.run(Duration::from_secs(4));
    assert_eq!(cluster.controller(), controller);
}

#[test]
fn a_thawed_controller_writes_nothing_and_stops() {
    let mut cluster = Cluster::ready(3);
    let (old, epoch) = cluster.controller().expect("it is ready");
    cluster.freeze(old);
    cluster.until("another takes over", |cluster| cluster.controller().is_some_and(|(_, epoch)| epoch == 2));
    let follower = cluster.controller().map(|(node, _)| node).expect("it took over");
    cluster.apply(follower, &site("new"));

    // What its provider wanted while it was frozen is judged and proposed before it hears of its successor.
    cluster.draft(old, epoch, &site("late"));
    cluster.thaw(old);
    cluster.until("the late write is refused", |cluster| {
        cluster.saw(|kind| matches!(kind, EventKind::StaleWriteRefused { epoch: 1, current: 2, .. })) > 0
    });
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.machine(old).node().providers_epoch(), None);
    assert!(!cluster.running.contains_key(&old), "its providers were stopped");
    assert_eq!(cluster.generations().len(), 1);
    assert!(cluster.machine(old).node().store().config().get("http/routers/late@file").is_none());
}

#[test]
fn the_log_itself_refuses_a_write_of_an_old_epoch_on_every_node() {
    let mut cluster = Cluster::ready(3);
    let (old, epoch) = cluster.controller().expect("it is ready");
    cluster.kill(old);
    cluster.until("another takes over", |cluster| cluster.controller().is_some_and(|(_, epoch)| epoch == 2));
    let late = Change {
        id: ChangeId([9; 16]),
        author: Author::Controller { node: NodeId(old), epoch },
        at_unix_ms: 0,
        base: Some(0),
        puts: vec![Put::new(
            StoreKey::new("config/http/routers/late@file").expect("a key"),
            [1_u8].as_slice().into(),
        )],
        deletes: Vec::new(),
    };
    let command = Command::Change(late).encode().expect("small").0.to_vec();
    let leader = cluster.leader().expect("two of three");
    let ticket = cluster.ask(leader, Request::Propose { command }, Duration::from_secs(2));
    assert_eq!(cluster.answer(ticket), Response::Proposed);
    let refused = EventKind::StaleWriteRefused { epoch: 1, current: 2, decided_by_log: true };
    cluster.until("both nodes refuse it", |cluster| cluster.saw(|kind| *kind == refused) == 2);
    assert!(cluster.machine(leader).node().store().config().is_empty());
}

#[test]
fn what_is_no_command_is_refused_before_it_reaches_the_log() {
    let mut cluster = Cluster::ready(3);
    let (leader, follower) = (cluster.leader().expect("it is ready"), cluster.follower());
    let stage = Stage {
        id: ChangeId([7; 16]),
        author: Author::Operator { name: "operator-1".to_owned() },
        at_unix_ms: 0,
        base: None,
        digest: [0; 32],
        part: 0,
        of: 1,
        bytes: b"never a part".as_slice().into(),
    };
    let stage = Command::Stage(stage).encode().expect("small").0.to_vec();
    for command in [Vec::new(), b"\x01no command".to_vec(), vec![0xff; 64], stage] {
        for node in [leader, follower] {
            let request = Request::Propose { command: command.clone() };
            let ticket = cluster.ask(node, request, Duration::from_secs(2));
            let Response::Refused(refusal) = cluster.answer(ticket) else { panic!("{command:?} was taken") };
            assert_eq!(refusal.reason, RefusalReason::Unreadable);
            let text = refusal.problems.join("; ");
            assert!(text.contains("it is not put into the log"), "{text}");
        }
    }
    cluster.apply(follower, &site("after"));
    cluster.until("all feed the same", |cluster| cluster.generations().len() == 1);
    assert_eq!(cluster.alive().count(), 3);
}

/// Waits until the log says of every member what it understands.
fn until_recorded(cluster: &mut Cluster) {
    cluster.until("the log says what members understand", |cluster| {
        let said = |node: &Node, member| node.understood(NodeId(member)) == Some(Understood::this_build());
        cluster.alive().all(|(_, machine)| (1..=3).all(|member| said(machine.node(), member)))
    });
}

#[test]
fn a_feature_level_that_every_member_supports_by_the_log_can_be_raised_and_what_it_brings_used() {
    let mut cluster = Cluster::ready(3);
    until_recorded(&mut cluster);
    let leader = cluster.leader().expect("it is ready");
    let author = Author::Operator { name: "operator-1".to_owned() };
    let limits = Limits { version: 2, ..Limits::GENESIS };
    for command in [
        Command::RaiseFeatureLevel { author: author.clone(), at_unix_ms: 0, level: 1 },
        Command::SetLimits { author, at_unix_ms: 0, limits },
    ] {
        let command = command.encode().expect("small").0.to_vec();
        let ticket = cluster.ask(leader, Request::Propose { command }, Duration::from_secs(2));
        assert_eq!(cluster.answer(ticket), Response::Proposed);
        let is_raised = |store: &Store| store.feature_level() == 1;
        cluster.until("it is in force", |cluster| {
            cluster.alive().all(|(_, machine)| is_raised(machine.node().store()))
        });
    }
    cluster.until("the bounds are in force", |cluster| {
        cluster.alive().all(|(_, machine)| machine.node().store().limits().version == 2)
    });
    assert_eq!(cluster.alive().count(), 3);
}

#[test]
fn what_not_every_member_is_known_to_support_is_refused_before_it_reaches_the_log() {
    let mut cluster = Cluster::ready(3);
    let leader = cluster.leader().expect("it is ready");
    until_recorded(&mut cluster);
    let author = Author::Operator { name: "operator-1".to_owned() };
    let limits = Limits { version: 2, ..Limits::GENESIS };
    let later = Change {
        id: ChangeId([9; 16]),
        author: author.clone(),
        at_unix_ms: 0,
        base: None,
        puts: vec![Put::new(StoreKey::new("tokens/x").expect("a key"), [1_u8].as_slice().into())],
        deletes: Vec::new(),
    };
    let last = cluster.machine(leader).node().core().last_index();
    for (command, expected) in [
        (
            Command::RaiseFeatureLevel { author: author.clone(), at_unix_ms: 0, level: FEATURE_LEVEL + 1 },
            "not known of every member",
        ),
        (
            Command::SetLimits { author, at_unix_ms: 0, limits },
            "the feature level that brings it is not in force",
        ),
        (Command::Change(later), "no keys like \"tokens/x\""),
    ] {
        let command = command.encode().expect("small").0.to_vec();
        let ticket = cluster.ask(leader, Request::Propose { command }, Duration::from_secs(2));
        let Response::Refused(refusal) = cluster.answer(ticket) else { panic!("it was taken") };
        assert_eq!(refusal.reason, RefusalReason::BadRequest);
        let text = refusal.problems.join("; ");
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(cluster.machine(leader).node().core().last_index(), last, "the log does not know of them");
}

#[test]
fn a_command_over_its_quota_is_refused_before_the_log_with_the_mend_and_stops_nobody() {
    let mut cluster = Cluster::ready(3);
    until_recorded(&mut cluster);
    let (node, epoch) = cluster.controller().expect("it is ready");
    let leader = cluster.leader().expect("it is ready");
    let large: Vec<u8> = vec![0; usize::try_from(Limits::GENESIS.value_bytes_max).expect("small") + 1];
    let change = Change {
        id: ChangeId([8; 16]),
        author: Author::Controller { node: NodeId(node), epoch },
        at_unix_ms: 0,
        base: None,
        puts: vec![Put::new(StoreKey::new("user/large").expect("a key"), large.into())],
        deletes: Vec::new(),
    };
    let command = Command::Change(change).encode().expect("it fits one entry").0.to_vec();
    let last = cluster.machine(leader).node().core().last_index();
    let ticket = cluster.ask(leader, Request::Propose { command }, Duration::from_secs(2));
    let Response::Refused(refusal) = cluster.answer(ticket) else { panic!("it was taken") };
    assert_eq!(refusal.reason, RefusalReason::TooLarge);
    let text = refusal.problems.join("; ");
    assert!(text.contains("more than the 786432 allowed: split the object"), "{text}");
    assert_eq!(cluster.machine(leader).node().core().last_index(), last, "the log does not know of it");
    cluster.apply(leader, &site("after"));
    cluster.until("all feed the same", |cluster| cluster.generations().len() == 1);
    assert!(cluster.alive().all(|(_, machine)| machine.node().store().get("user/large").is_none()));
    assert_eq!(cluster.alive().count(), 3);
}

#[test]
fn only_a_node_without_a_leader_is_stale_and_still_feeds() {
    let mut cluster = Cluster::ready(3);
    let leader = cluster.leader().expect("it is ready");
    cluster.apply(leader, &site("a"));
    cluster.run(Duration::from_secs(1));
    let last = cluster.follower();
    let others: Vec<u64> = (1..=3).filter(|node| *node != last).collect();
    cluster.attach(7, last, None);
    cluster.until("the proxy knows that it is up to date", |cluster| {
        cluster.proxies.values().any(|proxy| proxy.stale == Some(false))
    });
    for node in &others {
        cluster.kill(*node);
    }
    cluster.until("it says that it is stale", |cluster| {
        cluster.proxies.values().any(|proxy| proxy.stale == Some(true))
    });
    cluster.attach(8, last, None);
    cluster.until("a new proxy is fed", |cluster| {
        cluster.proxies.get(&8).is_some_and(|proxy| proxy.serving.is_some())
    });
    for node in others {
        cluster.boot(node);
    }
    cluster.until("it is no longer stale", |cluster| {
        cluster.proxies.values().all(|proxy| proxy.stale == Some(false))
    });
}

#[test]
fn a_node_that_restarts_without_quorum_feeds_what_it_knows_to_be_committed() {
    let mut cluster = Cluster::ready(3);
    let leader = cluster.leader().expect("it is ready");
    let change = cluster.apply(leader, &site("a"));
    cluster.run(Duration::from_secs(3));
    for node in 1..=3 {
        cluster.kill(node);
    }
    cluster.boot(2);
    cluster.attach(7, 2, None);
    cluster.until("the proxy is fed", |cluster| cluster.proxies[&7].serving.is_some());
    let fed = cluster.machine(2).node().feeds().expect("it feeds");
    assert_eq!(fed.to_string(), change.generation.name);
    assert!(cluster.machine(2).node().core().leader().is_none() && !cluster.machine(2).node().is_healthy());
    cluster.boot(1);
    cluster.until("a leader", |cluster| cluster.leader().is_some());
    cluster.apply(1, &site("b"));
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.generations().len(), 1, "what was applied ahead is not applied again");
}

#[test]
fn every_node_comes_back_from_its_disk_without_a_hand() {
    let mut cluster = Cluster::ready(3);
    let leader = cluster.leader().expect("it is ready");
    let change = cluster.apply(leader, &site("a"));
    cluster.run(Duration::from_secs(1));
    for round in 0..3 {
        for node in 1..=3 {
            cluster.kill(node);
        }
        cluster.run(Duration::from_secs(30));
        for node in 1..=3 {
            cluster.boot(node);
        }
        cluster.until("a controller runs again", |cluster| cluster.controller().is_some());
        cluster.until("all feed the same", |cluster| {
            cluster.generations().len() == 1 && cluster.alive().all(|(_, m)| m.node().feeds().is_some())
        });
        let generation = cluster.generations().first().copied().expect("all feed it");
        assert_eq!(generation.to_string(), change.generation.name, "round {round}");
    }
}

#[test]
fn a_failed_disk_stops_the_node_and_only_requests_are_answered() {
    let mut cluster = Cluster::ready(3);
    let follower = cluster.follower();
    let actions = cluster.fail_disk(follower);
    let halts =
        |action: &crate::node::event::Action| matches!(action, crate::node::event::Action::Halt { .. });
    assert!(actions.iter().any(halts), "{actions:?}");
    let ticket = cluster.ask(follower, apply(&site("a")), Duration::from_secs(1));
    assert!(matches!(cluster.answer(ticket), Response::Unavailable { .. }));
}
