//! The ways to all control nodes that this one has to do with: begun, ended and moved as the node says. It must not decide who
//! they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ravelin_consensus::NodeId;
use ravelin_transport::{Expected, PeerRole, Roster, Target, Transport};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Message;
use super::peer::Peer;
use crate::node::event::Directory;

/// All ways, each with the address that it leads to.
pub(super) struct Peers {
    transport: Arc<dyn Transport>,
    inbox: mpsc::Sender<Message>,
    stop: CancellationToken,
    greeting: Option<Bytes>,
    ways: BTreeMap<NodeId, Way>,
}

struct Way {
    address: String,
    peer: Peer,
    stop: CancellationToken,
}

impl Drop for Way {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Peers {
    /// No ways yet. `greeting` is said first on each.
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        inbox: mpsc::Sender<Message>,
        stop: CancellationToken,
        greeting: Option<Bytes>,
    ) -> Self {
        Self { transport, inbox, stop, greeting, ways: BTreeMap::new() }
    }

    /// The way to a node, if there is one.
    pub(super) fn get(&self, node: &NodeId) -> Option<&Peer> {
        self.ways.get(node).map(|way| &way.peer)
    }

    /// Dials and hears these, and no others.
    pub(super) fn follow(&mut self, directory: Directory) {
        let number = |node: NodeId| node.0;
        if let Some(members) = self.transport.members() {
            members.record(Roster {
                keys: directory.keys.into_iter().map(|(node, key)| (number(node), key)).collect(),
                members: directory.named.into_iter().map(number).collect(),
                removed: directory.removed.into_iter().map(|(node, key)| (number(node), key)).collect(),
                strangers: directory.strangers,
            });
        }
        self.ways.retain(|node, way| directory.dial.get(node) == Some(&way.address));
        for (node, address) in directory.dial {
            self.ways.entry(node).or_insert_with(|| {
                let expect = Expected { role: PeerRole::Controller, node: Some(node.0) };
                let target = Target { address: address.clone(), expect };
                let stop = self.stop.child_token();
                let (transport, inbox) = (Arc::clone(&self.transport), self.inbox.clone());
                let peer = Peer::start(node, target, transport, inbox, stop.clone(), self.greeting.clone());
                Way { address, peer, stop }
            });
        }
    }
}
