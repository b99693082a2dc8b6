//! The shell with real tasks, threads and sockets: standalone in memory, three nodes in memory and over QUIC.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use ravelin_config::feed::{
    FEED_VERSION, FEED_VERSIONS, Hello, Receiver, ReceiverLimits, Stage, Step, ToControl, ToControlV1,
    ToProxy, ToProxyV1,
};
use ravelin_config::static_config::judge_document;
use ravelin_config::{ConfigMap, GenerationId, SealingKeys, document};
use ravelin_transport::identity::{ClusterPlan, Identity, init};
use ravelin_transport::memory::MemoryHub;
use ravelin_transport::quic::{QuicOptions, QuicTransport};
use ravelin_transport::{ClusterId, Expected, Lane, LaneReceiver, LaneSender, PeerRole, Target, codec};

use super::client::Client;
use super::*;
use crate::request::status::{ClusterStatus, EventKind};
use crate::request::{ApplyMode, Consistency, Page, Scope, SourceDocument, SourceFormat};

const CLUSTER: [u8; 16] = [0xc1; 16];
/// Far above what anything here takes; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

fn site(name: &str) -> String {
    format!(
        "http:\n  routers:\n    {name}:\n      rule: Host(`{name}.test`)\n      service: {name}\n  services:\n    {name}:\n      loadBalancer:\n        servers:\n          - url: http://127.0.0.1:9000\n"
    )
}

fn apply(text: &str) -> Request {
    let document =
        SourceDocument { name: "test.yml".to_owned(), format: SourceFormat::Yaml, text: text.to_owned() };
    Request::Apply { documents: vec![document], mode: ApplyMode::Merge }
}

fn static_objects(text: &str) -> Arc<Draft> {
    let document = document::parse("traefik.yml", text, document::Format::Yaml).expect("good text");
    let no_files = |path: &str| Err(path.to_owned());
    let judged = judge_document(&document, &no_files).expect("it has static sections");
    Arc::new(judged.expect("they are good").draft)
}

fn standalone(static_text: &str) -> ControllerOptions {
    let hub = MemoryHub::new();
    let transport = hub.endpoint("controller-1", ClusterId(CLUSTER), PeerRole::Controller, 1);
    let transport = Arc::new(transport.expect("the hub is empty"));
    ControllerOptions::standalone(CLUSTER, transport, static_objects(static_text))
}

async fn generation_after(handle: &ClusterHandle, is_it: impl Fn(&GenerationId) -> bool) -> GenerationId {
    let mut generations = handle.generation();
    let found = tokio::time::timeout(
        PATIENCE,
        generations.wait_for(|generation| generation.as_ref().is_some_and(&is_it)),
    );
    let found = *found.await.expect("in time").expect("the node runs");
    found.expect("just looked at")
}

