//! The model: which events are possible in a state, and what each makes of it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::time::Instant;

use ravelin_consensus::invariant::Violation;
use ravelin_consensus::{
    Change, ClusterId, Configuration, Durable, Incarnation, Input, Life, NodeId, Params, ProposalId, ReadId,
    RoleName, SnapshotMeta, Time, Timer,
};
use stateright::{Model, Property};

use crate::raft::action::{Action, Event};
use crate::raft::bounds::{Bounds, Wanted, Watch};
use crate::raft::machine;
use crate::raft::member::{Member, Outcome, Shared};
use crate::raft::network::{Load, Packet, Packets, choices, keep};
use crate::raft::past::{Past, Step};
use crate::raft::property::{self, Transition};
use crate::raft::state::{State, Used};
use crate::raft::symmetry::{Renamings, fingerprint, node_at, slot};

/// A lease, and what passes at a time: the wait for it, which is an eighth longer.
pub(crate) const LEASE: Duration = Duration::from_micros(8);
pub(crate) const PASSED_MICROS: u64 = 9;
const SHARDS: usize = 64;
/// Outcomes remembered per shard; beyond that a shard is emptied, which only costs time.
const OUTCOMES_MAX: usize = 40_000;

/// What events make of nodes, by the hashes of both.
type Outcomes = HashMap<u64, Arc<Outcome>, BuildHasherDefault<AsIs>>;

/// Keys that are hashes already need no further hashing.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = fingerprint(&bytes);
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// The shipped core under every order of events within [`Bounds`].
pub struct Raft {
    pub(crate) bounds: Bounds,
    shared: Shared,
    /// The core is deterministic, so what an event makes of a node is computed once.
    outcomes: Vec<Mutex<Outcomes>>,
    /// Bits of [`Mark`](property::Mark): rare things that happened in some transition.
    pub(crate) marks: AtomicU64,
    /// When to look at no more states.
    pub(crate) deadline: Option<Instant>,
    /// States whose actions were listed.
    pub(crate) expanded: Alone,
}

/// A counter of all threads, in memory of its own: who only reads what lies beside it does not wait for it.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Alone(pub(crate) AtomicU64);

impl Raft {
    /// A model within these bounds.
    #[must_use]
    pub fn new(bounds: Bounds, watch: Watch) -> Raft {
        let incarnation = Incarnation(1);
        let nodes = (1..=u64::from(bounds.nodes)).map(NodeId);
        let params = |node| {
            let mut params = Params::new(ClusterId::default(), node, incarnation);
            params.pre_vote = bounds.pre_vote;
            params.check_quorum = bounds.check_quorum;
            params.inflight_messages_max = 1;
            params.append_entries_max = bounds.entries;
            params.log_trailing_bytes_max = 0;
            params.lease = bounds.lease.map(|_| LEASE);
            Arc::new(params)
        };
        let shared = Shared {
            params: nodes.clone().map(params).collect(),
            configuration: Configuration::of_voters(
                nodes.take(usize::from(bounds.voters)).map(|node| (node, incarnation)),
            ),
            renamings: Renamings::all(
                bounds.nodes,
                bounds.voters < bounds.nodes || bounds.changes > 0 || bounds.recoveries > 0,
            ),
            disk: bounds.disk,
            sessions: bounds.sessions,
            watch,
        };
        Raft {
            bounds,
            shared,
            outcomes: (0..SHARDS).map(|_| Mutex::default()).collect(),
            marks: AtomicU64::new(0),
            deadline: None,
            expanded: Alone::default(),
        }
    }

