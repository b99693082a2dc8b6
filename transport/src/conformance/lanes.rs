//! Promises about frames and lanes.

use super::*;
use crate::lane::FRAME_BYTES_MAX;

pub(super) async fn frames_arrive_whole_and_in_order(world: &dyn World) {
    let (_one, _two, (dialled, accepted)) = controllers(world).await;
    let ((mut sender, _), (_, mut receiver)) = lane(&dialled, &accepted, Lane::Raft).await;
    let lengths = [0, 1, 2, 3, 4, 5, 1199, 1200, 1201, 65_535, 65_536, 300_000];
    let sending = tokio::spawn(async move {
        for number in 0..400_u32 {
            send(&mut sender, numbered(number, lengths[number as usize % lengths.len()])).await;
        }
        sender
    });
    for number in 0..400_u32 {
        let frame = receive_frame(&mut receiver).await;
        assert_eq!(frame, numbered(number, lengths[number as usize % lengths.len()]), "frame {number}");
    }
    within("sending", sending).await.expect("no panic");
}

pub(super) async fn frames_go_both_ways_on_one_lane(world: &dyn World) {
    let (_one, _two, (dialled, accepted)) = controllers(world).await;
    let ((mut there, mut answers), (mut back, mut questions)) =
        lane(&dialled, &accepted, Lane::Forward).await;
    for number in 0..50 {
        send(&mut there, numbered(number, 100)).await;
        assert_eq!(receive_frame(&mut questions).await, numbered(number, 100));
        send(&mut back, numbered(number, 10)).await;
        assert_eq!(receive_frame(&mut answers).await, numbered(number, 10));
    }
}

pub(super) async fn the_largest_frame_passes_and_a_larger_one_is_refused(world: &dyn World) {
    let (_one, _two, (dialled, accepted)) = controllers(world).await;
    let ((mut sender, _), (_, mut receiver)) = lane(&dialled, &accepted, Lane::Snapshot).await;
    let largest = numbered(77, FRAME_BYTES_MAX);
    let error = sender.send(numbered(78, FRAME_BYTES_MAX + 1)).await.expect_err("one byte too large");
    assert!(
        matches!(error, TransportError::FrameTooLarge { bytes, max } if bytes == max as u64 + 1),
        "{error}"
    );
    assert!(!error.ends_connection());
    let sending = async { send(&mut sender, largest.clone()).await };
    let ((), received) = tokio::join!(sending, receive_frame(&mut receiver));
    assert!(received == largest, "the lane goes on after the refusal, and the largest frame is whole");
}

pub(super) async fn a_full_lane_holds_its_sender_and_no_other_lane(world: &dyn World) {
    let (_one, _two, (dialled, accepted)) = controllers(world).await;
    let ((mut full, _), (_, mut unread)) = lane(&dialled, &accepted, Lane::Snapshot).await;
    let ((mut other, _), (_, mut read)) = lane(&dialled, &accepted, Lane::Raft).await;

    let mut taken = 0;
    while taken < 64 && !stays_pending(full.send(numbered(taken, FRAME_BYTES_MAX / 2))).await {
        taken += 1;
    }
    assert!(taken < 64, "32 MiB went into a lane that nobody reads");

    for number in 0..200 {
        send(&mut other, numbered(number, 10_000)).await;
        assert_eq!(receive_frame(&mut read).await, numbered(number, 10_000), "the other lane goes on");
    }

    // The send that was given up above was either not taken or is still whole: no frame may be torn or doubled.
    let sending = tokio::spawn(async move {
        send(&mut full, numbered(1000, 8)).await;
        within("finishing", full.finish()).await.expect("the lane is open");
    });
    let mut received = Vec::new();
    while let Some(frame) = receive(&mut unread).await.expect("the lane is open") {
        received.push(frame);
    }
    within("sending", sending).await.expect("no panic");
    assert_eq!(received.pop(), Some(numbered(1000, 8)));
    assert!(
        received.len() == taken as usize || received.len() == taken as usize + 1,
        "{} of {taken}",
        received.len()
    );
    for (number, frame) in (0..).zip(received) {
        assert!(frame == numbered(number, FRAME_BYTES_MAX / 2), "frame {number}");
    }
}

pub(super) async fn a_finished_lane_ends_after_its_last_frame(world: &dyn World) {
    let (_one, _two, (dialled, accepted)) = controllers(world).await;
    let ((mut sender, _answers), (_back, mut receiver)) = lane(&dialled, &accepted, Lane::Raft).await;
    send(&mut sender, numbered(1, 10)).await;
    send(&mut sender, numbered(2, 0)).await;
    within("finishing", sender.finish()).await.expect("the lane is open");
    assert_eq!(receive_frame(&mut receiver).await, numbered(1, 10));
    assert_eq!(receive_frame(&mut receiver).await, numbered(2, 0));
    assert!(matches!(receive(&mut receiver).await, Ok(None)));
    assert!(
        matches!(receive(&mut receiver).await, Ok(None) | Err(TransportError::LaneBroken { .. })),
        "and stays ended"
    );
}

pub(super) async fn a_dropped_sender_ends_the_lane_in_order(world: &dyn World) {
    let (_one, _two, (dialled, accepted)) = controllers(world).await;
    let ((mut sender, _answers), (_back, mut receiver)) = lane(&dialled, &accepted, Lane::Raft).await;
    send(&mut sender, numbered(1, 10)).await;
    drop(sender);
    assert_eq!(receive_frame(&mut receiver).await, numbered(1, 10));
    assert!(matches!(receive(&mut receiver).await, Ok(None)));
}

