//! The identity of one committed, complete configuration.
//! It must not hold the configuration itself.

use std::fmt;

use crate::digest::Digest;

/// Names one generation: which cluster, which recovery, which revision, which content.
///
/// `Display` prints `<revision>-<12 hex digits of the digest>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId {
    /// The cluster that committed it.
    pub cluster: [u8; 16],
    /// Counts fenced recoveries; a higher epoch outranks any revision of a lower one.
    pub recovery_epoch: u32,
    /// The store's revision of the last change to configuration.
    pub revision: u64,
    /// The root digest of the configuration map.
    pub digest: Digest,
}

impl GenerationId {
    /// Whether this generation comes after `other`. Generations of different clusters have no order.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.cluster == other.cluster
            && (self.recovery_epoch, self.revision) > (other.recovery_epoch, other.revision)
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.revision, self.digest.short())
    }
}

impl fmt::Debug for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GenerationId({self}, epoch {})", self.recovery_epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(cluster: u8, recovery_epoch: u32, revision: u64) -> GenerationId {
        GenerationId { cluster: [cluster; 16], recovery_epoch, revision, digest: Digest::of(b"") }
    }

    #[test]
    fn a_higher_epoch_outranks_any_revision_and_clusters_have_no_order() {
        assert!(id(1, 0, 8).is_newer_than(&id(1, 0, 7)));
        assert!(!id(1, 0, 7).is_newer_than(&id(1, 0, 7)));
        assert!(id(1, 1, 1).is_newer_than(&id(1, 0, 900)));
        assert!(!id(1, 0, 900).is_newer_than(&id(1, 1, 1)));
        assert!(!id(2, 9, 9).is_newer_than(&id(1, 0, 0)));
    }

    #[test]
    fn prints_revision_and_short_digest() {
        assert_eq!(id(1, 0, 42).to_string(), "42-e3b0c44298fc");
    }
}
