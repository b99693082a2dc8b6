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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::status::{LongestEvent, ProxyStatus};

    fn proxy(node: u64, instance: &str) -> ProxyStatus {
        ProxyStatus {
            node,
            build: String::new(),
            instance: instance.to_owned(),
            understands: None,
            lacks: Vec::new(),
            received: None,
            validated: None,
            serving: None,
            serving_since_micros: 0,
            refused: None,
            overdue: None,
        }
    }

    fn node(node: u64, proxies: Vec<ProxyStatus>, next_proxy: Option<u64>) -> NodeStatus {
        NodeStatus {
            node,
            role: String::new(),
            controller: false,
            healthy: true,
            term: 1,
            leader: None,
            controller_node: None,
            controller_epoch: 0,
            last_index: 0,
            commit_index: 0,
            applied_index: 0,
            revision: 0,
            generation: None,
            stale: false,
            objects: 0,
            understands: crate::node::understood::Understood::this_build().understands,
            proxies_attached: 9,
            proxies,
            next_proxy,
            providers: Vec::new(),
            longest_event: LongestEvent::default(),
            halted: None,
        }
    }

    #[test]
    fn the_same_identity_on_two_nodes_is_told_where_the_processes_differ() {
        let first = node(1, vec![proxy(4, "a"), proxy(5, "b"), proxy(6, "c")], None);
        let second = node(2, vec![proxy(5, "b"), proxy(6, "d")], None);
        let status = together(String::new(), 1, vec![first, second], Vec::new());
        assert_eq!(status.twins, [Twins { proxy: 6, nodes: vec![1, 2] }], "5 is on the move");
        assert_eq!(status.next_proxy, None);
    }

    #[test]
    fn the_pages_of_all_nodes_end_at_one_number() {
        let first = node(1, vec![proxy(1, "a"), proxy(9, "b")], Some(9));
        let second = node(2, vec![proxy(2, "c"), proxy(5, "d")], Some(5));
        let third = node(3, vec![proxy(3, "e"), proxy(20, "f")], None);
        let status = together(String::new(), 1, vec![first, second, third], Vec::new());
        assert_eq!(status.next_proxy, Some(5));
        let numbers: Vec<Vec<u64>> =
            status.nodes.iter().map(|node| node.proxies.iter().map(|proxy| proxy.node).collect()).collect();
        assert_eq!(numbers, [vec![1], vec![2, 5], vec![3]]);
        let next: Vec<Option<u64>> = status.nodes.iter().map(|node| node.next_proxy).collect();
        assert_eq!(next, [Some(5), Some(5), Some(5)], "what was left out follows");
    }
}
