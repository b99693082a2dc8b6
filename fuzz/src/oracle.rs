//! Up to five nodes under any inputs, with members that come and go and leadership that is handed over, before the oracle of the
//! core's tests: it sees only what goes into cores and what comes out. The invariant catalogue judges beside it.

use std::collections::BTreeSet;

use ravelin_consensus::{Change, Configuration, Input, NodeId, Params, ProposalId, ReadId, Timer};

use harness::{Cluster, Text, incarnation};

#[path = "../../consensus/tests/support/cluster.rs"]
#[allow(dead_code)] // scripts use more of it
mod harness;

/// Most moves of one input; longer ones add nothing that shorter ones do not reach.
const MOVES_MAX: usize = 1_000;
/// Messages in flight beyond which half of them are lost.
const IN_FLIGHT_MAX: usize = 64;

/// The first byte says who is there, then three bytes for each move: what, at which node, and with what.
///
/// # Panics
/// If oracle or catalogue finds something broken: that is the property under test.
pub fn run(input: &[u8]) {
    reaches(input);
}

/// As [`run`]; the rare things that happened.
pub fn reaches(input: &[u8]) -> BTreeSet<&'static str> {
    let Some((who, moves)) = input.split_first() else { return BTreeSet::new() };
    let mut cluster = create(usize::from(*who));
    for (name, step) in (1..).zip(moves.as_chunks::<3>().0.iter().take(MOVES_MAX)) {
        let [kind, at, more] = step.map(usize::from);
        take(&mut cluster, name, kind, at, more);
    }
    cluster.seen.into_keys().collect()
}

fn create(who: usize) -> Cluster {
    let (voters, learners, spare) = (1 + who % 3, who / 3 % 2, who / 6 % 2);
    let ids = |from: usize, count: usize| (from + 1..=from + count).map(|id| NodeId(id as u64));
    let part = |from, count| ids(from, count).map(|id| (id, incarnation(id))).collect();
    let configuration = Configuration {
        voters: part(0, voters),
        learners: part(voters, learners),
        ..Configuration::default()
    };
    let spare: Vec<NodeId> = ids(voters + learners, spare).collect();
    let mut cluster = Cluster::new(&configuration, &spare, |params: &mut Params| {
        params.pre_vote = (who / 12).is_multiple_of(2);
        params.append_entries_max = 2;
        params.append_bytes_max = 100;
        params.inflight_messages_max = 2;
        params.inflight_bytes_max = 150;
        params.entry_bytes_max = 250;
        params.uncommitted_bytes_max = 250;
        params.log_bytes_max = 500;
        params.log_trailing_bytes_max = 50;
        params.reads_pending_max = 2;
    });
    let nodes: Vec<NodeId> = cluster.nodes.keys().copied().collect();
    nodes.into_iter().for_each(|node| drop(cluster.start(node)));
    cluster
}

fn id(cluster: &Cluster, at: usize) -> NodeId {
    let found = cluster.nodes.keys().nth(at % cluster.nodes.len().max(1));
    found.copied().expect("a place modulo the number of nodes, of which there is at least one voter")
}

fn take(cluster: &mut Cluster, name: u64, kind: usize, at: usize, more: usize) {
    let node = id(cluster, at);
    let in_flight = cluster.network.len();
    let timer = |timer| Input::Timer(timer);
    let input = match kind % 32 {
        0..=11 if in_flight > 0 => return drop(cluster.deliver(more % in_flight)),
        12 if in_flight > 0 => {
            let again = cluster.network[more % in_flight].clone();
            return cluster.network.push(again);
        }
        13 if in_flight > 0 => return drop(cluster.network.remove(more % in_flight)),
        14 | 15 => timer(Timer::Election),
        16 | 17 => timer(Timer::Heartbeat),
        18 => timer(if more.is_multiple_of(2) { Timer::CheckQuorum } else { Timer::Transfer }),
        19 => timer(Timer::Read),
        20 | 21 => Input::Propose { id: ProposalId(name), payload: Text(name.to_string().into()) },
        22 => Input::Read(ReadId(name)),
        23 => Input::Transfer(id(cluster, more)),
        24 => Input::Change { id: ProposalId(name), changes: changes(cluster, more) },
        25..=28 => return drop(cluster.persist(node)),
        29 => return drop(cluster.crash(node, more % 3)),
        30 if more.is_multiple_of(2) => return drop(cluster.take_snapshot(node)),
        30 => return drop(cluster.install(node)),
        31 => Input::Unreachable(id(cluster, more)),
        _ => return,
    };
    cluster.step(node, input);
    if cluster.network.len() > IN_FLIGHT_MAX {
        cluster.network.drain(..IN_FLIGHT_MAX / 2);
    }
}

/// One of the nodes, or two, become something, or are no longer.
fn changes(cluster: &Cluster, more: usize) -> Vec<Change> {
    let (node, other) = (id(cluster, more / 5), id(cluster, more / 5 + 1));
    let life = incarnation(node);
    match more % 5 {
        0 => vec![Change::AddLearner(node, life)],
        1 => vec![Change::AddVoter(node, life)],
        2 => vec![Change::Remove(node)],
        3 => vec![Change::Demote(node)],
        _ => vec![Change::AddVoter(node, life), Change::Remove(other)],
    }
}
