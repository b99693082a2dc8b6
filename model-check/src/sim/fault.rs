//! The faults of a run and when they come: power loss of one and of all, kills, some in the middle of a write or of a
//! start, failing syncs, full disks, pauses, partitions of every shape. It must only break what a real machine or network
//! can break, and only as far as the node is made to bear it.

use rand::RngExt;
use ravelin_cluster::node::event::Event;
use ravelin_cluster::sim_entry::Work;

use super::report::Mark;
use super::station::{Ending, StartError, micros};
use super::world::{Happening, World};

/// Kinds of fault that recur.
#[derive(Debug, Clone, Copy)]
pub(super) enum Faults {
    /// A process ends: its machine loses power, or it is killed.
    Crash,
    /// All machines lose power at once.
    Outage,
    /// A sync fails.
    SyncError,
    /// A disk becomes full.
    Full,
    /// A process that does not run for a while.
    Pause,
    /// Some links cut.
    Partition,
    /// A proxy's process is replaced.
    ProxyRestart,
}

const ALL: [Faults; 7] = [
    Faults::Crash,
    Faults::Outage,
    Faults::SyncError,
    Faults::Full,
    Faults::Pause,
    Faults::Partition,
    Faults::ProxyRestart,
];

/// Changing disk calls after which a write is cut: few enough to fall within one write.
const TORN_CALLS_MAX: u64 = 4;
/// The same for a snapshot or a start, which make more of them.
const TORN_CALLS_LONG_MAX: u64 = 12;
/// Bytes that a disk that becomes full still takes.
const ROOM_BYTES_MAX: u64 = 8 << 10;

impl World {
    /// Schedules the first of each kind that the plan has.
    pub(super) fn schedule_faults(&mut self) {
        for kind in ALL {
            self.schedule(kind);
        }
    }

    fn schedule(&mut self, kind: Faults) {
        let every = match kind {
            Faults::Crash => self.plan.crash_every,
            Faults::Outage => self.plan.outage_every,
            Faults::SyncError => self.plan.sync_error_every,
            Faults::Full => self.plan.full_every,
            Faults::Pause => self.plan.pause_every,
            Faults::Partition => self.plan.partition_every,
            Faults::ProxyRestart => self.plan.proxy_restart_every,
        };
        if !every.is_zero() && !self.faults_over {
            let wait = self.about(micros(every));
            self.after(wait, Happening::Fault(kind));
        }
    }

    /// Lets one fault happen and schedules the next of its kind.
    pub(super) fn fault(&mut self, kind: Faults) -> Result<(), String> {
        if self.faults_over {
            return Ok(());
        }
        let station = self.dice.random_range(0..self.stations.len());
        match kind {
            Faults::Crash => {
                let kill = self.dice.random_range(0..100) < self.plan.kill_percent;
                self.crash(station, if kill { Ending::Kill } else { Ending::PowerLoss });
            }
            Faults::Outage => {
                self.report.count(Mark::Outages, 1);
                for station in 0..self.stations.len() {
                    self.crash(station, Ending::PowerLoss);
                }
            }
            Faults::SyncError if self.stations[station].machine.is_some() => {
                self.stations[station].disk.fail_next_sync();
                self.stations[station].disk_fault = true;
            }
            Faults::SyncError => {}
            Faults::Full => self.fill(station),
            Faults::Pause => self.pause(station),
            Faults::Partition => self.partition(),
            Faults::ProxyRestart => self.restart_proxy(),
        }
        self.schedule(kind);
        // What is durable must be enough, whoever runs.
        self.judge_durable()
    }

    fn pause(&mut self, station: usize) {
        let until = self.now + self.about(micros(self.plan.pause_max));
        if self.stations[station].machine.is_some() {
            let held = &mut self.stations[station];
            held.paused_until = held.paused_until.max(until);
            self.report.count(Mark::Pauses, 1);
            self.at(until, Happening::Thaw { station });
        }
    }

    fn fill(&mut self, station: usize) {
        let room = self.dice.random_range(0..ROOM_BYTES_MAX);
        let until = self.now + self.about(micros(self.plan.full_max));
        let held = &mut self.stations[station];
        held.fill(Some(room));
        held.full_until = until;
        self.at(until, Happening::Room { station });
    }

    /// Ends a process, now or in the middle of its next write.
    fn crash(&mut self, station: usize, ending: Ending) {
        let mid_write = self.dice.random_range(0..100) < self.plan.torn_percent;
        let held = &mut self.stations[station];
        match held.machine {
            Some(_) if mid_write => held.cut = Some(ending),
            Some(_) => self.end(station, ending),
            None => {}
        }
    }

