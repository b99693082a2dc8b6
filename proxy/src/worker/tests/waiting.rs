//! The shipped worker with messages that wait for somebody: for a client that reads nothing, for a server that takes nothing. What
//! each takes stays below what is told of it, and beyond so many of them further requests are told so.

use std::any::Any;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::json;

use super::memory::{alone, request};
use super::parking::resident_bytes;
use super::rig::{connect, get, web};
use super::tls::TakeAny;
use crate::compile::tests::{compile, generation, put, server};
use crate::connection::{Bounds, Settings};
use crate::live::Live;
use crate::preface::HTTP2_PREFACE;
use crate::request::Shared;
use crate::tls::generated_default;
use crate::worker::{Worker, WorkerOptions, WorkerShared, Workers};

/// What is sent over and over.
static PIECE: [u8; 16 * 1024] = [b'x'; 16 * 1024];
/// Bytes that servers sent or clients uploaded, of the whole process: every test that counts runs alone.
static MOVED: AtomicU64 = AtomicU64::new(0);
/// Far above what anything takes.
const PATIENCE: Duration = Duration::from_secs(180);
/// What one connection of HTTP/2 comes to, at least, of what is told of it. The rest is what a request holds before its answer waits (its
/// head, one that might be sent again), and what stands in for odd sizes.
const HTTP2_SHARE_PERCENT: u64 = 60;

struct Running {
    workers: Workers,
    shared: Arc<Shared>,
    address: SocketAddr,
    bounds: Bounds,
}

/// One worker that has everything served by this server, with and without TLS; at most so many requests wait for it.
fn start(url: &str, requests_max: usize) -> Running {
    let mut map = ravelin_config::ConfigMap::new();
    put(&mut map, "static/entryPoints/web", &json!({"address": "127.0.0.1:0"}));
    put(&mut map, "static/ping", &json!({"entryPoint": "web", "manualRouting": true}));
    put(&mut map, "http/services/ping@internal", &json!({}));
    put(&mut map, "http/services/s@file", &server(url));
    let all = json!({"rule": "PathPrefix(`/`)", "service": "s", "priority": 1});
    put(&mut map, "http/routers/plain@file", &all);
    put(&mut map, "http/routers/tls@file", &json!({"rule": "PathPrefix(`/`)", "service": "s", "tls": {}}));
    put(&mut map, "http/routers/ping@file", &json!({"rule": "Path(`/ping`)", "service": "ping@internal"}));
    let table = compile(&map);
    assert_eq!(table.generation, Some(generation(&map)));
    assert!(table.problems.is_empty(), "{:?}", table.problems);
    let shared = Arc::new(Shared::bounded(None, requests_max));
    let generated = generated_default().expect("random bytes");
    let of_workers = WorkerShared::new(Live::new(table, 1), Arc::clone(&shared), 1, &generated);
    let options = WorkerOptions { workers: 1, connections_max: 10_000 };
    let make = move |index| Worker::new(index, Arc::clone(&of_workers));
    let mut workers = Workers::start(options, make).expect("threads can be had");
    let mut settings = Settings::default();
    // What is given up gives its memory back: nobody loses patience before the test does.
    settings.timeouts.write_stall = 2 * PATIENCE;
    let bounds = Bounds::of(&settings);
    let status = workers.listen(web("127.0.0.1:0", settings));
    let address = *status["web"].as_ref().expect("a free port");
    Running { workers, shared, address, bounds }
}

/// A server that does this with each of its connections, on a thread of its own.
fn serve(each: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let address = listener.local_addr().expect("a bound socket has an address");
    std::thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            let each = each.clone();
            std::thread::spawn(move || each(socket));
        }
    });
    format!("http://{address}")
}

fn send_for_ever(mut socket: TcpStream) {
    while socket.write_all(&PIECE).is_ok() {
        MOVED.fetch_add(PIECE.len() as u64, Ordering::SeqCst);
    }
}

/// Answers the first request without end.
fn endless(mut socket: TcpStream) {
    let mut read = [0; 4096];
    if socket.read(&mut read).is_ok_and(|bytes| bytes > 0)
        && socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").is_ok()
    {
        send_for_ever(socket);
    }
}

/// Takes nothing and says nothing, for as long as the process lives.
fn deaf(socket: TcpStream) {
    std::mem::forget(socket);
}

