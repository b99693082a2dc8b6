//! Impostors, crowds and bulk: who is let in, who is sent away, and what goes first on the wire.

use super::*;
use crate::Roster;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A control node under another one's name: signed by the authority, with a key of its own.
fn impostor(cluster: &NewCluster, node: u64) -> Identity {
    cluster.authority.rekeyed(identity_of(cluster, Controller, node)).expect("the authority signs")
}

#[tokio::test]
async fn a_signed_certificate_with_another_key_is_not_the_control_node_that_is_recorded() {
    let cluster = small_cluster();
    let controller = member(&cluster, Controller, 1);
    let impostor = start(&impostor(&cluster, 2));
    let (dialled, accepted) = both_errors(&impostor, &controller, Controller).await;
    let is_wrong_key = |error: &TransportError| {
        matches!(error, TransportError::Refused { refusal: Refusal::WrongKey { node: 2 }, .. })
    };
    assert!(
        matches!(dialled, TransportError::RefusedByPeer { kind: RefusalKind::WrongKey, .. }),
        "{dialled}"
    );
    assert!(is_wrong_key(&accepted), "{accepted}");
    // And where it is the one that is dialled.
    let (dialled, _) = both_errors(&controller, &impostor, Controller).await;
    assert!(is_wrong_key(&dialled), "{dialled}");
}

#[tokio::test]
async fn what_is_recorded_later_ends_connections_that_stand_and_lets_the_new_key_in() {
    let cluster = small_cluster();
    let controller = member(&cluster, Controller, 1);
    let (before, after) = (member(&cluster, Controller, 2), impostor(&cluster, 2));
    let (dialled, accepted) = connected(&before, &controller, Controller).await;
    let other = member(&cluster, Controller, 3);
    let (third, _third) = connected(&other, &controller, Controller).await;
    let own = |identity: &Identity, node| {
        let it = identity.controllers().iter().find(|it| it.node == node);
        it.expect("every node is listed").public_key_sha256
    };
    let identity = identity_of(&cluster, Controller, 1);
    let key =
        crate::certificate::sha256(&crate::certificate::public_key(after.certificate()).expect("a key"));
    let keys = BTreeMap::from([(1, own(identity, 1)), (2, key), (3, own(identity, 3))]);
    let roster = Roster { keys, strangers: true, ..Roster::default() };
    controller.members().expect("QUIC knows keys").record(roster);
    let error = within("ending", dialled.closed()).await;
    assert!(matches!(error, TransportError::RefusedByPeer { kind: RefusalKind::WrongKey, .. }), "{error}");
    drop(accepted);
    let (_, refused) = both_errors(&before, &controller, Controller).await;
    assert!(
        matches!(refused, TransportError::Refused { refusal: Refusal::WrongKey { node: 2 }, .. }),
        "{refused}"
    );
    let after = start(&after);
    // It does not know of the record itself, and still believes this one.
    connected(&after, &controller, Controller).await;
    third.open(Lane::Raft).await.expect("others are not concerned");
}

#[tokio::test]
async fn one_peer_takes_only_its_share_of_the_connections() {
    let cluster = small_cluster();
    let options = QuicOptions { connections_per_peer_max: 2, ..QuicOptions::default() };
    let controller = QuicTransport::bind(identity_of(&cluster, Controller, 1), loopback(), options);
    let controller = controller.expect("a free port");
    let (greedy, other) = (member(&cluster, Proxy, 1), member(&cluster, Proxy, 2));
    let first = connected(&greedy, &controller, Controller).await;
    let _second = connected(&greedy, &controller, Controller).await;
    let (dialled, accepted) = both_errors(&greedy, &controller, Controller).await;
    assert!(matches!(dialled, TransportError::RefusedByPeer { kind: RefusalKind::Crowded, .. }), "{dialled}");
    assert!(accepted.to_string().contains("is its identity used twice?"), "{accepted}");
    connected(&other, &controller, Controller).await;
    drop(first);
    let again = target(&controller, Controller);
    within("a place that is free again", async {
        while let (Err(_), _) = tokio::join!(greedy.dial(&again), controller.accept()) {}
    })
    .await;
}

#[tokio::test]
async fn a_proxy_has_to_do_with_few_lanes_and_an_operator_has_more() {
    let cluster = small_cluster();
    let controller = member(&cluster, Controller, 1);
    for (role, lane, lanes) in [(Proxy, Lane::Feed, PROXY_LANES_MAX), (Operator, Lane::Forward, 12)] {
        let dialler = member(&cluster, role, 1);
        let (dialled, accepted) = connected(&dialler, &controller, Controller).await;
        let mut open = Vec::new();
        for _ in 0..lanes {
            let both = async { tokio::join!(dialled.open(lane), accepted.accept()) };
            let (opened, taken) = within("opening", both).await;
            open.push((opened.expect("its share"), taken.expect("permitted")));
        }
        if role == Proxy {
            // One stream more than lanes: quinn gives streams back in lots.
            let more = async { (dialled.open(lane).await, dialled.open(lane).await) };
            let more = timeout(Duration::from_millis(300), more).await;
            assert!(more.is_err(), "a proxy opened more lanes than its share");
        }
    }
}

