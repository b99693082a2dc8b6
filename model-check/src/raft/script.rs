//! A path of the model as a golden script: the same events, spoken to a cluster of cores that keeps everything it was sent.
//! It invents nothing: after each event both clusters must look the same, else the script says where they part.

use std::collections::BTreeMap;

use ravelin_consensus::{
    AppendOutcome, Body, Core, Entry, EntryKind, Life, Message, NodeId, Payload, Ticket, Timer,
};

use crate::golden::cluster::Text;
use crate::golden::render;
use crate::golden::script::Script;
use crate::raft::action::Event;
use crate::raft::bounds::{Bounds, Disk};
use crate::raft::model::{LEASE, PASSED_MICROS};
use crate::raft::network::{Load, Packet};
use crate::raft::state::State;
use crate::raft::symmetry::node_at;

/// A path as a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// The commands, each with its answer.
    pub text: String,
    /// Events until the script and the model differ; `None` if they never do.
    pub departs: Option<usize>,
}

/// Tells a path: states and the event that leads on from each.
#[must_use]
pub fn tell(bounds: &Bounds, path: &[(State, Option<Event>)]) -> Told {
    let mut teller = Teller::new(bounds);
    let mut departs = None;
    for (at, (state, event)) in path.iter().enumerate() {
        if departs.is_none() && !teller.stands_like(state) {
            departs = Some(at);
            teller.text.push_str("# From here on the script differs from the model.\n");
        }
        if let Some(event) = event {
            teller.tell(state, *event);
        }
    }
    Told { text: teller.text, departs }
}

struct Teller {
    script: Script,
    text: String,
    bounds: Bounds,
    /// The lives of each node so far, by their order: the script counts those of all nodes together.
    lives: BTreeMap<NodeId, Vec<Life>>,
    started: u64,
    proposed: u8,
}

impl Teller {
    fn new(bounds: &Bounds) -> Teller {
        let mut teller = Teller {
            script: Script::lenient(),
            text: String::new(),
            bounds: *bounds,
            lives: BTreeMap::new(),
            started: 0,
            proposed: 0,
        };
        let list = |nodes: std::ops::RangeInclusive<u8>| {
            nodes.map(|id| id.to_string()).collect::<Vec<_>>().join(",")
        };
        let mut line = format!("cluster voters={}", list(1..=bounds.voters));
        if bounds.voters < bounds.nodes {
            line += &format!(" spare={}", list(bounds.voters + 1..=bounds.nodes));
        }
        line += &format!(" entries={} window=1", bounds.entries);
        line += if bounds.pre_vote { " pre-vote=on" } else { "" };
        line += if bounds.check_quorum { " check-quorum=on" } else { "" };
        line += &bounds.lease.map(|_| format!(" lease={}", LEASE.as_micros())).unwrap_or_default();
        teller.say(&line);
        teller.say("start");
        let ids: Vec<NodeId> = teller.script.cluster().nodes.keys().copied().collect();
        ids.into_iter().for_each(|id| teller.lives_again(id));
        teller
    }

    fn lives_again(&mut self, node: NodeId) {
        self.started += 1;
        self.lives.entry(node).or_default().push(Life(self.started));
    }

    fn say(&mut self, command: &str) {
        let answer = self.script.run(command);
        self.text.push_str(&format!("{command}\n----\n{answer}\n"));
    }

    fn tell(&mut self, state: &State, event: Event) {
        let node = match event {
            Event::Deliver { packet, .. } => state.network.get(packet).map(|packet| packet.to),
            _ => event.node().map(node_at),
        };
        if event == Event::Pass {
            self.say(&format!("pass {PASSED_MICROS}"));
        }
        let Some(id) = node else { return };
        if let Some(command) = self.command(state, event, id) {
            self.say(&command);
        }
        if matches!(event, Event::Crash { .. } | Event::Recover { .. } | Event::Wipe { .. }) {
            self.lives_again(id);
        }
        let unfinished = self.script.cluster().nodes.get(&id).is_some_and(|node| !node.queue.is_empty());
        if self.bounds.disk == Disk::AtOnce && unfinished {
            self.say(&format!("persist {id}"));
        }
    }

