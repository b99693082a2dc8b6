//! Faults carried out: power loss, kills, some in the middle of a write or of a start, disks that fail, lie or are lost,
//! pauses and clocks, links that are cut or clogged. It must only break what a real machine or network can break, and
//! only as far as the node is made to bear it: no more disks are lost or damaged for good than a quorum can spare.

use ravelin_cluster::sim_entry::Work;

use super::*;
use crate::sim::clock::TRUE_SPEED;
use crate::sim::fault::Kind;
use crate::sim::station::{Ending, StartError};

/// How long it takes until somebody replaces a node that does not start.
const HAND_MICROS: u64 = 1_500_000;
/// How long a machine stays down that nobody told for how long.
const DOWN_MICROS: u64 = 300_000;

impl World {
    /// Lets one fault happen.
    pub(super) fn strike(&mut self, kind: Kind) -> Result<(), String> {
        if self.faults_over {
            return Ok(());
        }
        match kind {
            Kind::PowerLoss { node, down_micros, calls } => {
                self.crash(node, Ending::PowerLoss, calls, down_micros);
            }
            Kind::Kill { node, down_micros, calls } => self.crash(node, Ending::Kill, calls, down_micros),
            Kind::Split { set, for_micros } => self.split(set, for_micros),
            Kind::Mute { node, for_micros } => {
                self.report.count(Mark::OneWay, 1);
                self.others(node).into_iter().for_each(|other| self.cut_way(node, other, for_micros));
            }
            Kind::Deaf { node, for_micros } => {
                self.report.count(Mark::OneWay, 1);
                self.others(node).into_iter().for_each(|other| self.cut_way(other, node, for_micros));
            }
            Kind::CutWay { node, other, for_micros } if node != other => {
                self.report.count(Mark::OneWay, 1);
                self.cut_way(node, other, for_micros);
            }
            Kind::CutLink { node, other, for_micros } if node != other => {
                self.report.count(Mark::Links, 1);
                self.cut_way(node, other, for_micros);
                self.cut_way(other, node, for_micros);
            }
            Kind::Clog { node, other, for_micros } if node != other => {
                let until = self.now + for_micros;
                let clog = self.clogs.entry((node, other)).or_default();
                clog.until = clog.until.max(until);
                self.at(until, Happening::Unclog);
            }
            Kind::CutWay { .. } | Kind::CutLink { .. } | Kind::Clog { .. } => {}
            Kind::ProxyRestart { proxy, disk } => self.restart_proxy(proxy, disk),
            Kind::ProxyDoubt { proxy } => self.doubt(proxy),
            Kind::HandOver { node, other } => self.ask_to_hand_over(node, other),
            Kind::Members { node, other, wish } => self.ask_for_members(node, other, wish),
            of_one_node => self.strike_node(of_one_node),
        }
        // What is durable must be enough, whoever runs.
        self.judge_durable()
    }

