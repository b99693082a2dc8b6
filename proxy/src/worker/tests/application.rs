//! Answers by path, and a record of what was asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, LINK};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::sync::Notify;

use crate::connection::{Application, ClientBody, ConnectionFacts, RawTarget, TlsFacts, TunnelRun};
use crate::forwarded::Present;
use crate::tls::{Choice, Hello, TlsTable};
use crate::worker::Counters;

/// The name of the TLS options of a server name.
pub(super) type OptionsOf = fn(&str) -> &str;

/// What tests see of the answers of all workers.
#[derive(Default)]
pub(super) struct Record {
    /// Lines `METHOD target` in the order in which they came.
    pub(super) requests: Mutex<Vec<String>>,
    /// Requests dropped before their answer was complete.
    pub(super) abandoned: AtomicUsize,
    /// Request bodies that broke off under `/stream`.
    pub(super) broken: AtomicUsize,
    /// Requests that wait for `open`.
    pub(super) waiting: AtomicUsize,
    /// Lets waiting requests go on.
    pub(super) open: Notify,
    /// TLS for all entry points, and options by name.
    pub(super) tls: Mutex<Option<(Arc<TlsTable>, OptionsOf)>>,
    /// Lets a worker's follower panic.
    pub(super) unfollow: Notify,
    /// Lets the thread of a worker go on that a request blocks.
    pub(super) unblocked: AtomicBool,
    /// Connections by worker.
    pub(super) by_worker: Mutex<Vec<usize>>,
}

impl Record {
    pub(super) fn lines(&self) -> Vec<String> {
        self.requests.lock().expect("no test panics with the lock held").clone()
    }

    /// Busy-waits, bounded, for something that another thread does.
    pub(super) fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let start = std::time::Instant::now();
        while !reached(self) {
            assert!(start.elapsed().as_secs() < 20, "never: {what}");
            std::thread::yield_now();
        }
    }
}

pub(super) struct TestApplication {
    index: usize,
    record: Arc<Record>,
    counters: Counters,
}

impl TestApplication {
    pub(super) fn new(index: usize, record: Arc<Record>) -> Rc<Self> {
        Rc::new(Self { index, record, counters: Counters::default() })
    }
}

/// Frames at hand, then perhaps a panic, or silence for ever.
pub(super) struct TestBody {
    frames: VecDeque<Bytes>,
    then: Then,
    tunnel: bool,
    /// Goes off when the body is dropped.
    _bomb: Option<Bomb>,
    /// A request body that is read, and thrown away, for as long as the answer lasts.
    reading: Option<(ClientBody, Arc<Record>)>,
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("as the test wants it");
    }
}

