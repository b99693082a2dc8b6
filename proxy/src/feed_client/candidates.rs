//! The control nodes that a proxy may turn to: which one is next, and when. Plain state; it dials nobody.

use std::time::Duration;

use ravelin_transport::Target;
use ravelin_transport::backoff::{Backoff, BackoffOptions};
use tokio::time::Instant;

use super::Ended;

/// Waits after a control node that could not be reached or was lost.
const LOST: BackoffOptions = BackoffOptions {
    first: Duration::from_millis(50),
    max: Duration::from_secs(2),
    stable_after: Duration::from_secs(5),
};
/// Waits after a control node that was reached and was of no use: to come back soon would only load it.
const NO_USE: BackoffOptions = BackoffOptions {
    first: Duration::from_secs(1),
    max: Duration::from_secs(30),
    stable_after: Duration::from_secs(60),
};

/// One control node.
struct Candidate {
    target: Target,
    lost: Backoff,
    no_use: Backoff,
    not_before: Instant,
    /// When it was last asked, in order of asking; 0 if never.
    asked: u64,
    /// The last failure told in the log, so that the same one is not told again.
    told: Option<String>,
}

/// All of them.
pub(super) struct Candidates {
    all: Vec<Candidate>,
    start: Instant,
    asked: u64,
}

impl Candidates {
    /// Proxies with different seeds begin at different control nodes and come back at different times.
    pub(super) fn new(targets: &[Target], seed: u64, now: Instant) -> Self {
        let candidate = |(number, target): (u64, &Target)| Candidate {
            target: target.clone(),
            lost: Backoff::new(LOST, seed.wrapping_add(number)),
            no_use: Backoff::new(NO_USE, !seed.wrapping_add(number)),
            not_before: now,
            asked: 0,
            told: None,
        };
        let mut all: Vec<Candidate> = (0..).zip(targets).map(candidate).collect();
        let count = u64::try_from(all.len()).unwrap_or(1).max(1);
        let first = usize::try_from(seed % count).unwrap_or_default().min(all.len());
        all.rotate_left(first);
        Self { all, start: now, asked: 0 }
    }

    /// The one to dial next, and not before when. `None` if there are none at all.
    pub(super) fn next(&self) -> Option<(usize, Instant)> {
        let all = (0..).zip(&self.all);
        all.map(|(place, it)| (it.not_before, it.asked, place)).min().map(|(at, _, place)| (place, at))
    }

    /// Another one than `present` that may be asked now: the one asked longest ago.
    pub(super) fn other(&self, present: usize, now: Instant) -> Option<usize> {
        let all = (0..).zip(&self.all);
        let others = all.filter(|(place, it)| *place != present && it.not_before <= now);
        others.map(|(place, it)| (it.asked, place)).min().map(|(_, place)| place)
    }

    /// Notes that it is asked, and gives where to dial.
    pub(super) fn ask(&mut self, place: usize) -> Option<Target> {
        self.asked += 1;
        let asked = self.asked;
        let candidate = self.all.get_mut(place)?;
        candidate.asked = asked;
        Some(candidate.target.clone())
    }

    /// Its address, for people.
    pub(super) fn address(&self, place: usize) -> &str {
        self.all.get(place).map_or("", |candidate| &candidate.target.address)
    }

    /// It brought something that counts: from now on it may earn a quick return.
    pub(super) fn useful(&mut self, place: usize, now: Instant) {
        let since = now.duration_since(self.start);
        if let Some(candidate) = self.all.get_mut(place) {
            candidate.lost.connected(since);
            candidate.no_use.connected(since);
            candidate.told = None;
        }
    }

    /// It failed or was of no use. True if that is news, to be told in the log.
    pub(super) fn failed(&mut self, place: usize, ended: &Ended, text: &str, now: Instant) -> bool {
        let since = now.duration_since(self.start);
        let Some(candidate) = self.all.get_mut(place) else { return false };
        let was_reached = ended.was_reached();
        let wait = if was_reached { candidate.no_use.failed(since) } else { candidate.lost.failed(since) };
        candidate.not_before = now + wait;
        let is_news = candidate.told.as_deref() != Some(text);
        if is_news {
            candidate.told = Some(text.to_owned());
        }
        is_news
    }

    /// Whether each of them has failed since it was last of use.
    pub(super) fn all_failed(&self) -> bool {
        self.all.iter().all(|candidate| candidate.told.is_some())
    }
}

#[cfg(test)]
mod tests {
    use ravelin_transport::{Expected, PeerRole};

    use super::*;

    fn three(now: Instant) -> Candidates {
        let expect = Expected { role: PeerRole::Controller, node: None };
        let targets = ["a", "b", "c"].map(|name| Target { address: name.to_owned(), expect });
        Candidates::new(&targets, 1, now)
    }

    fn refused() -> Ended {
        Ended::Refused("no".to_owned())
    }

    #[test]
    fn proxies_begin_at_different_nodes_and_turn_to_the_next() {
        let now = Instant::now();
        let mut candidates = three(now);
        let (first, _) = candidates.next().expect("three");
        assert_eq!(candidates.address(first), "b", "by the seed");
        candidates.ask(first);
        candidates.failed(first, &Ended::Closed, "closed", now);
        let (second, at) = candidates.next().expect("three");
        assert!(second != first && at == now, "the others are free at once");
        assert_ne!(candidates.other(second, now), Some(first), "it has just failed");
        assert_eq!(candidates.other(second, now + Duration::from_secs(9)), Some(2));
    }

    #[test]
    fn a_node_that_was_of_no_use_is_left_alone_for_longer_than_one_that_is_gone() {
        let now = Instant::now();
        let wait = |ended: &Ended, times: u32| {
            let mut candidates = three(now);
            for _ in 0..times {
                candidates.failed(0, ended, "same", now);
            }
            candidates.all.first().map(|it| it.not_before - now).expect("three")
        };
        assert!(wait(&Ended::Closed, 1) <= Duration::from_millis(50));
        assert!(wait(&Ended::Closed, 20) <= Duration::from_secs(2));
        assert!(wait(&refused(), 1) >= Duration::from_millis(500));
        assert!(wait(&refused(), 20) >= Duration::from_secs(15));
    }

    #[test]
    fn one_failure_is_told_once_until_it_changes_or_the_node_was_of_use() {
        let now = Instant::now();
        let mut candidates = three(now);
        assert!(candidates.failed(0, &Ended::Closed, "closed", now));
        assert!(!candidates.failed(0, &Ended::Closed, "closed", now));
        assert!(candidates.failed(0, &refused(), "refused", now));
        candidates.useful(0, now);
        assert!(candidates.failed(0, &refused(), "refused", now));
        assert!(!candidates.all_failed());
        candidates.failed(1, &Ended::Closed, "closed", now);
        candidates.failed(2, &Ended::Closed, "closed", now);
        assert!(candidates.all_failed());
        candidates.useful(2, now);
        assert!(!candidates.all_failed());
    }
}
