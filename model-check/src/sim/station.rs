//! One control node's process in the simulation: its disk, its lives, and the work that its machine waits for. It must
//! not decide when anything happens; the world does.

use std::sync::Arc;
use std::time::Duration;

use ravelin_cluster::node::NodeOptions;
use ravelin_cluster::node::boot::{BootError, Member};
use ravelin_cluster::sim_entry::Machine;
use ravelin_cluster::storage::{SimDisk, SimFaults, WalLimits};

use super::Plan;

/// Number of control nodes.
pub(super) const STATIONS: u64 = 3;
/// The cluster that every run simulates.
pub(super) const CLUSTER: [u8; 16] = *b"simulatedcluster";

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
    /// Whether a write is under way.
    pub(super) log_busy: bool,
    /// Whether other work is under way.
    pub(super) other_busy: bool,
    /// The epoch under which providers run here.
    pub(super) provider_epoch: Option<u64>,
}

impl Station {
    /// A station that was never started.
    pub(super) fn new(number: u64, seed: u64) -> Self {
        let disk = SimDisk::new(seed ^ number.rotate_left(40));
        disk.set_faults(SimFaults::default());
        Self {
            number,
            disk,
            life: 0,
            machine: None,
            wake: None,
            paused_until: 0,
            log_busy: false,
            other_busy: false,
            provider_epoch: None,
        }
    }

    /// Starts a process on what the disk holds.
    ///
    /// # Errors
    /// The node refuses what the disk holds; after a mere power loss it must not.
    pub(super) fn start(&mut self, plan: &Plan) -> Result<(), BootError> {
        let member = Member {
            cluster: CLUSTER,
            recovery_epoch: 0,
            node: self.number,
            incarnation: 1,
            voters: (1..=STATIONS).map(|number| (number, 1)).collect(),
        };
        let mut params = member.params();
        params.log_bytes_max = plan.log_bytes_max;
        let quarter = plan.log_bytes_max / 4;
        params.entry_bytes_max = params.entry_bytes_max.min(quarter);
        params.uncommitted_bytes_max = params.uncommitted_bytes_max.min(quarter);
        params.log_trailing_bytes_max = params.log_trailing_bytes_max.min(quarter / 2);
        params.append_bytes_max = params.append_bytes_max.min(quarter);
        let options = NodeOptions { params: Arc::new(params), static_objects: None };
        self.life += 1;
        let seed = plan.seed ^ (self.number << 32) ^ self.life;
        let limits = WalLimits { segment_bytes: plan.segment_bytes };
        self.machine = Some(Machine::boot(Arc::new(self.disk.clone()), limits, &member, options, seed)?);
        Ok(())
    }

    /// Power loss: the process is gone, and of what was not synced a random part.
    pub(super) fn crash(&mut self) {
        self.machine = None;
        self.disk.crash();
        self.wake = None;
        self.paused_until = 0;
        self.log_busy = false;
        self.other_busy = false;
        self.provider_epoch = None;
        self.life += 1;
    }
}

/// A span in whole microseconds.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
