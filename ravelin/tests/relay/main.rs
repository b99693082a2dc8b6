//! Control nodes and proxies of this build over QUIC on loopback, with relays between them that lose, double, delay, reorder
//! and cut: what the feed promises holds there too. It must not switch faults on within the nodes.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use ravelin_cluster::request::status::ClusterStatus;
use ravelin_cluster::request::{ApplyMode, Page, Request, Response, Scope, SourceDocument, SourceFormat};
use ravelin_cluster::shell::client::Client;
use ravelin_cluster::shell::{self, ClusterHandle, ControllerOptions};
use ravelin_config::GenerationId;
use ravelin_proxy::proxy::{Proxy, ProxyHandle, ProxyOptions};
use ravelin_transport::identity::{ClusterPlan, Identity, init};
use ravelin_transport::memory::Faults;
use ravelin_transport::quic::{QuicOptions, QuicTransport};
use ravelin_transport::{Expected, PeerRole, Target};

mod wire;

use wire::Relay;

/// Far above what any step takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Objects of the large configuration.
const OBJECTS: usize = 1200;
/// Bytes of each of them.
const OBJECT_BYTES: usize = 2200;

fn bad_weather() -> Faults {
    Faults {
        delay_min: Duration::from_millis(1),
        delay_max: Duration::from_millis(5),
        loss_per_million: 20_000,
        duplicate_per_million: 20_000,
        reorder_per_million: 50_000,
        detour_max: Duration::from_millis(15),
        ..Faults::default()
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

/// Three control nodes; between each two of them, and between proxies and each of them, a relay.
struct Cluster {
    identities: Vec<Identity>,
    _directories: Vec<tempfile::TempDir>,
    handles: Vec<ClusterHandle>,
    /// By who dials and who is dialled.
    between: BTreeMap<(u64, u64), Relay>,
    /// By the control node that proxies reach through it.
    outside: BTreeMap<u64, Relay>,
    client: Client,
}

impl Cluster {
    async fn start(weather: Faults) -> Self {
        let addresses = own_addresses();
        let plan = ClusterPlan::new(addresses.iter().map(ToString::to_string).collect(), 3);
        let identities = init(&plan).expect("a plan for three").identities;
        let (mut between, mut outside) = (BTreeMap::new(), BTreeMap::new());
        for (to, address) in (1..).zip(&addresses) {
            outside.insert(to, Relay::start(*address, to, weather.clone()).await);
            for from in (1..=3).filter(|from| *from != to) {
                between.insert((from, to), Relay::start(*address, 10 * from + to, Faults::default()).await);
            }
        }
        let mut cluster = Self {
            client: Client::open(find(&identities, PeerRole::Operator, 1)).expect("it names controllers"),
            identities,
            _directories: (0..3).map(|_| tempfile::tempdir().expect("a temporary directory")).collect(),
            handles: Vec::new(),
            between,
            outside,
        };
        for (node, address) in (1..).zip(addresses) {
            let data = cluster._directories[node as usize - 1].path().to_owned();
            let handle = cluster.start_node(node, address, &data).await;
            cluster.handles.push(handle);
        }
        cluster
    }

    async fn start_node(&self, node: u64, listen: SocketAddr, data: &Path) -> ClusterHandle {
        let identity = find(&self.identities, PeerRole::Controller, node);
        let transport = QuicTransport::bind(&identity, listen, QuicOptions::default());
        let transport = Arc::new(transport.expect("the port is free"));
        let mut options = ControllerOptions::of_identity(&identity, transport, data.to_owned());
        // Else the nodes would tell each other the way past the relays.
        options.announced = None;
        let ways = self.between.iter().filter(|((from, _), _)| *from == node);
        options.controllers = ways.map(|((_, to), relay)| (*to, relay.address.to_string())).collect();
        shell::start(options).await.expect("nothing is in its way")
    }

    /// A proxy of this number; it begins with the control node of that number plus one.
    fn proxy(&self, number: u64) -> ProxyHandle {
        let identity = find(&self.identities, PeerRole::Proxy, number);
        let transport = QuicTransport::dial_only(&identity, QuicOptions::default()).expect("any port");
        let targets = self.outside.iter().map(|(node, relay)| Target {
            address: relay.address.to_string(),
            expect: Expected { role: PeerRole::Controller, node: Some(*node) },
        });
        let options = ProxyOptions { node: number, workers: 1, ..ProxyOptions::new(identity.cluster().0) };
        Proxy::start(options, Arc::new(transport), targets.collect()).expect("it starts")
    }

    /// The control node that feeds a proxy.
    fn feeder(&self, proxy: &ProxyHandle) -> Option<u64> {
        let attached = proxy.feed_status().borrow().attached.clone()?;
        self.outside.iter().find(|(_, relay)| relay.address.to_string() == attached).map(|(node, _)| *node)
    }

    async fn apply(&self, text: String) {
        let document = SourceDocument { name: "test.yml".to_owned(), format: SourceFormat::Yaml, text };
        let request = Request::Apply { documents: vec![document], mode: ApplyMode::Merge };
        let response = self.client.ask(request, PATIENCE).await.expect("reachable");
        assert!(matches!(response, Response::Done(_)), "{response:?}");
    }

    async fn status(&self) -> ClusterStatus {
        match self.client.ask(Request::Status { scope: Scope::Cluster, proxies: Page::FIRST }, PATIENCE).await
        {
            Ok(Response::Status(status)) => status,
            other => panic!("no status: {other:?}"),
        }
    }

    /// The newest generation that any control node feeds.
    fn newest(&self) -> GenerationId {
        let fed = self.handles.iter().filter_map(|handle| *handle.generation().borrow());
        fed.max_by_key(|generation| generation.revision).expect("something was applied")
    }

    fn bytes_to_proxies(&self) -> u64 {
        self.outside.values().map(|relay| relay.counters().delivered).sum()
    }

    fn cut_off(&self, node: u64, cut: bool) {
        for (_, relay) in self.between.iter().filter(|((from, to), _)| *from == node || *to == node) {
            relay.set_cut(cut);
        }
    }

    async fn stop(self) {
        for handle in &self.handles {
            handle.shutdown().await;
        }
    }
}

fn find(identities: &[Identity], role: PeerRole, node: u64) -> Identity {
    let fits = |identity: &&Identity| identity.role() == role && identity.node() == node;
    identities.iter().find(fits).expect("planned").clone()
}

fn middlewares(numbers: std::ops::Range<usize>, value: char) -> String {
    let mut text = "http:\n  middlewares:\n".to_owned();
    let pad = value.to_string().repeat(OBJECT_BYTES);
    for number in numbers {
        text += &format!(
            "    m{number}:\n      headers:\n        customRequestHeaders:\n          X-Pad: {pad}\n"
        );
    }
    text
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen"),
    }
}

async fn served(proxy: &ProxyHandle, generation: GenerationId) {
    let mut serving = proxy.serving();
    let there = |serving: &Option<GenerationId>| serving.is_some_and(|it| !generation.is_newer_than(&it));
    drop(within("serving", serving.wait_for(there)).await.expect("the proxy lives"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_generations_and_deltas_arrive_through_loss_and_a_cut_and_what_is_served_reaches_status() {
    let cluster = Cluster::start(bad_weather()).await;
    let proxies = [cluster.proxy(1), cluster.proxy(2)];
    for from in (0..OBJECTS).step_by(OBJECTS / 4) {
        cluster.apply(middlewares(from..from + OBJECTS / 4, 'a')).await;
    }
    let whole = cluster.newest();
    for proxy in &proxies {
        served(proxy, whole).await;
    }
    let whole_packets = cluster.bytes_to_proxies();
    // Two proxies, each about 2.6 MB in packets of at most 1,452 bytes, and what was lost again.
    assert!(whole_packets > 2 * (OBJECTS * OBJECT_BYTES) as u64 / 1500, "{whole_packets} packets");

    cluster.apply(middlewares(0..1, 'b')).await;
    let delta = cluster.newest();
    assert!(delta.is_newer_than(&whole));
    for proxy in &proxies {
        served(proxy, delta).await;
    }
    let after_delta = cluster.bytes_to_proxies();
    assert!(after_delta - whole_packets < whole_packets / 8, "a change sent much more than itself");

    // The way to whom feeds the first one is cut, and the configuration changes meanwhile.
    let feeder = cluster.feeder(&proxies[0]).expect("attached");
    cluster.outside[&feeder].set_cut(true);
    cluster.apply(middlewares(1..2, 'c')).await;
    let last = cluster.newest();
    for proxy in &proxies {
        served(proxy, last).await;
    }
    let moved = cluster.feeder(&proxies[0]);
    assert!(moved.is_some_and(|node| node != feeder), "{moved:?} after {feeder}");
    let after_cut = cluster.bytes_to_proxies();
    assert!(after_cut - after_delta < whole_packets / 8, "after a loss the delta was enough");
    let faults: Vec<_> = cluster.outside.values().map(Relay::counters).collect();
    assert!(faults.iter().map(|it| it.lost).sum::<u64>() > 20, "{faults:?}");
    assert!(faults.iter().map(|it| it.reordered).sum::<u64>() > 20, "{faults:?}");
    assert!(faults.iter().map(|it| it.duplicated).sum::<u64>() > 20, "{faults:?}");

    let name = last.to_string();
    within("what is served in the status", async {
        loop {
            let status = cluster.status().await;
            let all = status.nodes.iter().flat_map(|node| &node.proxies);
            let there = |number: u64| {
                all.clone()
                    .any(|it| it.node == number && it.serving.as_ref().is_some_and(|it| it.name == name))
            };
            if there(1) && there(2) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    for proxy in &proxies {
        proxy.shutdown().await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_leaves_a_control_node_that_is_cut_from_the_quorum_and_feeds_on() {
    let cluster = Cluster::start(Faults::default()).await;
    let proxy = cluster.proxy(1);
    cluster.apply(middlewares(0..2, 'a')).await;
    served(&proxy, cluster.newest()).await;
    let cut = cluster.feeder(&proxy).expect("attached");
    cluster.cut_off(cut, true);
    let mut status = proxy.feed_status();
    let cut_address = cluster.outside[&cut].address.to_string();
    let moved = status.wait_for(|it| it.attached.as_ref().is_some_and(|it| *it != cut_address) && !it.stale);
    drop(within("moving to a node with a quorum", moved).await.expect("the proxy lives"));
    cluster.apply(middlewares(0..1, 'b')).await;
    let newest = cluster.newest();
    served(&proxy, newest).await;
    assert!(
        cluster.handles[cut as usize - 1].generation().borrow().is_none_or(|it| newest.is_newer_than(&it)),
        "the one that was cut off cannot have it"
    );

    // Without any quorum the feed goes on, labelled stale, and says so no more once there is one again.
    for node in 1..=3 {
        cluster.cut_off(node, true);
    }
    let stale = status.wait_for(|status| status.attached.is_some() && status.stale);
    drop(within("the label", stale).await.expect("the proxy lives"));
    assert_eq!(*proxy.serving().borrow(), Some(newest), "what is served stays");
    for node in 1..=3 {
        cluster.cut_off(node, false);
    }
    let fresh = status.wait_for(|status| status.attached.is_some() && !status.stale);
    drop(within("a quorum", fresh).await.expect("the proxy lives"));
    cluster.apply(middlewares(0..1, 'c')).await;
    served(&proxy, cluster.newest()).await;
    proxy.shutdown().await;
    cluster.stop().await;
}