/// A server of HTTP/2 that answers each request without end, on so many streams of a connection, and takes heads of any size.
fn endless_http2(streams_max: u32) -> String {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be had").block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
            tell.send(listener.local_addr().expect("a bound socket has an address"))
                .expect("it is waited for");
            while let Ok((socket, _)) = listener.accept().await {
                let service = hyper::service::service_fn(|_| async {
                    let pieces = futures_util::stream::repeat_with(|| {
                        MOVED.fetch_add(PIECE.len() as u64, Ordering::SeqCst);
                        Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(&PIECE)))
                    });
                    Ok::<_, std::convert::Infallible>(Response::new(StreamBody::new(pieces)))
                });
                let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                builder.max_send_buf_size(PIECE.len());
                builder.max_concurrent_streams(streams_max).max_header_list_size(1 << 20);
                tokio::spawn(builder.serve_connection(TokioIo::new(socket), service));
            }
        });
    });
    format!("h2c://{}", told.recv().expect("it listens"))
}

type Held = Box<dyn Any>;

/// Asks and reads nothing.
fn asking(address: SocketAddr) -> Held {
    let mut client = connect(address);
    client.send(&get("/"));
    Box::new(client)
}

fn asking_over_tls(address: SocketAddr) -> Held {
    let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(TakeAny));
    let config = Arc::new(config.with_no_client_auth());
    let name = "a.test".try_into().expect("a name");
    let connection = ClientConnection::new(config, name).expect("a configuration that holds");
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address).expect("it is open"));
    stream.write_all(&get("/")).expect("it takes a request");
    Box::new(stream)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A head as small as can be: GET, http, "/", and the authority as a literal.
fn small(stream: u32) -> Vec<u8> {
    frame(1, 5, stream, &[&[0x82, 0x86, 0x84, 0x41, 6][..], b"a.test"].concat())
}

/// The text of a client that asks on this many streams, each with such a head, lets each answer be as long as it likes, and reads nothing.
fn asking_over_http2(streams: u32, head: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let window = (1_u32 << 31) - 1;
    let mut text = HTTP2_PREFACE.to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE, and as much for the whole connection (RFC 9113, 6.5.2 and 6.9).
    text.extend(frame(4, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat()));
    text.extend(frame(8, 0, 0, &(window - 65_535).to_be_bytes()));
    for stream in 0..streams {
        text.extend(head(2 * stream + 1));
    }
    text
}

/// Uploads without end.
fn uploading(address: SocketAddr) -> Held {
    let mut client = connect(address);
    client.send(
        format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40).as_bytes(),
    );
    let socket = client.socket.try_clone().expect("a plain socket");
    std::thread::spawn(move || send_for_ever(socket));
    Box::new(client)
}

/// Nobody moves anything any more. That nothing happens is no event: it shows over time only. Where the machine pauses for as long, too
/// little is measured, which `taken` looks at again until it is as much as it must be.
fn is_still() -> bool {
    let before = MOVED.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(300));
    MOVED.load(Ordering::SeqCst) == before
}

/// Bytes that each of `count` connections takes that wait, once they take at least `least` and all is still.
fn taken(count: u64, least: u64, begin: impl Fn() -> Held) -> u64 {
    // The first one fills what is shared.
    let mut held = vec![begin()];
    let begun = Instant::now();
    while !is_still() || MOVED.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < PATIENCE, "the first one never comes to rest");
    }
    let before = resident_bytes();
    held.extend((0..count).map(|_| begin()));
    loop {
        // Looked at in this order, what was still coming when it was measured is measured again.
        let is_still = is_still();
        let each = resident_bytes().saturating_sub(before) / count;
        if is_still && each >= least {
            return each;
        }
        assert!(begun.elapsed() < PATIENCE, "{each} bytes each: not driven to {least}");
    }
}

/// Bytes that a connection takes on which this text is sent and whose client reads nothing, once it takes at least `least` and all is
/// still: half of what two take, so that it does not matter when one of them comes to rest. What is shared counts in it.
fn taken_by_one(address: SocketAddr, text: &[u8], least: u64) -> u64 {
    let (begun, empty) = (Instant::now(), resident_bytes());
    let mut clients = [connect(address), connect(address)];
    clients.iter_mut().for_each(|client| client.send(text));
    loop {
        let is_still = is_still();
        let each = resident_bytes().saturating_sub(empty) / 2;
        if is_still && each >= least {
            return each;
        }
        assert!(begun.elapsed() < PATIENCE, "{each} bytes each: not driven to {least}");
    }
}

fn compare(what: &str, each: u64, told: u64) {
    println!("{what}: {each} bytes, told {told}");
    assert!(each <= told, "{what}: {each} bytes, told {told}");
}

