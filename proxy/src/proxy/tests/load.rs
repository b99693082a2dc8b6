//! Traffic that goes on, over real sockets on both sides: while the table is swapped, and while the process ends.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::*;

/// Clients that ask without a pause.
const CLIENTS: usize = 6;
const SWAPS: u64 = 100;

/// A server that keeps its connections and answers with its name.
fn keeping(name: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let address = listener.local_addr().expect("a bound socket has an address");
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
    std::thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let (mut request, mut part) = (Vec::new(), [0; 4096]);
                while let Ok(length @ 1..) = socket.read(&mut part) {
                    request.extend_from_slice(part.get(..length).unwrap_or_default());
                    if request.ends_with(b"\r\n\r\n") {
                        request.clear();
                        drop(socket.write_all(answer.as_bytes()));
                    }
                }
            });
        }
    });
    format!("http://{address}")
}

/// What the clients saw.
#[derive(Default)]
struct Seen {
    answered: AtomicUsize,
    /// Answers that said that they are their connection's last.
    last: AtomicUsize,
    failed: std::sync::Mutex<Vec<String>>,
    /// New connections are refused from now on, or closed before a byte of an answer: a client asks elsewhere.
    ending: AtomicBool,
    stop: AtomicBool,
}

impl Seen {
    fn fail(&self, what: String) {
        self.failed.lock().expect("no panic").push(what);
    }

    fn failures(&self) -> Vec<String> {
        self.failed.lock().expect("no panic").clone()
    }

    async fn until_answered(&self, count: usize) {
        let begun = std::time::Instant::now();
        while self.answered.load(Ordering::SeqCst) < count {
            assert!(begun.elapsed() < PATIENCE, "too few answers: {:?}", self.failures());
            tokio::task::yield_now().await;
        }
    }
}

/// One answer: its body, and whether it is the connection's last. `None`: it ended before a byte of an answer.
fn answer(socket: &mut TcpStream) -> Result<Option<(String, bool)>, String> {
    let mut read = Vec::new();
    loop {
        let mut part = [0; 4096];
        match socket.read(&mut part) {
            Ok(0) if read.is_empty() => return Ok(None),
            Ok(0) => return Err("closed within an answer".to_owned()),
            Ok(length) => read.extend_from_slice(part.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && read.is_empty() => {
                return Ok(None);
            }
            Err(error) => return Err(error.to_string()),
        }
        let text = String::from_utf8_lossy(&read);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if !head.starts_with("http/1.1 200 ") {
                return Err(text.into_owned());
            }
            if length.is_some_and(|length: usize| body.len() >= length) {
                return Ok(Some((body.to_owned(), head.contains("connection: close"))));
            }
        }
    }
}

/// Asks on kept connections until told to stop, or until nobody takes a new connection.
fn drive(address: SocketAddr, seen: &Seen) {
    while !seen.stop.load(Ordering::SeqCst) {
        let Ok(mut socket) = TcpStream::connect(address) else {
            if !seen.ending.load(Ordering::SeqCst) {
                seen.fail("refused".to_owned());
            }
            return;
        };
        socket.set_read_timeout(Some(PATIENCE)).expect("a valid time");
        let mut is_new = true;
        while !seen.stop.load(Ordering::SeqCst) {
            let written = socket.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
            let answered = written.map_err(|error| error.to_string()).and_then(|()| answer(&mut socket));
            match answered {
                Ok(Some((body, last))) if body == "one" || body == "two" => {
                    seen.answered.fetch_add(1, Ordering::SeqCst);
                    if last {
                        seen.last.fetch_add(1, Ordering::SeqCst);
                        break;
                    }
                }
                Ok(None) | Err(_) if is_new && seen.ending.load(Ordering::SeqCst) => break,
                other => return seen.fail(format!("{other:?}, new connection: {is_new}")),
            }
            is_new = false;
        }
    }
}

/// A served proxy, and clients that ask it.
struct Rig {
    proxy: ProxyHandle,
    control: Control,
    _endpoint: MemoryTransport,
    seen: Arc<Seen>,
    clients: Vec<std::thread::JoinHandle<()>>,
    address: SocketAddr,
}

impl Rig {
    async fn new(map: &ConfigMap) -> Self {
        let hub = MemoryHub::new();
        let endpoint = hub.endpoint("c1", ClusterId(CLUSTER), PeerRole::Controller, 1).expect("a free name");
        let proxy = start(&hub, "p1", None);
        let mut control = Control::accept(&endpoint).await;
        control.stages(1, map).await;
        let address = web(&proxy).await;
        let seen = Arc::new(Seen::default());
        let client = |_| {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || drive(address, &seen))
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { proxy, control, _endpoint: endpoint, seen, clients, address }
    }

    async fn clients_end(&mut self) {
        let clients = std::mem::take(&mut self.clients);
        let ended =
            tokio::task::spawn_blocking(move || clients.into_iter().all(|client| client.join().is_ok()));
        assert!(timeout(PATIENCE, ended).await.expect("they end").expect("no panic"));
    }
}

