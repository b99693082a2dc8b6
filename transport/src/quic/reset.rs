//! What lets a node that died and came back end the connections of its former life.
//!
//! A peer keeps sending on an old connection. The new process knows nothing of it and answers with a stateless reset (RFC 9000, section 10.3),
//! which the peer believes only if it is made with the key of the former process. So the key must be the node's, and no connection id may
//! be turned away for not being of this process, as quinn's own generator would have it. Otherwise the peer waits out its idle timeout.

use aws_lc_rs::{hmac, rand};
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use std::sync::Arc;
use std::time::Duration;

const ID_BYTES: usize = 8;

/// The configuration of an endpoint whose resets survive a restart. quinn sends at most one in 20 ms, never larger than what it answers.
pub(super) fn endpoint_config(node_key: &[u8; 32]) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, node_key)));
    config.cid_generator(|| Box::new(RandomIds));
    config
}

struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_BYTES];
        rand::fill(&mut id).expect("the system's random numbers were there for TLS");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
