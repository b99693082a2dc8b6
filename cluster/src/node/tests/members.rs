//! The set of control nodes: who joins and goes, who leads next, who answers a read.

use std::collections::BTreeSet;
use std::time::Duration;

use ravelin_consensus::Configuration;

use super::harness::{Cluster, site};
use crate::request::nodes::{Leadership, NodeChange, NodeContact, NodeList};
use crate::request::status::EventKind;
use crate::request::{Consistency, Request, Response};

/// Above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn add_of_epoch(node: u64, recovery_epoch: u32) -> Request {
    let contact = NodeContact {
        node,
        recovery_epoch,
        incarnation: 1,
        address: format!("c{node}:1"),
        public_key_sha256: vec![7; 32],
    };
    Request::ChangeNode(NodeChange::Add { contact, votes: true })
}

fn add(node: u64) -> Request {
    add_of_epoch(node, 0)
}

fn remove(node: u64) -> Request {
    Request::ChangeNode(NodeChange::Remove { node, force: false })
}

fn listed(response: Response) -> NodeList {
    match response {
        Response::Nodes(list) => list,
        other => panic!("not done: {other:?}"),
    }
}

fn ask(cluster: &mut Cluster, node: u64, request: Request) -> Response {
    let ticket = cluster.ask(node, request, PATIENCE);
    cluster.answer(ticket)
}

fn voters(members: &Configuration) -> BTreeSet<u64> {
    members.voters.keys().map(|node| node.0).collect()
}

fn all_agree(cluster: &Cluster, wanted: &[u64]) -> bool {
    let wanted: BTreeSet<u64> = wanted.iter().copied().collect();
    let of = |node: &u64| cluster.machine(*node).node().core().configuration();
    wanted.iter().all(|node| voters(of(node)) == wanted && !of(node).is_joint())
}

#[test]
fn nodes_that_join_behind_a_compacted_log_get_a_snapshot_and_vote_as_a_pair() {
    let mut cluster = Cluster::new(3);
    cluster.log_bytes_max = Some(64 << 10);
    for node in 1..=3 {
        cluster.boot(node);
    }
    cluster.until("a controller runs", |cluster| cluster.controller().is_some());
    let leader = cluster.leader().expect("one leads");
    for number in 0..150 {
        cluster.apply(leader, &site(&format!("site{number}")));
    }
    cluster.join(4);
    cluster.join(5);
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.machine(4).node().core().term().0, 0, "it never campaigns");

    let agent = cluster.follower();
    let first = ask(&mut cluster, leader, add(4));
    assert_eq!(listed(first).nodes.len(), 4);
    cluster.until("it installs a snapshot", |cluster| {
        cluster.saw(|kind| matches!(kind, EventKind::SnapshotTaken { installed: true, .. })) > 0
    });
    cluster.run(Duration::from_secs(3));
    assert!(all_agree(&cluster, &[1, 2, 3]), "alone it stays a spare");
    let agent = if agent == 4 { leader } else { agent };
    listed(ask(&mut cluster, agent, add(5)));
    cluster.until("both vote", |cluster| all_agree(cluster, &[1, 2, 3, 4, 5]));
    let again = listed(ask(&mut cluster, leader, add(5)));
    assert_eq!(again.nodes.len(), 5, "it changes nothing");
    cluster.until("all feed the same", |cluster| cluster.generations().len() == 1);
    assert_eq!(cluster.machine(5).node().store().config().len(), 300);
    cluster.kill(4);
    cluster.boot(4);
    cluster.until("it comes back a voter", |cluster| all_agree(cluster, &[1, 2, 3, 4, 5]));
}

#[test]
fn a_node_that_restarts_knows_the_members_by_entries_that_it_knew_to_be_committed() {
    let mut cluster = Cluster::new(3);
    cluster.log_bytes_max = Some(64 << 10);
    for node in 1..=3 {
        cluster.boot(node);
    }
    cluster.until("a controller runs", |cluster| cluster.controller().is_some());
    let leader = cluster.leader().expect("one leads");
    for node in [4, 5] {
        cluster.join(node);
        listed(ask(&mut cluster, leader, add(node)));
    }
    cluster.until("both vote", |cluster| all_agree(cluster, &[1, 2, 3, 4, 5]));
    cluster.run(Duration::from_secs(3));
    // How far the log is committed is noted by now, and with it the node applies the entries itself when it comes back.
    let agent = cluster.follower();
    cluster.kill(agent);
    cluster.boot(agent);
    for number in 0..100 {
        cluster.apply(leader, &site(&format!("site{number}")));
    }
    let five = BTreeSet::from([1, 2, 3, 4, 5]);
    cluster.until("it takes a snapshot", |cluster| cluster.machine(agent).node().core().snapshot().is_some());
    let taken = cluster.machine(agent).node().core().snapshot().expect("just now");
    assert_eq!(voters(&taken.configuration), five);
    cluster.kill(agent);
    cluster.boot(agent);
    assert_eq!(voters(cluster.machine(agent).node().core().configuration()), five, "as its disk says");
}

