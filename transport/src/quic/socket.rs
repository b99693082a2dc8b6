//! The endpoint's UDP socket, and the knowledge of when it is closed: quinn lets go of it some time after the last of its handles.
//! It must not look into what it carries.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime as _, UdpPoller};
use tokio::sync::{Mutex, mpsc};

/// A socket that tells when it is closed.
#[derive(Debug)]
pub(super) struct Socket {
    inner: Arc<dyn AsyncUdpSocket>,
    /// Stands after the socket: fields are dropped in their order.
    _open: mpsc::Sender<Infallible>,
}

/// Ends once the socket is closed and its port free.
#[derive(Debug)]
pub(super) struct Closed(Mutex<mpsc::Receiver<Infallible>>);

impl Closed {
    /// Waits until the socket is closed. May be dropped at any time and asked again.
    pub(super) async fn wait(&self) {
        while self.0.lock().await.recv().await.is_some() {}
    }
}

impl Socket {
    /// Takes a bound socket into the runtime.
    ///
    /// # Errors
    /// The system's, if the socket cannot be used without blocking.
    pub(super) fn open(socket: std::net::UdpSocket) -> io::Result<(Arc<Self>, Closed)> {
        let inner = quinn::TokioRuntime.wrap_udp_socket(socket)?;
        let (open, closed) = mpsc::channel(1);
        Ok((Arc::new(Self { inner, _open: open }), Closed(Mutex::new(closed))))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let inner = Arc::clone(&self.inner).create_io_poller();
        Box::pin(Poller { inner, _socket: self })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [io::IoSliceMut<'_>],
        received: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(context, buffers, received)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

/// Waits for room to send; shares the socket.
#[derive(Debug)]
struct Poller {
    inner: Pin<Box<dyn UdpPoller>>,
    /// Stands after the poller, which holds the inner socket too.
    _socket: Arc<Socket>,
}

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().inner.as_mut().poll_writable(context)
    }
}
