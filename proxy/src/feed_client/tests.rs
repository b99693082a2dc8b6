//! Checks of the client against a control node in memory: acknowledgements in order, deltas, failover, going back refused.

use bytes::Bytes;
use ravelin_config::feed::{
    Content, FEED_VERSION, ReceiverLimits, Stage, ToControlV1, ToProxy, ToProxyV1, whole_to_parts,
};
use ravelin_config::secret::SecretPlace;
use ravelin_config::{Change, Delta, Key, Kind, Object, Record, SecretId, State, Status, object};
use ravelin_transport::memory::{MemoryHub, MemoryTransport};
use ravelin_transport::{ClusterId, Connection, Expected, LaneReceiver, LaneSender, PeerRole, codec};
use tokio::time::timeout;

use super::*;

mod failover;

const CLUSTER: [u8; 16] = [4; 16];
/// Far above what any step takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn map(entries: &[(&str, &str)]) -> ConfigMap {
    let entry = |(key, text): &(&str, &str)| {
        (Key::new(key).expect("a short printable key"), Arc::from(text.as_bytes()))
    };
    entries.iter().map(entry).collect()
}

fn id(revision: u64, map: &ConfigMap) -> GenerationId {
    GenerationId { cluster: CLUSTER, recovery_epoch: 0, revision, digest: map.digest() }
}

fn framed(message: &ToProxy) -> Bytes {
    codec::encode(FEED_VERSION, &ToProxyV1::from(message.clone())).expect("small")
}

fn heard(frame: &[u8]) -> ToControl {
    codec::decode_into::<ToControlV1, _>(FEED_VERSION, frame).expect("a feed message")
}

/// A control node's side of one attachment.
struct Control {
    _connection: Arc<dyn Connection>,
    sender: LaneSender,
    receiver: LaneReceiver,
}

impl Control {
    async fn accept(endpoint: &MemoryTransport) -> Self {
        let accepted = async {
            let connection = endpoint.accept().await.expect("a proxy dials");
            let (_, sender, receiver) = connection.accept().await.expect("a lane is opened");
            Self { _connection: connection, sender, receiver }
        };
        timeout(PATIENCE, accepted).await.expect("the proxy attaches")
    }

    async fn hear(&mut self) -> ToControl {
        let frame = timeout(PATIENCE, self.receiver.receive()).await.expect("the proxy speaks");
        let frame = frame.expect("the lane stands").expect("the lane goes on");
        heard(&frame)
    }

    async fn say(&mut self, message: &ToProxy) {
        self.sender.send(framed(message)).await.expect("the lane stands");
    }

    async fn say_whole(&mut self, revision: u64, map: &ConfigMap) {
        for part in whole_to_parts(id(revision, map), map, revision, 0) {
            self.say(&ToProxy::Part(part)).await;
        }
    }
}

fn stage(message: ToControl) -> (GenerationId, Stage) {
    match message {
        ToControl::Acknowledge { generation, stage } => (generation, stage),
        other => panic!("not an acknowledgement: {other:?}"),
    }
}

/// The proxy's side, with the test in the compiler's place.
struct Proxy {
    offers: mpsc::UnboundedReceiver<(GenerationId, ConfigMap)>,
    verdicts: mpsc::Sender<Verdict>,
    serving: watched::Sender<Option<GenerationId>>,
    status: watched::Receiver<FeedStatus>,
    task: tokio::task::JoinHandle<()>,
}

fn start(hub: &MemoryHub, controllers: &[&str], held: Option<(GenerationId, ConfigMap)>) -> Proxy {
    start_with(hub, controllers, held, FeedTimes::default())
}

fn start_with(
    hub: &MemoryHub,
    controllers: &[&str],
    held: Option<(GenerationId, ConfigMap)>,
    times: FeedTimes,
) -> Proxy {
    let endpoint = hub.endpoint("proxy", ClusterId(CLUSTER), PeerRole::Proxy, 1).expect("a free name");
    let (offer, offers) = mpsc::unbounded_channel();
    let (verdict_sender, verdicts) = mpsc::channel(8);
    let (serving_sender, serving) = watched::channel(held.as_ref().map(|(generation, _)| *generation));
    let (status_sender, status) = watched::channel(FeedStatus::default());
    let target = |name: &&str| Target {
        address: (*name).to_owned(),
        expect: Expected { role: PeerRole::Controller, node: None },
    };
    let mut client = FeedClient {
        transport: Arc::new(endpoint),
        controllers: controllers.iter().map(target).collect(),
        cluster: CLUSTER,
        known: Known::new(None, Box::new(drop)),
        view: String::new(),
        build: "test".to_owned(),
        instance: 8,
        receiver: Receiver::new(CLUSTER, ReceiverLimits::default(), held),
        offer: Box::new(move |generation, map| drop(offer.send((generation, map)))),
        verdicts,
        serving,
        status: status_sender,
        seed: 0,
        times,
    };
    let task = tokio::spawn(async move { client.run().await });
    Proxy { offers, verdicts: verdict_sender, serving: serving_sender, status, task }
}

