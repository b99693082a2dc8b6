//! The node: one synchronous, total, deterministic machine that owns the consensus core, the order of log writes, the
//! applied state, roles, requests and the feed.
//!
//! `handle(now, event, actions)` is all there is: no I/O, no async, no clock; randomness comes from the seed. The shell
//! and the simulator run this same type. The same options, durable state, seed and events give the same actions.
//!
//! | file | is |
//! |---|---|
//! | `event` | what can happen, what can be asked for |
//! | `drive` | the core's effects: writes, sends, snapshots |
//! | `applying` | committed entries into the state, a bounded piece an event |
//! | `act` | roles and reconciler: appointing, running providers, proposing |
//! | `answer` | requests: where each is decided, and its answer |
//! | `membership` | who the members are and are to be; who leads next |
//! | `understood` | what members can read, recorded in the log |
//! | `wire` | frames of lane Raft |
//! | `boot` | from a data directory to a node |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ravelin_config::GenerationId;
use ravelin_consensus::{
    Body, Configuration, Core, Corrupt, Durable, Effects, Input, Life, NodeId, Params, ProposalId, ReadId,
    RecoveryEpoch, RoleName, SnapshotMeta, Term, Time,
};
use ravelin_transport::{Lane, PeerRole};

use crate::api::{Api, PendingId, Question, ReplyTo};
use crate::feed::transfer::Transfer;
use crate::feed::{Feed, Source};
use crate::provider::ProviderUpdate;
use crate::reconcile::{Ground, Reconcile};
use crate::request::status::EventKind;
use crate::request::{RequestId, Response};
use crate::roles::{Roles, Standing};
use crate::storage::{CommandBytes, chain};
use crate::store::{ChangeId, Store};
use crate::trace::Recorder;

mod act;
mod answer;
pub(crate) mod applying;
pub mod boot;
mod drive;
pub mod event;
mod gathered;
pub mod journal;
mod membership;
mod options;
mod provider_run;
pub mod timers;
pub mod understood;
pub mod wire;

use applying::Applying;
use boot::Known;
use event::{Action, Actions, Event, LinkId};
use journal::Journal;
use membership::Membership;
use provider_run::ProviderRun;
use timers::{Due, Random, Timers, after};
use wire::{AppendCache, Frame, Sender};

pub use crate::node::options::NodeOptions;
pub use crate::roles::{APPOINT_GRACE, CONTROLLER_TIMEOUT, STALE_AFTER};

/// How often the node looks after roles, requests and feeds.
pub const TICK_INTERVAL: Duration = Duration::from_millis(100);
/// A change of so many bytes is applied beside the node: it would hold up what keeps a leader leader.
pub const HEAVY_BYTES: u64 = 1 << 20;
/// A delta of at most so many changes is made and encoded within an event; proxies that need more get the whole, which is
/// encoded beside the node, once for all of them. So many take some tens of milliseconds, far below an election timeout; who is further
/// behind than that, or is given so large a change, pays for the whole once and not with each change.
const INLINE_CHANGES_MAX: usize = 16_384;
/// How often it is noted at most how far the log is known to be committed.
const KNOWN_INTERVAL: Duration = Duration::from_secs(1);
/// How long to wait after a snapshot that could not be written.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(10);

/// One control node. See the module's text.
#[derive(Debug)]
pub struct Node {
    options: NodeOptions,
    core: Core<CommandBytes>,
    /// Takes down what the core is given and answers, if somebody asked for it.
    recorder: Option<Recorder>,
    effects: Effects<CommandBytes>,
    store: Store,
    applying: Applying,
    /// The members as of the last applied entry.
    applied_members: Configuration,
    timers: Timers,
    random: Random,
    journal: Journal,
    appends: AppendCache,
    /// Frames of lane Raft that could not be read since the start, by control node.
    unreadable_frames: BTreeMap<NodeId, u64>,
    /// Frames of another recovery epoch, likewise.
    foreign_frames: BTreeMap<NodeId, u64>,
    roles: Roles,
    reconcile: Reconcile,
    feed: Feed,
    api: Api,
    /// Role, term and leader as last noted.
    standing: (RoleName, Term, Option<NodeId>),
    numbers: u64,
    proposals: BTreeMap<ProposalId, Proposer>,
    reads: BTreeMap<ReadId, PendingId>,
    membership: Membership,
    snapshot: SnapshotWork,
    /// When what members understand was last proposed.
    recorded: Option<Time>,
    /// The providers' run on this node.
    run: Option<ProviderRun>,
    announced: Option<GenerationId>,
    halted: Option<String>,
    /// How far the log was last noted to be committed, and when.
    noted: Option<(Known, Time)>,
    /// The event that took longest, as the shell measured it: shown, never judged by.
    longest_event: (&'static str, Duration),
}

/// Who waits for what the core says to a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proposer {
    Request(PendingId),
    /// A request about a control node: its record.
    Member(PendingId),
    Roles,
}

