//! The control nodes that a proxy may turn to: which one is next, and when. Plain state; it dials nobody.

use std::time::Duration;

use ravelin_config::feed::ControlNode;
use ravelin_transport::backoff::{Backoff, BackoffOptions};
use ravelin_transport::{Expected, PeerRole, Target};
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

/// Control nodes that one process is ever told of: far more than come and go in its life. Further ones wait for its restart.
const CANDIDATES_MAX: usize = 1024;

/// One control node.
struct Candidate {
    target: Target,
    /// The identity file names it: it is never given up.
    is_own: bool,
    /// The place of the one of the identity file that is the same node at another address: this one is asked only while that one
    /// fails.
    instead_of: Option<usize>,
    /// Neither the identity file nor the cluster names it any more.
    is_gone: bool,
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
    seed: u64,
    start: Instant,
    asked: u64,
}

impl Candidate {
    fn new(target: Target, is_own: bool, seed: u64, now: Instant) -> Self {
        Self {
            target,
            is_own,
            instead_of: None,
            is_gone: false,
            lost: Backoff::new(LOST, seed),
            no_use: Backoff::new(NO_USE, !seed),
            not_before: now,
            asked: 0,
            told: None,
        }
    }
}

impl Candidates {
    /// Proxies with different seeds begin at different control nodes and come back at different times.
    pub(super) fn new(targets: &[Target], seed: u64, now: Instant) -> Self {
        let candidate = |(number, target): (u64, &Target)| {
            Candidate::new(target.clone(), true, seed.wrapping_add(number), now)
        };
        let mut all: Vec<Candidate> = (0..).zip(targets).map(candidate).collect();
        let count = u64::try_from(all.len()).unwrap_or(1).max(1);
        let first = usize::try_from(seed % count).unwrap_or_default().min(all.len());
        all.rotate_left(first);
        Self { all, seed, start: now, asked: 0 }
    }

    /// The cluster says where its control nodes are. Those of the identity file stay where it says, whatever is said: the way there may
    /// be one that the cluster does not know. Where else they are said to be is asked when that fails. Places keep their numbers.
    pub(super) fn follow(&mut self, nodes: &[ControlNode], now: Instant) {
        for candidate in self.all.iter_mut().filter(|candidate| !candidate.is_own) {
            candidate.is_gone = true;
        }
        for ControlNode { node, address } in nodes {
            let is_it = |candidate: &Candidate| candidate.target.expect.node == Some(*node);
            let own = self.all.iter().position(|candidate| candidate.is_own && is_it(candidate));
            if own.and_then(|place| self.all.get(place)).is_some_and(|own| own.target.address == *address) {
                continue;
            }
            let count = self.all.len();
            let known = self.all.iter_mut().find(|candidate| !candidate.is_own && is_it(candidate));
            match known {
                Some(candidate) => {
                    candidate.is_gone = false;
                    if candidate.target.address != *address {
                        candidate.target.address.clone_from(address);
                        (candidate.not_before, candidate.told) = (now, None);
                    }
                }
                None if count >= CANDIDATES_MAX => {
                    tracing::warn!(
                        node,
                        address,
                        "too many control nodes came and went; this one is not asked"
                    );
                }
                None => {
                    tracing::info!(node, address, "a control node is where the identity file does not say");
                    let expect = Expected { role: PeerRole::Controller, node: Some(*node) };
                    let target = Target { address: address.clone(), expect };
                    let seed = self.seed.wrapping_add(count as u64);
                    let new = Candidate::new(target, false, seed, now);
                    self.all.push(Candidate { instead_of: own, ..new });
                }
            }
        }
    }

    /// Those that may be asked, with their places.
    fn present(&self) -> impl Iterator<Item = (usize, &Candidate)> {
        let fails = |place: usize| self.all.get(place).is_some_and(|own| own.told.is_some());
        let may = move |it: &Candidate| !it.is_gone && it.instead_of.is_none_or(fails);
        (0..).zip(&self.all).filter(move |(_, candidate)| may(candidate))
    }

    /// The one to dial next, and not before when. `None` if there are none at all.
    pub(super) fn next(&self) -> Option<(usize, Instant)> {
        let all = self.present();
        all.map(|(place, it)| (it.not_before, it.asked, place)).min().map(|(at, _, place)| (place, at))
    }

    /// Another one than `present` that may be asked now: the one asked longest ago.
    pub(super) fn other(&self, present: usize, now: Instant) -> Option<usize> {
        let others = self.present().filter(|(place, it)| *place != present && it.not_before <= now);
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
        self.present().all(|(_, candidate)| candidate.told.is_some())
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn what_the_cluster_says_of_its_nodes_is_followed_and_those_of_the_identity_file_stay() {
        let now = Instant::now();
        let expect = |node| Expected { role: PeerRole::Controller, node: Some(node) };
        let own = [1, 2].map(|node| Target { address: format!("old{node}"), expect: expect(node) });
        let mut candidates = Candidates::new(&own, 0, now);
        let told = |node: u64, address: &str| ControlNode { node, address: address.to_owned() };
        let present = |candidates: &Candidates| -> Vec<(u64, String)> {
            let targets = candidates.present().map(|(_, it)| &it.target);
            targets.map(|it| (it.expect.node.expect("numbered"), it.address.clone())).collect()
        };
        let is = |candidates: &Candidates, wanted: &[(u64, &str)]| {
            let wanted: Vec<(u64, String)> =
                wanted.iter().map(|(node, address)| (*node, (*address).to_owned())).collect();
            assert_eq!(present(candidates), wanted);
        };
        candidates.follow(&[told(1, "old1"), told(2, "new2"), told(4, "new4")], now);
        is(&candidates, &[(1, "old1"), (2, "old2"), (4, "new4")]);
        candidates.failed(1, &Ended::Closed, "closed", now);
        is(&candidates, &[(1, "old1"), (2, "old2"), (2, "new2"), (4, "new4")]);
        assert_eq!(candidates.next(), Some((0, now)), "those of the identity file come first");
        candidates.failed(2, &refused(), "refused", now);
        candidates.follow(&[told(2, "newer2"), told(4, "new4")], now);
        is(&candidates, &[(1, "old1"), (2, "old2"), (2, "newer2"), (4, "new4")]);
        assert_eq!(candidates.all[2].not_before, now, "at another place it may be of use");
        candidates.useful(1, now);
        candidates.follow(&[told(5, "new5")], now);
        is(&candidates, &[(1, "old1"), (2, "old2"), (5, "new5")]);
        assert_eq!(candidates.address(4), "new5", "places keep their numbers");
        candidates.follow(&[told(4, "back4")], now);
        is(&candidates, &[(1, "old1"), (2, "old2"), (4, "back4")]);
        for node in 10..2_000 {
            candidates.follow(&[told(node, "x")], now);
        }
        assert_eq!(candidates.all.len(), CANDIDATES_MAX);
    }
}
