//! Promises about who is at the other end, and about how connections come and go.

use super::*;
use crate::error::{LaneRefusal, Refusal, RefusalKind, Side};

pub(super) async fn each_side_knows_the_other(world: &dyn World) {
    let proxy = world.end(PeerRole::Proxy, 2);
    let controller = world.end(PeerRole::Controller, 1);
    let (dialled, accepted) =
        connected(&proxy, &controller, &controller.target(PeerRole::Controller, 1)).await;
    assert_eq!((dialled.peer().role(), dialled.peer().node()), (PeerRole::Controller, 1));
    assert_eq!((accepted.peer().role(), accepted.peer().node()), (PeerRole::Proxy, 2));
    assert_eq!(dialled.peer().cluster(), accepted.peer().cluster());
}

pub(super) async fn the_role_table_holds(world: &dyn World) {
    for (dialler, acceptor) in [
        (PeerRole::Controller, PeerRole::Controller),
        (PeerRole::Proxy, PeerRole::Controller),
        (PeerRole::Operator, PeerRole::Controller),
        (PeerRole::Proxy, PeerRole::Proxy),
    ] {
        let one = world.end(dialler, 1);
        let two = world.end(acceptor, if dialler == acceptor { 2 } else { 1 });
        let (dialled, accepted) = connected(&one, &two, &two.target(acceptor, None)).await;
        for (opener, opening, other, accepting) in
            [(dialler, &dialled, acceptor, &accepted), (acceptor, &accepted, dialler, &dialled)]
        {
            for wanted in Lane::ALL {
                if wanted.permits(opener, other) {
                    lane(opening, accepting, wanted).await;
                    continue;
                }
                let error = within("refusing", opening.open(wanted)).await.expect_err("forbidden");
                let forbidden = LaneRefusal::Forbidden { lane: wanted, opener, acceptor: other };
                assert!(
                    matches!(&error, TransportError::LaneRefused { by: Side::Here, refusal } if *refusal == forbidden),
                    "{error}"
                );
                assert!(!error.ends_connection());
            }
        }
    }
}

/// Dials and says how the dialling side was refused, and how the accepting side heard of it.
async fn refused(dialler: &End, acceptor: &End, target: &Target) -> (Refusal, RefusalKind) {
    let accepting = async {
        match acceptor.transport.accept().await {
            Ok(connection) => connection.closed().await,
            Err(error) => error,
        }
    };
    let both = async { tokio::join!(dialler.transport.connect(target), accepting) };
    let (dialled, heard) = within("refusing", both).await;
    let refusal = match dialled {
        Err(TransportError::Refused { refusal, address }) if address == target.address => refusal,
        Err(error) => panic!("the dialling side was told: {error}"),
        Ok(connection) => panic!("connected to {}", connection.peer()),
    };
    match heard {
        TransportError::RefusedByPeer { kind, reason, .. } => {
            assert!(!reason.is_empty());
            (refusal, kind)
        }
        // What both sides can see for themselves, both may refuse.
        TransportError::Refused { refusal: own, .. } => (refusal, own.kind()),
        error => panic!("the accepting side was told: {error}"),
    }
}

pub(super) async fn a_foreign_cluster_is_refused_on_both_sides(world: &dyn World) {
    let ours = world.end(PeerRole::Controller, 1);
    let theirs = world.foreign(PeerRole::Controller, 2);
    let (refusal, heard) = refused(&ours, &theirs, &theirs.target(PeerRole::Controller, 2)).await;
    assert!(matches!(refusal, Refusal::WrongCluster { claimed: Some(_), .. }), "{refusal}");
    assert_eq!(heard, RefusalKind::WrongCluster);
}

pub(super) async fn a_wrong_role_is_refused_on_both_sides(world: &dyn World) {
    let proxy = world.end(PeerRole::Proxy, 1);
    let other = world.end(PeerRole::Proxy, 2);
    let (refusal, heard) = refused(&proxy, &other, &other.target(PeerRole::Controller, None)).await;
    assert_eq!(refusal, Refusal::WrongRole { expected: PeerRole::Controller, found: PeerRole::Proxy });
    assert_eq!(heard, RefusalKind::WrongRole);
}