async fn objects(handle: &ClusterHandle, prefix: &str) -> Vec<String> {
    let request = Request::Get {
        prefix: prefix.to_owned(),
        after: None,
        limit: 100,
        consistency: Consistency::Linearizable,
    };
    match handle.request(request, PATIENCE).await {
        Response::Objects(found) => found.objects.into_iter().map(|object| object.key).collect(),
        other => panic!("no objects: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standalone_serves_its_file_and_every_change_of_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("dynamic.yml");
    std::fs::write(&file, site("one")).expect("the directory is writable");
    let text = format!("providers:\n  file:\n    filename: {}\n", file.display());
    let begun = Instant::now();
    let handle = start(standalone(&text)).await.expect("nothing is in its way");
    let mut newest = generation_after(&handle, |_| true).await;
    // What is read may be ahead of what was told, so that the next word is of what was read already.
    let until = async |newest: &mut GenerationId, name: &str| {
        while objects(&handle, "http/routers/").await != [format!("http/routers/{name}@file")] {
            *newest = generation_after(&handle, |generation| generation.is_newer_than(newest)).await;
        }
    };
    until(&mut newest, "one").await;
    println!("file served after {:?}", begun.elapsed());

    for name in ["two", "three"] {
        let changed = Instant::now();
        // As editors do it: write beside, then rename over.
        let beside = directory.path().join("dynamic.yml.new");
        std::fs::write(&beside, site(name)).expect("writable");
        std::fs::rename(&beside, &file).expect("same directory");
        until(&mut newest, name).await;
        println!("change committed after {:?}", changed.elapsed());
    }
    handle.shutdown().await;
    assert_eq!(handle.ended().await, None);
    assert!(matches!(handle.request(apply(&site("x")), PATIENCE).await, Response::Unavailable { .. }));
}

#[tokio::test]
async fn a_thread_that_panics_is_noticed() {
    let (outbox, mut inbox) = mpsc::channel(1);
    let thread = thread("ravelin-check", outbox, |_| panic!("as a bug would")).expect("there is room");
    let told = tokio::time::timeout(PATIENCE, inbox.recv()).await.expect("in time");
    assert!(matches!(told, Some(Message::WorkLost("ravelin-check"))));
    assert!(thread.join().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_work_is_lost_stops_for_its_own_safety() {
    let handle = start(standalone("ping: {}\n")).await.expect("nothing is in its way");
    assert!(handle.inbox.send(Message::WorkLost("ravelin-check")).await.is_ok(), "it runs");
    let reason = tokio::time::timeout(PATIENCE, handle.ended()).await.expect("it hangs no change");
    assert!(reason.is_some_and(|reason| reason.contains("ravelin-check has ended")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_in_memory_do_what_any_of_them_is_asked() {
    let hub = MemoryHub::new();
    let name = |node: u64| format!("controller-{node}");
    let traces = tempfile::tempdir().expect("a temporary directory");
    let trace = |node: u64| traces.path().join(name(node));
    let mut handles = Vec::new();
    for node in 1..=3 {
        let transport = hub.endpoint(&name(node), ClusterId(CLUSTER), PeerRole::Controller, node);
        let voters = (1..=3).map(|node| (node, 1)).collect();
        let options = ControllerOptions {
            member: Member { cluster: CLUSTER, recovery_epoch: 0, node, incarnation: 1, voters },
            controllers: (1..=3).map(|node| (node, name(node))).collect(),
            keys: BTreeMap::new(),
            announced: None,
            data_dir: None,
            transport: Arc::new(transport.expect("a name of its own")),
            static_objects: None,
            shared: None,
            params: None,
            sealing: SealingKeys::new(CLUSTER, &[[7; 32]]).expect("one key"),
        };
        handles.push(start_recorded(options, Some(trace(node))).await.expect("nothing is in its way"));
    }
    for (place, handle) in handles.iter().enumerate() {
        let response = handle.request(apply(&site(&format!("site{place}"))), PATIENCE).await;
        assert!(matches!(response, Response::Done(_)), "{response:?}");
    }
    for handle in &handles {
        assert_eq!(objects(handle, "http/routers/").await.len(), 3);
    }
    for (node, handle) in (1..).zip(&handles) {
        handle.shutdown().await;
        handle.ended().await;
        let file = std::fs::File::open(trace(node)).expect("it was recorded");
        let replayed = crate::trace::replay(file).expect("a fresh core does the same");
        assert!(replayed.steps > 20 && replayed.effects > 20 && !replayed.cut, "{replayed:?}");
    }
}

/// Addresses that nobody takes, also while nothing listens there: at an IP address of this process's own, with ports that are given to no
/// socket that asks for any.
fn own_addresses() -> [SocketAddr; 3] {
    static PORTS: AtomicU16 = AtomicU16::new(10_000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 0x80 | high, middle, low);
    [(); 3].map(|()| SocketAddr::from((ip, PORTS.fetch_add(1, Ordering::Relaxed))))
}

/// Three controllers, a proxy and an operator over QUIC on loopback.
struct Quic {
    identities: Vec<Identity>,
    directories: Vec<tempfile::TempDir>,
    handles: Vec<Option<ClusterHandle>>,
}

impl Quic {
    fn new() -> Self {
        let plan = ClusterPlan::new(own_addresses().map(|address| address.to_string()).into(), 1);
        let cluster = init(&plan).expect("a plan for three");
        let directories = (0..3).map(|_| tempfile::tempdir().expect("a temporary directory")).collect();
        Self { identities: cluster.identities, directories, handles: vec![None, None, None] }
    }

    fn identity(&self, role: PeerRole, node: u64) -> &Identity {
        let fits = |identity: &&Identity| identity.role() == role && identity.node() == node;
        self.identities.iter().find(fits).expect("planned")
    }

    fn data(&self, node: u64) -> &Path {
        self.directories[node as usize - 1].path()
    }

    async fn start(&mut self, node: u64) {
        let identity = self.identity(PeerRole::Controller, node);
        let address = identity.controllers()[node as usize - 1].address.parse().expect("an address");
        let transport = QuicTransport::bind(identity, address, QuicOptions::default());
        let transport = Arc::new(transport.expect("the port is free"));
        let options = ControllerOptions::of_identity(identity, transport, self.data(node).to_owned());
        let handle = start(options).await.expect("nothing is in its way");
        self.handles[node as usize - 1] = Some(handle);
    }

    async fn stop(&mut self, node: u64) {
        let handle = self.handles[node as usize - 1].take().expect("it runs");
        handle.shutdown().await;
    }

    fn client(&self) -> Client {
        Client::open(self.identity(PeerRole::Operator, 1).clone()).expect("an identity with controllers")
    }
}

async fn status(client: &Client) -> ClusterStatus {
    match client.ask(Request::Status { scope: Scope::Cluster, proxies: Page::FIRST }, PATIENCE).await {
        Ok(Response::Status(status)) => status,
        other => panic!("no status: {other:?}"),
    }
}

/// A feed lane as a proxy holds it.
struct FeedClient {
    sender: LaneSender,
    receiver: LaneReceiver,
    state: Receiver,
    _connection: Arc<dyn ravelin_transport::Connection>,
}

impl FeedClient {
    async fn open(quic: &Quic, node: u64) -> Self {
        let identity = quic.identity(PeerRole::Proxy, 1);
        let transport = QuicTransport::dial_only(identity, QuicOptions::default()).expect("any port");
        let address = identity.controllers()[node as usize - 1].address.clone();
        let expect = Expected { role: PeerRole::Controller, node: Some(node) };
        let connection = transport.connect(&Target { address, expect }).await.expect("it listens");
        let (sender, receiver) = connection.open(Lane::Feed).await.expect("a proxy may");
        let state = Receiver::new(identity.cluster().0, ReceiverLimits::default(), None);
        // The transport's task goes on while the connection lives.
        std::mem::forget(transport);
        let mut client = Self { sender, receiver, state, _connection: connection };
        let hello = ToControl::Hello(Hello {
            cluster: identity.cluster().0,
            recovery_epoch: 0,
            generation: None,
            floor: None,
            view: String::new(),
            build: "test".to_owned(),
            instance: node,
            understands: ravelin_config::Understands::this_build(FEED_VERSIONS),
        });
        client.say(hello).await;
        client
    }

    async fn say(&mut self, message: ToControl) {
        let frame = codec::encode(FEED_VERSION, &ToControlV1::from(message)).expect("small");
        self.sender.send(frame).await.expect("the lane is open");
    }

    async fn next(&mut self) -> (GenerationId, ConfigMap) {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.receiver.receive()).await.expect("in time");
            let frame = frame.expect("the lane is open").expect("the lane goes on");
            let message: ToProxy =
                codec::decode_into::<ToProxyV1, _>(FEED_VERSION, &frame).expect("a feed message");
            if let Step::Complete { generation, map } = self.state.handle(message) {
                self.state.adopt(generation, map.clone());
                for stage in [Stage::Received, Stage::Validated, Stage::Serving] {
                    self.say(ToControl::Acknowledge { generation, stage }).await;
                }
                return (generation, map);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_over_quic_commit_feed_and_survive_each_other() {
    let mut quic = Quic::new();
    for node in 1..=3 {
        quic.start(node).await;
    }
    let client = quic.client();
    let begun = Instant::now();
    let response = client.ask(apply(&site("a")), PATIENCE).await.expect("reachable");
    let Response::Done(change) = response else { panic!("{response:?}") };
    println!("first change after {:?}", begun.elapsed());

    let mut feed = FeedClient::open(&quic, 1).await;
    let (generation, map) = feed.next().await;
    assert_eq!((generation.to_string(), map.len()), (change.generation.name, 2));
    let begun = Instant::now();
    let response = client.ask(apply(&site("b")), PATIENCE).await.expect("reachable");
    assert!(matches!(response, Response::Done(_)), "{response:?}");
    let (served, _) = feed.next().await;
    println!("second change at the proxy after {:?}", begun.elapsed());
    assert!(served.is_newer_than(&generation));

    let before = status(&client).await;
    let controller = before.nodes[0].controller_node.expect("one is appointed");
    let epoch = before.nodes[0].controller_epoch;
    quic.stop(controller).await;
    let begun = Instant::now();
    loop {
        let now = status(&client).await;
        if now.nodes.iter().any(|node| node.controller && node.controller_epoch > epoch) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{now:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("another controller after {:?}", begun.elapsed());
    let response = client.ask(apply(&site("c")), PATIENCE).await.expect("reachable");
    assert!(matches!(response, Response::Done(_)), "{response:?}");

    for node in (1..=3).filter(|node| *node != controller) {
        quic.stop(node).await;
    }
    for node in 1..=3 {
        quic.start(node).await;
    }
    let response = client.ask(apply(&site("d")), PATIENCE).await.expect("reachable");
    let Response::Done(_) = response else { panic!("{response:?}") };
    let handle = quic.handles[0].as_ref().expect("it runs");
    assert_eq!(objects(handle, "http/routers/").await.len(), 4, "nothing was lost");
    let events = handle.request(Request::Events { since: 0, limit: 1024 }, PATIENCE).await;
    let Response::Events(events) = events else { panic!("{events:?}") };
    assert!(events.iter().any(|event| matches!(event.kind, EventKind::GenerationCommitted { .. })));
    for node in 1..=3 {
        quic.stop(node).await;
    }
}

/// Work in the background shares the directory: one that ended too early let the next start find it taken, now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_is_free_once_its_node_has_ended() {
    let mut quic = Quic::new();
    for _ in 0..20 {
        quic.start(1).await;
        quic.stop(1).await;
        RealDisk::open(quic.data(1)).expect("nobody has it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_data_directory_is_refused_with_a_clear_text_and_left_alone() {
    let mut quic = Quic::new();
    quic.start(1).await;
    quic.stop(1).await;
    let options = |node: u64, cluster: [u8; 16], data: &Path| {
        let hub = MemoryHub::new();
        let transport = hub.endpoint("x", ClusterId(cluster), PeerRole::Controller, node).expect("empty");
        ControllerOptions {
            member: Member { cluster, recovery_epoch: 0, node, incarnation: 1, voters: vec![(node, 1)] },
            controllers: Vec::new(),
            keys: BTreeMap::new(),
            announced: None,
            data_dir: Some(data.to_owned()),
            transport: Arc::new(transport),
            static_objects: None,
            shared: None,
            params: None,
            sealing: SealingKeys::new(cluster, &[[7; 32]]).expect("one key"),
        }
    };
    let refusal = |error: StartError| crate::storage::chain(&error);
    let foreign = start(options(1, [9; 16], quic.data(1))).await.map_err(refusal);
    let text = foreign.err().expect("another cluster's");
    assert!(text.contains("belongs to cluster"), "{text}");

    let version = quic.data(1).join("VERSION");
    let content = std::fs::read_to_string(&version).expect("it is a text");
    let own = quic.identity(PeerRole::Controller, 1).cluster().0;
    std::fs::write(&version, content.replacen("format = 1", "format = 2", 1)).expect("writable");
    let text = start(options(1, own, quic.data(1))).await.map_err(refusal).err().expect("newer");
    assert!(text.contains("says format 2"), "{text}");
    std::fs::write(&version, &content).expect("writable");
    quic.start(1).await;
    let second = start(options(1, own, quic.data(1))).await.map_err(refusal).err().expect("in use");
    assert!(second.contains("in use by another process"), "{second}");
    quic.stop(1).await;
}
