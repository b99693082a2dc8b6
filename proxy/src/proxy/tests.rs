//! Checks of the whole data plane: from a control node in memory to an answer on a socket, and from the disk without any.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use ravelin_config::feed::{FEED_VERSION, Stage, ToControl, ToControlV1, ToProxy, ToProxyV1, whole_to_parts};
use ravelin_config::static_config::{Ping, StaticConfig};
use ravelin_config::{ConfigMap, Key};
use ravelin_transport::memory::{MemoryHub, MemoryTransport};
use ravelin_transport::{ClusterId, Connection, Expected, LaneReceiver, LaneSender, PeerRole, codec};
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::compile::tests::{put, put_internal, server};

mod disk;
mod load;
mod log;
mod marked;
pub(super) mod panics;
mod secrets;
mod tightened;

const CLUSTER: [u8; 16] = [0; 16];
/// Far above what any step takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that answers every connection with its name.
fn upstream(name: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let address = listener.local_addr().expect("a bound socket has an address");
    std::thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let mut request = [0; 4096];
            if socket.read(&mut request).is_ok_and(|length| length > 0) {
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", name.len());
                drop(socket.write_all(format!("{head}{name}").as_bytes()));
            }
        }
    });
    format!("http://{address}")
}

/// One request; the status line and the body.
fn ask(address: SocketAddr, host: &str, path: &str) -> (String, String) {
    let mut socket = TcpStream::connect(address).expect("the entry point is open");
    socket.set_read_timeout(Some(PATIENCE)).expect("a valid time");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("it takes a request");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer and its end");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

async fn asked(address: SocketAddr, host: &'static str, path: &'static str) -> (String, String) {
    tokio::task::spawn_blocking(move || ask(address, host, path)).await.expect("an answer")
}

fn configuration(url: &str) -> ConfigMap {
    let mut map = ConfigMap::new();
    put(&mut map, "static/entryPoints/web", &json!({"address": "127.0.0.1:0"}));
    put(&mut map, "static/ping", &json!({"entryPoint": "web"}));
    let ping = Ping { entry_point: "web".to_owned(), ..Ping::default() };
    put_internal(&mut map, &StaticConfig { ping: Some(ping), ..StaticConfig::default() });
    put(&mut map, "http/services/s@file", &server(url));
    put(&mut map, "http/routers/r@file", &json!({"rule": "Host(`a.test`)", "service": "s"}));
    map
}

fn id(revision: u64, map: &ConfigMap) -> GenerationId {
    GenerationId { cluster: CLUSTER, recovery_epoch: 0, revision, digest: map.digest() }
}

struct Control {
    _connection: Arc<dyn Connection>,
    sender: LaneSender,
    receiver: LaneReceiver,
}

impl Control {
    async fn accept(endpoint: &MemoryTransport) -> Self {
        let connection = endpoint.accept().await.expect("a proxy dials");
        let (_, sender, receiver) = connection.accept().await.expect("a lane is opened");
        Self { _connection: connection, sender, receiver }
    }

    async fn hear(&mut self) -> ToControl {
        let frame = timeout(PATIENCE, self.receiver.receive()).await.expect("the proxy speaks");
        let frame = frame.expect("the lane stands").expect("it goes on");
        codec::decode_into::<ToControlV1, _>(FEED_VERSION, &frame).expect("a message")
    }

    async fn stages(&mut self, revision: u64, map: &ConfigMap) -> Vec<Stage> {
        for part in whole_to_parts(id(revision, map), map, revision, 1 << 16) {
            let frame = codec::encode(FEED_VERSION, &ToProxyV1::from(ToProxy::Part(part))).expect("small");
            self.sender.send(frame).await.expect("the lane stands");
        }
        let mut stages = Vec::new();
        loop {
            let ToControl::Acknowledge { generation, stage } = self.hear().await else { continue };
            assert_eq!(generation, id(revision, map));
            stages.push(stage.clone());
            if matches!(stage, Stage::Serving | Stage::Refused { .. }) {
                return stages;
            }
        }
    }
}

fn options(data_dir: Option<PathBuf>) -> ProxyOptions {
    ProxyOptions { workers: 2, sealing_key: Some([7; 32]), data_dir, ..ProxyOptions::new(CLUSTER) }
}

fn start(hub: &MemoryHub, name: &str, data_dir: Option<PathBuf>) -> ProxyHandle {
    let endpoint = hub.endpoint(name, ClusterId(CLUSTER), PeerRole::Proxy, 1).expect("a free name");
    let target =
        Target { address: "c1".to_owned(), expect: Expected { role: PeerRole::Controller, node: None } };
    Proxy::start(options(data_dir), Arc::new(endpoint), vec![target]).expect("it starts")
}

async fn web(proxy: &ProxyHandle) -> SocketAddr {
    let mut entry_points = proxy.entry_points();
    let found = entry_points.wait_for(|all| all.get("web").is_some_and(Result::is_ok));
    let found = timeout(PATIENCE, found).await.expect("it opens").expect("the table thread lives");
    *found.get("web").and_then(|status| status.as_ref().ok()).expect("just seen")
}

async fn served(proxy: &ProxyHandle, generation: GenerationId) {
    let mut serving = proxy.serving();
    let reached = serving.wait_for(|serving| *serving == Some(generation));
    drop(timeout(PATIENCE, reached).await.expect("it is served").expect("the proxy lives"));
}

fn ok(body: &str) -> (String, String) {
    ("HTTP/1.1 200 OK".to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_generation_is_served_changed_refused_and_found_again_on_the_disk() {
    let (first, second) = (upstream("one"), upstream("two"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let hub = MemoryHub::new();
    let endpoint = hub.endpoint("c1", ClusterId(CLUSTER), PeerRole::Controller, 1).expect("a free name");
    let proxy = start(&hub, "p1", Some(directory.path().to_owned()));
    assert!(!proxy.ready(), "no table yet");
    let mut control = Control::accept(&endpoint).await;
    let map = configuration(&first);
    assert_eq!(control.stages(1, &map).await, [Stage::Received, Stage::Validated, Stage::Serving]);
    assert!(proxy.ready());
    let address = web(&proxy).await;
    assert_eq!(asked(address, "a.test", "/").await, ok("one"));
    assert_eq!(asked(address, "b.test", "/").await.0, "HTTP/1.1 404 Not Found");
    assert_eq!(asked(address, "x", "/ping").await, ok("OK"));

    let changed = configuration(&second);
    assert_eq!(control.stages(2, &changed).await, [Stage::Received, Stage::Validated, Stage::Serving]);
    assert_eq!(
        asked(address, "a.test", "/").await,
        ok("two"),
        "the next request gets what is called serving"
    );

    let mut unreadable = changed.clone();
    unreadable.put(Key::new("http/routers/r@file").expect("a key"), Arc::from(b"\x63".as_slice()));
    let stages = control.stages(3, &unreadable).await;
    assert!(matches!(stages.as_slice(), [Stage::Received, Stage::Refused { .. }]), "{stages:?}");
    assert_eq!(asked(address, "a.test", "/").await, ok("two"), "a refused generation changes nothing");
    proxy.shutdown().await;
    drop((proxy, control, endpoint));

    // Another life of the same node, with no control node to be found.
    let alone = MemoryHub::new();
    let proxy = start(&alone, "p1", Some(directory.path().to_owned()));
    served(&proxy, id(2, &changed)).await;
    assert_eq!(asked(web(&proxy).await, "a.test", "/").await, ok("two"));
    assert!(proxy.ready());
    assert_eq!(proxy.drain().await, 0);
    assert!(!proxy.ready());
}

#[tokio::test]
async fn what_cannot_be_kept_is_served_and_kept_as_soon_as_it_can_be() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let folder = directory.path().join(LAST_GOOD_FOLDER);
    let hub = MemoryHub::new();
    let endpoint = hub.endpoint("c1", ClusterId(CLUSTER), PeerRole::Controller, 1).expect("a free name");
    let proxy = start(&hub, "p1", Some(directory.path().to_owned()));
    let mut control = Control::accept(&endpoint).await;
    std::fs::remove_dir_all(&folder).expect("it is ours");
    let map = configuration(&upstream("one"));
    assert_eq!(control.stages(1, &map).await, [Stage::Received, Stage::Validated, Stage::Serving]);
    assert_eq!(asked(web(&proxy).await, "a.test", "/").await, ok("one"), "traffic goes on");
    std::fs::create_dir(&folder).expect("it may be made");
    let kept = || {
        std::fs::read_dir(&folder)
            .expect("it is there")
            .flatten()
            .any(|entry| entry.path().extension().is_some_and(|extension| extension == "sealed"))
    };
    let start = std::time::Instant::now();
    while !kept() {
        assert!(start.elapsed() < PATIENCE, "it is never tried again");
        tokio::task::yield_now().await;
    }
    proxy.shutdown().await;
}

/// A server that keeps its connections, tells when one ends, and answers `/slow` when told to.
fn keeping_upstream() -> (String, std::sync::mpsc::Receiver<()>, std::sync::mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let address = listener.local_addr().expect("a bound socket has an address");
    let (tell, ended) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(std::sync::Mutex::new(wait));
    std::thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let (tell, wait) = (tell.clone(), Arc::clone(&wait));
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                while let Ok(length @ 1..) = socket.read(&mut request) {
                    if request.get(..length).is_some_and(|head| head.starts_with(b"GET /slow")) {
                        let _ = wait.lock().expect("no panic").recv();
                    }
                    drop(socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nkept"));
                }
                let _ = tell.send(());
            });
        }
    });
    (format!("http://{address}"), ended, go)
}

