//! What must hold of a run: the invariant catalogue over the cores, equal states at equal places of the log, one runner
//! of providers per epoch, no late write of an ended one, proxies that only go forward. It must not steer the run.

use std::collections::{BTreeMap, BTreeSet};

use ravelin_cluster::node::Node;
use ravelin_cluster::storage::CommandBytes;
use ravelin_cluster::store::{Author, ChangeId, Command, Store};
use ravelin_config::{Digest, GenerationId};
use ravelin_consensus::invariant::{Committed, History, View, check_cluster};
use ravelin_consensus::{Core, EntryKind, HardState, Index, NodeId, RoleName, Term};

use super::station::Station;

/// What the catalogue looks at in one member, but for the entries themselves.
type Signature = (RoleName, HardState, HardState, [Index; 5], Term, u64, usize);

/// The memory of one run.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    history: History<CommandBytes>,
    /// Each member as it was judged last.
    judged: BTreeMap<u64, Signature>,
    /// Applied index → revision and digest of the configuration there.
    states: BTreeMap<u64, (u64, Digest)>,
    /// Recovery epoch and revision → digest of the generation committed there.
    generations: BTreeMap<(u32, u64), Digest>,
    /// What each proxy adopted last.
    adopted: BTreeMap<u64, GenerationId>,
    fence: Fence,
    members: Members,
    /// A recovery has begun another history, which is that of one node's log.
    recovered: bool,
}

/// Who is a member, as the log tells it.
#[derive(Debug, Default)]
struct Members {
    /// Entries read so far.
    read: usize,
    /// Of the newest committed configuration, those on their way out included.
    now: BTreeSet<(u64, u64)>,
    /// Those that were before and are not now.
    former: BTreeSet<(u64, u64)>,
}

impl Members {
    fn read(&mut self, committed: &[Committed<CommandBytes>]) {
        for entry in committed.iter().skip(self.read) {
            self.read += 1;
            if let Some(members) = entry.entry.members() {
                let parts = [&members.voters, &members.outgoing, &members.learners];
                let now = parts.into_iter().flatten().map(|(node, life)| (node.0, life.0)).collect();
                let before = std::mem::replace(&mut self.now, now);
                self.former.extend(before.difference(&self.now));
            }
        }
    }
}

/// Where a generation stands among all.
pub(super) fn place(generation: GenerationId) -> (u32, u64) {
    (generation.recovery_epoch, generation.revision)
}

/// The epochs as the log tells them, read without the store.
#[derive(Debug, Default)]
struct Fence {
    /// Entries read so far.
    read: usize,
    controller: Option<(NodeId, u64)>,
    /// Entries whose author was no longer the controller, with the change that must not take effect there.
    late: BTreeMap<u64, ChangeId>,
}

impl Fence {
    fn read(&mut self, committed: &[Committed<CommandBytes>]) {
        for entry in committed.iter().skip(self.read) {
            self.read += 1;
            let EntryKind::Command(bytes) = &entry.entry.kind else { continue };
            let (author, id) = match Command::decode(bytes) {
                Ok(Command::AppointController { node, epoch, .. }) => {
                    if epoch == self.controller.map_or(0, |(_, epoch)| epoch) + 1 {
                        self.controller = Some((node, epoch));
                    }
                    continue;
                }
                Ok(Command::Change(change)) => (change.author, change.id),
                Ok(Command::Stage(stage)) => (stage.author, stage.id),
                _ => continue,
            };
            if let Author::Controller { node, epoch } = author
                && self.controller != Some((node, epoch))
            {
                self.late.insert(self.read as u64, id);
            }
        }
    }

    /// No late write took effect.
    fn holds(&self, store: &Store) -> Result<(), String> {
        for (index, id) in self.late.range(..=store.applied_index().0) {
            if store.outcome(id).is_some_and(|outcome| outcome.index.0 == *index) {
                return Err(format!("a late write of an ended epoch took effect as entry {index}"));
            }
        }
        Ok(())
    }
}

impl Oracle {
    /// The memory of a run that begins with these voters.
    pub(super) fn of_voters(voters: u64) -> Self {
        let now = (1..=voters).map(|node| (node, 1)).collect();
        Self { members: Members { now, ..Members::default() }, ..Self::default() }
    }

    /// Whether a node of this number and life is a member.
    pub(super) fn is_member(&self, identity: (u64, u64)) -> bool {
        self.members.now.contains(&identity)
    }

    /// Whether it was one, and is none any more.
    pub(super) fn is_former(&self, identity: (u64, u64)) -> bool {
        self.members.former.contains(&identity) && !self.is_member(identity)
    }

    /// Judges the cluster after the process of `stepped` has taken an event.
    ///
    /// # Errors
    /// What is broken, in words.
    pub(super) fn judge(&mut self, stepped: usize, stations: &[Station]) -> Result<(), String> {
        let running =
            || stations.iter().filter_map(|held| held.machine.as_ref()).map(|machine| machine.node());
        one_runner(running())?;
        let machine = stations.get(stepped).and_then(|held| held.machine.as_ref());
        let Some(node) = machine.map(|machine| machine.node()) else { return Ok(()) };
        if self.recovered {
            return self.judge_recovered(node, stations.get(stepped).is_some_and(|held| held.given_up));
        }
        if stations.get(stepped).is_some_and(Station::is_lost) && node.core().role() != RoleName::Follower {
            return Err(format!("node {} campaigns although its disk was lost", stepped + 1));
        }
        self.history.record(node.core(), &[]).map_err(|violation| violation.to_string())?;
        self.members.read(self.history.committed());
        self.same_state(node)?;
        let signature = signature(node.core());
        if self.judged.insert(stepped as u64, signature) == Some(signature) {
            return Ok(());
        }
        node.core().check().map_err(|violation| violation.to_string())?;
        self.fence.read(self.history.committed());
        self.fence.holds(node.store())?;
        self.judge_all(stations)
    }

