//! What proxies say of themselves: which versions and kinds they know, which process they are, what they will not take; and
//! how many of them one answer tells of.

use super::*;
use ravelin_config::{Kind, Versions};

impl Bench {
    fn attach_as(&mut self, link: u64, proxy: u64, change: impl FnOnce(&mut Hello)) -> Option<EventKind> {
        let ToControl::Hello(mut said) = hello(None, link) else { panic!("it is") };
        change(&mut said);
        self.feed.opened(LinkId(link), proxy, &mut self.actions);
        self.say(link, &ToControl::Hello(said))
    }

    fn status_of(&self, proxy: u64) -> ProxyStatus {
        let (page, _) = self.feed.proxies(Page { after: proxy - 1, limit: 1 });
        page.into_iter().next().expect("it is attached")
    }
}

#[test]
fn a_proxy_that_does_not_know_a_kind_is_fed_and_the_kind_is_named_once_it_is_there() {
    let mut bench = Bench::new();
    let first = bench.publish(1, &[("http/routers/a@file", "1")]);
    let noted = bench.attach_as(1, 1, |said| {
        said.understands.kinds.remove(&Kind::TlsOptions.code());
    });
    assert_eq!((noted, bench.status_of(1).lacks), (None, Vec::new()), "no such object is there");
    bench.sent();
    let map = map(&[("http/routers/a@file", "1"), ("tls/options/o@file", "1")]);
    let generation = id(2, &map);
    bench.history.push((generation, map));
    let publish = |bench: &mut Bench, generation| {
        bench.with(|feed, now, source, actions| feed.publish(now, generation, source, actions))
    };
    let lacks = EventKind::ProxyLacks { proxy: 1, kinds: vec!["tls/options/".to_owned()] };
    assert_eq!(publish(&mut bench, generation), [lacks]);
    assert_eq!(bench.status_of(1).lacks, ["tls/options/"]);
    bench.acknowledge(1, first, Stage::Validated);
    let whole = bench.sent().into_iter().filter_map(|(_, frame)| match read(&frame) {
        ToProxy::Part(part) => Some(part),
        _ => None,
    });
    let keys: Vec<String> = whole.flat_map(|part| part.puts).map(|(key, _)| key.to_string()).collect();
    assert!(keys.contains(&"tls/options/o@file".to_owned()), "a generation is never cut: {keys:?}");
    let later = EventKind::ProxyLacks { proxy: 2, kinds: vec!["http/routers/".to_owned()] };
    let noted = bench.attach_as(2, 2, |said| {
        said.understands.kinds.remove(&Kind::HttpRouter.code());
    });
    assert_eq!(noted, Some(later), "who comes later is told of at once");
}

#[test]
fn a_proxy_of_a_version_that_is_too_far_away_is_told_why_it_is_not_fed() {
    let mut bench = Bench::new();
    bench.publish(1, &[("a", "1")]);
    let next = FEED_VERSION + 1;
    bench.attach_as(1, 1, |said| said.understands.formats = Versions { oldest: FEED_VERSION, newest: next });
    assert!(bench.feed.owns(LinkId(1)), "one version apart");
    bench.sent();
    bench.attach_as(2, 2, |said| said.understands.formats = Versions { oldest: next, newest: next });
    let said: Vec<Action> = bench.actions.drain().collect();
    let [Action::SendLink { frame, .. }, Action::CloseLink { link: LinkId(2), .. }] = said.as_slice() else {
        panic!("{said:?}")
    };
    let ToProxy::Refused { reason } = read(frame) else { panic!("not refused") };
    assert!(reason.contains("one version apart"), "{reason}");
}

#[test]
fn a_proxy_that_has_served_something_newer_is_not_sent_what_is_older() {
    let mut bench = Bench::new();
    let current = bench.publish(5, &[("a", "5")]);
    bench.attach_as(1, 1, |said| said.floor = Some(GenerationId { revision: 6, ..current }));
    let sent = bench.sent();
    let [(_, frame)] = sent.as_slice() else { panic!("{} frames", sent.len()) };
    assert!(matches!(read(frame), ToProxy::UpToDate { .. }), "it is told where this node stands, and leaves");
    bench.publish(6, &[("a", "6")]);
    assert!(bench.sent().iter().any(|(_, frame)| matches!(read(frame), ToProxy::Part(_))));
}

#[test]
fn one_process_may_come_back_as_often_as_it_likes() {
    let mut bench = Bench::new();
    bench.publish(1, &[("a", "1")]);
    for link in 1..100 {
        assert_eq!(bench.attach_as(link, 7, |said| said.instance = 4), None);
        assert!(bench.feed.owns(LinkId(link)) && bench.feed.sessions.len() == 1);
    }
    assert_eq!(bench.feed.conduct.offences(7), 0);
    assert_eq!(bench.status_of(7).instance, "0000000000000004");
}