fn controller(hub: &MemoryHub, name: &str, node: u64) -> MemoryTransport {
    hub.endpoint(name, ClusterId(CLUSTER), PeerRole::Controller, node).expect("a free name")
}

fn hello(generation: Option<GenerationId>) -> ToControl {
    ToControl::Hello(Hello {
        cluster: CLUSTER,
        recovery_epoch: 0,
        generation,
        floor: None,
        view: String::new(),
        build: "test".to_owned(),
        instance: 8,
        understands: Understands::this_build(FEED_VERSIONS),
    })
}

#[tokio::test]
async fn a_generation_is_acknowledged_stage_by_stage_and_a_delta_follows() {
    let hub = MemoryHub::new();
    let endpoint = controller(&hub, "c1", 1);
    let mut proxy = start(&hub, &["c1"], None);
    let mut control = Control::accept(&endpoint).await;
    assert_eq!(control.hear().await, hello(None));
    let first = map(&[("a", "1"), ("b", "1")]);
    control.say_whole(1, &first).await;
    assert_eq!(stage(control.hear().await), (id(1, &first), Stage::Received));
    let (generation, offered) = proxy.offers.recv().await.expect("offered");
    assert_eq!((generation, &offered), (id(1, &first), &first));
    proxy.verdicts.send(Verdict::Validated(generation, offered)).await.expect("the client lives");
    assert_eq!(stage(control.hear().await), (generation, Stage::Validated));
    proxy.serving.send_replace(Some(generation));
    assert_eq!(stage(control.hear().await), (generation, Stage::Serving));

    let second = map(&[("a", "2"), ("b", "1")]);
    let mut delta =
        Delta { base: generation, target: id(2, &second), puts: vec![], deletes: vec![], secrets: vec![] };
    for (key, change) in second.diff(&first) {
        let Change::Put(bytes) = change else { panic!("only one record changed") };
        delta.puts.push((key, bytes));
    }
    for part in delta.to_parts(2, 1000) {
        control.say(&ToProxy::Part(part)).await;
    }
    assert_eq!(stage(control.hear().await), (id(2, &second), Stage::Received));
    let refused = Verdict::Refused(id(2, &second), vec!["too large".to_owned()]);
    proxy.verdicts.send(refused).await.expect("the client lives");
    let reasons = vec!["too large".to_owned()];
    assert_eq!(stage(control.hear().await), (id(2, &second), Stage::Refused { reasons }));
    control.say(&ToProxy::UpToDate { generation, stale: true, leads: false }).await;
    let stale = proxy.status.wait_for(|status| status.stale).await.expect("the client lives").clone();
    assert_eq!(stale.attached.as_deref(), Some("c1"));
    proxy.task.abort();
}

#[tokio::test]
async fn a_lost_control_node_is_replaced_and_told_what_is_served() {
    let hub = MemoryHub::new();
    let (first, second) = (controller(&hub, "c1", 1), controller(&hub, "c2", 2));
    let map = map(&[("a", "1")]);
    let held = id(7, &map);
    let proxy = start(&hub, &["c1", "c2"], Some((held, map)));
    let mut control = Control::accept(&first).await;
    assert_eq!(control.hear().await, hello(Some(held)));
    assert_eq!(stage(control.hear().await), (held, Stage::Serving));
    drop(control);
    let mut control = Control::accept(&second).await;
    assert_eq!(control.hear().await, hello(Some(held)));
    assert_eq!(stage(control.hear().await), (held, Stage::Serving));
    proxy.task.abort();
}

