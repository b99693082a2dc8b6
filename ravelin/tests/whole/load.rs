//! Traffic over the end of a real process: SIGTERM while clients ask without a pause.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::driver::TIME_MAX;
use crate::standalone::Standalone;

const CLIENTS: usize = 4;
const HELLO: &str = "http:\n  routers:\n    hello: {rule: Host(`hello.test`), service: backend}\n  services:\n    \
                     backend: {loadBalancer: {servers: [{url: 'http://{backend}'}]}}\n";

/// Reads one answer. `None`: the connection ended before a byte of it came.
fn answer(socket: &mut TcpStream) -> Result<Option<String>, String> {
    let mut read = Vec::new();
    loop {
        let mut part = [0; 4096];
        match socket.read(&mut part) {
            Ok(0) if read.is_empty() => return Ok(None),
            Ok(0) => return Err(format!("cut: {:?}", String::from_utf8_lossy(&read))),
            Ok(length) => read.extend_from_slice(part.get(..length).expect("so many were read")),
            Err(error) if read.is_empty() && error.kind() == std::io::ErrorKind::ConnectionReset => {
                return Ok(None);
            }
            Err(error) => return Err(error.to_string()),
        }
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if length.is_some_and(|length: usize| body.len() >= length) {
            return Ok(Some(text));
        }
    }
}

/// Asks until nobody takes a connection any more. A new connection that is refused, or closed before a byte of an answer, is no
/// failure once the process was told to end: its client asks elsewhere.
fn drive(web: SocketAddr, ending: &AtomicBool, answered: &AtomicUsize) -> Result<(), String> {
    loop {
        let mut socket = match TcpStream::connect(web) {
            Ok(socket) => socket,
            Err(_) if ending.load(Ordering::SeqCst) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        socket.set_read_timeout(Some(TIME_MAX)).map_err(|error| error.to_string())?;
        let mut is_new = true;
        loop {
            let sent = socket.write_all(b"GET / HTTP/1.1\r\nHost: hello.test\r\n\r\n");
            match sent.map_err(|error| error.to_string()).and_then(|()| answer(&mut socket)) {
                Ok(Some(text)) if text.starts_with("http/1.1 200 ") => {
                    answered.fetch_add(1, Ordering::SeqCst);
                    if text.contains("connection: close") {
                        break;
                    }
                }
                Ok(None) | Err(_) if is_new && ending.load(Ordering::SeqCst) => break,
                other => return Err(format!("{other:?}, new connection: {is_new}")),
            }
            is_new = false;
        }
    }
}

#[test]
fn a_termination_under_load_fails_no_request() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/", 200);
    let (ending, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let client = |_| {
        let (web, ending, answered) = (all.web, Arc::clone(&ending), Arc::clone(&answered));
        std::thread::spawn(move || drive(web, &ending, &answered))
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    all.process.until("they are answered", || answered.load(Ordering::SeqCst) >= 50 * CLIENTS);
    ending.store(true, Ordering::SeqCst);
    assert!(all.process.terminate(), "{}", all.process.printed());
    for client in clients {
        assert_eq!(client.join().expect("no panic"), Ok(()));
    }
}