#[derive(Debug, Default)]
struct SnapshotWork {
    writing: bool,
    /// A snapshot is wanted: at once, or after a failed try at this time.
    wanted: Option<Time>,
    fetching: Option<SnapshotMeta>,
    /// Fetched and durable; becomes the state with the batch that names it.
    fetched: Option<(SnapshotMeta, Store)>,
}

impl Node {
    /// A node that continues from what is durable. `store` is the state that the durable snapshot holds, or the empty one;
    /// `known` is how far the log was known to be committed.
    ///
    /// # Errors
    /// The durable state contradicts itself.
    pub fn restore(
        options: NodeOptions,
        durable: Durable<CommandBytes>,
        mut store: Store,
        known: Option<Known>,
        seed: u64,
    ) -> Result<Self, Corrupt> {
        let params = Arc::clone(&options.params);
        if let Some(known) = known {
            drive::apply_known(&mut store, &durable, known);
        }
        let applied_members = match &durable.snapshot {
            Some(meta) => meta.configuration.clone(),
            None => durable.configuration.clone(),
        };
        let core = Core::restore(Arc::clone(&params), durable)?;
        let standing = (core.role(), core.term(), core.leader());
        let Params { cluster, recovery_epoch, incarnation, .. } = *params;
        let api = Api::new(Sender { cluster, recovery_epoch, incarnation });
        Ok(Self {
            core,
            recorder: None,
            effects: Effects::new(),
            store,
            applying: Applying::default(),
            applied_members,
            timers: Timers::default(),
            random: Random::new(seed),
            journal: Journal::new(params.id.0),
            appends: AppendCache::default(),
            unreadable_frames: BTreeMap::new(),
            foreign_frames: BTreeMap::new(),
            roles: Roles::default(),
            reconcile: Reconcile::default(),
            feed: Feed::new(params.cluster.0, options.sealing.clone()),
            api,
            standing,
            numbers: 0,
            proposals: BTreeMap::new(),
            reads: BTreeMap::new(),
            membership: Membership::default(),
            snapshot: SnapshotWork::default(),
            recorded: None,
            run: None,
            announced: None,
            halted: None,
            noted: None,
            longest_event: ("start", Duration::ZERO),
            options,
        })
    }

    /// Takes one event and says what is to be done. Total: no event panics; after a halt only requests are answered.
    pub fn handle(&mut self, now: Time, event: Event, actions: &mut Actions) {
        if let Some(reason) = &self.halted {
            if let Event::Request { ticket, .. } = event {
                let reason = format!("this node has stopped: {reason}");
                actions.push(Action::Respond { ticket, response: Response::Unavailable { reason } });
            }
            return;
        }
        self.applying.begin_event();
        self.take(now, event, actions);
        self.settle(now, actions);
    }

