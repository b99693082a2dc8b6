//! The world of a run: virtual time, one queue of what happens when, and the carrying out of what nodes ask for. It must
//! take every decision from the seed, and hold no rule of the system under test.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ravelin_cluster::node::event::{Action, CallId, Event, LinkId, TicketId};
use ravelin_cluster::request::status::EventKind;
use ravelin_cluster::request::{Envelope, Response, parts};
use ravelin_consensus::{NodeId, RoleName, SnapshotMeta, Time};
use ravelin_transport::memory::{Delivery, Network};
use ravelin_transport::{Lane, PeerRole};

use super::client::Clients;
use super::fault::Kind;
use super::link::{Links, Opener};
use super::oracle::Oracle;
use super::plan::Plan;
use super::proxy::{Kept, PROXIES, Proxy, Took};
use super::report::{Mark, Report};
use super::script::Script;
use super::station::{Station, micros};
use super::{Failure, Trace};
use operator::Errand;

/// How long a frame of a reliable lane is on its way, and how soon its sender knows that it was taken.
const LINK_MICROS: u64 = 300;
/// How long a job beside the log takes at most.
const OTHER_MICROS_MAX: u64 = 5_000;
/// Most control nodes of a run.
const NODES_MAX: u64 = 7;
/// Things that happened, kept for a failure's trail.
const TRAIL_MAX: usize = 60;

/// What can happen.
#[derive(Debug)]
pub(super) enum Happening {
    /// A node's process gets an event.
    Node { station: usize, life: u64, event: Event },
    /// The time that a node asked for.
    Wake { station: usize, life: u64 },
    /// The log's work under way ends.
    LogDone { station: usize, life: u64 },
    /// The other work under way ends.
    OtherDone { station: usize, life: u64 },
    /// A provider reads its file.
    ProviderRead { station: usize, life: u64, epoch: u64 },
    /// A snapshot's bytes arrive, or not.
    Fetched { station: usize, life: u64, meta: SnapshotMeta, chunks: Option<Vec<Bytes>> },
    /// A frame reaches a proxy.
    ToProxy { proxy: usize, link: LinkId, frame: Bytes },
    /// A proxy looks for a control node.
    ProxyConnect { proxy: usize },
    /// A crashed process is started, unless it was since.
    Restart { station: usize, life: u64 },
    /// Somebody replaces a node that does not start.
    Hand { station: usize, life: u64 },
    /// A client asks.
    Change,
    /// The provided file changes.
    FileChange,
    /// A fault.
    Fault(Kind),
    /// A cut ends.
    Mend,
    /// A clog ends.
    Unclog,
    /// A clock stops drifting.
    TrueClock { station: usize },
    /// A pause ends.
    Thaw { station: usize },
    /// A silent lane is given up.
    LaneBreaks { link: LinkId },
    /// Members refuse those that were removed.
    Refusals,
    /// A full disk has room again.
    Room { station: usize },
}

impl Happening {
    /// The process that it happens to, and its life.
    fn process(&self) -> Option<(usize, u64)> {
        match self {
            Self::Node { station, life, .. }
            | Self::Wake { station, life }
            | Self::LogDone { station, life }
            | Self::OtherDone { station, life }
            | Self::ProviderRead { station, life, .. }
            | Self::Fetched { station, life, .. } => Some((*station, *life)),
            _ => None,
        }
    }
}

/// What waits at a clogged link, in order.
#[derive(Debug, Default)]
struct Clog {
    until: u64,
    waiting: Vec<Delivery>,
}

