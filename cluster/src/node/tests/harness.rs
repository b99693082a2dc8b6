//! A cluster in virtual time: every frame takes a millisecond, disks are memory that survives a kill.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ravelin_config::feed::{
    FEED_VERSION, FEED_VERSIONS, Hello, Receiver, ReceiverLimits, Stage, Step, ToControl, ToControlV1,
    ToProxy, ToProxyV1,
};
use ravelin_config::{ConfigMap, Draft, GenerationId, SealingKeys};
use ravelin_consensus::{ClusterId, Incarnation, NodeId, Params, RecoveryEpoch, RoleName, Time};
use ravelin_transport::{Lane, PeerRole, codec};

use crate::node::NodeOptions;
use crate::node::boot::Member;
use crate::node::event::{Action, CallId, Event, LinkId, TicketId};
use crate::node::timers::{Random, after};
use crate::node::wire::Sender;
use crate::provider::{DraftOutcome, ProviderSpec, ProviderUpdate};
use crate::request::status::{EventKind, EventRecord, NodeStatus};
use crate::request::{
    ApplyMode, Change, Envelope, Page, Request, RequestId, Response, Scope, SourceDocument, SourceFormat,
    parts,
};
use crate::sim_entry::Machine;
use crate::storage::disk::read_all;
use crate::storage::{Disk as _, MemoryDisk, WalLimits};

/// Small, so that a short run sees many segments.
const SEGMENTS: WalLimits = WalLimits { segment_bytes: 64 << 10 };

pub(super) const CLUSTER: [u8; 16] = [0xc1; 16];
const HOP: Duration = Duration::from_millis(1);
/// Links below this are the lanes Forward between nodes: 100 × asking + answering.
const FIRST_PROXY_LINK: u64 = 1_000_000;

/// What a node of this recovery epoch says of itself.
pub(super) fn speaker(recovery_epoch: u32) -> Sender {
    Sender {
        cluster: ClusterId(CLUSTER),
        recovery_epoch: RecoveryEpoch(recovery_epoch),
        incarnation: Incarnation(1),
    }
}

enum Delivery {
    To { node: u64, event: Event },
}

/// A proxy that takes everything at once.
pub(super) struct FakeProxy {
    pub(super) node: u64,
    link: LinkId,
    receiver: Receiver,
    pub(super) serving: Option<(GenerationId, ConfigMap)>,
    pub(super) wholes: usize,
    pub(super) deltas: usize,
    pub(super) stale: Option<bool>,
    pub(super) refuses: bool,
}

pub(super) struct Cluster {
    pub(super) now: Time,
    sequence: u64,
    members: BTreeMap<u64, Member>,
    disks: BTreeMap<u64, MemoryDisk>,
    machines: BTreeMap<u64, Machine>,
    wakes: BTreeMap<u64, Time>,
    queue: BTreeMap<(u64, u64), Delivery>,
    frozen: BTreeSet<u64>,
    answers: BTreeMap<u64, Response>,
    tickets: u64,
    pub(super) proxies: BTreeMap<u64, FakeProxy>,
    pub(super) running: BTreeMap<u64, (u64, Vec<ProviderSpec>)>,
    pub(super) reports: Vec<EventRecord>,
    /// What providers were told, with the node that told it.
    pub(super) outcomes: Vec<(u64, DraftOutcome)>,
    /// Requests that nodes passed on to others.
    pub(super) calls: usize,
    /// Nodes that stopped for having been removed.
    pub(super) removed: Vec<u64>,
    pub(super) static_objects: Option<Arc<Draft>>,
    pub(super) log_bytes_max: Option<u64>,
    /// How many of a thousand frames of lane Raft are lost.
    pub(super) loss_per_thousand: u64,
    pub(super) random: Random,
}

impl Cluster {
    pub(super) fn new(size: u64) -> Self {
        let voters: Vec<(u64, u64)> = (1..=size).map(|node| (node, 1)).collect();
        let member = |node| Member {
            cluster: CLUSTER,
            recovery_epoch: 0,
            node,
            incarnation: 1,
            voters: voters.clone(),
        };
        Self {
            now: Time { micros: 1_700_000_000_000_000 },
            sequence: 0,
            members: (1..=size).map(|node| (node, member(node))).collect(),
            disks: (1..=size).map(|node| (node, MemoryDisk::new())).collect(),
            machines: BTreeMap::new(),
            wakes: BTreeMap::new(),
            queue: BTreeMap::new(),
            frozen: BTreeSet::new(),
            answers: BTreeMap::new(),
            tickets: 0,
            proxies: BTreeMap::new(),
            running: BTreeMap::new(),
            reports: Vec::new(),
            outcomes: Vec::new(),
            calls: 0,
            removed: Vec::new(),
            static_objects: None,
            log_bytes_max: None,
            loss_per_thousand: 0,
            random: Random::new(1),
        }
    }