    fn remembered(
        &self,
        member: &Member,
        event: &impl Hash,
        compute: impl FnOnce() -> Outcome,
    ) -> Arc<Outcome> {
        let key = fingerprint(&(member.hashes[0], event));
        let shard = &self.outcomes[usize::try_from(key >> 32).unwrap_or_default() % SHARDS];
        if let Some(outcome) = shard.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Arc::clone(outcome);
        }
        let outcome = Arc::new(compute());
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= OUTCOMES_MAX {
            shard.clear();
        }
        shard.insert(key, Arc::clone(&outcome));
        outcome
    }

    /// What an event makes of the node that takes part.
    fn outcome(&self, state: &State, event: Event) -> (usize, Arc<Outcome>) {
        if let Event::Deliver { packet, .. } = event {
            let packet = &state.network[packet];
            let at = slot(packet.to);
            let input = || Input::Message { from: packet.from, message: packet.message.clone() };
            let compute = || self.shared.perform(&timed(state, at), input());
            let event = (packet.hash(), state.used.passes);
            return (at, self.remembered(&state.members[at], &event, compute));
        }
        let at = event.node().unwrap_or_default();
        // Reads are told apart by their number, which is not part of the event.
        let read = ReadId(u64::from(state.used.reads));
        let compute = || self.performed(&timed(state, at), event, read);
        (at, self.remembered(&state.members[at], &(event, read, state.used.passes), compute))
    }

    /// What an event that is no delivery makes of a node.
    fn performed(&self, member: &Member, event: Event, read: ReadId) -> Outcome {
        let perform = |input| self.shared.perform(member, input);
        match event {
            Event::Timer { timer, .. } => perform(Input::Timer(timer)),
            Event::Propose { command, .. } => perform(Input::Propose { id: ProposalId(0), payload: command }),
            Event::Change { added, removed, .. } => {
                let added = added.map(|node| Change::AddVoter(node_at(node), Incarnation(1)));
                let removed = removed.map(|node| Change::Remove(node_at(node)));
                let changes = added.into_iter().chain(removed).collect();
                perform(Input::Change { id: ProposalId(0), changes })
            }
            Event::Read { .. } => perform(Input::Read(read)),
            Event::Transfer { to, .. } => perform(Input::Transfer(node_at(to))),
            Event::Unreachable { peer, .. } => perform(Input::Unreachable(node_at(peer))),
            Event::Persist { .. } => self.shared.persist(member),
            Event::Crash { persisted, .. } => self.crash(member, persisted),
            Event::Recover { .. } => self.recover(member),
            Event::Wipe { .. } => self.wipe(member),
            Event::TakeSnapshot { .. } => self.take_snapshot(member),
            Event::InstallSnapshot { .. } => self.install_snapshot(member),
            Event::Deliver { .. } | Event::Pass => Outcome {
                member: Arc::new(member.clone()),
                sent: Vec::new(),
                told: Vec::new(),
                violation: None,
            },
        }
    }

    fn crash(&self, member: &Member, persisted: usize) -> Outcome {
        let mut disk = member.disk.clone();
        for batch in member.queue.iter().take(persisted) {
            disk.write(batch);
        }
        let life = Life(member.life.0 + u64::from(self.bounds.follower_reads));
        self.start(member, member.core.params().clone(), disk, life)
    }

    /// A node starts anew from a disk.
    fn start(&self, member: &Member, params: Params, disk: Durable<Load>, life: Life) -> Outcome {
        match self.shared.start(Arc::new(params), disk, life, member.now) {
            Ok(outcome) => outcome,
            Err(corrupt) => Outcome {
                member: Arc::new(member.clone()),
                sent: Vec::new(),
                told: Vec::new(),
                violation: Some(Violation { id: "I36", detail: corrupt.to_string() }),
            },
        }
    }

    fn recover(&self, member: &Member) -> Outcome {
        let mut params = member.core.params().clone();
        params.recovery_epoch.0 += 1;
        let (life, epoch) = (params.incarnation, params.recovery_epoch);
        let disk = member.disk.clone().recovered(params.id, life, epoch);
        self.start(member, params, disk, member.life)
    }

    fn wipe(&self, member: &Member) -> Outcome {
        let mut params = Params::clone(member.core.params());
        params.incarnation = Incarnation(params.incarnation.0 + 1);
        let disk = Durable::genesis(self.shared.configuration.clone());
        self.start(member, params, disk, member.life)
    }

    fn take_snapshot(&self, member: &Member) -> Outcome {
        let core = &member.core;
        let index = core.applied_index();
        let meta = SnapshotMeta {
            index,
            term: core.term_at(index).unwrap_or_default(),
            digest: [0; 32],
            configuration: core.configuration_at(index).clone(),
        };
        let mut member = member.clone();
        member.disk.compact(&meta);
        self.shared.perform(&member, Input::SnapshotTaken(Box::new(meta)))
    }

    fn install_snapshot(&self, member: &Member) -> Outcome {
        let mut member = member.clone();
        match member.awaited.take() {
            Some(meta) => self.shared.perform(&member, Input::SnapshotInstalled(Box::new(meta))),
            None => self.shared.perform(&member, Input::Start { life: member.life }),
        }
    }

    fn events(&self, state: &State) -> Vec<Event> {
        let mut events = Vec::new();
        for packet in 0..state.network.len() {
            events.push(Event::Deliver { packet, again: false });
            if state.used.duplicates < self.bounds.duplicates {
                events.push(Event::Deliver { packet, again: true });
            }
        }
        for (node, member) in state.members.iter().enumerate() {
            let core = &member.core;
            let leads = core.role() == RoleName::Leader;
            if !leads && core.term().0 < self.bounds.terms {
                events.push(Event::Timer { node, timer: Timer::Election });
            }
            if leads {
                self.of_leader(state, node, &mut events);
            }
            let asked = state.used.reads < self.bounds.reads && self.somebody_is_idle(state);
            if asked && (leads || self.bounds.follower_reads) {
                events.push(Event::Read { node });
            }
            if core.transfer().is_some() {
                events.push(Event::Timer { node, timer: Timer::Transfer });
            }
            if !member.queue.is_empty() {
                events.push(Event::Persist { node });
            }
            if state.used.crashes < self.bounds.crashes {
                events.extend((0..=member.queue.len()).map(|persisted| Event::Crash { node, persisted }));
            }
            if state.used.recoveries < self.bounds.recoveries {
                events.push(Event::Recover { node });
            }
            if state.used.wipes < self.bounds.wipes {
                events.push(Event::Wipe { node });
            }
            let snapshot = core.snapshot().map_or(0, |meta| meta.index.0);
            // What a snapshot holds is not part of the model, so state machines that matter go without.
            let kept = !self.bounds.sessions && self.bounds.clients == 0;
            if kept && state.used.snapshots < self.bounds.snapshots && core.applied_index().0 > snapshot {
                events.push(Event::TakeSnapshot { node });
            }
            if member.awaited.is_some() {
                events.push(Event::InstallSnapshot { node });
            }
        }
        if self.bounds.lease.is_some_and(|passes| state.used.passes < passes) {
            events.push(Event::Pass);
        }
        events
    }

    /// What may happen to a leader alone.
    fn of_leader(&self, state: &State, node: usize, events: &mut Vec<Event>) {
        events.push(Event::Timer { node, timer: Timer::Heartbeat });
        if self.bounds.lease.is_some() {
            events.push(Event::Timer { node, timer: Timer::Lease });
        }
        if self.bounds.check_quorum {
            events.push(Event::Timer { node, timer: Timer::CheckQuorum });
        }
        if state.used.proposals < self.bounds.proposals {
            self.proposals(state, node, events);
        }
        if state.used.changes < self.bounds.changes {
            self.changes(node, state.members[node].core.configuration(), events);
        }
        let others = (0..state.members.len()).filter(|other| *other != node);
        if state.used.transfers < self.bounds.transfers {
            events.extend(others.clone().map(|to| Event::Transfer { node, to }));
        }
        if state.used.unreachable < self.bounds.unreachable {
            events.extend(others.map(|peer| Event::Unreachable { node, peer }));
        }
    }

    /// Every command that a client may propose to a leader.
    fn proposals(&self, state: &State, node: usize, events: &mut Vec<Event>) {
        let commands = match (self.bounds.sessions, self.bounds.clients) {
            (true, _) => machine::requests(&state.past.history),
            (false, 0) => 0..=0,
            // No two writes are the same.
            (false, _) => state.used.proposals + 1..=state.used.proposals + 1,
        };
        if self.somebody_is_idle(state) {
            events.extend(commands.map(|command| Event::Propose { node, command }));
        }
    }

    fn somebody_is_idle(&self, state: &State) -> bool {
        self.bounds.clients == 0 || state.past.clients.may_call(self.bounds.clients)
    }

    /// Every change of the wanted kinds that a leader can be asked for.
    fn changes(&self, node: usize, members: &Configuration, events: &mut Vec<Event>) {
        let nodes = 0..usize::from(self.bounds.nodes);
        let spare = nodes.clone().filter(|at| members.incarnation(node_at(*at)).is_none()).map(Some);
        let voters = nodes.filter(|at| members.voters.contains_key(&node_at(*at))).map(Some);
        for wanted in self.bounds.wanted {
            let mut change = |added, removed| events.push(Event::Change { node, added, removed });
            match wanted {
                Wanted::Add => spare.clone().for_each(|added| change(added, None)),
                Wanted::Remove => voters.clone().for_each(|removed| change(None, removed)),
                Wanted::ReplaceLeader => spare.clone().for_each(|added| change(added, Some(node))),
            }
        }
    }

    /// The messages in flight before `event` that may be afterwards, then those that it sends.
    fn candidates<'a>(
        state: &'a State,
        event: Event,
        outcome: &'a Outcome,
    ) -> impl Iterator<Item = &'a Arc<Packet>> {
        let gone = match event {
            Event::Deliver { packet, again: false } => Some(packet),
            _ => None,
        };
        let staying = state.network.iter().enumerate().filter(move |(at, _)| Some(*at) != gone);
        staying.map(|(_, packet)| packet).chain(&outcome.sent)
    }
}

