//! Forwarding to real servers on loopback, where a script cannot look: HTTP/2, TLS, deadlines, abandoned requests, reuse.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ravelin_config::dynamic::ServersTransport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::connection::Protocol;
use crate::error::Side;
use crate::upstream::{ServerUrl, Transport, UpstreamRegistry};

fn on_worker(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test());
}

struct Rig {
    pools: UpstreamPools,
    connection: Rc<ConnectionFacts>,
    upstream: Arc<Upstream>,
    _in_use: Arc<crate::upstream::InUse>,
}

impl Rig {
    fn new(scheme: &str, port: u16, transport: &str) -> Self {
        let config: ServersTransport = serde_json::from_str(transport).expect("the form is right");
        Self::of(scheme, port, Transport::compile(&config, None).expect("good"))
    }

    fn of(scheme: &str, port: u16, transport: Transport) -> Self {
        let transport = Arc::new(transport);
        let url: ServerUrl = format!("{scheme}://127.0.0.1:{port}").parse().expect("a URL");
        let (upstream, in_use) = UpstreamRegistry::default().upstream(&url, &transport).expect("a server");
        let address = "127.0.0.1:1".parse().expect("an address");
        let connection = Rc::new(ConnectionFacts::new(1, address, address, "web".into(), Protocol::Http1));
        Self { pools: UpstreamPools::new(1), connection, upstream, _in_use: in_use }
    }

    async fn send(&self, mut outgoing: Outgoing) -> Result<Response<ResponseBody>, RequestError> {
        forward(&self.pools, &self.connection, &self.upstream, &mut outgoing).await
    }
}

fn get(path: &'static str) -> Outgoing {
    Outgoing {
        method: Method::GET,
        target: PathAndQuery::from_static(path),
        headers: HeaderMap::new(),
        present: Present::default(),
        host: HeaderValue::from_static("a.test"),
        upgrade: None,
        body: RequestBody::empty(),
        tracker: None,
    }
}

async fn text(response: Response<ResponseBody>) -> String {
    let body = response.into_body().collect().await.expect("the body is whole").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

/// Answers with the version, authority and target it saw.
async fn mirror(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let host = request.headers().get(HOST).map_or("-", |host| host.to_str().expect("ASCII"));
    let text = format!("{:?} {} host={host}", request.version(), request.uri());
    Ok(Response::new(Full::new(Bytes::from(text))))
}

/// Runs what hyper's server spawns beside its connection.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A server of HTTP/2 without TLS.
async fn h2c_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("bound").port();
    tokio::task::spawn_local(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::task::spawn_local(server.serve_connection(TokioIo::new(socket), service_fn(mirror)));
        }
    });
    port
}

/// A server of TLS that takes both protocols by ALPN.
async fn tls_server() -> u16 {
    let certified = rcgen::generate_simple_self_signed(["backend.test".to_owned()]).expect("a certificate");
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("supported")
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .expect("they belong together");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("bound").port();
    tokio::task::spawn_local(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::task::spawn_local(async move {
                let Ok(stream) = acceptor.accept(socket).await else { return };
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let io = TokioIo::new(stream);
                let _ = if http2 {
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    server.serve_connection(io, service_fn(mirror)).await
                } else {
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service_fn(mirror)).await
                };
            });
        }
    });
    port
}

#[test]
fn h2c_carries_the_forwarded_host_as_its_authority() {
    on_worker(async || {
        let rig = Rig::new("h2c", h2c_server().await, "{}");
        let answered = text(rig.send(get("/x?y=1")).await.expect("answered")).await;
        assert_eq!(answered, "HTTP/2.0 http://a.test/x?y=1 host=-");
        let upgrading = Outgoing { upgrade: Some(HeaderValue::from_static("websocket")), ..get("/") };
        let answered = text(rig.send(upgrading).await.expect("answered")).await;
        assert_eq!(answered, "HTTP/2.0 http://a.test/ host=-", "what cannot switch is an ordinary request");
        let counts = rig.pools.counts();
        assert_eq!((counts.opened, counts.reused), (1, 1), "one connection carries both");
    });
}

