//! Servers that answer before they have read the request, or send more than their answer: the client gets the answer, and nobody
//! goes on for ever or gets what was meant for another.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::proxy::Proxy;

/// Far above what any step takes, and far below the time a whole request may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn proxy(listener: &TcpListener) -> Proxy {
    let address = listener.local_addr().expect("a bound socket has an address");
    let dynamic = format!(
        "http: {{routers: {{r: {{rule: \"PathPrefix(`/`)\", service: s}}}}, services: {{s: {{loadBalancer: {{servers: \
         [{{url: \"http://{address}\"}}]}}}}}}}}"
    );
    Proxy::start("", &dynamic)
}

pub(crate) fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|length| length > 0) {
        head.extend_from_slice(&byte);
    }
    String::from_utf8(head).expect("the proxy writes ASCII")
}

fn connect(proxy: &Proxy) -> TcpStream {
    let client = TcpStream::connect(proxy.address()).expect("the proxy listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a plain socket");
    client
}

#[test]
fn a_body_without_end_stops_when_the_answer_has_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let proxy = proxy(&listener);
    let (tell, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("the proxy connects");
        read_head(&mut socket);
        socket
            .write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\ndone")
            .expect("it is taken");
        let mut rest = [0; 65536];
        while socket.read(&mut rest).is_ok_and(|length| length > 0) {}
        tell.send(()).expect("the test waits");
    });
    let mut client = connect(&proxy);
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("it is taken");
    let mut sending = client.try_clone().expect("a socket");
    let endless = std::thread::spawn(move || while sending.write_all(b"4\r\nmore\r\n").is_ok() {});
    let mut answer = Vec::new();
    let start = Instant::now();
    // How the connection ends does not matter here, as the client goes on sending.
    let mut part = [0; 4096];
    while let Ok(length @ 1..) = client.read(&mut part) {
        answer.extend_from_slice(part.get(..length).expect("so many were read"));
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("\r\n\r\ndone"), "{answer}");
    assert!(start.elapsed() < PATIENCE, "the client is held");
    ended.recv_timeout(PATIENCE).expect("the server is let go");
    endless.join().expect("the client is told");
}

#[test]
fn a_body_goes_on_beside_an_answer_that_its_client_does_not_read_yet() {
    const LENGTH: usize = 32 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let proxy = proxy(&listener);
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("the proxy connects");
        read_head(&mut socket);
        // More than all buffers on the way take: from here on the proxy cannot write to the client. The last byte waits for the
        // body, as nobody need take the rest of one whose answer has ended.
        let mut answering = socket.try_clone().expect("a socket");
        let answer = std::thread::spawn(move || {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
            answering.write_all(head.as_bytes()).and_then(|()| answering.write_all(&vec![b'a'; LENGTH - 1]))
        });
        let mut body = vec![0; LENGTH];
        socket.read_exact(&mut body).expect("the whole body comes");
        answer.join().expect("no panic").expect("the answer is taken");
        socket.write_all(b"a").expect("the last of it is taken");
        body.iter().all(|&byte| byte == b'b')
    });
    let mut client = connect(&proxy);
    let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {LENGTH}\r\n\r\n");
    client.set_write_timeout(Some(PATIENCE)).expect("a plain socket");
    client.write_all(head.as_bytes()).expect("it is taken");
    client.write_all(&vec![b'b'; LENGTH]).expect("the body is taken though the answer waits");
    assert!(read_head(&mut client).starts_with("HTTP/1.1 200 "));
    let mut answer = vec![0; LENGTH];
    client.read_exact(&mut answer).expect("the whole answer");
    assert!(answer.iter().all(|&byte| byte == b'a'));
    assert!(server.join().expect("no panic"), "the body came as it was sent");
}

#[test]
fn bytes_behind_an_answer_without_a_body_are_nobodys_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let proxy = proxy(&listener);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut socket = socket;
                loop {
                    let head = read_head(&mut socket);
                    let answer = match head.split(' ').nth(1) {
                        Some("/good") => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood",
                        Some("/204") => {
                            "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"
                        }
                        Some("/304") => {
                            "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nHTTP/1.1 200 OK\r\n\r\nbad"
                        }
                        Some(_) => {
                            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"
                        }
                        None => return,
                    };
                    if socket.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let mut client = connect(&proxy);
    for (method, path) in [("GET", "/204"), ("GET", "/304"), ("HEAD", "/head")] {
        for (method, path, last) in [(method, path, false), ("GET", "/good", true)] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
            client.write_all(request.as_bytes()).expect("the connection stands");
            let head = read_head(&mut client);
            let mut body = [0; 4];
            if last {
                client.read_exact(&mut body).expect("a body");
                assert_eq!(&body, b"good", "after {path}: {head}");
            }
            assert!(!head.contains("bad"), "{head}");
        }
    }
}

#[test]
fn a_client_that_leaves_or_ends_its_side_takes_its_request_along() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let proxy = proxy(&listener);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let tell = tell.clone();
            // Reads, and never answers.
            std::thread::spawn(move || {
                read_head(&mut socket);
                tell.send("asked").expect("the test waits");
                let mut rest = [0; 4096];
                while socket.read(&mut rest).is_ok_and(|length| length > 0) {}
                tell.send("let go").expect("the test waits");
            });
        }
    });
    for leaves in [false, true] {
        let mut client = connect(&proxy);
        client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("it is taken");
        assert_eq!(told.recv_timeout(PATIENCE), Ok("asked"));
        let mut held = (!leaves).then_some(client);
        if let Some(client) = &mut held {
            client.shutdown(std::net::Shutdown::Write).expect("it stands");
        }
        assert_eq!(told.recv_timeout(PATIENCE), Ok("let go"), "leaves: {leaves}");
        if let Some(mut client) = held {
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).expect("closed in order");
        }
    }
}
