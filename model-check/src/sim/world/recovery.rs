//! The loss of a quorum for good, and one survivor that an operator recovers: what it had told anybody must still hold, and
//! members of the epoch before, who may come back, must not be heard. The survivor is any, or the one that holds least: only
//! one may be left.

use super::*;
use crate::sim::station::Ending;

/// How soon a member that was given up comes back, at most.
const BACK_MICROS_MAX: u64 = 3_000_000;

impl World {
    /// Every node loses power; one of them is recovered, and as many of the others come back as decide nothing by
    /// themselves.
    ///
    /// # Errors
    /// The survivor cannot be recovered, or has lost what it had promised.
    pub(super) fn recover(&mut self) -> Result<(), String> {
        for station in 0..self.stations.len() {
            self.end_faults_of(station);
            if self.stations[station].machine.is_some() {
                self.end(station, Ending::PowerLoss);
            }
            self.stations[station].life += 1;
        }
        let fit = |(_, held): &(usize, &Station)| !held.may_be_lost() && held.has_log();
        let fit: Vec<usize> = self.stations.iter().enumerate().filter(fit).map(|(at, _)| at).collect();
        let of_all = fit.get(self.dice.random_range(0..fit.len().max(1))).copied();
        let behind = fit.iter().copied().min_by_key(|at| self.stations[*at].promised_end());
        let some = if self.dice.random_range(0..2) == 0 { of_all } else { behind };
        let Some(survivor) = some else { return Ok(()) };
        let whole = self.stations[survivor].recover(&self.plan, self.plan.recover_calls)?;
        self.report.count(Mark::Recovered, 1);
        self.report.count(Mark::RecoveredAgain, u64::from(!whole));
        self.oracle.recovered();
        self.clients.recovered(survivor);
        let mut back = (self.stations.len() - 1) / 2;
        for other in (0..self.stations.len()).filter(|other| *other != survivor) {
            self.stations[other].given_up = true;
            if back > 0 && fit.contains(&other) {
                back -= 1;
                let wait = self.dice.random_range(1..BACK_MICROS_MAX);
                self.start_later(other, wait);
            }
        }
        self.after(BACK_MICROS_MAX / 2, Happening::Refusals);
        self.start(survivor)
    }

    /// A member that was given up has stopped by itself.
    ///
    /// # Errors
    /// It did so for another reason.
    pub(super) fn left_for_good(&mut self, station: usize, reason: &str) -> Result<(), String> {
        if !reason.contains("recover") && !reason.contains("was removed from the cluster") {
            return Err(format!("node {}, which was given up, halted: {reason}", station + 1));
        }
        self.report.count(Mark::GivenUp, 1);
        self.end(station, Ending::Kill);
        self.stations[station].life += 1;
        Ok(())
    }

    /// Whether a node has applied itself what it answers. One that passes on the leader's answer may not have.
    pub(super) fn holds_answer(&self, station: usize, response: &Response) -> bool {
        let revision = match response {
            Response::Done(change) => change.generation.revision,
            Response::Objects(objects) => objects.generation.as_ref().map_or(0, |it| it.revision),
            _ => return false,
        };
        let machine = self.stations[station].machine.as_ref();
        machine.is_some_and(|machine| machine.node().store().generation().revision >= revision)
    }

    /// Whether a node may say this to a client.
    ///
    /// # Errors
    /// It was given up, and says that something is so.
    pub(super) fn may_answer(&self, station: usize, response: &Response) -> Result<(), String> {
        if self.stations[station].given_up && matches!(response, Response::Done(_) | Response::Objects(_)) {
            return Err(format!("node {}, which was given up, still answers", station + 1));
        }
        Ok(())
    }
}
