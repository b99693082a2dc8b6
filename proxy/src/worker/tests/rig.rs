//! Starts workers on a free port, and clients on plain blocking sockets.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::application::{Record, TestApplication};
use crate::connection::Settings;
use crate::listener::Wanted;
use crate::worker::{WorkerOptions, Workers};

pub(super) struct Rig {
    pub(super) workers: Workers,
    pub(super) record: Arc<Record>,
    pub(super) address: SocketAddr,
}

/// One entry point called `web`.
pub(super) fn web(address: &str, settings: Settings) -> BTreeMap<Arc<str>, Wanted> {
    let wanted = Wanted { address: address.parse(), settings: Arc::new(settings), reuse_port: false };
    BTreeMap::from([(Arc::from("web"), wanted)])
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(1, Settings::default())
    }

    pub(super) fn with(count: usize, settings: Settings) -> Self {
        let record = Arc::new(Record::default());
        let options = WorkerOptions { workers: count, connections_max: 10_000 };
        let given = Arc::clone(&record);
        let start = move |index| TestApplication::new(index, Arc::clone(&given));
        let mut workers = Workers::start(options, start).expect("threads can be had");
        let status = workers.listen(web("127.0.0.1:0", settings));
        let address = *status["web"].as_ref().expect("a free port");
        Self { workers, record, address }
    }

    pub(super) fn connect(&self) -> Client {
        connect(self.address)
    }

    /// What a client gets that sends `input` and reads to the end.
    pub(super) fn exchange(&self, input: &[u8]) -> String {
        let mut client = self.connect();
        client.send(input);
        client.rest()
    }
}

pub(super) fn connect(address: SocketAddr) -> Client {
    Client::over(TcpStream::connect(address).expect("the entry point is open"))
}

pub(super) struct Client {
    pub(super) socket: TcpStream,
    ahead: Vec<u8>,
}

impl Client {
    pub(super) fn over(socket: TcpStream) -> Self {
        // Far beyond what any test takes: a test that hangs must say so.
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a plain socket");
        socket.set_nodelay(true).expect("a plain socket");
        Self { socket, ahead: Vec::new() }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        // A server that has refused may close while we still send.
        match self.socket.write_all(bytes) {
            Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                panic!("cannot send: {error}")
            }
            _ => {}
        }
    }

    /// Keeps no memory of its own while nothing is read.
    pub(super) fn forget_buffer(&mut self) {
        assert!(self.ahead.is_empty());
        self.ahead = Vec::new();
    }

    fn more(&mut self) -> bool {
        let mut part = [0; 65536];
        match self.socket.read(&mut part) {
            Ok(0) => false,
            Ok(bytes) => {
                self.ahead.extend_from_slice(&part[..bytes]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("cannot read: {error}, so far {:?}", String::from_utf8_lossy(&self.ahead)),
        }
    }

    /// Everything up to the end of the connection.
    pub(super) fn rest(&mut self) -> String {
        while self.more() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.ahead)).into_owned()
    }

    /// Everything up to and including `mark`.
    pub(super) fn until(&mut self, mark: &str) -> String {
        let found = self.until_or_end(mark);
        found.unwrap_or_else(|| {
            panic!("closed before {mark:?}, after {:?}", String::from_utf8_lossy(&self.ahead))
        })
    }

    /// The same; none if the connection ends before.
    pub(super) fn until_or_end(&mut self, mark: &str) -> Option<String> {
        loop {
            let found = self.ahead.windows(mark.len()).position(|window| window == mark.as_bytes());
            if let Some(at) = found {
                let taken: Vec<u8> = self.ahead.drain(..at + mark.len()).collect();
                return Some(String::from_utf8_lossy(&taken).into_owned());
            }
            if !self.more() {
                return None;
            }
        }
    }

    pub(super) fn get(&mut self, path: &str) -> String {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n").as_bytes());
        self.until(&format!("path {path}"))
    }
}

pub(super) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n").into_bytes()
}

pub(super) fn post(path: &str, fields: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n\r\n{body}").into_bytes()
}

/// Runs a future that needs a runtime.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be had").block_on(future)
}
