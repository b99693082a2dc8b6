//! Accepts on one socket for one worker, in bounded turns. It reads nothing from what it accepts, and neither spins nor
//! dies where the process has run out of something.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Connections taken before others get their turn.
const ACCEPTED_PER_TURN_MAX: usize = 64;
/// Pause after the process ran out of descriptors or memory, or of allowed connections: the kernel keeps the queue.
const PAUSE: Duration = Duration::from_millis(50);

/// What to do with what is accepted.
pub(super) trait Place {
    /// Takes a connection.
    fn place(&self, socket: TcpStream, peer: SocketAddr);
    /// Whether there is room for one more.
    fn has_room(&self) -> bool;
}

/// How a turn of accepting ended.
enum Turn {
    /// The queue is empty, or others are due.
    Over,
    /// Something has run out.
    Exhausted,
}

/// Accepts until told to stop; then takes what is still queued, as closing the socket would reset it.
pub(super) async fn accept(listener: TcpListener, place: impl Place, stop: CancellationToken) {
    loop {
        let turn = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            turn = poll_fn(|cx| poll_turn(cx, &listener, &place)) => turn,
        };
        match turn {
            Turn::Over => tokio::task::yield_now().await,
            Turn::Exhausted => tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(PAUSE) => {}
            },
        }
    }
    let mut context = Context::from_waker(Waker::noop());
    while place.has_room()
        && let Poll::Ready(Ok((socket, peer))) = listener.poll_accept(&mut context)
    {
        place.place(socket, peer);
    }
}

/// Ready when at least one connection was taken, or none can be.
fn poll_turn(cx: &mut Context<'_>, listener: &TcpListener, place: &impl Place) -> Poll<Turn> {
    for taken in 0..ACCEPTED_PER_TURN_MAX {
        if !place.has_room() {
            return Poll::Ready(Turn::Exhausted);
        }
        match listener.poll_accept(cx) {
            Poll::Ready(Ok((socket, peer))) => place.place(socket, peer),
            Poll::Ready(Err(error)) if is_exhausted(&error) => {
                tracing::warn!(%error, "no further connection can be accepted for now");
                return Poll::Ready(Turn::Exhausted);
            }
            // A connection that died in the queue.
            Poll::Ready(Err(_)) => {}
            Poll::Pending if taken == 0 => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    Poll::Ready(Turn::Over)
}

fn is_exhausted(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
