//! Random walks of a cluster: any order of messages, timers, writes, crashes and snapshots, judged by the invariant
//! catalogue after every step; then a calm phase in which the cluster must come to agree (L1, L2).

#[path = "support/cluster.rs"]
mod cluster;

use std::cell::RefCell;
use std::collections::BTreeMap;

use cluster::{Cluster, Text, incarnation};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use ravelin_consensus::{Change, Configuration, Input, NodeId, Params, ProposalId, ReadId, RoleName, Timer};

/// One thing to do; numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
enum Move {
    Deliver(usize),
    Repeat(usize),
    Lose(usize),
    Timer(usize, Timer),
    Propose(usize),
    Read(usize),
    Change(usize, usize, u8),
    Transfer(usize, usize),
    Persist(usize),
    Crash(usize, usize),
    Snapshot(usize),
    Install(usize),
    InstallFails(usize),
    Unreachable(usize, usize),
}

fn any_move() -> impl Strategy<Value = Move> {
    let node = 0..5usize;
    prop_oneof![
        40 => (0..64usize).prop_map(Move::Deliver),
        2 => (0..64usize).prop_map(Move::Repeat),
        4 => (0..64usize).prop_map(Move::Lose),
        6 => node.clone().prop_map(|at| Move::Timer(at, Timer::Election)),
        8 => node.clone().prop_map(|at| Move::Timer(at, Timer::Heartbeat)),
        2 => node.clone().prop_map(|at| Move::Timer(at, Timer::CheckQuorum)),
        1 => node.clone().prop_map(|at| Move::Timer(at, Timer::Transfer)),
        2 => node.clone().prop_map(|at| Move::Timer(at, Timer::Read)),
        2 => (node.clone(), 0..6usize).prop_map(|(at, to)| Move::Transfer(at, to)),
        12 => node.clone().prop_map(Move::Propose),
        4 => node.clone().prop_map(Move::Read),
        3 => (node.clone(), 0..6usize, 0..5u8).prop_map(|(at, of, what)| Move::Change(at, of, what)),
        25 => node.clone().prop_map(Move::Persist),
        2 => (node.clone(), 0..3usize).prop_map(|(at, kept)| Move::Crash(at, kept)),
        4 => node.clone().prop_map(Move::Snapshot),
        4 => node.clone().prop_map(Move::Install),
        1 => node.clone().prop_map(Move::InstallFails),
        2 => (node.clone(), node).prop_map(|(at, peer)| Move::Unreachable(at, peer)),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Setting {
    voters: u64,
    learners: u64,
    spare: u64,
    outgoing: bool,
    pre_vote: bool,
    entries: usize,
    window: usize,
    log: u64,
    trailing: u64,
}

fn any_setting() -> impl Strategy<Value = Setting> {
    let members = (1..6u64, 0..2u64, 0..3u64, any::<bool>());
    let bounds = (1..4usize, 1..4usize, 300..700u64, 0..120u64);
    (members, any::<bool>(), bounds).prop_map(|(members, pre_vote, (entries, window, log, trailing))| {
        let (voters, learners, spare, outgoing) = members;
        Setting { voters, learners, spare, outgoing, pre_vote, entries, window, log, trailing }
    })
}

fn create(setting: Setting) -> Cluster {
    let part = |ids: std::ops::RangeInclusive<u64>| ids.map(NodeId).map(|id| (id, incarnation(id)));
    let Setting { voters, learners, spare, .. } = setting;
    let spare: Vec<NodeId> = (1..=spare).map(|at| NodeId(voters + learners + at)).collect();
    let configuration = Configuration {
        voters: part(1..=voters).collect(),
        outgoing: part(1..=voters.div_ceil(2)).filter(|_| setting.outgoing).collect(),
        learners: part(voters + 1..=voters + learners).collect(),
        ..Configuration::default()
    };
    let mut cluster = Cluster::new(&configuration, &spare, |params: &mut Params| {
        params.pre_vote = setting.pre_vote;
        params.append_entries_max = setting.entries;
        params.append_bytes_max = 100;
        params.inflight_messages_max = setting.window;
        params.inflight_bytes_max = 150;
        params.entry_bytes_max = 250;
        params.uncommitted_bytes_max = 250;
        params.log_bytes_max = setting.log;
        params.log_trailing_bytes_max = setting.trailing.min(setting.log / 4);
        params.reads_pending_max = 3;
    });
    for at in 0..cluster.nodes.len() {
        let node = id(&cluster, at);
        cluster.start(node);
    }
    cluster
}

fn id(cluster: &Cluster, at: usize) -> NodeId {
    *cluster.nodes.keys().nth(at % cluster.nodes.len()).expect("a place modulo the number of nodes")
}

fn take(cluster: &mut Cluster, step: Move, names: &mut u64) {
    *names += 1;
    match step {
        Move::Deliver(at) if !cluster.network.is_empty() => {
            let at = at % cluster.network.len();
            cluster.deliver(at);
        }
        Move::Repeat(at) if !cluster.network.is_empty() => {
            let packet = cluster.network[at % cluster.network.len()].clone();
            cluster.network.push(packet);
        }
        Move::Lose(at) if !cluster.network.is_empty() => {
            let at = at % cluster.network.len();
            cluster.network.remove(at);
        }
        Move::Deliver(_) | Move::Repeat(_) | Move::Lose(_) => {}
        Move::Timer(at, timer) => drop(cluster.step(id(cluster, at), Input::Timer(timer))),
        Move::Propose(at) => {
            let payload = Text(format!("{names}").into());
            cluster.step(id(cluster, at), Input::Propose { id: ProposalId(*names), payload });
        }
        Move::Transfer(at, to) => {
            let to = id(cluster, to);
            cluster.step(id(cluster, at), Input::Transfer(to));
        }
        Move::Change(at, of, what) => change(cluster, id(cluster, at), of, what, ProposalId(*names)),
        Move::Read(at) => drop(cluster.step(id(cluster, at), Input::Read(ReadId(*names)))),
        Move::Persist(at) => drop(cluster.persist(id(cluster, at))),
        Move::Crash(at, kept) => drop(cluster.crash(id(cluster, at), kept)),
        Move::Snapshot(at) => drop(cluster.take_snapshot(id(cluster, at))),
        Move::Install(at) => drop(cluster.install(id(cluster, at))),
        Move::InstallFails(at) => {
            let node = id(cluster, at);
            if let Some(meta) = cluster.nodes.get_mut(&node).and_then(|node| node.awaited.take()) {
                cluster.step(node, Input::SnapshotFailed(Box::new(meta)));
            }
        }
        Move::Unreachable(at, peer) => {
            let peer = id(cluster, peer);
            cluster.step(id(cluster, at), Input::Unreachable(peer));
        }
    }
    // What nobody delivers is lost some time.
    if cluster.network.len() > 64 {
        cluster.network.drain(..32);
    }
}

/// One or two of the nodes that there are become, or are no longer, something.
fn change(cluster: &mut Cluster, leader: NodeId, of: usize, what: u8, name: ProposalId) {
    let (node, other) = (id(cluster, of), id(cluster, of + 1));
    let life = incarnation(node);
    let changes = match what {
        0 => vec![Change::AddLearner(node, life)],
        1 => vec![Change::AddVoter(node, life)],
        2 => vec![Change::Remove(node)],
        3 => vec![Change::Demote(node)],
        _ => vec![Change::AddVoter(node, life), Change::Remove(other)],
    };
    cluster.step(leader, Input::Change { id: name, changes });
}

/// Writes and messages go through, whatever is asked for is done, until nothing moves.
fn settle(cluster: &mut Cluster) {
    for _ in 0..10_000 {
        let ids: Vec<NodeId> = cluster.nodes.keys().copied().collect();
        let mut moved = false;
        for id in ids {
            while cluster.persist(id).is_some() {
                moved = true;
            }
            moved |= cluster.install(id).is_some();
        }
        if !cluster.network.is_empty() {
            cluster.deliver(0);
        } else if !moved {
            return;
        }
    }
    let mut last = Vec::new();
    for _ in 0..6 {
        let packet = cluster.network[0].clone();
        last.push(format!("{} -> {}: {:?}", packet.from, packet.to, packet.message.body));
        cluster.deliver(0);
        let ids: Vec<NodeId> = cluster.nodes.keys().copied().collect();
        ids.into_iter().for_each(|id| while cluster.persist(id).is_some() {});
    }
    panic!("messages beget messages without end:\n{}", last.join("\n"));
}

fn leader(cluster: &Cluster) -> Option<NodeId> {
    let leaders = cluster.nodes.values().filter(|node| node.core.role() == RoleName::Leader);
    leaders.max_by_key(|node| node.core.term()).map(|node| node.core.id())
}

/// Timers run out in turn until there is a leader whom all follow, and everybody holds the same.
fn come_to_agree(cluster: &mut Cluster) -> Vec<NodeId> {
    let count = cluster.nodes.len();
    cluster.network.clear();
    for round in 0..60 {
        settle(cluster);
        for at in 0..count {
            let node = id(cluster, at);
            cluster.take_snapshot(node);
        }
        match leader(cluster) {
            Some(leader) => {
                cluster.step(leader, Input::Timer(Timer::Heartbeat));
                settle(cluster);
                let last = cluster.nodes[&leader].core.last_index();
                let members = cluster.nodes[&leader].core.configuration().clone();
                let agreed = members.members().all(|node| {
                    let core = &cluster.nodes[&node].core;
                    core.leader() == Some(leader) && core.applied_index() == last
                });
                // A leader whose own removal is committed has gone; the next round finds another.
                if agreed && !members.is_joint() && cluster.is_voter(leader) {
                    return members.members().collect();
                }
            }
            None => {
                // Every timer runs out before anybody hears, the last one with the best chance.
                for at in 0..count {
                    let node = id(cluster, at + round);
                    cluster.step(node, Input::Timer(Timer::Election));
                }
                cluster.network.clear();
                let node = id(cluster, round);
                cluster.step(node, Input::Timer(Timer::Election));
            }
        }
    }
    let states: Vec<String> =
        cluster.nodes.values().map(|node| format!("{:?} {:?}", node.core.id(), node.core)).collect();
    panic!("no agreement in 60 rounds:\n{}", states.join("\n"));
}

/// What some walk must have shown; otherwise the walks say nothing about it.
const RARE: [&str; 15] = [
    "handed over",
    "not handed over",
    "read ready at a follower",
    "members changed",
    "change pending",
    "removed leader stepped down",
    "snapshot installed",
    "entries cut off",
    "write lost",
    "read ready",
    "read failed",
    "busy",
    "log full",
    "snapshot asked for",
    "append rejected",
];

#[test]
fn invariants_hold_and_the_cluster_comes_to_agree() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let seen = RefCell::new(BTreeMap::<&str, u64>::new());
    let walks = (any_setting(), proptest::collection::vec(any_move(), 0..400));
    let outcome = TestRunner::new(config).run(&walks, |(setting, moves)| {
        let mut cluster = create(setting);
        let mut names = 0;
        for step in moves {
            take(&mut cluster, step, &mut names);
        }
        let members = come_to_agree(&mut cluster);
        let ends: Vec<_> = members
            .iter()
            .map(|node| &cluster.nodes[node].core)
            .map(|core| {
                (core.last_index(), core.commit_index(), core.last_term(), core.configuration().clone())
            })
            .collect();
        prop_assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
        for (what, count) in &cluster.seen {
            *seen.borrow_mut().entry(what).or_default() += count;
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let seen = seen.into_inner();
    println!("{seen:?}");
    let missing: Vec<_> = RARE.iter().filter(|what| !seen.contains_key(*what)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
}
