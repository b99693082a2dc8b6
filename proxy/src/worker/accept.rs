//! Accepts on one socket for one worker, in bounded turns. It reads nothing from what it accepts, and neither spins nor
//! dies where the process has run out of something.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Connections taken before others get their turn.
const ACCEPTED_PER_TURN_MAX: usize = 64;
/// Pause after the process ran out of descriptors or memory, or of places to refuse in: the kernel keeps the queue.
const PAUSE: Duration = Duration::from_millis(50);

/// What to do with what is accepted.
pub(super) trait Place {
    /// Takes a connection.
    fn place(&self, socket: TcpStream, peer: SocketAddr);
    /// Whether there is room for one more.
    fn has_room(&self) -> bool;
    /// Whether one more can be told that there is none.
    fn may_shed(&self) -> bool;
    /// Tells it.
    fn shed(&self, socket: TcpStream);
}

/// How a turn of accepting ended.
enum Turn {
    /// The queue is empty, or others are due.
    Over,
    /// Something has run out: what the system said, or nothing where it is allowed connections and refusals.
    Exhausted(Option<io::Error>),
}

/// Accepts until told to stop; then takes what is still queued, as closing the socket would reset it.
pub(super) async fn accept(listener: TcpListener, place: impl Place, stop: CancellationToken) {
    let mut exhausted = false;
    loop {
        let turn = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            turn = poll_fn(|cx| poll_turn(cx, &listener, &place)) => turn,
        };
        match turn {
            Turn::Over => {
                exhausted = false;
                tokio::task::yield_now().await;
            }
            Turn::Exhausted(error) => {
                // Once for each time that it begins: what is short stays short for a while.
                if !std::mem::replace(&mut exhausted, true) {
                    let error = error.map(|error| error.to_string());
                    tracing::warn!(
                        error,
                        "no further connection is accepted for now; clients wait in the queue"
                    );
                }
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
    take_queued(listener, &place);
}

/// Takes what the kernel has queued by now, whether the runtime has heard of it or not.
fn take_queued(listener: TcpListener, place: &impl Place) {
    let Ok(listener) = listener.into_std() else { return };
    while place.has_room() {
        match listener.accept() {
            Ok((socket, peer)) => {
                let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
                match socket {
                    Ok(socket) => place.place(socket, peer),
                    Err(error) => {
                        tracing::warn!(%peer, %error, "a connection was lost as its entry point went")
                    }
                }
            }
            Err(error) if is_of_connection(&error) => {}
            // Nothing more, or nothing that could be had.
            Err(_) => return,
        }
    }
}

/// Ready when at least one connection was taken, or none can be.
fn poll_turn(cx: &mut Context<'_>, listener: &TcpListener, place: &impl Place) -> Poll<Turn> {
    for taken in 0..ACCEPTED_PER_TURN_MAX {
        let has_room = place.has_room();
        if !has_room && !place.may_shed() {
            return Poll::Ready(Turn::Exhausted(None));
        }
        match listener.poll_accept(cx) {
            Poll::Ready(Ok((socket, peer))) if has_room => place.place(socket, peer),
            Poll::Ready(Ok((socket, _))) => place.shed(socket),
            // A connection that died in the queue.
            Poll::Ready(Err(error)) if is_of_connection(&error) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Turn::Exhausted(Some(error))),
            Poll::Pending if taken == 0 => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    Poll::Ready(Turn::Over)
}

/// Whether an error is about the connection that would have been accepted (accept(2) names them) and not about us: the next
/// one may be good. After any other error, trying again at once would only spin.
fn is_of_connection(error: &io::Error) -> bool {
    const OF_CONNECTION: [Errno; 12] = [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::INTR,
        Errno::PERM,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::OPNOTSUPP,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NONET,
    ];
    OF_CONNECTION.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct Full(Cell<usize>);

    impl Place for Full {
        fn place(&self, _: TcpStream, _: SocketAddr) {
            self.0.set(self.0.get() + 1);
        }

        fn has_room(&self) -> bool {
            true
        }

        fn may_shed(&self) -> bool {
            false
        }

        fn shed(&self, _: TcpStream) {}
    }

    #[tokio::test]
    async fn an_error_that_stays_is_waited_out_and_not_tried_again_in_the_same_turn() {
        // Not listening: every accept fails with the same error.
        let kind = socket2::Type::STREAM.nonblocking();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, kind, None).expect("a socket");
        let listener = TcpListener::from_std(socket.into()).expect("it does not block");
        let place = Full(Cell::new(0));
        let turn = poll_fn(|cx| poll_turn(cx, &listener, &place)).await;
        assert!(matches!(turn, Turn::Exhausted(Some(_))));
        assert_eq!(place.0.get(), 0);
    }
}