    /// A cluster whose nodes have elected a leader and appointed a controller.
    pub(super) fn ready(size: u64) -> Self {
        let mut cluster = Self::new(size);
        for node in 1..=size {
            cluster.boot(node);
        }
        cluster.until("a controller runs", |cluster| cluster.controller().is_some());
        cluster
    }

    /// Boots a node that was not there at genesis: nobody knows of it, and it knows of nobody.
    pub(super) fn join(&mut self, node: u64) {
        let member = self.members.get(&1).expect("the first").clone();
        self.members.insert(node, Member { node, voters: Vec::new(), ..member });
        self.disks.insert(node, MemoryDisk::new());
        self.boot(node);
    }

    pub(super) fn boot(&mut self, node: u64) {
        let member = self.members.get(&node).expect("members are numbered").clone();
        let mut params: Params = member.params();
        if let Some(bytes) = self.log_bytes_max {
            params.log_bytes_max = bytes;
            params.log_trailing_bytes_max = bytes / 16;
            params.uncommitted_bytes_max = bytes / 4;
            params.entry_bytes_max = bytes / 4;
        }
        let static_objects = self.static_objects.clone();
        // Every change goes the way of the large ones.
        let sealing = SealingKeys::new(member.cluster, &[[7; 32]]).expect("one key");
        let options = NodeOptions { static_objects, heavy_bytes: 1, ..NodeOptions::new(params, sealing) };
        let disk = Arc::new(self.disks.get(&node).expect("each member has a disk").clone());
        self.sequence += 1;
        let seed = node * 1000 + self.sequence;
        let machine = Machine::boot(disk, SEGMENTS, &member, options, seed).expect("the disk is this node's");
        self.machines.insert(node, machine);
        self.step(node, Event::Start);
        let others: Vec<u64> = self.machines.keys().copied().filter(|other| *other != node).collect();
        for other in others {
            self.open_forward(node, other);
            self.open_forward(other, node);
        }
    }

    fn open_forward(&mut self, from: u64, to: u64) {
        let link = LinkId(100 * from + to);
        let event = Event::LinkOpened { link, lane: Lane::Forward, role: PeerRole::Controller, node: from };
        self.deliver(to, event);
    }

    /// Ends a node's process as `kill -9` does.
    pub(super) fn kill(&mut self, node: u64) {
        self.machines.remove(&node);
        self.wakes.remove(&node);
        self.frozen.remove(&node);
        self.running.remove(&node);
        self.queue.retain(|_, Delivery::To { node: to, .. }| *to != node);
        let others: Vec<u64> = self.machines.keys().copied().collect();
        for other in others {
            self.deliver(other, Event::LinkClosed(LinkId(100 * node + other)));
            self.deliver(other, Event::Unreachable(NodeId(node)));
        }
        self.proxies.retain(|_, proxy| proxy.node != node);
    }

    pub(super) fn freeze(&mut self, node: u64) {
        self.frozen.insert(node);
    }

    pub(super) fn thaw(&mut self, node: u64) {
        self.frozen.remove(&node);
    }

    fn deliver(&mut self, node: u64, event: Event) {
        self.sequence += 1;
        let at = after(self.now, HOP).micros;
        self.queue.insert((at, self.sequence), Delivery::To { node, event });
    }

    /// Gives a node an event and carries out what follows, disk work at once.
    pub(super) fn step(&mut self, node: u64, event: Event) {
        let mut next = vec![event];
        while let Some(event) = next.pop() {
            let Some(machine) = self.machines.get_mut(&node) else { return };
            let actions = machine.handle(self.now, event);
            for action in actions {
                self.carry_out(node, action);
            }
            let Some(machine) = self.machines.get_mut(&node) else { return };
            while machine.log_work() > 0 {
                next.extend(machine.run_log());
            }
            while machine.other_work() > 0 {
                next.extend(machine.run_other());
            }
            next.reverse();
        }
    }

