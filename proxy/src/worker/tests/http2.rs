//! HTTP/2 by prior knowledge: hyper's own client for ordinary use, frames by hand for the rest.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::rig::{Client, Rig, block_on};
use crate::connection::Settings;
use crate::connection::settings::Http2Settings;
use crate::preface::HTTP2_PREFACE;

async fn client<B>(rig: &Rig) -> SendRequest<B>
where
    B: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    let socket = tokio::net::TcpStream::connect(rig.address).await.expect("open");
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("an HTTP/2 server");
    tokio::spawn(connection);
    sender
}

fn request(path: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::builder()
        .method("POST")
        .uri(format!("http://a.test{path}"))
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .expect("a request")
}

async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}

#[test]
fn streams_are_answered_beside_each_other() {
    let rig = Rig::new();
    block_on(async {
        let mut client = client(&rig).await;
        let slow = client.send_request(request("/wait", ""));
        let fast = client.send_request(request("/echo", "hello")).await.expect("an answer");
        assert_eq!((fast.version(), fast.status()), (Version::HTTP_2, StatusCode::OK));
        assert_eq!(text(fast).await, "hello");
        rig.record.until("the slow one runs", |record| record.waiting.load(Ordering::SeqCst) == 1);
        rig.record.open.notify_waiters();
        assert_eq!(text(slow.await.expect("an answer")).await, "waited");
    });
}

#[test]
fn a_panic_ends_its_stream_alone() {
    let rig = Rig::new();
    block_on(async {
        let mut client = client(&rig).await;
        let failed = client.send_request(request("/panic", "")).await.expect("an answer");
        assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let cut = client.send_request(request("/panic-body", "")).await.expect("a head");
        assert!(cut.into_body().collect().await.is_err(), "a reset, not an end");
        let switching = client.send_request(request("/upgrade", "")).await.expect("an answer");
        assert_eq!(switching.status(), StatusCode::INTERNAL_SERVER_ERROR, "no 101 in HTTP/2");
        assert_eq!(text(client.send_request(request("/echo", "x")).await.expect("alive")).await, "x");
    });
}