/// One run.
pub(super) struct World {
    plan: Plan,
    /// What clients do follows from this alone, so that a fault more or less changes as little as possible.
    client_dice: StdRng,
    /// How long disks and jobs take.
    disk_dice: StdRng,
    dice: StdRng,
    now: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    network: Network,
    /// The ways that are cut, and until when.
    cuts: BTreeMap<(u64, u64), u64>,
    clogs: BTreeMap<(u64, u64), Clog>,
    stations: Vec<Station>,
    proxies: Vec<Proxy>,
    links: Links,
    clients: Clients,
    tickets: BTreeMap<(usize, u64), u64>,
    /// The request that is the event being handled.
    asked_now: Option<TicketId>,
    /// What operators have asked, by node and ticket.
    errands: BTreeMap<(usize, u64), Errand>,
    /// Who was ever asked to go, by number and life.
    removals: BTreeSet<(u64, u64)>,
    oracle: Oracle,
    /// The highest epoch that ran providers.
    epoch: u64,
    file_version: u64,
    report: Report,
    trail: VecDeque<(u64, usize, &'static str, u64, u64)>,
    faults_over: bool,
    trace: Option<Trace>,
}

impl World {
    /// The world before anything has happened.
    pub(super) fn new(script: &Script, trace: Option<Trace>) -> Self {
        let plan = script.plan.clone();
        let all = (plan.nodes + plan.spares).clamp(1, NODES_MAX);
        let stations = (1..=all).map(|number| Station::new(number, &plan)).collect();
        let dice = |of: u64| StdRng::seed_from_u64(plan.seed ^ of.rotate_right(8));
        let mut world = Self {
            client_dice: dice(1),
            disk_dice: dice(2),
            dice: dice(3),
            now: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            network: Network::new(plan.seed, plan.network()),
            cuts: BTreeMap::new(),
            clogs: BTreeMap::new(),
            stations,
            proxies: (1..=PROXIES).map(Proxy::new).collect(),
            links: Links::default(),
            clients: Clients::default(),
            tickets: BTreeMap::new(),
            asked_now: None,
            errands: BTreeMap::new(),
            removals: BTreeSet::new(),
            oracle: Oracle::of_voters(plan.nodes),
            epoch: 0,
            file_version: 1,
            report: Report::default(),
            trail: VecDeque::new(),
            faults_over: false,
            trace,
            plan,
        };
        for fault in &script.faults {
            world.at(fault.at_micros, Happening::Fault(fault.kind));
        }
        world
    }

    /// Runs to the end.
    pub(super) fn run(mut self) -> Result<Report, Box<Failure>> {
        match self.phases() {
            Ok(()) => {
                self.report.count(Mark::Leaders, self.oracle.leaders());
                self.report.count(Mark::Committed, self.oracle.committed());
                let counters = self.network.counters();
                self.report.count(Mark::Mangled, counters.lost + counters.duplicated + counters.reordered);
                Ok(self.report)
            }
            Err(what) => {
                let trail = self.trail.iter().map(|(at, station, name, term, applied)| {
                    format!("{at:>10} µs  node {station}  {name:<16} term {term:<3} applied {applied}")
                });
                Err(Box::new(Failure {
                    seed: self.plan.seed,
                    at_micros: self.now,
                    what,
                    digest: self.report.digest,
                    trail: trail.collect(),
                }))
            }
        }
    }

    fn phases(&mut self) -> Result<(), String> {
        for station in 0..self.stations.len() {
            self.start(station)?;
        }
        for proxy in 0..self.proxies.len() {
            self.after(1000, Happening::ProxyConnect { proxy });
        }
        self.after(1, Happening::Change);
        self.after(self.plan.file_micros, Happening::FileChange);
        if self.plan.spares > 0 {
            self.after(1, Happening::Refusals);
        }
        self.run_until(self.plan.faults_micros)?;
        if self.plan.recover_calls > 0 {
            self.recover()?;
        }
        self.settle()
    }

    /// Lets everything up to a time happen.
    fn run_until(&mut self, end: u64) -> Result<(), String> {
        loop {
            let network_at = self.network.next_at().map(micros);
            let queue_at = self.queue.keys().next().map(|(at, _)| *at);
            let Some(next) = [network_at, queue_at].into_iter().flatten().min() else { break };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if network_at == Some(next) {
                self.deliver()?;
            } else if let Some((_, happening)) = self.queue.pop_first() {
                self.happen(happening)?;
            }
        }
        self.now = end;
        Ok(())
    }