    fn take(&mut self, now: Time, event: Event, actions: &mut Actions) {
        match event {
            Event::Start => self.start(now, actions),
            Event::Wake => self.wake(now, actions),
            Event::RaftFrame { from, frame } => self.raft_frame(now, from, &frame, actions),
            Event::Unreachable(node) => self.step(now, Input::Unreachable(node)),
            Event::Persisted(token) => self.step(now, Input::Persisted(token)),
            Event::PersistFailed { reason } => {
                self.step(now, Input::PersistFailed);
                self.halt(now, format!("the log cannot be written: {reason}"), actions);
            }
            Event::SnapshotWritten(_)
            | Event::SnapshotNotWritten { .. }
            | Event::SnapshotFetched { .. }
            | Event::SnapshotNotFetched { .. } => self.snapshot_event(now, event, actions),
            Event::LinkOpened { link, lane, role, node } => self.opened(link, lane, role, node, actions),
            Event::LinkFrame { link, frame } => self.link_frame(now, link, &frame, actions),
            Event::LinkSent(link) => {
                self.api.sent(link, actions);
                self.with_feed(|feed, source| feed.sent(now, link, source, actions));
            }
            Event::LinkClosed(link) => {
                self.api.closed(link);
                self.feed.closed(link);
            }
            Event::CallFrame { call, frame } => {
                if let Some((request, response)) = self.api.call_frame(call, &frame) {
                    self.called(now, call, request, response, actions);
                }
            }
            Event::CallFailed { call, may_have_arrived, .. } => {
                if let Some(request) = self.api.call_failed(call) {
                    self.call_failed(now, call, request, may_have_arrived);
                }
            }
            Event::Request { ticket, envelope } => {
                self.request(now, ReplyTo::Local(ticket), true, envelope, actions);
            }
            Event::Checked(verdict) => {
                let reconcile = &mut self.reconcile;
                with_ground(&self.store, |ground| reconcile.judged(now, verdict, ground));
            }
            Event::WholeEncoded { generation, frames: None } => {
                self.with_feed(|feed, source| feed.not_encoded(now, generation, source, actions));
            }
            Event::WholeEncoded { generation, frames: Some(frames) } => {
                let transfer = Transfer { target: generation, frames };
                self.with_feed(|feed, source| feed.encoded(now, transfer, source, actions));
            }
            Event::AppliedBeside { job, outcome } => self.applied_beside(now, job, outcome, actions),
            Event::Provider { epoch, update } => self.provider(now, epoch, update, actions),
            Event::RefusedAsRemoved { by } => self.told_removed(now, by, actions),
        }
    }

    fn start(&mut self, now: Time, actions: &mut Actions) {
        self.note(now, EventKind::Started, actions);
        // What is known to be committed is fed before any leader is known.
        self.timers.set(Due::Tick, after(now, TICK_INTERVAL));
        // What was known to be committed is applied already, and its entries are not looked at again.
        let members = self.core.configuration_at(self.store.applied_index()).clone();
        self.apply_members(now, members, actions);
        // Drawn from the seed without using it up: no two runs of a node have the same one.
        let life = Life(self.random.clone().next());
        self.step(now, Input::Start { life });
    }

    fn wake(&mut self, now: Time, actions: &mut Actions) {
        self.timers.woken();
        while let Some(due) = self.timers.take_due(now) {
            match due {
                Due::Core(timer) => self.step(now, Input::Timer(timer)),
                Due::Apply => self.apply_waiting(now, actions),
                Due::Tick => {
                    self.timers.set(Due::Tick, after(now, TICK_INTERVAL));
                    self.tick(now, actions);
                }
            }
        }
    }

    fn raft_frame(&mut self, now: Time, from: NodeId, frame: &[u8], actions: &mut Actions) {
        let frame = match wire::decode(frame) {
            Ok(frame) => frame,
            Err(error) => {
                // A lost frame. The sender is authenticated, so this is another version or a bug of ours: it will not pass.
                let times = self.unreadable_frames.entry(from).or_default();
                *times += 1;
                let times = *times;
                if 10_u64.pow(times.ilog10()) == times {
                    let kind = EventKind::FramesUnreadable { from: from.0, reason: chain(&error), times };
                    self.note(now, kind, actions);
                }
                return;
            }
        };
        let (sender, own) = (frame.sender(), self.sender());
        if sender.cluster != own.cluster {
            return;
        }
        if sender.recovery_epoch != own.recovery_epoch {
            return self.other_epoch(now, from, sender.recovery_epoch, actions);
        }
        match frame {
            Frame::Presence(_, presence) => {
                let is_member = self.core.configuration().incarnation(from) == Some(sender.incarnation);
                if is_member && presence.term == self.core.term().0 {
                    self.roles.presence(now, from, presence, self.core.configuration());
                }
            }
            Frame::Greeting(_, address) => self.greeted(from, sender.incarnation, address),
            Frame::Message(message) => {
                self.roles.heard(now, from, self.core.configuration());
                let commit = match message.body {
                    Body::Append { commit, .. } => Some((message.term, commit)),
                    _ => None,
                };
                self.step(now, Input::Message { from, message });
                if let Some((term, commit)) = commit
                    && self.core.term() == term
                    && self.core.leader() == Some(from)
                {
                    self.roles.leader_commit(term, from, commit);
                }
            }
        }
    }

