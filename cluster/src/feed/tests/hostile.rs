//! Proxies with a good certificate that do what a proxy never does: each is bounded, told, counted and let go of; and two
//! processes under one identity.

use super::*;
use crate::feed::conduct::{HELLO_TIMEOUT, UNGREETED_MAX};

impl Bench {
    /// What was last said to a link that is let go of, and why.
    fn farewell(&mut self, link: u64) -> Option<String> {
        let said: Vec<Action> = self.actions.drain().collect();
        let last = said.iter().rev().find_map(|action| match action {
            Action::SendLink { link: to, frame } if to.0 == link => Some(read(frame)),
            _ => None,
        });
        let closed = said.iter().find_map(|action| match action {
            Action::CloseLink { link: closed, reason } if closed.0 == link => Some(reason.clone()),
            _ => None,
        })?;
        assert_eq!(last, Some(ToProxy::Refused { reason: closed.clone() }), "it is told why");
        assert!(!self.feed.owns(LinkId(link)));
        Some(closed)
    }

    fn raw(&mut self, link: u64, frame: &[u8]) -> Option<EventKind> {
        self.with(|feed, now, source, actions| feed.frame(now, LinkId(link), frame, source, actions))
    }

    fn tick(&mut self, millis: u64) {
        self.now = at(millis);
        self.with(|feed, now, source, actions| feed.tick(now, source, actions));
    }

    fn open(&mut self, link: u64, proxy: u64, held: Option<GenerationId>) -> Option<EventKind> {
        self.feed.opened(LinkId(link), proxy, &mut self.actions);
        self.say(link, &hello(held, link))
    }
}

#[test]
fn what_is_no_message_ends_the_lane_with_a_word_and_is_counted_and_noted_once_in_a_while() {
    let mut bench = Bench::new();
    let held = bench.publish(1, &[("a", "1")]);
    let good = codec::encode(FEED_VERSION, &ToControlV1::from(hello(Some(held), 1))).expect("small");
    let mut newer = good.to_vec();
    newer[0] = FEED_VERSION + 1;
    let mut longer = good.to_vec();
    longer.push(0);
    let huge_count = [FEED_VERSION, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let mut noted = Vec::new();
    let frames: [&[u8]; 6] = [b"", b"\x01\xff\xff", &newer, &longer, &huge_count, &vec![1; 200_000]];
    for (link, frame) in (1..).zip(frames) {
        bench.feed.opened(LinkId(link), 7, &mut bench.actions);
        noted.extend(bench.raw(link, frame));
        let reason = bench.farewell(link).expect("it is let go of");
        assert!(reason.starts_with("not a feed message: "), "{reason}");
    }
    assert!(matches!(noted.as_slice(), [EventKind::ProxyTurnedAway { proxy: 7, times: 1, .. }]), "{noted:?}");
    assert_eq!(bench.feed.conduct.offences(7), 6);
    bench.attach(99, Some(held));
    assert_eq!(bench.sent().len(), 1, "the others are fed");
}

#[test]
fn hello_comes_first_and_once() {
    let mut bench = Bench::new();
    let held = bench.publish(1, &[("a", "1")]);
    bench.feed.opened(LinkId(1), 1, &mut bench.actions);
    bench.acknowledge(1, held, Stage::Received);
    assert_eq!(bench.farewell(1).as_deref(), Some("it did not begin with hello"));
    bench.attach(2, Some(held));
    bench.sent();
    bench.say(2, &hello(Some(held), 2));
    assert_eq!(bench.farewell(2).as_deref(), Some("it said hello twice"));
    for link in 10..10 + UNGREETED_MAX as u64 {
        bench.feed.opened(LinkId(link), 3, &mut bench.actions);
    }
    assert!(bench.actions.as_slice().is_empty());
    bench.feed.opened(LinkId(20), 3, &mut bench.actions);
    assert!(bench.farewell(20).is_some_and(|reason| reason.contains("wait for their hello")));
    bench.tick(1000);
    bench.tick(1000 + HELLO_TIMEOUT.as_millis() as u64 - 1);
    assert!(bench.feed.owns(LinkId(10)));
    bench.tick(1000 + HELLO_TIMEOUT.as_millis() as u64);
    assert!(bench.feed.sessions.is_empty(), "no lane stands open in silence");
    assert!(bench.feed.lanes.is_empty(), "and nothing is kept of it");
}

#[test]
fn a_flood_of_acknowledgements_ends_the_lane_and_leaves_no_trace_but_one() {
    let mut bench = Bench::new();
    let held = bench.publish(1, &[("a", "1")]);
    bench.attach(1, Some(held));
    bench.sent();
    let mut noted = Vec::new();
    let mut taken = 0;
    while bench.feed.owns(LinkId(1)) {
        taken += 1;
        assert!(taken < 5000, "it is never stopped");
        let generation = GenerationId { revision: taken, ..held };
        let stage = Stage::Refused { reasons: vec!["x".repeat(100_000)] };
        noted.extend(bench.acknowledge(1, generation, stage));
    }
    assert!(taken > 500, "a busy proxy is not taken for a flood");
    let [EventKind::ProxyRefused { .. }, EventKind::ProxyTurnedAway { reason, .. }] = noted.as_slice() else {
        panic!("{} events", noted.len())
    };
    assert_eq!(reason, "it says more than a proxy has to say");
}

#[test]
fn a_proxy_that_says_it_holds_nonsense_is_not_sent_the_whole_again_and_again() {
    let mut bench = Bench::new();
    bench.known = 5;
    let current = bench.publish(9, &[("a", "9")]);
    let old = id(1, &map(&[("a", "1")]));
    let is_whole = |frame: &Bytes| matches!(read(frame), ToProxy::Part(part) if matches!(part.content, Content::Whole { .. }));
    let mut wholes = 0;
    bench.attach(1, None);
    for _ in 0..100 {
        wholes += bench.sent().iter().filter(|(_, frame)| is_whole(frame)).count();
        bench.acknowledge(1, current, Stage::Validated);
        bench.acknowledge(1, old, Stage::Validated);
    }
    assert!((1..=5).contains(&wholes), "{wholes} wholes at once");
    bench.tick(2000);
    assert!(bench.sent().iter().any(|(_, frame)| is_whole(frame)), "later it gets one, as it may need it");
}

#[test]
fn two_processes_under_one_identity_do_not_take_each_others_place_for_ever() {
    let mut bench = Bench::new();
    let held = bench.publish(1, &[("a", "1")]);
    let mut noted = Vec::new();
    let mut takeovers = 0;
    for link in 1..100 {
        noted.extend(bench.open(link, 7, Some(held)));
        takeovers +=
            u32::from(link > 1 && !bench.feed.owns(LinkId(link - 1)) && bench.feed.owns(LinkId(link)));
        bench.now = at(link * 100);
    }
    assert_eq!(takeovers, 3, "one process that lost its connection may come back");
    assert!(bench.feed.owns(LinkId(4)) && bench.feed.sessions.len() == 1, "who was there stays");
    let [EventKind::ProxyTurnedAway { proxy: 7, reason, times: 1 }] = noted.as_slice() else {
        panic!("{noted:?}")
    };
    assert!(reason.contains("give each process an identity of its own"), "{reason}");
    bench.feed.closed(LinkId(4));
    bench.open(200, 7, Some(held));
    assert!(bench.feed.owns(LinkId(200)), "where nobody is there, it is welcome");
}