#[test]
fn a_generation_that_a_proxy_can_neither_take_nor_refuse_is_told_once_and_until_it_can() {
    let mut bench = Bench::new();
    let held = bench.publish(1, &[("a", "1")]);
    bench.attach(1, Some(held));
    let next = bench.publish(2, &[("a", "2")]);
    bench.acknowledge(1, next, Stage::Received);
    let noted = bench.acknowledge(1, next, Stage::Overdue);
    assert_eq!(noted, Some(EventKind::ProxyOverdue { proxy: 1, generation: next.to_string() }));
    assert_eq!(bench.acknowledge(1, next, Stage::Overdue), None);
    assert_eq!(bench.status_of(1).overdue, Some(next.into()));
    bench.acknowledge(1, next, Stage::Validated);
    assert_eq!(bench.status_of(1).overdue, None);
}

#[test]
fn the_leader_says_that_it_leads() {
    let mut bench = Bench::new();
    let held = bench.publish(1, &[("a", "1")]);
    bench.feed.set_leads(true);
    bench.attach(1, Some(held));
    let sent = bench.sent();
    assert_eq!(read(&sent[0].1), ToProxy::UpToDate { generation: held, stale: false, leads: true });
}

#[test]
fn ten_thousand_proxies_are_told_of_in_pages() {
    let mut bench = Bench::new();
    let held = bench.publish(1, &[("a", "1")]);
    for proxy in (1..=10_000).rev() {
        bench.attach(proxy, Some(held));
    }
    bench.feed.opened(LinkId(20_000), 20_000, &mut bench.actions);
    assert_eq!(bench.feed.attached(), 10_000, "one that has not said hello is no proxy yet");
    let (mut all, mut page) = (Vec::new(), Page::FIRST);
    loop {
        let (proxies, next) = bench.feed.proxies(page);
        assert!(proxies.len() <= PROXIES_PAGE_MAX as usize);
        all.extend(proxies.into_iter().map(|proxy| proxy.node));
        let Some(after) = next else { break };
        page.after = after;
    }
    assert_eq!(all, (1..=10_000).collect::<Vec<u64>>());
    assert_eq!(bench.feed.proxies(Page::NONE), (Vec::new(), Some(0)));
}

#[test]
fn every_proxy_hears_first_who_speaks_and_where_control_nodes_are_and_again_when_that_changes() {
    let plane = |as_of| ControlPlane {
        cluster: CLUSTER,
        recovery_epoch: 1,
        incarnation: 3,
        as_of,
        nodes: vec![ControlNode { node: as_of, address: "a:1".to_owned() }],
    };
    let told = |bench: &mut Bench, as_of| {
        bench.with(|feed, now, source, actions| feed.set_control_plane(now, plane(as_of), source, actions));
        bench.sent()
    };
    let words =
        |sent: &[(u64, Bytes)]| sent.iter().map(|(link, frame)| (*link, read(frame))).collect::<Vec<_>>();
    let mut bench = Bench::new();
    bench.attach(1, None);
    assert!(bench.sent().is_empty(), "nothing is known yet");
    let sent = told(&mut bench, 1);
    assert_eq!(words(&sent), [(1, ToProxy::ControlPlane(plane(1)))], "without any configuration");
    bench.publish(1, &[("a", "1")]);
    bench.sent();
    bench.attach(2, None);
    let sent = words(&bench.sent());
    assert_eq!(sent.first(), Some(&(2, ToProxy::ControlPlane(plane(1)))));
    assert!(sent.len() > 1 && sent.iter().all(|(link, _)| *link == 2), "{sent:?}");
    assert!(told(&mut bench, 1).is_empty(), "no news");
    let sent = words(&told(&mut bench, 2));
    assert_eq!(sent, [1, 2].map(|link| (link, ToProxy::ControlPlane(plane(2)))));

    let said = |cluster, recovery_epoch| {
        let ToControl::Hello(said) = hello(None, 3) else { panic!("it is one") };
        ToControl::Hello(Hello { cluster, recovery_epoch, ..said })
    };
    for (link, hello, why) in [
        (3, said([9; 16], 0), "of another cluster"),
        (4, said(CLUSTER, 2), "of recovery epoch 1, which was given up for 2"),
    ] {
        bench.feed.opened(LinkId(link), link, &mut bench.actions);
        bench.say(link, &hello);
        let sent = words(&bench.sent());
        assert!(
            matches!(sent.as_slice(), [(_, ToProxy::Refused { reason })] if reason.contains(why)),
            "{sent:?}"
        );
    }
}
