//! Where the control nodes of the cluster are, as one of them said last: kept for the next process. It must not dial anybody, and
//! nothing that is said takes the identity file's own away.

use ravelin_config::feed::{ControlNode, ControlPlane};

/// Keeps what was said for the next process; must not block.
type Keep = Box<dyn Fn(ControlPlane) + Send>;

/// What was said last.
pub(crate) struct Known {
    told: Option<ControlPlane>,
    keep: Keep,
}

impl Known {
    /// As a process before this one was told.
    pub(crate) fn new(told: Option<ControlPlane>, keep: Keep) -> Self {
        Self { told, keep }
    }

    /// A control node says where all of them are. True if that is news: a node that is behind has none.
    pub(super) fn learn(&mut self, told: ControlPlane) -> bool {
        // A lone node in memory is nowhere.
        if told.nodes.is_empty() || self.told.as_ref().is_some_and(|known| !told.may_replace(known)) {
            return false;
        }
        let is_news = self.told.as_ref().is_none_or(|known| told.nodes != known.nodes);
        if is_news {
            (self.keep)(told.clone());
        }
        // Also where the nodes are the same: what is older than this word is no news any more.
        self.told = Some(told);
        is_news
    }

    pub(super) fn nodes(&self) -> &[ControlNode] {
        self.told.as_ref().map_or(&[], |told| &told.nodes)
    }

    /// The newest recovery epoch that a control node said it is of; 0 if none did.
    pub(super) fn recovery_epoch(&self) -> u32 {
        self.told.as_ref().map_or(0, |told| told.recovery_epoch)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn what_is_news_is_kept_and_what_is_old_changes_nothing() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keeps = Arc::clone(&kept);
        let mut known = Known::new(
            None,
            Box::new(move |told| {
                keeps.lock().expect("nobody panics").push((told.recovery_epoch, told.as_of))
            }),
        );
        let mut told = |recovery_epoch, as_of, numbers: &[u64]| {
            let node = |node: &u64| ControlNode { node: *node, address: format!("c{node}:1") };
            let nodes = numbers.iter().map(node).collect();
            known.learn(ControlPlane { cluster: [1; 16], recovery_epoch, incarnation: 1, as_of, nodes })
        };
        assert!(!told(0, 9, &[]), "a lone node in memory");
        assert!(told(0, 5, &[1, 2, 3]));
        assert!(!told(0, 9, &[1, 2, 3]), "nothing else is said");
        assert!(!told(0, 4, &[1]), "from a node that is behind");
        assert!(!told(0, 6, &[4, 5]), "older than what was said last, though that was no news");
        assert!(told(0, 9, &[4, 5]));
        assert!(told(1, 2, &[3]), "after a recovery numbers may be lower");
        assert!(!told(0, 99, &[1, 2]), "from a node that was given up");
        assert_eq!(*kept.lock().expect("nobody panics"), [(0, 5), (0, 9), (1, 2)]);
        assert_eq!((known.recovery_epoch(), known.nodes().len()), (1, 1));
    }
}
