//! What a run has shown so far that no node remembers: who led, what was committed, what clients were told, and once a
//! survivor has gone on alone in a new epoch, the same of that epoch. Nothing is kept that no question needs.

use std::sync::Arc;

use ravelin_consensus::invariant::{History, Violation};
use ravelin_consensus::{ReadId, RecoveryEpoch, RoleName};

use crate::raft::action::Event;
use crate::raft::bounds::Bounds;
use crate::raft::clients::{Call, Clients};
use crate::raft::member::{Member, Outcome};
use crate::raft::network::Load;
use crate::raft::symmetry::{Renamings, fingerprint};

/// The memory of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    /// Of the epoch that it began in.
    pub(crate) history: History<Load>,
    /// Calls, where clients of a register are watched.
    pub(crate) clients: Clients,
    /// Once somebody has recovered.
    pub(crate) fence: Option<Fence>,
    /// Its hash under each renaming.
    pub(crate) hashes: Vec<u64>,
}

/// Two epochs beside each other.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    /// Who recovered, as those of the old epoch must take it: a disk that holds what it held then, and that nobody writes.
    pub(crate) left: Arc<Member>,
    /// What the new epoch has shown.
    pub(crate) history: History<Load>,
}

/// What one event made of a node.
pub(crate) struct Step<'a> {
    pub(crate) event: &'a Event,
    pub(crate) before: &'a Member,
    pub(crate) outcome: &'a Outcome,
    /// The next read's name.
    pub(crate) read: ReadId,
    /// Of a recovery, what stays behind in the old epoch.
    pub(crate) left: Option<Arc<Member>>,
}

impl Past {
    /// The memory of a run that begins.
    pub(crate) fn new(renamings: &Renamings) -> Past {
        Past::default().hashed(renamings)
    }

    fn hashed(mut self, renamings: &Renamings) -> Past {
        let under = |at| {
            let name = |node| renamings.name(at, node);
            let of_fence = |fence: &Fence| (fence.left.hashes[at], fence.history.renamed(&name));
            let fence = self.fence.as_ref().map(of_fence);
            fingerprint(&(self.history.renamed(&name), self.clients.renamed(&name), fence))
        };
        self.hashes = (0..renamings.len()).map(under).collect();
        self
    }

    /// The history of an epoch.
    pub(crate) fn of(&self, epoch: RecoveryEpoch) -> &History<Load> {
        let fence = self.fence.as_ref().filter(|_| epoch > RecoveryEpoch(0));
        fence.map_or(&self.history, |fence| &fence.history)
    }

    /// The memory after a step, and what the step contradicts in it.
    pub(crate) fn after(
        self: &Arc<Past>,
        step: Step<'_>,
        bounds: &Bounds,
        renamings: &Renamings,
    ) -> (Arc<Past>, Option<Violation>) {
        let Step { event, before, outcome, read, left } = step;
        let after = &outcome.member.core;
        let leads = after.role() == RoleName::Leader && before.core.role() != RoleName::Leader;
        let asks = matches!(event, Event::Read { .. });
        let forgets = matches!(event, Event::Crash { .. } | Event::Wipe { .. }) && bounds.reads > 0;
        let reads = after.reads_waiting() == before.core.reads_waiting();
        let same = !leads && !asks && !forgets && reads && left.is_none() && outcome.told.is_empty();
        if same && after.commit_index() <= before.core.commit_index() {
            return (Arc::clone(self), None);
        }
        let mut past = Past::clone(self);
        if let Some(left) = left {
            past.fence = Some(Fence { left, history: History::default() });
        }
        let fence = past.fence.as_mut().filter(|_| after.params().recovery_epoch > RecoveryEpoch(0));
        let history = fence.map_or(&mut past.history, |fence| &mut fence.history);
        if asks {
            history.read_began(read, after.id());
        }
        if forgets {
            history.restarted(after.id());
        }
        let mut broken = history.record(after, &outcome.told).err();
        if bounds.clients > 0 {
            broken = broken.or(past.hear(event, outcome, read, forgets).err());
        }
        if past.is_like(self) {
            return (Arc::clone(self), broken);
        }
        (Arc::new(past.hashed(renamings)), broken)
    }

    fn hear(
        &mut self,
        event: &Event,
        outcome: &Outcome,
        read: ReadId,
        forgets: bool,
    ) -> Result<(), Violation> {
        let core = &outcome.member.core;
        let Past { history, clients, .. } = self;
        match event {
            Event::Propose { command, .. } => clients.begin(Call::Write(*command), core.id(), read),
            Event::Read { .. } => clients.begin(Call::Read, core.id(), read),
            _ if forgets => clients.restarted(core.id()),
            _ => {}
        }
        clients.heard(core.id(), &outcome.told, core.applied_index(), history)
    }

    fn is_like(&self, other: &Past) -> bool {
        let fenced = match (&self.fence, &other.fence) {
            (None, None) => true,
            (Some(one), Some(other)) => one.history == other.history,
            _ => false,
        };
        fenced && self.history == other.history && self.clients == other.clients
    }
}
