//! Parts beside the workers that panic: what is served goes on, it is said and counted, and the part begins anew.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU32;

use ravelin_transport::{BoxFuture, Members, TransportError};

use super::*;

/// A configuration with this service makes the table thread panic before it compiles.
pub(in crate::proxy) const COMPILING: &str = "http/services/panics-compiling@file";
/// The same, once the table is published.
pub(in crate::proxy) const PUBLISHED: &str = "http/services/panics-published@file";

/// Panics where the configuration says so.
pub(in crate::proxy) fn strike(map: &ConfigMap, place: &'static str) {
    assert!(map.get(place).is_none(), "struck at {place}");
}

fn with_panic(url: &str, place: &str) -> ConfigMap {
    let mut map = configuration(url);
    put(&mut map, place, &server(url));
    map
}

/// What a scrape says of panics by part.
fn counted(proxy: &ProxyHandle) -> [(&'static str, u64); 3] {
    let scraped = crate::metrics::scrape(&proxy.table(), &proxy.request);
    let text = String::from_utf8(scraped.into_body().to_vec()).expect("a text");
    ["table thread", "announcer of tables", "feed client"].map(|part| {
        let series = format!("ravelin_part_panics_total{{part=\"{part}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(series.as_str()));
        (part, value.unwrap_or_else(|| panic!("no {series}: {text}")).parse().expect("a number"))
    })
}

#[tokio::test]
async fn a_panic_of_the_table_thread_costs_its_generation_and_traffic_and_changes_go_on() {
    let (first, second) = (upstream("one"), upstream("two"));
    let hub = MemoryHub::new();
    let endpoint = hub.endpoint("c1", ClusterId(CLUSTER), PeerRole::Controller, 1).expect("a free name");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let proxy = start(&hub, "p1", Some(directory.path().to_owned()));
    let mut control = Control::accept(&endpoint).await;
    let taken = [Stage::Received, Stage::Validated, Stage::Serving];
    assert_eq!(control.stages(1, &configuration(&first)).await, taken);
    let address = web(&proxy).await;

    let stages = control.stages(2, &with_panic(&second, COMPILING)).await;
    let [Stage::Received, Stage::Refused { reasons }] = stages.as_slice() else {
        panic!("refused: {stages:?}")
    };
    assert!(
        reasons.iter().any(|reason| reason.contains("the table thread panicked: struck at")),
        "{reasons:?}"
    );
    assert_eq!(asked(address, "a.test", "/").await, ok("one"), "what was served goes on");
    assert!(proxy.ready() && proxy.panics_survived() == 1);

    assert_eq!(
        control.stages(3, &with_panic(&second, PUBLISHED)).await,
        taken,
        "it is in force, and said to be"
    );
    assert_eq!(asked(address, "a.test", "/").await, ok("two"));
    let last = configuration(&first);
    assert_eq!(control.stages(4, &last).await, taken, "changes go on");
    assert_eq!(asked(address, "a.test", "/").await, ok("one"));
    assert!(proxy.ready() && proxy.panics_survived() == 2);
    assert_eq!(
        counted(&proxy),
        [("table thread", 2), ("announcer of tables", 0), ("feed client", 0)],
        "seen from outside"
    );
    proxy.shutdown().await;
    drop((proxy, control, endpoint));

    let proxy = start(&MemoryHub::new(), "p1", Some(directory.path().to_owned()));
    served(&proxy, id(4, &last)).await;
    proxy.shutdown().await;
}

/// A transport that panics as often as told when it is to dial.
struct Stumbling {
    inner: MemoryTransport,
    left: AtomicU32,
}

impl Transport for Stumbling {
    fn connect<'a>(
        &'a self,
        target: &'a Target,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, TransportError>> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        assert!(left.is_err(), "struck while dialling");
        self.inner.connect(target)
    }

    fn accept(&self) -> BoxFuture<'_, Result<Arc<dyn Connection>, TransportError>> {
        self.inner.accept()
    }

    fn local_address(&self) -> Option<SocketAddr> {
        self.inner.local_address()
    }

    fn members(&self) -> Option<&Members> {
        self.inner.members()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.inner.shutdown()
    }
}

