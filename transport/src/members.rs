//! The recorded public keys of the control nodes: by these they know each other, whatever the authority has signed.
//!
//! It begins with what the identity file says. Once the cluster's log says more, the shell of the control plane records that
//! instead: what the log says wins. It must not decide anything but "which key", and knows nothing of logs.

use std::collections::BTreeMap;
use tokio::sync::watch;

/// SHA-256 of a public key (the DER of the SubjectPublicKeyInfo).
pub type KeySha256 = [u8; 32];

/// The keys by node, shared by everything that judges peers; a change is seen by connections that stand.
#[derive(Debug)]
pub struct Members {
    keys: watch::Sender<BTreeMap<u64, KeySha256>>,
}

impl Members {
    pub(crate) fn new(keys: BTreeMap<u64, KeySha256>) -> Self {
        Self { keys: watch::Sender::new(keys) }
    }

    /// Puts these in the place of all that was recorded. Connections of control nodes whose recorded key is now another end at once.
    ///
    /// A control node that is not recorded is judged by its certificate alone: a member that was away must be able to hear of members
    /// that came meanwhile, from them.
    pub fn record(&self, keys: BTreeMap<u64, KeySha256>) {
        self.keys.send_replace(keys);
    }

    pub(crate) fn key_of(&self, node: u64) -> Option<KeySha256> {
        self.keys.borrow().get(&node).copied()
    }

    /// Waits until this node is recorded with another key than this one. Cancel safe.
    pub(crate) async fn contradict(&self, node: u64, key: KeySha256) {
        let mut keys = self.keys.subscribe();
        let other = keys.wait_for(|keys| keys.get(&node).is_some_and(|recorded| *recorded != key));
        if other.await.is_err() {
            std::future::pending().await
        }
    }
}
