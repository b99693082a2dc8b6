//! The difference between two generations as it is stored and fed: what to put, what to delete.
//! It must not trust itself: the result of applying it has to have the target's digest.

use std::sync::Arc;

use crate::generation::GenerationId;
use crate::key::Key;
use crate::secret::SecretId;

/// A change from one generation to a later one. Puts and deletes hold each key at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The generation it starts from.
    pub base: GenerationId,
    /// The generation it leads to.
    pub target: GenerationId,
    /// Encoded records that are new or changed, by key in order.
    pub puts: Vec<(Key, Arc<[u8]>)>,
    /// Keys that are gone, in order.
    pub deletes: Vec<Key>,
    /// Envelopes of secrets that are new or changed, and with `None` the names of secrets that are gone; in order.
    pub secrets: Vec<(SecretId, Option<Arc<[u8]>>)>,
}

/// Why a delta was not applied; the map is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// The map at hand is not the delta's base.
    #[error("the delta starts from {base}, but the map at hand has digest {held}")]
    WrongBase {
        /// The base that the delta names.
        base: GenerationId,
        /// The short digest of the map at hand.
        held: String,
    },
    /// The result does not have the digest of the target.
    #[error("applying the delta gives digest {found}, but {target} was announced")]
    WrongDigest {
        /// The target that the delta names.
        target: GenerationId,
        /// The short digest that came out.
        found: String,
    },
}
