//! Generations and deltas as frames of lane Feed, encoded once and shared by every proxy that needs the same one.
//! It must not know proxies.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ravelin_config::feed::{self, FEED_VERSION, Part, ToProxy};
use ravelin_config::{ConfigMap, Delta, GenerationId};
use ravelin_transport::codec::{self, CodecError};

/// Target size of one part before encoding; a single record may be larger, up to what an object may be.
const PART_BYTES: usize = 256 << 10;
/// Deltas to the generation that is fed, one for each generation that proxies hold. Where they hold still more different
/// ones, the others are better served by the one whole that all of them share.
const DELTAS_KEPT_MAX: usize = 256;

/// One transfer, ready to send.
#[derive(Debug, Clone)]
pub(crate) struct Transfer {
    /// Where it leads.
    pub(crate) target: GenerationId,
    /// Its frames, in order.
    pub(crate) frames: Arc<[Bytes]>,
}

fn encode_parts(parts: Vec<Part>) -> Result<Arc<[Bytes]>, CodecError> {
    parts.into_iter().map(|part| codec::encode(FEED_VERSION, &ToProxy::Part(part))).collect()
}

/// A whole generation as frames. Cost follows its size, so large ones are made in the background.
///
/// # Errors
/// [`CodecError`] for a record beyond the codec's limits; the store's bounds keep records below them.
pub fn encode_whole(
    generation: GenerationId,
    map: &ConfigMap,
    transfer: u64,
) -> Result<Arc<[Bytes]>, CodecError> {
    encode_parts(feed::whole_to_parts(generation, map, transfer, PART_BYTES))
}

/// The transfers that are of use: the deltas to what is fed, and the newest whole.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    number: u64,
    /// By where they start; all lead to this generation.
    deltas: BTreeMap<GenerationId, Transfer>,
    target: Option<GenerationId>,
    whole: Option<Transfer>,
    encoded: u64,
}

impl Transfers {
    /// A number for a transfer.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// How many deltas were encoded: once per (base, target), however many proxies get them.
    #[cfg(test)]
    pub(crate) fn deltas_encoded(&self) -> u64 {
        self.encoded
    }

    /// The delta from `base` to `target`, made by `make` unless it is kept.
    pub(crate) fn delta(
        &mut self,
        base: GenerationId,
        target: GenerationId,
        make: impl FnOnce() -> Option<Delta>,
    ) -> Option<Transfer> {
        if self.target != Some(target) {
            self.target = Some(target);
            self.deltas.clear();
        }
        if let Some(kept) = self.deltas.get(&base) {
            return Some(kept.clone());
        }
        if self.deltas.len() >= DELTAS_KEPT_MAX {
            return None;
        }
        let delta = make()?;
        let number = self.next_number();
        // A delta that cannot be encoded is no loss: the whole brings the same, in other parts.
        let frames = encode_parts(delta.to_parts(number, PART_BYTES)).ok()?;
        self.encoded += 1;
        let transfer = Transfer { target, frames };
        self.deltas.insert(base, transfer.clone());
        Some(transfer)
    }

    /// The newest whole generation that was encoded.
    pub(crate) fn whole(&self) -> Option<&Transfer> {
        self.whole.as_ref()
    }

    /// Keeps a whole generation instead of the one before.
    pub(crate) fn keep_whole(&mut self, transfer: Transfer) {
        self.whole = Some(transfer);
    }
}
