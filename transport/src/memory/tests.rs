//! The simulated network, and what is particular to endpoints in memory.

use super::*;
use crate::lane::Lane;
use crate::peer::{ClusterId, PeerRole};
use crate::seam::Transport as _;
use crate::{FRAME_BYTES_MAX, TransportError};
use bytes::Bytes;
use proptest::prelude::*;
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);
const FAR: Duration = Duration::from_secs(3600);

fn harsh() -> Faults {
    Faults {
        loss_per_million: 100_000,
        duplicate_per_million: 100_000,
        reorder_per_million: 100_000,
        detour_max: 50 * MILLI,
        ..Faults::default()
    }
}

fn frame(number: u32) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

fn number(delivery: &Delivery) -> u32 {
    u32::from_le_bytes(delivery.frame[..].try_into().expect("four bytes"))
}

/// Sends so many frames from 1 to 2, a millisecond apart, and returns all that arrives.
fn send_frames(network: &mut Network, lane: Lane, count: u32) -> Vec<Delivery> {
    for sent in 0..count {
        network.send(sent * MILLI, 1, 2, lane, frame(sent));
    }
    network.deliveries(FAR)
}

#[test]
fn a_healthy_network_delivers_all_in_order_and_in_time() {
    let mut network = Network::new(3, Faults::default());
    let arrived = send_frames(&mut network, Lane::Raft, 1000);
    assert_eq!(arrived.len(), 1000);
    for (sent, delivery) in (0..).zip(&arrived) {
        assert_eq!(number(delivery), sent);
        assert_eq!((delivery.from, delivery.to, delivery.lane), (1, 2, Lane::Raft));
        assert!(delivery.at >= sent * MILLI + Duration::from_micros(100));
        assert!(delivery.at <= (sent + 1) * MILLI);
    }
    assert_eq!(network.next_at(), None);
}

#[test]
fn nothing_arrives_before_its_time() {
    let mut network = Network::new(3, Faults::default());
    assert_eq!(network.next_at(), None);
    network.send(MILLI, 1, 2, Lane::Raft, frame(0));
    let at = network.next_at().expect("one is on its way");
    assert!(network.deliveries(at - Duration::from_nanos(1)).is_empty());
    assert_eq!(network.next_at(), Some(at));
    let arrived = network.deliveries(at);
    assert_eq!(arrived.iter().map(number).collect::<Vec<_>>(), [0]);
    assert_eq!(arrived[0].at, at);
}

#[test]
fn every_fault_happens_and_is_counted() {
    let mut network = Network::new(11, harsh());
    let arrived = send_frames(&mut network, Lane::Raft, 10_000);
    let counters = network.counters();
    assert_eq!(counters.sent, 10_000);
    assert_eq!(counters.delivered, arrived.len() as u64);
    assert_eq!(counters.delivered, counters.sent - counters.lost + counters.duplicated);
    for (what, count) in
        [("lost", counters.lost), ("duplicated", counters.duplicated), ("reordered", counters.reordered)]
    {
        assert!((800..1300).contains(&count), "{what}: {count} of 10000 at a tenth");
    }
    assert!(arrived.windows(2).any(|pair| number(&pair[0]) > number(&pair[1])), "some overtook others");
    assert!(arrived.is_sorted_by_key(|delivery| delivery.at));
}

#[test]
fn lanes_do_not_wait_for_one_another() {
    let mut network = Network::new(5, Faults::default());
    let slow = Faults { delay_min: FAR / 2, delay_max: FAR / 2, ..Faults::default() };
    network.set_link_faults(1, 2, Some(slow));
    network.send(Duration::ZERO, 1, 2, Lane::Snapshot, frame(0));
    network.set_link_faults(1, 2, None);
    network.send(Duration::ZERO, 1, 2, Lane::Snapshot, frame(1));
    network.send(Duration::ZERO, 1, 2, Lane::Raft, frame(2));
    network.send(Duration::ZERO, 2, 1, Lane::Snapshot, frame(3));
    let soon: Vec<u32> = network.deliveries(MILLI).iter().map(number).collect();
    assert!(soon.len() == 2 && soon.contains(&2) && soon.contains(&3), "{soon:?}");
    let later: Vec<u32> = network.deliveries(FAR).iter().map(number).collect();
    assert_eq!(later, [0, 1], "a frame waits for the one before it on its own lane");
}

#[test]
fn cuts_are_one_way_both_ways_or_partial() {
    let mut network = Network::new(5, Faults::default());
    let reached = |network: &mut Network| {
        for from in 1..=4 {
            for to in 1..=4 {
                if from != to {
                    network.send(Duration::ZERO, from, to, Lane::Raft, frame(0));
                }
            }
        }
        let arrived = network.deliveries(FAR);
        let mut links: Vec<(u64, u64)> =
            arrived.iter().map(|delivery| (delivery.from, delivery.to)).collect();
        links.sort_unstable();
        links
    };
    assert_eq!(reached(&mut network).len(), 12);

    network.cut_one_way(1, 2);
    let links = reached(&mut network);
    assert!(links.len() == 11 && !links.contains(&(1, 2)) && links.contains(&(2, 1)));
    network.mend_one_way(1, 2);
    assert_eq!(reached(&mut network).len(), 12);

    network.cut(1, 2);
    let links = reached(&mut network);
    assert!(links.len() == 10 && links.contains(&(1, 3)) && links.contains(&(3, 2)), "a partial partition");
    network.mend_all();

    network.partition(&[&[1, 2], &[3]]);
    let links = reached(&mut network);
    assert_eq!(links, [(1, 2), (1, 4), (2, 1), (2, 4), (3, 4), (4, 1), (4, 2), (4, 3)]);
    network.mend_all();
    assert_eq!(reached(&mut network).len(), 12);
    assert_eq!(network.counters().cut, 1 + 2 + 4);
}

