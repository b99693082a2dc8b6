//! One control node's process in the simulation: its disk, its lives, the work that its machine waits for, and what its
//! log has promised to keep. It must not decide when anything happens; the world does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ravelin_cluster::node::NodeOptions;
use ravelin_cluster::node::boot::{BootError, Member};
use ravelin_cluster::node::event::Event;
use ravelin_cluster::recover::{RecoverError, Survivor};
use ravelin_cluster::sim_entry::{Machine, Work};
use ravelin_cluster::storage::{
    CommandBytes, DataDirectory, Disk, Owner, SimDisk, SimFaults, WalLimits, next_epoch,
};
use ravelin_config::SealingKeys;
use ravelin_consensus::invariant::View;
use ravelin_consensus::{
    Batch, Configuration, Core, Durable, Incarnation, Index, NodeId, Params, RecoveryEpoch, SnapshotMeta,
};

use super::clock::Clock;
use super::plan::Plan;
use super::world::Happening;

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

/// What is to happen to a process in the middle of something.
#[derive(Debug, Default)]
pub(super) struct Armed {
    /// The next write of the log is cut before this changing call.
    pub(super) cut_log: Option<(Ending, u64)>,
    /// The next snapshot loses power after so many changing calls, and the machine stays down so long.
    pub(super) cut_snapshot: Option<(u64, u64)>,
    /// The next start loses power after so many changing calls.
    pub(super) cut_start: Option<u64>,
    /// The next write of the log goes to another place.
    pub(super) misdirect: Option<u64>,
}

/// A member that has ended for ever: what it was when it did, as if it were down.
#[derive(Debug)]
struct Lost {
    ghost: Core<CommandBytes>,
    promised: Durable<CommandBytes>,
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
    /// What the node takes for the time.
    pub(super) clock: Clock,
    /// What is to happen to the next write, snapshot or start.
    pub(super) armed: Armed,
    /// How long the machine stays down after its next end.
    pub(super) down_micros: u64,
    /// Writes of the log take so much longer, until then.
    pub(super) slow: (u64, u64),
    /// Its disk holds what nobody has written, and no start has shown yet whether that matters.
    pub(super) damaged: bool,
    /// Its identity that never comes back, since its disk was lost or damaged.
    lost: Option<Lost>,
    /// A recovery went on without this member: it is of the epoch before, for ever.
    pub(super) given_up: bool,
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
            voters: match number <= plan.nodes {
                true => (1..=plan.nodes).map(|number| (number, 1)).collect(),
                false => Vec::new(),
            },
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
            clock: Clock::new(skew(plan, number)),
            armed: Armed::default(),
            down_micros: 0,
            slow: (0, 0),
            damaged: false,
            lost: None,
            given_up: false,
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
        self.damaged = false;
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

    fn owner(&self) -> Owner {
        let Member { cluster, recovery_epoch, node, incarnation, .. } = self.member;
        Owner { cluster, recovery_epoch, node, incarnation }
    }

    /// The last entry that its log has called durable.
    pub(super) fn promised_end(&self) -> Index {
        self.promised.last_index()
    }

    /// Whether what lies on its disk is a log that could be recovered from.
    pub(super) fn has_log(&self) -> bool {
        matches!(DataDirectory::has_log(&self.disk, &self.owner()), Ok(true))
    }

    /// Lets the stopped node's directory pass into the next recovery epoch. Power is lost after so many changing calls, or
    /// right behind the last, and whatever that has left is recovered again. Says whether the first try came to its end.
    ///
    /// # Errors
    /// It does not pass, or what is there before is not what was promised.
    pub(super) fn recover(&mut self, plan: &Plan, calls: u64) -> Result<bool, String> {
        let (owner, limits) = (self.owner(), WalLimits { segment_bytes: plan.segment_bytes });
        let failed = |error: RecoverError| format!("node {} cannot be recovered: {error:?}", owner.node);
        // Its machine has lost power, and with it what a killed process had left in the cache.
        self.disk.crash();
        let held = next_epoch::survey(&self.disk, owner).map_err(|error| failed(error.into()))?;
        self.reconcile(Durable {
            hard_state: held.hard_state,
            snapshot: held.snapshot,
            configuration: held.genesis,
            entries: held.entries,
        })?;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        self.disk.stop_after(calls);
        let first = Survivor::of(Arc::clone(&disk), owner).and_then(|survivor| survivor.recover(limits));
        self.disk.crash();
        let epoch =
            Survivor::of(disk, owner).and_then(|survivor| survivor.recover(limits)).map_err(failed)?;
        self.member.recovery_epoch = epoch;
        let (node, life) = (NodeId(owner.node), Incarnation(owner.incarnation));
        self.promised = self.promised.clone().recovered(node, life, RecoveryEpoch(epoch));
        self.params = Arc::new(params(&self.member, plan));
        (self.disk_fault, self.full_until) = (false, 0);
        Ok(first.is_ok())
    }

