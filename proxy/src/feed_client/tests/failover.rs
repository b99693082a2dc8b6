//! Control nodes that are there and do not work: stale, wordless, hanging within a transfer, standing still.

use super::*;

/// Others are asked almost at once.
fn eager() -> FeedTimes {
    let scout = BackoffOptions {
        first: Duration::from_millis(10),
        max: Duration::from_millis(40),
        stable_after: Duration::MAX,
    };
    FeedTimes { scout, ..FeedTimes::default() }
}

struct Two {
    hub: MemoryHub,
    first: MemoryTransport,
    second: MemoryTransport,
    map: ConfigMap,
    held: GenerationId,
}

impl Two {
    fn new() -> Self {
        let hub = MemoryHub::new();
        let (first, second) = (controller(&hub, "c1", 1), controller(&hub, "c2", 2));
        let map = map(&[("a", "1")]);
        let held = id(7, &map);
        Self { hub, first, second, map, held }
    }

    fn proxy(&self, times: FeedTimes) -> Proxy {
        start_with(&self.hub, &["c1", "c2"], Some((self.held, self.map.clone())), times)
    }

    fn up_to_date(&self, stale: bool) -> ToProxy {
        ToProxy::UpToDate { generation: self.held, stale, leads: false }
    }
}

async fn attached_to(proxy: &mut Proxy, name: &str) {
    let moved = proxy.status.wait_for(|status| status.attached.as_deref() == Some(name));
    timeout(PATIENCE, moved).await.expect("it moves").expect("the client lives");
}

/// Waits until the proxy has let go of the lane.
async fn left(control: &mut Control) {
    let gone = async { while let Ok(Some(_)) = control.receiver.receive().await {} };
    timeout(PATIENCE, gone).await.expect("the proxy leaves");
}

#[tokio::test]
async fn a_stale_control_node_is_left_for_one_with_a_quorum() {
    let two = Two::new();
    let mut proxy = two.proxy(eager());
    let mut stale = Control::accept(&two.first).await;
    stale.say(&two.up_to_date(true)).await;
    proxy.status.wait_for(|status| status.stale).await.expect("the client lives");
    let mut fresh = Control::accept(&two.second).await;
    assert_eq!(fresh.hear().await, hello(Some(two.held)));
    assert_eq!(proxy.status.borrow().attached.as_deref(), Some("c1"), "kept until there is a better one");
    fresh.say(&two.up_to_date(false)).await;
    attached_to(&mut proxy, "c2").await;
    assert_eq!(stage(fresh.hear().await), (two.held, Stage::Serving));
    left(&mut stale).await;
    proxy.task.abort();
}

#[tokio::test]
async fn where_all_are_stale_the_first_is_kept_and_still_feeds() {
    let two = Two::new();
    let proxy = two.proxy(eager());
    let mut stale = Control::accept(&two.first).await;
    stale.say(&two.up_to_date(true)).await;
    for _ in 0..3 {
        let mut other = Control::accept(&two.second).await;
        assert_eq!(other.hear().await, hello(Some(two.held)));
        other.say(&two.up_to_date(true)).await;
        left(&mut other).await;
    }
    assert_eq!(proxy.status.borrow().attached.as_deref(), Some("c1"), "no flapping");
    let next = map(&[("a", "2")]);
    stale.say_whole(8, &next).await;
    assert_eq!(stale.hear().await, hello(Some(two.held)));
    assert_eq!(stage(stale.hear().await), (two.held, Stage::Serving));
    assert_eq!(stage(stale.hear().await), (id(8, &next), Stage::Received));
    proxy.task.abort();
}

#[tokio::test]
async fn a_stale_control_node_is_left_for_one_that_has_something_newer() {
    let two = Two::new();
    let mut proxy = two.proxy(eager());
    let mut stale = Control::accept(&two.first).await;
    stale.say(&two.up_to_date(true)).await;
    let mut newer = Control::accept(&two.second).await;
    assert_eq!(newer.hear().await, hello(Some(two.held)));
    let next = map(&[("a", "2")]);
    newer.say_whole(8, &next).await;
    assert_eq!(stage(newer.hear().await), (two.held, Stage::Serving));
    assert_eq!(stage(newer.hear().await), (id(8, &next), Stage::Received), "its first word was not lost");
    attached_to(&mut proxy, "c2").await;
    left(&mut stale).await;
    proxy.task.abort();
}