    fn carry_out(&mut self, node: u64, action: Action) {
        match action {
            Action::WakeAt(at) => {
                self.wakes.insert(node, at);
            }
            Action::SendRaft { .. } if self.random.next() % 1000 < self.loss_per_thousand => {}
            Action::SendRaft { to, frame } => {
                self.deliver(to.0, Event::RaftFrame { from: NodeId(node), frame });
            }
            Action::Call { to, call, frames } => self.call(node, to.0, call, frames),
            Action::SendLink { link, frame } => self.send_link(node, link, frame),
            Action::CloseLink { link, .. } => self.proxies.retain(|_, proxy| proxy.link != link),
            Action::Respond { ticket, response } => {
                self.answers.insert(ticket.0, response);
            }
            Action::FetchSnapshot { from, meta } => {
                let chunks = self.machines.get(&from.0).and_then(|machine| machine.give_snapshot(&meta));
                let machine = self.machines.get(&node).expect("it just acted");
                let event = match chunks {
                    Some(chunks) => machine.take_snapshot(&meta, &chunks),
                    None => Event::SnapshotNotFetched { meta, reason: "not there".to_owned() },
                };
                self.deliver(node, event);
            }
            Action::RunProviders { epoch, providers } => {
                self.running.insert(node, (epoch, providers));
            }
            Action::StopProviders => {
                self.running.remove(&node);
            }
            Action::Report(record) => self.reports.push(record),
            Action::ProviderOutcome { outcome, .. } => self.outcomes.push((node, outcome)),
            Action::Halt { reason } if reason.contains("removed from the cluster") => self.removed.push(node),
            Action::Halt { reason } => panic!("node {node} halted: {reason}"),
            _ => {}
        }
    }

    fn call(&mut self, from: u64, to: u64, call: CallId, frames: Vec<Bytes>) {
        self.calls += 1;
        if !self.machines.contains_key(&to) {
            let event = Event::CallFailed { call, may_have_arrived: false, reason: "gone".to_owned() };
            return self.deliver(from, event);
        }
        for frame in frames {
            self.deliver(to, Event::LinkFrame { link: LinkId(100 * from + to), frame });
        }
    }

    fn send_link(&mut self, node: u64, link: LinkId, frame: Bytes) {
        self.deliver(node, Event::LinkSent(link));
        if link.0 < FIRST_PROXY_LINK {
            let (call, _) = parts::head(&frame).expect("nodes answer with parts");
            return self.deliver(link.0 / 100, Event::CallFrame { call: CallId(call), frame });
        }
        let Some(proxy) = self.proxies.get_mut(&(link.0 - FIRST_PROXY_LINK)) else { return };
        for said in proxy.hears(&frame) {
            let frame = codec::encode(FEED_VERSION, &ToControlV1::from(said)).expect("small");
            self.deliver(node, Event::LinkFrame { link, frame });
        }
    }

    /// Attaches a proxy that holds `held` to a node.
    pub(super) fn attach(&mut self, proxy: u64, node: u64, held: Option<(GenerationId, ConfigMap)>) {
        let link = LinkId(FIRST_PROXY_LINK + proxy);
        let generation = held.as_ref().map(|(generation, _)| *generation);
        let receiver = Receiver::new(CLUSTER, ReceiverLimits::default(), held);
        let fake = FakeProxy {
            node,
            link,
            receiver,
            serving: None,
            wholes: 0,
            deltas: 0,
            stale: None,
            refuses: false,
        };
        self.proxies.insert(proxy, fake);
        self.step(node, Event::LinkOpened { link, lane: Lane::Feed, role: PeerRole::Proxy, node: proxy });
        let hello = ToControl::Hello(Hello {
            cluster: CLUSTER,
            recovery_epoch: 0,
            generation,
            floor: None,
            view: String::new(),
            build: "test".to_owned(),
            instance: proxy,
            understands: ravelin_config::Understands::this_build(FEED_VERSIONS),
        });
        let frame = codec::encode(FEED_VERSION, &ToControlV1::from(hello)).expect("small");
        self.deliver(node, Event::LinkFrame { link, frame });
    }

    /// Runs for a while.
    pub(super) fn run(&mut self, span: Duration) {
        let end = after(self.now, span);
        while self.advance(end) {}
        self.now = end;
    }

