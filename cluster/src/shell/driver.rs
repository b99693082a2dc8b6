//! The one task that owns the node: takes every event that is ready, steps, carries the actions out.
//! It must not block: disk work goes to threads, frames to tasks, and what they say comes back as events.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc as threads;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ravelin_config::{GenerationId, SharedRecords};
use ravelin_consensus::Time;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::accept::LinkOut;
use super::disk::LogWork;
use super::peer::{CallOut, Peer};
use super::peers::Peers;
use super::providers::Providers;
use super::{Message, snapshot};
use crate::feed::transfer::encode_whole;
use crate::node::Node;
use crate::node::applying::apply_beside;
use crate::node::boot::Snapshots;
use crate::node::event::{Action, Actions, Event, LinkId, TicketId};
use crate::reconcile::Job;
use crate::request::Response;

/// Most messages taken before the actions that follow from them are carried out, unless a deadline has passed.
const MESSAGES_AT_ONCE_MAX: usize = 512;
/// Most messages of links taken before the inbox is looked at again.
const CROWD_AT_ONCE_MAX: usize = 128;

/// Time for the node: never goes back, and tells when in the world's time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    unix: Duration,
    start: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { unix, start: Instant::now() }
    }

    fn now(&self) -> Time {
        let now = self.unix + self.start.elapsed();
        Time { micros: u64::try_from(now.as_micros()).unwrap_or(u64::MAX) }
    }

    fn instant(&self, time: Time) -> Instant {
        self.start + Duration::from_micros(time.micros).saturating_sub(self.unix)
    }
}

/// Everything that the node's task holds.
pub(super) struct Driver {
    pub(super) node: Node,
    pub(super) clock: Clock,
    /// Raft, the disk, timers of others, this process's own requests.
    pub(super) inbox: mpsc::Receiver<Message>,
    /// What comes over links: never waited for by anything in the inbox.
    pub(super) crowd: mpsc::Receiver<Message>,
    /// For tasks that report back.
    pub(super) outbox: mpsc::Sender<Message>,
    pub(super) peers: Peers,
    pub(super) links: BTreeMap<LinkId, LinkOut>,
    pub(super) tickets: BTreeMap<TicketId, oneshot::Sender<Response>>,
    pub(super) ticket: u64,
    pub(super) log: threads::SyncSender<LogWork>,
    pub(super) checks: threads::SyncSender<Job>,
    pub(super) snapshots: Snapshots,
    pub(super) providers: Providers,
    pub(super) generation: watch::Sender<Option<GenerationId>>,
    /// Where the applied records are held for other parts of the process.
    pub(super) shared: Option<SharedRecords>,
    pub(super) wake: Option<Instant>,
}

impl Driver {
    /// Runs the node until it is told to stop, or stops for its own safety: then it says why.
    pub(super) async fn run(mut self) -> Option<String> {
        let mut actions = Actions::new();
        self.step(Event::Start, &mut actions);
        self.carry_out(&mut actions);
        loop {
            if let ControlFlow::Break(reason) = self.gather(&mut actions).await {
                return reason;
            }
            if let Some(reason) = self.carry_out(&mut actions) {
                return Some(reason);
            }
        }
    }

    /// Waits until something happens, and steps the node through everything that has. After a stall a deadline may have
    /// passed although its answer has arrived: what waits is taken before the time is looked at.
    async fn gather(&mut self, actions: &mut Actions) -> ControlFlow<Option<String>> {
        tokio::select! {
            biased;
            message = self.inbox.recv() => match message {
                Some(message) => self.take(message, actions)?,
                None => return ControlFlow::Break(None),
            },
            () = sleep_until(self.wake) => {}
            Some(message) = self.crowd.recv() => self.take(message, actions)?,
        }
        let is_due = self.wake.is_some_and(|at| at <= Instant::now());
        let waiting = self.inbox.len();
        for _ in 0..if is_due { waiting } else { waiting.min(MESSAGES_AT_ONCE_MAX) } {
            let Ok(message) = self.inbox.try_recv() else { break };
            self.take(message, actions)?;
        }
        for _ in 0..CROWD_AT_ONCE_MAX {
            let Ok(message) = self.crowd.try_recv() else { break };
            self.take(message, actions)?;
        }
        if is_due {
            self.wake = None;
            self.step(Event::Wake, actions);
        }
        ControlFlow::Continue(())
    }

    /// Takes a message; breaks if it ends the node, with the reason if that is for its own safety.
    fn take(&mut self, message: Message, actions: &mut Actions) -> ControlFlow<Option<String>> {
        match message {
            Message::Event(event) | Message::Frame { event, .. } => self.step(event, actions),
            Message::Link { link, out, opened } => {
                self.links.insert(link, out);
                self.step(opened, actions);
            }
            Message::LinkOver(link) => {
                if self.links.remove(&link).is_some() {
                    self.step(Event::LinkClosed(link), actions);
                }
            }
            Message::Ask { envelope, answer } => {
                self.ticket += 1;
                let ticket = TicketId(self.ticket);
                self.tickets.insert(ticket, answer);
                self.step(Event::Request { ticket, envelope }, actions);
            }
            Message::WorkLost(what) => {
                return ControlFlow::Break(Some(format!("{what} has ended, and work with it")));
            }
            Message::Stop => return ControlFlow::Break(None),
        }
        ControlFlow::Continue(())
    }

