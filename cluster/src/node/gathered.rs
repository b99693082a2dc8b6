//! The status of a cluster from what its nodes say of themselves. Plain functions; nothing is asked or decided here.

use std::collections::{BTreeMap, BTreeSet};

use crate::request::status::{ClusterStatus, NodeStatus, Twins};

/// Lays the nodes' pages of proxies beside each other. They end at one number, so that the next page of each begins there too.
pub(super) fn together(
    cluster: String,
    answered_by: u64,
    mut nodes: Vec<NodeStatus>,
    silent: Vec<u64>,
) -> ClusterStatus {
    let next_proxy = nodes.iter().filter_map(|node| node.next_proxy).min();
    if let Some(last) = next_proxy {
        for node in &mut nodes {
            let before = node.proxies.len();
            node.proxies.retain(|proxy| proxy.node <= last);
            if node.proxies.len() < before {
                node.next_proxy = Some(last);
            }
        }
    }
    let twins = twins(&nodes);
    ClusterStatus { cluster, answered_by, nodes, silent, twins, next_proxy }
}

/// Proxies of which different processes are attached to different nodes. One process may be attached to two for a moment, while
/// it moves.
fn twins(nodes: &[NodeStatus]) -> Vec<Twins> {
    let mut seen: BTreeMap<u64, (BTreeSet<&str>, Vec<u64>)> = BTreeMap::new();
    for (node, proxy) in nodes.iter().flat_map(|node| node.proxies.iter().map(|proxy| (node.node, proxy))) {
        let (instances, nodes) = seen.entry(proxy.node).or_default();
        instances.insert(&proxy.instance);
        nodes.push(node);
    }
    let several = seen.into_iter().filter(|(_, (instances, _))| instances.len() > 1);
    several.map(|(proxy, (_, nodes))| Twins { proxy, nodes }).collect()
}