#[test]
fn more_fields_than_allowed_are_431() {
    let rig = Rig::new();
    block_on(async {
        let mut client = client(&rig).await;
        let mut many = request("/a", "");
        for number in 0..101 {
            let name = http::HeaderName::try_from(format!("x-{number}")).expect("a name");
            many.headers_mut().insert(name, http::HeaderValue::from_static("y"));
        }
        let refused = client.send_request(many).await.expect("an answer");
        assert_eq!(refused.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    });
    assert_eq!(rig.record.lines(), Vec::<String>::new());
}

#[test]
fn draining_sends_goaway_and_lets_streams_end() {
    let mut settings = Settings { drain_grace: Duration::from_secs(20), ..Settings::default() };
    settings.timeouts.idle_in_drain = Duration::from_millis(80);
    let mut rig = Rig::with(1, settings);
    let mut client = raw(&rig, &[headers(5, 1, "/wait")]);
    rig.record.until("it runs", |record| record.waiting.load(Ordering::SeqCst) == 1);
    let record = std::sync::Arc::clone(&rig.record);
    let draining = std::thread::spawn(move || block_on(async { rig.workers.drain().await }));
    client.until("\u{0}\u{0}\u{8}\u{7}\u{0}\u{0}\u{0}\u{0}\u{0}\u{7f}");
    record.open.notify_waiters();
    client.until("waited");
    client.rest();
    assert_eq!(draining.join().expect("no panic"), 0, "nothing had to be cut");
}

#[test]
fn a_connection_ends_in_order_after_its_requests() {
    let settings = Settings { keep_alive_requests_max: Some(1), ..Settings::default() };
    let rig = Rig::with(1, settings);
    block_on(async {
        let mut client = client(&rig).await;
        assert_eq!(text(client.send_request(request("/echo", "x")).await.expect("an answer")).await, "x");
        while client.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HEADERS of a GET for `/a`, or with `big` for `/big`, in literals without indexing.
fn headers(flags: u8, stream: u32, path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).expect("short")];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(&[0x01, 6]);
    block.extend_from_slice(b"a.test");
    frame(1, flags, stream, &block)
}

fn raw(rig: &Rig, parts: &[Vec<u8>]) -> Client {
    let mut client = rig.connect();
    client.send(&[HTTP2_PREFACE.to_vec(), frame(4, 0, 0, &[]), parts.concat()].concat());
    client
}

#[test]
fn the_options_of_http2_are_told_to_the_client() {
    let http2 = Http2Settings { streams_max: 7, header_table_bytes: 0x321, header_list_bytes_max: 0x1234 };
    let settings = Settings { http2, ..Settings::default() };
    let told = raw(&Rig::with(1, settings), &[]).until("\0\x06\0\0\x12\x34");
    for (what, setting) in [("the table of fields", "\0\x01\0\0\x03\x21"), ("streams", "\0\x03\0\0\0\x07")] {
        assert!(told.contains(setting), "{what}: {told:?}");
    }
}

/// Whether the bytes end with GOAWAY(ENHANCE_YOUR_CALM) of ours.
fn told_to_calm_down(rest: &str) -> bool {
    rest.ends_with("\u{0}\u{0}\u{0}\u{b}")
}

#[test]
fn floods_of_control_frames_are_ended() {
    let rig = Rig::new();
    for flood in [frame(6, 0, 0, &[0; 8]), frame(4, 0, 0, &[]), frame(2, 0, 1, &[0, 0, 0, 0, 1])] {
        let rest = raw(&rig, &[flood.repeat(20_000)]).rest();
        assert!(told_to_calm_down(&rest) || rest.len() < 2000 * 17, "{} bytes", rest.len());
    }
    let resets: Vec<u8> = (0..5000_u32)
        .flat_map(|number| {
            [headers(5, 2 * number + 1, "/wait"), frame(3, 0, 2 * number + 1, &[0, 0, 0, 8])].concat()
        })
        .collect();
    raw(&rig, &[resets]).rest();
    block_on(async {
        let mut client = client(&rig).await;
        assert_eq!(text(client.send_request(request("/echo", "x")).await.expect("alive")).await, "x");
    });
}

#[test]
fn the_preface_may_come_byte_by_byte() {
    let rig = Rig::new();
    let mut client = rig.connect();
    for byte in [HTTP2_PREFACE.to_vec(), frame(4, 0, 0, &[]), headers(5, 1, "/a")].concat() {
        client.send(&[byte]);
    }
    client.until("path /a");
}

#[test]
fn half_a_header_block_then_silence_is_closed() {
    let mut settings = Settings::default();
    settings.timeouts.head = Duration::from_millis(80);
    let rig = Rig::with(1, settings);
    for half in [headers(5, 1, "/a")[..12].to_vec(), headers(1, 1, "/a"), vec![0, 0]] {
        raw(&rig, &[half]).rest();
    }
    assert_eq!(rig.record.lines(), Vec::<String>::new());
}

#[test]
fn an_idle_connection_is_closed() {
    let mut settings = Settings::default();
    settings.timeouts.idle = Some(Duration::from_millis(80));
    settings.timeouts.idle_in_drain = Duration::from_millis(80);
    let rig = Rig::with(1, settings);
    let mut client = raw(&rig, &[headers(5, 1, "/a")]);
    client.until("path /a");
    // The farewell is not answered by this client, and still it ends.
    client.rest();
}

/// A body that never ends after its first bytes.
struct Unending(Option<Bytes>);

impl http_body::Body for Unending {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        match self.0.take() {
            Some(bytes) => std::task::Poll::Ready(Some(Ok(http_body::Frame::data(bytes)))),
            None => std::task::Poll::Pending,
        }
    }
}

#[test]
fn a_request_whose_body_does_not_come_in_time_is_answered_408_and_costs_no_other() {
    let mut settings = Settings::default();
    settings.timeouts.read = Some(Duration::from_millis(80));
    let rig = Rig::with(1, settings);
    block_on(async {
        let mut client = client(&rig).await;
        let unending = |path| request(path, "").map(|_| Unending(Some(Bytes::from_static(b"half"))));
        let echo = client.send_request(unending("/echo")).await.expect("an answer");
        assert_eq!(echo.status(), StatusCode::REQUEST_TIMEOUT);
        // Who reads a body beside its answer is told that it broke off.
        let mut streaming = client.send_request(unending("/stream")).await.expect("a head");
        streaming.body_mut().frame().await.expect("a part").expect("no error");
        rig.record.until("the reader was told", |record| record.broken.load(Ordering::SeqCst) == 1);
        let alive = client.send_request(unending("/a")).await.expect("an answer");
        assert_eq!(text(alive).await, "path /a", "whoever wants no body does not wait for it");
    });
}

#[test]
fn pings_do_not_hide_that_a_client_takes_nothing() {
    let mut settings = Settings::default();
    settings.timeouts.write_stall = Duration::from_millis(200);
    let rig = Rig::with(1, settings);
    let no_window = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let mut client = raw(&rig, &[no_window, headers(5, 1, "/big")]);
    let mut pinging = client.socket.try_clone().expect("a socket");
    // Each is answered with 17 bytes: far more than the progress that is asked for, were they counted, and within the budget.
    let pings = std::thread::spawn(move || {
        for _ in 0..900 {
            if pinging.write_all(&frame(6, 0, 0, &[0; 8])).is_err() {
                return true;
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
        false
    });
    client.rest();
    assert!(pings.join().expect("the client's thread ends"), "it was closed while it pinged");
}

#[test]
fn a_stalled_stream_is_cut_off_though_others_go_on() {
    let mut stall = Duration::from_millis(400);
    while !is_cut_off_beside_others(stall) {
        // Nothing went on: the machine had paused for so long. Give it more time.
        stall *= 2;
        assert!(stall < Duration::from_secs(30), "others never go on");
    }
}

/// Whether it was cut off while others went on; false if this client itself paused for so long that the whole connection stalled.
fn is_cut_off_beside_others(stall: Duration) -> bool {
    let mut settings = Settings::default();
    settings.timeouts.write_stall = stall;
    settings.timeouts.body_rate_min = 1 << 30;
    let rig = Rig::with(1, settings);
    let mut client = raw(&rig, &[headers(5, 1, "/big")]);
    let (start, mut before) = (Instant::now(), Instant::now());
    let (mut number, mut longest) = (3, Duration::ZERO);
    // RST_STREAM(CANCEL) of the first stream, whose window was never opened again.
    let reset = [&frame(3, 0, 1, &[0, 0, 0, 8])[3..], &[]].concat();
    loop {
        assert!(start.elapsed() < 50 * stall, "the first stream is held for ever");
        // The others are answered, and the connection's window stays open.
        client.send(&[frame(8, 0, 0, &[0, 0, 1, 0]), headers(5, number, "/other")].concat());
        let heard = client.until_or_end("path /other");
        number += 2;
        longest = longest.max(before.elapsed());
        before = Instant::now();
        match heard {
            Some(heard) if heard.contains(&*String::from_utf8_lossy(&reset[..6])) => break,
            Some(_) => {}
            None => {
                // Of two answers that are a stall apart, one took this client at least half of it.
                assert!(longest >= stall / 2, "all are cut off though others went on");
                return false;
            }
        }
    }
    client.send(&headers(5, number, "/still-here"));
    client.until("path /still-here");
    true
}

#[test]
fn a_client_that_resets_what_was_on_its_way_keeps_its_connection() {
    let mut settings = Settings::default();
    // Long enough for the reset to come before it, on any machine; and over before the connection has been idle for long enough.
    settings.timeouts.write_stall = Duration::from_millis(1500);
    settings.timeouts.idle = Some(Duration::from_millis(2500));
    settings.timeouts.idle_in_drain = Duration::from_millis(50);
    let rig = Rig::with(1, settings);
    let no_window = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let mut client = raw(&rig, &[no_window, headers(5, 1, "/small")]);
    rig.record.until("it is answered", |record| record.lines().len() == 1);
    client.send(&frame(3, 0, 1, &[0, 0, 0, 8]));
    let rest = client.rest();
    assert!(rest.contains("\u{0}\u{0}\u{8}\u{7}"), "in order, with a GOAWAY: what stalls is cut without one");
}

#[test]
fn a_client_that_opens_no_window_is_cut_off() {
    let mut settings = Settings::default();
    settings.timeouts.write_stall = Duration::from_millis(80);
    let rig = Rig::with(1, settings);
    let no_window = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    // A body that goes on, and one that hyper has taken whole.
    for path in ["/big", "/small"] {
        raw(&rig, &[no_window.clone(), headers(5, 1, path)]).rest();
        // A byte now and then is no progress.
        let mut client = raw(&rig, &[no_window.clone(), headers(5, 1, path)]);
        let mut trickling = client.socket.try_clone().expect("a socket");
        let trickle = std::thread::spawn(move || {
            while trickling.write_all(&frame(8, 0, 1, &[0, 0, 0, 1])).is_ok() {
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        client.rest();
        trickle.join().expect("the client's thread ends");
    }
}