#[tokio::test]
async fn a_drain_lets_idle_connections_to_servers_go_and_requests_come_to_their_end() {
    let (url, ended, go) = keeping_upstream();
    let hub = MemoryHub::new();
    let endpoint = hub.endpoint("c1", ClusterId(CLUSTER), PeerRole::Controller, 1).expect("a free name");
    let proxy = Arc::new(start(&hub, "p1", None));
    let mut control = Control::accept(&endpoint).await;
    control.stages(1, &configuration(&url)).await;
    let address = web(&proxy).await;
    assert_eq!(asked(address, "a.test", "/").await, ok("kept"));
    let mut slow = TcpStream::connect(address).expect("the entry point is open");
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("it takes a request");
    // Whichever worker has it: another connection is idle beside it.
    assert_eq!(asked(address, "a.test", "/").await, ok("kept"));
    let draining = tokio::spawn({
        let proxy = Arc::clone(&proxy);
        async move { proxy.drain().await }
    });
    let told =
        tokio::task::spawn_blocking(move || (ended.recv_timeout(PATIENCE), ended)).await.expect("no panic");
    told.0.expect("an idle connection is closed while a request runs");
    go.send(()).expect("the server waits");
    let answered = tokio::task::spawn_blocking(move || {
        let mut answer = String::new();
        slow.read_to_string(&mut answer).map(|_| answer)
    });
    let answer = answered.await.expect("no panic").expect("an answer and its end");
    assert!(answer.contains("connection: close") && answer.ends_with("kept"), "{answer}");
    assert_eq!(draining.await.expect("no panic"), 0);
}

