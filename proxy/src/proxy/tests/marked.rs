//! What was served and not kept: after a restart nothing older is taken, whoever offers it; and what holds a table of before.

use super::*;
use ravelin_config::feed::Hello;

fn controller(hub: &MemoryHub, name: &str, node: u64) -> MemoryTransport {
    hub.endpoint(name, ClusterId(CLUSTER), PeerRole::Controller, node).expect("a free name")
}

fn last_good(directory: &std::path::Path) -> (LastGood, Loaded) {
    let sealing = Sealing { key: [7; 32], cluster: CLUSTER, node: 1 };
    LastGood::open(&directory.join(LAST_GOOD_FOLDER), sealing).expect("the directory is ours")
}

async fn hello(control: &mut Control) -> Hello {
    match control.hear().await {
        ToControl::Hello(hello) => hello,
        other => panic!("it does not begin with hello: {other:?}"),
    }
}

#[tokio::test]
async fn a_proxy_that_served_more_than_it_kept_says_so_and_takes_nothing_older_after_a_restart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let map = configuration(&upstream("kept"));
    // A power cut between the first answer from generation 7 and its last byte on the disk.
    let (mut store, _) = last_good(directory.path());
    store.save(id(5, &map), &map).expect("saved");
    store.mark(id(7, &map)).expect("marked");
    drop(store);
    let hub = MemoryHub::new();
    let (behind, ahead) = (controller(&hub, "c1", 1), controller(&hub, "c2", 2));
    let expect = Expected { role: PeerRole::Controller, node: None };
    let target = |name: &str| Target { address: name.to_owned(), expect };
    let endpoint = hub.endpoint("p1", ClusterId(CLUSTER), PeerRole::Proxy, 1).expect("a free name");
    let targets = vec![target("c2"), target("c1")];
    let proxy = Proxy::start(options(Some(directory.path().to_owned())), Arc::new(endpoint), targets);
    let proxy = proxy.expect("it starts");
    served(&proxy, id(5, &map)).await;
    assert_eq!(asked(web(&proxy).await, "a.test", "/").await, ok("kept"), "it serves what it has");

    let mut control = Control::accept(&behind).await;
    let said = hello(&mut control).await;
    assert_eq!((said.generation, said.floor), (Some(id(5, &map)), Some(id(7, &map))));
    let older = configuration(&upstream("older"));
    for part in whole_to_parts(id(6, &older), &older, 6, 1 << 16) {
        let frame = codec::encode(FEED_VERSION, &ToProxyV1::from(ToProxy::Part(part))).expect("small");
        control.sender.send(frame).await.expect("the lane stands");
    }
    let mut control = Control::accept(&ahead).await;
    assert_eq!(hello(&mut control).await.floor, Some(id(7, &map)), "generation 6 was not taken");
    let serving = ToControl::Acknowledge { generation: id(5, &map), stage: Stage::Serving };
    assert_eq!(control.hear().await, serving);
    let newer = configuration(&upstream("newer"));
    assert_eq!(control.stages(8, &newer).await, [Stage::Received, Stage::Validated, Stage::Serving]);
    assert_eq!(asked(web(&proxy).await, "a.test", "/").await, ok("newer"));
    proxy.shutdown().await;
    let (_, loaded) = last_good(directory.path());
    assert_eq!(loaded.mark, Some(id(8, &newer)), "marked by the proxy itself");
    assert_eq!(loaded.newest.map(|(generation, _)| generation), Some(id(8, &newer)));
}

#[tokio::test]
async fn a_generation_is_marked_before_it_is_called_served() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let hub = MemoryHub::new();
    let endpoint = controller(&hub, "c1", 1);
    let proxy = start(&hub, "p1", Some(directory.path().to_owned()));
    let mut control = Control::accept(&endpoint).await;
    let map = configuration(&upstream("one"));
    for revision in 1..4 {
        assert_eq!(control.stages(revision, &map).await.last(), Some(&Stage::Serving));
        assert_eq!(last_good(directory.path()).1.mark, Some(id(revision, &map)));
    }
    proxy.shutdown().await;
}
