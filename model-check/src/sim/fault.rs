//! The faults of a run and when they come: crashes (some in the middle of a write), pauses, partitions of every shape.
//! It must only break what a real machine or network can break.

use rand::RngExt;
use ravelin_cluster::node::event::Event;

use super::station::micros;
use super::world::{Happening, World};

/// Kinds of fault that recur.
#[derive(Debug, Clone, Copy)]
pub(super) enum Faults {
    /// Power loss of one process's machine.
    Crash,
    /// A process that does not run for a while.
    Pause,
    /// Some links cut.
    Partition,
}

/// Changing disk calls after which a write is cut: few enough to fall within one write.
const TORN_CALLS_MAX: u64 = 4;

impl World {
    /// Schedules the first of each kind that the plan has.
    pub(super) fn schedule_faults(&mut self) {
        for kind in [Faults::Crash, Faults::Pause, Faults::Partition] {
            self.schedule(kind);
        }
    }

    fn schedule(&mut self, kind: Faults) {
        let every = match kind {
            Faults::Crash => self.plan.crash_every,
            Faults::Pause => self.plan.pause_every,
            Faults::Partition => self.plan.partition_every,
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
            Faults::Crash => self.crash(station),
            Faults::Pause => {
                let span = self.about(micros(self.plan.pause_max));
                self.stations[station].paused_until = self.now + span;
                self.report.pauses += 1;
            }
            Faults::Partition => self.partition(),
        }
        self.schedule(kind);
        Ok(())
    }

    fn crash(&mut self, station: usize) {
        if self.stations[station].machine.is_none() {
            return;
        }
        let mid_write = self.dice.random_range(0..100) < self.plan.torn_percent;
        let held = &mut self.stations[station];
        if mid_write
            && let Some(machine) = &mut held.machine
            && machine.log_work() > 0
        {
            held.disk.stop_after(self.dice.random_range(0..TORN_CALLS_MAX));
            // What the write answers is lost with the process.
            let _: Option<Event> = machine.run_log();
            self.report.torn += 1;
        }
        self.report.crashes += 1;
        self.stations[station].crash();
        self.network.crash(self.stations[station].number);
        for link in self.links.touching(station) {
            self.close(link, Some(station));
        }
        let wait = self.about(micros(self.plan.restart_max));
        self.after(wait, Happening::Restart { station });
    }

    /// Starts a crashed process.
    ///
    /// # Errors
    /// It does not start although only power was lost.
    pub(super) fn start(&mut self, station: usize) -> Result<(), String> {
        if self.stations[station].machine.is_some() {
            return Ok(());
        }
        let started = self.stations[station].start(&self.plan);
        started
            .map_err(|error| format!("node {} does not start after power loss: {error:?}", station + 1))?;
        let life = self.stations[station].life;
        self.node(station, life, Event::Start)
    }

    /// One of Jepsen's shapes: a node alone, a one-way cut, a single link.
    fn partition(&mut self) {
        self.report.partitions += 1;
        let alone = self.dice.random_range(1..=self.stations.len() as u64);
        let others: Vec<u64> = (1..=self.stations.len() as u64).filter(|number| *number != alone).collect();
        match self.dice.random_range(0..4) {
            0 => self.network.partition(&[&[alone], &others]),
            1 => others.iter().for_each(|other| self.network.cut_one_way(alone, *other)),
            2 => others.iter().for_each(|other| self.network.cut_one_way(*other, alone)),
            _ => self.network.cut(alone, others[0]),
        }
        for other in others {
            let (one, other) = (alone as usize - 1, other as usize - 1);
            if self.is_cut(one, other) {
                for link in self.links.between(one, other) {
                    self.close(link, None);
                }
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