    /// What this node says of itself in every frame.
    fn sender(&self) -> Sender {
        let Params { cluster, recovery_epoch, incarnation, .. } = *self.options.params;
        Sender { cluster, recovery_epoch, incarnation }
    }

    /// A control node speaks under another recovery epoch: one of the two was given up, and neither ever counts for the other.
    fn other_epoch(&mut self, now: Time, from: NodeId, epoch: RecoveryEpoch, actions: &mut Actions) {
        let own = self.options.params.recovery_epoch;
        let times = self.foreign_frames.entry(from).or_default();
        *times += 1;
        let times = *times;
        if 10_u64.pow(times.ilog10()) == times {
            let kind = EventKind::OtherEpoch { from: from.0, epoch: epoch.0, own: own.0, times };
            self.note(now, kind, actions);
        }
        // Who has a leader is one of a quorum that stands: a recovery beside it was a mistake, which must not take it down.
        if epoch > own && self.core.leader().is_none() {
            let reason = format!(
                "the cluster was recovered: controller {from} is of recovery epoch {epoch}, and what this node holds is of \
                 epoch {own} and was given up. It must rejoin as a new node: keep a copy of its data directory, get a new \
                 identity file for it, and start with an empty directory"
            );
            self.halt(now, reason, actions);
        }
    }

    fn opened(&mut self, link: LinkId, lane: Lane, role: PeerRole, node: u64, actions: &mut Actions) {
        match lane {
            Lane::Feed => self.feed.opened(link, node, actions),
            Lane::Forward => {
                let controller = role == PeerRole::Controller;
                if controller && !self.names(NodeId(node)) {
                    // It is heard on lane Raft while it may be news to this node; nothing else follows from its certificate.
                    let reason = format!("controller {node} is not a member of the cluster");
                    actions.push(Action::CloseLink { link, reason });
                    return;
                }
                let controller = controller.then_some(NodeId(node));
                self.api.opened(link, controller, format!("{role}-{node}"), actions);
            }
            Lane::Raft | Lane::Snapshot | Lane::Join | Lane::Peer => {
                let reason = format!("lane {lane} is not served here");
                actions.push(Action::CloseLink { link, reason });
            }
        }
    }

    fn link_frame(&mut self, now: Time, link: LinkId, frame: &[u8], actions: &mut Actions) {
        if self.feed.owns(link) {
            let noted = self.with_feed(|feed, source| feed.frame(now, link, frame, source, actions));
            if let Some(noted) = noted {
                self.note(now, noted, actions);
            }
        } else if let Some(Question { reply, controller, envelope }) = self.api.frame(link, frame, actions) {
            let stranger = controller.and_then(|(from, said)| self.stranger(now, from, said, actions));
            match stranger {
                Some(reason) => self.api.reply(reply, Response::Unavailable { reason }, actions),
                None => self.request(now, reply, controller.is_some(), envelope, actions),
            }
        }
    }

    /// Why nothing is done for a control node that says this of itself.
    fn stranger(
        &mut self,
        now: Time,
        from: NodeId,
        said: Option<Sender>,
        actions: &mut Actions,
    ) -> Option<String> {
        let own = self.sender();
        let Some(said) = said.filter(|said| said.cluster == own.cluster) else {
            return Some(format!("controller {from} does not say that it is of this cluster"));
        };
        if said.recovery_epoch != own.recovery_epoch {
            self.other_epoch(now, from, said.recovery_epoch, actions);
            return Some(format!(
                "controller {from} is of recovery epoch {}, this node of {}",
                said.recovery_epoch.0, own.recovery_epoch.0
            ));
        }
        let admitted = self.core.configuration().incarnation(from);
        let is_other = admitted.is_some_and(|admitted| admitted != said.incarnation);
        is_other.then(|| format!("controller {from} is not the one of that number that is a member"))
    }

