//! Answers that are thrown away because another is wanted: a small one leaves its connection to the next request, a large one does not
//! hold anybody up.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use crate::proxy::Proxy;

const PATIENCE: Duration = Duration::from_secs(20);
const CONFIGURATION: &str = "
http:
  routers:
    again: {rule: 'Host(`again.test`)', service: s, middlewares: [again]}
    page: {rule: 'Host(`page.test`)', service: s, middlewares: [page]}
    over: {rule: 'Host(`over.test`)', service: over}
  middlewares:
    again: {retry: {attempts: 2, status: ['500']}}
    page: {errors: {status: ['500'], service: s, query: /page}}
  services:
    s: {loadBalancer: {servers: [{url: 'http://SERVER'}]}}
    over: {failover: {service: s, fallback: s, errors: {status: ['500']}}}
";

/// Every other answer on the whole server is a 500 of so many bytes. Tells the number of the connection of each request.
fn server(bytes: usize, tell: mpsc::Sender<usize>) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let accepting = listener.try_clone().expect("a socket");
    std::thread::spawn(move || {
        let requests = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        for (connection, socket) in accepting.incoming().flatten().enumerate() {
            let (tell, requests) = (tell.clone(), std::sync::Arc::clone(&requests));
            std::thread::spawn(move || serve(socket, bytes, &requests, || tell.send(connection).is_ok()));
        }
    });
    listener
}

fn serve(
    mut socket: TcpStream,
    bytes: usize,
    requests: &std::sync::atomic::AtomicUsize,
    tell: impl Fn() -> bool,
) {
    while crate::early::read_head(&mut socket).ends_with("\r\n\r\n") && tell() {
        let number = requests.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let (status, body) = if number.is_multiple_of(2) {
            ("500 Oops", "x".repeat(bytes))
        } else {
            ("200 OK", "fine".into())
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if socket.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn a_small_answer_that_is_thrown_away_keeps_its_connection_and_a_large_one_does_not() {
    for (bytes, connections) in [(10, [0, 0]), (32 << 20, [0, 1])] {
        for host in ["again.test", "page.test", "over.test"] {
            let (tell, told) = mpsc::channel();
            let server = server(bytes, tell);
            let address = server.local_addr().expect("a bound socket has an address");
            let proxy = Proxy::start("", &CONFIGURATION.replace("SERVER", &address.to_string()));
            let mut client = TcpStream::connect(proxy.address()).expect("the proxy listens");
            client.set_read_timeout(Some(PATIENCE)).expect("a plain socket");
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            client.write_all(request.as_bytes()).expect("it is taken");
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("an answer");
            assert!(answer.ends_with("\r\n\r\nfine"), "{host}: {answer}");
            let asked = [(), ()].map(|()| told.recv_timeout(PATIENCE).expect("two requests"));
            assert_eq!(asked, connections, "{host}, {bytes} bytes");
        }
    }
}
