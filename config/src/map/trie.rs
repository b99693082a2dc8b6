//! A 16-ary Merkle trie over the SHA-256 of the key, path-copying: the digest of a map whose change costs a path.
//! It must not hold records, and its shape must follow from the content alone, never from the order of changes.

use std::sync::Arc;

use crate::digest::Digest;
use crate::key::Key;

/// Nibbles of a key's hash: the deepest level. Two keys that share all of them would be a SHA-256 collision.
const DEPTH_MAX: usize = 64;

/// The trie; empty, or one shared root.
#[derive(Clone, Default)]
pub(super) struct Trie {
    root: Option<Arc<Node>>,
}

enum Node {
    Leaf(Leaf),
    /// At least two leaves below. `children` are those present, in order of their nibble; `present` says which.
    Branch {
        digest: Digest,
        present: u16,
        children: Box<[Arc<Self>]>,
    },
}

struct Leaf {
    key: Key,
    digest: Digest,
}

impl Leaf {
    /// Where it stands: made anew where it is needed, which is seldom, as there are as many leaves as objects.
    fn path(&self) -> [u8; 32] {
        path_of(&self.key)
    }
}

fn path_of(key: &Key) -> [u8; 32] {
    Digest::of(key.as_str().as_bytes()).0
}

/// A key whose record changed to one of this digest, or went away.
pub(super) struct LeafChange {
    key: Key,
    path: [u8; 32],
    value: Option<Digest>,
}

impl LeafChange {
    pub(super) fn new(key: Key, value: Option<Digest>) -> Self {
        let path = path_of(&key);
        Self { key, path, value }
    }
}

fn nibble(path: &[u8; 32], depth: usize) -> usize {
    let byte = path.get(depth / 2).copied().unwrap_or(0);
    usize::from(if depth.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f })
}

impl Node {
    fn digest(&self) -> Digest {
        match self {
            Self::Leaf(leaf) => leaf.digest,
            Self::Branch { digest, .. } => *digest,
        }
    }

    fn leaf(key: Key, path: [u8; 32], value: Digest) -> Arc<Self> {
        // The path fixes the key, so key hash and value hash of fixed length say all.
        let digest = Digest::of_parts([&[0u8][..], &path, &value.0]);
        Arc::new(Self::Leaf(Leaf { key, digest }))
    }

    /// The canonical node over these children: none, the only leaf itself, or a branch.
    fn over(slots: [Option<Arc<Self>>; 16]) -> Option<Arc<Self>> {
        let mut present = 0u16;
        let mut children = Vec::new();
        for (position, child) in slots.into_iter().enumerate() {
            if let Some(child) = child {
                present |= 1 << position;
                children.push(child);
            }
        }
        match children.as_slice() {
            [] => None,
            [only] if matches!(**only, Self::Leaf(_)) => children.pop(),
            _ => {
                let digest = branch_digest(present, &children);
                Some(Arc::new(Self::Branch { digest, present, children: children.into_boxed_slice() }))
            }
        }
    }
}

fn branch_digest(present: u16, children: &[Arc<Node>]) -> Digest {
    let mut bytes = Vec::with_capacity(3 + 32 * children.len());
    bytes.push(1);
    bytes.extend_from_slice(&present.to_le_bytes());
    for child in children {
        bytes.extend_from_slice(&child.digest().0);
    }
    Digest::of(&bytes)
}

/// The child in each of the 16 places; a leaf stands alone in the place of its own next nibble.
fn slots(node: Option<&Arc<Node>>, depth: usize) -> [Option<Arc<Node>>; 16] {
    let mut slots: [Option<Arc<Node>>; 16] = Default::default();
    match node.map(|node| (node, &**node)) {
        None => {}
        Some((node, Node::Leaf(leaf))) => {
            if let Some(slot) = slots.get_mut(nibble(&leaf.path(), depth)) {
                *slot = Some(Arc::clone(node));
            }
        }
        Some((_, Node::Branch { present, children, .. })) => {
            let mut rest = children.iter();
            for (position, slot) in slots.iter_mut().enumerate() {
                if present & (1 << position) != 0 {
                    *slot = rest.next().cloned();
                }
            }
        }
    }
    slots
}

/// `changes` are sorted by path and agree with `node` in the first `depth` nibbles. At most [`DEPTH_MAX`] deep.
fn changed(node: Option<&Arc<Node>>, changes: &mut [LeafChange], depth: usize) -> Option<Arc<Node>> {
    let replaces = |change: &LeafChange| match node.map(|node| &**node) {
        None => true,
        Some(Node::Leaf(leaf)) => leaf.key == change.key,
        Some(Node::Branch { .. }) => false,
    };
    match changes {
        [] => return node.cloned(),
        [only] if replaces(only) => {
            return only.value.map(|value| Node::leaf(only.key.clone(), only.path, value));
        }
        [.., only] if depth >= DEPTH_MAX => {
            return only.value.map(|value| Node::leaf(only.key.clone(), only.path, value));
        }
        _ => {}
    }
    let mut slots = slots(node, depth);
    for group in changes.chunk_by_mut(|a, b| nibble(&a.path, depth) == nibble(&b.path, depth)) {
        let Some(first) = group.first() else { continue };
        if let Some(slot) = slots.get_mut(nibble(&first.path, depth)) {
            *slot = changed(slot.as_ref(), group, depth + 1);
        }
    }
    Node::over(slots)
}

fn keys_below(node: &Node, keys: &mut Vec<Key>) {
    match node {
        Node::Leaf(leaf) => keys.push(leaf.key.clone()),
        Node::Branch { children, .. } => children.iter().for_each(|child| keys_below(child, keys)),
    }
}

fn differing(new: Option<&Arc<Node>>, old: Option<&Arc<Node>>, depth: usize, keys: &mut Vec<Key>) {
    let (new_node, old_node) = match (new, old) {
        (None, None) => return,
        (Some(only), None) | (None, Some(only)) => return keys_below(only, keys),
        (Some(new_node), Some(old_node)) => (new_node, old_node),
    };
    if Arc::ptr_eq(new_node, old_node) || new_node.digest() == old_node.digest() {
        return;
    }
    if let (Node::Leaf(a), Node::Leaf(b)) = (&**new_node, &**old_node) {
        if a.key != b.key {
            keys.push(b.key.clone());
        }
        keys.push(a.key.clone());
        return;
    }
    for (new, old) in slots(new, depth).iter().zip(slots(old, depth).iter()) {
        differing(new.as_ref(), old.as_ref(), depth + 1, keys);
    }
}

impl Trie {
    pub(super) fn digest(&self) -> Digest {
        match &self.root {
            Some(root) => root.digest(),
            None => Digest([0; 32]),
        }
    }

    pub(super) fn change(&mut self, mut changes: Vec<LeafChange>) {
        changes.sort_unstable_by_key(|change| change.path);
        self.root = changed(self.root.as_ref(), &mut changes, 0);
    }

    /// The keys whose records differ between this trie and an older one, in no particular order.
    pub(super) fn differing_keys(&self, old: &Self, keys: &mut Vec<Key>) {
        differing(self.root.as_ref(), old.root.as_ref(), 0, keys);
    }
}
