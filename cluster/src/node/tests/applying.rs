//! Entries that take long are applied beside the node: order, waiting, and what a snapshot does to them.

use std::sync::Arc;
use std::time::Duration;

use ravelin_config::SealingKeys;
use ravelin_consensus::{NodeId, RoleName, Time};

use super::harness::{apply, site};
use crate::node::NodeOptions;
use crate::node::boot::Member;
use crate::node::event::{Action, Event, TicketId};
use crate::node::timers::after;
use crate::request::{Envelope, Request, RequestId, Response};
use crate::sim_entry::{Machine, Work};
use crate::storage::{MemoryDisk, WalLimits};
use crate::store::{Command, Event as StoreEvent};

/// A lone voter whose work beside it is done only when asked for.
struct Lone {
    machine: Machine,
    now: Time,
    wake: Option<Time>,
    answers: Vec<Response>,
}

impl Lone {
    fn leading(heavy_bytes: u64) -> Self {
        Self::with(|usual| NodeOptions { heavy_bytes, ..usual })
    }

    /// A leader with these options in place of the usual ones.
    fn with(options: impl FnOnce(NodeOptions) -> NodeOptions) -> Self {
        let member = Member::alone([7; 16]);
        let sealing = SealingKeys::new(member.cluster, &[[7; 32]]).expect("one key");
        let options = options(NodeOptions::new(member.params(), sealing));
        let limits = WalLimits { segment_bytes: 64 << 10 };
        let machine = Machine::boot(Arc::new(MemoryDisk::new()), limits, &member, options, 1);
        let machine = machine.expect("an empty disk");
        let now = Time { micros: 1_000_000 };
        let mut lone = Self { machine, now, wake: None, answers: Vec::new() };
        lone.step(Event::Start);
        while lone.machine.node().core().role() != RoleName::Leader
            || lone.machine.node().providers_epoch().is_none()
        {
            lone.wake();
        }
        lone
    }

    /// Gives an event and writes the log, but does nothing that is to be done beside the node.
    fn step(&mut self, event: Event) {
        let mut next = vec![event];
        while let Some(event) = next.pop() {
            for action in self.machine.handle(self.now, event) {
                match action {
                    Action::WakeAt(at) => self.wake = Some(at),
                    Action::Respond { response, .. } => self.answers.push(response),
                    Action::Halt { reason } => panic!("halted: {reason}"),
                    _ => {}
                }
            }
            while self.machine.log_work() > 0 {
                next.extend(self.machine.run_log());
            }
        }
    }

    fn wake(&mut self) {
        self.now = self.wake.take().map_or(self.now, |at| Time { micros: at.micros.max(self.now.micros) });
        self.step(Event::Wake);
    }

    fn ask(&mut self, number: u8, request: Request) {
        let id = RequestId([number; 16]);
        let envelope =
            Envelope { id, hops: 0, deadline_millis: 60_000, author: "x".to_owned(), request, since: None };
        self.step(Event::Request { ticket: TicketId(number.into()), envelope });
    }

    fn record(&mut self, number: u8) {
        let event = StoreEvent { at_unix_ms: 1, node: NodeId(1), name: "x".to_owned(), text: String::new() };
        let command = Command::Event(event).encode().expect("small").0.to_vec();
        self.ask(number, Request::Propose { command });
    }

    /// Does what is to be done beside the node until it has something to say.
    fn beside(&mut self) -> Event {
        loop {
            assert!(self.machine.other_work() > 0, "nothing was asked for");
            if let Some(event) = self.machine.run_other() {
                return event;
            }
        }
    }

    fn applied(&self) -> u64 {
        self.machine.node().store().applied_index().0
    }

    fn committed(&self) -> u64 {
        self.machine.node().core().commit_index().0
    }
}

#[test]
fn what_is_committed_behind_a_long_entry_waits_and_the_node_goes_on_meanwhile() {
    let mut lone = Lone::leading(1);
    let before = lone.applied();
    lone.ask(1, apply(&site("a")));
    let check = lone.beside();
    lone.step(check);
    assert!(matches!(lone.machine.next_other_work(), Some(Work::Apply { .. })));
    lone.record(2);
    lone.record(3);
    assert_eq!((lone.applied(), lone.committed()), (before, before + 3));
    lone.now = after(lone.now, Duration::from_secs(5));
    lone.wake();
    assert_eq!(lone.machine.node().core().role(), RoleName::Leader);
    assert_eq!(lone.applied(), before, "only the long entry's end lets the others go");
    let applied = lone.beside();
    lone.step(applied);
    assert_eq!(lone.applied(), before + 3);
    assert_eq!(lone.machine.node().core().applied_index().0, before + 3);
    assert!(lone.answers.iter().any(|answer| matches!(answer, Response::Done(_))), "{:?}", lone.answers);
}

#[test]
fn a_log_that_nobody_will_read_lets_a_heavy_change_go_soon_after_it_is_applied() {
    for forgets_log in [true, false] {
        let mut lone = Lone::with(|usual| NodeOptions { heavy_bytes: 1, forgets_log, ..usual });
        lone.ask(1, apply(&site("a")));
        for _ in ["the check", "the applying"] {
            let done = lone.beside();
            lone.step(done);
        }
        let applied = lone.applied();
        assert!(lone.machine.node().core().snapshot().is_none(), "not while proxies wait for it");
        lone.now = after(lone.now, Duration::from_secs(10));
        lone.wake();
        while let Some(work) = lone.machine.next_other_work() {
            assert!(forgets_log || !matches!(work, Work::Snapshot { .. }), "nobody asked for it");
            if let Some(done) = lone.machine.run_other() {
                lone.step(done);
            }
        }
        let covered = lone.machine.node().core().snapshot().map(|snapshot| snapshot.index.0);
        assert_eq!(covered.is_some_and(|index| index >= applied), forgets_log);
        assert_eq!(covered.is_some(), forgets_log);
    }
}

#[test]
fn one_event_applies_a_bounded_piece_and_the_rest_follows_at_once() {
    let mut lone = Lone::leading(u64::MAX);
    let before = lone.applied();
    // One piece of 480 KiB of text each: three of them are more than one event may apply.
    let text = "x".repeat(480 << 10);
    let mut next = Vec::new();
    for _ in 0..5_u8 {
        let event = StoreEvent { at_unix_ms: 1, node: NodeId(1), name: "x".to_owned(), text: text.clone() };
        let command = Command::Event(event).encode().expect("it fits an entry").0.to_vec();
        next.push(Request::Propose { command });
    }
    for (number, request) in (1..).zip(next) {
        let id = RequestId([number; 16]);
        let envelope =
            Envelope { id, hops: 0, deadline_millis: 60_000, author: "x".to_owned(), request, since: None };
        // The first is written alone; what comes while it is on its way is written together, and committed by one event.
        for action in lone.machine.handle(lone.now, Event::Request { ticket: TicketId(1), envelope }) {
            if let Action::WakeAt(at) = action {
                lone.wake = Some(at);
            }
        }
    }
    for committed in [1, 5] {
        let persisted = lone.machine.run_log().expect("entries to write");
        for action in lone.machine.handle(lone.now, persisted) {
            if let Action::WakeAt(at) = action {
                lone.wake = Some(at);
            }
        }
        assert_eq!(lone.committed(), before + committed);
    }
    assert_eq!(lone.applied(), before + 4, "a megabyte and what began within it");
    let wake = lone.wake.expect("there is more to do");
    assert!(wake.micros - lone.now.micros <= 1, "at once");
    lone.wake();
    assert_eq!(lone.applied(), before + 5);
}
