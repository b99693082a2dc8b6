//! One control node's process in the simulation: its disk, its lives, the work that its machine waits for, and what its
//! log has promised to keep. It must not decide when anything happens; the world does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ravelin_cluster::node::{HEAVY_BYTES, NodeOptions};
use ravelin_cluster::node::boot::{BootError, Member};
use ravelin_cluster::node::event::Event;
use ravelin_cluster::sim_entry::{Machine, Work};
use ravelin_cluster::storage::{CommandBytes, SimDisk, SimFaults, WalLimits};
use ravelin_config::SealingKeys;
use ravelin_consensus::invariant::View;
use ravelin_consensus::{
    Batch, Configuration, Core, Durable, Incarnation, Index, NodeId, Params, SnapshotMeta,
};

use super::Plan;
use super::world::Happening;

/// Number of control nodes.
pub(super) const STATIONS: u64 = 3;
/// The cluster that every run simulates.
pub(super) const CLUSTER: [u8; 16] = *b"simulatedcluster";

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The machine loses power: of what was not synced, a random part is gone.
    PowerLoss,
    /// The process is killed, or stops by itself; the machine lives on.
    Kill,
}

/// Why a process could not be started.
#[derive(Debug)]
pub(super) enum StartError {
    /// The node refuses what the disk holds.
    Boot(BootError),
    /// It starts from another state than its log had promised to keep.
    Lost(String),
}

/// A change of the log that was under way when the process ended.
#[derive(Debug)]
enum Doubt {
    Batch(Batch<CommandBytes>),
    Compact(SnapshotMeta),
}

/// One control node's process.
#[derive(Debug)]
pub(super) struct Station {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Its disk, which outlives the process.
    pub(super) disk: SimDisk,
    /// Counts its processes; what was meant for an earlier one is dropped.
    pub(super) life: u64,
    /// The running process.
    pub(super) machine: Option<Machine>,
    /// When the node wants to be woken.
    pub(super) wake: Option<u64>,
    /// Frozen until then, in virtual microseconds.
    pub(super) paused_until: u64,
    /// What has happened while it was frozen, in order.
    pub(super) backlog: VecDeque<Happening>,
    /// Whether a write is under way.
    pub(super) log_busy: bool,
    /// Whether other work is under way.
    pub(super) other_busy: bool,
    /// The epoch under which providers run here.
    pub(super) provider_epoch: Option<u64>,
    /// How the process ends in the middle of its next write of the log.
    pub(super) cut: Option<Ending>,
    /// A fault of the disk is due, so that the node may stop.
    pub(super) disk_fault: bool,
    /// The disk is full until then.
    pub(super) full_until: u64,
    member: Member,
    params: Arc<Params>,
    /// What the log has called durable.
    promised: Durable<CommandBytes>,
    /// What may have reached the disk beyond that, in order.
    doubts: Vec<Doubt>,
    /// Stands in for the core while no process runs: what a start would make of the promise.
    ghost: Core<CommandBytes>,
}

impl Station {
    /// A station that was never started.
    ///
    /// # Panics
    /// If the core does not take a member that holds nothing.
    pub(super) fn new(number: u64, plan: &Plan) -> Self {
        let disk = SimDisk::new(plan.seed ^ number.rotate_left(40));
        disk.set_faults(SimFaults::default());
        let member = Member {
            cluster: CLUSTER,
            recovery_epoch: 0,
            node: number,
            incarnation: 1,
            voters: (1..=STATIONS).map(|number| (number, 1)).collect(),
        };
        let params = Arc::new(params(&member, plan));
        let voters = member.voters.iter().map(|(node, life)| (NodeId(*node), Incarnation(*life)));
        let promised = Durable::genesis(Configuration::of_voters(voters));
        let ghost = Core::restore(Arc::clone(&params), promised.clone()).expect("nothing contradicts itself");
        Self {
            number,
            disk,
            life: 0,
            machine: None,
            wake: None,
            paused_until: 0,
            backlog: VecDeque::new(),
            log_busy: false,
            other_busy: false,
            provider_epoch: None,
            cut: None,
            disk_fault: false,
            full_until: 0,
            member,
            params,
            promised,
            doubts: Vec::new(),
            ghost,
        }
    }

    /// Starts a process on what the disk holds.
    ///
    /// # Errors
    /// The node refuses it, or it is not what was promised.
    pub(super) fn start(&mut self, plan: &Plan) -> Result<(), StartError> {
        self.life += 1;
        let machine = self.boot(plan).map_err(StartError::Boot)?;
        let found = durable_of(machine.node().core(), &self.promised);
        self.reconcile(found).map_err(StartError::Lost)?;
        self.disk_fault = false;
        self.machine = Some(machine);
        Ok(())
    }

    /// Begins a start that loses power after so many changing calls to the disk.
    pub(super) fn cut_start(&mut self, plan: &Plan, calls: u64) {
        self.life += 1;
        self.disk.stop_after(calls);
        // Whether it got through makes no difference: the power goes before it says a word.
        drop(self.boot(plan));
        self.end(Ending::PowerLoss);
    }