    /// Faults of one machine's disk, process or clock.
    fn strike_node(&mut self, kind: Kind) {
        let now = self.now;
        match kind {
            Kind::CutStart { node, calls } => self.station(node).armed.cut_start = Some(calls),
            Kind::CutSnapshot { node, calls, down_micros } => {
                self.station(node).armed.cut_snapshot = Some((calls, down_micros));
            }
            Kind::SyncError { node, down_micros } | Kind::WriteError { node, down_micros } => {
                let held = self.station(node);
                if held.machine.is_some() {
                    (held.disk_fault, held.down_micros) = (true, down_micros);
                    match kind {
                        Kind::SyncError { .. } => held.disk.fail_next_sync(),
                        _ => held.disk.fail_next_write(),
                    }
                }
            }
            Kind::Full { node, room_bytes, for_micros } => {
                let held = self.station(node);
                held.fill(Some(room_bytes));
                held.full_until = held.full_until.max(now + for_micros);
                let (station, until) = (node as usize - 1, held.full_until);
                self.at(until, Happening::Room { station });
            }
            Kind::SlowDisk { node, extra_micros, for_micros } => {
                self.station(node).slow = (extra_micros, now + for_micros);
                self.report.count(Mark::SlowDisks, 1);
            }
            Kind::Pause { node, for_micros } => self.pause(node as usize - 1, for_micros),
            Kind::Jump { node, by_micros } => {
                let speed = self.station(node).clock.speed();
                self.turn_clock(node as usize - 1, speed, by_micros);
                self.report.count(Mark::Jumps, 1);
            }
            Kind::Drift { node, per_million, for_micros } => {
                self.turn_clock(node as usize - 1, per_million.max(1), 0);
                self.report.count(Mark::Drifts, 1);
                self.after(for_micros, Happening::TrueClock { station: node as usize - 1 });
            }
            Kind::Rot { node, place, bit, down_micros } => {
                self.rot(node as usize - 1, place, bit, down_micros)
            }
            Kind::Misdirect { node, place, down_micros }
                if self.spares(node as usize - 1) && self.station(node).machine.is_some() =>
            {
                let held = self.station(node);
                (held.armed.misdirect, held.down_micros) = (Some(place), down_micros);
            }
            Kind::Wipe { node, down_micros } => self.wipe(node as usize - 1, down_micros),
            _ => {}
        }
    }

    pub(super) fn station(&mut self, node: u64) -> &mut Station {
        let at = (node.max(1) as usize - 1) % self.stations.len();
        &mut self.stations[at]
    }

    fn others(&self, node: u64) -> Vec<u64> {
        (1..=self.stations.len() as u64).filter(|other| *other != node).collect()
    }

    /// Whether a quorum of sound disks stays if this one is lost or damaged.
    fn spares(&self, station: usize) -> bool {
        let others = self.stations.iter().enumerate().filter(|(at, _)| *at != station);
        let lost = others.filter(|(_, held)| held.may_be_lost()).count();
        lost < (self.plan.nodes as usize - 1) / 2
    }

    fn pause(&mut self, station: usize, for_micros: u64) {
        let until = self.now + for_micros;
        if self.stations[station].machine.is_some() {
            let held = &mut self.stations[station];
            held.paused_until = held.paused_until.max(until);
            self.report.count(Mark::Pauses, 1);
            self.at(until, Happening::Thaw { station });
        }
    }

    /// Sets a clock, and with it the time at which the node is woken.
    pub(super) fn turn_clock(&mut self, station: usize, per_million: u64, jump: u64) {
        let now = self.now;
        let held = &mut self.stations[station];
        held.clock.set(now, per_million, jump);
        if let Some(wake) = held.wake {
            let (at, life) = (held.clock.when(wake, now), held.life);
            self.at(at, Happening::Wake { station, life });
        }
    }

    /// A drifting clock is true again.
    pub(super) fn true_clock(&mut self, station: usize) {
        self.turn_clock(station, TRUE_SPEED, 0);
    }

    fn split(&mut self, set: u64, for_micros: u64) {
        self.report.count(Mark::Partitions, 1);
        let all = 1..=self.stations.len() as u64;
        let (one, other): (Vec<u64>, Vec<u64>) = all.partition(|node| set >> (node - 1) & 1 == 1);
        for (from, to) in one.iter().flat_map(|from| other.iter().map(move |to| (*from, *to))) {
            self.cut_way(from, to, for_micros);
            self.cut_way(to, from, for_micros);
        }
        if let [alone] = one.as_slice() {
            let feeds = self.links.feeds(*alone as usize - 1);
            self.cut(feeds);
        }
    }

    fn cut_way(&mut self, from: u64, to: u64, for_micros: u64) {
        let until = self.now + for_micros;
        let end = self.cuts.entry((from, to)).or_default();
        *end = until.max(*end);
        self.network.cut_one_way(from, to);
        // A reliable lane needs both ways.
        let links = self.links.between(from as usize - 1, to as usize - 1);
        self.cut(links);
        self.at(until, Happening::Mend);
    }