#[test]
fn https_takes_http2_by_alpn_unless_it_is_off_or_the_request_switches() {
    on_worker(async || {
        let port = tls_server().await;
        let both = Rig::new("https", port, r#"{"insecureSkipVerify":true}"#);
        let answered = text(both.send(get("/x")).await.expect("answered")).await;
        assert_eq!(answered, "HTTP/2.0 https://a.test/x host=-");
        let upgrading = Outgoing { upgrade: Some(HeaderValue::from_static("websocket")), ..get("/x") };
        let answered = text(both.send(upgrading).await.expect("answered")).await;
        assert_eq!(answered, "HTTP/1.1 /x host=a.test");
        let off = Rig::new("https", port, r#"{"insecureSkipVerify":true,"disableHTTP2":true}"#);
        let answered = text(off.send(get("/x")).await.expect("answered")).await;
        assert_eq!(answered, "HTTP/1.1 /x host=a.test");
    });
}

#[test]
fn a_certificate_that_cannot_be_verified_is_the_servers_fault() {
    on_worker(async || {
        let rig = Rig::new("https", tls_server().await, "{}");
        let error = rig.send(get("/x")).await.expect_err("refused");
        assert_eq!((error.status(), error.side()), (StatusCode::BAD_GATEWAY, Side::Upstream));
        assert!(error.retry_safe(), "nothing was sent");
    });
}

/// A server that does with each connection what it is told.
async fn raw_server(serve: impl AsyncFn(TcpStream) + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("bound").port();
    tokio::task::spawn_local(async move {
        while let Ok((socket, _)) = listener.accept().await {
            serve(socket).await;
        }
    });
    port
}

#[test]
fn a_silent_server_is_504_after_the_header_timeout() {
    on_worker(async || {
        let held = Rc::new(RefCell::new(Vec::new()));
        let port = raw_server(async move |socket| held.borrow_mut().push(socket)).await;
        let rig = Rig::new("http", port, r#"{"forwardingTimeouts":{"responseHeaderTimeout":"20ms"}}"#);
        let error = rig.send(get("/x")).await.expect_err("nobody answers");
        assert_eq!(error.status(), StatusCode::GATEWAY_TIMEOUT);
        assert!(!error.retry_safe(), "it may have been carried out");
        assert_eq!(rig.pools.counts().idle, 0);
    });
}

#[test]
fn an_abandoned_request_closes_its_connection() {
    on_worker(async || {
        let (told, ended) = tokio::sync::oneshot::channel();
        let (heard, came) = tokio::sync::oneshot::channel();
        let told = Cell::new(Some((heard, told)));
        let port = raw_server(async move |mut socket| {
            let Some((heard, told)) = told.take() else { return };
            let mut all = vec![0; 15];
            let head = socket.read_exact(&mut all).await;
            let _ = heard.send(());
            let rest = socket.read_to_end(&mut all).await;
            let _ = told.send((head.is_ok() && rest.is_ok(), all.starts_with(b"GET /x HTTP/1.1")));
        })
        .await;
        let rig = Rig::new("http", port, "{}");
        tokio::select! {
            _ = rig.send(get("/x")) => panic!("nobody answers"),
            came = came => came.expect("the server has it, and it is abandoned"),
        }
        let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
        assert_eq!(ended.expect("the connection ends").expect("told"), (true, true));
        assert_eq!(rig.pools.counts().idle, 0);
    });
}

#[test]
fn an_answer_that_nobody_reads_to_its_end_is_not_pooled() {
    on_worker(async || {
        let port = raw_server(async |mut socket| {
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfour").await;
            let _ = socket.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let rig = Rig::new("http", port, "{}");
        let response = rig.send(get("/x")).await.expect("the head comes");
        drop(response);
        assert_eq!(rig.pools.counts().idle, 0);
    });
}

/// Serves HTTP/1 with the mirror.
async fn http1_server() -> u16 {
    raw_server(async |socket| {
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(socket), service_fn(mirror));
        tokio::task::spawn_local(connection);
    })
    .await
}

#[test]
fn idle_connections_are_reused_bounded_and_swept() {
    on_worker(async || {
        let transport = r#"{"maxIdleConnsPerHost":1,"forwardingTimeouts":{"idleConnTimeout":"30s"}}"#;
        let rig = Rig::new("http", http1_server().await, transport);
        let (first, second) = tokio::join!(rig.send(get("/1")), rig.send(get("/2")));
        assert_eq!(rig.pools.counts().opened, 2);
        text(first.expect("answered")).await;
        text(second.expect("answered")).await;
        assert_eq!(rig.pools.counts().idle, 1, "one more than one is closed");
        text(rig.send(get("/3")).await.expect("answered")).await;
        assert_eq!(rig.pools.counts().reused, 1);
        let now = std::time::Instant::now();
        rig.pools.sweep(now);
        assert_eq!(rig.pools.counts().idle, 1);
        rig.pools.sweep(now + Duration::from_secs(31));
        assert_eq!(rig.pools.counts().idle, 0);
        text(rig.send(get("/4")).await.expect("answered")).await;
        rig.pools.drain();
        assert_eq!(rig.pools.counts().idle, 0);
        text(rig.send(get("/5")).await.expect("a draining worker still finishes requests")).await;
        assert_eq!(rig.pools.counts().idle, 0);
    });
}

/// Answers the first request of each connection and ends the connection with the second, unanswered.
async fn forgetful_server(seen: Rc<RefCell<Vec<String>>>) -> u16 {
    raw_server(async move |mut socket| {
        for answers in [true, false] {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n")
                && socket.read_buf(&mut head).await.is_ok_and(|bytes| bytes > 0)
            {}
            seen.borrow_mut().push(String::from_utf8_lossy(&head).into_owned());
            if answers {
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        }
    })
    .await
}

#[test]
fn a_connection_that_was_used_long_enough_is_not_kept() {
    on_worker(async || {
        let mut transport = Transport::plain();
        transport.wear.requests_max = 3;
        let rig = Rig::of("http", http1_server().await, transport);
        for number in 1..=7 {
            text(rig.send(get("/")).await.expect("answered")).await;
            assert_eq!(rig.pools.counts().opened, 1 + (number - 1) / 3, "request {number}");
        }
        assert_eq!(rig.pools.counts().closed, 2);
    });
}

#[test]
fn requests_that_come_at_once_leave_one_connection_over_http2() {
    on_worker(async || {
        let rig = Rig::new("h2c", h2c_server().await, "{}");
        let all = (0..8).map(|_| rig.send(get("/")));
        for answer in futures_util::future::join_all(all).await {
            text(answer.expect("answered")).await;
        }
        assert_eq!(rig.pools.counts().opened, 8, "nobody could know of the others");
        assert_eq!(rig.pools.http2_connections(&rig.upstream), 1);
    });
}

#[test]
fn a_request_that_a_dead_connection_took_is_sent_again_whole_unless_it_may_not_be() {
    on_worker(async || {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let rig = Rig::new("http", forgetful_server(Rc::clone(&seen)).await, "{}");
        let ask = |method: Method| {
            let mut outgoing = get("/x?y");
            outgoing.method = method;
            outgoing.headers.append("x-many", HeaderValue::from_static("1"));
            outgoing.headers.append("x-many", HeaderValue::from_bytes(b"\xff: 2").expect("a value"));
            outgoing.headers.append("accept", HeaderValue::from_static("a/b"));
            rig.send(outgoing)
        };
        assert_eq!(text(ask(Method::GET).await.expect("answered")).await, "ok");
        assert_eq!(text(ask(Method::GET).await.expect("answered by another connection")).await, "ok");
        let heads = seen.take();
        let [first, lost, again] = heads.as_slice() else { panic!("{heads:?}") };
        assert!(first.contains("x-many: 1\r\nx-many: \u{fffd}: 2\r\n"), "{first}");
        assert_eq!(lost, first);
        let lines = |head: &str| head.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(lines(again), lines(lost));
        let refused = ask(Method::POST).await.expect_err("it may have been carried out");
        assert!(!refused.retry_safe());
        assert_eq!(seen.borrow().len(), 1);
    });
}

#[test]
fn a_stream_that_breaks_off_is_asked_for_once_more_and_not_again() {
    on_worker(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let seen = Rc::new(Cell::new(0));
        let asked = Rc::clone(&seen);
        tokio::task::spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let asked = Rc::clone(&asked);
                let service = service_fn(move |_: Request<Incoming>| {
                    asked.set(asked.get() + 1);
                    let answer =
                        (asked.get() == 1).then(|| Response::new(Full::new(Bytes::from_static(b"ok"))));
                    std::future::ready(answer.ok_or(std::io::Error::other("broken off")))
                });
                let server = hyper::server::conn::http2::Builder::new(LocalExecutor);
                tokio::task::spawn_local(server.serve_connection(TokioIo::new(socket), service));
            }
        });
        let rig = Rig::new("h2c", port, "{}");
        assert_eq!(text(rig.send(get("/")).await.expect("answered")).await, "ok");
        let error = rig.send(get("/")).await.expect_err("no answer");
        assert_eq!((error.status(), seen.get(), rig.pools.counts().opened), (StatusCode::BAD_GATEWAY, 3, 2));
    });
}

async fn read_head(socket: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && socket.read_buf(&mut head).await.is_ok_and(|bytes| bytes > 0) {}
}

#[test]
fn a_connection_that_died_while_it_lay_idle_takes_no_request_whatever_the_method() {
    on_worker(async || {
        let (tell, mut told) = tokio::sync::mpsc::channel(1);
        let port = raw_server(async move |mut socket| {
            read_head(&mut socket).await;
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            drop(socket);
            let _ = tell.send(()).await;
        })
        .await;
        let rig = Rig::new("http", port, "{}");
        for number in 1..4 {
            let answer = rig.send(Outgoing { method: Method::POST, ..get("/x") }).await.expect("answered");
            assert_eq!(text(answer).await, "ok");
            told.recv().await.expect("the server has closed");
            // A few turns of the runtime, so that it has heard of the end.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            assert_eq!((rig.pools.counts().opened, rig.pools.counts().reused), (number, 0));
        }
    });
}

#[test]
fn bytes_behind_an_answer_close_its_connection_and_interim_answers_end() {
    on_worker(async || {
        let port = raw_server(async |mut socket| {
            read_head(&mut socket).await;
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK").await;
            let _ = socket.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let rig = Rig::new("http", port, "{}");
        assert_eq!(text(rig.send(get("/x")).await.expect("answered")).await, "ok");
        assert_eq!((rig.pools.counts().idle, rig.pools.counts().closed), (0, 1));
        for (count, status) in [(100, None), (101, Some(StatusCode::BAD_GATEWAY))] {
            let port = raw_server(async move |mut socket| {
                read_head(&mut socket).await;
                let _ = socket.write_all(&b"HTTP/1.1 102 Processing\r\n\r\n".repeat(count)).await;
                let _ = socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                let _ = socket.read_to_end(&mut Vec::new()).await;
            })
            .await;
            let answer = Rig::new("http", port, "{}").send(get("/x")).await;
            assert_eq!(answer.err().map(|error| error.status()), status, "{count}");
        }
    });
}

#[test]
fn connections_to_a_server_that_no_service_names_are_not_kept() {
    on_worker(async || {
        let Rig { pools, connection, upstream, _in_use } = Rig::new("http", http1_server().await, "{}");
        let response = forward(&pools, &connection, &upstream, &mut get("/1")).await.expect("answered");
        drop(_in_use);
        text(response).await;
        assert_eq!(pools.counts().idle, 0);
        assert_eq!(pools.counts().closed, 1);
    });
}

#[test]
fn nobody_listening_is_502_and_may_be_tried_elsewhere() {
    on_worker(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let error = Rig::new("http", port, "{}").send(get("/x")).await.expect_err("refused");
        assert_eq!(error.status(), StatusCode::BAD_GATEWAY);
        assert!(error.retry_safe());
    });
}

#[test]
fn switching_needs_the_protocol_that_was_asked_for() {
    let value = HeaderValue::from_static;
    assert!(same_protocol(&value("WebSocket"), &value("websocket")));
    assert!(same_protocol(&value("foo, bar"), &value(" bar ")));
    assert!(!same_protocol(&value("foo"), &value("bar")));
    for (credentials, bound) in [("NTLM x", true), ("negotiate", true), ("Basic x", false), ("", false)] {
        assert_eq!(binds_connection(Some(&value(credentials))), bound, "{credentials}");
    }
}

/// A rig whose server is given up on soon, and where an endless body of a real client is sent to it.
async fn endless_upload(scheme: &str, port: u16) -> Result<Response<ResponseBody>, RequestError> {
    let mut rig = Rig::new(scheme, port, "{}");
    let upstream = Arc::get_mut(&mut rig.upstream).expect("nobody else holds it");
    Arc::get_mut(&mut upstream.transport).expect("nobody else holds it").upload_stall = SHORT;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("listening");
    let (socket, _) = listener.accept().await.expect("a client");
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = Rc::new(RefCell::new(Some(tell)));
    let service = service_fn(move |request: Request<Incoming>| {
        let tell = tell.borrow_mut().take();
        tell.expect("one request").send(request.into_body()).expect("the test waits");
        std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()
    });
    tokio::task::spawn_local(
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service),
    );
    tokio::task::spawn_local(async move {
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
            .await
            .expect("taken");
        while client.write_all(&[b'x'; 65536]).await.is_ok() {}
    });
    let body = RequestBody::new(crate::connection::ClientBody::new(told.await.expect("a request")));
    let tracker = body.tracker();
    rig.send(Outgoing { method: Method::POST, body, tracker, ..get("/") }).await
}

const SHORT: Duration = Duration::from_millis(200);

#[test]
fn an_upload_that_a_server_does_not_take_is_given_up_with_504() {
    on_worker(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        // Neither reads more than its head nor answers; the socket lives as long as the test.
        let held = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&held);
        tokio::task::spawn_local(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = [0; 16];
                socket.read_exact(&mut head).await.expect("a head");
                kept.borrow_mut().push(socket);
            }
        });
        let error = endless_upload("http", port).await.expect_err("nobody answers");
        assert_eq!((error.status(), error.side()), (StatusCode::GATEWAY_TIMEOUT, Side::Upstream), "{error}");
        assert!(!error.retry_safe());
        assert_eq!(held.borrow().len(), 1);
    });
}

#[test]
fn a_server_of_http2_that_opens_no_window_is_given_up_with_504() {
    on_worker(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        tokio::task::spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // Its answers never come, and it reads no body, so that windows stay as they were.
                let service = service_fn(|request: Request<Incoming>| async move {
                    let _held = request;
                    std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>().await
                });
                let server = hyper::server::conn::http2::Builder::new(LocalExecutor);
                tokio::task::spawn_local(server.serve_connection(TokioIo::new(socket), service));
            }
        });
        let error = endless_upload("h2c", port).await.expect_err("nobody answers");
        assert_eq!(error.status(), StatusCode::GATEWAY_TIMEOUT, "{error}");
    });
}

#[test]
fn an_answer_beside_an_upload_that_goes_nowhere_breaks_off() {
    on_worker(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        tokio::task::spawn_local(async move {
            let (mut socket, _) = listener.accept().await.expect("the proxy connects");
            let mut head = [0; 16];
            socket.read_exact(&mut head).await.expect("a head");
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await.expect("taken");
            std::future::pending::<()>().await;
        });
        let response = endless_upload("http", port).await.expect("a head");
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.into_body().collect().await.is_err(), "it can never be whole");
    });
}