    fn command(&mut self, state: &State, event: Event, id: NodeId) -> Option<String> {
        Some(match event {
            Event::Deliver { packet, again } => return self.delivery(state.network.get(packet)?, again),
            Event::Timer { timer, .. } => match timer {
                Timer::Election => format!("election {id}"),
                Timer::Heartbeat => format!("heartbeat {id}"),
                Timer::CheckQuorum => format!("check-quorum {id}"),
                Timer::Transfer => format!("transfer-timeout {id}"),
                Timer::Lease => format!("lease-timeout {id}"),
                Timer::Read => format!("ask-again {id}"),
            },
            Event::Propose { command, .. } => {
                self.proposed += 1;
                let number = if command == 0 { self.proposed } else { command };
                format!("propose {id} {}", letter(number))
            }
            Event::Change { added, removed, .. } => {
                let part = |key: &str, node: Option<usize>| {
                    node.map(|at| format!(" {key}={}", node_at(at))).unwrap_or_default()
                };
                format!("change {id}{}{}", part("add", added), part("remove", removed))
            }
            Event::Read { .. } => format!("read {id}"),
            Event::Transfer { to, .. } => format!("transfer {id} {}", node_at(to)),
            Event::Unreachable { peer, .. } => format!("unreachable {id} {}", node_at(peer)),
            Event::Persist { .. } => format!("persist {id} count=1"),
            Event::Crash { persisted, .. } => format!("crash {id} kept={persisted}"),
            Event::Recover { .. } => format!("recover {id}"),
            Event::Wipe { .. } => format!("wipe {id}"),
            Event::TakeSnapshot { .. } => format!("snapshot {id}"),
            Event::InstallSnapshot { .. } => format!("install {id}"),
            Event::Pass => return None,
        })
    }

    /// `deliver from=1 to=2 kind=append`, with `nr=` if that is not enough to name it.
    fn delivery(&mut self, wanted: &Packet, again: bool) -> Option<String> {
        let shown = render::message(&as_text(&wanted.message));
        let kind = shown.split(' ').nth(2).unwrap_or_default().to_owned();
        let follower_reads = self.bounds.follower_reads;
        let texts = self.bounds.sessions || self.bounds.clients > 0;
        let lives = &self.lives;
        let packets = &self.script.cluster().network;
        let mut selected = packets.iter().filter(|packet| {
            packet.from == wanted.from
                && packet.to == wanted.to
                && render::message(&packet.message).contains(&format!(" {kind}"))
        });
        let count = selected.clone().count();
        let at = selected.position(|packet| {
            let asker =
                if matches!(packet.message.body, Body::ReadReply { .. }) { packet.to } else { packet.from };
            let life = |life: Life| {
                let known = lives.get(&asker).and_then(|lives| lives.iter().position(|it| *it == life));
                Life(known.filter(|_| follower_reads).unwrap_or(0) as u64)
            };
            render::message(&blank(packet.message.clone(), texts, &life)) == shown
        })?;
        let nr = if count > 1 { format!(" nr={}", at + 1) } else { String::new() };
        let keep = if again { " keep=yes" } else { "" };
        Some(format!("deliver from={} to={} kind={kind}{nr}{keep}", wanted.from, wanted.to))
    }

    fn stands_like(&mut self, state: &State) -> bool {
        let nodes = &self.script.cluster().nodes;
        state.members.iter().all(|member| {
            let theirs = nodes.get(&member.core.id());
            theirs.is_some_and(|node| standing(&node.core) == standing(&member.core))
        })
    }
}

/// What must be the same of a node here and there.
fn standing<P: Payload>(core: &Core<P>) -> String {
    let terms: Vec<_> = (core.first_index().0..=core.last_index().0)
        .map(|index| core.term_at(ravelin_consensus::Index(index)))
        .collect();
    let peers: Vec<_> = core.peers().map(|peer| (peer.id, peer.matched, peer.next)).collect();
    let log = (core.term(), core.hard_state().vote, core.first_index(), terms, core.durable_index());
    format!("{:?}", (core.role(), core.leader(), log, core.commit_index(), core.applied_index(), peers))
}