/// Sends until it fails: how soon the sender hears is left to the transport.
async fn first_failure(sender: &mut LaneSender) -> TransportError {
    loop {
        if let Err(error) = within("failing", sender.send(numbered(9, 1000))).await {
            return error;
        }
        tokio::task::yield_now().await;
    }
}

pub(super) async fn a_dropped_receiver_is_seen_by_the_sender(world: &dyn World) {
    let (_one, _two, (dialled, accepted)) = controllers(world).await;
    let ((mut sender, mut answers), (mut back, receiver)) = lane(&dialled, &accepted, Lane::Raft).await;
    drop(receiver);
    let error = first_failure(&mut sender).await;
    assert!(matches!(error, TransportError::ReceiverDropped { lane: Lane::Raft }), "{error}");
    assert!(!error.ends_connection());
    send(&mut back, numbered(3, 3)).await;
    assert_eq!(receive_frame(&mut answers).await, numbered(3, 3), "the other direction goes on");
}

pub(super) async fn a_dropped_receiver_wakes_a_waiting_sender(world: &dyn World) {
    let (_one, _two, (dialled, accepted)) = controllers(world).await;
    let ((mut sender, _answers), (_back, receiver)) = lane(&dialled, &accepted, Lane::Snapshot).await;
    let sending = tokio::spawn(async move {
        loop {
            if let Err(error) = sender.send(numbered(1, FRAME_BYTES_MAX)).await {
                return error;
            }
        }
    });
    drop(receiver);
    let error = within("waking", sending).await.expect("no panic");
    assert!(matches!(error, TransportError::ReceiverDropped { lane: Lane::Snapshot }), "{error}");
}

pub(super) async fn a_dropped_receive_loses_nothing(world: &dyn World) {
    let (_one, _two, (dialled, accepted)) = controllers(world).await;
    let ((mut sender, _), (_, mut receiver)) = lane(&dialled, &accepted, Lane::Raft).await;
    let sending = tokio::spawn(async move {
        for number in 0..30 {
            send(&mut sender, numbered(number, 200_000)).await;
        }
        sender
    });
    for number in 0..30 {
        let frame = loop {
            // Polled once and dropped, over and over: most often within a frame.
            tokio::select! {
                biased;
                frame = receiver.receive() => break frame,
                () = tokio::task::yield_now() => {}
            }
        };
        assert!(frame.expect("the lane is open") == Some(numbered(number, 200_000)), "frame {number}");
    }
    within("sending", sending).await.expect("no panic");
}

pub(super) async fn a_dropped_send_tears_nothing(world: &dyn World) {
    let (_one, _two, (dialled, accepted)) = controllers(world).await;
    let ((mut sender, _), (_, mut receiver)) = lane(&dialled, &accepted, Lane::Raft).await;
    let receiving = tokio::spawn(async move {
        let mut received = Vec::new();
        while let Some(frame) = receive(&mut receiver).await.expect("no frame is torn") {
            received.push(frame);
        }
        received
    });
    let mut done = Vec::new();
    for number in 0..200 {
        tokio::select! {
            biased;
            sent = sender.send(numbered(number, 100_000)) => {
                sent.expect("the lane is open");
                done.push(number);
            }
            () = tokio::task::yield_now() => {}
        }
    }
    within("finishing", sender.finish()).await.expect("the lane is open");
    let received = within("receiving", receiving).await.expect("no panic");
    let mut numbers = Vec::new();
    for frame in received {
        let number = u32::from_le_bytes(frame[..4].try_into().expect("four bytes"));
        assert!(frame == numbered(number, 100_000), "frame {number} is whole");
        numbers.push(number);
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "in order, none twice: {numbers:?}");
    assert!(done.iter().all(|number| numbers.contains(number)), "what was sent arrived");
}

pub(super) async fn both_sides_open_lanes_and_several_of_one_kind(world: &dyn World) {
    let (_one, _two, (dialled, accepted)) = controllers(world).await;
    let ((mut first, _a), (_b, mut first_receiver)) = lane(&dialled, &accepted, Lane::Forward).await;
    let ((mut second, _c), (_d, mut second_receiver)) = lane(&dialled, &accepted, Lane::Forward).await;
    let ((mut back, _e), (_f, mut back_receiver)) = lane(&accepted, &dialled, Lane::Forward).await;
    send(&mut second, numbered(2, 20)).await;
    send(&mut back, numbered(3, 30)).await;
    send(&mut first, numbered(1, 10)).await;
    assert_eq!(receive_frame(&mut first_receiver).await, numbered(1, 10));
    assert_eq!(receive_frame(&mut second_receiver).await, numbered(2, 20));
    assert_eq!(receive_frame(&mut back_receiver).await, numbered(3, 30));
}

pub(super) async fn lanes_are_bounded_and_free_again_once_dropped(world: &dyn World) {
    let (_one, _two, (dialled, accepted)) = controllers(world).await;
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(lane(&dialled, &accepted, Lane::Forward).await);
    }
    assert!(stays_pending(dialled.open(Lane::Forward)).await, "a seventeenth lane was opened");
    let back = lane(&accepted, &dialled, Lane::Forward).await;
    open.push(back);
    open.remove(0);
    // An opening that was given up may have come through as a lane that has ended already.
    let opened =
        within("opening a lane again", dialled.open(Lane::Forward)).await.expect("there is room again");
    let (mut sender, _receiver) = opened;
    send(&mut sender, numbered(5, 5)).await;
    loop {
        let (_, _back, mut receiver) =
            within("accepting", accepted.accept()).await.expect("the peer opened a lane");
        if let Ok(Some(frame)) = receive(&mut receiver).await {
            assert_eq!(frame, numbered(5, 5));
            break;
        }
    }
}