/// 20 MB of bulk on another lane of the same connection, read as fast as it comes: a heartbeat overtakes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_does_not_hold_up_heartbeats_of_the_same_connection() {
    const BULK_BYTES: u64 = 20 << 20;
    let cluster = small_cluster();
    let (one, two) = (member(&cluster, Controller, 1), member(&cluster, Controller, 2));
    let (dialled, accepted) = connected(&one, &two, Controller).await;
    let lane = |wanted: Lane| {
        let (dialled, accepted) = (&dialled, &accepted);
        async move {
            let (opened, taken) = tokio::join!(dialled.open(wanted), accepted.accept());
            (opened.expect("permitted"), taken.expect("permitted"))
        }
    };
    let ((mut bulk, _a), (_, _b, mut bulk_receiver)) = within("opening", lane(Lane::Snapshot)).await;
    let ((mut raft, _c), (_, _d, mut raft_receiver)) = within("opening", lane(Lane::Raft)).await;
    let arrived = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&arrived);
    let reading = tokio::spawn(async move {
        while let Ok(Some(frame)) = bulk_receiver.receive().await {
            counted.fetch_add(frame.len() as u64, Ordering::SeqCst);
        }
    });
    let sending = tokio::spawn(async move {
        for _ in 0..BULK_BYTES >> 18 {
            bulk.send(Bytes::from(vec![7; 1 << 18])).await.expect("the lane is open");
        }
        bulk.finish().await.expect("the lane is open");
    });
    let mut worst = 0;
    let mut beats = 0;
    while arrived.load(Ordering::SeqCst) < BULK_BYTES - (4 << 20) {
        let before = arrived.load(Ordering::SeqCst);
        raft.send(Bytes::from_static(b"beat")).await.expect("the lane is open");
        let beat = within("a heartbeat", raft_receiver.receive()).await.expect("the lane is open");
        assert_eq!(beat.as_deref(), Some(b"beat".as_slice()));
        worst = worst.max(arrived.load(Ordering::SeqCst) - before);
        beats += 1;
    }
    within("the bulk", sending).await.expect("sent");
    within("the bulk", reading).await.expect("read");
    assert_eq!(arrived.load(Ordering::SeqCst), BULK_BYTES);
    // At most what was in flight when it was sent may come before it, never the queue.
    assert!(beats >= 5 && worst <= 4 << 20, "{beats} heartbeats, the slowest behind {worst} bytes");
}

#[tokio::test]
async fn a_control_node_that_is_no_member_is_told_so_whatever_the_authority_has_signed() {
    let cluster = small_cluster();
    let controller = member(&cluster, Controller, 1);
    let second = member(&cluster, Controller, 2);
    let (dialled, _accepted) = connected(&second, &controller, Controller).await;
    let members = controller.members().expect("QUIC knows keys");
    let gone = identity_of(&cluster, Controller, 3);
    let key = crate::certificate::public_key(gone.certificate()).expect("a key");
    let removed = [(3, crate::certificate::sha256(&key))].into();
    members.record(Roster { members: [1, 2].into(), removed, ..Roster::default() });
    let third = member(&cluster, Controller, 3);
    let (told, refused) = both_errors(&third, &controller, Controller).await;
    let kind = |error: &TransportError| match error {
        TransportError::RefusedByPeer { kind, .. } => Some(*kind),
        _ => None,
    };
    assert_eq!(kind(&told), Some(RefusalKind::Removed), "{told}");
    assert!(told.to_string().contains("controller 3 was removed from the cluster"), "{told}");
    assert!(
        matches!(refused, TransportError::Refused { refusal: Refusal::Removed { node: 3 }, .. }),
        "{refused}"
    );

    dialled.open(Lane::Raft).await.expect("a member goes on");
    members.record(Roster { members: [1].into(), ..Roster::default() });
    let ended = within("ending", dialled.closed()).await;
    assert_eq!(kind(&ended), Some(RefusalKind::NotAMember), "{ended}");
    let (told, _) = both_errors(&second, &controller, Controller).await;
    assert_eq!(kind(&told), Some(RefusalKind::NotAMember), "{told}");
    members.record(Roster { strangers: true, ..Roster::default() });
    connected(&second, &controller, Controller).await;
}