#[derive(PartialEq)]
enum Then {
    End,
    Panic,
    PanicLater,
    Silence,
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        match self.then {
            Then::End => Poll::Ready(None),
            Then::Panic => panic!("as the test wants it"),
            Then::PanicLater => {
                // What came before it is written out first.
                self.then = Then::Panic;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Then::Silence => {
                while let Some((reading, record)) = &mut self.reading
                    && let Poll::Ready(Some(read)) = Pin::new(reading).poll_frame(cx)
                {
                    if read.is_err() {
                        record.broken.fetch_add(1, Ordering::SeqCst);
                        self.reading = None;
                    }
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.then == Then::End
    }

    fn size_hint(&self) -> http_body::SizeHint {
        let bytes: usize = self.frames.iter().map(Bytes::len).sum();
        match self.then {
            Then::End => http_body::SizeHint::with_exact(bytes as u64),
            _ => http_body::SizeHint::default(),
        }
    }
}

fn response(text: impl Into<Bytes>) -> Response<TestBody> {
    Response::new(TestBody {
        frames: [text.into()].into(),
        then: Then::End,
        tunnel: false,
        reading: None,
        _bomb: None,
    })
}

fn ending(text: &'static str, then: Then) -> Response<TestBody> {
    Response::new(TestBody {
        frames: [Bytes::from_static(text.as_bytes())].into(),
        then,
        tunnel: false,
        reading: None,
        _bomb: None,
    })
}

/// More than any socket holds, in pieces like an upstream's.
fn big() -> Response<TestBody> {
    let piece = Bytes::from(vec![b'x'; 64 << 10]);
    Response::new(TestBody {
        frames: vec![piece; 1024].into(),
        then: Then::End,
        tunnel: false,
        reading: None,
        _bomb: None,
    })
}

/// The whole worker stands still, as under a long poll of something else.
fn blocked(record: &Record) -> Response<TestBody> {
    record.waiting.fetch_add(1, Ordering::SeqCst);
    while !record.unblocked.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    response("path /block")
}

/// Counts a request as abandoned unless it is told to be complete.
struct Abandoned<'a>(&'a Record, bool);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.abandoned.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// What the handshake told, as text.
fn facts_of(connection: &ConnectionFacts) -> String {
    let facts = |tls: &TlsFacts| {
        format!("{:?}", (&tls.sni, tls.version, &tls.options, tls.client_certificates.len()))
    };
    connection.tls.as_ref().map_or_else(|| "None".to_owned(), |tls| format!("Some({})", facts(tls)))
}

impl Application for TestApplication {
    type Body = TestBody;

    async fn answer(
        self: &Rc<Self>,
        connection: &Rc<ConnectionFacts>,
        present: Present,
        request: Request<ClientBody>,
    ) -> Response<TestBody> {
        assert_eq!(present, Present::of_client(request.headers()), "whoever read the head saw its fields");
        let target = match request.extensions().get::<RawTarget>() {
            Some(raw) => String::from_utf8_lossy(&raw.0).into_owned(),
            None => request.uri().to_string(),
        };
        let line = format!("{} {target}", request.method());
        self.record.requests.lock().expect("no test panics with the lock held").push(line);
        self.record.by_worker.lock().expect("no test panics with the lock held").push(self.index);
        let mut abandoned = Abandoned(&self.record, false);
        let response = match request.uri().path() {
            "/echo" => match request.into_body().collect().await {
                Ok(body) => response(body.to_bytes()),
                Err(_) => status(StatusCode::BAD_GATEWAY),
            },
            "/wait" => {
                let opened = self.record.open.notified();
                self.record.waiting.fetch_add(1, Ordering::SeqCst);
                opened.await;
                response("waited")
            }
            "/panic" => panic!("as the test wants it"),
            "/panic-drop" => {
                let mut armed = response("path /panic-drop");
                armed.body_mut()._bomb = Some(Bomb);
                armed
            }
            "/parked" => response(format!("parked {}!", self.counters.parked.load(Ordering::Relaxed))),
            "/panics" => response(format!("path /panics {}", self.counters.panics.load(Ordering::Relaxed))),
            "/panic-body" => ending("part", Then::PanicLater),
            "/stream" => {
                let mut streaming = ending("part", Then::Silence);
                streaming.body_mut().reading = Some((request.into_body(), Arc::clone(&self.record)));
                streaming
            }
            "/stream-early" => ending("part", Then::Silence),
            "/big" => big(),
            "/small" => response(vec![b'x'; 32 << 10]),
            "/length" => response(request.headers().get("x").map_or(0, HeaderValue::len).to_string()),
            "/interim" => {
                let fields = HeaderMap::from_iter([(LINK, HeaderValue::from_static("</a.css>"))]);
                assert!(connection.send_interim(StatusCode::EARLY_HINTS, &fields));
                tokio::task::yield_now().await;
                response("final")
            }
            "/block" => blocked(&self.record),
            "/ends" => response(format!("{} and {}", connection.peer.ip(), connection.local.ip())),
            "/upgrade" => {
                let mut switching = status(StatusCode::SWITCHING_PROTOCOLS);
                switching.body_mut().tunnel = true;
                switching
            }
            "/no-tunnel" => status(StatusCode::SWITCHING_PROTOCOLS),
            "/facts" => response(facts_of(connection)),
            path => response(format!("path {path}")),
        };
        abandoned.1 = true;
        response
    }

    fn take_tunnel(body: &mut TestBody) -> Option<TunnelRun> {
        std::mem::take(&mut body.tunnel).then(|| -> TunnelRun {
            Box::new(|client| {
                Box::pin(async move {
                    let (mut reader, mut writer) = tokio::io::split(client);
                    // An echo until the client ends; how it ends is seen by the client.
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                    let _ = tokio::io::AsyncWriteExt::shutdown(&mut writer).await;
                })
            })
        })
    }

    fn failed(code: StatusCode) -> Response<TestBody> {
        status(code)
    }

    fn tls(&self, _: &str, hello: &Hello) -> Option<Choice> {
        assert_ne!(hello.server_name.as_deref(), Some("panic.test"), "as the test wants it");
        let tls = self.record.tls.lock().expect("no test panics with the lock held");
        let (table, options) = tls.as_ref()?;
        table.choose(options(hello.server_name.as_deref().unwrap_or_default()), hello)
    }

    async fn follow(self: Rc<Self>) {
        self.record.unfollow.notified().await;
        panic!("as the test wants it");
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn status(code: StatusCode) -> Response<TestBody> {
    let mut response = Response::new(TestBody {
        frames: VecDeque::new(),
        then: Then::End,
        tunnel: false,
        reading: None,
        _bomb: None,
    });
    *response.status_mut() = code;
    response
}