    /// Mends the links whose time has come.
    pub(super) fn mend(&mut self) {
        let over: Vec<_> =
            self.cuts.iter().filter(|(_, until)| **until <= self.now).map(|(way, _)| *way).collect();
        for (from, to) in over {
            self.cuts.remove(&(from, to));
            self.network.mend_one_way(from, to);
        }
    }

    /// Lets everything arrive that waits at a clogged link whose time has come, or at all of them.
    pub(super) fn unclog(&mut self) -> Result<(), String> {
        let over = |clog: &Clog| clog.until <= self.now || self.faults_over;
        let ways: Vec<_> = self.clogs.iter().filter(|(_, clog)| over(clog)).map(|(way, _)| *way).collect();
        for way in ways {
            let Some(clog) = self.clogs.remove(&way) else { continue };
            self.report.count(Mark::Unclogged, clog.waiting.len() as u64);
            for delivery in clog.waiting {
                self.arrive(delivery)?;
            }
        }
        Ok(())
    }

    /// Ends a process, now or in the middle of its next write.
    fn crash(&mut self, node: u64, ending: Ending, calls: u64, down_micros: u64) {
        let station = node as usize - 1;
        let held = &mut self.stations[station];
        match held.machine {
            Some(_) => {
                held.down_micros = down_micros;
                match calls.checked_sub(1) {
                    Some(calls) => held.armed.cut_log = Some((ending, calls)),
                    None => self.end(station, ending),
                }
            }
            // A machine whose process is down can lose power too. Damage that no start has seen yet would be beyond what
            // a log can tell then: the mark that it leaves behind each write may be lost with the power.
            None if ending == Ending::PowerLoss && !held.damaged => held.disk.crash(),
            None => {}
        }
        let down = |held: &Station| held.machine.is_none();
        let all = ending == Ending::PowerLoss && self.stations.iter().all(down);
        self.report.count(Mark::Outages, u64::from(all));
    }

    /// Ends a process in the middle of the write of the log that is due, if that was decided. What the write answers is
    /// lost with the process.
    pub(super) fn cut_log(&mut self, station: usize) -> bool {
        let held = &mut self.stations[station];
        if let Some((ending, calls)) = held.armed.cut_log.take() {
            held.disk.stop_after(calls);
            drop(held.write_log());
            self.report.count(Mark::TornLog, 1);
            self.end(station, ending);
            return true;
        }
        if held.armed.misdirect.is_some() {
            held.damaged = true;
            drop(held.write_log());
            self.report.count(Mark::Misdirected, 1);
            self.end(station, Ending::Kill);
            return true;
        }
        false
    }

    /// Ends a process in the middle of the snapshot that is due, if that was decided.
    pub(super) fn cut_snapshot(&mut self, station: usize) -> bool {
        let held = &mut self.stations[station];
        let Some(machine) = &mut held.machine else { return false };
        if !matches!(machine.next_other_work(), Some(Work::Snapshot { .. })) {
            return false;
        }
        let Some((calls, down_micros)) = held.armed.cut_snapshot.take() else { return false };
        held.disk.stop_after(calls);
        drop(machine.run_other());
        held.down_micros = down_micros;
        self.report.count(Mark::TornSnapshot, 1);
        self.end(station, Ending::PowerLoss);
        true
    }

    fn rot(&mut self, station: usize, place: u64, bit: u64, down_micros: u64) {
        if !self.spares(station) || self.stations[station].machine.is_none() {
            return;
        }
        self.stations[station].down_micros = down_micros;
        self.end(station, Ending::Kill);
        self.stations[station].rot(place, bit);
        self.report.count(Mark::Rotten, 1);
    }

