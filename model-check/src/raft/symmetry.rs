//! Names of nodes carry no meaning, so states that differ only by a renaming are one: a state's hash is the least of
//! its hashes under all renamings. For three nodes that leaves a sixth of the states.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::FixedState;
use ravelin_consensus::NodeId;

/// All renamings of the nodes 1 to n; the first is the identity.
#[derive(Clone, Debug)]
pub(crate) struct Renamings {
    images: Vec<Vec<u64>>,
    /// Whether sets of members differ over time, so that they are no longer the same under every renaming.
    pub(crate) members_move: bool,
}

impl Renamings {
    /// Every permutation of `nodes` names.
    pub(crate) fn all(nodes: u8, members_move: bool) -> Renamings {
        let mut images = vec![Vec::new()];
        for _ in 0..nodes {
            images = images
                .into_iter()
                .flat_map(|image: Vec<u64>| {
                    let unused =
                        (1..=u64::from(nodes)).filter(|name| !image.contains(name)).collect::<Vec<_>>();
                    unused.into_iter().map(move |name| image.iter().copied().chain([name]).collect())
                })
                .collect();
        }
        Renamings { images, members_move }
    }

    pub(crate) fn len(&self) -> usize {
        self.images.len()
    }

    /// The new name of a node.
    pub(crate) fn name(&self, renaming: usize, node: NodeId) -> NodeId {
        let image = self.images.get(renaming).and_then(|image| image.get(slot(node)));
        NodeId(image.copied().unwrap_or(node.0))
    }
}

/// The place of a node in a state.
pub(crate) fn slot(node: NodeId) -> usize {
    usize::try_from(node.0.saturating_sub(1)).unwrap_or(usize::MAX)
}

/// The node at a place in a state.
pub(crate) fn node_at(slot: usize) -> NodeId {
    NodeId(slot as u64 + 1)
}

/// A 64-bit hash that is the same in every process of one build.
pub(crate) fn fingerprint(value: &impl Hash) -> u64 {
    FixedState::with_seed(0).hash_one(value)
}