#[tokio::test]
async fn a_taken_port_is_told_and_opened_once_it_is_free() {
    let blocker = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let taken = blocker.local_addr().expect("a bound socket has an address");
    let hub = MemoryHub::new();
    let endpoint = hub.endpoint("c1", ClusterId(CLUSTER), PeerRole::Controller, 1).expect("a free name");
    let target =
        Target { address: "c1".to_owned(), expect: Expected { role: PeerRole::Controller, node: None } };
    let transport = hub.endpoint("p1", ClusterId(CLUSTER), PeerRole::Proxy, 1).expect("a free name");
    let addresses = BTreeMap::from([("web".to_owned(), taken.to_string())]);
    let options = ProxyOptions { entry_point_addresses: addresses, ..options(None) };
    let proxy = Proxy::start(options, Arc::new(transport), vec![target]).expect("it starts");
    let mut control = Control::accept(&endpoint).await;
    let map = configuration(&upstream("one"));
    assert_eq!(control.stages(1, &map).await, [Stage::Received, Stage::Validated, Stage::Serving]);
    let mut entry_points = proxy.entry_points();
    let failed = entry_points.wait_for(|all| all.get("web").is_some_and(Result::is_err));
    let failed =
        timeout(PATIENCE, failed).await.expect("it is tried").expect("the table thread lives").clone();
    let error = failed.get("web").and_then(|status| status.as_ref().err()).expect("just seen").to_string();
    assert!(error.contains(&format!("entry point \"web\": cannot listen on {taken}")), "{error}");
    drop(blocker);
    let address = web(&proxy).await;
    assert_eq!((address, asked(address, "a.test", "/").await), (taken, ok("one")));
    proxy.shutdown().await;
}