    fn deliver(&mut self) -> Result<(), String> {
        for delivery in self.network.deliveries(Duration::from_micros(self.now)) {
            match self.clogs.get_mut(&(delivery.from, delivery.to)) {
                Some(clog) if !self.faults_over => clog.waiting.push(delivery),
                _ => self.arrive(delivery)?,
            }
        }
        Ok(())
    }

    fn arrive(&mut self, delivery: Delivery) -> Result<(), String> {
        let station = delivery.to as usize - 1;
        let life = self.stations[station].life;
        let event = Event::RaftFrame { from: NodeId(delivery.from), frame: delivery.frame };
        self.happen(Happening::Node { station, life, event })
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        if let Some((station, life)) = happening.process() {
            let held = &mut self.stations[station];
            if held.life != life || held.machine.is_none() {
                return Ok(());
            }
            if held.paused_until > self.now {
                held.backlog.push_back(happening);
                return Ok(());
            }
        }
        match happening {
            Happening::Node { station, life, event } => self.node(station, life, event),
            Happening::Wake { station, life } => match self.stations[station].wake {
                Some(at) if at <= self.stations[station].clock.read(self.now) => {
                    self.stations[station].wake = None;
                    self.node(station, life, Event::Wake)
                }
                _ => Ok(()),
            },
            Happening::LogDone { station, life } => self.log_done(station, life),
            Happening::OtherDone { station, life } => self.other_done(station, life),
            Happening::ProviderRead { station, life, epoch } => self.provider_read(station, life, epoch),
            Happening::Fetched { station, life, meta, chunks } => {
                let Some(machine) = &self.stations[station].machine else { return Ok(()) };
                let event = match chunks {
                    Some(chunks) => machine.take_snapshot(&meta, &chunks),
                    None => Event::SnapshotNotFetched { meta, reason: "unreachable".to_owned() },
                };
                self.node(station, life, event)
            }
            Happening::ToProxy { proxy, link, frame } => self.reach_proxy(proxy, link, &frame),
            Happening::ProxyConnect { proxy } => {
                self.connect_proxy(proxy);
                Ok(())
            }
            Happening::Restart { station, life } if self.stations[station].life == life => {
                self.start(station)
            }
            Happening::Hand { station, life } if self.stations[station].life == life => self.hand(station),
            Happening::Fault(fault) => self.strike(fault),
            Happening::Unclog => self.unclog(),
            Happening::Thaw { station } => self.thaw(station),
            outside => {
                self.happen_outside(outside);
                Ok(())
            }
        }
    }

    /// What happens to no process by itself.
    fn happen_outside(&mut self, happening: Happening) {
        match happening {
            Happening::Change => {
                if self.faults_over && self.clients.is_set_up() {
                    return;
                }
                let envelope = self.clients.next(&mut self.client_dice, &self.plan);
                self.ask(envelope);
                if !self.faults_over || !self.clients.is_set_up() {
                    let mean = self.plan.ask_micros;
                    let wait = self.client_dice.random_range(mean / 10..=mean * 2).max(1);
                    self.after(wait, Happening::Change);
                }
            }
            Happening::FileChange => self.file_changed(),
            Happening::Mend => self.mend(),
            Happening::Refusals => self.refuse_removed(),
            Happening::TrueClock { station } => self.true_clock(station),
            Happening::LaneBreaks { link } => self.close(link, None),
            Happening::Room { station } if self.stations[station].full_until <= self.now => {
                self.stations[station].fill(None);
            }
            _ => {}
        }
    }

    /// Lets a process go on after a pause, with everything that it has missed in order.
    fn thaw(&mut self, station: usize) -> Result<(), String> {
        while self.stations[station].paused_until <= self.now
            && let Some(happening) = self.stations[station].backlog.pop_front()
        {
            self.happen(happening)?;
        }
        Ok(())
    }

