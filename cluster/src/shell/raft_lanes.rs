//! One lane Raft for each control node: a newer one takes the place of the older, and two processes under one identity are
//! found out. It must not judge frames; a copied data directory is told of, as it could vote twice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Within so long …
const WINDOW: Duration = Duration::from_secs(60);
/// … one process takes the place of its own former lane at most so often: when it restarts, or lost its connection.
const TAKEOVERS_MAX: usize = 3;

/// The lanes that stand.
#[derive(Debug, Clone, Default)]
pub(super) struct RaftLanes {
    by_node: Arc<Mutex<BTreeMap<u64, Standing>>>,
}

#[derive(Debug, Default)]
struct Standing {
    lane: Option<CancellationToken>,
    takeovers: VecDeque<Instant>,
}

/// A lane's place; dropping it gives it up.
#[derive(Debug)]
pub(super) struct Place {
    node: u64,
    lanes: RaftLanes,
    /// Cancelled once a newer lane of the node has come.
    pub(super) over: CancellationToken,
}

impl RaftLanes {
    /// A lane of this node has come. True beside it: lanes take each other's place so often that two processes must be at it.
    pub(super) fn begin(&self, node: u64, now: Instant) -> (Place, bool) {
        let over = CancellationToken::new();
        let mut by_node = self.by_node.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = by_node.entry(node).or_default();
        standing.takeovers.retain(|at| now.duration_since(*at) < WINDOW);
        if let Some(before) = standing.lane.replace(over.clone()) {
            before.cancel();
            standing.takeovers.push_back(now);
            if standing.takeovers.len() > TAKEOVERS_MAX + 1 {
                standing.takeovers.pop_front();
            }
        }
        let twins = standing.takeovers.len() > TAKEOVERS_MAX;
        (Place { node, lanes: self.clone(), over }, twins)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The place of one that was taken over is another's now.
        if !self.over.is_cancelled()
            && let Some(standing) =
                self.lanes.by_node.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&self.node)
        {
            standing.lane = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lane_stands_and_taking_turns_is_found_out() {
        let lanes = RaftLanes::default();
        let now = Instant::now();
        let (first, _) = lanes.begin(2, now);
        let (other, twins) = lanes.begin(3, now);
        assert!(!twins && !first.over.is_cancelled(), "another node is not concerned");
        let (second, twins) = lanes.begin(2, now);
        assert!(first.over.is_cancelled() && !second.over.is_cancelled() && !twins, "a reconnect");
        drop((first, other));
        let mut held = vec![second];
        for turn in 2..=5_u32 {
            let (place, twins) = lanes.begin(2, now + Duration::from_secs(1) * turn);
            assert_eq!(twins, turn > 3, "turn {turn}");
            held.push(place);
        }
        assert_eq!(held.iter().filter(|place| !place.over.is_cancelled()).count(), 1);
        drop(held);
        let (_place, twins) = lanes.begin(2, now + WINDOW * 3);
        assert!(!twins, "nobody was there, and it is long ago");
        let (_place, twins) = lanes.begin(2, now + WINDOW * 3);
        assert!(!twins, "one takeover after a long time");
    }
}