    fn boot(&self, plan: &Plan) -> Result<Machine, BootError> {
        let sealing = SealingKeys::new(CLUSTER, &[[7; 32]]).expect("one key");
        let options = NodeOptions {
            heavy_bytes: plan.heavy_bytes,
            ..NodeOptions::new(Params::clone(&self.params), sealing)
        };
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
        let misdirect = self.armed.misdirect.take();
        if let Some(place) = misdirect {
            self.disk.misdirect_next_write(place);
        }
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
        self.armed = Armed { cut_start: self.armed.cut_start, ..Armed::default() };
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

    /// Inverts a bit of what lies on its disk, mostly of what was written there.
    pub(super) fn rot(&mut self, place: u64, bit: u64) {
        let files: Vec<_> = self
            .disk
            .paths()
            .into_iter()
            .filter_map(|path| Some((self.disk.content(&path)?, path)))
            .collect();
        let Some((content, path)) = files.get(modulo(place, files.len())) else { return };
        let written = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let place = place >> 8;
        let length = if place.is_multiple_of(8) { content.len() } else { written };
        let offset = modulo(place >> 3, length) as u64;
        self.damaged |= self.disk.flip_bit(path, offset, u8::try_from(bit % 8).unwrap_or(0));
    }

    /// Lets go of the identity whose disk is lost or cannot be read: from now on this is another node, on an empty disk.
    pub(super) fn replace(&mut self, plan: &Plan) {
        self.lose();
        self.begin_anew(plan);
    }

    /// A removed member's number and machine become another node, which knows of no members until it is one.
    pub(super) fn renew(&mut self, plan: &Plan) {
        self.member.voters.clear();
        self.begin_anew(plan);
    }

    /// Number and life.
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.number, self.member.incarnation)
    }

    fn begin_anew(&mut self, plan: &Plan) {
        self.member.incarnation += 1;
        self.params = Arc::new(params(&self.member, plan));
        self.disk = SimDisk::new(plan.seed ^ self.number.rotate_left(40) ^ self.member.incarnation);
        let voters = self.member.voters.iter().map(|(node, life)| (NodeId(*node), Incarnation(*life)));
        self.promised = Durable::genesis(Configuration::of_voters(voters));
        self.doubts.clear();
        (self.damaged, self.disk_fault, self.full_until) = (false, false, 0);
        if let Ok(ghost) = Core::restore(Arc::clone(&self.params), self.promised.clone()) {
            self.ghost = ghost;
        }
    }

    /// The identity never comes back: to the others it is as if it stayed down.
    pub(super) fn lose(&mut self) {
        if self.lost.is_none() {
            let promised = self.promised.clone();
            self.lost = Some(Lost { ghost: self.ghost.clone(), promised });
        }
    }

    /// Whether the member that the cluster was born with is gone for ever.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Whether the cluster may yet find that it is.
    pub(super) fn may_be_lost(&self) -> bool {
        self.damaged || self.armed.misdirect.is_some() || self.is_lost()
    }

    /// The member for the invariant catalogue, running or not.
    pub(super) fn view(&self) -> View<'_, CommandBytes> {
        if let Some(lost) = &self.lost {
            return View { core: &lost.ghost, durable: Some(&lost.promised) };
        }
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
    params.election_timeout_min = Duration::from_micros(plan.election_micros);
    params.election_timeout_max = params.election_timeout_min * 2;
    params.heartbeat_interval = params.heartbeat_interval.min(params.election_timeout_min * 2 / 5);
    params.check_quorum_interval = Duration::from_micros(plan.check_quorum_micros);
    params.lease = (plan.lease_micros > 0).then(|| Duration::from_micros(plan.lease_micros));
    params
}

/// A span in whole microseconds.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A number below `bound`; 0 if that is 0.
fn modulo(number: u64, bound: usize) -> usize {
    usize::try_from(number.checked_rem(bound as u64).unwrap_or(0)).unwrap_or(0)
}

/// Where this node's clock begins.
fn skew(plan: &Plan, number: u64) -> u64 {
    let mixed = (plan.seed ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    mixed.checked_rem(plan.skew_max_micros).unwrap_or(0)
}