#[test]
fn a_leader_that_is_removed_hands_over_and_a_spare_takes_its_place() {
    let mut cluster = Cluster::ready(3);
    cluster.join(4);
    let leader = cluster.leader().expect("one leads");
    listed(ask(&mut cluster, leader, add(4)));
    let agent =
        cluster.alive().map(|(node, _)| node).find(|node| *node < 4 && *node != leader).expect("three");
    let list = listed(ask(&mut cluster, agent, remove(leader)));
    assert!(list.nodes.iter().all(|node| node.node != leader) && list.leader != leader, "{list:?}");
    let left: Vec<u64> = (1..=4).filter(|node| *node != leader).collect();
    assert!(all_agree(&cluster, &left));
    cluster.until("the removed node ends", |cluster| cluster.removed == [leader]);
    let again = ask(&mut cluster, agent, add(leader));
    let Response::Refused(refusal) = again else { panic!("{again:?}") };
    assert!(
        refusal.problems.concat().contains("was removed, and this identity of it with it"),
        "{refusal:?}"
    );
    cluster.apply(agent, &site("after"));
}

#[test]
fn leadership_moves_on_request_and_the_answer_says_who_leads() {
    let mut cluster = Cluster::ready(3);
    let leader = cluster.leader().expect("one leads");
    let agent = cluster.follower();
    let third = (1..=3).find(|node| ![leader, agent].contains(node)).expect("three nodes");
    let moved = ask(&mut cluster, agent, Request::TransferLeader { to: Some(third) });
    let Response::Leads(Leadership { leader: now, wanted, .. }) = moved else { panic!("{moved:?}") };
    assert_eq!((now, wanted, cluster.leader()), (third, third, Some(third)));
    let kept = ask(&mut cluster, leader, Request::TransferLeader { to: Some(third) });
    assert!(
        matches!(kept, Response::Leads(Leadership { leader, wanted, .. }) if leader == wanted),
        "{kept:?}"
    );

    cluster.freeze(agent);
    let failed = ask(&mut cluster, third, Request::TransferLeader { to: Some(agent) });
    let Response::Leads(Leadership { leader: now, wanted, .. }) = failed else { panic!("{failed:?}") };
    assert_eq!((now, wanted), (third, agent), "it did not take over, and that is said");
    let any = ask(&mut cluster, third, Request::TransferLeader { to: None });
    assert!(matches!(any, Response::Leads(Leadership { leader: now, .. }) if now == leader), "{any:?}");
    let nobody = ask(&mut cluster, leader, Request::TransferLeader { to: Some(9) });
    assert!(matches!(nobody, Response::Refused(_)), "{nobody:?}");
}

#[test]
fn a_hand_over_whose_leader_dies_is_unknown_and_never_said_to_have_failed() {
    let mut cluster = Cluster::ready(3);
    let leader = cluster.leader().expect("one leads");
    let agent = cluster.follower();
    let ticket = cluster.ask(agent, Request::TransferLeader { to: None }, Duration::from_secs(4));
    cluster.kill(leader);
    let answer = cluster.answer(ticket);
    assert!(matches!(answer, Response::Unknown { .. }), "{answer:?}");
}

#[test]
fn a_change_that_a_dying_leader_wrote_is_finished_by_the_next() {
    let mut cluster = Cluster::ready(5);
    let leader = cluster.leader().expect("one leads");
    let (agent, gone) = {
        let mut others = (1..=5).filter(|node| *node != leader);
        (others.next().expect("five"), others.next_back().expect("five"))
    };
    // The record is written, and the members are not changed yet: that waits for the next regular look.
    let ticket = cluster.ask(leader, remove(gone), PATIENCE);
    let recorded = |cluster: &Cluster| {
        let (records, _) = crate::members::records(cluster.machine(agent).node().store());
        records.get(&ravelin_consensus::NodeId(gone)).is_some_and(|record| !record.is_wanted())
    };
    cluster.until("the record is applied elsewhere", recorded);
    assert!(cluster.answered(ticket).is_none());
    cluster.kill(leader);
    cluster.until("the next leader removes it", |cluster| {
        let members = cluster.machine(agent).node().core().configuration();
        members.members().all(|node| node.0 != gone) && members.voters.len() == 3 && !members.is_joint()
    });
    cluster.until("the removed node ends", |cluster| cluster.removed.contains(&gone));
}

#[test]
fn a_follower_that_has_caught_up_answers_reads_itself() {
    let mut cluster = Cluster::ready(3);
    let leader = cluster.leader().expect("one leads");
    let (agent, before) = (cluster.follower(), cluster.calls);
    cluster.apply(leader, &site("one"));
    let calls = cluster.calls;
    assert!(calls >= before);
    let get = Request::Get {
        prefix: "http/".to_owned(),
        after: None,
        limit: 10,
        consistency: Consistency::Linearizable,
    };
    let response = ask(&mut cluster, agent, get.clone());
    let Response::Objects(objects) = response else { panic!("{response:?}") };
    assert!(!objects.stale && objects.objects.len() == 2, "{objects:?}");
    assert_eq!(cluster.calls, calls, "nobody else was asked");
    // Without a quorum it knows of no commit that it could answer by.
    let others: Vec<u64> = (1..=3).filter(|node| *node != agent).collect();
    for other in others {
        cluster.kill(other);
    }
    let ticket = cluster.ask(agent, get, Duration::from_secs(4));
    assert!(matches!(cluster.answer(ticket), Response::Unavailable { .. }));
}