    fn provider(&mut self, now: Time, epoch: u64, update: ProviderUpdate, actions: &mut Actions) {
        if let Some((_, current)) = self.store.controller().filter(|(_, current)| *current > epoch)
            && matches!(update, ProviderUpdate::Draft { .. })
        {
            let kind = EventKind::StaleWriteRefused { epoch, current, decided_by_log: false };
            self.note(now, kind, actions);
            return;
        }
        let Some(noted) =
            self.run.as_mut().filter(|run| run.epoch == epoch).and_then(|run| run.update(&update))
        else {
            if let (ProviderUpdate::Draft { draft, .. }, Some(run)) = (update, &self.run)
                && run.epoch == epoch
            {
                self.reconcile.draft(draft);
            }
            return;
        };
        self.note(now, noted, actions);
    }

    /// Gives the core an input; its effects are carried out when the node settles.
    fn step(&mut self, now: Time, input: Input<CommandBytes>) {
        match &mut self.recorder {
            Some(recorder) => recorder.step(&mut self.core, now, input, &mut self.effects),
            None => self.core.step(now, input, &mut self.effects),
        }
    }

    /// Takes down every step of the core from now on. Only right after [`Self::restore`] can the trace be replayed.
    pub fn record(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    fn note(&mut self, now: Time, kind: EventKind, actions: &mut Actions) {
        actions.push(Action::Report(self.journal.note(now, kind)));
    }

    fn halt(&mut self, now: Time, reason: String, actions: &mut Actions) {
        if self.halted.is_none() {
            self.note(now, EventKind::Halted { reason: reason.clone() }, actions);
            actions.push(Action::Halt { reason: reason.clone() });
            self.halted = Some(reason);
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn me(&self) -> NodeId {
        self.options.params.id
    }

    fn standing(&self) -> Standing<'_> {
        Standing {
            me: self.options.params.id,
            term: self.core.term(),
            leader: self.core.leader(),
            applied: self.core.applied_index(),
            applied_term: self.store.applied_term(),
            members: self.core.configuration(),
            controller: self.store.controller(),
        }
    }

    fn with_feed<T>(&mut self, use_it: impl FnOnce(&mut Feed, &Source<'_>) -> T) -> T {
        let store = &self.store;
        let source =
            Source { map: store.config(), delta: &|base| store.delta_within(base, INLINE_CHANGES_MAX) };
        use_it(&mut self.feed, &source)
    }

    /// The shell measured how long an event kept this node busy: shown in the status, never judged by.
    pub fn took(&mut self, event: &'static str, span: Duration) {
        if span > self.longest_event.1 {
            self.longest_event = (event, span);
        }
    }

    /// The consensus core: for invariants that harnesses check.
    pub fn core(&self) -> &Core<CommandBytes> {
        &self.core
    }

    /// The applied state: for invariants that harnesses check.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What is fed to proxies; none before the first configuration.
    pub fn feeds(&self) -> Option<GenerationId> {
        self.feed.current()
    }

    /// The epoch under which this node runs the providers, if it does.
    pub fn providers_epoch(&self) -> Option<u64> {
        self.run.as_ref().map(|run| run.epoch)
    }

    /// Whether this node has caught up since it (re)connected.
    pub fn is_healthy(&self) -> bool {
        self.roles.is_healthy(&self.standing())
    }

    /// Why the node has stopped, if it has.
    pub fn halted(&self) -> Option<&str> {
        self.halted.as_deref()
    }

    /// Kept events with a higher number, oldest first.
    pub fn events_since(&self, number: u64) -> Vec<crate::request::status::EventRecord> {
        self.journal.since(number, usize::MAX, usize::MAX)
    }
}

/// Shows the reconciler what its work is built on.
fn with_ground<T>(store: &Store, use_it: impl FnOnce(Ground<'_>) -> T) -> T {
    let generation = fed_generation(store);
    let outcome = |id: RequestId| store.outcome(&ChangeId(id.0));
    use_it(Ground { store, revision: store.generation().revision, generation, outcome: &outcome })
}

/// The generation that a store holds; none before the first change of configuration.
fn fed_generation(store: &Store) -> Option<GenerationId> {
    let generation = store.generation();
    (generation.revision > 0).then_some(generation)
}

#[cfg(test)]
mod tests;