/// A message of the model with the text of its commands; most say nothing.
fn as_text(message: &Message<Load>) -> Message<Text> {
    let Message { cluster, recovery_epoch, incarnation, term, body } = message.clone();
    let text = |entry: Entry<Load>| Entry {
        term: entry.term,
        kind: match entry.kind {
            EntryKind::Empty => EntryKind::Empty,
            EntryKind::Command(0) => EntryKind::Command(Text("".into())),
            EntryKind::Command(command) => EntryKind::Command(Text(letter(command).to_string().into())),
            EntryKind::Configuration(configuration) => EntryKind::Configuration(configuration),
        },
    };
    let body = match body {
        Body::Append { prev_index, prev_term, entries, commit, round } => {
            let entries = entries.into_iter().map(text).collect();
            Body::Append { prev_index, prev_term, entries, commit, round }
        }
        Body::Missing { prev_index, prev_term, entries } => {
            Body::Missing { prev_index, prev_term, entries: entries.into_iter().map(text).collect() }
        }
        Body::PreVote { last_index, last_term } => Body::PreVote { last_index, last_term },
        Body::PreVoteReply { granted } => Body::PreVoteReply { granted },
        Body::Vote { last_index, last_term } => Body::Vote { last_index, last_term },
        Body::VoteReply { granted } => Body::VoteReply { granted },
        Body::AppendReply { outcome, round } => Body::AppendReply { outcome, round },
        Body::Snapshot { meta, round } => Body::Snapshot { meta, round },
        Body::SnapshotReply { index, outcome, round } => Body::SnapshotReply { index, outcome, round },
        Body::TimeoutNow => Body::TimeoutNow,
        Body::Read { ticket } => Body::Read { ticket },
        Body::ReadReply { ticket, index } => Body::ReadReply { ticket, index },
    };
    Message { cluster, recovery_epoch, incarnation, term, body }
}

/// The text of a command.
fn letter(command: u8) -> char {
    (b'a' + command.saturating_sub(1) % 26) as char
}

/// A message of the script without what the model leaves out: the text of commands, unless a state machine there reads
/// these, and lives counted over all nodes.
fn blank(mut message: Message<Text>, texts: bool, life: &impl Fn(Life) -> Life) -> Message<Text> {
    match &mut message.body {
        Body::Append { entries, .. } | Body::Missing { entries, .. } if !texts => {
            let blank = |mut entry: Entry<Text>| {
                if let EntryKind::Command(text) = &mut entry.kind {
                    *text = Text("".into());
                }
                entry
            };
            *entries = std::mem::take(entries).into_iter().map(blank).collect();
        }
        Body::Read { ticket } | Body::ReadReply { ticket, .. } => {
            *ticket = Ticket { life: life(ticket.life), number: ticket.number };
        }
        Body::AppendReply {
            outcome: AppendOutcome::Accepted { .. } | AppendOutcome::Rejected { .. },
            ..
        } => {}
        _ => {}
    }
    message
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand::seq::IndexedRandom;
    use stateright::Model;

    use super::*;
    use crate::raft::{CONFIGURATIONS, Raft, Watch};

    /// A random path of so many events.
    fn walk(model: &Raft, seed: u64, events: usize) -> Vec<(State, Option<Event>)> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut path = Vec::new();
        let mut state = model.init_states().pop().expect("one first state");
        for _ in 0..events {
            let mut actions = Vec::new();
            model.actions(&state, &mut actions);
            let Some(action) = actions.choose(&mut random) else { break };
            let event = action.event;
            let next = model.next_state(&state, action.clone()).expect("an action leads somewhere");
            path.push((state, Some(event)));
            state = next;
        }
        path.push((state, None));
        path
    }

    #[test]
    fn random_paths_of_every_configuration_are_told_without_a_difference() {
        let mut told = 0;
        for bounds in CONFIGURATIONS {
            let model = Raft::new(*bounds, Watch::Everything);
            for seed in 0..20 {
                let path = walk(&model, seed, 60);
                let Told { text, departs } = tell(bounds, &path);
                assert_eq!(departs, None, "{} seed {seed}:\n{text}", bounds.name);
                assert!(!text.contains("BROKEN"), "{} seed {seed}:\n{text}", bounds.name);
                told += path.len();
            }
        }
        assert!(told > 5_000, "the walks end early: {told} events");
    }
}
