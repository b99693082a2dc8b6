//! Generations and deltas as frames of lane Feed, encoded once and shared by every proxy that needs the same one.
//! It must not know proxies.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ravelin_config::feed::{self, FEED_VERSION, Part, ToProxy, ToProxyV1};
use ravelin_config::secret::{OpenError, Secret, ViewKey};
use ravelin_config::{ConfigMap, Delta, GenerationId, SealingKeys, SecretId, parallel};
use ravelin_transport::codec::{self, CodecError};

/// Target size of one part before encoding; a single record may be larger, up to what an object may be.
const PART_BYTES: usize = 256 << 10;
/// Parts of which fewer are not worth a thread.
const PARTS_SHARE_MIN: usize = 4;
/// Deltas to the generation that is fed, one for each generation that proxies hold. Where they hold still more different
/// ones, the others are better served by the one whole that all of them share.
const DELTAS_KEPT_MAX: usize = 256;

/// Seals the secrets of the log anew for the proxies of one view. Clones share the keys.
#[derive(Debug, Clone)]
pub struct ViewSealing {
    keys: SealingKeys,
    view: ViewKey,
}

impl ViewSealing {
    /// For a view by its name; empty means the default one.
    pub fn new(keys: SealingKeys, view: &str) -> Self {
        Self { view: keys.view_key(view), keys }
    }

    /// The frame that hands a proxy of this view its key.
    pub(crate) fn key_frame(&self) -> Option<Bytes> {
        codec::encode(FEED_VERSION, &ToProxyV1::from(ToProxy::ViewKey(self.view.clone()))).ok()
    }

    /// The value in an envelope of the log.
    pub(super) fn open(&self, id: &SecretId, envelope: &[u8]) -> Result<Secret, OpenError> {
        self.keys.open(id, envelope)
    }

    /// An envelope of the log, sealed for the view. None where it does not open here: the proxy then says which object
    /// lacks its secret, and takes nothing.
    fn seal(&self, id: &SecretId, envelope: &[u8]) -> Option<Arc<[u8]>> {
        let secret = self.open(id, envelope).ok()?;
        Some(self.view.seal(id, &secret))
    }
}

/// One transfer, ready to send.
#[derive(Debug, Clone)]
pub(crate) struct Transfer {
    /// Where it leads.
    pub(crate) target: GenerationId,
    /// Its frames, in order.
    pub(crate) frames: Arc<[Bytes]>,
}

fn encode_parts(parts: Vec<Part>) -> Result<Arc<[Bytes]>, CodecError> {
    let encode = |part: &Part| codec::encode(FEED_VERSION, &ToProxyV1::from(ToProxy::Part(part.clone())));
    parallel::map(&parts, PARTS_SHARE_MIN, encode).into_iter().collect()
}

/// A whole generation as frames. Cost follows its size, so large ones are made in the background.
///
/// # Errors
/// [`CodecError`] for a record beyond the codec's limits; the store's bounds keep records below them.
pub fn encode_whole(
    generation: GenerationId,
    map: &ConfigMap,
    transfer: u64,
    sealing: &ViewSealing,
) -> Result<Arc<[Bytes]>, CodecError> {
    let mut map = map.clone();
    let sealed: Vec<_> =
        map.secrets().iter().map(|(id, envelope)| (*id, sealing.seal(id, envelope))).collect();
    map.change_secrets(sealed);
    encode_parts(feed::whole_to_parts(generation, &map, transfer, PART_BYTES))
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
        sealing: &ViewSealing,
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
        let mut delta = make()?;
        for (id, envelope) in &mut delta.secrets {
            *envelope = envelope.take().and_then(|envelope| sealing.seal(id, &envelope));
        }
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

    /// Lets go of the whole generation: it is encoded again for whoever needs it.
    pub(crate) fn forget_whole(&mut self) {
        self.whole = None;
    }

    /// Keeps a whole generation instead of the one before.
    pub(crate) fn keep_whole(&mut self, transfer: Transfer) {
        self.whole = Some(transfer);
    }
}