    /// Runs until something holds; fails after a minute of the cluster's time.
    pub(super) fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = after(self.now, Duration::from_secs(60));
        while !holds(self) {
            assert!(self.advance(end), "not within a minute: {what}\n{:#?}", self.statuses());
        }
    }

    /// The next delivery or wake before `end`; false if there is none.
    fn advance(&mut self, end: Time) -> bool {
        let delivery = self
            .queue
            .iter()
            .find(|(_, Delivery::To { node, .. })| !self.frozen.contains(node))
            .map(|(at, _)| *at);
        let wake = self
            .wakes
            .iter()
            .filter(|(node, _)| !self.frozen.contains(node))
            .map(|(node, at)| (at.micros.max(self.now.micros), *node))
            .min();
        let first = match (delivery, wake) {
            (Some((at, _)), Some((wake, _))) => at.min(wake),
            (Some((at, _)), None) => at,
            (None, Some((wake, _))) => wake,
            (None, None) => return false,
        };
        if first > end.micros {
            return false;
        }
        self.now = Time { micros: first.max(self.now.micros) };
        match (delivery, wake) {
            (Some(key @ (at, _)), _) if at <= first => {
                if let Some(Delivery::To { node, event }) = self.queue.remove(&key) {
                    self.step(node, event);
                }
            }
            (_, Some((_, node))) => {
                self.wakes.remove(&node);
                self.step(node, Event::Wake);
            }
            _ => {}
        }
        true
    }

    pub(super) fn machine(&self, node: u64) -> &Machine {
        self.machines.get(&node).expect("the node runs")
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = (u64, &Machine)> {
        self.machines.iter().filter(|(node, _)| !self.frozen.contains(node)).map(|(node, m)| (*node, m))
    }

    pub(super) fn leader(&self) -> Option<u64> {
        let leads = |machine: &Machine| machine.node().core().role() == RoleName::Leader;
        let leaders = self.alive().filter(|(_, machine)| leads(machine));
        leaders.max_by_key(|(_, machine)| machine.node().core().term()).map(|(node, _)| node)
    }

    /// The node that runs the providers under the highest epoch, with it.
    pub(super) fn controller(&self) -> Option<(u64, u64)> {
        let runs = self.alive().filter_map(|(node, machine)| Some((machine.node().providers_epoch()?, node)));
        runs.max().map(|(epoch, node)| (node, epoch))
    }

    pub(super) fn follower(&self) -> u64 {
        let leader = self.leader();
        self.alive().map(|(node, _)| node).find(|node| Some(*node) != leader).expect("more than one node")
    }

    fn statuses(&self) -> Vec<NodeStatus> {
        self.alive().map(|(_, machine)| machine.node().status(Page::FIRST)).collect()
    }

    /// Asks a node; the answer comes with [`Self::answer`].
    pub(super) fn ask(&mut self, node: u64, request: Request, deadline: Duration) -> u64 {
        self.ask_as(node, self.tickets + 1, request, deadline)
    }

    /// As [`Self::ask`], under the id of an earlier question.
    pub(super) fn ask_as(&mut self, node: u64, number: u64, request: Request, deadline: Duration) -> u64 {
        self.tickets += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        let envelope = Envelope {
            id: RequestId(id),
            hops: 0,
            deadline_millis: u32::try_from(deadline.as_millis()).expect("short"),
            author: "operator-1".to_owned(),
            request,
            since: None,
        };
        let ticket = self.tickets;
        self.step(node, Event::Request { ticket: TicketId(ticket), envelope });
        ticket
    }

    pub(super) fn answer(&mut self, ticket: u64) -> Response {
        self.until("an answer", |cluster| cluster.answers.contains_key(&ticket));
        self.answers.remove(&ticket).expect("it is there")
    }

    /// The answer, if it has come.
    pub(super) fn answered(&mut self, ticket: u64) -> Option<Response> {
        self.answers.remove(&ticket)
    }

    pub(super) fn is_alive(&self, node: u64) -> bool {
        self.machines.contains_key(&node)
    }

    pub(super) fn is_frozen(&self, node: u64) -> bool {
        self.frozen.contains(&node)
    }

    pub(super) fn apply(&mut self, node: u64, text: &str) -> Change {
        let ticket = self.ask(node, apply(text), Duration::from_secs(10));
        match self.answer(ticket) {
            Response::Done(change) => change,
            other => panic!("not done: {other:?}"),
        }
    }

    pub(super) fn status(&mut self, node: u64) -> crate::request::status::ClusterStatus {
        let ticket = self.ask(
            node,
            Request::Status { scope: Scope::Cluster, proxies: Page::FIRST },
            Duration::from_secs(5),
        );
        match self.answer(ticket) {
            Response::Status(status) => status,
            other => panic!("no status: {other:?}"),
        }
    }

    /// A provider of the running controller says what it wants.
    pub(super) fn draft(&mut self, node: u64, epoch: u64, text: &str) {
        let draft = Arc::new(draft("file", text));
        self.step(
            node,
            Event::Provider { epoch, update: ProviderUpdate::Draft { draft, read: Duration::ZERO } },
        );
    }

    /// Every byte on a node's disk.
    pub(super) fn disk_bytes(&self, node: u64) -> Vec<u8> {
        let disk = self.disks.get(&node).expect("each member has a disk");
        let mut bytes = Vec::new();
        for name in disk.list_root().expect("memory") {
            let paths = match disk.list(&name) {
                Ok(below) if !below.is_empty() => below.iter().map(|file| format!("{name}/{file}")).collect(),
                _ => vec![name],
            };
            for path in paths {
                bytes.extend(read_all(disk, &path, u64::MAX).unwrap_or_default());
            }
        }
        assert!(!bytes.is_empty(), "the disk of a node that ran");
        bytes
    }

    pub(super) fn saw(&self, is_it: impl Fn(&EventKind) -> bool) -> usize {
        self.reports.iter().filter(|record| is_it(&record.kind)).count()
    }

    pub(super) fn generations(&self) -> BTreeSet<GenerationId> {
        self.alive().filter_map(|(_, machine)| machine.node().feeds()).collect()
    }

    /// Tells a node that its disk failed.
    pub(super) fn fail_disk(&mut self, node: u64) -> Vec<Action> {
        let machine = self.machines.get_mut(&node).expect("the node runs");
        machine.handle(self.now, Event::PersistFailed { reason: "input/output error".to_owned() })
    }
}