/// A node as it is now.
fn timed(state: &State, at: usize) -> Member {
    let now = Time { micros: PASSED_MICROS * u64::from(state.used.passes) };
    Member { now, ..Member::clone(&state.members[at]) }
}

impl Model for Raft {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let disk = Durable::genesis(self.shared.configuration.clone());
        let start = |at| {
            let params = Arc::clone(&self.shared.params[at]);
            self.shared
                .start(params, disk.clone(), Life(0), Time::default())
                .expect("a genesis contradicts nothing")
                .member
        };
        let members = (0..usize::from(self.bounds.nodes)).map(start).collect();
        let renamings = &self.shared.renamings;
        let past = Arc::new(Past::new(renamings));
        vec![State::new(members, Packets::new(), past, Used::default(), None, renamings)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return;
        }
        self.expanded.0.fetch_add(1, Ordering::Relaxed);
        if state.violation.is_some() {
            return;
        }
        for event in self.events(state) {
            let (at, outcome) = self.outcome(state, event);
            let unchanged = outcome.member.hashes[0] == state.members[at].hashes[0];
            let silent = outcome.sent.is_empty() && outcome.told.is_empty() && event != Event::Pass;
            if unchanged && silent && outcome.violation.is_none() {
                // A message without effect is the same as one that is never delivered.
                let before = &state.members[at];
                let (outcome, next) = (&outcome, state);
                property::mark(
                    &self.marks,
                    self.bounds.witnesses,
                    &Transition { state, event, before, outcome, next },
                );
                continue;
            }
            let count = Raft::candidates(state, event, &outcome).count();
            let action = |kept| Action { event, kept, outcome: Arc::clone(&outcome) };
            actions.extend(choices(count, self.bounds.inflight).map(action));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let outcome = &*action.outcome;
        let at = slot(outcome.member.core.id());
        let before = &state.members[at];
        let mut members = state.members.clone();
        members[at] = Arc::clone(&outcome.member);
        let network = keep(Raft::candidates(state, action.event, outcome), action.kept);
        let mut used = state.used;
        match action.event {
            Event::Propose { .. } => used.proposals += 1,
            Event::Read { .. } => used.reads += 1,
            Event::Change { .. } => used.changes += 1,
            Event::Transfer { .. } => used.transfers += 1,
            Event::Crash { .. } => used.crashes += 1,
            Event::Recover { .. } => used.recoveries += 1,
            Event::Wipe { .. } => used.wipes += 1,
            Event::Pass => used.passes += 1,
            Event::Deliver { again: true, .. } => used.duplicates += 1,
            Event::Unreachable { .. } => used.unreachable += 1,
            Event::TakeSnapshot { .. } => used.snapshots += 1,
            _ => {}
        }
        let left = matches!(action.event, Event::Recover { .. }).then(|| {
            let params = before.core.params().clone();
            self.start(before, params, before.disk.clone(), before.life).member
        });
        let read = ReadId(u64::from(state.used.reads));
        let step = Step { event: &action.event, before, outcome, read, left };
        let (past, broken) = state.past.after(step, &self.bounds, &self.shared.renamings);
        let violation =
            outcome.violation.clone().or(broken).map(Arc::new).or_else(|| state.violation.clone());
        let next = State::new(members, network, past, used, violation, &self.shared.renamings);
        let event = action.event;
        property::mark(
            &self.marks,
            self.bounds.witnesses,
            &Transition { state, event, before, outcome, next: &next },
        );
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Raft>> {
        vec![property::invariants()]
    }
}