#[test]
fn a_cut_takes_what_is_on_its_way_and_a_crash_too() {
    let mut network = Network::new(5, Faults::default());
    network.send(Duration::ZERO, 1, 2, Lane::Raft, frame(1));
    network.cut(1, 2);
    assert!(network.deliveries(FAR).is_empty());
    network.mend_all();
    assert!(network.deliveries(FAR).is_empty(), "what was lost at a cut stays lost");

    network.send(FAR, 1, 2, Lane::Raft, frame(2));
    network.send(FAR, 2, 3, Lane::Raft, frame(3));
    network.send(FAR, 3, 1, Lane::Raft, frame(4));
    network.crash(2);
    let arrived: Vec<u32> = network.deliveries(2 * FAR).iter().map(number).collect();
    assert_eq!(arrived, [4]);
    assert_eq!(network.counters().crashed, 2);
}

#[test]
fn bytes_on_their_way_are_bounded() {
    let mut network = Network::new(5, Faults { in_flight_bytes_max: 1000, ..Faults::default() });
    for _ in 0..20 {
        network.send(Duration::ZERO, 1, 2, Lane::Snapshot, Bytes::from_static(&[0; 100]));
    }
    assert_eq!(network.counters().overflowed, 10);
    assert_eq!(network.deliveries(FAR).len(), 10);
    network.send(FAR, 1, 2, Lane::Snapshot, Bytes::from_static(&[0; 100]));
    assert_eq!(network.deliveries(2 * FAR).len(), 1, "there is room again");

    let mut network = Network::new(5, Faults::default());
    network.send(Duration::ZERO, 1, 2, Lane::Snapshot, Bytes::from(vec![0; FRAME_BYTES_MAX + 1]));
    assert_eq!((network.counters().overflowed, network.next_at()), (1, None));
}

#[test]
fn the_fate_of_a_frame_does_not_hang_on_the_probabilities_of_others() {
    let fates = |loss_per_million| {
        let mut network = Network::new(9, Faults { loss_per_million, ..harsh() });
        send_frames(&mut network, Lane::Raft, 500)
    };
    let (few, many) = (fates(10_000), fates(200_000));
    let times = |arrived: &[Delivery]| arrived.iter().map(|d| (number(d), d.at)).collect::<Vec<_>>();
    assert!(few.len() > many.len());
    // Detours bypass the order within the lane, so their times depend on nothing but the draws.
    let few = times(&few);
    let same = times(&many).iter().filter(|fate| few.contains(fate)).count();
    assert!(same > many.len() * 9 / 10, "{same} of {}", many.len());
}

#[test]
fn the_first_deliveries_of_a_seed_are_fixed() {
    let mut network = Network::new(42, harsh());
    let arrived = send_frames(&mut network, Lane::Raft, 8);
    let fates: Vec<(u32, u128)> = arrived.iter().map(|d| (number(d), d.at.as_micros())).collect();
    assert_eq!(
        fates,
        [(1, 1284), (2, 2184), (5, 5346), (6, 6431), (7, 7888), (0, 17_560), (4, 23_675)],
        "a change here changes what every recorded seed means"
    );
}

proptest! {
    #[test]
    fn equal_seeds_and_calls_give_equal_deliveries(
        seed: u64,
        calls in prop::collection::vec((0_u8..8, 1_u64..4, 1_u64..4, 0_u64..3000), 1..200),
    ) {
        let mut networks = [Network::new(seed, harsh()), Network::new(seed, harsh())];
        let mut arrived = [Vec::new(), Vec::new()];
        let mut now = Duration::ZERO;
        for (kind, one, other, micros) in &calls {
            now += Duration::from_micros(*micros);
            for (network, arrived) in networks.iter_mut().zip(&mut arrived) {
                match kind {
                    0 => network.cut(*one, *other),
                    1 => network.mend_all(),
                    2 => network.crash(*one),
                    3 => arrived.extend(network.deliveries(now)),
                    _ => network.send(now, *one, *other, Lane::Raft, frame(u32::from(*kind))),
                }
            }
        }
        for (network, arrived) in networks.iter_mut().zip(&mut arrived) {
            network.mend_all();
            arrived.extend(network.deliveries(now + FAR));
            let counters = network.counters();
            prop_assert_eq!(counters.delivered, arrived.len() as u64);
            prop_assert_eq!(
                counters.delivered + counters.lost + counters.overflowed + counters.cut + counters.crashed,
                counters.sent + counters.duplicated,
                "every frame has exactly one fate, and nothing came from nowhere"
            );
        }
        let [one, other] = arrived;
        prop_assert_eq!(one, other);
    }
}

#[tokio::test]
async fn a_name_is_taken_once_and_free_again_after_its_endpoint() {
    let hub = MemoryHub::new();
    let endpoint = |node| hub.endpoint("here", ClusterId([1; 16]), PeerRole::Controller, node);
    let first = endpoint(1).expect("the name is free");
    let error = endpoint(2).err().expect("the name is taken");
    assert!(matches!(&error, TransportError::NameInUse { name } if name == "here"), "{error}");
    first.shutdown().await;
    let second = endpoint(2).expect("the name is free again");
    drop(first);
    let error = endpoint(3).err().expect("the second has the name, though the first is only now gone");
    assert!(matches!(error, TransportError::NameInUse { .. }), "{error}");
    drop(second);
    endpoint(3).expect("the name is free again");
}