    fn boot(&self, plan: &Plan) -> Result<Machine, BootError> {
        // Half of the runs send every change the way that only large ones go.
        let heavy_bytes = if plan.seed.is_multiple_of(2) { 1 } else { HEAVY_BYTES };
        let sealing = SealingKeys::new(CLUSTER, &[[7; 32]]).expect("one key");
        let options =
            NodeOptions { params: Arc::clone(&self.params), static_objects: None, heavy_bytes, sealing };
        let limits = WalLimits { segment_bytes: plan.segment_bytes };
        let seed = plan.seed ^ (self.number << 32) ^ self.life;
        Machine::boot(Arc::new(self.disk.clone()), limits, &self.member, options, seed)
    }

    /// A log must give back what it has promised, and may add what was under way, up to some point.
    fn reconcile(&mut self, found: Durable<CommandBytes>) -> Result<(), String> {
        let mut possible = std::mem::replace(&mut self.promised, found);
        for doubt in self.doubts.drain(..) {
            if possible == self.promised {
                break;
            }
            doubt.write_to(&mut possible);
        }
        if possible == self.promised {
            return Ok(());
        }
        Err(format!("it was promised {}, and found is {}", short(&possible), short(&self.promised)))
    }

    /// Does the log's next work, and keeps count of what it promises.
    pub(super) fn write_log(&mut self) -> Option<Event> {
        let machine = self.machine.as_mut()?;
        let doubts: Vec<Doubt> = machine
            .next_log_work()
            .filter_map(|work| match work {
                Work::Persist(batch) => Some(Doubt::Batch(batch.clone())),
                Work::Compact(meta) => Some(Doubt::Compact(meta.clone())),
                _ => None,
            })
            .collect();
        let event = machine.run_log();
        if matches!(event, Some(Event::PersistFailed { .. })) {
            self.doubts = doubts;
        } else {
            doubts.iter().for_each(|doubt| doubt.write_to(&mut self.promised));
        }
        event
    }

    /// Ends the process.
    pub(super) fn end(&mut self, ending: Ending) {
        self.machine = None;
        match ending {
            Ending::PowerLoss => self.disk.crash(),
            Ending::Kill => self.disk.kill(),
        }
        self.wake = None;
        self.paused_until = 0;
        self.backlog.clear();
        self.log_busy = false;
        self.other_busy = false;
        self.provider_epoch = None;
        self.cut = None;
        self.life += 1;
        if let Ok(ghost) = Core::restore(Arc::clone(&self.params), self.promised.clone()) {
            self.ghost = ghost;
        }
    }

    /// Fills the disk up to so many more bytes, or makes room again.
    pub(super) fn fill(&mut self, room: Option<u64>) {
        let used =
            || self.disk.paths().iter().filter_map(|path| self.disk.content(path)).map(|it| it.len()).sum();
        let space_bytes = room.map(|room| {
            let used: usize = used();
            used as u64 + room
        });
        self.disk.set_faults(SimFaults { space_bytes, ..SimFaults::default() });
    }

    /// The member for the invariant catalogue, running or not.
    pub(super) fn view(&self) -> View<'_, CommandBytes> {
        let core = self.machine.as_ref().map_or(&self.ghost, |machine| machine.node().core());
        View { core, durable: Some(&self.promised) }
    }
}

impl Doubt {
    fn write_to(&self, durable: &mut Durable<CommandBytes>) {
        match self {
            Self::Batch(batch) => durable.write(batch),
            Self::Compact(meta) => durable.compact(meta),
        }
    }
}

/// What a core that has just been restored was restored from.
fn durable_of(core: &Core<CommandBytes>, genesis: &Durable<CommandBytes>) -> Durable<CommandBytes> {
    let indices = core.first_index().0..=core.last_index().0;
    Durable {
        hard_state: core.durable_hard_state(),
        snapshot: core.snapshot().cloned(),
        configuration: genesis.configuration.clone(),
        entries: indices.filter_map(|index| core.entry(Index(index)).cloned()).collect(),
    }
}

fn short(durable: &Durable<CommandBytes>) -> String {
    let Durable { hard_state, .. } = durable;
    let (base, last) = (durable.base(), durable.last_index());
    format!("{hard_state:?}, snapshot {base}, entries to {last} of term {:?}", durable.term_at(last))
}

fn params(member: &Member, plan: &Plan) -> Params {
    let mut params = member.params();
    params.log_bytes_max = plan.log_bytes_max;
    let quarter = plan.log_bytes_max / 4;
    params.entry_bytes_max = params.entry_bytes_max.min(quarter);
    params.uncommitted_bytes_max = params.uncommitted_bytes_max.min(quarter);
    params.log_trailing_bytes_max = params.log_trailing_bytes_max.min(quarter / 2);
    params.append_bytes_max = params.append_bytes_max.min(quarter);
    params
}

/// A span in whole microseconds.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
