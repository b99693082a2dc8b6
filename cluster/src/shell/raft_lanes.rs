//! One lane Raft for each control node: a newer one takes the place of the older, and two processes under one identity are
//! found out. It must not judge frames; a copied data directory is told of, as it could vote twice.
//!
//! Connections come and go on several threads. It stands on its own (std, tokio, loom), so that loom tries every order of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

#[cfg(ravelin_loom)]
use loom::sync::Mutex;
#[cfg(not(ravelin_loom))]
use std::sync::Mutex;

#[cfg(ravelin_loom)]
use loom_checks::CancellationToken;
#[cfg(ravelin_loom)]
use std::time::Instant;
#[cfg(not(ravelin_loom))]
use tokio::time::Instant;
#[cfg(not(ravelin_loom))]
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
        let mut by_node = self.lanes.by_node.lock().unwrap_or_else(PoisonError::into_inner);
        // The place of one that was taken over is another's now. That is asked under the lock: it may be happening just now.
        if !self.over.is_cancelled()
            && let Some(standing) = by_node.get_mut(&self.node)
        {
            standing.lane = None;
        }
    }
}

#[cfg(all(test, not(ravelin_loom)))]
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

#[cfg(ravelin_loom)]
mod loom_checks {
    use std::sync::Arc;

    use loom::sync::atomic::{AtomicBool, Ordering};

    /// A stand-in that promises no more than tokio's: once cancelled it stays so.
    #[derive(Debug, Clone)]
    pub(in super::super) struct CancellationToken(Arc<AtomicBool>);

    impl CancellationToken {
        pub(in super::super) fn new() -> Self {
            Self(Arc::new(AtomicBool::new(false)))
        }

        pub(super) fn cancel(&self) {
            self.0.store(true, Ordering::Release);
        }

        pub(super) fn is_cancelled(&self) -> bool {
            self.0.load(Ordering::Acquire)
        }
    }

    #[cfg(test)]
    mod tests {
        // Counters of all orders: loom does not see them.
        use std::sync::atomic::{AtomicUsize, Ordering};

        use loom::thread;

        use super::super::*;

        /// One lane ends while the next begins, and a third one takes the place of the second: whether that is over then, and the
        /// third is not. `gone` ends a lane.
        fn three_lanes(gone: impl Fn(Place) + Send + Sync + Copy + 'static) -> bool {
            let lanes = RaftLanes::default();
            let now = Instant::now();
            let (first, _) = lanes.begin(2, now);
            let ending = thread::spawn(move || gone(first));
            let (second, _) = lanes.begin(2, now);
            ending.join().expect("nothing panics there");
            let (third, _) = lanes.begin(2, now);
            second.over.is_cancelled() && !third.over.is_cancelled()
        }

        #[test]
        fn loom_the_newest_lane_stands_alone_however_the_one_before_ends() {
            loom::model(|| assert!(three_lanes(drop), "two lanes of one node stand"));
        }

        /// The negative control: who looks first whether it was taken over, and takes the lock then, has to be caught.
        #[test]
        fn loom_a_lane_that_looks_before_it_locks_is_caught() {
            let looks_first = |place: Place| {
                if !place.over.is_cancelled() {
                    let mut by_node = place.lanes.by_node.lock().unwrap_or_else(PoisonError::into_inner);
                    by_node.entry(place.node).or_default().lane = None;
                }
            };
            let (found, orders) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let counted = (Arc::clone(&found), Arc::clone(&orders));
            loom::model(move || {
                counted.0.fetch_add(usize::from(!three_lanes(looks_first)), Ordering::Relaxed);
                counted.1.fetch_add(1, Ordering::Relaxed);
            });
            let counts = (found.load(Ordering::Relaxed), orders.load(Ordering::Relaxed));
            assert!(counts.0 > 0 && counts.0 < counts.1, "of {} orders, {} are wrong", counts.1, counts.0);
        }
    }
}