impl FakeProxy {
    fn hears(&mut self, frame: &[u8]) -> Vec<ToControl> {
        let message: ToProxy = codec::decode_into::<ToProxyV1, _>(FEED_VERSION, frame).expect("own encoding");
        match &message {
            ToProxy::UpToDate { stale, .. } => self.stale = Some(*stale),
            ToProxy::Part(part) if part.part == 0 => match part.content {
                ravelin_config::feed::Content::Whole { .. } => self.wholes += 1,
                ravelin_config::feed::Content::Delta { .. } => self.deltas += 1,
            },
            _ => {}
        }
        let acknowledge = |generation, stage| ToControl::Acknowledge { generation, stage };
        match self.receiver.handle(message) {
            Step::Complete { generation, .. } if self.refuses => {
                vec![acknowledge(generation, Stage::Refused { reasons: vec!["too many".to_owned()] })]
            }
            Step::Complete { generation, map } => {
                self.receiver.adopt(generation, map.clone());
                self.serving = Some((generation, map));
                [Stage::Received, Stage::Validated, Stage::Serving]
                    .map(|stage| acknowledge(generation, stage))
                    .into()
            }
            Step::NeedWhole { reason } => vec![ToControl::NeedWhole { reason }],
            Step::Held { generation } => vec![acknowledge(generation, Stage::Serving)],
            Step::Nothing | Step::GoesBackwards { .. } | Step::Refused { .. } => Vec::new(),
        }
    }
}

pub(super) fn apply(text: &str) -> Request {
    let document =
        SourceDocument { name: "test.yml".to_owned(), format: SourceFormat::Yaml, text: text.to_owned() };
    Request::Apply { documents: vec![document], mode: ApplyMode::Merge }
}

pub(super) fn draft(provider: &str, text: &str) -> Draft {
    let format = ravelin_config::document::Format::Yaml;
    let document =
        ravelin_config::document::parse("test.yml", text, format).expect("the test's text is good");
    ravelin_config::draft_from_documents(provider, &[document]).expect("the test's text is good")
}

/// A router and its service.
pub(super) fn site(name: &str) -> String {
    format!(
        "http:\n  routers:\n    {name}:\n      rule: Host(`{name}.test`)\n      service: {name}\n  services:\n    {name}:\n      loadBalancer:\n        servers:\n          - url: http://127.0.0.1:9000\n"
    )
}
