//! Snapshots: written in the background, kept across restarts, fetched by a node that lags.

use std::time::Duration;

use super::harness::{Cluster, site};
use crate::request::status::EventKind;

#[test]
fn a_node_that_lags_behind_the_log_gets_a_snapshot_and_the_same_state() {
    let mut cluster = Cluster::new(3);
    cluster.log_bytes_max = Some(64 << 10);
    for node in 1..=3 {
        cluster.boot(node);
    }
    cluster.until("a controller runs", |cluster| cluster.controller().is_some());
    let (controller, leader) =
        (cluster.controller().expect("just now").0, cluster.leader().expect("one leads"));
    let lagging = (1..=3).find(|node| ![controller, leader].contains(node)).expect("three nodes");
    cluster.kill(lagging);
    for number in 0..200 {
        cluster.apply(leader, &site(&format!("site{number}")));
    }
    assert!(cluster.saw(|kind| matches!(kind, EventKind::SnapshotTaken { installed: false, .. })) > 0);
    cluster.boot(lagging);
    cluster.until("it installs a snapshot", |cluster| {
        cluster.saw(|kind| matches!(kind, EventKind::SnapshotTaken { installed: true, .. })) > 0
    });
    cluster.until("all feed the same", |cluster| cluster.generations().len() == 1);
    assert_eq!(cluster.machine(lagging).node().store().config().len(), 400);

    for node in 1..=3 {
        cluster.kill(node);
    }
    for node in 1..=3 {
        cluster.boot(node);
    }
    cluster.until("a controller runs again", |cluster| cluster.controller().is_some());
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.generations().len(), 1);
    assert!(cluster.alive().all(|(_, machine)| machine.node().store().config().len() == 400));
}
