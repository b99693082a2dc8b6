//! What a node is told once. It must not hold what changes.

use std::sync::Arc;

use ravelin_config::SealingKeys;
use ravelin_consensus::Params;

use super::HEAVY_BYTES;
use crate::members::Contacts;

/// What a node is told once.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The constants of the core: who this is, timings, bounds.
    pub params: Arc<Params>,
    /// Static objects that the configuration must hold from the start (standalone only); the rest of `static/` goes.
    pub static_objects: Option<Arc<ravelin_config::Draft>>,
    /// A change of at least so many bytes is applied beside the node; usually [`HEAVY_BYTES`].
    pub heavy_bytes: u64,
    /// Nobody will ever read its log: after each heavy change a snapshot covers it, so that the change is not held twice.
    pub forgets_log: bool,
    /// The cluster's keys: secrets are sealed before they are proposed, and sealed anew for proxies.
    pub sealing: SealingKeys,
    /// Where control nodes are, as far as the identity file says.
    pub contacts: Contacts,
}

impl NodeOptions {
    /// The options of a node that applies what is usual, and knows of no addresses.
    pub fn new(params: Params, sealing: SealingKeys) -> Self {
        Self {
            params: Arc::new(params),
            static_objects: None,
            heavy_bytes: HEAVY_BYTES,
            forgets_log: false,
            sealing,
            contacts: Contacts::default(),
        }
    }
}