#[tokio::test]
async fn an_older_generation_and_a_broken_transfer_are_not_taken() {
    let hub = MemoryHub::new();
    let (first, second) = (controller(&hub, "c1", 1), controller(&hub, "c2", 2));
    let (old, new) = (map(&[("a", "1")]), map(&[("a", "2")]));
    let mut proxy = start(&hub, &["c1", "c2"], Some((id(7, &old), old.clone())));
    let mut control = Control::accept(&first).await;
    control.say_whole(6, &new).await;
    // It leaves for another node rather than go back.
    let mut control = Control::accept(&second).await;
    assert_eq!(control.hear().await, hello(Some(id(7, &old))));
    assert_eq!(stage(control.hear().await), (id(7, &old), Stage::Serving));
    let mut part = whole_to_parts(id(8, &new), &new, 1, 1000).pop().expect("one part");
    part.content = Content::Delta { base: id(3, &new), target: id(8, &new) };
    control.say(&ToProxy::Part(part)).await;
    assert!(matches!(control.hear().await, ToControl::NeedWhole { .. }));
    control.say_whole(8, &new).await;
    assert_eq!(stage(control.hear().await), (id(8, &new), Stage::Received));
    assert_eq!(proxy.offers.recv().await.map(|(generation, _)| generation), Some(id(8, &new)));
    proxy.task.abort();
}

#[tokio::test]
async fn without_any_control_node_it_goes_on_trying_and_ends_with_the_process() {
    let hub = MemoryHub::new();
    let mut proxy = start(&hub, &["c1"], None);
    let failed = proxy.status.wait_for(|status| status.last_error.is_some()).await.expect("it tries").clone();
    assert_eq!(failed.attached, None);
    let endpoint = controller(&hub, "c1", 1);
    let mut control = Control::accept(&endpoint).await;
    assert_eq!(control.hear().await, hello(None));
    let Proxy { verdicts, task, .. } = proxy;
    drop(verdicts);
    timeout(PATIENCE, task).await.expect("it ends").expect("without a panic");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The record that the golden bytes below hold.
fn sample() -> Record {
    let object = |text: &str| Object::new(Kind::HttpRouter, 1, Arc::from(text.as_bytes()));
    let status = Status { state: State::Disabled, errors: vec!["no".to_owned()] };
    let place = SecretPlace { pointer: "/k".to_owned(), id: SecretId([0xaa; 32]) };
    let object_with_secret = Object { secrets: [place].into(), ..object("{}") };
    Record { object: object_with_secret, status, last_good: Some(object("[]")) }
}

#[test]
fn golden_bytes_of_a_record() {
    let record = sample();
    let record = codec::encode(object::RECORD_VERSION, &record.to_wire()).expect("small");
    let aa = "aa".repeat(32);
    assert_eq!(
        hex(&record).replace(&aa, "<aa>"),
        "01000000000100010002000000000000007b7d010000000000000002000000000000002f6b<aa>\
         02010000000000000002000000000000006e6f010100010002000000000000005b5d0000000000000000"
    );
}

#[tokio::test]
async fn a_proxy_whose_compiler_hangs_says_that_it_serves_what_is_old_until_it_gets_on() {
    let hub = MemoryHub::new();
    let endpoint = controller(&hub, "c1", 1);
    let times = FeedTimes { judged: Duration::from_millis(50), ..FeedTimes::default() };
    let mut proxy = start_with(&hub, &["c1"], None, times);
    let mut control = Control::accept(&endpoint).await;
    assert_eq!(control.hear().await, hello(None));
    let map = map(&[("a", "1")]);
    control.say_whole(1, &map).await;
    assert_eq!(stage(control.hear().await), (id(1, &map), Stage::Received));
    let (generation, offered) = proxy.offers.recv().await.expect("offered");
    assert_eq!(stage(control.hear().await), (generation, Stage::Overdue));
    assert_eq!(proxy.status.borrow_and_update().overdue, Some(generation));
    proxy.verdicts.send(Verdict::Validated(generation, offered)).await.expect("the client lives");
    assert_eq!(stage(control.hear().await), (generation, Stage::Validated));
    assert_eq!(proxy.status.borrow().overdue, None);
    proxy.task.abort();
}

#[test]
fn a_control_node_from_before_a_recovery_is_named_as_one() {
    let of = |recovery_epoch, revision| {
        let digest = map(&[]).digest();
        Box::new(GenerationId { cluster: CLUSTER, recovery_epoch, revision, digest })
    };
    let text = Ended::Behind { offered: of(0, 9), held: of(1, 7) }.to_string();
    assert!(text.contains("recovery epoch 0, which was given up for epoch 1: stop it"), "{text}");
    let text = Ended::Behind { offered: of(1, 6), held: of(1, 7) }.to_string();
    assert!(text.starts_with("the control node is behind") && !text.contains("recovery"), "{text}");
}