#[tokio::test]
async fn a_control_node_that_never_answers_hello_is_replaced() {
    let two = Two::new();
    let mut proxy = two.proxy(eager());
    let mut wordless = Control::accept(&two.first).await;
    let mut other = Control::accept(&two.second).await;
    other.say(&two.up_to_date(true)).await;
    attached_to(&mut proxy, "c2").await;
    left(&mut wordless).await;
    proxy.task.abort();
}

#[tokio::test]
async fn a_control_node_that_hangs_within_a_transfer_is_left_whatever_else_it_says() {
    let two = Two::new();
    let times = FeedTimes { part: Duration::from_millis(200), ..FeedTimes::default() };
    let mut proxy = two.proxy(times);
    let mut hanging = Control::accept(&two.first).await;
    hanging.say(&two.up_to_date(false)).await;
    let next = map(&[("a", "2"), ("b", "2")]);
    let parts = whole_to_parts(id(8, &next), &next, 1, 0);
    assert!(parts.len() > 1);
    hanging.say(&ToProxy::Part(parts.into_iter().next().expect("several"))).await;
    let mut other = tokio::select! {
        other = Control::accept(&two.second) => other,
        () = async {
            loop {
                drop(hanging.sender.send(framed(&two.up_to_date(false))).await);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        } => panic!("never ends"),
    };
    assert_eq!(other.hear().await, hello(Some(two.held)));
    let error = proxy.status.borrow_and_update().last_error.clone();
    assert!(error.is_none_or(|error| error.contains("no further part")));
    proxy.task.abort();
}

#[tokio::test]
async fn a_control_node_that_is_up_to_date_for_ever_is_left_once_another_is_ahead() {
    let two = Two::new();
    let times = FeedTimes {
        audit: Duration::from_millis(20),
        owed: Duration::from_millis(200),
        ..FeedTimes::default()
    };
    let mut proxy = two.proxy(times);
    let mut frozen = Control::accept(&two.first).await;
    frozen.say(&two.up_to_date(false)).await;
    let next = map(&[("a", "2")]);
    let mut asked = 0;
    loop {
        let mut ahead = Control::accept(&two.second).await;
        ahead.say_whole(8, &next).await;
        asked += 1;
        assert_eq!(ahead.hear().await, hello(Some(two.held)));
        // Asked for comparison only, until the first one has had its time.
        let Ok(Some(frame)) = ahead.receiver.receive().await else { continue };
        assert_eq!(stage(heard(&frame)), (two.held, Stage::Serving));
        assert_eq!(stage(ahead.hear().await), (id(8, &next), Stage::Received));
        break;
    }
    assert!(asked >= 2, "the first was compared before it was left");
    attached_to(&mut proxy, "c2").await;
    left(&mut frozen).await;
    proxy.task.abort();
}

#[tokio::test]
async fn transfers_that_lead_nowhere_are_not_asked_for_for_ever() {
    let two = Two::new();
    let proxy = two.proxy(FeedTimes::default());
    let mut broken = Control::accept(&two.first).await;
    let next = map(&[("a", "2")]);
    let mut part = whole_to_parts(id(8, &map(&[("b", "3")])), &next, 1, 1000).pop().expect("one part");
    part.of = 1;
    let mut asked_for = 0;
    while broken.sender.send(framed(&ToProxy::Part(part.clone()))).await.is_ok() {
        loop {
            let Ok(Some(frame)) = broken.receiver.receive().await else { break };
            if matches!(heard(&frame), ToControl::NeedWhole { .. }) {
                asked_for += 1;
                break;
            }
        }
    }
    assert!((1..=3).contains(&asked_for), "asked {asked_for} times");
    let mut other = Control::accept(&two.second).await;
    assert_eq!(other.hear().await, hello(Some(two.held)));
    proxy.task.abort();
}

#[tokio::test]
async fn the_leader_is_left_for_another_that_is_as_good_and_kept_where_there_is_none() {
    let two = Two::new();
    let mut proxy = two.proxy(eager());
    let leads = ToProxy::UpToDate { generation: two.held, stale: false, leads: true };
    let mut leader = Control::accept(&two.first).await;
    leader.say(&leads).await;
    let mut stale = Control::accept(&two.second).await;
    stale.say(&two.up_to_date(true)).await;
    left(&mut stale).await;
    assert_eq!(proxy.status.borrow().attached.as_deref(), Some("c1"), "a stale one is no better");
    let mut other = Control::accept(&two.second).await;
    other.say(&two.up_to_date(false)).await;
    attached_to(&mut proxy, "c2").await;
    left(&mut leader).await;
    proxy.task.abort();
}
