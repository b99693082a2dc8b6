//! Requests of one worker on their way out: they are written together, once every task that was ready has run. It must not know what a
//! request says, nor wait for an answer.
//!
//! Where many connections are busy, steps of their requests then run as groups of equals (all reads of clients, then all writes to
//! servers) in place of one request after the other. Code of each step, the kernel's too, is then found in the processor's
//! instruction cache, which holds less than what one whole request runs through. `cargo xtask bench proxy` shows it. It costs no
//! system call, as the reactor is not asked in between, and no request is polled once more for it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use tokio::task::JoinHandle;

use super::http1::Client;

/// A request that is ready to be written.
#[derive(Debug)]
struct Departure {
    /// Gone where the request was given up.
    client: Weak<RefCell<Client>>,
    /// Of the task that waits for the answer.
    owner: Waker,
}

/// Those of one worker. There are never more than requests under way.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    waiting: RefCell<Vec<Departure>>,
    /// Kept for its memory.
    leaving: RefCell<Vec<Departure>>,
    task: RefCell<Option<JoinHandle<()>>>,
    waker: RefCell<Option<Waker>>,
}

impl Departures {
    /// Has a request that was begun written soon. `owner` is woken if it then needs more than to wait for its answer. Must be called
    /// within the worker's runtime.
    pub(crate) fn add(self: &Rc<Self>, client: &Rc<RefCell<Client>>, owner: Waker) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.push(Departure { client: Rc::downgrade(client), owner });
        let mut task = self.task.borrow_mut();
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            let departures = Rc::downgrade(self);
            *task = Some(tokio::task::spawn_local(poll_fn(move |cx| match departures.upgrade() {
                Some(departures) => departures.send_all(cx),
                None => Poll::Ready(()),
            })));
        } else if waiting.len() == 1
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    fn send_all(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.borrow_mut().get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
        let mut leaving = self.leaving.borrow_mut();
        std::mem::swap(&mut *leaving, &mut *self.waiting.borrow_mut());
        for Departure { client, owner } in leaving.drain(..) {
            let Some(client) = client.upgrade() else { continue };
            let mut of_owner = Context::from_waker(&owner);
            let depart = || client.borrow_mut().depart(&mut of_owner);
            // A panic ends one request: its own task sees it again, or an end.
            if !catch_unwind(AssertUnwindSafe(depart)).unwrap_or(false) {
                owner.wake();
            }
        }
        Poll::Pending
    }
}

impl Drop for Departures {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use http::{HeaderMap, HeaderValue, Method};
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::body::RequestBody;
    use crate::upstream::http1::{RequestHead, Room};
    use crate::upstream::io::UpstreamIo;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection with a request begun on it, and the server's end.
    async fn begun(target: &str) -> (Rc<RefCell<Client>>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
        let address = listener.local_addr().expect("bound");
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        let io = UpstreamIo::Plain(ours.expect("it listens"));
        let mut client = Client::new(io, Rc::new(Room::default()));
        let (host, fields) = (HeaderValue::from_static("a.test"), HeaderMap::new());
        let head = RequestHead { method: &Method::GET, target, host: &host, fields: &fields };
        client.begin(&head, RequestBody::empty(), Vec::new());
        (Rc::new(RefCell::new(client)), theirs.expect("somebody came").0)
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn requests_leave_together_once_all_that_is_ready_has_run() {
        run(async {
            let departures = Rc::new(Departures::default());
            let woken = Arc::new(Woken::default());
            for round in 0..3 {
                let mut sent = Vec::new();
                for target in ["/a", "/b", "/c"] {
                    let (client, server) = begun(target).await;
                    sent.push((target, client, server));
                }
                for (_, client, _) in &sent {
                    departures.add(client, Waker::from(Arc::clone(&woken)));
                    assert!(client.borrow().is_unwritten());
                }
                tokio::task::yield_now().await;
                for (target, client, mut server) in sent {
                    assert!(client.borrow().is_sent(), "round {round}");
                    let mut line = vec![0; "GET /a HTTP/1.1\r\n".len()];
                    server.read_exact(&mut line).await.expect("it was written");
                    assert_eq!(line, format!("GET {target} HTTP/1.1\r\n").into_bytes());
                }
            }
            let woken = woken.0.load(Ordering::Relaxed);
            assert_eq!(woken, 0, "nobody has anything to do but to wait for an answer");
        });
    }

    #[test]
    fn nothing_is_written_for_who_gave_up() {
        run(async {
            let departures = Rc::new(Departures::default());
            let (gone, mut silent) = begun("/gone").await;
            departures.add(&gone, Waker::noop().clone());
            drop(gone);
            tokio::task::yield_now().await;
            let mut nothing = Vec::new();
            silent.read_to_end(&mut nothing).await.expect("the connection ends");
            assert!(nothing.is_empty(), "{nothing:?}");
        });
    }

    #[test]
    fn who_waits_is_woken_where_the_request_cannot_be_written() {
        run(async {
            let departures = Rc::new(Departures::default());
            let (client, _server) = begun("/").await;
            client.borrow().cut();
            let woken = Arc::new(Woken::default());
            departures.add(&client, Waker::from(Arc::clone(&woken)));
            tokio::task::yield_now().await;
            assert_eq!(woken.0.load(Ordering::Relaxed), 1);
            assert!(client.borrow().is_unwritten());
        });
    }

    /// Tasks end with whatever ran them; a later request of the same worker must not wait for such a one.
    #[test]
    fn a_task_that_ended_is_replaced() {
        let departures = Rc::new(Departures::default());
        for _ in 0..2 {
            run(async {
                let (client, _server) = begun("/").await;
                departures.add(&client, Waker::noop().clone());
                tokio::task::yield_now().await;
                assert!(client.borrow().is_sent());
            });
        }
    }
}