#[tokio::test]
async fn a_feed_client_that_panics_begins_anew_while_what_is_kept_is_served() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let hub = MemoryHub::new();
    let endpoint = hub.endpoint("c1", ClusterId(CLUSTER), PeerRole::Controller, 1).expect("a free name");
    let kept = configuration(&upstream("one"));
    let proxy = start(&hub, "p1", Some(directory.path().to_owned()));
    let mut control = Control::accept(&endpoint).await;
    control.stages(1, &kept).await;
    proxy.shutdown().await;
    drop((proxy, control));

    let inner = hub.endpoint("p2", ClusterId(CLUSTER), PeerRole::Proxy, 1).expect("a free name");
    let transport = Arc::new(Stumbling { inner, left: AtomicU32::new(2) });
    let target =
        Target { address: "c1".to_owned(), expect: Expected { role: PeerRole::Controller, node: None } };
    let proxy =
        Proxy::start(options(Some(directory.path().to_owned())), transport, vec![target]).expect("it starts");
    let mut status = proxy.feed_status();
    let told = status.wait_for(|status| {
        status.last_error.as_deref() == Some("the feed client panicked: struck while dialling")
    });
    timeout(PATIENCE, told).await.expect("it is said").expect("the client begins anew");
    served(&proxy, id(1, &kept)).await;
    assert_eq!(asked(web(&proxy).await, "a.test", "/").await, ok("one"), "what is kept is served");
    let mut control = Control::accept(&endpoint).await;
    let said = loop {
        let ToControl::Hello(_) = control.hear().await else { continue };
        break control.hear().await;
    };
    assert_eq!(said, ToControl::Acknowledge { generation: id(1, &kept), stage: Stage::Serving });
    let changed = configuration(&upstream("two"));
    let stages = control.stages(2, &changed).await;
    assert_eq!(stages, [Stage::Received, Stage::Validated, Stage::Serving]);
    assert_eq!(asked(web(&proxy).await, "a.test", "/").await, ok("two"));
    assert!(proxy.ready() && proxy.panics_survived() == 2);
    assert_eq!(
        counted(&proxy),
        [("table thread", 0), ("announcer of tables", 0), ("feed client", 2)],
        "seen from outside"
    );
    proxy.shutdown().await;
}

/// Every kind that can be written into a file, each with something to do for a plain request, and whether its response half is
/// then passed.
fn kinds(server: &str) -> Vec<(&'static str, serde_json::Value, bool)> {
    let user = "a:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=";
    vec![
        ("headers", json!({"customResponseHeaders": {"X-A": "b"}}), true),
        ("addPrefix", json!({"prefix": "/a"}), false),
        ("stripPrefix", json!({"prefixes": ["/a"]}), false),
        ("stripPrefixRegex", json!({"regex": ["/a"]}), false),
        ("replacePath", json!({"path": "/a"}), false),
        ("replacePathRegex", json!({"regex": "^/a", "replacement": "/b"}), false),
        ("encodedCharacters", json!({"allowEncodedSlash": true}), false),
        ("redirectScheme", json!({"scheme": "https"}), false),
        ("redirectRegex", json!({"regex": "^http://nowhere/", "replacement": "http://else/"}), false),
        ("ipAllowList", json!({"sourceRange": ["127.0.0.0/8"]}), false),
        ("inFlightReq", json!({"amount": 10}), true),
        ("rateLimit", json!({"average": 1000, "burst": 1000}), false),
        ("basicAuth", json!({"users": [user]}), false),
        ("digestAuth", json!({"users": ["a:traefik:d41d8cd98f00b204e9800998ecf8427e"]}), false),
        ("contentType", json!({}), true),
        ("circuitBreaker", json!({"expression": "NetworkErrorRatio() > 0.5"}), true),
        ("compress", json!({}), false),
        ("forwardAuth", json!({"address": server, "addAuthCookiesToResponse": ["c"]}), false),
        ("grpcWeb", json!({"allowOrigins": ["*"]}), false),
        ("passTLSClientCert", json!({"pem": true}), false),
        ("errors", json!({"status": ["599"], "service": "s", "query": "/"}), true),
        ("buffering", json!({"maxResponseBodyBytes": 1000}), true),
        ("retry", json!({"attempts": 2}), true),
    ]
}

#[tokio::test]
async fn a_panic_in_a_middleware_of_any_kind_ends_one_request_and_is_counted_by_its_name() {
    let url = upstream("one");
    let mut map = configuration(&url);
    let kinds = kinds(&url);
    for (kind, options, _) in &kinds {
        put(&mut map, &format!("http/middlewares/{kind}@file"), &json!({*kind: options}));
        let rule = format!("Host(`{kind}.test`)");
        let router = json!({"rule": rule, "service": "s", "middlewares": [kind]});
        put(&mut map, &format!("http/routers/{kind}@file"), &router);
    }
    let hub = MemoryHub::new();
    let endpoint = hub.endpoint("c1", ClusterId(CLUSTER), PeerRole::Controller, 1).expect("a free name");
    let proxy = start(&hub, "p1", None);
    let mut control = Control::accept(&endpoint).await;
    let stages = control.stages(1, &map).await;
    assert_eq!(stages, [Stage::Received, Stage::Validated, Stage::Serving]);
    let address = web(&proxy).await;
    let mut wanted = BTreeMap::new();
    for (kind, _, passed) in kinds {
        let halves = if passed { &["request", "response"][..] } else { &["request"] };
        for half in halves {
            let path = format!("/strike/{half}/{kind}");
            let told = tokio::task::spawn_blocking(move || ask(address, &format!("{kind}.test"), &path).0);
            let told = told.await.expect("an answer");
            assert_eq!(told, "HTTP/1.1 500 Internal Server Error", "{kind}: {half}");
            *wanted.entry(kind).or_insert(0) += 1;
            assert_eq!(proxy.request.middleware_panics(), wanted, "{kind}: {half}");
        }
    }
    assert!(
        wanted.len() == 23 && proxy.ready(),
        "every kind but `chain`, which is laid out flat, and `plugin`"
    );
    assert_eq!(asked(address, "a.test", "/").await, ok("one"), "the process serves on");
    proxy.shutdown().await;
}