    /// Gives a node's process an event, carries out what it asks for, and judges the cluster.
    pub(super) fn node(&mut self, station: usize, life: u64, event: Event) -> Result<(), String> {
        let held = &mut self.stations[station];
        if held.life != life || held.machine.is_none() {
            return Ok(());
        }
        let name = event.name();
        self.asked_now = match &event {
            Event::Request { ticket, .. } => Some(*ticket),
            _ => None,
        };
        let Some(machine) = &mut held.machine else { return Ok(()) };
        let last = machine.node().core().last_index();
        let actions = machine.handle(Time { micros: held.clock.read(self.now) }, event);
        let core = machine.node().core();
        let (term, applied) = (core.term().0, machine.node().store().applied_index().0);
        let brought_on = core.role() == RoleName::PreCandidate && core.last_index() > last;
        self.report.count(Mark::BroughtOn, u64::from(brought_on));
        self.remember(station, name, term, applied);
        self.oracle.judge(station, &self.stations)?;
        for action in actions {
            if self.stations[station].life == life {
                self.perform(station, action)?;
            }
        }
        self.begin_work(station);
        Ok(())
    }

    /// Judges what is durable on all disks together.
    pub(super) fn judge_durable(&self) -> Result<(), String> {
        self.oracle.judge_all(&self.stations)
    }

    fn remember(&mut self, station: usize, name: &'static str, term: u64, applied: u64) {
        self.report.events += 1;
        for value in [self.now, station as u64, name.len() as u64, term, applied] {
            self.report.fold(value);
        }
        if let Some(trace) = &mut self.trace {
            let (now, node, digest) = (self.now, station + 1, self.report.digest);
            trace(&format!(
                "{now:>10} µs  node {node}  {name:<18} term {term:<3} applied {applied:<5} {digest:016x}"
            ));
        }
        // Heartbeats that change nothing would push out what matters.
        let quiet = matches!(name, "wake" | "raftFrame" | "persisted");
        let before = self.trail.iter().rev().find(|(_, of, ..)| *of == station + 1);
        if quiet
            && before.is_some_and(|(.., before_term, before_applied)| {
                (*before_term, *before_applied) == (term, applied)
            })
        {
            return;
        }
        if self.trail.len() == TRAIL_MAX {
            self.trail.pop_front();
        }
        self.trail.push_back((self.now, station + 1, name, term, applied));
    }

    fn perform(&mut self, station: usize, action: Action) -> Result<(), String> {
        let life = self.stations[station].life;
        match action {
            Action::WakeAt(time) => {
                let held = &mut self.stations[station];
                held.wake = Some(time.micros);
                let at = held.clock.when(time.micros, self.now);
                self.at(at, Happening::Wake { station, life });
            }
            Action::SendRaft { to, frame } => {
                self.report.fold(to.0 << 32 | frame.len() as u64);
                let from = self.stations[station].number;
                self.network.send(Duration::from_micros(self.now), from, to.0, Lane::Raft, frame);
            }
            Action::FetchSnapshot { from, meta } => self.fetch(station, from, meta),
            Action::SendLink { link, frame } => self.send_link(station, link, frame),
            Action::CloseLink { link, .. } => self.close(link, Some(station)),
            Action::Call { to, call, frames } => self.call(station, to, call, frames),
            Action::Respond { ticket, response } => {
                if let Some(number) = self.tickets.remove(&(station, ticket.0)) {
                    self.count_read(station, ticket, &response);
                    self.may_answer(station, &response)?;
                    let by = self.holds_answer(station, &response).then_some(station);
                    self.clients.told(number, by, &response, self.now, &mut self.report)?;
                } else if let Some(errand) = self.errands.remove(&(station, ticket.0)) {
                    self.told_operator(errand, &response)?;
                }
            }
            Action::RunProviders { epoch, .. } if self.stations[station].provider_epoch != Some(epoch) => {
                self.stations[station].provider_epoch = Some(epoch);
                if epoch > self.epoch {
                    self.report.count(Mark::Epochs, u64::from(self.epoch > 0));
                    self.epoch = epoch;
                }
                self.after(1000, Happening::ProviderRead { station, life, epoch });
            }
            Action::StopProviders => self.stations[station].provider_epoch = None,
            Action::Report(record) => {
                let mark = match record.kind {
                    EventKind::StaleWriteRefused { decided_by_log: true, .. } => Mark::RefusedByLog,
                    EventKind::StaleWriteRefused { decided_by_log: false, .. } => Mark::RefusedEarly,
                    EventKind::OtherEpoch { .. } => Mark::OtherEpochs,
                    EventKind::SnapshotTaken { installed: true, .. } => Mark::Installed,
                    EventKind::SnapshotTaken { installed: false, .. } => Mark::Snapshots,
                    _ => return Ok(()),
                };
                self.report.count(mark, 1);
            }
            Action::Halt { reason } => self.halted(station, &reason)?,
            _ => {}
        }
        Ok(())
    }