    fn wipe(&mut self, station: usize, down_micros: u64) {
        if !self.spares(station) {
            return;
        }
        self.report.count(Mark::Wiped, 1);
        self.stations[station].down_micros = down_micros;
        if self.stations[station].machine.is_some() {
            self.end(station, Ending::PowerLoss);
        }
        self.stations[station].replace(&self.plan);
    }

    /// Ends a process and plans its restart.
    pub(super) fn end(&mut self, station: usize, ending: Ending) {
        self.report.count(Mark::Crashes, 1);
        let held = &mut self.stations[station];
        held.end(ending);
        let (number, life) = (held.number, held.life);
        let wait = if held.down_micros > 0 { std::mem::take(&mut held.down_micros) } else { DOWN_MICROS };
        self.tickets.retain(|(of, _), _| *of != station);
        self.errands.retain(|(of, _), _| *of != station);
        self.network.crash(number);
        self.clogs
            .iter_mut()
            .filter(|((from, to), _)| *from == number || *to == number)
            .for_each(|(_, clog)| clog.waiting.clear());
        for link in self.links.touching(station) {
            self.close(link, Some(station));
        }
        self.after(wait, Happening::Restart { station, life });
    }

    /// Whoever is no member any more goes for good, now or before it has started.
    pub(super) fn retire(&mut self, station: usize) {
        if self.stations[station].machine.is_some() {
            self.end(station, Ending::Kill);
        }
        self.stations[station].life += 1;
    }

    /// A node has stopped by itself.
    ///
    /// # Errors
    /// Its disk has given it no reason to.
    pub(super) fn halted(&mut self, station: usize, reason: &str) -> Result<(), String> {
        let held = &self.stations[station];
        if held.given_up {
            return self.left_for_good(station, reason);
        }
        if reason.contains("was removed from the cluster") {
            return self.removed(station);
        }
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
        let held = &mut self.stations[station];
        if held.machine.is_some() {
            return Ok(());
        }
        if let Some(calls) = held.armed.cut_start.take().filter(|_| !self.faults_over && !held.damaged) {
            held.cut_start(&self.plan, calls);
            self.report.count(Mark::CutStarts, 1);
            self.start_later(station, DOWN_MICROS);
            return Ok(());
        }
        let damaged = held.damaged;
        match held.start(&self.plan) {
            Ok(()) => {
                self.report.count(Mark::HarmlessDamage, u64::from(damaged));
                self.judge_durable()?;
                let life = self.stations[station].life;
                self.node(station, life, Event::Start)
            }
            Err(StartError::Boot(_)) if held.full_until > self.now => {
                self.report.count(Mark::DiskFull, 1);
                held.end(Ending::Kill);
                self.start_later(station, DOWN_MICROS);
                Ok(())
            }
            Err(StartError::Boot(_)) if damaged => {
                self.report.count(Mark::NeedsHand, 1);
                held.lose();
                let life = held.life;
                self.after(HAND_MICROS, Happening::Hand { station, life });
                Ok(())
            }
            Err(StartError::Boot(error)) => Err(format!("node {} does not start: {error:?}", station + 1)),
            Err(StartError::Lost(what)) => Err(format!("node {} lost what it had: {what}", station + 1)),
        }
    }

    pub(super) fn start_later(&mut self, station: usize, wait: u64) {
        let life = self.stations[station].life;
        self.after(wait, Happening::Restart { station, life });
    }

    /// Somebody replaces a node that does not start, as its message says.
    pub(super) fn hand(&mut self, station: usize) -> Result<(), String> {
        if self.faults_over {
            return Ok(());
        }
        self.stations[station].replace(&self.plan);
        self.start(station)
    }

    /// Whether the link between two nodes is cut either way: a reliable lane needs both.
    pub(super) fn is_cut(&self, one: usize, other: usize) -> bool {
        let (one, other) = (one as u64 + 1, other as u64 + 1);
        self.network.is_cut(one, other) || self.network.is_cut(other, one)
    }
}
