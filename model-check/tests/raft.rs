//! The bounded searches of the Raft model, each complete and of exactly the size that it is known to have.

use ravelin_model_check::raft::{self, Bounds, Order, Watch};

fn complete(name: &str) {
    let bounds = Bounds::named(name).expect("the test names a configuration");
    let report = raft::check(bounds, Order::DepthFirst, Watch::Everything, 1);
    println!("{report}");
    assert!(bounds.states.is_some(), "{name} must state how many states it has");
    assert!(report.holds(), "{report}");
}

macro_rules! complete {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            complete($name);
        })*

        #[test]
        fn every_configuration_is_searched() {
            let tested = [$($name),*];
            let known: Vec<&str> = raft::CONFIGURATIONS.iter().map(|bounds| bounds.name).collect();
            assert_eq!(tested.as_slice(), known);
        }
    };
}

complete! {
    elections: "elections",
    replication: "replication",
    unreachable: "unreachable",
    crash: "crash",
    reorder: "reorder",
    pre_vote: "pre-vote",
    check_quorum: "check-quorum",
    snapshot: "snapshot",
    snapshot_race: "snapshot-race",
    read: "read",
    joint: "joint",
    replace_leader: "replace-leader",
    lost_disk: "lost-disk",
    transfer: "transfer",
    follower_read: "follower-read",
    pair: "pair",
}
