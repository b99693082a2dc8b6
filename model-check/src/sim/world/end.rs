//! The end of a run: faults stop, and everything must come together within a stated time, and stay so. Liveness is judged
//! here and nowhere else.

use super::*;
use crate::sim::oracle::place;
use ravelin_cluster::members;
use ravelin_cluster::node::Node;
use ravelin_consensus::Term;

/// Virtual time after the last fault within which everything must have come together (L1, L2): a leader, a change asked
/// for and done, equal states, every proxy on the newest generation. It holds a few rounds of elections with back-off,
/// the longest request that was under way, and the wait before a snapshot that failed is tried again.
pub(super) const TOGETHER_WITHIN_MICROS: u64 = 20_000_000;
/// How often it is looked whether they have.
const LOOK_MICROS: u64 = 250_000;
/// How often a client asks for the change that must be done.
const PROBE_MICROS: u64 = 1_000_000;
/// Virtual time without a fault in which the leader must stay what it is (L3).
const CALM_MICROS: u64 = 2_500_000;

impl World {
    /// Lets everything come together.
    ///
    /// # Errors
    /// It does not in time, or does not stay so.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        self.end_faults()?;
        let begun = self.now;
        let mut probes = Vec::new();
        let outcome = loop {
            if probes.len() as u64 * PROBE_MICROS <= self.now - begun && self.clients.is_set_up() {
                probes.push(self.probe());
            }
            self.run_until(self.now + LOOK_MICROS)?;
            let outcome = self.come_together(&probes);
            if outcome.is_ok() || self.now - begun >= TOGETHER_WITHIN_MICROS {
                break outcome;
            }
        };
        outcome?;
        self.report.settled(self.now - begun);
        let leaders = self.leaders();
        self.run_until(self.now + CALM_MICROS)?;
        if self.leaders() != leaders {
            let after = self.leaders();
            return Err(format!(
                "L3: nothing went wrong any more, and the leader {leaders:?} became {after:?}"
            ));
        }
        self.come_together(&probes)?;
        let (map, now) = (self.sound().next().map(|node| node.store().config().clone()), self.now);
        map.map_or(Ok(()), |map| self.clients.judge(&map, now))
    }

    /// Ends every fault: links mended, processes started and awake, clocks true. Whoever is no member any more goes.
    fn end_faults(&mut self) -> Result<(), String> {
        self.faults_over = true;
        self.cuts.clear();
        self.network.mend_all();
        self.network.set_faults(ravelin_transport::memory::Faults::default());
        self.unclog()?;
        for station in 0..self.stations.len() {
            self.end_faults_of(station);
            let held = &self.stations[station];
            let (life, down, lost) = (held.life, held.machine.is_none(), held.is_lost());
            match (lost, down && !held.given_up) {
                (true, _) => self.retire(station),
                (false, true) => self.after(1, Happening::Restart { station, life }),
                (false, false) => {}
            }
        }
        Ok(())
    }

    pub(super) fn end_faults_of(&mut self, station: usize) {
        self.true_clock(station);
        let held = &mut self.stations[station];
        held.paused_until = 0;
        held.full_until = 0;
        held.slow = (0, 0);
        held.armed = Default::default();
        held.fill(None);
        self.after(1, Happening::Thaw { station });
    }

    fn probe(&mut self) -> u64 {
        let envelope = self.clients.probe();
        self.ask(envelope);
        self.clients.last()
    }

    /// The members that never lost their disks and were not given up.
    fn expected(&self) -> impl Iterator<Item = &Station> {
        let member = |held: &&Station| self.oracle.is_member(held.identity());
        self.stations.iter().filter(|held| !held.is_lost() && !held.given_up).filter(member)
    }

    /// The members are as wanted, for all of them.
    fn members_settled(&self, nodes: &[&Node]) -> Result<(), String> {
        let ready: BTreeSet<NodeId> = nodes.iter().map(|node| node.core().id()).collect();
        for node in nodes {
            let (core, (records, _)) = (node.core(), members::records(node.store()));
            let sight = members::Sight {
                records: &records,
                members: core.configuration(),
                me: core.id(),
                ready: &ready,
                may_hand_over: true,
            };
            if core.configuration().is_joint() || (core.role() == RoleName::Leader && sight.next().is_some())
            {
                return Err(format!("L1: the members are {:?}, and not as wanted", core.configuration()));
            }
        }
        Ok(())
    }

    /// Those of them that run.
    fn sound(&self) -> impl Iterator<Item = &Node> {
        self.expected().filter_map(|held| held.machine.as_ref()).map(|machine| machine.node())
    }

    fn leaders(&self) -> Vec<(u64, Term)> {
        let leads = |node: &&Node| node.core().role() == RoleName::Leader;
        self.sound().filter(leads).map(|node| (node.core().id().0, node.core().term())).collect()
    }

    /// Judges whether everything has come together.
    fn come_together(&self, probes: &[u64]) -> Result<(), String> {
        let nodes: Vec<_> = self.sound().collect();
        if nodes.len() != self.expected().count() {
            return Err("L1: a node is down although faults are over".to_owned());
        }
        let leaders = self.leaders().len();
        if leaders != 1 {
            return Err(format!("L1: {leaders} leaders although faults are over"));
        }
        if !probes.iter().any(|probe| self.clients.is_done(*probe)) {
            return Err("L1: a change asked for after the faults was not done".to_owned());
        }
        if self.tickets.values().any(|number| !probes.contains(number)) {
            return Err("I41: a request was not answered".to_owned());
        }
        // The leader may well change as long as somebody asked for it.
        if !self.errands.is_empty() {
            return Err("I41: an operator was not answered".to_owned());
        }
        let Some(first) = nodes.first() else { return Err("no nodes".to_owned()) };
        for node in &nodes {
            if node.store().generation() != first.store().generation() {
                let (one, other) = (first.store().generation(), node.store().generation());
                return Err(format!("L2: nodes did not converge: {one} and {other}"));
            }
        }
        self.members_settled(&nodes)?;
        if nodes.iter().filter(|node| node.providers_epoch().is_some()).count() != 1 {
            return Err("L1: not exactly one node runs the providers".to_owned());
        }
        let map = first.store().config();
        let key = self.file_key();
        let provided: Vec<_> = map
            .iter()
            .map(|(key, _)| key.as_str())
            .filter(|key| key.starts_with("http/routers/") && key.ends_with("@file"))
            .collect();
        if provided != vec![key.as_str()] {
            let all: Vec<_> = map.iter().map(|(key, _)| key.as_str()).collect();
            return Err(format!("L2: the file holds {key}, the cluster {provided:?} among {all:?}"));
        }
        for proxy in 1..=PROXIES {
            let held = self.oracle.adopted_by(proxy);
            let newest = Some(first.store().generation());
            if held != newest || newest.map(place) != self.oracle.newest() {
                return Err(format!("L2: proxy {proxy} holds {held:?}, the cluster {newest:?}"));
            }
        }
        Ok(())
    }
}
