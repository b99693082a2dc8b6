//! The end of a run: faults stop, and everything must come together. Liveness is judged here and nowhere else.

use super::*;
use ravelin_consensus::RoleName;

impl World {
    /// Ends every fault: links mended, processes started and awake.
    pub(super) fn end_faults(&mut self) {
        self.faults_over = true;
        self.network.mend_all();
        self.network.set_faults(ravelin_transport::memory::Faults::default());
        for station in 0..self.stations.len() {
            self.stations[station].paused_until = 0;
            self.after(1, Happening::Thaw { station });
            self.stations[station].full_until = 0;
            self.stations[station].fill(None);
            if self.stations[station].machine.is_none() {
                self.after(1, Happening::Restart { station });
            }
        }
    }

    /// Judges the end state.
    pub(super) fn come_together(&self, probe: u64) -> Result<(), String> {
        let nodes: Vec<_> =
            self.stations.iter().filter_map(|held| held.machine.as_ref()).map(|m| m.node()).collect();
        if nodes.len() != self.stations.len() {
            return Err("L1: a node is down although faults are over".to_owned());
        }
        let leaders = nodes.iter().filter(|node| node.core().role() == RoleName::Leader).count();
        if leaders != 1 {
            return Err(format!("L1: {leaders} leaders although faults are over"));
        }
        if !self.clients.is_done(probe) {
            return Err("L1: a change asked for after the faults was not done".to_owned());
        }
        let Some(first) = nodes.first() else { return Err("no nodes".to_owned()) };
        for node in &nodes {
            if node.store().generation() != first.store().generation() {
                let (one, other) = (first.store().generation(), node.store().generation());
                return Err(format!("L2: nodes did not converge: {one} and {other}"));
            }
        }
        if nodes.iter().filter(|node| node.providers_epoch().is_some()).count() != 1 {
            return Err("L1: not exactly one node runs the providers".to_owned());
        }
        let map = first.store().config();
        self.clients.judge(map)?;
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
            let (held, newest) = (self.oracle.adopted_revision(proxy), first.store().generation().revision);
            if held != newest || newest != self.oracle.newest_revision() {
                return Err(format!("L2: proxy {proxy} holds revision {held}, the cluster {newest}"));
            }
        }
        Ok(())
    }
}