    fn step(&mut self, event: Event, actions: &mut Actions) {
        let (name, begun) = (event.name(), std::time::Instant::now());
        self.node.handle(self.clock.now(), event, actions);
        let span = begun.elapsed();
        tracing::trace!(event = name, micros = span.as_micros(), "handled");
        self.node.took(name, span);
    }

    /// Carries actions out in their order; gives the reason where one of them ends the node.
    fn carry_out(&mut self, actions: &mut Actions) -> Option<String> {
        let mut halted = None;
        // Before any of it is sent: who receives it finds it there.
        if let Some(shared) = &self.shared {
            shared.offer(self.node.store().config());
        }
        for action in actions.drain() {
            if let Action::Halt { reason } = action {
                halted = Some(reason);
            } else {
                self.perform(action);
            }
        }
        halted
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::WakeAt(time) => self.wake = Some(self.clock.instant(time)),
            Action::Persist(batch) => self.log(LogWork::Persist(batch)),
            Action::CompactLog(meta) => self.log(LogWork::Compact(meta)),
            Action::NoteKnown(known) => self.log(LogWork::NoteKnown(known)),
            Action::Check(job) => {
                if self.checks.try_send(job).is_err() {
                    self.report(Message::WorkLost("the check of configuration"));
                }
            }
            Action::SendRaft { to, frame } => {
                if let Some(peer) = self.peers.get(&to) {
                    peer.send(frame);
                }
            }
            Action::Call { to, call, frames } => {
                let refused = match self.peers.get(&to) {
                    Some(peer) => peer.call(CallOut { call, frames }).err(),
                    None => Some(call),
                };
                if let Some(call) = refused {
                    let reason = "the node cannot be asked at the moment".to_owned();
                    let event = Event::CallFailed { call, may_have_arrived: false, reason };
                    self.report(Message::Event(event));
                }
            }
            Action::Directory(directory) => self.peers.follow(directory),
            Action::SendLink { link, frame } => {
                let taken = self.links.get(&link).is_none_or(|out| out.send(frame));
                if !taken {
                    // The node never sends so far ahead: the link is broken and about to say so.
                    self.links.remove(&link);
                    self.report(Message::Event(Event::LinkClosed(link)));
                }
            }
            Action::CloseLink { link, reason } => {
                tracing::debug!(link = link.0, reason, "link closed");
                if let Some(out) = self.links.remove(&link) {
                    out.say_farewell(reason);
                }
            }
            Action::Respond { ticket, response } => {
                if let Some(answer) = self.tickets.remove(&ticket) {
                    // Whoever asked may have gone.
                    drop(answer.send(response));
                }
            }
            Action::RunProviders { epoch, providers } => self.providers.run(epoch, providers),
            Action::StopProviders => self.providers.stop(),
            Action::ProviderOutcome { provider, outcome } => self.providers.outcome(&provider, outcome),
            Action::Report(record) => tracing::info!(kind = ?record.kind, number = record.number, "event"),
            Action::Generation(generation) => {
                self.generation.send_replace(Some(generation));
            }
            Action::WriteSnapshot { .. }
            | Action::FetchSnapshot { .. }
            | Action::EncodeWhole { .. }
            | Action::ApplyBeside { .. }
            | Action::Discard(_) => self.in_background(action),
            Action::Halt { .. } => {}
        }
    }

    /// Hands work to the log's thread. Never waits: that thread may itself wait for room in the inbox.
    fn log(&self, work: LogWork) {
        if self.log.try_send(work).is_err() {
            self.report(Message::WorkLost("the log's thread"));
        }
    }

    fn in_background(&self, action: Action) {
        match action {
            Action::WriteSnapshot { index, term, configuration, store } => {
                let snapshots = self.snapshots.clone();
                let work = move || snapshots.write(index, term, configuration, &store);
                self.await_work("the writing of a snapshot", tokio::task::spawn_blocking(work));
            }
            Action::ApplyBeside { job, index, entry, store } => {
                let work = move || Event::AppliedBeside { job, outcome: apply_beside(store, index, &entry) };
                self.await_work("the applying of an entry", tokio::task::spawn_blocking(work));
            }
            // Nobody waits for it.
            Action::Discard(store) => drop(tokio::task::spawn_blocking(move || drop(store))),
            Action::EncodeWhole { generation, map, transfer, sealing } => {
                let work = move || {
                    let frames = encode_whole(generation, &map, transfer, &sealing);
                    if let Err(error) = &frames {
                        tracing::error!(%generation, %error, "the generation cannot be sent");
                    }
                    Event::WholeEncoded { generation, frames: frames.ok() }
                };
                self.await_work("the encoding of a generation", tokio::task::spawn_blocking(work));
            }
            Action::FetchSnapshot { from, meta } => {
                let snapshots = self.snapshots.clone();
                let peer = self.peers.get(&from).cloned();
                let work = tokio::spawn(async move {
                    let connect = || {
                        let connection = peer.as_ref().and_then(Peer::connection);
                        async move { connection }
                    };
                    snapshot::fetch(snapshots, meta, connect).await
                });
                self.await_work("the fetching of a snapshot", work);
            }
            _ => {}
        }
    }

    /// Tells the node what came of work in the background, and that nothing will where it panicked.
    fn await_work(&self, what: &'static str, work: JoinHandle<Event>) {
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let message = work.await.map_or(Message::WorkLost(what), Message::Event);
            drop(outbox.send(message).await);
        });
    }

    /// Hands the node what follows from one of its own actions.
    fn report(&self, message: Message) {
        let outbox = self.outbox.clone();
        tokio::spawn(async move { drop(outbox.send(message).await) });
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
pub(super) mod tests;