#[test]
fn an_answer_that_waits_for_its_client_takes_no_more_than_is_told() {
    alone("waiting::an_answer_that_waits_for_its_client_takes_no_more_than_is_told", || {
        let running = start(&serve(endless), usize::MAX);
        let each = taken(16, 64 * 1024, || asking(running.address));
        compare("an answer over HTTP/1 that its client does not read", each, running.bounds.flowing_bytes);
    });
}

#[test]
fn the_buffers_of_tls_take_no_more_than_is_told() {
    alone("waiting::the_buffers_of_tls_take_no_more_than_is_told", || {
        let running = start(&serve(endless), usize::MAX);
        let each = taken(16, 64 * 1024, || asking_over_tls(running.address));
        let told = running.bounds.flowing_bytes + running.bounds.tls_bytes;
        compare("an answer over TLS that its client does not read", each, told);
    });
}

#[test]
fn answers_on_every_stream_that_wait_take_no_more_than_is_told() {
    alone("waiting::answers_on_every_stream_that_wait_take_no_more_than_is_told", || {
        let running = start(&serve(endless), usize::MAX);
        let streams = Settings::default().http2.streams_max;
        let least = u64::from(streams) * 32 * 1024;
        let each = taken_by_one(running.address, &asking_over_http2(streams, small), least);
        compare("answers on all streams that their client does not read", each, running.bounds.http2_bytes);
    });
}

#[test]
fn what_a_server_of_http2_sends_ahead_takes_no_more_than_is_told() {
    alone("waiting::what_a_server_of_http2_sends_ahead_takes_no_more_than_is_told", || {
        let running = start(&endless_http2(200), usize::MAX);
        let each = taken(8, 64 * 1024, || asking(running.address));
        compare("an answer of HTTP/2 that its client does not read", each, running.bounds.flowing_bytes);
    });
}

/// On one connection all at once: the largest head on every stream, and a server that sends its whole window ahead on each, for which
/// it must have a connection for every few of them, as those share a window.
#[test]
fn the_largest_heads_and_waiting_answers_of_http2_come_near_to_what_is_told() {
    alone("waiting::the_largest_heads_and_waiting_answers_of_http2_come_near_to_what_is_told", || {
        let running = start(&endless_http2(4), usize::MAX);
        let http2 = Settings::default().http2;
        let (streams, list) = (http2.streams_max, http2.header_list_bytes_max as usize - 512);
        let told = running.bounds.http2_bytes;
        let least = told / 100 * HTTP2_SHARE_PERCENT;
        let text = asking_over_http2(streams, |stream| request(stream, list));
        let each = taken_by_one(running.address, &text, least);
        compare("the largest heads and answers that wait on all streams", each, told);
    });
}

#[test]
fn an_upload_that_waits_for_its_server_takes_no_more_than_is_told() {
    alone("waiting::an_upload_that_waits_for_its_server_takes_no_more_than_is_told", || {
        let running = start(&serve(deaf), usize::MAX);
        let each = taken(16, 8 * 1024, || uploading(running.address));
        compare("an upload that its server does not take", each, running.bounds.flowing_bytes);
    });
}

#[test]
fn beyond_so_many_requests_that_wait_for_servers_further_ones_are_told_so_until_there_is_room() {
    let (tell, told) = std::sync::mpsc::channel();
    let server = serve(move |mut socket| {
        let _ = tell.send("opened");
        drop(socket.read_to_end(&mut Vec::new()));
        let _ = tell.send("closed");
    });
    let happens = |what: &str| {
        assert_eq!(told.recv_timeout(PATIENCE).expect("the server sees it"), what);
    };
    let running = start(&server, 2);
    let ask = |path: &str| {
        let mut client = connect(running.address);
        let text = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        client.send(text.as_bytes());
        client
    };
    let waiting = [ask("/"), ask("/")];
    (0..2).for_each(|_| happens("opened"));
    let refused = ask("/").rest();
    let has_field = refused.to_lowercase().contains("\r\nretry-after: 1\r\n");
    assert!(refused.starts_with("HTTP/1.1 503 ") && has_field, "{refused}");
    assert!(ask("/ping").rest().starts_with("HTTP/1.1 200 "), "what asks no server is answered");
    assert_eq!(running.shared.vitals.shed_requests(), 1);
    drop(waiting);
    (0..2).for_each(|_| happens("closed"));
    let served = ask("/");
    happens("opened");
    drop((served, running.workers));
}