#[tokio::test]
async fn no_request_fails_over_a_hundred_swaps_of_the_table() {
    let names = ["one", "two"];
    let maps = names.map(|name| configuration(&keeping(name)));
    let mut rig = Rig::new(&maps[0]).await;
    rig.seen.until_answered(CLIENTS).await;
    for (revision, turn) in (2..2 + SWAPS).zip([1, 0].into_iter().cycle()) {
        let before = rig.seen.answered.load(Ordering::SeqCst);
        let stages = rig.control.stages(revision, &maps[turn]).await;
        assert_eq!(stages.last(), Some(&Stage::Serving), "{stages:?}");
        assert_eq!(asked(rig.address, "a.test", "/").await, ok(names[turn]), "what is called serving");
        rig.seen.until_answered(before + CLIENTS).await;
    }
    rig.seen.stop.store(true, Ordering::SeqCst);
    rig.clients_end().await;
    assert_eq!(rig.seen.failures(), [] as [String; 0]);
    assert_eq!(rig.seen.last.load(Ordering::SeqCst), 0, "a change closes nobody's connection");
    rig.proxy.shutdown().await;
}

/// Options of an entry point, each of which may be changed while it is open.
fn options_of_an_entry_point() -> Vec<serde_json::Value> {
    vec![
        json!({"forwardedHeaders": {"insecure": true, "connection": ["X-Kept"], "notAppendXForwardedFor": true}}),
        json!({"http": {"sanitizePath": false, "encodeQuerySemicolons": true, "maxHeaderBytes": 9000}}),
        json!({"http": {"encodedCharacters": {"allowEncodedSlash": false}, "underscoreHeadersStrategy": "keep"}}),
        json!({"proxyProtocol": {"trustedIPs": ["127.0.0.0/8"]}}),
        json!({"transport": {"respondingTimeouts": {"readTimeout": "50s", "writeTimeout": "50s", "idleTimeout": "50s"}}}),
        json!({"transport": {"keepAliveMaxRequests": 9, "keepAliveMaxTime": "50s", "lifeCycle": {"graceTimeOut": "5s"}}}),
        json!({"http2": {"maxConcurrentStreams": 9, "maxDecoderHeaderTableSize": 8192}}),
        json!({"asDefault": true, "reusePort": true, "observability": {"accessLogs": false}}),
        json!({}),
    ]
}

/// Waits until these entry points are open, `web` on `ip`; where they listen.
async fn open(proxy: &ProxyHandle, names: &[&str], ip: &str) -> Vec<SocketAddr> {
    let mut entry_points = proxy.entry_points();
    let found = entry_points.wait_for(|all| {
        let web = all.get("web").and_then(|status| status.as_ref().ok());
        all.len() == names.len()
            && names.iter().all(|name| all.get(*name).is_some_and(Result::is_ok))
            && web.is_some_and(|address| address.ip().to_string() == ip)
    });
    let found = timeout(PATIENCE, found).await.expect("in time").expect("the table thread lives");
    found.values().filter_map(|status| status.as_ref().ok()).copied().collect()
}

#[tokio::test]
async fn no_connection_is_lost_while_entry_points_are_changed_opened_closed_and_moved() {
    let plain = configuration(&keeping("one"));
    let mut rig = Rig::new(&plain).await;
    rig.seen.until_answered(CLIENTS).await;
    let with = |name: &str, address: &str, mut options: serde_json::Value| {
        options["address"] = json!(address);
        let mut map = plain.clone();
        put(&mut map, &format!("static/entryPoints/{name}"), &options);
        map
    };
    let (here, away, one) = ("127.0.0.1", "127.0.0.2", ["web"].as_slice());
    let changed = options_of_an_entry_point().into_iter().map(|options| with("web", "127.0.0.1:0", options));
    let mut turns: Vec<(ConfigMap, &[&str], &str)> = changed.map(|map| (map, one, here)).collect();
    // A second one comes and goes, and comes again; then the first one moves away under its clients.
    let second = with("second", "127.0.0.1:0", json!({}));
    let two = ["second", "web"].as_slice();
    turns.extend([(second.clone(), two, here), (plain.clone(), one, here), (second, two, here)]);
    turns.push((with("web", "127.0.0.2:0", json!({})), one, away));
    for (revision, (map, names, ip)) in (2..).zip(turns) {
        let before = rig.seen.answered.load(Ordering::SeqCst);
        let stages = rig.control.stages(revision, &map).await;
        assert_eq!(stages.last(), Some(&Stage::Serving), "{stages:?}");
        for address in open(&rig.proxy, names, ip).await {
            assert_eq!(asked(address, "a.test", "/").await, ok("one"), "a new connection");
        }
        rig.seen.until_answered(before + CLIENTS).await;
    }
    rig.seen.stop.store(true, Ordering::SeqCst);
    rig.clients_end().await;
    assert_eq!(rig.seen.failures(), [] as [String; 0]);
    assert_eq!(rig.seen.last.load(Ordering::SeqCst), 0, "each still has the connection that it began with");
    rig.proxy.shutdown().await;
}

#[tokio::test]
async fn no_request_fails_while_a_proxy_under_load_drains() {
    let mut rig = Rig::new(&configuration(&keeping("one"))).await;
    rig.seen.until_answered(20 * CLIENTS).await;
    rig.seen.ending.store(true, Ordering::SeqCst);
    assert_eq!(rig.proxy.drain().await, 0, "none has to be cut");
    rig.clients_end().await;
    assert_eq!(rig.seen.failures(), [] as [String; 0]);
    assert!(rig.seen.last.load(Ordering::SeqCst) >= CLIENTS, "each connection was told that it ends");
}