pub(super) async fn a_wrong_node_is_refused_on_both_sides(world: &dyn World) {
    let one = world.end(PeerRole::Controller, 1);
    let two = world.end(PeerRole::Controller, 2);
    let (refusal, heard) = refused(&one, &two, &two.target(PeerRole::Controller, 3)).await;
    assert_eq!(refusal, Refusal::WrongNode { role: PeerRole::Controller, expected: 3, found: 2 });
    assert_eq!(heard, RefusalKind::WrongNode);
}

pub(super) async fn roles_without_common_lanes_are_refused_on_both_sides(world: &dyn World) {
    let operator = world.end(PeerRole::Operator, 1);
    let proxy = world.end(PeerRole::Proxy, 1);
    let (refusal, heard) = refused(&operator, &proxy, &proxy.target(PeerRole::Proxy, 1)).await;
    assert_eq!(refusal, Refusal::NoLanes { here: PeerRole::Operator, found: PeerRole::Proxy });
    assert_eq!(heard, RefusalKind::NoLanes);
}

pub(super) async fn any_node_of_the_role_will_do_where_none_is_named(world: &dyn World) {
    let proxy = world.end(PeerRole::Proxy, 1);
    let controller = world.end(PeerRole::Controller, 3);
    let target = controller.target(PeerRole::Controller, None);
    let (dialled, _accepted) = connected(&proxy, &controller, &target).await;
    assert_eq!(dialled.peer().node(), 3);
}

pub(super) async fn a_refused_peer_does_not_stop_the_next(world: &dyn World) {
    let ours = world.end(PeerRole::Controller, 1);
    let theirs = world.foreign(PeerRole::Controller, 2);
    let mate = world.end(PeerRole::Controller, 2);
    let target = ours.target(PeerRole::Controller, 1);
    refused(&theirs, &ours, &target).await;
    let (dialled, _accepted) = connected(&mate, &ours, &target).await;
    assert_eq!(dialled.peer().node(), 1);
}

pub(super) async fn the_reason_of_a_close_is_seen_everywhere(world: &dyn World) {
    let (_one, _two, (dialled, accepted)) = controllers(world).await;
    let ((mut sender, mut answers), (mut back, mut receiver)) = lane(&dialled, &accepted, Lane::Raft).await;
    dialled.close("this node was\nremoved");
    dialled.close("a second time");

    let here = within("closing", dialled.closed()).await;
    assert!(
        matches!(&here, TransportError::Closed { by: Side::Here, reason } if reason.starts_with("this node was")),
        "{here}"
    );
    let there = within("closing", accepted.closed()).await;
    let seen = |error: &TransportError| matches!(error, TransportError::Closed { by: Side::Peer, reason } if reason == "this node was\u{fffd}removed");
    assert!(seen(&there), "{there}");
    let error = receive(&mut receiver).await.expect_err("the connection is closed");
    assert!(seen(&error) && error.ends_connection(), "{error}");
    let error = within("failing", back.send(numbered(1, 1))).await.expect_err("the connection is closed");
    assert!(seen(&error), "{error}");
    let error = within("failing", accepted.accept()).await.expect_err("the connection is closed");
    assert!(seen(&error), "{error}");
    let error = within("failing", accepted.open(Lane::Raft)).await.expect_err("the connection is closed");
    assert!(seen(&error), "{error}");

    let ours = |error: &TransportError| matches!(error, TransportError::Closed { by: Side::Here, .. });
    assert!(ours(&receive(&mut answers).await.expect_err("the connection is closed")));
    assert!(ours(
        &within("failing", sender.send(numbered(1, 1))).await.expect_err("the connection is closed")
    ));
}

pub(super) async fn a_connection_ends_when_nobody_holds_it(world: &dyn World) {
    let (_one, _two, (dialled, accepted)) = controllers(world).await;
    drop(dialled);
    let error = within("ending", accepted.closed()).await;
    assert!(
        matches!(&error, TransportError::Closed { by: Side::Peer, reason } if reason == "no longer held"),
        "{error}"
    );
}