    /// Ends a process in the middle of the write of the log that is due, if that was decided. What the write answers is
    /// lost with the process.
    pub(super) fn cut_log(&mut self, station: usize) -> bool {
        let calls = self.dice.random_range(0..TORN_CALLS_MAX);
        let held = &mut self.stations[station];
        let Some(ending) = held.cut.take() else { return false };
        held.disk.stop_after(calls);
        drop(held.write_log());
        self.report.count(Mark::TornLog, 1);
        self.end(station, ending);
        true
    }

    /// Ends a process in the middle of a snapshot, now and then.
    pub(super) fn cut_snapshot(&mut self, station: usize) -> bool {
        let Some(machine) = &mut self.stations[station].machine else { return false };
        let snapshot = matches!(machine.next_other_work(), Some(Work::Snapshot { .. }));
        if self.faults_over || !snapshot || self.dice.random_range(0..400) >= self.plan.torn_percent {
            return false;
        }
        let calls = self.dice.random_range(0..TORN_CALLS_LONG_MAX);
        self.stations[station].disk.stop_after(calls);
        if let Some(machine) = &mut self.stations[station].machine {
            drop(machine.run_other());
        }
        self.report.count(Mark::TornSnapshot, 1);
        self.end(station, Ending::PowerLoss);
        true
    }

    /// Ends a process and plans its restart.
    fn end(&mut self, station: usize, ending: Ending) {
        self.report.count(Mark::Crashes, 1);
        self.stations[station].end(ending);
        self.network.crash(self.stations[station].number);
        for link in self.links.touching(station) {
            self.close(link, Some(station));
        }
        let wait = self.about(micros(self.plan.restart_max));
        self.after(wait, Happening::Restart { station });
    }

    /// A node has stopped by itself.
    ///
    /// # Errors
    /// Its disk has given it no reason to.
    pub(super) fn halted(&mut self, station: usize, reason: &str) -> Result<(), String> {
        let held = &self.stations[station];
        let mark = match (held.disk_fault, held.full_until > self.now) {
            (true, _) => Mark::DiskHalts,
            (false, true) => Mark::DiskFull,
            (false, false) => return Err(format!("node {} halted: {reason}", station + 1)),
        };
        self.report.count(mark, 1);
        self.end(station, Ending::Kill);
        Ok(())
    }

    /// Starts a crashed process.
    ///
    /// # Errors
    /// It does not start although only power was lost, or from something else than its log has promised.
    pub(super) fn start(&mut self, station: usize) -> Result<(), String> {
        if self.stations[station].machine.is_some() {
            return Ok(());
        }
        if !self.faults_over && self.dice.random_range(0..100) < self.plan.cut_start_percent {
            self.report.count(Mark::CutStarts, 1);
            let calls = self.dice.random_range(0..TORN_CALLS_LONG_MAX);
            self.stations[station].cut_start(&self.plan, calls);
            let wait = self.about(micros(self.plan.restart_max));
            self.after(wait, Happening::Restart { station });
            return Ok(());
        }
        match self.stations[station].start(&self.plan) {
            Ok(()) => {
                self.judge_durable()?;
                let life = self.stations[station].life;
                self.node(station, life, Event::Start)
            }
            Err(StartError::Boot(_)) if self.stations[station].full_until > self.now => {
                self.report.count(Mark::DiskFull, 1);
                self.stations[station].end(Ending::Kill);
                let wait = self.about(micros(self.plan.restart_max));
                self.after(wait, Happening::Restart { station });
                Ok(())
            }
            Err(StartError::Boot(error)) => Err(format!("node {} does not start: {error:?}", station + 1)),
            Err(StartError::Lost(what)) => Err(format!("node {} lost what it had: {what}", station + 1)),
        }
    }

    /// One of Jepsen's shapes: a node alone, a one-way cut, a single link.
    fn partition(&mut self) {
        self.report.count(Mark::Partitions, 1);
        let alone = self.dice.random_range(1..=self.stations.len() as u64);
        let others: Vec<u64> = (1..=self.stations.len() as u64).filter(|number| *number != alone).collect();
        match self.dice.random_range(0..4) {
            0 => {
                self.network.partition(&[&[alone], &others]);
                let feeds = self.links.feeds(alone as usize - 1);
                self.cut(feeds);
            }
            1 => others.iter().for_each(|other| self.network.cut_one_way(alone, *other)),
            2 => others.iter().for_each(|other| self.network.cut_one_way(*other, alone)),
            _ => self.network.cut(alone, others[0]),
        }
        for other in others {
            let (one, other) = (alone as usize - 1, other as usize - 1);
            if self.is_cut(one, other) {
                let links = self.links.between(one, other);
                self.cut(links);
            }
        }
        let wait = self.about(micros(self.plan.partition_max));
        self.after(wait, Happening::Mend);
    }

    /// Whether the link between two nodes is cut either way: a reliable lane needs both.
    pub(super) fn is_cut(&self, one: usize, other: usize) -> bool {
        let (one, other) = (one as u64 + 1, other as u64 + 1);
        self.network.is_cut(one, other) || self.network.is_cut(other, one)
    }
}