    /// Who answered a read, and how.
    fn count_read(&mut self, station: usize, ticket: TicketId, response: &Response) {
        let Response::Objects(_) = response else { return };
        let Some(machine) = &self.stations[station].machine else { return };
        let core = machine.node().core();
        let (leads, alone) = (core.role() == RoleName::Leader, core.configuration().voters.len() == 1);
        self.report.count(Mark::FollowerReads, u64::from(!leads));
        self.report.count(Mark::LeaseReads, u64::from(leads && !alone && self.asked_now == Some(ticket)));
    }

    fn begin_work(&mut self, station: usize) {
        let sync_max = self.plan.sync_max_micros.max(51);
        let held = &mut self.stations[station];
        let Some(machine) = &held.machine else { return };
        let life = held.life;
        let log = machine.log_work() > 0 && !held.log_busy;
        let other = machine.other_work() > 0 && !held.other_busy;
        held.log_busy |= log;
        held.other_busy |= other;
        if log {
            let (extra, until) = self.stations[station].slow;
            let slow = if until > self.now { extra } else { 0 };
            let takes = self.disk_dice.random_range(50..sync_max) + slow;
            self.after(takes, Happening::LogDone { station, life });
        }
        if other {
            let takes = self.disk_dice.random_range(100..OTHER_MICROS_MAX);
            self.after(takes, Happening::OtherDone { station, life });
        }
    }

    fn log_done(&mut self, station: usize, life: u64) -> Result<(), String> {
        self.stations[station].log_busy = false;
        if self.cut_log(station) {
            return Ok(());
        }
        let event = self.stations[station].write_log();
        match event {
            Some(event) => self.node(station, life, event)?,
            None => self.begin_work(station),
        }
        Ok(())
    }

    fn other_done(&mut self, station: usize, life: u64) -> Result<(), String> {
        if self.cut_snapshot(station) {
            return Ok(());
        }
        let held = &mut self.stations[station];
        let Some(machine) = &mut held.machine else { return Ok(()) };
        held.other_busy = false;
        let event = machine.run_other();
        match event {
            Some(event) => self.node(station, life, event)?,
            None => self.begin_work(station),
        }
        Ok(())
    }

    /// A client asks some process, which may be down: then it is told nothing.
    fn ask(&mut self, envelope: Envelope) {
        let number = self.clients.asked_at(self.now);
        let station = self.client_dice.random_range(0..self.stations.len());
        let life = self.stations[station].life;
        if self.stations[station].machine.is_none() {
            return;
        }
        let ticket = self.next_number();
        self.tickets.insert((station, ticket), number);
        self.after(
            LINK_MICROS,
            Happening::Node { station, life, event: Event::Request { ticket: TicketId(ticket), envelope } },
        );
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Puts something at a time.
    pub(super) fn at(&mut self, at: u64, happening: Happening) {
        let sequence = self.next_number();
        self.queue.insert((at, sequence), happening);
    }

    /// Puts something at so many microseconds from now.
    pub(super) fn after(&mut self, wait: u64, happening: Happening) {
        self.at(self.now + wait, happening);
    }

    /// A span around a mean: from a tenth to about twice of it.
    pub(super) fn about(&mut self, mean: u64) -> u64 {
        self.dice.random_range(mean / 10..=mean * 2).max(1)
    }
}

mod end;
mod lanes;
mod operator;
mod recovery;
mod strike;