    /// From now on only the survivor counts. What was committed beyond its log is gone, and what it held counts as committed,
    /// so that the history so far says nothing any more.
    pub(super) fn recovered(&mut self) {
        self.recovered = true;
        self.states.clear();
    }

    fn judge_recovered(&mut self, node: &Node, given_up: bool) -> Result<(), String> {
        if given_up && node.core().role() == RoleName::Leader {
            return Err(format!("node {} leads, although it was given up", node.core().id()));
        }
        node.core().check().map_err(|violation| violation.to_string())?;
        match (given_up, node.store().recovery_epoch()) {
            (true, _) => self.same_generation(node),
            // Before the entry that begins the epoch the survivor applies what nobody may have committed.
            (false, 0) => Ok(()),
            (false, _) => self.same_state(node),
        }
    }

    /// Judges what is durable, whoever runs.
    ///
    /// # Errors
    /// What is broken, in words.
    pub(super) fn judge_all(&self, stations: &[Station]) -> Result<(), String> {
        if self.recovered {
            return Ok(());
        }
        let views: Vec<View<'_, CommandBytes>> = stations.iter().map(Station::view).collect();
        check_cluster(&views, &self.history).map_err(|violation| violation.to_string())
    }

    /// Whoever has applied the same entries holds the same state.
    fn same_state(&mut self, node: &Node) -> Result<(), String> {
        let store = node.store();
        let state = (store.revision(), store.config().digest());
        let index = store.applied_index().0;
        if !self.recovered && index > self.history.commit_index().0 {
            return Err(format!("entry {index} is applied, and nobody has committed it"));
        }
        let known = *self.states.entry(index).or_insert(state);
        if known != state {
            return Err(format!("two states after entry {index}: revision {} and {}", known.0, state.0));
        }
        self.same_generation(node)
    }

    /// A generation of one place is one.
    fn same_generation(&mut self, node: &Node) -> Result<(), String> {
        let generation = node.store().generation();
        let digest = *self.generations.entry(place(generation)).or_insert(generation.digest);
        if digest != generation.digest {
            return Err(format!("two generations of revision {}", generation.revision));
        }
        Ok(())
    }

    /// A proxy takes a generation.
    ///
    /// # Errors
    /// It goes backwards, or the generation was never committed.
    pub(super) fn adopted(
        &mut self,
        proxy: u64,
        generation: GenerationId,
        content: Digest,
    ) -> Result<(), String> {
        match self.generations.get(&place(generation)) {
            Some(digest) if *digest == generation.digest && content == generation.digest => {}
            _ => return Err(format!("proxy {proxy} adopted {generation}, which was never committed")),
        }
        if let Some(last) = self.adopted.insert(proxy, generation)
            && place(generation) <= place(last)
        {
            return Err(format!("proxy {proxy} went from {last} to {generation}"));
        }
        Ok(())
    }

    /// A proxy has lost its disk, and may begin again anywhere.
    pub(super) fn forgot(&mut self, proxy: u64) {
        self.adopted.remove(&proxy);
    }

    /// Where the newest generation stands that anybody committed.
    pub(super) fn newest(&self) -> Option<(u32, u64)> {
        self.generations.keys().next_back().copied()
    }

    /// What a proxy adopted last.
    pub(super) fn adopted_by(&self, proxy: u64) -> Option<GenerationId> {
        self.adopted.get(&proxy).copied()
    }

    /// Somebody was told that this node leads in this term.
    ///
    /// # Errors
    /// It never did.
    pub(super) fn led(&self, term: u64, node: u64) -> Result<(), String> {
        let known = self.history.leaders().iter().any(|(of, leader)| (of.0, leader.0) == (term, node));
        if known {
            Ok(())
        } else {
            Err(format!("node {node} was said to lead term {term}, and it never did"))
        }
    }

    /// Leaders seen.
    pub(super) fn leaders(&self) -> u64 {
        self.history.leaders().len() as u64
    }

    /// Entries committed.
    pub(super) fn committed(&self) -> u64 {
        self.history.committed().len() as u64
    }
}

fn signature(core: &Core<CommandBytes>) -> Signature {
    let indices = [
        core.first_index(),
        core.last_index(),
        core.durable_index(),
        core.commit_index(),
        core.applied_index(),
    ];
    let matched = core.peers().map(|peer| peer.matched.0).sum();
    let inflight = core.peers().map(|peer| peer.inflight_messages).sum();
    (core.role(), core.hard_state(), core.durable_hard_state(), indices, core.last_term(), matched, inflight)
}

/// No two nodes run providers under one epoch.
fn one_runner<'a>(running: impl Iterator<Item = &'a Node>) -> Result<(), String> {
    let mut epochs: Vec<u64> = running.filter_map(Node::providers_epoch).collect();
    epochs.sort_unstable();
    match epochs.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("two nodes run providers under epoch {}", pair[0])),
        None => Ok(()),
    }
}
