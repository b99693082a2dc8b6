//! Runs quinn's tasks where a transport only dials, and gives those of connections a last turn once it ends: what a connection says last
//! then leaves at once. quinn itself would go on for three times its probe timeout, and not at all where the process ends. It must not
//! know what they do.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, TokioRuntime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The tasks of one endpoint's connections. Dropping it gives them their last turn too.
#[derive(Debug)]
pub(super) struct Tasks {
    is_over: watch::Sender<bool>,
    running: Arc<watch::Sender<usize>>,
    endpoint: Endpoint,
}

/// The endpoint's own task, once it runs. It must outlive the others: without it they end without a word.
type Endpoint = Arc<Mutex<Option<JoinHandle<()>>>>;

/// What quinn starts them by.
#[derive(Debug)]
struct Starter {
    has_begun: AtomicBool,
    is_over: watch::Receiver<bool>,
    running: Arc<watch::Sender<usize>>,
    endpoint: Endpoint,
}

impl Tasks {
    pub(super) fn new() -> (Self, Arc<dyn quinn::Runtime>) {
        let (over, is_over) = watch::channel(false);
        let running = Arc::new(watch::Sender::new(0));
        let endpoint = Endpoint::default();
        let starter = Starter {
            has_begun: AtomicBool::new(false),
            is_over,
            running: Arc::clone(&running),
            endpoint: Arc::clone(&endpoint),
        };
        (Self { is_over: over, running, endpoint }, Arc::new(starter))
    }

    /// Lets each run once more and end, and waits until all have; then the endpoint ends too, which would deny to know what they leave
    /// behind. May be dropped at any time and asked again.
    pub(super) async fn end(&self) {
        self.is_over.send_replace(true);
        // It fails only without a sender, and this one is here.
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
        let endpoint = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(endpoint) = endpoint {
            endpoint.abort();
            // That it was cancelled is what was wanted.
            let _ = endpoint.await;
        }
    }
}

/// A task that runs; dropping it ends its count.
struct Running(Arc<watch::Sender<usize>>);

impl Running {
    fn begin(count: &Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|running| *running += 1);
        Self(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

impl quinn::Runtime for Starter {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, mut task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        // The first is the endpoint's own.
        if !self.has_begun.swap(true, Ordering::Relaxed) {
            *self.endpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(task));
            return;
        }
        let running = Running::begin(&self.running);
        let mut is_over = self.is_over.clone();
        let over = async move { drop(is_over.wait_for(|is_over| *is_over).await) };
        tokio::spawn(async move {
            let _running = running;
            tokio::select! {
                () = &mut task => {}
                () = over => {
                    // Whatever it was woken for before: what it is told by now, it has not seen yet.
                    let _last = poll_fn(|context| Poll::Ready(task.as_mut().poll(context))).await;
                }
            }
        });
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}
