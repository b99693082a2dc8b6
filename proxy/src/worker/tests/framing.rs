//! What the guard lets through and what it answers by itself, seen from the client.

use std::io::Write;
use std::sync::atomic::Ordering;

use super::rig::{Rig, get, post};

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let rig = Rig::new();
    let mut client = rig.connect();
    assert!(client.get("/a").starts_with("HTTP/1.1 200 OK\r\n"));
    client.get("/b");
    client.send(&[get("/c"), post("/echo", "Content-Length: 3", "abc"), get("/d")].concat());
    client.until("path /c");
    client.until("abc");
    client.until("path /d");
    assert_eq!(rig.record.lines(), ["GET /a", "GET /b", "GET /c", "POST /echo", "GET /d"]);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let rig = Rig::new();
    let mut client = rig.connect();
    for byte in post("/echo", "Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n") {
        client.socket.write_all(&[byte]).expect("the server reads on");
    }
    client.until("hello");
    client.get("/after");
}

#[test]
fn refusals_close_and_nothing_reaches_the_application() {
    let rig = Rig::new();
    let both = "Content-Length: 6\r\nTransfer-Encoding: chunked";
    let cases: [(Vec<u8>, &str); 14] = [
        ([post("/a", both, "0\r\n\r\n"), get("/b")].concat(), "400 Bad Request"),
        (post("/a", "Transfer-Encoding: gzip, chunked", ""), "501 Not Implemented"),
        (post("/a", "Expect: y 100-continue", ""), "417 Expectation Failed"),
        (b"GET /a HTTP/1.1\n\n".to_vec(), "400 Bad Request"),
        (b"GET /a HTTP/1.1\r\n\r\n".to_vec(), "400 Bad Request"),
        (b"GET /a HTTP/2.0\r\nHost: a\r\n\r\n".to_vec(), "505 HTTP Version Not Supported"),
        (b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), "400 Bad Request"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000)).into_bytes(), "414 URI Too Long"),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(1 << 21)).into_bytes(),
            "431 Request Header",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(101)).into_bytes(),
            "431 Request Header",
        ),
        (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), "400 Bad Request"),
        (b"\x00\x01\x02\xff\r\n\r\n".to_vec(), "400 Bad Request"),
        (b"PROXY TCP4 9.9.9.9 1.1.1.1 1 80\r\n\r\n".to_vec(), "400 Bad Request"),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), "400 Bad Request"),
    ];
    for (input, status) in cases {
        let shown = String::from_utf8_lossy(&input[..input.len().min(60)]).into_owned();
        let answer = rig.exchange(&input);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{shown:?} got {answer:?}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "one answer only: {answer:?}");
    }
    assert_eq!(rig.record.lines(), Vec::<String>::new());
    rig.connect().get("/alive");
}

#[test]
fn earlier_requests_are_answered_before_a_refusal() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.send(&[get("/a"), get("/wait"), b"GET /bad\r\n".to_vec()].concat());
    client.until("path /a");
    rig.record.until("the slow request runs", |record| record.waiting.load(Ordering::SeqCst) == 1);
    rig.record.open.notify_waiters();
    let rest = client.rest();
    let (waited, refused) = rest.split_once("waited").expect("the slow answer comes first");
    assert!(waited.contains("200 OK") && refused.starts_with("HTTP/1.1 400"), "{rest:?}");
}

#[test]
fn a_bad_chunk_ends_the_request_that_carries_it() {
    let rig = Rig::new();
    for bad in ["5\nhello\r\n", "5\r\nhelloXX0\r\n\r\n", "+5\r\nhello\r\n", "5\r\nhello\r\n0\n\r\n"] {
        let answer = rig.exchange(&post("/echo", "Transfer-Encoding: chunked", bad));
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{bad:?} got {answer:?}");
    }
    assert_eq!(rig.record.lines(), Vec::<String>::new(), "refused before they began");
    let mut client = rig.connect();
    client.send(&post("/echo", "Transfer-Encoding: chunked", "5\r\nhello\r\n"));
    rig.record.until("it runs", |record| record.lines() == ["POST /echo"]);
    client.send(b"nonsense");
    assert!(client.rest().starts_with("HTTP/1.1 400 Bad Request\r\n"));
    assert_eq!(rig.record.abandoned.load(Ordering::SeqCst), 1, "dropped before its answer");
}

#[test]
fn after_an_answer_has_begun_a_bad_chunk_only_cuts() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.send(&post("/stream", "Transfer-Encoding: chunked", "5\r\nhello\r\n"));
    client.until("part");
    client.send(b"nonsense");
    let rest = client.rest();
    assert!(!rest.contains("400") && !rest.contains("0\r\n\r\n"), "{rest:?}");
}

#[test]
fn a_body_is_never_read_as_a_request() {
    let rig = Rig::new();
    let hidden = "GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let answer = rig.exchange(&post(
        "/local",
        &format!("Connection: close\r\nContent-Length: {}", hidden.len()),
        hidden,
    ));
    assert!(answer.ends_with("path /local"), "{answer:?}");
    let mut client = rig.connect();
    client.send(b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\nGET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(client.rest().ends_with("path /"));
    assert_eq!(rig.record.lines(), ["POST /local", "GET /"]);
}

#[test]
fn a_head_of_a_mebibyte_passes() {
    let rig = Rig::new();
    let mut client = rig.connect();
    let length = (1 << 20) - 100;
    client.send(format!("GET /length HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(length)).as_bytes());
    client.until(&length.to_string());
    client.get("/again");
}

#[test]
fn the_application_sees_the_whole_target() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.send(&[get("/a#b?c"), get("/x")].concat());
    client.until("path /x");
    assert_eq!(rig.record.lines(), ["GET /a#b?c", "GET /x"]);
}

#[test]
fn continue_is_said_when_the_body_is_wanted() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.send(&post("/echo", "Content-Length: 5\r\nExpect: 100-continue", ""));
    client.until("HTTP/1.1 100 Continue\r\n\r\n");
    client.send(b"hello");
    assert!(client.until("hello").starts_with("HTTP/1.1 200 OK"));
    client.send(&post("/local", "Content-Length: 5\r\nExpect: 100-continue", ""));
    assert!(
        client.rest().starts_with("HTTP/1.1 200 OK"),
        "an early answer, then the end: the body may still come"
    );
}

#[test]
fn interim_answers_go_before_the_final_one() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.send(&[get("/a"), get("/interim"), get("/b")].concat());
    client.until("path /a");
    let interim = client.until("\r\n\r\n");
    assert_eq!(interim, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
    assert!(client.until("final").starts_with("HTTP/1.1 200 OK\r\n"));
    client.until("path /b");
}

#[test]
fn a_panic_ends_its_request_alone() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.send(&get("/panic"));
    assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 500 Internal Server Error\r\n"));
    client.get("/same-connection");
    let cut = rig.exchange(&get("/panic-body"));
    assert!(cut.contains("part") && !cut.ends_with("0\r\n\r\n"), "{cut:?}");
    client.get("/panic-drop");
    client.get("/same-connection");
    let mut other = rig.connect();
    other.send(&get("/panics"));
    assert!(other.until("panics 3").ends_with("panics 3"), "each is counted");
}
