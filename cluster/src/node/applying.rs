//! The way of committed entries into the state: in order, a bounded piece an event, so that applying never holds up what
//! keeps a leader leader. An entry that takes long by itself is applied to a copy of the state beside the node, which
//! takes the copy over when it is done; what is committed meanwhile waits.
//!
//! It must not change the order, and where an entry is applied never changes what comes of it.

use std::collections::VecDeque;
use std::time::Duration;

use ravelin_consensus::{Entries, Entry, EntryKind, Index, Input, Time};

use super::Node;
use super::event::{Action, Actions};
use super::timers::{Due, after};
use crate::storage::{CommandBytes, chain};
use crate::store::{Applied, ApplyError, Store};

/// Bytes of entries that one event applies before it lets others go first.
const APPLY_BYTES_MAX: u64 = 1 << 20;
/// How long after a heavy change its log is let go, where nobody will read it: not while proxies are waiting for the change.
const FORGET_AFTER: Duration = Duration::from_secs(2);
/// How long the rest waits then: for whatever has arrived already.
const LET_OTHERS_GO: Duration = Duration::from_micros(1);

/// Committed entries on their way into the state. Bounded by the log, which holds them too.
#[derive(Debug, Default)]
pub(super) struct Applying {
    waiting: VecDeque<(Index, Entry<CommandBytes>)>,
    /// The job that applies an entry beside the node.
    beside: Option<u64>,
    jobs: u64,
    /// Bytes that this event may still apply.
    left: u64,
}

impl Applying {
    /// Another event begins.
    pub(super) fn begin_event(&mut self) {
        self.left = APPLY_BYTES_MAX;
    }

    /// The state was replaced by a later one: what is under way beside it is of no use, and what it holds is skipped.
    pub(super) fn replaced(&mut self) {
        self.beside = None;
    }
}

impl Node {
    /// The core hands over what is committed.
    pub(super) fn hand_over(
        &mut self,
        now: Time,
        first: Index,
        entries: Entries<CommandBytes>,
        actions: &mut Actions,
    ) {
        let mut index = first;
        for entry in entries {
            self.applying.waiting.push_back((index, entry));
            index = index.next();
        }
        self.apply_waiting(now, actions);
    }

    /// Applies what waits, as far as this event may.
    pub(super) fn apply_waiting(&mut self, now: Time, actions: &mut Actions) {
        let mut last = None;
        while self.applying.beside.is_none() && self.halted.is_none() {
            let Some((index, entry)) = self.applying.waiting.pop_front() else { break };
            if index <= self.store.applied_index() {
                // It was known to be committed before the core knew it, or came with a snapshot.
                last = Some(index);
                continue;
            }
            if self.applying.left == 0 {
                self.applying.waiting.push_front((index, entry));
                self.timers.set(Due::Apply, after(now, LET_OTHERS_GO));
                break;
            }
            self.applying.left = self.applying.left.saturating_sub(entry.size_bytes());
            if self.store.is_heavy(&entry, self.options.heavy_bytes) {
                self.applying.jobs += 1;
                let job = self.applying.jobs;
                self.applying.beside = Some(job);
                let store = Box::new(self.store.clone());
                actions.push(Action::ApplyBeside { job, index, entry, store });
                break;
            }
            if let EntryKind::Configuration(members) = &entry.kind {
                self.apply_members(now, members.clone(), actions);
            }
            match self.store.apply(index, &entry) {
                Ok(applied) => self.applied(now, applied, actions),
                // Skipping it would let this node's state differ from the others' for ever.
                Err(error) => return self.halt(now, chain(&error), actions),
            }
            last = Some(index);
        }
        if let Some(last) = last {
            self.step(now, Input::Applied(last));
        }
    }

    /// An entry was applied beside the node: the state goes on from there.
    pub(super) fn applied_beside(
        &mut self,
        now: Time,
        job: u64,
        outcome: Result<(Box<Store>, Applied), ApplyError>,
        actions: &mut Actions,
    ) {
        if self.applying.beside != Some(job) {
            return;
        }
        self.applying.beside = None;
        match outcome {
            Ok((store, applied)) => {
                self.replace_store(*store, actions);
                let index = self.store.applied_index();
                self.applied(now, applied, actions);
                self.step(now, Input::Applied(index));
                if self.options.forgets_log {
                    self.snapshot.wanted = Some(after(now, FORGET_AFTER));
                }
                self.apply_waiting(now, actions);
            }
            Err(error) => self.halt(now, chain(&error), actions),
        }
    }

    /// Puts another state in the place of this one, which is let go where that holds nobody up.
    pub(super) fn replace_store(&mut self, store: Store, actions: &mut Actions) {
        let before = std::mem::replace(&mut self.store, store);
        actions.push(Action::Discard(Box::new(before)));
    }
}

/// Applies one entry to a copy of the state: what an [`Action::ApplyBeside`] asks for. Takes as long as the entry needs.
pub(crate) fn apply_beside(
    mut store: Box<Store>,
    index: Index,
    entry: &Entry<CommandBytes>,
) -> Result<(Box<Store>, Applied), ApplyError> {
    let applied = store.apply(index, entry)?;
    Ok((store, applied))
}