pub(super) async fn a_lane_alone_keeps_the_connection(world: &dyn World) {
    let (_one, _two, (dialled, accepted)) = controllers(world).await;
    let ((mut sender, mut answers), (mut back, mut receiver)) =
        lane(&dialled, &accepted, Lane::Forward).await;
    drop(dialled);
    send(&mut sender, numbered(1, 10)).await;
    assert_eq!(receive_frame(&mut receiver).await, numbered(1, 10));
    let error = within("refusing", accepted.open(Lane::Raft)).await.expect_err("nobody takes lanes there");
    assert!(matches!(error, TransportError::LaneBroken { .. }), "{error}");
    drop(accepted);
    send(&mut back, numbered(2, 10)).await;
    assert_eq!(receive_frame(&mut answers).await, numbered(2, 10));
    drop((back, receiver));
    let error = receive(&mut answers).await;
    assert!(matches!(&error, Ok(None) | Err(TransportError::Closed { by: Side::Peer, .. })), "{error:?}");
}

pub(super) async fn a_peer_comes_back_after_a_loss(world: &dyn World) {
    let one = world.end(PeerRole::Controller, 1);
    let two = world.end(PeerRole::Controller, 2);
    let target = two.target(PeerRole::Controller, 2);
    for number in 0..5 {
        let (dialled, accepted) = connected(&one, &two, &target).await;
        let ((mut sender, _answers), (_back, mut receiver)) = lane(&dialled, &accepted, Lane::Raft).await;
        send(&mut sender, numbered(number, 50)).await;
        assert_eq!(receive_frame(&mut receiver).await, numbered(number, 50));
        if number % 2 == 0 {
            dialled.close("again");
        } else {
            accepted.close("again");
        }
        within("closing", dialled.closed()).await;
        within("closing", accepted.closed()).await;
    }
}

pub(super) async fn a_shutdown_tells_the_peers_and_ends_accepting(world: &dyn World) {
    let (one, two, (dialled, accepted)) = controllers(world).await;
    within("shutting down", two.transport.shutdown()).await;
    let error = within("closing", dialled.closed()).await;
    assert!(
        matches!(&error, TransportError::Closed { by: Side::Peer, reason } if reason == "shutting down"),
        "{error}"
    );
    let error = within("closing", accepted.closed()).await;
    assert!(matches!(error, TransportError::Closed { by: Side::Here, .. }), "{error}");
    let error = within("ending", two.transport.accept()).await.expect_err("it is shut down");
    assert!(error.ends_transport(), "{error}");
    let error = within("failing", two.transport.connect(&one.target(PeerRole::Controller, 1))).await;
    assert!(matches!(error, Err(TransportError::Shutdown)), "{error:?}");
}

pub(super) async fn nobody_there_is_an_error(world: &dyn World) {
    let one = world.end(PeerRole::Controller, 1);
    let two = world.end(PeerRole::Controller, 2);
    let target = two.target(PeerRole::Controller, 2);
    within("shutting down", two.transport.shutdown()).await;
    drop(two);
    let error = within("giving up", one.transport.connect(&target)).await.expect_err("nobody is there");
    assert!(
        matches!(&error, TransportError::Unreachable { address, .. } if *address == target.address),
        "{error}"
    );
}

pub(super) async fn a_dropped_accept_loses_no_connection(world: &dyn World) {
    let one = world.end(PeerRole::Controller, 1);
    let two = world.end(PeerRole::Controller, 2);
    let target = two.target(PeerRole::Controller, 2);
    for _ in 0..5 {
        let accepting = async {
            loop {
                tokio::select! {
                    biased;
                    accepted = two.transport.accept() => break accepted,
                    () = tokio::task::yield_now() => {}
                }
            }
        };
        let both = async { tokio::join!(one.transport.connect(&target), accepting) };
        let (dialled, accepted) = within("connecting", both).await;
        assert_eq!(dialled.expect("connected").peer().node(), 2);
        assert_eq!(accepted.expect("connected").peer().node(), 1);
    }
}
